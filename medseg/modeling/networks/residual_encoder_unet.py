"""The U-Net with a residual encoder that nnU-Net's larger presets plan."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from medseg.modeling.networks.blocks import ConvUnit, Decoder, Kernel, ResidualUnit, check_levels


class ResidualEncoderUNet(nn.Module):
    """A U-Net whose encoder is a stem and residual units, and whose decoder is plain.

    As in Isensee et al., "nnU-Net Revisited", MICCAI 2024.

    Args:
        in_channels: of the image.
        out_channels: classes.
        features: channels of each level, finest first; the stem has as many as the first.
        kernels: one per level, each with one odd length per axis.
        strides: one per level.
        n_blocks: residual units of each encoder level.
        n_conv_decoder: convolutions of each decoder level, coarsest first.

    Raises:
        ConfigurationError: the lists do not name each level.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        features: Sequence[int],
        kernels: Sequence[Kernel],
        strides: Sequence[Kernel],
        n_blocks: Sequence[int],
        n_conv_decoder: Sequence[int],
    ) -> None:
        super().__init__()
        check_levels(features, n_conv_decoder, kernels, strides, n_blocks)
        one = (1,) * len(kernels[0])
        self.stem = ConvUnit((in_channels, features[0]), kernels[0], one)
        self.encoder = nn.ModuleList()
        entering = features[0]
        for width, kernel, stride, count in zip(features, kernels, strides, n_blocks, strict=True):
            units = [ResidualUnit((entering, width), kernel, stride)]
            units += [ResidualUnit((width, width), kernel, one) for _ in range(count - 1)]
            self.encoder.append(nn.Sequential(*units))
            entering = width
        self.decoder = Decoder(features, kernels, strides, n_conv_decoder, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, in_channels, …) to (n, out_channels, …); each length a multiple of the strides' product."""
        x = self.stem(x)
        levels = []
        for stage in self.encoder:
            x = stage(x)
            levels.append(x)
        result: torch.Tensor = self.decoder(levels)
        return result
