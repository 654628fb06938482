"""Finding and listing bundles."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import medseg
from medseg.bundle.bundle import load_bundle
from medseg.bundle.store import describe, find_bundle, list_bundles
from medseg.errors import BundleNotFoundError


def test_finds_by_path_and_by_name(bundle_folder):
    folder = bundle_folder.path
    assert find_bundle(folder) == folder
    assert find_bundle(str(folder)) == folder
    assert find_bundle(folder.name, [folder.parent]) == folder
    assert find_bundle(folder.name, [folder.parent / "nowhere", folder.parent]) == folder


def test_an_explicit_path_comes_first_then_the_order_of_folders(bundle_folder, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere"
    shutil.copytree(bundle_folder.path, other / bundle_folder.path.name)
    assert find_bundle(bundle_folder.path.name, [other, tmp_path]) == other / bundle_folder.path.name
    listed = {row["name"]: row["path"] for row in list_bundles([other, tmp_path])}
    assert listed[bundle_folder.path.name] == str(other / bundle_folder.path.name)
    monkeypatch.chdir(tmp_path)
    assert find_bundle(bundle_folder.path.name, [other]).resolve() == bundle_folder.path


def test_finds_bundles_that_ship_with_the_package(bundle_folder, tmp_path, monkeypatch):
    package = tmp_path / "site/medseg"
    shutil.copytree(bundle_folder.path, package.parent / "bundles/from_checkout")
    monkeypatch.setattr(medseg, "__file__", str(package / "__init__.py"))
    assert find_bundle("from_checkout") == package.parent / "bundles/from_checkout"
    shutil.copytree(bundle_folder.path, package / "_bundles/from_wheel")
    assert find_bundle("from_wheel") == package / "_bundles/from_wheel"
    assert [row["name"] for row in list_bundles()] == ["from_wheel"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "boxes_mr_unet",
            r"called 'boxes_mr_unet' \(did you mean boxes_mr_unet3d\?\); there are: .*boxes_mr_un",
        ),
        ("zzz", r"called 'zzz'; there are: "),
        ("", r"called ''|no bundle at"),
        ("../x", "there is no bundle at ../x: configs/metadata.json is missing"),
        ("UPPER", "called 'UPPER'"),
        ("x" * 5_000, "called 'xxx"),
        ("a\x00b", "called"),
    ],
)
def test_says_what_there_is(bundle_folder, name, says):
    with pytest.raises(BundleNotFoundError, match=says):
        find_bundle(name, [bundle_folder.path.parent])


def test_a_folder_without_metadata_is_no_bundle(tmp_path):
    with pytest.raises(BundleNotFoundError, match="is missing"):
        find_bundle(tmp_path)


def test_lists_good_and_broken_bundles(trained_folder, tmp_path):
    shutil.copytree(trained_folder.path, tmp_path / "a_broken")
    (tmp_path / "a_broken/configs/metadata.json").write_text("{}", encoding="utf-8")
    shutil.copytree(trained_folder.path, tmp_path / "weightless")
    (tmp_path / "weightless/models/model.pt").unlink()
    shutil.copytree(trained_folder.path, tmp_path / "Not A Name")
    (tmp_path / "a_file").write_text("x", encoding="utf-8")
    rows = {row["name"]: row for row in list_bundles([tmp_path, tmp_path / "nowhere"])}
    assert {"a_broken", "boxes_mr_unet3d", "weightless"} <= set(rows)
    assert "Not A Name" not in rows
    assert "field version is missing" in rows["a_broken"]["error"]
    assert not rows["weightless"]["has_weights"]
    good = rows["boxes_mr_unet3d"]
    assert good == {
        "name": "boxes_mr_unet3d",
        "path": str(trained_folder.path),
        "version": "0.1.0",
        "task": "two boxes",
        "dims": 3,
        "modality": "MR",
        "channels": ["t1"],
        "labels": [
            {"index": 1, "name": "front", "kind": "stuff",
             "code": {"scheme": "SCT", "value": "1", "meaning": "Front"}},
            {"index": 2, "name": "back", "kind": "thing", "code": None},
        ],
        "has_weights": True,
        "error": None,
    }  # fmt: skip
    assert json.loads(json.dumps(list(rows.values())))


def test_describes_one_bundle(trained_folder):
    record = describe(load_bundle(trained_folder.path))
    assert record["labels"][0]["index"] == 1
    assert record["trust"] == "data"
    assert record["limits"] == ["is not trained"]
    assert len(record["weights_sha256"]) == len(record["config_sha256"]) == 64
    assert "error" not in record
    assert json.loads(json.dumps(record)) == record


def test_the_bundles_of_this_checkout_are_sound():
    checkout = Path(medseg.__file__).parents[1] / "bundles"
    for row in list_bundles():
        if Path(row["path"]).is_relative_to(checkout):
            assert row["error"] is None, row["error"]


def test_listing_imports_no_network_library(trained_folder):
    code = (
        "import sys; from pathlib import Path; from medseg.bundle.store import list_bundles;"
        "assert list_bundles([Path(sys.argv[1])]); assert not {'torch', 'monai'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(trained_folder.path.parent)], check=True)
