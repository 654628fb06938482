"""Everything that is known after predictions were compared with references. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from medseg.errors import InputError
from medseg.evaluate.score import Score

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class VolumePair:
    """The volume of one label in one case, on both sides, in ml.

    Raises:
        InputError: a volume below 0.
    """

    label: str
    prediction_ml: float
    reference_ml: float

    def __post_init__(self) -> None:
        if not (self.prediction_ml >= 0 and self.reference_ml >= 0):
            raise InputError(
                f"{self.label!r} has volumes of {self.prediction_ml} and {self.reference_ml} ml; "
                "expected 0 or more"
            )


@dataclass(frozen=True, slots=True)
class CaseScores:
    """One case that was compared.

    Attributes:
        case_id: unique within the evaluation.
        scores: of labels (``instance`` None) and of reference instances.
        patient_id: cases of one patient are drawn together in the bootstrap; None for a patient of its own.
        volumes: one pair per label, empty where the pixel size is unknown.
        diagonal_mm: length of the grid's diagonal, the default penalty of a distance that does not exist;
            None where the pixel size is unknown.
        warnings: what a reader must know, such as that the prediction was resampled.
    """

    case_id: str
    scores: tuple[Score, ...]
    patient_id: str | None = None
    volumes: tuple[VolumePair, ...] = ()
    diagonal_mm: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that could not be compared; it is in no mean and always listed.

    Attributes:
        case_id: its id.
        error: class of the error, such as ``GeometryMismatchError``.
        message: what was found, what was expected, what to do.
    """

    case_id: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Summary:
    """One metric of one label over all cases.

    Attributes:
        label: name in the label table.
        metric: as in `Score`.
        n: cases in the numbers below, those with a penalty included.
        n_penalised: cases whose miss or false positive had no value and counts with the penalty.
        n_absent: cases in which the label lies on neither side; they are in no number below.
        n_undefined: cases without a value for another reason (see their scores); they are in no number.
        mean: None where ``n`` is 0; so are all others.
        median: the middle value.
        sd: sample standard deviation (n − 1), None for n < 2.
        q1: lower quartile, linear interpolation.
        q3: upper quartile.
        minimum: the lowest value.
        maximum: the highest value.
        ci95: of the mean, percentile bootstrap over patients; None for fewer than two patients.
    """

    label: str
    metric: str
    n: int
    n_penalised: int = 0
    n_absent: int = 0
    n_undefined: int = 0
    mean: float | None = None
    median: float | None = None
    sd: float | None = None
    q1: float | None = None
    q3: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    ci95: Interval | None = None

    @property
    def iqr(self) -> Interval | None:
        """Lower and upper quartile."""
        return None if self.q1 is None or self.q3 is None else (self.q1, self.q3)


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Bias and 95 % limits of agreement of prediction − reference, each with its 95 % interval.

    All in the unit of the pairs. See `medseg.evaluate.agreement.bland_altman`.
    """

    bias: float
    sd: float
    lower: float
    upper: float
    bias_ci95: Interval
    lower_ci95: Interval
    upper_ci95: Interval


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the volumes of one label agree over all cases.

    Attributes:
        label: name in the label table.
        pairs: (case id, prediction, reference) in ``unit``, cases with the label on neither side left out.
        unit: ``ml``.
        bland_altman: None for fewer than three pairs.
        icc: ICC(2,1), two-way random effects, absolute agreement, single rater; None where undefined.
        icc_ci95: its interval.
        ccc: Lin's concordance correlation coefficient; None where undefined.
        ccc_ci95: its interval.
        reason: why something above is None; None where all is there.
    """

    label: str
    pairs: tuple[tuple[str, float, float], ...]
    unit: str = "ml"
    bland_altman: BlandAltman | None = None
    icc: float | None = None
    icc_ci95: Interval | None = None
    ccc: float | None = None
    ccc_ci95: Interval | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one label for two models on the same cases; differences are first − other.

    Attributes:
        label: name in the label table.
        metric: as in `Score`.
        n: pairs of cases.
        n_patients: what the test counts; differences are averaged within a patient.
        n_zero: patients without a difference.
        mean_difference: None for no pair.
        ci95: of the mean difference, percentile bootstrap over patients.
        statistic: Wilcoxon's signed-rank statistic, None where no test was made.
        p: two-sided.
        p_holm: ``p`` after Holm's correction over all comparisons of the evaluation.
        reason: why there is no test; None where there is one.
    """

    label: str
    metric: str
    n: int
    n_patients: int = 0
    n_zero: int = 0
    mean_difference: float | None = None
    ci95: Interval | None = None
    statistic: float | None = None
    p: float | None = None
    p_holm: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Subgroup:
    """The summaries of the cases that share one value of an attribute, such as ``scanner`` = ``A``."""

    attribute: str
    value: str
    case_ids: tuple[str, ...]
    summaries: tuple[Summary, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Predictions against references: each case, and all of them together.

    Attributes:
        cases: those that could be compared, in order of their ids.
        failures: those that could not, missing files included.
        summaries: by label, then by metric, in the order of the scores.
        agreements: one per label, where volumes are known.
        comparisons: against a second model; empty without one.
        subgroups: by attribute and value; empty without attributes.
        definitions: metric → what it is, formula and source, for each metric that occurs.
        options: what changes the numbers: tolerances, matching rule, penalties, draws and seed of the
            bootstrap.
        provenance: versions and start time; nothing that identifies a patient.
    """

    cases: tuple[CaseScores, ...]
    failures: tuple[Failure, ...] = ()
    summaries: tuple[Summary, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    subgroups: tuple[Subgroup, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("definitions", "options", "provenance"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that were summarised, in order."""
        return tuple(dict.fromkeys(summary.label for summary in self.summaries))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that were summarised, in order."""
        return tuple(dict.fromkeys(summary.metric for summary in self.summaries))

    def summary(self, label: str, metric: str) -> Summary:
        """The summary of one metric of one label.

        Raises:
            InputError: there is none.
        """
        for found in self.summaries:
            if (found.label, found.metric) == (label, metric):
                return found
        raise InputError(
            f"there is no summary of {metric!r} for {label!r}; labels: {', '.join(self.labels) or 'none'}; "
            f"metrics: {', '.join(self.metrics) or 'none'}"
        )
