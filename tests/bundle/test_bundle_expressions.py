"""The expressions that a bundle may hold, and those that it may not."""

from __future__ import annotations

import ast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.bundle.expressions import Budget, Expression
from medseg.errors import BundleError, InvalidBundleError, UntrustedBundleError

VALUES = {
    "a": 3,
    "name": "x",
    "list": [1, 2, 3],
    "map": {"k": 5},
    "a::b": 7,
    "object": object(),
    "big": "x" * 70_000,
}


def _value(text, budget=None):
    def resolve(reference):
        return VALUES[reference.replace("#", "::")]

    return Expression(text, "bundle b, key k", resolve, budget or Budget()).value()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("7 // 2", 3),
        ("7 / 2", 3.5),
        ("-2", -2),
        ("not 0", True),
        ("@a + 1", 4),
        ("@a::b - @a", 4),
        ("@a#b", 7),
        ("@name + '/eval'", "x/eval"),
        ("'ab' * 2", "abab"),
        ("2 * [1]", [1, 1]),
        ("[1, @a]", [1, 3]),
        ("(1, 'x')", (1, "x")),
        ("[1] + [2]", [1, 2]),
        ("@list[0]", 1),
        ("@list[-1]", 3),
        ("@list[1:]", [2, 3]),
        ("@list[::2]", [1, 3]),
        ("@map['k']", 5),
        ("len(@list)", 3),
        ("len('abc')", 3),
        ("1 if @a > 2 else 2", 1),
        ("1 if @a < 2 else 2", 2),
        ("1 < 2 < 3", True),
        ("1 < 3 < 2", False),
        ("2 in @list", True),
        ("2 not in @list", False),
        ("@a == 3", True),
        ("@a != 3", False),
        ("1 <= 1 >= 1", True),
        ("None", None),
        ("torch.float32", torch.float32),
        ("np.float32", np.float32),
        ("numpy.uint8", np.uint8),
        ("torch.device('cpu')", torch.device("cpu")),
        ("torch.device('cuda:1')", torch.device("cuda:1")),
        (" 1 # remark", 1),
    ],
)
def test_gives_what_python_would(text, value):
    assert _value(text) == value


def test_picks_the_device_of_this_machine():
    expected = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    assert _value("torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')") == expected


_NUMBERS = st.integers(-50, 50).map(str) | st.floats(-50, 50, allow_subnormal=False).map(str)
_ARITHMETIC = st.recursive(
    _NUMBERS,
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//"]), inner).map(
        lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(_ARITHMETIC)
def test_arithmetic_agrees_with_python(text):
    try:
        expected = eval(text)
    except ArithmeticError:
        expected = None
    try:
        assert _value(text) == expected
    except InvalidBundleError:
        assert expected is None or abs(expected) > 2**20 or "finite" in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import os", "uses an import"),
        ("from os import system", "uses an import"),
        ("__import__('os')", "a call of '__import__'"),
        ("eval('1')", "a call of 'eval'"),
        ("open('/etc/passwd')", "a call of 'open'"),
        ("print", "the name 'print'"),
        ("os.system", "the attribute 'os.system'"),
        ("torch.load", "the attribute 'torch.load'"),
        ("torch.load('x')", "a call of 'torch.load'"),
        ("().__class__", "the attribute '__class__'"),
        ("''.__class__.__mro__[1].__subclasses__()", "a call of 'a computed object'"),
        ("@object.__dict__", "the attribute 'medseg_reference_0.__dict__'"),
        ("@name.format(1)", "a call of"),
        ("'{0.__class__}'.format(1)", "a call of"),
        ("'%s' % 1", "the operator Mod"),
        ("2 ** 99", "the operator Pow"),
        ("1 << 99", "the operator LShift"),
        ("~1", "the operator Invert"),
        ("+1", "the operator UAdd"),
        ("1 is 1", "the comparison Is"),
        ("1 and 2", "the construct BoolOp"),
        ("f'{1}'", "an f-string"),
        ("lambda: 1", "a lambda"),
        ("[x for x in @list]", "a comprehension"),
        ("{x for x in @list}", "a comprehension"),
        ("{x: x for x in @list}", "a comprehension"),
        ("[*(x for x in @list)]", "a starred argument"),
        ("(x := 1)", "an assignment"),
        ("{1: 2}", "the construct Dict"),
        ("{1, 2}", "the construct Set"),
        ("...", "the constant Ellipsis"),
        ("b'x'", "the constant b'x'"),
        ("1j", "the constant 1j"),
        ("len(obj=@list)", "a call of 'len'"),
        ("len(*@list)", "a starred argument"),
        ("'@a'", "a reference inside a string"),
        ("medseg_reference_0", "the name medseg_reference_"),
        ("@object + 1", "an operation on a object"),
        ("@object[0]", "an operation on a object"),
        ("@object == 1", "an operation on a object"),
        ("1 if @object else 2", "an operation on a object"),
        ("(yield)", "the construct Yield"),
        ("await x", "the construct Await"),
    ],
)
def test_refuses_constructs_beyond_the_list(text, says):
    with pytest.raises(UntrustedBundleError, match=says):
        _value(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not an expression"),
        ("1 +", "is not an expression"),
        ("a = 1", "is not an expression"),
        ("1; 2", "is not an expression"),
        ("(" * 500 + "1" + ")" * 500, "is not an expression"),
        ("1\x00", "is not an expression"),
        ("'\ud800' + 'x'", "is not an expression"),
        ("9" * 4_090, "whole number beyond|is not an expression"),
        ("1" + " + 1" * 300, "nested too deeply"),
        ("1" * 5_000, "is 5,000 characters long"),
        ("2147483648 + 1", "whole number beyond"),
        ("2147483648 * 2147483648", "whole number beyond"),
        ("1e308 * 10", "not finite"),
        ("1e999", "not finite"),
        ("'x' * 70000", "70,000 items"),
        ("@big", "70,000 items"),
        ("'x' * 60000 + 'x' * 60000", "120,000 items"),
        ("'x' * 1.5", "cannot be repeated"),
        ("[[1]] * 9", "cannot be repeated"),
        ("1 / 0", "fails: 'division by zero'"),
        ("@list[9]", "fails: 'list index out of range'"),
        ("@map['x']", "fails"),
        ("@list['x']", "fails"),
        ("1 + 'x'", "fails"),
        ("-'x'", "fails"),
        ("1 < 'x'", "fails"),
        ("len(1)", "calls len with 1"),
        ("len()", "calls len with nothing"),
        ("torch.device('meta')", "calls torch.device with 'meta'"),
        ("torch.device(1)", "calls torch.device with 1"),
        ("torch.cuda.is_available(1)", "calls torch.cuda.is_available with 1"),
        ("[" + "'x' * 60000 + 'x', " * 20 + "]", "too many steps"),
    ],
)
def test_refuses_what_fails_or_grows(text, says):
    with pytest.raises(InvalidBundleError, match=says):
        _value(text)


def test_spends_the_shared_budget():
    budget = Budget(steps=10)
    assert _value("1 + 1", budget) == 2
    with pytest.raises(InvalidBundleError, match="too many steps"):
        _value("1 + 1 + 1 + 1 + 1", budget)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="@$abn01.()[]{}'\"+-*/%,:#lx _=<>\\\n", max_size=40))
def test_any_text_gives_a_value_or_a_bundle_error(text):
    try:
        _value(text)
    except BundleError:
        pass
    except KeyError as error:
        assert error.args[0] not in VALUES  # the test's own resolve


def test_no_node_with_side_effects_has_a_handler():
    from medseg.bundle.expressions import _HANDLERS

    assert not {ast.Lambda, ast.JoinedStr, ast.NamedExpr, ast.Starred, ast.ListComp, ast.Await} & set(
        _HANDLERS
    )
