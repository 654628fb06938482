"""Volumes, extents, surfaces and intensities against SimpleITK, NumPy and analytic shapes."""

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import GeometryMismatchError
from medseg.instances.regions import find_regions
from medseg.measure.diameter import outline_corners
from medseg.measure.intensity import INTENSITY_NAMES, intensity_values
from medseg.measure.shape import crofton_weights, extents_mm, sphericity, surface_area_mm2
from medseg.measure.volumetry import pixel_area_mm2, touches_border, volume_values
from medseg.phantoms import ball, box, capsule, ellipsoid, oblique_geometry
from medseg.spatial import Geometry

GRIDS = [
    oblique_geometry((80, 80, 80), (1.0, 1.0, 1.0)),
    oblique_geometry((100, 110, 50), (0.8, 0.7, 1.6), (12, -20, 33), "LPS"),
]


def itk_statistics(mask, geometry):
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.astype(np.uint8).transpose(2, 1, 0)))
    affine_lps = np.diag([-1, -1, 1, 1]) @ geometry.affine
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(affine_lps[:3, 3].tolist())
    image.SetDirection((affine_lps[:3, :3] / geometry.spacing_mm).ravel().tolist())
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputeFeretDiameterOn()
    statistics.Execute(image)
    return statistics


@pytest.mark.parametrize("geometry", GRIDS)
def test_volume_centroid_surface_and_feret_of_simpleitk(geometry):
    centre = geometry.centre_mm
    mask = ellipsoid(geometry, centre, (12, 8, 15), (10, 20, 30)) | capsule(
        geometry, centre, centre + np.array([15, 8, 4]), 3.0
    )
    theirs = itk_statistics(mask, geometry)
    region = find_regions(mask)[0]
    values = volume_values(region, geometry)
    assert values["volume_ml"] == pytest.approx(theirs.GetPhysicalSize(1) / 1000)
    assert [-values["centroid_r_mm"], -values["centroid_a_mm"], values["centroid_s_mm"]] == pytest.approx(
        theirs.GetCentroid(1), abs=1e-6
    )
    area = surface_area_mm2(mask[region.slices], crofton_weights(geometry))
    # SimpleITK shares the sphere out among the directions in another way where voxels are no cubes.
    close = 0.001 if len(set(geometry.spacing_mm)) == 1 else 0.06
    assert area == pytest.approx(theirs.GetPerimeter(1), rel=close)
    assert sphericity(values["volume_ml"] * 1000, area) == pytest.approx(theirs.GetRoundness(1), rel=close)
    corners = geometry.to_world(outline_corners(mask) / 2)
    feret = max(np.linalg.norm(corners - corner, axis=1).max() for corner in corners)
    # SimpleITK measures between voxel centres.
    diagonal = float(np.linalg.norm(geometry.spacing_mm))
    assert theirs.GetFeretDiameter(1) < feret <= theirs.GetFeretDiameter(1) + diagonal


@pytest.mark.parametrize("geometry", GRIDS)
def test_surfaces_of_known_bodies(geometry):
    weights = crofton_weights(geometry)
    centre = geometry.centre_mm
    sphere = ball(geometry, centre, 20)
    assert surface_area_mm2(sphere, weights) == pytest.approx(4 * np.pi * 400, rel=0.02)
    volume = sphere.sum() * geometry.voxel_volume_mm3
    assert sphericity(volume, surface_area_mm2(sphere, weights)) == pytest.approx(1, abs=0.02)
    block = box(geometry, centre, (30, 20, 26), (15, 25, 35))
    assert surface_area_mm2(block, weights) == pytest.approx(2 * (600 + 780 + 520), rel=0.07)


def test_surface_of_a_cropped_object_counts_its_cut():
    geometry = oblique_geometry((10, 10, 10), (1, 1, 1))
    weights = crofton_weights(geometry)
    whole = np.ones((10, 10, 10), bool)
    assert surface_area_mm2(whole, weights) == surface_area_mm2(np.pad(whole, 3), weights) > 400


@pytest.mark.parametrize("geometry", GRIDS)
def test_extents_are_those_of_all_voxel_corners(geometry):
    mask = ellipsoid(geometry, geometry.centre_mm, (12, 8, 15), (10, 20, 30))
    centres = geometry.to_world(np.argwhere(mask))
    expected = np.ptp(centres, axis=0) + np.abs(geometry.affine[:3, :3]).sum(axis=1)
    assert extents_mm(outline_corners(mask), geometry) == pytest.approx(expected)


def test_one_voxel():
    geometry = oblique_geometry((5, 5, 5), (1, 2, 3))
    mask = np.zeros(geometry.shape, bool)
    mask[2, 2, 2] = True
    corners = outline_corners(mask)
    assert len(corners) == 8
    assert extents_mm(corners, geometry) == pytest.approx((1, 2, 3))


def test_no_voxel_has_volume_0_and_no_place():
    assert volume_values(None, GRIDS[0]) == {"voxel_count": 0.0, "volume_ml": 0.0}


def test_a_single_slice_has_an_area():
    geometry = oblique_geometry((6, 5, 1), (0.5, 2.0, 9.0), (10, 20, 30))
    values = volume_values(find_regions(np.ones((6, 5, 1), np.uint8))[0], geometry)
    assert values["area_mm2"] == pytest.approx(30)
    assert "single slice" in values["volume_ml"]
    sheared = Geometry(np.array([[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), (2, 2, 1))
    assert pixel_area_mm2(sheared) == pytest.approx(2)
    with pytest.raises(GeometryMismatchError, match="pixel size"):
        pixel_area_mm2(Geometry(np.eye(4), (2, 2, 1), calibrated=False))


def test_the_border():
    for axis in range(3):
        for end in (0, -1):
            mask = np.zeros((5, 6, 7), bool)
            mask[2:4, 2:4, 2:4] = True
            assert not touches_border(find_regions(mask)[0], mask.shape)
            np.moveaxis(mask, axis, 0)[end] = np.moveaxis(mask, axis, 0)[2]
            assert touches_border(find_regions(mask)[0], mask.shape)
    plane = np.zeros((5, 6, 1), bool)
    plane[2, 2, 0] = True
    assert not touches_border(find_regions(plane)[0], plane.shape)


def test_intensities_are_those_of_numpy():
    voxels = np.random.default_rng(0).normal(40, 12, 999).astype(np.float32)
    values = intensity_values(voxels)
    wide = voxels.astype(np.float64)
    expected = [wide.mean(), wide.std(), wide.min(), wide.max(), *np.percentile(wide, (50, 5, 95))]
    assert list(values) == list(INTENSITY_NAMES)
    assert list(values.values()) == pytest.approx(expected)


def test_sums_do_not_overflow_and_shift_shifts():
    voxels = np.full(100_000, 30_000, np.int16)
    assert intensity_values(voxels)["intensity_mean"] == 30_000
    small = intensity_values(np.array([1, 2, 4], np.uint8))
    large = intensity_values(np.array([1001, 1002, 1004], np.int32))
    assert large["intensity_sd"] == pytest.approx(small["intensity_sd"])
    assert large["intensity_median"] == small["intensity_median"] + 1000


def test_voxels_that_are_no_numbers_give_a_reason():
    values = intensity_values(np.array([1.0, np.nan, np.inf]))
    assert set(values.values()) == {"2 of 3 voxels of the image are NaN or infinite here"}
