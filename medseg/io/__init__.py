"""Reading and writing image files; the only package that opens them.

The names below load their modules when they are first used, so that importing this package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "FoundCases": "medseg.io.find",
    "Limits": "medseg.io.limits",
    "Refused": "medseg.io.find",
    "check_voxels": "medseg.io.read",
    "commit_folder": "medseg.io.atomic",
    "find_cases": "medseg.io.find",
    "read_case": "medseg.io.read",
    "read_segmentation": "medseg.io.read",
    "read_volume": "medseg.io.read",
    "sweep_abandoned": "medseg.io.atomic",
    "write_atomically": "medseg.io.atomic",
    "write_instances": "medseg.io.write",
    "write_segmentation": "medseg.io.write",
    "write_volume": "medseg.io.write",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - derived, so that it cannot differ


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'medseg.io' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
