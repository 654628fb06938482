"""Tables of cases: a CSV file with one row a case."""

from __future__ import annotations

import csv
from pathlib import Path

from medseg.errors import InputError, UnreadableFileError

CASE = "case_id"
"""The column that every table of cases has."""

PATIENT = "patient_id"

_MOST_BYTES = 16 * 1024**2


def read_case_table(path: Path) -> dict[str, dict[str, str]]:
    """Case id → column → text, of a CSV file with a header and a column ``case_id``.

    Raises:
        InputError: no such file, no column ``case_id`` or no other, a case twice or without id, or a row
            with more cells than the header.
        UnreadableFileError: no UTF-8 text, no CSV, or more than 16 MiB.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}; expected a CSV file with a column {CASE}")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UnreadableFileError(f"{path.name} is larger than {_MOST_BYTES >> 20} MiB; expected a table")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream, strict=True))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise UnreadableFileError(f"{path.name} is not a CSV file in UTF-8: {error}") from error
    header = [name.strip() for name in rows[0]] if rows else []
    if CASE not in header or len(header) < 2 or len(set(header)) < len(header):
        raise InputError(
            f"{path.name} has the columns {', '.join(header) or 'none'}; expected {CASE} and at least one "
            "other, each once, in the first line, with commas between them"
        )
    return _by_case(path.name, header, rows[1:])


def _by_case(name: str, header: list[str], rows: list[list[str]]) -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = {}
    for number, cells in enumerate(rows, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header):
            raise InputError(
                f"{name} has {len(cells)} cells in line {number} where the header has {len(header)}; put "
                "text with commas in quotes"
            )
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        case_id = row.pop(CASE, "")
        if not case_id or case_id in table:
            what = "has no case" if not case_id else "names a case again"
            raise InputError(f"line {number} of {name} {what}; expected each case once")
        table[case_id] = row
    return table
