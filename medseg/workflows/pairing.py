"""Which prediction belongs to which reference: by case id, strictly."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError
from medseg.io.formats import Format, named_format
from medseg.io.names import Name, unique_ids

_SHOWN = 3
_RESULTS = ("segmentation", "instances")


@dataclass(frozen=True, slots=True)
class Pair:
    """One case: its two label maps, either of which may be missing.

    Attributes:
        case_id: what both have in common.
        prediction: None where there is none.
        reference: None where there is none.
    """

    case_id: str
    prediction: Path | None
    reference: Path | None


def find_pairs(
    predictions: Path,
    references: Path,
    *,
    suffixes: Sequence[str] = (),
    instance_maps: bool = False,
    exclude: Sequence[Path] = (),
) -> list[Pair]:
    """The cases of two files or folders, by ascending id.

    Two files are one case whatever they are called. Of folders every label map counts, in all folders
    within; its id is its path without the image extension, and without the first of ``suffixes`` that it
    ends in. What `medseg segment` wrote for a case, ``<case>/segmentation.nii.gz``, has the id ``<case>``.
    Where one side is a file, that case alone is meant.

    Args:
        predictions: file or folder.
        references: file or folder.
        suffixes: ends of names that are no part of the id, such as ``_seg``; taken off on both sides.
        instance_maps: of a folder of `medseg segment` take ``instances`` instead of ``segmentation``.
        exclude: folders that are passed over where they lie within an input, such as that of the results.

    Returns:
        Every id of either side.

    Raises:
        InputError: a path that does not exist, a folder without label maps, one id twice on a side, or no id
            on both sides.
    """
    for path in (predictions, references):
        if not path.exists():
            raise InputError(f"there is no file or folder {path}; check the path")
    wanted = _RESULTS[1] if instance_maps else _RESULTS[0]
    passed = {folder.resolve() for folder in exclude}
    mine = _label_maps(predictions, suffixes, wanted, passed)
    theirs = _label_maps(references, suffixes, wanted, passed)
    if predictions.is_file() and references.is_file():
        (case_id,) = theirs
        return [Pair(case_id, predictions, references)]
    common = mine.keys() & theirs.keys()
    if not common:
        raise InputError(
            f"no case has both a prediction and a reference: predictions are called {_examples(mine)}, "
            f"references {_examples(theirs)}; ids must be equal after a --suffix such as _seg is taken off"
        )
    if predictions.is_file() or references.is_file():
        return [Pair(case_id, mine[case_id], theirs[case_id]) for case_id in common]
    return [Pair(case_id, mine.get(case_id), theirs.get(case_id)) for case_id in sorted(mine | theirs)]


def _label_maps(path: Path, suffixes: Sequence[str], wanted: str, exclude: set[Path]) -> dict[str, Path]:
    """Case id → label map."""
    if path.is_file():
        return {_case_id(path, path.parent, suffixes): path}
    found: dict[str, Path] = {}
    for file in _files(path, wanted, exclude):
        case_id = _case_id(file, path, suffixes)
        if case_id in found:
            raise InputError(
                f"{found[case_id].name} and {file.name} in {path} are both case {case_id!r}; keep one label "
                "map a case in the folder, or leave out a --suffix"
            )
        found[case_id] = file
    if not found:
        raise InputError(
            f"the folder {path} holds no label map; expected NIfTI, NRRD, MetaImage or picture files"
        )
    return found


def _files(root: Path, wanted: str, exclude: set[Path]) -> Iterator[Path]:
    """Label maps below ``root``; a folder with a result of medseg holds that result alone."""
    seen = set(exclude)
    for folder, names, files in os.walk(root, followlinks=True):
        here = Path(folder)
        real = here.resolve()
        names[:] = sorted(name for name in names if not name.startswith(".") and real not in seen)
        if real in seen:
            continue
        seen.add(real)
        images = [here / name for name in sorted(files) if _is_label_map(name, files)]
        results = [image for image in images if _stem(image) in _RESULTS]
        yield from [image for image in results if _stem(image) == wanted] if results else images


def _is_label_map(name: str, beside: Sequence[str]) -> bool:
    lower = name.lower()
    if lower.startswith(".") or named_format(Path(lower)) in (None, Format.DICOM):
        return False
    # The second half of a pair belongs to the first.
    return ".img" not in lower or lower.replace(".img", ".hdr") not in {other.lower() for other in beside}


def _stem(path: Path) -> str:
    return Name.of_file(path, path.parent).text.lower()


def _case_id(path: Path, root: Path, suffixes: Sequence[str]) -> str:
    if _stem(path) in _RESULTS:
        name = Name.of_folder(path.parent, root if path.parent != root else path.parent)
    else:
        name = Name.of_file(path, root)
    (case_id,) = unique_ids([name])
    for suffix in suffixes:
        if suffix and case_id.endswith(suffix) and case_id != suffix:
            return case_id.removesuffix(suffix)
    return case_id


def _examples(found: dict[str, Path]) -> str:
    shown = ", ".join(repr(case_id) for case_id in sorted(found)[:_SHOWN])
    return f"{shown} and {len(found) - _SHOWN} more" if len(found) > _SHOWN else shown
