"""What the integers of predictions and references mean, so that labels are compared by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

from medseg.errors import InputError, LabelTableError, UnreadableFileError
from medseg.spatial.labels import Label, LabelTable
from medseg.spatial.segmentation import Segmentation, present_indices

_MOST_BYTES = 1024**2
_SIDES = ("prediction", "reference")

Names = Mapping[int, str | None]


@dataclass(frozen=True, slots=True)
class LabelNames:
    """Index → name of each side; None for a label that is left out. Several indices may share a name.

    Raises:
        LabelTableError: a side without any name, an index below 1, or an empty name.
    """

    prediction: Names
    reference: Names

    def __post_init__(self) -> None:
        for side in _SIDES:
            names: Names = dict(getattr(self, side))
            object.__setattr__(self, side, MappingProxyType(names))
            if not any(names.values()):
                raise LabelTableError(f"the {side} has no label with a name; expected index: name")
            for index, name in names.items():
                if index < 1 or name == "":
                    raise LabelTableError(
                        f"the {side}'s label {index} is called {name!r}; expected an index of 1 or more and "
                        "a name, or null to leave the label out"
                    )


def read_label_names(path: Path) -> LabelNames:
    """Reads a YAML or JSON file of label names.

    Either ``index: name`` for both sides, or the keys ``prediction`` and ``reference`` with one such mapping
    each. ``null`` in place of a name leaves a label out.

    Raises:
        InputError: no such file.
        UnreadableFileError: no UTF-8 text, no YAML or JSON, or more than 1 MiB.
        LabelTableError: another structure, a key twice, or as in `LabelNames`.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}; expected a YAML or JSON file of label names")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UnreadableFileError(f"{path.name} is larger than 1 MiB; expected a file of label names")
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (UnicodeDecodeError, yaml.YAMLError, OSError, RecursionError, ValueError) as error:
        raise UnreadableFileError(
            f"{path.name} is not a YAML or JSON file in UTF-8 ({type(error).__name__}); expected index: name"
        ) from error
    if not isinstance(content, dict):
        raise LabelTableError(f"{path.name} holds no mapping; expected index: name")
    if set(content) == set(_SIDES):
        mine, theirs = (_names(content[side], f"{path.name}, {side}") for side in _SIDES)
        return LabelNames(mine, theirs)
    names = _names(content, path.name)
    return LabelNames(names, names)


def with_names(
    prediction: Segmentation, reference: Segmentation, names: LabelNames
) -> tuple[Segmentation, Segmentation]:
    """Both label maps over one table of names: a name has the reference's lowest index for it.

    Raises:
        LabelTableError: a label occurs that ``names`` does not name.
    """
    indices: dict[str, int] = {}
    for index, name in sorted(names.reference.items()):
        if name is not None:
            indices.setdefault(name, index)
    following = max(indices.values()) + 1
    for name in dict.fromkeys(name for _, name in sorted(names.prediction.items()) if name is not None):
        if name not in indices:
            indices[name] = following
            following += 1
    table = LabelTable(tuple(Label(index, name) for name, index in indices.items()))
    return (
        _renamed(prediction, names.prediction, indices, table, "prediction"),
        _renamed(reference, names.reference, indices, table, "reference"),
    )


def with_common_table(
    prediction: Segmentation, reference: Segmentation, table: LabelTable | None = None
) -> tuple[Segmentation, Segmentation]:
    """Both label maps, whose indices mean the same, over one table: the one given, or ``label_N`` of each.

    Raises:
        LabelTableError: a label occurs that ``table`` does not name.
    """
    if table is None:
        indices = {label.index for side in (prediction, reference) for label in side.table}
        table = LabelTable.numbered(sorted(indices))
    mine, theirs = (
        Segmentation(side.labels, side.geometry, table, side.source) for side in (prediction, reference)
    )
    return mine, theirs


def _renamed(
    side: Segmentation, names: Names, indices: Mapping[str, int], table: LabelTable, what: str
) -> Segmentation:
    present = present_indices(side.labels)
    unknown = [index for index in present if index and index not in names]
    if unknown:
        shown = ", ".join(map(str, unknown[:10])) + (" …" if len(unknown) > 10 else "")
        raise LabelTableError(
            f"the {what} holds labels {shown}, which the file of label names does not name; name them, or "
            "give null to leave them out"
        )
    old = np.array([0, *(index for index in present if index)])
    new = np.array([0, *(_index(names[index], indices) for index in old[1:].tolist())])
    dtype = np.min_scalar_type(int(new.max()))
    labels = new.astype(dtype)[np.searchsorted(old, side.labels)]
    return Segmentation(labels, side.geometry, table, side.source)


def _index(name: str | None, indices: Mapping[str, int]) -> int:
    return 0 if name is None else indices[name]


def _names(content: Any, where: str) -> dict[int, str | None]:
    if not isinstance(content, dict):
        raise LabelTableError(f"{where} holds no mapping; expected index: name")
    names: dict[int, str | None] = {}
    for key, name in content.items():
        text = str(key)
        if not (text.isascii() and text.isdigit()) or not (name is None or isinstance(name, str)):
            raise LabelTableError(
                f"{where} holds {key!r}: {name!r}; expected index: name, such as 1: liver, or the keys "
                "prediction and reference with such a mapping each"
            )
        if int(text) in names:
            raise LabelTableError(f"{where} names label {int(text)} twice; name each once")
        names[int(text)] = name
    return names


class _Loader(yaml.SafeLoader):
    """Safe loading that refuses a key twice, of which PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, each key once."""
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise LabelTableError(f"the file of label names has the key {twice!r} twice; give each once")
        return super().construct_mapping(node, deep)
