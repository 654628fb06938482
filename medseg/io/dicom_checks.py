"""What keeps a group of frames from being a volume whatever its geometry, and what is only worth a word."""

from __future__ import annotations

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from medseg.errors import IncompleteSeriesError, UnreadableFileError
from medseg.io.dicom_frames import Frame
from medseg.io.dicom_split import Group, along_normal, normal_of

_KINDS = {
    "colour": "colour (RGB) series: its values are no measurements of one channel; expected a series in grey "
    "values. Use the series that it was made from",
    "mosaic": "Siemens mosaic: each image holds many slices side by side, which this version does not take "
    "apart; expected one slice in each image. Convert the series with dcm2niix and use the NIfTI file",
    "localizer": "localizer: a survey in several planes; expected a stack of parallel slices. Use another "
    "series of the study",
    "secondary capture": "secondary capture: a picture made of a scan; expected the scan itself. Use the "
    "series that it was made from",
}
_PACKAGES = {
    "1.2.840.10008.1.2.4.5": "python-gdcm",
    "1.2.840.10008.1.2.4.7": "python-gdcm",
    "1.2.840.10008.1.2.4.8": "pyjpegls",
    "1.2.840.10008.1.2.4.9": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.20": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.5": "pylibjpeg-rle",
}


def check_content(group: Group) -> None:
    """Refuse what is no scan, what is damaged and what cannot be decoded or rescaled.

    Raises:
        IncompleteSeriesError: colour, mosaic, localizer or secondary capture; orientations that change from
            image to image; rescale stored for some images only, or with different units.
        UnreadableFileError: damaged or truncated files, or a compression without a decoder.
    """
    if group.kind in _KINDS:
        raise IncompleteSeriesError(_KINDS[group.kind])
    _check_files(group.frames)
    if group.mixed:
        raise IncompleteSeriesError(
            f"mixed orientations: the {len(group.frames)} images turn against each other and no "
            "direction holds for most; expected parallel slices. Reformat the series into one plane"
        )
    for syntax in sorted({frame.header.transfer_syntax for frame in group.frames}):
        check_decoder(syntax)
    _check_rescale(group.frames)


def notes(group: Group) -> tuple[str, ...]:
    """What a reader should know of a stack that can be read; empty where there is nothing."""
    headers = [frame.header for frame in group.frames]
    found = list(group.warnings)
    if any(header.photometric == "MONOCHROME1" for header in headers):
        found.append("MONOCHROME1: high values are meant to be shown dark; the values are not inverted")
    if any(header.padded for header in headers):
        found.append("pixel padding value: voxels outside the field of view keep it after rescale")
    if any(header.lossy or _is_lossy(header.transfer_syntax) for header in headers):
        found.append("lossy compression: values differ from those that were measured")
    if headers[0].series_uid is None:
        found.append("the files name no series; those of one folder are taken as one")
    if headers[0].modality == "CT":
        found += _hounsfield_notes(group.frames[0])
    return tuple(found)


def in_hounsfield(frame: Frame) -> bool:
    """Whether the rescaled values of a CT frame are HU.

    A rescale type that is absent means HU (PS3.3 C.8.2.1). One that says 'unspecified' is taken as HU for
    original images only: derived ones, such as perfusion maps, say it of other quantities.
    """
    if frame.slope is None:
        return False
    original = "ORIGINAL" in frame.image_type[:1]
    return frame.rescale_type in (None, "HU") or (frame.rescale_type == "US" and original)


def _hounsfield_notes(frame: Frame) -> list[str]:
    if frame.slope is None:
        return ["CT without rescale slope and intercept: the values are not known to be HU"]
    if not in_hounsfield(frame):
        return [f"CT in another unit ({frame.rescale_type}): the values are not known to be HU"]
    if frame.rescale_type == "US":
        return ["CT whose rescale type is 'unspecified': the values are taken as HU"]
    return []


def check_decoder(transfer_syntax: str) -> None:
    """Refuse a transfer syntax that nothing here can decode.

    Raises:
        UnreadableFileError: naming the package to install, or that there is none.
    """
    name = UID(transfer_syntax).name
    try:
        available = get_decoder(transfer_syntax).is_available
    except NotImplementedError:
        raise UnreadableFileError(
            f"the pixels are stored as {name}, which cannot be decoded; expected a still-image "
            "compression of the DICOM standard. Convert the series to an uncompressed one"
        ) from None
    if not available:
        package = next((p for uid, p in _PACKAGES.items() if transfer_syntax.startswith(uid)), "python-gdcm")
        raise UnreadableFileError(
            f"the pixels are stored as {name} and no decoder for it is installed; install {package} "
            f"(pip install {package})"
        )


def _is_lossy(transfer_syntax: str) -> bool:
    return transfer_syntax in {
        "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81",
    }  # fmt: skip


def _check_files(frames: tuple[Frame, ...]) -> None:
    damaged = [frame for frame in frames if frame.header.fault is not None]
    if not damaged:
        return
    first = damaged[0]
    where = ""
    if first.position is not None and first.orientation is not None:
        where = f" (the slice at {along_normal([first], normal_of(first))[0]:.2f} mm)"
    raise UnreadableFileError(
        f"{len(damaged)} of {len(frames)} image(s) cannot be used; of the first{where}: "
        f"{first.header.fault}. Fetch or export the series again"
    )


def _check_rescale(frames: tuple[Frame, ...]) -> None:
    n = sum(frame.slope is not None and frame.intercept is not None for frame in frames)
    one_only = sum((frame.slope is None) != (frame.intercept is None) for frame in frames)
    if 0 < n < len(frames) or one_only:
        raise IncompleteSeriesError(
            f"inconsistent rescale: {n} of {len(frames)} images have both slope and intercept; expected all "
            "or none, as the others' values have no scale. Export the original series"
        )
    if any(frame.slope == 0 for frame in frames):
        raise IncompleteSeriesError(
            "inconsistent rescale: a rescale slope is 0, which makes all values one; expected another "
            "number. Export the original series"
        )
    types = sorted({frame.rescale_type or "" for frame in frames} - {""})
    if len(types) > 1:
        raise IncompleteSeriesError(
            f"inconsistent rescale: the images are in different units ({', '.join(types)}); expected one. "
            "Export the original series"
        )
