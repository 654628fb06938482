"""A report as JSON: what was measured, and how it came about."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from medseg.report.report import SCHEMA_VERSION, Report
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import Label


def measurements_record(report: Report) -> dict[str, Any]:
    """Labels, instances and every measurement of a case, ready for JSON.

    A measurement without a value has None there and says why in ``reason``.
    """
    return {
        **_head(report),
        "labels": [_label(label) for label in report.table],
        "instances": [dataclasses.asdict(instance) for instance in report.instances],
        "measurements": [dataclasses.asdict(measurement) for measurement in report.measurements],
        "warnings": list(report.warnings),
    }


def case_record(report: Report) -> dict[str, Any]:
    """Provenance of a case, ready for JSON: versions, hashes, device, options and durations."""
    return {
        **_head(report),
        "provenance": dataclasses.asdict(report.provenance),
        "warnings": list(report.warnings),
    }


def measurements_json(report: Report) -> str:
    """`measurements_record` as text.

    Keys are sorted, so equal reports give equal bytes; ASCII alone, neither NaN nor Infinity, and a newline
    at the end.
    """
    return _text(measurements_record(report))


def case_json(report: Report) -> str:
    """`case_record` as text, formed as in `measurements_json`."""
    return _text(case_record(report))


def _head(report: Report) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": report.notice,
        "case": {
            "id": report.case_id,
            "description": report.description,
            "geometry": _geometry(report.geometry),
        },
    }


def _geometry(geometry: Geometry) -> dict[str, Any]:
    known = geometry.calibrated
    return {
        "shape": list(geometry.shape),
        "spacing_mm": list(geometry.spacing_mm) if known else None,
        "voxel_volume_mm3": geometry.voxel_volume_mm3 if known else None,
        "orientation": geometry.orientation,
        "affine": geometry.affine.tolist(),
        "calibrated": known,
    }


def _label(label: Label) -> dict[str, Any]:
    return {
        "index": label.index,
        "name": label.name,
        "code": dataclasses.asdict(label.code) if label.code else None,
        "colour": list(label.rgb),
        "kind": label.kind,
    }


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n"
