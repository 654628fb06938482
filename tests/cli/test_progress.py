from __future__ import annotations

import io
from pathlib import Path

from medseg.cli.progress import ProgressBars
from medseg.errors import InputError
from medseg.workflows.outputs import CaseResult, Step

STEPS = [
    Step("a", 1, 2),
    Step("a", 1, 2, 1, 4),
    Step("a", 1, 2, 4, 4),
    Step("a", 1, 2, result=CaseResult("a", Path("a"))),
    Step("b", 2, 2, result=CaseResult("b", error=InputError("no scan"))),
]


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _drawn(stream, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    with ProgressBars() as bars:
        for step in STEPS:
            bars(step)
    return stream.getvalue()


def test_plain_lines_without_a_terminal(monkeypatch):
    assert _drawn(io.StringIO(), monkeypatch).splitlines() == ["[1/2] a: done", "[2/2] b: failed: no scan"]


def test_bars_with_remaining_time_on_a_terminal(monkeypatch):
    text = _drawn(_Terminal(), monkeypatch)
    assert "cases" in text and "0/4" in text and "<" in text, "tqdm writes elapsed<remaining"
    assert "[2/2] b: failed: no scan" in text
