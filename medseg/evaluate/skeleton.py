"""Centreline Dice: whether a tube is connected and complete, whatever its width."""

from __future__ import annotations

import numpy as np
from skimage.morphology import skeletonize

from medseg.evaluate.masks import Mask, box_of, checked_masks


def centreline_dice(prediction: Mask, reference: Mask) -> float | None:
    """Centreline Dice of two masks of tubes (Shit et al., CVPR 2021).

    The harmonic mean of the share of the prediction's skeleton inside the reference and the share of the
    reference's skeleton inside the prediction. Skeletons come from scikit-image: thinning after Lee et al.
    (1994) in 3D, after Zhang and Suen (1984) in 2D. They count voxels and know no spacing; and turning or
    mirroring the image may move them by a voxel.

    Args:
        prediction: boolean, 2D or 3D.
        reference: the same shape.

    Returns:
        0 to 1, 0 where one of the masks is empty, None where both are.

    Raises:
        InputError: arrays that are not boolean or not 2D or 3D.
        GeometryMismatchError: the shapes differ.
    """
    checked_masks(prediction, reference)
    union = box_of(prediction | reference)
    if union is None:
        return None
    prediction, reference = prediction[union], reference[union]
    if not prediction.any() or not reference.any():
        return 0.0
    right = _share_inside(_skeleton(prediction), reference)
    found = _share_inside(_skeleton(reference), prediction)
    return 2 * right * found / (right + found) if right + found else 0.0


def _skeleton(mask: Mask) -> Mask:
    thin: Mask = skeletonize(np.pad(mask, 1))[(slice(1, -1),) * mask.ndim] > 0
    # Thinning may wear a blob of a few voxels away altogether; then it is its own centreline.
    return thin if thin.any() else mask


def _share_inside(skeleton: Mask, mask: Mask) -> float:
    return int(np.count_nonzero(skeleton & mask)) / int(np.count_nonzero(skeleton))
