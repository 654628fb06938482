"""What the two U-Nets of this package are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from medseg.errors import ConfigurationError

Kernel = Sequence[int]

_CONVOLUTIONS: dict[int, type[nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.ConvTranspose2d | nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_NORMS: dict[int, type[nn.InstanceNorm2d | nn.InstanceNorm3d]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_POOLS: dict[int, type[nn.AvgPool2d | nn.AvgPool3d]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class ConvUnit(nn.Module):
    """Convolution, instance norm and, unless asked otherwise, leaky ReLU; the size is kept at stride 1.

    Args:
        channels: in and out.
        kernel: odd lengths, one per axis; they tell the number of axes.
        stride: one per axis.
        bias: of the convolution.
        active: whether the leaky ReLU (slope 0.01) follows.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: Kernel,
        stride: Kernel,
        *,
        bias: bool = True,
        active: bool = True,
    ) -> None:
        super().__init__()
        convolution, norm = _CONVOLUTIONS[len(kernel)], _NORMS[len(kernel)]
        padding = tuple((n - 1) // 2 for n in kernel)
        self.conv = convolution(*channels, tuple(kernel), tuple(stride), padding, bias=bias)  # type: ignore[arg-type]
        self.norm = norm(channels[1], eps=1e-5, affine=True)
        self.active = nn.LeakyReLU(inplace=True) if active else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, c, …) to (n, channels out, …)."""
        result: torch.Tensor = self.active(self.norm(self.conv(x)))
        return result


class ResidualUnit(nn.Module):
    """Two convolutions beside a shortcut that averages over the stride and projects where channels differ.

    Block D of He et al., "Bag of tricks for image classification", CVPR 2019.

    Args:
        channels: in and out.
        kernel: of both convolutions.
        stride: of the first.
    """

    def __init__(self, channels: tuple[int, int], kernel: Kernel, stride: Kernel) -> None:
        super().__init__()
        one = (1,) * len(kernel)
        self.conv1 = ConvUnit(channels, kernel, stride)
        self.conv2 = ConvUnit((channels[1], channels[1]), kernel, one, active=False)
        strided = any(n != 1 for n in stride)
        self.pool = _POOLS[len(kernel)](tuple(stride), tuple(stride)) if strided else nn.Identity()  # type: ignore[arg-type]
        projected = channels[0] != channels[1]
        self.skip = ConvUnit(channels, one, one, bias=False, active=False) if projected else nn.Identity()
        self.active = nn.LeakyReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, c, …) to (n, channels out, …), each length divided by the stride."""
        shortcut = self.skip(self.pool(x))
        result: torch.Tensor = self.active(self.conv2(self.conv1(x)) + shortcut)
        return result


class Decoder(nn.Module):
    """From the features of each level up to the full size, with a head of 1 × 1 outputs at each level.

    Only the last head speaks; the others were for deep supervision while the network was trained.

    Args:
        features: channels of each encoder level, finest first.
        kernels: of each encoder level.
        strides: of each encoder level.
        convs: convolutions of each decoder level, coarsest first.
        classes: channels of the output.
    """

    def __init__(
        self,
        features: Sequence[int],
        kernels: Sequence[Kernel],
        strides: Sequence[Kernel],
        convs: Sequence[int],
        classes: int,
    ) -> None:
        super().__init__()
        dims = len(kernels[0])
        self.up, self.levels, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for count, level in zip(convs, reversed(range(len(features) - 1)), strict=True):
            here, below, stride = features[level], features[level + 1], tuple(strides[level + 1])
            one = (1,) * dims
            self.up.append(_TRANSPOSED[dims](below, here, stride, stride))  # type: ignore[arg-type]
            self.levels.append(
                nn.Sequential(
                    *(
                        ConvUnit((2 * here if n == 0 else here, here), kernels[level], one)
                        for n in range(count)
                    )
                )
            )
            self.heads.append(_CONVOLUTIONS[dims](here, classes, 1))

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """The encoder's features, finest first, to (n, classes, …)."""
        x = levels[-1]
        for up, convs, skip in zip(self.up, self.levels, reversed(levels[:-1]), strict=True):
            x = convs(torch.cat((up(x), skip), dim=1))
        result: torch.Tensor = self.heads[-1](x)
        return result


def check_levels(features: Sequence[int], convs: Sequence[int], *per_level: Sequence[object]) -> None:
    """Refuses lists of unequal length.

    Raises:
        ConfigurationError: fewer than two levels, or a list that does not name each.
    """
    levels = len(features)
    if levels < 2 or len(convs) != levels - 1 or any(len(values) != levels for values in per_level):
        raise ConfigurationError(
            f"a U-Net of {levels} levels takes {levels} kernels, strides and counts and {levels - 1} counts "
            f"for its decoder, at least 2 levels; found {', '.join(str(len(v)) for v in per_level)} and "
            f"{len(convs)}"
        )
