"""Where each value of an integer map lies: counts, boxes and index sums, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.instances.instance import Box
from medseg.spatial.geometry import Geometry

_SLAB_VOXELS = 1 << 22
_LARGEST_DENSE_VALUE = 1 << 24


@dataclass(frozen=True, slots=True)
class Region:
    """All voxels of one value.

    Attributes:
        value: the integer in the map.
        voxel_count: how many voxels carry it, 1 or more.
        box: half-open voxel ranges along (i, j, k).
        centre_index: mean of the voxel indices (i, j, k).
        first: position of the first voxel in C order, for ties.
    """

    value: int
    voxel_count: int
    box: Box
    centre_index: tuple[float, float, float]
    first: int

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into the map."""
        (i0, i1), (j0, j1), (k0, k1) = self.box
        return slice(i0, i1), slice(j0, j1), slice(k0, k1)

    def volume_ml(self, geometry: Geometry) -> float | None:
        """Voxels times the volume of one, or None where the pixel size is unknown."""
        return self.voxel_count * geometry.voxel_volume_mm3 / 1000 if geometry.calibrated else None

    def centroid_mm(self, geometry: Geometry) -> tuple[float, float, float] | None:
        """Mean of the voxel centres in RAS+ mm, or None where the pixel size is unknown."""
        if not geometry.calibrated:
            return None
        r, a, s = geometry.to_world(self.centre_index)
        return float(r), float(a), float(s)


def find_regions(array: NDArray[Any]) -> list[Region]:
    """The regions of an integer or boolean map, by ascending value; 0 is left out.

    Args:
        array: (i, j, k), no negative values; gaps between the values are allowed.

    Returns:
        One entry per value that occurs; an empty list for an empty map.
    """
    if array.size == 0 or not array.any():
        return []
    values = None
    dense = array.view(np.uint8) if array.dtype == bool else array
    if int(array.max()) > _LARGEST_DENSE_VALUE:
        values, inverse = np.unique(array, return_inverse=True)
        offset = int(values[0] != 0)
        dense = (inverse.reshape(array.shape) + offset).astype(np.int32)
        values = values if offset == 0 else np.concatenate([[0], values])
    counts, first, sums = _sums(dense)
    regions = []
    for number, slices in enumerate(ndimage.find_objects(dense), start=1):
        if slices is None:
            continue
        n = int(counts[number])
        i, j, k = (float(total) / n for total in sums[:, number])
        (si, sj, sk) = slices
        regions.append(
            Region(
                value=number if values is None else int(values[number]),
                voxel_count=n,
                box=((si.start, si.stop), (sj.start, sj.stop), (sk.start, sk.stop)),
                centre_index=(i, j, k),
                first=int(first[number]),
            )
        )
    return regions


def _sums(dense: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Voxel count, first C-order position and index sums (3, n) per value, slab by slab to bound memory."""
    n = int(dense.max()) + 1
    counts = np.zeros(n, dtype=np.int64)
    first = np.full(n, dense.size, dtype=np.int64)
    sums = np.zeros((3, n))
    plane = dense.shape[1] * dense.shape[2]
    planes = max(1, _SLAB_VOXELS // plane)
    for start in range(0, dense.shape[0], planes):
        slab = dense[start : start + planes].ravel()
        position = np.flatnonzero(slab)
        if position.size == 0:
            continue
        value = slab[position].astype(np.intp)
        counts += np.bincount(value, minlength=n)
        here = np.full(n, dense.size, dtype=np.int64)
        here[value[::-1]] = position[::-1] + start * plane
        np.minimum(first, here, out=first)
        i, rest = np.divmod(position, plane)
        j, k = np.divmod(rest, dense.shape[2])
        for axis, index in enumerate((i + start, j, k)):
            sums[axis] += np.bincount(value, weights=index, minlength=n)
    return counts, first, sums
