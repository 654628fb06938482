"""A label map in; its measurements and a report out; with an earlier one, the change between both."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medseg.errors import ConfigurationError, GeometryMismatchError, InputError
from medseg.instances.instance import InstanceMap
from medseg.instances.split import SplitOptions, split
from medseg.io.atomic import commit_folder
from medseg.io.find import find_cases
from medseg.io.limits import Limits
from medseg.io.read import read_case, read_segmentation
from medseg.io.write import write_instances
from medseg.measure.change import Change, ChangeOptions, TimePoint, measure_change
from medseg.measure.measure import measure
from medseg.measure.measurement import Measurement
from medseg.measure.recist import (
    FollowUp,
    Targets,
    check_node_labels,
    choose_targets,
    follow_targets,
    lesion_diameters,
    min_long_diameter_mm,
    recist_measurements,
)
from medseg.report.as_json import measurements_record
from medseg.report.build import build_report, write_report
from medseg.report.followup import change_record, recist_record, recist_sentence
from medseg.report.report import Provenance, versions
from medseg.spatial.case import Case, CaseRef
from medseg.spatial.labels import LabelTable
from medseg.spatial.segmentation import Segmentation
from medseg.spatial.volume import Unit, Volume
from medseg.workflows.label_names import with_common_table
from medseg.workflows.outputs import folder_for

_NO_TARGET = "no target lesion: not measurable, or others are larger"
_NO_TARGET_LATER = "no target lesion of the earlier examination"


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier examination to compare with.

    Attributes:
        path: its label map.
        image_path: its scan, or None.
        options: how the two are compared.
    """

    path: Path
    image_path: Path | None = None
    options: ChangeOptions = field(default_factory=ChangeOptions)


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """What `measure_file` does.

    Attributes:
        image_path: the scan, on the map's grid; intensities and pictures need it.
        image_unit: unit of the scans' values, for files that do not tell it; uptake needs SUV.
        table: what the integers mean; None names them ``label_N``.
        instances: also measure objects: of labels of kind ``thing`` where a table is given, else of all.
        recist: choose target lesions and sum up their diameters; measures objects too.
        node_labels: labels of lymph nodes, which RECIST measures by their short diameter.
        earlier: what to compare with; measures objects too.
        limits: what an input may ask for.

    Raises:
        ConfigurationError: node labels without ``recist``, or a unit without a scan.
    """

    image_path: Path | None = None
    image_unit: Unit | None = None
    table: LabelTable | None = None
    instances: bool = False
    recist: bool = False
    node_labels: frozenset[str] = frozenset()
    earlier: Earlier | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.node_labels and not self.recist:
            raise ConfigurationError("labels of lymph nodes are given, but only RECIST asks for them: add it")
        earlier_image = None if self.earlier is None else self.earlier.image_path
        if self.image_unit is not None and self.image_path is None and earlier_image is None:
            raise ConfigurationError("a unit is given, but no scan whose values have it: add the scan")

    @property
    def objects(self) -> bool:
        """Whether the label map is taken apart."""
        return self.instances or self.recist or self.earlier is not None


@dataclass(frozen=True, slots=True, eq=False)
class _Examination:
    """One label map, read and taken apart."""

    segmentation: Segmentation
    instances: InstanceMap | None
    case: Case | None

    @property
    def image(self) -> Volume | None:
        return None if self.case is None else next(iter(self.case.channels.values()))

    @property
    def frame_of_reference_uid(self) -> str | None:
        frame = self.segmentation.geometry.frame_of_reference_uid
        if frame is None and self.image is not None:
            frame = self.image.geometry.frame_of_reference_uid
        return frame

    @property
    def sources(self) -> dict[str, str]:
        found = {"segmentation": self.segmentation.source or "unknown"}
        return found if self.image is None else found | {"image": self.image.source or "unknown"}


@dataclass(frozen=True, slots=True, eq=False)
class _Findings:
    """What was measured beside volumes and so on."""

    measurements: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = ()
    change: Change | None = None
    targets: Targets | None = None
    follow_up: FollowUp | None = None


def measure_file(path: Path, out: Path, options: MeasureOptions | None = None) -> tuple[Path, dict[str, Any]]:
    """Measures a label map and writes ``out/<case>/`` with measurements, report and preview.

    With an earlier examination the folder also has ``change.json``, with RECIST ``recist.json``.

    Args:
        path: the label map.
        out: folder for the results.
        options: see `MeasureOptions`.

    Returns:
        The folder, and the content of ``measurements.json``.

    Raises:
        InputError: a file cannot be used, a scan lies on another grid than its label map or tells another
            unit, or the two examinations cannot be compared.
        ConfigurationError: ``out`` cannot be written, a node label is not in the table, or RECIST is asked
            for labels that the table does not count in objects.
    """
    options = options or MeasureOptions()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    begin = time.perf_counter()
    segmentation = read_segmentation(path, options.table, options.limits)
    (ref,) = find_cases([path], options.limits).cases  # a file that could be read is one case
    earlier_map = None
    if options.earlier is not None:
        earlier_map = read_segmentation(options.earlier.path, options.table, options.limits)
        if options.table is None:
            earlier_map, segmentation = with_common_table(earlier_map, segmentation)
    _check_recist(options, segmentation.table)
    examination = _examination(segmentation, options.image_path, ref.id, options)
    instances = examination.instances
    measurements = tuple(measure(segmentation, instances, examination.image))
    sources = examination.sources
    if options.earlier is not None and earlier_map is not None:
        earlier = _examination(earlier_map, options.earlier.image_path, "earlier", options)
        sources |= {f"earlier_{name}": source for name, source in earlier.sources.items()}
        findings = _followed(earlier, examination, measurements, options.earlier.options, options)
    else:
        findings = _targets(examination, measurements, options)
    provenance = Provenance(
        versions=versions(),
        started=started,
        durations_s={"total": time.perf_counter() - begin},
        input_sources=sources,
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    folder = folder_for(out, ref.id, sources)
    report = build_report(
        case_id=folder.name,
        segmentation=segmentation,
        instances=instances,
        measurements=(*measurements, *findings.measurements),
        provenance=provenance,
        warnings=findings.notes,
    )
    with commit_folder(folder) as temporary:
        if instances is not None and instances.instances:
            ending = ".tif" if segmentation.geometry.shape[2] == 1 else ".nii.gz"
            write_instances(instances.ids, instances.geometry, temporary / f"instances{ending}")
        _write_findings(folder.name, findings, temporary)
        write_report(report, examination.case, segmentation, instances, temporary)
    return folder, measurements_record(report)


def _examination(
    segmentation: Segmentation, image_path: Path | None, case_id: str, options: MeasureOptions
) -> _Examination:
    case = None
    if image_path is not None:
        case = read_case(CaseRef(case_id, {"image": (image_path,)}), options.limits)
        case = _in_unit(case, options.image_unit)
        if not case.geometry.same_grid(segmentation.geometry):
            raise GeometryMismatchError(
                f"the label map has {segmentation.geometry.describe()} but the image has "
                f"{case.geometry.describe()}; resample one onto the other first"
            )
    split_options = SplitOptions(all_labels=options.table is None)
    instances = split(segmentation, split_options) if options.objects else None
    return _Examination(segmentation, instances, case)


def _in_unit(case: Case, unit: Unit | None) -> Case:
    """The case with the unit that was said; what a file tells of itself is never overruled."""
    if unit is None:
        return case
    told = next((v.unit for v in case.channels.values() if v.unit not in (Unit.ARBITRARY, unit)), None)
    if told is not None:
        raise InputError(
            f"the image is said to be in {unit.value}, but its file tells {told.value}; leave the unit out"
        )
    return Case(case.id, {name: replace(volume, unit=unit) for name, volume in case.channels.items()})


def _check_recist(options: MeasureOptions, table: LabelTable) -> None:
    check_node_labels(options.node_labels, table)
    if not options.recist or options.table is None:
        return
    counted = {label.name for label in table if label.kind == "thing"}
    if not counted:
        raise ConfigurationError(
            "RECIST needs lesions, but the bundle counts none of its labels in objects; leave the bundle out"
        )
    whole = sorted(options.node_labels - counted)
    if whole:
        raise ConfigurationError(
            f"the bundle does not count {', '.join(whole)} in objects, so there are no nodes of it; choose "
            f"node labels from: {', '.join(sorted(counted))}"
        )


def _targets(
    examination: _Examination, measurements: tuple[Measurement, ...], options: MeasureOptions
) -> _Findings:
    """Target lesions of a single examination, where they are asked for."""
    if not options.recist:
        return _Findings()
    lesions = lesion_diameters(measurements, options.node_labels)
    targets = choose_targets(lesions, min_long_diameter_mm(examination.segmentation.geometry))
    sizes = {target.instance: target.size_mm for target in targets.chosen}
    found = tuple(recist_measurements(lesions, sizes, _NO_TARGET))
    return _Findings(found, (recist_sentence(targets, None),), targets=targets)


def _followed(
    earlier: _Examination,
    examination: _Examination,
    measurements: tuple[Measurement, ...],
    change_options: ChangeOptions,
    options: MeasureOptions,
) -> _Findings:
    """What changed since the earlier examination, whose targets are followed where they are asked for."""
    if earlier.instances is None or examination.instances is None:
        return _Findings()
    before = TimePoint.of(earlier.segmentation, earlier.instances, earlier.image)
    after = TimePoint(
        examination.segmentation, examination.instances, measurements, examination.frame_of_reference_uid
    )
    change = measure_change(before, after, change_options)
    if not options.recist:
        return _Findings(change.measurements, change.notes, change)
    targets = choose_targets(
        lesion_diameters(before.measurements, options.node_labels),
        min_long_diameter_mm(earlier.segmentation.geometry),
    )
    lesions = lesion_diameters(measurements, options.node_labels)
    follow_up = follow_targets(targets, change.lesions, lesions)
    found = (*change.measurements, *recist_measurements(lesions, follow_up.sizes, _NO_TARGET_LATER))
    return _Findings(found, (recist_sentence(targets, follow_up), *change.notes), change, targets, follow_up)


def _write_findings(case_id: str, findings: _Findings, folder: Path) -> None:
    records = {}
    if findings.change is not None:
        records["change.json"] = change_record(case_id, findings.change)
    if findings.targets is not None:
        records["recist.json"] = recist_record(case_id, findings.targets, findings.follow_up)
    for name, record in records.items():
        text = json.dumps(record, sort_keys=True, indent=1, allow_nan=False) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
