"""What became of a segmentation's volumes and lesions between two examinations."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigurationError, GeometryMismatchError, InputError, LabelTableError
from medseg.instances.instance import Instance, InstanceMap
from medseg.measure.measure import measure
from medseg.measure.measurement import Measurement
from medseg.measure.pairing import Group, PairingOptions, pair_lesions
from medseg.spatial.geometry import Geometry
from medseg.spatial.segmentation import Segmentation
from medseg.spatial.volume import Volume

STATUSES = ("new", "gone", "grown", "shrunk", "stable", "outside")
NOT_REGISTERED = (
    "The frame of reference of at least one of the two scans is unknown: the comparison takes both to lie in "
    "one space."
)
_COMPARED = ("volume_ml", "lesion_load_ml", "suv_mean", "suv_max", "suv_peak", "total_lesion_glycolysis")


@dataclass(frozen=True, slots=True)
class ChangeOptions:
    """How two examinations are compared.

    Attributes:
        registered: the scans were brought into one space, whatever their frames of reference say.
        pairing: which lesions are the same.
        stable_percent: a lesion whose volume changed by less is stable. 25 % is the bound for growth of
            lung nodules in the guideline of the British Thoracic Society (Callister 2015).

    Raises:
        ConfigurationError: the bound is not a positive number.
    """

    registered: bool = False
    pairing: PairingOptions = field(default_factory=PairingOptions)
    stable_percent: float = 25.0

    def __post_init__(self) -> None:
        if not 0 < self.stable_percent < float("inf"):
            raise ConfigurationError(
                f"stable_percent is {self.stable_percent}; expected a percentage above 0"
            )


@dataclass(frozen=True, slots=True, eq=False)
class TimePoint:
    """One examination, measured.

    Attributes:
        segmentation: the label map.
        instances: its lesions.
        measurements: of labels and lesions, from `medseg.measure.measure`.
        frame_of_reference_uid: of the label map or, where that has none, of the image.
    """

    segmentation: Segmentation
    instances: InstanceMap
    measurements: tuple[Measurement, ...]
    frame_of_reference_uid: str | None = None

    @classmethod
    def of(cls, segmentation: Segmentation, instances: InstanceMap, image: Volume | None = None) -> TimePoint:
        """Measures an examination.

        Raises:
            GeometryMismatchError: the parts lie on different grids.
            LabelTableError: an instance names a label that the segmentation's table lacks.
        """
        frame = segmentation.geometry.frame_of_reference_uid
        if frame is None and image is not None:
            frame = image.geometry.frame_of_reference_uid
        return cls(segmentation, instances, tuple(measure(segmentation, instances, image)), frame)


@dataclass(frozen=True, slots=True)
class LesionChange:
    """What became of one lesion, or of lesions that split or merged.

    Attributes:
        label: name in the label table.
        status: one of `STATUSES`; ``outside`` where the other scan does not reach the lesion.
        previous: ids in the earlier examination.
        current: ids in the later one; two or more where the lesion split.
        previous_ml: volume in the earlier examination, 0 where new; None where it was not looked at.
        current_ml: volume in the later one, 0 where gone; None where it was not looked at.
        change_ml: the difference, later less earlier.
        change_percent: of the earlier volume; None where that is 0 or unknown.
    """

    label: str
    status: str
    previous: tuple[int, ...]
    current: tuple[int, ...]
    previous_ml: float | None
    current_ml: float | None
    change_ml: float | None
    change_percent: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """The difference of two examinations.

    Attributes:
        lesions: every lesion of both examinations, in one entry each.
        measurements: of the later examination's labels and lesions.
        notes: what the reader must know before relying on it.
        method: the rules, in words.
    """

    lesions: tuple[LesionChange, ...]
    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...]
    method: str


def measure_change(previous: TimePoint, current: TimePoint, options: ChangeOptions | None = None) -> Change:
    """Changes of volumes, of uptake where both have it, and of each lesion.

    Both examinations must lie in one space: nothing is registered here. The volumes compared are each
    measured on its own grid.

    Args:
        previous: the earlier examination.
        current: the later one, with the same label table.
        options: None for the defaults.

    Raises:
        GeometryMismatchError: a pixel size is unknown, the frames of reference are known and differ and
            ``registered`` is not set, or the scans have no part of the patient in common.
        InputError: an examination is a single slice, which has no volumes.
        LabelTableError: the label tables differ.
    """
    options = options or ChangeOptions()
    _check(previous, current, options)
    before, after = _without_frame(previous.instances), _without_frame(current.instances)
    groups = pair_lesions(before, after, options.pairing)
    sides = [{instance.id: instance for instance in one.instances} for one in (before, after)]
    lesions = tuple(
        _lesion(
            group,
            [sides[0][number] for number in group.previous],
            [sides[1][number] for number in group.current],
            after.geometry if group.previous else before.geometry,
            options.stable_percent,
        )
        for group in groups
    )
    method = (
        f"lesions {options.pairing.describe()}; grown or shrunk where the volume changed by "
        f"{options.stable_percent:g} % or more, else stable; outside where the other scan does not reach"
    )
    notes = []
    if not options.registered and None in {previous.frame_of_reference_uid, current.frame_of_reference_uid}:
        notes.append(NOT_REGISTERED)
    outside = sum(lesion.status == "outside" for lesion in lesions)
    if outside:
        notes.append(f"{outside} lesions lie where only one of the two scans reaches and were not compared.")
    measurements = (*_label_changes(previous, current, lesions, method), *_lesion_changes(lesions, method))
    return Change(lesions, measurements, tuple(notes), method)


def _check(previous: TimePoint, current: TimePoint, options: ChangeOptions) -> None:
    both = previous.segmentation, current.segmentation
    tables = [[(label.index, label.name) for label in one.table] for one in both]
    if tables[0] != tables[1]:
        raise LabelTableError(
            "the two label maps have different label tables, so their labels cannot be compared; read both "
            "with the same table"
        )
    if not all(one.geometry.calibrated for one in both):
        raise GeometryMismatchError(
            "the pixel size of an image is unknown, so no volumes can be compared; store it in the file"
        )
    if any(one.geometry.shape[2] == 1 for one in both):
        raise InputError("an image is a single slice, which has no volume to compare; give whole volumes")
    frames = {previous.frame_of_reference_uid, current.frame_of_reference_uid} - {None}
    if len(frames) > 1 and not options.registered:
        raise GeometryMismatchError(
            "the two scans belong to different frames of reference, so their places cannot be compared; "
            "register one to the other, or say that they are registered (--registered)"
        )
    boxes = [_box_mm(one.geometry) for one in both]
    if any(boxes[0][1] <= boxes[1][0]) or any(boxes[1][1] <= boxes[0][0]):
        raise GeometryMismatchError(
            f"the two scans have no part of the patient in common: {both[0].geometry.describe()} and "
            f"{both[1].geometry.describe()}; register one to the other"
        )


def _box_mm(geometry: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest R, A and S of the outer voxel faces."""
    corners = geometry.to_world(np.array(list(itertools.product(*((-0.5, n - 0.5) for n in geometry.shape)))))
    return corners.min(axis=0), corners.max(axis=0)


def _without_frame(instances: InstanceMap) -> InstanceMap:
    return replace(instances, geometry=replace(instances.geometry, frame_of_reference_uid=None))


def _lesion(
    group: Group, old: list[Instance], new: list[Instance], other: Geometry, stable_percent: float
) -> LesionChange:
    """``other`` is the scan in which a lesion without a partner would have to lie."""
    previous_ml, current_ml = _volume_ml(old), _volume_ml(new)
    if not (old and new) and not any(_reaches(other, lesion) for lesion in old + new):
        volumes = (previous_ml if old else None, current_ml if new else None)
        return LesionChange(group.label, "outside", group.previous, group.current, *volumes, None, None)
    change_ml = current_ml - previous_ml
    percent = 100 * change_ml / previous_ml if old else None
    if percent is None:
        status = "new"
    elif not new:
        status = "gone"
    elif abs(percent) < stable_percent * (1 - 1e-9):
        status = "stable"
    else:
        status = "grown" if percent > 0 else "shrunk"
    return LesionChange(
        group.label, status, group.previous, group.current, previous_ml, current_ml, change_ml, percent
    )


def _volume_ml(instances: list[Instance]) -> float:
    return sum(instance.volume_ml or 0.0 for instance in instances)


def _reaches(geometry: Geometry, lesion: Instance) -> bool:
    """Whether a grid holds the lesion's centroid."""
    index = geometry.to_index(np.array(lesion.centroid_mm, dtype=np.float64))
    return bool(np.all((index >= -0.5) & (index <= np.array(geometry.shape) - 0.5)))


def _label_changes(
    previous: TimePoint, current: TimePoint, lesions: tuple[LesionChange, ...], method: str
) -> Iterator[Measurement]:
    old = {(m.label, m.name): m for m in previous.measurements if m.instance is None}
    new = {(m.label, m.name): m for m in current.measurements if m.instance is None}
    counts = Counter((lesion.label, lesion.status) for lesion in lesions)
    for label in current.segmentation.table:
        for name in _COMPARED:
            pair = old.get((label.name, name)), new.get((label.name, name))
            if pair[0] and pair[1] and any(m.value is not None for m in pair if m):
                yield from _values(pair[0], pair[1])
        if any((label.name, "lesion_count") in side for side in (old, new)):
            for status in STATUSES:
                count = float(counts[label.name, status])
                yield Measurement(f"lesions_{status}", count, "1", label.name, method=method)


def _values(old: Measurement, new: Measurement) -> Iterator[Measurement]:
    """The earlier value, the difference and its percentage."""
    stem = new.name.removesuffix("_ml")
    unit = new.name.removeprefix(stem)
    reason = None
    if old.value is None:
        reason = f"at the earlier time: {old.reason}"
    elif new.value is None:
        reason = f"now: {new.reason}"
    change = None if old.value is None or new.value is None else new.value - old.value
    percent = 100 * change / old.value if change is not None and old.value and old.value > 0 else None
    zero = None if percent is not None else reason or "no percentage of an earlier value of 0 or less"

    def entry(name: str, value: float | None, unit: str, reason: str | None, method: str) -> Measurement:
        return Measurement(name, value, unit, new.label, new.instance, reason, method)

    earlier = None if old.value is not None else reason
    yield entry(f"previous_{new.name}", old.value, new.unit, earlier, f"{new.name} at the earlier time")
    yield entry(f"{stem}_change{unit}", change, new.unit, reason, "value now less the earlier one")
    yield entry(f"{stem}_change_percent", percent, "%", zero, "change in percent of the earlier value")


def _lesion_changes(lesions: tuple[LesionChange, ...], method: str) -> Iterator[Measurement]:
    """Volume changes of the later examination's lesions."""
    for lesion in lesions:
        for number in lesion.current:
            reason = None
            if lesion.status == "outside":
                reason = "the earlier scan does not reach here"
            elif len(lesion.current) > 1:
                reason = (
                    f"split into lesions {', '.join(map(str, lesion.current))}, which are compared together"
                )
            zero = reason or ("new: there is no earlier volume" if lesion.status == "new" else None)
            for name, value, unit, why in (
                ("previous_volume_ml", lesion.previous_ml, "ml", reason),
                ("volume_change_ml", lesion.change_ml, "ml", reason),
                ("volume_change_percent", lesion.change_percent, "%", zero),
            ):
                yield Measurement(name, None if why else value, unit, lesion.label, number, why, method)
