"""Turning and flipping array axes without touching a voxel's value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigurationError
from medseg.spatial.geometry import Geometry, closest_axes

_WORLD = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def reoriented(geometry: Geometry, orientation: str) -> Geometry:
    """The same voxels with array axes that run along ``orientation`` as nearly as the grid allows.

    An oblique grid stays oblique: axes are permuted and flipped, nothing is resampled.

    Args:
        geometry: any grid.
        orientation: three letters, one of each pair R/L, A/P, S/I, such as ``RAS``.

    Raises:
        ConfigurationError: ``orientation`` is not such a code.
    """
    wanted = parse_orientation(orientation)
    have = closest_axes(geometry.affine)
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1.0
    shape = [0, 0, 0]
    for new_axis, (world_axis, sign) in enumerate(wanted):
        old_axis = next(a for a, (w, _) in enumerate(have) if w == world_axis)
        shape[new_axis] = geometry.shape[old_axis]
        if have[old_axis][1] == sign:
            matrix[old_axis, new_axis] = 1.0
        else:
            matrix[old_axis, new_axis] = -1.0
            matrix[old_axis, 3] = geometry.shape[old_axis] - 1
    return Geometry(
        geometry.affine @ matrix,
        (shape[0], shape[1], shape[2]),
        geometry.frame_of_reference_uid,
        geometry.calibrated,
    )


def parse_orientation(orientation: str) -> list[tuple[int, int]]:
    """``RAS`` to ``[(0, 1), (1, 1), (2, 1)]``: world axis and sign for each array axis.

    Raises:
        ConfigurationError: not three letters, one of each pair.
    """
    try:
        axes = [_WORLD[letter] for letter in orientation.upper()]
    except KeyError:
        axes = []
    if sorted(axis for axis, _ in axes) != [0, 1, 2]:
        raise ConfigurationError(
            f"orientation {orientation!r} is not valid; expected three letters, one of each pair "
            "R/L, A/P, S/I, such as 'RAS'"
        )
    return axes


def take_by_index(
    array: NDArray[Any], matrix: NDArray[Any], shape: tuple[int, int, int]
) -> NDArray[Any] | None:
    """The array seen through a whole-number axis map, or None where the map is not one.

    Args:
        array: (i, j, k).
        matrix: (4, 4); new voxel indices to old ones.
        shape: the new grid's shape, all of which must lie inside the old one.
    """
    rounded = np.rint(matrix)
    lengths = np.array([*(max(n - 1, 1) for n in shape), 1.0])
    if (np.abs(matrix - rounded)[:3] * lengths).max() > 1e-3:
        return None
    turn = rounded[:3, :3].astype(int)
    if not ((np.abs(turn).sum(axis=0) == 1).all() and (np.abs(turn).sum(axis=1) == 1).all()):
        return None
    start = rounded[:3, 3].astype(int)
    end = turn @ (np.array(shape) - 1) + start
    limit = np.array(array.shape)
    if (np.minimum(start, end) < 0).any() or (np.maximum(start, end) >= limit).any():
        return None
    slices: list[slice] = []
    for axis in range(3):
        if start[axis] <= end[axis] and turn[axis].sum() > 0:
            slices.append(slice(int(start[axis]), int(end[axis]) + 1))
        else:
            stop = int(end[axis]) - 1
            slices.append(slice(int(start[axis]), stop if stop >= 0 else None, -1))
    order = [int(np.flatnonzero(turn[:, new_axis])[0]) for new_axis in range(3)]
    return array[tuple(slices)].transpose(order)
