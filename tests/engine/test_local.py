from __future__ import annotations

import logging
import threading
import time

import pytest

from medseg.engine.local import run_each, run_staged
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


def test_stages_keep_the_order_and_skip_what_follows_a_failure(caplog):
    def failing(stage):
        def step(x):
            if x == stage:
                raise InputError(f"at {stage}")
            return x

        return step

    outcomes = list(run_staged(failing(1), failing(2), failing(3), range(5)))
    assert [o.item for o in outcomes] == list(range(5))
    assert [o.value for o in outcomes] == [0, None, None, None, 4]
    assert [str(o.error) for o in outcomes[1:4]] == ["at 1", "at 2", "at 3"]
    assert not caplog.records


def test_the_next_is_loaded_and_the_last_finished_while_one_is_worked_on():
    """Three items are under way at once, and never more."""
    lock, under_way, most = threading.Lock(), set(), 0
    loaded_next = threading.Event()

    def load(x):
        nonlocal most
        with lock:
            under_way.add(x)
            most = max(most, len(under_way))
        if x == 1:
            loaded_next.set()
        return x

    def work(x):
        assert threading.current_thread() is threading.main_thread()
        # The second is loaded while the first is worked on, without being asked for.
        assert x != 0 or loaded_next.wait(10)
        return x

    def finish(x):
        time.sleep(0.01)
        with lock:
            under_way.remove(x)
        return x

    assert [o.value for o in run_staged(load, work, finish, range(12))] == list(range(12))
    assert most == 3


def test_a_bug_in_a_stage_is_logged_and_interrupts_end_the_run(caplog):
    def bug(_):
        raise ZeroDivisionError

    (outcome,) = run_staged(str, str, bug, [1])
    assert isinstance(outcome.error, ZeroDivisionError) and len(caplog.records) == 1

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_staged(str, interrupt, str, [1, 2, 3]))
    assert list(run_staged(str, str, str, [])) == []
