"""What the image shows inside an object."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_VALUES_AT_ONCE = 1 << 20


def intensity_values(voxels: NDArray[Any]) -> dict[str, float | str]:
    """Mean, standard deviation, range and percentiles of the image's values, in the image's unit.

    Args:
        voxels: the values inside the object, one or more, in any shape.

    Returns:
        Name → value; where a value is not finite, name → reason for every statistic.
    """
    values = np.asarray(voxels).ravel()
    bad = 0
    if values.dtype.kind == "f":
        bad = values.size - sum(int(np.count_nonzero(np.isfinite(part))) for part in _parts(values))
    if bad:
        reason = f"{bad} of {values.size} voxels of the image are NaN or infinite here"
        return dict.fromkeys(INTENSITY_NAMES, reason)
    mean = sum(float(part.astype(np.float64).sum()) for part in _parts(values)) / values.size
    squares = sum(float(((part - mean) ** 2).sum()) for part in _parts(values, np.float64))
    p5, median, p95 = _percentiles(values, (5, 50, 95))
    spread = math.sqrt(squares / values.size)
    numbers = (mean, spread, values.min(), values.max(), median, p5, p95)
    return {name: float(number) for name, number in zip(INTENSITY_NAMES, numbers, strict=True)}


def _parts(values: NDArray[Any], dtype: Any = None) -> Iterator[NDArray[Any]]:
    """The values piece by piece, so that no second copy of all of them in another type exists."""
    for start in range(0, values.size, _VALUES_AT_ONCE):
        part = values[start : start + _VALUES_AT_ONCE]
        yield part if dtype is None else part.astype(dtype)


def _percentiles(values: NDArray[Any], wanted: Sequence[float]) -> list[float]:
    """Percentiles by linear interpolation between the two nearest values, in double precision."""
    places = [percent / 100 * (values.size - 1) for percent in wanted]
    below = [int(place) for place in places]
    above = [min(low + 1, values.size - 1) for low in below]
    ordered = np.partition(values, sorted({*below, *above}))
    return [
        float(ordered[low]) + (float(ordered[high]) - float(ordered[low])) * (place - low)
        for place, low, high in zip(places, below, above, strict=True)
    ]


INTENSITY_NAMES = (
    "intensity_mean",
    "intensity_sd",
    "intensity_min",
    "intensity_max",
    "intensity_median",
    "intensity_p05",
    "intensity_p95",
)
