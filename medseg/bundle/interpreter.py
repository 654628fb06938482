"""Builds what a bundle's configuration names, from the allow-list alone.

It follows MONAI's meaning of ``_target_``, ``@`` and ``$``, so that a configuration gives the same objects
here and in stock MONAI, but it looks components up in a table, computes expressions itself, and resolves
only what it is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from medseg.bundle.allowlist import ALLOWED, Component, imported
from medseg.bundle.document import Document
from medseg.bundle.expressions import MAX_LENGTH, REFERENCE, Budget, Expression
from medseg.bundle.files import shown
from medseg.errors import InvalidBundleError, UntrustedBundleError

MAX_NETWORK_NUMBERS = 2_000_000_000
"""Parameters and buffers of one network together; 8 GB in float32."""

_TARGET, _DISABLED, _REMARK = "_target_", "_disabled_", "_desc_"


@dataclass(frozen=True, slots=True)
class Call:
    """A component with its resolved, checked arguments, not yet built.

    Attributes:
        target: name in the allow-list.
        component: its entry.
        arguments: values by name; nested components are built objects.
    """

    target: str
    component: Component
    arguments: Mapping[str, Any]


class Interpreter:
    """Resolves keys of one configuration; each object is built once, however often it is referenced.

    Args:
        document: the configuration.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._budget = Budget()
        self._resolved: dict[str, Any] = {}
        self._pending: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._document.content

    def resolve(self, key: str) -> Any:
        """The value of ``key`` with all references, expressions and components in it resolved.

        Args:
            key: a name at the top of the configuration, or a path such as ``network_def::channels::0``.

        Raises:
            UntrustedBundleError: something in it goes beyond the allow-list.
            InvalidBundleError: a reference leads nowhere or in a circle, an argument is wrong, a component
                cannot be built, or a limit is reached.
        """
        identifier = key.replace("#", "::")
        if identifier in self._resolved:
            return self._resolved[identifier]
        if identifier in self._pending:
            circle = " -> ".join([*self._pending[self._pending.index(identifier) :], identifier])
            raise InvalidBundleError(
                f"{self._document.where}: references run in a circle: {shown(circle, 200)[1:-1]}"
            )
        node = self._node(identifier)
        self._pending.append(identifier)
        try:
            with self._budget.level(self._at(identifier)):
                value = self._value(node, identifier)
        finally:
            self._pending.pop()
        self._budget.spend(1, self._at(identifier))
        self._resolved[identifier] = value
        return value

    def call(self, key: str) -> Call | None:
        """The component at ``key`` with its arguments, without building it; None where it is disabled.

        Raises:
            UntrustedBundleError: as :meth:`resolve`.
            InvalidBundleError: as :meth:`resolve`, or ``key`` holds no component.
        """
        node = self._node(key)
        for _ in range(8):
            if not isinstance(node, str) or not REFERENCE.fullmatch(node):
                break
            key = node[1:].replace("#", "::")
            node = self._node(key)
        if not isinstance(node, dict) or _TARGET not in node:
            raise InvalidBundleError(f"{self._at(key)} names no component; expected a mapping with _target_")
        return self._call(node, key)

    def _at(self, identifier: str) -> str:
        return f"{self._document.where}, key {shown(identifier)[1:-1]}"

    def _node(self, identifier: str) -> Any:
        node: Any = self._document.content
        for part in identifier.split("::"):
            if isinstance(node, dict):
                node = next((value for name, value in node.items() if str(name) == part), _ABSENT)
            elif isinstance(node, list) and part.isascii() and part.isdigit() and len(part) < 8:
                node = node[int(part)] if int(part) < len(node) else _ABSENT
            else:
                node = _ABSENT
            if node is _ABSENT:
                asked = f" (asked for by {shown(self._pending[-1])[1:-1]})" if self._pending else ""
                raise InvalidBundleError(
                    f"{self._document.where} has no entry {shown(identifier)}{asked}; "
                    "references are written @name or @name::part"
                )
        return node

    def _value(self, node: Any, identifier: str) -> Any:
        if isinstance(node, dict):
            if _TARGET in node:
                call = self._call(node, identifier)
                return None if call is None else self._built(call, identifier)
            return self._measured(self._entries(node.items(), identifier), identifier)
        if isinstance(node, list):
            items = [self.resolve(f"{identifier}::{index}") for index in range(len(node))]
            kept = [
                item
                for item, child in zip(items, node, strict=True)
                if item is not None or not _is_call(child)
            ]
            return self._measured(kept, identifier)
        if isinstance(node, str) and node.startswith("$"):
            value = Expression(node[1:], self._at(identifier), self.resolve, self._budget).value()
            return self._measured(value, identifier)
        if isinstance(node, str) and REFERENCE.fullmatch(node):
            return self.resolve(node[1:])
        return node

    def _entries(self, children: Iterable[tuple[Any, Any]], identifier: str) -> dict[Any, Any]:
        """Resolved children; as in MONAI, a disabled component leaves no gap."""
        entries = {}
        for name, child in children:
            value = self.resolve(f"{identifier}::{name}")
            if value is not None or not _is_call(child):
                entries[name] = value
        return entries

    def _measured(self, value: Any, identifier: str) -> Any:
        """``value``, after its size as a tree was taken off the budget: shared parts count each time."""
        size, level = 0, [value]
        while level:
            size += len(level)
            if size > MAX_LENGTH:
                raise InvalidBundleError(f"{self._at(identifier)} grows beyond {MAX_LENGTH:,} values")
            level = [
                child
                for parent in level
                if isinstance(parent, list | tuple | dict)
                for child in (parent.values() if isinstance(parent, dict) else parent)
            ]
        self._budget.spend(size, self._at(identifier))
        return value

    def _call(self, node: dict[Any, Any], identifier: str) -> Call | None:
        if self._disabled(node, identifier):
            return None
        target = node[_TARGET]
        component = ALLOWED.get(target) if isinstance(target, str) else None
        if component is None:
            raise UntrustedBundleError(
                f"bundle {self._document.bundle}: {self._document.file} asks for {_bare(target)} at "
                f"{shown(identifier)[1:-1]}; medseg runs only components on its allow-list, and this one is "
                "not there; such a bundle runs in stock MONAI alone, if you trust its code"
            )
        names = [name for name in node if name not in (_TARGET, _DISABLED, _REMARK)]
        self._check_names(names, target, component, identifier)
        arguments = {}
        for name in names:
            value = self.resolve(f"{identifier}::{name}")
            wanted = component.arguments[name]
            if not wanted.accepts(value):
                raise InvalidBundleError(
                    f"{self._at(f'{identifier}::{name}')} is {shown(value)}; {target} takes {wanted.expects}"
                )
            arguments[name] = value
        return Call(target, component, arguments)

    def _check_names(self, names: list[Any], target: str, component: Component, identifier: str) -> None:
        foreign = [name for name in names if name not in component.arguments]
        if foreign:
            raise UntrustedBundleError(
                f"{self._at(identifier)} gives {target} the argument {shown(foreign[0])}, which a bundle may "
                f"not set; it may set {', '.join(component.arguments)}"
            )

    def _disabled(self, node: dict[Any, Any], identifier: str) -> bool:
        if _DISABLED not in node:
            return False
        value = self.resolve(f"{identifier}::{_DISABLED}")
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if not isinstance(value, bool):
            raise InvalidBundleError(f"{self._at(identifier)}::_disabled_ is {shown(value)}; expected a flag")
        return value

    def _built(self, call: Call, identifier: str) -> Any:
        try:
            factory = imported(call.component.source)
            if call.component.kind == "network":
                self._check_size(factory, call, identifier)
            return _quietly(factory, call.arguments)
        except (InvalidBundleError, UntrustedBundleError):
            raise
        except Exception as error:
            reason = shown(str(error).strip().split("\n")[0], 200)
            raise InvalidBundleError(
                f"{self._at(identifier)}: {call.target} cannot be built with these arguments: "
                f"{type(error).__name__} {reason}"
            ) from error

    def _check_size(self, factory: Callable[..., Any], call: Call, identifier: str) -> None:
        from medseg.bundle.size import count_numbers

        count = count_numbers(factory, call.arguments)
        if count > MAX_NETWORK_NUMBERS:
            raise InvalidBundleError(
                f"{self._at(identifier)}: {call.target} would have {count:.3g} parameters; at most "
                f"{MAX_NETWORK_NUMBERS:.3g} are built"
            )


_ABSENT = object()


def _is_call(node: Any) -> bool:
    return isinstance(node, dict) and _TARGET in node


def _bare(target: Any) -> str:
    text = shown(target)
    return text[1:-1] if isinstance(target, str) else text


def _quietly(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Builds without MONAI's notices about its own defaults, which a user can do nothing about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return factory(**arguments)
