"""How large a network would be, without taking the memory for it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _StochasticDepthOnCpu(TorchFunctionMode):
    """Keeps the rates that transformers compute with ``linspace`` real: they read them back as numbers."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.linspace:
            options["device"] = "cpu"
        return func(*args, **options)


def count_numbers(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> int:
    """Parameters and buffers of the network that ``factory(**arguments)`` would give.

    The network is built on torch's meta device, where tensors have shapes and no memory.
    """
    with warnings.catch_warnings(), torch.device("meta"), _StochasticDepthOnCpu():
        warnings.simplefilter("ignore")
        network = factory(**arguments)
    return sum(tensor.numel() for tensor in (*network.parameters(), *network.buffers()))
