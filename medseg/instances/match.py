"""Which predicted instance is which of the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from medseg.errors import ConfigurationError, GeometryMismatchError, InputError
from medseg.instances.instance import InstanceMap
from medseg.instances.overlaps import Overlaps, find_overlaps

Policy = Literal["greedy", "optimal", "overlap", "distance"]


@dataclass(frozen=True, slots=True)
class MatchOptions:
    """When two instances of one label are the same object.

    Attributes:
        policy: how pairs are chosen among those that qualify.

            - ``greedy``: one to one, by descending IoU; of pairs with one IoU first the one that shares
              more voxels, then the one with the lower reference id, then the lower prediction id.
            - ``optimal``: one to one, with the largest sum of IoU (Hungarian algorithm).
            - ``overlap``: every pair that shares a voxel; many to many.
            - ``distance``: one to one, by ascending distance of the centroids in mm; ties by the larger
              IoU, then by ids as above.
        min_iou: ``greedy`` and ``optimal`` take pairs with an IoU above it. From 0.5 on the pairs are
            unique, so both policies agree and ties cannot occur (Kirillov 2019, arXiv 1801.00868).
        inclusive: whether an IoU equal to ``min_iou`` is enough. At 0.5 it then depends on the tie rule.
        max_distance_mm: ``distance`` takes pairs up to it; required there, refused elsewhere.

    Raises:
        ConfigurationError: no such policy, or a threshold outside its range.
    """

    policy: Policy = "greedy"
    min_iou: float = 0.5
    inclusive: bool = False
    max_distance_mm: float | None = None

    def __post_init__(self) -> None:
        if self.policy not in (*_CHOICES, "distance"):
            raise ConfigurationError(
                f"matching policy {self.policy!r} is not known; expected greedy, optimal, overlap or distance"
            )
        if not (0 <= self.min_iou < 1 or (self.min_iou == 1 and self.inclusive)):
            raise ConfigurationError(
                f"min_iou is {self.min_iou}; expected 0 to below 1, or 1 with inclusive=True"
            )
        if (self.policy == "distance") != (self.max_distance_mm is not None):
            raise ConfigurationError(
                f"max_distance_mm is {self.max_distance_mm} with the policy {self.policy!r}; it belongs to "
                "the policy 'distance', which needs it"
            )
        if self.max_distance_mm is not None and not 0 < self.max_distance_mm < np.inf:
            raise ConfigurationError(
                f"max_distance_mm is {self.max_distance_mm}; expected above 0 and finite"
            )

    def describe(self) -> str:
        """The rule in one line, for reports."""
        if self.policy == "overlap":
            return "any shared voxel, many to many"
        if self.policy == "distance":
            return f"one to one, nearest centroids first, up to {self.max_distance_mm:g} mm"
        return f"one to one, {self.policy} by IoU {'≥' if self.inclusive else '>'} {self.min_iou:g}"


@dataclass(frozen=True, slots=True)
class Match:
    """A predicted and a reference instance that are the same object.

    Attributes:
        prediction: id of the predicted instance.
        reference: id of the reference instance.
        iou: shared voxels over voxels of the union; 0 where none are shared.
        distance_mm: between the centroids; None unless matched by distance.
    """

    prediction: int
    reference: int
    iou: float
    distance_mm: float | None = None


@dataclass(frozen=True, slots=True)
class Matches:
    """What became of every instance of one label.

    Attributes:
        pairs: by ascending reference id, then prediction id.
        unmatched_prediction: ids of predicted instances without a pair, ascending.
        unmatched_reference: ids of missed reference instances, ascending.
    """

    pairs: tuple[Match, ...]
    unmatched_prediction: tuple[int, ...]
    unmatched_reference: tuple[int, ...]

    @property
    def matched_predictions(self) -> int:
        """How many predicted instances have a pair; several may share one where matching is by overlap."""
        return len({pair.prediction for pair in self.pairs})

    @property
    def matched_references(self) -> int:
        """How many reference instances have a pair."""
        return len({pair.reference for pair in self.pairs})

    @property
    def n_prediction(self) -> int:
        """How many instances were predicted."""
        return self.matched_predictions + len(self.unmatched_prediction)

    @property
    def n_reference(self) -> int:
        """How many instances the reference has."""
        return self.matched_references + len(self.unmatched_reference)


def match(
    prediction: InstanceMap,
    reference: InstanceMap,
    options: MatchOptions | None = None,
    overlaps: Overlaps | None = None,
) -> dict[str, Matches]:
    """Matches instances label by label; those of different labels are never the same object.

    Args:
        prediction: on the reference's grid. Labels are compared by name.
        reference: the other side.
        options: None for the defaults.
        overlaps: of the two id arrays, where they are known already.

    Returns:
        Label name → matches, for each label of either table: those of the reference first, in their order.
        Without instances on a side, all of the other side are unmatched.

    Raises:
        GeometryMismatchError: the grids differ.
        ConfigurationError: matching by distance where the pixel size is unknown.
        InputError: matching by distance and an instance has no centroid.
    """
    options = options or MatchOptions()
    check_same_grid(prediction, reference)
    if overlaps is None:
        overlaps = find_overlaps(prediction.ids, reference.ids)
    result = {}
    for name, part in overlaps_by_label(prediction, reference, overlaps).items():
        if options.max_distance_mm is None:
            result[name] = match_overlaps(part, options)
        else:
            result[name] = _by_distance(part, prediction, reference, options.max_distance_mm)
    return result


def match_overlaps(overlaps: Overlaps, options: MatchOptions | None = None) -> Matches:
    """Matches instances by what they share, whatever their labels.

    Args:
        overlaps: of two id arrays.
        options: None for the defaults; any policy but ``distance``.

    Raises:
        ConfigurationError: the policy is ``distance``, which needs centroids.
    """
    options = options or MatchOptions()
    if options.policy == "distance":
        raise ConfigurationError("matching by distance needs centroids; call match with two instance maps")
    iou = overlaps.iou
    if options.policy != "overlap":
        enough = iou >= options.min_iou if options.inclusive else iou > options.min_iou
        chosen = np.flatnonzero(enough)
    else:
        chosen = np.arange(iou.size)
    chosen = chosen[_CHOICES[options.policy](overlaps, iou, chosen)]
    return _matches(overlaps, overlaps.pairs[chosen], iou[chosen])


def overlaps_by_label(
    prediction: InstanceMap, reference: InstanceMap, overlaps: Overlaps
) -> dict[str, Overlaps]:
    """The overlaps within each label of either table, the reference's labels first."""
    names = dict.fromkeys(label.name for table in (reference.table, prediction.table) for label in table)
    predicted = np.array([instance.label for instance in prediction.instances], dtype=object)
    referred = np.array([instance.label for instance in reference.instances], dtype=object)
    return {name: overlaps.among(predicted == name, referred == name) for name in names}


def check_same_grid(prediction: InstanceMap, reference: InstanceMap) -> None:
    """Refuses instance maps of different grids.

    Raises:
        GeometryMismatchError: the grids differ.
    """
    if not prediction.geometry.same_grid(reference.geometry):
        raise GeometryMismatchError(
            f"the prediction has {prediction.geometry.describe()} but the reference "
            f"{reference.geometry.describe()}; resample one onto the other's grid first"
        )


def _greedy(overlaps: Overlaps, iou: NDArray[np.float64], chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """Positions in ``chosen`` of the pairs to keep."""
    pairs = overlaps.pairs[chosen]
    order = np.lexsort((pairs[:, 0], pairs[:, 1], -overlaps.shared[chosen], -iou[chosen]))
    return _first_come(pairs, order)


def _first_come(pairs: NDArray[np.int64], order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Walks through the pairs in order and keeps each whose two sides are still free."""
    taken: tuple[set[int], set[int]] = (set(), set())
    kept = []
    for position in order.tolist():
        left, right = pairs[position].tolist()
        if left not in taken[0] and right not in taken[1]:
            taken[0].add(left)
            taken[1].add(right)
            kept.append(position)
    return np.array(kept, dtype=np.intp)


def _optimal(overlaps: Overlaps, iou: NDArray[np.float64], chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """Assigns each group of instances that hang together by qualifying pairs for itself."""
    pairs = overlaps.pairs[chosen]
    n, m = overlaps.prediction_ids.size, overlaps.reference_ids.size
    links = coo_array((np.ones(chosen.size), (pairs[:, 0], n + pairs[:, 1])), shape=(n + m, n + m))
    _, group_of = connected_components(links, directed=False)
    group = group_of[pairs[:, 0]] if chosen.size else np.zeros(0, np.intp)
    order = np.argsort(group, kind="stable")
    kept: list[int] = []
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        rows, row = np.unique(pairs[members, 0], return_inverse=True)
        columns, column = np.unique(pairs[members, 1], return_inverse=True)
        gain = np.zeros((rows.size, columns.size))
        gain[row, column] = iou[chosen[members]]
        best = set(zip(*(side.tolist() for side in linear_sum_assignment(gain, maximize=True)), strict=True))
        places = zip(row.tolist(), column.tolist(), strict=True)
        kept += [member for member, place in zip(members.tolist(), places, strict=True) if place in best]
    return np.array(kept, dtype=np.intp)


def _all(overlaps: Overlaps, iou: NDArray[np.float64], chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    del overlaps, iou
    return np.arange(chosen.size)


_Choice = Callable[[Overlaps, NDArray[np.float64], NDArray[np.intp]], NDArray[np.intp]]
_CHOICES: dict[str, _Choice] = {"greedy": _greedy, "optimal": _optimal, "overlap": _all}


def _by_distance(
    overlaps: Overlaps, prediction: InstanceMap, reference: InstanceMap, max_distance_mm: float
) -> Matches:
    if not reference.geometry.calibrated:
        raise ConfigurationError(
            "instances are to be matched by distance but the pixel size of this image is unknown; store the "
            "pixel size in the file or match by overlap"
        )
    if overlaps.prediction_ids.size == 0 or overlaps.reference_ids.size == 0:
        return _matches(overlaps, np.zeros((0, 2), np.int64), np.zeros(0))
    centres = [
        cKDTree(_centroids_mm(side, ids))
        for side, ids in ((prediction, overlaps.prediction_ids), (reference, overlaps.reference_ids))
    ]
    near = centres[0].sparse_distance_matrix(centres[1], max_distance_mm, output_type="ndarray")
    pairs = np.stack([near["i"], near["j"]], axis=1).astype(np.int64)
    known = dict(zip(map(tuple, overlaps.pairs.tolist()), overlaps.iou.tolist(), strict=True))
    iou = np.array([known.get((i, j), 0.0) for i, j in pairs.tolist()], dtype=np.float64)
    kept = _first_come(pairs, np.lexsort((pairs[:, 0], pairs[:, 1], -iou, near["v"])))
    return _matches(overlaps, pairs[kept], iou[kept], near["v"][kept])


def _centroids_mm(side: InstanceMap, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    known = {instance.id: instance.centroid_mm for instance in side.instances}
    points = [known[number] for number in ids.tolist()]
    if any(point is None for point in points):
        raise InputError("an instance has no centroid, so it cannot be matched by distance; match by overlap")
    return np.array(points, dtype=np.float64)


def _matches(
    overlaps: Overlaps,
    pairs: NDArray[np.int64],
    iou: NDArray[np.float64],
    distance_mm: NDArray[np.float64] | None = None,
) -> Matches:
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    sides = [ids[pairs[order, n]] for n, ids in enumerate((overlaps.prediction_ids, overlaps.reference_ids))]
    distances = [None] * order.size if distance_mm is None else distance_mm[order].tolist()
    rows = zip(sides[0].tolist(), sides[1].tolist(), iou[order].tolist(), distances, strict=True)
    return Matches(
        tuple(Match(*row) for row in rows),
        tuple(np.setdiff1d(overlaps.prediction_ids, sides[0]).tolist()),
        tuple(np.setdiff1d(overlaps.reference_ids, sides[1]).tolist()),
    )
