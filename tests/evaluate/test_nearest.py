import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medseg.evaluate import nearest
from medseg.evaluate.nearest import c_strides, nearest_mm, padded, rings


def brute(points, targets, shape, spacing):
    def places(flat):
        return np.stack(np.unravel_index(flat, shape), axis=1) * np.asarray(spacing)

    return cdist(places(points), places(targets)).min(axis=1)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((14, 9, 11), (1, 1, 1)),
        ((14, 9, 11), (0.4, 2.0, 5.0)),
        ((31, 17), (0.7, 1.9)),
        ((6, 40, 1), (3, 1, 1)),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.02, 0.002])
@pytest.mark.parametrize("tree_cost", [0, 1, 10**9])
def test_equals_brute_force_near_and_far_by_tree_and_by_transform(
    shape, spacing, share, tree_cost, monkeypatch
):
    monkeypatch.setattr(nearest, "_TREE_COST", tree_cost)
    random = np.random.default_rng(1)
    size = int(np.prod(shape))
    points = np.flatnonzero(random.random(size) < 0.2)
    targets = np.flatnonzero(random.random(size) < share)
    targets = targets if len(targets) else np.array([size - 1])
    found = nearest_mm(points, targets, shape, spacing)
    np.testing.assert_allclose(found, brute(points, targets, shape, spacing), rtol=1e-6, atol=1e-9)


def test_nothing_is_infinitely_far_from_nothing():
    none, some = np.array([], dtype=np.intp), np.array([3, 4])
    assert np.isinf(nearest_mm(some, none, (3, 3), (1, 1))).all()
    assert nearest_mm(none, some, (3, 3), (1, 1)).shape == (0,)
    assert nearest_mm(none, none, (3, 3), (1, 1)).shape == (0,)


def test_rings_hold_each_step_once_in_order_of_length():
    groups = rings((1.0, 2.0, 0.5), 3.0)
    steps = np.concatenate([steps for _, steps in groups])
    lengths = [length for length, _ in groups]
    assert lengths == sorted(lengths)
    assert lengths[0] == 0
    assert len(np.unique(steps, axis=0)) == len(steps)
    grid = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), -1).reshape(-1, 3)
    inside = np.linalg.norm(grid * [1.0, 2.0, 0.5], axis=1) <= 3
    assert len(steps) == inside.sum()
    for length, members in groups:
        np.testing.assert_allclose(np.linalg.norm(members * [1.0, 2.0, 0.5], axis=1), length)


def test_rings_keep_three_steps_of_a_tenth_within_three_tenths():
    assert max(length for length, _ in rings((0.1, 1.0), 0.3)) == pytest.approx(0.3)


def test_a_margin_moves_positions():
    flat, wide = padded(np.array([0, 5]), (2, 3), (1, 2))
    assert wide == (4, 7)
    assert np.unravel_index(flat, wide)[0].tolist() == [1, 2]
    assert np.unravel_index(flat, wide)[1].tolist() == [2, 4]
    assert c_strides((4, 7, 5)).tolist() == [35, 5, 1]
    assert c_strides((4, 7)).tolist() == [7, 1]
