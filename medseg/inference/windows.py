"""Which windows of a volume the network sees, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.errors import ConfigurationError
from medseg.modeling.windows import spread_starts


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """Windows over a volume, in ascending order along its first axis.

    Attributes:
        shape: the volume's shape (i, j, k), before padding.
        roi_size: shape of each window.
        padding: voxels added before and after each axis so that one window fits.
        starts: first voxel of each window in the padded volume.
    """

    shape: tuple[int, ...]
    roi_size: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    starts: tuple[tuple[int, ...], ...]

    @property
    def padded_shape(self) -> tuple[int, ...]:
        """The volume's shape after padding."""
        return tuple(n + before + after for n, (before, after) in zip(self.shape, self.padding, strict=True))


def plan_windows(
    shape: Sequence[int], roi_size: Sequence[int], overlap: float, *, spread: bool = False
) -> WindowPlan:
    """Covers a volume with windows that overlap by a share of their length.

    Windows are ``int(roi · (1 − overlap))`` apart, at least one voxel; the last of an axis ends at the
    volume's edge. Shorter axes are padded on both sides, the odd voxel at the end. These are the positions
    that MONAI's sliding window takes.

    Args:
        shape: the volume's shape.
        roi_size: the window's shape, as many axes.
        overlap: 0 up to but not including 1.
        spread: whether the windows of an axis are equally far apart, as near to each other as they must be,
            instead of all but the last; this is where nnU-Net's windows lie.

    Raises:
        ConfigurationError: other numbers of axes, no length, or overlap out of range.
    """
    if len(shape) != len(roi_size) or min(*shape, *roi_size) < 1:
        raise ConfigurationError(
            f"windows of {tuple(roi_size)} do not fit a volume of {tuple(shape)}: both need as many axes, "
            "each of 1 or more"
        )
    if not 0 <= overlap < 1:
        raise ConfigurationError(f"overlap is {overlap}; expected 0 up to, but not including, 1")
    padding = tuple(_split_padding(max(roi - n, 0)) for n, roi in zip(shape, roi_size, strict=True))
    axes = []
    for n, roi in zip(shape, roi_size, strict=True):
        step = roi * (1 - overlap)
        last = max(n, roi) - roi
        axes.append(spread_starts(last, step) if spread else _starts(last, max(int(step), 1)))
    starts = tuple(itertools.product(*axes))
    return WindowPlan(tuple(shape), tuple(roi_size), padding, starts)


def _starts(last: int, step: int) -> list[int]:
    return sorted({min(start, last) for start in range(0, last + step, step)})


def _split_padding(missing: int) -> tuple[int, int]:
    return missing // 2, missing - missing // 2
