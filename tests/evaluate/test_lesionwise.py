"""Lesion-wise scores: published fixtures, hand-made cases, and the rules written out with whole masks."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from medseg.errors import ConfigurationError, GeometryMismatchError, InputError
from medseg.evaluate.lesionwise import LesionOptions, cc_dice, false_volumes_ml, lesion_wise
from medseg.evaluate.surface import hd_surfel_mm, surface_distances
from medseg.spatial import Geometry

ALL, EDGES = np.ones((3, 3, 3)), ndimage.generate_binary_structure(3, 2)


def grid(shape, spacing=(1.0, 1.0, 1.0), **more):
    return Geometry(np.diag([*spacing, 1.0]), shape, **more)


def blank(shape=(40, 20, 20)):
    return np.zeros(shape, bool)


def box(mask, start, size=5):
    mask[tuple(slice(s, s + size) for s in start)] = True
    return mask


def blobs(seed, shape=(26, 24, 20), level=1.9):
    """Irregular lesions of many sizes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.3)
    return noise > level * noise.std()


def by_the_rules(prediction, reference, spacing, options):
    """The published rules with a whole mask for each step and SciPy's components."""
    predicted, _ = ndimage.label(prediction, ALL)
    dilate = {"structure": EDGES, "iterations": options.dilation}
    grown = ndimage.binary_dilation(reference, **dilate) if options.dilation else reference
    lesions = ndimage.label(grown, ALL)[0] * reference
    true_positives, dices, distances = set(), [], []
    for number in range(1, lesions.max() + 1):
        lesion = lesions == number
        reach = ndimage.binary_dilation(lesion, **dilate) if options.dilation else lesion
        own = set(np.unique(predicted[reach])) - {0}
        true_positives |= own
        if lesion.sum() * np.prod(spacing) <= options.min_volume_mm3:
            continue
        mine = np.isin(predicted, list(own))
        dices.append(2 * (mine & lesion).sum() / (mine.sum() + lesion.sum()) if own else 0.0)
        distances.append(hd_surfel_mm(surface_distances(mine, lesion, spacing)) if own else 374.0)
    false = predicted.max() - len(true_positives)
    return sum(dices) / (len(dices) + false), (sum(distances) + 374 * false) / (len(dices) + false), false


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("dilation", "volume"), [(3, 50.0), (1, 2.0), (0, 0.0)])
def test_equals_the_rules_written_out(seed, dilation, volume):
    spacing = (1.0, 1.2, 2.5)
    shape = (52, 44, 40)
    reference = blobs(seed, shape, 3.0)
    near = np.roll(reference & blobs(seed, shape, 3.1), 1, 0)
    prediction = blobs(seed + 100, shape, 3.4) | near
    options = LesionOptions(dilation, volume)
    ours = lesion_wise(prediction, reference, grid(reference.shape, spacing), options)
    dice, hd95, false = by_the_rules(prediction, reference, spacing, options)
    assert (ours.dice, ours.hd95_mm) == (pytest.approx(dice), pytest.approx(hd95))
    assert ours.false_positives == false
    assert len(ours.lesions) > 1


def test_found_missed_and_made_up():
    reference = box(box(blank(), (2, 2, 2)), (20, 12, 12))
    prediction = box(box(blank(), (2, 2, 2)), (32, 2, 2), 1)
    found = lesion_wise(prediction, reference, grid(reference.shape))
    assert found.dice == pytest.approx(1 / 3)
    assert found.hd95_mm == pytest.approx(2 * 374 / 3)
    assert [lesion.found for lesion in found.lesions] == [True, False]
    assert (found.lesions[0].dice, found.lesions[0].hd95_mm) == (1.0, 0.0)
    assert found.false_positives == 1
    other = lesion_wise(
        prediction, reference, grid(reference.shape), LesionOptions(penalty_dice=0.3, penalty_hd95_mm=9)
    )
    assert (other.dice, other.hd95_mm) == (pytest.approx(1.6 / 3), pytest.approx(6))


def test_lesions_within_reach_are_one():
    reference = box(box(blank(), (2, 2, 2)), (11, 2, 2))
    prediction = box(blank(), (2, 2, 2))
    geometry = grid(reference.shape)
    joined = lesion_wise(prediction, reference, geometry, LesionOptions(dilation=2))
    assert [lesion.dice for lesion in joined.lesions] == [pytest.approx(2 / 3)]
    apart = lesion_wise(prediction, reference, geometry, LesionOptions(dilation=1))
    assert [lesion.dice for lesion in apart.lesions] == [1.0, 0.0]


def test_small_lesions_are_not_scored_and_predictions_on_them_not_false():
    reference = box(blank(), (2, 2, 2), 2)
    geometry = grid(reference.shape)
    at_threshold = lesion_wise(reference, reference, geometry, LesionOptions(min_volume_mm3=8))
    assert (at_threshold.dice, at_threshold.false_positives) == (None, 0)
    assert at_threshold.reason.startswith("no lesion to score")
    assert lesion_wise(reference, reference, geometry, LesionOptions(min_volume_mm3=7.9)).dice == 1.0
    fine = grid(reference.shape, (0.1, 0.1, 0.1))
    assert lesion_wise(reference, reference, fine, LesionOptions(min_volume_mm3=0.008)).dice is None


def test_empty_sides_lesion_wise():
    nothing, something = blank(), box(blank(), (2, 2, 2))
    geometry = grid(nothing.shape)
    absent = lesion_wise(nothing, nothing, geometry)
    assert (absent.dice, absent.hd95_mm, absent.reason) == (None, None, "absent in both")
    for sides in ((nothing, something), (something, nothing)):
        found = lesion_wise(*sides, geometry)
        assert (found.dice, found.hd95_mm, found.reason) == (0.0, 374.0, None)


def test_cc_dice_of_two_shifted_cubes():
    """Fixture of CC-Metrics: .5120 for each of the two components."""
    reference = box(box(blank(), (4, 4, 4)), (25, 10, 10))
    prediction = box(box(blank(), (5, 5, 5)), (26, 9, 11))
    geometry = grid(reference.shape)
    assert cc_dice(prediction, reference, geometry) == pytest.approx(0.512)
    assert cc_dice(box(blank(), (5, 5, 5)), reference, geometry) == pytest.approx(0.256)


@pytest.mark.parametrize("seed", range(5))
def test_cc_dice_equals_one_transform_per_component(seed):
    spacing = (1.0, 1.3, 2.7)
    reference, prediction = blobs(seed), blobs(seed + 50, level=1.2)
    ids, n = ndimage.label(reference, ALL)
    away = np.stack([ndimage.distance_transform_edt(ids != k, sampling=spacing) for k in range(1, n + 1)])
    nearest = np.sort(away, axis=0)
    prediction &= ~np.isclose(nearest[0], nearest[1])  # a tie may go to either
    prediction |= reference & blobs(seed, level=2.2)
    cell = away.argmin(axis=0) + 1
    dices = [
        2 * (prediction & (ids == k)).sum() / ((prediction & (cell == k)).sum() + (ids == k).sum())
        for k in range(1, n + 1)
    ]
    assert n > 2
    assert cc_dice(prediction, reference, grid(reference.shape, spacing)) == pytest.approx(np.mean(dices))


def test_cc_dice_of_empty_sides():
    nothing, something = blank(), box(blank(), (2, 2, 2))
    geometry = grid(nothing.shape)
    assert cc_dice(nothing, nothing, geometry) is None
    assert cc_dice(something, nothing, geometry) is None
    assert cc_dice(nothing, something, geometry) == 0.0
    assert cc_dice(something, something, geometry) == 1.0


def test_false_volumes_by_hand():
    reference = box(box(blank(), (2, 2, 2)), (20, 12, 12), 4)
    prediction = box(box(blank(), (6, 6, 6)), (30, 2, 2), 3)
    volumes = false_volumes_ml(prediction, reference, grid(reference.shape, (1, 2, 5)))
    assert volumes == (pytest.approx(27 * 10 / 1000), pytest.approx(64 * 10 / 1000))
    assert false_volumes_ml(blank(), blank(), grid(reference.shape)) == (0.0, 0.0)


def test_false_volumes_join_over_edges_not_over_corners():
    reference, prediction = blank(), blank()
    reference[5, 5, 5] = True
    prediction[5, 5, 5] = prediction[6, 6, 5] = prediction[4, 4, 4] = True
    assert false_volumes_ml(prediction, reference, grid(reference.shape)) == (0.001, 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_false_volumes_equal_a_loop(seed):
    reference, prediction = blobs(seed, level=2.0), blobs(seed + 9, level=2.0)
    expected = []
    for mask, other in ((prediction, reference), (reference, prediction)):
        ids, n = ndimage.label(mask, EDGES)
        expected.append(sum((ids == k).sum() for k in range(1, n + 1) if not other[ids == k].any()) / 1000)
    assert false_volumes_ml(prediction, reference, grid(reference.shape)) == pytest.approx(tuple(expected))


def test_flips_and_axis_orders_change_nothing():
    reference, prediction = blobs(3), blobs(3, level=1.5) & blobs(4, level=-1.0)
    spacing = (1.0, 1.3, 2.7)

    def numbers(axes, flip):
        sides = [np.flip(mask.transpose(axes), flip) for mask in (prediction, reference)]
        geometry = grid(sides[0].shape, [spacing[a] for a in axes])
        found = lesion_wise(*sides, geometry, LesionOptions(min_volume_mm3=5))
        return (found.dice, found.hd95_mm, *false_volumes_ml(*sides, geometry))

    expected = numbers((0, 1, 2), ())
    for axes, flip in itertools.product([(2, 0, 1), (1, 0, 2)], [0, (1, 2)]):
        assert numbers(axes, flip) == pytest.approx(expected)


def test_a_growing_error_never_helps():
    reference = box(blank(), (2, 2, 2), 12)
    geometry, previous = grid(reference.shape), (1.0, 0.0, 1.0)
    for cut in range(3, 12):
        prediction = reference.copy()
        prediction[cut:] = False
        found = lesion_wise(prediction, reference, geometry)
        now = (found.dice, found.hd95_mm, cc_dice(prediction, reference, geometry))
        if cut > 3:
            assert now[0] >= previous[0]
            assert now[1] <= previous[1]
            assert now[2] >= previous[2]
        previous = now


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dilation": -1}, "dilation is -1"),
        ({"min_volume_mm3": -1.0}, "min_volume_mm3 is -1.0"),
        ({"penalty_dice": float("nan")}, "penalty_dice is nan"),
        ({"penalty_hd95_mm": float("inf")}, "penalty_hd95_mm is inf"),
    ],
)
def test_options_outside_their_range_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        LesionOptions(**arguments)


@pytest.mark.parametrize("metric", [lesion_wise, cc_dice, false_volumes_ml])
def test_what_is_refused(metric):
    mask = blank((4, 4, 4))
    with pytest.raises(InputError, match="expected a boolean mask"):
        metric(mask.astype(np.uint8), mask, grid(mask.shape))
    with pytest.raises(GeometryMismatchError, match="the reference"):
        metric(mask, mask[:2], grid(mask.shape))
    with pytest.raises(GeometryMismatchError, match="but their grid"):
        metric(mask, mask, grid((5, 4, 4)))


@pytest.mark.parametrize("metric", [lesion_wise, false_volumes_ml])
def test_volumes_need_a_pixel_size(metric):
    mask = blank((4, 4, 1))
    with pytest.raises(GeometryMismatchError, match="pixel size of this image is unknown"):
        metric(mask, mask, grid(mask.shape, calibrated=False))
