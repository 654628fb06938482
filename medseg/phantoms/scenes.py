"""Whole cases with a known answer: an image, its segmentation and the volumes that must come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.phantoms.shapes import Point, ellipsoid, ellipsoid_volume_ml
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import Code, Label, LabelTable
from medseg.spatial.segmentation import Segmentation
from medseg.spatial.volume import Unit, Volume


@dataclass(frozen=True, slots=True)
class Part:
    """One ellipsoid of a scene.

    Attributes:
        label: name in the scene's table.
        centre_mm: its centre, RAS+ mm.
        radii_mm: its radii along R, A and S.
        intensity: the value of its voxels before noise.
    """

    label: str
    centre_mm: Point
    radii_mm: Point
    intensity: float

    @property
    def volume_ml(self) -> float:
        """The ellipsoid's own volume."""
        return ellipsoid_volume_ml(self.radii_mm)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """An image with its reference.

    Attributes:
        volume: the image.
        segmentation: label map on the image's grid; later parts lie over earlier ones.
        parts: what was drawn.
    """

    volume: Volume
    segmentation: Segmentation
    parts: tuple[Part, ...]


ABDOMEN = LabelTable(
    (
        Label(1, "liver", Code("SCT", "10200004", "Liver")),
        Label(2, "spleen", Code("SCT", "78961009", "Spleen")),
        Label(3, "lesion", Code("SCT", "52988006", "Lesion"), kind="thing"),
    )
)
"""The labels of `abdomen`; lesions are things."""

_ABDOMEN_PARTS = (
    Part("liver", (35.0, 10.0, 5.0), (32.0, 40.0, 30.0), 110.0),
    Part("spleen", (-45.0, -15.0, 10.0), (16.0, 26.0, 24.0), 120.0),
    Part("lesion", (30.0, 22.0, 8.0), (9.0, 6.0, 7.0), 60.0),
    Part("lesion", (42.0, -8.0, -6.0), (5.0, 5.0, 5.0), 55.0),
)


def abdomen(geometry: Geometry, seed: int = 0, noise_hu: float = 8.0) -> Scene:
    """A CT-like scene within ±80 mm of the patient's origin: liver with two lesions, spleen, soft tissue.

    The two lesions lie inside the liver, whose label they replace.

    Args:
        geometry: any calibrated grid, however turned.
        seed: of the noise.
        noise_hu: standard deviation of the noise.
    """
    return scene(geometry, ABDOMEN, _ABDOMEN_PARTS, background=40.0, noise=noise_hu, seed=seed)


def scene(
    geometry: Geometry,
    table: LabelTable,
    parts: tuple[Part, ...],
    *,
    background: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Scene:
    """Draws ellipsoids one over the other.

    Args:
        geometry: the grid.
        table: the labels that the parts name.
        parts: what to draw, in this order.
        background: value of the voxels outside.
        noise: standard deviation of the Gaussian noise added to the image.
        seed: of the noise.

    Raises:
        LabelTableError: a part names a label that the table lacks.
        ConfigurationError: a radius that is not above 0.
    """
    dtype = np.min_scalar_type(max((label.index for label in table), default=1))
    labels: NDArray[Any] = np.zeros(geometry.shape, dtype=dtype)
    values = np.full(geometry.shape, background, dtype=np.float32)
    for part in parts:
        mask = ellipsoid(geometry, part.centre_mm, part.radii_mm)
        labels[mask] = table.by_name(part.label).index
        values[mask] = part.intensity
    if noise > 0:
        random = np.random.default_rng(seed)
        values += random.normal(0, noise, geometry.shape).astype(np.float32)
    volume = Volume(values, geometry, Unit.HU, source=f"phantom:seed{seed}")
    return Scene(volume, Segmentation(labels, geometry, table, volume.source), parts)
