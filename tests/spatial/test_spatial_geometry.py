"""Geometry against nibabel and hand-made answers."""

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import GeometryMismatchError
from medseg.phantoms import oblique_geometry
from medseg.spatial import Geometry

CODES = [
    "".join(code)
    for letters in itertools.permutations(("RL", "AP", "SI"))
    for code in itertools.product(*letters)
]


def affine(spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    result = np.diag([*spacing, 1.0])
    result[:3, 3] = origin
    return result


def test_world_and_index_are_inverse_and_ends_are_where_they_should_be():
    geometry = Geometry(affine((2, 3, 4), (10, 20, 30)), (5, 6, 7))
    assert geometry.to_world((1, 1, 1)).tolist() == [12, 23, 34]
    assert geometry.to_index((12, 23, 34)).tolist() == [1, 1, 1]
    assert geometry.centre_mm.tolist() == [14, 27.5, 42]
    assert geometry.corners_mm.shape == (8, 3)
    assert geometry.corners_mm.max(axis=0).tolist() == [18, 35, 54]
    assert geometry.spacing_mm == geometry.steps == (2, 3, 4)
    assert geometry.voxel_volume_mm3 == pytest.approx(24)


@pytest.mark.parametrize("code", CODES)
def test_orientation_is_that_of_nibabel_also_when_oblique(code):
    geometry = oblique_geometry((4, 5, 6), (1.0, 2.0, 3.0), (11, -17, 23), code)
    assert geometry.orientation == code
    assert "".join(nibabel.aff2axcodes(geometry.affine)) == code


@given(st.tuples(*[st.floats(-180, 180)] * 3), st.sampled_from(CODES))
def test_volume_and_spacing_do_not_change_when_the_grid_is_turned(angles, code):
    geometry = oblique_geometry((3, 4, 5), (0.5, 1.25, 3.0), angles, code, (7, -8, 9))
    assert geometry.voxel_volume_mm3 == pytest.approx(0.5 * 1.25 * 3)
    assert geometry.spacing_mm == pytest.approx((0.5, 1.25, 3.0))
    assert geometry.centre_mm == pytest.approx((7, -8, 9))
    assert sorted(letter for letter in geometry.orientation.translate(str.maketrans("LPI", "RAS"))) == [
        "A",
        "R",
        "S",
    ]


def test_a_sheared_grid_counts_its_volume_by_the_determinant():
    sheared = affine((1, 1, 5))
    sheared[1, 2] = 2.0
    geometry = Geometry(sheared, (2, 2, 2))
    assert geometry.voxel_volume_mm3 == pytest.approx(5)
    assert geometry.spacing_mm[2] == pytest.approx(np.hypot(5, 2))


def test_an_affine_is_copied_and_read_only():
    given_affine = affine()
    geometry = Geometry(given_affine, (2, 2, 2))
    given_affine[0, 0] = 9
    assert geometry.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 2


def test_micrometre_voxels_are_no_singular_grid():
    geometry = Geometry(affine((2e-4, 2e-4, 1e-3)), (2, 2, 2))
    assert geometry.voxel_volume_mm3 == pytest.approx(4e-11)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.eye(3), "expected \\(4, 4\\)"),
        (np.diag([1, np.nan, 1, 1]), "NaN or infinite"),
        (np.diag([1, np.inf, 1, 1]), "NaN or infinite"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "last row"),
        (np.diag([1.0, 0.0, 1.0, 1.0]), "singular"),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "singular"),
    ],
)
def test_an_unusable_affine_is_refused(bad, message):
    with pytest.raises(GeometryMismatchError, match=message):
        Geometry(bad, (2, 2, 2))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 2), "three whole numbers"),
        ((2, 2, 2, 2), "three whole numbers"),
        ((2, 2, 1.5), "three whole numbers"),
        ((0, 2, 2), "1 to 32767"),
        ((2, 2, 32_768), "1 to 32767"),
    ],
)
def test_an_unusable_shape_is_refused(shape, message):
    with pytest.raises(GeometryMismatchError, match=message):
        Geometry(np.eye(4), shape)


def test_nothing_in_millimetres_without_a_pixel_size():
    geometry = Geometry(np.eye(4), (4, 4, 1), calibrated=False)
    assert geometry.steps == (1, 1, 1)
    with pytest.raises(GeometryMismatchError, match="pixel size"):
        _ = geometry.spacing_mm
    with pytest.raises(GeometryMismatchError, match="pixel size"):
        _ = geometry.voxel_volume_mm3
    assert "px" in geometry.describe()


def test_same_grid_looks_at_shape_frame_calibration_and_corners():
    a = Geometry(affine(), (10, 10, 10), "1.2.3")
    assert a.same_grid(a)
    assert a.same_grid(Geometry(affine(), (10, 10, 10)))
    assert not a.same_grid(Geometry(affine(), (10, 10, 11), "1.2.3"))
    assert not a.same_grid(Geometry(affine(), (10, 10, 10), "1.2.4"))
    assert not a.same_grid(Geometry(affine(), (10, 10, 10), "1.2.3", calibrated=False))
    assert a.same_grid(Geometry(affine(origin=(0.009, 0, 0)), (10, 10, 10)))
    moved = Geometry(affine(origin=(0.02, 0, 0)), (10, 10, 10))
    assert not a.same_grid(moved)
    assert a.same_grid(moved, tolerance_mm=0.05)


def test_a_small_turn_shows_at_the_far_corners():
    a = oblique_geometry((200, 200, 200), (1, 1, 1))
    assert not a.same_grid(oblique_geometry((200, 200, 200), (1, 1, 1), (0.01, 0, 0)))


def test_fine_voxels_are_compared_finely():
    a = Geometry(affine((1e-3, 1e-3, 1e-3)), (10, 10, 10))
    assert not a.same_grid(Geometry(affine((1e-3, 1e-3, 1e-3), (1e-3, 0, 0)), (10, 10, 10)))


def test_describe_names_everything():
    text = Geometry(affine((1, 2, 3), (4, 5, 6)), (7, 8, 9)).describe()
    assert text == "shape 7 × 8 × 9, spacing 1 × 2 × 3 mm, orientation RAS, origin (4, 5, 6)"
