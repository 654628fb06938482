"""Parts of a grid."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from medseg.errors import GeometryMismatchError
from medseg.spatial.geometry import Geometry


def crop_geometry(geometry: Geometry, start: Sequence[int], shape: Sequence[int]) -> Geometry:
    """The grid of the voxels from ``start`` on, ``shape`` of them along each axis.

    Raises:
        GeometryMismatchError: the part does not lie within the grid, or is empty.
    """
    lengths = tuple(int(n) for n in shape)
    first = tuple(int(n) for n in start)
    inside = all(
        s >= 0 and n >= 1 and s + n <= whole
        for s, n, whole in zip(first, lengths, geometry.shape, strict=True)
    )
    if not inside:
        raise GeometryMismatchError(
            f"voxels {first} to {tuple(s + n for s, n in zip(first, lengths, strict=True))} do not lie "
            f"within a grid of {geometry.shape}"
        )
    affine = geometry.affine.copy()
    affine[:3, 3] = geometry.to_world(first)
    return Geometry(
        affine,
        (lengths[0], lengths[1], lengths[2]),
        geometry.frame_of_reference_uid,
        geometry.calibrated,
    )


def crop_to_box_mm(geometry: Geometry, lower_mm: Sequence[float], upper_mm: Sequence[float]) -> Geometry:
    """The smallest part of the grid whose voxel centres cover a box of the patient, within the grid.

    Args:
        geometry: the whole grid; where it is oblique, the part covers the box and more.
        lower_mm: the box's corner nearest to left, posterior and inferior, in RAS+ mm.
        upper_mm: the opposite corner.

    Raises:
        GeometryMismatchError: the box lies outside the grid.
    """
    corners = np.array(list(itertools.product(*zip(lower_mm, upper_mm, strict=True))))
    indices = geometry.to_index(corners)
    first = np.maximum(np.floor(indices.min(axis=0) + 1e-6), 0)
    last = np.minimum(np.ceil(indices.max(axis=0) - 1e-6), np.array(geometry.shape) - 1)
    shape = (last - first + 1).astype(int)
    if (shape < 1).any():
        raise GeometryMismatchError(
            f"the box {tuple(lower_mm)} to {tuple(upper_mm)} mm lies outside the scan: {geometry.describe()}"
        )
    return crop_geometry(geometry, first.astype(int).tolist(), shape.tolist())
