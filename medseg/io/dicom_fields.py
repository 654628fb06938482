"""Single values out of a DICOM data set; anything absent, damaged or not finite is None."""

from __future__ import annotations

import math

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue


def text(dataset: Dataset, keyword: str) -> str | None:
    """The value as text without padding, or None where it is absent or empty."""
    try:
        value = dataset.get(keyword)
        return (str(value).replace("\0", "").strip() or None) if value is not None else None
    except (ValueError, TypeError, AttributeError, OverflowError, LookupError, NotImplementedError):
        return None


def text_list(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values as text; empty where there are none."""
    value = text(dataset, keyword) and dataset.get(keyword)
    if value is None:
        return ()
    return tuple(map(str, value)) if isinstance(value, (MultiValue, list, tuple)) else (str(value),)


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value as a finite number."""
    values = number_list(dataset, keyword)
    return values[0] if values else None


def number_list(dataset: Dataset, keyword: str, length: int | None = None) -> tuple[float, ...] | None:
    """All values as finite numbers, or None; also None where there are not ``length`` of them."""
    try:
        value = dataset.get(keyword)
        if value is None:
            return None
        parts = value if isinstance(value, (MultiValue, list, tuple)) else [value]
        numbers = tuple(float(part) for part in parts)
    except (ValueError, TypeError, AttributeError, OverflowError, LookupError, NotImplementedError):
        return None
    if not all(map(math.isfinite, numbers)) or (length is not None and len(numbers) != length):
        return None
    return numbers


def whole(dataset: Dataset, keyword: str) -> int | None:
    """The first value as a whole number."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value == int(value) else None
