"""Joining overlapping windows into one volume."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from medseg.errors import InvalidOutputError
from medseg.inference.windows import WindowPlan
from medseg.modeling.windows import nnunet_weights

_SIGMA_SHARE = 0.125
_SMALLEST_WEIGHT = 1e-3
_CHUNK_BYTES = 64 * 2**20
"""Most bytes of the sums that are turned into means at once."""


def gaussian_weights(roi_size: tuple[int, ...]) -> torch.Tensor:
    """How much a window's voxel counts by its place: 1 in the middle, less towards the edges.

    A separable Gaussian with σ of 1/8 of each length (Isensee 2021, nnU-Net), not below 1/1,000 of its peak.

    Returns:
        ``roi_size``, float32.
    """
    weights = torch.ones((), dtype=torch.float32)
    for n in roi_size:
        position = torch.arange(-(n - 1) / 2, (n - 1) / 2 + 1, dtype=torch.float32)
        weights = weights.unsqueeze(-1) * torch.exp(position**2 / (-2 * (n * _SIGMA_SHARE) ** 2))
    smallest = max(float(weights[weights != 0].min()), _SMALLEST_WEIGHT)
    return weights.clamp(min=smallest)


def constant_weights(roi_size: tuple[int, ...]) -> torch.Tensor:
    """All voxels of a window count alike: ones of ``roi_size``."""
    return torch.ones(roi_size, dtype=torch.float32)


WEIGHTS = {"gaussian": gaussian_weights, "nnunet": nnunet_weights, "constant": constant_weights}


class Accumulator:
    """Weighted sums of the windows' outputs, kept only where a later window can still add to them.

    Windows come in ascending order along one axis. What lies before the next window there is finished and
    given out by `drain`, so no more than one window's length of planes is ever held, however long the
    volume.

    Args:
        plan: the windows.
        weights: (i, j, k) of one window.
        axis: along which the windows advance.
        region: voxels of the padded volume along the other axes that are wanted; None for all but the
            padding. Windows are cut to it.
    """

    def __init__(
        self, plan: WindowPlan, weights: torch.Tensor, axis: int = 0, region: tuple[slice, ...] | None = None
    ) -> None:
        self._plan = plan
        self._axis = axis
        self._others = [a for a in range(len(plan.shape)) if a != axis]
        self._weights = weights.movedim(axis, 0)
        self._region = region or tuple(
            slice(plan.padding[a][0], plan.padding[a][0] + plan.shape[a]) for a in self._others
        )
        self._depth = plan.roi_size[axis]
        extent = tuple(part.stop - part.start for part in self._region)
        self._sums: torch.Tensor | None = None
        self._counts = torch.zeros((self._depth, *extent))
        self._first = 0

    def add(self, start: tuple[int, ...], output: torch.Tensor) -> None:
        """Adds one window's output, (c, i, j, k), at its place.

        Raises:
            InvalidOutputError: the output's shape is not that of a window, or it holds NaN or infinity.
        """
        if tuple(output.shape[1:]) != self._plan.roi_size:
            raise InvalidOutputError(
                f"the network gave {tuple(output.shape)} for a window of {self._plan.roi_size}; "
                "expected one value per class and voxel"
            )
        if not bool(torch.isfinite(output).all()):
            raise InvalidOutputError(
                "the network gave NaN or infinite values; check the intensities of the scan, or run in fp32"
            )
        if self._sums is None:
            self._sums = torch.zeros((output.shape[0], *self._counts.shape))
        plane = start[self._axis] - self._first
        here, there = [slice(plane, plane + self._depth)], [slice(None)]
        for axis, part in zip(self._others, self._region, strict=True):
            first, last = start[axis], start[axis] + self._plan.roi_size[axis]
            low, high = max(first, part.start), min(last, part.stop)
            here.append(slice(low - part.start, high - part.start))
            there.append(slice(low - first, high - first))
        weights = self._weights[tuple(there)]
        ordered = output.movedim(self._axis + 1, 1)
        self._sums[(slice(None), *here)].addcmul_(ordered[(slice(None), *there)], weights)
        self._counts[tuple(here)] += weights

    def drain(self, upto: int) -> Iterator[tuple[int, torch.Tensor]]:
        """The weighted means of the planes before ``upto`` that were not given out yet.

        Args:
            upto: first plane, in the padded volume, that a later window touches; its length at the end.

        Yields:
            The place of the first plane along the axis without the padding, and (c, n, …) float32: planes
            first, then the other axes over the region; several where they would take much memory at once.

        Raises:
            InvalidOutputError: no window was added.
        """
        if self._sums is None:
            raise InvalidOutputError("no window was predicted")
        before = self._plan.padding[self._axis][0]
        low, high = max(self._first, before), min(upto, before + self._plan.shape[self._axis])
        each = max(1, _CHUNK_BYTES // max(4 * self._sums[:, 0].numel(), 1))
        for plane in range(low, high, each):
            planes = slice(plane - self._first, min(plane + each, high) - self._first)
            yield plane - before, self._sums[:, planes] / self._counts[planes]
        self._move_to(upto)

    def _move_to(self, upto: int) -> None:
        """Drops the planes before ``upto``."""
        gone = min(upto - self._first, self._depth)
        kept = self._depth - gone
        for held in (self._counts[None], self._sums):
            if held is None:
                continue
            for plane in range(kept):  # one by one, since the two ranges overlap
                held[:, plane] = held[:, plane + gone]
            held[:, kept:] = 0
        self._first = upto
