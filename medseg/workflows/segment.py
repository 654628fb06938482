"""Scans in; a segmentation, its instances, measurements and a report out, case by case."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from medseg.bundle.bundle import Bundle
from medseg.engine.local import Outcome, run_each, run_staged
from medseg.errors import InputError
from medseg.inference.predictor import Prediction, Predictor, PredictorOptions
from medseg.instances.instance import InstanceMap
from medseg.instances.split import SplitOptions, split
from medseg.io.atomic import commit_folder, sweep_abandoned
from medseg.io.find import FoundCases, find_cases
from medseg.io.limits import Limits
from medseg.io.read import read_case
from medseg.io.write import write_instances, write_segmentation
from medseg.measure.measure import measure
from medseg.report.build import build_report, write_report
from medseg.report.report import Provenance, Report, versions
from medseg.spatial.case import Case, CaseRef
from medseg.spatial.volume import Unit, Volume
from medseg.workflows.outputs import CaseResult, Listener, Step, folder_for, write_run


@dataclass(frozen=True, slots=True)
class SegmentOptions:
    """What `segment` does beside the bundle's own settings.

    Attributes:
        predictor: device, precision, test-time augmentation.
        limits: what an input may ask for.
        suffix: format of the label maps: ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha``; 2D is always TIFF.
        description: what the image is, for the report; None for none.
    """

    predictor: PredictorOptions = field(default_factory=PredictorOptions)
    limits: Limits = field(default_factory=Limits)
    suffix: str = ".nii.gz"
    description: str | None = None


def segment(
    inputs: Sequence[Path],
    bundle: Bundle,
    out: Path,
    options: SegmentOptions | None = None,
    listener: Listener | None = None,
) -> list[CaseResult]:
    """Segments every case in ``inputs`` and writes ``out/<case>/`` for each, whole or not at all.

    While the network runs on one case the next is read and the one before measured and written; with a
    memory limit one case is done after another.

    A case that fails is recorded and does not stop the others; localizers, secondary captures and colour
    series beside a usable series are skipped, which is no failure. ``out/run.json`` lists every case with its
    outcome; a run of one case that fails writes nothing.

    Args:
        inputs: image files, DICOM folders, or folders of either.
        bundle: what to run.
        out: folder for the results, made if missing.
        options: see `SegmentOptions`.
        listener: told of each step.

    Returns:
        One result per case, in order.

    Raises:
        InputError: nothing that could be a case was found.
        BundleError: the bundle cannot be used.
        ConfigurationError: the options do not fit, or ``out`` cannot be written.
    """
    options = options or SegmentOptions()
    found = find_cases(inputs, options.limits, exclude=[out])
    predictor = Predictor(bundle, options.predictor)
    if out.is_dir():
        sweep_abandoned(out)
    tell = listener or (lambda _step: None)
    results = list(_run(found, predictor, out, options, tell))
    if len(results) > 1 or not results[0].failed:
        write_run(out, results, _provenance(predictor))
    return results


def _run(
    found: FoundCases, predictor: Predictor, out: Path, options: SegmentOptions, tell: Listener
) -> list[CaseResult]:
    count = len(found.cases) + len(found.refused)
    results: list[CaseResult] = []

    def load(numbered: tuple[int, CaseRef]) -> _Loaded:
        return _load(*numbered, predictor.bundle, options)

    def predict(loaded: _Loaded) -> _Predicted:
        step = Step(loaded.ref.id, loaded.number, count)
        tell(step)
        progress = lambda done, total: tell(replace(step, done=done, total=total))  # noqa: E731
        return _Predicted(loaded, predictor.predict(loaded.case, progress))

    def finish(predicted: _Predicted) -> CaseResult:
        return _finish(predicted, predictor, out, options)

    numbered = list(enumerate(found.cases, start=1))
    if options.predictor.memory_limit_bytes is None:
        outcomes = run_staged(load, predict, finish, numbered)
    else:  # one case at a time holds the least
        outcomes = run_each(lambda item: finish(predict(load(item))), numbered)
    for outcome in outcomes:
        results.append(_result(outcome))
        tell(Step(results[-1].case_id, len(results), count, result=results[-1]))
    meant = bool(found.cases) or not all(refused.aside for refused in found.refused)
    for refused in found.refused:
        results.append(CaseResult(refused.id, error=refused.error, skipped=refused.aside and meant))
        tell(Step(refused.id, len(results), count, result=results[-1]))
    return results


def _result(outcome: Outcome[tuple[int, CaseRef], CaseResult]) -> CaseResult:
    if outcome.value is not None:
        return outcome.value
    return CaseResult(outcome.item[1].id, error=outcome.error)


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """A case that was read."""

    number: int
    ref: CaseRef
    case: Case
    started: str
    read_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Predicted:
    """A case that was segmented."""

    loaded: _Loaded
    prediction: Prediction


def _load(number: int, ref: CaseRef, bundle: Bundle, options: SegmentOptions) -> _Loaded:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    begin = time.perf_counter()
    case = read_case(ref, options.limits)
    _check_dims(case, bundle)
    return _Loaded(number, ref, case, started, time.perf_counter() - begin)


def _finish(predicted: _Predicted, predictor: Predictor, out: Path, options: SegmentOptions) -> CaseResult:
    """Measures a segmented case and writes its folder."""
    loaded, prediction = predicted.loaded, predicted.prediction
    ref, case = loaded.ref, loaded.case
    begin = time.perf_counter()
    instances = split(prediction.segmentation, SplitOptions())
    image = next(iter(case.channels.values()))
    measurements = measure(prediction.segmentation, instances, image if len(case.channels) == 1 else None)
    durations = {"read": loaded.read_s, **prediction.durations_s, "measure": time.perf_counter() - begin}
    provenance = replace(
        _provenance(predictor),
        started=loaded.started,
        durations_s=durations,
        input_sources=_sources(case),
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    folder = folder_for(out, ref.id, provenance.input_sources)
    report = build_report(
        case_id=folder.name,
        segmentation=prediction.segmentation,
        instances=instances,
        measurements=measurements,
        provenance=provenance,
        warnings=(*prediction.warnings, *_doubts(image, predictor.bundle)),
        description=options.description,
    )
    _write_case(folder, case, prediction, instances, report, options.suffix)
    return CaseResult(ref.id, folder=folder, warnings=report.warnings)


def _write_case(
    folder: Path,
    case: Case,
    prediction: Prediction,
    instances: InstanceMap,
    report: Report,
    suffix: str,
) -> None:
    flat = case.geometry.shape[2] == 1
    ending = ".tif" if flat else suffix
    with commit_folder(folder) as temporary:
        write_segmentation(prediction.segmentation, temporary / f"segmentation{ending}")
        if instances.instances:
            write_instances(instances.ids, instances.geometry, temporary / f"instances{ending}")
        write_report(report, case, prediction.segmentation, instances, temporary)


def _check_dims(case: Case, bundle: Bundle) -> None:
    flat = case.geometry.shape[2] == 1
    if flat and bundle.metadata.dims == 3:
        raise InputError(
            f"case {case.id!r} is a single slice ({case.geometry.describe()}), but bundle {bundle.name} "
            "segments 3D volumes; give the whole series"
        )
    if not flat and bundle.metadata.dims == 2:
        raise InputError(
            f"case {case.id!r} is a volume ({case.geometry.describe()}), but bundle {bundle.name} segments "
            "2D images; give single images"
        )


def _doubts(image: Volume, bundle: Bundle) -> tuple[str, ...]:
    if image.unit is Unit.HU and bundle.metadata.modality != "CT":
        return (f"the scan is a CT, but bundle {bundle.name} was trained on {bundle.metadata.modality}",)
    return ()


def _sources(case: Case) -> dict[str, str]:
    return {name: volume.source or "unknown" for name, volume in case.channels.items()}


def _provenance(predictor: Predictor) -> Provenance:
    bundle = predictor.bundle
    return Provenance(
        versions=versions(),
        bundle=bundle.name,
        bundle_version=bundle.metadata.version,
        trust=bundle.trust,
        weights_sha256=bundle.metadata.weights_sha256,
        config_sha256=bundle.config_sha256,
        backend=predictor.backend,
        device=predictor.device,
        precision=predictor.precision,
        options={
            "tta": predictor.options.tta,
            "roi_size": list(predictor.parts.windows.roi_size),
            "overlap": predictor.parts.windows.overlap,
            "blending": predictor.parts.windows.mode,
        },
    )
