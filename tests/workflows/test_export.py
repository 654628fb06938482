from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import pytest
import torch

from medseg.bundle.bundle import load_bundle, resolve_parts
from medseg.cli.main import main
from medseg.errors import ConfigurationError, InferenceError
from medseg.inference.backends.openvino_model import is_installed, load_openvino
from medseg.workflows import export as module
from medseg.workflows.export import export_network

if not is_installed():
    pytest.skip("openvino is not installed", allow_module_level=True)
openvino = load_openvino()


@pytest.fixture
def bundle(trained_folder):
    return load_bundle(trained_folder.path)


def _needs(target):
    if target == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxscript")


@pytest.mark.parametrize(
    ("target", "files"), [("openvino", ["model.bin", "model.xml"]), ("onnx", ["model.onnx"])]
)
def test_what_is_written_gives_the_networks_output(bundle, tmp_path, target, files):
    _needs(target)
    exported = export_network(bundle, target, tmp_path / "out")
    assert sorted(p.name for p in exported.folder.iterdir()) == sorted([*files, "metadata.json"])
    metadata = json.loads((exported.folder / "metadata.json").read_text())
    assert metadata == exported.metadata
    assert metadata["weights_sha256"] == bundle.metadata.weights_sha256
    assert metadata["input"]["shape"] == [1, 1, 8, 8, 8] and metadata["output"]["shape"] == [1, 3, 8, 8, 8]
    assert [label["name"] for label in metadata["labels"]] == ["front", "back"]
    assert metadata["input"]["spacing_mm"] == [1.0, 1.0, 1.0] and "not for clinical" in metadata["notice"]
    for name, digest in metadata["files"].items():
        assert hashlib.sha256((exported.folder / name).read_bytes()).hexdigest() == digest

    path = exported.folder / ("model.xml" if target == "openvino" else "model.onnx")
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    window = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(5))
    found = compiled({"image": window.numpy()})["output"]
    with torch.no_grad():
        expected = resolve_parts(bundle).network(window).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_onnx_is_sound_by_its_own_checker(bundle, tmp_path):
    _needs("onnx")
    import onnx

    export_network(bundle, "onnx", tmp_path / "out")
    onnx.checker.check_model(tmp_path / "out" / "model.onnx", full_check=True)


def test_an_earlier_export_is_replaced_whole(bundle, tmp_path):
    _needs("onnx")
    out = tmp_path / "out"
    export_network(bundle, "onnx", out)
    export_network(bundle, "openvino", out)
    assert sorted(p.name for p in out.glob("model.*")) == ["model.bin", "model.xml"]


def test_other_files_are_not_replaced(bundle, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"holds mine\.txt, which is no part of an export"):
        export_network(bundle, "openvino", out)
    with pytest.raises(ConfigurationError, match="is a file"):
        export_network(bundle, "openvino", out / "mine.txt")
    assert (out / "mine.txt").read_text() == "mine"


def test_targets_that_are_refused(bundle, tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="target 'tflite' is not known; expected onnx, openvino"):
        export_network(bundle, "tflite", tmp_path / "out")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r'pip install "medseg\[onnx\]"'):
        export_network(bundle, "onnx", tmp_path / "out")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigurationError, match=r'pip install "medseg\[openvino\]"'):
        export_network(bundle, "openvino", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_has_no_onnx_form(tmp_path):
    _needs("onnx")

    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(InferenceError, match="cannot convert the network to ONNX"):
        module._to_onnx(Odd(), (1, 4, 4, 4), tmp_path)


def test_the_command(trained_folder, tmp_path, capsys):
    args = ["bundle", "export", str(trained_folder.path), "--to", "openvino", "-o", str(tmp_path / "out")]
    assert main(args) == 0
    assert "model.bin, model.xml and metadata.json" in capsys.readouterr().out
    assert main([*args, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "openvino"
