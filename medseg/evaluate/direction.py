"""Which way a metric gets better."""

from __future__ import annotations

from typing import Literal

Direction = Literal["higher", "lower", "zero"]

_TOWARDS_ZERO = ("volume_error", "volume_difference", "count_error", "count_difference")
_LOWER = ("false_positive", "false_negative", "fp_", "fn_", "n_fp", "n_fn")


def direction(metric: str) -> Direction:
    """Whether ``metric`` is better when ``higher``, when ``lower``, or the nearer to ``zero``.

    Signed errors are best at zero; distances, counts and volumes of errors when low; everything else is a
    share of what is right.
    """
    if any(word in metric for word in _TOWARDS_ZERO):
        return "zero"
    if metric.endswith("_mm") or any(word in metric for word in _LOWER):
        return "lower"
    return "higher"


def best(metric: str) -> float:
    """The value of a perfect prediction."""
    return 1.0 if direction(metric) == "higher" else 0.0
