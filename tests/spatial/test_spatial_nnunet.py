"""nnU-Net's grid, against scikit-image's resize and its own rules written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import resize

from medseg.errors import GeometryMismatchError
from medseg.spatial import Geometry, LabelTable
from medseg.spatial.nnunet import (
    NnunetGrid,
    crop_to_signal,
    nearest_planes,
    prepared_arrays,
    resized,
    slice_axis,
)
from medseg.spatial.restore import LabelRestorer

PLAIN = NnunetGrid(None, (0, 1, 2), (1.0, 1.0, 1.0))


def _oblique(shape, spacing=(0.7, 1.3, 2.1)):
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(spacing)
    affine[:3, 3] = (3, -5, 7)
    return Geometry(affine, shape)


def _noise(shape, seed=0):
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1).astype(np.float32)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("shape", [(9, 13, 7), (17, 5, 20), (12, 11, 10)])
def test_resizes_as_scikit_image_does(shape, order):
    values = _noise((12, 11, 10))
    expected = resize(values.astype(float), shape, order, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(resized(values, shape, order, None), expected, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_resizes_slices_one_by_one(axis):
    values, shape = _noise((6, 8, 10)), [9, 11, 13]
    shape[axis] = 15
    flat = [n for a, n in enumerate(shape) if a != axis]
    planes = [
        resize(p.astype(float), flat, 3, mode="edge", anti_aliasing=False)
        for p in np.moveaxis(values, axis, 0)
    ]
    stack = np.stack(planes)
    where = (np.arange(15) + 0.5) * len(stack) / 15 - 0.5
    lines = np.stack([where, np.zeros(15)])
    near = ndimage.map_coordinates(
        np.repeat(np.arange(len(stack))[:, None], 2, 1), lines, order=0, mode="nearest"
    )
    np.testing.assert_allclose(
        resized(values, tuple(shape), 3, axis), np.moveaxis(stack[near], 0, axis), atol=1e-6
    )


def test_nothing_to_resize():
    values = _noise((4, 5, 6))
    assert resized(values, (4, 5, 6), 3, None) is values
    assert nearest_planes(2, 4).tolist() == [0, 0, 1, 1] and nearest_planes(4, 2).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("first", "second", "separate", "axis"),
    [
        ((1, 1, 1), (1, 1, 1), None, None),
        ((4, 1, 1), (1, 1, 1), None, 0),
        ((1, 1, 1), (1, 1, 5), None, 2),
        ((1, 4, 1), (5, 1, 1), None, 1),
        ((0.2, 1.2, 1.2), (1, 1, 1), None, None),
        ((4, 1, 1), (1, 1, 1), False, None),
        ((2, 1, 1), (1, 1, 1), True, 0),
        ((1, 1, 1), (5, 1, 1), True, None),
    ],
)
def test_slices_are_taken_one_by_one_where_they_are_thick(first, second, separate, axis):
    assert slice_axis(first, second, separate) == axis


def test_the_grid_fills_what_it_covers():
    geometry = _oblique((10, 7, 5))
    grid = NnunetGrid(None, (1, 2, 0), (1.0, 1.0, 1.0))
    turned = grid.turned(geometry)
    assert turned.shape == (7, 10, 5)
    np.testing.assert_allclose(turned.to_world([6, 9, 4]), geometry.to_world([9, 6, 4]))
    prepared = grid.over(turned)
    assert prepared.shape == (round(7 * 1.3), 7, round(5 * 2.1))
    for corner in (-0.5, "end"):
        ends = [np.array(g.shape) - 0.5 if corner == "end" else np.full(3, -0.5) for g in (turned, prepared)]
        np.testing.assert_allclose(turned.to_world(ends[0]), prepared.to_world(ends[1]))


def test_turns_scans_first_where_the_reader_did():
    geometry = Geometry(np.diag([-1.0, -1.0, 2.0, 1.0]), (4, 5, 6))
    turned = NnunetGrid("RAS", (0, 1, 2), (1.0, 1.0, 1.0)).turned(geometry)
    assert turned.shape == (6, 5, 4) and (np.diag(np.fliplr(turned.affine[:3, :3])) > 0).all()


def test_single_images_are_thick_slices():
    geometry = Geometry(np.eye(4), (8, 9, 1), calibrated=False)
    with pytest.raises(GeometryMismatchError, match="pixel size"):
        PLAIN.over(PLAIN.turned(geometry))
    grid = NnunetGrid(None, (0, 1, 2), (None, 1.0, 1.0), in_pixels=True)
    turned = grid.turned(geometry)
    assert grid.over(turned).shape == (1, 9, 8) and grid.slice_axes(turned) == (0, 0)


def test_crops_to_what_is_not_zero():
    arrays = np.zeros((2, 6, 7, 8))
    arrays[0, 2, 3, 4] = 1
    arrays[1, 4, 3, 6] = -1
    cropped, place = crop_to_signal(arrays, _oblique((6, 7, 8)))
    assert cropped.shape == (2, 3, 1, 3) and place.shape == (3, 1, 3)
    np.testing.assert_allclose(place.to_world([0, 0, 0]), _oblique((6, 7, 8)).to_world([2, 3, 4]))
    whole, same = crop_to_signal(np.zeros((1, 6, 7, 8)), _oblique((6, 7, 8)))
    assert whole.shape[1:] == same.shape == (6, 7, 8)


@pytest.mark.parametrize("spacing", [(0.7, 1.3, 1.1), (0.7, 0.9, 4.0)])
def test_there_and_back(spacing):
    """The way back equals scikit-image's resize of each class, then the highest; outside the crop is 0."""
    values = np.zeros((12, 11, 9), np.float32)
    values[2:11, 1:9, :7] = 1 + _noise((9, 8, 7)) ** 2
    geometry = _oblique(values.shape, spacing)
    found = prepared_arrays([values], geometry, PLAIN, lambda stacked: stacked - 1)
    cropped = values[2:11, 1:9, :7].transpose(2, 1, 0)
    shape = tuple(round(n * s) for n, s in zip(cropped.shape, spacing[::-1], strict=True))
    assert found.arrays.shape == (1, *shape) and found.slices_along == (0 if spacing[2] == 4 else None)
    scores = np.stack([_noise(shape, seed) for seed in range(3)])
    restorer = LabelRestorer(found.geometry, geometry, LabelTable.numbered([1, 2]), found.slices_along)
    restorer.add(scores, (0, 0, 0), found.geometry.shape)
    labels = restorer.finish().labels
    if found.slices_along is None:
        back = [resize(s.astype(float), cropped.shape, 1, mode="edge", anti_aliasing=False) for s in scores]
    else:
        near = nearest_planes(shape[0], 7)
        back = [
            np.stack([resize(s[n].astype(float), (8, 9), 1, mode="edge", anti_aliasing=False) for n in near])
            for s in scores
        ]
    expected = np.zeros(values.shape, int)
    expected[2:11, 1:9, :7] = np.argmax(back, axis=0).transpose(2, 1, 0)
    assert (labels == expected).mean() > 0.999 and len(np.unique(labels)) == 3


def test_channels_that_overlap_paint_in_order():
    geometry = _oblique((4, 5, 6))
    scores = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    restorer = LabelRestorer(geometry, geometry, LabelTable.numbered([1, 2]), paint=[2, 1])
    restorer.add(scores, (0, 0, 0), geometry.shape)
    expected = np.where(scores[1] > 0, 1, np.where(scores[0] > 0, 2, 0))
    np.testing.assert_array_equal(restorer.finish().labels, expected)
