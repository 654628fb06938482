"""Joining overlapping windows into one volume."""

from __future__ import annotations

import torch

from medseg.errors import InvalidOutputError
from medseg.inference.windows import WindowPlan

_SIGMA_SHARE = 0.125
_SMALLEST_WEIGHT = 1e-3


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
    """Weighted sums of the windows' outputs over one volume.

    Args:
        plan: the windows.
        weights: (i, j, k) of one window.
    """

    def __init__(self, plan: WindowPlan, weights: torch.Tensor) -> None:
        self._plan = plan
        self._weights = weights
        self._sums: torch.Tensor | None = None
        self._counts = torch.zeros(plan.padded_shape)

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
            self._sums = torch.zeros((output.shape[0], *self._plan.padded_shape))
        place = tuple(slice(s, s + n) for s, n in zip(start, self._plan.roi_size, strict=True))
        self._sums[(slice(None), *place)] += output * self._weights
        self._counts[place] += self._weights

    def finish(self) -> torch.Tensor:
        """The weighted mean without the padding, (c, i, j, k) float32.

        Raises:
            InvalidOutputError: no window was added.
        """
        if self._sums is None:
            raise InvalidOutputError("no window was predicted")
        inner = tuple(
            slice(before, before + n)
            for (before, _), n in zip(self._plan.padding, self._plan.shape, strict=True)
        )
        return (self._sums / self._counts)[(slice(None), *inner)]
