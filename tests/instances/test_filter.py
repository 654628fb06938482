"""Cleaning of label maps against scipy, scikit-image and hand-made answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label as skimage_label

from medseg.errors import ConfigurationError, InputError
from medseg.instances.filter import components, fill_holes, keep_largest, remove_small
from medseg.phantoms import oblique_geometry
from medseg.spatial import Geometry

RANK = {6: 1, 18: 2, 26: 3}


def random_labels(seed=0, shape=(9, 8, 7), dtype=np.uint8):
    return np.random.default_rng(seed).choice([0, 0, 1, 2], shape).astype(dtype)


def same_partition(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("order", ["C", "F"])
def test_components_are_those_of_scikit_image(connectivity, order):
    labels = np.asarray(random_labels(), order=order)
    ids = components(labels, connectivity)
    assert ids.dtype == np.int32
    assert same_partition(ids, skimage_label(labels, background=0, connectivity=RANK[connectivity]))


@pytest.mark.parametrize(("connectivity", "rank"), [(4, 1), (8, 2), (6, 1), (18, 2), (26, 2)])
def test_one_slice_takes_plane_connectivities(connectivity, rank):
    labels = random_labels(shape=(12, 13, 1))
    theirs = skimage_label(labels[:, :, 0], background=0, connectivity=rank)
    assert same_partition(components(labels, connectivity)[:, :, 0], theirs)


@pytest.mark.parametrize(
    ("connectivity", "shape"), [(4, (3, 3, 2)), (8, (1, 3, 3)), (5, (3, 3, 1)), (0, (3, 3, 3))]
)
def test_no_such_connectivity(connectivity, shape):
    with pytest.raises(ConfigurationError, match=f"connectivity {connectivity} is not valid"):
        components(np.ones(shape, bool), connectivity)


@pytest.mark.parametrize(
    "bad", [np.zeros((3, 3), np.uint8), np.zeros((3, 3, 3)), np.zeros((1, 3, 3, 3), bool)]
)
def test_no_label_map_is_refused(bad):
    for function in (components, keep_largest, fill_holes):
        with pytest.raises(InputError, match="expected three axes"):
            function(bad)
    with pytest.raises(InputError, match="expected three axes"):
        remove_small(bad, Geometry(np.eye(4), (3, 3, 3)), 1.0)


def test_more_than_65535_components():
    mask = np.zeros((90, 90, 90), bool)
    mask[::2, ::2, ::2] = True
    assert components(mask, 26).max() == 45**3 > 65_535
    kept, removed = keep_largest(mask)
    assert kept.sum() == 1
    assert kept[0, 0, 0]
    assert removed == {1: 45**3 - 1}


@given(st.integers(0, 10_000), st.sampled_from([6, 18, 26]))
@settings(max_examples=30, deadline=None)
def test_keep_largest_by_brute_force(seed, connectivity):
    labels = random_labels(seed, (5, 6, 4))
    before = labels.copy()
    kept, removed = keep_largest(labels, connectivity=connectivity)
    assert np.array_equal(labels, before)
    for index in (1, 2):
        ids = skimage_label(labels == index, connectivity=RANK[connectivity])
        counts = np.bincount(ids.ravel())[1:]
        if counts.size:
            # scikit-image numbers by the first voxel in C order, so the first of equal ones wins there too.
            assert np.array_equal(kept == index, ids == np.argmax(counts) + 1)
            assert removed.get(index, 0) == counts.size - 1


def test_keep_largest_of_some_labels():
    labels = np.zeros((5, 1, 7), np.uint16)
    labels[0, 0, [0, 2, 3, 5]] = 1
    labels[2, 0, [0, 2, 3, 5]] = 2
    kept, removed = keep_largest(labels, [2])
    assert kept.dtype == np.uint16
    assert np.array_equal(kept[0], labels[0])
    assert np.flatnonzero(kept[2, 0]).tolist() == [2, 3]
    assert removed == {2: 2}
    untouched, removed = keep_largest(labels, [9])
    assert np.array_equal(untouched, labels)
    assert untouched is not labels
    assert removed == {}


def test_remove_small_counts_in_mm3_on_any_grid():
    geometry = oblique_geometry((12, 3, 3), (2.0, 0.5, 3.0), (10, 20, 30))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[0, 0, 0] = 1
    labels[2:4, 0, 0] = 1
    labels[6, 0, 0] = 2
    labels[8:11, 0, 0] = 2
    before = labels.copy()
    cleaned, removed = remove_small(labels, geometry, 6.0)
    assert removed == {1: 1, 2: 1}
    assert np.flatnonzero(cleaned[:, 0, 0]).tolist() == [2, 3, 8, 9, 10]
    assert np.array_equal(labels, before)
    cleaned, removed = remove_small(labels, geometry, {2: 100.0})
    assert removed == {2: 2}
    assert set(np.unique(cleaned)) == {0, 1}
    cleaned, removed = remove_small(labels, geometry, 0.0)
    assert removed == {}
    assert np.array_equal(cleaned, labels)
    mask, removed = remove_small(labels > 0, geometry, 7.0)
    assert mask.dtype == bool
    assert (mask.sum(), removed) == (3, {1: 3})


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, {1: -2.0}])
def test_a_volume_that_is_none_is_refused(bad):
    with pytest.raises(ConfigurationError, match="finite volumes of 0 or more"):
        remove_small(np.ones((2, 2, 2), bool), Geometry(np.eye(4), (2, 2, 2)), bad)


def test_volumes_need_a_pixel_size_and_the_grid_of_the_map():
    pixels = Geometry(np.eye(4), (2, 2, 1), calibrated=False)
    with pytest.raises(ConfigurationError, match="pixel size of this image is unknown"):
        remove_small(np.ones((2, 2, 1), bool), pixels, 1.0)
    assert remove_small(np.ones((2, 2, 1), bool), pixels, 0.0)[1] == {}
    with pytest.raises(InputError, match="but its grid has"):
        remove_small(np.ones((2, 2, 3), bool), Geometry(np.eye(4), (2, 2, 2)), 1.0)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_fill_holes_of_one_label_is_that_of_scipy(seed):
    mask = np.random.default_rng(seed).random((7, 8, 6)) > 0.3
    assert np.array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


def test_holes_go_to_the_innermost_label_and_never_over_another():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[0:9, 0:9, 0:9] = 1
    labels[1:8, 1:8, 1:8] = 0
    labels[2:7, 2:7, 2:7] = 2
    labels[4, 4, 4] = 0
    labels[3, 3, 3] = 3
    before = labels.copy()
    filled = fill_holes(labels)
    assert filled[4, 4, 4] == 2
    assert filled[3, 3, 3] == 3
    assert filled[1, 1, 1] == 1
    assert (filled > 0).all()
    assert np.array_equal(labels, before)
    only = fill_holes(labels, [2])
    assert only[4, 4, 4] == 2
    assert only[1, 1, 1] == 0


def test_slices_are_filled_one_by_one_where_asked():
    tube = np.zeros((5, 5, 4), np.uint8)
    tube[1:4, 1:4] = 1
    tube[2, 2] = 0
    assert np.array_equal(fill_holes(tube), tube)
    assert (fill_holes(tube, slice_axis=2)[2, 2] == 1).all()
    assert np.array_equal(fill_holes(tube, slice_axis=0), tube)
    assert fill_holes(tube[:, :, :1])[2, 2, 0] == 1
    with pytest.raises(ConfigurationError, match="slice_axis is 3"):
        fill_holes(tube, slice_axis=3)
