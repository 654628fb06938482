"""One bundle, loaded once, for many cases."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from medseg.bundle.bundle import Bundle, BundleParts, resolve_parts
from medseg.errors import ConfigurationError
from medseg.inference.backends.choose import choose_backend
from medseg.inference.blend import WEIGHTS
from medseg.inference.memory import CaseSize, bytes_for_sums, check_preparing, extra_bytes
from medseg.inference.prepare import PreparedInput, prepare, prepare_nnunet
from medseg.inference.stream import Block, Progress, Source, plan_stream, stream_blocks
from medseg.inference.windows import plan_windows
from medseg.spatial.case import Case
from medseg.spatial.nnunet import NnunetGrid
from medseg.spatial.resample import grid_with
from medseg.spatial.restore import LabelRestorer
from medseg.spatial.segmentation import Segmentation


@dataclass(frozen=True, slots=True)
class PredictorOptions:
    """How a bundle is run.

    Attributes:
        device: ``auto``, ``cpu`` or ``cuda:N``.
        precision: ``auto`` (fp32), ``fp32``, ``bf16`` or ``fp16``.
        tta: average over mirrored copies along the bundle's ``mirror_axes``.
        memory_limit_bytes: the most that this process may hold while it predicts; None for no limit. It
            changes the way through the volume, never the windows, their overlap or the precision.
        backend: ``auto``, ``torch`` or ``openvino``; see `choose_backend`.
        cache: folder where networks converted for OpenVINO are kept for the next run, which then starts
            seconds sooner; None to keep none.
    """

    device: str = "auto"
    precision: str = "auto"
    tta: bool = False
    memory_limit_bytes: int | None = None
    backend: str = "auto"
    cache: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A case's segmentation, and how it came about.

    Attributes:
        segmentation: on the case's own grid.
        warnings: what a reader of the result should know.
        durations_s: seconds for ``prepare``, ``network`` and ``restore``.
    """

    segmentation: Segmentation
    warnings: tuple[str, ...] = ()
    durations_s: Mapping[str, float] = field(default_factory=dict)


class Predictor:
    """A bundle's network on a device; build it once and use it for many cases.

    Args:
        bundle: as `load_bundle` gives it.
        options: backend, device, precision, test-time augmentation.

    Raises:
        BundleError: the bundle cannot be used, see `resolve_parts`.
        ConfigurationError: no such backend, device or precision, or mirroring where the bundle declares no
            axes.
        InferenceError: the backend asked for cannot run the network.
    """

    def __init__(self, bundle: Bundle, options: PredictorOptions | None = None) -> None:
        self.bundle = bundle
        self.options = options or PredictorOptions()
        self.parts: BundleParts = resolve_parts(bundle)
        if self.options.tta and not self.parts.mirror_axes:
            raise ConfigurationError(
                f"bundle {bundle.name} declares no mirror_axes, so there is no mirrored copy to average; "
                "run it without --tta"
            )
        self._window_bytes: dict[tuple[int, ...], int] = {}
        how = self.options
        self._backend = choose_backend(bundle, self.parts, how.backend, how.device, how.precision, how.cache)

    @property
    def device(self) -> str:
        """The device that the network is on."""
        return str(self._backend.device)

    @property
    def precision(self) -> str:
        """The precision that the network runs at."""
        return self._backend.precision

    @property
    def backend(self) -> str:
        """What runs the network."""
        return self._backend.name

    def predict(self, case: Case, progress: Progress | None = None) -> Prediction:
        """Segments a case on its own grid.

        Args:
            case: the examination; its channels are the bundle's.
            progress: told after each batch of windows.

        Raises:
            InputError: the case lacks a channel.
            InferenceError: the network failed on it.
        """
        clock = _Clock()
        size = self._size(case)
        if self.options.memory_limit_bytes is not None:
            check_preparing(size, self.options.memory_limit_bytes, case.id)
        prepared = self._prepare(case)
        clock.lap("prepare")
        source = "+".join(sorted({v.source for v in case.channels.values() if v.source})) or None
        restorer = LabelRestorer(
            prepared.geometry,
            case.geometry,
            self.bundle.metadata.label_table,
            prepared.slices_along,
            self.parts.paint,
        )
        restore_s = 0.0
        for block in self._blocks(prepared, size, case.id, progress):
            begin = time.perf_counter()
            restorer.add(block.values, block.start, block.stop)
            restore_s += time.perf_counter() - begin
        clock.lap("network")
        segmentation, warnings = self._clean(restorer.finish(source))
        clock.lap("restore")
        laps = clock.laps
        laps |= {"network": laps["network"] - restore_s, "restore": laps["restore"] + restore_s}
        return Prediction(segmentation, warnings, laps)

    def _prepare(self, case: Case) -> PreparedInput:
        grid, channels = self.parts.grid, self.bundle.metadata.channels
        if isinstance(grid, NnunetGrid):
            return prepare_nnunet(case, channels, grid, self.parts.prepare)
        return prepare(case, channels, grid, self.parts.prepare)

    def _size(self, case: Case) -> CaseSize:
        rule = self.parts.grid
        if isinstance(rule, NnunetGrid):
            grid = rule.over(rule.turned(case.geometry))
        else:
            grid = grid_with(case.geometry, rule.spacing_mm, rule.orientation)
        voxels = math.prod(case.geometry.shape)
        highest = max((label.index for label in self.bundle.metadata.label_table), default=0)
        return CaseSize(
            4 * len(self.bundle.metadata.channels) * math.prod(grid.shape),
            np.min_scalar_type(highest).itemsize * voxels,
            voxels,
            self.parts.clean is not None,
        )

    def _bytes_for_sums(self, source: Source, size: CaseSize, case_id: str) -> int | None:
        """What the memory limit leaves for overlapping windows; None without a limit."""
        limit = self.options.memory_limit_bytes
        if limit is None:
            return None
        shape = (min(source.batch_size, len(source.plan.starts)), len(source.volume), *source.plan.roi_size)
        if shape not in self._window_bytes:
            windows = torch.zeros(shape)
            self._window_bytes[shape] = extra_bytes(lambda: self._backend.run(windows, source.mirror_axes))
        return bytes_for_sums(size, self._window_bytes[shape], limit, case_id)

    def _blocks(
        self, prepared: PreparedInput, size: CaseSize, case_id: str, progress: Progress | None
    ) -> Iterator[Block]:
        """Probabilities of the whole prepared volume, block by block."""
        windows = self.parts.windows
        volume = prepared.array[..., 0] if len(windows.roi_size) == 2 else prepared.array
        plan = plan_windows(volume.shape[1:], windows.roi_size, windows.overlap, spread=windows.spread)
        source = Source(
            volume,
            plan,
            WEIGHTS[windows.mode](plan.roi_size),
            windows.batch_size,
            self.parts.mirror_axes if self.options.tta else (),
            self.parts.activation,
        )
        classes = len(self.bundle.metadata.label_table) + 1
        stream = plan_stream(plan, classes, self._bytes_for_sums(source, size, case_id))
        return stream_blocks(source, stream, self._backend, progress)

    def _clean(self, segmentation: Segmentation) -> tuple[Segmentation, tuple[str, ...]]:
        if self.parts.clean is None:
            return segmentation, ()
        cleaned = self.parts.clean.clean(segmentation.labels, segmentation.geometry)
        warnings = tuple(
            f"{count} smaller component{'s' if count > 1 else ''} of "
            f"{segmentation.table.by_index(index).name} removed"
            for index, count in sorted(cleaned.removed.items())
        )
        result = Segmentation(cleaned.labels, segmentation.geometry, segmentation.table, segmentation.source)
        return result, warnings


class _Clock:
    """Seconds between named points."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
