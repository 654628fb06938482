import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import ConfigurationError, GeometryMismatchError, InputError, LabelTableError
from medseg.evaluate import overlap, surface
from medseg.evaluate.aggregate import aggregate
from medseg.evaluate.boundary import boundary_iou
from medseg.evaluate.compare import CompareOptions, compare, compare_case, diagonal_mm
from medseg.evaluate.definitions import DEFINITIONS, EMPTY_CASES, definition_of, definitions_of
from medseg.evaluate.evaluation import VolumePair
from medseg.evaluate.overlap import mask_overlap
from medseg.evaluate.skeleton import centreline_dice
from medseg.evaluate.surface import surface_distances
from medseg.io.read import read_segmentation
from medseg.phantoms import ball, oblique_geometry
from medseg.spatial import Geometry, Label, LabelTable, Segmentation

DATA = Path(os.environ.get("MEDSEG_DATA", Path(__file__).parents[3] / "shared" / "data"))
OPTIONS = CompareOptions(tolerances_mm=(1, 2.5), boundary_mm=2, tubular=frozenset({"a"}))
NAMES = [
    "dice", "iou", "sensitivity", "precision", "specificity", "volume_error_ml", "volume_error_percent",
    "hausdorff_mm", "hd95_max_mm", "hd95_pooled_mm", "hd95_surfel_mm", "assd_mm", "masd_mm",
    "asd_prediction_to_reference_mm", "asd_reference_to_prediction_mm", "nsd_1mm", "nsd_2.5mm",
    "nsd_surfel_1mm", "nsd_surfel_2.5mm", "boundary_iou_2mm",
]  # fmt: skip
DISTANCES = [name for name in NAMES if name.endswith("_mm")]
SHARES = ["dice", "iou", "nsd_1mm", "nsd_2.5mm", "nsd_surfel_1mm", "nsd_surfel_2.5mm", "boundary_iou_2mm"]


def table(**names):
    return LabelTable(tuple(Label(index, name) for name, index in names.items()))


def segmentation(labels, geometry=None, names=None):
    geometry = geometry or Geometry(np.diag([0.8, 1.1, 2.0, 1.0]), labels.shape)
    return Segmentation(labels, geometry, table(a=1, b=2) if names is None else names)


def scene(seed=0, shape=(24, 22, 18), dtype=np.uint8):
    geometry = oblique_geometry(shape, (0.8, 1.1, 2.0), (10, -20, 5), "LPS")
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, dtype)
    for index, at in ((1, 0.35), (2, 0.65)):
        centre = geometry.to_world(np.array(shape) * at + random.uniform(-1, 1, 3))
        labels[ball(geometry, centre, random.uniform(5, 7))] = index
    return segmentation(labels, geometry)


def by_name(scores):
    return {(score.label, score.metric): score for score in scores}


def values(scores):
    return {key: score.value for key, score in by_name(scores).items()}


def test_every_label_and_metric_equals_the_functions_on_masks():
    prediction, reference = scene(1), scene(2)
    found = values(compare(prediction, reference, OPTIONS))
    assert list(found) == [("a", name) for name in [*NAMES, "cldice"]] + [("b", name) for name in NAMES]
    spacing = reference.geometry.spacing_mm
    for index, name in ((1, "a"), (2, "b")):
        masks = prediction.labels == index, reference.labels == index
        counts, distances = mask_overlap(*masks), surface_distances(*masks, spacing)
        expected = {
            "dice": overlap.dice(counts),
            "iou": overlap.iou(counts),
            "sensitivity": overlap.sensitivity(counts),
            "precision": overlap.precision(counts),
            "specificity": overlap.specificity(counts),
            "volume_error_ml": overlap.volume_error_ml(counts, 0.8 * 1.1 * 2),
            "volume_error_percent": overlap.volume_error_percent(counts),
            "hausdorff_mm": surface.hausdorff_mm(distances),
            "hd95_max_mm": surface.hd_max_mm(distances),
            "hd95_pooled_mm": surface.hd_pooled_mm(distances),
            "hd95_surfel_mm": surface.hd_surfel_mm(distances),
            "assd_mm": surface.assd_mm(distances),
            "masd_mm": surface.masd_mm(distances),
            "asd_prediction_to_reference_mm": surface.asd_prediction_to_reference_mm(distances),
            "asd_reference_to_prediction_mm": surface.asd_reference_to_prediction_mm(distances),
            "nsd_1mm": surface.nsd(distances, 1),
            "nsd_2.5mm": surface.nsd(distances, 2.5),
            "nsd_surfel_1mm": surface.nsd_surfel(distances, 1),
            "nsd_surfel_2.5mm": surface.nsd_surfel(distances, 2.5),
            "boundary_iou_2mm": boundary_iou(*masks, spacing, 2),
        }
        assert {metric: found[name, metric] for metric in NAMES} == pytest.approx(expected)
    assert found["a", "cldice"] == centreline_dice(prediction.labels == 1, reference.labels == 1)


def test_a_perfect_prediction():
    for (_, metric), value in values(compare(scene(3), scene(3), OPTIONS)).items():
        assert value == (0 if "_mm" in metric or "error" in metric else 1), metric


def test_flips_permutations_memory_order_type_and_threads_change_nothing():
    prediction, reference = scene(1), scene(2)
    options = replace(OPTIONS, tubular=frozenset())
    expected = pytest.approx(values(compare(prediction, reference, options)))

    def turned(segmentation, order, flip, memory, dtype):
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for new, old in enumerate(order):
            matrix[old, new] = 1
        affine = segmentation.geometry.affine @ matrix
        labels = segmentation.labels.transpose(order)
        if flip:
            affine = affine @ np.array(
                [[-1, 0, 0, labels.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]
            )
            labels = labels[::-1]
        labels = np.array(labels, dtype=dtype, order=memory)
        return Segmentation(labels, Geometry(affine, labels.shape), segmentation.table)

    for how in (
        ((0, 1, 2), True, "C", np.uint16),
        ((2, 0, 1), False, "F", np.uint8),
        ((1, 0, 2), True, "F", np.uint32),
    ):
        pair = turned(prediction, *how), turned(reference, *how)
        assert values(compare(*pair, replace(options, threads=3))) == expected


def test_labels_are_matched_by_name_whatever_their_index():
    prediction, reference = scene(1), scene(2)
    expected = values(compare(prediction, reference))
    high = np.array([0, 4_000_000_000, 7], np.uint32)[prediction.labels]
    other = Segmentation(high, prediction.geometry, table(a=4_000_000_000, b=7))
    assert values(compare(other, reference)) == expected
    swapped = np.array([0, 2, 1], np.uint8)[prediction.labels]
    assert values(compare(Segmentation(swapped, prediction.geometry, table(a=2, b=1)), reference)) == expected


def test_absent_missed_and_false_positive():
    reference, prediction = np.zeros((8, 8, 8), np.uint8), np.zeros((8, 8, 8), np.uint8)
    reference[2:5, 2:5, 2:5] = 1
    prediction[4:7, 2:5, 2:5] = 2
    names = table(a=1, b=2, c=3)
    options = replace(OPTIONS, tubular=frozenset({"a", "b", "c"}))
    scores = by_name(
        compare(segmentation(prediction, None, names), segmentation(reference, None, names), options)
    )
    for metric in [*NAMES, "cldice"]:
        assert scores["c", metric].value is None
        assert scores["c", metric].reason == "absent in both"
    for metric in [*SHARES, "cldice"]:
        assert scores["a", metric].value == scores["b", metric].value == 0
    for metric in DISTANCES:
        assert scores["a", metric].value is scores["b", metric].value is None
        assert scores["a", metric].reason.startswith("missed")
        assert scores["b", metric].reason.startswith("false positive")
    assert scores["a", "sensitivity"].value == scores["b", "precision"].value == 0
    assert scores["a", "precision"].reason.startswith("missed")
    assert "nothing to find" in scores["b", "sensitivity"].reason
    assert scores["a", "volume_error_percent"].value == -100
    assert "no share" in scores["b", "volume_error_percent"].reason
    volume = 27 * 0.8 * 1.1 * 2 / 1000
    assert scores["b", "volume_error_ml"].value == pytest.approx(volume)
    assert scores["a", "volume_error_ml"].value == pytest.approx(-volume)


def test_a_miss_counts_in_every_mean():
    """The published trap: a missed structure drops out of HD95 and the mean gets better."""
    good = compare_case("good", scene(1), scene(2))
    empty = Segmentation(np.zeros_like(scene(2).labels), scene(2).geometry, scene(2).table)
    bad = compare_case("bad", empty, scene(2))
    for alone, both in zip(aggregate([good]), aggregate([good, bad]), strict=True):
        assert both.n == 2, both.metric
        if both.metric.endswith("_mm"):
            assert both.mean > alone.mean
            assert both.maximum == pytest.approx(good.diagonal_mm)
        elif both.metric not in {"specificity", "volume_error_ml", "volume_error_percent"}:
            assert both.mean == pytest.approx(alone.mean / 2)


def test_a_reference_that_fills_the_image():
    full = segmentation(np.ones((4, 4, 4), np.uint8))
    scores = by_name(compare(full, full))
    assert "fills the image" in scores["a", "specificity"].reason
    assert scores["a", "dice"].value == 1


def test_a_case_carries_volumes_and_the_diagonal():
    prediction, reference = scene(1), scene(2)
    case = compare_case("seven", prediction, reference)
    assert case.case_id == "seven"
    voxel_ml = 0.8 * 1.1 * 2 / 1000
    for index, pair in enumerate(case.volumes, start=1):
        assert isinstance(pair, VolumePair)
        assert pair.prediction_ml == pytest.approx((prediction.labels == index).sum() * voxel_ml)
        assert pair.reference_ml == pytest.approx((reference.labels == index).sum() * voxel_ml)
    assert case.diagonal_mm == pytest.approx(np.linalg.norm([24 * 0.8, 22 * 1.1, 18 * 2]))
    assert diagonal_mm(Geometry(np.eye(4), (240, 240, 155))) == pytest.approx(373.13, abs=0.01)
    assert case.scores == compare(prediction, reference)


def test_a_single_slice_is_compared_in_its_plane():
    noise = np.random.default_rng(0).random((2, 20, 16, 1)) < 0.6
    affine = np.diag([0.5, 0.7, 9.0, 1.0])
    pair = [Segmentation(n.astype(np.uint8), Geometry(affine, n.shape), table(a=1)) for n in noise]
    found = values(compare(*pair, replace(OPTIONS, tubular=frozenset({"a"}))))
    distances = surface_distances(noise[0][..., 0], noise[1][..., 0], (0.5, 0.7))
    assert found["a", "assd_mm"] == pytest.approx(surface.assd_mm(distances))
    assert found["a", "hd95_surfel_mm"] == pytest.approx(surface.hd_surfel_mm(distances))
    assert found["a", "nsd_surfel_1mm"] == pytest.approx(surface.nsd_surfel(distances, 1))
    case = compare_case("slice", *pair)
    assert "single slice" in by_name(case.scores)["a", "volume_error_ml"].reason
    assert by_name(case.scores)["a", "volume_error_percent"].value is not None
    assert case.volumes == ()


def test_a_label_one_voxel_thin_in_a_volume_stays_solid():
    """Cropping to the label must not turn a 3D comparison into one of a plane."""
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[2:10, 2:10, 5] = 1
    other = np.roll(labels, 1, axis=0)
    found = values(compare(segmentation(labels), segmentation(other)))
    distances = surface_distances(labels > 0, other > 0, (0.8, 1.1, 2.0))
    assert found["a", "assd_mm"] == pytest.approx(surface.assd_mm(distances))
    assert len(distances.prediction_mm) == 64


def test_an_unknown_pixel_size_gives_overlap_only():
    labels = np.ones((6, 5, 1), np.uint8)
    labels[0] = 0
    geometry = Geometry(np.eye(4), labels.shape, calibrated=False)
    case = compare_case("picture", *[segmentation(labels, geometry, table(a=1))] * 2)
    scores = by_name(case.scores)
    assert scores["a", "dice"].value == 1
    for metric in ("hd95_max_mm", "nsd_1mm", "boundary_iou_1mm", "volume_error_ml"):
        assert "pixel size is unknown" in scores["a", metric].reason
    assert case.diagonal_mm is None
    assert case.volumes == ()


def test_a_sheared_grid_gives_no_distances():
    affine = np.eye(4)
    affine[0, 2] = 0.3
    pair = [segmentation(np.ones((5, 5, 5), np.uint8), Geometry(affine, (5, 5, 5)))] * 2
    scores = by_name(compare(*pair))
    assert scores["a", "dice"].value == 1
    assert scores["a", "volume_error_ml"].value == 0
    assert "right angles" in scores["a", "hausdorff_mm"].reason
    assert scores["b", "hausdorff_mm"].reason == "absent in both"
    longest = np.linalg.norm(affine[:3, :3] @ [5, 5, 5])
    assert diagonal_mm(pair[0].geometry) == pytest.approx(longest)


def test_labels_beyond_the_references_table_are_left_out_and_logged(caplog):
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[0], labels[1] = 1, 3
    prediction = segmentation(labels, None, table(a=1, extra=3, unused=4))
    with caplog.at_level(logging.WARNING):
        scores = compare(prediction, segmentation(np.minimum(labels, 1), None, table(a=1)))
    assert {score.label for score in scores} == {"a"}
    assert "extra" in caplog.text
    assert "unused" not in caplog.text


def test_an_empty_table_gives_no_scores():
    nothing = segmentation(np.zeros((3, 3, 3), np.uint8), None, LabelTable(()))
    assert compare(nothing, nothing) == ()


def test_refusals():
    labels = np.ones((4, 4, 4), np.uint8)
    with pytest.raises(GeometryMismatchError, match="resample"):
        compare(segmentation(labels), segmentation(labels, Geometry(np.eye(4), labels.shape)))
    with pytest.raises(LabelTableError, match="index 1"):
        compare(segmentation(labels, None, table(liver=1)), segmentation(labels))
    with pytest.raises(LabelTableError, match="tubular label 'aorta'"):
        compare(segmentation(labels), segmentation(labels), CompareOptions(tubular=frozenset({"aorta"})))
    with pytest.raises(GeometryMismatchError, match="pixel size"):
        diagonal_mm(Geometry(np.eye(4), (4, 4, 1), calibrated=False))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tolerances_mm": (-1,)}, "tolerance"),
        ({"tolerances_mm": (float("nan"),)}, "tolerance"),
        ({"tolerances_mm": (1, 1.0)}, "twice"),
        ({"boundary_mm": float("inf")}, "width"),
        ({"threads": 0}, "threads"),
    ],
)
def test_refused_options(options, words):
    with pytest.raises(ConfigurationError, match=words):
        CompareOptions(**options)


def test_every_metric_has_a_definition():
    metrics = {score.metric for score in compare(scene(1), scene(2), OPTIONS)}
    definitions = definitions_of(metrics)
    assert set(definitions) == metrics
    assert "within 2.5 mm" in definitions["nsd_2.5mm"]
    assert len(DEFINITIONS) == len({name.replace("2.5", "1") for name in metrics})
    assert all(word in EMPTY_CASES for word in ("absent in both", "missed", "false positive"))
    for unknown in ("jaccard", "nsd_Tmm", "nsd_mm", "dice_1mm"):
        with pytest.raises(InputError, match="no metric"):
            definition_of(unknown)


@pytest.mark.slow
def test_organs_against_a_shifted_copy_of_themselves():
    path = DATA / "organs" / "ct_organs.nii.gz"
    if not path.is_file():
        pytest.skip("the organs of the real data are not here (MEDSEG_DATA)")
    reference = read_segmentation(path)
    moved = Segmentation(np.roll(reference.labels, 1, axis=0), reference.geometry, reference.table)
    step = reference.geometry.spacing_mm[0]
    for score in compare(moved, reference, CompareOptions(tolerances_mm=(2 * step,))):
        if score.value is not None and score.metric == "hd95_max_mm":
            assert score.value <= step * 1.01
        if score.value is not None and score.metric.startswith("nsd"):
            assert score.value > 0.9
