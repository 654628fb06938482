"""Writing volumes, segmentations and instance maps, whole or not at all."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigurationError, InputError
from medseg.io.atomic import write_atomically
from medseg.spatial import Geometry, Segmentation, Volume

NOTICE = "medseg; research use only"
"""Stands in the header of every image that is written."""

_SCANNER_CODE = 1
_GZIP_LEVEL = 3
_SHEAR_TOLERANCE = 1e-6
_FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha", ".tif")


def write_volume(volume: Volume, path: Path) -> None:
    """Write a volume in its own type (booleans as uint8, float16 as float32).

    The same volume gives the same bytes each time. The affine comes back within float32's precision.

    Args:
        volume: any; a picture of one slice for ``.tif``.
        path: ends in ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha`` or, for a picture, ``.tif`` (rows × columns).

    Raises:
        ConfigurationError: another extension, or the file cannot be written; nothing is left behind.
        GeometryMismatchError: the pixel size is unknown and the format is not ``.tif``.
        InputError: ``.tif`` for more than one slice.
    """
    _write(volume.array, volume.geometry, path)


def write_segmentation(segmentation: Segmentation, path: Path) -> None:
    """Write a label map in the smallest unsigned type that holds its table; see `write_volume`.

    As ``.tif`` it is at least uint8, so that every viewer opens it.
    """
    highest = max((label.index for label in segmentation.table), default=0)
    labels = segmentation.labels.astype(np.min_scalar_type(highest), copy=False)
    _write(labels, segmentation.geometry, path)


def write_instances(ids: NDArray[Any], geometry: Geometry, path: Path) -> None:
    """Write instance ids as uint16, or where they do not fit as int32 (uint32 for ``.tif``).

    Args:
        ids: (i, j, k), 0 or more.
        geometry: its grid.
        path: see `write_volume`.

    Raises:
        InputError: an id below 0, or beyond int32.
        ConfigurationError: another extension, or the file cannot be written; nothing is left behind.
        GeometryMismatchError: see `write_volume`.
    """
    lowest, highest = (int(ids.min()), int(ids.max())) if ids.size else (0, 0)
    if lowest < 0 or highest > np.iinfo(np.int32).max:
        raise InputError(f"instance ids run from {lowest} to {highest}; expected 0 to 2147483647")
    wide: type[np.unsignedinteger[Any] | np.signedinteger[Any]]
    wide = np.uint32 if path.name.lower().endswith(".tif") else np.int32
    _write(ids.astype(np.uint16 if highest <= np.iinfo(np.uint16).max else wide), geometry, path)


def _write(array: NDArray[Any], geometry: Geometry, path: Path) -> None:
    suffix = next((s for s in _FORMATS if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise ConfigurationError(
            f"{path.name} names no format that is written; expected {', '.join(_FORMATS)}"
        )
    array = array.astype({"b1": np.uint8, "f2": np.float32}.get(array.dtype.str[1:], array.dtype), copy=False)
    write: Callable[[Path], None]
    if suffix == ".tif":
        write = partial(_write_picture, array, geometry)
    elif suffix in (".nrrd", ".mha"):
        write = partial(_write_itk, array, geometry)
    else:
        write = partial(_write_nifti, array, geometry)
    write_atomically(path, write)


def _write_nifti(array: NDArray[Any], geometry: Geometry, path: Path) -> None:
    image = nifti_image(array, geometry)
    if path.suffix != ".gz":
        with path.open("wb") as file:
            image.to_stream(file)
        return
    # No name and no time in the gzip header: the same image gives the same bytes.
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as packed,
        io.BufferedWriter(packed, 1 << 20) as buffered,
    ):
        image.to_stream(buffered)


def nifti_image(array: NDArray[Any], geometry: Geometry) -> Any:
    """A NIfTI-1 image with sform and, where the grid has no shear, qform; lengths in mm.

    Raises:
        GeometryMismatchError: the pixel size is unknown.
    """
    directions = geometry.affine[:3, :3] / np.array(geometry.spacing_mm)
    image = nibabel.Nifti1Image(array, geometry.affine, dtype=array.dtype)
    image.set_sform(geometry.affine, _SCANNER_CODE)
    if np.abs(directions.T @ directions - np.eye(3)).max() <= _SHEAR_TOLERANCE:
        image.set_qform(geometry.affine, _SCANNER_CODE)
    else:
        image.set_qform(None, 0)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = NOTICE.encode()
    return image


def _write_itk(array: NDArray[Any], geometry: Geometry, path: Path) -> None:
    from medseg.io.itk import write_itk

    write_itk(array, geometry, path, NOTICE)


def _write_picture(array: NDArray[Any], geometry: Geometry, path: Path) -> None:
    from medseg.io.tiff import write_tiff

    if array.shape[2] != 1:
        raise InputError(f"{array.shape[2]} slices cannot be one picture; write them as .nii.gz")
    pixel_mm = geometry.steps[:2] if geometry.calibrated else None
    write_tiff(np.ascontiguousarray(array[:, :, 0].T), pixel_mm, path, NOTICE)
