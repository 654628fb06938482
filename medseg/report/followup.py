"""Target lesions and the change between two examinations as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from medseg.measure.change import Change
from medseg.measure.recist import RULES, FollowUp, Targets
from medseg.report.report import NOTICE, SCHEMA_VERSION


def change_record(case_id: str, change: Change) -> dict[str, Any]:
    """Every lesion of both examinations, the measurements of change and the rules, ready for JSON."""
    return {
        **_head(case_id),
        "method": change.method,
        "notes": list(change.notes),
        "lesions": [dataclasses.asdict(lesion) for lesion in change.lesions],
        "measurements": [dataclasses.asdict(measurement) for measurement in change.measurements],
    }


def recist_record(case_id: str, targets: Targets, follow_up: FollowUp | None) -> dict[str, Any]:
    """Target lesions with their sum and, of two examinations, the response, ready for JSON.

    Args:
        case_id: the report's.
        targets: chosen in the earlier examination, or in the only one.
        follow_up: what became of them; None where there is one examination.
    """
    return {
        **_head(case_id),
        "method": RULES,
        "targets": [{**dataclasses.asdict(one), "size_mm": one.size_mm} for one in targets.chosen],
        "measurable_lesions": targets.measurable,
        "min_long_diameter_mm": targets.min_long_mm,
        "sum_mm": targets.sum_mm,
        "follow_up": None if follow_up is None else _follow_up(follow_up),
    }


def _follow_up(found: FollowUp) -> dict[str, Any]:
    return {
        "baseline_sum_mm": found.baseline_mm,
        "sum_mm": found.current_mm,
        "sizes_mm": {str(number): size for number, size in found.sizes.items()},
        "new_lesions": found.new_lesions,
        "response": found.response,
        "reason": found.reason,
    }


def recist_sentence(targets: Targets, follow_up: FollowUp | None) -> str:
    """What the report says of the target lesions, in one sentence."""
    if follow_up is None:
        if targets.sum_mm is None:
            return "RECIST 1.1: no measurable lesion"
        return f"RECIST 1.1: sum of {len(targets.chosen)} target lesions {targets.sum_mm:.1f} mm"
    if follow_up.baseline_mm is None:
        return f"RECIST 1.1: {follow_up.reason}"
    now = "unknown" if follow_up.current_mm is None else f"{follow_up.current_mm:.1f} mm"
    said = f"by the sums {follow_up.response}" if follow_up.response else f"no response: {follow_up.reason}"
    return (
        f"RECIST 1.1: sum of {len(targets.chosen)} target lesions {follow_up.baseline_mm:.1f} mm at the "
        f"earlier time, {now} now; {follow_up.new_lesions} new lesions; {said}"
    )


def _head(case_id: str) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "notice": NOTICE, "case": {"id": case_id}}
