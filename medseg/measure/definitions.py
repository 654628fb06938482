"""What each measurement is called, its unit and how it is defined."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.measure.diameter import SlicePlane
from medseg.spatial.volume import Unit

_OUTLINE = "on the outline along the voxel faces"
_WHOLE = "over all voxels of the object; separate parts are spanned"
_CENTROID = "mean of the voxel centres; patient coordinates R, A, S (RAS+), mm from the scan's origin"
_EXTENT = "side of the smallest box along the patient's axes R, A, S that holds the outline"

_MOMENTS = (
    "moments of the voxel centres in mm, as in PyRadiomics and IBSI; ITK's elongation and flatness are others"
)
_BALL = "a ball of 1 ml (voxels whose centres lie within 6.204 mm of its centre)"
_PEAK = "EANM guideline 2.0 (2015), PERCIST 1.0 (2009)"


@dataclass(frozen=True, slots=True)
class Definition:
    """Unit and definition of a measurement."""

    unit: str
    method: str


def definitions(
    plane: SlicePlane, *, single_slice: bool, intensity_unit: str | None
) -> dict[str, Definition]:
    """The measurements of a grid by name, in the order in which they are reported.

    Args:
        plane: the slices in which axial diameters are taken.
        single_slice: whether the image is one slice, whose objects have an area.
        intensity_unit: the image's unit, or None where there is no image.
    """
    axial = _axial(plane, single_slice=single_slice)
    table = {
        "voxel_count": Definition("1", "number of voxels"),
        "volume_ml": Definition("ml", "voxel count times the volume of a voxel"),
        "centroid_r_mm": Definition("mm", _CENTROID),
        "centroid_a_mm": Definition("mm", _CENTROID),
        "centroid_s_mm": Definition("mm", _CENTROID),
        "extent_r_mm": Definition("mm", _EXTENT),
        "extent_a_mm": Definition("mm", _EXTENT),
        "extent_s_mm": Definition("mm", _EXTENT),
        "axial_long_diameter_mm": Definition(
            "mm",
            f"longest distance between two points of one slice {_OUTLINE}, as in RECIST; {axial}; {_WHOLE}",
        ),
        "axial_short_diameter_mm": Definition(
            "mm",
            f"longest distance between two points {_OUTLINE} in the slice of axial_long_diameter_mm, "
            f"on a line at right angles to it; {axial}; {_WHOLE}",
        ),
        "axial_diameter_product_mm2": Definition(
            "mm2", f"axial_long_diameter_mm times axial_short_diameter_mm, as in WHO 1979; {axial}"
        ),
        "axial_slice_index": Definition(
            "1", f"slice of axial_long_diameter_mm, counted from 0 along array axis {'ijk'[plane.axis]}"
        ),
        "longest_diameter_mm": Definition(
            "mm", f"longest distance between two points {_OUTLINE}, in any direction; {_WHOLE}"
        ),
        "surface_area_mm2": Definition("mm2", "Crofton formula with 13 directions"),
        "sphericity": Definition(
            "1", "surface of the ball of the same volume over surface_area_mm2 (Wadell)"
        ),
        "elongation": Definition(
            "1", f"root of the middle over the largest principal moment, 1 where round; {_MOMENTS}"
        ),
        "flatness": Definition(
            "1", f"root of the smallest over the largest principal moment, 1 where round; {_MOMENTS}"
        ),
        "touches_border": Definition(
            "1", "1 where the object reaches the edge of the image and may be cut off, else 0"
        ),
    }
    if single_slice:
        table["area_mm2"] = Definition("mm2", "voxel count times the area of a voxel in the slice")
    if intensity_unit is not None:
        table |= _intensity(intensity_unit)
        if intensity_unit != Unit.HU.value:
            table |= _uptake()
    return table


def _axial(plane: SlicePlane, *, single_slice: bool) -> str:
    where = "in the image's one slice" if single_slice else f"slices along array axis {'ijk'[plane.axis]}"
    if plane.off_axial_deg < 0.05:
        return f"{where}, axial"
    return f"{where}, {plane.off_axial_deg:.1f}° off axial"


def _intensity(unit: str) -> dict[str, Definition]:
    return {
        "intensity_mean": Definition(unit, "mean over the object's voxels"),
        "intensity_sd": Definition(
            unit, "standard deviation over the object's voxels (divided by their number)"
        ),
        "intensity_min": Definition(unit, "lowest value in the object"),
        "intensity_max": Definition(unit, "highest value in the object"),
        "intensity_median": Definition(unit, "median over the object's voxels"),
        "intensity_p05": Definition(unit, "5th percentile, linear between ranks"),
        "intensity_p95": Definition(unit, "95th percentile, linear between ranks"),
    }


def _uptake() -> dict[str, Definition]:
    return {
        "suv_mean": Definition("SUV", "SUVmean: mean over the object's voxels"),
        "suv_max": Definition("SUV", "SUVmax: highest voxel in the object"),
        "suv_peak": Definition(
            "SUV",
            f"SUVpeak: highest mean over {_BALL} centred on a voxel of the object; the ball may reach beyond "
            f"the object, at the edge of the image its part inside counts; {_PEAK}, IBSI 0F91",
        ),
        "suv_peak_inside": Definition(
            "SUV", f"as suv_peak, over balls that lie wholly in the object; {_BALL}"
        ),
        "total_lesion_glycolysis": Definition(
            "SUV*ml", "TLG: suv_mean times volume_ml (Larson 1999); grams where SUV is by body weight"
        ),
    }
