"""Objects of all cases together."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluate.detection import detect_case
from medseg.evaluate.evaluation import CaseScores
from medseg.evaluate.pooled import NO_SCORES, pool_detections, without_precision
from medseg.instances.ids import instances_of
from medseg.report.evaluation_tables import objects_grid
from medseg.spatial import Geometry

GRID = Geometry(np.eye(4), (20, 4, 4))


def side(*objects, scores=None, label="node"):
    """Objects (id, start): 3 voxels long."""
    ids = np.zeros(GRID.shape, np.int32)
    for number, start in objects:
        ids[start : start + 3, 1:3, 1:3] = number
    return instances_of(ids, GRID, {number: label for number, _ in objects}, scores)


def test_counts_and_sums_are_added_before_they_are_divided():
    cases = [
        detect_case(side((1, 0)), side((1, 0), (2, 8))),
        detect_case(side((1, 0), (2, 8)), side((1, 0), (2, 8))),
    ]
    (found,) = pool_detections(cases)
    assert (found.label, found.quality.true_positives, found.quality.false_negatives) == ("node", 3, 1)
    assert found.quality.pq == pytest.approx(3 / 3.5)
    assert found.reason == NO_SCORES and found.ap_50_95 is None and found.froc is None


def test_a_scan_without_the_label_counts_in_false_positives_a_scan():
    one = detect_case(side((1, 0), (2, 8), scores={1: 0.9, 2: 0.5}), side((1, 0)))
    (alone,) = pool_detections([one])
    (with_empty,) = pool_detections([one, detect_case(side(), side())])
    assert alone.froc.false_positives_per_scan.max() == 1
    assert with_empty.froc.false_positives_per_scan.max() == 0.5
    assert alone.average_precision[0.5] == with_empty.average_precision[0.5] == 1.0
    assert alone.ap_50_95 == pytest.approx(1.0)


def test_nothing_predicted_and_nothing_to_find():
    (missed,) = pool_detections([detect_case(side(), side((1, 0)))])
    assert missed.reason == "no instance was predicted" and missed.quality.pq == 0
    (invented,) = pool_detections([detect_case(side((1, 0), scores={1: 0.5}), side())])
    assert invented.average_precision == {} and invented.reason == "no scan has a reference instance"
    assert pool_detections([]) == ()


def test_ap_of_unscored_predictions_enters_no_mean():
    cases = [detect_case(side((1, 0)), side((1, 0))), detect_case(side(), side((1, 0)))]
    missed = CaseScores("b", cases[1].scores)
    assert {s.value for s in missed.scores if s.metric == "ap_50"} == {0.0}
    settled = without_precision(missed, pool_detections(cases))
    assert {(s.value, s.reason) for s in settled.scores if s.metric.startswith("ap_")} == {(None, NO_SCORES)}
    kept = [s for s in settled.scores if not s.metric.startswith("ap_")]
    assert kept == [s for s in missed.scores if not s.metric.startswith("ap_")]


def test_single_instances_have_their_best_iou():
    found = detect_case(side((5, 1)), side((7, 0), (9, 10)))
    single = {s.instance: s.value for s in found.scores if s.metric == "instance_iou"}
    # 2 of 4 voxels along the axis are shared: an IoU of 0.5 is not above 0.5.
    assert single == {7: 0.0, 9: 0.0}
    assert {s.instance: s.value for s in detect_case(side((5, 0)), side((7, 0))).scores if s.instance} == {
        7: 1.0
    }


def test_table_of_objects_says_why_there_is_no_ap():
    (row,) = objects_grid(pool_detections([detect_case(side((1, 0)), side((1, 0)))])).rows
    assert [cell.text for cell in row.cells[:6]] == ["1", "0", "0", "1.000", "1.000", "1.000"]
    assert row.cells[6].hint == NO_SCORES
