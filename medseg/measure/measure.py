"""All numbers about one segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryMismatchError
from medseg.instances.instance import InstanceMap
from medseg.instances.regions import Region, find_regions
from medseg.measure.definitions import Definition, definitions
from medseg.measure.diameter import (
    SlicePlane,
    axial_diameters,
    longest_diameter,
    outline_corners,
    slice_plane,
)
from medseg.measure.intensity import intensity_values
from medseg.measure.lesions import lesion_load
from medseg.measure.measurement import Measurement
from medseg.measure.shape import (
    crofton_weights,
    elongation_and_flatness,
    extents_mm,
    principal_moments_mm2,
    sphericity,
    surface_area_mm2,
)
from medseg.measure.uptake import uptake_values
from medseg.measure.volumetry import SINGLE_SLICE, touches_border, volume_values
from medseg.spatial.geometry import Geometry
from medseg.spatial.segmentation import Segmentation
from medseg.spatial.volume import Unit, Volume

NOT_PRESENT = "not present"
PIXEL_SIZE_UNKNOWN = "pixel size unknown"
SINGLE_VOXEL = "a single voxel has no axes"


def measure(
    segmentation: Segmentation, instances: InstanceMap | None = None, image: Volume | None = None
) -> list[Measurement]:
    """Volumes, places, diameters, surfaces, forms and, with an image, intensities and uptake.

    Every label of the table is measured as a whole, then each of its instances. A label that does not occur
    has a voxel count and a volume of 0 and for everything else the reason "not present". Where the pixel
    size is unknown, everything in millimetres has the reason "pixel size unknown". Diameters lie on the
    outline along the voxel faces; what else defines a number stands in its ``method``.

    Uptake values (SUV) need an image in SUV: with another unit they have a reason, and in Hounsfield units,
    where they mean nothing, they are left out. Lesion count and load are given for labels as a whole, where
    instances are given and the label's kind is ``thing`` or it has any.

    Args:
        segmentation: the label map.
        instances: its objects on the same grid, or None.
        image: what intensities are taken from, on the same grid, or None.

    Returns:
        By label index; the label as a whole before its instances by id; for each object in one order.

    Raises:
        GeometryMismatchError: the instances or the image lie on another grid.
        LabelTableError: an instance names a label that the segmentation's table lacks.
    """
    geometry = segmentation.geometry
    for what, other in (("image", image), ("instance map", instances)):
        if other is not None and not other.geometry.same_grid(geometry):
            raise GeometryMismatchError(
                f"the segmentation has {geometry.describe()} but the {what} has {other.geometry.describe()}; "
                "resample one onto the other first"
            )
    grid = _Grid.of(geometry, image)
    found: list[Measurement] = []
    for target in _targets(segmentation, instances):
        found += _measurements(target, grid)
        if instances is not None and target.instance is None:
            found += lesion_load(segmentation.table.by_name(target.label), instances)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    """One object: which map and value it is, and its region there (None where it has no voxel)."""

    label: str
    instance: int | None
    array: NDArray[Any]
    region: Region | None


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """What all objects of a case share."""

    geometry: Geometry
    image: Volume | None
    plane: SlicePlane
    surface_weights: NDArray[np.float64] | None
    table: dict[str, Definition]

    @classmethod
    def of(cls, geometry: Geometry, image: Volume | None) -> _Grid:
        plane = slice_plane(geometry)
        single_slice = geometry.shape[2] == 1
        solid = geometry.calibrated and not single_slice
        table = definitions(
            plane, single_slice=single_slice, intensity_unit=None if image is None else image.unit.value
        )
        return cls(geometry, image, plane, crofton_weights(geometry) if solid else None, table)


def _targets(segmentation: Segmentation, instances: InstanceMap | None) -> Iterator[_Target]:
    regions = {region.value: region for region in find_regions(segmentation.labels)}
    found = {} if instances is None else {region.value: region for region in find_regions(instances.ids)}
    by_label: dict[int, list[int]] = {}
    for instance in () if instances is None else instances.instances:
        by_label.setdefault(segmentation.table.by_name(instance.label).index, []).append(instance.id)
    for label in segmentation.table:
        yield _Target(label.name, None, segmentation.labels, regions.get(label.index))
        if instances is not None:
            for number in by_label.get(label.index, ()):
                yield _Target(label.name, number, instances.ids, found[number])


def _measurements(target: _Target, grid: _Grid) -> Iterator[Measurement]:
    values = _values(target, grid)
    for name, definition in grid.table.items():
        value = values.get(name, NOT_PRESENT)
        yield Measurement(
            name=name,
            value=None if isinstance(value, str) else value,
            unit=definition.unit,
            label=target.label,
            instance=target.instance,
            reason=value if isinstance(value, str) else None,
            method=definition.method,
        )


def _values(target: _Target, grid: _Grid) -> dict[str, float | str]:
    """Name → value or reason; names that are left out are not present."""
    geometry, region = grid.geometry, target.region
    values: dict[str, float | str]
    if geometry.calibrated:
        values = volume_values(region, geometry)
    else:
        values = {} if region is None else dict.fromkeys(grid.table, PIXEL_SIZE_UNKNOWN)
        values["voxel_count"] = 0.0 if region is None else float(region.voxel_count)
    if region is None:
        return values
    values["touches_border"] = float(touches_border(region, geometry.shape))
    mask = target.array[region.slices] == region.value
    if geometry.calibrated:
        values |= _shape_values(mask, region, grid)
    if grid.image is not None:
        values |= intensity_values(grid.image.array[region.slices][mask])
        if grid.image.unit is not Unit.HU:
            values |= uptake_values(mask, region, grid.image)
    return values


def _shape_values(mask: NDArray[np.bool_], region: Region, grid: _Grid) -> dict[str, float | str]:
    geometry = grid.geometry
    offset = (region.box[0][0], region.box[1][0], region.box[2][0])
    axial = axial_diameters(mask, offset, geometry, grid.plane)
    corners = outline_corners(mask)
    if geometry.shape[2] == 1:
        # One slice is a plane figure: its thickness is not part of what was seen.
        corners[:, 2] = 0
    r, a, s = extents_mm(corners, geometry)
    values: dict[str, float | str] = {
        "extent_r_mm": r,
        "extent_a_mm": a,
        "extent_s_mm": s,
        "axial_long_diameter_mm": axial.long_mm,
        "axial_short_diameter_mm": axial.short_mm,
        "axial_diameter_product_mm2": axial.long_mm * axial.short_mm,
        "axial_slice_index": float(axial.slice_index),
        "longest_diameter_mm": longest_diameter(corners, geometry),
    }
    ratios = elongation_and_flatness(principal_moments_mm2(mask, geometry))
    values["elongation"], values["flatness"] = (SINGLE_VOXEL, SINGLE_VOXEL) if ratios is None else ratios
    if grid.surface_weights is None:
        values["flatness"] = SINGLE_SLICE
        return values | {"surface_area_mm2": SINGLE_SLICE, "sphericity": SINGLE_SLICE}
    area = surface_area_mm2(mask, grid.surface_weights)
    values["surface_area_mm2"] = area
    values["sphericity"] = sphericity(region.voxel_count * geometry.voxel_volume_mm3, area)
    return values
