"""A report with hostile names, a missing value, instances and a warning."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.instances.instance import Instance
from medseg.measure.measurement import Measurement
from medseg.report.report import Provenance, Report
from medseg.spatial import Code, Geometry, Label, LabelTable

HOSTILE = '<script>alert("1")</script>'


@pytest.fixture
def provenance() -> Provenance:
    return Provenance(
        versions={"medseg": "0.1.0", "python": "3.11.9", "numpy": "2.0.0"},
        started="2025-01-31T08:15:00+00:00",
        input_sources={"image": "sha256:" + "ab" * 32, "dicom": "1.2.840.1", "other": "unknown"},
        bundle="boxes_mr_unet3d",
        bundle_version="1.2.3",
        trust="data",
        weights_sha256="01" * 32,
        config_sha256="fe" * 32,
        backend="torch",
        device="cpu",
        precision="fp32",
        options={"tta": True, "roi_size": [64, 64, 32], "overlap": 0.5},
        durations_s={"read": 0.25, "predict": 3.0},
        peak_memory_bytes=1_500_000_000,
        fallbacks=("window batch 4 to 1",),
    )


@pytest.fixture
def table() -> LabelTable:
    return LabelTable(
        (
            Label(1, "front", Code("SCT", "1", "Front"), (10, 20, 30)),
            Label(2, HOSTILE, kind="thing"),
            Label(5, "absent"),
        )
    )


@pytest.fixture
def report(provenance: Provenance, table: LabelTable) -> Report:
    def row(label: str, instance: int | None, volume: float | None, count: float) -> list[Measurement]:
        reason = None if volume is not None else "pixel size unknown"
        return [
            Measurement("volume_ml", volume, "ml", label, instance, reason, "voxel count times voxel volume"),
            Measurement("voxel_count", count, "1", label, instance),
            Measurement("intensity_mean", -12.5, "HU", label, instance),
            Measurement("intensity_sd", 3.25, "HU", label, instance),
        ]

    box = ((0, 1), (0, 2), (0, 3))
    return Report(
        case_id="=case & <1>",
        description='a "phantom"',
        geometry=Geometry(np.diag([-0.5, -0.5, 2.0, 1.0]), (20, 30, 40)),
        table=table,
        measurements=(
            *row("front", None, 1234.567, 300.0),
            *row(HOSTILE, None, None, 7.0),
            *row("absent", None, 0.0, 0.0),
            *row(HOSTILE, 3, 0.123456, 4.0),
            *row(HOSTILE, 9, 0.5, 3.0),
        ),
        provenance=provenance,
        instances=(
            Instance(3, HOSTILE, 4, 0.123456, (1.0, 2.0, 3.0), box, score=0.875),
            Instance(9, HOSTILE, 3, 0.5, (1.0, 2.0, 3.0), box),
        ),
        warnings=("the scan is <b>thick</b>",),
    )
