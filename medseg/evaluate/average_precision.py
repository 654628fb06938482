"""Average precision of scored instances over any number of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigurationError, InputError
from medseg.instances.overlaps import Overlaps

COCO_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""The IoU thresholds that ``ap_50_95`` is the mean of."""

_RECALL_POINTS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True, eq=False)
class ScoredCase:
    """One label of one case.

    Attributes:
        overlaps: of the predicted and the reference instances.
        scores: confidence of each predicted instance by its id.

    Raises:
        InputError: a predicted instance has no score, or one that is not finite.
    """

    overlaps: Overlaps
    scores: Mapping[int, float]

    def __post_init__(self) -> None:
        for number in self.overlaps.prediction_ids.tolist():
            score = self.scores.get(number)
            if score is None or not np.isfinite(score):
                raise InputError(
                    f"predicted instance {number} has the score {score}; average precision needs a finite "
                    "score for each"
                )


def average_precision(
    cases: Sequence[ScoredCase], thresholds: Sequence[float] = COCO_THRESHOLDS
) -> tuple[float | None, ...]:
    """Average precision at IoU thresholds, as COCO defines it (Lin 2014, arXiv 1405.0312).

    In each case predictions take, by descending score, the free reference instance with the largest IoU of
    at least the threshold. Over all cases together precision is made to fall with recall and its mean taken
    over 101 recall levels 0, 0.01 … 1; a level that is not reached counts 0. No limit to the number of
    predictions. Predictions of one score keep the order of cases and of ids.

    Args:
        cases: one label of each case.
        thresholds: IoU, above 0 up to 1.

    Returns:
        One value for each threshold; None for all where no case has a reference instance.

    Raises:
        ConfigurationError: a threshold outside its range.
    """
    if not all(0 < threshold <= 1 for threshold in thresholds):
        raise ConfigurationError(f"IoU thresholds are {tuple(thresholds)}; expected above 0 up to 1")
    n_reference = sum(case.overlaps.reference_ids.size for case in cases)
    if n_reference == 0:
        return (None,) * len(thresholds)
    scores = np.concatenate([_scores(case) for case in cases])
    order = np.argsort(-scores, kind="stable")
    values = []
    for threshold in thresholds:
        hits = np.concatenate([_hits(case, threshold) for case in cases])
        values.append(_interpolated(hits[order], n_reference))
    return tuple(values)


def _scores(case: ScoredCase) -> NDArray[np.float64]:
    return np.array([case.scores[number] for number in case.overlaps.prediction_ids.tolist()], dtype=float)


def _hits(case: ScoredCase, threshold: float) -> NDArray[np.bool_]:
    """Whether each prediction takes a reference instance."""
    overlaps, iou = case.overlaps, case.overlaps.iou
    chosen = np.flatnonzero(iou >= threshold)
    prediction, reference = overlaps.pairs[chosen].T
    score = _scores(case)[prediction]
    order = np.lexsort((reference, -overlaps.shared[chosen], -iou[chosen], prediction, -score))
    hits = np.zeros(overlaps.prediction_ids.size, dtype=bool)
    taken: set[int] = set()
    for position in order.tolist():
        if not hits[prediction[position]] and int(reference[position]) not in taken:
            hits[prediction[position]] = True
            taken.add(int(reference[position]))
    return hits


def _interpolated(hits: NDArray[np.bool_], n_reference: int) -> float:
    """Mean over 101 recall levels of the best precision at that recall or above."""
    found = np.cumsum(hits)
    precision = found / np.arange(1, hits.size + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    position = np.searchsorted(found / n_reference, _RECALL_POINTS, side="left")
    reached = position < hits.size
    return float(precision[position[reached]].sum() / _RECALL_POINTS.size)
