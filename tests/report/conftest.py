"""A report with hostile names, a missing value, instances and a warning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from medseg.evaluate.aggregate import AggregateOptions, aggregate, subgroups
from medseg.evaluate.agreement import volume_agreements
from medseg.evaluate.compare_models import compare_models
from medseg.evaluate.definitions import definitions_of
from medseg.evaluate.evaluation import CaseScores, Evaluation, Failure, VolumePair
from medseg.evaluate.score import Score
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


LABELS = {"liver": 1500.0, "spleen": 220.0, "left adrenal gland": 4.0}
METRICS = ("dice", "nsd_1mm", "hd95_max_mm", "assd_mm", "sensitivity", "precision", "volume_error_percent")


def synthetic_case(number: int, random: np.random.Generator, skill: float = 1.0) -> CaseScores:
    """Three labels; in each 13th case the third is missed, in each 17th the second lies on neither side."""
    scores: list[Score] = []
    pairs: list[VolumePair] = []
    for rank, (label, size) in enumerate(LABELS.items()):
        reference = size * float(random.lognormal(0, 0.3))
        error = float(random.gamma(2.0, 0.02 * (rank + 1) / skill))
        reason = ""
        if rank == 2 and number % 13 == 5:
            reason, prediction = "missed: the prediction has no voxel of it", 0.0
        elif rank == 1 and number % 17 == 3:
            reason, prediction, reference = "absent in both", 0.0, 0.0
        else:
            prediction = reference * (1 + float(random.normal(0.02, error)))
        values = {
            "dice": 1 - error,
            "nsd_1mm": max(0.0, 1 - 1.5 * error),
            "hd95_max_mm": 1 + 60 * error,
            "assd_mm": 0.2 + 8 * error,
            "sensitivity": 1 - 0.8 * error,
            "precision": 1 - 1.2 * error,
            "volume_error_percent": 100 * (prediction / reference - 1) if reference else 0.0,
        }
        if reason.startswith("missed"):
            values |= {"dice": 0.0, "nsd_1mm": 0.0, "sensitivity": 0.0, "volume_error_percent": -100.0}
            for name in ("hd95_max_mm", "assd_mm", "precision"):
                del values[name]
        elif reason:
            values = {}
        for metric in METRICS:
            found = values.get(metric)
            scores.append(Score(metric, found, label, None if found is not None else reason))
        pairs.append(VolumePair(label, prediction, reference))
    warnings = ("the prediction was resampled onto the reference",) if number % 20 == 1 else ()
    name = f"case_{number:03d}"
    return CaseScores(name, tuple(scores), f"p{number // 2}", tuple(pairs), 480.0, warnings)


@pytest.fixture(scope="session")
def make_evaluation() -> Callable[..., Evaluation]:
    def make(cases: int = 40, *, whole: bool = True) -> Evaluation:
        random = np.random.default_rng(3)
        first = tuple(synthetic_case(n, random) for n in range(cases))
        other = tuple(synthetic_case(n, random, 0.8) for n in range(cases)) if whole else ()
        options = AggregateOptions(draws=200)
        scanners = {case.case_id: {"scanner": "AB"[n % 2]} for n, case in enumerate(first)}
        return Evaluation(
            first,
            failures=(
                Failure("case_900", "GeometryMismatchError", "the prediction has 64 × 64 × 20 voxels"),
                Failure("case_<901>", "UnreadableFileError", "the file ends after 12 bytes"),
            )
            if whole
            else (),
            summaries=aggregate(first, options),
            agreements=volume_agreements(first),
            comparisons=compare_models(first, other, options) if whole else (),
            subgroups=subgroups(first, scanners, options) if whole else (),
            definitions=definitions_of(METRICS),
            options={"tolerances_mm": (1.0,), "penalties": {}, "draws": 200, "seed": 0, "resample": False},
            provenance={
                "started": "2025-01-31T08:15:00Z",
                "versions": {"medseg": "0.1.0", "numpy": "2.0.0"},
                "predictions_sha256": "ab" * 32,
            },
        )

    return make


@pytest.fixture(scope="session")
def evaluation(make_evaluation: Callable[..., Evaluation]) -> Evaluation:
    return make_evaluation()
