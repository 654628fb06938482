"""SUV and total lesion glycolysis: a hot ball of known uptake in a warm lesion, and brute force."""

import math

import numpy as np
import pytest

from medseg.instances.split import split
from medseg.measure import uptake
from medseg.measure.measure import measure
from medseg.measure.uptake import (
    NO_BALL_INSIDE,
    PEAK_RADIUS_MM,
    UPTAKE_NAMES,
    VOXEL_TOO_LARGE,
    ball_offsets,
)
from medseg.measure.volumetry import SINGLE_SLICE
from medseg.phantoms import ball, oblique_geometry
from medseg.spatial import Geometry, Label, LabelTable, Segmentation, Unit, Volume
from medseg.spatial.orientation import reoriented
from medseg.spatial.resample import resample_segmentation, resample_volume

GRIDS = [
    oblique_geometry((40, 40, 40), (1.5, 1.5, 1.5)),
    oblique_geometry((30, 34, 20), (2.1, 1.7, 3.0), (12, -20, 33), "LPS"),
]
LESION = LabelTable((Label(1, "lesion", kind="thing"),))


def take(mask, values, geometry, unit=Unit.SUV):
    segmentation = Segmentation(mask.astype(np.uint8), geometry, LESION)
    found = measure(segmentation, image=Volume(values, geometry, unit))
    return {m.name: m for m in found if m.name in UPTAKE_NAMES}


def brute_force(mask, values, geometry):
    """Peaks by distances between all voxel centres of the image."""
    everywhere = geometry.to_world(np.argwhere(np.ones(mask.shape, bool)))
    flat, inside = values.ravel(), mask.ravel()
    peaks, whole = [], []
    for centre in geometry.to_world(np.argwhere(mask)):
        near = np.linalg.norm(everywhere - centre, axis=1) <= PEAK_RADIUS_MM
        peaks.append(flat[near].mean())
        if inside[near].all() and near.sum() == len(ball_offsets(geometry)):
            whole.append(peaks[-1])
    return max(peaks), max(whole, default=None)


def test_the_ball_is_1_ml():
    assert 4 / 3 * math.pi * PEAK_RADIUS_MM**3 == pytest.approx(1000)
    geometry = oblique_geometry((3, 3, 3), (0.5, 0.6, 0.7), (12, -20, 33))
    assert len(ball_offsets(geometry)) * geometry.voxel_volume_mm3 == pytest.approx(1000, rel=0.02)


@pytest.mark.parametrize("geometry", GRIDS)
def test_a_hot_ball_of_1_ml_in_a_warm_lesion(geometry):
    centre = geometry.to_world(np.array(geometry.shape) // 2)
    lesion = ball(geometry, centre, 16)
    hot = ball(geometry, centre, PEAK_RADIUS_MM)
    values = np.where(hot, 9.0, np.where(lesion, 3.0, 0.5))
    values[tuple(np.array(geometry.shape) // 2)] = 11.0
    found = take(lesion, values, geometry)
    peak = 9 + 2 / hot.sum()
    assert found["suv_peak"].value == pytest.approx(peak)
    assert found["suv_peak_inside"].value == pytest.approx(peak)
    assert found["suv_max"].value == 11
    mean = values[lesion].mean()
    assert found["suv_mean"].value == pytest.approx(mean)
    volume_ml = lesion.sum() * geometry.voxel_volume_mm3 / 1000
    assert found["total_lesion_glycolysis"].value == pytest.approx(mean * volume_ml)
    assert found["total_lesion_glycolysis"].unit == "SUV*ml"
    assert "IBSI" in found["suv_peak"].method


@pytest.mark.parametrize("geometry", GRIDS)
@pytest.mark.parametrize("slab", [1, 1 << 22])
def test_peaks_of_noise_are_those_of_brute_force(geometry, slab, monkeypatch):
    monkeypatch.setattr(uptake, "_SLAB_VOXELS", slab)
    values = np.random.default_rng(3).gamma(2, 2, geometry.shape)
    corner = ball(geometry, geometry.to_world((2, 3, 1)), 11)
    middle = ball(geometry, geometry.centre_mm, 12)
    for mask in (corner, middle, corner | middle):
        found = take(mask, values, geometry)
        peak, inside = brute_force(mask, values, geometry)
        assert found["suv_peak"].value == pytest.approx(peak, rel=1e-12)
        assert found["suv_peak_inside"].value == (inside and pytest.approx(inside, rel=1e-12))


def test_a_small_lesion_has_a_peak_but_none_inside():
    geometry = GRIDS[0]
    mask = ball(geometry, geometry.centre_mm, 4)
    found = take(mask, np.where(mask, 10.0, 1.0), geometry)
    assert 1 < found["suv_peak"].value < 10
    assert found["suv_peak_inside"].reason == NO_BALL_INSIDE


@pytest.mark.parametrize("code", ["SRA", "IPL"])
def test_uptake_does_not_depend_on_how_the_array_lies(code):
    geometry = GRIDS[1]
    image = Volume(np.random.default_rng(1).gamma(2, 2, geometry.shape), geometry, Unit.SUV)
    mask = ball(geometry, geometry.centre_mm, 14)
    segmentation = Segmentation(mask.astype(np.uint8), geometry, LESION)
    turned = reoriented(geometry, code)
    here = take(mask, image.array, geometry)
    there = take(
        resample_segmentation(segmentation, turned).labels == 1, resample_volume(image, turned).array, turned
    )
    for name in UPTAKE_NAMES:
        assert there[name].value == pytest.approx(here[name].value)


def test_another_unit_gives_a_reason_and_hounsfield_units_nothing():
    geometry = GRIDS[0]
    mask = ball(geometry, geometry.centre_mm, 8)
    found = take(mask, np.ones(geometry.shape), geometry, Unit.ARBITRARY)
    assert set(found) == set(UPTAKE_NAMES)
    assert all(m.value is None and "--unit SUV" in m.reason for m in found.values())
    assert take(mask, np.ones(geometry.shape), geometry, Unit.HU) == {}


def test_voxels_that_are_no_numbers_give_a_reason():
    geometry = GRIDS[0]
    mask = ball(geometry, geometry.centre_mm, 8)
    values = np.ones(geometry.shape)
    values[20, 20, 20] = np.nan
    assert all("NaN" in m.reason for m in take(mask, values, geometry).values())
    values = np.ones(geometry.shape)
    outside = tuple(np.argwhere(mask).max(axis=0) + 1)
    values[outside] = np.inf
    found = take(mask, values, geometry)
    assert found["suv_mean"].value == 1
    assert "within 6.2 mm" in found["suv_peak"].reason
    assert "within 6.2 mm" in found["suv_peak_inside"].reason


def test_large_voxels_single_slices_and_unknown_sizes():
    coarse = oblique_geometry((5, 5, 5), (10, 10, 10.5))
    found = take(np.ones(coarse.shape, bool), np.ones(coarse.shape), coarse)
    assert found["suv_peak"].reason == found["suv_peak_inside"].reason == VOXEL_TOO_LARGE
    assert found["total_lesion_glycolysis"].value == pytest.approx(125 * 1.05)
    plane = oblique_geometry((5, 5, 1), (2, 2, 2))
    found = take(np.ones(plane.shape, bool), np.ones(plane.shape), plane)
    assert {found[name].reason for name in UPTAKE_NAMES[2:]} == {SINGLE_SLICE}
    unknown = Geometry(np.eye(4), (5, 5, 1), calibrated=False)
    found = take(np.ones(unknown.shape, bool), np.full(unknown.shape, 2.0), unknown)
    assert found["suv_mean"].value == found["suv_max"].value == 2
    assert {found[name].reason for name in UPTAKE_NAMES[2:]} == {"pixel size unknown"}


def test_lesion_load_is_that_of_the_instances():
    geometry = GRIDS[0]
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2:5, 2:5, 2:5] = labels[10:12, 10:12, 10:12] = 1
    table = LabelTable((Label(1, "lesion", kind="thing"), Label(2, "organ"), Label(3, "cyst", kind="thing")))
    segmentation = Segmentation(labels, geometry, table)
    load = {
        (m.label, m.name): m
        for m in measure(segmentation, split(segmentation))
        if m.name.startswith("lesion_")
    }
    assert set(load) == {
        (label, name) for label in ("lesion", "cyst") for name in ("lesion_count", "lesion_load_ml")
    }
    assert load["lesion", "lesion_count"].value == 2
    assert load["lesion", "lesion_load_ml"].value == pytest.approx((27 + 8) * 1.5**3 / 1000)
    assert load["cyst", "lesion_count"].value == load["cyst", "lesion_load_ml"].value == 0
    assert not [m for m in measure(segmentation) if m.name.startswith("lesion_")]


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        (Geometry(np.eye(4), (6, 6, 1), calibrated=False), "pixel size unknown"),
        (oblique_geometry((6, 6, 1), (1, 1, 1)), SINGLE_SLICE),
    ],
)
def test_a_load_without_volume_has_a_reason(geometry, reason):
    labels = np.zeros(geometry.shape, np.uint8)
    labels[1, 1] = labels[4, 4] = 1
    segmentation = Segmentation(labels, geometry, LESION)
    found = {m.name: m for m in measure(segmentation, split(segmentation)) if m.instance is None}
    assert found["lesion_count"].value == 2
    assert found["lesion_load_ml"].reason == reason
