"""One number that compares a prediction with a reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medseg.errors import InputError


@dataclass(frozen=True, slots=True)
class Score:
    """A named comparison, or the reason why there is none.

    Attributes:
        metric: name with its definition and unit: ``dice``, ``hd95_max_mm``, ``nsd_1mm``.
        value: finite number or None.
        label: name in the label table.
        reason: why ``value`` is None; None where there is a value.
        instance: id of the reference instance, or None for the label as a whole.
    """

    metric: str
    value: float | None
    label: str
    reason: str | None = None
    instance: int | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise InputError(f"{self.metric} of {self.label!r} needs either a value or a reason for none")
        if self.value is not None and not math.isfinite(self.value):
            raise InputError(f"{self.metric} of {self.label!r} is {self.value}; use None and a reason")
