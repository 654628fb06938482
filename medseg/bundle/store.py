"""Where bundles are found. Imports no network library."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import medseg
from medseg.bundle.bundle import Bundle, load_bundle
from medseg.bundle.files import METADATA
from medseg.errors import BundleError, BundleNotFoundError

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
"""structure_modality_network, such as ``hippocampus_mr_unet3d``."""


class BundleSummary(TypedDict):
    """One row of ``medseg bundle list``; of a broken bundle only name, path and error are known."""

    name: str
    path: str
    version: str | None
    task: str | None
    dims: int | None
    modality: str | None
    channels: list[str]
    labels: list[dict[str, Any]]
    has_weights: bool
    error: str | None


def find_bundle(name_or_path: str | Path, search: Sequence[Path] = ()) -> Path:
    """The folder of a bundle.

    Args:
        name_or_path: a bundle's folder, or its name, which is looked for in each folder of ``search`` in
            order and then among the bundles that ship with medseg.
        search: folders that hold bundles.

    Raises:
        BundleNotFoundError: no such bundle; the message lists those that there are.
    """
    path = Path(name_or_path)
    if _is_bundle(path):
        return path
    name = str(name_or_path)
    if NAME.fullmatch(name):
        for folder in _folders(search):
            if _is_bundle(folder / name):
                return folder / name
    elif len(path.parts) > 1 or path.is_dir():
        raise BundleNotFoundError(f"there is no bundle at {path}: {METADATA} is missing")
    known = sorted({found.name for found in _bundles(search)})
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise BundleNotFoundError(
        f"there is no bundle called {name!r}{hint}; there are: {', '.join(known) or 'none'}; "
        "a bundle can also be given by the path of its folder"
    )


def list_bundles(search: Sequence[Path] = ()) -> list[BundleSummary]:
    """Every bundle in ``search`` and those that ship with medseg, by name; of one name the first found.

    A bundle that cannot be read is listed with its error. Weights are looked for, not checked.
    """
    rows: dict[str, BundleSummary] = {}
    for path in _bundles(search):
        if path.name not in rows:
            rows[path.name] = _summary(path)
    return [rows[name] for name in sorted(rows)]


def describe(bundle: Bundle) -> dict[str, Any]:
    """What ``medseg bundle show`` prints: the summary, what it is for and what it must not be used for."""
    metadata = bundle.metadata
    record: dict[str, Any] = {**_summary_of(bundle)}
    del record["error"]
    return record | {
        "description": metadata.description,
        "intended_use": metadata.medseg.intended_use,
        "limits": list(metadata.medseg.limits),
        "data_source": metadata.data_source,
        "eval_metrics": dict(metadata.eval_metrics),
        "authors": metadata.authors,
        "copyright": metadata.copyright,
        "trust": bundle.trust,
        "weights_sha256": metadata.weights_sha256,
        "config_sha256": bundle.config_sha256,
    }


def _summary(path: Path) -> BundleSummary:
    try:
        return _summary_of(load_bundle(path))
    except BundleError as error:
        return BundleSummary(
            name=path.name,
            path=str(path),
            version=None,
            task=None,
            dims=None,
            modality=None,
            channels=[],
            labels=[],
            has_weights=False,
            error=str(error),
        )


def _summary_of(bundle: Bundle) -> BundleSummary:
    metadata = bundle.metadata
    weights = metadata.medseg.weights
    return BundleSummary(
        name=bundle.name,
        path=str(bundle.path),
        version=metadata.version,
        task=metadata.task,
        dims=metadata.dims,
        modality=metadata.modality,
        channels=list(metadata.channels),
        labels=[
            {
                "index": label.index,
                "name": label.name,
                "code": label.code.model_dump() if label.code else None,
                "kind": label.kind,
            }
            for label in sorted(metadata.medseg.labels, key=lambda label: label.index)
        ],
        has_weights=weights is not None and (bundle.path / weights.file).is_file(),
        error=None,
    )


def _is_bundle(path: Path) -> bool:
    try:
        return (path / METADATA).is_file()
    except OSError:
        return False


def _folders(search: Sequence[Path]) -> Iterator[Path]:
    yield from (Path(folder) for folder in search)
    package = Path(medseg.__file__).parent
    installed, checkout = package / "_bundles", package.parent / "bundles"
    yield installed if installed.is_dir() else checkout


def _bundles(search: Sequence[Path]) -> Iterator[Path]:
    for folder in _folders(search):
        if folder.is_dir():
            found = (path for path in folder.iterdir() if NAME.fullmatch(path.name))
            yield from sorted(path for path in found if _is_bundle(path))
