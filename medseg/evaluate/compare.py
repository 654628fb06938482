"""Every label of a prediction against a reference on the same grid.

What becomes of empty masks is decided here for all metrics (see ``EMPTY_CASES``, after Maier-Hein et al.,
Metrics Reloaded, Nat Methods 2024): a value that exists is given, any other is None with a reason that
begins with "absent in both", "missed" or "false positive". What a mean counts for a miss is for
`medseg.evaluate.aggregate` to say; no metric says infinite or NaN.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ConfigurationError, LabelTableError
from medseg.evaluate import overlap, surface
from medseg.evaluate.boundary import boundary_iou
from medseg.evaluate.evaluation import CaseScores, VolumePair
from medseg.evaluate.masks import ABSENT, FALSE_POSITIVE, MISSED, Mask
from medseg.evaluate.overlap import (
    OverlapCounts,
    checked_grid,
    label_overlap,
    matched_indices,
    memory_order,
)
from medseg.evaluate.score import Score
from medseg.evaluate.skeleton import centreline_dice
from medseg.evaluate.surface import SurfaceDistances, surface_distances
from medseg.spatial.geometry import Geometry
from medseg.spatial.segmentation import Segmentation

logger = logging.getLogger(__name__)

PIXEL_SIZE_UNKNOWN = "the pixel size is unknown, so nothing can be given in mm"
SHEARED = "the grid's axes are not at right angles; resample both onto a straight grid for distances"
SINGLE_SLICE = "the image is a single slice, which has no volume"
NOTHING_TO_FIND = "the reference is empty, so there is nothing to find"
NO_SHARE = "the reference is empty, so no share of it can be given"
FULL_IMAGE = "the reference fills the image, so nothing lies outside it"

_LARGEST_DENSE_INDEX = 1 << 20
_LARGEST_COSINE = 1e-3

Value = float | str
"""A number, or the reason why there is none."""

_DISTANCES: Mapping[str, Callable[[SurfaceDistances], float | None]] = {
    "hausdorff_mm": surface.hausdorff_mm,
    "hd95_max_mm": surface.hd_max_mm,
    "hd95_pooled_mm": surface.hd_pooled_mm,
    "hd95_surfel_mm": surface.hd_surfel_mm,
    "assd_mm": surface.assd_mm,
    "masd_mm": surface.masd_mm,
    "asd_prediction_to_reference_mm": surface.asd_prediction_to_reference_mm,
    "asd_reference_to_prediction_mm": surface.asd_reference_to_prediction_mm,
}


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What changes the scores, and how many threads work on them.

    Attributes:
        tolerances_mm: of normalised surface Dice; name the one that two readers of this structure differ by.
        boundary_mm: width of the band of boundary IoU.
        tubular: labels that also get centreline Dice.
        threads: labels compared at the same time; memory grows with it.

    Raises:
        ConfigurationError: a tolerance or width that is not a finite number of 0 or more, a tolerance twice,
            or fewer than one thread.
    """

    tolerances_mm: tuple[float, ...] = (1.0,)
    boundary_mm: float = 1.0
    tubular: frozenset[str] = frozenset()
    threads: int = 2

    def __post_init__(self) -> None:
        for what, length in (
            *(("tolerance", t) for t in self.tolerances_mm),
            ("boundary's width", self.boundary_mm),
        ):
            if not (np.isfinite(length) and length >= 0):
                raise ConfigurationError(f"the {what} is {length} mm; expected a finite number of 0 or more")
        names = [f"{t:g}" for t in self.tolerances_mm]
        if len(set(names)) != len(names):
            raise ConfigurationError(f"the tolerances {', '.join(names)} mm name one twice; give each once")
        if self.threads < 1:
            raise ConfigurationError(f"{self.threads} threads; expected 1 or more")


def compare(
    prediction: Segmentation, reference: Segmentation, options: CompareOptions | None = None
) -> tuple[Score, ...]:
    """Scores of every label of the reference's table.

    Labels are matched by name. Labels that only the prediction has are left out, and logged where they have
    voxels. A single slice is compared in its plane. Where the pixel size is unknown, or the grid's axes are
    not at right angles, what is in mm has no value and says why.

    Args:
        prediction: on the reference's grid.
        reference: says which labels are scored.
        options: None for the defaults.

    Returns:
        By the reference's label index, then in the order of `medseg.evaluate.definitions.DEFINITIONS`.

    Raises:
        GeometryMismatchError: the grids differ.
        LabelTableError: the tables contradict each other, or a tubular label is not in the reference's.
    """
    return compare_case("case", prediction, reference, options).scores


def compare_case(
    case_id: str, prediction: Segmentation, reference: Segmentation, options: CompareOptions | None = None
) -> CaseScores:
    """The scores of `compare` with the volumes of both sides and the grid's diagonal.

    Raises:
        GeometryMismatchError: the grids differ.
        LabelTableError: the tables contradict each other, or a tubular label is not in the reference's.
    """
    options = options or CompareOptions()
    checked_grid(prediction, reference)
    unknown = sorted(options.tubular - {label.name for label in reference.table})
    if unknown:
        raise LabelTableError(
            f"the tubular label {unknown[0]!r} is not in the reference's table; it has "
            f"{', '.join(label.name for label in reference.table) or 'nothing'}"
        )
    counts = label_overlap(prediction, reference)
    pair = _Pair.of(prediction, reference)
    _log_left_out(prediction, reference, pair)
    geometry = reference.geometry
    # Large labels first, so that no thread is left with one at the end.
    order = sorted(counts, key=lambda name: -counts[name].prediction - counts[name].reference)
    with ThreadPoolExecutor(options.threads) as pool:
        done = dict(
            zip(order, pool.map(lambda name: _label(name, counts[name], pair, options), order), strict=True)
        )
    scores = tuple(score for name in counts for score in done[name])
    if not geometry.calibrated:
        return CaseScores(case_id, scores)
    return CaseScores(case_id, scores, volumes=_volumes(counts, geometry), diagonal_mm=diagonal_mm(geometry))


def diagonal_mm(geometry: Geometry) -> float:
    """Length of the longest diagonal of the whole image, voxel edges included; no distance in it is longer.

    Raises:
        GeometryMismatchError: the pixel size is unknown.
    """
    _ = geometry.spacing_mm
    sides = geometry.affine[:3, :3] * np.array(geometry.shape)
    signs = np.array([(1, a, b) for a in (-1, 1) for b in (-1, 1)])
    return float(np.linalg.norm(sides @ signs.T, axis=0).max())


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Both label maps in the order of memory, a single slice as 2D, with where each label lies."""

    prediction: NDArray[Any]
    reference: NDArray[Any]
    geometry: Geometry
    spacing: tuple[float, ...]
    columns: Mapping[str, int | None]
    rows: Mapping[str, int]
    prediction_boxes: Mapping[int, tuple[slice, ...]]
    reference_boxes: Mapping[int, tuple[slice, ...]]

    @classmethod
    def of(cls, prediction: Segmentation, reference: Segmentation) -> _Pair:
        first, second, steps = prediction.labels, reference.labels, np.array(reference.geometry.steps)
        if reference.geometry.shape[2] == 1:
            first, second, steps = first[..., 0], second[..., 0], steps[:2]
        order = memory_order(second)
        first, second = first.transpose(order), second.transpose(order)
        return cls(
            first,
            second,
            reference.geometry,
            tuple(float(step) for step in steps[order]),
            matched_indices(prediction.table, reference.table),
            {label.name: label.index for label in reference.table},
            _boxes(first),
            _boxes(second),
        )

    def masks(self, name: str) -> tuple[Mask, Mask] | None:
        """Prediction and reference of one label within the box that holds both; None where both are empty."""
        column, row = self.columns[name], self.rows[name]
        found = [
            boxes[index]
            for boxes, index in ((self.prediction_boxes, column), (self.reference_boxes, row))
            if index is not None and index in boxes
        ]
        if not found:
            return None
        union = tuple(
            slice(min(s.start for s in sides), max(s.stop for s in sides))
            for sides in zip(*found, strict=True)
        )
        reference: Mask = self.reference[union] == row
        prediction: Mask = np.zeros_like(reference) if column is None else self.prediction[union] == column
        return prediction, reference


def _boxes(labels: NDArray[Any]) -> dict[int, tuple[slice, ...]]:
    if int(labels.max()) <= _LARGEST_DENSE_INDEX:
        found = ndimage.find_objects(labels)
        return {index: box for index, box in enumerate(found, start=1) if box is not None}
    values, inverse = np.unique(labels, return_inverse=True)
    found = ndimage.find_objects(inverse.reshape(labels.shape).astype(np.int32) + 1)
    return {int(value): box for value, box in zip(values, found, strict=True) if value}


def _log_left_out(prediction: Segmentation, reference: Segmentation, pair: _Pair) -> None:
    known = {label.name for label in reference.table}
    extra = [
        label.name
        for label in prediction.table
        if label.name not in known and label.index in pair.prediction_boxes
    ]
    if extra:
        logger.warning("left out, because the reference's table lacks them: %s", ", ".join(extra))


def _label(name: str, counts: OverlapCounts, pair: _Pair, options: CompareOptions) -> tuple[Score, ...]:
    """All scores of one label; every empty case ends here."""
    values = dict(_overlap_values(counts, pair.geometry))
    masks = pair.masks(name)
    values |= _surface_values(masks, pair, options)
    if name in options.tubular:
        values["cldice"] = _or_reason(None if masks is None else centreline_dice(*masks), ABSENT)
    if masks is None:
        values = dict.fromkeys(values, ABSENT)
    return tuple(
        Score(metric, None, name, value) if isinstance(value, str) else Score(metric, float(value), name)
        for metric, value in values.items()
    )


def _overlap_values(counts: OverlapCounts, geometry: Geometry) -> Iterator[tuple[str, Value]]:
    yield "dice", _or_reason(overlap.dice(counts), ABSENT)
    yield "iou", _or_reason(overlap.iou(counts), ABSENT)
    yield "sensitivity", _or_reason(overlap.sensitivity(counts), NOTHING_TO_FIND)
    yield "precision", _or_reason(overlap.precision(counts), MISSED)
    yield "specificity", _or_reason(overlap.specificity(counts), FULL_IMAGE)
    if not geometry.calibrated:
        yield "volume_error_ml", PIXEL_SIZE_UNKNOWN
    elif geometry.shape[2] == 1:
        yield "volume_error_ml", SINGLE_SLICE
    else:
        yield "volume_error_ml", overlap.volume_error_ml(counts, geometry.voxel_volume_mm3)
    yield "volume_error_percent", _or_reason(overlap.volume_error_percent(counts), NO_SHARE)


def _surface_values(
    masks: tuple[Mask, Mask] | None, pair: _Pair, options: CompareOptions
) -> dict[str, Value]:
    nsd_names = {tolerance: f"nsd_{tolerance:g}mm" for tolerance in options.tolerances_mm}
    surfel_names = {tolerance: f"nsd_surfel_{tolerance:g}mm" for tolerance in options.tolerances_mm}
    band = f"boundary_iou_{options.boundary_mm:g}mm"
    names = [*_DISTANCES, *nsd_names.values(), *surfel_names.values(), band]
    obstacle = _obstacle(pair.geometry)
    if masks is None or obstacle is not None:
        return dict.fromkeys(names, obstacle or ABSENT)
    distances = surface_distances(*masks, pair.spacing)
    one_sided = MISSED if not len(distances.prediction_mm) else FALSE_POSITIVE
    values = {name: _or_reason(metric(distances), one_sided) for name, metric in _DISTANCES.items()}
    for tolerance, name in nsd_names.items():
        values[name] = _or_reason(surface.nsd(distances, tolerance), ABSENT)
    for tolerance, name in surfel_names.items():
        values[name] = _or_reason(surface.nsd_surfel(distances, tolerance), ABSENT)
    values[band] = _or_reason(boundary_iou(*masks, pair.spacing, options.boundary_mm), ABSENT)
    return values


def _obstacle(geometry: Geometry) -> str | None:
    """Why distances cannot be measured on this grid, or None."""
    if not geometry.calibrated:
        return PIXEL_SIZE_UNKNOWN
    directions = geometry.affine[:3, :3] / np.array(geometry.steps)
    axes = 2 if geometry.shape[2] == 1 else 3
    cosines = np.abs(directions.T @ directions - np.eye(3))[:axes, :axes]
    return SHEARED if cosines.max() > _LARGEST_COSINE else None


def _volumes(counts: Mapping[str, OverlapCounts], geometry: Geometry) -> tuple[VolumePair, ...]:
    if geometry.shape[2] == 1:
        return ()
    voxel_ml = geometry.voxel_volume_mm3 / 1000
    return tuple(
        VolumePair(name, count.prediction * voxel_ml, count.reference * voxel_ml)
        for name, count in counts.items()
    )


def _or_reason(value: float | None, reason: str) -> Value:
    return reason if value is None else value
