"""Scores that count each lesion alike, whatever its size: BraTS 2023, CC-Dice, autoPET."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from medseg.errors import ConfigurationError, GeometryMismatchError
from medseg.evaluate.masks import ABSENT, Mask, box_of, checked_pair
from medseg.evaluate.surface import boundary_voxels, hd_surfel_mm, surface_distances
from medseg.instances.filter import components
from medseg.instances.regions import Region, find_regions
from medseg.spatial.geometry import Geometry

Box = tuple[slice, ...]

_EDGE_NEIGHBOURS = ndimage.generate_binary_structure(3, 2)


@dataclass(frozen=True, slots=True)
class LesionOptions:
    """The rules of the BraTS 2023 lesion-wise scores; the defaults are those for glioma.

    Attributes:
        dilation: steps by which the reference is grown, each over voxel faces and edges: lesions that then
            touch are one, and predictions that then touch a lesion are its. 3 for adult and paediatric
            glioma and sub-Saharan Africa, 1 for meningioma and metastases.
        min_volume_mm3: reference lesions up to it are not scored; 2 for metastases. Predictions on them are
            no false positives.
        penalty_dice: what a missed lesion and a false positive count in the mean Dice.
        penalty_hd95_mm: the same in the mean HD95; 374 is the diagonal of the BraTS grid in mm.

    Raises:
        ConfigurationError: a value outside its range.
    """

    dilation: int = 3
    min_volume_mm3: float = 50.0
    penalty_dice: float = 0.0
    penalty_hd95_mm: float = 374.0

    def __post_init__(self) -> None:
        if self.dilation < 0:
            raise ConfigurationError(f"dilation is {self.dilation}; expected 0 or more steps")
        for name in ("min_volume_mm3", "penalty_dice", "penalty_hd95_mm"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; expected finite and 0 or more")


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion of the reference.

    Attributes:
        volume_mm3: its volume.
        dice: with all predicted components that touch it, or the penalty where it is missed.
        hd95_mm: the same.
        found: whether a predicted component touches it.
        scored: whether it is large enough to count.
    """

    volume_mm3: float
    dice: float
    hd95_mm: float
    found: bool
    scored: bool


@dataclass(frozen=True, slots=True)
class LesionWise:
    """Lesion-wise scores of one label in one case.

    Attributes:
        dice: mean over scored lesions and false positives, or None.
        hd95_mm: the same.
        lesions: each lesion of the reference, those that are not scored too.
        false_positives: predicted components that touch no lesion, whatever their size.
        reason: why there are no means; None where there are.
    """

    dice: float | None
    hd95_mm: float | None
    lesions: tuple[Lesion, ...]
    false_positives: int
    reason: str | None = None


def lesion_wise(
    prediction: Mask, reference: Mask, geometry: Geometry, options: LesionOptions | None = None
) -> LesionWise:
    """Lesion-wise Dice and HD95 by the rules of BraTS 2023 (Moawad 2023, arXiv 2306.00838).

    Lesions are 26-connected components of the reference, those within reach of each other joined; the voxels
    stay those of the reference. Each is compared with the whole of every predicted 26-connected component
    that its dilation touches; a component may serve several lesions. HD95 is the larger directed 95th
    percentile over surface area. Unlike the challenge's program, which gives 1 and 0, no lesion and no
    prediction give None.

    Args:
        prediction: (i, j, k) boolean.
        reference: the same shape.
        geometry: their grid. Dilation counts voxels, so it reaches further along coarse axes.
        options: None for the defaults.

    Raises:
        InputError: not boolean masks.
        GeometryMismatchError: other shapes than the geometry's, or an unknown pixel size.
    """
    options = options or LesionOptions()
    _check(prediction, reference, geometry)
    voxel_mm3 = geometry.voxel_volume_mm3
    predicted = components(prediction, 26)
    joined = _joined(reference, options.dilation)
    boxes = {region.value: region for region in find_regions(predicted)}
    touched: set[int] = set()
    lesions = []
    for region in find_regions(joined):
        own = _touching(predicted, joined, region, options.dilation)
        touched.update(own)
        volume = region.voxel_count * voxel_mm3
        # A lesion of just the threshold is not scored, rounding of the spacing aside.
        scored = volume > options.min_volume_mm3 * (1 + 1e-9)
        dice, hd95_mm = options.penalty_dice, options.penalty_hd95_mm
        if own:
            parts = [boxes[value] for value in own]
            dice, hd95_mm = _dice_and_hd95_mm(predicted, joined, region, parts, geometry.spacing_mm)
        lesions.append(Lesion(volume, dice, hd95_mm, found=bool(own), scored=scored))
    return _means(tuple(lesions), len(boxes) - len(touched), options)


def cc_dice(prediction: Mask, reference: Mask, geometry: Geometry) -> float | None:
    """Mean over the reference's components of the Dice within each one's own part of the image.

    A component's part holds all voxels that lie nearer to it than to any other component (CC-Metrics, Jaus
    2024, arXiv 2410.18684). Voxels as near to two go to either. A missed component counts 0.

    Args:
        prediction: (i, j, k) boolean.
        reference: the same shape; 26-connected components.
        geometry: their grid; distances follow its steps, in pixels where the pixel size is unknown.

    Returns:
        0 to 1, or None where the reference is empty.

    Raises:
        InputError: not boolean masks.
        GeometryMismatchError: other shapes than the geometry's.
    """
    _check(prediction, reference, geometry)
    ids = components(reference, 26)
    n = int(ids.max())
    if n == 0:
        return None
    sizes = np.bincount(ids.ravel(), minlength=n + 1)
    shared = np.bincount(ids[prediction], minlength=n + 1)
    strays = np.flatnonzero(prediction & ~reference)
    rim = boundary_voxels(reference)
    nearest = cKDTree(_points_mm(rim, geometry)).query(_points_mm(strays, geometry))[1]
    stray = np.bincount(ids.ravel()[rim[nearest]], minlength=n + 1)
    dice = 2 * shared[1:] / (sizes[1:] + shared[1:] + stray[1:])
    return float(dice.mean())


def false_volumes_ml(prediction: Mask, reference: Mask, geometry: Geometry) -> tuple[float, float]:
    """False positive and false negative volume as autoPET counts them (Gatidis 2024, NMI 6:1396).

    The volume of the 18-connected components of the prediction that share no voxel with the reference, and
    of those of the reference that share none with the prediction.

    Args:
        prediction: (i, j, k) boolean.
        reference: the same shape.
        geometry: their grid.

    Returns:
        Both in ml; 0 where there is nothing to count.

    Raises:
        InputError: not boolean masks.
        GeometryMismatchError: other shapes than the geometry's, or an unknown pixel size.
    """
    _check(prediction, reference, geometry)
    voxel_ml = geometry.voxel_volume_mm3 / 1000
    return _untouched(prediction, reference) * voxel_ml, _untouched(reference, prediction) * voxel_ml


def _check(prediction: NDArray[Any], reference: NDArray[Any], geometry: Geometry) -> None:
    checked_pair(prediction, reference, geometry.steps)
    if prediction.shape != geometry.shape:
        raise GeometryMismatchError(
            f"the masks have shape {prediction.shape} but their grid {geometry.shape}"
        )


def _untouched(mask: Mask, other: Mask) -> int:
    """Voxels of the components of ``mask`` that share none with ``other``."""
    ids = components(mask, 18)
    sizes = np.bincount(ids.ravel())
    sizes[np.unique(ids[other])] = 0
    return int(sizes[1:].sum())


def _points_mm(positions: NDArray[np.intp], geometry: Geometry) -> NDArray[np.float64]:
    indices = np.stack(np.unravel_index(positions, geometry.shape), axis=1)
    points: NDArray[np.float64] = indices * np.array(geometry.steps)
    return points


def _joined(reference: Mask, dilation: int) -> NDArray[np.int32]:
    """The reference's lesions, those that touch once grown under one number."""
    box = box_of(reference)
    joined = np.zeros(reference.shape, dtype=np.int32)
    if box is not None:
        window = _grown(box, dilation, reference.shape)
        part = reference[window]
        joined[window] = components(_dilated(part, dilation), 26) * part
    return joined


def _dilated(mask: Mask, steps: int) -> Mask:
    if steps == 0:  # SciPy would take 0 for "until nothing changes"
        return mask
    return np.asarray(ndimage.binary_dilation(mask, _EDGE_NEIGHBOURS, iterations=steps), dtype=bool)


def _grown(box: Box, by: int, shape: tuple[int, ...]) -> Box:
    return tuple(slice(max(0, s.start - by), min(n, s.stop + by)) for s, n in zip(box, shape, strict=True))


def _touching(
    predicted: NDArray[np.int32], joined: NDArray[np.int32], region: Region, dilation: int
) -> list[int]:
    """Numbers of the predicted components that the grown lesion touches."""
    window = _grown(region.slices, dilation, joined.shape)
    reach = _dilated(joined[window] == region.value, dilation)
    values = np.unique(predicted[window][reach])
    return [int(value) for value in values if value]


def _dice_and_hd95_mm(
    predicted: NDArray[np.int32],
    joined: NDArray[np.int32],
    region: Region,
    own: list[Region],
    spacing_mm: tuple[float, float, float],
) -> tuple[float, float]:
    """One lesion against the predicted components that touch it."""
    sides = [part.slices for part in (region, *own)]
    window = tuple(
        slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*sides, strict=True)
    )
    mine = np.isin(predicted[window], [part.value for part in own])
    lesion = joined[window] == region.value
    dice = 2 * int((mine & lesion).sum()) / (int(mine.sum()) + region.voxel_count)
    hd95_mm = hd_surfel_mm(surface_distances(mine, lesion, spacing_mm))
    assert hd95_mm is not None  # noqa: S101 - neither mask is empty
    return dice, hd95_mm


def _means(lesions: tuple[Lesion, ...], false_positives: int, options: LesionOptions) -> LesionWise:
    scored = [lesion for lesion in lesions if lesion.scored]
    n = len(scored) + false_positives
    if n == 0:
        reason = (
            f"no lesion to score: those of the reference measure up to {options.min_volume_mm3:g} mm³"
            if lesions
            else ABSENT
        )
        return LesionWise(None, None, lesions, false_positives, reason)
    dice = sum(lesion.dice for lesion in scored) + false_positives * options.penalty_dice
    hd95_mm = sum(lesion.hd95_mm for lesion in scored) + false_positives * options.penalty_hd95_mm
    return LesionWise(dice / n, hd95_mm / n, lesions, false_positives)
