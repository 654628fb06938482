"""The list of measurements: who is in it, in which order, and why a value is missing."""

import os
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import GeometryMismatchError, LabelTableError
from medseg.instances.instance import Instance, InstanceMap
from medseg.instances.split import SplitOptions, split
from medseg.io.read import read_segmentation
from medseg.measure.measure import measure
from medseg.measure.uptake import UPTAKE_NAMES
from medseg.measure.volumetry import SINGLE_SLICE
from medseg.phantoms import abdomen, oblique_geometry
from medseg.spatial import Geometry, Label, LabelTable, Segmentation, Unit, Volume
from medseg.spatial.orientation import reoriented
from medseg.spatial.resample import resample_segmentation, resample_volume

DATA = Path(os.environ.get("MEDSEG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
GRID = oblique_geometry((100, 80, 60), (1.7, 2.0, 2.2), (8, -5, 12), "LPS")


def lookup(measurements):
    return {(m.label, m.instance, m.name): m for m in measurements}


def values(measurements):
    return {(m.label, m.instance, m.name): m.value for m in measurements}


@pytest.fixture(scope="module")
def scene():
    return abdomen(GRID)


def test_labels_then_their_instances_each_with_everything(scene):
    found = measure(scene.segmentation, split(scene.segmentation), scene.volume)
    order = list(dict.fromkeys((m.label, m.instance) for m in found))
    assert order == [("liver", None), ("spleen", None), ("lesion", None), ("lesion", 1), ("lesion", 2)]
    assert len(found) == 5 * 25 + 2
    assert len({(m.label, m.instance, m.name) for m in found}) == len(found)
    assert all(m.value is not None and m.method for m in found)
    table = lookup(found)
    spleen = scene.parts[1]
    assert table["spleen", None, "volume_ml"].value == pytest.approx(spleen.volume_ml, rel=0.02)
    for letter, centre, radius in zip("ras", spleen.centre_mm, spleen.radii_mm, strict=True):
        assert table["spleen", None, f"centroid_{letter}_mm"].value == pytest.approx(centre, abs=0.2)
        assert table["spleen", None, f"extent_{letter}_mm"].value == pytest.approx(2 * radius, abs=4)
    assert table["spleen", None, "longest_diameter_mm"].value == pytest.approx(52, abs=4)
    assert table["spleen", None, "intensity_mean"].value == pytest.approx(120, abs=1)
    assert table["spleen", None, "intensity_mean"].unit == "HU"
    long_mm = table["lesion", 1, "axial_long_diameter_mm"]
    short_mm = table["lesion", 1, "axial_short_diameter_mm"]
    assert table["lesion", 1, "axial_diameter_product_mm2"].value == long_mm.value * short_mm.value
    assert "RECIST" in long_mm.method
    assert "9.4° off axial" in long_mm.method
    assert table["lesion", 2, "touches_border"].value == 0


def test_instances_add_up_to_their_label(scene):
    found = values(measure(scene.segmentation, split(scene.segmentation)))
    for name in ("voxel_count", "volume_ml"):
        whole = found["lesion", None, name]
        assert found["lesion", 1, name] + found["lesion", 2, name] == pytest.approx(whole)
    assert ("lesion", 1, "intensity_mean") not in found


@pytest.mark.parametrize("code", ["RAS", "SRA", "IPL"])
def test_no_number_depends_on_how_the_array_lies(scene, code):
    turned = reoriented(GRID, code)
    here = values(measure(scene.segmentation, split(scene.segmentation), scene.volume))
    moved = resample_segmentation(scene.segmentation, turned)
    there = values(measure(moved, split(moved), resample_volume(scene.volume, turned)))
    assert set(here) == set(there)
    for key, value in here.items():
        if key[2] != "axial_slice_index":
            assert there[key] == pytest.approx(value, rel=1e-9, abs=1e-9), key


def test_an_absent_label_has_volume_0_and_a_reason_for_the_rest():
    geometry = oblique_geometry((4, 4, 4), (1, 1, 1))
    table = LabelTable((Label(1, "liver"), Label(2, "spleen")))
    labels = np.ones(geometry.shape, np.uint8)
    image = Volume(np.zeros(geometry.shape), geometry, Unit.SUV)
    found = lookup(measure(Segmentation(labels, geometry, table), image=image))
    for (label, _, name), entry in found.items():
        if label == "liver":
            assert (entry.reason is None) == (name != "suv_peak_inside")
        elif name in {"voxel_count", "volume_ml"}:
            assert entry.value == 0
        else:
            assert (entry.value, entry.reason) == (None, "not present")
    assert found["liver", None, "touches_border"].value == 1
    assert found["liver", None, "intensity_sd"].unit == "SUV"


def test_an_unknown_pixel_size_leaves_counts_and_intensities():
    geometry = Geometry(np.eye(4), (6, 6, 1), calibrated=False)
    labels = np.zeros(geometry.shape, np.uint8)
    labels[1:3, 1:4] = 1
    table = LabelTable((Label(1, "nucleus", kind="thing"), Label(2, "other")))
    segmentation = Segmentation(labels, geometry, table)
    image = Volume(np.full(geometry.shape, 7), geometry)
    found = lookup(measure(segmentation, split(segmentation), image))
    known = {"voxel_count", "touches_border", "lesion_count"} | {
        key[2] for key in found if "intensity" in key[2]
    }
    for instance in (None, 1):
        for (label, number, name), entry in found.items():
            if (label, number) == ("nucleus", instance) and name not in UPTAKE_NAMES:
                assert entry.reason == (None if name in known else "pixel size unknown"), name
    assert found["nucleus", 1, "voxel_count"].value == 6
    assert found["nucleus", 1, "intensity_mean"].value == 7
    assert found["other", None, "voxel_count"].value == 0
    assert found["other", None, "volume_ml"].reason == "not present"


def test_a_single_slice_is_a_plane_figure():
    geometry = oblique_geometry((20, 20, 1), (0.5, 0.5, 6.0))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2:8, 3:11] = 1
    found = lookup(measure(Segmentation(labels, geometry, LabelTable.numbered([1]))))
    get = {key[2]: entry for key, entry in found.items()}
    assert get["area_mm2"].value == pytest.approx(12)
    for name in ("volume_ml", "surface_area_mm2", "sphericity"):
        assert get[name].reason == SINGLE_SLICE
    assert get["extent_r_mm"].value == pytest.approx(3)
    assert get["extent_a_mm"].value == pytest.approx(4)
    assert get["extent_s_mm"].value == pytest.approx(0)
    assert get["longest_diameter_mm"].value == get["axial_long_diameter_mm"].value == pytest.approx(5)
    assert "one slice, axial" in get["axial_long_diameter_mm"].method


def test_other_grids_are_refused(scene):
    other = oblique_geometry((100, 80, 60), (1.7, 2.0, 2.3), (8, -5, 12), "LPS")
    with pytest.raises(GeometryMismatchError, match="the image has"):
        measure(scene.segmentation, image=Volume(scene.volume.array, other))
    empty = InstanceMap(np.zeros(other.shape, np.int32), other, (), scene.segmentation.table)
    with pytest.raises(GeometryMismatchError, match="the instance map has"):
        measure(scene.segmentation, empty)


def test_an_instance_of_an_unknown_label_is_refused():
    geometry = oblique_geometry((2, 2, 2), (1, 1, 1))
    ids = np.ones(geometry.shape, np.int32)
    entry = Instance(1, "cyst", 8, 0.008, (0, 0, 0), ((0, 2), (0, 2), (0, 2)))
    instances = InstanceMap(ids, geometry, (entry,), LabelTable((Label(1, "cyst"),)))
    with pytest.raises(LabelTableError, match="no label called 'cyst'"):
        measure(Segmentation(ids.astype(np.uint8), geometry, LabelTable.numbered([1])), instances)


def test_an_empty_table_has_nothing_to_measure():
    geometry = oblique_geometry((2, 2, 2), (1, 1, 1))
    assert measure(Segmentation(np.zeros(geometry.shape, np.uint8), geometry, LabelTable(()))) == []


def test_real_organs_add_up():
    path = DATA / "organs" / "ct_organs.nii.gz"
    if not path.is_file():
        pytest.skip("no real label map: set MEDSEG_DATA to the folder that holds organs/ct_organs.nii.gz")
    segmentation = read_segmentation(path)
    found = values(measure(segmentation, split(segmentation, SplitOptions(all_labels=True))))
    whole = sum(v for (_, number, name), v in found.items() if number is None and name == "voxel_count")
    parts = sum(v for (_, number, name), v in found.items() if number is not None and name == "voxel_count")
    assert whole == parts == np.count_nonzero(segmentation.labels)
    assert all(
        found[label, number, "axial_short_diameter_mm"]
        <= found[label, number, "axial_long_diameter_mm"] + 1e-9
        and found[label, number, "axial_long_diameter_mm"] <= found[label, number, "longest_diameter_mm"]
        for label, number, _ in found
    )
