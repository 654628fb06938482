"""The grid that a bundle's network sees, as its configuration states it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from medseg.bundle.files import shown
from medseg.errors import ConfigurationError, InvalidBundleError
from medseg.spatial.nnunet import NnunetGrid
from medseg.spatial.orientation import parse_orientation

_PLAIN = {"orientation", "spacing_mm"}
_NNUNET = _PLAIN | {"rule", "transpose", "order", "separate", "in_pixels"}


class Grid(NamedTuple):
    """The grid that the network was trained on.

    Attributes:
        orientation: axis code such as ``RAS``.
        spacing_mm: spacing along its axes.
    """

    orientation: str
    spacing_mm: tuple[float, float, float]


def read_grid(value: Any, where: str) -> Grid | NnunetGrid:
    """The entry ``grid`` of a configuration: a plain one, or one with ``rule: nnunet``.

    Args:
        value: the resolved entry.
        where: the configuration, for messages.

    Raises:
        InvalidBundleError: it is no grid.
    """
    if isinstance(value, dict) and value.get("rule") == "nnunet":
        return _nnunet_grid(value, where)
    if not isinstance(value, dict) or set(value) != _PLAIN:
        raise InvalidBundleError(f"{where}: grid is {shown(value)}; expected orientation and spacing_mm")
    orientation, spacing = value["orientation"], value["spacing_mm"]
    _check_orientation(orientation, where)
    if not isinstance(spacing, list | tuple) or len(spacing) != 3 or not all(map(_is_spacing, spacing)):
        raise InvalidBundleError(
            f"{where}: grid::spacing_mm is {shown(spacing)}; expected three numbers from 0.001 to 100"
        )
    return Grid(orientation, (float(spacing[0]), float(spacing[1]), float(spacing[2])))


def _nnunet_grid(value: dict[str, Any], where: str) -> NnunetGrid:
    if set(value) != _NNUNET:
        raise InvalidBundleError(
            f"{where}: grid has the entries {', '.join(sorted(map(str, value)))[:200]}; with rule nnunet "
            f"expected {', '.join(sorted(_NNUNET))}"
        )
    orientation, transpose, spacing = value["orientation"], value["transpose"], value["spacing_mm"]
    if orientation is not None:
        _check_orientation(orientation, where)
    if not isinstance(transpose, list | tuple) or sorted(map(str, transpose)) != ["0", "1", "2"]:
        raise InvalidBundleError(f"{where}: grid::transpose is not 0, 1 and 2 in some order")
    lengths: list[Any] = (
        list(spacing) if isinstance(spacing, list | tuple) and len(spacing) == 3 else ["none"] * 3
    )
    if not (lengths[0] is None or _is_spacing(lengths[0])) or not all(map(_is_spacing, lengths[1:])):
        raise InvalidBundleError(
            f"{where}: grid::spacing_mm is {shown(spacing)}; expected three numbers from 0.001 to 100, of "
            "which the first may be null"
        )
    order, separate, in_pixels = value["order"], value["separate"], value["in_pixels"]
    if type(order) is not int or not 0 <= order <= 5:
        raise InvalidBundleError(f"{where}: grid::order is {shown(order)}; expected 0 to 5")
    if not (separate is None or isinstance(separate, bool)) or not isinstance(in_pixels, bool):
        raise InvalidBundleError(f"{where}: grid::separate and grid::in_pixels are true or false")
    first, second, third = (int(axis) for axis in transpose)
    depth = None if lengths[0] is None else float(lengths[0])
    planned = (depth, float(lengths[1]), float(lengths[2]))
    return NnunetGrid(orientation, (first, second, third), planned, order, separate, in_pixels)


def _check_orientation(orientation: Any, where: str) -> None:
    try:
        parse_orientation(orientation if isinstance(orientation, str) else "")
    except ConfigurationError as error:
        raise InvalidBundleError(
            f"{where}: grid::orientation is {shown(orientation)}; expected a code such as RAS"
        ) from error


def _is_spacing(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 1e-3 <= value <= 100
