from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.errors import ConfigurationError, InputError, InvalidOutputError
from medseg.inference.prepare import prepare
from medseg.spatial import Case, Geometry, Volume

GRID = ("RAS", (1.0, 1.0, 1.0))


def _case(channels=("t1",)):
    geometry = Geometry(np.diag([-1.0, 2.0, 1.0, 1.0]), (4, 5, 6))
    rng = np.random.default_rng(0)
    return Case("a", {name: Volume(rng.normal(size=(4, 5, 6)), geometry) for name in channels})


def test_the_case_lies_on_the_bundles_grid():
    prepared = prepare(_case(), ["t1"], GRID, lambda x: x * 2)
    assert prepared.geometry.orientation == "RAS"
    assert prepared.geometry.spacing_mm == pytest.approx((1, 1, 1))
    assert tuple(prepared.array.shape) == (1, 4, 10, 6)
    assert prepared.array.dtype == torch.float32


def test_one_channel_may_have_any_name():
    assert prepare(_case(["image"]), ["t1"], GRID, lambda x: x).array.shape[0] == 1


def test_channels_come_in_the_bundles_order():
    case = _case(["t2", "t1"])
    array = prepare(case, ["t1", "t2"], GRID, lambda x: x).array
    swapped = prepare(case, ["t2", "t1"], GRID, lambda x: x).array
    torch.testing.assert_close(array, swapped.flip(0))


def test_missing_channels_are_named():
    with pytest.raises(InputError, match="has the channels t1; the bundle needs t1, flair"):
        prepare(_case(), ["t1", "flair"], GRID, lambda x: x)
    with pytest.raises(ConfigurationError, match="names no input channels"):
        prepare(_case(), [], GRID, lambda x: x)


@pytest.mark.parametrize("transform", [lambda x: x[:, 1:], lambda x: x / 0])
def test_prepare_may_change_intensities_only(transform):
    with pytest.raises(InvalidOutputError, match="may change intensities only"):
        prepare(_case(), ["t1"], GRID, transform)
