"""The tables of an evaluation as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medseg.evaluate.aggregate import counted
from medseg.evaluate.direction import direction
from medseg.evaluate.evaluation import (
    Agreement,
    CaseScores,
    Comparison,
    Evaluation,
    Interval,
    Subgroup,
    Summary,
)
from medseg.evaluate.pooled import PooledDetection
from medseg.evaluate.score import Score
from medseg.report.metric_names import main_metrics, metric_heading, ranking_metric
from medseg.report.numbers import fixed_text, number_text, number_texts
from medseg.report.tables import MISSING

COLUMNS = 4
"""Metrics side by side in a table; more do not fit a page."""

_MISSED = "missed"
_INVENTED = "false positive"


@dataclass(frozen=True, slots=True)
class Entry:
    """One cell: a line, a second line in small, and what is told where a pointer rests."""

    text: str
    small: str = ""
    hint: str = ""
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One row: its heading and its cells."""

    name: str
    cells: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table for people: headings of the columns after the first, and rows."""

    first: str
    headers: tuple[str, ...]
    rows: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A case and how bad it is.

    Attributes:
        case_id: its id.
        metric: by which it was ranked.
        label: the label with the worst value, missed labels first.
        value: of the metric, None where the label has no value.
        reason: why there is none.
    """

    case_id: str
    metric: str
    label: str
    value: float | None
    reason: str = ""


def rank_cases(evaluation: Evaluation) -> tuple[Ranked, ...]:
    """All cases that have a score, the worst first.

    The metric is Dice where it was computed, or else the first overlap or share. A case counts with its
    worst label, then with the mean of its labels, then comes the order of the ids. A label without a value
    that counts with a penalty is as bad as the penalty; one on neither side says nothing.
    """
    metric = ranking_metric(evaluation.metrics)
    if metric is None:
        return ()
    sign = {"higher": 1.0, "lower": -1.0, "zero": -1.0}[direction(metric)]
    columns = {
        label: cells
        for (label, name), cells in counted(evaluation.cases, penalties(evaluation)).items()
        if name == metric
    }
    found: list[tuple[float, float, str, Ranked]] = []
    for row, case in enumerate(evaluation.cases):
        goods = []
        for label, cells in columns.items():
            cell = cells[row]
            if cell is not None and cell[0] is not None:
                size = abs(cell[0]) if direction(metric) == "zero" else cell[0]
                goods.append((sign * size, label))
        if goods:
            worst, label = min(goods, key=lambda pair: pair[0])
            score = scores_of(case)[label, metric]
            ranked = Ranked(case.case_id, metric, label, score.value, score.reason or "")
            mean = math.fsum(good for good, _ in goods) / len(goods)
            found.append((worst, mean, case.case_id, ranked))
    return tuple(ranked for *_, ranked in sorted(found, key=lambda item: item[:3]))


def penalties(evaluation: Evaluation) -> Mapping[str, float]:
    """Penalties by metric as the evaluation was made with, from its options."""
    given = evaluation.options.get("penalties", {})
    return given if isinstance(given, Mapping) else {}


def scores_of(case: CaseScores) -> dict[tuple[str, str], Score]:
    """(label, metric) → score of the label as a whole."""
    return {(score.label, score.metric): score for score in case.scores if score.instance is None}


def one_sided(evaluation: Evaluation, label: str) -> tuple[list[str], list[str]]:
    """Ids of the cases in which the label was missed, and of those in which it was found in vain."""
    missed, invented = [], []
    for case in evaluation.cases:
        pairs = [pair for pair in case.volumes if pair.label == label]
        reasons = [
            score.reason or "" for score in case.scores if (score.label, score.instance) == (label, None)
        ]
        if any(p.reference_ml > 0 and p.prediction_ml == 0 for p in pairs) or _any(reasons, _MISSED):
            missed.append(case.case_id)
        elif any(p.reference_ml == 0 and p.prediction_ml > 0 for p in pairs) or _any(reasons, _INVENTED):
            invented.append(case.case_id)
    return missed, invented


def overview(evaluation: Evaluation) -> Grid:
    """One row per label: cases, missed ones, mean with interval and median of the main metrics."""
    metrics = main_metrics(evaluation.metrics, COLUMNS)
    known = {(summary.label, summary.metric): summary for summary in evaluation.summaries}
    rows = []
    for label in evaluation.labels:
        cells = [known.get((label, metric)) for metric in metrics]
        most = max((cell.n for cell in cells if cell), default=0)
        missed, invented = one_sided(evaluation, label)
        means = [_summary(cell, most) for cell in cells]
        rows.append(Line(label, (Entry(str(most)), _count(missed), *means, _count(invented))))
    headers = ("Cases", "Missed", *map(metric_heading, metrics), "Found in vain")
    return Grid("Label", headers, tuple(rows))


def all_numbers(evaluation: Evaluation, label: str) -> Grid:
    """Every metric of one label with all its numbers."""
    headers = (
        "Mean", "95 % interval", "Median", "Quartiles", "SD", "Range", "n",
        "with a penalty", "on neither side", "undefined",
    )  # fmt: skip
    rows = tuple(
        Line(summary.metric, _numbers(summary)) for summary in evaluation.summaries if summary.label == label
    )
    return Grid("Metric", headers, rows)


def objects_grid(pooled: Sequence[PooledDetection]) -> Grid:
    """What was scored over the objects of all cases together, one row per label."""
    headers = ("Pairs", "Made up", "Missed", "PQ", "SQ", "RQ", "AP at 0.5", "AP 0.5 to 0.95", "Mean FROC")
    rows = []
    for part in pooled:
        quality = part.quality
        counts = quality.true_positives, quality.false_positives, quality.false_negatives
        froc = None if part.froc is None else part.froc.mean
        values = quality.pq, quality.sq, quality.rq, part.average_precision.get(0.5), part.ap_50_95, froc
        entries = [
            Entry(MISSING, hint=part.reason or "no object") if value is None else Entry(fixed_text(value, 3))
            for value in values
        ]
        rows.append(Line(part.label, (*(Entry(str(count)) for count in counts), *entries)))
    return Grid("Label", headers, tuple(rows))


def agreement_grid(agreements: Sequence[Agreement]) -> Grid:
    """Bias, limits of agreement, ICC and CCC of each label, with intervals."""
    unit = "/".join(dict.fromkeys(agreement.unit for agreement in agreements))
    headers = ("Cases", f"Bias ({unit})", f"Lower limit ({unit})", f"Upper limit ({unit})", "ICC(2,1)", "CCC")
    rows = []
    for agreement in agreements:
        limits, why = agreement.bland_altman, agreement.reason or ""
        three: list[Entry] = [Entry(MISSING, hint=why)] * 3
        if limits is not None:
            pairs = (
                (limits.bias, limits.bias_ci95),
                (limits.lower, limits.lower_ci95),
                (limits.upper, limits.upper_ci95),
            )
            three = [_with_interval(value, interval) for value, interval in pairs]
        two = [
            Entry(MISSING, hint=why) if value is None else _share(value, interval)
            for value, interval in ((agreement.icc, agreement.icc_ci95), (agreement.ccc, agreement.ccc_ci95))
        ]
        rows.append(Line(agreement.label, (Entry(str(len(agreement.pairs))), *three, *two)))
    return Grid("Label", headers, tuple(rows))


def comparison_grid(comparisons: Iterable[Comparison]) -> Grid:
    """Difference with interval and p values, one row per label."""
    rows = []
    for found in comparisons:
        entry = Entry(difference_text(found), hint=found.reason or "")
        values = [Entry(_p(p), hint=found.reason or "" if p is None else "") for p in (found.p, found.p_holm)]
        counts = Entry(str(found.n)), Entry(str(found.n_zero))
        rows.append(Line(found.label, (*counts, entry, *values, Entry(found.reason or ""))))
    headers = ("Cases", "Without a difference", "Difference", "p", "p after Holm", "Why no test")
    if not any(row.cells[-1].text for row in rows):
        return Grid("Label", headers[:-1], tuple(Line(row.name, row.cells[:-1]) for row in rows))
    return Grid("Label", headers, tuple(rows))


def difference_text(found: Comparison) -> str:
    """A mean difference with its interval, or a dash."""
    if found.mean_difference is None:
        return MISSING
    return _with_interval(found.mean_difference, found.ci95).text


def subgroup_grid(groups: Sequence[Subgroup], label: str) -> Grid:
    """One row per value of an attribute, for one label."""
    metrics = main_metrics(
        list(dict.fromkeys(s.metric for group in groups for s in group.summaries)), COLUMNS
    )
    rows = []
    for group in groups:
        known = {summary.metric: summary for summary in group.summaries if summary.label == label}
        cells = [known.get(metric) for metric in metrics]
        entries = tuple(_summary(cell, len(group.case_ids)) for cell in cells)
        rows.append(Line(group.value, (Entry(str(len(group.case_ids))), *entries)))
    return Grid(groups[0].attribute, ("Cases", *map(metric_heading, metrics)), tuple(rows))


def case_grid(case: CaseScores, metrics: Sequence[str], first: str, most: int) -> Grid:
    """The main metrics of one case, ``first`` label first, at most so many labels."""
    scores = scores_of(case)
    labels = list(dict.fromkeys(label for label, _ in scores))
    labels.sort(key=lambda label: label != first)
    rows = tuple(
        Line(label, tuple(_score(scores.get((label, metric))) for metric in metrics))
        for label in labels[:most]
    )
    return Grid("Label", tuple(map(metric_heading, metrics)), rows)


def _summary(summary: Summary | None, expected: int) -> Entry:
    if summary is None or summary.mean is None or summary.median is None:
        return Entry(MISSING, hint="not scored" if summary is None else _left_out(summary) or "no cases")
    mean, median, *ends = number_texts([summary.mean, summary.median, *(summary.ci95 or ())])
    text = f"{mean} [{ends[0]}, {ends[1]}]" if ends else mean
    notes = [f"median {median}"]
    if summary.n != expected:
        notes.append(f"n {summary.n}")
    if summary.n_penalised:
        notes.append(f"{summary.n_penalised} penalised")
    return Entry(text, " · ".join(notes), _left_out(summary))


def _left_out(summary: Summary) -> str:
    parts = [
        f"{count} {what}"
        for count, what in ((summary.n_absent, "on neither side"), (summary.n_undefined, "undefined"))
        if count
    ]
    return "in no number: " + ", ".join(parts) if parts else ""


def _numbers(summary: Summary) -> tuple[Entry, ...]:
    counts = summary.n, summary.n_penalised, summary.n_absent, summary.n_undefined
    tail = tuple(Entry(str(count)) for count in counts)
    if summary.mean is None:
        return (*[Entry(MISSING, hint=_left_out(summary))] * 6, *tail)
    return (
        Entry(number_text(summary.mean)),
        _span(summary.ci95),
        Entry(_or_missing(summary.median)),
        _span(summary.iqr),
        Entry(_or_missing(summary.sd)),
        _span((summary.minimum, summary.maximum)),
        *tail,
    )


def _score(score: Score | None) -> Entry:
    if score is None:
        return Entry(MISSING, hint="not scored")
    if score.value is None:
        bad = _any([score.reason or ""], _MISSED) or _any([score.reason or ""], _INVENTED)
        return Entry(MISSING, score.reason or "", bad=bad)
    return Entry(number_text(score.value))


def _with_interval(value: float, interval: Interval | None) -> Entry:
    texts = number_texts([value, *(interval or ())])
    return Entry(texts[0] if interval is None else f"{texts[0]} [{texts[1]}, {texts[2]}]")


def _share(value: float, interval: Interval | None) -> Entry:
    texts = [fixed_text(number, 3) for number in (value, *(interval or ()))]
    return Entry(texts[0] if interval is None else f"{texts[0]} [{texts[1]}, {texts[2]}]")


def _span(ends: tuple[float | None, float | None] | None) -> Entry:
    known = [end for end in ends or () if end is not None]
    return Entry(" to ".join(number_texts(known)) if len(known) == 2 else MISSING)


def _count(ids: Sequence[str]) -> Entry:
    shown = ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")
    return Entry(str(len(ids)), hint=shown, bad=bool(ids))


def _p(value: float | None) -> str:
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else fixed_text(value, 3)


def _or_missing(value: float | None) -> str:
    return MISSING if value is None else number_text(value)


def _any(reasons: Iterable[str], words: str) -> bool:
    return any(words in reason for reason in reasons)
