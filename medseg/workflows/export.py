"""A bundle's network as a file for another runtime."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from medseg.bundle.bundle import Bundle, BundleParts, resolve_parts
from medseg.bundle.store import describe
from medseg.errors import ConfigurationError, InferenceError
from medseg.inference.backends.openvino_model import (
    cause,
    check,
    compile_model,
    convert,
    load_openvino,
    sample_window,
)
from medseg.io.atomic import commit_folder
from medseg.report.report import NOTICE, versions

METADATA = "metadata.json"
_INPUT, _OUTPUT = "image", "output"
_ONNX_OPSET = 18
_SCOPE = (
    "The network alone, for one window. Before it come the bundle's grid and `prepare`, after it the joining "
    "of windows, `activation` and `clean`, as the bundle's configs/inference.yaml says."
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What `export_network` wrote.

    Attributes:
        folder: where it lies.
        files: the network's files by name.
        metadata: as written beside them.
    """

    folder: Path
    files: tuple[str, ...]
    metadata: dict[str, Any]


def export_network(bundle: Bundle, target: str, out: Path) -> Exported:
    """Writes the network with its weights in float32, and ``metadata.json`` about it, whole or not at all.

    The input is one window, (1, channels, i, j, k) with i, j, k along the bundle's orientation.

    Args:
        bundle: whose network.
        target: one of `TARGETS`: ``openvino`` gives ``model.xml`` and ``model.bin``, ``onnx`` gives
            ``model.onnx``.
        out: the folder, made if missing; an earlier export in it is replaced.

    Raises:
        ConfigurationError: no such target, its packages are not installed, or ``out`` holds other files or
            cannot be written.
        BundleError: the bundle cannot be used.
        InferenceError: the network cannot be converted.
    """
    if target not in TARGETS:
        raise ConfigurationError(f"target {target!r} is not known; expected {', '.join(sorted(TARGETS))}")
    _check_free(out)
    parts = resolve_parts(bundle)
    shape = (len(bundle.metadata.channels), *parts.windows.roi_size)
    with commit_folder(out) as folder:
        TARGETS[target](parts.network, shape, folder)
        files = sorted(path.name for path in folder.iterdir())
        hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
        metadata = _metadata(bundle, parts, shape) | {"format": target, "files": hashes}
        text = json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / METADATA).write_text(text + "\n", encoding="utf-8")
    return Exported(out, tuple(files), metadata)


def _to_openvino(network: torch.nn.Module, shape: tuple[int, ...], folder: Path) -> None:
    model = convert(network, shape)
    check(compile_model(model, "fp32"), network, shape, "fp32")
    model.input(0).set_names({_INPUT})
    model.output(0).set_names({_OUTPUT})
    # OpenVINO rounds weights to fp16 on saving unless told not to.
    load_openvino().save_model(model, folder / "model.xml", compress_to_fp16=False)


def _to_onnx(network: torch.nn.Module, shape: tuple[int, ...], folder: Path) -> None:
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise ConfigurationError(
            'export to ONNX needs the packages onnx and onnxscript; run: pip install "medseg[onnx]"'
        )
    try:
        with _silence(), torch.no_grad():
            torch.onnx.export(
                network,
                (sample_window(shape),),
                folder / "model.onnx",
                input_names=[_INPUT],
                output_names=[_OUTPUT],
                opset_version=_ONNX_OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        raise InferenceError(f"PyTorch cannot convert the network to ONNX: {cause(error)}") from error


TARGETS: dict[str, Callable[[torch.nn.Module, tuple[int, ...], Path], None]] = {
    "openvino": _to_openvino,
    "onnx": _to_onnx,
}
"""What a network can be exported to, and how."""


def _metadata(bundle: Bundle, parts: BundleParts, shape: tuple[int, ...]) -> dict[str, Any]:
    with torch.inference_mode():
        output = parts.network(sample_window(shape))
    told = describe(bundle)
    return {
        "bundle": bundle.name,
        "bundle_version": bundle.metadata.version,
        "weights_sha256": bundle.metadata.weights_sha256,
        "config_sha256": bundle.config_sha256,
        "scope": _SCOPE,
        "precision": "fp32",
        "input": {
            "name": _INPUT,
            "shape": [1, *shape],
            "channels": list(bundle.metadata.channels),
            "orientation": parts.grid.orientation,
            "spacing_mm": list(parts.grid.spacing_mm),
        },
        "output": {"name": _OUTPUT, "shape": list(output.shape)},
        "labels": told["labels"],
        "versions": versions(),
        "notice": NOTICE,
    }


def _check_free(out: Path) -> None:
    """Refuses a folder with anything but an earlier export in it, for it will be replaced."""
    if out.exists() and not out.is_dir():
        raise ConfigurationError(f"{out} is a file; give a new or empty folder")
    known = {"model.xml", "model.bin", "model.onnx", METADATA}
    others = sorted(path.name for path in out.iterdir() if path.name not in known) if out.is_dir() else []
    if others:
        raise ConfigurationError(
            f"{out} holds {others[0]}, which is no part of an export; give a new or empty folder"
        )


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps the exporter's own remarks off the user's screen."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
