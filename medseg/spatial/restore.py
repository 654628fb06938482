"""From class probabilities on a prepared grid to labels on the scan's own grid, block by block.

`medseg.spatial.resample.grid_with` keeps the directions of a scan's axes, so each axis of the prepared grid
runs along one axis of the scan, and linear interpolation falls apart into one step per axis. That makes it
cheap, and lets a label map grow from blocks of probabilities that never exist all at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryMismatchError
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import LabelTable
from medseg.spatial.segmentation import Segmentation

_PARALLEL = 1e-6
"""Voxels by which a position may stray over a whole axis and still count as parallel or as whole."""
_REACH = 0.5 + 1e-6
_SUM_TOLERANCE = 1e-3

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """One axis of the prepared grid: where the voxels of the target lie along it.

    Attributes:
        along: which axis of the target it is.
        low: (n,) the prepared voxel at or before each target voxel.
        weight: (n,) share of the next one, float32.
        outside: (n,) more than half a voxel off the prepared grid.
        length: voxels of the prepared axis.
    """

    along: int
    low: NDArray[np.intp]
    weight: NDArray[np.float32]
    outside: NDArray[np.bool_]
    length: int

    def owned(self, start: int, stop: int) -> slice:
        """The target voxels whose lower neighbour lies in ``start`` … ``stop``; they lie side by side."""
        found = np.flatnonzero((self.low >= start) & (self.low < stop))
        return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)


class LabelRestorer:
    """The most probable label at each voxel of a scan's grid, from blocks of probabilities.

    Probabilities are interpolated linearly, class by class, and compared as they come. Ties go to the lower
    index; up to half a voxel outside the prepared grid the edge holds, beyond it is background. The labels
    do not depend on how the prepared grid was cut into blocks.

    Args:
        prepared: the grid of the probabilities.
        target: the scan's own grid.
        table: labels of the classes 1, 2 … in this order; class 0 is background.
        slices_along: prepared axis along which the nearest plane counts alone; None to interpolate along all.
        paint: for channels that may overlap: the label that each paints, in this order, where it exceeds 0.

    Raises:
        GeometryMismatchError: the axes of the two grids are not parallel; see `parallel`.
    """

    def __init__(
        self,
        prepared: Geometry,
        target: Geometry,
        table: LabelTable,
        slices_along: int | None = None,
        paint: Sequence[int] | None = None,
    ) -> None:
        self._paint = paint
        self._axes = _axes(prepared, target, slices_along)
        if self._axes is None:
            raise GeometryMismatchError("the axes of the prepared grid are not those of the scan's own grid")
        self._indices = [0, *(label.index for label in table)]
        self._target = target
        self._table = table
        labels = np.zeros(target.shape, np.min_scalar_type(max(self._indices)))
        self._labels = labels
        # The label map seen in the order of the prepared grid's axes.
        self._view = labels.transpose([axis.along for axis in self._axes])

    def add(self, probabilities: NDArray[Any], start: Triple, stop: Triple) -> None:
        """Labels all voxels whose lower neighbours lie in a block.

        Args:
            probabilities: (c, i, j, k) of the voxels from ``start`` on, one more than up to ``stop`` along
                each axis that goes on there.
            start: first prepared voxel.
            stop: behind the last prepared voxel that the block stands for.
        """
        axes = self._axes or ()
        owned = [axis.owned(a, b) for axis, a, b in zip(axes, start, stop, strict=True)]
        if any(part.start == part.stop for part in owned):
            return
        decide = self._winning if self._paint is None else self._painted
        labels = decide(probabilities, axes, start, owned)
        for number, (axis, part) in enumerate(zip(axes, owned, strict=True)):
            beyond = axis.outside[part]
            if beyond.any():
                labels[(slice(None),) * number + (beyond,)] = 0
        self._view[tuple(owned)] = labels

    def _painted(
        self, values: NDArray[Any], axes: tuple[_Axis, ...], start: Triple, owned: list[slice]
    ) -> NDArray[Any]:
        labels = np.zeros([part.stop - part.start for part in owned], self._labels.dtype)
        for channel, index in zip(values, self._paint or (), strict=True):
            labels[_interpolated(channel, axes, start, owned) > 0] = index
        return labels

    def _winning(
        self, probabilities: NDArray[Any], axes: tuple[_Axis, ...], start: Triple, owned: list[slice]
    ) -> NDArray[Any]:
        best = _interpolated(probabilities[0], axes, start, owned)
        labels = np.zeros(best.shape, self._labels.dtype)
        floor = _floor(probabilities)
        for number, index in enumerate(self._indices[1:], start=1):
            values = probabilities[number]
            box = _box_above(values, floor)
            if box is None:
                continue
            parts = [
                _clipped(axis.owned(a + first - 1, a + last), part)
                for axis, a, (first, last), part in zip(axes, start, box, owned, strict=True)
            ]
            if any(part.start >= part.stop for part in parts):
                continue
            score = _interpolated(values, axes, start, parts)
            window = tuple(
                slice(part.start - whole.start, part.stop - whole.start)
                for part, whole in zip(parts, owned, strict=True)
            )
            wins = score > best[window]
            labels[window][wins] = index
            np.copyto(best[window], score, where=wins)
        return labels

    def finish(self, source: str | None = None) -> Segmentation:
        """The label map, once every voxel of the prepared grid was in a block."""
        return Segmentation(self._labels, self._target, self._table, source)


def parallel(prepared: Geometry, target: Geometry) -> bool:
    """Whether each axis of one grid runs along one axis of the other."""
    return _axes(prepared, target) is not None


def _axes(prepared: Geometry, target: Geometry, nearest: int | None = None) -> tuple[_Axis, ...] | None:
    matrix: NDArray[Any] = np.linalg.solve(prepared.affine, target.affine)
    turn = matrix[:3, :3]
    along = np.abs(turn).argmax(axis=1)
    if sorted(along.tolist()) != [0, 1, 2]:
        return None
    rest = np.abs(turn.copy())
    rest[np.arange(3), along] = 0
    if (rest * (np.array(target.shape) - 1)).max() > _PARALLEL * max(prepared.shape):
        return None
    return tuple(
        _axis(
            (int(along[n]), target.shape[along[n]]),
            (turn[n, along[n]], matrix[n, 3]),
            prepared.shape[n],
            nearest=n == nearest,
        )
        for n in range(3)
    )


def _axis(target: tuple[int, int], line: tuple[float, float], length: int, *, nearest: bool) -> _Axis:
    (along, count), (step, offset) = target, line
    position = offset + step * np.arange(count)
    whole = np.rint(position)
    position = np.where(np.abs(position - whole) <= _PARALLEL * max(length, count), whole, position)
    outside = (position < -_REACH) | (position > length - 1 + _REACH)
    held = np.clip(position, 0, length - 1)
    if nearest:
        held = np.floor(held + 0.5 + _PARALLEL)  # halves go up
    low = np.floor(held).astype(np.intp)
    return _Axis(along, low, (held - low).astype(np.float32), outside, length)


def _interpolated(
    values: NDArray[Any], axes: tuple[_Axis, ...], start: Triple, parts: list[slice]
) -> NDArray[np.float32]:
    """One class of a block at the target voxels in ``parts``, axis by axis."""
    result: NDArray[np.float32] = np.asarray(values, np.float32)
    for number, (axis, first, part) in enumerate(zip(axes, start, parts, strict=True)):
        low = axis.low[part] - first
        weight = axis.weight[part]
        lower = np.take(result, low, axis=number)
        if weight.any():
            high = np.minimum(low + 1, axis.length - 1 - first)
            shape = [1, 1, 1]
            shape[number] = -1
            # Where a voxel has no next one in the block its weight is 0.
            upper = np.take(result, np.minimum(high, result.shape[number] - 1), axis=number)
            upper -= lower
            upper *= weight.reshape(shape)
            lower += upper
        result = lower
    return result


def _floor(probabilities: NDArray[Any]) -> float:
    """A value below which no class can win: 1 / classes where they add up to 1, else none."""
    total = np.zeros(probabilities.shape[1:], np.float32)
    for values in probabilities:
        total += values
    sound = float(np.abs(total - 1).max()) <= _SUM_TOLERANCE and float(probabilities.min()) >= 0
    return (1 - 2 * _SUM_TOLERANCE) / len(probabilities) if sound else -np.inf


def _box_above(values: NDArray[Any], floor: float) -> tuple[tuple[int, int], ...] | None:
    """The box of the voxels with at least ``floor``, or None."""
    if floor == -np.inf:
        return tuple((0, n) for n in values.shape)
    if float(values.max()) < floor:
        return None
    high = values >= floor
    box = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        found = np.flatnonzero(high.any(axis=others))
        box.append((int(found[0]), int(found[-1]) + 1))
    return tuple(box)


def _clipped(part: slice, whole: slice) -> slice:
    if part.start == part.stop:
        return part
    return slice(max(part.start, whole.start), min(part.stop, whole.stop))
