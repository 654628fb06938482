"""Panoptic quality: published fixtures, and sums by hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from medseg.evaluate.panoptic import PanopticQuality, mean_over_labels, panoptic_quality, pooled
from medseg.instances.match import MatchOptions, match_overlaps
from medseg.instances.overlaps import find_overlaps


def quality(prediction, reference, options=None):
    return panoptic_quality(match_overlaps(find_overlaps(prediction, reference), options))


def boxes(*ranges):
    """A 50 × 50 map of boxes ten columns wide, numbered from 1."""
    array = np.zeros((50, 50, 1), np.int32)
    for number, (start, stop) in enumerate(ranges, 1):
        array[start:stop, 10:20] = number
    return array


def test_one_object_cut_short():
    """Fixture of panoptica's tests."""
    found = quality(boxes((20, 35)), boxes((20, 40)))
    assert (found.true_positives, found.false_positives, found.false_negatives) == (1, 0, 0)
    assert (found.pq, found.sq, found.rq) == (0.75, 0.75, 1.0)


def test_reference_in_two_parts():
    """Fixture of panoptica's tests."""
    found = quality(boxes((20, 35)), boxes((20, 30), (36, 40)))
    assert found.false_negatives == 1
    assert (found.sq, found.pq) == (pytest.approx(0.6667, abs=5e-5), pytest.approx(0.4444, abs=5e-5))


def test_two_objects_three_predictions():
    """Fixture computed with stardist: PQ 0.3272727, mean matched score 0.8182."""
    reference = np.repeat([1, 0, 0, 2, 0, 0, 0], [10, 1, 0, 4, 1, 1, 3]).reshape(-1, 1, 1)
    prediction = np.repeat([0, 1, 0, 5, 0, 6, 0], [1, 10, 4, 1, 1, 2, 1]).reshape(-1, 1, 1)
    found = quality(prediction, reference)
    assert (found.true_positives, found.false_positives, found.false_negatives) == (1, 2, 1)
    assert (found.pq, found.sq) == (pytest.approx(0.3272727, abs=5e-8), pytest.approx(9 / 11))


def test_half_is_no_match_unless_asked_for():
    """An IoU of exactly 0.5 is a pair for stardist and panoptica, none for Kirillov and MONAI."""
    prediction, reference = boxes((20, 30)), boxes((20, 40))
    assert quality(prediction, reference).pq == 0
    assert quality(prediction, reference, MatchOptions(inclusive=True)).pq == 0.5


def test_nothing_and_half_of_nothing():
    nothing, something = boxes(), boxes((1, 5))
    absent = quality(nothing, nothing)
    assert (absent.pq, absent.sq, absent.rq) == (None, None, None)
    for sides in ((nothing, something), (something, nothing)):
        found = quality(*sides)
        assert (found.pq, found.sq, found.rq) == (0, None, 0)


def test_cases_pooled_and_labels_averaged():
    parts = [PanopticQuality(0.8, 1, 0, 1), PanopticQuality(1.6, 2, 3, 0), PanopticQuality(0, 0, 0, 0)]
    together = pooled(parts)
    assert together.iou_sum == pytest.approx(2.4)
    assert together.pq == pytest.approx(2.4 / (3 + 2))
    assert mean_over_labels(parts) == pytest.approx(
        ((0.8 / 1.5 + 1.6 / 3.5) / 2, 0.8, (1 / 1.5 + 2 / 3.5) / 2)
    )
    assert mean_over_labels([PanopticQuality(0, 0, 1, 0), parts[0]])[1] == pytest.approx(0.4)
    assert mean_over_labels([PanopticQuality(0, 0, 0, 0)]) is None
    assert pooled([]).pq is None


def test_equals_a_loop_over_masks():
    random = np.random.default_rng(2)
    reference = np.kron(random.integers(0, 9, (4, 4, 4)) * 7, np.ones((4, 4, 4), int))
    prediction = np.where(random.random(reference.shape) < 0.2, 0, np.roll(reference, 1, 0))
    pairs = [
        np.sum((prediction == p) & (reference == r)) / np.sum((prediction == p) | (reference == r))
        for p in np.unique(prediction)[1:]
        for r in np.unique(reference)[1:]
    ]
    hits = [iou for iou in pairs if iou > 0.5]
    half = (len(np.unique(prediction)) + len(np.unique(reference)) - 2) / 2
    assert quality(prediction, reference).pq == pytest.approx(sum(hits) / half)
    assert len(hits) > 2


def real_pair():
    nibabel = pytest.importorskip("nibabel")
    default = Path(__file__).resolve().parents[2] / "../shared/data"
    folder = Path(os.environ.get("MEDSEG_DATA", default)) / "panoptic_pair"
    if not folder.is_dir():
        pytest.skip("panoptic_pair of the real data is not there; set MEDSEG_DATA")
    return tuple(
        np.asarray(nibabel.load(folder / name).dataobj).astype(np.int32)
        for name in ("pred.nii.gz", "ref.nii.gz")
    )


def test_real_pair_equals_panoptica():
    panoptica = pytest.importorskip("panoptica", reason="panoptica is not installed")
    from panoptica.metrics import Metric

    prediction, reference = real_pair()
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.UNMATCHED_INSTANCE,
        instance_matcher=panoptica.NaiveThresholdMatching(matching_threshold=0.5),
        instance_metrics=[Metric.IOU],
        global_metrics=[],
    )
    theirs = evaluator.evaluate(prediction.astype(np.uint16), reference.astype(np.uint16), verbose=False)
    theirs = theirs["ungrouped"] if isinstance(theirs, dict) else theirs
    ours = quality(prediction, reference)
    assert (ours.true_positives, ours.false_positives, ours.false_negatives) == (
        theirs.tp,
        theirs.fp,
        theirs.fn,
    )
    assert (ours.pq, ours.sq, ours.rq) == pytest.approx((theirs.pq, theirs.sq, theirs.rq), rel=1e-12)


def test_real_pair_is_a_hard_one():
    prediction, reference = real_pair()
    found = quality(prediction, reference)
    assert found.true_positives + found.false_negatives == len(np.unique(reference)) - 1
    assert found.true_positives + found.false_positives == len(np.unique(prediction)) - 1
    assert 0.5 < found.sq <= 1
    assert found.pq == pytest.approx(found.sq * found.rq)
