"""Networks made of networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from medseg.errors import ConfigurationError


class FoldEnsemble(nn.Module):
    """The mean of what several networks give, such as those of the folds of one training.

    Windows are blended and mirrored copies averaged linearly, so the mean of the networks in each window is
    the mean of their volumes.

    Args:
        networks: at least one; their outputs have one shape.

    Raises:
        ConfigurationError: none.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if not networks:
            raise ConfigurationError("an ensemble needs at least one network")
        self.members = nn.ModuleList(networks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, c, …) to the mean over the members, (n, classes, …)."""
        total: torch.Tensor = self.members[0](x)
        for member in self.members[1:]:
            total = total + member(x)
        return total / len(self.members)


class SliceBySlice(nn.Module):
    """A network for images, run on windows of a volume that are one plane thick along the first axis.

    Args:
        network: takes (n, c, j, k).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, c, i, j, k) to (n, classes, i, j, k), plane by plane."""
        planes = x.movedim(2, 1).flatten(0, 1)
        result: torch.Tensor = self.network(planes)
        return result.reshape(x.shape[0], x.shape[2], *result.shape[1:]).movedim(1, 2)
