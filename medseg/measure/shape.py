"""Extent, surface and form of one object."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import SphericalVoronoi

from medseg.spatial.geometry import Geometry

_NO_WIDTH = 1e-12
_OFFSETS = tuple(o for o in itertools.product((-1, 0, 1), repeat=3) if o > (0, 0, 0))


def extents_mm(corners: NDArray[np.int64], geometry: Geometry) -> tuple[float, float, float]:
    """Sides of the box along the patient's R, A and S axes that just holds the points.

    Args:
        corners: (n, 3) doubled voxel indices of the outline's corners.
        geometry: the grid, calibrated.
    """
    r, a, s = np.ptp(geometry.to_world(corners / 2), axis=0)
    return float(r), float(a), float(s)


def crofton_weights(geometry: Geometry) -> NDArray[np.float64]:
    """What one crossing of the surface along each of the 13 neighbour directions counts, in mm².

    By the Cauchy-Crofton formula the area is four times the mean, over all directions, of the area of the
    projection; lines along a lattice direction d stand (voxel volume / |d|) mm² apart, and each direction
    stands for the part of the sphere that is nearest to it.

    G. Lehmann, D. Legland, "Efficient N-Dimensional surface estimation using Crofton formula and run-length
    encoding", Insight Journal (2012); any affine is allowed here.
    """
    steps = np.array(_OFFSETS, dtype=np.float64) @ geometry.affine[:3, :3].T
    lengths = np.linalg.norm(steps, axis=1)
    sphere = SphericalVoronoi(np.concatenate([steps, -steps]) / np.tile(lengths, 2)[:, None])
    share = sphere.calculate_areas()[: len(steps)] * 2 / (4 * math.pi)
    weights: NDArray[Any] = 4 * share * geometry.voxel_volume_mm3 / lengths / 2
    return weights


def surface_area_mm2(mask: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """The area of an object's surface, by the Crofton formula with 13 directions.

    Args:
        mask: (i, j, k), the object or a crop of it; everything outside counts as background.
        weights: from `crofton_weights`.
    """
    padded = np.pad(mask, 1)
    area = 0.0
    for offset, weight in zip(_OFFSETS, weights, strict=True):
        here = tuple(slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, padded.shape, strict=True))
        there = tuple(slice(max(0, o), n - max(0, -o)) for o, n in zip(offset, padded.shape, strict=True))
        area += float(weight) * int(np.count_nonzero(padded[here] != padded[there]))
    return area


def sphericity(volume_mm3: float, area_mm2: float) -> float:
    """Surface of the ball of that volume over the surface: 1 for a ball, less for anything else.

    Both are estimates on voxels, so objects of a few voxels may come out above 1.
    H. Wadell, "Volume, shape, and roundness of quartz particles" (1935).
    """
    return float(math.cbrt(math.pi * (6 * volume_mm3) ** 2) / area_mm2)


def principal_moments_mm2(mask: NDArray[np.bool_], geometry: Geometry) -> tuple[float, float, float]:
    """Variances of the voxel centres along the object's principal axes, smallest first, in mm².

    They are the eigenvalues of the covariance (divided by the number of voxels) of the centres in the
    patient, so they hold on oblique and on sheared grids. A voxel's own size does not enter.

    Args:
        mask: (i, j, k), the object or a crop of it; at least one voxel.
        geometry: the grid, calibrated.
    """
    count = int(np.count_nonzero(mask))
    index = [np.arange(n, dtype=np.float64) for n in mask.shape]
    planes = {pair: np.count_nonzero(mask, axis=3 - sum(pair)) for pair in ((0, 1), (0, 2), (1, 2))}
    lines = [planes[0, 1].sum(axis=1), planes[0, 1].sum(axis=0), planes[0, 2].sum(axis=0)]
    away = [at - float(at @ line) / count for at, line in zip(index, lines, strict=True)]
    covariance = np.diag([float(a**2 @ line) / count for a, line in zip(away, lines, strict=True)])
    for (a, b), plane in planes.items():
        covariance[a, b] = covariance[b, a] = float(away[a] @ plane @ away[b]) / count
    steps = geometry.affine[:3, :3]
    least, minor, major = np.linalg.eigvalsh(steps @ covariance @ steps.T)
    floor = _NO_WIDTH * major
    return (float(least) if least > floor else 0.0), (float(minor) if minor > floor else 0.0), float(major)


def elongation_and_flatness(moments_mm2: tuple[float, float, float]) -> tuple[float, float] | None:
    """Second and third axis of the object over its first: 1 is round, 0 is a line or a plane.

    Elongation is the root of the middle over the largest principal moment, flatness that of the smallest
    over the largest, as in PyRadiomics and IBSI (Q3CK, N17B). ITK gives other ratios the same names.

    A. Zwanenburg et al., "The image biomarker standardization initiative", Radiology 295 (2020).

    Args:
        moments_mm2: from `principal_moments_mm2`.

    Returns:
        Elongation and flatness, or None for a single voxel, which has no axes.
    """
    least, minor, major = moments_mm2
    if major <= 0:
        return None
    return math.sqrt(minor / major), math.sqrt(least / major)
