"""Each bad input, as a user would give it: the cause by name, exit 3 or 4, nothing written."""

from __future__ import annotations

import copy
import gzip
import json
import os

import nibabel as nib
import numpy as np
import pytest
from dicom_phantom import changed, make_slice, positions, series, write

from medseg.cli.main import main

ROWS = 24


def _image():
    return np.random.default_rng(0).normal(size=(12, 10, 9)).astype(np.float32)


def _save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def _cut(path, *, packed):
    _save(path, _image())
    raw = path.read_bytes()
    if packed:
        path.write_bytes(raw[: len(raw) // 2])
    else:
        inner = gzip.decompress(raw) if path.suffix == ".gz" else raw
        half = inner[: len(inner) // 2]
        path.write_bytes(gzip.compress(half) if path.suffix == ".gz" else half)


def _huge(path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((30_000, 30_000, 30_000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    path.write_bytes(gzip.compress(header.binaryblock + b"\0" * 4))


def _with_value(path, value):
    array = _image()
    array[3, 3, 3] = value
    _save(path, array)


def _affine(path, change):
    image = nib.Nifti1Image(_image(), None)
    affine = np.eye(4)
    change(affine)
    image.header.set_sform(affine, 1)
    image.header.set_qform(None, 0)
    nib.save(image, path)


def _singular(affine):
    affine[:3, 2] = 0


def _not_finite(affine):
    affine[0, 0] = np.nan


FILES = {
    "half a gzip stream": ("x.nii.gz", lambda p: _cut(p, packed=True), "truncated|ends|damaged"),
    "half the voxels, packed": ("x.nii.gz", lambda p: _cut(p, packed=False), "truncated"),
    "half the voxels": ("x.nii", lambda p: _cut(p, packed=False), "truncated"),
    "terabytes claimed": ("x.nii.gz", _huge, "MEDSEG_MAX"),
    "NaN": ("x.nii.gz", lambda p: _with_value(p, np.nan), "NaN"),
    "infinity": ("x.nii.gz", lambda p: _with_value(p, np.inf), "infinite"),
    "singular affine": ("x.nii.gz", lambda p: _affine(p, _singular), "singular"),
    "affine not finite": ("x.nii.gz", lambda p: _affine(p, _not_finite), "NaN or infinite"),
    "4D": ("x.nii.gz", lambda p: _save(p, np.stack([_image()] * 3, -1)), "4D|time point"),
    "constant": ("x.nii.gz", lambda p: _save(p, np.full((8, 8, 8), 7, np.int16)), "constant|every voxel"),
    "zero bytes": ("x.nii.gz", lambda p: p.write_bytes(b""), "empty"),
    "a text file": ("x.nii.gz", lambda p: p.write_text("this is not a scan"), "is a text file"),
}


def _without_position(datasets):
    for ds in datasets:
        del ds.ImagePositionPatient
    return datasets


def _tilted():
    tilted = [p + np.array([0, 0.27 * n, 0]) for n, p in enumerate(positions())]
    return [make_slice(p, "axial", n) for n, p in enumerate(tilted)]


def _duplicate():
    datasets = series()
    twin = changed(datasets[3], SOPInstanceUID="1.2.3.4.5.6", InstanceNumber=99)
    twin.file_meta = copy.deepcopy(twin.file_meta)
    twin.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5.6"
    twin.PixelData = bytes(len(twin.PixelData))
    return [*datasets, twin]


def _mixed():
    axial, coronal = series("axial"), series("coronal")
    return axial[: len(axial) // 2] + coronal[len(coronal) // 2 :]


SERIES = {
    "a missing slice": (lambda: [s for n, s in enumerate(series()) if n != 5], "missing"),
    "duplicate positions": (_duplicate, "same position|position"),
    "uneven spacing": (lambda: series(offsets=[0, 1, 2, 4.4, 5, 8.3, 9, 12]), "uneven|missing"),
    "gantry tilt": (_tilted, "tilt"),
    "one slice": (lambda: series()[:1], "one slice|single"),
    "no positions": (lambda: _without_position(series()), "ImagePositionPatient|position"),
    "localizers alone": (lambda: series(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
}


def _segment(folder, trained_folder, tmp_path):
    return main(["segment", str(folder), "-b", str(trained_folder.path), "-o", str(tmp_path / "out")])


@pytest.mark.parametrize("fault", FILES)
def test_bad_files(fault, trained_folder, tmp_path, capsys):
    name, make, cause = FILES[fault]
    make(tmp_path / name)
    assert _segment(tmp_path / name, trained_folder, tmp_path) == 3
    err = capsys.readouterr().err
    assert any(word in err for word in cause.split("|")), err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", SERIES)
def test_bad_series(fault, trained_folder, tmp_path, capsys):
    make, cause = SERIES[fault]
    write(make(), tmp_path / "series")
    assert _segment(tmp_path / "series", trained_folder, tmp_path) == 3
    err = capsys.readouterr().err
    assert any(word in err for word in cause.split("|")), err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_mixed_orientations_are_two_stacks_never_one(trained_folder, tmp_path, capsys):
    write(_mixed(), tmp_path / "series")
    code = _segment(tmp_path / "series", trained_folder, tmp_path)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert code == 0 and len(run["cases"]) == 2, capsys.readouterr().err


def test_a_good_series_and_its_scout(trained_folder, tmp_path, capsys):
    scout = [
        make_slice(p, "coronal", 80 + n, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        for n, p in enumerate(positions("coronal")[:2])
    ]
    write(series(), tmp_path / "series")
    write(scout, tmp_path / "series", "scout")
    code = _segment(tmp_path / "series", trained_folder, tmp_path)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert sorted(c["outcome"] for c in run["cases"]) == ["done", "skipped"], run
    assert run["failed"] == 0 and run["skipped"] == 1
    assert code == 0, capsys.readouterr().err


def _no_weights(folder):
    folder.weights.unlink()


def _other_network(folder):
    folder.config["network_def"]["channels"] = [4, 16]
    folder.write()


def _flipped_byte(folder):
    raw = bytearray(folder.weights.read_bytes())
    raw[len(raw) // 2] ^= 1
    folder.weights.write_bytes(bytes(raw))


def _foreign_target(folder):
    folder.config["prepare"] = {"_target_": "subprocess.check_output", "args": ["id"]}
    folder.write()


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (_no_weights, "weights"),
        (_other_network, "other network|another network|weights"),
        (_flipped_byte, "sha256|SHA-256|hash"),
        (_foreign_target, "subprocess.check_output"),
    ],
)
def test_bad_bundles(spoil, cause, trained_folder, tmp_path, capsys):
    _save(tmp_path / "x.nii.gz", _image())
    spoil(trained_folder)
    assert _segment(tmp_path / "x.nii.gz", trained_folder, tmp_path) == 4
    err = capsys.readouterr().err
    assert any(word in err for word in cause.split("|")), err
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file(trained_folder, tmp_path, capsys):
    _save(tmp_path / "x.nii.gz", _image())
    (tmp_path / "out").write_text("in the way")
    assert _segment(tmp_path / "x.nii.gz", trained_folder, tmp_path) == 2
    assert "out" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_permission(trained_folder, tmp_path, capsys):
    _save(tmp_path / "x.nii.gz", _image())
    (tmp_path / "out").mkdir(mode=0o500)
    assert _segment(tmp_path / "x.nii.gz", trained_folder, tmp_path) == 2
    assert "cannot be written" in capsys.readouterr().err
