"""Elongation and flatness: known ellipsoids, SimpleITK's moments, numbers of PyRadiomics and IBSI."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.io.read import read_segmentation
from medseg.measure.measure import SINGLE_VOXEL, measure
from medseg.measure.shape import elongation_and_flatness, principal_moments_mm2
from medseg.measure.volumetry import SINGLE_SLICE
from medseg.phantoms import box, ellipsoid, oblique_geometry
from medseg.spatial import Geometry, LabelTable, Segmentation

DATA = Path(os.environ.get("MEDSEG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
GRIDS = [
    oblique_geometry((80, 80, 80), (1.0, 1.0, 1.0)),
    oblique_geometry((100, 110, 50), (0.8, 0.7, 1.6), (12, -20, 33), "LPS"),
]
# The digital phantom of IBSI, voxels of 2 mm, (z, y, x); 0 is outside the region.
IBSI_ZYX = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
)


def form(mask, geometry):
    found = measure(Segmentation(mask.astype(np.uint8), geometry, LabelTable.numbered([1])))
    return {m.name: m for m in found if m.name in {"elongation", "flatness"}}


@pytest.mark.parametrize("geometry", GRIDS)
def test_an_ellipsoid_has_the_ratios_of_its_axes(geometry):
    mask = ellipsoid(geometry, geometry.centre_mm, (10, 16, 20), (10, 20, 30))
    moments = principal_moments_mm2(mask, geometry)
    # A solid ellipsoid's variance along an axis is a fifth of its radius squared.
    assert moments == pytest.approx((20, 16**2 / 5, 80), rel=0.02)
    assert elongation_and_flatness(moments) == pytest.approx((0.8, 0.5), rel=0.01)
    found = form(mask, geometry)
    assert (found["elongation"].value, found["flatness"].value) == pytest.approx((0.8, 0.5), rel=0.01)
    assert "PyRadiomics" in found["flatness"].method


@pytest.mark.parametrize("geometry", GRIDS)
def test_the_moments_are_those_of_simpleitk(geometry):
    mask = ellipsoid(geometry, geometry.centre_mm, (12, 8, 15), (10, 20, 30))
    mask[:, :, geometry.shape[2] // 2 :] &= ellipsoid(geometry, geometry.centre_mm, (9, 8, 15), (10, 20, 30))[
        :, :, geometry.shape[2] // 2 :
    ]
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.astype(np.uint8).transpose(2, 1, 0)))
    affine_lps = np.diag([-1, -1, 1, 1]) @ geometry.affine
    image.SetSpacing(geometry.spacing_mm)
    image.SetDirection((affine_lps[:3, :3] / geometry.spacing_mm).ravel().tolist())
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(image)
    ours = principal_moments_mm2(mask, geometry)
    assert ours == pytest.approx(statistics.GetPrincipalMoments(1))
    centres = geometry.to_world(np.argwhere(mask))
    assert ours == pytest.approx(np.linalg.eigvalsh(np.cov(centres.T, bias=True)))


def test_a_sheared_grid_is_measured_in_the_patient():
    affine = np.array([[1, 0.5, 0, 3], [0, 2, 0.3, 4], [0, 0, 3, 5], [0, 0, 0, 1.0]])
    mask = np.random.default_rng(0).random((7, 8, 9)) < 0.3
    geometry = Geometry(affine, mask.shape)
    expected = np.linalg.eigvalsh(np.cov(geometry.to_world(np.argwhere(mask)).T, bias=True))
    assert principal_moments_mm2(mask, geometry) == pytest.approx(expected)


def test_the_phantom_of_ibsi():
    geometry = Geometry(np.diag([2.0, 2.0, 2.0, 1.0]), (5, 4, 4))
    found = form(IBSI_ZYX.T > 0, geometry)
    assert found["elongation"].value == pytest.approx(0.816, abs=5e-4)
    assert found["flatness"].value == pytest.approx(0.749, abs=5e-4)


def test_pyradiomics_own_case():
    path = DATA / "single_lesion" / "brain1_label.nrrd"
    if not path.is_file():
        pytest.skip(
            "no real lesion: set MEDSEG_DATA to the folder that holds single_lesion/brain1_label.nrrd"
        )
    found = {m.name: m.value for m in measure(read_segmentation(path))}
    assert found["elongation"] == pytest.approx(0.5621171627174109, rel=1e-12)
    assert found["flatness"] == pytest.approx(0.46105975346582634, rel=1e-12)


def test_lines_planes_and_points():
    geometry = oblique_geometry((9, 9, 9), (1.0, 1.3, 2.0), (10, 20, 30))
    line = box(geometry, geometry.centre_mm, (1, 1, 99), (10, 20, 30))
    found = form(line, geometry)
    assert (found["elongation"].value, found["flatness"].value) == (0, 0)
    plane = np.zeros(geometry.shape, bool)
    plane[1:8, 1:8, 4] = True
    found = form(plane, geometry)
    assert found["elongation"].value == pytest.approx(1 / 1.3)
    assert found["flatness"].value == 0
    point = np.zeros(geometry.shape, bool)
    point[4, 4, 4] = True
    found = form(point, geometry)
    assert found["elongation"].reason == found["flatness"].reason == SINGLE_VOXEL


def test_a_single_slice_has_an_elongation_but_no_flatness():
    geometry = oblique_geometry((20, 20, 1), (0.5, 0.5, 6.0))
    labels = np.zeros(geometry.shape, bool)
    labels[2:10, 3:7] = True
    found = form(labels, geometry)
    assert found["elongation"].value == pytest.approx(np.sqrt(15 / 63))
    assert found["flatness"].reason == SINGLE_SLICE
