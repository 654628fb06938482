"""PyTorch runs the network, on a CPU or a CUDA device."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medseg.errors import ConfigurationError, DeviceMemoryError
from medseg.inference.backends.mirror import mirrored_mean

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend:
    """A network on a device, at one precision.

    Args:
        network: in evaluation mode, weights loaded.
        device: ``auto``, ``cpu`` or ``cuda:N``.
        precision: ``fp32``, ``bf16``, ``fp16``, or ``auto`` for fp32; never changed afterwards.

    Raises:
        ConfigurationError: no such device or precision, or fp16 on a CPU.
    """

    name = "torch"

    def __init__(self, network: torch.nn.Module, device: str, precision: str) -> None:
        self.device = choose_device(device)
        self.precision = "fp32" if precision == "auto" else precision
        if self.precision not in PRECISIONS:
            raise ConfigurationError(
                f"precision {precision!r} is not known; expected auto, {', '.join(PRECISIONS)}"
            )
        if self.precision == "fp16" and self.device.type == "cpu":
            raise ConfigurationError("fp16 needs a CUDA device; on a CPU use bf16 or fp32")
        self._network = network.to(self.device)

    def run(self, windows: torch.Tensor, mirror_axes: Sequence[int] = ()) -> torch.Tensor:
        """The network's output for a batch of windows.

        Args:
            windows: (n, c, i, j, k) float32.
            mirror_axes: axes of (i, j, k) along which every combination of flips is predicted and averaged.

        Returns:
            (n, classes, i, j, k) float32 on the CPU.

        Raises:
            DeviceMemoryError: the device has not enough memory for this batch.
        """
        try:
            return self._run(windows.to(self.device), mirror_axes)
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"{self.device} ran out of memory on windows of {tuple(windows.shape[2:])}; "
                "free the device or use --device cpu"
            ) from error

    def _run(self, windows: torch.Tensor, mirror_axes: Sequence[int]) -> torch.Tensor:
        dtype = PRECISIONS[self.precision]
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            return mirrored_mean(lambda x: self._network(x).float(), windows, mirror_axes).cpu()


def choose_device(device: str) -> torch.device:
    """``auto`` to CUDA where there is one, else CPU; other names as they are.

    Raises:
        ConfigurationError: the name is no device, or the device is not there.
    """
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigurationError(f"device {device!r} is not known; expected auto, cpu or cuda:N") from error
    if chosen.type not in ("cpu", "cuda"):
        raise ConfigurationError(f"device {device!r} is not supported; expected auto, cpu or cuda:N")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigurationError(
            f"device {device!r} is not there: {torch.cuda.device_count()} CUDA devices found"
        )
    return chosen
