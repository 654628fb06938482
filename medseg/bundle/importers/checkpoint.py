"""Reads an nnU-Net checkpoint without letting its pickle do anything.

A checkpoint holds the weights beside the optimiser, the log and the trainer's arguments, so its pickle names
more than tensors do. Here every name stands for a harmless placeholder: tensors come out as claims (which
record, which shape), all else as nothing. A claim is compared with the record's real size and with the
network before a single value is read; names and steps beyond a short list are refused beforehand.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.bundle.files import shown
from medseg.bundle.weights import MAX_OPCODES, MAX_PICKLE_BYTES, check_entries
from medseg.errors import InvalidBundleError, UntrustedBundleError

if TYPE_CHECKING:
    import torch

_STORAGES = {
    "FloatStorage": ("float32", 4),
    "DoubleStorage": ("float64", 8),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
}
_MAPPING, _TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_IGNORED = frozenset({
    "_codecs encode",
    "numpy dtype",
    "numpy ndarray",
    "numpy.core.multiarray _reconstruct",
    "numpy.core.multiarray scalar",
    "numpy._core.multiarray _reconstruct",
    "numpy._core.multiarray scalar",
    "torch Size",
    "torch device",
})  # fmt: skip
"""What the log and the trainer's arguments are made of; none of it is built."""

_STEPS = frozenset({
    "APPEND", "APPENDS", "BINFLOAT", "BINGET", "BININT", "BININT1", "BININT2", "BINPERSID", "BINPUT",
    "BINUNICODE", "BUILD", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "GLOBAL", "LONG1", "LONG_BINGET",
    "LONG_BINPUT", "MARK", "NEWFALSE", "NEWTRUE", "NONE", "PROTO", "REDUCE", "SETITEM", "SETITEMS", "STOP",
    "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claim:
    """A tensor as the pickle describes it; its values were not read.

    Attributes:
        record: name of the archive's entry that holds the values.
        dtype_name: torch's name of the number type.
        start: first value in the record.
        shape: lengths.
        stride: steps between values along each axis.
    """

    record: str
    dtype_name: str
    start: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __setstate__(self, _state: Any) -> None:
        """Keeps a pickle from changing what was checked."""

    @property
    def dtype(self) -> torch.dtype:
        """The number type."""
        import torch

        return getattr(torch, self.dtype_name)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says, as plain values.

    Attributes:
        path: the file.
        where: how a message about it begins.
        weights: its tensors' claims, by nnU-Net's names.
        trainer: name of the trainer's class.
        configuration: name of the plans' configuration.
        mirror_axes: axes along which the network may be shown mirrored images.
    """

    path: Path
    where: str
    weights: Mapping[str, Claim]
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]

    def tensor(self, claim: Claim) -> torch.Tensor:
        """The values of a claim, copied.

        Raises:
            InvalidBundleError: the record is damaged.
        """
        import torch

        try:
            with zipfile.ZipFile(self.path) as archive:
                values = torch.frombuffer(bytearray(archive.read(claim.record)), dtype=claim.dtype)
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise InvalidBundleError(
                f"{self.where}: the record {claim.record} is damaged; get the file again"
            ) from error
        return values.as_strided(claim.shape, claim.stride, claim.start).clone(
            memory_format=torch.contiguous_format
        )


def read_checkpoint(path: Path, where: str) -> Checkpoint:
    """Reads what ``nnUNetTrainer.save_checkpoint`` wrote.

    Args:
        path: the file.
        where: how a message about it begins.

    Raises:
        UntrustedBundleError: its pickle names something beyond tensors and plain values.
        InvalidBundleError: it is damaged, no checkpoint, or claims more than it holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            check_entries(entries, path.stat().st_size, where)
            listed = {entry.filename: entry.file_size for entry in entries}
            names = [name for name in listed if name.endswith("/data.pkl")]
            if len(names) != 1 or listed[names[0]] > MAX_PICKLE_BYTES:
                raise InvalidBundleError(f"{where} is not a checkpoint as torch.save writes it")
            content = archive.read(names[0])
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise InvalidBundleError(
            f"{where} is not a whole checkpoint as torch.save writes it ({type(error).__name__})"
        ) from error
    _check_steps(content, where)
    try:
        value = _Reader(content, names[0].removesuffix("data.pkl"), listed).load()
    except InvalidBundleError as error:
        raise InvalidBundleError(f"{where}: {error}") from error
    except Exception as error:
        raise InvalidBundleError(f"{where} cannot be read: {type(error).__name__}") from error
    return _checkpoint(value, path, where)


def _check_steps(content: bytes, where: str) -> None:
    """Goes through the pickle without running it."""
    known = _IGNORED | {_MAPPING, _TENSOR} | {f"torch {name}" for name in _STORAGES}
    try:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if step >= MAX_OPCODES or (opcode.name == "LONG_BINPUT" and int(argument or 0) > MAX_OPCODES):
                raise InvalidBundleError(f"{where} takes more than {MAX_OPCODES:,} steps to read")
            if opcode.name == "GLOBAL" and argument not in known:
                raise UntrustedBundleError(
                    f"{where} holds more than weights and plain values: it asks for "
                    f"{shown(str(argument).replace(' ', '.'))[1:-1]}; nothing was imported. Take the file "
                    "from a source that you trust, or have its weights saved again"
                )
            if opcode.name not in _STEPS:
                raise UntrustedBundleError(
                    f"{where} has the pickle step {opcode.name}, which torch.save does not write; nothing "
                    "was imported"
                )
    except ValueError as error:
        raise InvalidBundleError(f"{where} has a damaged pickle") from error


class _Mapping(dict[Any, Any]):
    """Stands for an OrderedDict; what else its pickle would set on it is dropped."""

    def __setstate__(self, _state: Any) -> None:
        pass


class _Ignored:
    """Stands for whatever is not needed; calling it and setting its state do nothing."""

    __slots__ = ()

    def __call__(self, *_arguments: Any) -> _Ignored:
        return self

    def __setstate__(self, _state: Any) -> None:
        pass


class _Maker:
    """A callable that the pickle may call and cannot change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, _state: Any) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Storage:
    """A record that tensors share."""

    record: str
    dtype_name: str
    count: int

    def __setstate__(self, _state: Any) -> None:
        pass


class _Reader(pickle.Unpickler):
    """Turns a checked pickle into plain values and claims."""

    def __init__(self, content: bytes, folder: str, sizes: Mapping[str, int]) -> None:
        super().__init__(io.BytesIO(content))
        self._folder = folder
        self._sizes = sizes

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if global_name in _STORAGES and module_name == "torch":
            return global_name
        name = f"{module_name} {global_name}"
        if name == _MAPPING:
            return _Maker(_mapping)
        return _Maker(_claim) if name == _TENSOR else _Ignored()

    def persistent_load(self, pid: Any, /) -> _Storage:
        kind, storage, key, _, count = pid
        if kind != "storage" or not isinstance(key, str) or type(count) is not int or count < 0:
            raise InvalidBundleError("it names a record as torch.save does not")
        dtype_name, width = _STORAGES[storage]
        record = f"{self._folder}data/{key}"
        have = self._sizes.get(record, 0)
        if count * width > have:
            raise InvalidBundleError(
                f"the record {shown(key)} claims {count * width:,} bytes but the file holds {have:,}; it is "
                "cut short or was tampered with"
            )
        return _Storage(record, dtype_name, count)


def _mapping(*arguments: Any) -> _Mapping:
    if arguments:
        raise InvalidBundleError("it fills a mapping as torch.save does not")
    return _Mapping()


def _claim(storage: Any, start: Any, shape: Any, stride: Any, *_rest: Any) -> Claim:
    plain = isinstance(storage, _Storage) and type(start) is int and isinstance(shape, tuple)
    if not plain or not isinstance(stride, tuple) or len(stride) != len(shape) or len(shape) > 8:
        raise InvalidBundleError("it describes a tensor as torch.save does not")
    if start < 0 or any(type(n) is not int or n < 0 for n in (*shape, *stride)):
        raise InvalidBundleError("it describes a tensor with a negative length")
    last = start + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if 0 not in shape and (
        last >= storage.count or any(s == 0 < n - 1 for n, s in zip(shape, stride, strict=True))
    ):
        raise InvalidBundleError(
            f"a tensor of {' × '.join(str(n)[:20] for n in shape)} values reaches beyond its record of "
            f"{storage.count:,}; it was tampered with"
        )
    return Claim(storage.record, storage.dtype_name, start, shape, stride)


def _checkpoint(value: Any, path: Path, where: str) -> Checkpoint:
    if not isinstance(value, dict):
        raise InvalidBundleError(f"{where} holds {type(value).__name__}; expected an nnU-Net checkpoint")
    weights, arguments = value.get("network_weights"), value.get("init_args")
    if not isinstance(weights, dict) or not weights:
        raise InvalidBundleError(
            f"{where} has no network_weights; expected a checkpoint of nnU-Net v2, such as "
            "checkpoint_final.pth"
        )
    for key, claim in weights.items():
        if not isinstance(key, str) or not isinstance(claim, Claim):
            raise InvalidBundleError(f"{where}: {shown(key)} in network_weights is no tensor with a name")
    configuration = arguments.get("configuration") if isinstance(arguments, dict) else None
    trainer = value.get("trainer_name")
    if not isinstance(configuration, str) or not isinstance(trainer, str):
        raise InvalidBundleError(f"{where} does not tell its trainer_name and init_args.configuration")
    mirror = value.get("inference_allowed_mirroring_axes") or ()
    if not isinstance(mirror, list | tuple) or any(type(a) is not int or not 0 <= a < 3 for a in mirror):
        raise InvalidBundleError(f"{where}: inference_allowed_mirroring_axes are not axes from 0 to 2")
    return Checkpoint(path, where, weights, trainer, configuration, tuple(mirror))
