"""Label maps and probabilities on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import LabelTableError
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import LabelTable
from medseg.spatial.volume import checked_array


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """A label map with its table. Overlapping structures are several segmentations.

    Attributes:
        labels: (i, j, k), unsigned integers, read-only; 0 is background.
        geometry: where the voxels lie.
        table: an entry for each index that occurs; entries that do not occur are allowed.
        source: ``source`` of the volume it was made from.

    Raises:
        GeometryMismatchError: shapes differ.
        InputError: the array is not of unsigned integers.
        LabelTableError: an index in the array has no entry.
    """

    labels: NDArray[Any]
    geometry: Geometry
    table: LabelTable
    source: str | None = None

    def __post_init__(self) -> None:
        labels = checked_array(self.labels, self.geometry, "u")
        object.__setattr__(self, "labels", labels)
        known = {label.index for label in self.table} | {0}
        unknown = [index for index in present_indices(labels) if index not in known]
        if unknown:
            shown = ", ".join(map(str, unknown[:10])) + (" …" if len(unknown) > 10 else "")
            raise LabelTableError(
                f"the label map holds {shown}, which the label table does not name; "
                f"it names {', '.join(str(label.index) for label in self.table) or 'nothing'}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class ProbabilityMap:
    """Probabilities of each class on a grid. It is no segmentation and cannot be written as one.

    Attributes:
        array: (c, i, j, k) float; channel 0 is background, channel n the table's n-th entry.
        geometry: where the voxels lie.
        table: as many entries as foreground channels.

    Raises:
        GeometryMismatchError: shapes differ.
        LabelTableError: the number of channels is not that of the labels plus background.
    """

    array: NDArray[Any]
    geometry: Geometry
    table: LabelTable

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", checked_array(self.array, self.geometry, "f", leading=1))
        if self.array.shape[0] != len(self.table) + 1:
            raise LabelTableError(
                f"{self.array.shape[0]} channels of probabilities for {len(self.table)} labels and background"
            )

    def to_segmentation(self, source: str | None = None) -> Segmentation:
        """The most probable label of each voxel; ties go to the lower index."""
        indices = np.array([0, *(label.index for label in self.table)])
        dtype = np.min_scalar_type(int(indices.max()))
        labels = indices.astype(dtype)[np.argmax(self.array, axis=0)]
        return Segmentation(labels, self.geometry, self.table, source)


def present_indices(labels: NDArray[Any]) -> list[int]:
    """Integers that occur in a map without negative ones, ascending, without sorting the voxels."""
    if labels.size == 0:
        return []
    highest = int(labels.max())
    if highest > 1 << 24:
        return [int(i) for i in np.unique(labels)]
    seen = np.zeros(highest + 1, dtype=bool)
    for slab in labels:
        seen[slab] = True
    return [int(i) for i in np.flatnonzero(seen)]
