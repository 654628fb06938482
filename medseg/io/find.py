"""What a user points at, as cases: files, DICOM series and folders of either."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError, MedsegError
from medseg.io.dicom_series import Stack, scan
from medseg.io.formats import Format, detect_format, image_suffix, named_format
from medseg.io.limits import DEFAULT_LIMITS, Limits
from medseg.io.names import Name, unique_ids
from medseg.spatial import CaseRef

CHANNEL = "image"
"""The name of the only channel of a case that was found, not described."""

_SIDECARS = {
    ".json", ".csv", ".tsv", ".txt", ".md", ".html", ".htm", ".xml", ".yaml", ".yml", ".log", ".pdf", ".py",
    ".bval", ".bvec", ".zip", ".gz", ".tar", ".raw", ".zraw",
}  # fmt: skip
_DICOM_INDEX = "DICOMDIR"
_ASIDE = {"localizer", "secondary capture", "colour"}


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that is an image but cannot be a case.

    Attributes:
        id: unique among cases and refusals, safe as a folder's name.
        path: the file, or the folder of a DICOM series.
        error: why.
        aside: it was never meant to be a volume (a localizer, a secondary capture, a colour series), so
            beside others it is no fault of the examination.
    """

    id: str
    path: Path
    error: MedsegError
    aside: bool = False


@dataclass(frozen=True, slots=True)
class FoundCases:
    """Every case below the given paths, in the order in which they were given, then by path."""

    cases: tuple[CaseRef, ...]
    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: Name
    path: Path
    files: tuple[Path, ...] = ()
    part: str | None = None
    error: MedsegError | None = None
    aside: bool = False


def find_cases(
    inputs: Sequence[Path], limits: Limits = DEFAULT_LIMITS, exclude: Sequence[Path] = ()
) -> FoundCases:
    """The cases in files and folders; nothing is decoded.

    A file is a case, so is each stack of a DICOM series; folders are searched with all folders in them.
    Hidden files, sidecars (JSON, text, tables) and DICOM objects without an image are passed over. Ids come
    from the path below the folder given; ids that would be equal all get a piece of a hash, so two inputs
    never share one. What is given twice is one case.

    Args:
        inputs: files and folders, at least one.
        limits: what a DICOM header may claim.
        exclude: folders that are passed over where they lie within an input, such as that of the results.

    Raises:
        InputError: nothing given, a path that does not exist, or a folder without any image.
    """
    if not inputs:
        raise InputError("no input is given; give an image file, a DICOM series or a folder of cases")
    candidates: dict[str, _Candidate] = {}
    for path in inputs:
        for candidate in _candidates(path, limits, {folder.resolve() for folder in exclude}):
            candidates.setdefault(candidate.name.absolute, candidate)
    cases: list[CaseRef] = []
    refused: list[Refused] = []
    ids = unique_ids([candidate.name for candidate in candidates.values()])
    for case_id, found in zip(ids, candidates.values(), strict=True):
        if found.error is not None:
            refused.append(Refused(case_id, found.path, found.error, found.aside))
        else:
            parts = {} if found.part is None else {CHANNEL: found.part}
            cases.append(CaseRef(case_id, {CHANNEL: found.files}, parts))
    return FoundCases(tuple(cases), tuple(refused))


def _candidates(path: Path, limits: Limits, exclude: set[Path]) -> list[_Candidate]:
    if not path.exists():
        raise InputError(f"there is no file or folder {path}; check the path")
    resolved = path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()
    if not resolved.is_dir():
        return _from_file(resolved, limits)
    passed: Counter[str] = Counter()
    found: list[_Candidate] = []
    for folder, files in _walk(resolved, exclude):
        images, others = _sorted_out(files, passed)
        found += [_from_image(file, resolved) for file in images]
        found += _from_scan(others, folder, Name.of_folder(folder, resolved), limits, passed)
    if not found:
        seen = ", ".join(f"{count} {kind}" for kind, count in sorted(passed.items()))
        raise InputError(
            f"the folder {path} holds no image ({seen or 'it is empty'}); expected NIfTI, NRRD, MetaImage, "
            "DICOM or picture files"
        )
    return found


def _from_file(path: Path, limits: Limits) -> list[_Candidate]:
    if named_format(path) not in (None, Format.DICOM):
        return [_from_image(path, path.parent)]
    name = Name.of_file(path, path.parent)
    try:
        found = detect_format(path)
    except InputError as error:
        return [_Candidate(name, path, error=error)]
    if found is not Format.DICOM:
        return [_from_image(path, path.parent)]
    no_image = InputError(f"{path.name} is a DICOM file that holds no image; give an image series")
    return _from_scan([path], path, name, limits, Counter()) or [_Candidate(name, path, error=no_image)]


def _from_image(path: Path, root: Path) -> _Candidate:
    return _Candidate(Name.of_file(path, root), path, (path,))


def _from_scan(
    files: list[Path], path: Path, name: Name, limits: Limits, passed: Counter[str]
) -> list[_Candidate]:
    inventory = scan(files, limits, recursive=False)
    found: list[_Candidate] = []
    for stack in inventory.stacks:
        own = name if len(inventory.stacks) == 1 else name.within(*_apart(stack))
        part = stack.key if _shared(stack, inventory.stacks) else None
        found.append(_Candidate(own, path, stack.files, part, stack.error, stack.kind in _ASIDE))
    for other in inventory.other:
        if other.error is None:
            passed[other.kind if other.kind != "not DICOM" else _kind(other.path)] += 1
        else:
            found.append(_Candidate(name.within(other.path.name), other.path, error=other.error))
    return found


def _apart(stack: Stack) -> tuple[str, ...]:
    """What tells a stack from the others of its folder, whatever their order."""
    return stack.uid or "", stack.key or "", stack.files[0].name


def _shared(stack: Stack, stacks: Sequence[Stack]) -> bool:
    return any(other is not stack and set(other.files) & set(stack.files) for other in stacks)


def _walk(folder: Path, seen: set[Path]) -> Iterator[tuple[Path, list[Path]]]:
    """Each folder with its files, sorted, links followed once."""
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror}") from error
    yield folder, [path for path in entries if path.is_file()]
    for path in entries:
        if path.is_dir() and path.suffix != ".tmp":
            yield from _walk(path, seen)


def _sorted_out(files: list[Path], passed: Counter[str]) -> tuple[list[Path], list[Path]]:
    """Files that are images by their names, and those that may be DICOM."""
    names = {path.name.lower() for path in files}
    images: list[Path] = []
    others: list[Path] = []
    for path in files:
        lower = path.name.lower()
        if named_format(path) not in (None, Format.DICOM):
            # The second half of a pair belongs to the first.
            if not (".img" in image_suffix(lower) and lower.replace(".img", ".hdr") in names):
                images.append(path)
        elif path.suffix.lower() in _SIDECARS or path.name == _DICOM_INDEX or path.suffix == ".tmp":
            passed[_kind(path)] += 1
        else:
            others.append(path)
    return images, others


def _kind(path: Path) -> str:
    return path.suffix.lower() or "without extension"
