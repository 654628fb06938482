"""Which lesions of two examinations are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from medseg.errors import ConfigurationError, GeometryMismatchError
from medseg.instances.instance import Instance, InstanceMap
from medseg.spatial.resample import resample_array

Pair = tuple[int, int]
"""Ids of the same lesion in the earlier and in the later examination."""


@dataclass(frozen=True, slots=True)
class PairingOptions:
    """How lesions of two examinations are matched; lesions of different labels never are.

    Attributes:
        by: ``overlap``: they share at least ``min_overlap`` of the smaller one; a lesion that split or
            lesions that merged form one group. ``centre``: their centroids lie no further apart than
            ``max_distance_mm``; each lesion has one partner at most, and of all ways to pair as many as
            possible the one with the least distances counts.
        min_overlap: share of the smaller lesion's volume, above 0 to 1.
        max_distance_mm: 0 or more.

    Raises:
        ConfigurationError: no such way, or a value outside its range.
    """

    by: str = "overlap"
    min_overlap: float = 0.1
    max_distance_mm: float = 10.0

    def __post_init__(self) -> None:
        if self.by not in _WAYS:
            raise ConfigurationError(f"lesions cannot be matched by {self.by!r}; choose {' or '.join(_WAYS)}")
        if not 0 < self.min_overlap <= 1:
            raise ConfigurationError(f"min_overlap is {self.min_overlap}; expected above 0 and up to 1")
        if not 0 <= self.max_distance_mm < float("inf"):
            raise ConfigurationError(f"max_distance_mm is {self.max_distance_mm}; expected 0 mm or more")

    def describe(self) -> str:
        """The rule in words."""
        if self.by == "overlap":
            return f"matched where they share {self.min_overlap:.0%} of the smaller one's volume or more"
        return f"matched one to one where their centroids lie {self.max_distance_mm:g} mm apart or less"


@dataclass(frozen=True, slots=True)
class Group:
    """Lesions of one label that belong together; one side is empty where a lesion has no partner.

    Attributes:
        label: their label.
        previous: ids in the earlier examination, ascending.
        current: ids in the later one, ascending.
    """

    label: str
    previous: tuple[int, ...]
    current: tuple[int, ...]


def pair_lesions(
    previous: InstanceMap, current: InstanceMap, options: PairingOptions | None = None
) -> list[Group]:
    """The lesions of two examinations in one space, each in exactly one group.

    Overlap is counted on the finer of the two grids, onto which the other map is brought by nearest
    neighbour. Two empty maps give an empty list.

    Args:
        previous: of the earlier examination.
        current: of the later one; in the same frame of reference, or either one's is unknown.
        options: None for the defaults.

    Returns:
        Groups with lesions of both sides or of the later one by its lowest id, then those of the earlier
        one alone.

    Raises:
        GeometryMismatchError: a pixel size is unknown, or two known frames of reference differ.
    """
    options = options or PairingOptions()
    if not (previous.geometry.calibrated and current.geometry.calibrated):
        raise GeometryMismatchError(
            "the pixel size of an image is unknown, so its lesions have no place to be matched by; store "
            "the pixel size in the file"
        )
    pairs = _WAYS[options.by](previous, current, options)
    return _groups(previous.instances, current.instances, pairs)


def _overlapping(previous: InstanceMap, current: InstanceMap, options: PairingOptions) -> list[Pair]:
    before, after = previous.ids, current.ids
    if previous.geometry.voxel_volume_mm3 < current.geometry.voxel_volume_mm3:
        after = resample_array(after, current.geometry, previous.geometry, order=0, fill=0)
    else:
        before = resample_array(before, previous.geometry, current.geometry, order=0, fill=0)
    both = (before > 0) & (after > 0)
    ids, shared = np.unique(np.stack([before[both], after[both]]), axis=1, return_counts=True)
    sizes_before, sizes_after = np.bincount(before.ravel()), np.bincount(after.ravel())
    smaller = np.minimum(sizes_before[ids[0]], sizes_after[ids[1]])
    labels_before = {i.id: i.label for i in previous.instances}
    labels_after = {i.id: i.label for i in current.instances}
    return [
        (int(p), int(c))
        for p, c in ids[:, shared >= options.min_overlap * smaller].T
        if labels_before[int(p)] == labels_after[int(c)]
    ]


def _near(previous: InstanceMap, current: InstanceMap, options: PairingOptions) -> list[Pair]:
    pairs: list[Pair] = []
    for label in dict.fromkeys(i.label for i in previous.instances):
        before = [i for i in previous.instances if i.label == label]
        after = [i for i in current.instances if i.label == label]
        if not after:
            continue
        distance = cdist(_centroids(before), _centroids(after))
        near = distance <= options.max_distance_mm
        # One pair out of reach costs more than all within reach, so as many as possible are found.
        beyond = (options.max_distance_mm + 1) * (min(near.shape) + 1)
        rows, columns = linear_sum_assignment(np.where(near, distance, beyond))
        pairs += [(before[r].id, after[c].id) for r, c in zip(rows, columns, strict=True) if near[r, c]]
    return pairs


def _centroids(instances: list[Instance]) -> NDArray[np.float64]:
    return np.array([instance.centroid_mm for instance in instances], dtype=np.float64)


_WAYS: dict[str, Callable[[InstanceMap, InstanceMap, PairingOptions], list[Pair]]] = {
    "overlap": _overlapping,
    "centre": _near,
}


def _groups(previous: tuple[Instance, ...], current: tuple[Instance, ...], pairs: list[Pair]) -> list[Group]:
    """Lesions that a chain of pairs joins."""
    place = {instance.id: n for n, instance in enumerate(previous)}
    later = {instance.id: n for n, instance in enumerate(current, len(previous))}
    total = len(previous) + len(current)
    rows, columns = [place[p] for p, _ in pairs], [later[c] for _, c in pairs]
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(total, total))
    number = connected_components(graph, directed=False)[1] if total else np.zeros(0, int)
    members: dict[int, tuple[list[Instance], list[Instance]]] = {}
    for n, instance in enumerate((*previous, *current)):
        members.setdefault(int(number[n]), ([], []))[n >= len(previous)].append(instance)
    groups = [
        Group((before + after)[0].label, tuple(i.id for i in before), tuple(i.id for i in after))
        for before, after in members.values()
    ]
    return sorted(groups, key=lambda group: (not group.current, group.current, group.previous))
