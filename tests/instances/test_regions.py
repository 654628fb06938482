"""Regions against scipy and brute force."""

import numpy as np
import pytest
from scipy import ndimage

from medseg.instances import regions as module
from medseg.instances.regions import find_regions
from medseg.phantoms import oblique_geometry
from medseg.spatial import Geometry


@pytest.mark.parametrize("slab", [1, 50, 1 << 22])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int32, np.int64])
def test_the_same_as_scipy(dtype, slab, monkeypatch):
    monkeypatch.setattr(module, "_SLAB_VOXELS", slab)
    array = np.random.default_rng(0).choice([0, 0, 1, 3, 200], (6, 7, 8)).astype(dtype)
    array[2] = 0
    found = find_regions(array)
    assert [region.value for region in found] == [1, 3, 200]
    for region in found:
        mask = array == region.value
        assert region.voxel_count == mask.sum()
        assert region.centre_index == pytest.approx(ndimage.center_of_mass(mask))
        assert region.slices == ndimage.find_objects(mask.astype(int))[0]
        assert region.first == np.flatnonzero(mask)[0]


@pytest.mark.parametrize("background", [0, 5])
def test_high_values_do_not_cost_memory(background):
    array = np.full((2, 2, 2), background, np.int64)
    array[0, 0, 0] = 2**40
    array[1, 1, 1] = 7
    expected = [7, 2**40] if background == 0 else [5, 7, 2**40]
    found = find_regions(array)
    assert [region.value for region in found] == expected
    assert [region.voxel_count for region in found] == ([1, 1] if background == 0 else [6, 1, 1])


def test_masks_and_nothing():
    assert find_regions(np.zeros((3, 3, 3), bool)) == []
    assert find_regions(np.zeros((0, 3, 3), np.uint8)) == []
    assert find_regions(np.ones((3, 3, 3), bool))[0].voxel_count == 27


def test_places_in_the_patient():
    geometry = oblique_geometry((4, 4, 4), (1, 2, 3), (10, 20, 30))
    region = find_regions(np.ones((4, 4, 4), np.uint8))[0]
    assert region.centroid_mm(geometry) == pytest.approx(geometry.centre_mm)
    assert region.volume_ml(geometry) == pytest.approx(64 * 6 / 1000)
    pixels = Geometry(np.eye(4), (4, 4, 4), calibrated=False)
    assert region.centroid_mm(pixels) is None
    assert region.volume_ml(pixels) is None
