"""What the image shows inside an object."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def intensity_values(voxels: NDArray[Any]) -> dict[str, float | str]:
    """Mean, standard deviation, range and percentiles of the image's values, in the image's unit.

    Args:
        voxels: the values inside the object, one or more, in any shape.

    Returns:
        Name → value; where a value is not finite, name → reason for every statistic.
    """
    values = np.asarray(voxels, dtype=np.float64).ravel()
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        reason = f"{bad} of {values.size} voxels of the image are NaN or infinite here"
        return dict.fromkeys(INTENSITY_NAMES, reason)
    p5, median, p95 = np.percentile(values, (5, 50, 95))
    numbers = (values.mean(), values.std(), values.min(), values.max(), median, p5, p95)
    return {name: float(number) for name, number in zip(INTENSITY_NAMES, numbers, strict=True)}


INTENSITY_NAMES = (
    "intensity_mean",
    "intensity_sd",
    "intensity_min",
    "intensity_max",
    "intensity_median",
    "intensity_p05",
    "intensity_p95",
)
