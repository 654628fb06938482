"""How nnU-Net normalises intensities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ConfigurationError, InputError

_SMALLEST_SPREAD = 1e-8


@dataclass(frozen=True, slots=True)
class _Channel:
    """One channel's statistics over the training data's foreground; all None but for ``ct``."""

    mean: float | None
    std: float | None
    lower: float | None
    upper: float | None


class NormalizeByScheme:
    """Normalises each channel by its own scheme, before the image is resampled.

    ``ct`` clips at the training data's percentiles and takes its mean and spread; ``zscore`` takes the mean
    and spread of the image, or of its part that is not zero, holes filled, outside of which it stays 0;
    ``rescale01`` runs from lowest to highest; ``rgb01`` divides by 255; ``none`` changes nothing.

    Args:
        schemes: one for each channel.
        use_mask: whether ``zscore`` looks at the part that is not zero, for each channel.
        means: of the training data, for each channel with ``ct``.
        stds: spread of the training data.
        lowers: where to clip below.
        uppers: where to clip above.

    Raises:
        ConfigurationError: an unknown scheme, lists of unequal length, or ``ct`` without its statistics.
    """

    def __init__(  # the statistics come as lists, so that a configuration can give them
        self,
        schemes: Sequence[str],
        use_mask: Sequence[bool],
        means: Sequence[float | None] = (),
        stds: Sequence[float | None] = (),
        lowers: Sequence[float | None] = (),
        uppers: Sequence[float | None] = (),
    ) -> None:
        columns = [list(values) or [None] * len(schemes) for values in (means, stds, lowers, uppers)]
        if any(len(column) != len(schemes) for column in (use_mask, *columns)):
            raise ConfigurationError(f"{len(schemes)} schemes need as many masks and statistics")
        self.schemes, self.use_mask = tuple(schemes), tuple(use_mask)
        self._channels = [_Channel(*row) for row in zip(*columns, strict=True)]
        for scheme, channel in zip(schemes, self._channels, strict=True):
            if scheme not in _SCHEMES:
                raise ConfigurationError(
                    f"the scheme {scheme!r} is not known; expected one of {', '.join(_SCHEMES)}"
                )
            if scheme == "ct" and None in (channel.mean, channel.std, channel.lower, channel.upper):
                raise ConfigurationError("the scheme ct needs a mean, a spread and two percentiles")

    def __call__(self, image: Any) -> torch.Tensor:
        """(c, i, j, k) to the same shape in float32.

        Raises:
            InputError: a channel with ``rgb01`` goes beyond 0 to 255, or the image has other channels.
        """
        values = torch.as_tensor(image).as_subclass(torch.Tensor).float().cpu().numpy()
        if len(values) != len(self.schemes):
            raise InputError(f"the image has {len(values)} channels; expected {len(self.schemes)}")
        inside = ndimage.binary_fill_holes((values != 0).any(axis=0)) if any(self.use_mask) else None
        result = np.empty(values.shape, np.float32)
        for number, (scheme, masked) in enumerate(zip(self.schemes, self.use_mask, strict=True)):
            part = inside if masked else None
            result[number] = _SCHEMES[scheme](values[number], self._channels[number], part)
        return torch.from_numpy(result)


def _ct(values: NDArray[Any], channel: _Channel, _inside: NDArray[np.bool_] | None) -> NDArray[Any]:
    result: NDArray[Any] = (np.clip(values, channel.lower, channel.upper) - channel.mean) / max(
        channel.std or 0.0, _SMALLEST_SPREAD
    )
    return result


def _zscore(values: NDArray[Any], _channel: _Channel, inside: NDArray[np.bool_] | None) -> NDArray[Any]:
    seen = values if inside is None else values[inside]
    if not seen.size:
        return values
    mean, spread = seen.mean(dtype=np.float64), max(float(seen.std(dtype=np.float64)), _SMALLEST_SPREAD)
    normal: NDArray[Any] = (values - np.float32(mean)) / np.float32(spread)
    return normal if inside is None else np.where(inside, normal, values)


def _rescale01(values: NDArray[Any], _channel: _Channel, _inside: NDArray[np.bool_] | None) -> NDArray[Any]:
    shifted: NDArray[Any] = values - values.min()
    return shifted / max(float(shifted.max()), _SMALLEST_SPREAD)


def _rgb01(values: NDArray[Any], _channel: _Channel, _inside: NDArray[np.bool_] | None) -> NDArray[Any]:
    if values.min() < 0 or values.max() > 255:
        raise InputError(
            f"the image runs from {values.min():g} to {values.max():g}; the bundle expects colours of 0 to "
            "255: give the picture as it was stored"
        )
    return values / 255


def _none(values: NDArray[Any], _channel: _Channel, _inside: NDArray[np.bool_] | None) -> NDArray[Any]:
    return values


_SCHEMES: dict[str, Callable[[NDArray[Any], _Channel, NDArray[np.bool_] | None], NDArray[Any]]] = {
    "ct": _ct,
    "zscore": _zscore,
    "rescale01": _rescale01,
    "rgb01": _rgb01,
    "none": _none,
}
