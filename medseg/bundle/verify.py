"""Whether a bundle is whole, safe, and does what its metadata says; offline."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medseg.bundle.bundle import Bundle, BundleParts, load_bundle, resolve_parts
from medseg.bundle.files import METADATA, bundle_name, config_file, file_in_bundle, read_text_file, shown
from medseg.bundle.weights import load_weights
from medseg.errors import BundleError, InvalidBundleError

CARD = "docs/README.md"
LICENCE = "LICENSE"
SECTIONS = {
    "Data": r"data(?:set)?s?\b",
    "Licence": r"licen[cs]e",
    "Results": r"metric|result|performance|accuracy",
    "Limits": r"limit",
}
RESEARCH_ONLY = "research use only"

_Known = TypeVar("_Known")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        passed: whether it holds.
        message: what was found; of a failure, what was expected and what to do.
    """

    name: str
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """All checks of one bundle, in order."""

    bundle: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks)

    def record(self) -> dict[str, Any]:
        """As plain data for JSON."""
        checks = [{"name": c.name, "passed": c.passed, "message": c.message} for c in self.checks]
        return {"bundle": self.bundle, "passed": self.passed, "checks": checks}


def verify_bundle(path: Path) -> VerifyResult:
    """Checks the bundle in the folder ``path``; a failed check never raises, it is listed.

    A check that needs the result of a failed one fails too and says so. Builds the network and runs it once
    on zeros, so it imports torch and MONAI.
    """
    path = Path(path)
    verifier = _Verifier(path)
    steps: dict[str, Callable[[], str]] = {
        "files": verifier.files,
        "metadata": verifier.metadata,
        "components": verifier.components,
        "weights": verifier.weights,
        "forward pass": verifier.forward_pass,
        "labels": verifier.labels,
        "card": verifier.card,
    }
    return VerifyResult(bundle_name(path), tuple(_check(name, step) for name, step in steps.items()))


def _check(name: str, step: Callable[[], str]) -> Check:
    try:
        return Check(name, passed=True, message=step())
    except BundleError as error:
        return Check(name, passed=False, message=str(error))


class _Verifier:
    """The checks, each with what earlier ones found; a check gives its message or raises BundleError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bundle: Bundle | None = None
        self._parts: BundleParts | None = None
        self._weighted = False
        self._outputs: int | None = None

    def files(self) -> str:
        needed = (METADATA, CARD, LICENCE)
        for relative in needed:
            file_in_bundle(self._path, relative)
        return ", ".join((*needed, config_file(self._path)))

    def metadata(self) -> str:
        self._bundle = load_bundle(self._path)
        table = self._bundle.label_table
        return f"version {self._bundle.metadata.version}, {len(table)} labels"

    def components(self) -> str:
        parts = resolve_parts(_found(self._bundle, "metadata"), with_weights=False)
        self._parts = parts
        count = sum(parameter.numel() for parameter in parts.network.parameters())
        return (
            f"{type(parts.network).__name__} with {count:,} parameters; every component is on the allow-list"
        )

    def weights(self) -> str:
        bundle, parts = _found(self._bundle, "metadata"), _found(self._parts, "components")
        entry = bundle.metadata.medseg.weights
        load_weights(bundle.path, entry, parts.network)
        self._weighted = True
        return f"sha256 {(entry.sha256 if entry else '')[:12]}… as pinned; every tensor fits and is finite"

    def forward_pass(self) -> str:
        import torch

        parts, bundle = _found(self._parts, "components"), _found(self._bundle, "metadata")
        _found(self._weighted or None, "weights")
        roi_size, where = parts.windows.roi_size, bundle.document.where
        channels = len(bundle.metadata.channels)
        zeros = torch.zeros((1, channels, *roi_size))
        try:
            with torch.inference_mode():
                output = parts.network(zeros)
        except Exception as error:
            raise InvalidBundleError(
                f"{where}: the network fails on {channels} channels of {list(roi_size)}: "
                f"{shown(str(error), 200)}"
            ) from error
        shape = tuple(getattr(output, "shape", ()))
        if len(shape) != 2 + len(roi_size) or shape[2:] != roi_size:
            raise InvalidBundleError(f"{where}: the network gives {shape} for a window of {roi_size}")
        if not bool(torch.isfinite(output).all()):
            raise InvalidBundleError(f"{where}: the network gives NaN or infinite values on zeros")
        self._outputs = shape[1]
        return f"{tuple(zeros.shape)} gives {shape}, finite"

    def labels(self) -> str:
        outputs = _found(self._outputs, "forward pass")
        parts, bundle = _found(self._parts, "components"), _found(self._bundle, "metadata")
        described = sum(o.num_channels for o in bundle.metadata.network_data_format.outputs.values())
        expected = described if parts.head is not None else len(bundle.label_table) + 1
        if parts.paint is not None:
            expected = len(parts.paint)
        if not outputs == described == expected:
            raise InvalidBundleError(
                f"bundle {bundle.name}: the network gives {outputs} channels, {METADATA} describes "
                f"{described}, and {len(bundle.label_table)} labels with background need {expected}"
            )
        return f"{outputs} channels of output for {len(bundle.label_table)} labels"

    def card(self) -> str:
        text = read_text_file(self._path, CARD).decode("utf-8", errors="replace")
        headings = [line.lstrip("#").strip().lower() for line in text.splitlines() if line.startswith("#")]
        missing = [
            section
            for section, pattern in SECTIONS.items()
            if not any(re.search(rf"\b(?:{pattern})", heading) for heading in headings)
        ]
        name = bundle_name(self._path)
        if missing:
            raise InvalidBundleError(
                f"bundle {name}: {CARD} has no section {', '.join(missing)}; "
                f"expected headings {', '.join(SECTIONS)}"
            )
        if RESEARCH_ONLY not in " ".join(text.lower().split()):
            raise InvalidBundleError(f"bundle {name}: {CARD} does not say {RESEARCH_ONLY!r}")
        return f"sections {', '.join(SECTIONS)}; {RESEARCH_ONLY}"


def _found(value: _Known | None, check: str) -> _Known:
    if value is None:
        raise InvalidBundleError(f"not checked, because {check} failed")
    return value
