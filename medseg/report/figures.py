"""Pictures of a segmentation over its scan, in radiological convention."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medseg.errors import ConfigurationError, GeometryMismatchError
from medseg.instances.instance import InstanceMap
from medseg.measure.measurement import Measurement
from medseg.report.numbers import number_text
from medseg.report.paint import (
    Colour,
    Pixels,
    choose_window,
    enlarge,
    enlarge_labels,
    overlay,
    region_colours,
    to_grey,
)
from medseg.report.planes import Plane, choose_planes
from medseg.report.tile import LegendEntry, Tile, draw_sheet, draw_tile
from medseg.spatial.case import Case
from medseg.spatial.segmentation import Segmentation
from medseg.spatial.volume import Volume

_LONGEST = 520
_PREVIEW_LONGEST = 480
_ALONE = 1.6
_COLOUR_CHANNELS = ("red", "green", "blue")
_NO_SCAN_GREY = 40


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for the report.

    Attributes:
        name: ``axial``, ``coronal``, ``sagittal`` or, for a 2D image, ``image``.
        caption: what it shows, in a sentence.
        description: the same for those who do not see it, with the directions.
        png: the encoded file.
        width: in pixels.
    """

    name: str
    caption: str
    description: str
    png: bytes
    width: int


def overlay_planes(
    image: Volume | Case | None,
    segmentation: Segmentation,
    *,
    instances: InstanceMap | None = None,
    longest_px: int = _LONGEST,
) -> tuple[Picture, ...]:
    """An axial, a coronal and a sagittal slice with the segmentation on top.

    Each is the slice with the most foreground. The patient's right is on the left, the front up in the axial
    slice and the head up in the others; letters at the edges say so. Slices keep the scan's own axes (an
    oblique scan is not resampled), their proportions are those of the patient, and all three share one
    scale and one height. An image one voxel thick gives one picture.

    Args:
        image: the scan on any grid; a case with channels red, green and blue is shown in colour, of any
            other case the first channel; None for labels alone.
        segmentation: what to show, in the colours of its table.
        instances: colours the objects of a label one by one where there are several, and writes the id on
            each; what is no object keeps its label's colour.
        longest_px: pixels along the longest side of the scan, 1.6 times as many for a single picture;
            smaller scans are enlarged to it.

    Raises:
        ConfigurationError: ``longest_px`` is less than 64.
        GeometryMismatchError: the instances lie on another grid than the segmentation, or the scan belongs
            to another frame of reference.
    """
    tiles = _tiles(image, segmentation, instances, longest_px)
    height = max(tile.picture.shape[0] for tile in tiles)
    drawn = [(tile, draw_tile(tile, height)) for tile in tiles]
    return tuple(
        Picture(tile.name, tile.caption, tile.description, encoded(sheet), sheet.width)
        for tile, sheet in drawn
    )


def preview(
    image: Volume | Case | None,
    segmentation: Segmentation,
    *,
    instances: InstanceMap | None = None,
    measurements: Sequence[Measurement] = (),
    title: str = "",
) -> bytes:
    """One PNG with the planes of `overlay_planes` side by side, a legend of the labels and the notice.

    Args:
        image: as in `overlay_planes`.
        segmentation: what to show.
        instances: as in `overlay_planes`.
        measurements: where ``volume_ml`` or ``voxel_count`` of a label is among them, the legend says it and
            leaves out labels without a voxel; otherwise it lists the labels in the pictures.
        title: stands above the pictures, such as the case id.

    Raises:
        GeometryMismatchError: as in `overlay_planes`.
    """
    tiles = _tiles(image, segmentation, instances, _PREVIEW_LONGEST)
    entries = _legend(tiles, segmentation, instances, measurements)
    return encoded(draw_sheet(tiles, entries, title))


def _tiles(
    image: Volume | Case | None,
    segmentation: Segmentation,
    instances: InstanceMap | None,
    longest_px: int,
) -> list[Tile]:
    if longest_px < 64:
        raise ConfigurationError(f"pictures of {longest_px} pixels are too small; ask for 64 or more")
    if instances is not None and not instances.geometry.same_grid(segmentation.geometry):
        raise GeometryMismatchError(
            f"the instances have {instances.geometry.describe()} but the segmentation has "
            f"{segmentation.geometry.describe()}; split the instances from this segmentation"
        )
    planes = choose_planes(segmentation.labels, segmentation.geometry)
    listed = instances.instances if instances is not None else ()
    colours = region_colours(segmentation.table, listed)
    regions = [_regions(plane, segmentation, instances) for plane in planes]
    pictures, window = scan_slices(image, planes, [r != 0 for r in regions])
    wanted = longest_px * (_ALONE if len(planes) == 1 else 1.0)
    scale = wanted / max(max(plane.size) for plane in planes)
    return [
        _tile(plane, picture, region, colours, (scale, window))
        for plane, picture, region in zip(planes, pictures, regions, strict=True)
    ]


def _regions(plane: Plane, segmentation: Segmentation, instances: InstanceMap | None) -> NDArray[Any]:
    """Label indices as negative numbers and, where there are instances, their ids: see `region_colours`."""
    labels = -plane.take(segmentation.labels, segmentation.geometry).astype(np.int64)
    if instances is None:
        return labels
    ids = plane.take(instances.ids, instances.geometry)
    return np.where(ids > 0, ids, labels)


def _tile(
    plane: Plane,
    picture: Pixels,
    regions: NDArray[Any],
    colours: Mapping[int, Colour],
    look: tuple[float, str],
) -> Tile:
    scale, window = look
    width, height = plane.size
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = enlarge_labels(regions, size)
    painted = overlay(enlarge(picture, size), shown, colours)
    return Tile(plane, painted, shown, colours, scale, window)


def scan_slices(
    image: Volume | Case | None, planes: Sequence[Plane], foreground: Sequence[NDArray[np.bool_]]
) -> tuple[list[Pixels], str]:
    """The scan in each plane, and the window in words.

    Args:
        image: as in `overlay_planes`; None gives plain grey.
        planes: which slices.
        foreground: (rows, columns) of each plane; what was segmented, which decides the window of a CT.

    Returns:
        (rows, columns, 3) of each plane, one pixel a voxel.

    Raises:
        GeometryMismatchError: the scan belongs to another frame of reference.
    """
    if image is None:
        return [np.full((*mask.shape, 3), _NO_SCAN_GREY, np.uint8) for mask in foreground], ""
    if isinstance(image, Case) and all(name in image.channels for name in _COLOUR_CHANNELS):
        channels = [image.channels[name] for name in _COLOUR_CHANNELS]
    else:
        volume = next(iter(image.channels.values())) if isinstance(image, Case) else image
        channels = [volume]
    slices = [[plane.take_volume(channel) for plane in planes] for channel in channels]
    if len(channels) == 3 and all(channel.array.dtype == np.uint8 for channel in channels):
        return [np.stack(colours, axis=-1).astype(np.uint8) for colours in zip(*slices, strict=True)], ""
    everything = [values for channel in slices for values in channel]
    window = choose_window(everything, list(foreground) * len(channels), channels[0].unit)
    grey = [[to_grey(values, window) for values in channel] for channel in slices]
    pictures = [
        np.stack(parts if len(parts) == 3 else parts * 3, axis=-1) for parts in zip(*grey, strict=True)
    ]
    return pictures, window.text


def _legend(
    tiles: Sequence[Tile],
    segmentation: Segmentation,
    instances: InstanceMap | None,
    measurements: Sequence[Measurement],
) -> list[LegendEntry]:
    whole = {(m.label, m.name): m.value for m in measurements if m.instance is None}
    visible = {-int(v) for tile in tiles for v in np.unique(tile.regions)}
    objects = Counter(i.label for i in instances.instances) if instances is not None else Counter[str]()
    entries = []
    for label in segmentation.table:
        volume, count = whole.get((label.name, "volume_ml")), whole.get((label.name, "voxel_count"))
        number = objects[label.name]
        if number or volume or count or label.index in visible:
            colour = label.rgb if number < 2 else None
            entries.append(LegendEntry(label.name, colour, _amount(volume, count, number)))
    return entries


def _amount(volume_ml: float | None, count: float | None, objects: int) -> str:
    parts = []
    if objects > 1:
        parts.append(f"{objects} objects")
    if volume_ml is not None:
        parts.append(f"{number_text(volume_ml)} ml")
    elif count is not None:
        parts.append(f"{count:.0f} px")
    return ", ".join(parts)


def encoded(picture: Image.Image) -> bytes:
    """A picture as PNG."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=False)
    return stream.getvalue()
