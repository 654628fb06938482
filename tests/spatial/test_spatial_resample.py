"""Resampling against functions that it must reproduce and against SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import ConfigurationError, GeometryMismatchError
from medseg.phantoms import ellipsoid, ellipsoid_volume_ml, oblique_geometry
from medseg.spatial import Geometry, Label, LabelTable, ProbabilityMap, Segmentation, Unit, Volume
from medseg.spatial.resample import (
    grid_with,
    resample_array,
    resample_segmentation,
    resample_volume,
    restore_labels,
)

SOURCE = oblique_geometry((24, 20, 16), (1.0, 1.2, 2.0), (5, -10, 15), "LPS", (3, 4, 5))


def ramp(geometry):
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    return geometry.to_world(index) @ np.array([1.0, -2.0, 0.5])


def as_sitk(array, geometry):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    affine_lps = np.diag([-1, -1, 1, 1]) @ geometry.affine
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(affine_lps[:3, 3].tolist())
    image.SetDirection((affine_lps[:3, :3] / geometry.spacing_mm).ravel().tolist())
    return image


def test_a_linear_ramp_stays_a_ramp_on_any_grid():
    target = oblique_geometry((10, 11, 9), (0.9, 0.7, 1.1), (30, 20, -40), "SRA", (3, 4, 5))
    for order, tolerance in ((1, 1e-4), (3, 0.2)):
        moved = resample_array(ramp(SOURCE), SOURCE, target, order=order, fill=0)
        assert moved.dtype == np.float32
        assert np.abs(moved - ramp(target)).max() < tolerance


@pytest.mark.parametrize("order", [0, 1])
def test_the_same_as_simpleitk(order):
    array = np.random.default_rng(0).normal(size=SOURCE.shape).astype(np.float32)
    target = oblique_geometry((14, 12, 13), (0.83, 0.71, 1.13), (12, -3, 21), "RAS", (2, 5, 4))
    kind = sitk.sitkNearestNeighbor if order == 0 else sitk.sitkLinear
    image = sitk.Resample(
        as_sitk(array, SOURCE), as_sitk(np.zeros(target.shape), target), sitk.Transform(), kind, -9.0
    )
    theirs = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    ours = resample_array(array, SOURCE, target, order=order, fill=-9.0)
    assert np.abs(ours - theirs).max() < 1e-4


def test_outside_is_filled_and_the_last_half_voxel_is_not():
    source = Geometry(np.eye(4), (4, 4, 4))
    affine = np.diag([0.5, 1.0, 1.0, 1.0])
    affine[0, 3] = -1.0
    target = Geometry(affine, (12, 4, 4))
    moved = resample_array(np.ones(source.shape), source, target, order=1, fill=7)
    assert moved[:, 0, 0].tolist() == [7, 1, 1, 1, 1, 1, 1, 1, 1, 1, 7, 7]
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    everywhere = Geometry(affine, (8, 8, 8))
    assert resample_array(np.ones(source.shape), source, everywhere, order=0, fill=3).sum() == 8 + 3 * 504


def test_turning_and_cropping_copies_exactly():
    array = np.random.default_rng(0).integers(-5, 5, SOURCE.shape).astype(np.int16)
    turned = grid_with(SOURCE, (2.0, 1.0, 1.2), "IRA")
    moved = resample_array(array, SOURCE, turned, order=3, fill=0)
    assert moved.dtype == np.int16
    assert np.array_equal(resample_array(moved, turned, SOURCE, order=3, fill=0), array)


def test_grid_with_keeps_centre_directions_frame_and_extent():
    geometry = Geometry(SOURCE.affine, SOURCE.shape, "1.2.3")
    grid = grid_with(geometry, (0.6, 1.0, 1.0), "RAS")
    assert grid.orientation == "RAS"
    assert grid.spacing_mm == pytest.approx((0.6, 1.0, 1.0))
    assert grid.centre_mm == pytest.approx(geometry.centre_mm)
    assert grid.shape == (40, 24, 32)
    assert grid.frame_of_reference_uid == "1.2.3"
    assert grid_with(geometry, (90.0, 90.0, 90.0), "LPS").shape == (1, 1, 1)


def test_almost_the_same_spacing_is_kept():
    assert grid_with(SOURCE, (1.0005, 1.2, 2.0), "LPS").same_grid(SOURCE)


@pytest.mark.parametrize("bad", [(0, 1, 1), (1, -1, 1), (1, 1, np.nan), (1, np.inf, 1), (1, 1), (1, 1, 1, 1)])
def test_a_spacing_that_is_none_is_refused(bad):
    with pytest.raises(ConfigurationError, match="three positive lengths"):
        grid_with(SOURCE, bad, "RAS")


def test_pairs_that_do_not_fit_are_refused():
    array = np.zeros(SOURCE.shape)
    with pytest.raises(GeometryMismatchError, match="but its grid has"):
        resample_array(array[1:], SOURCE, SOURCE, order=1, fill=0)
    a = Geometry(SOURCE.affine, SOURCE.shape, "1.2.3")
    b = Geometry(SOURCE.affine, SOURCE.shape, "1.2.4")
    with pytest.raises(GeometryMismatchError, match="frames of reference"):
        resample_array(array, a, b, order=1, fill=0)
    pixels = Geometry(SOURCE.affine, SOURCE.shape, calibrated=False)
    with pytest.raises(GeometryMismatchError, match="known pixel size"):
        resample_array(array, SOURCE, pixels, order=1, fill=0)
    with pytest.raises(GeometryMismatchError, match="pixel size"):
        grid_with(pixels, (1, 1, 1), "RAS")


def test_volumes_and_segmentations_keep_what_they_say():
    target = grid_with(SOURCE, (1, 1, 1), "RAS")
    volume = resample_volume(Volume(ramp(SOURCE), SOURCE, Unit.SUV, "s"), target, fill=-1)
    assert (volume.unit, volume.source, volume.geometry) == (Unit.SUV, "s", target)
    mask = ellipsoid(SOURCE, SOURCE.centre_mm, (7, 8, 9))
    table = LabelTable((Label(5, "x"),))
    segmentation = resample_segmentation(Segmentation(mask * np.uint16(5), SOURCE, table, "s"), target)
    assert (segmentation.labels.dtype, segmentation.source) == (np.uint16, "s")
    volume_ml = (segmentation.labels == 5).sum() * target.voxel_volume_mm3 / 1000
    assert volume_ml == pytest.approx(ellipsoid_volume_ml((7, 8, 9)), rel=0.03)


def test_restore_is_argmax_of_the_resampled_channels_and_keeps_volume():
    prepared = grid_with(SOURCE, (1.5, 1.5, 1.5), "RAS")
    table = LabelTable((Label(3, "a"), Label(300, "b")))
    random = np.random.default_rng(0)
    array = random.random((3, *prepared.shape)).astype(np.float32)
    restored = restore_labels(ProbabilityMap(array, prepared, table), SOURCE, "s")
    channels = [
        resample_array(channel, prepared, SOURCE, order=1, fill=fill)
        for channel, fill in zip(array, (1.0, 0.0, 0.0), strict=True)
    ]
    assert np.array_equal(restored.labels, np.array([0, 3, 300])[np.argmax(channels, axis=0)])
    assert restored.labels.dtype == np.uint16
    assert restored.source == "s"


def test_restore_gives_background_outside_and_the_lower_label_on_ties():
    small = Geometry(np.eye(4), (2, 2, 2))
    array = np.zeros((3, 2, 2, 2), np.float32)
    array[1:] = 0.5
    table = LabelTable((Label(1, "a"), Label(2, "b")))
    labels = restore_labels(ProbabilityMap(array, small, table), Geometry(np.eye(4), (5, 2, 2))).labels
    assert labels[:2].tolist() == np.ones((2, 2, 2)).tolist()
    assert not labels[2:].any()
