"""Free-response operating characteristic: sensitivity against false positives a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigurationError, InputError
from medseg.instances.match import Matches

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives a scan at which LUNA16 reads the sensitivity (Setio 2017, arXiv 1612.08012)."""


@dataclass(frozen=True, slots=True)
class FrocCase:
    """The scored predictions of one label in one scan.

    Attributes:
        scores: confidence of each prediction.
        hits: for each prediction the ids of the reference instances that it hits; empty for a false
            positive. A second prediction on a reference instance is neither found nor false.
        n_reference: how many instances the reference has.

    Raises:
        InputError: as many scores as hits are needed, finite scores, and no more reference instances hit
            than there are.
    """

    scores: tuple[float, ...]
    hits: tuple[tuple[int, ...], ...]
    n_reference: int

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.hits):
            raise InputError(f"{len(self.scores)} scores for {len(self.hits)} predictions; expected one each")
        if not np.isfinite(self.scores).all():
            raise InputError("a prediction's score is not a finite number; FROC needs one for each")
        hit = len({reference for references in self.hits for reference in references})
        if hit > self.n_reference:
            raise InputError(f"{hit} reference instances are hit but the reference has {self.n_reference}")


@dataclass(frozen=True, slots=True, eq=False)
class Froc:
    """The curve and its summary.

    Attributes:
        rates: false positives a scan at which the sensitivity is read.
        sensitivities: at each rate, or None where no scan has a reference instance.
        mean: of the sensitivities (the LUNA16 score), or None.
        false_positives_per_scan: (n,) ascending; the origin, and each score that adds something.
        sensitivity: (n,) at those, ascending; empty where no scan has a reference instance.
        reason: why there are no values; None where there are.
    """

    rates: tuple[float, ...]
    sensitivities: tuple[float, ...] | None
    mean: float | None
    false_positives_per_scan: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    reason: str | None = None


def froc_case(matches: Matches, scores: Mapping[int, float | None]) -> FrocCase:
    """One scan's entry from its matches.

    Args:
        matches: of one label. Matched one to one, a second prediction on an object is a false positive;
            matched by overlap, it is not.
        scores: confidence of each predicted instance by its id.

    Raises:
        InputError: a predicted instance has no score.
    """
    hits: dict[int, list[int]] = {number: [] for number in matches.unmatched_prediction}
    for pair in matches.pairs:
        hits.setdefault(pair.prediction, []).append(pair.reference)
    known: list[float] = []
    for number in sorted(hits):
        score = scores.get(number)
        if score is None:
            raise InputError(f"predicted instance {number} has no score; FROC needs one for each")
        known.append(score)
    return FrocCase(tuple(known), tuple(tuple(hits[number]) for number in sorted(hits)), matches.n_reference)


def froc(cases: Sequence[FrocCase], rates: Sequence[float] = RATES, *, interpolate: bool = False) -> Froc:
    """Sensitivity over all scans against false positives a scan, as the score is lowered.

    Args:
        cases: one for each scan; scans without a reference instance count in the false positives a scan.
        rates: false positives a scan to read the sensitivity at.
        interpolate: read between two working points on the straight line, as LUNA16 and MONAI do; without
            it the best working point with at most that many false positives counts, which a user can
            really set.

    Returns:
        The curve; beyond its last working point the sensitivity stays.

    Raises:
        InputError: no case.
        ConfigurationError: no rate, or one that is negative or not finite.
    """
    if not cases:
        raise InputError("no case was given; a FROC curve needs one or more")
    if not rates or not all(0 <= rate < np.inf for rate in rates):
        raise ConfigurationError(f"rates are {tuple(rates)}; expected finite false positives a scan")
    total = sum(case.n_reference for case in cases)
    if total == 0:
        nothing = np.zeros(0)
        return Froc(tuple(rates), None, None, nothing, nothing, "no scan has a reference instance")
    false_scores, found_scores = _false_scores(cases), _found_scores(cases)
    levels = np.unique(np.concatenate([false_scores, found_scores]))[::-1]
    false_positives = _at_least(false_scores, levels) / len(cases)
    sensitivity = _at_least(found_scores, levels) / total
    x, y = np.append(0.0, false_positives), np.append(0.0, sensitivity)
    # Where several points share one rate both routes read the highest, NumPy's by its binary search.
    at = np.interp(rates, x, y) if interpolate else y[np.searchsorted(x, rates, side="right") - 1]
    values = tuple(float(value) for value in at)
    return Froc(tuple(rates), values, float(np.mean(values)), x, y)


def _false_scores(cases: Sequence[FrocCase]) -> NDArray[np.float64]:
    return np.array(
        [score for case in cases for score, hit in zip(case.scores, case.hits, strict=True) if not hit],
        dtype=float,
    )


def _found_scores(cases: Sequence[FrocCase]) -> NDArray[np.float64]:
    """For each reference instance that is hit, the highest score that hits it."""
    best: dict[tuple[int, int], float] = {}
    for number, case in enumerate(cases):
        for score, hit in zip(case.scores, case.hits, strict=True):
            for reference in hit:
                key = (number, reference)
                best[key] = max(score, best.get(key, -np.inf))
    return np.array(list(best.values()), dtype=float)


def _at_least(scores: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.intp]:
    ordered = np.sort(scores)
    return np.asarray(scores.size - np.searchsorted(ordered, levels, side="left"))
