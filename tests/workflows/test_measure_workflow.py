"""A label map measured, alone and against an earlier one."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from medseg.cli.main import main
from medseg.errors import ConfigurationError, GeometryMismatchError
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
