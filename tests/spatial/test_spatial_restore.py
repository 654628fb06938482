"""Labels from probabilities: block by block, axis by axis, equal to interpolating everything at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medseg.errors import GeometryMismatchError
from medseg.spatial import Geometry, Label, LabelTable
from medseg.spatial.resample import grid_with, restore_labels
from medseg.spatial.restore import LabelRestorer, parallel
from medseg.spatial.segmentation import ProbabilityMap

CODES = ("RAS", "LPS", "PIR", "LIA", "SAL")


def oblique(shape, spacing, degrees=20.0):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [degrees, -degrees / 2, 7], degrees=True).as_matrix()
    affine[:3, :3] *= np.array(spacing)
    affine[:3, 3] = (-31.0, 17.0, 5.5)
    return Geometry(affine, shape)


def softmax(seed, classes, shape, sharp=3.0):
    """Smooth probabilities, most of them near 0 for most classes, as networks give them."""
    logits = np.random.default_rng(seed).normal(size=(classes, *shape))
    logits = np.stack([ndimage.gaussian_filter(values, 1.0) for values in logits]) * sharp * 5
    values = np.exp(logits - logits.max(axis=0))
    return (values / values.sum(axis=0)).astype(np.float32)


def table(classes):
    return LabelTable(tuple(Label(n * 3, f"l{n}") for n in range(1, classes)))


def in_blocks(probabilities, prepared, target, names, cuts):
    """The map restored from blocks between the cuts along each axis, one voxel more on the far side."""
    restorer = LabelRestorer(prepared, target, names)
    edges = [
        [0, *(c for c in sorted(set(cut)) if 0 < c < n), n]
        for cut, n in zip(cuts, prepared.shape, strict=True)
    ]
    for i0, i1 in zip(edges[0], edges[0][1:], strict=False):
        for j0, j1 in zip(edges[1], edges[1][1:], strict=False):
            for k0, k1 in zip(edges[2], edges[2][1:], strict=False):
                block = probabilities[:, i0 : i1 + 1, j0 : j1 + 1, k0 : k1 + 1]
                restorer.add(block, (i0, j0, k0), (i1, j1, k1))
    return restorer.finish().labels


def at_once(probabilities, prepared, target, names):
    """By definition: every class interpolated at every voxel with SciPy in double precision."""
    matrix = np.linalg.solve(prepared.affine, target.affine)
    place = np.indices(target.shape).reshape(3, -1)
    position = matrix[:3, :3] @ place + matrix[:3, 3:]
    scores = np.stack([
        ndimage.map_coordinates(values.astype(np.float64), position, order=1, mode="nearest")
        for values in probabilities
    ])  # fmt: skip
    beyond = (position < -0.5 - 1e-6) | (position > np.array(prepared.shape)[:, None] - 0.5 + 1e-6)
    indices = np.array([0, *(label.index for label in names)])
    winners = np.where(beyond.any(axis=0), 0, indices[scores.argmax(axis=0)])
    ordered = np.sort(scores, axis=0)
    return winners.reshape(target.shape), (ordered[-1] - ordered[-2]).reshape(target.shape)


@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 4)] * 3),
    code=st.sampled_from(CODES),
    classes=st.integers(2, 7),
    seed=st.integers(0, 99),
    cuts=st.tuples(*[st.lists(st.integers(0, 20), max_size=4)] * 3),
)
@settings(deadline=None, max_examples=80)
def test_blocks_give_what_all_at_once_gives(shape, spacing, code, classes, seed, cuts):
    target = oblique(shape, spacing)
    prepared = grid_with(target, (1.5, 1.0, 2.0), code)
    probabilities, names = softmax(seed, classes, prepared.shape), table(classes)
    whole = restore_labels(ProbabilityMap(probabilities, prepared, names), target).labels
    assert np.array_equal(in_blocks(probabilities, prepared, target, names, cuts), whole)
    expected, margin = at_once(probabilities, prepared, target, names)
    sure = margin > 1e-5
    assert np.array_equal(whole[sure], expected[sure])


def test_scores_that_are_no_probabilities_are_compared_in_full():
    target = oblique((12, 11, 10), (0.7, 0.9, 1.3))
    prepared = grid_with(target, (1.5, 1.5, 1.5), "LPS")
    scores = np.random.default_rng(1).random((4, *prepared.shape)).astype(np.float32) / 50
    names = table(4)
    whole = restore_labels(ProbabilityMap(scores, prepared, names), target).labels
    expected, margin = at_once(scores, prepared, target, names)
    assert np.array_equal(whole[margin > 1e-7], expected[margin > 1e-7])


def test_the_same_grid_in_another_order_is_copied():
    target = oblique((9, 8, 7), (0.7, 0.9, 1.3))
    prepared = grid_with(target, (1.3, 0.9, 0.7), "SAR")
    probabilities = softmax(3, 3, prepared.shape)
    whole = restore_labels(ProbabilityMap(probabilities, prepared, table(3)), target).labels
    winners = np.array([0, 3, 6])[probabilities.argmax(axis=0)]
    assert np.array_equal(np.sort(whole, axis=None), np.sort(winners, axis=None))
    assert np.array_equal(whole, at_once(probabilities, prepared, target, table(3))[0])


def test_a_block_without_a_voxel_of_the_target_is_passed_over():
    target = Geometry(np.diag([4.0, 4.0, 4.0, 1.0]), (2, 2, 2))
    prepared = Geometry(np.eye(4), (8, 8, 8))
    probabilities = softmax(0, 2, (8, 8, 8))
    labels = in_blocks(probabilities, prepared, target, table(2), ([1, 2, 3, 4], [], [3]))
    assert np.array_equal(
        labels, restore_labels(ProbabilityMap(probabilities, prepared, table(2)), target).labels
    )


def test_other_directions_are_refused_by_blocks_and_interpolated_in_full():
    target, prepared = oblique((10, 10, 10), (1, 1, 1)), oblique((10, 10, 10), (1, 1, 1), degrees=45)
    assert not parallel(prepared, target)
    assert not parallel(oblique((10, 10, 10), (1, 1, 1), degrees=20.01), target)
    with pytest.raises(GeometryMismatchError, match="axes of the prepared grid"):
        LabelRestorer(prepared, target, table(2))
    sheared = np.eye(4)
    sheared[:3, :3] = [[1, 1, 0], [1, 1.01, 0], [0, 0, 1]]
    assert not parallel(Geometry(sheared, (4, 4, 4)), Geometry(np.eye(4), (4, 4, 4)))
    probabilities = softmax(5, 3, (10, 10, 10))
    whole = restore_labels(ProbabilityMap(probabilities, prepared, table(3)), target).labels
    expected, margin = at_once(probabilities, prepared, target, table(3))
    assert np.array_equal(whole[margin > 1e-5], expected[margin > 1e-5])
