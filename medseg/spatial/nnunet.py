"""The grid that nnU-Net resamples to: axes as stored, cropped to what is not zero, a rounded shape.

It differs from `medseg.spatial.resample.grid_with` in that the prepared grid fills exactly the cropped part,
so its spacing is only nearly the planned one, and in that a scan with thick slices is interpolated within
its slices alone (Isensee et al., "nnU-Net", Nature Methods 18, 2021, and its documentation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.spatial.crop import crop_geometry
from medseg.spatial.geometry import Geometry
from medseg.spatial.orientation import reoriented
from medseg.spatial.resample import resample_array

_ANISOTROPIC = 3.0
"""Largest over smallest spacing beyond which slices are interpolated one by one."""
_NO_DEPTH = 999.0
"""How many pixels thick nnU-Net takes a single image to be."""

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class NnunetGrid:
    """How nnU-Net lays its grid over a scan.

    Attributes:
        orientation: axis code that the scan is turned to first, or None for its own axes.
        transpose: which of the axes (k, j, i) comes first, second and third on the prepared grid.
        spacing_mm: planned spacing along the prepared axes; None keeps the scan's own along the first.
        order: of the spline that resamples the image.
        separate: whether slices are interpolated one by one; None where one spacing is three times another.
        in_pixels: whether images count in pixels whatever their pixel size.
    """

    orientation: str | None
    transpose: Triple
    spacing_mm: tuple[float | None, float, float]
    order: int = 3
    separate: bool | None = None
    in_pixels: bool = False

    def turned(self, geometry: Geometry) -> Geometry:
        """The scan's voxels with the axes in nnU-Net's order."""
        own = geometry if self.orientation is None else reoriented(geometry, self.orientation)
        axes = [(2, 1, 0)[axis] for axis in self.transpose]
        affine = own.affine.copy()
        affine[:3, :3] = own.affine[:3, axes]
        shape = (own.shape[axes[0]], own.shape[axes[1]], own.shape[axes[2]])
        return Geometry(affine, shape, own.frame_of_reference_uid, own.calibrated)

    def over(self, turned: Geometry) -> Geometry:
        """The prepared grid over exactly the part of the patient that ``turned`` covers."""
        have, want = self.spacings(turned)
        shape = [max(1, round(h / w * n)) for h, w, n in zip(have, want, turned.shape, strict=True)]
        ratio = np.array(turned.shape) / np.array(shape)
        affine = turned.affine.copy()
        affine[:3, :3] = turned.affine[:3, :3] * ratio
        affine[:3, 3] = turned.affine[:3, :3] @ (ratio / 2 - 0.5) + turned.affine[:3, 3]
        whole = (shape[0], shape[1], shape[2])
        return Geometry(affine, whole, turned.frame_of_reference_uid, turned.calibrated)

    def spacings(self, turned: Geometry) -> tuple[list[float], list[float]]:
        """The scan's spacing and the planned one, both along the prepared axes.

        Raises:
            GeometryMismatchError: the pixel size is unknown, and the grid counts in millimetres.
        """
        have = [1.0, 1.0, 1.0] if self.in_pixels else list(turned.spacing_mm)
        if turned.shape[0] == 1:
            have[0] = _NO_DEPTH * max(have[1:])
        return have, [h if w is None else w for h, w in zip(have, self.spacing_mm, strict=True)]

    def slice_axes(self, turned: Geometry) -> tuple[int | None, int | None]:
        """Across which axis slices are taken one by one: to resample the image, and to restore it."""
        have, want = self.spacings(turned)
        return slice_axis(have, want, self.separate), slice_axis(want, have, self.separate)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image on nnU-Net's grid.

    Attributes:
        arrays: (c, i, j, k) float32.
        geometry: of the prepared grid.
        slices_along: axis across which the result is restored plane by plane, or None.
    """

    arrays: NDArray[np.float32]
    geometry: Geometry
    slices_along: int | None


def prepared_arrays(
    arrays: Sequence[NDArray[Any]],
    geometry: Geometry,
    grid: NnunetGrid,
    transform: Callable[[NDArray[Any]], NDArray[Any]],
) -> Prepared:
    """Turned, cropped to what is not zero, normalised, then resampled: nnU-Net's order.

    Args:
        arrays: (i, j, k) each, on ``geometry``.
        geometry: the scan's own grid.
        grid: the rule.
        transform: intensities, (c, i, j, k) float32 in and out.
    """
    turned = grid.turned(geometry)
    stacked = np.stack([
        resample_array(array, geometry, turned, order=0, fill=0).astype(np.float32) for array in arrays
    ])  # fmt: skip
    cropped, place = crop_to_signal(stacked, turned)
    normal = transform(np.ascontiguousarray(cropped))
    target = grid.over(place)
    image_axis, restore_axis = grid.slice_axes(place)
    moved = np.stack([resized(channel, target.shape, grid.order, image_axis) for channel in normal])
    return Prepared(moved, target, restore_axis)


def slice_axis(first: Sequence[float], second: Sequence[float], separate: bool | None) -> int | None:
    """The axis of the slices that are interpolated one by one, or None for all axes together.

    Args:
        first: spacing that is looked at first.
        second: spacing that is looked at where the first is not anisotropic.
        separate: True or False to settle it beforehand; True looks at ``first`` alone.
    """
    if separate is False:
        return None
    spacing = first
    if separate is None:
        spacing = next((s for s in (first, second) if max(s) / min(s) > _ANISOTROPIC), ())
    thick = [axis for axis, value in enumerate(spacing) if max(spacing) / value == 1]
    return thick[0] if len(thick) == 1 else None


def crop_to_signal(arrays: NDArray[Any], geometry: Geometry) -> tuple[NDArray[Any], Geometry]:
    """The smallest part of the grid that holds every voxel that is not 0 in all channels.

    Args:
        arrays: (c, i, j, k); where all is 0 it stays whole.
        geometry: their grid.
    """
    present = (arrays != 0).any(axis=0)
    if not present.any():
        return arrays, geometry
    start, stop = [], []
    for axis in range(3):
        found = np.flatnonzero(present.any(axis=tuple(a for a in range(3) if a != axis)))
        start.append(int(found[0]))
        stop.append(int(found[-1]) + 1)
    place = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    shape = [b - a for a, b in zip(start, stop, strict=True)]
    return arrays[(slice(None), *place)], crop_geometry(geometry, start, shape)


def resized(array: NDArray[Any], shape: Triple, order: int, slices_along: int | None) -> NDArray[np.float32]:
    """The array stretched to another shape, edge to edge.

    Voxel centres of the result lie where the edges of both arrays meet; beyond the outer centres the edge
    holds, and no value leaves the range of its input.

    Args:
        array: (i, j, k).
        shape: of the result.
        order: of the spline.
        slices_along: axis of the slices that are stretched one by one and then repeated or left out (nearest
            neighbour), or None to stretch all axes together.
    """
    if array.shape == shape:
        return np.asarray(array, np.float32)
    if slices_along is None:
        return _stretched(array, shape, order).astype(np.float32)
    planes = np.moveaxis(array, slices_along, 0)
    flat = tuple(n for axis, n in enumerate(shape) if axis != slices_along)
    near = nearest_planes(len(planes), shape[slices_along])
    stretched = {n: _stretched(planes[n], flat, order).astype(np.float32) for n in np.unique(near)}
    return np.moveaxis(np.stack([stretched[n] for n in near]), 0, slices_along)


def nearest_planes(have: int, want: int) -> NDArray[np.intp]:
    """Which of ``have`` planes lies nearest to each of ``want``, edge to edge; halves go up."""
    position = have / want * (np.arange(want) + 0.5)
    nearest: NDArray[np.intp] = np.minimum(np.floor(position), have - 1).astype(np.intp)
    return nearest


def _stretched(array: NDArray[Any], shape: tuple[int, ...], order: int) -> NDArray[np.float64]:
    values = np.asarray(array, np.float64)
    factors = [want / have for want, have in zip(shape, values.shape, strict=True)]
    result: NDArray[np.float64] = ndimage.zoom(values, factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(result, values.min(), values.max(), out=result)
