"""Computes a bundle's ``$`` expressions without running them as Python.

The text is parsed to a syntax tree (``ast.parse``, which runs nothing) and the tree is walked here, node by
node, with an allow-list. What is not named below does not exist.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from medseg.bundle.allowlist import imported
from medseg.bundle.files import shown
from medseg.errors import InvalidBundleError, UntrustedBundleError

MAX_TEXT = 4_096
MAX_INTEGER = 2**31
MAX_LENGTH = 64 * 1024
MAX_STEPS = 10_000

REFERENCE = re.compile(r"@\w*(?:(?:::|#)\w*)*")
"""MONAI's reference to another entry: ``@network_def::channels::0``; ``#`` is the older separator."""

_PLACEHOLDER = "medseg_reference_"
_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
CONSTANTS: dict[str, str] = {
    **{f"torch.{name}": f"torch:{name}" for name in (*_DTYPES, "bfloat16", "bool")},
    **{f"{module}.{name}": f"numpy:{name}" for module in ("np", "numpy") for name in (*_DTYPES, "uint16")},
}
_DEVICE = re.compile(r"cpu|(?:cuda|mps|xpu)(?::\d{1,3})?")

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_WORDS: dict[type[ast.AST], str] = {
    ast.Lambda: "a lambda",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a starred argument",
}
_PLAIN = (str, bool, int, float, type(None), list, tuple, dict)


def _new_device(name: str) -> Any:
    return imported("torch:device")(name)


def _is_cuda_available() -> bool:
    return bool(imported("torch:cuda").is_available())


FUNCTIONS: dict[str, tuple[Callable[[list[Any]], bool], Callable[..., Any]]] = {
    "len": (lambda given: len(given) == 1 and isinstance(given[0], str | list | tuple | dict), len),
    "torch.device": (
        lambda given: len(given) == 1 and isinstance(given[0], str) and bool(_DEVICE.fullmatch(given[0])),
        _new_device,
    ),
    "torch.cuda.is_available": (lambda given: not given, _is_cuda_available),
}
"""What an expression may call: which arguments it takes, and the function."""


class Budget:
    """How much work and depth is left, shared by everything that one bundle resolves.

    Args:
        steps: values that may be touched.
        levels: how deep references, lists and expressions may nest together.
    """

    def __init__(self, steps: int = 1_000_000, levels: int = 100) -> None:
        self._steps = steps
        self._levels = levels

    def spend(self, steps: int, where: str) -> None:
        """Takes ``steps`` off.

        Raises:
            InvalidBundleError: none are left.
        """
        self._steps -= steps
        if self._steps < 0:
            raise InvalidBundleError(f"{where} takes too many steps to compute; write the values themselves")

    @contextmanager
    def level(self, where: str) -> Iterator[None]:
        """One level deeper while the context lasts.

        Raises:
            InvalidBundleError: too deep.
        """
        if self._levels <= 0:
            raise InvalidBundleError(f"{where} is nested too deeply; write the values themselves")
        self._levels -= 1
        try:
            yield
        finally:
            self._levels += 1


class Expression:
    """One ``$`` expression of a bundle.

    Args:
        text: the expression without its ``$``.
        where: how messages name it, such as ``bundle x: configs/inference.yaml, key device``.
        resolve: gives the value of an id such as ``network_def::channels``.
        budget: shared limits.
    """

    def __init__(self, text: str, where: str, resolve: Callable[[str], Any], budget: Budget) -> None:
        self._where = where
        self._resolve = resolve
        self._budget = budget
        self._own = Budget(MAX_STEPS)
        self._references: dict[str, str] = {}
        self._tree = self._parsed(text)

    def value(self) -> Any:
        """What the expression gives.

        Raises:
            UntrustedBundleError: it uses anything beyond the allow-list.
            InvalidBundleError: it is no expression, fails, or goes over a limit.
        """
        return self._value(self._tree)

    def _parsed(self, text: str) -> ast.expr:
        if len(text) > MAX_TEXT:
            self._fail(f"is {len(text):,} characters long; expected at most {MAX_TEXT:,}")
        if re.match(r"\s*(import|from)\b", text):
            self._refuse("an import")
        if _PLACEHOLDER in text:
            self._refuse(f"the name {_PLACEHOLDER}")
        replaced = REFERENCE.sub(self._placeholder, text)
        try:
            return ast.parse(replaced.strip(), "<bundle expression>", mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            self._fail(f"{shown(text)} is not an expression", error)

    def _placeholder(self, match: re.Match[str]) -> str:
        name = f"{_PLACEHOLDER}{len(self._references)}"
        self._references[name] = match.group()
        return f" {name} "

    def _value(self, node: ast.AST) -> Any:
        self._spend(1)
        handler = _HANDLERS.get(type(node))
        if handler is None:
            self._refuse(_WORDS.get(type(node), f"the construct {type(node).__name__}"))
        with self._budget.level(self._where):
            return self._bounded(handler(self, node))

    def _bounded(self, value: Any) -> Any:
        if isinstance(value, str | list | tuple) and len(value) > MAX_LENGTH:
            self._fail(f"gives a value of {len(value):,} items; expected at most {MAX_LENGTH:,}")
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            self._fail("gives a whole number beyond 2^31")
        if isinstance(value, float) and not math.isfinite(value):
            self._fail("gives a number that is not finite")
        return value

    def _constant(self, node: ast.Constant) -> Any:
        value = node.value
        if not isinstance(value, str | bool | int | float | None):
            self._refuse(f"the constant {shown(value)}")
        if isinstance(value, str) and _PLACEHOLDER in value:
            self._refuse("a reference inside a string")
        return value

    def _name(self, node: ast.Name) -> Any:
        if node.id not in self._references:
            self._refuse(f"the name {shown(node.id)}")
        return self._resolve(self._references[node.id][1:])

    def _attribute(self, node: ast.Attribute) -> Any:
        name = _dotted(node)
        if name not in CONSTANTS:
            self._refuse(f"the attribute {shown(name or node.attr)}")
        return imported(CONSTANTS[name])

    def _call(self, node: ast.Call) -> Any:
        name = _dotted(node.func)
        if node.keywords or name not in FUNCTIONS:
            self._refuse(f"a call of {shown(name or 'a computed object')}")
        arguments = [self._plain(self._value(argument)) for argument in node.args]
        accepts, function = FUNCTIONS[name]
        if not accepts(arguments):
            self._fail(f"calls {name} with {shown(arguments[0]) if arguments else 'nothing'}")
        return function(*arguments)

    def _arithmetic(self, node: ast.BinOp) -> Any:
        function = _ARITHMETIC.get(type(node.op))
        if function is None:
            self._refuse(f"the operator {type(node.op).__name__}")
        left, right = self._plain(self._value(node.left)), self._plain(self._value(node.right))
        sizes = [len(side) for side in (left, right) if isinstance(side, str | list | tuple)]
        if len(sizes) == 1 and isinstance(node.op, ast.Mult):
            times = right if isinstance(right, int) else left
            sequence = left if times is right else right
            if not isinstance(times, int) or _holds_containers(sequence):
                self._fail("repeats something that cannot be repeated")
            sizes = [sizes[0] * max(times, 0)]
        if sum(sizes) > MAX_LENGTH:
            self._fail(f"gives a value of {sum(sizes):,} items; expected at most {MAX_LENGTH:,}")
        self._spend(sum(sizes) // 64)
        return self._computed(function, left, right)

    def _negated(self, node: ast.UnaryOp) -> Any:
        if not isinstance(node.op, ast.Not | ast.USub):
            self._refuse(f"the operator {type(node.op).__name__}")
        value = self._plain(self._value(node.operand))
        return not value if isinstance(node.op, ast.Not) else self._computed(operator.sub, 0, value)

    def _compared(self, node: ast.Compare) -> bool:
        left = self._plain(self._value(node.left))
        for kind, right_node in zip(node.ops, node.comparators, strict=True):
            right = self._plain(self._value(right_node))
            function = _COMPARISONS.get(type(kind))
            if function is None:
                self._refuse(f"the comparison {type(kind).__name__}")
            self._spend(
                sum(len(side) // 64 for side in (left, right) if isinstance(side, str | list | tuple))
            )
            if not self._computed(function, left, right):
                return False
            left = right
        return True

    def _chosen(self, node: ast.IfExp) -> Any:
        return self._value(node.body if self._plain(self._value(node.test)) else node.orelse)

    def _item(self, node: ast.Subscript) -> Any:
        value = self._plain(self._value(node.value))
        index = node.slice
        if isinstance(index, ast.Slice):
            ends = (index.lower, index.upper, index.step)
            key: Any = slice(*(None if end is None else self._value(end) for end in ends))
        else:
            key = self._plain(self._value(index))
        return self._computed(operator.getitem, value, key)

    def _sequence(self, node: ast.List | ast.Tuple) -> Any:
        items = [self._value(element) for element in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)

    def _computed(self, function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
        try:
            return function(left, right)
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            self._fail(f"fails: {shown(str(error))}", error)

    def _plain(self, value: Any) -> Any:
        if not isinstance(value, _PLAIN):
            self._refuse(f"an operation on a {type(value).__name__}")
        return value

    def _spend(self, steps: int) -> None:
        self._own.spend(steps, self._where)
        self._budget.spend(steps, self._where)

    def _refuse(self, what: str) -> NoReturn:
        raise UntrustedBundleError(
            f"{self._where} uses {what} in an expression; medseg computes only references, numbers, strings, "
            "lists, comparisons, len, torch.device and torch.cuda.is_available"
        )

    def _fail(self, what: str, error: BaseException | None = None) -> NoReturn:
        raise InvalidBundleError(f"{self._where}: the expression {what}") from error


_HANDLERS: dict[type[ast.AST], Callable[[Expression, Any], Any]] = {
    ast.Constant: Expression._constant,
    ast.Name: Expression._name,
    ast.Attribute: Expression._attribute,
    ast.Call: Expression._call,
    ast.BinOp: Expression._arithmetic,
    ast.UnaryOp: Expression._negated,
    ast.Compare: Expression._compared,
    ast.IfExp: Expression._chosen,
    ast.Subscript: Expression._item,
    ast.List: Expression._sequence,
    ast.Tuple: Expression._sequence,
}


def _dotted(node: ast.AST) -> str:
    """``torch.cuda.is_available`` for such a chain of names; an empty string for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def _holds_containers(sequence: Any) -> bool:
    return not isinstance(sequence, str) and any(isinstance(item, list | tuple | dict) for item in sequence)
