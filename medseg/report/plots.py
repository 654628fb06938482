"""Plots of an evaluation as inline SVG: distributions, agreement, detection, differences.

Each function gives an ``svg`` element as text, the same for the same input, for a page whose style has the
classes of ``base.html.j2``. Plots are drawn 420 units wide, so that their text can be read on a phone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluate.evaluation import Agreement, BlandAltman, Interval
from medseg.report.numbers import number_text, number_texts
from medseg.report.svg import (
    Scale,
    drawing,
    element,
    line,
    scale_for,
    shortened,
    text_at,
    words,
    x_axis,
    y_axis,
)

WIDTH = 420
_SIDE = 20
_PITCH = 52
_BAND = 26
_RADIUS = 2.6
_CELL = 5.0
_BINS = 60
_LONGEST_NAME = 34
_AGREEMENT = (52, 12, 336, 240)
"""Left, top, right, bottom of the field of `agreement_plot`."""
_FROC = (52, 12, 404, 240)
_COLOURS = 6
_NO_CASES = "no cases"

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of a distribution.

    Attributes:
        name: of the label.
        points: (case id, value), finite.
        mean: drawn as a diamond, with its interval; None for none.
        interval: of the mean.
        note: stands at the right of the name, such as ``2 missed``.
    """

    name: str
    points: tuple[tuple[str, float], ...]
    mean: float | None = None
    interval: Interval | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of `difference_plot`: a mean difference with its interval, None where there is none."""

    name: str
    mean: float | None
    interval: Interval | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """A free-response curve: (false positives per case, sensitivity), ascending in both."""

    name: str
    points: tuple[tuple[float, float], ...]


def strip_plot(
    strips: Sequence[Strip], title: str, *, bounds: Bounds = (None, None), most_points: int = 1500
) -> str:
    """The values of each label in a row: a point per case over the quartiles, the median and the mean.

    The box spans the quartiles with the median as a line; the diamond is the mean, with its interval. Points
    that would cover each other are set side by side. A row without cases says so.

    Args:
        strips: the rows, from the top.
        title: what the values are, with the unit.
        bounds: values that cannot be passed, such as 0 and 1.
        most_points: where all rows together hold more, each shows how many values fall into each of 60 parts
            of the scale instead.
    """
    values = [value for strip in strips for _, value in strip.points]
    if not values:
        return _nothing(title)
    ends = [end for strip in strips if strip.interval for end in strip.interval]
    scale = scale_for([*values, *ends], _SIDE, WIDTH - _SIDE, bounds)
    bottom = _PITCH * len(strips) + 4
    parts = [x_axis(scale, 4, bottom, title)]
    for n, strip in enumerate(strips):
        parts.append(_strip(strip, scale, _PITCH * n, binned=len(values) > most_points))
    told = "; ".join(_told(strip) for strip in strips)
    return drawing((WIDTH, bottom + 40), title, f"{told}.", parts)


def agreement_plot(agreement: Agreement, *, most_points: int = 1500) -> str:
    """Bland–Altman plot: difference of prediction and reference over their mean.

    Lines are the bias and the limits of agreement, bands their 95 % intervals. Without limits, for fewer
    than three pairs, the points stand alone.

    Args:
        agreement: of one label.
        most_points: with more pairs, squares tell how many lie there.
    """
    title = f"{agreement.label}: volume, prediction − reference ({agreement.unit})"
    if not agreement.pairs:
        return _nothing(title)
    left, top, right, bottom = _AGREEMENT
    means = [(p + r) / 2 for _, p, r in agreement.pairs]
    gaps = [p - r for _, p, r in agreement.pairs]
    limits = agreement.bland_altman
    shown = [] if limits is None else [*limits.bias_ci95, *limits.lower_ci95, *limits.upper_ci95]
    across = scale_for(means, left + 6, right - 6, (0.0, None))
    up = scale_for([0.0, *gaps, *shown], bottom, top)
    parts = [x_axis(across, top, bottom, f"Mean of prediction and reference ({agreement.unit})")]
    parts += [y_axis(up, left, right), line(left, up(0), right, up(0), "zero")]
    if limits is not None:
        parts.append(_limits(limits, up, (left, right)))
    if len(means) > most_points:
        parts.append(_density([(across(m), up(g)) for m, g in zip(means, gaps, strict=True)]))
    else:
        dots = [
            _dot(across(m), up(g), f"{case}: {number_text(p)} and {number_text(r)} {agreement.unit}")
            for (case, p, r), m, g in zip(agreement.pairs, means, gaps, strict=True)
        ]
        parts.append(element("g", *dots, class_="dots"))
    return drawing((WIDTH, bottom + 40), title, _agreement_told(agreement), parts)


def froc_plot(curves: Sequence[Curve], title: str = "Free-response curve") -> str:
    """Sensitivity over false positives per case, from 1/8 to 8 on a logarithmic scale.

    What lies beyond the scale is drawn at its end. Curves are told apart by colour and, at their end, by
    name.
    """
    drawn = [curve for curve in curves if curve.points]
    if not drawn:
        return _nothing(title)
    left, top, right, bottom = _FROC
    across = Scale(-3.0, 3.0, left, right, tuple(map(float, range(-3, 4))))
    up = Scale(0.0, 1.0, bottom, top, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    parts = [y_axis(up, left, right)]
    for exponent, text in zip(across.ticks, ("1/8", "1/4", "1/2", "1", "2", "4", "8"), strict=True):
        x = across(exponent)
        parts += [
            line(x, top, x, bottom, "grid"),
            text_at(x, bottom + 15, text, class_="dim", anchor="middle"),
        ]
    middle = (left + right) / 2
    parts.append(text_at(middle, bottom + 32, "False positives per case", class_="dim", anchor="middle"))
    for n, curve in enumerate(drawn):
        places = [(across(_exponent(rate)), up(sensitivity)) for rate, sensitivity in curve.points]
        route = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        colour = f"curve c{n % _COLOURS}"
        parts.append(element("polyline", element("title", words(curve.name)), points=route, class_=colour))
        parts.append(_key(curve.name, n, bottom + 52 + 18 * n, left))
    told = "; ".join(f"{c.name}: sensitivity up to {number_text(c.points[-1][1])}" for c in drawn)
    return drawing((WIDTH, bottom + 48 + 18 * len(drawn)), title, f"{told}.", parts)


def difference_plot(rows: Sequence[Difference], title: str) -> str:
    """The mean difference of two models for each label, with its 95 % interval, beside the line of none."""
    known = [row for row in rows if row.mean is not None]
    if not known:
        return _nothing(title)
    values = [row.mean for row in known if row.mean is not None]
    ends = [end for row in known if row.interval for end in row.interval]
    scale = scale_for([0.0, *values, *ends], _SIDE, WIDTH - _SIDE)
    pitch = 40
    bottom = pitch * len(rows) + 4
    parts = [x_axis(scale, 4, bottom, title), line(scale(0), 4, scale(0), bottom, "zero")]
    told = []
    for n, row in enumerate(rows):
        y = pitch * n + 29
        parts.append(_row_name(row.name, row.note, pitch * n))
        if row.mean is None:
            told.append(f"{row.name}: {_NO_CASES}")
            continue
        texts = number_texts([row.mean, *(row.interval or ())])
        words_ = texts[0] + (f", 95 % interval {texts[1]} to {texts[2]}" if row.interval else "")
        told.append(f"{row.name}: {words_}")
        parts.append(_mean(row.mean, row.interval, scale, y, told[-1]))
    return drawing((WIDTH, bottom + 40), title, f"{'; '.join(told)}.", parts)


def _strip(strip: Strip, scale: Scale, top: float, *, binned: bool) -> str:
    note = ", ".join(filter(None, (_cases(len(strip.points)), strip.note)))
    parts = [_row_name(strip.name, note, top)]
    if not strip.points:
        return element("g", *parts)
    middle = top + 20 + _BAND / 2
    low, median, high = (float(q) for q in np.percentile([v for _, v in strip.points], (25, 50, 75)))
    box = {"x": scale(low), "y": middle - _BAND / 2, "width": max(scale(high) - scale(low), 1.0)}
    parts.append(element("rect", height=_BAND, class_="box", **box))
    parts.append(_bins(strip, scale, middle) if binned else _swarm(strip, scale, middle))
    parts.append(line(scale(median), middle - _BAND / 2, scale(median), middle + _BAND / 2, "median"))
    if strip.mean is not None:
        parts.append(_mean(strip.mean, strip.interval, scale, middle, f"mean {number_text(strip.mean)}"))
    return element("g", *parts)


def _swarm(strip: Strip, scale: Scale, middle: float) -> str:
    """Each case as a point, those of nearly the same value one above the other."""
    cells: dict[int, list[tuple[str, float]]] = {}
    for case, value in strip.points:
        cells.setdefault(math.floor(scale(value) / _CELL), []).append((case, value))
    dots = []
    for cell in sorted(cells):
        members = sorted(cells[cell], key=lambda point: (point[1], point[0]))
        step = min(_CELL, (_BAND - 2 * _RADIUS) / max(len(members) - 1, 1))
        for rank, (case, value) in enumerate(members):
            offset = (rank + 1) // 2 * step * (-1 if rank % 2 else 1)
            dots.append(_dot(scale(value), middle + offset, f"{case}: {number_text(value)}"))
    return element("g", *dots, class_="dots")


def _bins(strip: Strip, scale: Scale, middle: float) -> str:
    """How many cases fall into each part of the scale, as bars about the middle of the row."""
    width = (scale.end - scale.start) / _BINS
    counts = Counter(min(int((scale(value) - scale.start) / width), _BINS - 1) for _, value in strip.points)
    most = max(counts.values())
    bars = []
    for place, count in sorted(counts.items()):
        height = max(_BAND * count / most, 1.0)
        edges = (scale.low + (scale.high - scale.low) * n / _BINS for n in (place, place + 1))
        text = f"{' to '.join(number_texts(list(edges)))}: {_cases(count)}"
        size = {"width": width - 0.5, "height": height}
        x, y = scale.start + width * place, middle - height / 2
        bars.append(element("rect", element("title", words(text)), x=x, y=y, **size))
    return element("g", *bars, class_="bars")


def _density(places: Iterable[tuple[float, float]]) -> str:
    counts = Counter((math.floor(x / _CELL), math.floor(y / _CELL)) for x, y in places)
    most = max(counts.values())
    cells = [
        element(
            "rect",
            element("title", _cases(count)),
            x=column * _CELL,
            y=row * _CELL,
            width=_CELL,
            height=_CELL,
            fill_opacity=0.2 + 0.8 * math.sqrt(count / most),
        )
        for (column, row), count in sorted(counts.items())
    ]
    return element("g", *cells, class_="cells")


def _limits(limits: BlandAltman, up: Scale, sides: tuple[float, float]) -> str:
    left, right = sides
    named = (
        ("upper", limits.upper, limits.upper_ci95, "limit"),
        ("bias", limits.bias, limits.bias_ci95, "bias"),
        ("lower", limits.lower, limits.lower_ci95, "limit"),
    )
    texts = number_texts([limits.upper, limits.bias, limits.lower])
    parts = []
    lowest = -math.inf
    for (name, value, (low, high), class_), text in zip(named, texts, strict=True):
        band = {"x": left, "y": up(high), "width": right - left, "height": up(low) - up(high)}
        parts.append(element("rect", class_=f"band {class_}", **band))
        parts.append(line(left, up(value), right, up(value), class_))
        y = max(up(value) + 4, lowest + 14)
        parts.append(text_at(right + 6, y, f"{name} {text}"))
        lowest = y
    return element("g", *parts)


def _mean(mean: float, interval: Interval | None, scale: Scale, y: float, text: str) -> str:
    """A diamond, with its interval as a line."""
    x, r = scale(mean), 5.0
    parts = [element("title", words(text))]
    if interval is not None:
        parts.append(line(scale(interval[0]), y, scale(interval[1]), y, "interval"))
    route = " ".join(f"{px:.1f},{py:.1f}" for px, py in ((x - r, y), (x, y - r), (x + r, y), (x, y + r)))
    return element("g", *parts, element("polygon", points=route, class_="mean"))


def _row_name(name: str, note: str, top: float) -> str:
    room = max(8, min(_LONGEST_NAME, 58 - len(note)))
    parts = [text_at(_SIDE, top + 15, shortened(name, room), class_="name")]
    if note:
        parts.append(text_at(WIDTH - _SIDE, top + 15, note, class_="dim", anchor="end"))
    return "".join(parts)


def _key(name: str, number: int, y: float, left: float) -> str:
    swatch = line(left, y - 4, left + 20, y - 4, f"curve c{number % _COLOURS}")
    return swatch + text_at(left + 28, y, shortened(name, _LONGEST_NAME))


def _dot(x: float, y: float, text: str) -> str:
    return element("circle", element("title", words(text)), cx=x, cy=y, r=_RADIUS)


def _exponent(rate: float) -> float:
    return math.log2(rate) if rate > 0 else -math.inf


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases" if count else _NO_CASES


def _told(strip: Strip) -> str:
    if not strip.points:
        return f"{strip.name}: {_NO_CASES}"
    values = [value for _, value in strip.points]
    low, median, high = number_texts([min(values), float(np.median(values)), max(values)])
    note = f", {strip.note}" if strip.note else ""
    return f"{strip.name}: {_cases(len(values))}, median {median}, from {low} to {high}{note}"


def _agreement_told(agreement: Agreement) -> str:
    limits = agreement.bland_altman
    if limits is None:
        return (
            f"{_cases(len(agreement.pairs))}; no limits of agreement: {agreement.reason or 'not computed'}."
        )
    bias, lower, upper = number_texts([limits.bias, limits.lower, limits.upper])
    return (
        f"{_cases(len(agreement.pairs))}; bias {bias} {agreement.unit}, "
        f"95 % limits of agreement {lower} to {upper} {agreement.unit}."
    )


def _nothing(title: str) -> str:
    return drawing(
        (WIDTH, 56), title, f"{_NO_CASES}.", [text_at(_SIDE, 34, f"{title}: {_NO_CASES}", class_="dim")]
    )
