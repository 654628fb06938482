"""From a weights file into a network: only if it is exactly the file and exactly the network meant.

In this order, each step a refusal that nothing falls back from: the file's SHA-256 against the pinned one;
its archive against what ``torch.save`` writes; the names in its pickle against those that tensors need;
``torch.load`` with ``weights_only``; then every key, shape, number type and value against the network.
"""

from __future__ import annotations

import hashlib
import pickletools
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medseg.bundle.files import bundle_name, file_in_bundle, shown
from medseg.bundle.metadata import WeightsEntry
from medseg.errors import InvalidBundleError, UntrustedBundleError

if TYPE_CHECKING:
    import torch

MAX_PICKLE_BYTES = 16 * 1024**2
MAX_OPCODES = 1_000_000
"""Steps of the pickle that lists the tensors; each takes about thirty."""

MAX_ENTRIES = 100_000

_WRAPPERS = ("model", "state_dict", "network")
_ENTRY = re.compile(
    r"[^/]+/(?:data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id"
    r"|data/\d+)"
)
_PICKLE_NAMES = frozenset({
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(
        f"torch {kind}Storage"
        for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
    ),
})  # fmt: skip
_SHOWN = 3


def load_weights(root: Path, entry: WeightsEntry | None, network: torch.nn.Module) -> None:
    """Copies the bundle's weights into ``network``.

    Args:
        root: the bundle's folder.
        entry: what the metadata pins, or None where the bundle comes without weights.
        network: built from the bundle's own configuration; on failure it is left as it was.

    Raises:
        InvalidBundleError: there are no weights, the hash differs, the file is damaged, or they belong to
            another network or hold values that are not finite.
        UntrustedBundleError: the file lies outside the bundle, or holds more than tensors.
    """
    name = bundle_name(root)
    path = weights_file(root, entry)
    where = f"bundle {name}: {path.name}"
    _check_archive(path, where)
    tensors = _tensors(path, where)
    check_against(tensors, network.state_dict(), where)
    for key, tensor in tensors.items():
        _check_values(key, tensor, where)
    network.load_state_dict(tensors, strict=True)


def weights_file(root: Path, entry: WeightsEntry | None) -> Path:
    """The bundle's weights file, after its SHA-256 was compared with the pinned one.

    Raises:
        InvalidBundleError: the bundle has no weights, or the file is not the one that was pinned.
        UntrustedBundleError: the path leads out of the bundle.
    """
    name = bundle_name(root)
    if entry is None:
        unpinned = sorted(path.name for path in (root / "models").glob("*.pt"))
        if unpinned:
            raise InvalidBundleError(
                f"bundle {name} holds models/{unpinned[0]} but configs/metadata.json pins no sha256 for it; "
                "weights without a pinned hash are not loaded: set medseg.weights to {file, sha256}"
            )
        raise InvalidBundleError(
            f"bundle {name} has no weights; how to get them: train it, or take a copy of the bundle that "
            "comes with them, and pin them in configs/metadata.json (medseg.weights: file, sha256)"
        )
    advice = (
        "so the bundle has no weights; how to get them: take a copy of the bundle that has the file of "
        f"sha256 {entry.sha256[:12]}…, or train it and pin what comes out"
    )
    path = file_in_bundle(root, entry.file, advice)
    found = file_sha256(path, name)
    if found != entry.sha256:
        raise InvalidBundleError(
            f"bundle {name}: {entry.file} has sha256 {found[:12]}…, but configs/metadata.json pins "
            f"{entry.sha256[:12]}…; the file is damaged or not the one meant: get the bundle again"
        )
    return path


def file_sha256(path: Path, bundle: str) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        InvalidBundleError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InvalidBundleError(
            f"bundle {bundle}: {path.name} cannot be read ({error.strerror}); check its permissions"
        ) from error


def _check_archive(path: Path, where: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            check_entries(entries, path.stat().st_size, where)
            pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
            if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
                raise InvalidBundleError(f"{where} is not a file of weights as torch.save writes it")
            names = _pickle_names(archive.read(pickles[0]))
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise InvalidBundleError(
            f"{where} is not a whole file of weights as torch.save writes it ({type(error).__name__})"
        ) from error
    foreign = sorted(set(names) - _PICKLE_NAMES)
    if foreign:
        raise UntrustedBundleError(
            f"{where} holds more than tensors: it asks for {shown(foreign[0].replace(' ', '.'))[1:-1]}; save "
            "the network's state_dict alone"
        )


def check_entries(entries: list[zipfile.ZipInfo], file_bytes: int, where: str) -> None:
    """Refuses an archive that ``torch.save`` would not have written.

    Args:
        entries: of the archive.
        file_bytes: its size.
        where: the file, for messages.

    Raises:
        InvalidBundleError: too many entries, one name twice, compressed, or more bytes than the file has.
        UntrustedBundleError: an entry that no file of tensors has.
    """
    names = [entry.filename for entry in entries]
    if len(entries) > MAX_ENTRIES or len(set(names)) != len(names):
        raise InvalidBundleError(f"{where} has too many entries, or one name twice")
    for entry in entries:
        if not _ENTRY.fullmatch(entry.filename):
            raise UntrustedBundleError(
                f"{where} holds {shown(entry.filename)}, which no state_dict has; a TorchScript model or a "
                "whole pickled network is code: save the network's state_dict alone"
            )
        if entry.compress_type != zipfile.ZIP_STORED:
            raise InvalidBundleError(f"{where} is a compressed archive; torch.save compresses nothing")
    if sum(entry.file_size for entry in entries) > file_bytes:
        raise InvalidBundleError(f"{where} claims more bytes than it has")


def _pickle_names(pickle: bytes) -> Iterable[str]:
    """What a pickle would import, ``module name`` each, without running it."""
    names = []
    for step, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
        if step >= MAX_OPCODES:
            raise ValueError("too many steps")
        if opcode.name in ("GLOBAL", "INST"):
            names.append(str(argument))
        elif opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            names.append(f"a name by {opcode.name}")
    return names


def _tensors(path: Path, where: str) -> dict[str, torch.Tensor]:
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        reason = shown(str(error).strip().split("\n")[0])
        raise InvalidBundleError(f"{where} cannot be loaded as weights: {reason}") from error
    if isinstance(content, Mapping) and len(content) == 1:
        key = next(iter(content))
        if key in _WRAPPERS and isinstance(content[key], Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise InvalidBundleError(f"{where} holds {type(content).__name__}; expected a state_dict")
    for key, value in content.items():
        if not isinstance(key, str) or type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise InvalidBundleError(
                f"{where}: the entry {shown(key)} is a {type(value).__name__}; expected a tensor with a name"
            )
    return {key: value.detach() for key, value in content.items()}


class TensorLike(Protocol):
    """What is known of a tensor before its values are read."""

    @property
    def shape(self) -> Sequence[int]:
        """Its lengths."""

    @property
    def dtype(self) -> torch.dtype:
        """Its number type."""


def check_against(
    tensors: Mapping[str, TensorLike], expected: Mapping[str, torch.Tensor], where: str
) -> None:
    """Refuses weights that are not exactly those of a network.

    Args:
        tensors: what was found, by name.
        expected: the network's ``state_dict``.
        where: the file, for messages.

    Raises:
        InvalidBundleError: a name is missing or unknown, or a shape or number type differs.
    """
    missing = [_key(key) for key in expected if key not in tensors]
    unknown = [_key(key) for key in tensors if key not in expected]
    shared = [key for key in expected if key in tensors]
    reshaped = [
        f"{_key(key)} {_shape(tensors[key])} instead of {_shape(expected[key])}"
        for key in shared
        if tuple(tensors[key].shape) != tuple(expected[key].shape)
    ]
    retyped = [
        f"{_key(key)} {tensors[key].dtype} instead of {expected[key].dtype}"
        for key in shared
        if tensors[key].dtype != expected[key].dtype
    ]
    differences = [
        _listed(what, keys)
        for what, keys in (
            ("missing", missing),
            ("not in the network", unknown),
            ("of another shape", reshaped),
            ("of another number type", retyped),
        )
        if keys
    ]
    if differences:
        raise InvalidBundleError(
            f"{where}: the weights are of another network: {'; '.join(differences)}; "
            "network_def and the weights must come from one training"
        )


def _check_values(key: str, tensor: torch.Tensor, where: str) -> None:
    import torch

    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    dense = tensor.layout == torch.strided and (
        tensor.is_contiguous()
        or (tensor.ndim in formats and tensor.is_contiguous(memory_format=formats[tensor.ndim]))
    )
    if not dense:
        raise InvalidBundleError(f"{where}: {shown(key)} does not store each of its values once")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise InvalidBundleError(f"{where}: {shown(key)} holds NaN or infinite values; the training diverged")


def _listed(what: str, keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {what} ({', '.join(keys[:_SHOWN])}{more})"


def _key(key: str) -> str:
    return shown(key)[1:-1]


def _shape(tensor: TensorLike) -> str:
    return " × ".join(map(str, tensor.shape)) or "scalar"
