"""The page of an evaluation: self-contained, escaped, whole, the worst first."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from medseg.evaluate.definitions import DEFINITIONS
from medseg.evaluate.evaluation import Agreement, CaseScores, Comparison, Evaluation, Failure, Summary
from medseg.evaluate.froc import FrocCase, froc
from medseg.evaluate.panoptic import PanopticQuality
from medseg.evaluate.pooled import PooledDetection
from medseg.evaluate.score import Score
from medseg.report.evaluation_html import evaluation_html
from medseg.report.evaluation_tables import (
    agreement_grid,
    all_numbers,
    case_grid,
    comparison_grid,
    one_sided,
    overview,
    rank_cases,
)
from medseg.report.figures import Picture
from medseg.report.metric_names import (
    better,
    main_metrics,
    metric_heading,
    ranking_metric,
    value_bounds,
)
from medseg.report.report import NOTICE

HOSTILE = '<script>alert("1")</script>'
VOID = {"meta", "img", "br", "wbr"}
PICTURE = Picture("axial", 'Axial "one"', "Axial <one>, left is R", b"\x89PNG", 300)


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _case(case_id, *scores, **more):
    return CaseScores(case_id, tuple(Score(m, v, label, r) for m, v, label, r in scores), **more)


@pytest.fixture(scope="module")
def page(evaluation):
    curve = froc([FrocCase((0.9, 0.5), ((1,), ()), 2)])
    pooled = PooledDetection("nodule", PanopticQuality(0.8, 1, 1, 1), {0.5: 0.505}, curve)
    text = evaluation_html(evaluation, {"case_005": PICTURE, "case_000": PICTURE}, [pooled])
    return text, _Page(text)


def test_page_is_whole_and_needs_nothing_else(page):
    text, seen = page
    policies = [v for t, n, v in seen.attributes if t == "meta" and n == "content" and "default-src" in v]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert not {"script", "link", "iframe", "object", "form", "one"} & set(seen.tags)
    assert {v for _, name, v in seen.attributes if name == "src"} == {"data:image/png;base64,iVBORw=="}
    assert not re.search(r"https?://|@import|url\(", text)
    assert not [name for _, name, _ in seen.attributes if name.startswith("on")]
    targets = [value for _, name, value in seen.attributes if name == "href"]
    assert targets
    assert {t[1:] for t in targets} <= {value for _, name, value in seen.attributes if name == "id"}


def test_parts_stand_in_their_order_with_failures_first(page):
    text, seen = page
    order = [value for tag, name, value in seen.attributes if tag == "h2" and name == "id"]
    assert order == [
        "failures", "summary", "distributions", "volumes", "objects", "models", "worst", "subgroups",
        "numbers", "definitions", "provenance",
    ]  # fmt: skip
    assert text.index(NOTICE) < text.index("<header>") < text.index('id="failures"')
    shown = "".join(seen.text)
    assert "40 of 42" in shown
    assert "case_<901>: the file ends after 12 bytes" in shown
    assert "2 of 40: case_001, case_021" in shown
    assert "2025-01-31 08:15:00 UTC" in shown
    assert "medseg 0.1.0; numpy 2.0.0" in shown
    assert "ab" * 32 in shown


def test_worst_cases_come_first_and_those_with_pictures_are_shown(page):
    text, _ = page
    ids = re.findall(r'<section class="card">\s*<h3>(\S+)', text)
    assert sorted(ids[:3]) == ["case_005", "case_018", "case_031"]
    assert ids[-1] == "case_000"
    assert len(ids) == 11
    assert text.count("<img ") == 2


def test_the_summary_has_mean_interval_median_and_misses(evaluation, page):
    grid = overview(evaluation)
    assert grid.headers[:3] == ("Cases", "Missed", "Dice")
    row = next(row for row in grid.rows if row.name == "left adrenal gland")
    found = evaluation.summary("left adrenal gland", "dice")
    assert re.fullmatch(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", row.cells[2].text)
    assert row.cells[2].text.startswith(f"{found.mean:.3f} [{found.ci95[0]:.3f}, {found.ci95[1]:.3f}]")
    assert row.cells[2].small == f"median {found.median:.3f}"
    assert (row.cells[1].text, row.cells[1].bad) == ("3", True)
    assert row.cells[1].hint == "case_005, case_018, case_031"
    hd95 = row.cells[grid.headers.index("HD95 (max) (mm)")]
    assert hd95.small.endswith("3 penalised")
    spleen = next(row for row in grid.rows if row.name == "spleen")
    assert spleen.cells[0].text == "37"
    assert spleen.cells[2].hint == "in no number: 3 on neither side"


def test_same_evaluation_same_page(evaluation, page):
    assert evaluation_html(evaluation) == evaluation_html(evaluation)


def test_everything_from_outside_is_escaped():
    case = _case(HOSTILE, ("dice", None, HOSTILE, f"missed {HOSTILE}"), ("iou", 0.5, HOSTILE, None))
    case = dataclasses.replace(case, warnings=(HOSTILE,))
    evaluation = Evaluation(
        (case,),
        (Failure(HOSTILE, HOSTILE, HOSTILE),),
        (Summary(HOSTILE, "dice", 1, mean=0.0, median=0.0), Summary(HOSTILE, HOSTILE, 0)),
        (Agreement(HOSTILE, ((HOSTILE, 1.0, 2.0),), reason=HOSTILE),),
        (Comparison(HOSTILE, HOSTILE, 1, mean_difference=0.1, reason=HOSTILE),),
        definitions={HOSTILE: HOSTILE},
        options={HOSTILE: [HOSTILE, True, None]},
        provenance={"versions": {HOSTILE: 1.5}},
    )
    picture = dataclasses.replace(PICTURE, caption=HOSTILE, description=HOSTILE)
    text = evaluation_html(evaluation, {HOSTILE: picture})
    assert "<script" not in text
    assert HOSTILE in "".join(_Page(text).text)
    assert "yes" in text


def test_an_evaluation_without_cases_says_so():
    text = evaluation_html(Evaluation(()))
    shown = "".join(_Page(text).text)
    assert "No cases were compared." in shown
    assert "Nothing was recorded." in shown
    assert not {"failures", "distributions", "worst"} & set(re.findall(r'id="(\w+)"', text))
    only = Evaluation((), tuple(Failure(f"c{n}", "InputError", "no prediction") for n in range(20)))
    text = evaluation_html(only)
    assert "0 of 20" in text
    assert "20 cases, each with its reason" in text


def test_labels_without_a_value_are_dashes_with_reasons():
    case = _case("a", ("dice", None, "x", "absent in both"), ("hd95_max_mm", None, "x", "pixel size unknown"))
    summaries = Summary("x", "dice", 0, n_absent=1), Summary("x", "hd95_max_mm", 0, n_undefined=1)
    evaluation = Evaluation((case,), summaries=summaries)
    assert rank_cases(evaluation) == ()
    (row,) = overview(evaluation).rows
    assert [cell.text for cell in row.cells] == ["0", "0", "–", "–", "0"]
    assert row.cells[3].hint == "in no number: 1 undefined"
    assert all_numbers(evaluation, "x").rows[0].cells[0].text == "–"
    assert "no cases" in evaluation_html(evaluation)


def test_cases_are_ranked_by_their_worst_label_then_by_their_mean():
    cases = (
        _case("a", ("dice", 0.9, "x", None), ("dice", 0.5, "y", None)),
        _case("b", ("dice", 0.6, "x", None), ("dice", 0.5, "y", None)),
        _case("c", ("dice", None, "x", "missed: nothing there"), ("dice", 0.99, "y", None)),
        _case("d", ("dice", None, "x", "absent in both"), ("dice", 0.7, "y", None)),
        _case("e", ("dice", 0.6, "x", None), ("dice", 0.5, "y", None)),
    )
    evaluation = Evaluation(cases, summaries=(Summary("x", "dice", 3), Summary("y", "dice", 4)))
    ranked = rank_cases(evaluation)
    assert [r.case_id for r in ranked] == ["c", "b", "e", "a", "d"]
    assert (ranked[0].label, ranked[0].value, ranked[0].reason) == ("x", None, "missed: nothing there")
    assert (ranked[3].label, ranked[3].value) == ("y", 0.5)
    assert "missed: nothing there" in evaluation_html(evaluation)


@pytest.mark.parametrize(("metric", "order"), [("assd_mm", ["a", "b"]), ("volume_error_ml", ["a", "b"])])
def test_ranking_knows_which_way_a_metric_gets_better(metric, order):
    cases = (
        _case("a", (metric, -9.0 if "volume" in metric else 9.0, "x", None)),
        _case("b", (metric, 2.0, "x", None)),
    )
    assert [r.case_id for r in rank_cases(Evaluation(cases, summaries=(Summary("x", metric, 2),)))] == order


def test_penalties_are_those_of_the_options():
    cases = (
        _case("a", ("assd_mm", None, "x", "missed"), diagonal_mm=300.0),
        _case("b", ("assd_mm", 50.0, "x", None)),
    )
    summaries = (Summary("x", "assd_mm", 2),)
    assert rank_cases(Evaluation(cases, summaries=summaries))[0].case_id == "a"
    mild = Evaluation(cases, summaries=summaries, options={"penalties": {"assd_mm": 10.0}})
    assert rank_cases(mild)[0].case_id == "b"
    odd = Evaluation(cases, summaries=summaries, options={"penalties": "the diagonal"})
    assert rank_cases(odd)[0].case_id == "a"


def test_missed_and_found_in_vain_come_from_volumes_or_reasons(evaluation):
    assert one_sided(evaluation, "left adrenal gland") == (["case_005", "case_018", "case_031"], [])
    cases = _case("a", ("hd95_max_mm", None, "x", "false positive: nothing to find")), _case("b")
    assert one_sided(Evaluation(cases), "x") == ([], ["a"])
    grid = case_grid(cases[0], ["hd95_max_mm", "dice"], "x", 5)
    assert [cell.bad for cell in grid.rows[0].cells] == [True, False]
    assert grid.rows[0].cells[1].hint == "not scored"


def test_tables_of_agreement_and_of_two_models(evaluation):
    grid = agreement_grid(evaluation.agreements)
    assert grid.headers[1] == "Bias (ml)"
    assert re.fullmatch(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", grid.rows[0].cells[4].text)
    few = agreement_grid([Agreement("x", (("a", 1.0, 2.0),), reason="1 cases")])
    assert [cell.text for cell in few.rows[0].cells] == ["1", *["–"] * 5]
    assert few.rows[0].cells[1].hint == "1 cases"
    rows = [
        Comparison("x", "dice", 9, 7, 1, 0.25, (0.125, 0.375), 3.0, 0.00001, 0.04),
        Comparison("y", "dice", 0, reason="no pair"),
    ]
    grid = comparison_grid(rows)
    assert [cell.text for cell in grid.rows[0].cells] == [
        "9",
        "1",
        "0.250 [0.125, 0.375]",
        "< 0.001",
        "0.040",
        "",
    ]
    assert [cell.text for cell in grid.rows[1].cells] == ["0", "0", "–", "–", "–", "no pair"]
    assert "Why no test" not in comparison_grid(rows[:1]).headers
    text = evaluation_html(Evaluation((), comparisons=tuple(rows)))
    assert "no test" in text
    assert "p 0.040" in text
    assert "p &lt; 0.001" in evaluation_html(
        Evaluation((), comparisons=(dataclasses.replace(rows[0], p_holm=1e-5),))
    )


def test_many_labels_and_cases_stay_small():
    random = np.random.default_rng(0)
    labels = [f"organ {n}" for n in range(30)]
    cases = tuple(
        _case(f"case_{n:04d}", *(("dice", float(random.beta(20, 2)), label, None) for label in labels))
        for n in range(500)
    )
    summaries = tuple(Summary(label, "dice", 500, mean=0.9, median=0.9) for label in labels)
    agreements = tuple(Agreement(label, (("a", 1.0, 2.0),), reason="1 cases") for label in labels)
    text = evaluation_html(Evaluation(cases, summaries=summaries, agreements=agreements))
    assert len(text) < 600_000
    assert "18 more labels" in text
    assert "and 22 more" in text


@pytest.mark.parametrize(
    ("metric", "heading"),
    [
        ("dice", "Dice"),
        ("hd95_max_mm", "HD95 (max) (mm)"),
        ("hd95_surfel_mm", "HD95 (surfel) (mm)"),
        ("hausdorff_mm", "Hausdorff distance (mm)"),
        ("nsd_1mm", "Surface Dice at 1 mm"),
        ("nsd_surfel_2.5mm", "Surface Dice at 2.5 mm (surfel)"),
        ("boundary_iou_1mm", "Boundary IoU at 1 mm"),
        ("volume_error_percent", "Volume error (%)"),
        ("false_negative_volume_ml", "False negative volume (ml)"),
        ("odd", "Odd"),
        ("_", "_"),
    ],
)
def test_metrics_have_names_for_people(metric, heading):
    assert metric_heading(metric) == heading


def test_every_metric_of_compare_has_a_name_and_bounds():
    for name in DEFINITIONS:
        metric = name.replace("_Tmm", "_2mm")
        assert "_" not in metric_heading(metric)
        assert better(metric).endswith("is better")
    assert value_bounds("dice") == value_bounds("nsd_2mm") == (0.0, 1.0)
    assert value_bounds("assd_mm") == (0.0, None)
    assert value_bounds("volume_error_ml") == (None, None)


def test_the_main_metrics():
    metrics = ["iou", "volume_error_ml", "hd95_surfel_mm", "hd95_max_mm", "nsd_1mm", "nsd_2mm", "dice"]
    assert main_metrics(metrics) == ["dice", "nsd_1mm", "hd95_max_mm", "volume_error_ml"]
    assert main_metrics(metrics, 2) == ["dice", "nsd_1mm"]
    assert main_metrics(["hd95_surfel_mm", "dice"]) == ["dice", "hd95_surfel_mm"]
    assert main_metrics(["odd", "other"], 1) == ["odd"]
    assert ranking_metric(metrics) == "dice"
    assert ranking_metric(["assd_mm", "sensitivity"]) == "sensitivity"
    assert ranking_metric(["assd_mm"]) == "assd_mm"
    assert ranking_metric([]) is None
