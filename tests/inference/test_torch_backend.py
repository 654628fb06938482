from __future__ import annotations

import pytest
import torch

from medseg.errors import ConfigurationError, DeviceMemoryError
from medseg.inference.backends.torch_backend import TorchBackend, choose_device


class _Shift(torch.nn.Module):
    """Moves content by one voxel along the first axis: what mirroring must undo."""

    def forward(self, x):
        return torch.roll(x, 1, dims=2)


def test_mirroring_averages_every_combination_of_flips():
    windows = torch.arange(24, dtype=torch.float32).reshape(1, 1, 4, 3, 2)
    output = TorchBackend(_Shift(), "cpu", "fp32").run(windows, (0, 2))
    forward, backward = torch.roll(windows, 1, dims=2), torch.roll(windows, -1, dims=2)
    torch.testing.assert_close(output, (2 * forward + 2 * backward) / 4)


def test_without_mirroring_it_is_the_network():
    windows = torch.randn(2, 1, 4, 4, 4)
    network = torch.nn.Conv3d(1, 2, 3, padding=1).eval()
    with torch.no_grad():
        torch.testing.assert_close(TorchBackend(network, "cpu", "auto").run(windows), network(windows))


def test_bf16_gives_float32_near_fp32():
    windows = torch.randn(1, 1, 8, 8, 8)
    network = torch.nn.Conv3d(1, 2, 3, padding=1).eval()
    low = TorchBackend(network, "cpu", "bf16").run(windows)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, TorchBackend(network, "cpu", "fp32").run(windows), atol=0.05, rtol=0.05)


def test_precision_is_what_was_asked():
    assert TorchBackend(_Shift(), "cpu", "auto").precision == "fp32"
    with pytest.raises(ConfigurationError, match="'fp8' is not known"):
        TorchBackend(_Shift(), "cpu", "fp8")
    with pytest.raises(ConfigurationError, match="fp16 needs a CUDA device"):
        TorchBackend(_Shift(), "cpu", "fp16")


@pytest.mark.parametrize(
    ("device", "message"),
    [("gpu", "is not known"), ("mps", "is not supported"), ("cuda:99", "is not there")],
)
def test_unknown_devices_are_refused(device, message):
    with pytest.raises(ConfigurationError, match=message):
        choose_device(device)


def test_auto_is_cuda_where_there_is_one():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_out_of_memory_is_named():
    class Hungry(torch.nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(DeviceMemoryError, match="ran out of memory"):
        TorchBackend(Hungry(), "cpu", "fp32").run(torch.zeros(1, 1, 2, 2, 2))
