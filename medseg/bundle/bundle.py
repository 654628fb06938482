"""A bundle that was read and checked, and the parts that it makes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medseg.bundle.document import Document, parse_document
from medseg.bundle.files import METADATA, bundle_name, config_file, read_text_file, shown
from medseg.bundle.grids import Grid, read_grid
from medseg.bundle.interpreter import Call, Interpreter
from medseg.bundle.metadata import Metadata, parse_metadata
from medseg.bundle.weights import load_weights
from medseg.errors import BundleNotFoundError, InvalidBundleError
from medseg.spatial import LabelTable
from medseg.spatial.nnunet import NnunetGrid

if TYPE_CHECKING:
    import torch

SLIDING = "monai.inferers.SlidingWindowInferer"
SPREAD = "medseg.modeling.inferers.SpreadWindowInferer"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as data: nothing of it was run and no weights were read.

    Attributes:
        path: its folder.
        metadata: ``configs/metadata.json``.
        document: the inference configuration as plain data.
        config_sha256: over the bytes of ``metadata.json``, a zero byte, and the inference configuration.
        trust: how far it is trusted; ``data`` means that no code of it can run.
    """

    path: Path
    metadata: Metadata
    document: Document
    config_sha256: str
    trust: Literal["data"] = "data"

    @property
    def name(self) -> str:
        """The name of the bundle's folder."""
        return self.document.bundle

    @property
    def label_table(self) -> LabelTable:
        """What the integers of its label maps mean."""
        return self.metadata.label_table


@dataclass(frozen=True, slots=True)
class Windows:
    """How the network runs over a volume, in MONAI's terms.

    Attributes:
        roi_size: voxels of one window along each axis.
        overlap: fraction of a window's length that its neighbour covers too.
        mode: how windows are weighted where they overlap.
        batch_size: windows in one forward pass.
        spread: whether the windows of an axis are equally far apart.
    """

    roi_size: tuple[int, ...]
    overlap: float
    mode: Literal["constant", "gaussian", "nnunet"]
    batch_size: int
    spread: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class BundleParts:
    """What a bundle makes.

    Attributes:
        grid: the network's grid.
        network: on the CPU, in evaluation mode, without gradients; with weights unless asked otherwise.
        prepare: array (c, i, j, k) in, array out.
        windows: how the network runs over a volume.
        mirror_axes: axes along which the network knows mirrored images, for test-time augmentation.
        activation: logits (c, i, j, k) to probabilities, or None where the head does it.
        clean: clean-up of the label map, or None.
        head: from the network's output to instances, or None.
        paint: label that each channel paints, in this order, where its value on the scan's grid exceeds 0;
            None where the channel with the highest value wins.
    """

    grid: Grid | NnunetGrid
    network: torch.nn.Module
    prepare: Any
    windows: Windows
    mirror_axes: tuple[int, ...]
    activation: Any
    clean: Any
    head: Any
    paint: tuple[int, ...] | None = None


def load_bundle(path: Path) -> Bundle:
    """Reads the bundle in the folder ``path``; imports no network library and reads no weights.

    Raises:
        BundleNotFoundError: no folder, or no ``configs/metadata.json`` in it.
        InvalidBundleError: a file is missing, unreadable, over a limit or contradicts itself.
        UntrustedBundleError: a file lies outside the bundle or uses YAML or macros that are not plain data.
    """
    path = Path(path)
    if not (path / METADATA).is_file():
        raise BundleNotFoundError(f"there is no bundle at {path}: {METADATA} is missing")
    name = bundle_name(path)
    described = read_text_file(path, METADATA)
    metadata = parse_metadata(parse_document(described, name, METADATA))
    file = config_file(path)
    config = read_text_file(path, file)
    digest = hashlib.sha256(described + b"\0" + config).hexdigest()
    return Bundle(path, metadata, parse_document(config, name, file), digest)


def resolve_parts(bundle: Bundle, *, with_weights: bool = True) -> BundleParts:
    """Builds the parts of ``bundle`` from the allow-list and loads its weights; imports torch and MONAI.

    Args:
        bundle: as read.
        with_weights: False leaves the network as it is initialised, for training it.

    Raises:
        UntrustedBundleError: the configuration or the weights ask for more than data.
        InvalidBundleError: a part is missing or wrong, or the weights do not fit.
    """
    interpreter = Interpreter(bundle.document)
    present = {key: key in interpreter for key in ("activation", "clean", "head")}
    where = bundle.document.where
    for key in ("grid", "network_def", "prepare", "inferer"):
        if key not in interpreter:
            raise InvalidBundleError(f"{where} has no entry {key}; expected one")
    if not present["activation"] and not present["head"]:
        raise InvalidBundleError(f"{where} has neither an activation nor a head; expected one of them")
    dims = bundle.metadata.medseg.dims
    grid = read_grid(interpreter.resolve("grid"), where)
    if isinstance(grid, NnunetGrid):
        dims = 3  # a single image is a volume of one plane there
    windows = _windows(interpreter.call("inferer"), dims, where)
    network = _network(interpreter, bundle, with_weights)
    others = {
        key: _function(interpreter.resolve(key), key, where) if present[key] else None for key in present
    }
    prepare = _function(interpreter.resolve("prepare"), "prepare", where)
    mirrored = interpreter.resolve("mirror_axes") if "mirror_axes" in interpreter else []
    axes = _mirror_axes(mirrored, dims, where)
    paint = _paint(interpreter.resolve("paint"), bundle) if "paint" in interpreter else None
    return BundleParts(grid, network, prepare, windows, axes, **others, paint=paint)


def _network(interpreter: Interpreter, bundle: Bundle, with_weights: bool) -> torch.nn.Module:
    import torch

    with torch.random.fork_rng(devices=[]):
        network = interpreter.resolve("network_def")
    if not isinstance(network, torch.nn.Module):
        raise InvalidBundleError(
            f"{bundle.document.where}: network_def is a {type(network).__name__}; expected a network"
        )
    if with_weights:
        load_weights(bundle.path, bundle.metadata.medseg.weights, network)
        network.requires_grad_(requires_grad=False)
    return network.eval()


def _function(value: Any, key: str, where: str) -> Any:
    if value is not None and not callable(value):
        raise InvalidBundleError(f"{where}: {key} is {shown(value)}; expected a component")
    if value is None and key == "prepare":
        raise InvalidBundleError(f"{where}: prepare is disabled; expected a component")
    return value


def _windows(call: Call | None, dims: int, where: str) -> Windows:
    if call is None or call.component.kind != "inferer":
        raise InvalidBundleError(f"{where}: inferer names no inferer; expected {SLIDING}")
    given = call.arguments
    roi_size = given.get("roi_size")
    if isinstance(roi_size, int):
        roi_size = [roi_size] * dims
    if roi_size is None or len(roi_size) != dims:
        raise InvalidBundleError(
            f"{where}: inferer::roi_size is {roi_size}; expected {dims} lengths in voxels, one for each axis"
        )
    spread = call.target == SPREAD
    return Windows(
        roi_size=tuple(roi_size),
        overlap=float(given.get("overlap", 0.25)),
        mode="nnunet" if spread else given.get("mode", "constant"),
        batch_size=given.get("sw_batch_size", 1),
        spread=spread,
    )


def _paint(value: Any, bundle: Bundle) -> tuple[int, ...]:
    known = {label.index for label in bundle.label_table}
    if not isinstance(value, list | tuple) or not value or any(index not in known for index in value):
        raise InvalidBundleError(
            f"{bundle.document.where}: paint is {shown(value)}; expected a list of indices of labels"
        )
    return tuple(value)


def _mirror_axes(value: Any, dims: int, where: str) -> tuple[int, ...]:
    axes = range(dims)
    if not isinstance(value, list | tuple) or any(type(a) is not int or a not in axes for a in value):
        raise InvalidBundleError(
            f"{where}: mirror_axes is {shown(value)}; expected a list of axes from 0 to {dims - 1}"
        )
    return tuple(sorted(set(value)))
