"""Prediction and reference of one case beside each other, with what one has and the other lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigurationError, GeometryMismatchError
from medseg.report.figures import Picture, encoded, scan_slices
from medseg.report.numbers import number_text
from medseg.report.paint import Colour, Pixels, enlarge, enlarge_labels, inner_edge, overlay
from medseg.report.planes import Plane, choose_planes
from medseg.report.tile import LegendEntry, Tile, draw_sheet
from medseg.spatial.case import Case
from medseg.spatial.crop import crop_geometry
from medseg.spatial.geometry import Geometry
from medseg.spatial.segmentation import Segmentation
from medseg.spatial.volume import Volume

FALSE_POSITIVE: Colour = (255, 140, 40)
FALSE_NEGATIVE: Colour = (70, 160, 255)
WRONG_LABEL: Colour = (225, 90, 220)
"""Colours of the difference; orange and blue are told apart by every kind of colour vision."""

_AGREED: Colour = (245, 245, 245)
_ONLY_PREDICTION, _ONLY_REFERENCE, _OTHER = 1, 2, 3
_DIFFERENCE = {-_ONLY_PREDICTION: FALSE_POSITIVE, -_ONLY_REFERENCE: FALSE_NEGATIVE, -_OTHER: WRONG_LABEL}
_MEANINGS = {
    _ONLY_PREDICTION: "prediction only (false positive)",
    _ONLY_REFERENCE: "reference only (false negative)",
    _OTHER: "another label",
}
_FILL = 0.55
_LONGEST = 360
_ROOM = 0.3
"""Margin about what is shown, as a share of its longer side."""
_LEAST_MM = 40.0

_Labels = NDArray[np.integer[Any]]
_Maps = tuple[_Labels, _Labels, _Labels]
"""Reference, prediction and their difference; labels counted from 1 in the order of their names."""


def comparison_picture(
    prediction: Segmentation,
    reference: Segmentation,
    image: Volume | Case | None,
    *,
    label: str | None = None,
    longest_px: int = _LONGEST,
) -> Picture:
    """Reference, prediction and their difference in one slice, side by side.

    It is the axial slice with the most voxels that differ (the slice itself of a scan one voxel thick), or
    with the most foreground where nothing differs, cut to the labels with some room about them. In the
    difference orange is what only the prediction has (false positive), blue what only the reference has
    (false negative), magenta what bears another label in each. Lines are the outlines of the prediction in
    orange, of the reference in blue and of both in white. Directions are those of
    `medseg.report.figures.overlay_planes`. The legend gives the volumes of the whole case.

    Args:
        prediction: on the grid of the reference.
        reference: its labels are matched with those of the prediction by name.
        image: the scan on any grid, or None; see `medseg.report.figures.overlay_planes`.
        label: the only label to compare; None for all.
        longest_px: pixels along the longest side of each of the three.

    Raises:
        ConfigurationError: ``longest_px`` is less than 64.
        GeometryMismatchError: prediction and reference lie on different grids, or the scan belongs to
            another frame of reference.
        LabelTableError: the reference has no label called ``label``.
    """
    if longest_px < 64:
        raise ConfigurationError(f"pictures of {longest_px} pixels are too small; ask for 64 or more")
    if not prediction.geometry.same_grid(reference.geometry):
        raise GeometryMismatchError(
            f"the prediction has {prediction.geometry.describe()} but the reference has "
            f"{reference.geometry.describe()}; resample the prediction first"
        )
    known = {each.name: each.rgb for table in (prediction.table, reference.table) for each in table}
    names = list(known) if label is None else [reference.table.by_name(label).name]
    sides = _numbered(reference, names), _numbered(prediction, names)
    maps = (*sides, _difference(*sides))
    plane = _plane(maps, reference.geometry)
    colours = {-n: known[name] for n, name in enumerate(names, 1)}
    tiles = _tiles(plane, (maps, reference.geometry), image, colours, longest_px)
    amounts = _amounts(maps[2], reference.geometry)
    visible = sorted({int(n) for tile in tiles[:2] for n in np.unique(tile.regions) if n}, reverse=True)
    entries = [LegendEntry(names[-n - 1], colours[n], "") for n in visible]
    entries += [LegendEntry(_MEANINGS[n], _DIFFERENCE[-n], text) for n, text in amounts.items()]
    sheet = draw_sheet(tiles, entries, tiles[0].title)
    caption = _caption(tiles[0], amounts)
    return Picture(tiles[0].name, caption, _described(caption, plane), encoded(sheet), sheet.width)


def _numbered(segmentation: Segmentation, names: Sequence[str]) -> _Labels:
    """Labels as positions in ``names`` from 1; all others are background."""
    places = {name: n for n, name in enumerate(names, 1)}
    kind = np.min_scalar_type(len(names))
    highest = max((label.index for label in segmentation.table), default=0)
    numbers = np.zeros(highest + 1, kind)
    for label in segmentation.table:
        numbers[label.index] = places.get(label.name, 0)
    return np.asarray(numbers[segmentation.labels])


def _difference(reference: _Labels, prediction: _Labels) -> _Labels:
    found = np.zeros(reference.shape, np.uint8)
    found[reference != prediction] = _OTHER
    found[(reference == 0) & (prediction != 0)] = _ONLY_PREDICTION
    found[(reference != 0) & (prediction == 0)] = _ONLY_REFERENCE
    return found


def _plane(maps: _Maps, geometry: Geometry) -> Plane:
    """The slice to show, cut to what lies in it."""
    reference, prediction, difference = maps
    shown = difference if difference.any() else reference
    plane = choose_planes(shown, geometry)[0]
    either = plane.take(reference, geometry).astype(bool) | plane.take(prediction, geometry).astype(bool)
    if not either.any():
        return plane
    start, shape = [0, 0, 0], list(plane.geometry.shape)
    spans = [np.flatnonzero(either.any(axis=axis)) for axis in (1, 0)]
    steps = plane.geometry.steps[plane.row_axis], plane.geometry.steps[plane.column_axis]
    longest = max((span[-1] - span[0] + 1) * step for span, step in zip(spans, steps, strict=True))
    side = max(longest * (1 + 2 * _ROOM), _LEAST_MM)
    for axis, span, step in zip((plane.row_axis, plane.column_axis), spans, steps, strict=True):
        wanted = min(int(np.ceil(side / step)), shape[axis])
        first = (int(span[0]) + int(span[-1]) + 1 - wanted) // 2
        start[axis] = min(max(first, 0), shape[axis] - wanted)
        shape[axis] = wanted
    return replace(plane, geometry=crop_geometry(plane.geometry, start, shape))


def _tiles(
    plane: Plane,
    source: tuple[_Maps, Geometry],
    image: Volume | Case | None,
    colours: Mapping[int, Colour],
    longest_px: int,
) -> list[Tile]:
    maps, geometry = source
    flat = [-plane.take(labels, geometry).astype(np.int64) for labels in maps]
    (scan,), window = scan_slices(image, [plane], [flat[0] != 0])
    scale = longest_px / max(plane.size)
    size = max(1, round(plane.size[0] * scale)), max(1, round(plane.size[1] * scale))
    grey = enlarge(scan, size)
    reference, prediction, difference = (enlarge_labels(labels, size) for labels in flat)
    drawn = (
        ("Reference", overlay(grey, reference, colours), reference, colours),
        ("Prediction", overlay(grey, prediction, colours), prediction, colours),
        ("Difference", _contrasted(grey, reference, prediction, difference), difference, _DIFFERENCE),
    )
    return [
        Tile(plane, picture, regions, paints, scale, window, heading)
        for heading, picture, regions, paints in drawn
    ]


def _contrasted(grey: Pixels, reference: _Labels, prediction: _Labels, difference: _Labels) -> Pixels:
    """Differences filled, with the outlines of both sides."""
    mixed = grey.astype(np.float32)
    for value, colour in _DIFFERENCE.items():
        where = difference == value
        mixed[where] += (np.array(colour, np.float32) - mixed[where]) * _FILL
    ours, theirs = inner_edge(reference), inner_edge(prediction)
    mixed[ours] = FALSE_NEGATIVE
    mixed[theirs] = FALSE_POSITIVE
    mixed[ours & theirs] = _AGREED
    return np.asarray(np.rint(mixed), np.uint8)


def _amounts(difference: _Labels, geometry: Geometry) -> dict[int, str]:
    """How much of each kind of difference the whole case has; kinds that do not occur are left out."""
    counts = np.bincount(difference.ravel(), minlength=_OTHER + 1)
    texts = {}
    for kind in _MEANINGS:
        if counts[kind]:
            volume_ml = (
                float(counts[kind]) * geometry.voxel_volume_mm3 / 1000 if geometry.calibrated else None
            )
            texts[kind] = f"{counts[kind]} voxels" if volume_ml is None else f"{number_text(volume_ml)} ml"
    return texts


def _caption(tile: Tile, amounts: Mapping[int, str]) -> str:
    whole = ", ".join(f"{_MEANINGS[kind]} {text}" for kind, text in amounts.items())
    text = f"{tile.title}: reference, prediction, difference. Whole case: {whole or 'no difference'}"
    return text + (f"; {tile.window}" if tile.window else "") + "."


def _described(caption: str, plane: Plane) -> str:
    if not plane.in_patient:
        return caption
    left, right, top, bottom = plane.edges
    return f"{caption} Left of each picture is {left}, right {right}, top {top}, bottom {bottom}."
