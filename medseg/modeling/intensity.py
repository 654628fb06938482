"""Intensity transforms that stock MONAI lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import ConfigurationError
from medseg.instances.filter import components

_SMALLEST_PADDING = 0.005


class NormalizeFieldOfView:
    """Clips at percentiles and z-scores over the field of view; what lies outside becomes the mean.

    Scans that were resliced, rotated or padded carry constant corners. Counted as tissue they shift the
    percentiles and the mean, and they look like nothing that the network was trained on. Outside is what
    equals the channel's lowest value, hangs together over voxel faces, holds a corner of the volume, and
    makes up at least 0.5 % of it; where there is no such part, this clips and z-scores all voxels.

    Args:
        lower: percentile to clip at below.
        upper: percentile to clip at above.

    Raises:
        ConfigurationError: not 0 ≤ lower < upper ≤ 100.
    """

    def __init__(self, lower: float = 0.5, upper: float = 99.5) -> None:
        if not 0 <= lower < upper <= 100:
            raise ConfigurationError(f"percentiles {lower} and {upper} are not 0 ≤ lower < upper ≤ 100")
        self.lower = lower
        self.upper = upper

    def __call__(self, image: Any) -> Any:
        """(c, i, j, k) numbers to the same shape in float32; a ``MetaTensor`` keeps its metadata."""
        values = torch.as_tensor(image).as_subclass(torch.Tensor).float().cpu().numpy()
        normal = torch.from_numpy(np.stack([self._channel(channel) for channel in values]))
        if not isinstance(image, torch.Tensor):
            return normal
        result = image.float().clone()
        result[...] = normal
        return result

    def _channel(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        inside = field_of_view(values)
        seen = values[inside]
        low, high = np.percentile(seen, [self.lower, self.upper])
        clipped = np.clip(seen, low, high).astype(np.float64)
        spread = float(clipped.std())
        result = np.zeros(values.shape, np.float32)
        result[inside] = (clipped - clipped.mean()) / (spread if spread > 0 else 1.0)
        return result


def field_of_view(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where there is signal: all of a volume but its constant corners; see `NormalizeFieldOfView`.

    Args:
        values: (i, j, k) or (i, j); never wholly outside: a constant image is all inside.
    """
    volume = values[..., None] if values.ndim == 2 else values
    lowest = volume == volume.min()
    corners = np.ix_(*((0, -1),) * 3)
    inside = np.ones(volume.shape, dtype=bool)
    if lowest[corners].any() and _SMALLEST_PADDING <= lowest.mean() < 1:
        parts = components(lowest, 6)
        held = np.unique(parts[corners])
        outside = np.isin(parts, held[held > 0])
        if outside.mean() >= _SMALLEST_PADDING:
            inside = ~outside
    result: NDArray[np.bool_] = inside.reshape(values.shape)
    return result
