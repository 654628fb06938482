"""The plain U-Net that nnU-Net plans."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from medseg.modeling.networks.blocks import ConvUnit, Decoder, Kernel, check_levels


class PlainConvUNet(nn.Module):
    """A U-Net of convolution, instance norm and leaky ReLU, halved by strides and doubled by transposition.

    As in Isensee et al., "nnU-Net", Nature Methods 18 (2021).

    Args:
        in_channels: of the image.
        out_channels: classes.
        features: channels of each level, finest first.
        kernels: one per level, each with one odd length per axis.
        strides: one per level; that of the first acts on the image.
        n_conv: convolutions of each encoder level.
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
        n_conv: Sequence[int],
        n_conv_decoder: Sequence[int],
    ) -> None:
        super().__init__()
        check_levels(features, n_conv_decoder, kernels, strides, n_conv)
        self.encoder = nn.ModuleList()
        entering = in_channels
        for width, kernel, stride, count in zip(features, kernels, strides, n_conv, strict=True):
            one = (1,) * len(kernel)
            units = [ConvUnit((entering, width), kernel, stride)]
            units += [ConvUnit((width, width), kernel, one) for _ in range(count - 1)]
            self.encoder.append(nn.Sequential(*units))
            entering = width
        self.decoder = Decoder(features, kernels, strides, n_conv_decoder, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, in_channels, …) to (n, out_channels, …); each length a multiple of the strides' product."""
        levels = []
        for stage in self.encoder:
            x = stage(x)
            levels.append(x)
        result: torch.Tensor = self.decoder(levels)
        return result
