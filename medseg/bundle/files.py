"""Reads files of a bundle and nothing outside it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from medseg.errors import InvalidBundleError, UntrustedBundleError

TEXT_LIMIT_BYTES = 2 * 1024**2
METADATA = "configs/metadata.json"
CONFIGS = ("configs/inference.yaml", "configs/inference.yml", "configs/inference.json")


def bundle_name(root: Path) -> str:
    """The name of the bundle in ``root``: its folder's."""
    return root.resolve().name


def file_in_bundle(root: Path, relative: str, advice: str = "get the bundle again from its source") -> Path:
    """The file that a bundle means by ``relative``; it exists, is a regular file and lies in the bundle.

    Args:
        root: the bundle's folder.
        relative: path inside it, with forward slashes.
        advice: what to do where the file is missing.

    Raises:
        UntrustedBundleError: the path is absolute, climbs with ``..`` or leaves the bundle by a link.
        InvalidBundleError: no such file, or it is not a regular one.
    """
    name = bundle_name(root)
    parts = PurePosixPath(relative).parts
    odd = not parts or "\\" in relative or ":" in relative or not relative.isprintable()
    if odd or relative.startswith("/") or ".." in parts:
        raise UntrustedBundleError(
            f"bundle {name}: the path {shown(relative)} is not one inside the bundle; "
            "expected a relative path without '..', such as models/model.pt"
        )
    path = root.joinpath(*parts)
    try:
        real = path.resolve()
        inside = real.is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise InvalidBundleError(f"bundle {name}: {relative} cannot be followed to a file") from error
    if not inside:
        raise UntrustedBundleError(
            f"bundle {name}: {relative} is a link to a file outside the bundle; put the file itself there"
        )
    if not real.is_file():
        what = "is not a regular file" if real.exists() else "is missing"
        raise InvalidBundleError(f"bundle {name}: {relative} {what}; {advice}")
    return path


def read_text_file(root: Path, relative: str, limit_bytes: int = TEXT_LIMIT_BYTES) -> bytes:
    """The bytes of a text file of the bundle.

    Raises:
        UntrustedBundleError: the file lies outside the bundle.
        InvalidBundleError: it is missing, unreadable or longer than ``limit_bytes``.
    """
    path = file_in_bundle(root, relative)
    try:
        with path.open("rb") as stream:
            content = stream.read(limit_bytes + 1)
    except OSError as error:
        raise InvalidBundleError(
            f"bundle {bundle_name(root)}: {relative} cannot be read ({error.strerror}); check its permissions"
        ) from error
    if len(content) > limit_bytes:
        raise InvalidBundleError(
            f"bundle {bundle_name(root)}: {relative} is longer than {limit_bytes:,} bytes; "
            "a bundle's texts are far shorter, so this is not one"
        )
    return content


def config_file(root: Path) -> str:
    """Which of ``configs/inference.yaml``, ``.yml`` and ``.json`` the bundle has.

    Raises:
        InvalidBundleError: none, or more than one.
    """
    present = [relative for relative in CONFIGS if (root / relative).exists()]
    if len(present) != 1:
        found = f"has {' and '.join(present)}" if present else f"has no {CONFIGS[0]}"
        raise InvalidBundleError(f"bundle {bundle_name(root)} {found}; expected exactly one inference config")
    return present[0]


def shown(value: object, limit: int = 80) -> str:
    """A value from a bundle as it may stand in a message: escaped and cut to ``limit`` characters."""
    if isinstance(value, str | bytes):
        text = ascii(value[:limit])
    elif isinstance(value, list | tuple | dict):
        text = f"a {type(value).__name__} with {len(value)} entries"
    elif isinstance(value, int) and abs(value) > 10**40:
        text = "a number of more than 40 digits"
    else:
        text = ascii(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
