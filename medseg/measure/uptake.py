"""What a PET image shows inside an object: standardised uptake values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.instances.regions import Region
from medseg.measure.volumetry import SINGLE_SLICE
from medseg.spatial.geometry import Geometry
from medseg.spatial.volume import Unit, Volume

PEAK_RADIUS_MM = 10 * (3 / (4 * math.pi)) ** (1 / 3)
"""Radius of a ball of 1 ml: 6.204 mm."""

UPTAKE_NAMES = ("suv_mean", "suv_max", "suv_peak", "suv_peak_inside", "total_lesion_glycolysis")
VOXEL_TOO_LARGE = "a voxel is larger than the ball of 1 ml"
NO_BALL_INSIDE = "no ball of 1 ml fits into the object"

_SLACK = 1 + 1e-9
_SLAB_VOXELS = 1 << 22


def uptake_values(mask: NDArray[np.bool_], region: Region, image: Volume) -> dict[str, float | str]:
    """SUVmean, SUVmax, both SUVpeaks and total lesion glycolysis of an object.

    Args:
        mask: the object in its region's box.
        region: where it lies in the image.
        image: on the object's grid.

    Returns:
        Name → value or reason; for every name a reason where the image's unit is not SUV.
    """
    if image.unit is not Unit.SUV:
        reason = f"the image's unit is {image.unit.value}, not SUV; say so with --unit SUV if it is"
        return dict.fromkeys(UPTAKE_NAMES, reason)
    voxels = np.asarray(image.array[region.slices][mask], dtype=np.float64)
    bad = voxels.size - int(np.count_nonzero(np.isfinite(voxels)))
    if bad:
        reason = f"{bad} of {voxels.size} voxels of the image are NaN or infinite here"
        return dict.fromkeys(UPTAKE_NAMES, reason)
    values: dict[str, float | str] = {"suv_mean": float(voxels.mean()), "suv_max": float(voxels.max())}
    geometry = image.geometry
    if not geometry.calibrated:
        return values
    if geometry.shape[2] == 1:
        return values | dict.fromkeys(UPTAKE_NAMES[2:], SINGLE_SLICE)
    volume_ml = region.voxel_count * geometry.voxel_volume_mm3 / 1000
    values["total_lesion_glycolysis"] = float(voxels.mean()) * volume_ml
    return values | _peaks(mask, region, image)


def ball_offsets(geometry: Geometry) -> NDArray[np.int64]:
    """Index offsets (n, 3), in C order, of the voxels whose centres lie in a ball of 1 ml round a voxel's."""
    steps = geometry.affine[:3, :3]
    reach = np.floor(PEAK_RADIUS_MM * np.sqrt(np.diag(np.linalg.inv(steps.T @ steps))) * _SLACK).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    distance = np.linalg.norm(grid @ steps.T, axis=1)
    return np.asarray(grid[distance <= PEAK_RADIUS_MM * _SLACK], dtype=np.int64)


def _peaks(mask: NDArray[np.bool_], region: Region, image: Volume) -> dict[str, float | str]:
    """Highest mean over balls of 1 ml about the object's voxels, and over those wholly inside the object."""
    geometry = image.geometry
    if geometry.voxel_volume_mm3 > 1000:
        return dict.fromkeys(("suv_peak", "suv_peak_inside"), VOXEL_TOO_LARGE)
    offsets = ball_offsets(geometry)
    reach = offsets.max(axis=0)
    whole = _padded(image.array, region.box, reach, np.float64)
    if not np.isfinite(whole).all():
        reason = "voxels of the image within 6.2 mm of the object are NaN or infinite"
        return dict.fromkeys(("suv_peak", "suv_peak_inside"), reason)
    there = _padded(np.broadcast_to(np.int32(1), geometry.shape), region.box, reach, np.int32)
    inside = np.pad(mask, [(n, n) for n in reach]).astype(np.int32)
    peak = peak_inside = -math.inf
    for planes in _slabs(mask.shape, int(reach[0])):
        part = mask[planes]
        taken = slice(planes.start, planes.stop + 2 * int(reach[0]))
        means = _ball_sums(whole[taken], offsets)[part] / _ball_sums(there[taken], offsets)[part]
        full = _ball_sums(inside[taken], offsets)[part] == len(offsets)
        peak = max(peak, float(means.max(initial=-math.inf)))
        peak_inside = max(peak_inside, float(means[full].max(initial=-math.inf)))
    return {
        "suv_peak": peak,
        "suv_peak_inside": peak_inside if math.isfinite(peak_inside) else NO_BALL_INSIDE,
    }


def _slabs(shape: tuple[int, ...], reach: int) -> Iterator[slice]:
    """Planes of the first axis, few enough at once to bound memory but more than a ball is thick."""
    at_once = max(2 * reach + 1, _SLAB_VOXELS // (shape[1] * shape[2]))
    for start in range(0, shape[0], at_once):
        yield slice(start, min(start + at_once, shape[0]))


def _padded(
    array: NDArray[Any], box: tuple[tuple[int, int], ...], reach: NDArray[np.int64], dtype: Any
) -> NDArray[Any]:
    """The box and ``reach`` voxels round it; 0 beyond the image."""
    wanted = [(start - int(n), stop + int(n)) for (start, stop), n in zip(box, reach, strict=True)]
    taken = [(max(0, a), min(b, n)) for (a, b), n in zip(wanted, array.shape, strict=True)]
    result = np.zeros([b - a for a, b in wanted], dtype)
    target = tuple(slice(t0 - w0, t1 - w0) for (w0, _), (t0, t1) in zip(wanted, taken, strict=True))
    result[target] = array[tuple(slice(a, b) for a, b in taken)]
    return result


def _ball_sums(padded: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Sum over the ball round each voxel that is not padding.

    A ball is convex, so its voxels form one run in each row along the last axis, and a run's sum is the
    difference of two running sums.
    """
    reach = offsets.max(axis=0)
    ni, nj, nk = (n - 2 * int(r) for n, r in zip(padded.shape, reach, strict=True))
    running = np.zeros((*padded.shape[:2], padded.shape[2] + 1), padded.dtype)
    np.cumsum(padded, axis=2, out=running[:, :, 1:])
    total = np.zeros((ni, nj, nk), padded.dtype)
    rows, first = np.unique(offsets[:, :2], axis=0, return_index=True)
    last = np.append(first[1:], len(offsets)) - 1
    for (i, j), low, high in zip(rows + reach[:2], offsets[first, 2], offsets[last, 2], strict=True):
        plane = running[i : i + ni, j : j + nj]
        start, stop = int(low + reach[2]), int(high + reach[2]) + 1
        total += plane[:, :, stop : stop + nk]
        total -= plane[:, :, start : start + nk]
    return total
