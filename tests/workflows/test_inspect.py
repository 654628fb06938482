"""What lies at a path, as one record of JSON types."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medseg.errors import InputError
from medseg.workflows.inspect import inspect

sys.path.append(str(Path(__file__).parents[1] / "io" / "dicom"))
import dicom_phantom as dp

BUNDLES = [
    {"name": "ct3", "modality": "CT", "dims": 3},
    {"name": "mr3", "modality": "MR", "dims": 3},
    {"name": "cells", "modality": "microscopy", "dims": 2},
    {"name": "broken", "modality": None, "dims": None},
]
KEYS = ["uid", "modality", "description", "slices", "shape", "spacing_mm", "verdict", "reasons", "bundles"]


def write_nifti(path: Path, shape=(5, 6, 7)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 2.0, 3.0, 1.0])), path)


def test_a_folder_of_many_kinds(tmp_path):
    dp.write(dp.series(modality="MR"), tmp_path / "dicom" / "a")
    dp.write(dp.series("coronal", [0.0], SeriesInstanceUID="1.5"), tmp_path / "dicom" / "b")
    write_nifti(tmp_path / "nifti" / "brain.nii.gz")
    (tmp_path / "nifti" / "bad.nii.gz").write_bytes(b"not gzip")
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "cells.png")
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "empty").touch()
    record = inspect(tmp_path, BUNDLES)
    assert json.loads(json.dumps(record)) == record
    assert record["other"] == {"empty file": 1, "not an image": 1}
    assert all(list(entry) == KEYS for entry in record["series"])
    mr, single, *files = record["series"]
    assert (mr["uid"], mr["modality"], mr["description"]) == (dp.SERIES, "MR", "SECRETDESCRIPTION")
    assert (mr["slices"], mr["shape"], mr["verdict"]) == (12, [36, 40, 12], "usable")
    assert mr["spacing_mm"] == pytest.approx([1.3, 0.8, 2.5])
    assert mr["bundles"] == ["mr3"]
    assert (single["verdict"], single["shape"], single["bundles"]) == ("refused", None, [])
    assert single["reasons"][0].startswith("single slice")
    by_name = {entry["description"]: entry for entry in files}
    assert set(by_name) == {"cells.png", "nifti/bad.nii.gz", "nifti/brain.nii.gz"}
    brain = by_name["nifti/brain.nii.gz"]
    assert (brain["uid"], brain["modality"], brain["slices"]) == (None, None, 7)
    assert (brain["shape"], brain["spacing_mm"]) == ([5, 6, 7], [1.0, 2.0, 3.0])
    assert (brain["verdict"], brain["bundles"]) == ("usable", ["ct3", "mr3"])
    cells = by_name["cells.png"]
    assert (cells["shape"], cells["spacing_mm"], cells["bundles"]) == ([16, 16, 1], None, ["cells"])
    assert cells["verdict"] == "warning"
    bad = by_name["nifti/bad.nii.gz"]
    assert (bad["verdict"], bad["shape"], bad["bundles"]) == ("refused", None, [])
    assert bad["reasons"]


def test_one_file(tmp_path):
    write_nifti(tmp_path / "brain.nii")
    assert inspect(tmp_path / "brain.nii")["series"][0]["description"] == "brain.nii"
    (tmp_path / "brain.nii").rename(tmp_path / "brain")
    assert inspect(tmp_path / "brain")["series"][0]["verdict"] == "usable"
    (path,) = dp.write(dp.series()[:1], tmp_path / "d")
    assert inspect(path)["series"][0]["verdict"] == "refused"
    (tmp_path / "notes").write_text("hello", encoding="utf-8")
    assert inspect(tmp_path / "notes") == {"series": [], "other": {"not an image": 1}}


def test_a_pair_is_one_entry(tmp_path):
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti1Pair(array, np.eye(4)), tmp_path / "pair.img")
    record = inspect(tmp_path)
    assert [entry["description"] for entry in record["series"]] == ["pair.hdr"]
    assert record["other"] == {}
    (tmp_path / "pair.hdr").unlink()
    assert inspect(tmp_path)["series"][0]["verdict"] == "refused"


def test_several_stacks_of_one_series(tmp_path):
    dp.write([dp.enhanced(temporal=(1, 2))], tmp_path)
    record = inspect(tmp_path, BUNDLES)
    assert [entry["slices"] for entry in record["series"]] == [12, 12]
    assert all(entry["verdict"] == "warning" and entry["bundles"] == ["ct3"] for entry in record["series"])


def test_nothing_there(tmp_path):
    assert inspect(tmp_path) == {"series": [], "other": {}}
    with pytest.raises(InputError, match="there is no file or folder"):
        inspect(tmp_path / "absent")
