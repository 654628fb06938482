"""Pixels of DICOM frames: decode, rescale slice by slice, unit."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, RLELossless

from medseg.errors import LimitExceededError, MedsegError, UnreadableFileError
from medseg.io.dicom_checks import in_hounsfield
from medseg.io.dicom_frames import Frame
from medseg.io.dicom_suv import suv_factor
from medseg.spatial.volume import Unit

logger = logging.getLogger(__name__)

_THREADS = 2
_INTEGERS = (np.int16, np.uint16, np.int32)
_SOC_J2K = b"\xff\x4f\xff\x51"
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def read_pixels(frames: Sequence[Frame]) -> tuple[NDArray[Any], Unit]:
    """Rescaled values of a stack, (slice, row, column), and their unit.

    Slope and intercept are each frame's own. Where all slopes are 1 and all intercepts whole, the result is
    the first of int16, uint16, int32 that holds the whole stack (uint8 stays where nothing is added to 8-bit
    pixels); otherwise float32. Padding values are rescaled like all others.

    Raises:
        UnreadableFileError: a file cannot be decoded, or what comes out is not of the size it states.
        LimitExceededError: the compressed pixels claim another size than the header.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stored, factor = _decode_all(frames)
    if caught:
        logger.debug("pydicom gave %d warnings while decoding a stack", len(caught))
    array_zyx = _rescale(stored, frames, factor)
    return array_zyx, _unit(frames, factor)


def _decode_all(frames: Sequence[Frame]) -> tuple[list[NDArray[Any]], float | None]:
    """Stored values of each frame, and the SUV factor where all tags are there."""
    by_file: dict[Path, list[int]] = {}
    for n, frame in enumerate(frames):
        by_file.setdefault(frame.header.path, []).append(n)
    stored: list[NDArray[Any]] = [np.empty(0)] * len(frames)
    factors: list[float | None] = []
    jobs = [[frames[n] for n in numbers] for numbers in by_file.values()]
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        for numbers, (pixels, factor) in zip(by_file.values(), pool.map(_decode_file, jobs), strict=True):
            factors.append(factor)
            for n, values in zip(numbers, pixels, strict=True):
                stored[n] = values
    known = [factor for factor in factors if factor is not None]
    one = len(known) == len(factors) and max(known) - min(known) <= 1e-6 * max(known)
    return stored, known[0] if one else None


def _decode_file(frames: list[Frame]) -> tuple[list[NDArray[Any]], float | None]:
    header = frames[0].header
    try:
        dataset = pydicom.dcmread(header.path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = UID(header.transfer_syntax)
        _check_codestreams(dataset, frames)
        pixels = [np.asarray(values) for values in _decoded(dataset, frames)]
        factor = suv_factor(dataset) if header.modality == "PT" else None
    except (MedsegError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # decoders in Rust panic with a class that is no Exception
        raise UnreadableFileError(
            f"the pixels of a {UID(header.transfer_syntax).name} file cannot be decoded "
            f"({type(error).__name__}); expected {header.columns} × {header.rows} pixels of "
            f"{header.bits_allocated} bits. Fetch or export the series again"
        ) from error
    for values in pixels:
        if values.shape != (header.rows, header.columns) or values.dtype.kind not in "iu":
            raise UnreadableFileError(
                f"a frame decodes to {values.shape} of {values.dtype}; expected {header.rows} × "
                f"{header.columns} whole numbers. Fetch or export the series again"
            )
    return pixels, factor


def _decoded(dataset: Dataset, frames: list[Frame]) -> Iterator[NDArray[Any]]:
    """Stored values in the order of ``frames``; each frame is decoded once."""
    plugin = _plugin(frames[0].header.transfer_syntax)
    if frames[0].header.frames == 1:
        yield pixel_array(dataset, index=0, raw=True, decoding_plugin=plugin)
        return
    indices = [frame.index for frame in frames]
    found = dict(
        zip(
            sorted(indices),
            (
                values.copy()
                for values in iter_pixels(dataset, indices=sorted(indices), raw=True, decoding_plugin=plugin)
            ),
            strict=True,
        )
    )
    yield from (found[index] for index in indices)


def _plugin(transfer_syntax: str) -> str:
    """The decoder to prefer: the exact and fast one of each compression; empty for pydicom's own order."""
    if transfer_syntax in JPEGLSTransferSyntaxes:
        wanted = "pyjpegls"
    elif transfer_syntax in JPEG2000TransferSyntaxes or transfer_syntax == RLELossless:
        wanted = "pylibjpeg"
    else:
        return ""
    return wanted if wanted in get_decoder(transfer_syntax).available_plugins else ""


def _check_codestreams(dataset: Dataset, frames: list[Frame]) -> None:
    """Compressed pixels state a size of their own, by which decoders allocate; it must be the header's."""
    header = frames[0].header
    if header.native:
        return
    for stream in generate_frames(dataset.PixelData, number_of_frames=header.frames):
        claimed = codestream_size(stream)
        if claimed is not None and claimed != (header.rows, header.columns):
            raise LimitExceededError(
                f"compressed pixels claim {claimed[0]} × {claimed[1]}; the header says {header.rows} × "
                f"{header.columns}. Fetch or export the series again"
            )


def codestream_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream states; None for others.

    From the SIZ marker (ISO/IEC 15444-1 A.5.1) or the frame header (ISO/IEC 10918-1 B.2.2).
    """
    start = stream.find(_SOC_J2K, 0, 4096)
    if start >= 0:
        fields = [int.from_bytes(stream[start + n : start + n + 4]) for n in (8, 12, 16, 20)]
        return fields[1] - fields[3], fields[0] - fields[2]
    if stream[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4])
        if marker in _START_OF_FRAME:
            return int.from_bytes(stream[at + 5 : at + 7]), int.from_bytes(stream[at + 7 : at + 9])
        at += 1 if marker == 0xFF else 2 + length
    return None


def _rescale(stored: list[NDArray[Any]], frames: Sequence[Frame], factor: float | None) -> NDArray[Any]:
    scales = [(1.0 if frame.slope is None else frame.slope, frame.intercept or 0.0) for frame in frames]
    dtype = _exact_integer(stored, scales) if factor in (None, 1.0) else None
    array_zyx = np.empty((len(stored), *stored[0].shape), dtype or np.float32)
    for n, (slope, intercept) in enumerate(scales):
        if dtype is None:
            array_zyx[n] = (stored[n] * slope + intercept) * (factor or 1.0)
        else:
            # Wrapping twice is exact, for the sum is known to fit.
            shift = np.array(int(intercept), np.int64).astype(dtype)
            np.add(stored[n].astype(dtype, copy=False), shift, out=array_zyx[n])
        stored[n] = np.empty(0)
    return array_zyx


def _exact_integer(
    stored: list[NDArray[Any]], scales: list[tuple[float, float]]
) -> type[np.integer[Any]] | None:
    if any(slope != 1.0 or intercept != int(intercept) for slope, intercept in scales):
        return None
    if all(values.dtype == np.uint8 for values in stored) and not any(b for _, b in scales):
        return np.uint8
    low = min(int(values.min()) + int(b) for values, (_, b) in zip(stored, scales, strict=True))
    high = max(int(values.max()) + int(b) for values, (_, b) in zip(stored, scales, strict=True))
    return next((t for t in _INTEGERS if np.iinfo(t).min <= low and high <= np.iinfo(t).max), None)


def _unit(frames: Sequence[Frame], factor: float | None) -> Unit:
    if frames[0].header.modality == "CT":
        return Unit.HU if all(in_hounsfield(frame) for frame in frames) else Unit.ARBITRARY
    return Unit.SUV if factor is not None else Unit.ARBITRARY
