"""Plots with one row per label, as inline SVG: distributions of a metric, differences of two models.

Each function gives an ``svg`` element as text, the same for the same input, for a page whose style has the
classes of ``base.html.j2``. Plots are drawn 420 units wide, so that their text can be read on a phone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluate.evaluation import Interval
from medseg.report.numbers import number_text, number_texts
from medseg.report.svg import Scale, drawing, element, line, scale_for, shortened, text_at, words, x_axis

WIDTH = 420
MOST_POINTS = 1500
_SIDE = 20
_PITCH = 52
_LOW_PITCH = 40
_BAND = 26
_RADIUS = 2.6
_CELL = 5.0
_BINS = 60
_LANE = 60
_MOST_CROSSES = 9
_LONGEST_NAME = 34
_NOTE_ROOM = 58
_NO_CASES = "no cases"

Bounds = tuple[float | None, float | None]
Place = tuple[str, float]
"""Case id and value."""


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of a distribution.

    Attributes:
        name: of the label.
        points: cases with a value, finite.
        penalised: cases without one, with the penalty that they count.
        mean: of both; None for none.
        interval: of the mean.
        note: stands at the right of the name.
    """

    name: str
    points: tuple[Place, ...]
    penalised: tuple[Place, ...] = ()
    mean: float | None = None
    interval: Interval | None = None
    note: str = ""

    @property
    def counted(self) -> list[float]:
        """All values that are in the mean."""
        return [value for _, value in (*self.points, *self.penalised)]


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of `difference_plot`: a mean difference with its interval, None where there is none."""

    name: str
    mean: float | None
    interval: Interval | None = None
    note: str = ""


def strip_plot(
    strips: Sequence[Strip], title: str, *, bounds: Bounds = (None, None), most_points: int = MOST_POINTS
) -> str:
    """The values of each label in a row: a point per case over the quartiles, the median and the mean.

    The box spans the quartiles, the line in it is the median, the diamond the mean with its interval. Points
    that would cover each other are set side by side. Cases that count with a penalty are crosses; where
    penalties lie so far out that they would crush the scale, they stand in a lane of their own at the right
    and a mean beyond the scale is given in words. A row without cases says so.

    Args:
        strips: the rows, from the top.
        title: what the values are, with the unit.
        bounds: values that cannot be passed, such as 0 and 1.
        most_points: where all rows together hold more, each shows how many values fall into each of 60 parts
            of the scale instead.

    Raises:
        ConfigurationError: a value is not finite.
    """
    values = [value for strip in strips for value in strip.counted]
    if not values:
        return nothing(title)
    lane = _crushed(strips)
    ends = [end for strip in strips if strip.interval for end in strip.interval]
    measured = [value for strip in strips for _, value in strip.points] if lane else [*values, *ends]
    scale = scale_for(measured, _SIDE, WIDTH - _SIDE - (_LANE if lane else 0), bounds)
    bottom = _PITCH * len(strips) + 4
    parts = [x_axis(scale, 4, bottom, title)]
    if lane:
        parts.append(text_at(WIDTH - 4, bottom + 15, "no value", class_="dim", anchor="end"))
    for n, strip in enumerate(strips):
        parts.append(_strip(strip, scale, _PITCH * n, binned=len(values) > most_points))
    told = "; ".join(_told(strip) for strip in strips)
    return drawing((WIDTH, bottom + 40), title, f"{told}.", parts)


def difference_plot(rows: Sequence[Difference], title: str) -> str:
    """The mean difference of two models for each label, with its 95 % interval, beside the line of none.

    Raises:
        ConfigurationError: a value is not finite.
    """
    values = [row.mean for row in rows if row.mean is not None]
    if not values:
        return nothing(title)
    ends = [end for row in rows if row.mean is not None and row.interval for end in row.interval]
    scale = scale_for([0.0, *values, *ends], _SIDE, WIDTH - _SIDE)
    bottom = _LOW_PITCH * len(rows) + 4
    parts = [x_axis(scale, 4, bottom, title), line(scale(0), 4, scale(0), bottom, "zero")]
    told = []
    for n, row in enumerate(rows):
        note = row.note if row.mean is not None else _NO_CASES
        parts.append(_row_name(row.name, note, _LOW_PITCH * n))
        text = f"{row.name}: {_NO_CASES}"
        if row.mean is not None:
            numbers = number_texts([row.mean, *(row.interval or ())])
            span = f", 95 % interval {numbers[1]} to {numbers[2]}" if row.interval else ""
            text = f"{row.name}: {numbers[0]}{span}"
            parts.append(_mean(row.mean, row.interval, scale, _LOW_PITCH * n + 29, text))
        told.append(text)
    return drawing((WIDTH, bottom + 40), title, f"{'; '.join(told)}.", parts)


def nothing(title: str) -> str:
    """What stands in place of a plot without cases."""
    text = f"{shortened(title, 50)}: {_NO_CASES}"
    return drawing((WIDTH, 56), title, f"{_NO_CASES}.", [text_at(_SIDE, 34, text, class_="dim")])


def dot(x: float, y: float, text: str) -> str:
    """A point that tells ``text`` where a pointer rests on it."""
    return element("circle", element("title", words(text)), cx=x, cy=y, r=_RADIUS)


def cases(count: int) -> str:
    """``3 cases``, ``1 case`` or ``no cases``."""
    return "1 case" if count == 1 else f"{count} cases" if count else _NO_CASES


def _crushed(strips: Sequence[Strip]) -> bool:
    """Whether penalties would leave less than half of the scale to what was measured."""
    measured = [value for strip in strips for _, value in strip.points]
    penalties = [value for strip in strips for _, value in strip.penalised]
    if not (measured and penalties):
        return False
    low, high = min(measured), max(measured)
    return max(penalties) > high + (high - low)


def _strip(strip: Strip, scale: Scale, top: float, *, binned: bool) -> str:
    counted = strip.counted
    notes = [cases(len(counted))]
    if strip.penalised:
        notes.append(f"{len(strip.penalised)} without a value")
    beyond = strip.mean is not None and not scale.low <= strip.mean <= scale.high
    if beyond and strip.mean is not None:
        notes.append(f"mean {number_text(strip.mean)}")
    parts = [_row_name(strip.name, ", ".join(filter(None, (*notes, strip.note))), top)]
    if not counted:
        return element("g", *parts)
    middle = top + 20 + _BAND / 2
    low, median, high = (float(q) for q in np.percentile(counted, (25, 50, 75)))
    box = {"x": scale(low), "y": middle - _BAND / 2, "width": max(scale(high) - scale(low), 1.0)}
    parts.append(element("rect", height=_BAND, class_="box", **box))
    parts.append(_bins(strip, scale, middle) if binned else _swarm(strip, scale, middle))
    parts.append(_crosses(strip, scale, middle))
    parts.append(line(scale(median), middle - _BAND / 2, scale(median), middle + _BAND / 2, "median"))
    if strip.mean is not None and not beyond:
        parts.append(_mean(strip.mean, strip.interval, scale, middle, f"mean {number_text(strip.mean)}"))
    return element("g", *parts)


def _swarm(strip: Strip, scale: Scale, middle: float) -> str:
    """Each case as a point, those of nearly the same value one above the other."""
    cells: dict[int, list[Place]] = {}
    for case, value in strip.points:
        cells.setdefault(math.floor(scale(value) / _CELL), []).append((case, value))
    dots = []
    for cell in sorted(cells):
        members = sorted(cells[cell], key=lambda point: (point[1], point[0]))
        for (case, value), offset in zip(members, _offsets(len(members)), strict=True):
            dots.append(dot(scale(value), middle + offset, f"{case}: {number_text(value)}"))
    return element("g", *dots, class_="dots")


def _offsets(count: int) -> list[float]:
    """Distances from the middle of the row: 0, up, down, up … within the band."""
    step = min(_CELL, (_BAND - 2 * _RADIUS) / max(count - 1, 1))
    return [(rank + 1) // 2 * step * (-1 if rank % 2 else 1) for rank in range(count)]


def _bins(strip: Strip, scale: Scale, middle: float) -> str:
    """How many cases fall into each part of the scale, as bars about the middle of the row."""
    width = (scale.end - scale.start) / _BINS
    counts = Counter(min(int((scale(value) - scale.start) / width), _BINS - 1) for _, value in strip.points)
    most = max(counts.values(), default=0)
    bars = []
    for place, count in sorted(counts.items()):
        height = max(_BAND * count / most, 1.0)
        edges = [scale.low + (scale.high - scale.low) * n / _BINS for n in (place, place + 1)]
        text = f"{' to '.join(number_texts(edges))}: {cases(count)}"
        size = {"width": width - 0.5, "height": height}
        x, y = scale.start + width * place, middle - height / 2
        bars.append(element("rect", element("title", words(text)), x=x, y=y, **size))
    return element("g", *bars, class_="bars")


def _crosses(strip: Strip, scale: Scale, middle: float) -> str:
    """Cases that count with a penalty: at its value, or in the lane where that lies beyond the scale."""
    places: dict[float, list[Place]] = {}
    for case, value in sorted(strip.penalised, key=lambda point: (point[1], point[0])):
        x = scale(value) if scale.low <= value <= scale.high else scale.end + 36
        places.setdefault(x, []).append((case, value))
    marks = []
    for x, members in sorted(places.items()):
        if len(members) > _MOST_CROSSES:
            marks.append(text_at(x, middle + 4, f"{len(members)} ×", anchor="middle"))
            continue
        for (case, value), offset in zip(members, _offsets(len(members)), strict=True):
            text = f"{case}: no value, counts {number_text(value)}"
            marks.append(_cross(x, middle + offset, text))
    return element("g", *marks, class_="crosses") if marks else ""


def _cross(x: float, y: float, text: str) -> str:
    r = 3.2
    route = f"M{x - r:.1f} {y - r:.1f}l{2 * r:.1f} {2 * r:.1f}m0 {-2 * r:.1f}l{-2 * r:.1f} {2 * r:.1f}"
    return element("path", element("title", words(text)), d=route)


def _mean(mean: float, interval: Interval | None, scale: Scale, y: float, text: str) -> str:
    """A diamond, with its interval as a line."""
    x, r = scale(mean), 5.0
    parts = [element("title", words(text))]
    if interval is not None:
        parts.append(line(scale(interval[0]), y, scale(interval[1]), y, "interval"))
    route = " ".join(f"{px:.1f},{py:.1f}" for px, py in ((x - r, y), (x, y - r), (x + r, y), (x, y + r)))
    return element("g", *parts, element("polygon", points=route, class_="mean"))


def _row_name(name: str, note: str, top: float) -> str:
    room = max(8, min(_LONGEST_NAME, _NOTE_ROOM - len(note)))
    parts = [text_at(_SIDE, top + 15, shortened(name, room), class_="name")]
    if note:
        parts.append(text_at(WIDTH - _SIDE, top + 15, note, class_="dim", anchor="end"))
    return "".join(parts)


def _told(strip: Strip) -> str:
    values = strip.counted
    if not values:
        return f"{strip.name}: {_NO_CASES}"
    low, median, high = number_texts([min(values), float(np.median(values)), max(values)])
    without = f", {len(strip.penalised)} of them without a value" if strip.penalised else ""
    return f"{strip.name}: {cases(len(values))}{without}, median {median}, from {low} to {high}"
