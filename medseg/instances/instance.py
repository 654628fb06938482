"""Single objects of a segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputError, LabelTableError
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import LabelTable
from medseg.spatial.segmentation import present_indices
from medseg.spatial.volume import checked_array

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Instance:
    """One object.

    Attributes:
        id: value in the instance map; 1 or more, gaps allowed.
        label: name in the label table.
        voxel_count: how many voxels carry the id.
        volume_ml: their volume, or None where the pixel size is unknown.
        centroid_mm: mean of the voxel centres in RAS+ mm, or None where the pixel size is unknown.
        box: half-open voxel ranges along (i, j, k).
        score: confidence in [0, 1] where the head gives one.
    """

    id: int
    label: str
    voxel_count: int
    volume_ml: float | None
    centroid_mm: tuple[float, float, float] | None
    box: Box
    score: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class InstanceMap:
    """Which voxel belongs to which object.

    Attributes:
        ids: (i, j, k) int32, read-only; 0 is no object; more than 65,535 ids are allowed.
        geometry: where the voxels lie.
        instances: one entry per id that occurs, by ascending id.
        table: the labels that the instances name.

    Raises:
        GeometryMismatchError: shapes differ.
        InputError: ids are not signed integers, or lie outside 0 to 2,147,483,647.
        LabelTableError: an instance names a label that the table lacks, an id occurs twice, or the ids in
            the array are not those of the instances.
    """

    ids: NDArray[Any]
    geometry: Geometry
    instances: tuple[Instance, ...]
    table: LabelTable

    def __post_init__(self) -> None:
        ids = checked_array(self.ids, self.geometry, "i")
        lowest, highest = int(ids.min()), int(ids.max())
        if lowest < 0 or highest > np.iinfo(np.int32).max:
            raise InputError(
                f"instance ids run from {lowest} to {highest}; expected 0 to {np.iinfo(np.int32).max}"
            )
        ids = ids.astype(np.int32, copy=False)
        ids.setflags(write=False)
        object.__setattr__(self, "ids", ids)
        ordered = tuple(sorted(self.instances, key=lambda instance: instance.id))
        object.__setattr__(self, "instances", ordered)
        if len({instance.id for instance in ordered}) != len(ordered):
            raise LabelTableError("an instance id occurs more than once")
        for name in {instance.label for instance in ordered}:
            self.table.by_name(name)
        differing = {instance.id for instance in ordered} ^ (set(present_indices(ids)) - {0})
        if differing:
            shown = ", ".join(map(str, sorted(differing)[:10])) + (" …" if len(differing) > 10 else "")
            raise LabelTableError(
                f"instance ids {shown} occur either in the array or among the instances, not in both; "
                "list one instance per id"
            )
