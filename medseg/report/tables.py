"""The tables that people read: one row per label or instance, a few columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from medseg.measure.measurement import Measurement
from medseg.report.numbers import fixed_text, number_texts
from medseg.report.paint import Colour, region_colours
from medseg.report.report import Report
from medseg.spatial.labels import Label

MISSING = "–"
_UNITS = {"mm2": "mm²", "mm3": "mm³", "arbitrary": "arbitrary units"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as text, or a dash with the reason and the number of the note that says it."""

    text: str
    reason: str = ""
    note: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One label or instance; without a colour where the label's objects are coloured one by one."""

    label: Label
    colour: Colour | None
    instance: int | None
    score: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table for people.

    Attributes:
        headers: name and unit of each column after label and instance.
        rows: labels or instances.
        notes: reasons for dashes; cells refer to them from 1.
        missing: ``what: why`` of columns without a single value, which are left out.
        scored: True where at least one row has a score.
    """

    headers: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]
    scored: bool


@dataclass(frozen=True, slots=True)
class _Column:
    header: str
    names: tuple[str, ...]
    joint: str = ""
    write: Callable[[Sequence[float]], list[str]] = number_texts


def _tenths(values: Sequence[float]) -> list[str]:
    """Lengths or positions in mm: tenths, or more where all are less than 1 mm."""
    fine = 0 < max(map(abs, values), default=0.0) < 1
    return number_texts(values) if fine else [fixed_text(value, 1) for value in values]


def _counts(values: Sequence[float]) -> list[str]:
    return [f"{value:.0f}" for value in values]


_COLUMNS = (
    _Column("Volume", ("volume_ml",)),
    _Column("Area", ("area_mm2",)),
    _Column("Voxels", ("voxel_count",), write=_counts),
    _Column(
        "Axial diameters, long × short",
        ("axial_long_diameter_mm", "axial_short_diameter_mm"),
        " × ",
        _tenths,
    ),
    _Column("Longest diameter in 3D", ("longest_diameter_mm",), write=_tenths),
    _Column("Intensity, mean ± SD", ("intensity_mean", "intensity_sd"), " ± "),
    _Column("Centroid R, A, S", ("centroid_r_mm", "centroid_a_mm", "centroid_s_mm"), ", ", _tenths),
)

_Found = dict[tuple[str, int | None, str], Measurement]
_Colours = Mapping[tuple[str, int | None], Colour]


def label_table(report: Report) -> Table:
    """One row per label; labels without a single voxel are left out."""
    found = _by_key(report)
    rows: list[tuple[Label, int | None, float | None]] = []
    for label in report.table:
        count = found.get((label.name, None, "voxel_count"))
        if count is None or count.value != 0:
            rows.append((label, None, None))
    objects = Counter(instance.label for instance in report.instances)
    colours: _Colours = {(label.name, None): label.rgb for label in report.table if objects[label.name] < 2}
    return _table(found, rows, colours)


def instance_table(report: Report) -> Table:
    """One row per instance, by ascending id."""
    ordered = sorted(report.instances, key=lambda instance: instance.id)
    rows = [(report.table.by_name(i.label), i.id, i.score) for i in ordered]
    colours = region_colours(report.table, report.instances)
    return _table(_by_key(report), rows, {(i.label, i.id): colours[i.id] for i in ordered})


def _table(
    found: _Found,
    rows: Sequence[tuple[Label, int | None, float | None]],
    colours: _Colours,
) -> Table:
    keys = [(label.name, instance) for label, instance, _ in rows]
    columns: list[_Column] = []
    missing: dict[str, list[str]] = {}
    for column in _COLUMNS:
        parts = [m for key in keys for m in _parts(found, key, column)]
        if any(m.value is not None for m in parts):
            columns.append(column)
        elif parts:
            reasons = "; ".join(dict.fromkeys(m.reason or "" for m in parts))
            missing.setdefault(reasons, []).append(column.header)
    notes: list[str] = []
    written = [
        Row(
            label,
            colours.get((label.name, instance)),
            instance,
            "" if score is None else fixed_text(score, 2),
            tuple(_cell(_parts(found, (label.name, instance), column), column, notes) for column in columns),
        )
        for label, instance, score in rows
    ]
    headers = tuple((column.header, _unit(found, keys, column)) for column in columns)
    scored = any(row.score for row in written)
    left_out = tuple(f"{'; '.join(what)}: {reasons}" for reasons, what in missing.items())
    return Table(headers, tuple(written), tuple(notes), left_out, scored)


def _cell(parts: Sequence[Measurement], column: _Column, notes: list[str]) -> Cell:
    """The parts of a column in one cell; a part without a value is a dash, and so is a whole without any."""
    if not parts:
        return Cell(MISSING, "not measured")
    reasons = list(dict.fromkeys(m.reason for m in parts if m.reason))
    written = iter(column.write([m.value for m in parts if m.value is not None]))
    texts = [MISSING if m.value is None else next(written) for m in parts]
    text = MISSING if all(m.value is None for m in parts) else column.joint.join(texts)
    if not reasons:
        return Cell(text)
    reason = "; ".join(reasons)
    if reason not in notes:
        notes.append(reason)
    return Cell(text, reason, notes.index(reason) + 1)


def _unit(found: _Found, keys: Iterable[tuple[str, int | None]], column: _Column) -> str:
    units = dict.fromkeys(m.unit for key in keys for m in _parts(found, key, column) if m.value is not None)
    return "/".join(_UNITS.get(unit, unit) for unit in units if unit not in {"", "1"})


def _parts(found: _Found, key: tuple[str, int | None], column: _Column) -> list[Measurement]:
    every = (found.get((*key, name)) for name in column.names)
    return [m for m in every if m is not None]


def _by_key(report: Report) -> _Found:
    return {(m.label, m.instance, m.name): m for m in report.measurements}
