"""Whether frames form one whole, evenly spaced stack, and where it lies.

Positions and directions are LPS mm here; the affine is turned to RAS at the very end. Slice thickness and
spacing between slices are never looked at: only measured positions count (PS3.3 C.7.6.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryMismatchError, IncompleteSeriesError
from medseg.io.dicom_frames import Frame
from medseg.io.dicom_split import SAME_POSITION_MM, along_normal, normal_of
from medseg.io.limits import Limits
from medseg.spatial.geometry import Geometry

JITTER_SHARE = 0.01
"""Slices may lie off their even places by this share of the spacing,"""

JITTER_MM = 0.05
"""or by this many mm, which however never counts as more than a tenth of the spacing."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_EXPORT = "export the series again in full"


@dataclass(frozen=True, slots=True)
class Layout:
    """Frames in the order in which they lie along their normal, and their grid."""

    frames: tuple[Frame, ...]
    geometry: Geometry


def arrange(frames: tuple[Frame, ...], limits: Limits) -> Layout:
    """The frames by position, and the affine of the stack from measured positions by least squares.

    Args:
        frames: parallel frames of one matrix and pixel spacing, in any order.
        limits: bounds on size and spacing.

    Raises:
        IncompleteSeriesError: one slice only; positions, orientations or spacings missing; slices doubled,
            missing, unevenly spaced, tilted against their stepping direction or off a line.
        GeometryMismatchError: directions that are no right angle of unit length, or unlikely spacing.
        LimitExceededError: more voxels than allowed.
    """
    _check_present(frames)
    header = frames[0].header
    limits.check_header((header.columns, header.rows, len(frames)), 4, "the DICOM stack")
    _check_directions(frames[0])
    normal = normal_of(frames[0])
    along = along_normal(frames, normal)
    order = np.argsort(along, kind="stable")
    ordered = tuple(frames[int(i)] for i in order)
    along = along[order]
    positions = np.array([frame.position for frame in ordered], dtype=np.float64)
    _check_repeats(along, positions)
    origin, step = _line(positions)
    spacing = float(np.percentile(np.diff(along), 50, method="lower"))
    tolerance = max(JITTER_SHARE * spacing, min(JITTER_MM, 0.1 * spacing))
    _check_even(along, spacing, tolerance)
    off = positions - (origin + np.arange(len(ordered))[:, None] * step)
    worst = int(np.argmax(np.linalg.norm(off, axis=1)))
    if np.linalg.norm(off[worst]) > tolerance:
        raise IncompleteSeriesError(
            f"the slices do not lie on one line: the one at {along[worst]:.2f} mm is "
            f"{np.linalg.norm(off[worst]):.2f} mm off; expected at most {tolerance:.2g} mm. {_EXPORT}"
        )
    _check_tilt(along, positions, normal, tolerance)
    return Layout(ordered, _geometry(ordered[0], origin, step, len(ordered), limits))


def _check_present(frames: tuple[Frame, ...]) -> None:
    if len(frames) == 1:
        raise IncompleteSeriesError(
            "single slice: one image makes no volume and has no slice spacing; expected two slices or more. "
            "Give the whole series, or convert the image to PNG or TIFF to use it as a 2D picture"
        )
    for name, attribute in (
        ("image position", "position"),
        ("image orientation", "orientation"),
        ("pixel spacing", "spacing"),
    ):
        n = sum(getattr(frame, attribute) is None for frame in frames)
        if n:
            raise IncompleteSeriesError(
                f"{n} of {len(frames)} image(s) have no {name} (or one that is not valid), so they have no "
                "known place in the patient; nothing is assumed in its stead. Export the original series"
            )


def _check_directions(frame: Frame) -> None:
    values = np.array(frame.orientation, dtype=np.float64)
    row, column = values[:3], values[3:]
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > 1e-3 or abs(float(row @ column)) > 1e-3:
        raise GeometryMismatchError(
            f"the image orientation has lengths {lengths[0]:.4g} and {lengths[1]:.4g} and a cosine of "
            f"{float(row @ column):.4g} between rows and columns; expected 1, 1 and 0. {_EXPORT}"
        )


def _check_repeats(along: NDArray[Any], positions: NDArray[Any]) -> None:
    close = np.flatnonzero(np.diff(along) <= SAME_POSITION_MM)
    if not close.size:
        return
    apart = float(np.linalg.norm(positions[close[0] + 1] - positions[close[0]]))
    if apart > JITTER_MM:
        raise IncompleteSeriesError(
            f"two slices lie side by side in one plane at {along[close[0]]:.2f} mm, {apart:.2f} mm apart; "
            "expected one slice in each plane. Separate the stacks of the series"
        )
    shown = ", ".join(f"{along[i]:.2f}" for i in close[:5]) + (" …" if close.size > 5 else "")
    raise IncompleteSeriesError(
        f"duplicate positions with different pixels at {shown} mm, and no temporal position, echo, b-value "
        "or acquisition tells them apart; expected one slice at each. Separate the acquisitions of the series"
    )


def _line(positions: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Least-squares origin and step of evenly numbered positions (n, 3)."""
    n = np.arange(len(positions), dtype=np.float64)
    centred = n - n.mean()
    step = centred @ positions / float(centred @ centred)
    origin = positions.mean(axis=0) - n.mean() * step
    return origin, step


def _check_tilt(along: NDArray[Any], positions: NDArray[Any], normal: NDArray[Any], tolerance: float) -> None:
    """Refuses a drift within the plane in proportion to the way along the normal."""
    centred = along - along.mean()
    drift = centred @ positions / float(centred @ centred) - normal
    sideways = drift - (drift @ normal) * normal
    slope = float(np.linalg.norm(sideways))
    extent = float(along[-1] - along[0])
    if slope * extent > tolerance:
        raise IncompleteSeriesError(
            f"gantry tilt: the slices from {along[0]:.2f} to {along[-1]:.2f} mm step "
            f"{np.degrees(np.arctan(slope)):.2f} degrees away from their normal, so the stack is sheared; "
            "expected steps along the normal. Resample it upright, at the scanner or with a converter"
        )


def _check_even(along: NDArray[Any], spacing: float, tolerance: float) -> None:
    steps = np.diff(along)
    wrong = np.flatnonzero(np.abs(steps - spacing) > 2 * tolerance)
    if not wrong.size:
        return
    ratios = steps[wrong] / spacing
    if (np.rint(ratios) >= 2).all() and wrong.size * 3 <= steps.size + 2:
        gaps = "; ".join(
            f"between {along[i]:.2f} and {along[i + 1]:.2f} mm (gap {steps[i]:.2f} mm)" for i in wrong[:5]
        )
        raise IncompleteSeriesError(
            f"missing slice(s): {gaps}{' …' if wrong.size > 5 else ''}; expected a slice every "
            f"{spacing:.2f} mm. Fetch or {_EXPORT}"
        )
    first = int(wrong[0])
    raise IncompleteSeriesError(
        f"uneven spacing: steps run from {steps.min():.3f} to {steps.max():.3f} mm, the first that differs "
        f"between {along[first]:.2f} and {along[first + 1]:.2f} mm; expected {spacing:.3f} mm throughout. "
        "Reconstruct the series evenly, or resample it"
    )


def _geometry(
    frame: Frame, origin: NDArray[Any], step: NDArray[Any], n_slices: int, limits: Limits
) -> Geometry:
    orientation = np.array(frame.orientation, dtype=np.float64)
    between_rows, between_columns = frame.spacing or (0.0, 0.0)
    affine_lps = np.eye(4)
    affine_lps[:3, 0] = orientation[:3] * between_columns
    affine_lps[:3, 1] = orientation[3:] * between_rows
    affine_lps[:3, 2] = step
    affine_lps[:3, 3] = origin
    limits.check_spacing(np.linalg.norm(affine_lps[:3, :3], axis=0).tolist(), "the DICOM stack")
    header = frame.header
    shape = (header.columns, header.rows, n_slices)
    return Geometry(_LPS_TO_RAS @ affine_lps, shape, header.frame_of_reference)
