"""How much of it there is, and where."""

from __future__ import annotations

from medseg.instances.regions import Region
from medseg.spatial.geometry import Geometry

SINGLE_SLICE = "the image is a single slice, which has no volume; see area_mm2"


def volume_values(region: Region | None, geometry: Geometry) -> dict[str, float | str]:
    """Voxel count, volume, area of a single slice and centroid of an object.

    Args:
        region: where its voxels lie; None for an object without voxels, whose count and volume are 0.
        geometry: the grid, calibrated.

    Returns:
        Name → value, or the reason why there is none.
    """
    count = 0 if region is None else region.voxel_count
    values: dict[str, float | str] = {"voxel_count": float(count)}
    if geometry.shape[2] == 1:
        values["volume_ml"] = SINGLE_SLICE
        values["area_mm2"] = count * pixel_area_mm2(geometry)
    else:
        values["volume_ml"] = count * geometry.voxel_volume_mm3 / 1000
    if region is not None:
        r, a, s = geometry.to_world(region.centre_index)
        values |= {"centroid_r_mm": float(r), "centroid_a_mm": float(a), "centroid_s_mm": float(s)}
    return values


def pixel_area_mm2(geometry: Geometry) -> float:
    """The area that one voxel covers within the plane of the first two array axes.

    Raises:
        GeometryMismatchError: the pixel size is unknown.
    """
    i_mm, j_mm, _ = geometry.spacing_mm
    cosine = float(geometry.affine[:3, 0] @ geometry.affine[:3, 1]) / (i_mm * j_mm)
    return float(i_mm * j_mm * (1 - min(1.0, cosine * cosine)) ** 0.5)


def touches_border(region: Region, shape: tuple[int, int, int]) -> bool:
    """Whether the object reaches the edge of the image, so that part of it may lie outside.

    An axis along which the image has one voxel only does not count.
    """
    return any(
        length > 1 and (start == 0 or stop == length)
        for (start, stop), length in zip(region.box, shape, strict=True)
    )
