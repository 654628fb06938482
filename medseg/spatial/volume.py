"""A scalar image with its place in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryMismatchError, InputError
from medseg.spatial.geometry import Geometry


class Unit(StrEnum):
    """What one step of the voxel values means."""

    HU = "HU"
    SUV = "SUV"
    ARBITRARY = "arbitrary"


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One channel of one examination.

    Attributes:
        array: (i, j, k), real numbers, read-only; shares memory with the array given.
        geometry: where the voxels lie; ``geometry.shape`` equals ``array.shape``.
        unit: unit of the values.
        source: series UID or ``sha256:…`` of the file; never a file or patient name.

    Raises:
        GeometryMismatchError: the array does not have the geometry's shape.
        InputError: the values are not real numbers.
    """

    array: NDArray[Any]
    geometry: Geometry
    unit: Unit = Unit.ARBITRARY
    source: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", checked_array(self.array, self.geometry, "iufb"))


def checked_array(array: NDArray[Any], geometry: Geometry, kinds: str, leading: int = 0) -> NDArray[Any]:
    """A read-only view of ``array`` after a check of its shape and kind of numbers.

    Args:
        array: (..., i, j, k).
        geometry: the grid of the last three axes.
        kinds: NumPy's one-letter kinds that are allowed.
        leading: how many axes stand before (i, j, k).

    Raises:
        GeometryMismatchError: the shapes differ.
        InputError: the numbers are of another kind.
    """
    if array.ndim != 3 + leading or array.shape[leading:] != geometry.shape:
        raise GeometryMismatchError(
            f"the array has shape {array.shape} but its grid has {geometry.shape}"
            + (f" after {leading} leading axis" if leading else "")
        )
    if array.dtype.kind not in kinds:
        raise InputError(f"voxels are of type {array.dtype}; expected one of the kinds {kinds!r}")
    view = array.view()
    view.setflags(write=False)
    return np.asarray(view)
