"""Progress on stderr: bars with remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from medseg.workflows.outputs import Step


class ProgressBars:
    """A listener for the workflows: one bar over the cases, one over the windows of each.

    Use it as a context manager; leaving it closes the bars.
    """

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._cases: tqdm[Any] | None = None
        self._windows: tqdm[Any] | None = None

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bar in (self._windows, self._cases):
            if bar is not None:
                bar.close()

    def __call__(self, step: Step) -> None:
        """Draws one step."""
        if step.result is not None:
            self._ended(step)
        if self._terminal:
            self._draw(step)

    def _ended(self, step: Step) -> None:
        error = step.result.error if step.result is not None else None
        count = f"[{step.case_number}/{step.case_count}]"
        if error is not None:
            what = "skipped" if step.result is not None and step.result.skipped else "failed"
            self._line(f"{count} {step.case_id}: {what}: {error}")
        elif not self._terminal:
            self._line(f"{count} {step.case_id}: done")

    def _draw(self, step: Step) -> None:
        cases: tqdm[Any] = self._cases or _bar(step.case_count, "cases", "case", position=0)
        self._cases = cases
        if step.total is not None:
            windows: tqdm[Any] = self._windows or _bar(step.total, step.case_id[:24], "window", position=1)
            self._windows = windows
            windows.update(step.done - windows.n)
        if step.result is not None:
            cases.update(1)
            if self._windows is not None:
                self._windows.close()
                self._windows = None

    def _line(self, text: str) -> None:
        if self._terminal:
            tqdm.write(text, file=sys.stderr)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def _bar(total: int, name: str, unit: str, position: int) -> tqdm[Any]:
    return tqdm(total=total, desc=name, unit=unit, file=sys.stderr, position=position, leave=position == 0)
