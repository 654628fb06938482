"""An evaluation as one HTML file that needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from medseg.evaluate.aggregate import counted
from medseg.evaluate.definitions import EMPTY_CASES
from medseg.evaluate.evaluation import Comparison, Evaluation, Subgroup
from medseg.evaluate.pooled import PooledDetection
from medseg.report.evaluation_tables import (
    COLUMNS,
    Grid,
    agreement_grid,
    all_numbers,
    case_grid,
    comparison_grid,
    difference_text,
    objects_grid,
    overview,
    penalties,
    rank_cases,
    subgroup_grid,
)
from medseg.report.figures import Picture
from medseg.report.metric_names import better, main_metrics, metric_heading, metric_title, value_bounds
from medseg.report.numbers import fixed_text, number_text
from medseg.report.page import Fact, Figure, figure, inline, template, when
from medseg.report.plots import MOST_POINTS, Difference, Strip, difference_plot, strip_plot
from medseg.report.plots_xy import agreement_plot, froc_plot

_TEMPLATE = "evaluation.html.j2"
_WORST = 10
_MOST_LABELS = 8
_MOST_ON_PAGE = 20_000
"""Points of all distributions together; above, each plot gets its share and shows counts instead."""
_FOLDED_FAILURES = 12
_OPEN_PLOTS = 12
_DIGEST = 40


@dataclass(frozen=True, slots=True)
class _Plot:
    """A plot with its heading."""

    svg: Markup
    name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """A table, with a heading and perhaps a plot."""

    name: str
    grid: Grid
    plot: _Plot | None = None


@dataclass(frozen=True, slots=True)
class _Card:
    """One of the worst cases."""

    case_id: str
    text: str
    picture: Figure | None
    grid: Grid


@dataclass(frozen=True, slots=True)
class _Definition:
    name: str
    title: str
    text: str


def evaluation_html(
    evaluation: Evaluation,
    pictures: Mapping[str, Picture] | None = None,
    pooled: Sequence[PooledDetection] = (),
) -> str:
    """The evaluation for people: what was compared, failures, tables, plots, worst cases, definitions.

    One file without scripts and without anything from elsewhere: a content security policy allows no more
    than its own style and the pictures in it. Every text from outside is escaped. Plots are drawn from the
    same numbers as the tables; an evaluation without cases says so.

    Args:
        evaluation: what to tell.
        pictures: case id → what to show of it, such as `medseg.report.comparison.comparison_picture`; use
            `medseg.report.evaluation_tables.rank_cases` to choose the cases.
        pooled: scores over the objects of all cases, with free-response curves where these have scores.
    """
    plots = _distributions(evaluation)
    curves = {part.label: part.froc for part in pooled if part.froc is not None and part.froc.reason is None}
    comparisons = _comparisons(evaluation.comparisons)
    main = set(main_metrics(evaluation.metrics))
    agreements = [
        _Plot(inline(agreement_plot(found)), found.label, found.reason or "")
        for found in evaluation.agreements
    ]
    return template(_TEMPLATE).render(
        facts=_facts(evaluation),
        failures=evaluation.failures,
        fold_failures=len(evaluation.failures) > _FOLDED_FAILURES,
        warnings=_warnings(evaluation),
        overview=overview(evaluation),
        plots=[plot for metric, plot in plots.items() if metric in main],
        other_plots=[plot for metric, plot in plots.items() if metric not in main],
        agreements=agreements[:_OPEN_PLOTS],
        other_agreements=agreements[_OPEN_PLOTS:],
        agreement=agreement_grid(evaluation.agreements),
        objects=objects_grid(pooled) if pooled else None,
        froc=inline(froc_plot(curves)) if curves else None,
        compared=[part.plot for metric, part in comparisons.items() if metric in main],
        other_compared=[part.plot for metric, part in comparisons.items() if metric not in main],
        comparisons=list(comparisons.values()),
        cards=_cards(evaluation, pictures or {}),
        subgroups=_subgroups(evaluation.subgroups),
        numbers=[_Part(label, all_numbers(evaluation, label)) for label in evaluation.labels],
        definitions=[_Definition(n, metric_title(n), text) for n, text in evaluation.definitions.items()],
        empty_cases=EMPTY_CASES,
        options=_mapping(evaluation.options),
        provenance=_mapping(evaluation.provenance),
    )


def _facts(evaluation: Evaluation) -> list[Fact]:
    cases, failed = len(evaluation.cases), len(evaluation.failures)
    patients = {case.patient_id for case in evaluation.cases if case.patient_id is not None}
    text = f"{cases} of {cases + failed}" if failed else str(cases)
    facts = [Fact("Cases compared", text)]
    if patients:
        alone = sum(case.patient_id is None for case in evaluation.cases)
        facts.append(Fact("Patients", str(len(patients) + alone)))
    if failed:
        facts.append(Fact("Failed", f"{failed}, in no mean below"))
    labels = evaluation.labels
    more = f" and {len(labels) - _MOST_LABELS} more" if len(labels) > _MOST_LABELS else ""
    facts.append(Fact("Labels", ", ".join(labels[:_MOST_LABELS]) + more or "none"))
    started = evaluation.provenance.get("started")
    if started:
        facts.append(Fact("Made", when(str(started))))
    return facts


def _warnings(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Each warning once, with the cases that it concerns."""
    counts = Counter(text for case in evaluation.cases for text in case.warnings)
    found = []
    for text, count in counts.most_common():
        ids = [case.case_id for case in evaluation.cases if text in case.warnings]
        more = f" and {len(ids) - _MOST_LABELS} more" if len(ids) > _MOST_LABELS else ""
        found.append((text, f"{count} of {len(evaluation.cases)}: {', '.join(ids[:_MOST_LABELS])}{more}"))
    return found


def _distributions(evaluation: Evaluation) -> dict[str, _Plot]:
    """Metric → its values by label."""
    columns = counted(evaluation.cases, penalties(evaluation))
    known = {(summary.label, summary.metric): summary for summary in evaluation.summaries}
    metrics = evaluation.metrics
    share = min(MOST_POINTS, _MOST_ON_PAGE // max(len(metrics), 1))
    plots = {}
    for metric in metrics:
        strips = []
        for label in evaluation.labels:
            summary = known.get((label, metric))
            if summary is None:
                continue
            stand: dict[str, list[tuple[str, float]]] = {"value": [], "penalised": []}
            for case, cell in zip(evaluation.cases, columns.get((label, metric), ()), strict=False):
                if cell is not None and cell[0] is not None:
                    stand[cell[1]].append((case.case_id, cell[0]))
            values, penalised = tuple(stand["value"]), tuple(stand["penalised"])
            strips.append(Strip(label, values, penalised, summary.mean, summary.ci95))
        svg = strip_plot(strips, metric_heading(metric), bounds=value_bounds(metric), most_points=share)
        plots[metric] = _Plot(inline(svg), metric_heading(metric), better(metric))
    return plots


def _comparisons(comparisons: tuple[Comparison, ...]) -> dict[str, _Part]:
    """Metric → differences of its labels."""
    by_metric: dict[str, list[Comparison]] = {}
    for found in comparisons:
        by_metric.setdefault(found.metric, []).append(found)
    parts = {}
    for metric, group in by_metric.items():
        title = metric_heading(metric)
        rows = [Difference(c.label, c.mean_difference, c.ci95, _verdict(c)) for c in group]
        svg = difference_plot(rows, f"Difference of {title}, first − other")
        parts[metric] = _Part(title, comparison_grid(group), _Plot(inline(svg), title, better(metric)))
    return parts


def _verdict(found: Comparison) -> str:
    texts = [] if found.mean_difference is None else [difference_text(found)]
    if found.p_holm is None:
        texts.append("no test")
    else:
        texts.append("p < 0.001" if found.p_holm < 0.001 else f"p {fixed_text(found.p_holm, 3)}")
    return ", ".join(texts)


def _cards(evaluation: Evaluation, pictures: Mapping[str, Picture]) -> list[_Card]:
    """The worst cases, and all others with a picture, the worst first."""
    cases = {case.case_id: case for case in evaluation.cases}
    metrics = main_metrics(evaluation.metrics, COLUMNS)
    cards = []
    for place, ranked in enumerate(rank_cases(evaluation)):
        picture = pictures.get(ranked.case_id)
        if place >= _WORST and picture is None:
            continue
        value = ranked.reason if ranked.value is None else number_text(ranked.value)
        text = f"{metric_title(ranked.metric)} of {ranked.label}: {value}"
        grid = case_grid(cases[ranked.case_id], metrics, ranked.label, _MOST_LABELS)
        cards.append(_Card(ranked.case_id, text, figure(picture) if picture else None, grid))
    return cards


def _subgroups(groups: tuple[Subgroup, ...]) -> list[tuple[str, list[_Part]]]:
    """Attribute → one table per label."""
    by_attribute: dict[str, list[Subgroup]] = {}
    for group in groups:
        by_attribute.setdefault(group.attribute, []).append(group)
    found = []
    for attribute, members in by_attribute.items():
        labels = dict.fromkeys(summary.label for group in members for summary in group.summaries)
        found.append((attribute, [_Part(label, subgroup_grid(members, label)) for label in labels]))
    return found


def _mapping(values: Mapping[str, Any]) -> list[Fact]:
    facts = [Fact(name.replace("_", " "), _text(value), _is_digest(value)) for name, value in values.items()]
    return [fact for fact in facts if fact.value]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) >= _DIGEST and " " not in value
