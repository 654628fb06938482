"""Boundary IoU: overlap counted near the outline only."""

from __future__ import annotations

from collections.abc import Sequence

import edt
import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigurationError
from medseg.evaluate.masks import Mask, box_of, checked_pair
from medseg.evaluate.nearest import c_strides, padded, rings
from medseg.evaluate.surface import WITHIN, boundary_voxels

_MARKS_PER_VOXEL = 10
"""Marking this many places takes about as long as the distance transform of one voxel."""


def boundary_iou(
    prediction: Mask, reference: Mask, spacing_mm: Sequence[float], distance_mm: float, *, threads: int = 1
) -> float | None:
    """IoU of the voxels of each mask that lie near its outline (Cheng et al., CVPR 2021).

    A voxel of a mask is near its outline where its centre is within ``distance_mm`` of the centre of a voxel
    outside the mask, or where it has a face on one. Beyond the array lies background. Large structures, whose
    IoU hardly sees the outline, are judged by it as small ones are.

    Args:
        prediction: boolean, 2D or 3D.
        reference: the same shape.
        spacing_mm: one step per axis.
        distance_mm: how wide the band is; Cheng et al. take 2 % of the image's diagonal.
        threads: for wide bands.

    Returns:
        0 to 1, or None where both masks are empty.

    Raises:
        InputError: arrays that are not boolean or not 2D or 3D, or an unusable spacing.
        GeometryMismatchError: the shapes differ.
        ConfigurationError: the distance is not a finite number of 0 or more.
    """
    prediction, reference, spacing = checked_pair(prediction, reference, spacing_mm)
    if not (np.isfinite(distance_mm) and distance_mm >= 0):
        raise ConfigurationError(f"the boundary's width is {distance_mm} mm; expected 0 or more")
    union = box_of(prediction | reference)
    if union is None:
        return None
    first = boundary_band(prediction[union], spacing, distance_mm, threads)
    second = boundary_band(reference[union], spacing, distance_mm, threads)
    return int(np.count_nonzero(first & second)) / int(np.count_nonzero(first | second))


def boundary_band(
    mask: Mask, spacing_mm: tuple[float, ...], distance_mm: float, threads: int = 1
) -> NDArray[np.bool_]:
    """The voxels of a mask near its outline; see `boundary_iou`."""
    reach = distance_mm * (1 + WITHIN)
    edge = boundary_voxels(mask)
    band = np.zeros(mask.shape, dtype=bool)
    band.reshape(-1)[edge] = True
    if reach < min(spacing_mm) or not len(edge):
        return band
    marks = len(edge) * np.pi / 6 * float(np.prod([2 * reach / step + 1 for step in spacing_mm]))
    if marks > _MARKS_PER_VOXEL * mask.size:
        inside = np.pad(mask, 1)
        distances = edt.edt(inside, anisotropy=spacing_mm, black_border=False, parallel=threads)
        near = distances[(slice(1, -1),) * mask.ndim] <= reach
        band |= near & mask
    else:
        steps = np.concatenate([steps for _, steps in rings(spacing_mm, reach)])
        band |= _reached(mask, edge, steps) & mask
    return band


def _reached(mask: Mask, edge: NDArray[np.intp], steps: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Voxels within ``steps`` of a background voxel with a face on the mask.

    The nearest background voxel always has such a face: one step from it towards the mask's voxel is nearer
    still, so it must be inside.
    """
    margin = (steps.max(axis=0) + 1).tolist()
    inside = tuple(slice(m, -m) for m in margin)
    places, wide = padded(edge, mask.shape, margin)
    reached = np.zeros(wide, dtype=bool)
    flat = reached.reshape(-1)
    strides = c_strides(wide).tolist()
    for stride in strides:
        flat[places + stride] = flat[places - stride] = True
    reached[inside] &= ~mask
    outside = np.flatnonzero(flat)
    # A place may lie one voxel outside the box; what it reaches ends within the margin.
    for offset in (steps @ np.array(strides)).tolist():
        flat[outside + offset] = True
    result: NDArray[np.bool_] = reached[inside]
    return result
