"""Test-time augmentation by mirroring, for every backend."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch


def mirrored_mean(
    predict: Callable[[torch.Tensor], torch.Tensor], windows: torch.Tensor, mirror_axes: Sequence[int]
) -> torch.Tensor:
    """The mean prediction over every combination of flips, each turned back.

    Args:
        predict: (n, c, i, j, k) to (n, classes, i, j, k) of floats that may be overwritten.
        windows: (n, c, i, j, k) or, in 2D, (n, c, i, j).
        mirror_axes: axes of (i, j, k); without any it is ``predict`` alone.
    """
    axes = sorted(set(mirror_axes))
    flips = [
        [axis + 2 for axis in chosen]
        for count in range(1, len(axes) + 1)
        for chosen in itertools.combinations(axes, count)
    ]
    total = predict(windows)
    for flip in flips:
        total += torch.flip(predict(torch.flip(windows, flip)), flip)
    return total / (len(flips) + 1) if flips else total
