"""Files beside the label maps: label names, and tables of cases."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import InputError, LabelTableError, UnreadableFileError
from medseg.spatial import Geometry, LabelTable, Segmentation
from medseg.workflows.case_table import read_case_table
from medseg.workflows.label_names import (
    LabelNames,
    read_label_names,
    with_common_table,
    with_names,
)


def segmentation(*values):
    array = np.array(values, np.uint16).reshape(-1, 1, 1)
    return Segmentation(array, Geometry(np.eye(4), array.shape), LabelTable.numbered(sorted(set(values))))


def test_names_are_brought_onto_one_table():
    names = LabelNames({1: "spleen", 2: "liver", 9: None}, {5: "liver", 6: "spleen", 7: "spleen"})
    mine, theirs = with_names(segmentation(0, 1, 2, 9), segmentation(0, 5, 6, 7), names)
    assert mine.table == theirs.table and [label.name for label in mine.table] == ["liver", "spleen"]
    assert mine.labels.ravel().tolist() == [0, 6, 5, 0]
    assert theirs.labels.ravel().tolist() == [0, 5, 6, 6]


def test_a_name_of_the_prediction_alone_gets_an_index():
    mine, _ = with_names(segmentation(3), segmentation(1), LabelNames({3: "cyst"}, {1: "liver"}))
    assert [(label.index, label.name) for label in mine.table] == [(1, "liver"), (2, "cyst")]


def test_labels_that_are_not_named():
    values = [*range(12)]
    with pytest.raises(LabelTableError, match=r"labels 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, which"):
        with_names(segmentation(*values), segmentation(1), LabelNames({1: "a"}, {1: "a"}))
    with pytest.raises(LabelTableError, match="…"):
        with_names(segmentation(*values, 12), segmentation(1), LabelNames({1: "a"}, {1: "a"}))


def test_one_table_for_both_sides_without_names():
    mine, theirs = with_common_table(segmentation(0, 2), segmentation(0, 7))
    assert mine.table == theirs.table == LabelTable.numbered([2, 7])


@pytest.mark.parametrize(
    ("mine", "theirs", "message"),
    [
        ({}, {1: "a"}, "no label with a name"),
        ({1: "a"}, {1: None}, "no label with a name"),
        ({0: "a"}, {1: "a"}, "an index of 1 or more"),
        ({1: "a", 2: ""}, {1: "a"}, "an index of 1 or more"),
    ],
)
def test_unsound_names(mine, theirs, message):
    with pytest.raises(LabelTableError, match=message):
        LabelNames(mine, theirs)


def test_files_of_names(tmp_path):
    both, each = tmp_path / "both.yaml", tmp_path / "each.json"
    both.write_text("1: liver\n2: null\n")
    each.write_text('{"prediction": {"3": "liver"}, "reference": {"1": "liver"}}')
    assert read_label_names(both) == LabelNames({1: "liver", 2: None}, {1: "liver", 2: None})
    assert read_label_names(each) == LabelNames({3: "liver"}, {1: "liver"})


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"\xff\xfe", UnreadableFileError, "not a YAML"),
        (b"1: [", UnreadableFileError, "not a YAML"),
        (b"- 1", LabelTableError, "holds no mapping"),
        (b"one: liver", LabelTableError, "holds 'one'"),
        (b"1: 2", LabelTableError, "holds 1: 2"),
        (b"1: liver\n1: spleen", LabelTableError, "twice"),
        (b"1: liver\n'1': spleen", LabelTableError, "twice"),
        (b"prediction: {1: a}\nreference: 3", LabelTableError, "holds no mapping"),
        (b"#" * (1 << 20) + b"1", UnreadableFileError, "larger than 1 MiB"),
    ],
)
def test_files_of_names_that_are_refused(tmp_path, content, error, message):
    path = tmp_path / "names.yaml"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        read_label_names(path)


def test_no_file_of_names(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_label_names(tmp_path / "names.yaml")


def test_table_of_cases(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_bytes('\ufeffcase_id, scanner,note\na,A,"x, y"\n\nb, B\n'.encode())
    assert read_case_table(path) == {"a": {"scanner": "A", "note": "x, y"}, "b": {"scanner": "B"}}


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", InputError, "columns none"),
        (b"case_id\na\n", InputError, "at least one other"),
        (b"case_id,x,x\na,1,2\n", InputError, "each once"),
        (b"case_id,x\na,1,2\n", InputError, "3 cells in line 2"),
        (b"case_id,x\na,1\na,2\n", InputError, "line 3 of cases.csv names a case again"),
        (b"case_id,x\n,1\n", InputError, "has no case"),
        (b"case_id,x\n\xff,1\n", UnreadableFileError, "not a CSV file"),
        (b'case_id,x\n"a"b,1\n', UnreadableFileError, "not a CSV file"),
        (b"a" * ((16 << 20) + 1), UnreadableFileError, "larger than 16 MiB"),
    ],
)
def test_tables_of_cases_that_are_refused(tmp_path, content, error, message):
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        read_case_table(path)
