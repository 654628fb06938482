"""How much memory a case takes, so that a stated limit is kept or the case refused before it starts."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from medseg.errors import ConfigurationError, LimitExceededError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30}
_SAMPLE_S = 0.002
_PREPARE_COPIES = 4
"""Copies of the prepared volume that resampling and intensity transforms hold for a while."""
_PLANES_BYTES = 6 * 64 * 2**20
"""Planes on their way from sums to labels: means, probabilities, scores."""
_CLEAN_BYTES_A_VOXEL = 10
"""Component numbers and masks while a label map is cleaned."""


@dataclass(frozen=True, slots=True)
class CaseSize:
    """What a case takes whatever way it is worked through.

    Attributes:
        prepared_bytes: the prepared volume, all channels.
        label_bytes: the label map on the case's own grid.
        voxels: of the case's own grid.
        cleaned: whether the label map is cleaned at the end.
    """

    prepared_bytes: int
    label_bytes: int
    voxels: int
    cleaned: bool

    @property
    def end_bytes(self) -> int:
        """The label map, and what cleaning it takes."""
        return self.label_bytes + (_CLEAN_BYTES_A_VOXEL * self.voxels if self.cleaned else 0)


def parse_bytes(text: str) -> int:
    """Bytes of a size such as ``4GB``, ``512 MiB`` or ``2e9``.

    Raises:
        ConfigurationError: no such size, or 0.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([KMGT]I?)?B?\s*", text.upper().replace("E", "e"))
    count = int(float(match[1]) * _UNITS.get(match[2] or "", 0)) if match else 0
    if count <= 0:
        raise ConfigurationError(f"{text!r} is no size of memory; expected one such as 4GB or 512MiB")
    return count


def resident_bytes() -> int:
    """Memory that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def extra_bytes(work: Callable[[], object]) -> int:
    """How much more memory the process held at most while ``work`` ran."""
    process = psutil.Process()
    before = highest = int(process.memory_info().rss)
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(_SAMPLE_S):
            highest = max(highest, int(process.memory_info().rss))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return max(highest, int(process.memory_info().rss)) - before


def check_preparing(size: CaseSize, limit_bytes: int, case_id: str) -> None:
    """Refuses a case of which the volume and the label map alone do not fit.

    Raises:
        LimitExceededError: they need more than the limit.
    """
    needed = resident_bytes() + max(
        _PREPARE_COPIES * size.prepared_bytes, size.prepared_bytes + size.end_bytes + _PLANES_BYTES
    )
    if needed > limit_bytes:
        raise LimitExceededError(
            f"case {case_id!r} needs about {_gb(needed)} for the prepared volume and its label map; the "
            f"memory limit is {_gb(limit_bytes)}: raise it"
        )


def bytes_for_sums(size: CaseSize, window_bytes: int, limit_bytes: int, case_id: str) -> int:
    """What is left for the sums of overlapping windows once the volume is prepared.

    Args:
        size: of the case.
        window_bytes: that running a batch of windows takes.
        limit_bytes: the stated peak.
        case_id: for the message.

    Raises:
        LimitExceededError: nothing is left.
    """
    fixed = resident_bytes() + size.label_bytes + _PLANES_BYTES + window_bytes
    fixed = max(fixed, resident_bytes() + size.end_bytes)
    if fixed >= limit_bytes:
        raise LimitExceededError(
            f"case {case_id!r} needs more than {_gb(fixed)} ({_gb(window_bytes)} for a batch of windows); "
            f"the memory limit is {_gb(limit_bytes)}: raise it"
        )
    return limit_bytes - fixed


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
