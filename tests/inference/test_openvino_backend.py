from __future__ import annotations

import itertools
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.errors import ConfigurationError, DeviceMemoryError, InferenceError
from medseg.inference.backends import openvino_backend as module
from medseg.inference.backends import openvino_model
from medseg.inference.backends.openvino_backend import OpenVINOBackend, cache_folder
from medseg.inference.backends.openvino_model import convert, load_openvino
from medseg.inference.backends.torch_backend import TorchBackend

if not openvino_model.is_installed():
    pytest.skip("openvino is not installed", allow_module_level=True)
openvino = load_openvino()  # not imported as it is, for then it would report that to its makers

SHAPE = (1, 8, 8, 8)
HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def network():
    """A small U-Net with instance norm and transposed convolutions."""
    from monai.networks.nets import UNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return UNet(3, 1, 3, [4, 8], [2], norm="INSTANCE").eval().requires_grad_(requires_grad=False)


def _windows(count):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(count))


def _difference(one, two):
    return float((one - two).norm() / two.norm())


@pytest.mark.parametrize("mirror_axes", [(), (0,), (0, 1, 2)])
@pytest.mark.parametrize("count", [1, 3])
def test_fp32_gives_pytorchs_output(network, count, mirror_axes):
    windows = _windows(count)
    backend = OpenVINOBackend(network, SHAPE, "auto")
    found = backend.run(windows, mirror_axes)
    expected = TorchBackend(network, "cpu", "fp32").run(windows, mirror_axes)
    assert (backend.name, str(backend.device), backend.precision) == ("openvino", "cpu", "fp32")
    assert found.dtype == torch.float32 and found.shape == expected.shape
    assert _difference(found, expected) <= 1e-5


def test_a_windows_output_does_not_depend_on_its_neighbours(network):
    windows = _windows(5)
    backend = OpenVINOBackend(network, SHAPE, "fp32")
    one_by_one = torch.cat([backend.run(window[None]) for window in windows])
    torch.testing.assert_close(backend.run(windows), one_by_one, rtol=0, atol=0)


def test_windows_may_be_views(network):
    backend = OpenVINOBackend(network, SHAPE, "fp32")
    window = torch.randn(1, 1, 8, 8, 16)[..., ::2]
    torch.testing.assert_close(backend.run(window), backend.run(window.clone()), rtol=0, atol=0)


def test_two_dimensions():
    network = torch.nn.Conv2d(2, 3, 3, padding=1).eval()
    windows = torch.randn(2, 2, 6, 5)
    with torch.no_grad():
        expected = network(windows)
    assert _difference(OpenVINOBackend(network, (2, 6, 5), "fp32").run(windows), expected) <= 1e-5


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bf16")
def test_precision_is_what_was_asked_and_never_openvinos_default(network, tmp_path):
    expected = TorchBackend(network, "cpu", "fp32").run(_windows(1))
    low = OpenVINOBackend(network, SHAPE, "bf16", tmp_path / "low").run(_windows(1))
    assert 1e-4 < _difference(low, expected) < 0.05
    for _ in range(2):
        high = OpenVINOBackend(network, SHAPE, "fp32", tmp_path / "high").run(_windows(1))
        assert _difference(high, expected) <= 1e-5


@pytest.mark.parametrize(
    ("precision", "message"), [("fp16", "fp16 needs a CUDA device"), ("fp8", "'fp8' is not known")]
)
def test_precisions_that_are_refused(network, precision, message):
    with pytest.raises(ConfigurationError, match=message):
        OpenVINOBackend(network, SHAPE, precision)


def test_bf16_needs_a_cpu_that_has_it(network, monkeypatch):
    class Core:
        def get_property(self, device, name):
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino, "Core", Core)
    with pytest.raises(ConfigurationError, match="this CPU has no bf16"):
        OpenVINOBackend(network, SHAPE, "bf16")


def test_the_cache_is_used(network, tmp_path, monkeypatch):
    cache = tmp_path / "deep" / "key"
    first = OpenVINOBackend(network, SHAPE, "fp32", cache).run(_windows(1))
    names = {path.name for path in cache.iterdir()}
    assert {"network.xml", "network.bin"} < names and any(name.endswith(".blob") for name in names)
    weights = sum(p.numel() for p in network.parameters())
    assert (cache / "network.bin").stat().st_size >= 4 * weights, "weights are kept in float32"

    monkeypatch.setattr(module, "convert", lambda *_: pytest.fail("converted again"))
    changed = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    again = OpenVINOBackend(network, SHAPE, "fp32", cache).run(_windows(1))
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    assert changed == {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert list(cache.parent.iterdir()) == [cache], "nothing unfinished is left"


@pytest.mark.parametrize(("name", "told"), [("network.bin", True), ("network.xml", True), ("*.blob", False)])
def test_a_damaged_cache_costs_time_only(network, tmp_path, caplog, name, told):
    cache = tmp_path / "key"
    first = OpenVINOBackend(network, SHAPE, "fp32", cache).run(_windows(1))
    for path in cache.glob(name):
        path.write_bytes(path.read_bytes()[:20])
    with caplog.at_level(logging.WARNING):
        again = OpenVINOBackend(network, SHAPE, "fp32", cache).run(_windows(1))
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    assert ("made anew, for it is damaged" in caplog.text) == told
    assert (cache / "network.bin").stat().st_size > 20


def test_a_cache_that_cannot_be_written_costs_time_only(network, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        backend = OpenVINOBackend(network, SHAPE, "fp32", tmp_path / "file" / "key")
    assert "is not kept for the next run" in caplog.text
    assert backend.run(_windows(1)).shape == (1, 3, 8, 8, 8)


def test_a_read_only_cache_is_read(network, tmp_path, monkeypatch):
    cache = tmp_path / "key"
    first = OpenVINOBackend(network, SHAPE, "fp32", cache).run(_windows(1))
    for path in cache.glob("*.blob"):
        path.unlink()
    monkeypatch.setattr(os, "access", lambda *_: False)
    again = OpenVINOBackend(network, SHAPE, "fp32", cache).run(_windows(1))
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    assert not list(cache.glob("*.blob"))


def test_each_difference_has_its_own_folder(tmp_path):
    a = {"weights": "a", "config": "c"}
    folders = [
        cache_folder(tmp_path, a, SHAPE, "fp32"),
        cache_folder(tmp_path, a, SHAPE, "bf16"),
        cache_folder(tmp_path, a, (1, 8, 8, 16), "fp32"),
        cache_folder(tmp_path, a | {"weights": "b"}, SHAPE, "fp32"),
        cache_folder(tmp_path, a | {"config": "b"}, SHAPE, "fp32"),
    ]
    assert all(one != two for one, two in itertools.combinations(folders, 2))
    assert cache_folder(tmp_path, a, SHAPE, "auto") == folders[0]
    assert {folder.parent for folder in folders} == {tmp_path / "openvino"}


class _Unconvertible(torch.nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


class _Two(torch.nn.Module):
    def forward(self, x):
        return x + 1, x - 1


class _Pooled(torch.nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3, 4), keepdim=True)


class _Branching(torch.nn.Module):
    """Depends on the window in a way that tracing freezes."""

    def forward(self, x):
        return x * 2 if bool(x.flatten()[4] > 0) else x * 3


class _Failing(torch.nn.Module):
    def forward(self, x):
        raise ValueError("no such layer\nand more")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (_Unconvertible(), "cannot convert the network: .*No conversion rule.*bessel_j0.*--backend torch"),
        (_Failing(), "cannot convert the network: no such layer; use"),
        (_Two(), r"outputs of .*, .* for a window of \(8, 8, 8\); expected one array"),
        (_Pooled(), r"outputs of \[1,1,1,1,1\] for a window"),
        (_Branching(), "OpenVINO's output differs from PyTorch's by .* expected at most 1e-03 at fp32"),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_networks_that_are_refused(network, message, cached, tmp_path):
    level = logging.getLogger().level
    with pytest.raises(InferenceError, match=message):
        OpenVINOBackend(network, SHAPE, "fp32", tmp_path / "key" if cached else None)
    assert list(tmp_path.iterdir()) == [], "nothing is kept"
    assert logging.getLogger().level == level, "OpenVINO's converter silences the root logger"


def test_a_network_that_cannot_be_compiled(network, monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("Exception from src/plugin.cpp:1:\nError: no kernel")

    monkeypatch.setattr(module, "compile_model", fail)
    for cache in (None, tmp_path / "key"):
        with pytest.raises(InferenceError, match="cannot compile the network: Error: no kernel"):
            OpenVINOBackend(network, SHAPE, "fp32", cache)


def test_a_window_of_another_shape(network):
    with pytest.raises(InferenceError, match=r"failed on windows of \(1, 8, 8, 4\), expected \(1, 8, 8, 8\)"):
        OpenVINOBackend(network, SHAPE, "fp32").run(torch.zeros(1, 1, 8, 8, 4))


def test_out_of_memory_is_named(network, monkeypatch):
    backend = OpenVINOBackend(network, SHAPE, "fp32")

    class Request:
        def infer(self, inputs):
            raise MemoryError

    monkeypatch.setattr(backend, "_request", Request())
    with pytest.raises(DeviceMemoryError, match=r"memory ran out on windows of \(8, 8, 8\)"):
        backend.run(_windows(1))


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigurationError, match=r'pip install "medseg\[openvino\]"'):
        load_openvino()


def test_a_package_that_is_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(openvino_model, "is_installed", lambda: True)
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        load_openvino()
    assert sys.modules.get("openvino_telemetry", 0) is not None


def test_no_usage_data_is_sent(tmp_path):
    """Whatever the package's default is, its reporting module is never even loaded."""
    script = (
        "import sys, torch\n"
        "from medseg.inference.backends.openvino_backend import OpenVINOBackend\n"
        "OpenVINOBackend(torch.nn.Conv2d(1, 2, 1).eval(), (1, 4, 4), 'fp32')\n"
        "assert 'openvino' in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []


def test_the_callers_own_reporting_module_stays(monkeypatch):
    own = object()
    monkeypatch.setitem(sys.modules, "openvino_telemetry", own)
    load_openvino()
    assert sys.modules["openvino_telemetry"] is own


def test_conversion_keeps_float32(network, tmp_path):
    model = convert(network, SHAPE)
    kinds = {str(node.get_element_type()) for node in model.get_ops() if node.get_type_name() == "Constant"}
    assert "<Type: 'float16'>" not in kinds and "<Type: 'float32'>" in kinds


@pytest.mark.slow
def test_the_shipped_network_on_a_real_scan(tmp_path):
    """Logits within 1e-4 of PyTorch's, and 99.99 % of the labels alike, plain and mirrored."""
    import medseg
    from medseg.inference.predictor import Predictor, PredictorOptions
    from medseg.inference.windows import plan_windows
    from medseg.spatial.crop import crop_to_box_mm
    from medseg.spatial.resample import resample_volume
    from medseg.workflows.demo import BOXES_MM, template_path

    bundle = medseg.load_bundle(medseg.find_bundle("hippocampus_mr_unet3d"))
    head = medseg.read_volume(template_path())
    part = resample_volume(head, crop_to_box_mm(head.geometry, *BOXES_MM["left_hippocampus"]))
    case = medseg.Case("left", {"image": part})
    for tta in (False, True):
        labels = {}
        for backend in ("torch", "openvino"):
            predictor = Predictor(bundle, PredictorOptions(tta=tta, backend=backend, cache=tmp_path))
            assert predictor.backend == backend
            labels[backend] = predictor.predict(case).segmentation.labels
        assert np.mean(labels["torch"] == labels["openvino"]) >= 0.9999
        assert set(np.unique(labels["openvino"])) == {0, 1, 2}

    prepared = predictor._prepare(case).array
    plan = plan_windows(prepared.shape[1:], predictor.parts.windows.roi_size, 0.5)
    padded = torch.nn.functional.pad(prepared, [n for pair in reversed(plan.padding) for n in pair])
    cut = [tuple(slice(s, s + n) for s, n in zip(at, plan.roi_size, strict=True)) for at in plan.starts]
    windows = torch.stack([padded[(slice(None), *place)] for place in cut])
    network = predictor.parts.network
    expected = TorchBackend(network, "cpu", "fp32").run(windows)
    found = OpenVINOBackend(network, (1, *plan.roi_size), "fp32", tmp_path / "one").run(windows)
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-4


def test_folders_of_killed_runs_are_swept(network, tmp_path):
    from medseg.io.atomic import commit_folder

    with pytest.raises(KeyError), commit_folder(tmp_path / "other") as folder:
        keep = tmp_path / folder.name.replace(f".{os.getpid()}.", ".999999999.")
        shutil.copytree(folder, keep)
        raise KeyError
    assert keep.exists()
    OpenVINOBackend(network, SHAPE, "fp32", tmp_path / "key")
    assert not keep.exists() and Path(tmp_path / "key").is_dir()
