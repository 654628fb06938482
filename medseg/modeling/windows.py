"""Where nnU-Net puts its windows, and what it weighs their voxels with."""

from __future__ import annotations

import math

import torch

_SIGMA_SHARE = 0.125
_PEAK = 10.0


def spread_starts(room: int, step: float) -> list[int]:
    """First voxels of windows along one axis, equally far apart, the last one at the end.

    Args:
        room: the axis's length less that of a window.
        step: the most that two windows may be apart.
    """
    count = math.ceil(room / step)
    return sorted({round(room / count * n) for n in range(count + 1)}) if count else [0]


def nnunet_weights(roi_size: tuple[int, ...]) -> torch.Tensor:
    """nnU-Net's weights of a window's voxels.

    A Gaussian about voxel n // 2 with σ of n / 8 of each length, cut off at 4 σ and stored in half precision;
    what that rounds to 0 gets the smallest number left.

    Returns:
        ``roi_size``, float32; the largest is 10.
    """
    weights = torch.ones((), dtype=torch.float64)
    for n in roi_size:
        sigma = n * _SIGMA_SHARE
        distance = torch.arange(n, dtype=torch.float64) - n // 2
        line = torch.exp(-0.5 * (distance / sigma) ** 2)
        line[distance.abs() > int(4 * sigma + 0.5)] = 0
        weights = weights.unsqueeze(-1) * line
    halves = (_PEAK * weights).half()
    halves[halves == 0] = halves[halves != 0].min()
    return halves.float()
