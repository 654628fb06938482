"""A label map measured, alone and against an earlier one."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from medseg.cli.main import main
from medseg.errors import ConfigurationError, GeometryMismatchError, InputError, LabelTableError
from medseg.spatial.labels import Label, LabelTable
from medseg.spatial.volume import Unit
from medseg.workflows import measure as module
from medseg.workflows.measure import Earlier, MeasureOptions, measure_file

SHAPE = (60, 60, 20)


def save(path, *boxes, affine=None):
    """Boxes (label, start along i, length along i, length along j), 6 voxels of 1 mm deep."""
    labels = np.zeros(SHAPE, np.uint8)
    for label, start, long, short in boxes:
        labels[start : start + long, 10 : 10 + short, 5:11] = label
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, np.eye(4) if affine is None else affine), path)
    return path


def scan(path, value=4.0, shape=SHAPE):
    """One value everywhere but in the last slice, which no box is near to."""
    values = np.full(shape, value, np.float32)
    values[:, :, -1] = 0
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return path


def diagonal(long, short):
    return float(np.hypot(long, short))


def values(record, label):
    return {
        m["name"]: m["value"] for m in record["measurements"] if (m["label"], m["instance"]) == (label, None)
    }


def test_recist_of_one_examination(tmp_path):
    # Outlines along voxel faces: diagonals of 20 × 10, 12 × 6 and 5 × 4 mm; the last is not measurable.
    path = save(tmp_path / "a.nii.gz", (1, 0, 20, 10), (1, 25, 12, 6), (2, 45, 5, 4))
    folder, record = measure_file(path, tmp_path / "out", MeasureOptions(recist=True))
    found = json.loads((folder / "recist.json").read_text())
    assert found["sum_mm"] == pytest.approx(diagonal(20, 10) + diagonal(12, 6))
    assert [target["label"] for target in found["targets"]] == ["label_1"] * 2
    assert found["measurable_lesions"] == 2 and found["follow_up"] is None
    assert values(record, "label_1")["recist_target_sum_mm"] == pytest.approx(found["sum_mm"])
    assert any("sum of 2 target lesions" in text for text in record["warnings"])
    assert (folder / "instances.nii.gz").exists() and not (folder / "change.json").exists()


def test_nodes_count_with_their_short_diameter(tmp_path):
    path = save(tmp_path / "a.nii.gz", (3, 0, 40, 20))
    options = MeasureOptions(recist=True, node_labels=frozenset({"label_3"}))
    folder, record = measure_file(path, tmp_path / "out", options)
    (target,) = json.loads((folder / "recist.json").read_text())["targets"]
    short = next(m["value"] for m in record["measurements"] if m["name"] == "axial_short_diameter_mm")
    assert target["size_mm"] == pytest.approx(short) and target["node"]


def test_change_names_what_grew_went_and_came(tmp_path):
    before = save(tmp_path / "t0.nii.gz", (1, 0, 10, 10), (1, 25, 10, 5), (2, 45, 12, 6))
    after = save(tmp_path / "t1.nii.gz", (1, 0, 20, 10), (1, 40, 3, 3))
    options = MeasureOptions(recist=True, earlier=Earlier(before))
    folder, record = measure_file(after, tmp_path / "out", options)
    change = json.loads((folder / "change.json").read_text())
    status = sorted((lesion["label"], lesion["status"]) for lesion in change["lesions"])
    assert status == [("label_1", "gone"), ("label_1", "grown"), ("label_1", "new"), ("label_2", "gone")]
    one = values(record, "label_1")
    # 600 + 300 mm³, then 1200 + 54 mm³
    assert one["previous_volume_ml"] == pytest.approx(0.9) and one["volume_change_ml"] == pytest.approx(0.354)
    assert (one["lesions_new"], one["lesions_grown"], one["lesions_gone"]) == (1, 1, 1)
    # The label that went is still told.
    assert values(record, "label_2")["volume_change_percent"] == pytest.approx(-100)
    recist = json.loads((folder / "recist.json").read_text())
    baseline = diagonal(10, 10) + diagonal(10, 5) + diagonal(12, 6)
    assert recist["follow_up"]["baseline_sum_mm"] == pytest.approx(baseline)
    assert recist["follow_up"]["sum_mm"] == pytest.approx(diagonal(20, 10))
    assert recist["follow_up"]["response"] == "PD" and recist["follow_up"]["new_lesions"] == 1
    sources = json.loads((folder / "case.json").read_text())["provenance"]["input_sources"]
    assert set(sources) == {"segmentation", "earlier_segmentation"}
    assert "lie in one space" in " ".join(record["warnings"])


def test_scans_without_a_common_part_are_refused(tmp_path):
    far = np.eye(4)
    far[0, 3] = 500
    before = save(tmp_path / "t0.nii.gz", (1, 0, 10, 10), affine=far)
    after = save(tmp_path / "t1.nii.gz", (1, 0, 10, 10))
    with pytest.raises(GeometryMismatchError, match="no part of the patient in common"):
        measure_file(after, tmp_path / "out", MeasureOptions(earlier=Earlier(before)))
    assert not (tmp_path / "out").exists()


def test_earlier_scan_on_another_grid_is_refused(tmp_path):
    path = save(tmp_path / "t.nii.gz", (1, 0, 10, 10))
    image = tmp_path / "image.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=(5, 5, 5)), np.eye(4)), image)
    for options in (MeasureOptions(image_path=image), MeasureOptions(earlier=Earlier(path, image))):
        with pytest.raises(GeometryMismatchError, match="but the image has"):
            measure_file(path, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_node_labels_without_recist():
    with pytest.raises(ConfigurationError, match="only RECIST asks"):
        MeasureOptions(node_labels=frozenset({"node"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--registered"], "--registered goes with --previous"),
        (["--previous-image", "x.nii"], "--previous-image goes with --previous"),
        (["--stable-percent", "10"], "--stable-percent goes with --previous"),
        (["--previous", "{}", "--max-distance-mm", "5"], "goes with --match centre"),
        (["--previous", "{}", "--stable-percent", "0"], "stable_percent is 0"),
        (["--recist", "--node-label", "liver"], "no label is called liver"),
        (["--node-label", "liver"], "only RECIST asks"),
        (["--match", "centre"], "--match goes with --previous"),
        (["--max-distance-mm", "5"], "--max-distance-mm goes with --previous"),
        (["--previous", "{}", "--match", "overlap", "--max-distance-mm", "5"], "goes with --match centre"),
        (["--previous", "{}", "--match", "centre", "--max-distance-mm", "-1"], "max_distance_mm is -1"),
        (["--previous", "{}", "--stable-percent", "nan"], "stable_percent is nan"),
        (["--unit", "SUV"], "a unit is given, but no scan"),
        (["--unit", "SUV", "--previous", "{}"], "a unit is given, but no scan"),
    ],
)
def test_command_refuses(tmp_path, capsys, options, message):
    path = str(save(tmp_path / "t.nii.gz", (1, 0, 10, 10)))
    args = [text.format(path) for text in options]
    assert main(["measure", path, "-o", str(tmp_path / "out"), *args]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_command_follows_up_by_centre(tmp_path, capsys):
    before = save(tmp_path / "t0.nii.gz", (1, 0, 10, 10))
    after = save(tmp_path / "t1.nii.gz", (1, 11, 10, 10))
    args = [
        "--previous",
        str(before),
        "--match",
        "centre",
        "--max-distance-mm",
        "12",
        "--registered",
        "--json",
    ]
    assert main(["measure", str(after), "-o", str(tmp_path / "out"), *args]) == 0
    found = values(json.loads(capsys.readouterr().out), "label_1")
    assert found["lesions_stable"] == 1 and found["lesions_new"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--previous", "{folder}/none.nii.gz"], "none.nii.gz"),
        (["--previous", "{folder}/text.nii.gz"], "text.nii.gz"),
        (["--previous", "{folder}/slice.nii.gz"], "single slice"),
        (["--previous", "{path}", "--previous-image", "{folder}/none.nii.gz"], "none.nii.gz"),
        (["--previous", "{path}", "--image", "{folder}/small.nii.gz"], "resample one onto the other"),
        (
            ["--previous", "{path}", "--previous-image", "{folder}/small.nii.gz"],
            "resample one onto the other",
        ),
    ],
)
def test_command_refuses_inputs(tmp_path, capsys, options, message):
    path = save(tmp_path / "t.nii.gz", (1, 0, 10, 10))
    (tmp_path / "text.nii.gz").write_text("no image")
    nib.save(nib.Nifti1Image(np.ones((60, 60, 1), np.uint8), np.eye(4)), tmp_path / "slice.nii.gz")
    scan(tmp_path / "small.nii.gz", shape=(5, 5, 5))
    args = [text.format(path=path, folder=tmp_path) for text in options]
    assert main(["measure", str(path), "-o", str(tmp_path / "out"), "--recist", *args]) == 3
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_sum_and_response_of_the_command(tmp_path, capsys):
    # Diagonals of 20 × 15, 12 × 9 and 8 × 6 mm are 25, 15 and 10 mm; halved ones 12.5 and 7.5 mm.
    before = save(tmp_path / "t0.nii.gz", (1, 0, 20, 15), (2, 25, 12, 9), (2, 45, 8, 6))
    after = save(tmp_path / "t1.nii.gz", (1, 0, 12, 9), (2, 25, 8, 6))
    args = ["measure", str(after), "-o", str(tmp_path / "out"), "--previous", str(before), "--recist"]
    assert main([*args, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    follow_up = json.loads((tmp_path / "out/t1/recist.json").read_text())["follow_up"]
    assert follow_up["baseline_sum_mm"] == pytest.approx(25 + 15 + 10)
    assert follow_up["sum_mm"] == pytest.approx(15 + 10) and follow_up["response"] == "PR"
    assert values(record, "label_1")["recist_target_sum_mm"] == pytest.approx(15)
    assert values(record, "label_2")["recist_target_sum_mm"] == pytest.approx(10)
    # 20 × 15 × 6 mm³ became 12 × 9 × 6.
    assert values(record, "label_1")["volume_change_percent"] == pytest.approx(100 * (108 / 300 - 1))
    assert values(record, "label_2")["lesions_gone"] == 1
    said = "sum of 3 target lesions 50.0 mm at the earlier time, 25.0 mm now; 0 new lesions; by the sums PR"
    assert any(said in text for text in record["warnings"])
    assert said in (tmp_path / "out/t1/report.html").read_text()
    assert {"change.json", "instances.nii.gz", "measurements.csv"} <= {
        path.name for path in (tmp_path / "out/t1").iterdir()
    }


def test_the_bound_of_stable_lesions(tmp_path):
    before = save(tmp_path / "t0.nii.gz", (1, 0, 10, 10))
    after = save(tmp_path / "t1.nii.gz", (1, 0, 12, 10))  # 20 % more
    for bound, expected in (("25", "stable"), ("10", "grown")):
        args = ["--previous", str(before), "--stable-percent", bound]
        assert main(["measure", str(after), "-o", str(tmp_path / bound), *args]) == 0
        (lesion,) = json.loads((tmp_path / bound / "t1/change.json").read_text())["lesions"]
        assert lesion["status"] == expected and lesion["change_percent"] == pytest.approx(20)


def test_registered_scans_need_no_warning(tmp_path):
    path = save(tmp_path / "t.nii.gz", (1, 0, 10, 10))
    for registered in (False, True):
        args = ["--previous", str(path)] + ["--registered"] * registered
        assert main(["measure", str(path), "-o", str(tmp_path / "out"), *args]) == 0
        notes = json.loads((tmp_path / "out/t/change.json").read_text())["notes"]
        assert bool(notes) is not registered


def test_uptake_and_load_change_with_the_unit_that_is_said(tmp_path, capsys):
    before, after = save(tmp_path / "t0.nii.gz", (1, 0, 10, 10)), save(tmp_path / "t1.nii.gz", (1, 0, 20, 10))
    args = ["measure", str(after), "-o", str(tmp_path / "out"), "--json", "--previous", str(before)]
    args += ["--image", str(scan(tmp_path / "i1.nii.gz", 6)), "--unit", "SUV"]
    args += ["--previous-image", str(scan(tmp_path / "i0.nii.gz", 4))]
    assert main(args) == 0
    found = values(json.loads(capsys.readouterr().out), "label_1")
    assert (found["suv_mean"], found["suv_peak"]) == (pytest.approx(6), pytest.approx(6))
    assert found["total_lesion_glycolysis"] == pytest.approx(6 * 1.2)
    assert found["lesion_count"] == 1 and found["lesion_load_ml"] == pytest.approx(1.2)
    assert found["suv_max_change_percent"] == pytest.approx(50)
    assert found["previous_total_lesion_glycolysis"] == pytest.approx(4 * 0.6)
    assert found["lesion_load_change_percent"] == pytest.approx(100)
    sources = json.loads((tmp_path / "out/t1/case.json").read_text())["provenance"]["input_sources"]
    assert set(sources) == {"segmentation", "image", "earlier_segmentation", "earlier_image"}


def test_without_a_unit_uptake_has_a_reason_that_names_the_option(tmp_path):
    path, image = save(tmp_path / "t.nii.gz", (1, 0, 10, 10)), scan(tmp_path / "i.nii.gz")
    _, record = measure_file(path, tmp_path / "out", MeasureOptions(image_path=image))
    (uptake,) = [m for m in record["measurements"] if m["name"] == "suv_max"]
    assert uptake["value"] is None and "--unit SUV" in uptake["reason"]
    _, record = measure_file(path, tmp_path / "hu", MeasureOptions(image_path=image, image_unit=Unit.HU))
    assert not any(m["name"].startswith("suv") for m in record["measurements"])


def test_a_unit_that_the_file_denies_is_refused(tmp_path, monkeypatch):
    path, image = save(tmp_path / "t.nii.gz", (1, 0, 10, 10)), scan(tmp_path / "i.nii.gz")
    read = module.read_case
    monkeypatch.setattr(module, "read_case", lambda *args: module._in_unit(read(*args), Unit.HU))
    options = MeasureOptions(image_path=image, image_unit=Unit.SUV)
    with pytest.raises(InputError, match="said to be in SUV, but its file tells HU"):
        measure_file(path, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
    measure_file(path, tmp_path / "out", MeasureOptions(image_path=image, image_unit=Unit.HU))


def test_recist_needs_labels_that_are_counted(tmp_path):
    path = save(tmp_path / "t.nii.gz", (1, 0, 20, 10), (2, 30, 20, 20))
    organs = LabelTable((Label(1, "liver"), Label(2, "spleen")))
    with pytest.raises(ConfigurationError, match="counts none of its labels in objects"):
        measure_file(path, tmp_path / "out", MeasureOptions(table=organs, recist=True))
    mixed = LabelTable((Label(1, "liver"), Label(2, "node", kind="thing")))
    options = MeasureOptions(table=mixed, recist=True, node_labels=frozenset({"liver"}))
    with pytest.raises(ConfigurationError, match=r"does not count liver in objects.*from: node"):
        measure_file(path, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
    options = MeasureOptions(table=mixed, recist=True, node_labels=frozenset({"node"}))
    folder, _ = measure_file(path, tmp_path / "out", options)
    (target,) = json.loads((folder / "recist.json").read_text())["targets"]
    assert target["label"] == "node" and target["size_mm"] == target["short_mm"]


def test_earlier_labels_outside_the_table_are_refused(tmp_path):
    before, after = save(tmp_path / "t0.nii.gz", (2, 0, 10, 10)), save(tmp_path / "t1.nii.gz", (1, 0, 10, 10))
    options = MeasureOptions(table=LabelTable((Label(1, "a", kind="thing"),)), earlier=Earlier(before))
    with pytest.raises(LabelTableError):
        measure_file(after, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_nothing_found_at_either_time(tmp_path):
    empty, full = save(tmp_path / "t0.nii.gz"), save(tmp_path / "t1.nii.gz", (1, 0, 20, 10))
    folder, record = measure_file(empty, tmp_path / "none", MeasureOptions(recist=True))
    assert json.loads((folder / "recist.json").read_text())["sum_mm"] is None
    assert "RECIST 1.1: no measurable lesion" in record["warnings"]
    for before, after, fate in ((empty, full, "new"), (full, empty, "gone")):
        folder, record = measure_file(
            after, tmp_path / fate, MeasureOptions(recist=True, earlier=Earlier(before))
        )
        assert values(record, "label_1")[f"lesions_{fate}"] == 1
    follow_up = json.loads((folder / "recist.json").read_text())["follow_up"]
    assert (follow_up["sum_mm"], follow_up["response"]) == (0, "CR")


def test_a_failure_while_writing_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    path = save(tmp_path / "t.nii.gz", (1, 0, 20, 10))
    options = MeasureOptions(recist=True, earlier=Earlier(path))

    def fails(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_report", fails)
        with pytest.raises((OSError, ConfigurationError), match="disk full"):
            measure_file(path, tmp_path / "out", options)
    assert not [found for found in tmp_path.glob("out/**/*") if found.is_file()]
    folder, _ = measure_file(path, tmp_path / "out", options)
    kept = {file.name: file.read_bytes() for file in folder.iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_report", fails)
        with pytest.raises((OSError, ConfigurationError), match="disk full"):
            measure_file(path, tmp_path / "out", options)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == kept
