"""DICOM headers: which files are images, and what each frame says about itself.

Nothing here decodes pixels. Positions, orientations and spacings are as stored: patient axes LPS, in mm.
"""

from __future__ import annotations

import logging
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from medseg.errors import InputError, LimitExceededError, UnreadableFileError
from medseg.io.dicom_fields import number, number_list, text, text_list, whole
from medseg.io.dicom_frames import FRAME_TAGS, Frame, Header, classic_frame, enhanced_frames
from medseg.io.limits import Limits

logger = logging.getLogger(__name__)

_HEADER_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "SeriesDescription",
    "FrameOfReferenceUID", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames", "LossyImageCompression",
    "PixelPaddingValue", "ModalityLUTSequence", *FRAME_TAGS,
]  # fmt: skip

_CLASS = "1.2.840.10008.5.1.4.1.1."
_NOT_A_SCAN = (
    ("1.2.840.10008.1.3.10", "DICOMDIR", "an index of other files; it is never followed"),
    (_CLASS + "66.4", "segmentation", "a result, not a scan"),
    (_CLASS + "66.7", "segmentation", "a result, not a scan"),
    (_CLASS + "66", "raw data or registration", "it holds no image"),
    (_CLASS + "88.", "structured report", "it holds no image"),
    (_CLASS + "11.", "presentation state", "it says how to show images and holds none"),
    (_CLASS + "104.", "encapsulated document", "it holds no image"),
    (_CLASS + "9.", "waveform", "it holds no image"),
    (_CLASS + "4.2", "spectroscopy", "it holds no image"),
    (_CLASS + "30", "parametric map", "a result, not a scan"),
    (_CLASS + "481.3", "structure set", "a result, not a scan"),
    (_CLASS + "481.2", "dose", "a radiotherapy dose, not a scan"),
    (_CLASS + "481.", "radiotherapy object", "it holds no scan"),
)
_SECONDARY_CAPTURE = _CLASS + "7"
_FIRST_BYTES_WITHOUT_PREAMBLE = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_LONG_VR = (b"OB", b"OW", b"UN", b"OF", b"OD", b"OL", b"OV")
_UNDEFINED = 0xFFFFFFFF
_EXPORT_AGAIN = "export the series again from its source"
_MAX_INFLATED_HEADER_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Other:
    """A file that is no part of an image stack.

    Attributes:
        path: the file.
        kind: what it is, such as ``not DICOM`` or ``structured report``.
        reason: why it is left aside.
        error: what reading it as an image raises, where it claims to be one; else None.
    """

    path: Path
    kind: str
    reason: str
    error: InputError | None = None


def read_frames(path: Path, limits: Limits) -> list[Frame] | Other:
    """The frames of one file, from its header alone, or why it holds none.

    A file without the 128-byte preamble counts as DICOM only where it names a storage class and has rows;
    a damaged image keeps its place with ``Header.fault`` set, so that its slice is missed by name. What
    claims or would inflate to more than ``limits`` is left aside unread. No file makes this raise.
    """
    refused = _not_readable(path)
    if refused is not None:
        return refused
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = _read(path, limits)
        except LimitExceededError as error:
            result = Other(path, "too large", str(error), error)
        except Exception as error:  # noqa: BLE001 - pydicom lets any class escape from damaged files
            reason = f"the header of a DICOM file cannot be read ({type(error).__name__})"
            result = Other(path, "damaged DICOM", reason, UnreadableFileError(f"{reason}; {_EXPORT_AGAIN}"))
    if caught:
        logger.debug("pydicom gave %d warnings on one header", len(caught))
    return result


def _not_readable(path: Path) -> Other | None:
    """Why a file is not worth opening: folders, pipes, empty files and files of other formats."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Other(path, "not a file", "pipes, devices and folders are not read")
        if status.st_size == 0:
            return Other(path, "empty file", "it has no content")
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError as error:
        return Other(path, "not readable", f"the system refuses to open it ({type(error).__name__})")
    if start[128:] == b"DICM" or start[:2] in _FIRST_BYTES_WITHOUT_PREAMBLE:
        return None
    return Other(path, "not DICOM", "it does not begin as a DICOM file does")


def _read(path: Path, limits: Limits) -> list[Frame] | Other:
    with path.open("rb") as stream:
        whole_preamble = stream.read(132)[128:] == b"DICM"
        if whole_preamble:
            _check_inflated(stream, limits)
        stream.seek(0)
        dataset = pydicom.dcmread(
            stream, stop_before_pixels=True, force=not whole_preamble, specific_tags=list(_HEADER_TAGS)
        )
        sop_class = text(dataset, "SOPClassUID") or text(dataset.file_meta, "MediaStorageSOPClassUID") or ""
        if not whole_preamble and not (sop_class.startswith("1.2.840.10008.") and "Rows" in dataset):
            return Other(path, "not DICOM", "it has neither the DICOM mark nor a storage class and rows")
        other = _other_kind(path, dataset, sop_class)
        if other is not None:
            return other
        header = _header(path, dataset, sop_class)
        header = replace(header, fault=header.fault or _pixel_fault(stream, header))
    shape = (header.columns, header.rows, header.frames)
    limits.check_header(shape, max(header.bits_allocated // 8, 1) * header.samples, "a DICOM file")
    if "PerFrameFunctionalGroupsSequence" in dataset:
        return enhanced_frames(dataset, header)
    if header.frames > 1:
        header = replace(header, fault=f"it holds {header.frames} frames that have no positions of their own")
    return [classic_frame(dataset, header)]


def _other_kind(path: Path, dataset: Dataset, sop_class: str) -> Other | None:
    for prefix, kind, reason in _NOT_A_SCAN:
        exact = not prefix.endswith(".")
        if sop_class == prefix or (sop_class.startswith(prefix if not exact else prefix + ".")):
            return Other(path, kind, reason)
    if not whole(dataset, "Rows") or not whole(dataset, "Columns"):
        return Other(path, "no image", "its header names no rows and columns")
    secondary = sop_class == _SECONDARY_CAPTURE or sop_class.startswith(_SECONDARY_CAPTURE + ".")
    if secondary and number_list(dataset, "ImagePositionPatient", 3) is None:
        return Other(path, "secondary capture", "a picture without a place in the patient")
    return None


def _header(path: Path, dataset: Dataset, sop_class: str) -> Header:
    syntax = text(dataset.file_meta, "TransferSyntaxUID") or _assumed_syntax(dataset)
    allocated = whole(dataset, "BitsAllocated") or 0
    stored = whole(dataset, "BitsStored") or allocated
    high = whole(dataset, "HighBit")
    fault = None
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated:
        fault = f"its {stored} bits stored of {allocated} bits allocated are not supported"
    elif not UID(syntax).is_transfer_syntax:
        fault = "its transfer syntax is not one of the DICOM standard"
    elif high is not None and high != stored - 1:
        fault = f"its highest bit is {high} where {stored - 1} is expected"
    elif "ModalityLUTSequence" in dataset:
        fault = "its values go through a lookup table, which is not supported"
    return Header(
        path=path,
        series_uid=text(dataset, "SeriesInstanceUID"),
        sop_class=sop_class,
        sop_instance=text(dataset, "SOPInstanceUID"),
        modality=text(dataset, "Modality"),
        description=text(dataset, "SeriesDescription"),
        frame_of_reference=text(dataset, "FrameOfReferenceUID"),
        rows=whole(dataset, "Rows") or 0,
        columns=whole(dataset, "Columns") or 0,
        samples=whole(dataset, "SamplesPerPixel") or 1,
        photometric=(text(dataset, "PhotometricInterpretation") or "").upper(),
        image_type=tuple(part.upper() for part in text_list(dataset, "ImageType")),
        bits_allocated=allocated,
        frames=max(whole(dataset, "NumberOfFrames") or 1, 1),
        transfer_syntax=syntax,
        secondary_capture=sop_class.startswith(_SECONDARY_CAPTURE),
        lossy=text(dataset, "LossyImageCompression") == "01",
        padded=number(dataset, "PixelPaddingValue") is not None or "PixelPaddingValue" in dataset,
        fault=fault,
    )


def _assumed_syntax(dataset: Dataset) -> str:
    implicit, little = dataset.original_encoding
    if not little:
        return str(ExplicitVRBigEndian)
    return str(ImplicitVRLittleEndian) if implicit else "1.2.840.10008.1.2.1"


def _check_inflated(stream: BinaryIO, limits: Limits) -> None:
    """Inflates a deflated data set piece by piece, keeping nothing, to learn how large it becomes.

    ``stream`` stands after the preamble.
    """
    meta = read_dataset(
        stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2
    )
    if text(meta, "TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    while not inflater.eof and (piece := inflater.unconsumed_tail or stream.read(65_536)):
        total += len(inflater.decompress(piece, 2**20))
        if total > _MAX_INFLATED_HEADER_BYTES:
            raise LimitExceededError(
                f"a deflated DICOM file grows beyond {_MAX_INFLATED_HEADER_BYTES // 2**20} MiB; expected an "
                "image of ordinary size. Store the series uncompressed if the file is genuine"
            )
    limits.check_header((total, 1, 1), 1, "deflated DICOM file")


def _pixel_fault(stream: BinaryIO, header: Header) -> str | None:
    """What is wrong with the place of the pixels, from lengths alone; None where nothing is.

    ``stream`` stands where the pixel data element begins, as pydicom leaves it.
    """
    if header.transfer_syntax == DeflatedExplicitVRLittleEndian:
        return None
    size = header.path.stat().st_size
    big = header.transfer_syntax == ExplicitVRBigEndian
    order = ">" if big else "<"
    start = stream.read(12)
    if len(start) < 8 or struct.unpack(order + "HH", start[:4]) != (0x7FE0, 0x0010):
        return "it has no pixel data (the file ends before them)"
    if header.transfer_syntax != ImplicitVRLittleEndian and start[4:6] in _LONG_VR and len(start) == 12:
        (length,), begin = struct.unpack(order + "I", start[8:12]), stream.tell()
    else:
        (length,), begin = struct.unpack(order + "I", start[4:8]), stream.tell() - 4
    if length == _UNDEFINED:
        stream.seek(begin)
        return _fragment_fault(stream, size)
    wanted = header.rows * header.columns * header.samples * header.frames * header.bits_allocated // 8
    present = min(length, size - begin)
    if header.native and present < wanted:
        return f"its pixel data are truncated ({present} of {wanted} bytes are there)"
    return None


def _fragment_fault(stream: BinaryIO, size: int) -> str | None:
    """Walks over the fragments of compressed pixels by their lengths; the last must end inside the file."""
    while True:
        item = stream.read(8)
        if len(item) < 8:
            return None if not item else "its compressed pixel data are truncated"
        group, element, length = struct.unpack("<HHI", item)
        if (group, element) == (0xFFFE, 0xE0DD):
            return None
        if (group, element) != (0xFFFE, 0xE000) or stream.tell() + length > size:
            return "its compressed pixel data are truncated"
        stream.seek(length, 1)


def same_pixels(frames: list[Frame]) -> bool:
    """Whether all frames are whole files with the very same stored pixels and rescale."""
    if any(frame.header.frames > 1 for frame in frames):
        return False
    seen: set[tuple[Any, ...]] = set()
    for frame in frames:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pixels = pydicom.dcmread(frame.header.path, force=True).get("PixelData")
            except Exception:  # noqa: BLE001 - see read_frames
                return False
        seen.add((frame.slope, frame.intercept, frame.header.transfer_syntax, pixels))
    return len(seen) == 1
