"""One number, with everything that is needed to read it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medseg.errors import InputError


@dataclass(frozen=True, slots=True)
class Measurement:
    """A named number about a label or an instance, or the reason why there is none.

    Attributes:
        name: what it is, with its unit at the end where it has one: ``volume_ml``, ``intensity_mean``.
        value: finite number or None.
        reason: why ``value`` is None; None where there is a value.
        unit: ``ml``, ``mm``, ``HU``, ``1`` …; the image's own unit for intensities.
        label: name in the label table.
        instance: instance id, or None for the label as a whole.
        method: how it is defined, in words or by the name of the definition.
    """

    name: str
    value: float | None
    unit: str
    label: str
    instance: int | None = None
    reason: str | None = None
    method: str | None = None

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise InputError(f"measurement {self.name!r} of {self.label!r} has neither a value nor a reason")
        if self.value is not None and self.reason:
            raise InputError(f"measurement {self.name!r} of {self.label!r} has a value and a reason for none")
        if self.value is not None and not math.isfinite(self.value):
            raise InputError(
                f"measurement {self.name!r} of {self.label!r} is {self.value}; use None and a reason"
            )
