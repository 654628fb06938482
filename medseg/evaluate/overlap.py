"""How much of two label maps coincides: counted once for all labels, read by short metrics.

Each metric is None where it is a share of nothing; the caller knows which of the masks was empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryMismatchError, InputError, LabelTableError
from medseg.evaluate.masks import Mask, checked_masks, slabs
from medseg.spatial.labels import LabelTable
from medseg.spatial.segmentation import Segmentation

_LARGEST_LOOKUP = 1 << 24


@dataclass(frozen=True, slots=True)
class OverlapCounts:
    """Voxels of one label.

    Attributes:
        prediction: voxels of the prediction.
        reference: voxels of the reference.
        both: voxels of both.
        image: voxels of the whole image.

    Raises:
        InputError: the counts contradict each other.
    """

    prediction: int
    reference: int
    both: int
    image: int

    def __post_init__(self) -> None:
        most = self.prediction + self.reference - self.both
        if not 0 <= self.both <= min(self.prediction, self.reference) or most > self.image:
            raise InputError(
                f"{self.prediction} predicted, {self.reference} reference and {self.both} common voxels do "
                f"not fit into one image of {self.image}"
            )


def mask_overlap(prediction: Mask, reference: Mask) -> OverlapCounts:
    """The counts of two boolean masks, 2D or 3D.

    Raises:
        InputError: an array that is not boolean or not 2D or 3D.
        GeometryMismatchError: the shapes differ.
    """
    checked_masks(prediction, reference)
    both = int(np.count_nonzero(prediction & reference))
    return OverlapCounts(
        int(np.count_nonzero(prediction)), int(np.count_nonzero(reference)), both, prediction.size
    )


def label_overlap(prediction: Segmentation, reference: Segmentation) -> dict[str, OverlapCounts]:
    """The counts of every label of the reference's table, in one pass over both maps.

    Labels are matched by name, whatever their indices. A label that the prediction's table lacks counts as
    predicted nowhere; what the prediction holds beyond the reference's table is left out.

    Args:
        prediction: on the same grid.
        reference: its table says which labels are counted.

    Returns:
        Label name → counts, by the reference's index; labels without voxels included.

    Raises:
        GeometryMismatchError: the grids differ.
        LabelTableError: an index has one name in one table and another in the other, and the prediction's
            table does not have the reference's name elsewhere.
    """
    checked_grid(prediction, reference)
    columns = matched_indices(prediction.table, reference.table)
    row_of_reference = _Rows([label.index for label in reference.table], reference.table)
    row_of_prediction = _Rows([columns[label.name] for label in reference.table], prediction.table)
    rows = len(reference.table) + 1
    counts = np.zeros((3, rows), dtype=np.int64)
    order = memory_order(reference.labels)
    a, b = prediction.labels.transpose(order), reference.labels.transpose(order)
    for first, last in slabs(a.shape):
        predicted, true = a[first:last].reshape(-1), b[first:last].reshape(-1)
        places = np.flatnonzero((predicted != 0) | (true != 0))
        ours, theirs = row_of_prediction(predicted[places]), row_of_reference(true[places])
        counts[0] += np.bincount(ours, minlength=rows)
        counts[1] += np.bincount(theirs, minlength=rows)
        counts[2] += np.bincount(theirs[ours == theirs], minlength=rows)
    return {
        label.name: OverlapCounts(int(counts[0, row]), int(counts[1, row]), int(counts[2, row]), a.size)
        for row, label in enumerate(reference.table, start=1)
    }


def checked_grid(prediction: Segmentation, reference: Segmentation) -> None:
    """Refuses segmentations on different grids.

    Raises:
        GeometryMismatchError: they are.
    """
    if not prediction.geometry.same_grid(reference.geometry):
        raise GeometryMismatchError(
            f"the prediction has {prediction.geometry.describe()} but the reference "
            f"{reference.geometry.describe()}; resample the prediction onto the reference's grid first"
        )


def matched_indices(prediction: LabelTable, reference: LabelTable) -> Mapping[str, int | None]:
    """For each name of the reference's table the index in the prediction's, or None where it has none.

    Raises:
        LabelTableError: the prediction's table lacks the name and calls the index something else.
    """
    by_name = {label.name: label.index for label in prediction}
    by_index = {label.index: label.name for label in prediction}
    for label in reference:
        if label.name not in by_name and label.index in by_index:
            raise LabelTableError(
                f"index {label.index} is {label.name!r} in the reference but {by_index[label.index]!r} in "
                "the prediction; give both one label table, or a mapping between the two"
            )
    return {label.name: by_name.get(label.name) for label in reference}


def memory_order(array: NDArray[Any]) -> list[int]:
    """The axes from the one whose neighbours lie furthest apart in memory to the nearest.

    Turned to this order, an array is read as it lies in memory, whatever wrote it.
    """
    return sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))


class _Rows:
    """Label index → row of a table of counts; 0 for the background and for what is not counted."""

    def __init__(self, indices: list[int | None], table: LabelTable) -> None:
        pairs = sorted((index, row) for row, index in enumerate(indices, start=1) if index is not None)
        self._indices = np.array([0, *(index for index, _ in pairs)], dtype=np.int64)
        self._rows = np.array([0, *(row for _, row in pairs)], dtype=np.intp)
        highest = max((label.index for label in table), default=0)
        self._lookup: NDArray[np.intp] | None = None
        if highest < _LARGEST_LOOKUP:
            self._lookup = np.zeros(highest + 1, dtype=np.intp)
            self._lookup[self._indices] = self._rows

    def __call__(self, labels: NDArray[Any]) -> NDArray[np.intp]:
        if self._lookup is not None:
            rows: NDArray[np.intp] = self._lookup[labels]
            return rows
        place = np.minimum(np.searchsorted(self._indices, labels), len(self._indices) - 1)
        return np.where(self._indices[place] == labels, self._rows[place], 0)


def dice(counts: OverlapCounts) -> float | None:
    """Twice the common voxels over the sum of both masks; None where both are empty."""
    return _share(2 * counts.both, counts.prediction + counts.reference)


def iou(counts: OverlapCounts) -> float | None:
    """Common voxels over those of either mask (Jaccard); None where both are empty."""
    return _share(counts.both, counts.prediction + counts.reference - counts.both)


def sensitivity(counts: OverlapCounts) -> float | None:
    """Share of the reference that was found (recall); None where the reference is empty."""
    return _share(counts.both, counts.reference)


def precision(counts: OverlapCounts) -> float | None:
    """Share of the prediction that is right; None where the prediction is empty."""
    return _share(counts.both, counts.prediction)


def specificity(counts: OverlapCounts) -> float | None:
    """Share of the image outside the reference that was left alone; None where the reference fills the image.

    It grows with the field of view: compare it only between images of one size.
    """
    false_positive = counts.prediction - counts.both
    outside = counts.image - counts.reference
    return _share(outside - false_positive, outside)


def volume_error_ml(counts: OverlapCounts, voxel_volume_mm3: float) -> float:
    """Predicted minus reference volume."""
    return (counts.prediction - counts.reference) * voxel_volume_mm3 / 1000


def volume_error_percent(counts: OverlapCounts) -> float | None:
    """Predicted minus reference volume in percent of the reference; None where the reference is empty."""
    return _share(100 * (counts.prediction - counts.reference), counts.reference)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
