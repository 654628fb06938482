"""From voxel values and labels to colours."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medseg.instances.instance import Instance
from medseg.spatial.labels import LabelTable
from medseg.spatial.volume import Unit

Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]

_FILL = 0.30
CONTOUR = 2
"""Width of a contour in pixels."""
_GOLDEN = 0.618033988749895


@dataclass(frozen=True, slots=True)
class Window:
    """Values shown as black and as white, and what to write beside the picture."""

    low: float
    high: float
    text: str


_LUNG = Window(-1350.0, 150.0, "lung window: W 1500 L −600 HU")
_SOFT = Window(-160.0, 240.0, "soft tissue window: W 400 L 40 HU")


def choose_window(slices: Sequence[NDArray[Any]], foreground: Sequence[NDArray[Any]], unit: Unit) -> Window:
    """Black and white for the slices of one scan.

    CT gets the soft tissue window, or the lung window where half of what was segmented is darker than
    -500 HU. Other scans run from the 1st to the 99th percentile of the slices shown.

    Args:
        slices: values; non-finite ones are left out.
        foreground: boolean, of the same shapes; what was segmented.
        unit: what the values mean.
    """
    if unit is Unit.HU:
        inside = _finite([values[mask] for values, mask in zip(slices, foreground, strict=True)])
        return _LUNG if inside.size and float(np.median(inside)) < -500 else _SOFT
    values = _finite(slices)
    if values.size == 0:
        return Window(0.0, 1.0, "")
    low, high = (float(v) for v in np.percentile(values, (1, 99)))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return Window(
        low,
        high,
        f"window: {_level(low)} to {_level(high)}" + (f" {unit}" if unit is Unit.SUV else ""),
    )


def to_grey(values: NDArray[Any], window: Window) -> Pixels:
    """Values as 0 to 255 within a window; non-finite ones are black, a flat window is grey."""
    width = window.high - window.low
    if width <= 0:
        return np.where(np.isfinite(values), 128, 0).astype(np.uint8)
    scaled = (np.asarray(values, np.float32) - np.float32(window.low)) * np.float32(255 / width)
    return np.asarray(np.rint(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255)), np.uint8)


def enlarge(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """A picture (rows, columns) or (rows, columns, 3) at ``size`` (width, height), interpolated."""
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def enlarge_labels(labels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Labels (rows, columns) at ``size`` (width, height): each pixel takes the voxel that it lies in."""
    width, height = size
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
    return np.asarray(labels[rows[:, None], columns[None, :]])


def overlay(picture: Pixels, regions: NDArray[Any], colours: Mapping[int, Colour]) -> Pixels:
    """Each region as a translucent fill with an opaque contour on its inner edge.

    Args:
        picture: (rows, columns, 3).
        regions: (rows, columns) integers; 0 is nothing.
        colours: of each integer that occurs.
    """
    present = np.unique(regions)
    table = np.array([colours[int(v)] if v else (0, 0, 0) for v in present], np.float32)
    paint = table[np.searchsorted(present, regions)]
    strength = np.where(regions != 0, _FILL, 0.0).astype(np.float32)
    strength[inner_edge(regions)] = 1.0
    mixed = picture + (paint - picture) * strength[..., None]
    return np.rint(mixed).astype(np.uint8)


def region_colours(table: LabelTable, instances: Sequence[Instance]) -> dict[int, Colour]:
    """Minus a label's index, and an instance's id → colour.

    Where a label has several instances, each has its own colour; the only one has the label's.
    """
    colours = {-label.index: label.rgb for label in table}
    objects = Counter(instance.label for instance in instances)
    for instance in instances:
        alone = objects[instance.label] == 1
        colours[instance.id] = table.by_name(instance.label).rgb if alone else _instance_colour(instance.id)
    return colours


def _instance_colour(number: int) -> Colour:
    """Neighbours in number are far apart in hue."""
    red, green, blue = colorsys.hls_to_rgb((number * _GOLDEN) % 1.0, 0.62 + 0.06 * (number % 3 - 1), 0.8)
    return round(red * 255), round(green * 255), round(blue * 255)


def inner_edge(regions: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels of a region (rows, columns) within two of another region or of none; the frame is no edge."""
    padded = np.pad(regions, CONTOUR, mode="edge")
    rows, columns = regions.shape
    edge = np.zeros(regions.shape, bool)
    for down in range(-CONTOUR, CONTOUR + 1):
        for right in range(-CONTOUR, CONTOUR + 1):
            if 0 < down * down + right * right <= CONTOUR * CONTOUR:
                top, left = CONTOUR + down, CONTOUR + right
                edge |= padded[top : top + rows, left : left + columns] != regions
    return np.asarray(edge & (regions != 0))


def _level(value: float) -> str:
    text = f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−")


def _finite(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    values = np.concatenate([np.asarray(a, np.float64).ravel() for a in arrays])
    return np.asarray(values[np.isfinite(values)])
