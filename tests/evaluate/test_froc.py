"""FROC by hand, by a loop over thresholds, and against MONAI."""

import numpy as np
import pytest

from medseg.errors import ConfigurationError, InputError
from medseg.evaluate.froc import RATES, FrocCase, froc, froc_case
from medseg.instances.match import Match, Matches


def random_cases(seed, n=12, distinct=True):
    random = np.random.default_rng(seed)
    cases = []
    for _ in range(n):
        n_reference = int(random.integers(0, 5))
        hits = tuple(
            (int(random.integers(1, n_reference + 1)),) if n_reference and random.random() < 0.4 else ()
            for _ in range(random.integers(0, 9))
        )
        scores = random.random(len(hits)) if distinct else random.integers(0, 4, len(hits)) / 4
        cases.append(FrocCase(tuple(scores.tolist()), hits, n_reference))
    return cases


def working_points(cases):
    """False positives a scan and sensitivity at each score, by counting."""
    points = [(0.0, 0.0)]
    total = sum(case.n_reference for case in cases)
    for level in sorted({score for case in cases for score in case.scores}, reverse=True):
        false, found = 0, set()
        for number, case in enumerate(cases):
            for score, hit in zip(case.scores, case.hits, strict=True):
                if score >= level:
                    false += not hit
                    found |= {(number, reference) for reference in hit}
        points.append((false / len(cases), len(found) / total))
    return points


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("distinct", [True, False])
def test_equals_a_loop_over_thresholds(seed, distinct):
    cases = random_cases(seed, distinct=distinct)
    points = working_points(cases)
    curve = froc(cases)
    drawn = np.stack([curve.false_positives_per_scan, curve.sensitivity], axis=1)
    assert np.allclose(np.unique(drawn.round(9), axis=0), np.unique(np.round(points, 9), axis=0))
    expected = [max(y for x, y in points if x <= rate) for rate in RATES]
    assert curve.sensitivities == pytest.approx(tuple(expected))
    assert curve.mean == pytest.approx(np.mean(expected))
    assert list(curve.sensitivities) == sorted(curve.sensitivities)


def test_by_hand():
    cases = [
        FrocCase((0.9, 0.8, 0.7, 0.6), ((1,), (), (1,), ()), 2),
        FrocCase((0.85, 0.5), ((), (3, 4)), 2),
    ]
    curve = froc(cases, [0.0, 0.5, 1.0, 1.4, 1.5, 100])
    assert curve.sensitivities == (0.25, 0.25, 0.25, 0.25, 0.75, 0.75)
    assert curve.false_positives_per_scan.tolist() == [0, 0, 0.5, 1, 1.5, 1.5]
    line = froc(cases, [0.0, 0.5, 1.25, 1.5, 100], interpolate=True)
    assert line.sensitivities == pytest.approx((0.25, 0.25, 0.25, 0.75, 0.75))


def test_between_two_points_the_line_is_read_where_asked():
    cases = [FrocCase((0.9, 0.8, 0.5), ((1,), (), (2,)), 2), FrocCase((0.8,), ((2,),), 2)]
    assert froc(cases, [0.25]).sensitivities == (0.25,)
    assert froc(cases, [0.25], interpolate=True).sensitivities == (0.375,)


@pytest.mark.slow
def test_equals_monai_where_both_interpolate():
    """MONAI leaves the lowest threshold out, so one more case holds a second hit there."""
    monai = pytest.importorskip("monai.metrics.froc")
    cases = [*random_cases(3, 30), FrocCase((0.99, -1.0), ((1,), (1,)), 1)]
    false = np.array([s for c in cases for s, h in zip(c.scores, c.hits, strict=True) if not h])
    found = {}
    for number, c in enumerate(cases):
        for score, hit in zip(c.scores, c.hits, strict=True):
            for reference in hit:
                found[number, reference] = max(score, found.get((number, reference), -2))
    lowest = [-1.0]
    curve = monai.compute_froc_curve_data(
        np.append(false, lowest), np.array([*found.values()]), sum(c.n_reference for c in cases), len(cases)
    )
    theirs = monai.compute_froc_score(*curve, eval_thresholds=RATES)
    assert froc(cases, interpolate=True).mean == pytest.approx(theirs)


def test_scans_without_reference_count_in_the_rate_alone():
    found = FrocCase((0.9, 0.5), ((1,), ()), 1)
    empty = FrocCase((), (), 0)
    assert froc([found]).false_positives_per_scan[-1] == 1.0
    assert froc([found, empty]).false_positives_per_scan[-1] == 0.5
    assert froc([FrocCase((), (), 3)]).mean == 0.0
    nothing = froc([FrocCase((0.3,), ((),), 0)])
    assert (nothing.mean, nothing.sensitivities) == (None, None)
    assert nothing.reason == "no scan has a reference instance"


def test_entry_of_a_scan_from_its_matches():
    matches = Matches((Match(4, 1, 0.6), Match(4, 2, 0.2), Match(9, 2, 0.1)), (3,), (8,))
    entry = froc_case(matches, {3: 0.1, 4: 0.9, 9: 0.5})
    assert entry == FrocCase((0.1, 0.9, 0.5), ((), (1, 2), (2,)), 3)
    with pytest.raises(InputError, match="instance 9 has no score"):
        froc_case(matches, {3: 0.1, 4: 0.9, 9: None})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.5,), (), 0), "1 scores for 0 predictions"),
        (((float("inf"),), ((),), 0), "not a finite number"),
        (((0.5,), ((1, 2),), 1), "2 reference instances are hit"),
    ],
)
def test_cases_that_contradict_themselves(arguments, message):
    with pytest.raises(InputError, match=message):
        FrocCase(*arguments)


def test_what_is_refused():
    with pytest.raises(InputError, match="no case was given"):
        froc([])
    for rates in ([], [-1.0], [float("nan")]):
        with pytest.raises(ConfigurationError, match="rates are"):
            froc([FrocCase((), (), 1)], rates)
