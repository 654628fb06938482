"""Synthetic series whose stored value is a linear function of where the voxel lies in the patient.

Any wrong sort, flip, spacing, shear or mixed slice shows up as a number (`worst_error`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

ROWS, COLUMNS, SLICES = 40, 36, 12
SPACING = (0.8, 1.3)
STEP = 2.5
SERIES = "1.2.826.0.1.3680043.8.498.1"
SOP_CLASS = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}


def _oblique() -> tuple[float, ...]:
    a, b = np.deg2rad(30), np.deg2rad(-20)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn = about_z @ about_x
    return (*turn[:, 0].round(9), *turn[:, 1].round(9))


PLANES = {
    "axial": (1, 0, 0, 0, 1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": _oblique(),
}


def value(points_lps: np.ndarray) -> np.ndarray:
    """The phantom's value at LPS points (..., 3)."""
    return 10 * points_lps[..., 0] - 7 * points_lps[..., 1] + 23 * points_lps[..., 2]


def worst_error(volume) -> float:
    """Largest distance of a voxel from what its own affine predicts."""
    indices = np.stack(np.indices(volume.geometry.shape), axis=-1)
    points_lps = volume.geometry.to_world(indices) * [-1, -1, 1]
    return float(np.abs(np.asarray(volume.array, np.float64) - value(points_lps)).max())


def normal(plane: str) -> np.ndarray:
    orientation = np.array(PLANES[plane], float)
    return np.cross(orientation[:3], orientation[3:])


def positions(plane: str = "axial", offsets: Sequence[float] | None = None) -> list[np.ndarray]:
    """First voxels of slices at ``offsets`` mm along the normal."""
    offsets = [k * STEP for k in range(SLICES)] if offsets is None else offsets
    return [np.array([-21.5, 13.25, -31.0]) + offset * normal(plane) for offset in offsets]


def set_pixels(ds: Dataset, values: np.ndarray) -> None:
    """Stores ``values`` after undoing the data set's own rescale, as 16-bit signed numbers."""
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    dtype = "<i2" if ds.PixelRepresentation else "<u2"
    ds.PixelData = np.rint((values - intercept) / slope).astype(dtype).tobytes()


def coded(ds: Dataset) -> np.ndarray:
    """Rounded phantom values (rows, columns) at the place that the data set states."""
    orientation = np.array(ds.ImageOrientationPatient, float)
    rows, columns = np.indices((ds.Rows, ds.Columns))
    points = (
        np.array(ds.ImagePositionPatient, float)
        + columns[..., None] * float(ds.PixelSpacing[1]) * orientation[:3]
        + rows[..., None] * float(ds.PixelSpacing[0]) * orientation[3:]
    )
    return np.rint(value(points))


def make_slice(position: np.ndarray, plane: str, number: int, modality: str = "CT", **changes) -> FileDataset:
    """One classic image; ``changes`` replace attributes before the pixels are coded."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SOP_CLASS[modality]
    meta.MediaStorageSOPInstanceUID = f"{SERIES}.{number + 1}"
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = SERIES, "1.2.3", "1.2.3.4"
    ds.Modality = modality
    ds.PatientName, ds.PatientID, ds.SeriesDescription = "SECRET^NAME", "SECRETID", "SECRETDESCRIPTION"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber = number + 1
    ds.Rows, ds.Columns, ds.SamplesPerPixel = ROWS, COLUMNS, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelSpacing = list(SPACING)
    ds.SliceThickness = 3.0
    ds.ImageOrientationPatient = list(PLANES[plane])
    ds.ImagePositionPatient = [float(round(v, 9)) for v in position]
    if modality != "MR":
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024 if modality == "CT" else 0
    for name, changed in changes.items():
        setattr(ds, name, changed)
    set_pixels(ds, coded(ds))
    return ds


def series(plane: str = "axial", offsets: Sequence[float] | None = None, modality: str = "CT", **changes):
    """A good classic series, one data set a slice."""
    return [
        make_slice(position, plane, n, modality, **changes)
        for n, position in enumerate(positions(plane, offsets))
    ]


def write(datasets: Sequence[Dataset], folder: Path, prefix: str = "im") -> list[Path]:
    """Files under ``folder``, named in an order that is not that of the slices."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for n, ds in enumerate(datasets):
        path = folder / f"{prefix}{(n * 7) % 97:03d}_{n}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def changed(ds: Dataset, **changes) -> Dataset:
    """A copy with other attributes and the pixels as they are."""
    result = copy.deepcopy(ds)
    for name, new in changes.items():
        setattr(result, name, new)
    return result


def enhanced(
    plane: str = "axial",
    offsets: Sequence[float] | None = None,
    modality: str = "CT",
    temporal: Sequence[int | None] = (None,),
    order: Sequence[int] | None = None,
) -> FileDataset:
    """One enhanced multi-frame image; ``temporal`` lists the time points, each with all slices."""
    slices = series(plane, offsets, "MR" if modality == "MR" else "CT")
    frames = [(ds, time) for time in temporal for ds in slices]
    frames = [frames[i] for i in (order if order is not None else range(len(frames)))]
    result = copy.deepcopy(slices[0])
    sop_class = EnhancedCTImageStorage if modality == "CT" else EnhancedMRImageStorage
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = sop_class
    for name in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
        "InstanceNumber",
    ):
        if name in result:
            delattr(result, name)
    result.NumberOfFrames = len(frames)
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=slices[0].ImageOrientationPatient)
    shared.PixelMeasuresSequence = _item(PixelSpacing=slices[0].PixelSpacing, SliceThickness=7.0)
    result.SharedFunctionalGroupsSequence = DicomSequence([shared])
    groups, pixels = [], []
    for n, (ds, time) in enumerate(frames):
        group = Dataset()
        content = Dataset()
        if time is not None:
            content.TemporalPositionIndex = time
        content.DimensionIndexValues = [time or 1, n + 1]
        group.FrameContentSequence = DicomSequence([content])
        group.PlanePositionSequence = _item(ImagePositionPatient=ds.ImagePositionPatient)
        slope, intercept = 1 + (n % 2), -n
        group.PixelValueTransformationSequence = _item(
            RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU"
        )
        groups.append(group)
        pixels.append(((coded(ds) - intercept) / slope + 0).round().astype("<i2"))
    result.PerFrameFunctionalGroupsSequence = DicomSequence(groups)
    result.PixelData = np.stack(pixels).tobytes()
    return result


def _item(**values) -> DicomSequence:
    item = Dataset()
    for name, new in values.items():
        setattr(item, name, new)
    return DicomSequence([item])


def reread(path: Path) -> Dataset:
    return pydicom.dcmread(path)
