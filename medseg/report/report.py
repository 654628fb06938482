"""What is told about one case, and how it came about."""

from __future__ import annotations

import contextlib
import math
import platform
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from typing import Any

from medseg.errors import InputError
from medseg.instances.instance import Instance
from medseg.measure.measurement import Measurement
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import LabelTable

NOTICE = "Research use only. Not a medical device; not for clinical decisions."
"""Stands in every output that a person or a program reads."""

SCHEMA_VERSION = 1
"""Raised when a field of the JSON files changes its meaning or goes away."""

_LIBRARIES = (
    "medseg", "numpy", "scipy", "torch", "monai", "nibabel", "simpleitk", "pydicom", "scikit-image",
    "connected-components-3d", "edt", "fill-voids", "pillow", "tifffile", "openvino",
)  # fmt: skip
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_LENGTH = 64
_STARTED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a result came about. Holds nothing that identifies a patient.

    Attributes:
        versions: of medseg, python and the libraries in use; see `versions`.
        started: when the case was begun, ISO 8601 in UTC, such as ``2025-01-31T08:15:00Z``; None where the
            record is of no single case.
        input_sources: input → series UID, ``sha256:…`` of the file, or ``unknown``.
        bundle: name of the bundle, None where no network was run.
        bundle_version: its version.
        trust: how far the bundle is trusted: ``data``, ``pinned`` or ``code``.
        weights_sha256: 64 hexadecimal digits.
        config_sha256: of the bundle's configuration, 64 hexadecimal digits.
        backend: what ran the network, such as ``torch``.
        device: where it ran, such as ``cpu`` or ``cuda:0``.
        precision: such as ``fp32``.
        options: what changes the result, such as test-time augmentation, overlap and window size.
        durations_s: step → seconds.
        peak_memory_bytes: highest memory in use, None where it was not measured.
        fallbacks: each step down that was taken for want of memory, in words.

    Raises:
        InputError: a hash, a source, the time or a duration is not of its form.
    """

    versions: Mapping[str, str]
    started: str | None = None
    input_sources: Mapping[str, str] = field(default_factory=dict)
    bundle: str | None = None
    bundle_version: str | None = None
    trust: str | None = None
    weights_sha256: str | None = None
    config_sha256: str | None = None
    backend: str | None = None
    device: str | None = None
    precision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    durations_s: Mapping[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    fallbacks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("versions", "input_sources", "options", "durations_s"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        for name in ("weights_sha256", "config_sha256"):
            digest = getattr(self, name)
            if digest is not None and not _SHA256.fullmatch(digest):
                raise InputError(f"{name} is not a SHA-256; expected 64 lower-case hexadecimal digits")
        if self.started is not None:
            _check_started(self.started)
        for name, source in self.input_sources.items():
            if not _is_source(source):
                raise InputError(
                    f"the source of input {name!r} is neither 'sha256:' with 64 hexadecimal digits nor a "
                    "series UID nor 'unknown'; paths and names do not belong in provenance"
                )
        for step, seconds in self.durations_s.items():
            if not (math.isfinite(seconds) and seconds >= 0):
                raise InputError(f"the duration of step {step!r} is {seconds}; expected 0 s or more")


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything that is said about one case.

    Attributes:
        case_id: unique within a run; the caller's own id, never a patient's.
        description: what image this is, in words, for the reader; None where there is nothing to say.
        geometry: the grid that was segmented.
        table: all labels that could have been found.
        measurements: of labels and instances.
        provenance: how it came about.
        instances: single objects, if they were split.
        warnings: what the reader must know before relying on a number.
        notice: `NOTICE`, always.

    Raises:
        LabelTableError: a measurement or an instance names a label that the table lacks.
        InputError: no case id, a measurement of an instance that is not listed, or the same measurement
            twice.
    """

    case_id: str
    description: str | None
    geometry: Geometry
    table: LabelTable
    measurements: tuple[Measurement, ...]
    provenance: Provenance
    instances: tuple[Instance, ...] = ()
    warnings: tuple[str, ...] = ()
    notice: str = field(default=NOTICE, init=False)

    def __post_init__(self) -> None:
        if not self.case_id:
            raise InputError("a report needs a case id")
        for label in sorted({m.label for m in self.measurements} | {i.label for i in self.instances}):
            self.table.by_name(label)
        listed = {instance.id for instance in self.instances}
        seen: set[tuple[str, int | None, str]] = set()
        for m in self.measurements:
            if m.instance is not None and m.instance not in listed:
                raise InputError(
                    f"{m.name!r} was measured on instance {m.instance}, which is not among the "
                    f"{len(listed)} instances of the report"
                )
            key = m.label, m.instance, m.name
            if key in seen:
                raise InputError(f"{m.name!r} of label {m.label!r}, instance {m.instance} occurs twice")
            seen.add(key)


def versions() -> dict[str, str]:
    """Versions of medseg, of Python and of the libraries that results depend on, as installed.

    Nothing is imported for it; a library that is not installed is left out.
    """
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def plain(text: str) -> str:
    """Text without control characters and without marks that change the reading direction.

    Each run of them becomes one space, so that a name from a foreign file can be shown on one line.
    """
    kept = ["\0" if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp", "Cs"} else c for c in text]
    return re.sub("\0+", " ", "".join(kept)).strip()


def _is_source(source: str) -> bool:
    if source == "unknown" or _SHA256.fullmatch(source.removeprefix("sha256:")):
        return source == "unknown" or source.startswith("sha256:")
    return bool(_UID.fullmatch(source)) and len(source) <= _UID_LENGTH


def _check_started(started: str) -> None:
    try:
        valid = bool(_STARTED.fullmatch(started)) and bool(datetime.fromisoformat(started))
    except ValueError:
        valid = False
    if not valid:
        raise InputError(
            f"the start time is {started!r}; expected ISO 8601 in UTC, such as 2025-01-31T08:15:00Z"
        )
