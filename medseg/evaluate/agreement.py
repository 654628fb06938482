"""How well two measurements of the same things agree: Bland–Altman, ICC and CCC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from medseg.errors import InputError
from medseg.evaluate.evaluation import Agreement, BlandAltman, CaseScores, Interval

_FEWEST = 3
_SHARE_IN_LIMITS = 1.959963984540054
_EQUAL = 1e-12

DEFINITIONS = {
    "bland_altman": "bias = mean of prediction − reference; limits of agreement = bias ± 1.96 sd; standard "
    "errors sd/√n and sd·√(1/n + 1.96²/(2(n − 1))), intervals from Student's t with n − 1 degrees of freedom "
    "(Bland and Altman, Stat Methods Med Res 1999;8:135)",
    "icc": "ICC(2,1): two-way random effects, absolute agreement, single measurement = (MSR − MSE) / "
    "(MSR + (k − 1) MSE + k (MSC − MSE)/n) (Shrout and Fleiss, Psychol Bull 1979;86:420); interval after "
    "McGraw and Wong, Psychol Methods 1996;1:30",
    "ccc": "concordance correlation coefficient = 2 s_xy / (s_x² + s_y² + (mean_x − mean_y)²) with moments "
    "over n (Lin, Biometrics 1989;45:255); interval by Fisher's z with the variance as corrected in "
    "Biometrics 2000;56:324",
}
"""What each coefficient is, and where its formula stands."""


def bland_altman(prediction: ArrayLike, reference: ArrayLike) -> BlandAltman:
    """Bias and limits of agreement of ``prediction − reference``, with 95 % intervals.

    Args:
        prediction: (n,), any unit.
        reference: (n,), the same things in the same unit.

    Raises:
        InputError: fewer than three pairs, different lengths, or values that are not finite.
    """
    x, y = _pairs(prediction, reference)
    difference = x - y
    n = len(difference)
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    t = _student(n - 1)
    reach = _SHARE_IN_LIMITS * sd
    bias_error = t * sd / math.sqrt(n)
    limit_error = t * sd * math.sqrt(1 / n + _SHARE_IN_LIMITS**2 / (2 * (n - 1)))

    def around(value: float, error: float) -> Interval:
        return value - error, value + error

    return BlandAltman(
        bias=bias,
        sd=sd,
        lower=bias - reach,
        upper=bias + reach,
        bias_ci95=around(bias, bias_error),
        lower_ci95=around(bias - reach, limit_error),
        upper_ci95=around(bias + reach, limit_error),
    )


def intraclass_correlation(ratings: ArrayLike) -> tuple[float | None, Interval | None]:
    """ICC(2,1), absolute agreement of single measurements, with its 95 % interval.

    Shrout and Fleiss 1979, case 2; interval of McGraw and Wong 1996, table 7, ICC(A,1).

    Args:
        ratings: (n, k): n things, each measured by the same k raters.

    Returns:
        The coefficient, None where nothing varies; the interval, None where the residual is zero.

    Raises:
        InputError: fewer than three things or two raters, or values that are not finite.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < _FEWEST or table.shape[1] < 2 or not np.isfinite(table).all():
        raise InputError(
            f"ratings of shape {table.shape}; expected finite numbers of at least {_FEWEST} things by at "
            "least 2 raters"
        )
    n, k = table.shape
    grand, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    msr = k * float(((rows - grand) ** 2).sum()) / (n - 1)
    msc = n * float(((columns - grand) ** 2).sum()) / (k - 1)
    residual = table - rows[:, None] - columns[None, :] + grand
    mse = float((residual**2).sum()) / ((n - 1) * (k - 1))
    spread = msr + (k - 1) * mse + k * (msc - mse) / n
    scale = float(np.abs(table).max()) ** 2 * _EQUAL
    if spread <= scale:
        return None, None
    icc = (msr - mse) / spread
    return icc, _icc_interval(icc, (msr, msc, mse), (n, k)) if mse > scale else None


def concordance(prediction: ArrayLike, reference: ArrayLike) -> tuple[float | None, Interval | None]:
    """Lin's concordance correlation coefficient with its 95 % interval.

    Lin 1989 with moments over n; the interval by Fisher's z with the variance corrected in 2000.

    Args:
        prediction: (n,), any unit.
        reference: (n,), the same things in the same unit.

    Returns:
        The coefficient, None where both sides are one constant; the interval, None for exact agreement,
        without any correlation, and for three pairs.

    Raises:
        InputError: fewer than three pairs, different lengths, or values that are not finite.
    """
    x, y = _pairs(prediction, reference)
    n = len(x)
    variances = float(x.var()), float(y.var())
    shift = float(x.mean() - y.mean())
    covariance = float(((x - x.mean()) * (y - y.mean())).mean())
    spread = sum(variances) + shift**2
    scale = max(float(np.abs(x).max()), float(np.abs(y).max())) ** 2 * _EQUAL
    if spread <= scale:
        return None, None
    ccc = 2 * covariance / spread
    if min(variances) <= scale or abs(covariance) <= scale or 1 - abs(ccc) <= _EQUAL or n <= _FEWEST:
        return ccc, None
    r = covariance / math.sqrt(variances[0] * variances[1])
    u2 = shift**2 / math.sqrt(variances[0] * variances[1])
    variance = (
        (1 - r**2) * ccc**2 / ((1 - ccc**2) * r**2)
        + 2 * ccc**3 * (1 - ccc) * u2 / (r * (1 - ccc**2) ** 2)
        - ccc**4 * u2**2 / (2 * r**2 * (1 - ccc**2) ** 2)
    ) / (n - 2)
    error = _SHARE_IN_LIMITS * math.sqrt(max(variance, 0.0))
    return ccc, (math.tanh(math.atanh(ccc) - error), math.tanh(math.atanh(ccc) + error))


def volume_agreements(cases: Sequence[CaseScores]) -> tuple[Agreement, ...]:
    """Agreement of the volumes of each label over all cases, labels in order of first appearance.

    A case with the label on neither side says nothing and is left out; a missed label counts with 0 ml.
    Cases without a pixel size have no volumes and are left out.
    """
    found: dict[str, list[tuple[str, float, float]]] = {}
    for case in cases:
        for pair in case.volumes:
            pairs = found.setdefault(pair.label, [])
            if pair.prediction_ml > 0 or pair.reference_ml > 0:
                pairs.append((case.case_id, pair.prediction_ml, pair.reference_ml))
    return tuple(_agreement(label, tuple(pairs)) for label, pairs in found.items())


def _agreement(label: str, pairs: tuple[tuple[str, float, float], ...]) -> Agreement:
    if len(pairs) < _FEWEST:
        few = f"{len(pairs)} cases with this label; at least {_FEWEST} are needed"
        return Agreement(label, pairs, reason=few)
    prediction = np.array([pair[1] for pair in pairs])
    reference = np.array([pair[2] for pair in pairs])
    icc, icc_ci95 = intraclass_correlation(np.column_stack([prediction, reference]))
    ccc, ccc_ci95 = concordance(prediction, reference)
    reason: str | None = None
    if icc is None or ccc is None:
        reason = "all volumes are equal, so correlation is not defined"
    elif icc_ci95 is None or ccc_ci95 is None:
        reason = "an interval is not defined for exact, constant or too few volumes"
    return Agreement(
        label,
        pairs,
        bland_altman=bland_altman(prediction, reference),
        icc=icc,
        icc_ci95=icc_ci95,
        ccc=ccc,
        ccc_ci95=ccc_ci95,
        reason=reason,
    )


def _icc_interval(icc: float, squares: tuple[float, float, float], size: tuple[int, int]) -> Interval:
    msr, msc, mse = squares
    n, k = size
    a = k * icc / (n * (1 - icc))
    b = 1 + k * icc * (n - 1) / (n * (1 - icc))
    v = (a * msc + b * mse) ** 2 / ((a * msc) ** 2 / (k - 1) + (b * mse) ** 2 / ((n - 1) * (k - 1)))
    wide = k * msc + (k * n - k - n) * mse
    f_low = float(special.fdtri(n - 1, v, 0.975))
    f_high = float(special.fdtri(v, n - 1, 0.975))
    lower = n * (msr - f_low * mse) / (f_low * wide + n * msr)
    upper = n * (f_high * msr - mse) / (wide + n * f_high * msr)
    return lower, upper


def _student(freedom: int) -> float:
    return float(special.stdtrit(freedom, 0.975))


def _pairs(prediction: ArrayLike, reference: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = np.asarray(prediction, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < _FEWEST:
        raise InputError(
            f"predictions of shape {x.shape} and references of shape {y.shape}; expected two lists of one "
            f"length, at least {_FEWEST}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("a pair to compare holds NaN or infinite values; leave such pairs out and say so")
    return x, y
