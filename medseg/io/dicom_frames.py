"""What one frame of a DICOM image says about its place, its values and what sets it apart.

Classic images say it at the top of the file, enhanced multi-frame images in their functional groups
(PS3.3 C.7.6.16). Both end in the same `Frame`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medseg.io.dicom_fields import number, number_list, text, text_list

FRAME_TAGS = (
    "ImageType", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "TemporalPositionIdentifier", "TemporalPositionIndex", "EchoNumbers",
    "EchoTime", "InversionTime", "FlipAngle", "DiffusionBValue", "DiffusionGradientOrientation",
    "TriggerTime", "FrameReferenceTime", "AcquisitionNumber", "AcquisitionTime", "StackID",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""Keywords that `classic_frame` and `enhanced_frames` read."""

_CLASSIC_KEYS = (
    ("stack", "StackID"),
    ("temporal position", "TemporalPositionIdentifier"),
    ("temporal position", "TemporalPositionIndex"),
    ("echo", "EchoNumbers"),
    ("echo time", "EchoTime"),
    ("b-value", "DiffusionBValue"),
    ("gradient direction", "DiffusionGradientOrientation"),
    ("image type", "ImageType"),
    ("inversion time", "InversionTime"),
    ("flip angle", "FlipAngle"),
    ("trigger time", "TriggerTime"),
    ("frame reference time", "FrameReferenceTime"),
    ("acquisition", "AcquisitionNumber"),
    ("acquisition time", "AcquisitionTime"),
)
_ENHANCED_KEYS = (
    ("stack", "FrameContentSequence", "StackID"),
    ("temporal position", "FrameContentSequence", "TemporalPositionIndex"),
    ("echo time", "MREchoSequence", "EffectiveEchoTime"),
    ("b-value", "MRDiffusionSequence", "DiffusionBValue"),
    ("trigger delay", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("frame type", "MRImageFrameTypeSequence", "FrameType"),
    ("frame type", "CTImageFrameTypeSequence", "FrameType"),
    ("frame type", "PETFrameTypeSequence", "FrameType"),
    ("acquisition", "FrameContentSequence", "FrameAcquisitionNumber"),
)


@dataclass(frozen=True, slots=True)
class Header:
    """What holds for a whole file. ``fault`` says in words what is wrong with it, or is None."""

    path: Path
    series_uid: str | None
    sop_class: str
    sop_instance: str | None
    modality: str | None
    description: str | None
    frame_of_reference: str | None
    rows: int
    columns: int
    samples: int
    photometric: str
    image_type: tuple[str, ...]
    bits_allocated: int
    frames: int
    transfer_syntax: str
    secondary_capture: bool
    lossy: bool
    padded: bool
    fault: str | None

    @property
    def native(self) -> bool:
        """Whether the pixels are stored uncompressed."""
        syntax = UID(self.transfer_syntax, IGNORE)
        return syntax.is_transfer_syntax and not syntax.is_encapsulated


@dataclass(frozen=True, slots=True)
class Frame:
    """One two-dimensional frame.

    Attributes:
        header: the file that it lies in.
        index: its number within the file, from 0.
        position: centre of the first pixel, LPS mm, or None where the file does not say.
        orientation: unit directions along a row and down a column, LPS; six numbers, or None.
        spacing: distance between rows, then between columns, in mm, or None.
        image_type: as stored, upper case.
        slope: rescale slope, or None where none is stored.
        intercept: rescale intercept, likewise.
        rescale_type: unit after rescale as stored, upper case, or None.
        keys: what can set apart frames at one position: (name, value), most telling first.
    """

    header: Header
    index: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    image_type: tuple[str, ...]
    slope: float | None
    intercept: float | None
    rescale_type: str | None
    keys: tuple[tuple[str, str], ...]

    @property
    def kind(self) -> str:
        """``image``, or what keeps it out of a stack: mosaic, colour, localizer, secondary capture."""
        if self.header.samples != 1 or not self.header.photometric.startswith("MONOCHROME"):
            return "colour"
        if "MOSAIC" in self.image_type:
            return "mosaic"
        if {"LOCALIZER", "SCOUT"} & set(self.image_type):
            return "localizer"
        return "secondary capture" if self.header.secondary_capture else "image"


def classic_frame(dataset: Dataset, header: Header) -> Frame:
    """The one frame of a classic image."""
    keys = [(name, text(dataset, keyword)) for name, keyword in _CLASSIC_KEYS]
    return Frame(
        header=header,
        index=0,
        position=number_list(dataset, "ImagePositionPatient", 3),
        orientation=number_list(dataset, "ImageOrientationPatient", 6),
        spacing=_positive(number_list(dataset, "PixelSpacing", 2)),
        image_type=header.image_type,
        slope=number(dataset, "RescaleSlope"),
        intercept=number(dataset, "RescaleIntercept"),
        rescale_type=(text(dataset, "RescaleType") or "").upper() or None,
        keys=(*((name, value) for name, value in keys if value is not None), ("folder", _folder(header))),
    )


def enhanced_frames(dataset: Dataset, header: Header) -> list[Frame]:
    """All frames of an enhanced multi-frame image.

    A frame's own functional group goes before the shared one, and that before the top of the file, where
    some writers repeat or misplace values. Where the groups are not as many as the frames, one frame stands
    for the file, with the fault named.
    """
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if len(own) != header.frames:
        fault = f"it holds {header.frames} frames but describes {len(own)}"
        return [classic_frame(dataset, replace(header, fault=fault))]
    return [_enhanced_frame(_Groups(group, shared, dataset), header, i) for i, group in enumerate(own)]


@dataclass(frozen=True, slots=True)
class _Groups:
    own: Dataset
    shared: Dataset
    top: Dataset

    def find(self, sequence: str, keyword: str) -> Dataset:
        """The data set that holds ``keyword`` for this frame; an empty one where none does."""
        for group in (self.own, self.shared):
            item = _first(group, sequence)
            if keyword in item:
                return item
        return self.top


def _enhanced_frame(groups: _Groups, header: Header, index: int) -> Frame:
    transformation = groups.find("PixelValueTransformationSequence", "RescaleSlope")
    keys = [(name, text(groups.find(group, word), word)) for name, group, word in _ENHANCED_KEYS]
    direction = _first(_first(groups.own, "MRDiffusionSequence"), "DiffusionGradientDirectionSequence")
    keys.append(("gradient direction", text(direction, "DiffusionGradientOrientation")))
    content = _first(groups.own, "FrameContentSequence")
    dimensions = number_list(content, "DimensionIndexValues") or ()
    keys += [(f"dimension {n}", f"{value:g}") for n, value in enumerate(dimensions, start=1)]
    frame_type = next(
        (found for name in ("MR", "CT", "PET") if (found := _frame_type(groups, name))), header.image_type
    )
    return Frame(
        header=header,
        index=index,
        position=_of(groups, "PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=_of(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6),
        spacing=_positive(_of(groups, "PixelMeasuresSequence", "PixelSpacing", 2)),
        image_type=frame_type,
        slope=number(transformation, "RescaleSlope"),
        intercept=number(transformation, "RescaleIntercept"),
        rescale_type=(text(transformation, "RescaleType") or "").upper() or None,
        keys=(
            *((name, value) for name, value in keys if value is not None),
            ("file", header.sop_instance or str(header.path)),
            ("folder", _folder(header)),
        ),
    )


def _frame_type(groups: _Groups, name: str) -> tuple[str, ...]:
    sequence = "PETFrameTypeSequence" if name == "PET" else f"{name}ImageFrameTypeSequence"
    return tuple(part.upper() for part in text_list(groups.find(sequence, "FrameType"), "FrameType"))


def _of(groups: _Groups, sequence: str, keyword: str, length: int) -> tuple[float, ...] | None:
    return number_list(groups.find(sequence, keyword), keyword, length)


def _first(dataset: Dataset, sequence: str) -> Dataset:
    items: Any = dataset.get(sequence)
    return items[0] if items else Dataset()


def _positive(spacing: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return spacing if spacing is not None and min(spacing) > 0 else None


def _folder(header: Header) -> str:
    return str(header.path.parent)
