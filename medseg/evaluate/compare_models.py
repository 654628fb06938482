"""Two models on the same cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medseg.evaluate.aggregate import AggregateOptions, Cell, bootstrap_means, counted, patients
from medseg.evaluate.direction import best
from medseg.evaluate.evaluation import CaseScores, Comparison

FEWEST_PAIRS = 6
"""With five differences no two-sided signed-rank test can reach 0.05."""

_EXACT_UP_TO = 50
_TIE_DIGITS = 12

DEFINITIONS = {
    "wilcoxon": "two-sided Wilcoxon signed-rank test of the differences first − other, averaged within a "
    "patient; differences of zero are ranked and then left out (Pratt, J Am Stat Assoc 1959;54:655), ties "
    "get their mean rank; the exact distribution of these ranks up to 50 differences, above the normal "
    f"approximation; fewer than {FEWEST_PAIRS} differences other than zero give no test",
    "holm": "p values corrected over all metrics and labels compared (Holm, Scand J Stat 1979;6:65)",
    "difference_ci95": "95 % percentile bootstrap of the mean difference, drawn by patient",
}
"""What a comparison of two models rests on."""


def compare_models(
    cases: Sequence[CaseScores], others: Sequence[CaseScores], options: AggregateOptions | None = None
) -> tuple[Comparison, ...]:
    """Differences ``cases − others`` of each metric of each label, tested and with an interval.

    Only cases of both are compared. A miss counts with its penalty on either side. Where a label lies in
    neither reference nor prediction of one model but the other predicted it, the first counts as perfect;
    where both left it out rightly the case says nothing.

    Args:
        cases: of the one model.
        others: of the other model, against the same references.
        options: penalties, draws and seed; None for the defaults.

    Returns:
        One comparison per label and metric that both have, in order of first appearance.

    Raises:
        InputError: a case id, or a score within a case, occurs twice.
    """
    options = options or AggregateOptions()
    common = {case.case_id for case in cases} & {case.case_id for case in others}
    mine = sorted((c for c in cases if c.case_id in common), key=lambda c: c.case_id)
    theirs = sorted((c for c in others if c.case_id in common), key=lambda c: c.case_id)
    first, second = counted(mine, options.penalties), counted(theirs, options.penalties)
    keys = [key for key in first if key in second]
    differences = np.full((len(mine), len(keys)), np.nan)
    for column, key in enumerate(keys):
        for row, pair in enumerate(zip(first[key], second[key], strict=True)):
            difference = _difference(key[1], *pair)
            if difference is not None:
                differences[row, column] = difference
    clusters = patients(mine)
    intervals = bootstrap_means(differences, clusters, options)
    found = [
        replace(_tested(key, differences[:, column], clusters), ci95=interval)
        for column, (key, interval) in enumerate(zip(keys, intervals, strict=True))
    ]
    corrected = holm({number: c.p for number, c in enumerate(found) if c.p is not None})
    return tuple(replace(c, p_holm=corrected.get(number)) for number, c in enumerate(found))


def holm(p_values: Mapping[int, float]) -> dict[int, float]:
    """Holm's step-down correction: key → corrected p, at most 1. An empty mapping gives an empty one."""
    corrected: dict[int, float] = {}
    highest = 0.0
    for rank, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        corrected[key] = highest
    return corrected


def signed_rank(differences: NDArray[Any]) -> tuple[float, float]:
    """Wilcoxon's signed-rank statistic and its two-sided p, zeros after Pratt, ties by their mean rank.

    Up to 50 differences the p is exact for the ranks as they are, ties included: the share of all
    assignments of signs whose statistic is at least as extreme. Above, SciPy's normal approximation.

    Args:
        differences: (n,), at least one of them not zero. Equal up to 12 digits counts as a tie.

    Returns:
        The smaller of the two rank sums, and p.
    """
    scale = float(np.abs(differences).max())
    rounded = np.round(differences / scale, _TIE_DIGITS)
    ranks = stats.rankdata(np.abs(rounded))
    plus, minus = float(ranks[rounded > 0].sum()), float(ranks[rounded < 0].sum())
    if len(rounded) > _EXACT_UP_TO:
        result = stats.wilcoxon(rounded, zero_method="pratt", method="asymptotic")
        return min(plus, minus), float(result.pvalue)
    # Mean ranks are halves at the finest, so twice the ranks are whole numbers.
    doubled = np.rint(2 * ranks[rounded != 0]).astype(int)
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] += ways[: len(ways) - rank].copy()
    tail = float(ways[: round(2 * min(plus, minus)) + 1].sum() / ways.sum())
    return min(plus, minus), min(1.0, 2 * tail)


def _difference(metric: str, mine: Cell | None, theirs: Cell | None) -> float | None:
    values = [None if cell is None else cell[0] for cell in (mine, theirs)]
    absent = [cell is None or cell[1] == "absent" for cell in (mine, theirs)]
    for side in (0, 1):
        if absent[side] and values[1 - side] is not None:
            values[side] = best(metric)
    if values[0] is None or values[1] is None:
        return None
    return values[0] - values[1]


def _tested(key: tuple[str, str], column: NDArray[Any], clusters: Sequence[str]) -> Comparison:
    known = np.flatnonzero(np.isfinite(column))
    by_patient: dict[str, list[float]] = {}
    for row in known:
        by_patient.setdefault(clusters[int(row)], []).append(float(column[row]))
    means = np.array([float(np.mean(values)) for values in by_patient.values()])
    zeros = int((means == 0).sum())
    comparison = Comparison(
        *key,
        n=len(known),
        n_patients=len(means),
        n_zero=zeros,
        mean_difference=float(column[known].mean()) if len(known) else None,
    )
    if len(means) - zeros < FEWEST_PAIRS:
        reason = (
            f"{len(means) - zeros} patients with a difference; a test needs at least {FEWEST_PAIRS}, of "
            f"{len(means)} compared {zeros} have none"
        )
        return replace(comparison, reason=reason)
    statistic, p = signed_rank(means)
    return replace(comparison, statistic=statistic, p=p)
