"""Two folders in; evaluation.json, tables and a report out."""

from __future__ import annotations

import csv
import html
import io
import json

import nibabel as nib
import numpy as np
import pytest

from medseg.cli.main import main
from medseg.errors import ConfigurationError, GeometryMismatchError, InputError, LabelTableError
from medseg.evaluate.detection import DetectOptions
from medseg.spatial.labels import Label, LabelTable
from medseg.workflows.compare_pair import RESAMPLED, PairOptions
from medseg.workflows.evaluate import EvaluateOptions, evaluate
from medseg.workflows.label_names import LabelNames
from medseg.workflows.outputs import Step

AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
SHAPE = (20, 18, 12)
FILES = {"evaluation.json", "cases.csv", "summary.csv", "report.html"}
OBJECTS = EvaluateOptions(pair=PairOptions(detect=DetectOptions()))


def save(path, *boxes, affine=AFFINE, dtype=np.uint8, shape=SHAPE):
    """Boxes (label, start, stop) along the first axis, 4 voxels wide along the others."""
    labels = np.zeros(shape, dtype)
    for label, start, stop in boxes:
        labels[start:stop, 4:8, 4:8] = label
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, affine), path)
    return path


@pytest.fixture
def folders(tmp_path):
    """Four cases: right, half right, missed, and with a false positive."""
    for n, (mine, theirs) in enumerate(
        [
            ([(1, 2, 6)], [(1, 2, 6)]),
            ([(1, 2, 6), (2, 10, 14)], [(1, 4, 8), (2, 10, 14)]),
            ([], [(1, 2, 6)]),
            ([(1, 2, 6), (2, 10, 12)], [(1, 2, 6)]),
        ]
    ):
        save(tmp_path / "p" / f"c{n}.nii.gz", *mine)
        save(tmp_path / "r" / f"c{n}.nii.gz", *theirs)
    return tmp_path / "p", tmp_path / "r", tmp_path / "out"


def record(out):
    return json.loads((out / "evaluation.json").read_text())


def rows(out, name="cases.csv"):
    return list(csv.DictReader(io.StringIO((out / name).read_text())))


def test_folder_gives_all_outputs_and_the_right_numbers(folders):
    steps: list[Step] = []
    evaluate(*folders, listener=steps.append)
    out = folders[2]
    assert {path.name for path in out.iterdir()} == FILES
    assert [(s.case_id, s.case_number, s.case_count) for s in steps] == [
        (f"c{n}", n + 1, 4) for n in range(4)
    ]
    found = record(out)
    one = {row["case"]: row for row in found["cases"] if row["label"] == "label_1"}
    assert [one[f"c{n}"]["dice"] for n in range(4)] == [1.0, 0.5, 0.0, 1.0]
    assert one["c2"]["hd95_max_mm"] is None and one["c2"]["reasons"]["hd95_max_mm"].startswith("missed")
    summary = found["labels"]["label_1"]
    assert summary["dice"]["mean"] == pytest.approx(0.625) and summary["dice"]["n"] == 4
    # The missed case counts with the diagonal, 20 × 27 × 24 mm, the shifted one with 2 mm.
    diagonal = float(np.linalg.norm([20, 27, 24]))
    assert summary["hd95_max_mm"]["mean"] == pytest.approx((0 + 2 + diagonal + 0) / 4)
    assert summary["hd95_max_mm"]["n_penalised"] == 1
    assert found["labels"]["label_2"]["dice"]["mean"] == pytest.approx(0.5)
    assert found["labels"]["label_2"]["dice"]["n_absent"] == 2
    assert set(found["definitions"]) == set(summary)
    # 4 × 4 × 4 voxels of 3 mm³
    reference_ml = [v["reference_ml"] for v in found["volumes"] if v["label"] == "label_1"]
    assert reference_ml == pytest.approx([0.192] * 4)
    table = {(row["case"], row["label"]): row for row in rows(out)}
    assert table["c1", "label_1"]["dice"] == "0.5" and "missed" in table["c2", "label_1"]["reasons"]
    statistics = {(row["label"], row["metric"]): row for row in rows(out, "summary.csv")}
    assert float(statistics["label_1", "dice"]["mean"]) == 0.625
    page = (out / "report.html").read_text()
    assert (
        page.count("data:image/png") == 4
        and "label_2" in page
        and "http" not in page.replace("http-equiv", "")
    )


def test_objects_single_and_pooled(folders):
    evaluate(*folders, OBJECTS)
    found = record(folders[2])
    objects = found["objects"]["label_1"]
    # Pairs in c0 and c3; in c1 an IoU of 1/3 is none.
    assert (objects["true_positives"], objects["false_positives"], objects["false_negatives"]) == (2, 1, 2)
    assert objects["pq"] == pytest.approx(2 / 3.5) and objects["sq"] == 1.0
    assert objects["froc"] is None and objects["reason"] == "the predicted instances have no scores"
    single = [row for row in found["cases"] if row["instance"] is not None and row["label"] == "label_1"]
    assert [(row["case"], row["instance_iou"]) for row in single] == [
        ("c0", 1),
        ("c1", 0),
        ("c2", 0),
        ("c3", 1),
    ]
    assert "instance_iou" not in found["labels"]["label_1"]
    # Without scores no case may enter the mean of AP, the missed one included.
    assert found["labels"]["label_1"]["ap_50"]["n"] == 0
    assert "connected components" in found["options"]["instances"]


def result_folder(path, scores):
    """What `medseg segment` leaves: ids of objects, their labels and scores."""
    save(path / "instances.nii.gz", *((n, 5 * n, 5 * n + 3) for n in scores), dtype=np.int32)
    save(path / "segmentation.nii.gz", *((1, 5 * n, 5 * n + 3) for n in scores))
    items = [{"id": n, "label": "node", "score": score} for n, score in scores.items()]
    (path / "measurements.json").write_text(json.dumps({"instances": items}))


def test_instance_maps_with_scores_give_ap_and_froc(tmp_path):
    result_folder(tmp_path / "p" / "a", {1: 0.9, 2: 0.4})
    result_folder(tmp_path / "r" / "a", {1: None})
    result_folder(tmp_path / "p" / "b", {3: 0.8})
    result_folder(tmp_path / "r" / "b", {3: None, 2: None})
    options = EvaluateOptions(pair=PairOptions(instance_maps=True))
    evaluate(tmp_path / "p", tmp_path / "r", tmp_path / "out", options)
    found = record(tmp_path / "out")["objects"]["node"]
    # By falling score: hit, hit, false; 2 of 3 found at precision 1, so 67 of 101 recall levels.
    assert found["average_precision"]["0.5"] == pytest.approx(67 / 101)
    assert found["froc"]["sensitivities"] == pytest.approx([2 / 3] * 7)
    assert 'id="objects"' in (tmp_path / "out" / "report.html").read_text()


def test_instance_maps_without_labels_are_objects(tmp_path):
    save(tmp_path / "p.nii.gz", (7, 2, 6), (70_000, 10, 14), dtype=np.int32)
    save(tmp_path / "r.nii.gz", (1, 2, 6), (2, 10, 14), dtype=np.int32)
    options = EvaluateOptions(pair=PairOptions(instance_maps=True))
    result = evaluate(tmp_path / "p.nii.gz", tmp_path / "r.nii.gz", tmp_path / "out", options)
    assert result.evaluation.labels == ("object",)
    assert result.evaluation.summary("object", "pq").mean == 1.0


def test_damaged_list_of_instances_is_refused(tmp_path):
    for side in "pr":
        result_folder(tmp_path / side / "a", {1: 0.5})
    (tmp_path / "p" / "a" / "measurements.json").write_text('{"instances": [{"id": 1}]}')
    with pytest.raises(InputError, match="does not list instances"):
        evaluate(
            tmp_path / "p",
            tmp_path / "r",
            tmp_path / "out",
            EvaluateOptions(pair=PairOptions(instance_maps=True)),
        )


def test_missing_and_broken_cases_are_listed_and_the_others_done(folders):
    predictions, references, out = folders
    (predictions / "c0.nii.gz").unlink()
    (references / "c1.nii.gz").write_bytes(b"no image")
    save(predictions / "extra.nii.gz", (1, 2, 4))
    result = evaluate(predictions, references, out)
    assert [case.case_id for case in result.evaluation.cases] == ["c2", "c3"]
    failures = {failure["case_id"]: failure for failure in record(out)["failures"]}
    assert "no prediction" in failures["c0"]["message"] and "no reference" in failures["extra"]["message"]
    assert failures["c1"]["error"] == "UnreadableFileError"
    assert any(row["case"] == "c0" and row["reasons"].startswith("failed") for row in rows(out))
    assert main(["evaluate", str(predictions), str(references), "-o", str(out)]) == 7


def test_other_grid_is_refused_or_resampled_and_said(tmp_path):
    turned = AFFINE @ np.diag([0.5, 1, 1, 1])
    save(tmp_path / "p.nii.gz", (1, 4, 12), affine=turned, shape=(40, 18, 12))
    save(tmp_path / "r.nii.gz", (1, 2, 6))
    args = tmp_path / "p.nii.gz", tmp_path / "r.nii.gz", tmp_path / "out"
    with pytest.raises(GeometryMismatchError, match="case 'r'"):
        evaluate(*args)
    assert not args[2].exists()
    result = evaluate(*args, EvaluateOptions(pair=PairOptions(resample=True)))
    assert result.evaluation.cases[0].warnings == (RESAMPLED,)
    assert RESAMPLED in html.unescape((args[2] / "report.html").read_text())


def test_label_names_of_each_side(folders, tmp_path):
    names = LabelNames({1: "liver", 2: None}, {1: "liver", 2: None})
    evaluate(*folders, EvaluateOptions(pair=PairOptions(names=names)))
    assert list(record(folders[2])["labels"]) == ["liver"]
    file = tmp_path / "names.yaml"
    file.write_text("prediction: {1: liver, 2: spleen}\nreference: {1: liver, 2: spleen}\n")
    assert main(["evaluate", *map(str, folders[:2]), "-o", str(folders[2]), "--labels", str(file)]) == 0
    assert list(record(folders[2])["labels"]) == ["liver", "spleen"]


def test_index_outside_the_table_is_refused(folders):
    table = LabelTable((Label(1, "liver"),))
    pair = PairOptions(table=table)
    with pytest.raises(InputError, match="none of the 2 cases") as error:
        evaluate(
            _only(folders[0], "c1", "c3"),
            _only(folders[1], "c1", "c3"),
            folders[2],
            EvaluateOptions(pair=pair),
        )
    assert isinstance(error.value.__cause__, LabelTableError)


def _only(folder, *names):
    for path in folder.iterdir():
        if path.name.split(".")[0] not in names:
            path.unlink()
    return folder


def test_table_of_cases_gives_patients_and_subgroups(folders, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("case_id,patient_id,scanner\nc0,A,x\nc1,A,x\nc2,B,y\nc3,B,y\n")
    evaluate(*folders, EvaluateOptions(cases=table))
    found = record(folders[2])
    assert {row["case"]: row["patient"] for row in found["cases"]} == {
        "c0": "A",
        "c1": "A",
        "c2": "B",
        "c3": "B",
    }
    groups = {group["value"]: group for group in found["subgroups"]}
    assert groups["x"]["labels"]["label_1"]["dice"]["mean"] == pytest.approx(0.75)
    # Two patients: their means are 0.75 and 0.5, and no draw goes beyond.
    assert found["labels"]["label_1"]["dice"]["ci95"] == pytest.approx([0.5, 0.75])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case_id,scanner\nc0,x\nc1,x\nc2,x\n", "no row for 1 of 4 cases, such as 'c3'"),
        ("case_id,patient_id\nc0,A\nc1,A\nc2,B\nc3,\n", "no patient_id for case 'c3'"),
        ("name,patient_id\nc0,A\n", "expected case_id"),
    ],
)
def test_table_of_cases_that_does_not_fit(folders, tmp_path, text, message):
    table = tmp_path / "cases.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=message):
        evaluate(*folders, EvaluateOptions(cases=table))
    assert not folders[2].exists()


def test_second_model_is_compared_case_by_case(folders, tmp_path):
    other = tmp_path / "other"
    for n in range(4):
        save(other / f"c{n}.nii.gz", (1, 2, 6))
    (other / "c3.nii.gz").write_text("broken")
    result = evaluate(*folders, EvaluateOptions(other=other))
    found = next(c for c in result.evaluation.comparisons if (c.label, c.metric) == ("label_1", "dice"))
    # Differences of c0, c1 and c2: 0, 0.5 - 0.5, 0 - 1
    assert found.n == 3 and found.mean_difference == pytest.approx(-1 / 3)
    assert [failure.case_id for failure in result.evaluation.failures] == ["compared model: c3"]


def test_images_are_shown_or_their_fault_is_logged(folders, tmp_path, caplog):
    images = tmp_path / "images"
    scan = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    for n in (1, 2):
        images.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(scan, AFFINE), images / f"c{n}_img.nii.gz")
    (images / "c2_img.nii.gz").write_bytes(b"\x1f\x8b no scan")
    evaluate(*folders, EvaluateOptions(images=images, suffixes=("_img",)))
    assert "the scan of case" in caplog.text
    assert (folders[2] / "report.html").read_text().count("data:image/png") == 4


def test_options_that_contradict_each_other():
    table, names = LabelTable((Label(1, "a"),)), LabelNames({1: "a"}, {1: "a"})
    with pytest.raises(ConfigurationError, match="both a bundle and"):
        PairOptions(table=table, names=names)
    with pytest.raises(ConfigurationError, match="ids of objects"):
        PairOptions(table=table, instance_maps=True)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (["--penalty", "hd95_max_mm=far"], 2, "expected METRIC=VALUE"),
        (["--tolerance-mm", "-1"], 2, "tolerance is -1.0 mm"),
        (["--tubular", "vessel"], 3, "'vessel' is not in the reference's table"),
        (["--cases", "nowhere.csv"], 3, "there is no file nowhere.csv"),
        (["--instances", "--match", "distance"], 2, "max_distance_mm"),
        (["-b", "nothing"], 4, "nothing"),
    ],
)
def test_command_refuses(folders, capsys, change, code, message):
    assert main(["evaluate", *map(str, folders[:2]), "-o", str(folders[2]), *change]) == code
    assert message in capsys.readouterr().err
    assert not folders[2].exists()


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (np.zeros((4, 4, 4, 2), np.uint8), np.eye(4), "4"),
        (np.full((4, 4, 4), 0.5, np.float32), np.eye(4), "whole label indices"),
        (np.full((4, 4, 4), -1, np.int16), np.eye(4), "of 0 or more"),
        (np.ones((4, 4, 4), np.uint8), np.diag([np.nan, 1, 1, 1]), "finite"),
    ],
)
def test_bad_label_maps_exit_3(tmp_path, capsys, array, affine, message):
    image = nib.Nifti1Image(array, None)
    image.header.set_sform(affine, 1)
    nib.save(image, tmp_path / "p.nii")
    save(tmp_path / "r.nii.gz", (1, 0, 2), affine=np.eye(4), shape=(4, 8, 8))
    args = ["evaluate", str(tmp_path / "p.nii"), str(tmp_path / "r.nii.gz"), "-o", str(tmp_path / "out")]
    assert main(args) == 3
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_command_says_the_main_numbers_and_gives_json(folders, capsys):
    args = [
        "evaluate",
        *map(str, folders[:2]),
        "-o",
        str(folders[2]),
        "--instances",
        "--json",
        "--draws",
        "200",
    ]
    assert main(args) == 0
    captured = capsys.readouterr()
    assert "label_1: Dice 0.62 [0.25, 1.00]" in captured.err and "4 of 4 cases compared" in captured.err
    assert json.loads(captured.out) == record(folders[2])


def test_2d_images(tmp_path):
    from PIL import Image

    for side, start in (("p", 2), ("r", 3)):
        labels = np.zeros((16, 12), np.uint8)
        labels[start : start + 4, 2:6] = 1
        Image.fromarray(labels).save(tmp_path / f"{side}.png")
    result = evaluate(tmp_path / "p.png", tmp_path / "r.png", tmp_path / "out", OBJECTS)
    scores = {score.metric: score for score in result.evaluation.cases[0].scores if score.instance is None}
    assert scores["dice"].value == 0.75 and scores["pq"].value == pytest.approx(0.6)
    assert "pixel size is unknown" in (scores["hd95_max_mm"].reason or "")
