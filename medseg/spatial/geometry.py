"""Where a voxel grid lies in the patient."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.errors import GeometryMismatchError

GRID_TOLERANCE_MM = 0.01
"""Two grids are one where each of the eight corners lands within this distance, or within a tenth of the
smallest step where voxels are finer than 0.1 mm (microscopy)."""

MAX_AXIS_LENGTH = 32_767
_MIN_DETERMINANT = 1e-6
_LAST_ROW = (0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A voxel grid: its affine, its shape and, where known, its frame of reference.

    Attributes:
        affine: (4, 4) float64, read-only; maps voxel indices (i, j, k) to the voxel's centre in RAS+ mm.
        shape: number of voxels along (i, j, k).
        frame_of_reference_uid: DICOM frame of reference, or None where the format has none.
        calibrated: False for a 2D picture whose pixel size is unknown; its affine then counts in pixels
            and everything in millimetres raises.

    Raises:
        GeometryMismatchError: non-finite or singular affine, or a shape that is not three lengths of
            1 to 32,767.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    frame_of_reference_uid: str | None = None
    calibrated: bool = True

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        _check_affine(affine)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", _checked_shape(self.shape))

    @property
    def steps(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along (i, j, k), in the affine's own unit."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along (i, j, k) in mm.

        Raises:
            GeometryMismatchError: the pixel size is unknown.
        """
        if not self.calibrated:
            raise GeometryMismatchError(
                "the pixel size of this image is unknown, so nothing can be given in millimetres; "
                "store the pixel size in the file, or ask for results in pixels"
            )
        return self.steps

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm³ (the determinant, so sheared grids count right).

        Raises:
            GeometryMismatchError: the pixel size is unknown.
        """
        _ = self.spacing_mm
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """The patient direction that each array axis runs towards most nearly, such as ``RAS``."""
        letters = (("L", "R"), ("P", "A"), ("I", "S"))
        codes = [""] * 3
        for array_axis, (world_axis, sign) in enumerate(closest_axes(self.affine)):
            codes[array_axis] = letters[world_axis][sign > 0]
        return "".join(codes)

    @property
    def corners_mm(self) -> NDArray[Any]:
        """Centres of the eight corner voxels, (8, 3), RAS+ mm."""
        ends = [(0, n - 1) for n in self.shape]
        return self.to_world(np.array(list(itertools.product(*ends)), dtype=np.float64))

    @property
    def centre_mm(self) -> NDArray[Any]:
        """The middle of the grid, (3,), RAS+ mm."""
        return self.to_world((np.array(self.shape, dtype=np.float64) - 1) / 2)

    def to_world(self, indices: ArrayLike) -> NDArray[Any]:
        """Voxel indices (..., 3) to RAS+ mm (..., 3); fractions are allowed."""
        points = np.asarray(indices, dtype=np.float64)
        world: NDArray[Any] = points @ self.affine[:3, :3].T + self.affine[:3, 3]
        return world

    def to_index(self, points_mm: ArrayLike) -> NDArray[Any]:
        """RAS+ mm (..., 3) to fractional voxel indices (..., 3); may lie outside the grid."""
        points = np.asarray(points_mm, dtype=np.float64) - self.affine[:3, 3]
        indices: NDArray[Any] = points @ np.linalg.inv(self.affine[:3, :3]).T
        return indices

    def same_grid(self, other: Geometry, tolerance_mm: float | None = None) -> bool:
        """Whether both grids have one shape and their eight corners land in the same places.

        Two known, different frames of reference are never one grid.

        Args:
            other: the grid to compare with.
            tolerance_mm: how far a corner may be off; None for `GRID_TOLERANCE_MM`, and less where the
                voxels are finer than 0.1 mm.
        """
        if self.shape != other.shape or self.calibrated != other.calibrated:
            return False
        mine, theirs = self.frame_of_reference_uid, other.frame_of_reference_uid
        if mine is not None and theirs is not None and mine != theirs:
            return False
        if tolerance_mm is None:
            tolerance_mm = min(GRID_TOLERANCE_MM, 0.1 * min(self.steps))
        distances = np.linalg.norm(self.corners_mm - other.corners_mm, axis=1)
        return bool(distances.max() <= tolerance_mm)

    def describe(self) -> str:
        """One line for messages: shape, spacing, orientation and origin."""
        unit = "mm" if self.calibrated else "px"
        steps = " × ".join(f"{s:.4g}" for s in self.steps)
        origin = ", ".join(f"{v:.5g}" for v in self.affine[:3, 3])
        shape = " × ".join(map(str, self.shape))
        return f"shape {shape}, spacing {steps} {unit}, orientation {self.orientation}, origin ({origin})"


def closest_axes(affine: NDArray[np.float64]) -> list[tuple[int, int]]:
    """For each array axis the world axis that it runs along most nearly, and its sign.

    Each world axis is given out once; oblique grids are settled by the largest cosine first.
    """
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    result: list[tuple[int, int]] = [(0, 0)] * 3
    left = np.abs(cosines)
    for _ in range(3):
        world_axis, array_axis = np.unravel_index(np.argmax(left), left.shape)
        sign = 1 if cosines[world_axis, array_axis] >= 0 else -1
        result[int(array_axis)] = (int(world_axis), sign)
        left[world_axis, :] = -1.0
        left[:, array_axis] = -1.0
    return result


def _check_affine(affine: NDArray[np.float64]) -> None:
    if affine.shape != (4, 4):
        raise GeometryMismatchError(f"the affine has shape {affine.shape}; expected (4, 4)")
    if not np.isfinite(affine).all():
        raise GeometryMismatchError(
            "the affine holds NaN or infinite numbers, so the image has no place in the patient; "
            "export the image again from its source"
        )
    if not np.array_equal(affine[3], _LAST_ROW):
        raise GeometryMismatchError(f"the affine's last row is {affine[3].tolist()}; expected [0, 0, 0, 1]")
    # Relative to the steps, so that a micrometre voxel (1e-9 mm³) is not taken for a flat one.
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    determinant = float(np.linalg.det(affine[:3, :3] / np.where(steps > 0, steps, 1.0)))
    if abs(determinant) < _MIN_DETERMINANT:
        raise GeometryMismatchError(
            f"the affine is singular (determinant of its directions {determinant:.3g}): at least one axis "
            "has no length or two axes run the same way; export the image again from its source"
        )


def _checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    lengths = tuple(int(n) for n in shape)
    if len(lengths) != 3 or any(n != m for n, m in zip(lengths, shape, strict=True)):
        raise GeometryMismatchError(f"the grid's shape is {tuple(shape)}; expected three whole numbers")
    if not all(1 <= n <= MAX_AXIS_LENGTH for n in lengths):
        raise GeometryMismatchError(
            f"the grid's shape is {lengths}; each length must be 1 to {MAX_AXIS_LENGTH}"
        )
    return lengths[0], lengths[1], lengths[2]
