"""Plots with two scales, as inline SVG: Bland–Altman and free-response curves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from medseg.evaluate.evaluation import Agreement, BlandAltman
from medseg.evaluate.froc import Froc
from medseg.report.numbers import fixed_text, number_text, number_texts
from medseg.report.plots import MOST_POINTS, WIDTH, cases, dot, nothing
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

_AGREEMENT = (52, 12, 330, 240)
_FROC = (44, 12, 404, 240)
"""Left, top, right and bottom of the field."""
_CELL = 5.0
_LINE = 15.0
_COLOURS = 6
_RATE_TEXTS = ("1/8", "1/4", "1/2", "1", "2", "4", "8")


def agreement_plot(agreement: Agreement, *, most_points: int = MOST_POINTS) -> str:
    """Bland–Altman plot: difference of prediction and reference over their mean.

    Lines are the bias and the limits of agreement, bands their 95 % intervals. Without limits, for fewer
    than three pairs, the points stand alone.

    Args:
        agreement: of one label.
        most_points: with more pairs, squares tell how many lie there.

    Raises:
        ConfigurationError: a value is not finite.
    """
    title = f"{agreement.label}: prediction − reference ({agreement.unit})"
    if not agreement.pairs:
        return nothing(title)
    left, top, right, bottom = _AGREEMENT
    means = [(p + r) / 2 for _, p, r in agreement.pairs]
    gaps = [p - r for _, p, r in agreement.pairs]
    limits = agreement.bland_altman
    shown = [] if limits is None else [*limits.bias_ci95, *limits.lower_ci95, *limits.upper_ci95]
    across = scale_for(means, left, right, (0.0, None))
    up = scale_for([0.0, *gaps, *shown], bottom, top)
    parts = [x_axis(across, top, bottom, f"Mean of prediction and reference ({agreement.unit})")]
    parts += [y_axis(up, left, right), line(left, up(0), right, up(0), "zero")]
    if limits is not None:
        parts.append(_limits(limits, up, (left, right)))
    if len(means) > most_points:
        parts.append(_density((across(m), up(g)) for m, g in zip(means, gaps, strict=True)))
    else:
        dots = [
            dot(across(m), up(g), f"{case}: {number_text(p)} and {number_text(r)} {agreement.unit}")
            for (case, p, r), m, g in zip(agreement.pairs, means, gaps, strict=True)
        ]
        parts.append(element("g", *dots, class_="dots"))
    return drawing((WIDTH, bottom + 40), title, _told(agreement), parts)


def froc_plot(curves: Mapping[str, Froc], title: str = "Free-response curve") -> str:
    """Sensitivity over false positives per case, from 1/8 to 8 on a logarithmic scale, as steps.

    A step is a working point: the sensitivity holds until a lower score finds more. Points mark the rates
    at which the sensitivity is read.

    Args:
        curves: label → curve; those without values are left out.
        title: what the plot shows.
    """
    drawn = {name: curve for name, curve in curves.items() if curve.sensitivities is not None}
    if not drawn:
        return nothing(title)
    left, top, right, bottom = _FROC
    across = Scale(-3.0, 3.0, left, right, tuple(map(float, range(-3, 4))))
    up = Scale(0.0, 1.0, bottom, top, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    parts = [y_axis(up, left, right)]
    for exponent, text in zip(across.ticks, _RATE_TEXTS, strict=True):
        x = across(exponent)
        parts += [
            line(x, top, x, bottom, "grid"),
            text_at(x, bottom + 15, text, class_="dim", anchor="middle"),
        ]
    middle = (left + right) / 2
    parts.append(text_at(middle, bottom + 32, "False positives per case", class_="dim", anchor="middle"))
    told = []
    for n, (name, curve) in enumerate(drawn.items()):
        parts += [_curve(name, curve, (across, up), n), _key(name, n, (left, bottom + 54 + 18 * n))]
        told.append(f"{name}: {_read(curve)}")
    return drawing((WIDTH, bottom + 46 + 18 * len(drawn)), title, f"{'; '.join(told)}.", parts)


def _limits(limits: BlandAltman, up: Scale, sides: tuple[float, float]) -> str:
    left, right = sides
    named = (
        ("upper", limits.upper, limits.upper_ci95, "limit"),
        ("bias", limits.bias, limits.bias_ci95, "bias"),
        ("lower", limits.lower, limits.lower_ci95, "limit"),
    )
    texts = number_texts([limits.upper, limits.bias, limits.lower])
    places = _apart([up(value) + 4 for _, value, _, _ in named])
    bands, lines = [], []
    for (name, value, (low, high), class_), text, y in zip(named, texts, places, strict=True):
        size = {"x": left, "y": up(high), "width": right - left, "height": up(low) - up(high)}
        bands.append(element("rect", class_=f"band {class_}", **size))
        lines += [line(left, up(value), right, up(value), class_), text_at(right + 6, y, f"{name} {text}")]
    return element("g", *bands, *lines)


def _apart(heights: list[float]) -> list[float]:
    """Three lines of text from the top, moved away from the middle one until they can be read."""
    upper, middle, lower = heights
    return [min(upper, middle - _LINE), middle, max(lower, middle + _LINE)]


def _density(places: Iterable[tuple[float, float]]) -> str:
    counts = Counter((math.floor(x / _CELL), math.floor(y / _CELL)) for x, y in places)
    most = max(counts.values())
    cells = []
    for (column, row), count in sorted(counts.items()):
        size = {"x": column * _CELL, "y": row * _CELL, "width": _CELL, "height": _CELL}
        strength = 0.2 + 0.8 * math.sqrt(count / most)
        cells.append(element("rect", element("title", cases(count)), fill_opacity=strength, **size))
    return element("g", *cells, class_="cells")


def _curve(name: str, curve: Froc, scales: tuple[Scale, Scale], number: int) -> str:
    across, up = scales
    route: list[str] = []
    height = up(0.0)
    for rate, sensitivity in zip(curve.false_positives_per_scan, curve.sensitivity, strict=True):
        x = across(math.log2(rate)) if rate > 0 else across.start
        for place in (f"{x:.1f},{height:.1f}", f"{x:.1f},{up(sensitivity):.1f}"):
            if not route or route[-1] != place:
                route.append(place)
        height = up(sensitivity)
    route.append(f"{across.end:.1f},{height:.1f}")
    class_ = f"curve c{number % _COLOURS}"
    steps = element("polyline", element("title", words(name)), points=" ".join(route), class_=class_)
    marks = [
        dot(across(math.log2(rate)), up(value), f"{name}: {fixed_text(value, 3)} at {rate:g} per case")
        for rate, value in zip(curve.rates, curve.sensitivities or (), strict=True)
        if across.low <= math.log2(max(rate, 1e-9)) <= across.high
    ]
    return steps + element("g", *marks, class_=f"dots c{number % _COLOURS}")


def _key(name: str, number: int, place: tuple[float, float]) -> str:
    x, y = place
    return line(x, y - 4, x + 20, y - 4, f"curve c{number % _COLOURS}") + text_at(
        x + 28, y, shortened(name, 40)
    )


def _read(curve: Froc) -> str:
    pairs = zip(curve.rates, curve.sensitivities or (), strict=True)
    mean = f"mean {fixed_text(curve.mean, 3)}, " if curve.mean is not None else ""
    return mean + ", ".join(f"{fixed_text(value, 3)} at {rate:g}" for rate, value in pairs)


def _told(agreement: Agreement) -> str:
    limits = agreement.bland_altman
    count = cases(len(agreement.pairs))
    if limits is None:
        return f"{count}; no limits of agreement: {agreement.reason or 'not computed'}."
    bias, lower, upper = number_texts([limits.bias, limits.lower, limits.upper])
    unit = agreement.unit
    return f"{count}; bias {bias} {unit}, 95 % limits of agreement {lower} to {upper} {unit}."
