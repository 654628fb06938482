"""CSV: one row per label and instance, safe in a spreadsheet."""

from __future__ import annotations

import csv
import dataclasses
import io

import pytest

from medseg.measure.measurement import Measurement
from medseg.report.as_csv import measurements_csv
from medseg.report.report import NOTICE
from medseg.spatial import Label, LabelTable

HOSTILE = '<script>alert("1")</script>'


def _rows(report):
    return list(csv.DictReader(io.StringIO(measurements_csv(report), newline="")))


def test_rows_and_columns(report):
    rows = _rows(report)
    assert list(rows[0]) == [
        "case", "label_index", "label", "instance", "score",
        "volume_ml", "voxel_count", "intensity_mean [HU]", "intensity_sd [HU]", "reasons", "notice",
    ]  # fmt: skip
    assert [(r["label"], r["label_index"], r["instance"]) for r in rows] == [
        ("front", "1", ""),
        (HOSTILE, "2", ""),
        ("absent", "5", ""),
        (HOSTILE, "2", "3"),
        (HOSTILE, "2", "9"),
    ]
    assert {r["notice"] for r in rows} == {NOTICE}


def test_numbers_are_whole_and_in_full_precision(report):
    rows = _rows(report)
    assert rows[0]["volume_ml"] == "1234.567"
    assert rows[0]["voxel_count"] == "300"
    assert rows[0]["intensity_mean [HU]"] == "-12.5"
    assert rows[3]["score"] == "0.875"
    assert rows[4]["score"] == ""


@pytest.mark.parametrize("value", [1 / 3, -1e-300, 1e300, 2.0**60, 0.1 + 0.2])
def test_numbers_survive(report, value):
    one = Measurement("x_mm", value, "mm", "front")
    rows = _rows(dataclasses.replace(report, measurements=(one,)))
    assert float(rows[0]["x_mm"]) == value
    assert rows[1]["x_mm"] == ""


def test_missing_values_are_empty_with_a_reason(report):
    row = _rows(report)[1]
    assert row["volume_ml"] == ""
    assert row["reasons"] == "volume_ml: pixel size unknown"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_text_is_never_a_formula(report, name):
    table = LabelTable((Label(1, name),))
    bare = dataclasses.replace(
        report, case_id=name, table=table, instances=(), measurements=(Measurement(name, -1.0, "ml", name),)
    )
    text = measurements_csv(bare)
    header, row = csv.reader(io.StringIO(text, newline=""))
    assert row[0] == row[2] == f"'{name}"
    assert header[5] == f"'{name} [ml]"
    assert row[5] == "-1"


def test_without_labels_the_header_alone(report):
    bare = dataclasses.replace(report, table=LabelTable(()), measurements=(), instances=())
    assert measurements_csv(bare) == "case,label_index,label,instance,score,reasons,notice\r\n"
