"""Reads a bundle's JSON and YAML as plain data, within limits.

Stock PyYAML would expand anchors without limit and build objects from tags; both are refused here, as are
duplicate keys, which let two readers see two different files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from medseg.bundle.files import bundle_name, read_text_file, shown
from medseg.errors import InvalidBundleError, UntrustedBundleError

MAX_DEPTH = 64
MAX_NODES = 50_000
MAX_NUMBER_LENGTH = 64
"""Characters of one number; longer ones cost quadratic time to read."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Any = yaml.resolver.Resolver()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration as plain data.

    Attributes:
        bundle: name of the bundle, for messages.
        file: path inside the bundle, for messages.
        content: str, int, float, bool, None, list and dict only; keys are strings or whole numbers.
    """

    bundle: str
    file: str
    content: dict[Any, Any]

    @property
    def where(self) -> str:
        """How a message about this file begins."""
        return f"bundle {self.bundle}: {self.file}"


def read_document(root: Path, relative: str) -> Document:
    """Reads a JSON or YAML file of the bundle in ``root``; the suffix tells which.

    Raises:
        InvalidBundleError: missing, unreadable, over a limit (2 MiB, 64 levels, 50,000 nodes), duplicate
            keys, or not a mapping.
        UntrustedBundleError: YAML tags, anchors or merge keys, ``%`` macros, or a path outside the bundle.
    """
    return parse_document(read_text_file(root, relative), bundle_name(root), relative)


def parse_document(content: bytes, bundle: str, file: str) -> Document:
    """Like :func:`read_document`, from the bytes of the file."""
    where = f"bundle {bundle}: {file}"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidBundleError(f"{where} is not UTF-8 text (byte {error.start})") from error
    value = _parse_json(text, where) if file.endswith(".json") else _parse_yaml(text, where)
    if not isinstance(value, dict):
        raise InvalidBundleError(
            f"{where} holds {_kind(value)} at its top; expected a mapping of names to values"
        )
    return Document(bundle, file, value)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


# JSON


def _parse_json(text: str, where: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = dict(items)
        if len(keys) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise InvalidBundleError(f"{where} has the key {shown(twice)} twice in one mapping")
        return keys

    def constant(word: str) -> NoReturn:
        raise InvalidBundleError(f"{where} holds {word}, which is no JSON number")

    def whole(digits: str) -> int:
        if len(digits) > MAX_NUMBER_LENGTH:
            raise InvalidBundleError(f"{where} holds a number of {len(digits)} digits")
        return int(digits)

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_int=whole)
    except json.JSONDecodeError as error:
        raise InvalidBundleError(
            f"{where} is not valid JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise InvalidBundleError(f"{where} is nested deeper than {MAX_DEPTH} levels") from error
    _check_tree(value, where)
    return value


def _check_tree(value: Any, where: str) -> None:
    level: list[Any] = [value]
    nodes, depth = 0, 0
    while level:
        nodes, depth = nodes + len(level), depth + 1
        _check_counts(nodes, depth, where)
        for leaf in level:
            if isinstance(leaf, str):
                _refuse_macro(leaf, where)
            elif isinstance(leaf, float) and not math.isfinite(leaf):
                raise InvalidBundleError(f"{where} holds a number too large for a float")
        level = [child for parent in level for child in _children(parent)]


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _check_counts(nodes: int, depth: int, where: str) -> None:
    if depth > MAX_DEPTH:
        raise InvalidBundleError(f"{where} is nested deeper than {MAX_DEPTH} levels")
    if nodes > MAX_NODES:
        raise InvalidBundleError(f"{where} holds more than {MAX_NODES:,} values")


def _refuse_macro(text: str, where: str) -> None:
    if text.startswith("%"):
        raise UntrustedBundleError(
            f"{where} uses the macro {shown(text)}, which copies from other places or files; "
            "write the value itself there"
        )


# YAML


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is still being read."""

    value: Any
    line: int
    key: Any = None
    expects_key: bool = True
    names: set[str] = field(default_factory=set)


class _Builder:
    """Turns parser events into plain data, one at a time, so that a bomb stops at the limit."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._stack: list[_Frame] = []
        self._nodes = 0
        self._documents = 0
        self.result: Any = None

    def feed(self, event: Any) -> None:
        """Takes the next event."""
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._refuse(f"line {line} uses an anchor or alias (& or *); write the value itself there")
        if isinstance(event, yaml.DocumentStartEvent):
            self._start_document(event)
        elif isinstance(event, yaml.ScalarEvent):
            self._count(event)
            self._add(self._scalar(event, line), line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._count(event)
            value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._add(value, line)
            self._stack.append(_Frame(value, line))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._stack.pop()

    def _start_document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise InvalidBundleError(f"{self._where} holds more than one YAML document; expected one")
        if event.tags:
            self._refuse("it declares YAML tags")

    def _count(self, event: Any) -> None:
        if event.tag is not None:
            self._refuse(
                f"line {event.start_mark.line + 1} has the tag {shown(event.tag)}; only plain values are read"
            )
        self._nodes += 1
        _check_counts(self._nodes, len(self._stack) + 1, self._where)

    def _scalar(self, event: Any, line: int) -> Any:
        text: str = event.value
        tag = _RESOLVER.resolve(yaml.ScalarNode, text, event.implicit).removeprefix(_TAG)
        if tag == "merge":
            self._refuse(f"line {line} has a merge key (<<); write the values themselves there")
        if tag in ("int", "float") and len(text) > MAX_NUMBER_LENGTH:
            raise InvalidBundleError(f"{self._where} holds a number of {len(text)} characters at line {line}")
        node = yaml.ScalarNode(f"{_TAG}{tag}", text)
        if tag == "null":
            return None
        if tag == "bool":
            return _CONSTRUCTOR.construct_yaml_bool(node)
        try:
            if tag == "int":
                return _CONSTRUCTOR.construct_yaml_int(node)
            if tag == "float":
                return _CONSTRUCTOR.construct_yaml_float(node)
        except (ValueError, IndexError) as error:
            raise InvalidBundleError(f"{self._where}: {shown(text)} at line {line} is no number") from error
        return text

    def _add(self, value: Any, line: int) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.value, dict) and frame.expects_key:
            self._set_key(frame, value, line)
            return
        if isinstance(value, str):
            _refuse_macro(value, self._where)
        if frame is None:
            self.result = value
        elif isinstance(frame.value, list):
            frame.value.append(value)
        else:
            frame.value[frame.key] = value
            frame.expects_key = True

    def _set_key(self, frame: _Frame, key: Any, line: int) -> None:
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise InvalidBundleError(
                f"{self._where}: line {line} has the key {shown(key)}; keys are words or whole numbers"
            )
        if str(key) in frame.names:
            raise InvalidBundleError(
                f"{self._where} has the key {shown(key)} twice in one mapping (line {line})"
            )
        frame.names.add(str(key))
        frame.key, frame.expects_key = key, False

    def _refuse(self, what: str) -> NoReturn:
        raise UntrustedBundleError(f"{self._where}: {what}")


def _parse_yaml(text: str, where: str) -> Any:
    builder = _Builder(where)
    try:
        for event in _events(text):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidBundleError(
            f"{where} is not valid YAML: {error.problem or error.context}{line}"
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidBundleError(f"{where} is not valid YAML: {type(error).__name__}") from error
    return builder.result


def _events(text: str) -> Iterator[Any]:
    events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
    return events
