from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medseg.errors import InputError
from medseg.evaluate.agreement import (
    bland_altman,
    concordance,
    intraclass_correlation,
    volume_agreements,
)
from medseg.evaluate.evaluation import CaseScores, VolumePair

# Peak expiratory flow by two meters, l/min: Bland and Altman, Lancet 1986;1:307.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
# Four judges, six targets: Shrout and Fleiss 1979, table 2.
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def _mean_squares(table):
    """Two-way analysis of variance by its sums, element by element."""
    n, k = len(table), len(table[0])
    grand = sum(map(sum, table)) / (n * k)
    row_means = [sum(row) / k for row in table]
    column_means = [sum(row[j] for row in table) / n for j in range(k)]
    rows = sum(k * (m - grand) ** 2 for m in row_means)
    columns = sum(n * (m - grand) ** 2 for m in column_means)
    total = sum((v - grand) ** 2 for row in table for v in row)
    return rows / (n - 1), columns / (k - 1), (total - rows - columns) / ((n - 1) * (k - 1))


def test_bland_altman_of_the_published_example():
    found = bland_altman(WRIGHT, MINI)
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert found.bias_ci95 == pytest.approx((-22.0, 17.8), abs=0.1)
    # The article takes 2 sd and a standard error of √(3 sd²/n).
    assert (found.lower, found.upper) == pytest.approx((-79.7, 75.5), abs=2)
    assert found.lower_ci95 == pytest.approx((-114.3, -45.1), abs=2)
    assert found.upper_ci95 == pytest.approx((40.9, 110.1), abs=2)


def test_bland_altman_against_scipy():
    x, y = np.random.default_rng(1).normal(10, 3, (2, 12))
    found, d = bland_altman(x, y), x - y
    expected = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    assert found.bias_ci95 == pytest.approx((expected.low, expected.high))
    assert (found.lower + found.upper) / 2 == pytest.approx(found.bias)
    assert found.upper - found.lower == pytest.approx(2 * stats.norm.ppf(0.975) * stats.tstd(d))


def test_bland_altman_turns_with_its_sides():
    a, b = bland_altman(WRIGHT, MINI), bland_altman(MINI, WRIGHT)
    assert (a.bias, a.lower, a.upper) == pytest.approx((-b.bias, -b.upper, -b.lower))


def test_limits_cover_their_parameter():
    random = np.random.default_rng(3)
    inside = 0
    for _ in range(600):
        found = bland_altman(random.normal(1, 2, 15), np.zeros(15))
        inside += found.upper_ci95[0] <= 1 + 1.96 * 2 <= found.upper_ci95[1]
    assert 0.91 < inside / 600 < 0.98


def test_icc_of_the_published_example():
    icc, interval = intraclass_correlation(JUDGES)
    assert icc == pytest.approx(0.29, abs=0.005)
    assert interval == pytest.approx((0.019, 0.761), abs=0.001)


@pytest.mark.parametrize("seed", range(3))
def test_icc_by_hand_worked_analysis_of_variance(seed):
    random = np.random.default_rng(seed)
    table = random.normal(10, 4, (9, 1)) + random.normal(0, 1, (9, 2)) + [0.0, 0.7]
    msr, msc, mse = _mean_squares(table.tolist())
    icc, interval = intraclass_correlation(table)
    assert icc == pytest.approx((msr - mse) / (msr + mse + 2 * (msc - mse) / 9))
    assert interval[0] < icc < interval[1]


def test_icc_of_exact_and_of_constant_ratings():
    assert intraclass_correlation([[1, 1], [2, 2], [5, 5]]) == (1.0, None)
    assert intraclass_correlation([[3, 3], [3, 3], [3, 3]]) == (None, None)


def test_ccc_of_the_published_example():
    # 0.943 with standard error 0.029 is what Stata's concord prints for these data.
    ccc, interval = concordance(WRIGHT, MINI)
    assert ccc == pytest.approx(0.943, abs=0.0005)
    assert interval[0] < ccc < interval[1] and interval == pytest.approx((0.85, 0.98), abs=0.005)


def test_ccc_is_correlation_times_bias_correction():
    x, noise = np.random.default_rng(2).normal(size=(2, 30))
    y = x + noise + 0.5
    scale = x.std() / y.std()
    shift = (x.mean() - y.mean()) / math.sqrt(x.std() * y.std())
    accuracy = 2 / (scale + 1 / scale + shift**2)
    assert concordance(x, y)[0] == pytest.approx(stats.pearsonr(x, y).statistic * accuracy)
    for mine, turned in zip(concordance(x, y), concordance(y, x), strict=True):
        assert mine == pytest.approx(turned)


def test_ccc_interval_covers_the_population_value():
    random, inside = np.random.default_rng(5), 0
    for _ in range(400):
        x = random.normal(0, 1, 40)
        _, interval = concordance(x + random.normal(0.5, 0.5, 40), x)
        inside += interval[0] <= 2 / (1 + 1.25 + 0.25) <= interval[1]
    assert 0.91 < inside / 400 < 0.985


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([1, 2, 4, 8], [1, 2, 4, 8], (1.0, None)),
        ([2, 2, 2, 2], [2, 2, 2, 2], (None, None)),
        ([1, 2, 3, 4], [5, 5, 5, 5], (0.0, None)),
        ([1, -1, 1, -1], [1, 1, -1, -1], (0.0, None)),
    ],
)
def test_ccc_without_an_interval(x, y, expected):
    assert concordance(x, y) == (pytest.approx(expected[0]), None)


def test_ccc_of_three_pairs_has_no_interval():
    ccc, interval = concordance([1, 2, 4], [1, 3, 4])
    assert 0 < ccc < 1 and interval is None


def _case(number, prediction, reference, label="liver"):
    return CaseScores(f"case{number}", (), volumes=(VolumePair(label, prediction, reference),))


def test_volume_agreements():
    pairs = enumerate(zip(WRIGHT, MINI, strict=True), start=1)
    cases = [_case(0, 0.0, 0.0), *(_case(n, a, b) for n, (a, b) in pairs)]
    (found,) = volume_agreements(cases)
    assert found.label == "liver" and len(found.pairs) == 17 and found.pairs[0] == ("case1", 494, 512)
    assert found.bland_altman == bland_altman(WRIGHT, MINI)
    assert found.ccc == concordance(WRIGHT, MINI)[0] and found.reason is None
    assert found.icc == intraclass_correlation(np.column_stack([WRIGHT, MINI]))[0]


def test_volume_agreements_say_why_there_is_none():
    (few,) = volume_agreements([_case(0, 1.0, 1.0), _case(1, 0.0, 2.0)])
    assert few.bland_altman is None and "2 cases" in few.reason and few.pairs[1] == ("case1", 0.0, 2.0)
    (same,) = volume_agreements([_case(n, 2.0, 2.0) for n in range(4)])
    assert same.icc is None and "equal" in same.reason
    (exact,) = volume_agreements([_case(n, n + 1.0, n + 1.0) for n in range(4)])
    assert exact.icc == 1 and exact.ccc == 1 and "interval" in exact.reason
    assert volume_agreements([CaseScores("a", ())]) == ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bland_altman([1, 2], [1, 2]), "at least 3"),
        (lambda: concordance([1, 2, 3], [1, 2, 3, 4]), "one length"),
        (lambda: bland_altman([1, 2, math.nan], [1, 2, 3]), "NaN"),
        (lambda: intraclass_correlation([[1, 2], [3, 4]]), "at least 3"),
        (lambda: intraclass_correlation([[1], [3], [4]]), "2 raters"),
        (lambda: intraclass_correlation([[1, 2], [3, math.inf], [4, 4]]), "finite"),
        (lambda: VolumePair("liver", -1.0, 2.0), "0 or more"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
