"""A report as a table for pandas, R and spreadsheets."""

from __future__ import annotations

import csv
import io

from medseg.measure.measurement import Measurement
from medseg.report.report import Report

_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")
_FIRST = ("case", "label_index", "label", "instance", "score")
_LAST = ("reasons", "notice")
_EXACT = 2**53


def measurements_csv(report: Report) -> str:
    """One row per label and one per instance, one column per measurement.

    The first columns are ``case``, ``label_index``, ``label``, ``instance`` (empty in the row of a label as a
    whole) and ``score``; then each measurement under its name, with the unit in square brackets where the
    name does not end in it; then ``reasons``, which says why cells are empty, and ``notice``.

    Text that a spreadsheet would take for a formula starts with an apostrophe; numbers are left alone and
    written in full precision. Lines end as in RFC 4180. A report without labels gives the header alone.
    """
    columns = _columns(report.measurements)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([*_FIRST, *map(safe_cell, columns.values()), *_LAST])
    by_row: dict[tuple[str, int | None], dict[str, Measurement]] = {}
    for m in report.measurements:
        by_row.setdefault((m.label, m.instance), {})[m.name] = m
    for label, instance, score in _rows(report):
        found = by_row.get((label, instance), {})
        cells = [number_cell(found[name].value) if name in found else "" for name in columns]
        reasons = "; ".join(f"{m.name}: {m.reason}" for m in found.values() if m.reason)
        writer.writerow(
            [
                safe_cell(report.case_id),
                report.table.by_name(label).index,
                safe_cell(label),
                "" if instance is None else instance,
                number_cell(score),
                *cells,
                safe_cell(reasons),
                report.notice,
            ]
        )
    return stream.getvalue()


def _rows(report: Report) -> list[tuple[str, int | None, float | None]]:
    """Label, instance id and score of each row: all labels in the table's order, then all instances."""
    labels: list[tuple[str, int | None, float | None]] = [(label.name, None, None) for label in report.table]
    return labels + [(instance.label, instance.id, instance.score) for instance in report.instances]


def _columns(measurements: tuple[Measurement, ...]) -> dict[str, str]:
    """Measurement name → column header, in order of first appearance."""
    columns: dict[str, str] = {}
    for m in measurements:
        has_unit = m.unit in {"", "1"} or m.name.lower().endswith(f"_{m.unit.lower()}")
        columns.setdefault(m.name, m.name if has_unit else f"{m.name} [{m.unit}]")
    return columns


def number_cell(value: float | None) -> str:
    """A number in full precision, whole ones without a point; empty for None."""
    if value is None:
        return ""
    whole = float(value).is_integer() and abs(value) < _EXACT
    return str(int(value)) if whole else repr(float(value))


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
