"""NRRD and MetaImage through SimpleITK; the border where LPS and (z, y, x) become RAS+ and (i, j, k)."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name that its users know it by
from numpy.typing import NDArray

from medseg.errors import GeometryMismatchError, InputError, UnreadableFileError
from medseg.io.formats import check_is_file, file_source
from medseg.io.limits import DEFAULT_LIMITS, Limits
from medseg.spatial import Geometry, Volume

logger = logging.getLogger(__name__)

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MAX_HEADER_BYTES = 1 << 20
_SLACK_BYTES = 1024
_BLOCK_BYTES = 1 << 20
_ITEMSIZE = {
    sitk.sitkUInt8: 1, sitk.sitkInt8: 1, sitk.sitkUInt16: 2, sitk.sitkInt16: 2, sitk.sitkUInt32: 4,
    sitk.sitkInt32: 4, sitk.sitkUInt64: 8, sitk.sitkInt64: 8, sitk.sitkFloat32: 4, sitk.sitkFloat64: 8,
}  # fmt: skip
_MILLIMETRE_NAMES = {"mm", "millimeter", "millimeters", "millimetre", "millimetres"}


@dataclass(frozen=True, slots=True)
class _TextHeader:
    """The readable front of a NRRD or MetaImage file.

    Attributes:
        fields: key in lower case → value.
        data_file: the file that holds the voxels; the file itself where they are attached.
        data_start: where in it the voxels begin.
    """

    fields: Mapping[str, str]
    data_file: Path
    data_start: int


def read_itk(path: Path, limits: Limits = DEFAULT_LIMITS) -> Volume:
    """A NRRD (``.nrrd``, ``.nhdr``) or MetaImage (``.mha``, ``.mhd``) file of one 3D scalar image.

    Args:
        path: the file; for ``.nhdr`` and ``.mhd`` the header, whose data file lies in the same folder.
        limits: what the header may claim.

    Returns:
        Volume in the stored type; ``source`` is the SHA-256 of the file, and of its data file where it has
        one.

    Raises:
        UnreadableFileError: truncated, damaged or of another format.
        InputError: not 3D, or more than one number a voxel.
        LimitExceededError: more voxels or bytes than allowed.
        GeometryMismatchError: no spacing stated, or no usable place in the patient.
    """
    check_is_file(path)
    header = _read_header(path)
    with _silenced():
        try:
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            affine_lps, itemsize = _check_information(reader, limits, path.name)
            _check_stated_geometry(header, path.name)
            shape = tuple(int(n) for n in reader.GetSize())
            geometry = Geometry(_LPS_FROM_RAS @ affine_lps, (shape[0], shape[1], shape[2]))
            _check_data(header, int(np.prod(shape, dtype=object)) * itemsize, path.name)
            array_zyx: NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise UnreadableFileError(
                f"{path.name} is damaged, truncated or not of the format that it claims: "
                f"{_last_line(error)}; copy or export it again"
            ) from error
    source = file_source(dict.fromkeys((path, header.data_file)))
    return Volume(array_zyx.transpose(2, 1, 0), geometry, source=source)


def write_itk(array: NDArray[Any], geometry: Geometry, path: Path, notice: str) -> None:
    """Write one 3D scalar image as ``.nrrd`` or ``.mha``, compressed.

    Args:
        array: (i, j, k).
        geometry: its grid; sheared grids are kept.
        path: the file; an existing one is replaced.
        notice: text for the header.

    Raises:
        GeometryMismatchError: the pixel size is unknown.
        OSError: the file cannot be written.
    """
    affine_lps = _LPS_FROM_RAS @ geometry.affine
    steps = np.array(geometry.spacing_mm)
    array_zyx = np.ascontiguousarray(array.transpose(2, 1, 0))
    image = sitk.GetImageFromArray(array_zyx)
    image.SetSpacing(steps.tolist())
    image.SetOrigin(affine_lps[:3, 3].tolist())
    image.SetDirection((affine_lps[:3, :3] / steps).ravel().tolist())
    image.SetMetaData("notice", notice)
    with _silenced():
        try:
            sitk.WriteImage(image, str(path), useCompression=True)
        except RuntimeError as error:
            raise OSError(f"SimpleITK could not write it: {_last_line(error)}") from error


@contextmanager
def _silenced() -> Iterator[None]:
    """ITK's warnings go to stderr by themselves; off for one call, then as before."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _check_information(
    reader: sitk.ImageFileReader, limits: Limits, what: str
) -> tuple[NDArray[np.float64], int]:
    size = tuple(int(n) for n in reader.GetSize())
    if len(size) != 3:
        raise InputError(
            f"{what} is {len(size)}D ({' × '.join(map(str, size))}) where one 3D volume is expected; "
            "split it and give the volume or time point that is meant"
        )
    components = reader.GetNumberOfComponents()
    pixel = reader.GetPixelID()
    if components != 1 or pixel not in _ITEMSIZE:
        raise InputError(
            f"{what} has {components} numbers a voxel ({sitk.GetPixelIDValueAsString(pixel)}); "
            "expected one real number a voxel: split the channels"
        )
    limits.check_header(size, _ITEMSIZE[pixel], what)
    spacing = np.array(reader.GetSpacing())
    limits.check_spacing(spacing.tolist(), what)
    affine_lps = np.eye(4)
    affine_lps[:3, :3] = np.array(reader.GetDirection()).reshape(3, 3) * spacing
    affine_lps[:3, 3] = reader.GetOrigin()
    return affine_lps, _ITEMSIZE[pixel]


def _check_stated_geometry(header: _TextHeader, what: str) -> None:
    """SimpleITK fills in 1 mm where a header states no spacing; that is refused here."""
    stated = {"spacings", "space directions", "elementspacing", "elementsize"}
    if not stated & header.fields.keys():
        raise GeometryMismatchError(
            f"{what} states no spacing, so nothing in it has a size; export it with its spacing"
        )
    units = header.fields.get("space units", "").replace('"', " ").lower().split()
    if any(unit not in _MILLIMETRE_NAMES for unit in units):
        raise GeometryMismatchError(
            f"{what} gives lengths in {', '.join(sorted(set(units)))}; expected mm; convert it"
        )
    if "spacings" in header.fields:
        logger.warning("%s states no orientation, only voxel sizes: left and right may be swapped", what)


def _read_header(path: Path) -> _TextHeader:
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER_BYTES)
    nrrd = head.startswith(b"NRRD")
    fields: dict[str, str] = {}
    end = 0
    for line in head.splitlines(keepends=True):
        end += len(line)
        text = line.decode("latin-1").strip()
        if nrrd and not text:
            break
        key, found, value = text.partition(": " if nrrd else "=")
        key = key.strip().lower()
        if found and not text.startswith("#"):
            fields[key] = value.strip()
        if key == "elementdatafile":
            break
    named = fields.get("data file") or fields.get("datafile") or fields.get("elementdatafile") or "LOCAL"
    if named.upper() == "LOCAL":
        return _TextHeader(fields, path, end)
    return _TextHeader(fields, _data_file(path, named), 0)


def _data_file(path: Path, named: str) -> Path:
    data_file = path.parent / named
    inside = data_file.resolve().is_relative_to(path.parent.resolve())
    if not inside or not data_file.is_file():
        raise InputError(
            f"{path.name} names {Path(named).name!r} as the file that holds its voxels; expected one file in "
            "the same folder: put it there, or convert the image to one single file"
        )
    return data_file


def _check_data(header: _TextHeader, expected: int, what: str) -> None:
    """What ITK does not look at: that all bytes are there and that a packed stream's checksum holds.

    Raises:
        InputError: voxels written in another way than raw or packed with deflate.
        UnreadableFileError: too few or too many bytes, or a checksum that does not hold.
    """
    encoding = header.fields.get("encoding", "raw").lower()
    text = header.fields.get("binarydata", "true").lower() != "true"
    skipped = [header.fields.get(key, "0") for key in ("byte skip", "line skip", "headersize")]
    if encoding not in ("raw", "gzip", "gz") or text or any(value != "0" for value in skipped):
        raise InputError(
            f"{what} stores its voxels in an unusual way (as text, packed with bzip2 or behind skipped "
            "bytes); convert it to raw or gzip encoding"
        )
    packed = encoding != "raw" or header.fields.get("compresseddata", "").lower() == "true"
    with header.data_file.open("rb") as file:
        file.seek(header.data_start)
        found = (
            _unpacked_bytes(file, expected, what) if packed else os.fstat(file.fileno()).st_size - file.tell()
        )
    if found < expected or (packed and found > expected + _SLACK_BYTES):
        raise UnreadableFileError(
            f"{what} is truncated or damaged: its header claims {expected} bytes of voxels but {found} are "
            "there; copy or export it again"
        )


def _unpacked_bytes(file: BinaryIO, expected: int, what: str) -> int:
    """How many bytes a zlib or gzip stream holds, counted to a little over ``expected``."""
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    count = 0
    try:
        while not stream.eof and count <= expected + _SLACK_BYTES:
            block = stream.unconsumed_tail or file.read(_BLOCK_BYTES)
            if not block:
                raise UnreadableFileError(f"{what} is truncated: its packed voxels end early; copy it again")
            count += len(stream.decompress(block, _BLOCK_BYTES))
    except zlib.error as error:
        raise UnreadableFileError(
            f"{what} is damaged: its voxels cannot be unpacked ({error}); copy or export it again"
        ) from error
    return count


def _last_line(error: Exception) -> str:
    """The end of one of ITK's long messages, without its paths."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rpartition("/")[2] if lines else "no reason given"
