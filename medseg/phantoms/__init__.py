"""Synthetic cases with a known answer."""

from medseg.phantoms.scenes import ABDOMEN, Part, Scene, abdomen, scene
from medseg.phantoms.shapes import (
    ball,
    ball_volume_ml,
    box,
    capsule,
    ellipsoid,
    ellipsoid_volume_ml,
    oblique_geometry,
    touching_balls,
)

__all__ = [
    "ABDOMEN",
    "Part",
    "Scene",
    "abdomen",
    "ball",
    "ball_volume_ml",
    "box",
    "capsule",
    "ellipsoid",
    "ellipsoid_volume_ml",
    "oblique_geometry",
    "scene",
    "touching_balls",
]
