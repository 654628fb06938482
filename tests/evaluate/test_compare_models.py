from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from medseg.evaluate.aggregate import AggregateOptions
from medseg.evaluate.compare_models import compare_models, holm, signed_rank
from medseg.evaluate.evaluation import CaseScores
from medseg.evaluate.score import Score

FAST = AggregateOptions(draws=500)


def _cases(values, metric="dice", patient=None, reason="absent in both"):
    return [
        CaseScores(
            f"c{n}",
            (Score(metric, v, "liver", None if v is not None else reason),),
            patient_id=None if patient is None else patient(n),
            diagonal_mm=100.0,
        )
        for n, v in enumerate(values)
    ]


def _by_all_signs(differences):
    """The exact p by trying every assignment of signs, after Pratt."""
    d = np.asarray(differences, dtype=float)
    ranks = stats.rankdata(np.abs(d))[d != 0]
    seen = ranks[d[d != 0] > 0].sum()
    extreme = min(seen, ranks.sum() - seen)
    sums = [float(np.dot(signs, ranks)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return extreme, min(1.0, 2 * np.mean([s <= extreme + 1e-9 for s in sums]))


@pytest.mark.parametrize(
    "differences",
    [
        [0.1, 0.2, -0.05, 0.3, 0.4, 0.15],
        [0, 0, 1, 2, -3, 4, 5, 6],
        [1, 1, -1, 2, 2, 2, -3],
        [-1, -2, -3, -4, -5, -6, -7],
    ],
)
def test_exact_p_against_all_signs(differences):
    assert signed_rank(np.array(differences, dtype=float)) == pytest.approx(_by_all_signs(differences))


@pytest.mark.parametrize("n", [12, 80])
def test_p_against_scipy(n):
    d = np.random.default_rng(n).normal(0.3, 1, n)
    expected = stats.wilcoxon(d, method="exact" if n == 12 else "asymptotic")
    assert signed_rank(d) == pytest.approx((expected.statistic, expected.pvalue))


def test_rounding_makes_no_order_among_ties():
    assert signed_rank(np.array([0.1 + 0.2, -0.3, 0.3, 0.3, 0.3, 0.3, -0.3]))[0] == 8.0


def test_holm_of_a_worked_example():
    found = holm({0: 0.01, 1: 0.04, 2: 0.03, 3: 0.005})
    assert [found[n] for n in range(4)] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm({0: 0.9, 1: 0.8}) == {0: 1.0, 1: 1.0} and holm({}) == {}


def test_compare_models():
    first = [0.9, 0.8, 0.85, 0.7, 0.95, 0.6, 0.75]
    second = [0.8, 0.75, 0.8, 0.72, 0.85, 0.5, 0.65]
    (found,) = compare_models(_cases(first), _cases(second), FAST)
    assert (found.n, found.n_patients, found.n_zero) == (7, 7, 0)
    assert found.mean_difference == pytest.approx(np.mean(np.subtract(first, second)))
    assert found.ci95[0] < found.mean_difference < found.ci95[1]
    assert found.p == pytest.approx(2 * 2 / 2**7) and found.p_holm == found.p
    (turned,) = compare_models(_cases(second), _cases(first), FAST)
    assert turned.p == found.p and turned.mean_difference == pytest.approx(-found.mean_difference)


def test_equal_models_have_no_test():
    values = [0.9, 0.8, 0.85, 0.7, 0.95, 0.6, 0.75]
    (found,) = compare_models(_cases(values), _cases(values), FAST)
    assert found.p is None and found.p_holm is None and found.n_zero == 7 and found.mean_difference == 0
    assert "at least 6" in found.reason and found.ci95 == (0, 0)


def test_cases_of_one_patient_are_one_difference():
    first, second = [0.1 * n for n in range(9)], [0.05 * n for n in range(9)]
    patient = lambda n: f"p{n // 3}"  # noqa: E731
    (found,) = compare_models(_cases(first, patient=patient), _cases(second, patient=patient), FAST)
    assert (found.n, found.n_patients, found.p) == (9, 3, None) and "3 patients" in found.reason


def test_only_common_cases_and_metrics():
    first = [*_cases([0.5, 0.6]), CaseScores("alone", (Score("dice", 0.1, "liver"),))]
    second = _cases([0.4, 0.6]) + _cases([None] * 0)
    (found,) = compare_models(first, second, FAST)
    assert found.n == 2 and found.mean_difference == pytest.approx(0.05)
    assert compare_models(first, _cases([3.0, 4.0], metric="hd95_max_mm"), FAST) == ()
    assert compare_models([], []) == ()


def test_rightly_left_out_counts_as_perfect_beside_a_false_positive():
    first = _cases([None, None, 0.8])
    second = _cases([0.0, None, 0.8])
    (found,) = compare_models(first, second, FAST)
    assert found.n == 2 and found.mean_difference == pytest.approx(0.5)
    missed = _cases([None, 2.0], metric="hd95_max_mm", reason="missed")
    other = _cases([4.0, 2.0], metric="hd95_max_mm")
    (penalised,) = compare_models(missed, other, FAST)
    assert penalised.mean_difference == pytest.approx(48.0)


def test_nothing_to_compare_in_common():
    (found,) = compare_models(_cases([None]), _cases([None]), FAST)
    assert (found.n, found.mean_difference, found.ci95, found.p) == (0, None, None, None)
