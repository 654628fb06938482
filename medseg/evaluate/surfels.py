"""The surface of a mask as small elements with an area.

At every corner where voxels meet, the 2 × 2 × 2 voxels around it say how the surface runs there: the marching
cubes of Lorensen and Cline (SIGGRAPH 1987) put up to four triangles between them. Where more than half of the
eight are inside, the surface is that of the others, so that a mask and its background have one surface. In 2D
the 2 × 2 pixels around a corner give a piece of contour. These are the surface elements of Nikolov et al.
(J Med Internet Res 2021;23:e26151) and of the surface-distance library.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from medseg.evaluate.masks import Mask, slabs


def surface_elements(mask: Mask) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Where the surface runs, and how.

    Args:
        mask: 2D or 3D; nothing lies outside it.

    Returns:
        C-order positions in the grid of corners, one more than voxels along each axis, and there the code of
        the voxels around: bit n is the n-th of the 2 × 2 (× 2) in C order.
    """
    corners = tuple(n + 1 for n in mask.shape)
    plane = int(np.prod(corners[1:]))
    full = (1 << (1 << mask.ndim)) - 1
    positions, codes = [], []
    for first, last in slabs(corners):
        start, stop = max(first - 1, 0), min(last, mask.shape[0])
        block = np.zeros((last - first + 1, *(n + 2 for n in mask.shape[1:])), dtype=np.uint8)
        inside = (slice(start - first + 1, stop - first + 1), *(slice(1, -1) for _ in mask.shape[1:]))
        block[inside] = mask[start:stop]
        code = _codes(block)
        places = np.flatnonzero((code != 0) & (code != full))
        positions.append(places + first * plane)
        codes.append(code.reshape(-1)[places])
    return np.concatenate(positions), np.concatenate(codes)


def element_sizes(spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Size of the surface element of each code.

    Args:
        spacing_mm: of two or three axes.

    Returns:
        (256,) mm² for three axes, (16,) mm of contour for two; 0 for the codes without surface. Read-only.
    """
    return _sizes(tuple(float(step) for step in spacing_mm))


@lru_cache(maxsize=16)
def _sizes(spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    spacing = np.asarray(spacing_mm)
    if len(spacing) == 2:
        sizes = _contour_lengths(spacing)
    else:
        scale = np.prod(spacing) / spacing
        sizes = np.array([float(np.linalg.norm(v * scale, axis=1).sum()) for v in _area_vectors()])
    sizes.setflags(write=False)
    return sizes


def _codes(block: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shift = 1
    for axis in reversed(range(block.ndim)):
        lower = (slice(None),) * axis + (slice(None, -1),)
        upper = (slice(None),) * axis + (slice(1, None),)
        block = block[lower] | (block[upper] << np.uint8(shift))
        shift *= 2
    return block


def _contour_lengths(spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    diagonal = float(np.hypot(*spacing)) / 2
    lengths = np.zeros(16)
    for code in range(1, 15):
        (a, b), (c, d) = np.array([code >> n & 1 for n in range(4)]).reshape(2, 2)
        if a + b + c + d != 2:
            lengths[code] = diagonal
        elif a == d:
            lengths[code] = 2 * diagonal
        else:
            lengths[code] = spacing[1] if a == b else spacing[0]
    return lengths


@lru_cache(maxsize=1)
def _area_vectors() -> tuple[NDArray[Any], ...]:
    """For each code the normals of its triangles on a unit grid, (n, 3), as long as their area."""
    vectors: list[NDArray[Any]] = []
    for code in range(256):
        cube = np.array([code >> n & 1 for n in range(8)], dtype=np.float32).reshape(2, 2, 2)
        if cube.sum() > 4:
            cube = 1 - cube
        if not cube.any():
            vectors.append(np.zeros((0, 3)))
            continue
        corners, triangles, _, _ = marching_cubes(cube, 0.5, method="lorensen")
        a, b, c = (corners[triangles[:, n]].astype(np.float64) for n in range(3))
        vectors.append(np.cross(b - a, c - a) / 2)
    return tuple(vectors)
