"""Scores about objects over all cases together: panoptic quality, average precision, FROC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medseg.evaluate.average_precision import COCO_THRESHOLDS, ScoredCase, average_precision
from medseg.evaluate.detection import Detected, DetectedLabel
from medseg.evaluate.evaluation import CaseScores
from medseg.evaluate.froc import Froc, froc, froc_case
from medseg.evaluate.panoptic import PanopticQuality, panoptic_quality, pooled
from medseg.evaluate.score import Score
from medseg.instances.match import Matches, match_overlaps

NO_SCORES = "the predicted instances have no scores"
_PRECISION = ("ap_50", "ap_50_95")

_NOTHING = Matches((), (), ())


@dataclass(frozen=True, slots=True, eq=False)
class PooledDetection:
    """One label, all objects of all cases counted alike.

    Attributes:
        label: name in the label table.
        quality: panoptic quality with counts and sums added over the cases (Kirillov 2019).
        average_precision: IoU threshold → AP over all cases, empty without scores.
        froc: the free-response curve, or None.
        reason: why there is no AP and no curve; None where there is.
    """

    label: str
    quality: PanopticQuality
    average_precision: dict[float, float]
    froc: Froc | None
    reason: str | None = None

    @property
    def ap_50_95(self) -> float | None:
        """Mean AP over the ten thresholds of COCO; None without AP."""
        values = list(self.average_precision.values())
        return sum(values) / len(values) if values else None


def pool_detections(cases: Sequence[Detected]) -> tuple[PooledDetection, ...]:
    """Puts the objects of all cases together, label by label.

    AP and FROC need a score for every predicted instance of the label in every case. A case that lacks a
    label on both sides counts as a scan for FROC: it could have held false positives.

    Args:
        cases: in any order; none gives an empty tuple.

    Returns:
        One entry per label, in order of first appearance.
    """
    names = dict.fromkeys(name for case in cases for name in case.labels)
    return tuple(_pooled(name, cases) for name in names)


def without_precision(case: CaseScores, pooled: Sequence[PooledDetection]) -> CaseScores:
    """A case without AP of the labels whose predictions have no scores.

    A case in which such a label was missed would count with an AP of 0 in a mean that no other case enters.
    """
    unscored = {part.label for part in pooled if part.reason == NO_SCORES}
    scores = tuple(
        Score(score.metric, None, score.label, NO_SCORES)
        if score.label in unscored and score.metric in _PRECISION
        else score
        for score in case.scores
    )
    return replace(case, scores=scores)


def _pooled(name: str, cases: Sequence[Detected]) -> PooledDetection:
    parts = [case.labels[name] for case in cases if name in case.labels]
    quality = pooled(panoptic_quality(match_overlaps(part.overlaps)) for part in parts)
    predicted = sum(part.overlaps.prediction_ids.size for part in parts)
    reason = None
    if not predicted:
        reason = "no instance was predicted"
    elif any(not _scored(part) for part in parts):
        reason = NO_SCORES
    if reason is not None:
        return PooledDetection(name, quality, {}, None, reason)
    precision = average_precision([ScoredCase(part.overlaps, part.scores) for part in parts])
    known = {t: ap for t, ap in zip(COCO_THRESHOLDS, precision, strict=True) if ap is not None}
    scans = [froc_case(part.matches, part.scores) for part in parts]
    empty = [froc_case(_NOTHING, {})] * (len(cases) - len(parts))
    curve = froc([*scans, *empty])
    return PooledDetection(name, quality, known, curve, curve.reason)


def _scored(part: DetectedLabel) -> bool:
    return len(part.scores) == part.overlaps.prediction_ids.size
