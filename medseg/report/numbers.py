"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def number_text(value: float) -> str:
    """About three significant digits, never fewer than the whole part, with a true minus sign.

    ``1234.6`` is ``1235`` and ``0.012345`` is ``0.0123``; files carry full precision.
    """
    return number_texts((value,))[0]


def number_texts(values: Sequence[float]) -> list[str]:
    """Numbers that belong together, such as a mean and its spread; the largest sets the decimals of all."""
    size = max((abs(value) for value in values), default=0.0)
    if size == 0 or size >= 1e7 or size < 1e-4:
        return [f"{value:.3g}".replace("-", "−") for value in values]
    decimals = max(0, 2 - math.floor(math.log10(size)))
    return [fixed_text(value, decimals) for value in values]


def fixed_text(value: float, decimals: int) -> str:
    """A number with so many decimals, with a true minus sign; rounding to nothing loses the sign."""
    text = f"{value:.{decimals}f}"
    return (text if float(text) != 0 else text.lstrip("-")).replace("-", "−")
