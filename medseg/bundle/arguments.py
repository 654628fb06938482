"""Checks of single arguments that a bundle gives to an allow-listed component. Imports no network library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

NORMS = frozenset({"batch", "group", "instance", "layer", "localresponse", "syncbatch"})
ACTIVATIONS = frozenset({
    "elu", "relu", "leakyrelu", "prelu", "relu6", "selu", "celu", "gelu", "sigmoid", "tanh", "softmax",
    "swish", "memswish", "mish",
})  # fmt: skip
DROPOUTS = frozenset({"dropout", "alphadropout"})
_LAYER_OPTIONS = frozenset({
    "affine", "alpha", "beta", "dim", "elementwise_affine", "eps", "init", "inplace", "k", "lambd",
    "lower", "momentum", "negative_slope", "num_groups", "num_parameters", "p", "size",
    "track_running_stats", "upper",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Argument:
    """What a value must be.

    Attributes:
        expects: in words, for messages.
        accepts: whether a value is such.
    """

    expects: str
    accepts: Callable[[Any], bool]


def flag() -> Argument:
    """True or false."""
    return Argument("true or false", lambda value: isinstance(value, bool))


def whole(low: int, high: int) -> Argument:
    """A whole number in [low, high]."""
    return Argument(f"a whole number from {low} to {high:,}", lambda value: _is_whole(value, low, high))


def number(low: float, high: float) -> Argument:
    """A finite number in [low, high]."""
    return Argument(f"a number from {low:g} to {high:g}", lambda value: _is_number(value, low, high))


def choice(*names: str) -> Argument:
    """One of these words."""
    return Argument("one of " + ", ".join(names), lambda value: isinstance(value, str) and value in names)


def one_of(*values: int) -> Argument:
    """One of these whole numbers."""
    return Argument(
        "one of " + ", ".join(map(str, values)), lambda value: type(value) is int and value in values
    )


def nothing() -> Argument:
    """Null alone."""
    return Argument("null", lambda value: value is None)


def either(*arguments: Argument) -> Argument:
    """Whatever one of ``arguments`` accepts."""
    return Argument(
        " or ".join(argument.expects for argument in arguments),
        lambda value: any(argument.accepts(value) for argument in arguments),
    )


def optional(argument: Argument) -> Argument:
    """Null, or what ``argument`` accepts."""
    return either(argument, nothing())


def many(argument: Argument, longest: int = 16, shortest: int = 1) -> Argument:
    """A list of ``shortest`` to ``longest`` values that ``argument`` accepts."""
    return Argument(
        f"a list of at most {longest} values, each {argument.expects}",
        lambda value: (
            isinstance(value, list | tuple)
            and shortest <= len(value) <= longest
            and all(argument.accepts(item) for item in value)
        ),
    )


def one_or_many(argument: Argument, longest: int = 16) -> Argument:
    """One such value or a list of them."""
    return either(argument, many(argument, longest))


def layer(names: frozenset[str]) -> Argument:
    """The name of a layer, or a pair of the name and its options (plain numbers, flags and words)."""
    return Argument(
        "one of " + ", ".join(sorted(names)) + ", alone or with a mapping of its options",
        lambda value: _is_layer(value, names),
    )


def key() -> Argument:
    """The name of an entry of a dictionary transform's data."""
    return Argument("a short name", lambda value: isinstance(value, str) and 0 < len(value) <= 64)


def dtype() -> Argument:
    """A number type of torch or NumPy, as an expression such as ``$torch.float32`` gives it."""
    return Argument("a number type such as $torch.float32", _is_dtype)


def device() -> Argument:
    """A torch device, as ``$torch.device('cpu')`` gives it."""
    return Argument("a device such as $torch.device('cpu')", _is_device)


def built(*modules: str) -> Argument:
    """An object that an allow-listed component of one of ``modules`` made."""
    return Argument(
        "a component of " + " or ".join(modules),
        lambda value: (
            not isinstance(value, type)
            and any(f"{type(value).__module__}.".startswith(f"{module}.") for module in modules)
        ),
    )


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any, low: float, high: float) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value) and low <= value <= high


def _is_layer(value: Any, names: frozenset[str]) -> bool:
    if isinstance(value, str):
        return value.lower() in names
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    name, options = value
    return isinstance(name, str) and name.lower() in names and _are_options(options)


def _are_options(options: Any) -> bool:
    return isinstance(options, Mapping) and all(
        option in _LAYER_OPTIONS
        and (isinstance(value, bool) or value is None or _is_number(value, -1e6, 1e6))
        for option, value in options.items()
    )


def _is_dtype(value: Any) -> bool:
    if isinstance(value, type):
        return value.__module__ == "numpy"
    return type(value).__module__ == "torch" and type(value).__name__ == "dtype"


def _is_device(value: Any) -> bool:
    return type(value).__module__ == "torch" and type(value).__name__ == "device"
