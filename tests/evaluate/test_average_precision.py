"""Average precision against pycocotools, and by hand."""

import numpy as np
import pytest

from medseg.errors import ConfigurationError, InputError
from medseg.evaluate.average_precision import COCO_THRESHOLDS, ScoredCase, average_precision
from medseg.instances.overlaps import find_overlaps


def row(*values):
    return np.array(values, np.int32).reshape(-1, 1, 1)


def case(prediction, reference, scores):
    return ScoredCase(find_overlaps(prediction, reference), scores)


def test_all_found_and_nothing_else_is_one():
    ids = row(1, 1, 0, 5, 5)
    assert average_precision([case(ids, ids, {1: 0.9, 5: 0.2})]) == (1.0,) * 10


def test_one_of_two_found_reaches_half_of_the_recall_levels():
    found = average_precision([case(row(1, 1, 0, 0), row(1, 1, 2, 2), {1: 0.9})], [0.5])
    assert found == (51 / 101,)


def test_a_false_positive_above_halves_the_precision():
    sides = row(1, 1, 0, 2), row(1, 1, 0, 0)
    assert average_precision([case(*sides, {1: 0.3, 2: 0.9})], [0.5]) == (0.5,)
    assert average_precision([case(*sides, {1: 0.9, 2: 0.3})], [0.5]) == (1.0,)


def test_the_higher_score_takes_the_object():
    """With thresholds below 0.5 two predictions want one object; the second is a false positive."""
    sides = row(1, 1, 1, 2, 2, 0), row(7, 7, 7, 7, 7, 7)
    assert average_precision([case(*sides, {1: 0.9, 2: 0.8})], [0.3]) == (1.0,)
    assert average_precision([case(*sides, {1: 0.1, 2: 0.8})], [0.3]) == (1.0,)
    assert average_precision([case(*sides, {1: 0.9, 2: 0.8})], [0.5]) == (1.0,)
    assert average_precision([case(*sides, {1: 0.1, 2: 0.8})], [0.5]) == (0.5,)


def test_next_best_object_is_taken_where_the_best_is_gone():
    sides = row(1, 1, 1, 2, 2, 2), row(5, 5, 5, 5, 6, 6)
    assert average_precision([case(*sides, {1: 0.9, 2: 0.8})], [0.1]) == (1.0,)
    lesser = row(1, 2, 2, 2, 2, 3), row(5, 5, 5, 5, 6, 6)
    assert average_precision([case(*lesser, {1: 0.1, 2: 0.9, 3: 0.5})], [0.1]) == (1.0,)


def test_threshold_counts_itself_and_empty_sides():
    half = case(row(1, 1), row(1, 0), {1: 0.5})
    assert average_precision([half], [0.5, 0.51]) == (1.0, 0.0)
    nothing, something = row(0, 0), row(1, 1)
    assert average_precision([case(nothing, something, {})], [0.5]) == (0.0,)
    assert average_precision([case(something, nothing, {1: 1.0})], [0.5, 0.7]) == (None, None)
    assert average_precision([], [0.5]) == (None,)


def test_what_is_refused():
    ids = row(3)
    with pytest.raises(InputError, match="instance 3 has the score None"):
        case(ids, ids, {})
    with pytest.raises(InputError, match="the score nan"):
        case(ids, ids, {3: float("nan")})
    for threshold in (0.0, 1.1, float("nan")):
        with pytest.raises(ConfigurationError, match="expected above 0 up to 1"):
            average_precision([case(ids, ids, {3: 0.5})], [threshold])


def scenes(seed):
    """Cases of boxes that predictions hit more or less well."""
    random = np.random.default_rng(seed)
    cases = []
    for _ in range(4):
        reference, prediction = np.zeros((2, 90, 90, 1), np.int32)
        for number in range(1, 26):
            i, j = divmod(number - 1, 5)
            h, w = random.integers(6, 15, 2)
            reference[i * 18 : i * 18 + h, j * 18 : j * 18 + w] = number * (random.random() < 0.8)
            di, dj, dh, dw = random.integers(0, 3, 4)
            target = prediction[i * 18 + di : i * 18 + h - dh, j * 18 + dj : j * 18 + w - dw]
            target[...] = (number + 100) * (random.random() < 0.85)
        scores = {int(n): float(random.integers(1, 40)) / 40 for n in np.unique(prediction) if n}
        cases.append((prediction, reference, scores))
    return cases


def coco_precision(cases):
    """What pycocotools gives on the same masks: AP at each of its ten thresholds."""
    from pycocotools import mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def encode(array):
        return mask.encode(np.asfortranarray(array[..., 0].astype(np.uint8)))

    images, references, predictions = [], [], []
    for image, (prediction, reference, scores) in enumerate(cases, 1):
        images.append({"id": image, "height": 90, "width": 90})
        for number in np.unique(reference)[1:]:
            area = int((reference == number).sum())
            references.append(
                {"id": len(references) + 1, "image_id": image, "category_id": 1, "iscrowd": 0, "area": area}
                | {"segmentation": encode(reference == number)}
            )
        for number in np.unique(prediction)[1:]:
            predictions.append(
                {"image_id": image, "category_id": 1, "score": scores[int(number)]}
                | {"segmentation": encode(prediction == number)}
            )
    truth = COCO()
    truth.dataset = {"images": images, "annotations": references, "categories": [{"id": 1}], "info": {}}
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(predictions), "segm")
    evaluation.params.maxDets = [1000]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"][:, :, 0, 0, 0].mean(axis=1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_pycocotools(seed, capsys):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    cases = scenes(seed)
    theirs = coco_precision(cases)
    capsys.readouterr()
    ours = average_precision([case(*scene) for scene in cases], COCO_THRESHOLDS)
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert len({round(value, 6) for value in ours}) > 5


def test_new_ids_change_nothing_where_scores_differ():
    prediction, reference, _ = scenes(5)[0]
    random = np.random.default_rng(1)
    scores = {int(n): float(random.random()) for n in np.unique(prediction) if n}
    renamed = np.where(prediction > 0, 2_000_000_000 - prediction, 0)
    other = {2_000_000_000 - n: score for n, score in scores.items()}
    assert average_precision([case(prediction, reference, scores)]) == average_precision(
        [case(renamed, np.flip(np.flip(reference, 0), 0), other)]
    )
