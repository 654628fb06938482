"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.report.numbers import fixed_text, number_text, number_texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (1.0, "1.00"), (1.2345, "1.23"), (12.345, "12.3"), (123.45, "123"), (1234.6, "1235"),
        (-0.5, "−0.500"), (0.012345, "0.0123"), (1e-6, "1e−06"), (2.5e8, "2.5e+08"),
    ],
)  # fmt: skip
def test_three_digits(value, text):
    assert number_text(value) == text


@given(st.floats(min_value=-1e12, max_value=1e12))
def test_a_number_is_never_off_by_more_than_its_last_digit(value):
    shown = float(number_text(value).replace("−", "-"))
    assert shown == pytest.approx(value, rel=0.0051, abs=1e-300)


def test_numbers_that_belong_together_share_decimals():
    assert number_texts([-21.66, 197.2]) == ["−22", "197"]
    assert number_texts([49.91, 8.7715]) == ["49.9", "8.8"]
    assert number_texts([]) == []


def test_rounding_to_nothing_loses_the_sign():
    assert fixed_text(-0.04, 1) == "0.0"
    assert fixed_text(-0.06, 1) == "−0.1"
