"""One function over many items in this process; one bad item does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from medseg.errors import MedsegError

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Value = TypeVar("Value")


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
        try:
            yield Outcome(item, value=function(item))
        except MedsegError as error:
            yield Outcome(item, error=error)
        except Exception as error:  # noqa: BLE001 - the item boundary: one bug must not end a night's run
            _log.exception("an item failed with an unexpected error")
            yield Outcome(item, error=error)
