"""Settings from MEDSEG_* environment variables; read by the command line and by services only."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import ConfigurationError

_log = logging.getLogger(__name__)

_MAX_VOXELS = 2**31


def default_cache() -> Path | None:
    """``.cache/medseg`` in the user's home folder; None where there is no home folder."""
    try:
        return Path.home() / ".cache" / "medseg"
    except RuntimeError:
        return None


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment sets.

    Attributes:
        bundles: folders to search for bundles, before those that ship with medseg
            (``MEDSEG_BUNDLES``, separated as in ``PATH``).
        max_voxels: most voxels that an image may have (``MEDSEG_MAX_VOXELS``).
        max_array_bytes: most bytes that an image's voxels may take (``MEDSEG_MAX_ARRAY_BYTES``);
            None for a quarter of the machine's memory.
        cache: folder for what can be made again, such as networks converted for OpenVINO
            (``MEDSEG_CACHE``); None where there is no home folder to put it in.
    """

    bundles: tuple[Path, ...] = ()
    max_voxels: int = _MAX_VOXELS
    max_array_bytes: int | None = None
    cache: Path | None = field(default_factory=default_cache)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Settings from ``environment``, by default the process's own.

        Raises:
            ConfigurationError: a variable's value is not usable.
        """
        env = os.environ if environment is None else environment
        known = {
            "MEDSEG_BUNDLES",
            "MEDSEG_MAX_VOXELS",
            "MEDSEG_MAX_ARRAY_BYTES",
            "MEDSEG_DATA",
            "MEDSEG_CACHE",
        }
        unknown = sorted(name for name in env if name.startswith("MEDSEG_") and name not in known)
        if unknown:
            _log.warning(
                "%s is set but not read; medseg reads %s", ", ".join(unknown), ", ".join(sorted(known))
            )
        folders = env.get("MEDSEG_BUNDLES", "").split(os.pathsep)
        return cls(
            bundles=tuple(Path(folder) for folder in folders if folder),
            max_voxels=_positive(env, "MEDSEG_MAX_VOXELS") or _MAX_VOXELS,
            max_array_bytes=_positive(env, "MEDSEG_MAX_ARRAY_BYTES"),
            cache=Path(env["MEDSEG_CACHE"]) if env.get("MEDSEG_CACHE") else default_cache(),
        )


def _positive(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ConfigurationError(f"{name} is {text!r}; expected a whole number above 0")
    return int(text)
