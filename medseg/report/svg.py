"""The parts that plots are drawn from: elements, scales and ticks. All of it is plain text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from medseg.errors import ConfigurationError
from medseg.report.numbers import fixed_text
from medseg.report.report import plain

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_WANTED_TICKS = 5
_NO_CHARACTERS = dict.fromkeys((0xFFFE, 0xFFFF))


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to positions in a drawing.

    Attributes:
        low: value at ``start``.
        high: value at ``end``.
        start: position in the drawing's units.
        end: position; less than ``start`` where values grow upwards.
        ticks: values to mark, ascending.

    Raises:
        ConfigurationError: ``high`` is not more than ``low``.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigurationError(
                f"a scale runs from {self.low} to {self.high}; the end has to lie above the start"
            )

    def __call__(self, value: float) -> float:
        """Where a value lies; values beyond the scale lie at its ends."""
        inside = min(max(value, self.low), self.high)
        return self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start)

    def tick_texts(self) -> list[str]:
        """The ticks as text, with as many decimals as they need to differ."""
        if len(self.ticks) < 2:
            return [f"{tick:g}".replace("-", "−") for tick in self.ticks]
        step = self.ticks[1] - self.ticks[0]
        if max(map(abs, self.ticks)) >= 1e6 or step < 1e-4:
            return [f"{tick:.3g}".replace("-", "−") for tick in self.ticks]
        power = math.floor(math.log10(step) + 1e-9)
        decimals = max(0, -power + (round(step / 10.0**power, 6) == 2.5))
        return [fixed_text(tick, decimals) for tick in self.ticks]


def scale_for(
    values: Iterable[float],
    start: float,
    end: float,
    bounds: tuple[float | None, float | None] = (None, None),
) -> Scale:
    """A scale that holds all values and begins and ends at a tick; ticks are 1, 2, 2.5 or 5 × a power of 10.

    Args:
        values: finite; 0 and 1 are taken where there is none.
        start: position of the lowest value.
        end: position of the highest value.
        bounds: values that the quantity cannot pass, such as 0 and 1 for an overlap.

    Raises:
        ConfigurationError: a value is not finite.
    """
    found = list(values) or [0.0, 1.0]
    if not all(map(math.isfinite, found)):
        raise ConfigurationError("a value to be drawn is not finite; leave it out and say why it is missing")
    low, high = min(found), max(found)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = 0.05 * abs(high) or 0.5
        low, high = low - pad, high + pad
    step = _nice_step((high - low) / _WANTED_TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    least, most = bounds
    if least is not None:
        first = max(first, round(least / step))
    if most is not None:
        last = min(last, round(most / step))
    last = max(last, first + 1)
    return Scale(first * step, last * step, start, end, tuple(n * step for n in range(first, last + 1)))


def element(name: str, *children: str, **attributes: str | float | None) -> str:
    """An element of XML. Children are markup already; see `words` for text.

    Numbers are written with at most two decimals. An underscore in an attribute's name becomes a hyphen and
    one at its end is dropped (``class_``); attributes that are None are left out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_value(value))}"
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(children)
    return f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>"


def words(text: str) -> str:
    """Text as it may stand in an element: escaped, without control characters."""
    return escape(plain(text).translate(_NO_CHARACTERS))


def text_at(x: float, y: float, text: str, *, class_: str | None = None, anchor: str | None = None) -> str:
    """A line of text whose baseline is at (x, y); ``anchor`` is ``middle`` or ``end``."""
    return element("text", words(text), x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line; its look comes from its class."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def drawing(size: tuple[float, float], title: str, description: str, parts: Sequence[str]) -> str:
    """An ``svg`` element for use within a page of HTML, as wide as its place there.

    Colours are left to the page's style: class ``plot`` and those of the parts. Whoever does not see the
    picture gets the title and the description.
    """
    width, height = size
    head = element("title", words(title)) + element("desc", words(description))
    return element(
        "svg", head, *parts, class_="plot", viewBox=f"0 0 {_value(width)} {_value(height)}", role="img"
    )


def x_axis(scale: Scale, top: float, bottom: float, title: str) -> str:
    """Ticks along the bottom, with lines up to ``top``, and the title below them."""
    parts = []
    for tick, text in zip(scale.ticks, scale.tick_texts(), strict=True):
        x = scale(tick)
        parts += [
            line(x, top, x, bottom, "grid"),
            text_at(x, bottom + 15, text, class_="dim", anchor="middle"),
        ]
    middle = (scale.start + scale.end) / 2
    return element("g", *parts, text_at(middle, bottom + 32, title, class_="dim", anchor="middle"))


def y_axis(scale: Scale, left: float, right: float) -> str:
    """Ticks along the left, with lines over to ``right``."""
    parts = []
    for tick, text in zip(scale.ticks, scale.tick_texts(), strict=True):
        y = scale(tick)
        parts += [line(left, y, right, y, "grid"), text_at(left - 6, y + 4, text, class_="dim", anchor="end")]
    return element("g", *parts)


def shortened(text: str, longest: int) -> str:
    """The text, cut to so many characters with an ellipsis at the end."""
    clean = plain(text)
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"


def _nice_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return plain(value).translate(_NO_CHARACTERS)
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
