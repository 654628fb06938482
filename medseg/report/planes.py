"""Which slices of a scan to show, and how they lie in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.spatial.geometry import Geometry, closest_axes
from medseg.spatial.orientation import reoriented
from medseg.spatial.resample import resample_array
from medseg.spatial.volume import Volume

_SHOWN = "LPI"
"""Array axes for pictures: columns towards the patient's left or back, rows towards the back or the feet.

A slice of such an array is in radiological convention as it is: the patient's right on the left of the
picture, the front at the top of an axial slice, the head at the top of a coronal or sagittal one."""

_NAMES = ("sagittal", "coronal", "axial")
_PAIRS = ("LR", "PA", "IS")
_SECOND_LETTER = float(np.sin(np.deg2rad(20)))
_OBLIQUE = float(np.cos(np.deg2rad(5)))


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One slice to show.

    Attributes:
        name: ``axial``, ``coronal`` or ``sagittal``, the one that the slice comes nearest to.
        axis: array axis of ``geometry`` with one voxel.
        geometry: the slice as a grid with axes that run L, P, I; ``axis`` has length 1.
        oblique: True where the slice leans more than 5 degrees.
        in_patient: False for a plain 2D picture, whose directions and position mean nothing.
    """

    name: str
    axis: int
    geometry: Geometry
    oblique: bool
    in_patient: bool

    @property
    def row_axis(self) -> int:
        """The array axis that runs down the picture."""
        return 1 if self.axis == 2 else 2

    @property
    def column_axis(self) -> int:
        """The array axis that runs to the right of the picture."""
        return 1 if self.axis == 0 else 0

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in the geometry's unit (mm, or pixels where it is not calibrated)."""
        steps, shape = self.geometry.steps, self.geometry.shape
        column, row = self.column_axis, self.row_axis
        return steps[column] * shape[column], steps[row] * shape[row]

    @property
    def edges(self) -> tuple[str, str, str, str]:
        """Patient direction at the left, right, top and bottom edge; two letters where an axis leans 20°."""
        columns = self.geometry.affine[:3, self.column_axis]
        rows = self.geometry.affine[:3, self.row_axis]
        return (
            _letters(-columns, self.column_axis),
            _letters(columns, self.column_axis),
            _letters(-rows, self.row_axis),
            _letters(rows, self.row_axis),
        )

    @property
    def position(self) -> str:
        """Where the middle of the slice lies along the patient's axis, such as ``S 23.5 mm``."""
        value = float(self.geometry.centre_mm[self.axis])
        return f"{_PAIRS[self.axis][value >= 0]} {abs(value):.1f} mm"

    def take(self, array: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
        """The slice of a label map or of ids as (rows, columns); values are never mixed."""
        return self._flat(resample_array(array, geometry, self.geometry, order=0, fill=0))

    def take_volume(self, volume: Volume) -> NDArray[Any]:
        """The slice of a scan as (rows, columns); NaN outside a scan that lies on another grid.

        Raises:
            GeometryMismatchError: the scan belongs to another frame of reference.
        """
        return self._flat(
            resample_array(volume.array, volume.geometry, self.geometry, order=1, fill=float("nan"))
        )

    def _flat(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.take(values, 0, axis=self.axis).T)


def choose_planes(labels: NDArray[Any], geometry: Geometry) -> tuple[Plane, ...]:
    """The axial, coronal and sagittal slice with the most foreground.

    Among equals the one nearest to the middle of the foreground; the middle slice of the scan where there is
    none. A scan that is one voxel thick gives the one plane in which it lies. The choice depends on where
    the voxels lie, not on the order in which they are stored.

    Args:
        labels: (i, j, k); 0 is background.
        geometry: the grid of ``labels``.
    """
    turned = reoriented(geometry, _SHOWN)
    counts: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * 3
    for (world_axis, sign), along in zip(
        closest_axes(geometry.affine), _foreground_counts(labels), strict=True
    ):
        counts[world_axis] = along[::-1] if sign > 0 else along
    thin = [axis for axis in range(3) if turned.shape[axis] == 1]
    axes = thin[-1:] or [2, 1, 0]
    in_patient = geometry.calibrated and not _is_plain_picture(geometry)
    return tuple(_plane(turned, axis, _best(counts[axis]), in_patient=in_patient) for axis in axes)


def _is_plain_picture(geometry: Geometry) -> bool:
    """Whether the grid is the one that a picture file gets, which knows a pixel size and no patient."""
    steps = geometry.steps
    placed = geometry.frame_of_reference_uid is not None or geometry.shape[2] > 1 or steps[2] != 1.0
    return not placed and np.array_equal(geometry.affine, np.diag([-steps[0], -steps[1], 1.0, 1.0]))


def _plane(turned: Geometry, axis: int, index: int, *, in_patient: bool) -> Plane:
    affine = turned.affine.copy()
    affine[:3, 3] += index * affine[:3, axis]
    lengths = [1 if a == axis else n for a, n in enumerate(turned.shape)]
    thin = Geometry(
        affine,
        (lengths[0], lengths[1], lengths[2]),
        turned.frame_of_reference_uid,
        turned.calibrated,
    )
    cosines = np.abs(np.diag(affine)[:3]) / np.array(turned.steps)
    return Plane(_NAMES[axis], axis, thin, bool((cosines < _OBLIQUE).any()), in_patient)


def _best(counts: NDArray[np.int64]) -> int:
    total = int(counts.sum())
    if total == 0:
        return len(counts) // 2
    middle = float((counts * np.arange(len(counts))).sum()) / total
    highest = np.flatnonzero(counts == counts.max())
    return int(highest[np.argmin(np.abs(highest - middle))])


def _foreground_counts(labels: NDArray[Any]) -> list[NDArray[np.int64]]:
    """How many foreground voxels each slice holds, along each array axis, in one pass over memory."""
    slow = int(np.argmax(np.abs(labels.strides)))
    first, second = (axis for axis in range(3) if axis != slow)
    along = np.zeros(labels.shape[slow], np.int64)
    projection = np.zeros((labels.shape[first], labels.shape[second]), np.int64)
    for n, slab in enumerate(np.moveaxis(labels, slow, 0)):
        foreground = slab != 0
        along[n] = np.count_nonzero(foreground)
        projection += foreground
    counts = [along] * 3
    counts[first], counts[second] = projection.sum(axis=1), projection.sum(axis=0)
    return counts


def _letters(direction: NDArray[np.float64], axis: int) -> str:
    cosines = direction / np.linalg.norm(direction)
    order = sorted(range(3), key=lambda a: (a != axis, -abs(cosines[a])))
    kept = [a for a in order if a == axis or abs(cosines[a]) >= _SECOND_LETTER]
    return "".join(_PAIRS[a][int(cosines[a] > 0)] for a in kept)
