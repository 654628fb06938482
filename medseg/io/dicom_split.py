"""From the frames of many files to groups that may each be one stack.

A series is no unit: it may hold a localizer, two time points and a secondary capture. Frames are parted by
series, frame of reference, kind, matrix, pixel spacing and orientation; and where positions repeat, by the
first keys (temporal position, echo, b-value, acquisition …) that leave each position once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.io.dicom_frames import Frame
from medseg.io.dicom_headers import same_pixels

ORIENTATION_TOLERANCE = 1e-3
"""Frames are parallel where no direction cosine differs by more."""

SPACING_TOLERANCE = 1e-3
"""Pixel spacings are one where they differ by a smaller share."""

SAME_POSITION_MM = 1e-3
"""Frames closer than this along the normal lie at one position."""

_ORDINAL_KEYS = ("file", "folder", "gradient direction")


@dataclass(frozen=True, slots=True)
class Group:
    """Frames that belong together.

    Attributes:
        frames: in no order.
        series: what was grouped by first: the series UID, or the folder where files name none.
        key: what sets the group apart within its series, in words; None where the series is one group.
        warnings: what a reader of the stack should know.
        mixed: whether orientations change from frame to frame, so that no group could be made.
    """

    frames: tuple[Frame, ...]
    series: str
    key: str | None = None
    warnings: tuple[str, ...] = ()
    mixed: bool = False

    @property
    def kind(self) -> str:
        """The kind of all frames."""
        return self.frames[0].kind


def split(frames: Iterable[Frame]) -> list[Group]:
    """All frames in groups, by series in the order met; within a series the largest group first."""
    by_series = _partition(frames, lambda f: f.header.series_uid or f"folder {f.header.path.parent}")
    groups: list[Group] = []
    for series, members in by_series.items():
        parts = [_dropped(group) for group in _by_place(members, str(series)) for group in _by_repeat(group)]
        parts.sort(key=lambda group: -len(group.frames))
        groups += [_with_key(part, parts) for part in parts]
    return groups


def normal_of(frame: Frame) -> NDArray[Any]:
    """Unit normal of a frame with an orientation, LPS: row direction × column direction."""
    values = np.array(frame.orientation, dtype=np.float64)
    normal: NDArray[Any] = np.cross(values[:3], values[3:])
    return normal / max(float(np.linalg.norm(normal)), 1e-12)


def along_normal(frames: Iterable[Frame], normal: NDArray[Any]) -> NDArray[Any]:
    """Position of each frame along ``normal`` in mm."""
    return np.array([np.dot(np.array(f.position), normal) for f in frames], dtype=np.float64)


def _partition(frames: Iterable[Frame], key: Callable[[Frame], Hashable]) -> dict[Hashable, list[Frame]]:
    parts: dict[Hashable, list[Frame]] = {}
    for frame in frames:
        parts.setdefault(key(frame), []).append(frame)
    return parts


def _by_place(frames: list[Frame], series: str) -> list[Group]:
    groups: list[Group] = []
    for same in _partition(frames, _static_key).values():
        if same[0].kind != "image" or None in (same[0].position, same[0].orientation, same[0].spacing):
            groups.append(Group(tuple(same), series))
            continue
        for parallel_spacing in _cluster(same, _spacing_of, _close_spacing):
            parts = _cluster(parallel_spacing, _orientation_of, _close_orientation)
            largest = max(map(len, parts))
            if largest * 2 <= len(parallel_spacing) and min(map(len, parts)) == 1:
                groups.append(Group(tuple(parallel_spacing), series, mixed=True))
            else:
                groups += [Group(tuple(part), series) for part in parts]
    return groups


def _static_key(frame: Frame) -> tuple[Hashable, ...]:
    header = frame.header
    if frame.kind != "image":
        return (frame.kind,)
    missing = tuple(v is None for v in (frame.position, frame.orientation, frame.spacing))
    return (
        frame.kind, header.modality, header.sop_class, header.frame_of_reference, header.rows, header.columns,
        missing,
    )  # fmt: skip


def _cluster(
    frames: list[Frame],
    value: Callable[[Frame], NDArray[Any]],
    close: Callable[[NDArray[Any], NDArray[Any]], bool],
) -> list[list[Frame]]:
    """Each frame joins the first cluster whose first member is close to it."""
    clusters: list[tuple[NDArray[Any], list[Frame]]] = []
    for frame in frames:
        mine = value(frame)
        home = next((members for centre, members in clusters if close(centre, mine)), None)
        if home is None:
            clusters.append((mine, [frame]))
        else:
            home.append(frame)
    return [members for _, members in clusters]


def _spacing_of(frame: Frame) -> NDArray[Any]:
    return np.array(frame.spacing, dtype=np.float64)


def _orientation_of(frame: Frame) -> NDArray[Any]:
    return np.array(frame.orientation, dtype=np.float64)


def _close_spacing(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool((np.abs(a - b) <= SPACING_TOLERANCE * a).all())


def _close_orientation(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool((np.abs(a - b) <= ORIENTATION_TOLERANCE).all())


def _by_repeat(group: Group) -> list[Group]:
    if group.mixed or not _placed(group):
        return [group]
    places = _places(group.frames)
    parts: list[list[Frame]] = [list(group.frames)]
    chosen: list[str] = []
    for name in dict.fromkeys(name for frame in group.frames for name, _ in frame.keys):
        if _most_repeats(parts, places) == 1:
            break
        finer = [same for part in parts for same in _partition(part, partial(_value, name=name)).values()]
        enough = len(finer) * 2 <= len(group.frames)
        if enough and _most_repeats(finer, places) < _most_repeats(parts, places):
            parts, chosen = finer, [*chosen, name]
    labels = [_label(part, parts, chosen) for part in parts]
    return [Group(tuple(part), group.series, label) for part, label in zip(parts, labels, strict=True)]


def _placed(group: Group) -> bool:
    first = group.frames[0]
    return group.kind == "image" and None not in (first.position, first.orientation, first.spacing)


def _places(frames: tuple[Frame, ...]) -> dict[Frame, int]:
    """A number for each frame that equal positions share."""
    positions = along_normal(frames, normal_of(frames[0]))
    order = np.argsort(positions, kind="stable")
    steps = np.diff(positions[order]) > SAME_POSITION_MM
    number = np.concatenate([[0], np.cumsum(steps)])
    return {frames[int(i)]: int(n) for i, n in zip(order, number, strict=True)}


def _most_repeats(parts: list[list[Frame]], places: dict[Frame, int]) -> int:
    return max(int(np.bincount([places[f] for f in part]).max()) for part in parts)


def _value(frame: Frame, name: str) -> str | None:
    return next((value for key, value in frame.keys if key == name), None)


def _label(part: list[Frame], parts: list[list[Frame]], names: list[str]) -> str | None:
    words = []
    for name in names:
        values = list(dict.fromkeys(_value(frame, name) for frames in parts for frame in frames))
        mine = _value(part[0], name)
        shown = mine if mine is not None and name not in _ORDINAL_KEYS else str(values.index(mine) + 1)
        words.append(f"{name} {shown}")
    return ", ".join(words) or None


def _dropped(group: Group) -> Group:
    """The group without second copies of one slice; what differs in its pixels stays and is refused later."""
    if group.mixed or not _placed(group):
        return group
    kept: list[Frame] = []
    n_copies = 0
    for same in _partition(group.frames, _places(group.frames).__getitem__).values():
        copies = len(same) > 1 and same_pixels(same)
        kept += same[:1] if copies else same
        n_copies += len(same) - 1 if copies else 0
    if n_copies == 0:
        return group
    warning = f"{n_copies} slice(s) occur twice with identical pixels; each is used once"
    return Group(tuple(kept), group.series, group.key, (*group.warnings, warning))


def _with_key(group: Group, siblings: list[Group]) -> Group:
    """The group with a key that no sibling has, and a word on what else its series holds."""
    if len(siblings) == 1:
        return group
    names = [_name(sibling) for sibling in siblings]
    mine = names[next(n for n, sibling in enumerate(siblings) if sibling is group)]
    if names.count(mine) > 1:
        before = [n for n, sibling in zip(names, siblings, strict=True) if n == mine and sibling is not group]
        place = next(n for n, s in enumerate(x for x in siblings if _name(x) == mine) if s is group)
        mine = f"{mine} ({place + 1} of {len(before) + 1})"
    others = "; ".join(
        f"{name}: {len(s.frames)} image(s)" for name, s in zip(names, siblings, strict=True) if s is not group
    )
    warning = f"the series holds more than this stack, which is left out of it: {others}"
    return Group(group.frames, group.series, mine, (*group.warnings, warning), group.mixed)


def _name(group: Group) -> str:
    first = group.frames[0]
    if group.kind != "image":
        return group.kind
    words = [plane_of(first), f"{first.header.columns} × {first.header.rows}", group.key or ""]
    return ", ".join(word for word in words if word)


def plane_of(frame: Frame) -> str:
    """The anatomical plane that a frame lies in most nearly."""
    if frame.orientation is None:
        return "no orientation"
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(normal_of(frame))))]
