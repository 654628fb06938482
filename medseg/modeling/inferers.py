"""Inferers that MONAI lacks, usable by name from a bundle's config."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer

from medseg.modeling.windows import nnunet_weights, spread_starts


class AutocastInferer(SimpleInferer):
    """Runs the network under autocast on the device that its input lies on.

    MONAI's engines autocast on CUDA alone; this is their seam for bfloat16 on a CPU.

    Args:
        dtype: ``bfloat16`` or ``float16``; the latter needs a CUDA device.
    """

    def __init__(self, dtype: str = "bfloat16") -> None:
        super().__init__()
        self.dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Gives ``network(inputs)`` in float32; shapes are the network's."""
        with torch.autocast(inputs.device.type, dtype=self.dtype):
            outputs: torch.Tensor = network(inputs, *args, **kwargs)
        return outputs.float()


class SpreadWindowInferer(Inferer):
    """Runs the network over windows that lie equally far apart, blended as nnU-Net blends them.

    Axes shorter than a window are padded with 0 on both sides. The whole volume's sums are held at once;
    ``medseg segment`` runs the same windows without that.

    Args:
        roi_size: voxels of one window along each axis.
        overlap: share of a window that its neighbour covers at least.
        sw_batch_size: windows in one forward pass.
    """

    def __init__(self, roi_size: Sequence[int], overlap: float = 0.5, sw_batch_size: int = 1) -> None:
        super().__init__()
        self.roi_size = tuple(roi_size)
        self.overlap = overlap
        self.sw_batch_size = sw_batch_size

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """(n, c, i, j, k) to the weighted means of the windows' outputs, (n, classes, i, j, k) float32."""
        lengths = inputs.shape[2:]
        missing = [max(roi - n, 0) for roi, n in zip(self.roi_size, lengths, strict=True)]
        pad = [side for n in reversed(missing) for side in (n // 2, n - n // 2)]
        padded = torch.nn.functional.pad(torch.as_tensor(inputs).as_subclass(torch.Tensor), pad)
        windows = self._windows(padded.shape[2:])
        weights = nnunet_weights(self.roi_size).to(inputs.device)
        counts = torch.zeros(padded.shape[2:], device=inputs.device)
        sums: torch.Tensor | None = None
        for image, first in itertools.product(range(len(padded)), range(0, len(windows), self.sw_batch_size)):
            batch = windows[first : first + self.sw_batch_size]
            outputs = network(torch.stack([padded[image][place] for place in batch]), *args, **kwargs).float()
            if sums is None:
                sums = outputs.new_zeros((len(padded), outputs.shape[1], *padded.shape[2:]))
            for place, output in zip(batch, outputs, strict=True):
                sums[image][place] += output * weights
                counts[place[1:]] += weights / len(padded)
        inner = tuple(slice(n // 2, n // 2 + length) for n, length in zip(missing, lengths, strict=True))
        return (torch.as_tensor(sums) / counts)[(slice(None), slice(None), *inner)]

    def _windows(self, shape: Sequence[int]) -> list[tuple[slice, ...]]:
        """Places of the windows in (c, i, j, k)."""
        axes = [
            spread_starts(n - roi, roi * (1 - self.overlap))
            for n, roi in zip(shape, self.roi_size, strict=True)
        ]
        return [
            (slice(None), *(slice(s, s + roi) for s, roi in zip(starts, self.roi_size, strict=True)))
            for starts in itertools.product(*axes)
        ]
