"""Predictions and references in; scores, statistics and a report out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medseg.engine.local import run_each
from medseg.errors import InputError, MedsegError
from medseg.evaluate import detection
from medseg.evaluate.aggregate import AggregateOptions, aggregate, subgroups
from medseg.evaluate.agreement import volume_agreements
from medseg.evaluate.compare_models import compare_models
from medseg.evaluate.definitions import definition_of
from medseg.evaluate.evaluation import CaseScores, Evaluation, Failure, Subgroup
from medseg.evaluate.pooled import PooledDetection, pool_detections, without_precision
from medseg.io.atomic import made_folder, write_atomically
from medseg.io.find import find_cases
from medseg.io.read import read_case
from medseg.report.comparison import comparison_picture
from medseg.report.evaluation_data import cases_csv, evaluation_json, summary_csv
from medseg.report.evaluation_html import evaluation_html
from medseg.report.evaluation_tables import rank_cases
from medseg.report.figures import Picture
from medseg.report.report import versions
from medseg.spatial.case import Case, CaseRef
from medseg.workflows.case_table import PATIENT, read_case_table
from medseg.workflows.compare_pair import Compared, PairOptions, compare_pair, load_pair
from medseg.workflows.outputs import CaseResult, Listener, Step
from medseg.workflows.pairing import Pair, find_pairs

_log = logging.getLogger(__name__)

_PICTURES = 10
_OTHER = "compared model: "

Attributes = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What `evaluate` does.

    Attributes:
        pair: how two label maps are compared.
        aggregate: penalties, and draws and seed of the bootstrap.
        suffixes: ends of names that are no part of a case's id.
        images: scans for the pictures of the worst cases, by case id; None for pictures without a scan.
        cases: CSV file with ``case_id`` and attributes; ``patient_id`` is what the bootstrap draws.
        other: predictions of a second model for the same references, to be compared with the first.
    """

    pair: PairOptions = field(default_factory=PairOptions)
    aggregate: AggregateOptions = field(default_factory=AggregateOptions)
    suffixes: tuple[str, ...] = ()
    images: Path | None = None
    cases: Path | None = None
    other: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """The result of `evaluate`: the evaluation, and what was scored over the objects of all cases."""

    evaluation: Evaluation
    pooled: tuple[PooledDetection, ...]


def evaluate(
    predictions: Path,
    references: Path,
    out: Path,
    options: EvaluateOptions | None = None,
    listener: Listener | None = None,
) -> Evaluated:
    """Compares predictions with references and writes the results into ``out``.

    ``evaluation.json`` and ``cases.csv`` hold every number, ``summary.csv`` the statistics, ``report.html``
    is for reading. A case that cannot be compared, one without a partner included, is listed as failed and
    does not stop the others; where none can be, nothing is written.

    Args:
        predictions: file or folder, see `medseg.workflows.pairing.find_pairs`.
        references: file or folder.
        out: folder for the results, made if missing.
        options: see `EvaluateOptions`.
        listener: told of each case.

    Raises:
        InputError: no case has both sides, none could be compared, or the table of cases does not fit.
        ConfigurationError: the options do not fit, or ``out`` cannot be written.
    """
    options = options or EvaluateOptions()
    begin, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")

    def pairs_of(path: Path) -> list[Pair]:
        return find_pairs(
            path,
            references,
            suffixes=options.suffixes,
            instance_maps=options.pair.instance_maps,
            exclude=[out],
        )

    pairs = pairs_of(predictions)
    others = [] if options.other is None else pairs_of(options.other)
    patients, attributes = _case_table(options.cases, pairs)
    tell = _numbered(listener, len(pairs) + len(others))
    compared, failures = _compare_all(pairs, options.pair, patients, tell)
    compared_others, more_failures = _compare_all(others, options.pair, patients, tell, prefix=_OTHER)
    pooled, cases = _settled(compared)
    _, cases_of_other = _settled(compared_others)
    evaluation = Evaluation(
        cases,
        failures=(*failures, *more_failures),
        summaries=aggregate(cases, options.aggregate),
        agreements=volume_agreements(cases),
        comparisons=compare_models(cases, cases_of_other, options.aggregate),
        subgroups=_subgroups(cases, attributes, options.aggregate),
        definitions=_definitions(cases),
        options=_described(options),
        provenance={
            "started": started,
            "duration_s": round(time.perf_counter() - begin, 2),
            "versions": versions(),
        },
    )
    result = Evaluated(evaluation, pooled)
    _write(result, _pictures(evaluation, {pair.case_id: pair for pair in pairs}, options), out)
    return result


def _compare_all(
    pairs: Sequence[Pair],
    options: PairOptions,
    patients: Mapping[str, str],
    tell: Callable[[str, Exception | None], None],
    prefix: str = "",
) -> tuple[list[Compared], list[Failure]]:
    """All cases of one model, and those that could not be compared.

    Raises:
        InputError: none could be compared.
    """
    compared: list[Compared] = []
    errors: list[tuple[str, Exception]] = []
    for outcome in run_each(lambda pair: compare_pair(pair, options), pairs):
        case_id = prefix + outcome.item.case_id
        tell(case_id, outcome.error)
        if outcome.value is not None:
            scores = replace(outcome.value.scores, patient_id=patients.get(outcome.item.case_id))
            compared.append(replace(outcome.value, scores=scores))
        elif outcome.error is not None:
            errors.append((case_id, outcome.error))
    if errors and not compared:
        first = errors[0][1]
        if len(errors) == 1:
            raise first
        raise InputError(f"none of the {len(errors)} cases could be compared; the first: {first}") from first
    return compared, [Failure(case_id, type(error).__name__, _message(error)) for case_id, error in errors]


def _settled(compared: Sequence[Compared]) -> tuple[tuple[PooledDetection, ...], tuple[CaseScores, ...]]:
    """Scores over the objects of all cases, and those of the single cases."""
    pooled = pool_detections([one.detected for one in compared if one.detected is not None])
    return pooled, tuple(without_precision(one.scores, pooled) for one in compared)


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, MedsegError) else f"a bug in medseg: {error!r}"


def _numbered(listener: Listener | None, total: int) -> Callable[[str, Exception | None], None]:
    done = 0

    def tell(case_id: str, error: Exception | None) -> None:
        nonlocal done
        done += 1
        if listener is not None:
            listener(Step(case_id, done, total, result=CaseResult(case_id, error=error)))

    return tell


def _case_table(path: Path | None, pairs: Sequence[Pair]) -> tuple[dict[str, str], Attributes]:
    """Case id → patient, and case id → attribute → value.

    Raises:
        InputError: a case to be compared is not in the table, or has no patient where others have one.
    """
    if path is None:
        return {}, {}
    table = read_case_table(path)
    meant = [pair.case_id for pair in pairs if pair.prediction is not None and pair.reference is not None]
    missing = [case_id for case_id in meant if case_id not in table]
    if missing:
        raise InputError(
            f"{path.name} has no row for {len(missing)} of {len(meant)} cases, such as {missing[0]!r}; its "
            f"ids begin with {next(iter(table), 'none')!r}"
        )
    patients = {case_id: row[PATIENT] for case_id, row in table.items() if row.get(PATIENT)}
    alone = [case_id for case_id in meant if case_id not in patients]
    if patients and alone:
        raise InputError(f"{path.name} has no {PATIENT} for case {alone[0]!r}; expected one for each case")
    attributes = {
        case_id: {name: value for name, value in row.items() if name != PATIENT}
        for case_id, row in table.items()
    }
    return patients, attributes


def _subgroups(
    cases: Sequence[CaseScores], attributes: Attributes, options: AggregateOptions
) -> tuple[Subgroup, ...]:
    return subgroups(cases, attributes, options) if any(attributes.values()) else ()


def _definitions(cases: Sequence[CaseScores]) -> dict[str, str]:
    """Of each metric that occurs, labels' metrics first."""
    of_objects = {**detection.DEFINITIONS, **detection.INSTANCE_DEFINITIONS}
    metrics = dict.fromkeys(score.metric for case in cases for score in case.scores)
    return {
        metric: of_objects[metric] if metric in of_objects else definition_of(metric) for metric in metrics
    }


def _described(options: EvaluateOptions) -> dict[str, Any]:
    """What changes the numbers."""
    compare, detect, statistics = options.pair.compare, options.pair.detect, options.aggregate
    found: dict[str, Any] = {
        "tolerances_mm": list(compare.tolerances_mm),
        "boundary_mm": compare.boundary_mm,
        "tubular": sorted(compare.tubular),
        "resample": options.pair.resample,
        "penalties": dict(statistics.penalties),
        "draws": statistics.draws,
        "seed": statistics.seed,
    }
    if detect is not None:
        lesions = detect.lesions
        found["instances"] = (
            "ids in the files"
            if options.pair.instance_maps
            else "26-connected components of the labels that are counted (all where no label is)"
        )
        found["matching"] = detect.match.describe()
        found["lesions"] = {
            "dilation": lesions.dilation,
            "min_volume_mm3": lesions.min_volume_mm3,
            "penalty_dice": lesions.penalty_dice,
            "penalty_hd95_mm": lesions.penalty_hd95_mm,
        }
    return found


def _pictures(
    evaluation: Evaluation, pairs: Mapping[str, Pair], options: EvaluateOptions
) -> dict[str, Picture]:
    """Of the worst cases."""
    images = _images(options)
    pictures = {}
    for ranked in rank_cases(evaluation)[:_PICTURES]:
        loaded = load_pair(pairs[ranked.case_id], options.pair)
        image = _image(images.get(ranked.case_id), options)
        try:
            picture = comparison_picture(loaded.prediction, loaded.reference, image)
        except MedsegError as error:
            _log.warning("case %r is shown without its scan: %s", ranked.case_id, error)
            picture = comparison_picture(loaded.prediction, loaded.reference, None)
        pictures[ranked.case_id] = picture
    return pictures


def _images(options: EvaluateOptions) -> dict[str, CaseRef]:
    if options.images is None:
        return {}
    found = {}
    for ref in find_cases([options.images], options.pair.limits).cases:
        suffix = next((s for s in options.suffixes if s and ref.id.endswith(s) and ref.id != s), "")
        found[ref.id.removesuffix(suffix)] = ref
    return found


def _image(ref: CaseRef | None, options: EvaluateOptions) -> Case | None:
    if ref is None:
        return None
    try:
        return read_case(ref, options.pair.limits)
    except MedsegError as error:
        _log.warning("the scan of case %r cannot be shown: %s", ref.id, error)
        return None


def _write(result: Evaluated, pictures: Mapping[str, Picture], out: Path) -> None:
    evaluation, pooled = result.evaluation, result.pooled
    files = {
        "evaluation.json": evaluation_json(evaluation, pooled),
        "cases.csv": cases_csv(evaluation),
        "summary.csv": summary_csv(evaluation),
        "report.html": evaluation_html(evaluation, pictures, pooled),
    }
    made_folder(out)
    for name, text in files.items():
        data = text.encode()

        def write(path: Path, data: bytes = data) -> None:
            path.write_bytes(data)

        write_atomically(out / name, write)
