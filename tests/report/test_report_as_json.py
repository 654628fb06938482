"""JSON: strict, sorted, complete."""

from __future__ import annotations

import dataclasses
import json

import pytest

from medseg.report.as_json import case_json, case_record, measurements_json, measurements_record
from medseg.report.report import NOTICE
from medseg.spatial import Geometry


def _strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_every_measurement_is_there_with_value_or_reason(report):
    found = _strict(measurements_json(report))
    assert found["notice"] == NOTICE
    assert found["schema_version"] == 1
    assert found["case"]["id"] == report.case_id
    assert len(found["measurements"]) == len(report.measurements)
    for entry, measurement in zip(found["measurements"], report.measurements, strict=True):
        assert entry == dataclasses.asdict(measurement)
        assert (entry["value"] is None) != (entry["reason"] is None)


def test_labels_and_instances(report):
    found = _strict(measurements_json(report))
    assert found["labels"][0] == {
        "index": 1,
        "name": "front",
        "kind": "stuff",
        "colour": [10, 20, 30],
        "code": {"scheme": "SCT", "value": "1", "meaning": "Front"},
    }
    assert found["labels"][1]["code"] is None
    assert [i["id"] for i in found["instances"]] == [3, 9]
    assert found["instances"][0]["score"] == 0.875
    assert found["instances"][1]["score"] is None
    assert found["warnings"] == list(report.warnings)


def test_provenance(report):
    found = _strict(case_json(report))
    assert found["notice"] == NOTICE
    assert found["provenance"]["input_sources"] == report.provenance.input_sources
    assert found["provenance"]["options"]["roi_size"] == [64, 64, 32]
    assert found["provenance"]["fallbacks"] == ["window batch 4 to 1"]
    assert set(found["provenance"]) == {f.name for f in dataclasses.fields(report.provenance)}
    assert "measurements" not in found


def test_geometry_in_mm_only_where_the_pixel_size_is_known(report):
    known = measurements_record(report)["case"]["geometry"]
    assert known["spacing_mm"] == [0.5, 0.5, 2.0]
    assert known["voxel_volume_mm3"] == pytest.approx(0.5)
    assert known["orientation"] == "LPS"
    bare = dataclasses.replace(report, geometry=Geometry(report.geometry.affine, (4, 4, 1), calibrated=False))
    unknown = case_record(bare)["case"]["geometry"]
    assert unknown["spacing_mm"] is None
    assert unknown["voxel_volume_mm3"] is None
    assert unknown["calibrated"] is False


@pytest.mark.parametrize("write", [measurements_json, case_json])
def test_text_is_ascii_sorted_and_ends_with_a_newline(report, write):
    text = write(dataclasses.replace(report, description="\ud800ü\u2028"))
    assert text.isascii()
    assert text.endswith("}\n")
    assert text == json.dumps(_strict(text), sort_keys=True, indent=1) + "\n"


def test_nan_is_refused_not_written(report):
    odd = dataclasses.replace(report.provenance, options={"overlap": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        case_json(dataclasses.replace(report, provenance=odd))
