"""Every score about the single objects of a case: found or missed, how well, and what was made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from medseg.evaluate.average_precision import COCO_THRESHOLDS, ScoredCase, average_precision
from medseg.evaluate.lesionwise import LesionOptions, cc_dice, false_volumes_ml, lesion_wise
from medseg.evaluate.masks import ABSENT, FALSE_POSITIVE, MISSED, Mask
from medseg.evaluate.panoptic import panoptic_quality
from medseg.evaluate.score import Score
from medseg.instances.instance import InstanceMap
from medseg.instances.match import (
    Matches,
    MatchOptions,
    check_same_grid,
    match,
    match_overlaps,
    overlaps_by_label,
)
from medseg.instances.overlaps import Overlaps, find_overlaps
from medseg.spatial.crop import crop_geometry
from medseg.spatial.geometry import Geometry

DEFINITIONS = {
    "pq": "panoptic quality, sq times rq; instances of one label matched where IoU > 0.5; Kirillov 2019, "
    "arXiv 1801.00868",
    "sq": "segmentation quality: mean IoU of the matched pairs of pq; Kirillov 2019",
    "rq": "recognition quality: pairs / (pairs + half of the instances without one), as in pq; Kirillov 2019",
    "instance_precision": "share of the predicted instances that are matched, by the stated rule",
    "instance_recall": "share of the reference's instances that are matched, by the stated rule",
    "instance_f1": "harmonic mean of instance precision and recall; 0 where nothing is matched",
    "count_error": "predicted instances less those of the reference",
    "ap_50": "average precision of the scored instances at IoU ≥ 0.5, over 101 recall levels; COCO, Lin "
    "2014, arXiv 1405.0312",
    "ap_50_95": "mean average precision at IoU ≥ 0.5, 0.55 … 0.95, over 101 recall levels; COCO, Lin 2014",
    "lesion_dice": "mean Dice over the reference's lesions and the false positives, each of which counts the "
    "penalty, as does a missed lesion; BraTS 2023, arXiv 2306.00838; none where nothing is to be scored",
    "lesion_hd95_mm": "as lesion_dice, of the larger directed 95th percentile of the surface distance by "
    "area; BraTS 2023",
    "cc_dice": "mean over the reference's 26-connected components of Dice among the voxels nearest to each; "
    "CC-Metrics, Jaus 2024, arXiv 2410.18684",
    "false_positive_volume_ml": "volume of the prediction's 18-connected components without a voxel of the "
    "reference; autoPET, Gatidis 2024",
    "false_negative_volume_ml": "volume of the reference's 18-connected components without a voxel of the "
    "prediction; autoPET, Gatidis 2024",
}
"""Metric → what it is and where it comes from, in the order in which `detect` gives them."""

INSTANCE_DEFINITIONS = {
    "instance_iou": "IoU of one instance of the reference with the predicted one that is matched to it by "
    "the stated rule, the best where several are; 0 where none is",
}
"""Metrics of single instances of the reference."""

_UNKNOWN_SIZE = "the pixel size of this image is unknown"
_ONE_SLICE = "the image is a single slice, which has no volume"

Values = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """What `detect` computes and how.

    Attributes:
        match: the rule behind instance_precision, instance_recall and instance_f1. PQ, SQ and RQ always
            follow the published one, IoU > 0.5.
        lesions: the rules of lesion_dice and lesion_hd95_mm.
        lesion_metrics: whether to compute the metrics from lesion_dice on, which look at the voxels again.
    """

    match: MatchOptions = field(default_factory=MatchOptions)
    lesions: LesionOptions = field(default_factory=LesionOptions)
    lesion_metrics: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class DetectedLabel:
    """What scores over all cases need of one label in one case.

    Attributes:
        overlaps: of the predicted and the reference instances.
        matches: by the stated rule.
        scores: id of each predicted instance that has one → confidence.
    """

    overlaps: Overlaps
    matches: Matches
    scores: Mapping[int, float]


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """The objects of one case, compared.

    Attributes:
        scores: of each label, and of each instance of the reference (``instance_iou``).
        labels: name → what scores over all cases need.
    """

    scores: tuple[Score, ...]
    labels: Mapping[str, DetectedLabel]


def detect(
    prediction: InstanceMap, reference: InstanceMap, options: DetectOptions | None = None
) -> tuple[Score, ...]:
    """Every score about the objects of one case, label by label.

    Labels are compared by name: those of kind ``thing`` in either table, and any other with an instance. The
    lesion metrics see the union of a label's instances, not how it was taken apart.

    Where a label has no instance on either side all scores but count_error and the two volumes are None
    ("absent in both"). With a reference alone pq, rq, recall, F1, AP, lesion Dice and CC-Dice are 0 and
    precision and sq are None ("missed"); with a prediction alone recall is None, and sq, AP and CC-Dice are
    None ("false positive").

    Args:
        prediction: on the reference's grid.
        reference: the other side.
        options: None for the defaults.

    Returns:
        One score for each label and metric of `DEFINITIONS`.

    Raises:
        GeometryMismatchError: the grids differ.
        ConfigurationError: matching by distance where the pixel size is unknown.
        InputError: matching by distance and an instance has no centroid.
    """
    found = detect_case(prediction, reference, options)
    return tuple(score for score in found.scores if score.instance is None)


def detect_case(
    prediction: InstanceMap, reference: InstanceMap, options: DetectOptions | None = None
) -> Detected:
    """The scores of `detect`, those of single reference instances, and what `medseg.evaluate.pooled` needs.

    Raises:
        GeometryMismatchError, ConfigurationError, InputError: as for `detect`.
    """
    options = options or DetectOptions()
    check_same_grid(prediction, reference)
    overlaps = find_overlaps(prediction.ids, reference.ids)
    matches = match(prediction, reference, options.match, overlaps)
    confidence = {item.id: item.score for item in prediction.instances if item.score is not None}
    things = {label.name for side in (prediction, reference) for label in side.table if label.kind == "thing"}
    scores: list[Score] = []
    labels: dict[str, DetectedLabel] = {}
    for name, part in overlaps_by_label(prediction, reference, overlaps).items():
        if name not in things and not (part.prediction_ids.size or part.reference_ids.size):
            continue
        values = _instance_values(part, matches[name]) | _precision_values(part, confidence)
        if options.lesion_metrics:
            values |= _lesion_values(part, prediction, reference, options.lesions)
        scores += [_score(metric, values[metric], name) for metric in DEFINITIONS if metric in values]
        scores += _single_instances(matches[name], name)
        ids = part.prediction_ids.tolist()
        labels[name] = DetectedLabel(part, matches[name], {n: confidence[n] for n in ids if n in confidence})
    return Detected(tuple(scores), labels)


def _single_instances(matches: Matches, label: str) -> list[Score]:
    """The best IoU of each reference instance's pairs, 0 where it has none."""
    best = dict.fromkeys(matches.unmatched_reference, 0.0)
    for pair in matches.pairs:
        best[pair.reference] = max(pair.iou, best.get(pair.reference, 0.0))
    return [Score("instance_iou", best[number], label, instance=number) for number in sorted(best)]


def _score(metric: str, value: float | str, label: str) -> Score:
    if isinstance(value, str):
        return Score(metric, None, label, reason=value)
    return Score(metric, float(value), label)


def _why(overlaps: Overlaps) -> str | None:
    """Which side has no instances, in the words of every empty case; None where both have some."""
    if overlaps.prediction_ids.size and overlaps.reference_ids.size:
        return None
    if overlaps.reference_ids.size:
        return MISSED
    return FALSE_POSITIVE if overlaps.prediction_ids.size else ABSENT


def _instance_values(overlaps: Overlaps, matches: Matches) -> Values:
    quality = panoptic_quality(match_overlaps(overlaps))
    why = _why(overlaps) or "missed: no pair of instances has an IoU above 0.5"
    predicted, referred = matches.n_prediction, matches.n_reference
    values: Values = {
        name: why if value is None else value
        for name, value in (("pq", quality.pq), ("sq", quality.sq), ("rq", quality.rq))
    }
    precision = matches.matched_predictions / predicted if predicted else None
    recall = matches.matched_references / referred if referred else None
    values["instance_precision"] = why if precision is None else precision
    if recall is None:
        values["instance_recall"] = "the reference has no instance to find" if predicted else ABSENT
    else:
        values["instance_recall"] = recall
    values["instance_f1"] = _f1(precision, recall) if predicted or referred else ABSENT
    values["count_error"] = float(predicted - referred)
    return values


def _f1(precision: float | None, recall: float | None) -> float:
    if not precision or not recall:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def _precision_values(overlaps: Overlaps, scores: Mapping[int, float]) -> Values:
    """AP at 0.5, and its mean over the ten thresholds of COCO."""
    names = ("ap_50", "ap_50_95")
    if not overlaps.reference_ids.size:
        return dict.fromkeys(names, _why(overlaps) or "")
    if any(number not in scores for number in overlaps.prediction_ids.tolist()):
        return dict.fromkeys(names, "the predicted instances have no scores")
    found = average_precision([ScoredCase(overlaps, scores)], COCO_THRESHOLDS)
    values = [value for value in found if value is not None]
    return {"ap_50": values[0], "ap_50_95": float(np.mean(values))}


def _lesion_values(
    overlaps: Overlaps, prediction: InstanceMap, reference: InstanceMap, options: LesionOptions
) -> Values:
    geometry = reference.geometry
    unfit = _ONE_SLICE if geometry.shape[2] == 1 else None if geometry.calibrated else _UNKNOWN_SIZE
    names = ("lesion_dice", "lesion_hd95_mm", "false_positive_volume_ml", "false_negative_volume_ml")
    values: Values = dict.fromkeys(names, unfit or 0.0)
    why = _why(overlaps)
    if why == ABSENT:
        return (
            values
            | ({} if unfit else {"lesion_dice": ABSENT, "lesion_hd95_mm": ABSENT})
            | {"cc_dice": ABSENT}
        )
    mine, other, geometry = _masks(overlaps, prediction, reference, options.dilation)
    connected = cc_dice(mine, other, geometry)
    values["cc_dice"] = (why or "") if connected is None else connected
    if unfit is None:
        lesions = lesion_wise(mine, other, geometry, options)
        values["lesion_dice"] = lesions.reason or "" if lesions.dice is None else lesions.dice
        values["lesion_hd95_mm"] = lesions.reason or "" if lesions.hd95_mm is None else lesions.hd95_mm
        volumes = false_volumes_ml(mine, other, geometry)
        values["false_positive_volume_ml"], values["false_negative_volume_ml"] = volumes
    return values


def _masks(
    overlaps: Overlaps, prediction: InstanceMap, reference: InstanceMap, margin: int
) -> tuple[Mask, Mask, Geometry]:
    """Both masks of a label and their grid, cut to the box of its instances and a margin within the image."""
    sides = ((prediction, overlaps.prediction_ids), (reference, overlaps.reference_ids))
    boxes = []
    for side, ids in sides:
        wanted = set(ids.tolist())
        boxes += [item.box for item in side.instances if item.id in wanted]
    ranges = np.array(boxes)
    start = np.maximum(ranges[:, :, 0].min(axis=0) - margin, 0)
    stop = np.minimum(ranges[:, :, 1].max(axis=0) + margin, reference.geometry.shape)
    window = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    predicted, referred = (np.isin(side.ids[window], ids) for side, ids in sides)
    return predicted, referred, crop_geometry(reference.geometry, start.tolist(), (stop - start).tolist())
