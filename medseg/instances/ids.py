"""From a map of object ids, as other programs write them, to instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputError
from medseg.instances.instance import Instance, InstanceMap
from medseg.instances.regions import find_regions
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import Label, LabelTable

OBJECT = "object"
"""The label of instances of which no label is known."""

_LARGEST_ID = int(np.iinfo(np.int32).max)


def instances_of(
    ids: NDArray[Any],
    geometry: Geometry,
    labels: Mapping[int, str] | None = None,
    scores: Mapping[int, float] | None = None,
) -> InstanceMap:
    """Each value above 0 as one object, in one piece or not.

    Args:
        ids: (i, j, k) integers; gaps are allowed.
        geometry: where the voxels lie.
        labels: id → label; None calls every object ``object``. Labels of ids that do not occur are in
            the table too.
        scores: id → confidence, of those that have one.

    Raises:
        InputError: an id above 2,147,483,647, or one without a label.
        GeometryMismatchError: shapes differ.
    """
    if int(ids.max()) > _LARGEST_ID:
        raise InputError(f"instance ids go up to {int(ids.max())}; expected at most {_LARGEST_ID}")
    numbers = ids.astype(np.int32)
    regions = find_regions(numbers)
    if labels is not None:
        unknown = [region.value for region in regions if region.value not in labels]
        if unknown:
            raise InputError(f"instance {unknown[0]} has no label; expected one for each instance")
    names = [OBJECT if labels is None else labels[region.value] for region in regions]
    known = dict.fromkeys([OBJECT] if labels is None else labels.values())
    table = LabelTable(tuple(Label(n, name, kind="thing") for n, name in enumerate(known, 1)))
    instances = tuple(
        Instance(
            region.value,
            name,
            region.voxel_count,
            region.volume_ml(geometry),
            region.centroid_mm(geometry),
            region.box,
            (scores or {}).get(region.value),
        )
        for region, name in zip(regions, names, strict=True)
    )
    return InstanceMap(numbers, geometry, instances, table)
