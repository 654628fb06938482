"""Diameters against brute force, analytic shapes and scikit-image."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from skimage.measure import regionprops

from medseg.instances.regions import find_regions
from medseg.measure.diameter import (
    axial_diameters,
    longest_diameter,
    outline_corners,
    perpendicular_chord,
    slice_plane,
)
from medseg.phantoms import ball, box, capsule, ellipsoid, oblique_geometry
from medseg.spatial import Geometry
from medseg.spatial.orientation import reoriented
from medseg.spatial.resample import resample_array

SHEARED = Geometry(np.array([[1, 0.2, 0.1, 0], [0, 1.5, 0.6, 0], [0, 0.1, 3, 0], [0, 0, 0, 1.0]]), (5, 6, 4))


def diameters(mask, geometry):
    region = find_regions(mask)[0]
    offset = tuple(side[0] for side in region.box)
    return axial_diameters(mask[region.slices], offset, geometry, slice_plane(geometry))


def longest(mask, geometry):
    region = find_regions(mask)[0]
    return longest_diameter(outline_corners(mask[region.slices]), geometry)


def corners_mm(mask, geometry, axes=(0, 1, 2)):
    steps = np.zeros((2 ** len(axes), 3))
    steps[:, list(axes)] = list(itertools.product((-0.5, 0.5), repeat=len(axes)))
    return geometry.to_world((np.argwhere(mask)[:, None] + steps).reshape(-1, 3))


def chord_on_line(squares, d, n, at):
    """Ends of the union of convex polygons on the line {x·d = at}, by clipping every side."""
    found = []
    for square in squares:
        along, across = square @ d, square @ n
        for a in range(4):
            b = (a + 1) % 4
            t0, t1 = along[a], along[b]
            if abs(t0 - at) < 1e-9:
                found.append(across[a])
            if (t0 - at) * (t1 - at) < 0:
                found.append(across[a] + (across[b] - across[a]) * (at - t0) / (t1 - t0))
    return max(found) - min(found) if found else 0.0


def brute_short(mask, geometry, axis, long_mm):
    """The longest perpendicular over all diameters of that length, at dense positions and all corners."""
    axes = [a for a in range(3) if a != axis]
    best = 0.0
    for index in range(mask.shape[axis]):
        layer = np.zeros_like(mask)
        place = [slice(None)] * 3
        place[axis] = index
        layer[tuple(place)] = mask[tuple(place)]
        if not layer.any():
            continue
        steps = np.zeros((4, 3))
        steps[:, axes] = [(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5)]
        solid = geometry.to_world(np.argwhere(layer)[:, None] + steps)
        points = np.unique(np.round(solid.reshape(-1, 3), 9), axis=0)
        normal = np.cross(geometry.affine[:3, axes[0]], geometry.affine[:3, axes[1]])
        gaps = np.linalg.norm(points[:, None] - points, axis=2)
        for a, b in np.argwhere(np.triu(gaps) >= long_mm - 1e-6):
            d = (points[b] - points[a]) / gaps[a, b]
            n = np.cross(normal / np.linalg.norm(normal), d)
            at = np.unique(np.round(points @ d, 9))
            dense = np.linspace(at[0], at[-1], 60)
            best = max(best, *(chord_on_line(solid, d, n, t) for t in (*at, *dense)))
    return best


@given(
    st.integers(0, 10_000),
    st.floats(0.05, 0.7),
    st.sampled_from(
        [
            oblique_geometry((5, 6, 4), (1.0, 1.0, 1.0)),
            oblique_geometry((5, 6, 4), (0.7, 1.3, 2.0), (20, -10, 30), "LPS"),
            oblique_geometry((5, 6, 4), (2.5, 0.5, 0.8), (5, 5, 5), "SAR"),
            SHEARED,
        ]
    ),
)
@settings(max_examples=40, deadline=None)
def test_random_masks_by_brute_force(seed, density, geometry):
    mask = np.random.default_rng(seed).random(geometry.shape) < density
    mask[2, 3, 1] = True
    plane = slice_plane(geometry)
    axes = [a for a in range(3) if a != plane.axis]
    found = diameters(mask, geometry)
    assert longest(mask, geometry) == pytest.approx(pdist(corners_mm(mask, geometry)).max())
    layers = [np.arange(mask.shape[plane.axis]) == index for index in range(mask.shape[plane.axis])]
    shape = [1, 1, 1]
    shape[plane.axis] = -1
    in_slice = [mask & layer.reshape(shape) for layer in layers]
    best = max(pdist(corners_mm(layer, geometry, axes)).max() for layer in in_slice if layer.any())
    assert found.long_mm == pytest.approx(best)
    assert found.short_mm == pytest.approx(brute_short(mask, geometry, plane.axis, best), abs=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_ends_lie_on_the_outline_in_one_slice_at_right_angles(seed):
    geometry = oblique_geometry((9, 8, 5), (0.9, 1.1, 3.0), (20, 10, -30), "LAS")
    mask = np.random.default_rng(seed).random(geometry.shape) < 0.3
    mask[4, 4, 2] = True
    found = diameters(mask, geometry)
    long_line = np.diff(found.long_ends_mm, axis=0)[0]
    short_line = np.diff(found.short_ends_mm, axis=0)[0]
    assert np.linalg.norm(long_line) == pytest.approx(found.long_mm)
    assert np.linalg.norm(short_line) == pytest.approx(found.short_mm)
    assert long_line @ short_line == pytest.approx(0, abs=1e-9)
    for ends in (found.long_ends_mm, found.short_ends_mm):
        index = geometry.to_index(ends)
        assert index[:, 2] == pytest.approx([found.slice_index] * 2)
        for end in index:
            around = np.argwhere(mask[:, :, found.slice_index])
            assert np.abs(around - end[:2]).max(axis=1).min() == pytest.approx(0.5)


@pytest.mark.parametrize(("a", "b"), [(20, 20), (20, 7), (21, 1), (1, 1), (3, 30)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 2.0), (0.5, 0.8, 5.0)])
def test_rectangles(a, b, spacing):
    mask = np.zeros((40, 40, 3), bool)
    mask[3 : 3 + a, 5 : 5 + b, 1] = True
    geometry = oblique_geometry(mask.shape, spacing, (10, 20, 30))
    short, long = sorted((a * spacing[0], b * spacing[1]))
    found = diameters(mask, geometry)
    diagonal = np.hypot(short, long)
    assert found.long_mm == pytest.approx(diagonal)
    # A line at right angles to a diagonal crosses from one long side to the other.
    assert found.short_mm == pytest.approx(short * diagonal / long)
    assert longest(mask, geometry) == pytest.approx(np.sqrt(short**2 + long**2 + spacing[2] ** 2))


@pytest.mark.parametrize("angles", [(0, 0, 0), (7, -12, 25)])
def test_ball_and_ellipsoid(angles):
    geometry = oblique_geometry((120, 130, 60), (0.5, 0.45, 1.0), angles, "LPS")
    sphere = ball(geometry, geometry.centre_mm, 20)
    found = diameters(sphere, geometry)
    assert found.long_mm == pytest.approx(40, abs=0.7)
    assert found.short_mm == pytest.approx(40, abs=0.7)
    assert longest(sphere, geometry) == pytest.approx(40, abs=1.2)
    own_axes = ellipsoid(
        oblique_geometry((120, 130, 60), (0.5, 0.45, 1.0)), (0, 0, 0), (24, 10, 25), (0, 0, 30)
    )
    found = diameters(own_axes, oblique_geometry((120, 130, 60), (0.5, 0.45, 1.0)))
    assert found.long_mm == pytest.approx(48, abs=0.7)
    assert found.short_mm == pytest.approx(20, abs=0.9)


def test_a_box_that_is_turned_against_the_grid():
    geometry = oblique_geometry((150, 150, 5), (0.25, 0.25, 4.0))
    mask = box(geometry, geometry.centre_mm, (24, 10, 8), (0, 0, 33))
    found = diameters(mask, geometry)
    assert found.long_mm == pytest.approx(26, abs=0.4)
    assert found.short_mm == pytest.approx(10 * 26 / 24, abs=0.4)


def test_as_scikit_image_where_the_definitions_coincide():
    # scikit-image's Feret diameter runs round the hull's pixels between the middles of their faces.
    i, j = np.indices((41, 41)) - 20
    disc = i**2 + j**2 <= 100
    geometry = oblique_geometry((41, 41, 1), (1, 1, 1))
    ours = diameters(disc[:, :, None], geometry).long_mm
    feret = regionprops(disc.astype(int))[0].feret_diameter_max
    assert feret == pytest.approx(21.47, abs=0.01)
    assert abs(ours - feret) < 0.8
    line = np.zeros((30, 30, 1), bool)
    line[3:24, 5, 0] = True
    geometry = oblique_geometry(line.shape, (1, 1, 1))
    assert diameters(line, geometry).long_mm == pytest.approx(np.hypot(21, 1))


@pytest.mark.parametrize("code", ["LAS", "RPI", "SRA", "ILP", "ASR"])
def test_no_number_depends_on_how_the_array_lies(code):
    geometry = oblique_geometry((30, 32, 12), (0.9, 1.1, 2.5), (12, 8, -20), "RAS")
    centre = geometry.centre_mm
    mask = ellipsoid(geometry, centre, (9, 5, 8), (10, 20, 30)) | capsule(
        geometry, centre, centre + np.array([4, 11, 3]), 2.0
    )
    turned = reoriented(geometry, code)
    moved = resample_array(mask.astype(np.uint8), geometry, turned, order=0, fill=0).astype(bool)
    here, there = diameters(mask, geometry), diameters(moved, turned)
    assert there.long_mm == pytest.approx(here.long_mm)
    assert there.short_mm == pytest.approx(here.short_mm)
    assert longest(moved, turned) == pytest.approx(longest(mask, geometry))
    assert slice_plane(turned).off_axial_deg == pytest.approx(slice_plane(geometry).off_axial_deg)


def test_gaps_are_crossed_and_parts_spanned():
    geometry = oblique_geometry((30, 30, 2), (1, 1, 1))
    mask = np.zeros(geometry.shape, bool)
    mask[0, 0, 0] = mask[20, 0, 0] = True
    assert diameters(mask, geometry).long_mm == pytest.approx(np.hypot(21, 1))
    ring = np.zeros(geometry.shape, bool)
    ring[5:16, 5:16, 1] = True
    ring[6:15, 6:15, 1] = False
    found = diameters(ring, geometry)
    assert (found.long_mm, found.short_mm) == pytest.approx([11 * np.sqrt(2)] * 2)
    assert found.slice_index == 1


def test_of_equally_long_diameters_the_one_with_the_longer_perpendicular_counts():
    geometry = oblique_geometry((12, 12, 2), (1, 1, 1))
    mask = np.zeros(geometry.shape, bool)
    mask[1:11, 5, 0] = True
    mask[1:11, 5, 1] = True
    mask[5, 3:8, 1] = True
    found = diameters(mask, geometry)
    assert found.slice_index == 1
    assert found.long_mm == pytest.approx(np.hypot(10, 1))
    assert found.short_mm > 4


def test_a_cylinder_has_one_distinct_slice():
    geometry = oblique_geometry((41, 41, 60), (1, 1, 1))
    i, j, _ = np.indices(geometry.shape) - 20
    found = diameters(i**2 + j**2 <= 200, geometry)
    assert found.slice_index == 0
    assert found.long_mm == pytest.approx(29, abs=1)


@pytest.mark.parametrize(
    ("geometry", "axis", "degrees"),
    [
        (oblique_geometry((4, 4, 4), (1, 1, 3)), 2, 0.0),
        (oblique_geometry((4, 4, 4), (1, 1, 3), (25, 0, 0)), 2, 25.0),
        (oblique_geometry((4, 4, 4), (1, 1, 3), (0, 0, 40), "SLA"), 0, 0.0),
        (oblique_geometry((4, 4, 1), (1, 1, 3), (0, 0, 0), "ASR"), 2, 90.0),
        (SHEARED, 2, np.degrees(np.arccos(1.5 / np.sqrt(1.5**2 + 0.1**2 + 0.0)))),
    ],
)
def test_which_slices(geometry, axis, degrees):
    plane = slice_plane(geometry)
    assert plane.axis == axis
    assert plane.off_axial_deg == pytest.approx(degrees, abs=1e-5)


def test_micrometres():
    geometry = oblique_geometry((30, 30, 4), (2e-4, 2e-4, 1e-3))
    mask = np.zeros(geometry.shape, bool)
    mask[3:13, 4:8, 1] = True
    found = diameters(mask, geometry)
    assert found.long_mm == pytest.approx(np.hypot(10, 4) * 2e-4)
    assert found.short_mm == pytest.approx(4 / 10 * np.hypot(10, 4) * 2e-4)


def test_a_line_along_the_grid_has_its_chord_across_it():
    outline = np.zeros((9, 9), bool)
    outline[1:6, 2:5] = True
    outline[3, 1:8] = True
    basis = np.diag([2.0, 0.5])
    length, ends = perpendicular_chord(outline, basis, np.array([[1.0, 1.5], [11.0, 1.5]]))
    assert length == pytest.approx(3.5)
    assert ends[:, 1].tolist() == pytest.approx([0.25, 3.75])
    length, _ = perpendicular_chord(outline, basis, np.array([[6.0, 0.0], [6.0, 3.0]]))
    assert length == pytest.approx(10.0)
