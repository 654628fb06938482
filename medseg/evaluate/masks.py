"""What the metrics ask of two masks before they compare them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryMismatchError, InputError

ABSENT = "absent in both"
MISSED = "missed: the reference has it, the prediction does not"
FALSE_POSITIVE = "false positive: the prediction has it, the reference does not"
"""Every empty case has one of these three reasons; see `medseg.evaluate.compare`."""

Mask = NDArray[np.bool_]

_SLAB_VOXELS = 1 << 21


def checked_masks(prediction: NDArray[Any], reference: NDArray[Any]) -> None:
    """Refuses anything but two boolean arrays of one shape, 2D or 3D.

    Raises:
        InputError: an array that is not boolean or not 2D or 3D.
        GeometryMismatchError: the shapes differ.
    """
    for what, mask in (("prediction", prediction), ("reference", reference)):
        if mask.dtype != bool or mask.ndim not in {2, 3}:
            raise InputError(
                f"the {what} is an array of {mask.dtype} with {mask.ndim} axes; expected a boolean mask "
                "with 2 or 3 axes, such as labels == 3"
            )
    if prediction.shape != reference.shape:
        raise GeometryMismatchError(
            f"the prediction has shape {prediction.shape} but the reference {reference.shape}; "
            "bring both onto one grid first"
        )


def checked_pair(
    prediction: NDArray[Any], reference: NDArray[Any], spacing_mm: Sequence[float]
) -> tuple[Mask, Mask, tuple[float, ...]]:
    """Two masks and their spacing. A mask of shape (i, j, 1) is 3D; give ``mask[..., 0]`` for its plane.

    Raises:
        InputError: as `checked_masks`, or a spacing that is not one positive, finite length per axis.
        GeometryMismatchError: the shapes differ.
    """
    checked_masks(prediction, reference)
    spacing = tuple(float(step) for step in spacing_mm)
    if len(spacing) != prediction.ndim or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise InputError(
            f"the spacing is {spacing}; expected {prediction.ndim} positive lengths in mm, one per axis"
        )
    return prediction, reference, spacing


def slabs(shape: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Half-open ranges along the first axis that hold a few million voxels each, to bound memory."""
    plane = int(np.prod(shape[1:]))
    step = max(1, _SLAB_VOXELS // max(1, plane))
    for first in range(0, shape[0], step):
        yield first, min(first + step, shape[0])


def box_of(mask: Mask) -> tuple[slice, ...] | None:
    """The smallest box that holds all true voxels, or None where there are none."""
    found = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        places = np.flatnonzero(mask.any(axis=others))
        if places.size == 0:
            return None
        found.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(found)
