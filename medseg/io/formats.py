"""Which image formats there are, by name and by their first bytes."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from medseg.errors import InputError, UnreadableFileError


class Format(StrEnum):
    """A family of files that one reader opens."""

    NIFTI = "NIfTI"
    ITK = "NRRD or MetaImage"
    PICTURE = "picture"
    DICOM = "DICOM"


_SUFFIXES: dict[str, Format] = {
    ".nii.gz": Format.NIFTI,
    ".hdr.gz": Format.NIFTI,
    ".img.gz": Format.NIFTI,
    ".nii": Format.NIFTI,
    ".hdr": Format.NIFTI,
    ".img": Format.NIFTI,
    ".nrrd": Format.ITK,
    ".nhdr": Format.ITK,
    ".mha": Format.ITK,
    ".mhd": Format.ITK,
    ".png": Format.PICTURE,
    ".jpg": Format.PICTURE,
    ".jpeg": Format.PICTURE,
    ".tif": Format.PICTURE,
    ".tiff": Format.PICTURE,
    ".bmp": Format.PICTURE,
    ".dcm": Format.DICOM,
    ".ima": Format.DICOM,
}
_PICTURE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM")
_NIFTI_MAGIC = (b"n+1\0", b"ni1\0", b"n+2\0", b"ni2\0")
_DICOM_MAGIC_AT = 128
_DICOM_WITHOUT_PREAMBLE = (b"\x02\0", b"\x08\0", b"\0\x08")
_HEAD_BYTES = 352
GZIP_MAGIC = b"\x1f\x8b"


def image_suffix(name: str) -> str:
    """The image extension at the end of a file's name as it is spelled, or '' where there is none.

    ``brain.NII.gz`` gives ``.NII.gz``; ``1.2.840.5`` gives ``''``, for a UID loses no component.
    """
    lower = name.lower()
    for suffix in _SUFFIXES:
        if lower.endswith(suffix):
            return name[len(name) - len(suffix) :]
    return ""


def named_format(path: Path) -> Format | None:
    """The format that the file's name claims, or None."""
    return _SUFFIXES.get(image_suffix(path.name).lower())


def detect_format(path: Path) -> Format:
    """The format by the file's first bytes, checked against its name.

    A name without a known extension is no hindrance; ``.dcm`` files without a preamble are DICOM by name.

    Raises:
        InputError: no such file, a folder, or a file that may not be opened.
        UnreadableFileError: empty, of no format that is read here, or of another than its name claims.
    """
    claimed = named_format(path)
    head = _read_head(path)
    found = _format_of(head, path)
    if found is None and claimed is Format.DICOM:
        return Format.DICOM
    if found is None:
        expected = (
            f"its name says {claimed}" if claimed else "expected NIfTI, NRRD, MetaImage, DICOM or a picture"
        )
        raise UnreadableFileError(
            f"{path.name} is {_describe(head)}, but {expected}; give the original image file"
        )
    if claimed is not None and claimed is not found:
        raise UnreadableFileError(
            f"{path.name} holds a {found} image but its name says {claimed}; rename it to what it is"
        )
    return found


def file_source(paths: Iterable[Path]) -> str:
    """``sha256:…`` over the bytes of the files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def check_is_file(path: Path) -> None:
    """Refuse a path that is not an existing file.

    Raises:
        InputError: there is none, or it is a folder.
        UnreadableFileError: it is empty.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder where one image file is expected")
    if not path.is_file():
        raise InputError(f"there is no file {path}; check the path")
    if path.stat().st_size == 0:
        raise UnreadableFileError(f"{path.name} is empty (0 bytes); copy or export it again")


def _read_head(path: Path) -> bytes:
    check_is_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if head.startswith(GZIP_MAGIC):
            with gzip.open(path) as stream:
                return stream.read(_HEAD_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFileError(
            f"{path.name} is a damaged or truncated gzip file ({error}); copy or export it again"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from error
    return head


def _format_of(head: bytes, path: Path) -> Format | None:
    suffix = image_suffix(path.name).lower()
    without_preamble = not suffix and head.startswith(_DICOM_WITHOUT_PREAMBLE)
    if head[_DICOM_MAGIC_AT : _DICOM_MAGIC_AT + 4] == b"DICM" or without_preamble:
        return Format.DICOM
    pair = suffix in (".hdr", ".hdr.gz", ".img", ".img.gz")
    if pair or head[344:348] in _NIFTI_MAGIC or head[4:8] in _NIFTI_MAGIC:
        return Format.NIFTI
    if head.startswith(b"NRRD") or (named_format(path) is Format.ITK and b"NDims" in head):
        return Format.ITK
    return Format.PICTURE if head.startswith(_PICTURE_MAGIC) else None


def _describe(head: bytes) -> str:
    if len(head) < _HEAD_BYTES and not _is_text(head):
        return f"only {len(head)} bytes of no known format"
    return "a text file" if _is_text(head) else "of no known format"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)
