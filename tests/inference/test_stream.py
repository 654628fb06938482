"""Streamed and cut into columns, a volume gives the labels that it gives all at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference

from medseg.errors import LimitExceededError
from medseg.inference.blend import WEIGHTS
from medseg.inference.stream import (
    Source,
    StreamPlan,
    count_windows,
    plan_stream,
    stream_blocks,
)
from medseg.inference.windows import plan_windows
from medseg.spatial import Geometry, LabelTable
from medseg.spatial.resample import grid_with, restore_labels
from medseg.spatial.restore import LabelRestorer
from medseg.spatial.segmentation import ProbabilityMap

CLASSES = 4


class Convolution:
    """A backend whose network looks at neighbours, so that windows differ near their edges."""

    def __init__(self, dims):
        torch.manual_seed(0)
        kind = torch.nn.Conv3d if dims == 3 else torch.nn.Conv2d
        self.network = kind(1, CLASSES, 3, padding=1)
        self.largest = 0

    def run(self, windows, mirror_axes=()):
        assert not mirror_axes
        self.largest = max(self.largest, len(windows))
        with torch.no_grad():
            return self.network(windows) * 5


def source_of(shape, roi, overlap=0.5, batch_size=2, seed=0):
    plan = plan_windows(shape, roi, overlap)
    volume = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32))
    return Source(
        volume,
        plan,
        WEIGHTS["gaussian"](plan.roi_size),
        batch_size,
        (),
        lambda means: torch.softmax(means, 0),
    )


def probabilities(source, stream, backend):
    """The blocks put together; each voxel must come from the block that owns it."""
    shape = (*source.plan.shape, 1)[:3]
    whole = np.full((CLASSES, *shape), np.nan, np.float32)
    for block in stream_blocks(source, stream, backend):
        own = tuple(slice(a, b) for a, b in zip(block.start, block.stop, strict=True))
        size = tuple(b - a for a, b in zip(block.start, block.stop, strict=True))
        assert np.isnan(whole[(slice(None), *own)]).all()
        whole[(slice(None), *own)] = block.values[(slice(None), *(slice(0, n) for n in size))]
        reach = [n + (b < m) for n, b, m in zip(size, block.stop, shape, strict=True)]
        assert list(block.values.shape[1:]) == reach
    return whole


@given(
    shape=st.tuples(*[st.integers(3, 30)] * 3),
    axis=st.integers(0, 2),
    pieces=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    batch_size=st.integers(1, 3),
)
@settings(deadline=None, max_examples=60)
def test_any_way_through_the_volume_gives_the_same(shape, axis, pieces, overlap, batch_size):
    source, backend = source_of(shape, (8, 10, 6), overlap, batch_size), Convolution(3)
    others = [n for a, n in enumerate(shape) if a != axis]
    parts = [
        [slice(n * p // count, n * (p + 1) // count) for p in range(count)]
        for n, count in zip(others, pieces, strict=True)
    ]
    stream = StreamPlan(axis, tuple((a, b) for a in parts[0] for b in parts[1]))
    found = probabilities(source, stream, backend)
    theirs = sliding_window_inference(
        source.volume[None], (8, 10, 6), 1, backend.run, overlap=overlap, mode="gaussian"
    )[0]
    np.testing.assert_allclose(found, torch.softmax(theirs, 0).numpy(), atol=1e-5)


def test_two_dimensional_images():
    source, backend = source_of((30, 17), (8, 8)), Convolution(2)
    found = probabilities(source, plan_stream(source.plan, CLASSES), backend)
    theirs = sliding_window_inference(
        source.volume[None], (8, 8), 1, backend.run, overlap=0.5, mode="gaussian"
    )
    np.testing.assert_allclose(found[..., 0], torch.softmax(theirs[0], 0).numpy(), atol=1e-5)


def test_labels_streamed_in_columns_equal_those_at_once():
    target = Geometry(np.diag([0.9, 0.7, 1.3, 1.0]), (40, 50, 30))
    prepared = grid_with(target, (1.5, 1.2, 1.1), "PIR")
    source, backend = source_of(prepared.shape, (8, 10, 6)), Convolution(3)
    table = LabelTable.numbered(range(1, CLASSES))
    at_once = probabilities(
        source, StreamPlan(0, ((slice(0, prepared.shape[1]), slice(0, prepared.shape[2])),)), backend
    )
    expected = restore_labels(ProbabilityMap(at_once, prepared, table), target).labels
    for most_bytes in (None, 60_000, 30_000):
        stream = plan_stream(source.plan, CLASSES, most_bytes)
        assert (len(stream.columns) == 1) == (most_bytes is None)
        restorer = LabelRestorer(prepared, target, table)
        for block in stream_blocks(source, stream, backend):
            restorer.add(block.values, block.start, block.stop)
        # Windows add up in another order, which may turn exact ties alone.
        assert np.count_nonzero(restorer.finish().labels != expected) <= 1


def test_it_advances_along_the_longest_axis_in_one_column():
    plan = plan_windows((20, 90, 40), (8, 8, 8), 0.5)
    stream = plan_stream(plan, CLASSES)
    assert stream == StreamPlan(1, ((slice(0, 20), slice(0, 40)),))
    assert count_windows(plan, stream) == len(plan.starts)


def test_a_limit_cuts_columns_and_an_impossible_one_is_refused_with_the_figure():
    plan = plan_windows((64, 64, 128), (32, 32, 32), 0.5)
    needed = 4 * (118 + 1) * 32 * 64 * 64
    assert len(plan_stream(plan, 118, needed).columns) == 1
    tight = plan_stream(plan, 118, needed // 3)
    assert len(tight.columns) > 1 and count_windows(plan, tight) <= 4 * len(plan.starts)
    covered = np.zeros((64, 64), int)
    for column in tight.columns:
        covered[column] += 1
    assert (covered == 1).all()
    with pytest.raises(LimitExceededError, match=r"take \d+ MiB even in \d+ columns, but 1 MiB"):
        plan_stream(plan, 118, 2**20)


def test_progress_counts_every_window_once_a_column():
    source, backend = source_of((20, 22, 24), (8, 8, 8)), Convolution(3)
    stream = StreamPlan(2, ((slice(0, 10), slice(0, 22)), (slice(10, 20), slice(0, 22))))
    told = []
    list(stream_blocks(source, stream, backend, lambda done, total: told.append((done, total))))
    assert told[-1][0] == told[-1][1] == count_windows(source.plan, stream) > len(source.plan.starts)
    assert [done for done, _ in told] == sorted(done for done, _ in told) and backend.largest == 2
