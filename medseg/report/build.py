"""From the parts of a result to a report, and from a report to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.instances.instance import InstanceMap
from medseg.measure.measurement import Measurement
from medseg.report.as_csv import measurements_csv
from medseg.report.as_html import html
from medseg.report.as_json import case_json, measurements_json
from medseg.report.figures import overlay_planes, preview
from medseg.report.report import Provenance, Report
from medseg.spatial.case import Case
from medseg.spatial.segmentation import Segmentation
from medseg.spatial.volume import Volume


def build_report(
    case_id: str,
    segmentation: Segmentation,
    instances: InstanceMap | None,
    measurements: Sequence[Measurement],
    provenance: Provenance,
    warnings: Sequence[str] = (),
    description: str | None = None,
) -> Report:
    """A report of one case.

    To the warnings given come those that follow from the numbers: nothing was found, or a label touches the
    edge of the image and may go on outside it.

    Raises:
        LabelTableError: a measurement or an instance names a label that the table lacks.
        InputError: the parts contradict each other; see `Report`.
    """
    own = [text for text in _warnings(measurements) if text not in warnings]
    return Report(
        case_id=case_id,
        description=description,
        geometry=segmentation.geometry,
        table=segmentation.table,
        measurements=tuple(measurements),
        provenance=provenance,
        instances=instances.instances if instances is not None else (),
        warnings=(*warnings, *own),
    )


def write_report(
    report: Report,
    image: Volume | Case | None,
    segmentation: Segmentation,
    instances: InstanceMap | None,
    folder: Path,
) -> None:
    """Writes measurements.json, measurements.csv, case.json, report.html and preview.png into ``folder``.

    Everything is made before the first file is written. Nothing here makes the folder appear at once; that
    is the caller's part.

    Args:
        report: what to tell.
        image: for the pictures, see `medseg.report.figures.overlay_planes`.
        segmentation: for the pictures.
        instances: for the pictures; None or an empty map shows labels alone.
        folder: exists.

    Raises:
        GeometryMismatchError: the grids of the pictures do not go together.
    """
    shown = instances if instances is not None and instances.instances else None
    pictures = overlay_planes(image, segmentation, instances=shown)
    sheet = preview(
        image, segmentation, instances=shown, measurements=report.measurements, title=report.case_id
    )
    texts = {
        "measurements.json": measurements_json(report),
        "measurements.csv": measurements_csv(report),
        "case.json": case_json(report),
        "report.html": html(report, pictures),
    }
    files = {name: text.encode("utf-8", errors="replace") for name, text in texts.items()}
    for name, content in {**files, "preview.png": sheet}.items():
        (folder / name).write_bytes(content)


def _warnings(measurements: Sequence[Measurement]) -> list[str]:
    whole = [m for m in measurements if m.instance is None]
    counts = [m.value for m in whole if m.name == "voxel_count"]
    texts = []
    if counts and not any(counts):
        texts.append("No label was found in this image.")
    cut = [_cut_off(m.label, measurements) for m in whole if m.name == "touches_border" and m.value]
    if cut:
        names = ", ".join(cut[:8]) + (f" and {len(cut) - 8} more" if len(cut) > 8 else "")
        texts.append(f"Reaches the edge of the image and may be cut off: {names}.")
    return texts


def _cut_off(label: str, measurements: Sequence[Measurement]) -> str:
    """A label that touches the border, with the number of its objects that do, where it was split."""
    objects = [
        bool(m.value)
        for m in measurements
        if m.label == label and m.name == "touches_border" and m.instance is not None
    ]
    return f"{label} ({sum(objects)} of {len(objects)} objects)" if len(objects) > 1 else label
