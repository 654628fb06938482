"""One function over many items in this process; one bad item does not stop the others."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from medseg.errors import MedsegError

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Value = TypeVar("Value")
Given = TypeVar("Given")
Loaded = TypeVar("Loaded")
Worked = TypeVar("Worked")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Value]):
    """What became of one item: a value, or the error that ended it.

    Attributes:
        item: what was worked on.
        value: the function's result; None where it failed.
        error: what it raised; None where it succeeded.
    """

    item: Item
    value: Value | None = None
    error: Exception | None = None


def run_each(function: Callable[[Item], Value], items: Iterable[Item]) -> Iterator[Outcome[Item, Value]]:
    """Gives an outcome per item, in order, as each is done.

    A `MedsegError` is a failure of that item. So is any other exception, whose traceback is logged: it is a
    bug, and still no reason to lose the items that follow. Ctrl-C and the like end the run.
    """
    for item in items:
        yield _tried(item, function, item)


def run_staged(
    load: Callable[[Item], Loaded],
    work: Callable[[Loaded], Worked],
    finish: Callable[[Worked], Value],
    items: Iterable[Item],
) -> Iterator[Outcome[Item, Value]]:
    """`run_each` of the three steps one after another, each step on its own item at a time.

    While ``work`` runs in the caller's thread, the item after is loaded and the item before finished, in one
    thread each. No more than one loaded item waits, and no more than one worked one, so memory holds three
    items at most. Outcomes come in order; an item that fails in a step skips the steps that follow.
    """
    with ThreadPoolExecutor(1, "load") as loader, ThreadPoolExecutor(1, "finish") as finisher:
        pending: deque[Future[Outcome[Item, Loaded]]] = deque()
        finishing: Future[Outcome[Item, Value]] | None = None
        queue = iter(items)
        for _ in range(2):
            _submit(queue, pending, loader, load)
        while pending:
            loaded = pending.popleft().result()
            worked = _next(loaded, work)
            del loaded
            if finishing is not None:
                yield finishing.result()
            # Only now, so that no more than three items are under way.
            _submit(queue, pending, loader, load)
            finishing = finisher.submit(_next, worked, finish)
            del worked
        if finishing is not None:
            yield finishing.result()


def _submit(
    queue: Iterator[Item],
    pending: deque[Future[Outcome[Item, Loaded]]],
    loader: ThreadPoolExecutor,
    load: Callable[[Item], Loaded],
) -> None:
    for item in itertools.islice(queue, 1):
        pending.append(loader.submit(_tried, item, load, item))


def _next(before: Outcome[Item, Given], function: Callable[[Given], Value]) -> Outcome[Item, Value]:
    """The next step of an item, unless an earlier one failed."""
    if before.error is not None:
        return Outcome(before.item, error=before.error)
    return _tried(before.item, function, before.value)  # type: ignore[arg-type]


def _tried(item: Item, function: Callable[[Given], Value], given: Given) -> Outcome[Item, Value]:
    try:
        return Outcome(item, value=function(given))
    except MedsegError as error:
        return Outcome(item, error=error)
    except Exception as error:  # noqa: BLE001 - the item boundary: one bug must not end a night's run
        _log.exception("an item failed with an unexpected error")
        return Outcome(item, error=error)
