from __future__ import annotations

import torch

from medseg.inference.backends.mirror import mirrored_mean


def _shift(windows):
    """Moves content by one voxel along the first axis: what mirroring must undo."""
    return torch.roll(windows, 1, dims=2)


def test_every_combination_of_flips_is_averaged():
    windows = torch.arange(24, dtype=torch.float32).reshape(1, 1, 4, 3, 2)
    forward, backward = _shift(windows), torch.roll(windows, -1, dims=2)
    torch.testing.assert_close(mirrored_mean(_shift, windows, (0, 2, 2)), (forward + backward) / 2)


def test_without_axes_it_is_the_prediction():
    windows = torch.randn(2, 1, 3, 4)
    torch.testing.assert_close(mirrored_mean(_shift, windows, ()), _shift(windows))
