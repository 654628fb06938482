"""From each of many voxels to the nearest of many others, exactly.

Two segmentations of one structure mostly lie within a few voxels of each other. So the surroundings of each
voxel are searched first, ring by ring in order of distance; only what finds nothing there is looked up in a
distance transform of the whole box or, where it is little, in a k-d tree.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Indices = NDArray[np.intp]
Distances = NDArray[np.float64]

_REACH = 4.0
"""Radius of the rings, in steps of the geometric mean of the spacing: 257 neighbours on a cubic grid."""

_TREE_COST = 500
"""A far look-up in the tree takes about as long as the distance transform of this many voxels."""


def nearest_mm(
    points: Indices,
    targets: Indices,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    threads: int = 1,
) -> Distances:
    """Distance from each of ``points`` to the nearest of ``targets``, between voxel centres.

    Args:
        points: (n,) C-order positions in a grid of ``shape``.
        targets: (m,) the same.
        shape: of the grid, 2D or 3D.
        spacing_mm: along each axis.
        threads: for the distance transform and the tree.

    Returns:
        (n,) mm; infinite where ``targets`` is empty.
    """
    found = np.full(len(points), np.inf)
    if not len(points) or not len(targets):
        return found
    left = _search_rings(points, targets, shape, spacing_mm, found)
    if not len(left):
        return found
    far = points[left]
    if len(left) * _TREE_COST > int(np.prod(shape)):
        away = np.ones(tuple(shape), dtype=bool)
        away.reshape(-1)[targets] = False
        transform = edt.edt(away, anisotropy=tuple(spacing_mm), black_border=False, parallel=threads)
        found[left] = transform.reshape(-1)[far]
    else:
        tree = cKDTree(_places(targets, shape, spacing_mm), compact_nodes=False, balanced_tree=False)
        found[left] = tree.query(_places(far, shape, spacing_mm), workers=threads)[0]
    return found


def rings(spacing_mm: Sequence[float], radius_mm: float) -> list[tuple[float, NDArray[np.intp]]]:
    """All steps of a grid up to a length, grouped by length.

    Returns:
        (length in mm, (n, axes) whole steps), ascending, from (0, [[0, 0, 0]]) on.
    """
    return _rings(tuple(float(step) for step in spacing_mm), float(radius_mm))


@lru_cache(maxsize=16)
def _rings(spacing_mm: tuple[float, ...], radius_mm: float) -> list[tuple[float, NDArray[np.intp]]]:
    spans = [range(-int(radius_mm / s + 1e-9), int(radius_mm / s + 1e-9) + 1) for s in spacing_mm]
    steps = np.array(list(itertools.product(*spans)), dtype=np.intp)
    lengths = np.sqrt(((steps * np.asarray(spacing_mm)) ** 2).sum(axis=1))
    steps, lengths = steps[lengths <= radius_mm * (1 + 1e-9)], lengths[lengths <= radius_mm * (1 + 1e-9)]
    order = np.argsort(lengths, kind="stable")
    steps, lengths = steps[order], lengths[order]
    steps.setflags(write=False)
    starts = np.flatnonzero(np.diff(lengths, prepend=-1.0) > 1e-9 * radius_mm)
    ends = [*starts[1:].tolist(), len(lengths)]
    return [(float(lengths[a]), steps[a:b]) for a, b in zip(starts.tolist(), ends, strict=True)]


def padded(
    positions: Indices, shape: Sequence[int], margin: Sequence[int]
) -> tuple[Indices, tuple[int, ...]]:
    """The positions in a grid with ``margin`` more voxels at both ends of each axis, and its shape."""
    wide = tuple(n + 2 * m for n, m in zip(shape, margin, strict=True))
    index = [i + m for i, m in zip(np.unravel_index(positions, tuple(shape)), margin, strict=True)]
    return np.asarray(np.ravel_multi_index(index, wide)), wide


def c_strides(shape: Sequence[int]) -> NDArray[np.intp]:
    """How far apart neighbours along each axis lie in C order."""
    strides: NDArray[np.intp] = np.cumprod([1, *shape[:0:-1]], dtype=np.intp)[::-1]
    return strides


def _search_rings(
    points: Indices,
    targets: Indices,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    found: Distances,
) -> Indices:
    """Writes what lies within reach into ``found``; which of the points have nothing within reach."""
    radius = _REACH * float(np.prod(spacing_mm)) ** (1 / len(spacing_mm))
    groups = rings(spacing_mm, radius)
    margin = np.max([steps.max(axis=0) for _, steps in groups], axis=0).tolist()
    here, wide = padded(points, shape, margin)
    lookup = np.zeros(int(np.prod(wide)), dtype=bool)
    lookup[padded(targets, shape, margin)[0]] = True
    strides = c_strides(wide)
    left = np.arange(len(points))
    for length, steps in groups:
        hit = np.zeros(len(here), dtype=bool)
        for offset in (steps @ strides).tolist():
            hit |= lookup.take(here + offset)
        found[left[hit]] = length
        keep = np.flatnonzero(~hit)
        left, here = left.take(keep), here.take(keep)
        if not len(left):
            break
    return left


def _places(positions: Indices, shape: Sequence[int], spacing_mm: Sequence[float]) -> NDArray[Any]:
    index = np.stack(np.unravel_index(positions, tuple(shape)), axis=1)
    places: NDArray[Any] = index * np.asarray(spacing_mm)
    return places
