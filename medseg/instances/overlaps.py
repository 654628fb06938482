"""How many voxels each pair of instances shares, from one pass over two maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryMismatchError, InputError

_SLAB_VOXELS = 1 << 20
_LARGEST_ID = int(np.iinfo(np.int32).max)


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """The joint histogram of two instance maps, as a list: n × m tables do not exist.

    Attributes:
        prediction_ids: (n,) int64, ascending; only ids that occur.
        prediction_voxels: (n,) int64, voxels of each.
        reference_ids: (m,) int64, ascending; only ids that occur.
        reference_voxels: (m,) int64, voxels of each.
        pairs: (k, 2) int64, positions in ``prediction_ids`` and ``reference_ids`` of each pair that shares
            a voxel, ascending.
        shared: (k,) int64, voxels that the pair shares, 1 or more.
    """

    prediction_ids: NDArray[np.int64]
    prediction_voxels: NDArray[np.int64]
    reference_ids: NDArray[np.int64]
    reference_voxels: NDArray[np.int64]
    pairs: NDArray[np.int64]
    shared: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """(k,) shared voxels over the voxels of the union, of each pair."""
        sizes = self.prediction_voxels[self.pairs[:, 0]] + self.reference_voxels[self.pairs[:, 1]]
        ratio: NDArray[np.float64] = self.shared / (sizes - self.shared)
        return ratio

    def among(self, prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Overlaps:
        """The part that concerns some instances, such as those of one label.

        Args:
            prediction: (n,) which of ``prediction_ids`` to keep.
            reference: (m,) which of ``reference_ids`` to keep.
        """
        kept = prediction[self.pairs[:, 0]] & reference[self.pairs[:, 1]]
        moved = [(np.cumsum(side) - 1)[self.pairs[kept, n]] for n, side in enumerate((prediction, reference))]
        return Overlaps(
            self.prediction_ids[prediction],
            self.prediction_voxels[prediction],
            self.reference_ids[reference],
            self.reference_voxels[reference],
            np.stack(moved, axis=1),
            self.shared[kept],
        )


def find_overlaps(prediction: NDArray[Any], reference: NDArray[Any]) -> Overlaps:
    """The joint histogram of two instance maps.

    Runs of voxels with one pair of ids are counted, slab by slab, so that memory follows the number of
    pairs and not the largest id: gaps and ids up to 2,147,483,647 cost nothing.

    Args:
        prediction: integers of any shape; 0 is no object.
        reference: integers of the same shape.

    Returns:
        Overlaps of all ids that occur; empty arrays for a map without objects.

    Raises:
        GeometryMismatchError: the shapes differ.
        InputError: not integers, or ids outside 0 to 2,147,483,647.
    """
    if prediction.shape != reference.shape:
        raise GeometryMismatchError(
            f"the prediction has shape {prediction.shape} but the reference {reference.shape}; "
            "bring both onto one grid first"
        )
    if prediction.dtype.kind not in "bui" or reference.dtype.kind not in "bui":
        raise InputError(
            f"instance ids are of type {prediction.dtype} and {reference.dtype}; expected integers"
        )
    flat_prediction, flat_reference = _flat(prediction, reference)
    keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for start in range(0, flat_prediction.size, _SLAB_VOXELS):
        part = slice(start, start + _SLAB_VOXELS)
        new_keys, new_counts = _slab_pairs(flat_prediction[part], flat_reference[part])
        keys, counts = _summed(np.concatenate([keys, new_keys]), np.concatenate([counts, new_counts]))
    return _from_keys(keys, counts)


def _flat(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """Both arrays as one row in the same order, without a copy where they share their layout."""
    order: Literal["C", "F"] = "F" if all(array.flags.f_contiguous for array in arrays) else "C"
    return [array.ravel(order=order) for array in arrays]


def _slab_pairs(
    prediction: NDArray[Any], reference: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keys (prediction id in the upper half, reference id in the lower) that occur, and their voxels."""
    change = np.ones(prediction.size, dtype=bool)
    np.not_equal(prediction[1:], prediction[:-1], out=change[1:])
    change[1:] |= reference[1:] != reference[:-1]
    starts = np.flatnonzero(change)
    lengths = np.diff(starts, append=prediction.size)
    key = _checked(prediction[starts]) << 32
    key |= _checked(reference[starts])
    filled = key != 0
    return _summed(key[filled], lengths[filled])


def _summed(
    keys: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    unique, inverse = np.unique(keys, return_inverse=True)
    return unique, np.bincount(inverse, weights=counts, minlength=unique.size).astype(np.int64)


def _checked(ids: NDArray[Any]) -> NDArray[np.int64]:
    lowest, highest = int(ids.min()), int(ids.max())
    if lowest < 0 or highest > _LARGEST_ID:
        raise InputError(f"instance ids run from {lowest} to {highest}; expected 0 to {_LARGEST_ID}")
    return ids.astype(np.int64)


def _from_keys(keys: NDArray[np.int64], counts: NDArray[np.int64]) -> Overlaps:
    first, second = keys >> 32, keys & _LARGEST_ID
    prediction_ids, prediction_voxels = _summed(first[first > 0], counts[first > 0])
    reference_ids, reference_voxels = _summed(second[second > 0], counts[second > 0])
    both = (first > 0) & (second > 0)
    pairs = np.stack(
        [np.searchsorted(prediction_ids, first[both]), np.searchsorted(reference_ids, second[both])], axis=1
    )
    return Overlaps(
        prediction_ids,
        prediction_voxels,
        reference_ids,
        reference_voxels,
        pairs.astype(np.int64),
        counts[both],
    )
