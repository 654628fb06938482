from __future__ import annotations

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from monai.networks.nets import UNet

from medseg.bundle.bundle import load_bundle
from medseg.errors import ConfigurationError, InputError
from medseg.inference.predictor import PredictorOptions
from medseg.io.read import read_segmentation
from medseg.workflows import segment as module
from medseg.workflows.outputs import Step
from medseg.workflows.segment import SegmentOptions, segment


def _scan(path, seed=0, affine=None, shape=(12, 10, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([1.5, 1.0, 1.0, 1.0]) if affine is None else affine), path)
    return path


@pytest.fixture
def bundle(trained_folder):
    return load_bundle(trained_folder.path)


def test_one_case_gives_all_its_files(bundle, tmp_path):
    scan = _scan(tmp_path / "in" / "a.nii.gz")
    steps: list[Step] = []
    (result,) = segment([scan], bundle, tmp_path / "out", listener=steps.append)
    assert not result.failed
    names = {p.name for p in result.folder.iterdir()}
    assert names >= {
        "segmentation.nii.gz", "measurements.json", "measurements.csv", "report.html", "preview.png",
        "case.json",
    }  # fmt: skip
    segmentation = read_segmentation(result.folder / "segmentation.nii.gz", bundle.label_table)
    image = nib.load(scan)
    assert segmentation.geometry.shape == image.shape
    np.testing.assert_allclose(segmentation.geometry.affine, image.affine, atol=1e-4)
    case = json.loads((result.folder / "case.json").read_text())
    assert case["provenance"]["bundle"] == "boxes_mr_unet3d"
    assert case["provenance"]["precision"] == "fp32"
    assert {"read", "prepare", "network", "restore", "measure"} <= set(case["provenance"]["durations_s"])
    for text in ("case.json", "measurements.json", "measurements.csv", "report.html"):
        assert "esearch use only" in (result.folder / text).read_text()
    assert steps[0].done == 0 and steps[-1].result is result
    done = [s.done for s in steps if s.total]
    assert done == sorted(done) and done[-1] == steps[-2].total


def test_a_bad_case_does_not_stop_the_others(bundle, tmp_path):
    folder = tmp_path / "in"
    _scan(folder / "good.nii.gz")
    raw = (folder / "good.nii.gz").read_bytes()
    (folder / "bad.nii.gz").write_bytes(raw[: len(raw) // 2])
    results = segment([folder], bundle, tmp_path / "out")
    assert {r.case_id: r.failed for r in results} == {"good": False, "bad": True}
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["done"] == 1 and run["failed"] == 1
    failed = next(c for c in run["cases"] if c["case"] == "bad")
    assert failed["error"] == "UnreadableFileError" and "truncated" in failed["message"]
    assert failed["retryable"] is False
    assert not (tmp_path / "out" / "bad").exists()


def test_one_bad_case_alone_writes_nothing(bundle, tmp_path):
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(b"this is not a scan"))
    (result,) = segment([tmp_path / "x.nii.gz"], bundle, tmp_path / "out")
    assert isinstance(result.error, InputError)
    assert not (tmp_path / "out").exists()


def test_a_bug_in_one_case_is_recorded_as_one(bundle, tmp_path, monkeypatch, caplog):
    for name in ("a", "b"):
        _scan(tmp_path / "in" / f"{name}.nii.gz")
    real = module.measure
    monkeypatch.setattr(module, "measure", lambda *a: 1 / 0 if calls.pop() else real(*a))
    calls = [False, True]
    results = segment([tmp_path / "in"], bundle, tmp_path / "out")
    assert [r.failed for r in results] == [True, False]
    record = json.loads((tmp_path / "out" / "run.json").read_text())["cases"][0]
    assert record["error"] == "ZeroDivisionError" and record["message"].startswith("a bug in medseg")


def test_equal_names_keep_two_outputs(bundle, tmp_path):
    for seed, name in enumerate(
        ("p1/image.nii.gz", "p2/image.nii.gz", "1.2.3.1/image.nii", "1.2.3.10/image.nii")
    ):
        _scan(tmp_path / "in" / name, seed)
    results = segment([tmp_path / "in"], bundle, tmp_path / "out")
    assert len({r.folder for r in results}) == 4
    assert all((r.folder / "segmentation.nii.gz").is_file() for r in results)


def test_a_second_run_never_overwrites_another_scan(bundle, tmp_path):
    first = _scan(tmp_path / "a" / "scan.nii.gz", 1)
    second = _scan(tmp_path / "b" / "scan.nii.gz", 2)
    (one,) = segment([first], bundle, tmp_path / "out")
    before = (one.folder / "segmentation.nii.gz").read_bytes()
    (two,) = segment([second], bundle, tmp_path / "out")
    assert two.folder != one.folder and two.folder.name.startswith("scan-")
    assert (one.folder / "segmentation.nii.gz").read_bytes() == before
    (again,) = segment([first], bundle, tmp_path / "out")
    assert again.folder == one.folder
    assert (one.folder / "segmentation.nii.gz").read_bytes() == before, "the same input gives the same bytes"
    (two_again,) = segment([second], bundle, tmp_path / "out")
    assert two_again.folder == two.folder


@pytest.mark.parametrize("code", ["LPS", "PIR", "LIA", "SAR"])
def test_axis_order_does_not_change_a_voxel(bundle, tmp_path, code):
    scan = nib.load(_scan(tmp_path / "ras.nii.gz", 3, np.eye(4)))
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(scan.affine), nib.orientations.axcodes2ornt(tuple(code))
    )
    nib.save(scan.as_reoriented(turn), tmp_path / "turned.nii.gz")
    results = segment([tmp_path / "ras.nii.gz", tmp_path / "turned.nii.gz"], bundle, tmp_path / "out")
    one, two = (nib.load(r.folder / "segmentation.nii.gz") for r in results)
    np.testing.assert_array_equal(np.asarray(one.as_reoriented(turn).dataobj), np.asarray(two.dataobj))
    np.testing.assert_allclose(one.as_reoriented(turn).affine, two.affine, atol=1e-4)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
def test_other_formats(bundle, tmp_path, suffix):
    scan = _scan(tmp_path / "a.nii.gz")
    (result,) = segment([scan], bundle, tmp_path / "out", SegmentOptions(suffix=suffix))
    again = read_segmentation(result.folder / f"segmentation{suffix}", bundle.label_table)
    np.testing.assert_allclose(again.geometry.affine, nib.load(scan).affine, atol=1e-4)


def test_a_slice_is_no_volume(bundle, tmp_path):
    (result,) = segment([_scan(tmp_path / "a.nii.gz", shape=(12, 10, 1))], bundle, tmp_path / "out")
    with pytest.raises(InputError, match="single slice"):
        raise result.error


def test_ct_for_an_mr_bundle_is_doubted(bundle, tmp_path, monkeypatch):
    real = module.read_case

    def as_ct(ref, limits):
        case = real(ref, limits)
        volume = case.channels["image"]
        ct = type(volume)(volume.array, volume.geometry, module.Unit.HU, volume.source)
        return type(case)(case.id, {"image": ct})

    monkeypatch.setattr(module, "read_case", as_ct)
    (result,) = segment([_scan(tmp_path / "a.nii.gz")], bundle, tmp_path / "out")
    assert any("the scan is a CT" in warning for warning in result.warnings)


def test_mirroring_needs_declared_axes(trained_folder, tmp_path):
    scan = _scan(tmp_path / "a.nii.gz")
    options = SegmentOptions(predictor=PredictorOptions(tta=True))
    (result,) = segment([scan], load_bundle(trained_folder.path), tmp_path / "out", options)
    assert json.loads((result.folder / "case.json").read_text())["provenance"]["options"]["tta"] is True
    del trained_folder.config["mirror_axes"]
    trained_folder.write()
    with pytest.raises(ConfigurationError, match="declares no mirror_axes"):
        segment([scan], load_bundle(trained_folder.path), tmp_path / "out", options)


def test_an_output_folder_that_cannot_be_written(bundle, tmp_path):
    (tmp_path / "file").write_text("in the way")
    (result,) = segment([_scan(tmp_path / "a.nii.gz")], bundle, tmp_path / "file" / "out")
    assert isinstance(result.error, ConfigurationError)


def test_leftovers_of_a_killed_run_are_swept(bundle, tmp_path):
    scan = _scan(tmp_path / "a.nii.gz")
    segment([scan], bundle, tmp_path / "out")
    shutil.copytree(tmp_path / "out" / "a", tmp_path / "out" / "kept-by-user")
    segment([scan], bundle, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "kept-by-user", "run.json"]


def test_results_within_the_input_are_no_cases(bundle, tmp_path):
    _scan(tmp_path / "in" / "a.nii.gz")
    out = tmp_path / "in" / "results"
    for _ in range(2):
        assert [r.case_id for r in segment([tmp_path / "in"], bundle, out)] == ["a"]


def test_a_volume_is_no_picture(bundle_folder, tmp_path):
    bundle_folder.config["network_def"]["spatial_dims"] = 2
    bundle_folder.config["inferer"]["roi_size"] = [8, 8]
    bundle_folder.metadata["medseg"]["dims"] = 2
    arguments = {k: v for k, v in bundle_folder.config["network_def"].items() if k != "_target_"}
    flat = load_bundle(bundle_folder.save(UNet(**arguments).state_dict()).path)
    (result,) = segment([_scan(tmp_path / "a.nii.gz")], flat, tmp_path / "out")
    with pytest.raises(InputError, match="segments 2D images"):
        raise result.error
    (result,) = segment([_scan(tmp_path / "b.nii.gz", shape=(12, 10, 1))], flat, tmp_path / "out")
    assert (result.folder / "segmentation.tif").is_file()
