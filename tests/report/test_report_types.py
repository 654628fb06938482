"""What a report refuses, and what it keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medseg.errors import InputError, LabelTableError
from medseg.measure.measurement import Measurement
from medseg.report.report import NOTICE, Provenance, plain, versions
from medseg.spatial import LabelTable


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights_sha256": "AB" * 32}, "weights_sha256"),
        ({"config_sha256": "ab"}, "config_sha256"),
        ({"started": "31.01.2025"}, "start time"),
        ({"started": "2025-13-31T08:15:00Z"}, "start time"),
        ({"started": "2025-01-31T08:15:00+02:00"}, "start time"),
        ({"started": "2025-01-31T08:15:00"}, "start time"),
        ({"input_sources": {"image": "Doe^Jane"}}, "source of input 'image'"),
        ({"input_sources": {"image": "scans/a.nii.gz"}}, "source of input"),
        ({"input_sources": {"image": "ab" * 32}}, "source of input"),
        ({"input_sources": {"image": "sha256:12"}}, "source of input"),
        ({"input_sources": {"image": "1." * 40 + "1"}}, "source of input"),
        ({"durations_s": {"read": -1.0}}, "duration of step 'read'"),
        ({"durations_s": {"read": float("nan")}}, "duration of step 'read'"),
    ],
)
def test_provenance_refuses(provenance, change, words):
    with pytest.raises(InputError, match=words) as caught:
        dataclasses.replace(provenance, **change)
    assert "Doe" not in str(caught.value)
    assert "scans/" not in str(caught.value)


@pytest.mark.parametrize("started", [None, "2025-01-31T08:15:00Z", "2025-01-31T08:15:00.123456+00:00"])
def test_provenance_takes_utc(started):
    assert Provenance({}, started=started).started == started


def test_provenance_does_not_share_the_callers_mappings():
    options = {"tta": True}
    kept = Provenance({}, options=options)
    options["tta"] = False
    assert kept.options == {"tta": True}


def test_versions_name_what_is_installed():
    found = versions()
    assert found["numpy"] == np.__version__
    assert {"medseg", "python", "pydicom"} <= set(found)


def test_versions_leave_out_what_is_not_installed(monkeypatch):
    monkeypatch.setattr("medseg.report.report._LIBRARIES", ("numpy", "no-such-library-here"))
    assert set(versions()) == {"python", "numpy"}


def test_notice_cannot_be_replaced(report):
    assert report.notice == NOTICE
    with pytest.raises(ValueError, match="notice"):
        dataclasses.replace(report, notice="fine for everything")


def test_report_needs_an_id(report):
    with pytest.raises(InputError, match="case id"):
        dataclasses.replace(report, case_id="")


def test_report_refuses_labels_that_the_table_lacks(report):
    with pytest.raises(LabelTableError, match="front"):
        dataclasses.replace(report, table=LabelTable(tuple(report.table)[1:]))


def test_report_refuses_instances_of_labels_that_the_table_lacks(report):
    table = LabelTable((next(iter(report.table)),))
    with pytest.raises(LabelTableError, match="script"):
        dataclasses.replace(report, table=table, measurements=())


def test_report_refuses_a_measurement_of_an_unlisted_instance(report):
    stray = Measurement("volume_ml", 1.0, "ml", "front", 77)
    with pytest.raises(InputError, match="instance 77"):
        dataclasses.replace(report, measurements=(stray,))


def test_report_refuses_the_same_measurement_twice(report):
    one = Measurement("volume_ml", 1.0, "ml", "front")
    with pytest.raises(InputError, match="twice"):
        dataclasses.replace(report, measurements=(one, one))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("liver", "liver"),
        ("a\r\n\tb", "a b"),
        ("\x1b[31mred", "[31mred"),
        ("abc\u202edcba", "abc dcba"),
        ("a\u2028b\ud800", "a b"),
        ("ünïcödé 心", "ünïcödé 心"),
        ("", ""),
    ],
)
def test_plain_text_is_one_line_without_marks(text, shown):
    assert plain(text) == shown
