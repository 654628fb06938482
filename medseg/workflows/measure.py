"""A label map in; its measurements and a report out."""

from __future__ import annotations

import resource
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medseg.errors import GeometryMismatchError
from medseg.instances.split import SplitOptions, split
from medseg.io.atomic import commit_folder
from medseg.io.find import find_cases
from medseg.io.limits import Limits
from medseg.io.read import read_case, read_segmentation
from medseg.io.write import write_instances
from medseg.measure.measure import measure
from medseg.report.as_json import measurements_record
from medseg.report.build import build_report, write_report
from medseg.report.report import Provenance, versions
from medseg.spatial.case import Case, CaseRef
from medseg.spatial.labels import LabelTable
from medseg.workflows.outputs import folder_for


def measure_file(
    path: Path,
    out: Path,
    *,
    image_path: Path | None = None,
    table: LabelTable | None = None,
    instances: bool = False,
    limits: Limits | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Measures a label map and writes ``out/<case>/`` with measurements, report and preview.

    Args:
        path: the label map.
        out: folder for the results.
        image_path: the scan, on the map's grid; intensities and pictures need it.
        table: what the integers mean; None names them ``label_N``.
        instances: also measure objects: of labels of kind ``thing`` where a table is given, else of all.
        limits: what an input may ask for.

    Returns:
        The folder, and the content of ``measurements.json``.

    Raises:
        InputError: a file cannot be used, or the scan lies on another grid.
        ConfigurationError: ``out`` cannot be written.
    """
    limits = limits or Limits()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    begin = time.perf_counter()
    segmentation = read_segmentation(path, table, limits)
    (ref,) = find_cases([path], limits).cases  # a file that could be read is one case
    case_id = ref.id
    case = _read_image(case_id, image_path, limits)
    image = next(iter(case.channels.values())) if case is not None else None
    if image is not None and not image.geometry.same_grid(segmentation.geometry):
        raise GeometryMismatchError(
            f"the label map has {segmentation.geometry.describe()} but the image has "
            f"{image.geometry.describe()}; resample one onto the other first"
        )
    options = SplitOptions(all_labels=table is None)
    found = split(segmentation, options) if instances else None
    measurements = measure(segmentation, found, image)
    sources = {"segmentation": segmentation.source or "unknown"}
    if image is not None:
        sources["image"] = image.source or "unknown"
    provenance = Provenance(
        versions=versions(),
        started=started,
        durations_s={"total": time.perf_counter() - begin},
        input_sources=sources,
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    folder = folder_for(out, case_id, sources)
    report = build_report(
        case_id=folder.name,
        segmentation=segmentation,
        instances=found,
        measurements=measurements,
        provenance=provenance,
    )
    with commit_folder(folder) as temporary:
        if found is not None and found.instances:
            ending = ".tif" if segmentation.geometry.shape[2] == 1 else ".nii.gz"
            write_instances(found.ids, found.geometry, temporary / f"instances{ending}")
        write_report(report, case, segmentation, found, temporary)
    return folder, measurements_record(report)


def _read_image(case_id: str, path: Path | None, limits: Limits) -> Case | None:
    if path is None:
        return None
    return read_case(CaseRef(case_id, {"image": (path,)}), limits)
