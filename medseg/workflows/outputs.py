"""Where results lie, what a listener is told, and the record of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medseg.errors import MedsegError
from medseg.io.atomic import made_folder, write_atomically
from medseg.report.report import NOTICE, Provenance


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case.

    Attributes:
        case_id: its id in this run.
        folder: where its outputs lie; None where it failed.
        warnings: what a reader of the result should know.
        error: why it failed or was skipped; None where it succeeded.
        skipped: it was never meant to be a volume, and others in the run were.
    """

    case_id: str
    folder: Path | None = None
    warnings: tuple[str, ...] = ()
    error: Exception | None = None
    skipped: bool = False

    @property
    def failed(self) -> bool:
        """Whether there is no result where there should be one."""
        return self.error is not None and not self.skipped

    def record(self) -> dict[str, object]:
        """The case's entry in ``run.json``."""
        if self.error is None:
            folder = self.folder.name if self.folder is not None else None
            return {
                "case": self.case_id,
                "outcome": "done",
                "folder": folder,
                "warnings": list(self.warnings),
            }
        known = isinstance(self.error, MedsegError)
        return {
            "case": self.case_id,
            "outcome": "skipped" if self.skipped else "failed",
            "error": type(self.error).__name__,
            "message": str(self.error) if known else f"a bug in medseg: {self.error!r}",
            "retryable": self.error.retryable if isinstance(self.error, MedsegError) else False,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """What a listener is told while a run goes on.

    Attributes:
        case_id: the case at work.
        case_number: 1 for the first.
        case_count: of all cases in the run.
        done: parts of this case that are done, such as windows; 0 when it starts.
        total: parts of this case, or None before they are known.
        result: set once, when the case has ended.
    """

    case_id: str
    case_number: int
    case_count: int
    done: int = 0
    total: int | None = None
    result: CaseResult | None = None


Listener = Callable[[Step], None]


def folder_for(out: Path, case_id: str, sources: Mapping[str, str]) -> Path:
    """The folder of a case's outputs: ``out/<case id>``.

    Where that folder holds results of another input (an earlier run with an equally named file), the
    case id gets the first eight digits of its content's hash, so that nothing is overwritten by another
    scan. Results of the same input are replaced.
    """
    folder = out / case_id
    if not folder.exists():
        return folder
    try:
        recorded = json.loads((folder / "case.json").read_text())["provenance"]["input_sources"]
    except (OSError, ValueError, KeyError, TypeError):
        recorded = None
    if recorded == dict(sources):
        return folder
    digest = hashlib.sha256("\n".join(f"{k}={v}" for k, v in sorted(sources.items())).encode())
    return out / f"{case_id}-{digest.hexdigest()[:8]}"


def write_run(out: Path, results: Sequence[CaseResult], provenance: Provenance) -> None:
    """Writes ``out/run.json``: every case with its outcome, and what ran."""
    record = {
        "notice": NOTICE,
        "cases": [result.record() for result in results],
        "done": sum(result.error is None for result in results),
        "failed": sum(result.failed for result in results),
        "skipped": sum(result.skipped for result in results),
        "provenance": {
            key: value for key, value in asdict(provenance).items() if value not in (None, {}, [], ())
        },
    }
    text = json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(made_folder(out) / "run.json", lambda path: _write_text(path, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
