"""One examination: as paths, and as voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from medseg.errors import GeometryMismatchError, InputError
from medseg.spatial.geometry import Geometry
from medseg.spatial.volume import Volume


@dataclass(frozen=True, slots=True)
class CaseRef:
    """An examination that has not been read: an id, and the files of each channel.

    Attributes:
        id: unique within a run and safe as a folder's name.
        channels: channel name → its files; several for a DICOM series of one file a slice.
        parts: channel name → which of the stacks in its files is meant, where they hold several.
    """

    id: str
    channels: Mapping[str, tuple[Path, ...]]
    parts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.channels or not all(self.channels.values()):
            raise InputError(f"case {self.id!r} has no files")
        object.__setattr__(self, "channels", MappingProxyType(dict(self.channels)))
        object.__setattr__(self, "parts", MappingProxyType(dict(self.parts)))


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """An examination in memory: channel name → volume, all on one grid.

    Raises:
        InputError: no channel.
        GeometryMismatchError: the channels lie on different grids.
    """

    id: str
    channels: Mapping[str, Volume]

    def __post_init__(self) -> None:
        if not self.channels:
            raise InputError(f"case {self.id!r} has no channels")
        object.__setattr__(self, "channels", MappingProxyType(dict(self.channels)))
        (first_name, first), *others = self.channels.items()
        for name, volume in others:
            if not volume.geometry.same_grid(first.geometry):
                raise GeometryMismatchError(
                    f"case {self.id!r}: channel {name!r} has {volume.geometry.describe()} but "
                    f"{first_name!r} has {first.geometry.describe()}; bring all channels onto one grid first"
                )

    @property
    def geometry(self) -> Geometry:
        """The grid that all channels share."""
        return next(iter(self.channels.values())).geometry
