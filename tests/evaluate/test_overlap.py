import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import GeometryMismatchError, InputError, LabelTableError
from medseg.evaluate import overlap
from medseg.evaluate.overlap import OverlapCounts, label_overlap, mask_overlap
from medseg.spatial import Geometry, Label, LabelTable, Segmentation


def segmentation(labels, names=None, spacing=(1.0, 1.0, 1.0)):
    geometry = Geometry(np.diag([*spacing, 1.0]), labels.shape)
    indices = names or {f"label_{i}": int(i) for i in np.unique(labels) if i}
    return Segmentation(
        labels, geometry, LabelTable(tuple(Label(index, name) for name, index in indices.items()))
    )


def test_metrics_from_hand():
    counts = OverlapCounts(prediction=6, reference=4, both=3, image=20)
    assert overlap.dice(counts) == pytest.approx(6 / 10)
    assert overlap.iou(counts) == pytest.approx(3 / 7)
    assert overlap.sensitivity(counts) == pytest.approx(3 / 4)
    assert overlap.precision(counts) == pytest.approx(3 / 6)
    assert overlap.specificity(counts) == pytest.approx(13 / 16)
    assert overlap.volume_error_ml(counts, 500.0) == pytest.approx(1.0)
    assert overlap.volume_error_percent(counts) == pytest.approx(50)


def test_squares_of_panoptica():
    prediction, reference = np.zeros((50, 50), dtype=bool), np.zeros((50, 50), dtype=bool)
    reference[20:40, 10:20] = True
    prediction[20:35, 10:20] = True
    counts = mask_overlap(prediction, reference)
    assert overlap.iou(counts) == 0.75
    assert overlap.dice(counts) == pytest.approx(0.857142857)
    assert overlap.volume_error_percent(counts) == -25


def test_cubes_of_surface_distance():
    prediction, reference = np.zeros((100, 100, 100), dtype=bool), np.zeros((100, 100, 100), dtype=bool)
    reference[:50] = True
    prediction[:51] = True
    assert overlap.dice(mask_overlap(prediction, reference)) == pytest.approx(0.990, abs=0.001)


def test_shares_of_nothing_are_none():
    nothing = OverlapCounts(0, 0, 0, 8)
    for metric in (overlap.dice, overlap.iou, overlap.sensitivity, overlap.precision):
        assert metric(nothing) is None
    assert overlap.volume_error_percent(nothing) is None
    assert overlap.specificity(nothing) == 1
    assert overlap.specificity(OverlapCounts(8, 8, 8, 8)) is None
    missed, invented = OverlapCounts(0, 4, 0, 8), OverlapCounts(4, 0, 0, 8)
    assert overlap.dice(missed) == overlap.dice(invented) == overlap.iou(missed) == 0
    assert overlap.sensitivity(missed) == overlap.precision(invented) == 0
    assert overlap.precision(missed) is None
    assert overlap.sensitivity(invented) is None
    assert overlap.specificity(invented) == 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_one_pass_equals_mask_by_mask(seed):
    random = np.random.default_rng(seed)
    indices = np.sort(random.choice(np.arange(1, 60), 5, replace=False))
    choice = np.concatenate([[0], indices]).astype(np.uint8)
    pair = [random.choice(choice, (6, 5, 4)) for _ in range(2)]
    names = {f"n{i}": int(i) for i in indices}
    counts = label_overlap(*(segmentation(labels, names) for labels in pair))
    assert list(counts) == list(names)
    for name, index in names.items():
        assert counts[name] == mask_overlap(pair[0] == index, pair[1] == index)


def test_voxels_are_counted_over_all_slabs_and_in_either_memory_order(monkeypatch):
    monkeypatch.setattr("medseg.evaluate.masks._SLAB_VOXELS", 30)
    random = np.random.default_rng(0)
    pair = [random.integers(0, 4, (9, 6, 5)).astype(np.uint16) for _ in range(2)]
    names = {"a": 1, "b": 2, "c": 3}
    expected = {name: mask_overlap(pair[0] == i, pair[1] == i) for name, i in names.items()}
    for order in "CF":
        for other in "CF":
            turned = (
                segmentation(np.array(pair[0], order=order), names),
                segmentation(np.array(pair[1], order=other), names),
            )
            assert label_overlap(*turned) == expected


@pytest.mark.parametrize("highest", [60_000, 4_000_000_000])
def test_labels_are_matched_by_name_with_gaps_and_huge_indices(highest):
    reference = np.zeros((4, 4, 4), dtype=np.uint32)
    prediction = reference.copy()
    reference[0], reference[1] = 7, highest
    prediction[0, :2], prediction[1:3] = highest, 12
    counts = label_overlap(
        segmentation(prediction, {"liver": highest, "spleen": 12}),
        segmentation(reference, {"liver": 7, "spleen": highest}),
    )
    assert counts == {"liver": OverlapCounts(8, 16, 8, 64), "spleen": OverlapCounts(32, 16, 16, 64)}


def test_a_label_unknown_to_the_prediction_is_missed_and_one_unknown_to_the_reference_left_out():
    reference, prediction = np.zeros((3, 3, 1), np.uint8), np.zeros((3, 3, 1), np.uint8)
    reference[0], prediction[1] = 2, 5
    counts = label_overlap(segmentation(prediction), segmentation(reference))
    assert counts == {"label_2": OverlapCounts(0, 3, 0, 9)}


def test_an_empty_table_gives_nothing():
    empty = segmentation(np.zeros((2, 2, 2), np.uint8))
    assert label_overlap(empty, empty) == {}


def test_other_grid_is_refused():
    labels = np.ones((3, 3, 3), np.uint8)
    with pytest.raises(GeometryMismatchError, match="resample the prediction"):
        label_overlap(segmentation(labels), segmentation(labels, spacing=(1, 1, 2)))


def test_contradicting_tables_are_refused():
    labels = np.ones((3, 3, 3), np.uint8)
    with pytest.raises(LabelTableError, match=r"index 1 is 'liver' .* 'spleen' in the prediction"):
        label_overlap(segmentation(labels, {"spleen": 1}), segmentation(labels, {"liver": 1}))


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="uint8"):
        mask_overlap(np.zeros((2, 2), np.uint8), np.zeros((2, 2), bool))
    with pytest.raises(GeometryMismatchError, match="shape"):
        mask_overlap(np.zeros((2, 2), bool), np.zeros((2, 3), bool))


@pytest.mark.parametrize("counts", [(1, 1, 2, 9), (1, 1, -1, 9), (5, 5, 0, 9)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(InputError, match="do not fit"):
        OverlapCounts(*counts)
