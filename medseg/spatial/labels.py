"""What the integers of a label map mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from medseg.errors import LabelTableError

Kind = Literal["thing", "stuff"]

_PALETTE = (
    (230, 80, 60), (60, 140, 230), (90, 190, 90), (240, 180, 50), (160, 100, 210), (60, 190, 190),
    (240, 120, 180), (150, 110, 70), (130, 160, 40), (90, 90, 200), (220, 140, 110), (110, 200, 150),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: coding scheme (such as ``SCT``), value and meaning."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Label:
    """One entry of a label table.

    Attributes:
        index: the integer in the array, 1 or more; 0 is background and has no entry.
        name: short and unique, such as ``hippocampus_anterior``.
        code: coded concept, or None where none was assigned.
        colour: sRGB 0 to 255, or None for one from the palette.
        kind: ``thing`` is counted object by object, ``stuff`` is not.
    """

    index: int
    name: str
    code: Code | None = None
    colour: tuple[int, int, int] | None = None
    kind: Kind = "stuff"

    def __post_init__(self) -> None:
        if self.index < 1:
            raise LabelTableError(f"label {self.name!r} has index {self.index}; expected 1 or more")
        if not self.name:
            raise LabelTableError(f"the label with index {self.index} has no name")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour to draw with."""
        return self.colour or _PALETTE[(self.index - 1) % len(_PALETTE)]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """All labels of a segmentation, by ascending index.

    Raises:
        LabelTableError: an index or a name occurs twice.
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.labels, key=lambda label: label.index))
        object.__setattr__(self, "labels", ordered)
        for what, values in (
            ("index", [label.index for label in ordered]),
            ("name", [label.name for label in ordered]),
        ):
            twice = sorted(str(value) for value, count in Counter(values).items() if count > 1)
            if twice:
                raise LabelTableError(f"label {what} {', '.join(twice)} occurs more than once in the table")

    @classmethod
    def numbered(cls, indices: Iterable[int]) -> LabelTable:
        """A table for a label map whose meaning is not known: ``label_3`` for index 3."""
        return cls(tuple(Label(int(i), f"label_{int(i)}") for i in indices if int(i) != 0))

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def by_index(self, index: int) -> Label:
        """The entry of ``index``.

        Raises:
            LabelTableError: there is none.
        """
        for label in self.labels:
            if label.index == index:
                return label
        raise LabelTableError(f"the table has no label with index {index}")

    def by_name(self, name: str) -> Label:
        """The entry called ``name``.

        Raises:
            LabelTableError: there is none.
        """
        for label in self.labels:
            if label.name == name:
                return label
        known = ", ".join(label.name for label in self.labels)
        raise LabelTableError(f"the table has no label called {name!r}; it has {known}")
