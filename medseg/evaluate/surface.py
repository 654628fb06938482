"""Distances between the surfaces of two masks, computed once, and the metrics that read them.

The surface of a mask is its *boundary voxels*: those with a face (in 2D an edge) on the background or on the
border of the image. Distances run between voxel centres. The metrics with ``surfel`` in their name use
surface elements between the voxels instead and weight each with its area (see `medseg.evaluate.surfels`).

Where one of the masks is empty, nothing has a nearest point: every distance is infinite. Distance metrics are
then None, normalised surface Dice is 0. Where both are empty every metric is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigurationError
from medseg.evaluate.masks import Mask, box_of, checked_pair, slabs
from medseg.evaluate.nearest import Distances, nearest_mm
from medseg.evaluate.surfels import element_sizes, surface_elements

WITHIN = 1e-6
"""A distance counts as within a tolerance up to this share above it, so that 3 steps of 0.1 mm are 0.3 mm."""


@dataclass(frozen=True, slots=True, eq=False)
class Surfels:
    """Surface elements of one mask.

    Attributes:
        distances_mm: (n,) to the nearest element of the other mask.
        sizes: (n,) area in mm², in 2D length in mm.
    """

    distances_mm: Distances
    sizes: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances:
    """How far the surfaces of prediction and reference lie apart, both ways.

    Attributes:
        prediction_mm: (n,) from each boundary voxel of the prediction to the nearest of the reference.
        reference_mm: (m,) from each boundary voxel of the reference to the nearest of the prediction.
        prediction_surfels: the same between surface elements.
        reference_surfels: the same.
    """

    prediction_mm: Distances
    reference_mm: Distances
    prediction_surfels: Surfels
    reference_surfels: Surfels

    @property
    def comparable(self) -> bool:
        """Whether neither mask is empty."""
        return bool(len(self.prediction_mm) and len(self.reference_mm))


def surface_distances(
    prediction: Mask, reference: Mask, spacing_mm: Sequence[float], *, threads: int = 1
) -> SurfaceDistances:
    """All distances between the surfaces of two masks; the part that takes time.

    Args:
        prediction: boolean, 2D or 3D. Beyond the array lies background.
        reference: the same shape.
        spacing_mm: one step per axis; axes at right angles.
        threads: for what lies further apart than a few voxels.

    Returns:
        Empty arrays for an empty mask, and infinite distances to it.

    Raises:
        InputError: arrays that are not boolean or not 2D or 3D, or an unusable spacing.
        GeometryMismatchError: the shapes differ.
        ConfigurationError: fewer than one thread.
    """
    if threads < 1:
        raise ConfigurationError(f"{threads} threads; expected 1 or more")
    prediction, reference, spacing = checked_pair(prediction, reference, spacing_mm)
    boxes = [box for box in (box_of(prediction), box_of(reference)) if box is not None]
    if not boxes:
        nothing = np.zeros(0)
        return SurfaceDistances(nothing, nothing, Surfels(nothing, nothing), Surfels(nothing, nothing))
    union = tuple(
        slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in zip(*boxes, strict=True)
    )
    return _within_box(prediction[union], reference[union], spacing, threads)


def _within_box(
    prediction: Mask, reference: Mask, spacing: tuple[float, ...], threads: int
) -> SurfaceDistances:
    shape = prediction.shape
    first, second = boundary_voxels(prediction), boundary_voxels(reference)
    prediction_mm = nearest_mm(first, second, shape, spacing, threads)
    reference_mm = nearest_mm(second, first, shape, spacing, threads)
    del first, second
    corners = tuple(n + 1 for n in shape)
    sizes = element_sizes(spacing)
    (places, codes), (others, other_codes) = surface_elements(prediction), surface_elements(reference)
    return SurfaceDistances(
        prediction_mm,
        reference_mm,
        Surfels(nearest_mm(places, others, corners, spacing, threads), sizes[codes]),
        Surfels(nearest_mm(others, places, corners, spacing, threads), sizes[other_codes]),
    )


def boundary_voxels(mask: Mask) -> NDArray[np.intp]:
    """C-order positions of the mask's voxels with a face on the background or on the border of the array."""
    plane = int(np.prod(mask.shape[1:]))
    found = [np.zeros(0, dtype=np.intp)]
    for first, last in slabs(mask.shape):
        here = mask[first:last]
        inner = here.copy()
        inner[1:] &= here[:-1]
        inner[:-1] &= here[1:]
        inner[0] &= mask[first - 1] if first else np.False_
        inner[-1] &= mask[last] if last < len(mask) else np.False_
        for axis in range(1, mask.ndim):
            lower = (slice(None),) * axis + (slice(None, -1),)
            upper = (slice(None),) * axis + (slice(1, None),)
            inner[upper] &= here[lower]
            inner[lower] &= here[upper]
            inner[(slice(None),) * axis + (0,)] = False
            inner[(slice(None),) * axis + (-1,)] = False
        found.append(np.flatnonzero(here ^ inner) + first * plane)
    return np.concatenate(found)


def hausdorff_mm(distances: SurfaceDistances) -> float | None:
    """The largest distance from one boundary to the other, either way; None if a mask is empty."""
    return hd_max_mm(distances, 100.0)


def hd_max_mm(distances: SurfaceDistances, percent: float = 95.0) -> float | None:
    """The larger of the two directed percentiles (MONAI, MetricsReloaded); None if a mask is empty."""
    if not distances.comparable:
        return None
    sides = (distances.prediction_mm, distances.reference_mm)
    return max(float(np.percentile(side, percent)) for side in sides)


def hd_pooled_mm(distances: SurfaceDistances, percent: float = 95.0) -> float | None:
    """The percentile of both directions' distances put together (MedPy); None if a mask is empty."""
    return float(np.percentile(_pooled(distances), percent)) if distances.comparable else None


def hd_surfel_mm(distances: SurfaceDistances, percent: float = 95.0) -> float | None:
    """The larger directed percentile over surface area (surface-distance); None if a mask is empty."""
    if not distances.comparable:
        return None
    return max(
        _weighted_percentile(side, percent)
        for side in (distances.prediction_surfels, distances.reference_surfels)
    )


def assd_mm(distances: SurfaceDistances) -> float | None:
    """Mean of both directions' distances put together (MONAI, MedPy); None if a mask is empty."""
    return float(_pooled(distances).mean()) if distances.comparable else None


def masd_mm(distances: SurfaceDistances) -> float | None:
    """Mean of the two directed means (MetricsReloaded); None if a mask is empty."""
    if not distances.comparable:
        return None
    return (float(distances.prediction_mm.mean()) + float(distances.reference_mm.mean())) / 2


def asd_prediction_to_reference_mm(distances: SurfaceDistances) -> float | None:
    """Mean distance of the prediction's boundary voxels to the reference's; None if a mask is empty."""
    return float(distances.prediction_mm.mean()) if distances.comparable else None


def asd_reference_to_prediction_mm(distances: SurfaceDistances) -> float | None:
    """Mean distance of the reference's boundary voxels to the prediction's; None if a mask is empty."""
    return float(distances.reference_mm.mean()) if distances.comparable else None


def asd_surfel_mm(distances: SurfaceDistances) -> tuple[float, float] | None:
    """Means over surface area (surface-distance), reference → prediction and back; None if one is empty."""
    if not distances.comparable:
        return None
    reference, prediction = (
        float(np.average(side.distances_mm, weights=side.sizes))
        for side in (distances.reference_surfels, distances.prediction_surfels)
    )
    return reference, prediction


def nsd(distances: SurfaceDistances, tolerance_mm: float) -> float | None:
    """Normalised surface Dice: the share of both masks' boundary voxels within the tolerance of the other's.

    Counts voxels, as MONAI and MetricsReloaded do.

    Raises:
        ConfigurationError: the tolerance is not a finite number of 0 or more.
    """
    limit = _limit(tolerance_mm)
    pooled = _pooled(distances)
    return float((pooled <= limit).mean()) if len(pooled) else None


def nsd_surfel(distances: SurfaceDistances, tolerance_mm: float) -> float | None:
    """Normalised surface Dice by surface area (surface-distance; Nikolov et al. 2021).

    Raises:
        ConfigurationError: the tolerance is not a finite number of 0 or more.
    """
    limit = _limit(tolerance_mm)
    sides = (distances.prediction_surfels, distances.reference_surfels)
    total = sum(float(side.sizes.sum()) for side in sides)
    within = sum(float(side.sizes[side.distances_mm <= limit].sum()) for side in sides)
    return within / total if total else None


def surfel_overlap(distances: SurfaceDistances, tolerance_mm: float) -> tuple[float, float] | None:
    """Share of the reference's surface area within the tolerance of the prediction's, and the reverse.

    Raises:
        ConfigurationError: the tolerance is not a finite number of 0 or more.
    """
    limit = _limit(tolerance_mm)
    if not distances.comparable:
        return None
    reference, prediction = (
        float(side.sizes[side.distances_mm <= limit].sum() / side.sizes.sum())
        for side in (distances.reference_surfels, distances.prediction_surfels)
    )
    return reference, prediction


def _pooled(distances: SurfaceDistances) -> NDArray[Any]:
    return np.concatenate([distances.prediction_mm, distances.reference_mm])


def _limit(tolerance_mm: float) -> float:
    if not (np.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise ConfigurationError(f"the tolerance is {tolerance_mm} mm; expected 0 or more")
    return tolerance_mm * (1 + WITHIN)


def _weighted_percentile(surfels: Surfels, percent: float) -> float:
    order = np.argsort(surfels.distances_mm, kind="stable")
    share = np.cumsum(surfels.sizes[order])
    place = int(np.searchsorted(share / share[-1], percent / 100))
    return float(surfels.distances_mm[order[min(place, len(order) - 1)]])
