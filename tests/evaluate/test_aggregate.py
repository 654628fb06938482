from __future__ import annotations

import statistics

import numpy as np
import pytest

from medseg.errors import ConfigurationError, InputError
from medseg.evaluate.aggregate import (
    AggregateOptions,
    aggregate,
    bootstrap_means,
    counted_value,
    subgroups,
)
from medseg.evaluate.direction import best, direction
from medseg.evaluate.evaluation import CaseScores, Evaluation, Summary
from medseg.evaluate.score import Score

FAST = AggregateOptions(draws=500)
ABSENT, MISSED, FALSE = "absent in both", "missed", "false positive: the reference has none"


def case(case_id, value, *, reason=None, metric="dice", patient=None, diagonal_mm=100.0, label="liver"):
    return CaseScores(case_id, (Score(metric, value, label, reason),), patient, diagonal_mm=diagonal_mm)


def test_numbers_against_the_standard_library():
    values = [0.9, 0.4, 0.75, 0.81, 0.66]
    (found,) = aggregate([case(str(n), v) for n, v in enumerate(values)], FAST)
    assert (found.label, found.metric, found.n) == ("liver", "dice", 5)
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.median == statistics.median(values)
    assert found.sd == pytest.approx(statistics.stdev(values))
    assert found.iqr == pytest.approx(tuple(statistics.quantiles(values, n=4, method="inclusive")[::2]))
    assert (found.minimum, found.maximum) == (0.4, 0.9)
    assert found.ci95[0] < found.mean < found.ci95[1]


def test_a_miss_is_never_dropped():
    cases = [case("a", 2.0, metric="hd95_max_mm"), case("b", None, reason=MISSED, metric="hd95_max_mm")]
    (found,) = aggregate(cases, FAST)
    assert (found.n, found.n_penalised, found.mean) == (2, 1, 51.0)
    (given,) = aggregate(cases, AggregateOptions(penalties={"hd95_max_mm": 374.0}, draws=500))
    assert given.mean == 188.0
    (false,) = aggregate([case("a", 1.0), case("b", None, reason=FALSE)], FAST)
    assert (false.mean, false.n_penalised) == (0.5, 1)


def test_absent_and_undefined_are_counted_and_not_averaged():
    cases = [
        case("a", 0.8),
        case("b", None, reason=ABSENT),
        case("c", None, reason="the reference is empty"),
        CaseScores("d", ()),
    ]
    (found,) = aggregate(cases, FAST)
    assert (found.n, found.mean, found.n_absent, found.n_undefined) == (1, 0.8, 2, 1)
    assert found.sd is None and found.ci95 is None


def test_nothing_to_average():
    (found,) = aggregate([case("a", None, reason=ABSENT)], FAST)
    assert found == Summary("liver", "dice", n=0, n_absent=1) and found.iqr is None
    assert aggregate([]) == ()


@pytest.mark.parametrize(
    ("metric", "diagonal_mm", "expected"),
    [
        ("hd95_max_mm", 50.0, (50.0, "penalised")),
        ("hd95_max_mm", None, (None, "undefined")),
        ("nsd_1mm", 50.0, (0.0, "penalised")),
        ("volume_error_percent", 50.0, (None, "undefined")),
    ],
)
def test_penalties_unless_named(metric, diagonal_mm, expected):
    assert counted_value(Score(metric, None, "a", MISSED), diagonal_mm, {}) == expected
    assert counted_value(Score(metric, None, "a", MISSED), diagonal_mm, {metric: 7}) == (7, "penalised")


def test_instances_are_not_mixed_in():
    scores = (Score("dice", 0.5, "lesion"), Score("dice", 0.1, "lesion", instance=1))
    (found,) = aggregate([CaseScores("a", scores)], FAST)
    assert (found.n, found.mean) == (1, 0.5)


def test_interval_covers_the_mean_of_independent_cases():
    random, inside = np.random.default_rng(0), 0
    for _ in range(200):
        values = random.normal(0.8, 0.1, (40, 1))
        ((lower, upper),) = bootstrap_means(values, [str(n) for n in range(40)], FAST)
        inside += lower <= 0.8 <= upper
    assert 0.88 < inside / 200 < 0.99


def test_interval_against_a_loop():
    values = np.array([[0.1], [0.9], [0.5], [0.7], [0.2], [0.95]])
    clusters = ["a", "a", "b", "c", "c", "d"]
    random = np.random.default_rng(9)
    names = sorted(set(clusters))
    means = []
    for _ in range(6000):
        drawn = random.choice(names, size=len(names))
        rows = [row for name in drawn for row, cluster in enumerate(clusters) if cluster == name]
        means.append(values[rows].mean())
    (found,) = bootstrap_means(values, clusters, AggregateOptions(draws=6000))
    assert found == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.02)


def test_cases_of_one_patient_are_drawn_together():
    values = [0.2, 0.2, 0.2, 0.9, 0.9, 0.9, 0.5, 0.5, 0.5]
    single = [case(str(n), v) for n, v in enumerate(values)]
    grouped = [case(str(n), v, patient=f"p{n // 3}") for n, v in enumerate(values)]
    (a,), (b,) = aggregate(single), aggregate(grouped)
    assert a.mean == b.mean
    assert b.ci95[1] - b.ci95[0] > 1.3 * (a.ci95[1] - a.ci95[0])


def test_same_seed_same_interval_in_any_order():
    cases = [case(f"c{n}", 0.1 * n) for n in range(8)]
    (a,), (b,) = aggregate(cases, FAST), aggregate(cases[::-1], FAST)
    (other,) = aggregate(cases, AggregateOptions(draws=500, seed=1))
    assert a.ci95 == pytest.approx(b.ci95) and other.ci95 != a.ci95


def test_draws_without_a_value_are_left_out():
    values = np.array([[0.5, np.nan], [0.7, np.nan], [0.6, 0.4], [0.9, 0.8]])
    full, part = bootstrap_means(values, list("abcd"), FAST)
    assert full is not None and part == pytest.approx((0.4, 0.8))
    assert bootstrap_means(values, list("aaaa"), FAST) == [None, None]


def test_subgroups():
    cases = [case(f"c{n}", 0.1 * n) for n in range(4)]
    rows = {"c0": {"scanner": "A"}, "c1": {"scanner": "B"}, "c2": {"scanner": "A", "age": "old"}, "x": {}}
    found = subgroups(cases, rows, FAST)
    assert [(g.attribute, g.value, g.case_ids) for g in found] == [
        ("scanner", "A", ("c0", "c2")),
        ("scanner", "B", ("c1",)),
        ("scanner", "not given", ("c3",)),
        ("age", "not given", ("c0", "c1", "c3")),
        ("age", "old", ("c2",)),
    ]
    assert found[0].summaries[0].mean == pytest.approx(0.1)


def test_subgroups_refuse():
    cases = [case(f"c{n}", 0.5) for n in range(30)]
    with pytest.raises(InputError, match="none of the 30 cases"):
        subgroups(cases, {"other": {"scanner": "A"}})
    with pytest.raises(InputError, match="30 values"):
        subgroups(cases, {f"c{n}": {"age": str(n)} for n in range(30)})


def test_twice_is_refused():
    with pytest.raises(InputError, match="occurs twice"):
        aggregate([case("a", 0.5), case("a", 0.6)])
    scores = (Score("dice", 0.5, "liver"), Score("dice", 0.6, "liver"))
    with pytest.raises(InputError, match="twice"):
        aggregate([CaseScores("a", scores)])


@pytest.mark.parametrize(
    "options", [{"penalties": {"dice": float("nan")}}, {"draws": 10}, {"seed": -1}], ids=str
)
def test_options_refuse(options):
    with pytest.raises(ConfigurationError, match="expected"):
        AggregateOptions(**options)


@pytest.mark.parametrize(
    ("metric", "way", "perfect"),
    [
        ("dice", "higher", 1.0),
        ("hd95_max_mm", "lower", 0.0),
        ("volume_error_ml", "zero", 0.0),
        ("false_positive_volume_ml", "lower", 0.0),
        ("nsd_1mm", "higher", 1.0),
    ],
)
def test_direction(metric, way, perfect):
    assert (direction(metric), best(metric)) == (way, perfect)


def test_evaluation_finds_its_summaries():
    summaries = aggregate([case("a", 0.5), case("b", 0.6, label="spleen")], FAST)
    evaluation = Evaluation((), summaries=summaries, definitions={"dice": "overlap"})
    assert evaluation.labels == ("liver", "spleen") and evaluation.metrics == ("dice",)
    assert evaluation.summary("spleen", "dice").mean == 0.6
    with pytest.raises(InputError, match="liver, spleen"):
        evaluation.summary("lung", "dice")
    with pytest.raises(TypeError):
        evaluation.definitions["dice"] = "other"
