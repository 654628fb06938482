"""How much an input may ask for before it is refused unread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from medseg.errors import GeometryMismatchError, LimitExceededError

SHARE_OF_MEMORY = 0.25
"""The part of the machine's memory that one array may take where no limit is set."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a header may claim; each reader checks them before it allocates anything.

    Attributes:
        max_voxels: voxels of one image.
        max_array_bytes: bytes of one image as stored; None for a quarter of the machine's memory.
        min_spacing_mm: the shortest distance between voxels of a 3D image.
        max_spacing_mm: the longest distance between voxels.
    """

    max_voxels: int = 2**31
    max_array_bytes: int | None = None
    min_spacing_mm: float = 1e-3
    max_spacing_mm: float = 100.0

    def array_bytes(self) -> int:
        """The bound on one array in bytes."""
        if self.max_array_bytes is not None:
            return self.max_array_bytes
        return int(psutil.virtual_memory().total * SHARE_OF_MEMORY)

    def check_header(self, shape: Sequence[int], itemsize: int, what: str) -> None:
        """Refuse a claimed size.

        Args:
            shape: lengths of all axes, as the header states them.
            itemsize: bytes of one element.
            what: the file, for the message.

        Raises:
            LimitExceededError: more voxels or bytes than allowed.
        """
        voxels = math.prod(int(n) for n in shape)
        size = " × ".join(str(n) for n in shape)
        if voxels > self.max_voxels:
            raise LimitExceededError(
                f"{what} claims {size} = {voxels} voxels; the limit is {self.max_voxels} "
                "(MEDSEG_MAX_VOXELS); raise it if the image is really that large"
            )
        n_bytes, limit = voxels * itemsize, self.array_bytes()
        if n_bytes > limit:
            raise LimitExceededError(
                f"{what} claims {size} voxels = {n_bytes / 1e9:.3g} GB; the limit is {limit / 1e9:.3g} GB "
                "(MEDSEG_MAX_ARRAY_BYTES); raise it if the image is really that large and memory allows"
            )

    def check_spacing(self, spacing_mm: Sequence[float], what: str) -> None:
        """Refuse a distance between voxels that no scanner makes.

        Raises:
            GeometryMismatchError: not finite, or outside the bounds.
        """
        for value in spacing_mm:
            if not self.min_spacing_mm <= value <= self.max_spacing_mm:
                shown = " × ".join(f"{v:.4g}" for v in spacing_mm)
                raise GeometryMismatchError(
                    f"{what} has a spacing of {shown} mm; expected {self.min_spacing_mm:g} to "
                    f"{self.max_spacing_mm:g} mm along each axis; check the unit in which it was exported"
                )


DEFAULT_LIMITS = Limits()
"""What every reader uses unless told otherwise."""
