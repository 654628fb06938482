"""What a metric is called on a page, its unit, and which metrics come first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from medseg.evaluate.direction import direction

_TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "sensitivity": "Sensitivity",
    "precision": "Precision",
    "specificity": "Specificity",
    "hausdorff_mm": "Hausdorff distance",
    "assd_mm": "ASSD",
    "masd_mm": "MASD",
    "cldice": "Centreline Dice",
    "pq": "Panoptic quality",
    "sq": "Segmentation quality",
    "rq": "Recognition quality",
    "cc_dice": "CC-Dice",
    "f1": "Detection F1",
}
_PATTERNS = (
    (re.compile(r"hd(\d+)_(\w+)_mm"), r"HD\1 (\2)"),
    (re.compile(r"nsd_([\d.]+)mm"), r"Surface Dice at \1 mm"),
    (re.compile(r"nsd_([a-z]+)_([\d.]+)mm"), r"Surface Dice at \2 mm (\1)"),
    (re.compile(r"boundary_iou_([\d.]+)mm"), r"Boundary IoU at \1 mm"),
)
_UNITS = {"mm": "mm", "ml": "ml", "percent": "%", "mm2": "mm²", "mm3": "mm³"}
_FIRST = (
    "dice", "nsd", "hd95_max", "hd95", "volume_error_percent", "volume_error", "lesion_dice", "pq", "f1",
    "cldice", "sensitivity", "precision",
)  # fmt: skip
_RANKED_BY = ("dice", "lesion_dice", "cc_dice", "pq", "f1", "iou")
MAIN = 6
"""Metrics that are drawn at once; the others are folded."""


def metric_title(metric: str) -> str:
    """A metric's name for people, without its unit; names that are not known lose their underscores."""
    if metric in _TITLES:
        return _TITLES[metric]
    for pattern, title in _PATTERNS:
        if pattern.fullmatch(metric):
            return pattern.sub(title, metric).strip()
    unit = metric_unit(metric)
    stem = metric.rpartition("_")[0] if unit else metric
    text = stem.replace("_", " ").strip() or metric
    return text[0].upper() + text[1:]


def metric_unit(metric: str) -> str:
    """``mm``, ``ml``, ``%`` … from the end of the name; empty for a share or a count."""
    return _UNITS.get(metric.rpartition("_")[2], "") if "_" in metric else ""


def metric_heading(metric: str) -> str:
    """Title and, in round brackets, unit."""
    unit = metric_unit(metric)
    return f"{metric_title(metric)} ({unit})" if unit else metric_title(metric)


def better(metric: str) -> str:
    """Which way the metric gets better, in words."""
    way = direction(metric)
    return "nearer to zero is better" if way == "zero" else f"{way} is better"


def value_bounds(metric: str) -> tuple[float | None, float | None]:
    """Values that the metric cannot pass."""
    way = direction(metric)
    if way == "zero":
        return None, None
    return (0.0, None) if way == "lower" or metric_unit(metric) else (0.0, 1.0)


def main_metrics(metrics: Sequence[str], most: int = MAIN) -> list[str]:
    """The metrics that say most of it: overlap, surface, volume, detection, in this order.

    Where none of them occurs, the first ones.
    """
    found: list[str] = []
    for start in _FIRST:
        name = _first(metrics, start)
        if name is not None and name not in found and not (start == "hd95" and _has(found, "hd95")):
            found.append(name)
    return found[:most] or list(metrics[:most])


def ranking_metric(metrics: Sequence[str]) -> str | None:
    """The metric by which cases are ranked: an overlap where there is one; None without metrics."""
    for name in _RANKED_BY:
        found = _first(metrics, name)
        if found is not None:
            return found
    shares = [metric for metric in metrics if direction(metric) == "higher"]
    return next(iter(shares or metrics), None)


def _first(metrics: Iterable[str], start: str) -> str | None:
    return next((metric for metric in metrics if metric == start or metric.startswith(f"{start}_")), None)


def _has(metrics: Iterable[str], start: str) -> bool:
    return any(metric.startswith(start) for metric in metrics)
