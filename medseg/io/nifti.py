"""Reading NIfTI: strict about sizes, careful with memory, one pass over the voxels."""

from __future__ import annotations

import gzip
import logging
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputError, UnreadableFileError
from medseg.io.formats import GZIP_MAGIC, check_is_file, file_source, image_suffix
from medseg.io.limits import DEFAULT_LIMITS, Limits
from medseg.io.nifti_header import NiftiPlan, header_length, plan_nifti
from medseg.spatial import Volume

logger = logging.getLogger(__name__)

_SLACK_BYTES = 1024
_DEFLATE_MAX_RATIO = 1032
_BLOCK_BYTES = 1 << 22
_FLOAT32_WHOLE = 1 << 24


def read_nifti(path: Path, limits: Limits = DEFAULT_LIMITS) -> Volume:
    """A NIfTI-1 or NIfTI-2 file, single or ``.hdr``/``.img`` pair, plain or gzipped.

    The header is checked before anything is allocated; a gzipped file is unpacked once, straight into the
    array, never beyond what its header claims, and its checksum must hold. The sform gives the place in the
    patient where its code is above 0, else the qform, else the voxel sizes alone (logged).

    Args:
        path: the file; either one of a pair.
        limits: what the header may claim.

    Returns:
        Volume in Fortran order; the stored type where nothing is scaled, else float32, or float64 where
        float32 cannot hold the stored numbers. ``source`` is the SHA-256 of the file (of both of a pair).

    Raises:
        UnreadableFileError: truncated, damaged or no NIfTI file.
        InputError: 4D, colour or complex voxels.
        LimitExceededError: more voxels or bytes than allowed.
        GeometryMismatchError: no usable place in the patient.
    """
    header_path, data_path = _pair_of(path)
    what = path.name
    try:
        with _open(header_path) as file:
            start = _exactly(file, 4, what)
            block = start + _exactly(file, header_length(start, what) - 4, what)
            plan = plan_nifti(block, limits, what)
            if not plan.paired:
                _exactly(file, plan.offset - len(block), what)
                array = _read_voxels(file, plan, header_path, what)
        if plan.paired:
            with _open(_existing(data_path, what)) as file:
                _exactly(file, plan.offset, what)
                array = _read_voxels(file, plan, data_path, what)
        source = file_source([header_path, data_path] if plan.paired else [header_path])
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFileError(
            f"{what} is truncated or damaged: {error}; copy or export it again"
        ) from error
    except OSError as error:
        raise InputError(f"{what} cannot be read: {error.strerror or error}") from error
    return Volume(_scaled(array, plan.scaling), plan.geometry, source=source)


def _pair_of(path: Path) -> tuple[Path, Path]:
    """The file with the header and the file with the voxels."""
    suffix = image_suffix(path.name)
    stem = path.name[: len(path.name) - len(suffix)]
    swap = {".hdr": ".img", ".hdr.gz": ".img.gz", ".img": ".hdr", ".img.gz": ".hdr.gz"}
    other = swap.get(suffix.lower())
    if other is None:
        return path, path
    if suffix != suffix.lower():
        other = other.upper()
    partner = path.with_name(stem + other)
    return (path, partner) if "hdr" in suffix.lower() else (_existing(partner, path.name), path)


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        raise InputError(f"{what} is one half of a pair and {path.name} is not beside it; give both files")
    return path


def _open(path: Path) -> BinaryIO:
    check_is_file(path)
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    return cast("BinaryIO", gzip.open(path)) if packed else path.open("rb")


def _exactly(file: BinaryIO, count: int, what: str) -> bytes:
    block = file.read(count)
    if len(block) < count:
        raise UnreadableFileError(f"{what} ends within its header; copy or export it again")
    return block


def _read_voxels(file: BinaryIO, plan: NiftiPlan, path: Path, what: str) -> NDArray[Any]:
    expected = plan.data_bytes
    packed = isinstance(file, gzip.GzipFile)
    size = path.stat().st_size
    possible = size * _DEFLATE_MAX_RATIO if packed else size - plan.offset
    if possible < expected:
        raise UnreadableFileError(
            f"{what} is truncated: its header claims {expected} bytes of voxels but at most "
            f"{max(possible, 0)} are there; copy or export it again"
        )
    array = np.empty(expected // plan.dtype.itemsize, plan.dtype)
    view = memoryview(array.data).cast("B")
    done = 0
    while done < expected:
        count = file.readinto(view[done : done + _BLOCK_BYTES])  # type: ignore[attr-defined]
        if not count:
            raise UnreadableFileError(
                f"{what} is truncated: its header claims {expected} bytes of voxels but it ends after "
                f"{done}; copy or export it again"
            )
        done += count
    extra = len(file.read(_SLACK_BYTES + 1))
    if packed and extra > _SLACK_BYTES:
        raise UnreadableFileError(
            f"{what} holds more than {_SLACK_BYTES} bytes beyond the {expected} bytes of voxels that its "
            "header claims; its header or its data are damaged"
        )
    if extra:
        logger.warning("%s holds bytes beyond its voxels; they are ignored", what)
    return array.reshape(plan.geometry.shape, order="F")


def _scaled(array: NDArray[Any], scaling: tuple[float, float] | None) -> NDArray[Any]:
    native = array.dtype.newbyteorder("=")
    if scaling is None:
        return array.astype(native, copy=False)
    slope, intercept = scaling
    values = np.empty(array.shape, _scaled_dtype(array, slope, intercept), order="F")
    # Slice by slice, so that the float64 in between never exists for the whole volume.
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(array.shape[2]):
            values[:, :, k] = array[:, :, k].astype(np.float64) * slope + intercept
    return values


def _scaled_dtype(array: NDArray[Any], slope: float, intercept: float) -> type[np.float32 | np.float64]:
    if array.dtype.kind == "f" and array.dtype.itemsize > 4:
        return np.float64
    with np.errstate(invalid="ignore"):
        highest = max(abs(float(array.min())), abs(float(array.max())))
    if array.dtype.kind in "iu" and highest > _FLOAT32_WHOLE:
        return np.float64
    if highest * abs(slope) + abs(intercept) > float(np.finfo(np.float32).max):
        return np.float64
    return np.float32
