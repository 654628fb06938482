"""Volumes, segmentations, probability maps, label tables and cases: valid once built."""

from pathlib import Path

import numpy as np
import pytest

from medseg.errors import GeometryMismatchError, InputError, LabelTableError
from medseg.spatial import (
    Case,
    CaseRef,
    Code,
    Geometry,
    Label,
    LabelTable,
    ProbabilityMap,
    Segmentation,
    Unit,
    Volume,
)
from medseg.spatial.segmentation import present_indices

GRID = Geometry(np.eye(4), (2, 3, 4))
TABLE = LabelTable((Label(7, "b"), Label(2, "a", Code("SCT", "1", "A"), (1, 2, 3), "thing")))


def test_table_is_ordered_and_searched_both_ways():
    assert [label.index for label in TABLE] == [2, 7]
    assert len(TABLE) == 2
    assert TABLE.by_index(7).name == "b"
    assert TABLE.by_name("a").code == Code("SCT", "1", "A")
    assert TABLE.by_name("a").rgb == (1, 2, 3)
    assert TABLE.by_name("b").rgb == Label(19, "c").rgb
    assert [label.name for label in LabelTable.numbered([0, 3, 5])] == ["label_3", "label_5"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Label(0, "x"), "index 0"),
        (lambda: Label(1, ""), "no name"),
        (lambda: LabelTable((Label(1, "x"), Label(1, "y"))), "index 1 occurs more than once"),
        (lambda: LabelTable((Label(1, "x"), Label(2, "x"))), "name x occurs more than once"),
        (lambda: TABLE.by_index(3), "no label with index 3"),
        (lambda: TABLE.by_name("c"), "no label called 'c'; it has a, b"),
    ],
)
def test_unsound_tables_and_searches_are_refused(make, message):
    with pytest.raises(LabelTableError, match=message):
        make()


def test_a_volume_shares_memory_and_is_read_only():
    array = np.zeros(GRID.shape, np.int16)
    volume = Volume(array, GRID, Unit.HU, "sha256:0")
    assert np.shares_memory(volume.array, array)
    assert not volume.array.flags.writeable
    assert array.flags.writeable


@pytest.mark.parametrize("shape", [(2, 3), (4, 3, 2), (1, 2, 3, 4)])
def test_a_volume_of_another_shape_is_refused(shape):
    with pytest.raises(GeometryMismatchError, match="but its grid has"):
        Volume(np.zeros(shape), GRID)


def test_numbers_of_another_kind_are_refused():
    with pytest.raises(InputError, match="complex"):
        Volume(np.zeros(GRID.shape, complex), GRID)
    with pytest.raises(InputError, match="float32"):
        Segmentation(np.zeros(GRID.shape, np.float32), GRID, TABLE)
    with pytest.raises(InputError, match="int16"):
        Segmentation(np.zeros(GRID.shape, np.int16), GRID, TABLE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_a_segmentation_knows_its_labels(dtype):
    labels = np.zeros(GRID.shape, dtype)
    labels[0, 0, 0] = 7
    assert present_indices(Segmentation(labels, GRID, TABLE).labels) == [0, 7]
    labels[0, 0, 1] = 9
    with pytest.raises(LabelTableError, match="holds 9, which the label table does not name; it names 2, 7"):
        Segmentation(labels, GRID, TABLE)


def test_many_unknown_labels_are_shown_in_part():
    labels = np.arange(24, dtype=np.uint8).reshape(GRID.shape)
    with pytest.raises(LabelTableError, match=r"1, 2, .*10 ….*it names nothing"):
        Segmentation(labels, GRID, LabelTable(()))


def test_present_indices_of_nothing_and_of_high_numbers():
    assert present_indices(np.zeros((0, 2, 2), np.uint8)) == []
    high = np.array([0, 5, 2**40, 5], np.uint64).reshape(1, 2, 2)
    assert present_indices(high) == [0, 5, 2**40]


def test_probabilities_become_the_most_probable_label():
    array = np.zeros((3, *GRID.shape), np.float32)
    array[0] = 0.5
    array[1, 0] = 0.6
    array[2, 1] = 0.5
    segmentation = ProbabilityMap(array, GRID, TABLE).to_segmentation("s")
    assert (segmentation.labels[0] == 2).all()
    assert (segmentation.labels[1] == 0).all()
    assert segmentation.labels.dtype == np.uint8
    assert segmentation.source == "s"


def test_probabilities_need_a_channel_per_label():
    with pytest.raises(LabelTableError, match="2 channels of probabilities for 2 labels"):
        ProbabilityMap(np.zeros((2, *GRID.shape)), GRID, TABLE)
    with pytest.raises(GeometryMismatchError, match="after 1 leading axis"):
        ProbabilityMap(np.zeros(GRID.shape), GRID, TABLE)


def test_a_case_has_one_grid():
    a, b = Volume(np.zeros(GRID.shape), GRID), Volume(np.ones(GRID.shape), GRID)
    case = Case("c", {"t1": a, "t2": b})
    assert case.geometry is GRID
    assert list(case.channels) == ["t1", "t2"]
    other = Geometry(np.diag([2.0, 1, 1, 1]), GRID.shape)
    with pytest.raises(GeometryMismatchError, match="channel 't2'"):
        Case("c", {"t1": a, "t2": Volume(np.zeros(GRID.shape), other)})
    with pytest.raises(InputError, match="no channels"):
        Case("c", {})
    with pytest.raises(TypeError):
        case.channels["t3"] = a


def test_a_case_reference_has_files():
    assert CaseRef("c", {"t1": (Path("a.nii"),)}).channels["t1"] == (Path("a.nii"),)
    for bad in ({}, {"t1": ()}):
        with pytest.raises(InputError, match="no files"):
            CaseRef("c", bad)
