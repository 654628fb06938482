"""Which backend runs a bundle's network."""

from __future__ import annotations

import logging
from pathlib import Path

from medseg.bundle.bundle import Bundle, BundleParts
from medseg.errors import ConfigurationError, InferenceError
from medseg.inference.backends.openvino_backend import PRECISIONS, OpenVINOBackend, cache_folder
from medseg.inference.backends.openvino_model import is_installed
from medseg.inference.backends.torch_backend import TorchBackend, choose_device
from medseg.report.report import versions

_log = logging.getLogger(__name__)
BACKENDS = ("auto", "torch", "openvino")
"""What may be asked for; ``auto`` is OpenVINO on a CPU where it can run the network, else PyTorch."""


def choose_backend(
    bundle: Bundle,
    parts: BundleParts,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    cache: Path | None = None,
) -> TorchBackend | OpenVINOBackend:
    """Puts the network on a backend.

    Args:
        bundle: whose network it is.
        parts: its network, with weights, and its windows.
        backend: one of `BACKENDS`. A backend that is named is taken or refused; only ``auto`` falls back, and
            logs why.
        device: ``auto``, ``cpu`` or ``cuda:N``; CUDA is PyTorch's.
        precision: ``auto`` (fp32), ``fp32``, ``bf16`` or ``fp16``.
        cache: medseg's cache folder for converted networks, None to keep none.

    Raises:
        ConfigurationError: no such backend, device or precision, or they do not go together, or openvino is
            asked for and not installed.
        InferenceError: openvino is asked for and cannot run the network.
    """
    if backend not in BACKENDS:
        raise ConfigurationError(f"backend {backend!r} is not known; expected {', '.join(BACKENDS)}")
    if backend == "openvino":
        if device not in ("auto", "cpu"):
            raise ConfigurationError(
                f"the backend openvino runs on the CPU, not on {device!r}; "
                "use --device cpu or --backend torch"
            )
        return _openvino(bundle, parts, precision, cache)
    if backend == "torch" or not _suits_openvino(device, precision):
        return TorchBackend(parts.network, device, precision)
    try:
        return _openvino(bundle, parts, precision, cache)
    except (ConfigurationError, InferenceError) as error:
        _log.warning("PyTorch runs the network, for OpenVINO does not: %s", error)
        return TorchBackend(parts.network, device, precision)


def _suits_openvino(device: str, precision: str) -> bool:
    if choose_device(device).type != "cpu" or precision not in ("auto", *PRECISIONS):
        return False
    if not is_installed():
        _log.info('PyTorch runs the network, for openvino is not installed: pip install "medseg[openvino]"')
        return False
    return True


def _openvino(bundle: Bundle, parts: BundleParts, precision: str, cache: Path | None) -> OpenVINOBackend:
    shape = (len(bundle.metadata.channels), *parts.windows.roi_size)
    folder = None
    if cache is not None:
        found = versions()
        identity = {
            "weights": bundle.metadata.weights_sha256,
            "config": bundle.config_sha256,
            **{name: found.get(name) for name in ("medseg", "monai", "torch")},
        }
        folder = cache_folder(cache, identity, shape, precision)
    return OpenVINOBackend(parts.network, shape, precision, folder)
