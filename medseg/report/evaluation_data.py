"""An evaluation as JSON and as tables: every number, with the reason where there is none."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from medseg.evaluate.evaluation import CaseScores, Evaluation, Subgroup, Summary
from medseg.evaluate.froc import Froc
from medseg.evaluate.pooled import PooledDetection
from medseg.evaluate.score import Score
from medseg.report.as_csv import number_cell, safe_cell
from medseg.report.report import NOTICE, SCHEMA_VERSION

_SUMMARY = ("n", "n_penalised", "n_absent", "n_undefined", "mean", "median", "sd", "q1", "q3",
            "minimum", "maximum")  # fmt: skip


def evaluation_record(evaluation: Evaluation, pooled: Sequence[PooledDetection] = ()) -> dict[str, Any]:
    """Cases, labels, failures, agreement, comparisons and subgroups, ready for JSON.

    ``cases`` has one entry per case and label, and per case, label and reference instance where instances
    were scored: each metric under its name, None with its reason under ``reasons``. ``labels`` has per label
    and metric the mean, median and so on with ``ci95``; ``objects`` what was scored over all cases together.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": NOTICE,
        "cases": [row for case in evaluation.cases for row in _case_rows(case)],
        "case_warnings": {case.case_id: list(case.warnings) for case in evaluation.cases if case.warnings},
        "failures": [dataclasses.asdict(failure) for failure in evaluation.failures],
        "labels": _labels(evaluation.summaries),
        "volumes": [
            {"case": case.case_id, **dataclasses.asdict(pair)}
            for case in evaluation.cases
            for pair in case.volumes
        ],
        "agreements": [dataclasses.asdict(agreement) for agreement in evaluation.agreements],
        "comparisons": [dataclasses.asdict(comparison) for comparison in evaluation.comparisons],
        "subgroups": [_subgroup(group) for group in evaluation.subgroups],
        "objects": {part.label: _objects(part) for part in pooled},
        "definitions": dict(evaluation.definitions),
        "options": _plain(evaluation.options),
        "provenance": _plain(evaluation.provenance),
    }


def evaluation_json(evaluation: Evaluation, pooled: Sequence[PooledDetection] = ()) -> str:
    """`evaluation_record` as text: ASCII, neither NaN nor Infinity, a newline at the end."""
    return json.dumps(evaluation_record(evaluation, pooled), indent=1, allow_nan=False) + "\n"


def cases_csv(evaluation: Evaluation) -> str:
    """One row per case and label, and per reference instance where these were scored.

    Columns: ``case``, ``patient``, ``label``, ``instance`` (empty for the label as a whole), each metric,
    ``prediction_ml``, ``reference_ml``, ``reasons``. Failed cases follow with their message in ``reasons``.
    """
    metrics = list(dict.fromkeys(score.metric for case in evaluation.cases for score in case.scores))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    volumes = ("prediction_ml", "reference_ml")
    writer.writerow(["case", "patient", "label", "instance", *map(safe_cell, metrics), *volumes, "reasons"])
    for case in evaluation.cases:
        sizes = {pair.label: (pair.prediction_ml, pair.reference_ml) for pair in case.volumes}
        for (label, instance), scores in _by_row(case).items():
            whole = sizes.get(label, (None, None)) if instance is None else (None, None)
            reasons = "; ".join(f"{s.metric}: {s.reason}" for s in scores.values() if s.reason)
            writer.writerow([
                safe_cell(case.case_id),
                safe_cell(case.patient_id or ""),
                safe_cell(label),
                "" if instance is None else instance,
                *(number_cell(scores[metric].value) if metric in scores else "" for metric in metrics),
                *map(number_cell, whole),
                safe_cell(reasons),
            ])  # fmt: skip
    for failure in evaluation.failures:
        gap = [""] * (len(metrics) + len(volumes))
        writer.writerow(
            [safe_cell(failure.case_id), "", "", "", *gap, safe_cell(f"failed: {failure.message}")]
        )
    return stream.getvalue()


def summary_csv(evaluation: Evaluation) -> str:
    """One row per label and metric, of all cases and then of each subgroup."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(
        ["attribute", "value", "label", "metric", *_SUMMARY, "ci95_low", "ci95_high", "definition"]
    )
    groups: Iterable[tuple[str, str, Sequence[Summary]]] = [
        ("", "", evaluation.summaries),
        *((group.attribute, group.value, group.summaries) for group in evaluation.subgroups),
    ]
    for attribute, value, summaries in groups:
        for found in summaries:
            cells = [number_cell(getattr(found, name)) for name in _SUMMARY]
            low, high = found.ci95 or (None, None)
            head = map(safe_cell, (attribute, value, found.label, found.metric))
            text = safe_cell(evaluation.definitions.get(found.metric, ""))
            writer.writerow([*head, *cells, number_cell(low), number_cell(high), text])
    return stream.getvalue()


def _by_row(case: CaseScores) -> dict[tuple[str, int | None], dict[str, Score]]:
    rows: dict[tuple[str, int | None], dict[str, Score]] = {}
    for score in case.scores:
        rows.setdefault((score.label, score.instance), {})[score.metric] = score
    return rows


def _case_rows(case: CaseScores) -> Iterable[dict[str, Any]]:
    for (label, instance), scores in _by_row(case).items():
        yield {
            "case": case.case_id,
            "patient": case.patient_id,
            "label": label,
            "instance": instance,
            **{metric: score.value for metric, score in scores.items()},
            "reasons": {metric: score.reason for metric, score in scores.items() if score.reason},
        }


def _labels(summaries: Sequence[Summary]) -> dict[str, dict[str, Any]]:
    labels: dict[str, dict[str, Any]] = {}
    for found in summaries:
        entry = {name: getattr(found, name) for name in _SUMMARY}
        labels.setdefault(found.label, {})[found.metric] = entry | {"ci95": found.ci95}
    return labels


def _subgroup(group: Subgroup) -> dict[str, Any]:
    return {
        "attribute": group.attribute,
        "value": group.value,
        "cases": list(group.case_ids),
        "labels": _labels(group.summaries),
    }


def _objects(part: PooledDetection) -> dict[str, Any]:
    quality = part.quality
    return {
        "pq": quality.pq,
        "sq": quality.sq,
        "rq": quality.rq,
        "true_positives": quality.true_positives,
        "false_positives": quality.false_positives,
        "false_negatives": quality.false_negatives,
        "average_precision": {f"{threshold:g}": ap for threshold, ap in part.average_precision.items()},
        "ap_50_95": part.ap_50_95,
        "froc": None if part.froc is None else _froc(part.froc),
        "reason": part.reason,
    }


def _froc(curve: Froc) -> dict[str, Any]:
    return {
        "false_positives_per_scan": list(curve.rates),
        "sensitivities": None if curve.sensitivities is None else list(curve.sensitivities),
        "mean_sensitivity": curve.mean,
        "curve": [curve.false_positives_per_scan.tolist(), curve.sensitivity.tolist()],
    }


def _plain(values: Any) -> Any:
    """Mappings, sequences and sets as JSON has them."""
    if hasattr(values, "items"):
        return {str(key): _plain(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_plain(value) for value in values]
    return values
