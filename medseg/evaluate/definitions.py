"""What each metric of `medseg.evaluate.compare` is, and where its definition comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from medseg.errors import InputError

_BOUNDARY = "boundary voxels have a face (2D: an edge) on the background or the image's border"
_SURFELS = "surface elements between the voxels (marching cubes; 2D: contour pieces), weighted by their size"

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "dice": "2 |P ∩ R| / (|P| + |R|), P prediction, R reference (Dice, Ecology 1945)",
        "iou": "|P ∩ R| / |P ∪ R| (Jaccard, New Phytologist 1912)",
        "sensitivity": "|P ∩ R| / |R|, share of the reference that was found; also called recall",
        "precision": "|P ∩ R| / |P|, share of the prediction that is right",
        "specificity": (
            "share of the image's voxels outside the reference that the prediction leaves alone; it grows "
            "with the field of view"
        ),
        "volume_error_ml": "volume of the prediction minus volume of the reference",
        "volume_error_percent": "(|P| − |R|) / |R| in percent",
        "hausdorff_mm": (
            "largest distance from a boundary voxel of one mask to the nearest of the other, either way "
            f"(Hausdorff 1914); {_BOUNDARY}"
        ),
        "hd95_max_mm": (
            "larger of the two directed 95th percentiles of the distances between boundary voxels, as in "
            f"MONAI and MetricsReloaded; {_BOUNDARY}"
        ),
        "hd95_pooled_mm": (
            "95th percentile of the distances of both directions put together, as in MedPy; blind to a "
            f"missed part of less than about 5 % of both boundaries; {_BOUNDARY}"
        ),
        "hd95_surfel_mm": (
            f"larger of the two directed 95th percentiles between {_SURFELS}, as in surface-distance "
            "(Nikolov et al., J Med Internet Res 2021)"
        ),
        "assd_mm": (
            "mean of the distances between boundary voxels, both directions put together, as in MONAI, "
            f"MetricsReloaded and MedPy; {_BOUNDARY}"
        ),
        "masd_mm": (
            "mean of the two directed mean distances between boundary voxels, as in MetricsReloaded; "
            f"{_BOUNDARY}"
        ),
        "asd_prediction_to_reference_mm": (
            f"mean distance of the prediction's boundary voxels to the nearest of the reference; {_BOUNDARY}"
        ),
        "asd_reference_to_prediction_mm": (
            f"mean distance of the reference's boundary voxels to the nearest of the prediction; {_BOUNDARY}"
        ),
        "nsd_Tmm": (
            "normalised surface Dice: share of both masks' boundary voxels within T mm of the other's, "
            f"counted by voxel as in MONAI and MetricsReloaded; {_BOUNDARY}"
        ),
        "nsd_surfel_Tmm": (
            f"normalised surface Dice at T mm over {_SURFELS}, as in surface-distance (Nikolov et al., J Med "
            "Internet Res 2021)"
        ),
        "boundary_iou_Tmm": (
            "IoU of those voxels of each mask whose centre is within T mm of a voxel outside it, or that "
            "have a face on one (Cheng et al., CVPR 2021, with Euclidean distance)"
        ),
        "cldice": (
            "centreline Dice: harmonic mean of the share of the prediction's skeleton inside the reference "
            "and of the reference's inside the prediction (Shit et al., CVPR 2021)"
        ),
    }
)
"""Metric → formula and source; ``T`` stands for a tolerance in mm."""

EMPTY_CASES = (
    "The label lies on neither side: no value, reason “absent in both”. The prediction misses it: overlap "
    "and surface Dice are 0, distances and precision have no value, reason “missed”. The prediction invents "
    "it: overlap and surface Dice are 0, distances have no value, reason “false positive”; sensitivity and "
    "the volume error in percent are undefined. A miss is never left out of a mean: it counts with a penalty."
)

_NUMBER = re.compile(r"(?<=_)\d+(\.\d+)?(e[+-]?\d+)?(?=mm$)")


def definition_of(metric: str) -> str:
    """The definition of a metric as it is called in scores, ``nsd_2.5mm`` for one.

    Raises:
        InputError: there is no such metric here.
    """
    found = _NUMBER.search(metric)
    text = DEFINITIONS.get(_NUMBER.sub("T", metric))
    if text is None or metric.endswith("_Tmm"):
        raise InputError(f"there is no metric {metric!r}; there are {', '.join(DEFINITIONS)}")
    return text if found is None else text.replace("T mm", f"{found.group()} mm")


def definitions_of(metrics: Iterable[str]) -> dict[str, str]:
    """Metric → definition for all of several metrics; see `definition_of`.

    Raises:
        InputError: one of them is unknown.
    """
    return {metric: definition_of(metric) for metric in metrics}
