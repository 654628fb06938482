"""Shapes of known size, voxelised on any grid.

A voxel belongs to a shape where its centre does. Volumes, areas and lengths of the shapes themselves are
known exactly; those of the voxelised ones approach them as the voxels get smaller.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medseg.errors import ConfigurationError
from medseg.spatial.geometry import Geometry
from medseg.spatial.orientation import parse_orientation

Point = Sequence[float]


def oblique_geometry(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    angles_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    orientation: str = "RAS",
    centre_mm: Point = (0.0, 0.0, 0.0),
) -> Geometry:
    """A grid turned about the patient's axes.

    Args:
        shape: voxels along (i, j, k).
        spacing_mm: spacing along (i, j, k).
        angles_deg: turns about the patient's R, A and S axes, one after the other.
        orientation: where the array axes run before the turn, such as ``LPS``.
        centre_mm: where the middle of the grid lies, RAS+ mm.

    Raises:
        ConfigurationError: the orientation is no code.
        GeometryMismatchError: a spacing of 0 or a shape out of range.
    """
    directions = np.zeros((3, 3))
    for array_axis, (world_axis, sign) in enumerate(parse_orientation(orientation)):
        directions[world_axis, array_axis] = sign
    turn = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ directions * np.asarray(spacing_mm, dtype=np.float64)
    affine[:3, 3] = np.asarray(centre_mm) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Geometry(affine, shape)


def ellipsoid(
    geometry: Geometry,
    centre_mm: Point,
    radii_mm: Point,
    angles_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> NDArray[np.bool_]:
    """A solid ellipsoid; see `ellipsoid_volume_ml` for its volume.

    Args:
        geometry: the grid.
        centre_mm: its centre, RAS+ mm.
        radii_mm: its radii along the patient's R, A and S axes.
        angles_deg: turns about the patient's axes, as in `oblique_geometry`.

    Returns:
        ``geometry.shape`` boolean; parts outside the grid are cut off.

    Raises:
        ConfigurationError: a radius that is not above 0.
    """
    radii = _positive("radii_mm", radii_mm)
    turn = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()

    def inside(offset_mm: NDArray[Any]) -> NDArray[np.bool_]:
        own_axes = offset_mm @ turn / radii
        result: NDArray[np.bool_] = (own_axes * own_axes).sum(axis=-1) <= 1
        return result

    return _voxelised(geometry, centre_mm, float(radii.max()), inside)


def ball(geometry: Geometry, centre_mm: Point, radius_mm: float) -> NDArray[np.bool_]:
    """A solid ball; see `ellipsoid`."""
    return ellipsoid(geometry, centre_mm, (radius_mm, radius_mm, radius_mm))


def box(
    geometry: Geometry,
    centre_mm: Point,
    size_mm: Point,
    angles_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> NDArray[np.bool_]:
    """A solid box with sides along the patient's axes, turned by ``angles_deg``; its faces belong to it.

    Raises:
        ConfigurationError: a side that is not above 0.
    """
    half = _positive("size_mm", size_mm) / 2
    turn = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()

    def inside(offset_mm: NDArray[Any]) -> NDArray[np.bool_]:
        result: NDArray[np.bool_] = (np.abs(offset_mm @ turn) <= half + 1e-9).all(axis=-1)
        return result

    return _voxelised(geometry, centre_mm, float(np.linalg.norm(half)), inside)


def capsule(geometry: Geometry, start_mm: Point, end_mm: Point, radius_mm: float) -> NDArray[np.bool_]:
    """All points within a radius of a line, such as a vessel.

    Raises:
        ConfigurationError: a radius that is not above 0.
    """
    radius = float(_positive("radius_mm", (radius_mm,))[0])
    start, end = np.asarray(start_mm, dtype=np.float64), np.asarray(end_mm, dtype=np.float64)
    centre, line = (start + end) / 2, end - start
    squared = float(line @ line) or 1.0

    def inside(offset_mm: NDArray[Any]) -> NDArray[np.bool_]:
        from_start = offset_mm + (centre - start)
        along = np.clip(from_start @ line / squared, 0, 1)
        result: NDArray[np.bool_] = np.linalg.norm(from_start - along[..., None] * line, axis=-1) <= radius
        return result

    return _voxelised(geometry, centre, float(np.linalg.norm(line)) / 2 + radius, inside)


def touching_balls(
    geometry: Geometry, counts: tuple[int, int, int], radius_mm: float, overlap_mm: float = 0.0
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """A lattice of balls that touch, about the grid's middle and along its axes.

    Args:
        geometry: the grid.
        counts: balls along (i, j, k).
        radius_mm: their radius.
        overlap_mm: by how much neighbours overlap; 0 for just touching.

    Returns:
        The mask, and the centres (n, 3) in RAS+ mm.

    Raises:
        ConfigurationError: a radius that is not above 0.
    """
    step = 2 * float(_positive("radius_mm", (radius_mm,))[0]) - overlap_mm
    directions = geometry.affine[:3, :3] / geometry.spacing_mm
    grid = np.array(list(itertools.product(*(np.arange(n) - (n - 1) / 2 for n in counts))))
    centres: NDArray[np.float64] = geometry.centre_mm + step * grid @ directions.T
    mask = np.zeros(geometry.shape, dtype=bool)
    for centre in centres:
        mask |= ball(geometry, centre, radius_mm)
    return mask, centres


def ellipsoid_volume_ml(radii_mm: Point) -> float:
    """4/3 π abc."""
    a, b, c = radii_mm
    return 4 / 3 * math.pi * a * b * c / 1000


def ball_volume_ml(radius_mm: float) -> float:
    """4/3 π r³."""
    return ellipsoid_volume_ml((radius_mm, radius_mm, radius_mm))


def _voxelised(
    geometry: Geometry,
    centre_mm: Point | NDArray[Any],
    reach_mm: float,
    inside: Callable[[NDArray[Any]], NDArray[np.bool_]],
) -> NDArray[np.bool_]:
    """Asks ``inside`` for the voxels within reach of the centre, given as offsets (..., 3) in mm."""
    mask = np.zeros(geometry.shape, dtype=bool)
    centre = np.asarray(centre_mm, dtype=np.float64)
    # The rows of the inverse affine bound how many voxels a ball of that reach spans along each axis.
    _ = geometry.spacing_mm
    span = reach_mm * np.linalg.norm(np.linalg.inv(geometry.affine[:3, :3]), axis=1) + 1
    middle = geometry.to_index(centre)
    low = np.maximum(np.ceil(middle - span), 0).astype(int)
    high = np.minimum(np.floor(middle + span) + 1, geometry.shape).astype(int)
    if (high <= low).any():
        return mask
    index = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1)
    (i0, j0, k0), (i1, j1, k1) = low, high
    mask[i0:i1, j0:j1, k0:k1] = inside(geometry.to_world(index) - centre)
    return mask


def _positive(name: str, lengths_mm: Point) -> NDArray[np.float64]:
    array = np.asarray(lengths_mm, dtype=np.float64)
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ConfigurationError(f"{name} is {tuple(lengths_mm)}; expected lengths above 0 mm")
    return array
