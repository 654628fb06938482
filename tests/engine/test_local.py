from __future__ import annotations

import logging

import pytest

from medseg.engine.local import run_each
from medseg.errors import InputError


def test_a_bad_item_does_not_stop_the_others(caplog):
    def work(x):
        if x == 1:
            raise InputError("one")
        if x == 2:
            raise ZeroDivisionError("two")
        return x * 10

    with caplog.at_level(logging.ERROR):
        outcomes = list(run_each(work, range(4)))
    assert [o.value for o in outcomes] == [0, None, None, 30]
    assert [type(o.error).__name__ for o in outcomes] == [
        "NoneType",
        "InputError",
        "ZeroDivisionError",
        "NoneType",
    ]
    assert len(caplog.records) == 1, "only the bug is logged"


def test_interrupts_end_the_run():
    def work(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_each(work, [1]))


def test_nothing_gives_nothing():
    assert list(run_each(str, [])) == []
