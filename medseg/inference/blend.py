"""Joining overlapping windows into one volume."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from medseg.errors import InvalidOutputError
from medseg.inference.windows import WindowPlan

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


WEIGHTS = {"gaussian": gaussian_weights, "constant": constant_weights}


class Accumulator:
    """Weighted sums of the windows' outputs, kept only where a later window can still add to them.

    Windows come in the plan's order. What lies before the next window along the first axis is finished and
    given out by `drain`, so no more than one window's length of planes is ever held, however long the
    volume.

    Args:
        plan: the windows.
        weights: (i, j, k) of one window.
        region: voxels of the padded volume along all axes but the first that are wanted; None for all.
            Windows are cut to it.
    """

    def __init__(
        self, plan: WindowPlan, weights: torch.Tensor, region: tuple[slice, ...] | None = None
    ) -> None:
        self._plan = plan
        self._weights = weights
        self._region = region or tuple(slice(0, n) for n in plan.padded_shape[1:])
        self._depth = plan.roi_size[0]
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
        here, there = [slice(start[0] - self._first, None)], [slice(None)]
        for first, length, part in zip(start[1:], self._plan.roi_size[1:], self._region, strict=True):
            low, high = max(first, part.start), min(first + length, part.stop)
            here.append(slice(low - part.start, high - part.start))
            there.append(slice(low - first, high - first))
        here[0] = slice(here[0].start, here[0].start + self._depth)
        weights = self._weights[tuple(there)]
        self._sums[(slice(None), *here)].addcmul_(output[(slice(None), *there)], weights)
        self._counts[tuple(here)] += weights

    def drain(self, upto: int) -> Iterator[tuple[int, torch.Tensor]]:
        """The weighted means of the planes before ``upto`` that were not given out yet.

        Args:
            upto: first plane, in the padded volume, that a later window touches; its length at the end.

        Yields:
            The place of the first plane along the first axis without the padding, and (c, n, j, k) float32
            without the padding; several where they would take much memory at once.

        Raises:
            InvalidOutputError: no window was added.
        """
        if self._sums is None:
            raise InvalidOutputError("no window was predicted")
        padding, length = self._plan.padding, self._plan.shape[0]
        inner = tuple(
            slice(max(part.start, before) - part.start, min(part.stop, before + n) - part.start)
            for part, (before, _), n in zip(self._region, padding[1:], self._plan.shape[1:], strict=True)
        )
        before = padding[0][0]
        low, high = max(self._first, before), min(upto, before + length)
        each = max(1, _CHUNK_BYTES // max(4 * self._sums[:, 0].numel(), 1))
        for plane in range(low, high, each):
            planes = slice(plane - self._first, min(plane + each, high) - self._first)
            yield plane - before, self._sums[(slice(None), planes, *inner)] / self._counts[(planes, *inner)]
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
