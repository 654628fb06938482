from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import sliding_window_inference

from medseg.errors import ConfigurationError, InvalidOutputError
from medseg.inference.blend import WEIGHTS, Accumulator, constant_weights, gaussian_weights
from medseg.inference.windows import plan_windows

lengths = st.integers(1, 40)


@given(st.tuples(lengths, lengths, lengths), st.tuples(lengths, lengths, lengths), st.floats(0, 0.95))
@settings(deadline=None, max_examples=100)
def test_every_voxel_is_covered_and_windows_stay_inside(shape, roi, overlap):
    plan = plan_windows(shape, roi, overlap)
    seen = [np.zeros(n, bool) for n in plan.padded_shape]
    for start in plan.starts:
        for axis, (first, length) in enumerate(zip(start, plan.roi_size, strict=True)):
            assert first >= 0 and first + length <= plan.padded_shape[axis]
            seen[axis][first : first + length] = True
    assert all(s.all() for s in seen)
    assert list(plan.starts) == sorted(set(plan.starts))


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.7])
@pytest.mark.parametrize("shape", [(40, 56, 40), (41, 57, 90), (90, 60, 44)])
def test_positions_are_those_of_monai(shape, overlap):
    roi = (40, 56, 40)
    interval = tuple(r if r == n else max(int(r * (1 - overlap)), 1) for r, n in zip(roi, shape, strict=True))
    theirs = [tuple(s.start for s in place) for place in dense_patch_slices(shape, roi, interval)]
    assert sorted(plan_windows(shape, roi, overlap).starts) == sorted(set(theirs))


@pytest.mark.parametrize("roi", [(8, 8, 8), (40, 56, 40), (5, 7, 1)])
def test_gaussian_weights_are_those_of_monai(roi):
    theirs = compute_importance_map(roi, mode="gaussian", sigma_scale=0.125)
    torch.testing.assert_close(gaussian_weights(roi), theirs.clamp(min=max(float(theirs.min()), 1e-3)))


@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@pytest.mark.parametrize("shape", [(20, 30, 25), (9, 33, 16)])
def test_blending_equals_monai(mode, shape):
    torch.manual_seed(0)
    volume, roi = torch.randn(2, *shape), (16, 16, 16)
    network = torch.nn.Conv3d(2, 3, 3, padding=1)
    plan = plan_windows(shape, roi, 0.5)
    accumulator = Accumulator(plan, WEIGHTS[mode](roi))
    pad = [n for pair in reversed(plan.padding) for n in pair]
    padded = torch.nn.functional.pad(volume, pad)
    parts = []
    with torch.no_grad():
        for i, j, k in plan.starts:
            window = padded[None, :, i : i + 16, j : j + 16, k : k + 16]
            parts += [part for _, part in accumulator.drain(i)] if i else []
            accumulator.add((i, j, k), network(window)[0])
        parts += [part for _, part in accumulator.drain(plan.padded_shape[0])]
        theirs = sliding_window_inference(volume[None], roi, 1, network, overlap=0.5, mode=mode)[0]
    torch.testing.assert_close(torch.cat(parts, dim=1), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "roi", "overlap", "message"),
    [
        ((4, 4), (4, 4, 4), 0.5, "as many axes"),
        ((4, 4, 0), (4, 4, 4), 0.5, "each of 1 or more"),
        ((4, 4, 4), (4, 4, 4), 1.0, "overlap is 1.0"),
        ((4, 4, 4), (4, 4, 4), -0.1, "overlap is -0.1"),
    ],
)
def test_impossible_plans_are_refused(shape, roi, overlap, message):
    with pytest.raises(ConfigurationError, match=message):
        plan_windows(shape, roi, overlap)


def test_bad_outputs_are_refused():
    plan = plan_windows((4, 4, 4), (4, 4, 4), 0.0)
    accumulator = Accumulator(plan, constant_weights((4, 4, 4)))
    with pytest.raises(InvalidOutputError, match="no window"):
        list(accumulator.drain(4))
    with pytest.raises(InvalidOutputError, match="expected one value per class and voxel"):
        accumulator.add((0, 0, 0), torch.zeros(2, 4, 4, 3))
    with pytest.raises(InvalidOutputError, match="NaN or infinite"):
        accumulator.add((0, 0, 0), torch.full((2, 4, 4, 4), float("nan")))
