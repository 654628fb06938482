"""Diameters on the voxel-edge outline, exactly.

An object is the union of its voxels as solid boxes, and its outline runs along their faces: a disc 20 voxels
across measures 20 voxels and a little, not 19 as between voxel centres, and a single voxel has a diameter.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from medseg.spatial.geometry import Geometry, closest_axes

_DIRECTIONS = 16
_TIE = 1e-9
_ALIGNED = 1e-9
_VOXELS_AT_ONCE = 1 << 20
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class SlicePlane:
    """The slices in which axial diameters are taken.

    Attributes:
        axis: the array axis that slices are counted along.
        off_axial_deg: angle between the slices' plane and the patient's axial plane.
    """

    axis: int
    off_axial_deg: float


@dataclass(frozen=True, slots=True, eq=False)
class AxialDiameters:
    """The longest diameter within one slice and the longest one at right angles to it in that slice.

    Attributes:
        long_mm: greatest distance between two points of the slice's outline, over all slices.
        short_mm: greatest distance between two points of that outline on a line perpendicular to it.
        slice_index: the slice along the plane's axis, counted in the whole image.
        long_ends_mm: (2, 3), RAS+ mm.
        short_ends_mm: (2, 3), RAS+ mm.
    """

    long_mm: float
    short_mm: float
    slice_index: int
    long_ends_mm: NDArray[np.float64]
    short_ends_mm: NDArray[np.float64]


def slice_plane(geometry: Geometry) -> SlicePlane:
    """The array axis that runs nearest to the patient's S axis; of a single slice the third axis."""
    worlds = [world for world, _ in closest_axes(geometry.affine)]
    axis = 2 if geometry.shape[2] == 1 else worlds.index(2)
    u, v = (geometry.affine[:3, other] for other in range(3) if other != axis)
    normal = np.cross(u, v)
    cosine = min(1.0, abs(float(normal[2])) / float(np.linalg.norm(normal)))
    return SlicePlane(axis, math.degrees(math.acos(cosine)))


def axial_diameters(
    mask: NDArray[np.bool_], offset: tuple[int, int, int], geometry: Geometry, plane: SlicePlane
) -> AxialDiameters:
    """The longest diameter in a slice and its longest perpendicular (RECIST and WHO diameters).

    Both are distances between points of the outline and may cross gaps of a concave object; separate parts
    within one slice are spanned. Of equally long diameters the one with the longer perpendicular counts.

    Args:
        mask: (i, j, k), the object or a crop of it; at least one voxel.
        offset: where the crop starts in the image.
        geometry: the image's grid, calibrated.
        plane: from `slice_plane`.
    """
    stack = np.ascontiguousarray(np.moveaxis(mask, plane.axis, 0))
    axes = [axis for axis in range(3) if axis != plane.axis]
    basis = _plane_basis(geometry, axes)
    rows = _RowEnds.of(stack)
    longest, ties = _longest_in_slices(rows, basis)
    # Slices that look the same, as in a cylinder, are looked at once.
    distinct = {
        (stack[index].tobytes(), ends.tobytes()): (index, ends)
        for index, ends in sorted(ties, key=lambda tie: -tie[0])
    }
    candidates = [
        (*perpendicular_chord(stack[index], basis, ends), index, ends) for index, ends in distinct.values()
    ]
    most = max(short for short, *_ in candidates) * (1 - _TIE)
    short, short_ends, index, ends = min(
        (candidate for candidate in candidates if candidate[0] >= most), key=lambda candidate: candidate[2]
    )
    place = _Placement(plane.axis, axes, index, offset, geometry, basis)
    return AxialDiameters(
        longest, short, index + offset[plane.axis], place.to_mm(ends), place.to_mm(short_ends)
    )


def longest_diameter(corners: NDArray[np.int64], geometry: Geometry) -> float:
    """The greatest distance between two of the points, in mm.

    Args:
        corners: (n, 3) doubled voxel indices, such as those of `outline_corners`.
        geometry: the grid, calibrated.
    """
    points = geometry.to_world(corners / 2)
    longest = 0.0
    for start in range(0, len(points), _ROWS_AT_ONCE):
        longest = max(longest, float(cdist(points[start : start + _ROWS_AT_ONCE], points).max()))
    return longest


def outline_corners(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Corners of the convex hull of the voxels, as doubled indices into the crop (voxel i spans 2i ± 1).

    A crop of one slice along the third axis gives the same corners as any other; whoever wants a plane
    figure leaves the third column out.
    """
    rows = _RowEnds.of(mask)
    voxels = np.concatenate([rows.voxels(rows.low, upper=False), rows.voxels(rows.high, upper=True)])
    steps = np.array(list(itertools.product((-1, 1), repeat=3)))
    # One number per corner, as sorting rows of three is slow; +1 as the lowest corner is -1.
    size = tuple(2 * n + 1 for n in mask.shape)
    flat = np.ravel_multi_index(tuple((2 * voxels[:, None, :] + steps + 1).reshape(-1, 3).T), size)
    corners = np.stack(np.unravel_index(np.unique(flat), size), axis=1) - 1
    return np.asarray(corners[ConvexHull(corners).vertices])


def perpendicular_chord(
    outline: NDArray[np.bool_], basis: NDArray[np.float64], ends: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The longest distance between two outline points on a line perpendicular to a diameter.

    Along the diameter, the upper and the lower end of the object are convex between the voxel corners (each
    is an upper or lower envelope of straight edges), so the longest chord starts at a voxel corner, and
    only those positions are looked at.

    Args:
        outline: (a, b), one slice.
        basis: (2, 2); columns are one step along a and b in plane coordinates, mm.
        ends: (2, 2), the diameter's ends in plane coordinates, mm.

    Returns:
        The length in mm, and its ends (2, 2) in plane coordinates.
    """
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    across = np.array([-along[1], along[0]])
    step_t, step_p = along @ basis, across @ basis
    voxels = np.argwhere(_edge_voxels(outline))
    t, p = voxels @ step_t, voxels @ step_p
    order = np.argsort(t, kind="stable")
    t, p = t[order], p[order]
    reach = float(np.abs(step_t).sum()) / 2
    slack = _ALIGNED * reach
    corner_steps = np.array([0.5 * (x * step_t[0] + y * step_t[1]) for x, y in ((1, 1), (1, -1))])
    at = np.unique(np.concatenate([t + s for s in (*corner_steps, *-corner_steps)]))
    at = at[np.concatenate([[True], np.diff(at) > slack])]
    first = np.searchsorted(t, at - reach - 2 * slack, side="left")
    counts = np.searchsorted(t, at + reach + 2 * slack, side="right") - first
    bottom, top = np.empty(at.size), np.empty(at.size)
    # Ragged outlines have many voxels at each position, so only some positions are looked at together.
    batch = np.cumsum(counts) // _VOXELS_AT_ONCE
    for part in np.split(np.arange(at.size), np.flatnonzero(np.diff(batch)) + 1):
        many = counts[part]
        starts = np.concatenate([[0], np.cumsum(many)[:-1]])
        which = np.arange(int(many.sum())) + np.repeat(first[part] - starts, many)
        offset = np.clip(np.repeat(at[part], many) - t[which], -reach, reach)
        low, high = _voxel_span(offset, step_t, step_p, slack)
        bottom[part] = np.minimum.reduceat(p[which] + low, starts)
        top[part] = np.maximum.reduceat(p[which] + high, starts)
    best = int(np.argmax(top - bottom))
    chord = np.array([at[best] * along + bottom[best] * across, at[best] * along + top[best] * across])
    return float(top[best] - bottom[best]), chord


@dataclass(frozen=True, slots=True, eq=False)
class _RowEnds:
    """First and last voxel of each row along the last axis: (s, a) arrays; ``there`` where a row has any."""

    there: NDArray[np.bool_]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @classmethod
    def of(cls, stack: NDArray[np.bool_]) -> _RowEnds:
        stack = np.ascontiguousarray(stack)
        low = stack.argmax(axis=2)
        high = stack.shape[2] - 1 - stack[:, :, ::-1].argmax(axis=2)
        return cls(np.asarray(stack.any(axis=2)), low, high)

    def voxels(self, end: NDArray[np.int64], *, upper: bool) -> NDArray[np.int64]:
        """The row ends (n, 3) without those halfway between, or inside, two neighbouring ends."""
        height = np.where(self.there, end if upper else -end, np.iinfo(np.int32).min).astype(np.int64)
        padded = np.pad(height, 1, constant_values=np.iinfo(np.int32).min)
        extreme = self.there.copy()
        for ds, da in ((1, 0), (0, 1), (1, 1), (1, -1)):
            before = padded[1 - ds : padded.shape[0] - 1 - ds, 1 - da : padded.shape[1] - 1 - da]
            after = padded[1 + ds : padded.shape[0] - 1 + ds, 1 + da : padded.shape[1] - 1 + da]
            extreme &= before + after < 2 * height
        s, a = np.nonzero(extreme)
        return np.stack([s, a, end[s, a]], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class _Placement:
    """From plane coordinates back into the patient."""

    axis: int
    axes: list[int]
    index: int
    offset: tuple[int, int, int]
    geometry: Geometry
    basis: NDArray[np.float64]

    def to_mm(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        full = np.empty((len(points), 3))
        full[:, self.axis] = self.index
        full[:, self.axes] = np.linalg.solve(self.basis, points.T).T
        return np.asarray(self.geometry.to_world(full + self.offset))


def _plane_basis(geometry: Geometry, axes: list[int]) -> NDArray[np.float64]:
    """(2, 2): one step along each of two array axes, in mm along two perpendicular directions."""
    u, v = (geometry.affine[:3, axis] for axis in axes)
    length = float(np.linalg.norm(u))
    shear = float(u @ v) / length
    return np.array([[length, shear], [0.0, math.sqrt(max(float(v @ v) - shear * shear, 0.0))]])


def _longest_in_slices(
    rows: _RowEnds, basis: NDArray[np.float64]
) -> tuple[float, list[tuple[int, NDArray[np.float64]]]]:
    """The longest diameter within a slice, and every (slice, ends) that reaches it."""
    bounds = _upper_bounds(rows, basis)
    longest = 0.0
    found: list[tuple[float, int, NDArray[np.float64]]] = []
    for index in np.argsort(-bounds, kind="stable"):
        if bounds[index] < longest * (1 - _TIE):
            break
        points = _slice_hull(rows, int(index)) / 2 @ basis.T
        distances = np.triu(cdist(points, points))
        longest = max(longest, float(distances.max()))
        for a, b in np.argwhere(distances >= longest * (1 - _TIE)):
            found.append((float(distances[a, b]), int(index), points[[a, b]]))
    return longest, [(index, ends) for length, index, ends in found if length >= longest * (1 - _TIE)]


def _upper_bounds(rows: _RowEnds, basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per slice a length that no diameter exceeds: the widest of 16 projections over cos(π/32)."""
    a = np.arange(rows.there.shape[1])
    widest = np.zeros(rows.there.shape[0])
    for angle in np.arange(_DIRECTIONS) * math.pi / _DIRECTIONS:
        step_a, step_b = np.array([math.cos(angle), math.sin(angle)]) @ basis
        low, high = a * step_a + rows.low * step_b, a * step_a + rows.high * step_b
        top = np.where(rows.there, np.maximum(low, high), -np.inf).max(axis=1)
        bottom = np.where(rows.there, np.minimum(low, high), np.inf).min(axis=1)
        widest = np.maximum(widest, top - bottom + abs(step_a) + abs(step_b))
    return np.asarray(widest / math.cos(math.pi / (2 * _DIRECTIONS)))


def _slice_hull(rows: _RowEnds, index: int) -> NDArray[np.int64]:
    """Corners of the slice's convex hull, (n, 2) doubled indices."""
    a = np.flatnonzero(rows.there[index])
    low, high = 2 * rows.low[index, a] - 1, 2 * rows.high[index, a] + 1
    corners = np.concatenate(
        [np.stack([2 * a + side, end], axis=1) for side in (-1, 1) for end in (low, high)]
    )
    return np.asarray(corners[ConvexHull(corners).vertices])


def _edge_voxels(outline: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels with a face on the background; the crop's surroundings are background."""
    padded = np.pad(outline, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: NDArray[np.bool_] = outline & ~inner
    return edge


def _voxel_span(
    offset: NDArray[np.float64], step_t: NDArray[np.float64], step_p: NDArray[np.float64], slack: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where a voxel centred at the origin starts and ends on the line ``offset`` along the diameter."""
    area = abs(float(step_t[0] * step_p[1] - step_t[1] * step_p[0]))
    low, high = np.full(offset.shape, -np.inf), np.full(offset.shape, np.inf)
    for t, p in zip(step_t, step_p, strict=True):
        if abs(t) > slack:
            low = np.maximum(low, offset * (p / t) - 0.5 * area / abs(t))
            high = np.minimum(high, offset * (p / t) + 0.5 * area / abs(t))
    return low, high
