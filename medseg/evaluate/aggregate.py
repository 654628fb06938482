"""From the scores of single cases to what is said about all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigurationError, InputError
from medseg.evaluate.direction import direction
from medseg.evaluate.evaluation import CaseScores, Interval, Subgroup, Summary
from medseg.evaluate.score import Score

Standing = Literal["value", "penalised", "absent", "undefined"]
Cell = tuple[float | None, Standing]

DRAWS = 10_000
"""Draws of a bootstrap unless told otherwise."""

MOST_GROUPS = 20
"""An attribute with more values than this is no grouping."""

_DRAWS_AT_ONCE = 500
_ABSENT = "absent in both"
_ONE_SIDED = ("missed", "false positive")


@dataclass(frozen=True, slots=True)
class AggregateOptions:
    """How cases are put together.

    Attributes:
        penalties: metric → what a miss or a false positive counts where it has no value. A metric in mm that
            is not named counts the diagonal of the case's grid, one that is better when higher 0; others
            have no value then.
        draws: of the bootstrap.
        seed: of the bootstrap; the same seed gives the same intervals whatever the order of the cases.

    Raises:
        ConfigurationError: a penalty that is not finite, fewer than 100 draws, or a negative seed.
    """

    penalties: Mapping[str, float] = field(default_factory=dict)
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "penalties", MappingProxyType(dict(self.penalties)))
        for metric, penalty in self.penalties.items():
            if not np.isfinite(penalty):
                raise ConfigurationError(f"the penalty of {metric!r} is {penalty}; expected a finite number")
        if self.draws < 100:
            raise ConfigurationError(f"{self.draws} draws of the bootstrap; expected 100 or more")
        if self.seed < 0:
            raise ConfigurationError(f"the seed is {self.seed}; expected 0 or more")


def aggregate(cases: Sequence[CaseScores], options: AggregateOptions | None = None) -> tuple[Summary, ...]:
    """Mean, median, spread and a 95 % interval of each metric of each label over all cases.

    A score without a value because the label was missed, or predicted where there is none, counts with its
    penalty and is counted in ``n_penalised``; a case with the label on neither side is left out and counted
    in ``n_absent``; any other score without a value in ``n_undefined``. Scores of single instances are not
    summarised here.

    Args:
        cases: no case id twice; an empty sequence gives no summaries.
        options: None for the defaults.

    Returns:
        One summary per label and metric that occurs, in order of first appearance.

    Raises:
        InputError: a case id, or a score within a case, occurs twice.
    """
    options = options or AggregateOptions()
    columns = counted(cases, options.penalties)
    keys = list(columns)
    values = np.full((len(cases), len(keys)), np.nan)
    for number, cells in enumerate(columns.values()):
        for row, cell in enumerate(cells):
            if cell is not None and cell[0] is not None:
                values[row, number] = cell[0]
    intervals = bootstrap_means(values, patients(cases), options)
    return tuple(
        _summary(key, cells, column, interval)
        for key, cells, column, interval in zip(keys, columns.values(), values.T, intervals, strict=True)
    )


def subgroups(
    cases: Sequence[CaseScores],
    attributes: Mapping[str, Mapping[str, str]],
    options: AggregateOptions | None = None,
) -> tuple[Subgroup, ...]:
    """The summaries again for the cases of each value of each attribute.

    Args:
        cases: as in `aggregate`.
        attributes: case id → attribute → value; what is missing or empty forms the group ``not given``.
        options: as in `aggregate`.

    Raises:
        InputError: none of the cases has attributes, or an attribute has more than 20 values.
    """
    if not any(case.case_id in attributes for case in cases):
        raise InputError(
            f"none of the {len(cases)} cases has attributes; the ids begin with "
            f"{_first(case.case_id for case in cases)}, those of the attributes with {_first(attributes)}"
        )
    names = dict.fromkeys(name for row in attributes.values() for name in row)
    groups: list[Subgroup] = []
    for name in names:
        members: dict[str, list[CaseScores]] = {}
        for case in cases:
            value = attributes.get(case.case_id, {}).get(name, "").strip()
            members.setdefault(value or "not given", []).append(case)
        if len(members) > MOST_GROUPS:
            raise InputError(
                f"attribute {name!r} has {len(members)} values; expected at most {MOST_GROUPS}: put numbers "
                "into ranges first"
            )
        for value, found in sorted(members.items()):
            ids = tuple(case.case_id for case in found)
            groups.append(Subgroup(name, value, ids, aggregate(found, options)))
    return tuple(groups)


def counted(
    cases: Sequence[CaseScores], penalties: Mapping[str, float]
) -> dict[tuple[str, str], list[Cell | None]]:
    """(label, metric) → for each case the number that counts and how it stands; None where not scored.

    Raises:
        InputError: a case id, or a score within a case, occurs twice.
    """
    seen: set[str] = set()
    columns: dict[tuple[str, str], list[Cell | None]] = {}
    for row, case in enumerate(cases):
        if case.case_id in seen:
            raise InputError(f"case {case.case_id!r} occurs twice; each case may be counted once")
        seen.add(case.case_id)
        for score in case.scores:
            if score.instance is not None:
                continue
            cells = columns.setdefault((score.label, score.metric), [None] * len(cases))
            if cells[row] is not None:
                raise InputError(
                    f"case {case.case_id!r} has {score.metric!r} of {score.label!r} twice; expected once"
                )
            cells[row] = counted_value(score, case.diagonal_mm, penalties)
    return columns


def counted_value(score: Score, diagonal_mm: float | None, penalties: Mapping[str, float]) -> Cell:
    """The number with which a score counts in a mean, and why.

    What became of an empty mask is read from how the score's reason begins; see `medseg.evaluate.compare`.

    Args:
        score: any.
        diagonal_mm: penalty of a metric in mm that ``penalties`` does not name.
        penalties: metric → penalty.
    """
    if score.value is not None:
        return score.value, "value"
    reason = score.reason or ""
    if reason.startswith(_ABSENT):
        return None, "absent"
    if not reason.startswith(_ONE_SIDED):
        return None, "undefined"
    penalty = penalties.get(score.metric)
    if penalty is None and score.metric.endswith("_mm"):
        penalty = diagonal_mm
    elif penalty is None and direction(score.metric) == "higher":
        penalty = 0.0
    return (None, "undefined") if penalty is None else (penalty, "penalised")


def patients(cases: Sequence[CaseScores]) -> list[str]:
    """What is drawn in a bootstrap: the patient of each case, or the case where none is named."""
    return [
        f"case {case.case_id}" if case.patient_id is None else f"patient {case.patient_id}" for case in cases
    ]


def bootstrap_means(
    values: NDArray[Any], clusters: Sequence[str], options: AggregateOptions
) -> list[Interval | None]:
    """95 % percentile intervals of the mean of each column, drawn by cluster.

    Clusters are drawn with replacement and bring all their rows (Field and Welsh, J R Stat Soc B
    2007;69:369); all columns see the same draws. A draw without any value in a column is left out of that
    column.

    Args:
        values: (cases, columns), NaN where there is no value.
        clusters: of each case.
        options: draws and seed.

    Returns:
        One interval per column, None where fewer than two clusters have a value.
    """
    names, owner = np.unique(np.array(clusters, dtype=object).astype(str), return_inverse=True)
    known = np.isfinite(values)
    sums = np.zeros((len(names), values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, owner, np.where(known, values, 0.0))
    np.add.at(counts, owner, known)
    means = np.concatenate([np.empty((0, values.shape[1])), *_drawn(sums, counts, options)])
    enough = (counts > 0).sum(axis=0) >= 2
    found: list[Interval | None] = [None] * values.shape[1]
    for column in np.flatnonzero(enough):
        lower, upper = np.nanpercentile(means[:, column], [2.5, 97.5])
        found[int(column)] = float(lower), float(upper)
    return found


def _drawn(
    sums: NDArray[Any], counts: NDArray[Any], options: AggregateOptions
) -> Iterator[NDArray[np.float64]]:
    clusters = len(sums)
    if clusters < 2:
        return
    random = np.random.default_rng(options.seed)
    shares = np.full(clusters, 1 / clusters)
    for done in range(0, options.draws, _DRAWS_AT_ONCE):
        size = min(_DRAWS_AT_ONCE, options.draws - done)
        weights = random.multinomial(clusters, shares, size=size).astype(np.float64)
        total = weights @ counts
        yield np.where(total > 0, (weights @ sums) / np.maximum(total, 1), np.nan)


def _summary(
    key: tuple[str, str], cells: list[Cell | None], column: NDArray[Any], interval: Interval | None
) -> Summary:
    standings = [cell[1] for cell in cells if cell is not None]
    values = column[np.isfinite(column)]
    head = Summary(
        *key,
        n=len(values),
        n_penalised=standings.count("penalised"),
        n_absent=standings.count("absent") + cells.count(None),
        n_undefined=standings.count("undefined"),
    )
    if not head.n:
        return head
    q1, median, q3 = (float(v) for v in np.percentile(values, [25, 50, 75]))
    return replace(
        head,
        mean=float(values.mean()),
        median=median,
        sd=float(values.std(ddof=1)) if head.n > 1 else None,
        q1=q1,
        q3=q3,
        minimum=float(values.min()),
        maximum=float(values.max()),
        ci95=interval,
    )


def _first(ids: Any) -> str:
    return ", ".join(repr(text) for text in itertools.islice(ids, 3)) or "nothing"
