"""The parts of a plot: scales, ticks, escaping."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import ConfigurationError
from medseg.report.svg import Scale, drawing, element, scale_for, shortened, text_at, words

FINITE = st.floats(-1e9, 1e9, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-9)


@given(st.lists(FINITE, min_size=1, max_size=20))
def test_a_scale_holds_its_values_between_evenly_spaced_ticks(values):
    scale = scale_for(values, 0.0, 100.0)
    slack = 1e-6 * (scale.high - scale.low)
    assert scale.low - slack <= min(values)
    assert max(values) <= scale.high + slack
    assert (scale.ticks[0], scale.ticks[-1]) == (scale.low, scale.high)
    steps = [b - a for a, b in zip(scale.ticks, scale.ticks[1:], strict=False)]
    assert min(steps) == pytest.approx(max(steps), rel=1e-6)
    assert 1 <= len(steps) <= 7
    mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
    assert any(mantissa == pytest.approx(nice, rel=1e-6) for nice in (1, 2, 2.5, 5, 10))
    assert [scale(v) for v in (scale.low, scale.high)] == pytest.approx([0.0, 100.0])


@pytest.mark.parametrize(
    ("values", "bounds", "texts"),
    [
        ([0.0, 1.0], (0, 1), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0.91, 0.99], (0, 1), ["0.90", "0.92", "0.94", "0.96", "0.98", "1.00"]),
        ([1.0, 1.0], (0, 1), ["0.94", "0.96", "0.98", "1.00"]),
        ([0.0], (0, 1), ["0.0", "0.2", "0.4", "0.6"]),
        ([-12.0, 9.0], (None, None), ["−15", "−10", "−5", "0", "5", "10"]),
        ([0.0, 12.0], (None, None), ["0.0", "2.5", "5.0", "7.5", "10.0", "12.5"]),
        ([], (None, None), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0.0, 4e6], (None, None), ["0", "1e+06", "2e+06", "3e+06", "4e+06"]),
    ],
)
def test_ticks_are_numbers_that_people_use(values, bounds, texts):
    assert scale_for(values, 0, 1, bounds).tick_texts() == texts


def test_values_beyond_a_scale_lie_at_its_ends():
    scale = Scale(0.0, 2.0, 10.0, 30.0)
    assert [scale(v) for v in (-5, 0, 1, 2, 9, math.inf)] == [10, 10, 20, 30, 30, 30]
    assert Scale(0.0, 2.0, 30.0, 10.0)(0.5) == 25
    assert Scale(0.0, 2.0, 0.0, 1.0, (-1.5,)).tick_texts() == ["−1.5"]


def test_scales_without_length_or_with_nan_are_refused():
    with pytest.raises(ConfigurationError, match=r"runs from 1\.0 to 1\.0"):
        Scale(1.0, 1.0, 0.0, 1.0)
    with pytest.raises(ConfigurationError, match="not finite"):
        scale_for([1.0, math.nan], 0.0, 1.0)


@given(st.text())
def test_any_text_gives_well_formed_xml(text):
    made = drawing((10, 10), text, text, [text_at(1, 2, text, class_=text), element("g", x=text)])
    root = ElementTree.fromstring(made)
    assert [child.tag for child in root] == ["title", "desc", "text", "g"]


def test_elements_numbers_and_names():
    assert (
        element("a", class_="b", text_anchor=None, x=-0.001, y=1.005, z=3)
        == '<a class="b" x="0" y="1" z="3"/>'
    )
    assert element("g", element("i"), fill_opacity=0.25) == '<g fill-opacity="0.25"><i/></g>'
    assert words("<a>\x00&\ufffe") == "&lt;a&gt; &amp;"
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"
