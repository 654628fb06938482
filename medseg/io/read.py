"""Reading images of any format into volumes, cases and segmentations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputError, MedsegError, UnreadableFileError
from medseg.io.formats import Format, detect_format
from medseg.io.limits import DEFAULT_LIMITS, Limits
from medseg.spatial import Case, CaseRef, LabelTable, Segmentation, Volume
from medseg.spatial.segmentation import present_indices


def read_volume(
    files: Path | tuple[Path, ...], limits: Limits = DEFAULT_LIMITS, part: str | None = None
) -> Volume:
    """One channel: a NIfTI, NRRD or MetaImage file, a grey picture, or the files of one DICOM stack.

    What a file is follows from its first bytes; its name must not contradict them.

    Args:
        files: one file, or all of a DICOM stack.
        limits: what a header may claim.
        part: which stack is meant where one DICOM file holds several.

    Raises:
        InputError: missing file, NaN or infinite voxels, one single value in all voxels, or an image that is
            not one 3D volume of real numbers; the subclasses name damaged files, limits and geometry.
    """
    volume = _read_any(files, limits, part)
    if isinstance(volume, Volume):
        check_voxels(volume.array, _name(files))
        return volume
    if len(volume) > 1:
        raise InputError(
            f"{_name(files)} is a coloured picture ({', '.join(volume)}) where one channel is expected"
        )
    (image,) = volume.values()
    check_voxels(image.array, _name(files))
    return image


def read_case(ref: CaseRef, limits: Limits = DEFAULT_LIMITS) -> Case:
    """An examination with all its channels; a coloured picture becomes red, green and blue.

    Args:
        ref: where the channels lie.
        limits: what a header may claim.

    Raises:
        InputError: as for `read_volume`, with the case's id in front; the class is kept.
        GeometryMismatchError: the channels lie on different grids.
    """
    try:
        return Case(ref.id, _read_channels(ref, limits))
    except MedsegError as error:
        text = str(error)
        if f"case {ref.id!r}" not in text:
            error.args = (f"case {ref.id!r}: {text}",)
        raise


def read_segmentation(
    path: Path, table: LabelTable | None = None, limits: Limits = DEFAULT_LIMITS
) -> Segmentation:
    """A label map. Whole numbers stored as floats count; the smallest unsigned type is used.

    Args:
        path: NIfTI, NRRD, MetaImage, or a grey or palette picture (stored values or palette indices).
        table: what the indices mean; without one they are called ``label_3`` and so on.
        limits: what the header may claim.

    Raises:
        InputError: fractions, negative or non-finite values, a coloured picture, or a file as in
            `read_volume`. A map of background alone is allowed.
        LabelTableError: an index that ``table`` does not name.
    """
    found = detect_format(path)
    if found is Format.PICTURE:
        from medseg.io.image2d import read_picture_labels

        volume = read_picture_labels(path, limits)
    else:
        volume = _read_grid(path, found, limits)
    labels = _whole_numbers(volume.array, path.name)
    return Segmentation(
        labels, volume.geometry, table or LabelTable.numbered(present_indices(labels)), volume.source
    )


def check_voxels(array: NDArray[Any], what: str) -> None:
    """Refuse voxels from which no image can be seen.

    Args:
        array: any shape, at least one voxel.
        what: the file, for the message.

    Raises:
        InputError: NaN or infinite values, or one value everywhere.
    """
    with np.errstate(invalid="ignore"):
        lowest, highest = array.min(), array.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        count = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise InputError(
            f"{what} holds {count} NaN or infinite voxels of {array.size}; expected finite numbers: mask "
            "them or export the image again"
        )
    if lowest == highest:
        raise InputError(f"{what} is {lowest} in every voxel, so there is nothing to see in it")


def _read_channels(ref: CaseRef, limits: Limits) -> Mapping[str, Volume]:
    if len(ref.channels) > 1:
        return {name: read_volume(files, limits, ref.parts.get(name)) for name, files in ref.channels.items()}
    ((name, files),) = ref.channels.items()
    found = _read_any(files, limits, ref.parts.get(name))
    if isinstance(found, Volume):
        found = {name: found}
    elif len(found) == 1:
        found = dict(zip([name], found.values(), strict=True))
    arrays = [volume.array for volume in found.values()]
    # A colour that does not occur is no fault, so a coloured picture is looked at as one.
    check_voxels(arrays[0] if len(arrays) == 1 else np.stack(arrays), _name(files))
    return found


def _read_any(
    files: Path | tuple[Path, ...], limits: Limits, part: str | None
) -> Volume | Mapping[str, Volume]:
    paths = (files,) if isinstance(files, Path) else files
    if not paths:
        raise InputError("no files are given where an image is expected")
    found = Format.DICOM if len(paths) > 1 else detect_format(paths[0])
    if found is Format.DICOM:
        from medseg.io.dicom_series import read_stack

        return read_stack(paths, limits, key=part)
    if found is Format.PICTURE:
        from medseg.io.image2d import read_picture

        return read_picture(paths[0], limits)
    return _read_grid(paths[0], found, limits)


def _read_grid(path: Path, found: Format, limits: Limits) -> Volume:
    if found is Format.NIFTI:
        from medseg.io.nifti import read_nifti

        return read_nifti(path, limits)
    if found is Format.ITK:
        from medseg.io.itk import read_itk

        return read_itk(path, limits)
    raise UnreadableFileError(
        f"{path.name} is a {found} file where a label map is expected; give NIfTI, NRRD, MetaImage or a "
        "picture"
    )


def _whole_numbers(array: NDArray[Any], what: str) -> NDArray[Any]:
    lowest, highest = array.min(), array.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise InputError(f"{what} holds NaN or infinite values where label indices are expected")
    if lowest < 0:
        raise InputError(f"{what} holds {lowest} where label indices of 0 or more are expected")
    if highest >= 1 << 63:
        raise InputError(f"{what} holds {highest} where label indices below 2^63 are expected")
    if array.dtype.kind == "f":
        fractions = array != np.rint(array)
        if fractions.any():
            raise InputError(
                f"{what} holds {array[fractions][0]} where whole label indices are expected; it may be an "
                "image or a map of probabilities"
            )
    return array.astype(np.min_scalar_type(int(highest)), copy=False)


def _name(files: Path | tuple[Path, ...]) -> str:
    if isinstance(files, Path):
        return files.name
    return files[0].name if len(files) == 1 else f"the series of {len(files)} files"
