"""A report as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.measure.measurement import Measurement
from medseg.report.figures import Picture
from medseg.report.numbers import fixed_text
from medseg.report.page import Fact, figure, template, when
from medseg.report.report import Report
from medseg.report.tables import Table, instance_table, label_table
from medseg.spatial.labels import Label

_TEMPLATE = "report.html.j2"
_MOST_ROWS = 3000
_HIDDEN_INSTANCES = 25
"""A longer table of instances is folded."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One measurement in the full table."""

    label: str
    instance: str
    name: str
    value: str
    reason: str
    unit: str
    method: str


def html(report: Report, pictures: Sequence[Picture] = ()) -> str:
    """The report for people: notice, key facts, pictures, tables, warnings and provenance.

    One file without scripts and without anything from elsewhere: a content security policy allows no more
    than its own style and the pictures in it. Every text from outside is escaped. A missing value is a dash
    whose reason stands below the table.

    Args:
        report: what to tell.
        pictures: shown in their order.
    """
    rows = [_row(m) for m in report.measurements[:_MOST_ROWS]]
    return template(_TEMPLATE).render(
        report=report,
        facts=_facts(report),
        figures=[figure(picture) for picture in pictures],
        labels=label_table(report),
        absent=[label.name for label in _absent(report)],
        instances=_folded(instance_table(report)),
        rows=rows,
        left_out=len(report.measurements) - len(rows),
        provenance=_provenance(report),
    )


def _folded(table: Table) -> tuple[Table, bool]:
    return table, len(table.rows) > _HIDDEN_INSTANCES


def _absent(report: Report) -> list[Label]:
    empty = {
        m.label
        for m in report.measurements
        if m.name == "voxel_count" and m.instance is None and m.value == 0
    }
    return [label for label in report.table if label.name in empty]


def _facts(report: Report) -> list[Fact]:
    geometry, provenance = report.geometry, report.provenance
    lengths = geometry.shape if geometry.calibrated or geometry.shape[2] > 1 else geometry.shape[:2]
    shape = " × ".join(map(str, lengths))
    if geometry.calibrated:
        spacing = " × ".join(f"{step:.4g}" for step in geometry.spacing_mm)
        grid = f"{shape} voxels of {spacing} mm, axes {geometry.orientation}"
    else:
        grid = f"{shape} pixels, pixel size unknown"
    facts = [Fact("Image", report.description)] if report.description else []
    facts.append(Fact("Grid", grid))
    if provenance.bundle:
        version = f" {provenance.bundle_version}" if provenance.bundle_version else ""
        facts.append(Fact("Bundle", provenance.bundle + version))
    absent = len(_absent(report))
    found = f"{len(report.table) - absent} of {len(report.table)}"
    facts.append(Fact("Labels found", found))
    if report.instances:
        facts.append(Fact("Instances", str(len(report.instances))))
    if provenance.started:
        facts.append(Fact("Made", when(provenance.started)))
    return facts


def _row(m: Measurement) -> _Row:
    return _Row(
        label=m.label,
        instance="" if m.instance is None else str(m.instance),
        name=m.name,
        value="" if m.value is None else f"{m.value:.6g}".replace("-", "−"),
        reason=m.reason or "",
        unit="" if m.unit == "1" else m.unit,
        method=m.method or "",
    )


def _provenance(report: Report) -> list[Fact]:
    p = report.provenance
    memory = f"{p.peak_memory_bytes / 1e9:.2f} GB" if p.peak_memory_bytes is not None else None
    facts = [
        Fact("Started", when(p.started) if p.started else ""),
        Fact("Bundle", " ".join(filter(None, (p.bundle, p.bundle_version)))),
        Fact("Trust level", p.trust or ""),
        Fact("Weights SHA-256", p.weights_sha256 or "", code=True),
        Fact("Configuration SHA-256", p.config_sha256 or "", code=True),
        Fact("Ran on", ", ".join(filter(None, (p.backend, p.device, p.precision)))),
        Fact("Options", "; ".join(f"{name} = {_option(value)}" for name, value in p.options.items())),
        Fact("Durations", "; ".join(f"{step} {fixed_text(s, 2)} s" for step, s in p.durations_s.items())),
        Fact("Peak memory", memory or ""),
        Fact("Steps down for memory", "; ".join(p.fallbacks)),
        *(Fact(f"Input {name}", source, code=True) for name, source in p.input_sources.items()),
        Fact("Versions", "; ".join(f"{name} {version}" for name, version in p.versions.items())),
    ]
    return [fact for fact in facts if fact.value]


def _option(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " × ".join(map(str, value))
    return str(value)
