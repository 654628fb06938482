"""What a NIfTI header says, checked before anything is believed."""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medseg.errors import GeometryMismatchError, InputError, UnreadableFileError
from medseg.io.limits import Limits
from medseg.spatial import Geometry

logger = logging.getLogger(__name__)

MAX_HEADER_BYTES = 1 << 26
"""Header and extensions together are never longer than this."""

_SIZES = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
_MAGIC = {348: (b"n+1", b"ni1"), 540: (b"n+2", b"ni2")}
_DTYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_UNSUPPORTED = {
    1: "1-bit", 32: "complex64", 128: "RGB", 1536: "float128", 1792: "complex128", 2048: "complex256",
    2304: "RGBA",
}  # fmt: skip
_UNIT_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 1e-3}
_LENGTH_UNIT_BITS = 7
_DISAGREEMENT_MM = 1e-2


@dataclass(frozen=True, slots=True)
class NiftiPlan:
    """How the voxels of one file lie and what they mean.

    Attributes:
        dtype: type and byte order as stored.
        offset: where the voxels begin in the file that holds them.
        paired: whether they are in a second file (``.hdr`` and ``.img``).
        scaling: slope and intercept, or None where the stored numbers are the values.
        geometry: the grid in RAS+ mm.
    """

    dtype: np.dtype[Any]
    offset: int
    paired: bool
    scaling: tuple[float, float] | None
    geometry: Geometry

    @property
    def data_bytes(self) -> int:
        """Bytes of the voxels."""
        return int(np.prod(self.geometry.shape, dtype=object)) * self.dtype.itemsize


def header_length(first: bytes, what: str) -> int:
    """348 for NIfTI-1, 540 for NIfTI-2, by the first four bytes in either byte order.

    Raises:
        UnreadableFileError: neither.
    """
    for order in "<>":
        (size,) = struct.unpack(f"{order}i", first)
        if size in _SIZES:
            return int(size)
    raise UnreadableFileError(f"{what} does not begin with a NIfTI header; give the original image file")


def plan_nifti(block: bytes, limits: Limits, what: str) -> NiftiPlan:
    """Check a header and lay out how to read its voxels; nothing is allocated.

    Args:
        block: the 348 or 540 bytes of the header.
        limits: what it may claim.
        what: the file, for messages.

    Raises:
        UnreadableFileError: damaged fields.
        InputError: 4D, colour or complex voxels.
        LimitExceededError: more voxels than allowed.
        GeometryMismatchError: no usable place in the patient.
    """
    order = "<" if struct.unpack("<i", block[:4])[0] == len(block) else ">"
    header = _SIZES[len(block)](block, endianness=order, check=False)
    magic = header["magic"].tobytes()[:3]
    if magic not in _MAGIC[len(block)]:
        raise UnreadableFileError(
            f"{what} has no NIfTI mark in its header (an Analyze file, or damaged); Analyze does not state "
            "left and right: convert it to NIfTI with a tool that knows"
        )
    shape = _checked_shape(header, what)
    dtype = _checked_dtype(header, what)
    limits.check_header(shape, dtype.itemsize, what)
    paired = magic.startswith(b"ni")
    affine = _checked_affine(header, shape, what)
    geometry = Geometry(affine, shape)
    limits.check_spacing(geometry.spacing_mm, what)
    return NiftiPlan(
        dtype, _checked_offset(header, len(block), paired, what), paired, _scaling(header, what), geometry
    )


def _checked_shape(header: Any, what: str) -> tuple[int, int, int]:
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7:
        raise UnreadableFileError(f"{what} claims {rank} dimensions; a NIfTI header states 1 to 7")
    dims = [int(n) for n in header["dim"][1 : rank + 1]]
    if min(dims) < 1:
        raise UnreadableFileError(f"{what} claims the dimensions {dims}; each must be 1 or more")
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) > 3:
        raise InputError(
            f"{what} is {len(dims)}D ({' × '.join(map(str, dims))}) where one 3D volume is expected; "
            "split it and give the volume, time point or direction that is meant"
        )
    dims += [1] * (3 - len(dims))
    return dims[0], dims[1], dims[2]


def _checked_dtype(header: Any, what: str) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code not in _DTYPES:
        name = _UNSUPPORTED.get(code, f"of the unknown type {code}")
        raise InputError(f"{what} has {name} voxels; expected one real number a voxel")
    dtype = np.dtype(_DTYPES[code]).newbyteorder(header.endianness)
    bits = int(header["bitpix"])
    if bits != dtype.itemsize * 8:
        raise UnreadableFileError(
            f"{what} claims {bits} bits a voxel but its data type {dtype.name} has {dtype.itemsize * 8}"
        )
    return dtype


def _checked_offset(header: Any, header_bytes: int, paired: bool, what: str) -> int:
    offset = float(header["vox_offset"])
    lowest = 0 if paired else header_bytes + 4
    if not (lowest <= offset <= MAX_HEADER_BYTES and offset == int(offset)):
        raise UnreadableFileError(
            f"{what} claims that its voxels begin at byte {offset:g}; expected a whole number from {lowest} "
            f"to {MAX_HEADER_BYTES}"
        )
    return int(offset)


def _scaling(header: Any, what: str) -> tuple[float, float] | None:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return None
    if not np.isfinite(intercept):
        raise UnreadableFileError(f"{what} states an intercept of {intercept}; expected a finite number")
    return None if (slope, intercept) == (1.0, 0.0) else (slope, intercept)


def _checked_affine(header: Any, shape: tuple[int, int, int], what: str) -> NDArray[np.float64]:
    unit = int(header["xyzt_units"]) & _LENGTH_UNIT_BITS
    if unit not in _UNIT_MM:
        raise GeometryMismatchError(
            f"{what} gives lengths in the unknown unit {unit}; expected metres, mm or microns"
        )
    unit_mm = _UNIT_MM[unit]
    if int(header["sform_code"]) > 0:
        affine = _scaled(header.get_sform(), unit_mm)
        _check_usable(affine, "sform", what)
        if int(header["qform_code"]) > 0:
            _compare_forms(affine, header, unit_mm, shape, what)
        return affine
    if int(header["qform_code"]) > 0:
        affine = _scaled(_qform(header, what), unit_mm)
        _check_usable(affine, "qform", what)
        return affine
    _check_pixdim(header, what)
    logger.warning(
        "%s states no orientation (sform and qform codes are 0): only its voxel sizes are known, so left and "
        "right are as nibabel takes them and may be swapped",
        what,
    )
    return _scaled(header.get_base_affine(), unit_mm)


def _scaled(affine: NDArray[Any], unit_mm: float) -> NDArray[np.float64]:
    """The affine in mm; unlike a product of matrices, it lets infinities through as they are."""
    result = np.array(affine, np.float64)
    result[:3] *= unit_mm
    return result


def _qform(header: Any, what: str) -> NDArray[np.float64]:
    _check_pixdim(header, what)
    try:
        return np.asarray(header.get_qform(), np.float64)
    except (HeaderDataError, ValueError) as error:
        raise GeometryMismatchError(
            f"{what} has an unusable qform ({error}); export the image again from its source"
        ) from error


def _check_pixdim(header: Any, what: str) -> None:
    sizes = np.asarray(header["pixdim"][1:4], np.float64)
    rank = int(header["dim"][0])
    used = sizes[: max(min(rank, 3), 1)]
    if not (np.isfinite(used).all() and (used > 0).all() and np.isfinite(sizes).all()):
        raise GeometryMismatchError(
            f"{what} states voxel sizes of {sizes.tolist()}; expected finite lengths above 0, for no sform "
            "says where its voxels lie"
        )


def _check_usable(affine: NDArray[np.float64], form: str, what: str) -> None:
    try:
        Geometry(affine, (1, 1, 1))
    except GeometryMismatchError as error:
        raise GeometryMismatchError(f"the {form} of {what} is unusable: {error}") from error


def _compare_forms(
    affine: NDArray[np.float64],
    header: Any,
    unit_mm: float,
    shape: tuple[int, int, int],
    what: str,
) -> None:
    try:
        other = Geometry(_scaled(_qform(header, what), unit_mm), shape)
    except GeometryMismatchError:
        logger.warning("%s has an unusable qform beside its sform; the sform is used", what)
        return
    apart = float(np.linalg.norm(Geometry(affine, shape).corners_mm - other.corners_mm, axis=1).max())
    if apart > _DISAGREEMENT_MM:
        logger.warning(
            "%s: sform and qform place the image up to %.3g mm apart; the sform is used", what, apart
        )
