"""What lies at a path: series and image files, a verdict on each, and the bundles that fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.errors import InputError, MedsegError
from medseg.io.dicom_series import Stack, scan
from medseg.io.formats import Format, detect_format, image_suffix, named_format
from medseg.io.limits import DEFAULT_LIMITS, Limits
from medseg.io.read import read_case
from medseg.spatial import CaseRef

_NOT_AN_IMAGE = "not an image"


def inspect(
    path: Path, bundles: Sequence[Mapping[str, Any]] = (), limits: Limits = DEFAULT_LIMITS
) -> dict[str, Any]:
    """A record of everything at a path; every file is counted once.

    DICOM stacks are judged by their headers. Other image files are read, so a damaged or empty one is
    refused here and not later; their modality is not known.

    Args:
        path: an image file, a DICOM file, or a folder with any mix of both and folders within it.
        bundles: rows with ``name``, ``modality`` and ``dims``, as ``list_bundles`` gives them; those with
            neither (broken ones) are passed over.
        limits: what a header may claim.

    Returns:
        ``{"series": [{"uid", "modality", "description", "slices", "shape", "spacing_mm", "verdict",
        "reasons", "bundles"}], "other": {kind: count}}`` of JSON types. For an image file ``uid`` and
        ``modality`` are None and ``description`` is its path below ``path``. ``bundles`` are names of those
        with the modality (any, where it is not known) and the number of dimensions; none for refused ones.
        A folder without images gives an empty list.

    Raises:
        InputError: nothing lies at the path.
    """
    if not path.exists():
        raise InputError(f"there is no file or folder {path}; check the path")
    inventory = scan(path, limits)
    series = [_of_stack(stack, bundles) for stack in inventory.stacks]
    other: Counter[str] = Counter()
    for item in inventory.other:
        if _is_image(item.path, alone=item.path == path):
            series.append(_of_file(item.path, path, bundles, limits))
        elif not _is_second_half(item.path):
            other[_NOT_AN_IMAGE if item.kind == "not DICOM" else item.kind] += 1
    return {"series": series, "other": dict(sorted(other.items()))}


def _is_image(path: Path, *, alone: bool) -> bool:
    """Whether a file that is no DICOM image claims to be another image: by its name, or by its content."""
    claimed = named_format(path)
    if claimed is None and alone:
        try:
            return detect_format(path) is not Format.DICOM
        except InputError:
            return False
    return claimed not in (None, Format.DICOM) and not _is_second_half(path)


def _is_second_half(path: Path) -> bool:
    """Whether the file is the voxels of a pair whose header lies beside it."""
    suffix = image_suffix(path.name)
    if not suffix.lower().startswith(".img"):
        return False
    stem = path.name.removesuffix(suffix)
    return any(path.with_name(stem + header).exists() for header in (".hdr", ".hdr.gz", ".HDR"))


def _of_stack(stack: Stack, bundles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "uid": stack.uid,
        "modality": stack.modality,
        "description": stack.description,
        "slices": stack.slices,
        "shape": list(stack.shape) if stack.shape else None,
        "spacing_mm": list(stack.spacing_mm) if stack.spacing_mm else None,
        "verdict": stack.verdict,
        "reasons": list(stack.reasons),
        "bundles": _fitting(bundles, stack.modality, stack.shape),
    }


def _of_file(path: Path, root: Path, bundles: Sequence[Mapping[str, Any]], limits: Limits) -> dict[str, Any]:
    name = path.name if path == root else path.relative_to(root).as_posix()
    entry: dict[str, Any] = {
        "uid": None,
        "modality": None,
        "description": name,
        "slices": None,
        "shape": None,
        "spacing_mm": None,
        "verdict": "refused",
        "reasons": [],
        "bundles": [],
    }
    try:
        geometry = read_case(CaseRef(path.name, {"image": (path,)}), limits).geometry
    except MedsegError as error:
        return {**entry, "reasons": [str(error)]}
    entry.update(slices=geometry.shape[2], shape=list(geometry.shape), verdict="usable")
    entry["bundles"] = _fitting(bundles, None, geometry.shape)
    if not geometry.calibrated:
        reasons = ["the pixel size is not known; results are in pixels"]
        return {**entry, "verdict": "warning", "reasons": reasons}
    return {**entry, "spacing_mm": list(geometry.spacing_mm)}


def _fitting(
    bundles: Sequence[Mapping[str, Any]], modality: str | None, shape: tuple[int, int, int] | None
) -> list[str]:
    if shape is None:
        return []
    dims = 2 if shape[2] == 1 else 3
    return [
        str(bundle["name"])
        for bundle in bundles
        if bundle.get("dims") == dims
        and bundle.get("modality") is not None
        and (modality is None or bundle["modality"] == modality)
    ]
