"""A PyTorch network as an OpenVINO model: loading the package, converting, compiling, checking."""

from __future__ import annotations

import importlib.util
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from medseg.errors import ConfigurationError, InferenceError

_TELEMETRY = "openvino_telemetry"
_HINTS = {"fp32": "f32", "bf16": "bf16"}
_TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}
_LONGEST_CAUSE = 200


def is_installed() -> bool:
    """Whether the package openvino is there; it is not imported."""
    return importlib.util.find_spec("openvino") is not None


def load_openvino() -> Any:
    """The package, imported so that it sends no usage data.

    OpenVINO reports each import and conversion to its makers unless told not to; medseg sends nothing from a
    hospital's machine. A program that imported openvino before medseg made that choice itself.

    Raises:
        ConfigurationError: it is not installed, or cannot be loaded.
    """
    if not is_installed():
        raise ConfigurationError(
            'the backend openvino needs the package openvino; run: pip install "medseg[openvino]"'
        )
    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes the import fail; OpenVINO then has a stub
    try:
        import openvino
    except ImportError as error:
        raise ConfigurationError(
            f"the package openvino cannot be loaded: {cause(error)}; install it again, or use --backend torch"
        ) from error
    finally:
        del sys.modules[_TELEMETRY]
        if before is not None:
            sys.modules[_TELEMETRY] = before
    return openvino


def convert(network: torch.nn.Module, shape: tuple[int, ...]) -> Any:
    """The network for one window, in float32, with a fixed shape.

    Args:
        network: in evaluation mode, on the CPU.
        shape: (channels, i, j, k) of a window, or (channels, i, j).

    Returns:
        An ``openvino.Model`` with one input, (1, channels, i, j, k), and one output, (1, classes, i, j, k).

    Raises:
        ConfigurationError: openvino is not installed.
        InferenceError: OpenVINO cannot convert it, or its output is not one array on the window's grid.
    """
    openvino = load_openvino()
    example = sample_window(shape)
    try:
        with _as_it_was(), torch.no_grad():
            # `check` looks at the result; PyTorch's own check would run the network twice more.
            trace = torch.jit.trace
            traced = trace(network, example, strict=False, check_trace=False)  # type: ignore[no-untyped-call]
            model = openvino.convert_model(traced, example_input=example, input=[tuple(example.shape)])
    except Exception as error:
        raise InferenceError(
            f"OpenVINO cannot convert the network: {cause(error)}; use --backend torch"
        ) from error
    found = [str(output.get_partial_shape()) for output in model.outputs]
    grid = shape[1:]
    if len(found) != 1 or not model.output(0).get_partial_shape().is_static or _grid(model) != grid:
        raise InferenceError(
            f"OpenVINO converted the network to outputs of {', '.join(found)} for a window of {grid}; "
            "expected one array on the window's grid; use --backend torch"
        )
    return model


def compile_model(model: Any, precision: str, cache: str | None = None) -> Any:
    """The model made ready for this CPU, with the threads that PyTorch uses.

    Args:
        model: an ``openvino.Model``.
        precision: ``fp32`` or ``bf16``.
        cache: a folder for what is compiled. It must be this precision's own: OpenVINO gives files of both
            precisions one name.

    Raises:
        RuntimeError: OpenVINO's own, where it fails.
    """
    properties = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # Pinned threads of two processes would share the first cores and leave the others idle.
        "ENABLE_CPU_PINNING": False,
    }
    if cache is not None:
        properties["CACHE_DIR"] = cache
    return load_openvino().Core().compile_model(model, "CPU", properties)


def check(compiled: Any, network: torch.nn.Module, shape: tuple[int, ...], precision: str) -> None:
    """Holds the compiled model against the network on one window of noise.

    Raises:
        InferenceError: their outputs differ by more than rounding, as where tracing froze a branch.
    """
    # Another window than the one that was traced.
    window = sample_window(shape, seed=1)
    with torch.inference_mode():
        expected = network(window).float().numpy()
    found = compiled([window.numpy()])[0]
    difference = float(np.linalg.norm(found - expected)) / max(float(np.linalg.norm(expected)), 1e-12)
    if not difference <= _TOLERANCE[precision]:
        raise InferenceError(
            f"OpenVINO's output differs from PyTorch's by {difference:.1e} of its size; expected at most "
            f"{_TOLERANCE[precision]:.0e} at {precision}; use --backend torch"
        )


def sample_window(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """A batch of one window of normal noise, float32, the same for the same seed."""
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed))


def cause(error: BaseException) -> str:
    """What went wrong, in one line: OpenVINO's and PyTorch's messages run over many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "No conversion rule" in line or "Error:" in line]
    return (telling or lines or [type(error).__name__])[0][:_LONGEST_CAUSE]


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Hides the converter's warnings, and gives back the root logger, which errors leave silenced."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def _grid(model: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in model.output(0).get_shape())[2:]
