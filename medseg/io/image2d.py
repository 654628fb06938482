"""Pictures: PNG, JPEG, BMP and single-page TIFF as volumes of one slice.

Columns run along i and rows along j; x to the right is the patient's left and y downwards is posterior, the
convention in which SimpleITK reads a picture. Pixels stay as they are stored; EXIF turns are not applied.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medseg.errors import InputError, LimitExceededError, UnreadableFileError
from medseg.io.formats import check_is_file, file_source
from medseg.io.limits import DEFAULT_LIMITS, Limits
from medseg.io.tiff import decode_tiff, tiff_page
from medseg.spatial import Geometry, Volume

logger = logging.getLogger(__name__)

COLOURS = ("red", "green", "blue")
_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F", "RGB", "RGBA", "P")
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_MAGIC = b"\x89PNG"
_DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError,
    RuntimeError, struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    Attributes:
        array: (rows, columns) or (rows, columns, bands) as stored; palette indices where there is a palette.
        colours: (rows, columns, 4) RGBA that the palette gives, or None without a palette.
        pixel_mm: width and height of a pixel, or None where the file states none that can be relied on.
    """

    array: NDArray[Any]
    colours: NDArray[Any] | None = None
    pixel_mm: tuple[float, float] | None = None


def read_picture(path: Path, limits: Limits = DEFAULT_LIMITS) -> Mapping[str, Volume]:
    """The channels of a picture.

    The pixel size is known only for TIFF that states it in a physical unit (ImageJ, OME or centimetres); the
    dots per inch that cameras and scanners write say nothing about the patient. Where it is known, the step
    along k is set to 1 mm and means nothing; where it is not, the geometry counts in pixels.

    Args:
        path: PNG, JPEG, BMP or TIFF of one page.
        limits: what the header may claim.

    Returns:
        ``image`` for a grey picture; ``red``, ``green`` and ``blue`` for a coloured one; each of shape
        (columns, rows, 1).

    Raises:
        UnreadableFileError: truncated, damaged or of another format.
        InputError: several pages, transparency, or colours other than grey and RGB.
        LimitExceededError: more pixels than allowed.
    """
    picture = _decode(path, limits)
    array = _without_alpha(picture.array if picture.colours is None else picture.colours, path.name)
    if picture.colours is not None and (array == array[..., :1]).all():
        array = array[..., 0]
    source = file_source([path])
    if array.ndim == 2:
        return {"image": _volume(array, picture.pixel_mm, source)}
    return {name: _volume(array[..., band], picture.pixel_mm, source) for band, name in enumerate(COLOURS)}


def read_picture_labels(path: Path, limits: Limits = DEFAULT_LIMITS) -> Volume:
    """A picture whose pixels are label indices: grey values or palette indices as stored.

    Raises:
        UnreadableFileError: truncated, damaged or of another format.
        InputError: several pages or a coloured picture.
        LimitExceededError: more pixels than allowed.
    """
    picture = _decode(path, limits)
    array = _without_alpha(picture.array, path.name)
    if array.ndim != 2:
        raise InputError(
            f"{path.name} is a coloured picture where a label map is expected; save indices as grey values"
        )
    return _volume(array, picture.pixel_mm, file_source([path]))


def _volume(plane: NDArray[Any], pixel_mm: tuple[float, float] | None, source: str) -> Volume:
    width, height = pixel_mm or (1.0, 1.0)
    affine = np.diag([-width, -height, 1.0, 1.0])
    array = plane.T[:, :, None]
    shape = (array.shape[0], array.shape[1], 1)
    return Volume(array, Geometry(affine, shape, calibrated=pixel_mm is not None), source=source)


def _without_alpha(array: NDArray[Any], what: str) -> NDArray[Any]:
    bands = 1 if array.ndim == 2 else array.shape[2]
    if bands in (2, 4):
        alpha = array[..., -1]
        if (alpha != alpha.flat[0]).any():
            raise InputError(
                f"{what} is transparent in places, so its colours there are not known; save it without alpha"
            )
        array = array[..., 0] if bands == 2 else array[..., :3]
    return array


def _decode(path: Path, limits: Limits) -> Picture:
    check_is_file(path)
    size = path.stat().st_size
    if size > limits.array_bytes():
        raise LimitExceededError(
            f"{path.name} has {size} bytes; the limit is {limits.array_bytes()} (MEDSEG_MAX_ARRAY_BYTES)"
        )
    data = path.read_bytes()
    with _clear_decoder_errors(path.name):
        if not data.startswith(_TIFF_MAGIC):
            return _decode_with_pillow(data, limits, path.name)
        page = tiff_page(data, limits, path.name)
        if page.native:
            return Picture(decode_tiff(data, path.name), None, page.pixel_mm)
        picture = _decode_with_pillow(data, limits, path.name)
        return Picture(picture.array, picture.colours, page.pixel_mm)


def _decode_with_pillow(data: bytes, limits: Limits, what: str) -> Picture:
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "BMP", "TIFF")) as image:
        if image.mode not in _MODES:
            raise InputError(f"{what} has pixels of the kind {image.mode}; expected grey or RGB: convert it")
        if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
            raise InputError(f"{what} is an animation; expected one picture")
        bit_depth = _png_bit_depth(data, what)
        limits.check_header((image.width, image.height), 4 * len(image.getbands()), what)
        image.load()
        array = np.asarray(image)
        array = array.astype(np.uint8 if array.dtype == bool else array.dtype.newbyteorder("="), copy=False)
        if image.mode == "L" and bit_depth < 8:
            # Pillow spreads 2 and 4 bits over 0 to 255; the stored values are wanted.
            array = array // (255 // (2**bit_depth - 1))
        colours = np.asarray(image.convert("RGBA")) if image.mode == "P" else None
    return Picture(array, colours)


def _png_bit_depth(data: bytes, what: str) -> int:
    """Bits of a sample of a PNG file; 8 for other formats.

    Raises:
        InputError: 16-bit colour, of which Pillow keeps only half.
    """
    if not data.startswith(_PNG_MAGIC):
        return 8
    depth, colour_type = data[24], data[25]
    if depth == 16 and colour_type != 0:
        raise InputError(f"{what} is a PNG of 16-bit colours; convert it to TIFF, which keeps all bits")
    return depth


@contextmanager
def _clear_decoder_errors(what: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:
        raise LimitExceededError(
            f"{what} has more pixels than Pillow decodes ({2 * (Image.MAX_IMAGE_PIXELS or math.inf):.0f}); "
            "cut it into parts, or convert it to an uncompressed TIFF"
        ) from error
    except _DECODER_ERRORS as error:
        raise UnreadableFileError(
            f"{what} is truncated or damaged ({type(error).__name__}: {error}); copy or export it again"
        ) from error
