"""From a case on its own grid to the network's input on the bundle's grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import ConfigurationError, InputError, InvalidOutputError
from medseg.spatial.case import Case
from medseg.spatial.geometry import Geometry
from medseg.spatial.nnunet import NnunetGrid, prepared_arrays
from medseg.spatial.resample import grid_with, resample_array
from medseg.spatial.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class PreparedInput:
    """What the network sees.

    Attributes:
        array: (c, i, j, k) float32 on ``geometry``.
        geometry: the bundle's grid over this case.
        slices_along: axis across which the result is restored plane by plane, without interpolation, or None.
    """

    array: torch.Tensor
    geometry: Geometry
    slices_along: int | None = None


def prepare(
    case: Case,
    channels: Sequence[str],
    grid: tuple[str, tuple[float, float, float]],
    transform: Callable[[Any], Any],
) -> PreparedInput:
    """Puts the case onto the bundle's grid and prepares its intensities.

    Args:
        case: the examination.
        channels: the bundle's input channels in order.
        grid: the bundle's orientation and spacing in mm.
        transform: intensities only, (c, i, j, k) float32 in and out, same shape.

    Raises:
        InputError: the case lacks a channel.
        InvalidOutputError: the transform changed the shape or gave NaN or infinite values.
    """
    volumes = _ordered(case, channels)
    orientation, spacing_mm = grid
    target = grid_with(case.geometry, spacing_mm, orientation)
    arrays = [resample_array(v.array, v.geometry, target, order=1, fill=0.0) for v in volumes]
    stacked = np.stack([np.asarray(array, dtype=np.float32) for array in arrays])
    return PreparedInput(_transformed(case.id, transform, stacked), target)


def prepare_nnunet(
    case: Case, channels: Sequence[str], grid: NnunetGrid, transform: Callable[[Any], Any]
) -> PreparedInput:
    """Prepares a case as nnU-Net does: turned, cropped to what is not zero, normalised, then resampled.

    Args:
        case: the examination.
        channels: the bundle's input channels in order.
        grid: nnU-Net's rule.
        transform: intensities only, as for `prepare`, but before resampling.

    Raises:
        InputError: the case lacks a channel.
        InvalidOutputError: the transform changed the shape or gave NaN or infinite values.
    """
    arrays = [volume.array for volume in _ordered(case, channels)]
    found = prepared_arrays(
        arrays, case.geometry, grid, lambda stacked: _transformed(case.id, transform, stacked).numpy()
    )
    return PreparedInput(torch.from_numpy(found.arrays), found.geometry, found.slices_along)


def _transformed(case_id: str, transform: Callable[[Any], Any], stacked: NDArray[Any]) -> torch.Tensor:
    output = transform(torch.from_numpy(stacked))
    array = torch.as_tensor(output).as_subclass(torch.Tensor).float().contiguous()
    if tuple(array.shape) != stacked.shape or not bool(torch.isfinite(array).all()):
        raise InvalidOutputError(
            f"case {case_id!r}: preparing gave shape {tuple(array.shape)} for {stacked.shape}, or values "
            "that are not finite; the bundle's `prepare` may change intensities only"
        )
    return array


def _ordered(case: Case, channels: Sequence[str]) -> list[Volume]:
    have = dict(case.channels)
    if len(channels) == 1 and len(have) == 1:
        return list(have.values())
    missing = [name for name in channels if name not in have]
    if missing:
        raise InputError(
            f"case {case.id!r} has the channels {', '.join(have)}; the bundle needs {', '.join(channels)}"
        )
    if not channels:
        raise ConfigurationError("the bundle names no input channels")
    return [have[name] for name in channels]
