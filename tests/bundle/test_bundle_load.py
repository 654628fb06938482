"""A bundle as a whole: read without a network library, then built."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from medseg.bundle.bundle import load_bundle, resolve_parts
from medseg.bundle.files import shown
from medseg.errors import BundleNotFoundError, InvalidBundleError, UntrustedBundleError


def test_loads_as_data(trained_folder):
    bundle = load_bundle(trained_folder.path)
    assert (bundle.name, bundle.trust) == ("boxes_mr_unet3d", "data")
    assert [label.name for label in bundle.label_table] == ["front", "back"]
    assert len(bundle.config_sha256) == 64


def test_loading_imports_no_network_library(trained_folder):
    code = (
        "import sys; from pathlib import Path; from medseg.bundle.bundle import load_bundle;"
        "load_bundle(Path(sys.argv[1])); assert not {'torch', 'monai'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(trained_folder.path)], check=True)


def test_the_hash_covers_metadata_and_configuration(bundle_folder):
    before = load_bundle(bundle_folder.path).config_sha256
    assert load_bundle(bundle_folder.write().path).config_sha256 == before
    bundle_folder.metadata["version"] = "0.1.1"
    after = load_bundle(bundle_folder.write().path).config_sha256
    bundle_folder.config["mirror_axes"] = []
    assert len({before, after, load_bundle(bundle_folder.write().path).config_sha256}) == 3


def test_builds_every_part(trained_folder):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    parts = resolve_parts(load_bundle(trained_folder.path))
    assert torch.equal(torch.get_rng_state(), state)
    orientation, spacing_mm = parts.grid
    assert (orientation, spacing_mm) == ("RAS", (1.0, 1.0, 1.0))
    windows = parts.windows
    assert (windows.roi_size, windows.overlap) == ((8, 8, 8), 0.5)
    assert (windows.mode, windows.batch_size) == ("gaussian", 2)
    assert parts.mirror_axes == (0,)
    assert list(parts.clean.keep_largest) == [1]
    assert parts.head is None
    assert not parts.network.training
    assert not any(parameter.requires_grad for parameter in parts.network.parameters())
    expected = trained_folder.network().eval()
    window = parts.prepare(torch.rand(1, 8, 8, 8))[None]
    with torch.inference_mode():
        assert torch.equal(parts.network(window), expected(window))
        assert torch.allclose(parts.activation(parts.network(window)[0]).sum(0), torch.tensor(1.0))


def test_builds_without_weights_for_training(bundle_folder):
    parts = resolve_parts(load_bundle(bundle_folder.path), with_weights=False)
    assert all(parameter.requires_grad for parameter in parts.network.parameters())
    with pytest.raises(InvalidBundleError, match="has no weights"):
        resolve_parts(load_bundle(bundle_folder.path))


def test_reads_json_configurations_too(trained_folder):
    (trained_folder.path / "configs/inference.yaml").unlink()
    with pytest.raises(InvalidBundleError, match=r"has no configs/inference.yaml; expected exactly one"):
        load_bundle(trained_folder.path)
    text = json.dumps(trained_folder.config)
    (trained_folder.path / "configs/inference.json").write_text(text, encoding="utf-8")
    assert resolve_parts(load_bundle(trained_folder.path)).windows.roi_size == (8, 8, 8)
    (trained_folder.path / "configs/inference.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidBundleError, match=r"has configs/inference.yaml and configs/inference.json"):
        load_bundle(trained_folder.path)


def test_parts_may_be_left_out_or_disabled(bundle_folder):
    for key in ("clean", "mirror_axes"):
        del bundle_folder.config[key]
    bundle_folder.config["inferer"] = {
        "_target_": bundle_folder.config["inferer"]["_target_"],
        "roi_size": 16,
    }
    parts = resolve_parts(load_bundle(bundle_folder.write().path), with_weights=False)
    assert (parts.clean, parts.mirror_axes) == (None, ())
    assert (parts.windows.roi_size, parts.windows.overlap) == ((16, 16, 16), 0.25)
    assert (parts.windows.mode, parts.windows.batch_size) == ("constant", 1)


_CLEAN = {"_target_": "medseg.modeling.transforms.CleanLabels"}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("grid", None, "has no entry grid"),
        ("network_def", None, "has no entry network_def"),
        ("prepare", None, "has no entry prepare"),
        ("inferer", None, "has no entry inferer"),
        ("activation", None, "neither an activation nor a head"),
        ("grid", [1], "grid is a list with 1 entries; expected orientation and spacing_mm"),
        ("grid", {"orientation": "RAS"}, "expected orientation and spacing_mm"),
        ("grid", {"orientation": "RAX", "spacing_mm": [1, 1, 1]}, "grid::orientation is 'RAX'"),
        ("grid", {"orientation": 3, "spacing_mm": [1, 1, 1]}, "grid::orientation is 3"),
        ("grid", {"orientation": "RAS", "spacing_mm": [1, 1]}, "grid::spacing_mm is a list"),
        ("grid", {"orientation": "RAS", "spacing_mm": [1, 1, 0]}, "three numbers from 0.001 to 100"),
        ("grid", {"orientation": "RAS", "spacing_mm": [1, 1, True]}, "three numbers"),
        ("grid", {"orientation": "RAS", "spacing_mm": 1}, "three numbers"),
        ("network_def", 3, "network_def is a int; expected a network"),
        ("network_def", _CLEAN, "network_def is a CleanLabels; expected a network"),
        ("prepare", 3, "prepare is 3; expected a component"),
        ("prepare", {**_CLEAN, "_disabled_": True}, "prepare is disabled"),
        ("activation", [1], "activation is a list"),
        ("clean", "x", "clean is 'x'"),
        ("inferer", _CLEAN, "inferer names no inferer"),
        ("inferer", {"_target_": "monai.inferers.SlidingWindowInferer"}, "roi_size is None; expected 3"),
        (
            "inferer",
            {"_target_": "monai.inferers.SlidingWindowInferer", "roi_size": [8, 8]},
            "expected 3 lengths",
        ),
        ("mirror_axes", 3, "mirror_axes is 3; expected a list of axes from 0 to 2"),
        ("mirror_axes", [3], "expected a list of axes"),
        ("mirror_axes", [True], "expected a list of axes"),
    ],
)
def test_refuses_parts_that_are_missing_or_wrong(bundle_folder, key, value, says):
    if value is None:
        del bundle_folder.config[key]
    else:
        bundle_folder.config[key] = value
    with pytest.raises(InvalidBundleError, match=says):
        resolve_parts(load_bundle(bundle_folder.write().path), with_weights=False)


def test_refuses_arguments_that_medseg_would_not_honour(bundle_folder):
    bundle_folder.config["inferer"]["sigma_scale"] = 0.3
    with pytest.raises(UntrustedBundleError, match="the argument 'sigma_scale', which a bundle may not set"):
        resolve_parts(load_bundle(bundle_folder.write().path), with_weights=False)


def test_says_that_there_is_no_bundle(tmp_path):
    with pytest.raises(BundleNotFoundError, match=r"configs/metadata.json is missing"):
        load_bundle(tmp_path)


def test_says_that_a_file_cannot_be_read(bundle_folder, monkeypatch):
    bundle = bundle_folder.path
    original = type(bundle).open

    def closed(self, *arguments, **options):
        if self.name == "inference.yaml":
            raise PermissionError(13, "Permission denied")
        return original(self, *arguments, **options)

    monkeypatch.setattr(type(bundle), "open", closed)
    with pytest.raises(InvalidBundleError, match=r"inference.yaml cannot be read \(Permission denied\)"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 200, "'" + "x" * 78 + "…"),
        ("a\nb\x1b", r"'a\nb\x1b'"),
        ("é", r"'\xe9'"),
        (10**50, "a number of more than 40 digits"),
        ([1, 2], "a list with 2 entries"),
        ({}, "a dict with 0 entries"),
        (b"x", "b'x'"),
        (1.5, "1.5"),
    ],
)
def test_values_are_shown_short_and_escaped(value, text):
    assert shown(value) == text
