"""Cutting touching objects apart where they are joined by a neck.

The distance of each voxel to the background is a landscape with one hill per object and a pass at each neck.
A watershed gives every hill top its basin; basins are then joined again, highest pass first, unless the pass
is low against the lower of the two tops. This is the h-maxima criterion made relative, so that it needs
neither a pixel size nor a number of objects, and plateaus and small bumps do not matter.

S. Beucher, F. Meyer, "The morphological approach to segmentation: the watershed transformation" (1993);
P. Soille, "Morphological Image Analysis" (2003), chapter 6.2 on the dynamics of extrema.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

from medseg.instances.regions import Region, find_regions
from medseg.spatial.geometry import Geometry

_NEIGHBOUR_RANK = {6: 1, 18: 2, 26: 3}
_LEVELS = 100_000
_LEAST_DROP_STEPS = 1.0 + 1e-4
_SMALLEST_TO_CUT = 4


@dataclass(frozen=True, slots=True)
class NeckOptions:
    """When a neck is cut.

    Attributes:
        connectivity: 6, 18 or 26.
        neck_ratio: cut where the neck's width is below this share of the smaller object's width.
        min_distance_mm: never cut between tops that lie closer together.
    """

    connectivity: int
    neck_ratio: float
    min_distance_mm: float


def split_at_necks(ids: NDArray[np.int32], geometry: Geometry, options: NeckOptions) -> NDArray[np.int32]:
    """Cuts components at their necks.

    Distances are Euclidean, in mm (in pixels where the pixel size is unknown). On a sheared grid they are
    measured as if its axes stood at right angles. The edge of the image is no background: an object that
    it cuts keeps its width.

    Args:
        ids: (i, j, k) components.
        geometry: where the voxels lie.
        options: when to cut.

    Returns:
        A new map of at least as many components, 1 to n.
    """
    result = ids.copy()
    next_id = int(ids.max()) + 1
    for region in find_regions(ids):
        if region.voxel_count < _SMALLEST_TO_CUT:
            continue
        window = _with_margin(region, geometry.shape)
        mask = ids[window] == region.value
        parts = _cut(mask, geometry, options)
        if parts is None:
            continue
        count = int(parts.max())
        new_ids = np.array([0, region.value, *range(next_id, next_id + count - 1)], dtype=np.int32)
        np.copyto(result[window], new_ids[parts], where=mask)
        next_id += count - 1
    return result


def _with_margin(region: Region, shape: tuple[int, int, int]) -> tuple[slice, ...]:
    """The region's box and, inside the image, one voxel around it: the background that limits the object."""
    return tuple(
        slice(max(0, start - 1), min(length, stop + 1))
        for (start, stop), length in zip(region.box, shape, strict=True)
    )


def _cut(mask: NDArray[np.bool_], geometry: Geometry, options: NeckOptions) -> NDArray[np.int32] | None:
    """The parts of one component, 1 to n; None where it is one object."""
    if mask.all():
        return None
    height = _distance_to_edge(mask, geometry)
    tops, count = _hill_tops(height, mask, options.connectivity)
    if count < 2:
        return None
    neighbours = ndimage.generate_binary_structure(3, _NEIGHBOUR_RANK[options.connectivity])
    basins = watershed(-height, tops, connectivity=neighbours, mask=mask).astype(np.int32)
    parts = _joined(basins, _passes(basins, height, options.connectivity), height, geometry, options)
    return parts if int(parts.max()) > 1 else None


def _distance_to_edge(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.float32]:
    """Distance from each voxel's centre to the outer face of the object, about half its local width.

    The transform gives the distance to the nearest background centre, half a voxel further out.
    """
    steps = [s for s, n in zip(geometry.steps, mask.shape, strict=True) if n > 1]
    distance = edt.edt(np.ascontiguousarray(mask), anisotropy=geometry.steps, black_border=False, parallel=1)
    return np.asarray(np.where(mask, distance - 0.5 * min(steps), 0), dtype=np.float32)


def _hill_tops(
    height: NDArray[np.float32], mask: NDArray[np.bool_], connectivity: int
) -> tuple[NDArray[np.int32], int]:
    """Regional maxima, each plateau one number."""
    # Whole steps, so that rounding in the transform does not break a plateau up.
    level = np.rint(height * np.float32(_LEVELS / float(height.max()))).astype(np.int32)
    neighbours = ndimage.generate_binary_structure(3, _NEIGHBOUR_RANK[connectivity])
    tops = local_maxima(level, footprint=neighbours, allow_borders=True) & mask
    plateaus = cc3d.connected_components(np.ascontiguousarray(tops), connectivity=connectivity)
    return np.asarray(plateaus).astype(np.int32, copy=False), int(plateaus.max())


def _passes(
    basins: NDArray[np.int32], height: NDArray[np.float32], connectivity: int
) -> list[tuple[float, int, int]]:
    """The highest pass between each pair of neighbouring basins, highest first: (height, basin, basin)."""
    lower: list[NDArray[Any]] = []
    upper: list[NDArray[Any]] = []
    heights: list[NDArray[Any]] = []
    for offset in _half_neighbourhood(connectivity):
        here = tuple(slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, basins.shape, strict=True))
        there = tuple(slice(max(0, o), n - max(0, -o)) for o, n in zip(offset, basins.shape, strict=True))
        a, b = basins[here], basins[there]
        meet = (a != b) & (a > 0) & (b > 0)
        a, b = a[meet], b[meet]
        lower.append(np.minimum(a, b))
        upper.append(np.maximum(a, b))
        heights.append(np.minimum(height[here][meet], height[there][meet]))
    low, high, level = np.concatenate(lower), np.concatenate(upper), np.concatenate(heights)
    order = np.lexsort((high, low, -level))
    pairs = np.stack([low[order], high[order]], axis=1)
    _, first = np.unique(pairs, axis=0, return_index=True)
    return [(float(level[order[i]]), int(pairs[i, 0]), int(pairs[i, 1])) for i in np.sort(first)]


def _joined(
    basins: NDArray[np.int32],
    passes: list[tuple[float, int, int]],
    height: NDArray[np.float32],
    geometry: Geometry,
    options: NeckOptions,
) -> NDArray[np.int32]:
    """Basins joined over every pass that is no neck, renumbered 1 to n."""
    count = int(basins.max())
    top = ndimage.maximum(height, basins, range(count + 1))
    place = np.array([(0, 0, 0), *ndimage.maximum_position(height, basins, range(1, count + 1))])
    place_mm = geometry.to_world(place)
    least_drop = _LEAST_DROP_STEPS * _middle_step(geometry)
    parent = list(range(count + 1))

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = parent[basin]
        return basin

    for level, a, b in passes:
        low, high = sorted((root(a), root(b)), key=lambda basin: (top[basin], -basin))
        neck = level < options.neck_ratio * top[low] and top[low] - level > least_drop
        near = float(np.linalg.norm(place_mm[low] - place_mm[high])) < options.min_distance_mm
        if near or not neck:
            parent[low] = high
    roots = np.array([root(basin) for basin in range(count + 1)])
    return np.unique(roots, return_inverse=True)[1].astype(np.int32)[basins]


def _middle_step(geometry: Geometry) -> float:
    """The second smallest step: along the finest axis alone, one voxel more or less is no neck."""
    steps = sorted(s for s, n in zip(geometry.steps, geometry.shape, strict=True) if n > 1)
    return steps[min(1, len(steps) - 1)]


def _half_neighbourhood(connectivity: int) -> list[tuple[int, int, int]]:
    """One offset of each opposite pair of neighbours."""
    rank = _NEIGHBOUR_RANK[connectivity]
    offsets = itertools.product((-1, 0, 1), repeat=3)
    return [(a, b, c) for a, b, c in offsets if (a, b, c) > (0, 0, 0) and abs(a) + abs(b) + abs(c) <= rank]
