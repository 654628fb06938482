"""Grids in RAS+ millimetres and what lies on them. NumPy only; files and networks are elsewhere."""

from medseg.spatial.case import Case, CaseRef
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import Code, Label, LabelTable
from medseg.spatial.segmentation import ProbabilityMap, Segmentation
from medseg.spatial.volume import Unit, Volume

__all__ = [
    "Case",
    "CaseRef",
    "Code",
    "Geometry",
    "Label",
    "LabelTable",
    "ProbabilityMap",
    "Segmentation",
    "Unit",
    "Volume",
]
