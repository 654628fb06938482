"""Turning without touching values."""

import itertools

import nibabel
import numpy as np
import pytest

from medseg.errors import ConfigurationError
from medseg.phantoms import oblique_geometry
from medseg.spatial import Geometry
from medseg.spatial.orientation import parse_orientation, reoriented, take_by_index
from medseg.spatial.resample import resample_array

CODES = [
    "".join(code)
    for letters in itertools.permutations(("RL", "AP", "SI"))
    for code in itertools.product(*letters)
]


@pytest.mark.parametrize("code", CODES)
def test_turned_grid_holds_the_same_voxels_in_the_same_places(code):
    random = np.random.default_rng(0)
    geometry = oblique_geometry((3, 4, 5), (1.0, 2.0, 3.0), (10, 5, -8), "LPI", (1, 2, 3))
    array = random.random(geometry.shape)
    turned = reoriented(geometry, code)
    assert turned.orientation == code
    moved = resample_array(array, geometry, turned, order=1, fill=-1)
    assert moved.dtype == array.dtype
    index = np.argwhere(np.ones(turned.shape, bool))
    old = np.rint(geometry.to_index(turned.to_world(index))).astype(int)
    assert np.array_equal(moved[tuple(index.T)], array[tuple(old.T)])
    image = nibabel.Nifti1Image(array, geometry.affine)
    start = nibabel.io_orientation(geometry.affine)
    transform = nibabel.orientations.ornt_transform(start, nibabel.orientations.axcodes2ornt(code))
    theirs = image.as_reoriented(transform)
    assert np.array_equal(theirs.get_fdata(), moved)
    assert np.allclose(theirs.affine, turned.affine, atol=1e-5)


def test_reoriented_keeps_frame_and_calibration():
    geometry = Geometry(np.eye(4), (2, 3, 1), "1.2", calibrated=False)
    turned = reoriented(geometry, "lps")
    assert (turned.frame_of_reference_uid, turned.calibrated, turned.orientation) == ("1.2", False, "LPS")


@pytest.mark.parametrize("bad", ["", "RA", "RAX", "RRS", "RLS", "RASS"])
def test_no_code_is_refused(bad):
    with pytest.raises(ConfigurationError, match="not valid"):
        parse_orientation(bad)


def test_axis_maps_that_are_not_whole_give_none():
    array = np.arange(27).reshape(3, 3, 3)
    shifted = np.eye(4)
    shifted[0, 3] = 0.5
    assert take_by_index(array, shifted, (2, 2, 2)) is None
    assert take_by_index(array, np.diag([2.0, 1, 1, 1]), (1, 1, 1)) is None
    doubled = np.eye(4)
    doubled[1, 0] = 1
    assert take_by_index(array, doubled, (1, 1, 1)) is None
    beyond = np.eye(4)
    beyond[2, 3] = 1
    assert take_by_index(array, beyond, (3, 3, 3)) is None
    before = np.eye(4)
    before[2, 3] = -1
    assert take_by_index(array, before, (3, 3, 3)) is None


def test_a_crop_and_a_flipped_crop_are_taken():
    array = np.arange(60).reshape(3, 4, 5)
    crop = np.eye(4)
    crop[:3, 3] = (1, 1, 2)
    assert np.array_equal(take_by_index(array, crop, (2, 2, 2)), array[1:3, 1:3, 2:4])
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = 3
    assert np.array_equal(take_by_index(array, flip, (3, 4, 2)), array[:, :, 3:1:-1])
    assert np.array_equal(take_by_index(array, flip, (3, 4, 4)), array[:, :, 3::-1])
    assert np.array_equal(take_by_index(array, flip, (3, 4, 1)), array[:, :, 3:4])
