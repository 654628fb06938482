from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
import torch

from medseg.bundle.bundle import load_bundle, resolve_parts
from medseg.errors import ConfigurationError, InferenceError
from medseg.inference.backends import choose as module
from medseg.inference.backends.choose import choose_backend
from medseg.inference.predictor import Predictor, PredictorOptions
from medseg.spatial import Case, Geometry, Volume

needs_openvino = pytest.mark.skipif(not module.is_installed(), reason="openvino is not installed")
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="auto is CUDA here")


@pytest.fixture
def bundle(trained_folder):
    return load_bundle(trained_folder.path)


@pytest.fixture
def parts(bundle):
    return resolve_parts(bundle)


@pytest.fixture
def odd(parts, monkeypatch):
    """Parts with a network that OpenVINO has no rule for."""

    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x).repeat(1, 3, 1, 1, 1)

    object.__setattr__(parts, "network", Odd().eval())
    return parts


@needs_openvino
@on_cpu
def test_auto_is_openvino_on_a_cpu(bundle, parts, tmp_path):
    backend = choose_backend(bundle, parts, cache=tmp_path)
    assert (backend.name, str(backend.device), backend.precision) == ("openvino", "cpu", "fp32")
    assert list(tmp_path.glob("openvino/*/network.xml"))


@on_cpu
def test_auto_is_torch_without_openvino(bundle, parts, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.INFO):
        assert choose_backend(bundle, parts).name == "torch"
    assert 'pip install "medseg[openvino]"' in caplog.text
    with pytest.raises(ConfigurationError, match=r'pip install "medseg\[openvino\]"'):
        choose_backend(bundle, parts, "openvino")
    with pytest.raises(ConfigurationError, match=r'pip install "medseg\[openvino\]"'):
        choose_backend(bundle, parts, "openvino", cache="unused")


@needs_openvino
@on_cpu
def test_only_auto_falls_back(bundle, odd, caplog):
    with caplog.at_level(logging.WARNING):
        assert choose_backend(bundle, odd).name == "torch"
    assert "PyTorch runs the network, for OpenVINO does not: " in caplog.text and "bessel_j0" in caplog.text
    with pytest.raises(InferenceError, match="bessel_j0"):
        choose_backend(bundle, odd, "openvino")


def test_torch_is_torch(bundle, parts):
    assert choose_backend(bundle, parts, "torch", "cpu").name == "torch"


def test_cuda_is_torchs(bundle, parts, monkeypatch):
    made = []
    monkeypatch.setattr(module, "choose_device", torch.device)
    monkeypatch.setattr(module, "TorchBackend", lambda *given: made.append(given[1:]))
    choose_backend(bundle, parts, "auto", "cuda:0", "fp16")
    assert made == [("cuda:0", "fp16")]
    with pytest.raises(ConfigurationError, match="runs on the CPU, not on 'cuda:0'"):
        choose_backend(bundle, parts, "openvino", "cuda:0")


@pytest.mark.parametrize("backend", ["auto", "torch", "openvino"])
def test_fp16_is_refused_on_a_cpu(bundle, parts, backend):
    if backend == "openvino" and not module.is_installed():
        pytest.skip("openvino is not installed")
    with pytest.raises(ConfigurationError, match="fp16 needs a CUDA device"):
        choose_backend(bundle, parts, backend, "cpu", "fp16")


def test_unknown_names_are_refused(bundle, parts):
    with pytest.raises(
        ConfigurationError, match="backend 'onnx' is not known; expected auto, torch, openvino"
    ):
        choose_backend(bundle, parts, "onnx")
    with pytest.raises(ConfigurationError, match="device 'gpu' is not known"):
        choose_backend(bundle, parts, "auto", "gpu")


@needs_openvino
@pytest.mark.parametrize("tta", [False, True])
def test_both_backends_give_one_label_map(bundle, tmp_path, tta):
    values = np.random.default_rng(0).normal(size=(14, 11, 9)).astype(np.float32)
    case = Case("a", {"image": Volume(values, Geometry(np.eye(4), values.shape))})
    maps = []
    for backend in ("torch", "openvino"):
        predictor = Predictor(bundle, PredictorOptions("cpu", tta=tta, backend=backend, cache=tmp_path))
        assert predictor.backend == backend
        maps.append(predictor.predict(case).segmentation.labels)
    assert np.mean(maps[0] == maps[1]) >= 0.999
