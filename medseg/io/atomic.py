"""Outputs that are not visible before they are whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from medseg.errors import ConfigurationError

_OWNER = r"\.(?P<host>[0-9a-f]{8})\.(?P<pid>\d+)\.[0-9a-f]{8}"
_FOLDER_NAME = re.compile(rf"\.(?P<name>.+){_OWNER}\.(?P<kind>tmp|old)")
_PART_NAME = re.compile(rf"(?P<name>){_OWNER}\.(?P<kind>part)(\..+)?")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under a hidden name beside ``path``, fsync it and rename it.

    Args:
        path: the final name; an existing file is replaced at once. Its folder must exist.
        write: writes the file at the path that it is given, which ends in the same extension as ``path``.

    Raises:
        ConfigurationError: the folder cannot be written to or the disk is full; nothing is left behind.
    """
    suffixes = path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]
    part = path.with_name(f"{_owner()}.part{''.join(suffixes)}")
    try:
        with _clear_write_errors(path):
            write(part)
            _fsync(part)
            part.replace(path)
            _fsync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def made_folder(path: Path) -> Path:
    """The folder, made with its parents where it is missing.

    Raises:
        ConfigurationError: it cannot be made.
    """
    with _clear_write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def commit_folder(final: Path) -> Iterator[Path]:
    """A hidden folder that becomes ``final`` at the end of the block, and not before.

    On an error the hidden folder is removed and an older ``final`` stays as it was. An existing ``final``
    is moved aside before the new one takes its name and removed after, so both are never mixed.

    Yields:
        An empty folder beside ``final`` to write into.

    Raises:
        ConfigurationError: the place cannot be written to or the disk is full; nothing is left behind.
    """
    working = _working_path(final, "tmp")
    try:
        with _clear_write_errors(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            working.mkdir()
            yield working
            _fsync_tree(working)
            _take_place(working, final)
            _fsync(final.parent)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def sweep_abandoned(folder: Path) -> int:
    """Remove what a killed process left in ``folder`` while it wrote; folders within are not looked into.

    Only leftovers of dead processes of this host are touched. A folder that had been moved aside gets its
    name back where the new one never came. A folder that does not exist holds none.

    Returns:
        How many leftovers were dealt with.
    """
    count = 0
    for path in sorted(folder.glob(".*")) if folder.is_dir() else []:
        match = _FOLDER_NAME.fullmatch(path.name) or _PART_NAME.fullmatch(path.name)
        if match is None or match["host"] != _host() or psutil.pid_exists(int(match["pid"])):
            continue
        count += 1
        final = folder / match["name"]
        if match["kind"] == "old" and not final.exists():
            path.rename(final)
        else:
            _remove(path)
    return count


def _take_place(working: Path, final: Path) -> None:
    if not final.exists():
        working.rename(final)
        return
    aside = _working_path(final, "old")
    final.rename(aside)
    try:
        working.rename(final)
    except OSError:
        aside.rename(final)
        raise
    _remove(aside)


def _working_path(final: Path, kind: str) -> Path:
    return final.with_name(f".{final.name}{_owner()}.{kind}")


def _owner() -> str:
    return f".{_host()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _fsync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink():
            _fsync(path)
    _fsync(folder)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _clear_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise ConfigurationError(
                f"{path} cannot be written: {reason} ({_free_bytes(path.parent)} bytes free); "
                "make room or choose another output folder"
            ) from error
        raise ConfigurationError(
            f"{path} cannot be written: {reason}; choose an output folder that exists or can be made, "
            "and that you may write to"
        ) from error


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
