from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from medseg.errors import ConfigurationError
from medseg.settings import Settings


def test_defaults():
    assert Settings.from_environment({}) == Settings(bundles=(), max_voxels=2**31, max_array_bytes=None)


def test_values():
    env = {
        "MEDSEG_BUNDLES": os.pathsep.join(["a", "", "b"]),
        "MEDSEG_MAX_VOXELS": "10",
        "MEDSEG_MAX_ARRAY_BYTES": "20",
        "MEDSEG_CACHE": "c",
    }
    assert Settings.from_environment(env) == Settings((Path("a"), Path("b")), 10, 20, Path("c"))


@pytest.mark.parametrize("text", ["x", "0", "-1", "1.5"])
def test_nonsense_is_refused(text):
    with pytest.raises(ConfigurationError, match="expected a whole number above 0"):
        Settings.from_environment({"MEDSEG_MAX_VOXELS": text})


def test_misspelt_names_are_told(caplog):
    with caplog.at_level(logging.WARNING):
        Settings.from_environment({"MEDSEG_MAX_VOXEL": "1"})
    assert "MEDSEG_MAX_VOXEL is set but not read" in caplog.text


def test_the_processs_own_environment(monkeypatch):
    monkeypatch.setenv("MEDSEG_MAX_VOXELS", "7")
    assert Settings.from_environment().max_voxels == 7


def test_the_cache_is_in_the_home_folder_where_there_is_one(monkeypatch):
    assert Settings.from_environment({"MEDSEG_CACHE": ""}).cache == Path.home() / ".cache" / "medseg"

    def nobody(cls):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(nobody))
    assert Settings.from_environment({}).cache is None
