"""All scores about the objects of a case."""

import numpy as np
import pytest

from medseg.errors import ConfigurationError, GeometryMismatchError
from medseg.evaluate.average_precision import ScoredCase, average_precision
from medseg.evaluate.detection import DEFINITIONS, DetectOptions, detect
from medseg.evaluate.direction import direction
from medseg.evaluate.lesionwise import LesionOptions, cc_dice, false_volumes_ml, lesion_wise
from medseg.evaluate.panoptic import panoptic_quality
from medseg.instances.instance import Instance, InstanceMap
from medseg.instances.match import MatchOptions, match_overlaps
from medseg.instances.overlaps import find_overlaps
from medseg.instances.regions import find_regions
from medseg.spatial import Geometry, Label, LabelTable

TABLE = LabelTable((Label(1, "node", kind="thing"), Label(2, "liver")))
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
SHAPE = (24, 20, 16)


def instance_map(ids, labels=None, scores=None, table=TABLE, affine=AFFINE, **geometry):
    grid = Geometry(affine, ids.shape, **geometry)
    instances = tuple(
        Instance(
            region.value,
            (labels or {}).get(region.value, "node"),
            region.voxel_count,
            region.volume_ml(grid),
            region.centroid_mm(grid),
            region.box,
            (scores or {}).get(region.value),
        )
        for region in find_regions(ids)
    )
    return InstanceMap(ids.astype(np.int32), grid, instances, table)


def scene(seed, shift=0, shape=SHAPE):
    """Boxes, one to a cell of 8 voxels, with ids from 10 in steps of 10."""
    random = np.random.default_rng(seed)
    ids = np.zeros(shape, np.int32)
    cells = [range(0, n - 7, 8) for n in shape]
    corners = [(i, j, k) for i in cells[0] for j in cells[1] for k in cells[2]]
    for number, corner in enumerate(corners, 1):
        size = random.integers(3, 7, 3)
        if random.random() < 0.8:
            window = tuple(slice(c + shift, c + shift + s) for c, s in zip(corner, size, strict=True))
            ids[window] = number * 10
    return ids


def by_name(scores, label="node"):
    return {score.metric: score for score in scores if score.label == label}


def values(scores, label="node"):
    return {name: score.value for name, score in by_name(scores, label).items()}


def test_every_metric_is_defined_and_comes_in_order():
    ids = scene(0)
    scores = detect(instance_map(ids), instance_map(ids))
    assert [score.metric for score in scores] == list(DEFINITIONS)
    assert {direction(name) for name in ("lesion_hd95_mm", "false_positive_volume_ml")} == {"lower"}
    assert direction("count_error") == "zero"


def test_perfect_prediction():
    ids = scene(0)
    scored = {int(n): 0.5 for n in np.unique(ids) if n}
    found = values(detect(instance_map(ids, scores=scored), instance_map(ids)))
    best = {name: 0.0 if name.endswith(("_mm", "_ml", "error")) else 1.0 for name in DEFINITIONS}
    assert found == best


@pytest.mark.parametrize("seed", range(3))
def test_each_value_is_that_of_its_own_function(seed):
    prediction, reference = scene(seed, shift=1), scene(seed + 40)
    prediction[:, :3] = 0
    scored = {int(n): int(n) / 1000 for n in np.unique(prediction) if n}
    sides = instance_map(prediction, scores=scored), instance_map(reference)
    options = DetectOptions(MatchOptions("overlap"), LesionOptions(1, 20))
    found = values(detect(*sides, options))
    overlaps, geometry = find_overlaps(prediction, reference), sides[1].geometry
    quality = panoptic_quality(match_overlaps(overlaps))
    masks = prediction > 0, reference > 0, geometry
    lesions = lesion_wise(*masks, options.lesions)
    precision = average_precision([ScoredCase(overlaps, scored)])
    touching = match_overlaps(overlaps, MatchOptions("overlap"))
    p = touching.matched_predictions / touching.n_prediction
    r = touching.matched_references / touching.n_reference
    expected = {
        "pq": quality.pq, "sq": quality.sq, "rq": quality.rq,
        "instance_precision": p, "instance_recall": r, "instance_f1": 2 * p * r / (p + r),
        "count_error": touching.n_prediction - touching.n_reference,
        "ap_50": precision[0], "ap_50_95": np.mean(precision),
        "lesion_dice": lesions.dice, "lesion_hd95_mm": lesions.hd95_mm, "cc_dice": cc_dice(*masks),
    }  # fmt: skip
    volumes = false_volumes_ml(*masks)
    expected |= dict(zip(("false_positive_volume_ml", "false_negative_volume_ml"), volumes, strict=True))
    assert found == pytest.approx(expected)


def test_empty_cases():
    nothing, something = instance_map(np.zeros(SHAPE, np.int32)), instance_map(scene(0))
    zeros = {"count_error", "false_positive_volume_ml", "false_negative_volume_ml"}
    absent = by_name(detect(nothing, nothing))
    assert {name for name, score in absent.items() if score.value == 0} == zeros
    assert {score.reason for score in absent.values() if score.value is None} == {"absent in both"}

    missed = by_name(detect(nothing, something))
    worst = ["pq", "rq", "instance_recall", "instance_f1", "ap_50", "ap_50_95", "lesion_dice", "cc_dice"]
    assert [missed[name].value for name in worst] == [0] * 8
    assert missed["lesion_hd95_mm"].value == 374
    assert missed["count_error"].value == -len(something.instances)
    volume = sum(instance.volume_ml for instance in something.instances)
    assert missed["false_negative_volume_ml"].value == pytest.approx(volume)
    assert all(missed[name].reason.startswith("missed") for name in ("sq", "instance_precision"))

    extra = by_name(detect(something, nothing))
    assert [extra[name].value for name in ("pq", "rq", "instance_precision", "instance_f1")] == [0] * 4
    assert (extra["lesion_dice"].value, extra["lesion_hd95_mm"].value) == (0, 374)
    assert extra["false_positive_volume_ml"].value == pytest.approx(volume)
    assert extra["instance_recall"].reason == "the reference has no instance to find"
    assert all(extra[name].reason.startswith("false positive") for name in ("sq", "ap_50", "cc_dice"))


def test_no_pair_is_a_miss():
    prediction, reference = np.zeros((2, *SHAPE), np.int32)
    prediction[:4, :4, :4], reference[3:9, :4, :4] = 1, 1
    found = by_name(detect(instance_map(prediction), instance_map(reference)))
    assert (found["pq"].value, found["instance_f1"].value) == (0, 0)
    assert found["sq"].reason == "missed: no pair of instances has an IoU above 0.5"
    assert found["ap_50"].reason == "the predicted instances have no scores"


def test_labels_apart_and_stuff_only_where_it_has_instances():
    ids = np.zeros(SHAPE, np.int32)
    ids[:5, :5, :5], ids[10:15, 10:15, 10:15] = 1, 2
    both = instance_map(ids, {2: "liver"})
    assert {score.label for score in detect(both, both)} == {"node", "liver"}
    nodes = instance_map(ids)
    assert {score.label for score in detect(nodes, nodes)} == {"node"}
    mixed = detect(nodes, both)
    assert values(mixed)["count_error"] == 1
    assert values(mixed)["false_positive_volume_ml"] == pytest.approx(125 * 3 / 1000)
    assert values(mixed, "liver")["lesion_dice"] == 0
    assert values(mixed, "liver")["pq"] == 0


def test_without_lesion_metrics():
    ids = scene(1)
    names = [
        s.metric for s in detect(instance_map(ids), instance_map(ids), DetectOptions(lesion_metrics=False))
    ]
    assert names == list(DEFINITIONS)[: list(DEFINITIONS).index("lesion_dice")]


def test_without_a_pixel_size_and_in_one_slice():
    ids = scene(2)
    sides = [instance_map(ids, calibrated=False)] * 2
    found = by_name(detect(*sides))
    for name in ("lesion_dice", "lesion_hd95_mm", "false_positive_volume_ml"):
        assert found[name].reason == "the pixel size of this image is unknown"
    assert (found["pq"].value, found["cc_dice"].value) == (1, 1)
    near = DetectOptions(MatchOptions("distance", max_distance_mm=3))
    with pytest.raises(ConfigurationError, match="pixel size"):
        detect(*sides, near)
    flat = np.ascontiguousarray(ids[:, :, 2:3])
    flat_scores = by_name(detect(instance_map(flat), instance_map(np.roll(flat, 1, 0))))
    assert flat_scores["lesion_dice"].reason == "the image is a single slice, which has no volume"
    assert 0 < flat_scores["cc_dice"].value < 1
    nothing = instance_map(flat * 0)
    absent = by_name(detect(nothing, nothing))
    assert absent["false_negative_volume_ml"].reason == "the image is a single slice, which has no volume"


def test_distance_rule_counts_what_overlap_does_not():
    prediction, reference = np.zeros((2, *SHAPE), np.int32)
    prediction[2, 2, 2], reference[3, 2, 2] = 7, 8
    sides = instance_map(prediction), instance_map(reference)
    assert values(detect(*sides))["instance_f1"] == 0
    near = DetectOptions(MatchOptions("distance", max_distance_mm=1.0))
    assert values(detect(*sides, near))["instance_f1"] == 1
    assert values(detect(*sides, near))["pq"] == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_with_its_affine_and_new_ids_change_nothing(axis):
    prediction, reference = scene(3, shift=1), scene(3)
    scored = {int(n): int(n) / 1000 for n in np.unique(prediction) if n}
    before = values(detect(instance_map(prediction, scores=scored), instance_map(reference)))
    flipped = AFFINE.copy()
    flipped[:, 3] += flipped[:, axis] * (SHAPE[axis] - 1)
    flipped[:, axis] *= -1
    renamed = np.where(prediction > 0, 2**31 - 1 - prediction, 0)
    scored = {2**31 - 1 - number: score for number, score in scored.items()}
    after = detect(
        instance_map(np.flip(renamed, axis), scores=scored, affine=flipped),
        instance_map(np.flip(reference, axis), affine=flipped),
    )
    exact = {name: value for name, value in before.items() if name != "cc_dice"}  # ties go to either side
    assert {name: value for name, value in values(after).items() if name != "cc_dice"} == pytest.approx(exact)
    assert values(after)["cc_dice"] == pytest.approx(before["cc_dice"], abs=0.02)


def test_swapped_sides():
    prediction, reference = instance_map(scene(4, 1)), instance_map(scene(5))
    one, other = values(detect(prediction, reference)), values(detect(reference, prediction))
    assert one["pq"] == pytest.approx(other["pq"])
    assert one["instance_precision"] == other["instance_recall"]
    assert one["count_error"] == -other["count_error"]
    assert one["false_positive_volume_ml"] == other["false_negative_volume_ml"]


def test_more_ids_than_sixteen_bits_hold():
    ids = np.arange(1, 80_001, dtype=np.int32).reshape(100, 80, 10)
    grid = Geometry(np.eye(4), ids.shape)
    instances = tuple(
        Instance(n, "node", 1, 0.001, (i, j, k), ((i, i + 1), (j, j + 1), (k, k + 1)))
        for n, (i, j, k) in enumerate(np.ndindex(ids.shape), 1)
    )
    whole = InstanceMap(ids, grid, instances, TABLE)
    found = values(detect(whole, whole, DetectOptions(lesion_metrics=False)))
    assert (found["pq"], found["instance_f1"], found["count_error"]) == (1, 1, 0)


def test_other_grids_are_refused():
    ids = scene(0)
    with pytest.raises(GeometryMismatchError, match="resample one"):
        detect(instance_map(ids), instance_map(ids, affine=np.eye(4)))
