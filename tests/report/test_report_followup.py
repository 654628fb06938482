"""What the report says of target lesions."""

from __future__ import annotations

import json

import pytest

from medseg.measure.change import Change, LesionChange
from medseg.measure.measurement import Measurement
from medseg.measure.recist import Diameters, FollowUp, Response, Targets
from medseg.report.followup import change_record, recist_record, recist_sentence

TARGETS = Targets((Diameters("a", 1, 30, 20), Diameters("n", 2, 25, 16, node=True)), 3, 10)
NONE = Targets((), 0, 10)


@pytest.mark.parametrize(
    ("targets", "follow_up", "said"),
    [
        (NONE, None, "no measurable lesion"),
        (TARGETS, None, "sum of 2 target lesions 46.0 mm"),
        (NONE, FollowUp(None, None, {}, 1, None, "nothing to follow"), "nothing to follow"),
        (
            TARGETS,
            FollowUp(46, 30, {1: 30}, 0, Response.PARTIAL),
            "sum of 2 target lesions 46.0 mm at the earlier time, 30.0 mm now; 0 new lesions; by the sums PR",
        ),
        (
            TARGETS,
            FollowUp(46, None, {}, 0, None, "one lies outside"),
            "sum of 2 target lesions 46.0 mm at the earlier time, unknown now; 0 new lesions; no response: "
            "one lies outside",
        ),
    ],
)
def test_sentence(targets, follow_up, said):
    assert recist_sentence(targets, follow_up) == f"RECIST 1.1: {said}"


def test_targets_as_json():
    found = json.loads(
        json.dumps(recist_record("c", TARGETS, FollowUp(46, 30, {1: 30}, 2, Response.PARTIAL)))
    )
    assert found["case"] == {"id": "c"} and "Research use only" in found["notice"]
    assert [target["size_mm"] for target in found["targets"]] == [30, 16]
    assert found["sum_mm"] == 46 and found["measurable_lesions"] == 3
    assert found["follow_up"] == {
        "baseline_sum_mm": 46,
        "sum_mm": 30,
        "sizes_mm": {"1": 30},
        "new_lesions": 2,
        "response": "PR",
        "reason": None,
    }
    assert recist_record("c", NONE, None)["follow_up"] is None


def test_change_as_json():
    lesion = LesionChange("a", "new", (), (1,), 0.0, 1.5, 1.5, None)
    change = Change((lesion,), (Measurement("lesions_new", 1.0, "1", "a", method="m"),), ("a note",), "rules")
    found = json.loads(json.dumps(change_record("c", change), allow_nan=False))
    assert found["notes"] == ["a note"] and found["method"] == "rules"
    assert found["lesions"][0]["status"] == "new" and found["lesions"][0]["current"] == [1]
    assert found["measurements"][0]["name"] == "lesions_new"
