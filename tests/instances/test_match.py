"""Joint histogram and matching against loops over all pairs."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from medseg.errors import ConfigurationError, GeometryMismatchError, InputError
from medseg.instances.instance import Instance, InstanceMap
from medseg.instances.match import Match, MatchOptions, match, match_overlaps
from medseg.instances.overlaps import find_overlaps
from medseg.instances.regions import find_regions
from medseg.spatial import Geometry, Label, LabelTable

LARGEST = 2**31 - 1
TABLE = LabelTable((Label(1, "node", kind="thing"), Label(2, "vessel", kind="thing")))
MAPS = arrays(np.int32, (4, 3, 5), elements=st.sampled_from([0, 0, 1, 2, 3, 70_000, LARGEST]))


def instance_map(ids, labels=None, affine=None, table=TABLE, **geometry):
    """An instance map of an array; ``labels`` names those that are not nodes."""
    grid = Geometry(np.eye(4) if affine is None else affine, ids.shape, **geometry)
    instances = tuple(
        Instance(
            region.value,
            (labels or {}).get(region.value, "node"),
            region.voxel_count,
            region.volume_ml(grid),
            region.centroid_mm(grid),
            region.box,
        )
        for region in find_regions(ids)
    )
    return InstanceMap(ids.astype(np.int32), grid, instances, table)


def row(*values):
    return np.array(values, np.int32).reshape(-1, 1, 1)


def shared_by_loop(prediction, reference):
    found = {}
    for p, r in zip(prediction.ravel().tolist(), reference.ravel().tolist(), strict=True):
        if p and r:
            found[p, r] = found.get((p, r), 0) + 1
    return found


def as_dict(overlaps):
    return {
        (int(overlaps.prediction_ids[p]), int(overlaps.reference_ids[r])): int(n)
        for (p, r), n in zip(overlaps.pairs, overlaps.shared, strict=True)
    }


def iou_by_loop(prediction, reference):
    return {
        (p, r): n / np.logical_or(prediction == p, reference == r).sum()
        for (p, r), n in shared_by_loop(prediction, reference).items()
    }


def ids_of(matches):
    return [(pair.prediction, pair.reference) for pair in matches.pairs]


@settings(max_examples=60, deadline=None)
@given(MAPS, MAPS)
def test_histogram_is_that_of_a_loop(prediction, reference):
    found = find_overlaps(prediction, reference)
    assert as_dict(found) == shared_by_loop(prediction, reference)
    for ids, voxels, array in (
        (found.prediction_ids, found.prediction_voxels, prediction),
        (found.reference_ids, found.reference_voxels, reference),
    ):
        expected = [number for number in np.unique(array) if number]
        assert ids.tolist() == expected
        assert voxels.tolist() == [(array == number).sum() for number in expected]
    iou = iou_by_loop(prediction, reference)
    assert found.iou.tolist() == [iou[pair] for pair in as_dict(found)]


@settings(max_examples=40, deadline=None)
@given(MAPS, MAPS, st.sampled_from([0.0, 0.2, 0.5, 0.7]), st.booleans())
def test_policies_against_loops(prediction, reference, min_iou, inclusive):
    overlaps = find_overlaps(prediction, reference)
    iou = {
        pair: value
        for pair, value in iou_by_loop(prediction, reference).items()
        if value > min_iou or (inclusive and value == min_iou)
    }
    shared = shared_by_loop(prediction, reference)
    free, expected = dict(iou), []
    while free:
        best = min(free, key=lambda pair: (-free[pair], -shared[pair], pair[1], pair[0]))
        expected.append(best)
        free = {pair: v for pair, v in free.items() if pair[0] != best[0] and pair[1] != best[1]}
    greedy = match_overlaps(overlaps, MatchOptions("greedy", min_iou, inclusive))
    assert sorted(ids_of(greedy)) == sorted(expected)

    sides = [sorted({pair[n] for pair in iou}) for n in (0, 1)]
    gain = np.array([[iou.get((p, r), 0.0) for r in sides[1]] for p in sides[0]]).reshape(
        len(sides[0]), len(sides[1])
    )
    best = gain[linear_sum_assignment(gain, maximize=True)].sum()
    optimal = match_overlaps(overlaps, MatchOptions("optimal", min_iou, inclusive))
    assert sum(pair.iou for pair in optimal.pairs) == pytest.approx(best)
    assert len({p for p, _ in ids_of(optimal)}) == len({r for _, r in ids_of(optimal)}) == len(optimal.pairs)
    if min_iou >= 0.5 and not inclusive:
        assert optimal == greedy

    touching = match_overlaps(overlaps, MatchOptions("overlap"))
    assert sorted(ids_of(touching)) == sorted(shared)
    for found in (greedy, optimal, touching):
        pairs = ids_of(found)
        assert {p for p, _ in pairs} | set(found.unmatched_prediction) == set(np.unique(prediction)) - {0}
        assert {r for _, r in pairs} | set(found.unmatched_reference) == set(np.unique(reference)) - {0}
        assert found.n_prediction == len(set(np.unique(prediction)) - {0})
        assert found.n_reference == len(set(np.unique(reference)) - {0})


@pytest.mark.parametrize("order", ["C", "F", "mixed", "view"])
def test_memory_layout_does_not_matter(order):
    random = np.random.default_rng(0)
    first, second = random.integers(0, 5, (2, 7, 6, 5))
    if order == "F":
        first, second = np.asfortranarray(first), np.asfortranarray(second)
    elif order == "mixed":
        first = np.asfortranarray(first)
    elif order == "view":
        first, second = np.repeat(first, 2, 1)[:, ::2], np.repeat(second, 2, 1)[:, ::2]
    assert as_dict(find_overlaps(first, second)) == shared_by_loop(first, second)


def test_slabs_are_added(monkeypatch):
    random = np.random.default_rng(1)
    first, second = random.integers(0, 4, (2, 7, 6, 5))
    whole = as_dict(find_overlaps(first, second))
    monkeypatch.setattr("medseg.instances.overlaps._SLAB_VOXELS", 7)
    assert as_dict(find_overlaps(first, second)) == whole


def test_more_ids_than_sixteen_bits_hold():
    ids = np.arange(80_000, dtype=np.int32).reshape(80, 100, 10)
    shifted = np.where(ids > 0, ids + 1_000_000, 0)
    matches = match_overlaps(find_overlaps(ids, shifted))
    assert len(matches.pairs) == 79_999
    assert matches.pairs[-1] == Match(79_999, 1_079_999, 1.0)
    assert not matches.unmatched_prediction
    optimal = match_overlaps(find_overlaps(ids, shifted), MatchOptions("optimal", 0.1))
    assert optimal == matches


def test_gaps_between_ids_are_no_instances():
    prediction, reference = row(0, 9, 9, LARGEST, 0), row(0, 500, 500, 0, LARGEST)
    matches = match_overlaps(find_overlaps(prediction, reference))
    assert ids_of(matches) == [(9, 500)]
    assert matches.unmatched_prediction == (LARGEST,)
    assert matches.unmatched_reference == (LARGEST,)


def test_half_is_not_more_than_half():
    overlaps = find_overlaps(row(1, 1), row(1, 0))
    assert overlaps.iou.tolist() == [0.5]
    assert not match_overlaps(overlaps).pairs
    assert not match_overlaps(overlaps, MatchOptions("optimal")).pairs
    assert ids_of(match_overlaps(overlaps, MatchOptions(inclusive=True))) == [(1, 1)]


def test_ties_go_to_the_larger_overlap_then_to_the_lower_ids():
    two_references = find_overlaps(row(7, 7), row(2, 1))
    assert ids_of(match_overlaps(two_references, MatchOptions(min_iou=0.1))) == [(7, 1)]
    two_predictions = find_overlaps(row(4, 3), row(6, 6))
    assert ids_of(match_overlaps(two_predictions, MatchOptions(min_iou=0.1))) == [(3, 6)]
    # IoU 3/9 with reference 9, and 2/6 with reference 1, whose id is lower.
    prediction = row(*[5] * 6, 0, 0, 0)
    larger = row(*[9] * 3, 1, 1, 0, *[9] * 3)
    assert find_overlaps(prediction, larger).iou.tolist() == [2 / 6, 3 / 9]
    assert ids_of(match_overlaps(find_overlaps(prediction, larger), MatchOptions(min_iou=0.1))) == [(5, 9)]


def test_optimal_gives_up_the_best_pair_for_a_better_sum():
    prediction = row(*[1] * 10, *[2] * 8, 0, 0, 0)
    reference = row(*[5] * 5, *[6] * 3, 0, 0, *[5] * 4, *[0] * 4, *[6] * 3)
    overlaps = find_overlaps(prediction, reference)
    assert ids_of(match_overlaps(overlaps, MatchOptions("greedy", 0.1))) == [(1, 5)]
    assert ids_of(match_overlaps(overlaps, MatchOptions("optimal", 0.1))) == [(2, 5), (1, 6)]


def test_labels_are_never_mixed():
    ids = row(1, 1, 2, 2)
    sides = instance_map(ids), instance_map(ids, {2: "vessel"})
    found = match(*sides)
    assert match(*sides, overlaps=find_overlaps(ids, ids)) == found
    assert ids_of(found["node"]) == [(1, 1)]
    assert found["node"].unmatched_prediction == (2,)
    assert found["vessel"].unmatched_reference == (2,)
    other = instance_map(ids, {1: "cyst", 2: "cyst"}, table=LabelTable((Label(1, "cyst"),)))
    assert list(match(other, instance_map(ids))) == ["node", "vessel", "cyst"]


def test_union_of_an_iou_is_that_of_the_whole_instances():
    overlaps = find_overlaps(row(1, 1, 1, 2), row(0, 4, 5, 5))
    part = overlaps.among(np.array([True, False]), np.array([False, True]))
    assert as_dict(part) == {(1, 5): 1}
    assert part.iou.tolist() == [0.25]


def test_by_distance_nearest_first_in_mm():
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    prediction, reference = row(1, 0, 2, 0, 0, 0, 0, 3), row(0, 4, 0, 5, 0, 0, 0, 0)
    maps = instance_map(prediction, affine=affine), instance_map(reference, affine=affine)
    found = match(*maps, MatchOptions("distance", max_distance_mm=2.0))["node"]
    assert [(p.prediction, p.reference, p.distance_mm, p.iou) for p in found.pairs] == [
        (1, 4, 2.0, 0.0),
        (2, 5, 2.0, 0.0),
    ]
    assert found.unmatched_prediction == (3,)
    assert not match(*maps, MatchOptions("distance", max_distance_mm=1.9))["node"].pairs
    whole = match(maps[0], maps[0], MatchOptions("distance", max_distance_mm=9))["node"]
    assert [(p.distance_mm, p.iou) for p in whole.pairs] == [(0.0, 1.0)] * 3
    empty = instance_map(reference * 0, affine=affine)
    assert match(empty, maps[1], MatchOptions("distance", max_distance_mm=9))["node"].unmatched_reference == (
        4,
        5,
    )
    assert match(maps[0], empty, MatchOptions("distance", max_distance_mm=9))["node"].unmatched_prediction


def test_distance_against_a_loop():
    random = np.random.default_rng(4)
    sides = [
        random.permutation(np.r_[np.arange(1, 21), np.zeros(1980)]).reshape(10, 20, 10) for _ in range(2)
    ]
    prediction, reference = (instance_map(side.astype(np.int32)) for side in sides)
    centres = [{i.id: np.array(i.centroid_mm) for i in side.instances} for side in (prediction, reference)]
    near = sorted(
        (float(np.linalg.norm(centres[0][p] - centres[1][r])), r, p)
        for p, r in itertools.product(centres[0], centres[1])
    )
    expected, used = {}, set()
    for distance, r, p in near:
        if distance <= 6 and r not in expected and p not in used:
            expected[r] = p
            used.add(p)
    found = match(prediction, reference, MatchOptions("distance", max_distance_mm=6))["node"]
    assert {pair.reference: pair.prediction for pair in found.pairs} == expected


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (MatchOptions(), "one to one, greedy by IoU > 0.5"),
        (MatchOptions("optimal", 0.1, inclusive=True), "one to one, optimal by IoU ≥ 0.1"),
        (MatchOptions("overlap"), "any shared voxel, many to many"),
        (MatchOptions("distance", max_distance_mm=5), "one to one, nearest centroids first, up to 5 mm"),
    ],
)
def test_the_rule_in_words(options, text):
    assert options.describe() == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "best"}, "'best' is not known"),
        ({"min_iou": -0.1}, "min_iou is -0.1"),
        ({"min_iou": 1.0}, "min_iou is 1.0"),
        ({"min_iou": float("nan")}, "min_iou is nan"),
        ({"policy": "distance"}, "which needs it"),
        ({"max_distance_mm": 3.0}, "belongs to"),
        ({"policy": "distance", "max_distance_mm": 0.0}, "expected above 0"),
        ({"policy": "distance", "max_distance_mm": float("inf")}, "expected above 0"),
    ],
)
def test_options_outside_their_range_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        MatchOptions(**arguments)


@pytest.mark.parametrize(
    ("first", "second", "error", "message"),
    [
        (row(1), row(1, 1), GeometryMismatchError, "bring both onto one grid"),
        (row(1).astype(float), row(1), InputError, "float64"),
        (row(-3, 1), row(1, 1), InputError, "run from -3 to 1"),
        (row(1), row(1).astype(np.int64) << 31, InputError, "to 2147483648"),
    ],
)
def test_unusable_maps_are_refused(first, second, error, message):
    with pytest.raises(error, match=message):
        find_overlaps(first, second)


def test_what_matching_refuses():
    near = MatchOptions("distance", max_distance_mm=1)
    ids = row(1, 2)
    with pytest.raises(ConfigurationError, match="needs centroids"):
        match_overlaps(find_overlaps(ids, ids), near)
    with pytest.raises(GeometryMismatchError, match="resample one"):
        match(instance_map(ids), instance_map(ids, affine=np.diag([2.0, 1, 1, 1])))
    pixels = instance_map(ids, calibrated=False)
    with pytest.raises(ConfigurationError, match="pixel size of this image is unknown"):
        match(pixels, pixels, near)
    bare = InstanceMap(
        ids,
        Geometry(np.eye(4), ids.shape),
        tuple(Instance(n, "node", 1, None, None, ((n - 1, n), (0, 1), (0, 1))) for n in (1, 2)),
        TABLE,
    )
    with pytest.raises(InputError, match="has no centroid"):
        match(bare, bare, near)


def test_empty_maps_leave_the_other_side_unmatched():
    nothing, something = row(0, 0), row(1, 2)
    for options in (MatchOptions(), MatchOptions("optimal", 0.1), MatchOptions("overlap")):
        found = match_overlaps(find_overlaps(nothing, something), options)
        assert (found.pairs, found.unmatched_prediction, found.unmatched_reference) == ((), (), (1, 2))
        assert match_overlaps(find_overlaps(nothing, nothing), options).n_reference == 0


@settings(max_examples=30, deadline=None)
@given(MAPS, MAPS, st.integers(0, 2), st.permutations([1, 2, 3, 70_000, LARGEST]))
def test_flips_and_new_ids_change_nothing(prediction, reference, axis, renamed):
    new = dict(zip([1, 2, 3, 70_000, LARGEST], renamed, strict=True)) | {0: 0}
    other = np.vectorize(new.get, otypes=[np.int64])(prediction)
    found = match_overlaps(find_overlaps(prediction, reference))
    moved = match_overlaps(find_overlaps(np.flip(other, axis), np.flip(reference, axis)))
    assert {(new[p.prediction], p.reference, p.iou) for p in found.pairs} == {
        (p.prediction, p.reference, p.iou) for p in moved.pairs
    }
    assert moved.unmatched_reference == found.unmatched_reference


def test_real_spine_pair():
    nibabel = pytest.importorskip("nibabel")
    default = Path(__file__).resolve().parents[2] / "../shared/data"
    folder = Path(os.environ.get("MEDSEG_DATA", default)) / "panoptic_pair"
    if not folder.is_dir():
        pytest.skip("panoptic_pair of the real data is not there; set MEDSEG_DATA")
    prediction, reference = (
        np.asarray(nibabel.load(folder / name).dataobj).astype(np.int32)
        for name in ("pred.nii.gz", "ref.nii.gz")
    )
    found = as_dict(find_overlaps(prediction, reference))
    for p, r in itertools.product(np.unique(prediction)[1:], np.unique(reference)[1:]):
        assert found.get((int(p), int(r)), 0) == np.count_nonzero((prediction == p) & (reference == r))
