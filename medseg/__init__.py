"""Medical image segmentation: a scan goes in; segmentation, instances, measurements and a report come out.

Research use only; not for clinical decisions. The names below load their modules when they are first used,
so ``import medseg`` brings no network library.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "medseg.bundle.bundle",
    "Case": "medseg.spatial.case",
    "CaseRef": "medseg.spatial.case",
    "Code": "medseg.spatial.labels",
    "find_bundle": "medseg.bundle.store",
    "find_cases": "medseg.io.find",
    "Geometry": "medseg.spatial.geometry",
    "Instance": "medseg.instances.instance",
    "InstanceMap": "medseg.instances.instance",
    "Label": "medseg.spatial.labels",
    "LabelTable": "medseg.spatial.labels",
    "load_bundle": "medseg.bundle.bundle",
    "Measurement": "medseg.measure.measurement",
    "MedsegError": "medseg.errors",
    "Predictor": "medseg.inference.predictor",
    "PredictorOptions": "medseg.inference.predictor",
    "ProbabilityMap": "medseg.spatial.segmentation",
    "read_case": "medseg.io.read",
    "read_segmentation": "medseg.io.read",
    "read_volume": "medseg.io.read",
    "segment": "medseg.workflows.segment",
    "Segmentation": "medseg.spatial.segmentation",
    "split": "medseg.instances.split",
    "Unit": "medseg.spatial.volume",
    "Volume": "medseg.spatial.volume",
    "write_segmentation": "medseg.io.write",
    "write_volume": "medseg.io.write",
}

__all__ = sorted(_HOMES, key=str.casefold)  # noqa: PLE0605 - derived, so that it cannot differ


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'medseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
