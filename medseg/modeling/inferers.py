"""Inferers that MONAI lacks, usable by name from a bundle's config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SimpleInferer


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
