"""DICOM image series: what lies in a folder, and one stack of slices as a volume.

The unit of work is a stack, not a series: see `medseg.io.dicom_split`. Slices are sorted by where they lie
in the patient, never by instance number or file name.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.errors import (
    IncompleteSeriesError,
    InputError,
    MedsegError,
    UnreadableFileError,
)
from medseg.io.dicom_checks import check_content, notes
from medseg.io.dicom_frames import Frame
from medseg.io.dicom_geometry import Layout, arrange
from medseg.io.dicom_headers import Other, read_frames
from medseg.io.dicom_pixels import read_pixels
from medseg.io.dicom_split import Group, split
from medseg.io.limits import DEFAULT_LIMITS, Limits
from medseg.spatial.geometry import Geometry
from medseg.spatial.volume import Volume

Verdict = Literal["usable", "warning", "refused"]

_EMPTY = "no DICOM image among the {} file(s) given{}; expected the files of one series"


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices that belong together, as their headers describe them; nothing is decoded.

    Attributes:
        files: in the order of the slices; in that of their names where the stack is refused.
        uid: series instance UID, or None where the files name none.
        modality: as stored, such as ``CT``.
        description: series description as stored; not for messages or logs.
        slices: number of slices.
        shape: voxels along (i, j, k), or None where refused.
        spacing_mm: likewise.
        verdict: ``usable``, ``warning`` (usable, see the reasons) or ``refused``.
        reasons: in words; empty for ``usable``.
        error: what `read_stack` raises on these files, or None.
        geometry: where the voxels lie, or None where refused.
        kind: ``image``; or what keeps it from being a volume: ``localizer``, ``secondary capture``,
            ``colour`` or ``mosaic``.
        key: what sets the stack apart where its series holds several, such as ``axial, 512 × 512, echo 2``.
    """

    files: tuple[Path, ...]
    uid: str | None
    modality: str | None
    description: str | None
    slices: int
    shape: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    verdict: Verdict
    reasons: tuple[str, ...]
    error: MedsegError | None
    geometry: Geometry | None
    key: str | None = None
    kind: str = "image"


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every file under a path in exactly one place: a stack, or ``other`` with the reason."""

    stacks: tuple[Stack, ...]
    other: tuple[Other, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many other files there are of each kind."""
        return dict(sorted(Counter(item.kind for item in self.other).items()))


@dataclass(frozen=True, slots=True)
class _Found:
    group: Group
    layout: Layout | None
    error: InputError | None


def scan(
    where: Path | Sequence[Path], limits: Limits = DEFAULT_LIMITS, *, recursive: bool = True
) -> Inventory:
    """What lies under a folder, or among files, from headers alone.

    Args:
        where: a folder, a file, or several of either.
        limits: bounds on what a header may claim.
        recursive: whether folders within folders are looked into; links to folders never are.

    Returns:
        Empty where there are no files.

    Raises:
        InputError: a path does not exist.
    """
    frames, other = _read_all(_files(where, recursive=recursive), limits)
    return Inventory(tuple(_stack(found) for found in _judge(frames, limits)), tuple(other))


def find_stacks(
    where: Path | Sequence[Path], limits: Limits = DEFAULT_LIMITS, *, recursive: bool = True
) -> list[Stack]:
    """The stacks under a folder, or among files, with a verdict on each; see `scan`."""
    return list(scan(where, limits, recursive=recursive).stacks)


def read_stack(files: Sequence[Path], limits: Limits = DEFAULT_LIMITS, *, key: str | None = None) -> Volume:
    """One stack as a volume: sorted by position, decoded and rescaled slice by slice.

    CT is in HU where its rescale type says so or is silent; PET in SUV where all that the body-weight SUV
    needs is stored; everything else in arbitrary units. Among the files one stack must stand out: localizers
    and single stray images beside it are left aside, as `find_stacks` warns.

    Args:
        files: the files of one stack, in any order, such as `Stack.files`.
        limits: bounds on what a header may claim.
        key: `Stack.key`, needed where one file holds several stacks.

    Raises:
        IncompleteSeriesError: the slices are no whole, even stack (the fault, the places in mm and what to do
            are named), or there are several stacks.
        UnreadableFileError: no image among the files, or a damaged one.
        GeometryMismatchError: impossible directions or spacing.
        LimitExceededError: larger than allowed.
    """
    frames, other = _read_all(_files(files, recursive=False), limits)
    claimed = next((item.error for item in other if item.error is not None), None)
    if claimed is not None:
        raise claimed
    if not frames:
        kinds = ", ".join(sorted({item.kind for item in other}))
        raise UnreadableFileError(_EMPTY.format(len(other), f" ({kinds})" if kinds else ""))
    chosen = _choose(_judge(frames, limits), key)
    if chosen.layout is None:
        raise chosen.error or IncompleteSeriesError("the stack cannot be read")
    layout = chosen.layout
    array_zyx, unit = read_pixels(layout.frames)
    source = layout.frames[0].header.series_uid
    return Volume(array_zyx.transpose(2, 1, 0), layout.geometry, unit, source)


def _files(where: Path | Sequence[Path], *, recursive: bool) -> list[Path]:
    paths = [where] if isinstance(where, Path) else list(where)
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            files.update(dict.fromkeys(_walk(path, recursive=recursive)))
        elif path.exists() or path.is_symlink():
            files[path] = None
        else:
            raise InputError(f"there is no file or folder called {path.name!r}; check the path")
    return list(files)


def _walk(folder: Path, *, recursive: bool) -> Iterable[Path]:
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))
        if not recursive:
            return


def _read_all(files: Iterable[Path], limits: Limits) -> tuple[list[Frame], list[Other]]:
    frames: list[Frame] = []
    other: list[Other] = []
    for path in files:
        found = read_frames(path, limits)
        if isinstance(found, Other):
            other.append(found)
        else:
            frames += found
    return frames, other


def _judge(frames: Iterable[Frame], limits: Limits) -> list[_Found]:
    result = []
    for group in split(frames):
        try:
            check_content(group)
            result.append(_Found(group, arrange(group.frames, limits), None))
        except InputError as error:
            result.append(_Found(group, None, error))
    return result


def _choose(found: list[_Found], key: str | None) -> _Found:
    """The one stack that is meant; several that could be are never settled by size alone."""
    if key is not None:
        named = [item for item in found if item.group.key == key]
        if len(named) != 1:
            raise IncompleteSeriesError(f"{len(named)} stacks are called {key!r}; {_listed(found)}")
        return named[0]
    images = [item for item in found if item.group.kind == "image"] or found
    n_frames = sum(len(item.group.frames) for item in images)
    largest = max(images, key=lambda item: len(item.group.frames))
    usable = [item for item in images if item.layout is not None]
    if len(usable) > 1 or (usable and usable[0] is not largest):
        raise IncompleteSeriesError(f"the files hold several stacks; {_listed(found)}")
    if usable and len(largest.group.frames) * 2 <= n_frames:
        raise IncompleteSeriesError(f"no stack holds most of the images; {_listed(found)}")
    return largest


def _listed(found: list[_Found]) -> str:
    words = [f"{item.group.key or 'one series'} with {len(item.group.frames)} image(s)" for item in found]
    return (
        f"there are {'; '.join(words)}; expected one. Give the files of one stack as `find_stacks` lists "
        "them, or its key"
    )


def _stack(found: _Found) -> Stack:
    group, layout = found.group, found.layout
    header = group.frames[0].header
    geometry = layout.geometry if layout else None
    if layout is not None:
        reasons = notes(group)
        verdict: Verdict = "warning" if reasons else "usable"
    else:
        reasons, verdict = (str(found.error),), "refused"
    frames = layout.frames if layout else sorted(group.frames, key=lambda f: (f.header.path, f.index))
    return Stack(
        files=tuple(dict.fromkeys(frame.header.path for frame in frames)),
        uid=header.series_uid,
        modality=header.modality,
        description=header.description,
        slices=len(group.frames),
        shape=geometry.shape if geometry else None,
        spacing_mm=geometry.spacing_mm if geometry else None,
        verdict=verdict,
        reasons=reasons,
        error=found.error,
        geometry=geometry,
        key=group.key,
        kind=group.kind,
    )
