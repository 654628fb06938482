"""OpenVINO runs the network, on a CPU."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from medseg.errors import ConfigurationError, DeviceMemoryError, InferenceError
from medseg.inference.backends.mirror import mirrored_mean
from medseg.inference.backends.openvino_model import cause, check, compile_model, convert, load_openvino
from medseg.io.atomic import commit_folder, made_folder, sweep_abandoned

_log = logging.getLogger(__name__)
_MODEL = "network.xml"
PRECISIONS = ("fp32", "bf16")


class OpenVINOBackend:
    """A network converted and compiled for one shape of window, at one precision.

    Windows run one after the other, each on all threads: batches of 2 and 4 were no faster, and so a window's
    output does not depend on those beside it.

    Args:
        network: in evaluation mode, on the CPU, weights loaded.
        shape: (channels, i, j, k) of a window, or (channels, i, j).
        precision: ``fp32``, ``bf16``, or ``auto`` for fp32; OpenVINO's own default, bf16 wherever the CPU has
            it, is never taken.
        cache: where this very network at this shape and precision is kept, see `cache_folder`; None to
            convert it anew. A folder that cannot be used costs time and no more.

    Raises:
        ConfigurationError: openvino is not installed, no such precision, or none on this CPU.
        InferenceError: OpenVINO cannot convert or compile the network, or gives other outputs than PyTorch.
    """

    name = "openvino"

    def __init__(
        self, network: torch.nn.Module, shape: Sequence[int], precision: str, cache: Path | None = None
    ) -> None:
        self.device = torch.device("cpu")
        self.precision = _checked_precision(precision)
        self._network = network
        self._shape = tuple(shape)
        compiled = self._kept(cache) if cache is not None else None
        if compiled is None:
            compiled = self._made(cache)
        self._request = compiled.create_infer_request()
        del self._network

    def run(self, windows: torch.Tensor, mirror_axes: Sequence[int] = ()) -> torch.Tensor:
        """The network's output for any number of windows.

        Args:
            windows: (n, c, i, j, k) float32, n of 1 or more.
            mirror_axes: axes of (i, j, k) along which every combination of flips is predicted and averaged.

        Returns:
            (n, classes, i, j, k) float32 on the CPU.

        Raises:
            DeviceMemoryError: there is not enough memory for a window.
            InferenceError: OpenVINO failed.
        """
        try:
            return mirrored_mean(self._run, windows, mirror_axes)
        except MemoryError as error:
            raise DeviceMemoryError(
                f"memory ran out on windows of {tuple(windows.shape[2:])}; free some, or use --backend torch"
            ) from error
        except RuntimeError as error:
            raise InferenceError(
                f"OpenVINO failed on windows of {tuple(windows.shape[1:])}, expected {self._shape}: "
                f"{cause(error)}"
            ) from error

    def _run(self, windows: torch.Tensor) -> torch.Tensor:
        arrays = windows.contiguous().numpy()
        outputs = [self._request.infer([arrays[n : n + 1]])[0] for n in range(len(arrays))]
        return torch.cat([torch.from_numpy(output) for output in outputs])

    def _kept(self, cache: Path) -> Any:
        """The compiled network from the cache, or None where there is none that can be used."""
        if not (cache / _MODEL).is_file():
            return None
        writable = str(cache) if os.access(cache, os.W_OK) else None
        try:
            model = load_openvino().Core().read_model(cache / _MODEL)
            return compile_model(model, self.precision, writable)
        except RuntimeError as error:
            _log.warning(
                "the converted network in %s is made anew, for it is damaged: %s", cache, cause(error)
            )
            shutil.rmtree(cache, ignore_errors=True)
            return None

    def _made(self, cache: Path | None) -> Any:
        """The network converted, compiled and checked, and kept where that is possible."""
        model = convert(self._network, self._shape)
        compiled = None
        try:
            if cache is not None:
                sweep_abandoned(made_folder(cache.parent))
                with commit_folder(cache) as folder:
                    compiled = self._saved(model, folder)
        except (ConfigurationError, RuntimeError) as error:
            _log.warning("the converted network is not kept for the next run: %s", cause(error))
        if compiled is not None:
            return compiled
        try:
            compiled = compile_model(model, self.precision)
        except RuntimeError as error:
            raise InferenceError(
                f"OpenVINO cannot compile the network: {cause(error)}; use --backend torch"
            ) from error
        check(compiled, self._network, self._shape, self.precision)
        return compiled

    def _saved(self, model: Any, folder: Path) -> Any:
        openvino = load_openvino()
        # OpenVINO rounds weights to fp16 on saving unless told not to.
        openvino.save_model(model, folder / _MODEL, compress_to_fp16=False)
        saved = openvino.Core().read_model(folder / _MODEL)
        compiled = compile_model(saved, self.precision, str(folder))
        check(compiled, self._network, self._shape, self.precision)
        return compiled


def cache_folder(
    root: Path, identity: Mapping[str, str | None], shape: Sequence[int], precision: str
) -> Path:
    """Where a converted network is kept: a folder for each that could differ.

    Args:
        root: medseg's cache.
        identity: what the network is: hashes of its weights and configuration, versions that built it.
        shape: (channels, i, j, k) of a window.
        precision: as for `OpenVINOBackend`.

    Raises:
        ConfigurationError: openvino is not installed.
    """
    openvino = load_openvino()
    told = {
        **identity,
        "openvino": openvino.get_version(),
        "cpu": str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")),
        "threads": torch.get_num_threads(),
        "shape": list(shape),
        "precision": "fp32" if precision == "auto" else precision,
    }
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return root / "openvino" / key[:32]


def _checked_precision(precision: str) -> str:
    chosen = "fp32" if precision == "auto" else precision
    if chosen == "fp16":
        raise ConfigurationError("fp16 needs a CUDA device; with the backend openvino use bf16 or fp32")
    if chosen not in PRECISIONS:
        raise ConfigurationError(
            f"precision {precision!r} is not known; expected auto, {', '.join(PRECISIONS)}"
        )
    has = load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if chosen == "bf16" and "BF16" not in has:
        raise ConfigurationError("this CPU has no bf16; with the backend openvino use fp32")
    return chosen
