"""Case ids: from paths, without loss, safe as names of folders."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.io.formats import image_suffix

_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff]')
_LONGEST_BYTES = 150
_HASH_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Name:
    """What a case is called before ids are made unique.

    Attributes:
        text: the wished id.
        inside: the path relative to the folder given, with what tells stacks of one folder apart.
        absolute: the same from the root of the file system; equal for one and the same input only.
    """

    text: str
    inside: str
    absolute: str

    @classmethod
    def of_file(cls, path: Path, root: Path) -> Name:
        """From a file's path below ``root``, without its image extension."""
        inside = path.relative_to(root).as_posix()
        suffix = image_suffix(inside)
        return cls(inside[: len(inside) - len(suffix)], inside, path.as_posix())

    @classmethod
    def of_folder(cls, path: Path, root: Path) -> Name:
        """From a folder's path below ``root``; ``root`` itself gives its own name. No dot is cut."""
        inside = path.relative_to(root).as_posix() if path != root else path.name
        return cls(inside, inside, path.as_posix())

    def within(self, *marks: str) -> Name:
        """One of several cases in the same folder or file, told apart by ``marks``."""
        mark = "\0".join(marks)
        return Name(f"{self.text}_{_hash(mark)}", f"{self.inside}\0{mark}", f"{self.absolute}\0{mark}")


def unique_ids(names: Sequence[Name]) -> list[str]:
    """An id for each name, in order; no two are equal, even where upper and lower case are one.

    Names that would give one id all get a piece of the hash of their path below the folder given, or of the
    whole path where that does not part them.

    Args:
        names: no two of one input.
    """
    ids = [_safe(name.text) for name in names]
    for digits, whole in ((_HASH_DIGITS, False), (_HASH_DIGITS, True), (64, True)):
        counts = Counter(map(_folded, ids))
        for index, name in enumerate(names):
            if counts[_folded(ids[index])] > 1:
                mark = _hash(name.absolute if whole else name.inside, digits)
                ids[index] = f"{_safe(name.text)}-{mark}"
    return ids


def _safe(text: str) -> str:
    name = _UNSAFE.sub("_", text).strip(" .") or "unnamed"
    data = name.encode()
    if len(data) > _LONGEST_BYTES:
        name = f"{data[:_LONGEST_BYTES].decode(errors='ignore')}-{_hash(text)}"
    return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _hash(text: str, digits: int = _HASH_DIGITS) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:digits]
