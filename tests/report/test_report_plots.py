"""Plots: well-formed, values where they belong, small for many cases, plain for none."""

from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from medseg.errors import ConfigurationError
from medseg.evaluate.agreement import bland_altman
from medseg.evaluate.evaluation import Agreement
from medseg.evaluate.froc import FrocCase, froc
from medseg.report.plots import WIDTH, Difference, Strip, difference_plot, strip_plot
from medseg.report.plots_xy import agreement_plot, froc_plot

HOSTILE = '<script>alert("1")</script>'


def _parsed(svg):
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == ["title", "desc"]
    width, height = map(float, root.get("viewBox").split()[2:])
    for text in root.iter("text"):
        assert 0 <= float(text.get("x")) <= width
        assert 0 <= float(text.get("y")) <= height
    return root


def _titled(root, start, tag="circle"):
    (found,) = [
        e for e in root.iter(tag) if e.find("title") is not None and e.find("title").text.startswith(start)
    ]
    return found


def _grid_lines(root):
    """Tick text → x of its line, read from the drawing itself."""
    return {t.text: float(t.get("x")) for t in root.iter("text") if t.get("text-anchor") == "middle"}


def _class(root, name, tag):
    return [e for e in root.iter(tag) if name in (e.get("class") or "").split()]


def test_a_case_lies_at_its_value():
    points = tuple((f"c{n}", n / 10) for n in range(11))
    root = _parsed(strip_plot([Strip("liver", points, (), 0.5, (0.4, 0.6))], "Dice", bounds=(0, 1)))
    ticks = _grid_lines(root)
    for text in ("0.0", "0.2", "0.4", "0.6", "0.8", "1.0"):
        dot = _titled(root, f"c{round(10 * float(text))}:")
        assert float(dot.get("cx")) == pytest.approx(ticks[text], abs=0.02)
    (box,) = _class(root, "box", "rect")
    edges = [float(box.get("x")), float(box.get("x")) + float(box.get("width"))]
    quartiles = np.interp([0.25, 0.75], [0.2, 0.8], [ticks["0.2"], ticks["0.8"]])
    assert edges == pytest.approx(quartiles.tolist(), abs=0.1)
    (median,) = _class(root, "median", "line")
    assert float(median.get("x1")) == pytest.approx((ticks["0.4"] + ticks["0.6"]) / 2, abs=0.1)
    (interval,) = _class(root, "interval", "line")
    assert [float(interval.get(k)) for k in ("x1", "x2")] == pytest.approx(
        [ticks["0.4"], ticks["0.6"]], abs=0.1
    )
    (diamond,) = _class(root, "mean", "polygon")
    xs = [float(p.split(",")[0]) for p in diamond.get("points").split()]
    assert sum(xs) / 4 == pytest.approx((ticks["0.4"] + ticks["0.6"]) / 2, abs=0.1)
    assert "liver: 11 cases, median 0.50, from 0.00 to 1.00." in root.find("desc").text


def test_equal_values_stand_side_by_side_within_the_row():
    root = _parsed(strip_plot([Strip("a", tuple((f"c{n}", 0.5) for n in range(30)))], "Dice"))
    heights = sorted(float(dot.get("cy")) for dot in root.iter("circle"))
    assert len(set(heights)) == 30
    assert heights[-1] - heights[0] <= 26
    assert len({dot.get("cx") for dot in root.iter("circle")}) == 1


def test_penalties_are_crosses_at_their_value():
    strip = Strip("a", (("x", 0.5), ("y", 0.9)), (("lost", 0.0),), 0.4667)
    root = _parsed(strip_plot([strip], "Precision", bounds=(0, 1)))
    cross = _titled(root, "lost: no value, counts 0", "path")
    x, y = map(float, cross.get("d")[1:].split("l")[0].split())
    assert x + 3.2 == pytest.approx(_grid_lines(root)["0.0"], abs=0.1)
    assert y > 0
    assert "no value" not in [t.text for t in root.iter("text")]
    assert "3 cases, 1 without a value" in [t.text for t in root.iter("text")]


def test_penalties_far_out_stand_in_a_lane_and_do_not_crush_the_scale():
    points = tuple((f"c{n}", 2.0 + n / 5) for n in range(20))
    strip = Strip("a", points, tuple((f"lost{n}", 480.0) for n in range(4)), 82.4, (2.0, 200.0))
    root = _parsed(strip_plot([strip], "HD95 (mm)"))
    assert max(float(dot.get("cx")) for dot in root.iter("circle")) > WIDTH / 2
    crosses = list(root.iter("path"))
    assert len(crosses) == 4
    right = max(x for text, x in _grid_lines(root).items() if text[0].isdigit())
    assert all(float(c.get("d")[1:].split()[0]) > right for c in crosses)
    texts = [t.text for t in root.iter("text")]
    assert "no value" in texts
    assert "24 cases, 4 without a value, mean 82.4" in texts
    assert not _class(root, "mean", "polygon")


def test_many_crosses_become_a_number_and_nothing_but_crosses_is_drawn():
    lost = tuple((f"lost{n:02d}", 480.0) for n in range(12))
    root = _parsed(strip_plot([Strip("a", (), lost, 480.0, (480.0, 480.0))], "HD95 (mm)"))
    assert "12 ×" in [t.text for t in root.iter("text")]
    assert not list(root.iter("circle"))


@pytest.mark.parametrize("values", [np.linspace(0, 1, 10_000), np.ones(10_000), np.r_[np.zeros(9_999), 1.0]])
def test_ten_thousand_cases_stay_small_and_none_is_lost(values):
    strips = [Strip(name, tuple((f"case_{n}", float(v)) for n, v in enumerate(values))) for name in "abc"]
    svg = strip_plot(strips, "Dice", bounds=(0, 1))
    assert len(svg) < 40_000
    root = _parsed(svg)
    assert svg == strip_plot(strips, "Dice", bounds=(0, 1))
    (first, *_) = [g for g in root.iter("g") if g.get("class") == "bars"]
    assert sum(int(bar.find("title").text.split(": ")[1].split()[0]) for bar in first) == 10_000
    assert all(float(bar.get("height")) <= 26 for bar in first)


def test_rows_and_plots_without_cases_say_so():
    root = _parsed(strip_plot([Strip("a", (("x", 1.0),)), Strip("b", ())], "Dice"))
    assert "no cases" in [t.text for t in root.iter("text")]
    assert "b: no cases" in root.find("desc").text
    for svg in (
        strip_plot([], "Dice"),
        strip_plot([Strip("a", ())], "Dice"),
        difference_plot([Difference("a", None)], "Dice"),
        agreement_plot(Agreement("a", (), reason="0 cases")),
        froc_plot({"a": froc([FrocCase((), (), 0)])}),
    ):
        assert _parsed(svg).find("desc").text == "no cases."
        assert "no cases" in svg


def test_names_are_escaped_and_long_ones_cut():
    svg = strip_plot([Strip(HOSTILE * 3, ((HOSTILE, 0.5),))], HOSTILE)
    assert "<script" not in svg
    root = _parsed(svg)
    assert _titled(root, HOSTILE)
    assert max(len(t.text) for t in _class(root, "name", "text")) <= 34


def test_what_is_not_finite_is_refused():
    with pytest.raises(ConfigurationError, match="not finite"):
        strip_plot([Strip("a", (("x", math.nan),))], "Dice")
    with pytest.raises(ConfigurationError, match="not finite"):
        difference_plot([Difference("a", math.inf)], "Dice")
    with pytest.raises(ConfigurationError, match="not finite"):
        agreement_plot(Agreement("a", (("x", math.inf, 1.0),)))


def test_differences_stand_beside_the_line_of_none():
    rows = [Difference("a", 0.1, (0.05, 0.2), "p 0.01"), Difference("b", -0.1), Difference("c", None)]
    root = _parsed(difference_plot(rows, "Difference of Dice"))
    (zero,) = _class(root, "zero", "line")
    ticks = _grid_lines(root)
    assert float(zero.get("x1")) == ticks["0.0"]
    (interval,) = _class(root, "interval", "line")
    assert float(interval.get("x1")) == pytest.approx((ticks["0.0"] + ticks["0.1"]) / 2, abs=0.1)
    assert float(interval.get("x2")) == pytest.approx(ticks["0.2"], abs=0.1)
    assert len(_class(root, "mean", "polygon")) == 2
    told = root.find("desc").text
    assert told == "a: 0.100, 95 % interval 0.050 to 0.200; b: −0.100; c: no cases."


def _agreement(count, label="liver"):
    random = np.random.default_rng(1)
    reference = random.uniform(50, 150, count)
    prediction = reference + random.normal(3, 8, count)
    pairs = tuple(
        (f"c{n}", float(p), float(r)) for n, (p, r) in enumerate(zip(prediction, reference, strict=True))
    )
    return Agreement(label, pairs, bland_altman=bland_altman(prediction, reference))


def test_bias_and_limits_lie_at_their_values():
    agreement = _agreement(40)
    limits = agreement.bland_altman
    root = _parsed(agreement_plot(agreement))
    dots = {dot.find("title").text.split(":")[0]: float(dot.get("cy")) for dot in root.iter("circle")}
    gaps = np.array([p - r for _, p, r in agreement.pairs])
    slope, start = np.polyfit(gaps, [dots[case] for case, _, _ in agreement.pairs], 1)
    assert slope < 0
    (bias,) = _class(root, "bias", "line")
    assert float(bias.get("y1")) == pytest.approx(start + slope * limits.bias, abs=0.1)
    heights = sorted(float(e.get("y1")) for e in _class(root, "limit", "line"))
    assert heights == pytest.approx([start + slope * v for v in (limits.upper, limits.lower)], abs=0.1)
    (band,) = _class(root, "bias", "rect")
    assert float(band.get("y")) == pytest.approx(start + slope * limits.bias_ci95[1], abs=0.1)
    bottom = float(band.get("y")) + float(band.get("height"))
    assert bottom == pytest.approx(start + slope * limits.bias_ci95[0], abs=0.1)
    assert "40 cases; bias" in root.find("desc").text
    means = [(p + r) / 2 for _, p, r in agreement.pairs]
    left = {dot.find("title").text.split(":")[0]: float(dot.get("cx")) for dot in root.iter("circle")}
    assert np.corrcoef(means, [left[case] for case, _, _ in agreement.pairs])[0, 1] == pytest.approx(
        1, abs=1e-6
    )


def test_texts_of_near_limits_do_not_cover_each_other():
    pairs = (*(("c", 100.0, 100.0),) * 3000, ("far", 100.0, 50.0))
    prediction, reference = zip(*(pair[1:] for pair in pairs), strict=True)
    root = _parsed(agreement_plot(Agreement("a", pairs, bland_altman=bland_altman(prediction, reference))))
    heights = [float(t.get("y")) for t in root.iter("text") if t.text.startswith(("upper", "bias", "lower"))]
    assert len(heights) == 3
    assert heights[1] - heights[0] >= 15
    assert heights[2] - heights[1] >= 15


def test_ten_thousand_pairs_become_counts():
    svg = agreement_plot(_agreement(10_000))
    assert len(svg) < 200_000
    root = _parsed(svg)
    (cells,) = [g for g in root.iter("g") if g.get("class") == "cells"]
    assert sum(int(cell.find("title").text.split()[0]) for cell in cells) == 10_000


def test_few_pairs_have_points_and_the_reason():
    root = _parsed(agreement_plot(Agreement("a", (("x", 1.0, 2.0),), reason="1 cases with this label")))
    assert len(list(root.iter("circle"))) == 1
    assert "no limits of agreement: 1 cases with this label" in root.find("desc").text
    assert "not computed" in _parsed(agreement_plot(Agreement("a", (("x", 1.0, 2.0),)))).find("desc").text


def test_froc_marks_the_sensitivity_at_each_rate():
    cases = [FrocCase((0.9, 0.8, 0.5, 0.4), ((1,), (), (2,), ()), 2), FrocCase((0.7,), ((),), 0)]
    curve = froc(cases)
    root = _parsed(froc_plot({"nodule": curve, "empty": froc([FrocCase((), (), 0)])}))
    marks = {dot.find("title").text: dot for dot in root.iter("circle")}
    assert len(marks) == 7
    low, high = marks["nodule: 0.500 at 0.125 per case"], marks["nodule: 1.000 at 8 per case"]
    assert float(low.get("cx")) < float(high.get("cx"))
    scale = {t.text: float(t.get("y")) - 4 for t in root.iter("text") if t.get("text-anchor") == "end"}
    assert float(high.get("cy")) == pytest.approx(scale["1.0"], abs=0.1)
    assert float(low.get("cy")) == pytest.approx((scale["0.4"] + scale["0.6"]) / 2, abs=0.1)
    columns = _grid_lines(root)
    assert float(marks["nodule: 1.000 at 1 per case"].get("cx")) == pytest.approx(columns["1"], abs=0.1)
    (route,) = root.iter("polyline")
    places = [tuple(map(float, p.split(","))) for p in route.get("points").split()]
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in itertools.pairwise(places))
    assert "nodule: mean" in root.find("desc").text
