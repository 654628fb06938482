"""Windows in, probabilities out, part by part; no more is held than later windows need."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import LimitExceededError
from medseg.inference.blend import Accumulator
from medseg.inference.windows import WindowPlan
from medseg.spatial.restore import Triple

Progress = Callable[[int, int], None]
"""Called with the number of windows done and of all windows."""

_MOST_WORK = 4.0
"""A volume is not cut into so many columns that windows run more than this many times."""
_FLOAT_BYTES = 4


class Backend(Protocol):
    """What runs the network."""

    def run(self, windows: torch.Tensor, mirror_axes: Sequence[int] = ()) -> torch.Tensor:
        """(n, c, i, j, k) windows to (n, classes, i, j, k) outputs, float32 on the CPU."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Probabilities of a part of the prepared grid, as `medseg.spatial.restore.LabelRestorer` takes them.

    Attributes:
        values: (c, i, j, k) from ``start`` on, one voxel beyond ``stop`` where the grid goes on.
        start: first voxel.
        stop: behind the last voxel that the block stands for.
    """

    values: NDArray[Any]
    start: Triple
    stop: Triple


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """In which order a volume is worked through.

    Attributes:
        axis: along which the windows advance; what lies behind them is finished.
        columns: parts of the volume along the other axes, worked through one after another. One alone
            takes each window once; with more, windows across a border run once for each side.
    """

    axis: int
    columns: tuple[tuple[slice, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What the stream works on.

    Attributes:
        volume: (c, i, j[, k]) prepared.
        plan: its windows.
        weights: of one window's voxels.
        batch_size: windows in one pass.
        mirror_axes: axes along which mirrored copies are averaged.
        activation: outputs (c, …) to probabilities, voxel by voxel.
    """

    volume: torch.Tensor
    plan: WindowPlan
    weights: torch.Tensor
    batch_size: int
    mirror_axes: tuple[int, ...]
    activation: Callable[[Any], Any]


def plan_stream(plan: WindowPlan, classes: int, most_bytes: int | None = None) -> StreamPlan:
    """Advances along the longest axis, in as few columns as the memory for the sums allows.

    Args:
        plan: the windows.
        classes: of the network's output.
        most_bytes: for the sums; None for no bound, which gives one column.

    Raises:
        LimitExceededError: even narrow columns take more.
    """
    axis = max(range(len(plan.shape)), key=lambda a: (plan.shape[a], -a))
    others = [a for a in range(len(plan.shape)) if a != axis]
    pieces = [1] * len(others)
    while True:
        columns = _columns([plan.shape[a] for a in others], pieces)
        stream = StreamPlan(axis, columns)
        needed = max(_sums_bytes(plan, stream, column, classes) for column in columns)
        if most_bytes is None or needed <= most_bytes:
            return stream
        widths = [plan.shape[a] / n for a, n in zip(others, pieces, strict=True)]
        widest = max(range(len(others)), key=lambda n: widths[n])
        pieces[widest] += 1
        if widths[widest] < 2 or count_windows(plan, stream) > _MOST_WORK * len(plan.starts):
            raise LimitExceededError(
                f"the sums of {classes} classes over a volume of {' × '.join(map(str, plan.shape))} voxels "
                f"take {needed / 2**20:.0f} MiB even in {len(columns)} columns, but {most_bytes / 2**20:.0f} "
                "MiB are left under the memory limit; raise it"
            )


def count_windows(plan: WindowPlan, stream: StreamPlan) -> int:
    """How many windows run, those that run for several columns counted as often."""
    return sum(len(_starts(plan, stream, column)) for column in stream.columns)


def stream_blocks(
    source: Source, stream: StreamPlan, backend: Backend, progress: Progress | None = None
) -> Iterator[Block]:
    """Runs the windows and gives out probabilities as soon as no later window touches them.

    Raises:
        InferenceError: the network failed, or its output is not usable.
    """
    total, done = count_windows(source.plan, stream), 0

    def tell(windows: int) -> None:
        nonlocal done
        done += windows
        if progress is not None:
            progress(done, total)

    def run(windows: torch.Tensor) -> torch.Tensor:
        return backend.run(windows, source.mirror_axes)

    for column in stream.columns:
        last: NDArray[Any] | None = None
        for first, means in _column_means(source, stream, column, run, tell):
            values = _activated(source, stream.axis, means)
            length = source.plan.shape[stream.axis]
            # The plane before belongs to both blocks: voxels between the two need it.
            held = values if last is None else np.concatenate([last, values], axis=stream.axis + 1)
            start = first if last is None else first - 1
            stop = first + values.shape[stream.axis + 1]
            last = np.take(values, [-1], axis=stream.axis + 1)
            yield _block(held, stream.axis, column, start, stop if stop == length else stop - 1)


def _column_means(
    source: Source,
    stream: StreamPlan,
    column: tuple[slice, ...],
    run: Callable[[torch.Tensor], torch.Tensor],
    tell: Callable[[int], None],
) -> Iterator[tuple[int, torch.Tensor]]:
    """First plane and means, whenever some are finished."""
    plan, axis = source.plan, stream.axis
    pad = [n for before_after in reversed(plan.padding) for n in before_after]
    padded = torch.nn.functional.pad(source.volume, pad) if any(pad) else source.volume
    accumulator = Accumulator(plan, source.weights, axis, _with_next(plan, stream, column))
    starts = _starts(plan, stream, column)
    reached = starts[0][axis]
    for first in range(0, len(starts), source.batch_size):
        batch = starts[first : first + source.batch_size]
        windows = torch.stack([_cut(padded, start, plan.roi_size) for start in batch])
        for start, output in zip(batch, run(windows), strict=True):
            if start[axis] > reached:
                reached = start[axis]
                yield from accumulator.drain(reached)
            accumulator.add(start, output)
        tell(len(batch))
    yield from accumulator.drain(plan.padded_shape[axis])


def _activated(source: Source, axis: int, means: torch.Tensor) -> NDArray[Any]:
    """Probabilities with the axes in the volume's order; ``means`` has the streamed axis first."""
    ordered = means.movedim(1, axis + 1)
    values: NDArray[Any] = torch.as_tensor(source.activation(ordered)).as_subclass(torch.Tensor).numpy()
    return values


def _block(values: NDArray[Any], axis: int, column: tuple[slice, ...], start: int, stop: int) -> Block:
    starts, stops = [part.start for part in column], [part.stop for part in column]
    starts.insert(axis, start)
    stops.insert(axis, stop)
    if len(starts) == 2:
        values, starts, stops = values[..., None], [*starts, 0], [*stops, 1]
    return Block(values, (starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))


def _columns(lengths: Sequence[int], pieces: Sequence[int]) -> tuple[tuple[slice, ...], ...]:
    """All combinations of nearly equal parts of each length."""
    edges = [[n * p // count for p in range(count + 1)] for n, count in zip(lengths, pieces, strict=True)]
    parts = [[slice(a, b) for a, b in itertools.pairwise(e)] for e in edges]
    columns: list[tuple[slice, ...]] = [()]
    for choices in parts:
        columns = [(*column, part) for column in columns for part in choices]
    return tuple(columns)


def _with_next(plan: WindowPlan, stream: StreamPlan, column: tuple[slice, ...]) -> tuple[slice, ...]:
    """A column in the padded volume, with one more voxel on the far side: what lies between needs it."""
    others = [a for a in range(len(plan.shape)) if a != stream.axis]
    return tuple(
        slice(part.start + plan.padding[a][0], min(part.stop + 1, plan.shape[a]) + plan.padding[a][0])
        for a, part in zip(others, column, strict=True)
    )


def _starts(plan: WindowPlan, stream: StreamPlan, column: tuple[slice, ...]) -> list[tuple[int, ...]]:
    """The windows that touch a column, in the order in which they advance."""
    others = [a for a in range(len(plan.shape)) if a != stream.axis]
    wanted = _with_next(plan, stream, column)
    found = [
        start
        for start in plan.starts
        if all(
            start[a] < part.stop and start[a] + plan.roi_size[a] > part.start
            for a, part in zip(others, wanted, strict=True)
        )
    ]
    return sorted(found, key=lambda start: (start[stream.axis], start))


def _sums_bytes(plan: WindowPlan, stream: StreamPlan, column: tuple[slice, ...], classes: int) -> int:
    extent = [part.stop - part.start for part in _with_next(plan, stream, column)]
    return math.prod([_FLOAT_BYTES, classes + 1, plan.roi_size[stream.axis], *extent])


def _cut(volume: torch.Tensor, start: Sequence[int], roi_size: Sequence[int]) -> torch.Tensor:
    place = tuple(slice(s, s + n) for s, n in zip(start, roi_size, strict=True))
    return volume[(slice(None), *place)]
