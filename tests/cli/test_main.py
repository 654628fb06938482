from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from medseg.cli import main as module
from medseg.cli.main import main


@pytest.fixture(autouse=True)
def _only_our_bundles(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSEG_BUNDLES", str(tmp_path))


def _scan(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(size=(12, 10, 9)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return str(path)


def _out(capsys):
    return json.loads(capsys.readouterr().out)


def test_segment_by_name(trained_folder, tmp_path, capsys):
    code = main(
        ["segment", _scan(tmp_path / "in/a.nii.gz"), "-b", "boxes_mr_unet3d", "-o", str(tmp_path / "out")]
    )
    captured = capsys.readouterr()
    assert code == 0 and captured.out == ""
    assert "[1/1] a: done" in captured.err and "Research use only" in captured.err


def test_segment_json_stands_alone(trained_folder, tmp_path, capsys):
    scan, out = _scan(tmp_path / "in/a.nii.gz"), str(tmp_path / "out")
    assert main(["segment", scan, "-b", str(trained_folder.path), "-o", out, "--json", "--tta"]) == 0
    assert _out(capsys)["cases"][0]["outcome"] == "done"


@pytest.mark.parametrize(("count", "code"), [(1, 3), (2, 7)])
def test_exit_codes_of_failures(trained_folder, tmp_path, capsys, count, code):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.nii.gz").write_text("no scan")
    if count == 2:
        _scan(tmp_path / "in" / "good.nii.gz")
    args = ["segment", str(tmp_path / "in"), "-b", "boxes_mr_unet3d", "-o", str(tmp_path / "out")]
    assert main(args) == code
    assert "bad: failed:" in capsys.readouterr().err
    assert (tmp_path / "out").exists() == (count == 2)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (
            ["segment", "nowhere", "-b", "boxes_mr_unet3d", "-o", "out"],
            3,
            "there is no file or folder nowhere",
        ),
        (["segment", "nowhere", "-b", "other_ct_unet3d", "-o", "out"], 4, "no bundle called"),
        (["inspect", "nowhere"], 3, "nowhere"),
        (["measure", "nowhere", "-o", "out"], 3, "nowhere"),
        (["bundle", "show", "other_ct_unet3d"], 4, "no bundle called"),
        (["bundle", "verify", "other_ct_unet3d"], 4, "no bundle called"),
    ],
)
def test_errors_become_exit_codes(trained_folder, tmp_path, monkeypatch, capsys, args, code, message):
    monkeypatch.chdir(tmp_path)
    assert main([*args, "--json"]) == code
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err
    assert json.loads(captured.out)["exit_code"] == code


def test_a_setting_that_is_wrong(monkeypatch, capsys):
    monkeypatch.setenv("MEDSEG_MAX_VOXELS", "many")
    assert main(["bundle", "list"]) == 2
    assert "MEDSEG_MAX_VOXELS" in capsys.readouterr().err


def test_limits_come_from_the_environment(trained_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDSEG_MAX_VOXELS", "100")
    args = ["segment", _scan(tmp_path / "a.nii.gz"), "-b", "boxes_mr_unet3d", "-o", str(tmp_path / "out")]
    assert main(args) == 3
    assert "MEDSEG_MAX_VOXELS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, 130), (ZeroDivisionError, 1), (BrokenPipeError, 1)]
)
def test_what_is_no_error_of_ours(monkeypatch, capsys, error, code):
    def raises(*_):
        raise error

    monkeypatch.setattr(module.bundle, "run_list", raises)
    assert main(["bundle", "list"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_bundle_list_show_verify(trained_folder, capsys):
    assert main(["bundle", "list", "--json"]) == 0
    row = next(row for row in _out(capsys) if row["name"] == "boxes_mr_unet3d")
    assert row["has_weights"] is True and row["dims"] == 3 and row["modality"] == "MR"
    assert main(["bundle", "list"]) == 0
    assert "boxes_mr_unet3d" in capsys.readouterr().out
    assert main(["bundle", "show", "boxes_mr_unet3d", "--json"]) == 0
    assert [label["index"] for label in _out(capsys)["labels"]] == [1, 2]
    assert main(["bundle", "show", "boxes_mr_unet3d"]) == 0
    assert "front  SCT 1 Front" in capsys.readouterr().out
    assert main(["bundle", "verify", "boxes_mr_unet3d"]) == 0
    assert "FAIL" not in capsys.readouterr().out
    trained_folder.weights.write_bytes(trained_folder.weights.read_bytes()[:-1])
    assert main(["bundle", "verify", "boxes_mr_unet3d", "--json"]) == 4


def test_broken_bundles_are_listed_with_their_fault(trained_folder, capsys):
    (trained_folder.path / "configs/metadata.json").write_text("{")
    assert main(["bundle", "list"]) == 0
    line = next(s for s in capsys.readouterr().out.splitlines() if s.startswith("boxes_mr_unet3d"))
    assert "metadata.json" in line


def test_measure(trained_folder, tmp_path, capsys):
    labels = np.zeros((12, 10, 9), np.uint8)
    labels[2:5, 2:5, 2:5], labels[7:9, 7:9, 5:7], labels[2:4, 7:9, 6:8] = 1, 2, 2
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "seg.nii.gz")
    image, out = _scan(tmp_path / "image.nii.gz"), str(tmp_path / "out")
    seg = str(tmp_path / "seg.nii.gz")
    assert main(["measure", seg, "--image", image, "-o", out, "--instances", "--json"]) == 0
    record = _out(capsys)
    names = {m["label"] for m in record["measurements"]}
    assert names == {"label_1", "label_2"}
    assert len({m["instance"] for m in record["measurements"]} - {None}) == 3
    assert (tmp_path / "out/seg/instances.nii.gz").is_file()
    assert main(["measure", seg, "-o", out, "-b", "boxes_mr_unet3d", "--instances", "--json"]) == 0
    record = _out(capsys)
    assert {m["label"] for m in record["measurements"]} == {"front", "back"}
    assert len({m["instance"] for m in record["measurements"]} - {None}) == 2, "only things are counted"
    assert main(["measure", seg, "-o", out]) == 0
    assert "report:" in capsys.readouterr().err


def test_measure_refuses_other_grids_and_folders(tmp_path, capsys):
    (tmp_path / "s").mkdir()
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "s" / "seg.nii.gz")
    seg, image = str(tmp_path / "s" / "seg.nii.gz"), _scan(tmp_path / "image.nii.gz")
    assert main(["measure", seg, "--image", image, "-o", str(tmp_path / "out")]) == 3
    assert "resample one onto the other" in capsys.readouterr().err
    assert main(["measure", str(tmp_path / "s"), "-o", str(tmp_path / "out")]) == 3
    assert "folder where one image file is expected" in capsys.readouterr().err
    (tmp_path / "broken.nii.gz").write_text("no")
    assert main(["measure", str(tmp_path / "broken.nii.gz"), "-o", str(tmp_path / "out")]) == 3
    assert not (tmp_path / "out").exists()


def test_inspect(trained_folder, tmp_path, capsys):
    scan = _scan(tmp_path / "in" / "a.nii.gz")
    assert main(["inspect", scan, "--json"]) == 0
    (entry,) = _out(capsys)["series"]
    assert entry["shape"] == [12, 10, 9] and entry["verdict"] == "usable"
    assert "boxes_mr_unet3d" in entry["bundles"]
    assert main(["inspect", str(tmp_path / "in")]) == 0
    assert "usable" in capsys.readouterr().out
