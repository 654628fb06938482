"""Panoptic quality: how many objects were found, and how well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from medseg.instances.match import Matches

ABSENT = "absent on both sides: neither the prediction nor the reference has an instance"


@dataclass(frozen=True, slots=True)
class PanopticQuality:
    """Panoptic quality with its two factors (Kirillov 2019, arXiv 1801.00868).

    A value is None where it divides nothing by nothing: all three without an instance on either side,
    ``sq`` without a matched pair. Without a pair but with an instance ``pq`` and ``rq`` are 0.

    Attributes:
        iou_sum: sum of the IoU of the matched pairs.
        true_positives: matched pairs.
        false_positives: predicted instances without a pair.
        false_negatives: reference instances without a pair.
    """

    iou_sum: float
    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def pq(self) -> float | None:
        """Sum of IoU over (pairs + half of the instances without a pair); equals sq times rq."""
        weight = self._weight
        return self.iou_sum / weight if weight else None

    @property
    def sq(self) -> float | None:
        """Mean IoU of the matched pairs."""
        return self.iou_sum / self.true_positives if self.true_positives else None

    @property
    def rq(self) -> float | None:
        """The F1 of finding instances."""
        weight = self._weight
        return self.true_positives / weight if weight else None

    @property
    def _weight(self) -> float:
        return self.true_positives + (self.false_positives + self.false_negatives) / 2


def panoptic_quality(matches: Matches) -> PanopticQuality:
    """Panoptic quality of one label in one case.

    Args:
        matches: one to one, with IoU above 0.5 for the published definition.
    """
    return PanopticQuality(
        sum(pair.iou for pair in matches.pairs),
        len(matches.pairs),
        len(matches.unmatched_prediction),
        len(matches.unmatched_reference),
    )


def pooled(parts: Iterable[PanopticQuality]) -> PanopticQuality:
    """Cases put together as Kirillov 2019 does for a data set: counts and sums are added, then divided."""
    iou_sum, counts = 0.0, [0, 0, 0]
    for part in parts:
        iou_sum += part.iou_sum
        counts[0] += part.true_positives
        counts[1] += part.false_positives
        counts[2] += part.false_negatives
    return PanopticQuality(iou_sum, *counts)


def mean_over_labels(parts: Iterable[PanopticQuality]) -> tuple[float, float, float] | None:
    """Mean PQ, SQ and RQ over the labels with an instance on either side (Kirillov 2019).

    A label without a matched pair counts 0 in all three.

    Args:
        parts: one for each label.

    Returns:
        The three means, or None where no label has an instance.
    """
    known = [part for part in parts if part.pq is not None]
    if not known:
        return None
    values = [(part.pq or 0.0, part.sq or 0.0, part.rq or 0.0) for part in known]
    pq, sq, rq = (sum(column) / len(known) for column in zip(*values, strict=True))
    return pq, sq, rq
