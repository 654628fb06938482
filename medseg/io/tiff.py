"""TIFF: one page, its pixel size, and its pixels where no foreign codec is needed."""

from __future__ import annotations

import io
import logging
import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from medseg.errors import InputError, UnreadableFileError
from medseg.io.limits import Limits

logger = logging.getLogger(__name__)

_NATIVE_COMPRESSION = {1, 8, 32946, 32773}
_DEFLATE = {8, 32946}
_MIN_IS_BLACK, _RGB = 1, 2
_CENTIMETRE = 3
_UNIT_MM = {
    "nm": 1e-6, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "\\u00b5m": 1e-3,
    "mm": 1.0, "cm": 10.0,
}  # fmt: skip
_PLAUSIBLE_MM = (1e-5, 100.0)
_SCREEN_DPI = (72, 96, 150, 300, 600)


@dataclass(frozen=True, slots=True)
class TiffPage:
    """What the header of a single-page TIFF says.

    Attributes:
        native: whether `decode_tiff` can decode it; where not, another decoder is needed.
        pixel_mm: width and height of a pixel, or None where none is stated that can be relied on.
    """

    native: bool
    pixel_mm: tuple[float, float] | None


def tiff_page(data: bytes, limits: Limits, what: str) -> TiffPage:
    """Check the header of a TIFF file; no pixel is decoded.

    Args:
        data: the whole file.
        limits: what it may claim.
        what: the file, for messages.

    Raises:
        InputError: several pages, or white at zero.
        LimitExceededError: more pixels than allowed.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        if not len(file.pages):
            raise UnreadableFileError(f"{what} is truncated: it holds no page; copy or export it again")
        if len(file.pages) > 1:
            raise InputError(
                f"{what} has {len(file.pages)} pages where one picture is expected; split it, or convert a "
                "stack of slices to NIfTI, which states the distance between them"
            )
        page = file.pages.first
        limits.check_header(page.shape, max(page.bitspersample // 8, 1), what)
        if page.photometric == 0:
            raise InputError(f"{what} stores white as 0; save it with black as 0")
        native = int(page.compression) in _NATIVE_COMPRESSION and page.photometric in (_MIN_IS_BLACK, _RGB)
        if native and int(page.compression) in _DEFLATE:
            _check_segments(data, page, what)
        return TiffPage(native, _pixel_mm(file, page, what))


def decode_tiff(data: bytes, what: str) -> NDArray[Any]:
    """The pixels, (rows, columns) or (rows, columns, bands), in the stored type.

    Raises:
        InputError: not one, two (alpha), three or four (alpha) real numbers a pixel.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        stored: NDArray[Any] = file.pages.first.asarray(squeeze=False)
    planes, depth, _, _, bands = stored.shape
    if stored.size == 0 or depth > 1 or planes * bands > 4 or stored.dtype.kind not in "biuf":
        raise InputError(
            f"{what} has {planes * bands} numbers a pixel of type {stored.dtype} in {depth} slices; expected "
            "one slice in grey or RGB"
        )
    array = stored[0, 0] if planes == 1 else np.moveaxis(stored[:, 0, :, :, 0], 0, -1)
    array = array[..., 0] if array.shape[-1] == 1 else array
    return array.astype(np.uint8 if array.dtype == bool else array.dtype.newbyteorder("="), copy=False)


def write_tiff(array: NDArray[Any], pixel_mm: tuple[float, float] | None, path: Any, notice: str) -> None:
    """Write a picture of one band as deflated TIFF, with its pixel size in centimetres where it is known.

    Args:
        array: (rows, columns).
        pixel_mm: width and height of a pixel, or None.
        path: the file; an existing one is replaced.
        notice: text for the ``Software`` tag.
    """
    resolution = None if pixel_mm is None else (10 / pixel_mm[0], 10 / pixel_mm[1])
    tifffile.imwrite(
        path,
        array,
        photometric="minisblack",
        compression="zlib",
        metadata=None,
        software=notice,
        resolution=resolution,
        resolutionunit=None if resolution is None else "CENTIMETER",
    )


def _check_segments(data: bytes, page: Any, what: str) -> None:
    """No strip or tile may unpack to more than its share of the picture."""
    most = int(np.prod(page.chunks, dtype=object)) * max(page.bitspersample // 8, 1) + 1024
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        unpacked = zlib.decompressobj().decompress(data[offset : offset + count], most + 1)
        if len(unpacked) > most:
            raise UnreadableFileError(f"{what} unpacks to more pixels than its header claims; it is damaged")


def _pixel_mm(file: Any, page: Any, what: str) -> tuple[float, float] | None:
    stated = _ome_pixel_mm(file.ome_metadata) if file.is_ome else _tag_pixel_mm(file, page)
    if stated is None:
        return None
    low, high = _PLAUSIBLE_MM
    if not all(low <= size <= high for size in stated):
        logger.warning("%s states a pixel size of %s mm, which cannot be; it is ignored", what, stated)
        return None
    return stated


def _tag_pixel_mm(file: Any, page: Any) -> tuple[float, float] | None:
    tags = [page.tags.get(name) for name in ("XResolution", "YResolution")]
    if any(tag is None or 0 in tag.value for tag in tags):
        return None
    pixels_per_unit = [tag.value[0] / tag.value[1] for tag in tags]
    if file.is_imagej:
        unit_mm = _UNIT_MM.get(str((file.imagej_metadata or {}).get("unit", "")).lower())
    else:
        unit = page.tags.get("ResolutionUnit")
        unit_mm = 10.0 if unit is not None and int(unit.value) == _CENTIMETRE else None
        if any(abs(pixels_per_unit[0] * 2.54 - dpi) < 0.5 for dpi in _SCREEN_DPI):
            return None
    if unit_mm is None:
        return None
    return unit_mm / pixels_per_unit[0], unit_mm / pixels_per_unit[1]


def _ome_pixel_mm(xml: str) -> tuple[float, float] | None:
    sizes = []
    for axis in "XY":
        size = re.search(rf'\bPhysicalSize{axis}="([0-9.eE+-]+)"', xml)
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]*)"', xml)
        unit_mm = _UNIT_MM.get(unit[1].lower()) if unit else _UNIT_MM["µm"]
        if size is None or unit_mm is None:
            return None
        sizes.append(float(size[1]) * unit_mm)
    return sizes[0], sizes[1]
