"""Sums of target lesions and the response by them, after RECIST 1.1.

E. A. Eisenhauer et al., "New response evaluation criteria in solid tumours: revised RECIST guideline (version
1.1)", Eur J Cancer 45 (2009) 228-247, with the clarifications of the RECIST working group (L. H. Schwartz et
al., Eur J Cancer 62 (2016) 132-137). What a label map cannot tell (non-target lesions, whether a lesion is a
tumour, which organ a label stands for) is left to the reader.

Measurable is a lesion of 10 mm or more in its long axial diameter, or of twice the distance of the slices
where that is over 5 mm; a lymph node of 15 mm or more in its short axial diameter. Targets are the largest
measurable lesions, five at most and two at most per organ; a label stands for an organ, and all lymph nodes
together are one. Nodes enter the sum with their short diameter, all others with the long one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from medseg.errors import ConfigurationError, InputError
from medseg.measure.change import LesionChange
from medseg.measure.diameter import slice_plane
from medseg.measure.measurement import Measurement
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import LabelTable

CAVEAT = "computed on automatic segmentation; RECIST target choice is a reader's decision"
MAX_TARGETS = 5
MAX_PER_ORGAN = 2
MIN_LONG_MM = 10.0
MIN_NODE_SHORT_MM = 15.0
NORMAL_NODE_SHORT_MM = 10.0
RULES = (
    "RECIST 1.1: at most 5 targets, 2 per label, all node labels together counting as one; the largest "
    "measurable lesions; long axial diameter of 10 mm or more (twice the slice distance where that is over "
    f"5 mm), of nodes short axial diameter of 15 mm or more; {CAVEAT}"
)
_PRODUCTS = (
    "sum over all lesions of the label of long times short axial diameter (WHO handbook 1979, Miller 1981), "
    "which sets neither a smallest size nor a largest number; computed on automatic segmentation"
)
_NODES = "lymph nodes"
_EXACT = 1e-9


class Response(StrEnum):
    """Response of the target lesions."""

    COMPLETE = "CR"
    PARTIAL = "PR"
    STABLE = "SD"
    PROGRESSIVE = "PD"


@dataclass(frozen=True, slots=True)
class Diameters:
    """Axial diameters of one lesion.

    Attributes:
        label: its label.
        instance: its id.
        long_mm: the longest diameter in a slice.
        short_mm: the longest one at right angles to it.
        node: whether its label is one of lymph nodes.
    """

    label: str
    instance: int
    long_mm: float
    short_mm: float
    node: bool = False

    @property
    def size_mm(self) -> float:
        """What enters the sum: of nodes the short diameter, else the long one."""
        return self.short_mm if self.node else self.long_mm


@dataclass(frozen=True, slots=True)
class Targets:
    """Target lesions at one time.

    Attributes:
        chosen: largest first.
        measurable: how many lesions could have been chosen.
        min_long_mm: the long diameter from which a lesion other than a node is measurable here.
    """

    chosen: tuple[Diameters, ...]
    measurable: int
    min_long_mm: float

    @property
    def sum_mm(self) -> float | None:
        """Sum of the targets' sizes; None where there is no target."""
        return sum(target.size_mm for target in self.chosen) if self.chosen else None


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What became of the targets.

    Attributes:
        baseline_mm: their sum at the earlier time.
        current_mm: their sum now; None where a target lies outside the later scan.
        sizes: id of each later lesion that belongs to a target → what it adds to the sum.
        new_lesions: how many lesions are new; nodes only from a short diameter of 10 mm.
        response: None where there is none.
        reason: why not.
    """

    baseline_mm: float | None
    current_mm: float | None
    sizes: Mapping[int, float]
    new_lesions: int
    response: Response | None
    reason: str | None = None


def lesion_diameters(
    measurements: Iterable[Measurement], node_labels: Collection[str] = ()
) -> list[Diameters]:
    """The axial diameters of all lesions that have them, in the order of the measurements."""
    names = "axial_long_diameter_mm", "axial_short_diameter_mm"
    found: dict[tuple[str, int], dict[str, float]] = {}
    for m in measurements:
        if m.instance is not None and m.name in names and m.value is not None:
            found.setdefault((m.label, m.instance), {})[m.name] = m.value
    return [
        Diameters(label, number, pair[names[0]], pair[names[1]], label in node_labels)
        for (label, number), pair in found.items()
    ]


def min_long_diameter_mm(geometry: Geometry) -> float:
    """The long diameter from which a lesion is measurable: 10 mm, or twice a slice distance over 5 mm."""
    step = 0.0 if geometry.shape[2] == 1 else geometry.spacing_mm[slice_plane(geometry).axis]
    return 2 * step if step > 5 else MIN_LONG_MM


def choose_targets(lesions: Sequence[Diameters], min_long_mm: float = MIN_LONG_MM) -> Targets:
    """The largest measurable lesions, five at most, two at most per organ.

    Args:
        lesions: from `lesion_diameters`; of equally large ones the earlier counts.
        min_long_mm: from `min_long_diameter_mm`.
    """
    measurable = [
        one for one in lesions if one.size_mm >= (MIN_NODE_SHORT_MM if one.node else min_long_mm) - _EXACT
    ]
    chosen: list[Diameters] = []
    organs: Counter[tuple[bool, str]] = Counter()
    for one in sorted(measurable, key=lambda lesion: -lesion.size_mm):
        organ = (True, _NODES) if one.node else (False, one.label)
        if len(chosen) < MAX_TARGETS and organs[organ] < MAX_PER_ORGAN:
            chosen.append(one)
            organs[organ] += 1
    return Targets(tuple(chosen), len(measurable), min_long_mm)


def check_node_labels(node_labels: Collection[str], table: LabelTable) -> None:
    """Refuses names that are no labels.

    Raises:
        ConfigurationError: a name that the table lacks.
    """
    unknown = sorted(set(node_labels) - {label.name for label in table})
    if unknown:
        known = ", ".join(label.name for label in table) or "none"
        raise ConfigurationError(f"no label is called {', '.join(unknown)}; choose node labels from: {known}")


def response(
    baseline_mm: float,
    current_mm: float,
    *,
    nadir_mm: float | None = None,
    new_lesion: bool = False,
    all_gone: bool | None = None,
) -> Response:
    """The response category by the sums of the target lesions.

    PD: a new lesion, or the sum is 20 % and 5 mm or more above the smallest sum so far. CR: all targets are
    gone. PR: the sum is 30 % or more below the baseline. SD: none of these. PD goes before the others.

    Args:
        baseline_mm: sum before treatment, above 0.
        current_mm: sum now.
        nadir_mm: smallest earlier sum, the baseline included; None for the baseline.
        new_lesion: whether there is an unequivocal new lesion.
        all_gone: whether no target is left and nodes among them are normal (short diameter below 10 mm);
            None where no target is a node, so that a sum of 0 says it.

    Raises:
        InputError: a sum that is negative or not finite, a baseline of 0, a nadir above the baseline.
    """
    nadir_mm = baseline_mm if nadir_mm is None else nadir_mm
    if not all(math.isfinite(value) and value >= 0 for value in (baseline_mm, current_mm, nadir_mm)):
        raise InputError(
            f"the sums are {baseline_mm}, {nadir_mm} and {current_mm} mm; expected 0 or more and finite"
        )
    if baseline_mm == 0 or nadir_mm > baseline_mm:
        raise InputError(
            f"the baseline sum is {baseline_mm} mm and the smallest so far {nadir_mm} mm; expected a "
            "baseline above 0 and a smallest sum of no more than it"
        )
    grown = current_mm - nadir_mm
    if new_lesion or (grown >= 0.2 * nadir_mm - _EXACT and grown >= 5 - _EXACT):
        return Response.PROGRESSIVE
    if current_mm == 0 if all_gone is None else all_gone:
        return Response.COMPLETE
    if current_mm <= 0.7 * baseline_mm + _EXACT:
        return Response.PARTIAL
    return Response.STABLE


def follow_targets(
    targets: Targets, lesions: Sequence[LesionChange], current: Sequence[Diameters]
) -> FollowUp:
    """The targets' sum at the later time, and the response against the earlier one as baseline and nadir.

    The parts of a target that split are added up; targets that merged count once, with the merged lesion;
    a target that is gone counts 0.

    Args:
        targets: chosen at the earlier time.
        lesions: from `medseg.measure.change.measure_change`.
        current: the later lesions.
    """
    sizes = {one.instance: one for one in current}
    fresh = [sizes[n] for lesion in lesions if lesion.status == "new" for n in lesion.current if n in sizes]
    new = sum(not one.node or one.short_mm >= NORMAL_NODE_SHORT_MM for one in fresh)
    if targets.sum_mm is None:
        return FollowUp(None, None, {}, new, None, "no measurable lesion at the earlier time")
    wanted = {target.instance for target in targets.chosen}
    followed = [lesion for lesion in lesions if wanted & set(lesion.previous)]
    left = [sizes[number] for lesion in followed for number in lesion.current]
    added = {one.instance: one.size_mm for one in left}
    if any(lesion.status == "outside" for lesion in followed):
        reason = "a target lesion lies outside the later scan"
        return FollowUp(
            targets.sum_mm, None, added, new, Response.PROGRESSIVE if new else None, None if new else reason
        )
    total = sum(added.values())
    gone = all(one.node and one.short_mm < NORMAL_NODE_SHORT_MM for one in left)
    category = response(targets.sum_mm, total, new_lesion=new > 0, all_gone=gone)
    return FollowUp(targets.sum_mm, total, added, new, category)


def recist_measurements(
    lesions: Sequence[Diameters], sizes: Mapping[int, float], why_not: str
) -> list[Measurement]:
    """Sums per label and, per lesion, what it adds to the sum or the reason why it adds nothing.

    Args:
        lesions: all lesions of the examination.
        sizes: id of each target → what it adds to the sum.
        why_not: why a lesion is no target.
    """
    found: list[Measurement] = []
    for label in dict.fromkeys(one.label for one in lesions):
        own = [one for one in lesions if one.label == label]
        added = [sizes[one.instance] for one in own if one.instance in sizes]
        reason = None if added else "no target lesion"
        products = sum(one.long_mm * one.short_mm for one in own)
        found += [
            Measurement(
                "recist_target_sum_mm", sum(added) if added else None, "mm", label, None, reason, RULES
            ),
            Measurement(
                "who_product_sum_mm2",
                products,
                "mm2",
                label,
                method=_PRODUCTS,
            ),
        ]
        for one in own:
            value = sizes.get(one.instance)
            why = None if value is not None else why_not
            found.append(Measurement("recist_diameter_mm", value, "mm", label, one.instance, why, RULES))
    return found
