"""The transforms that stock MONAI lacks and our bundles name: onto the bundle's grid, back, and clean-up.

The geometry is `medseg.spatial.resample` in both routes, so a bundle gives one label map whether it runs
through ``medseg segment`` or through ``python -m monai.bundle run``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray

from medseg.errors import ConfigurationError, GeometryMismatchError
from medseg.instances.filter import fill_holes, keep_largest, remove_small
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import LabelTable
from medseg.spatial.resample import grid_with, resample_array, restore_labels
from medseg.spatial.segmentation import ProbabilityMap

_AFFINE = "affine"
_SOURCE_AFFINE = "medseg_source_affine"
_SOURCE_SHAPE = "medseg_source_shape"


class ToGridd(MapTransform):
    """Puts images or label maps onto the bundle's grid; the scan's own grid stays in their metadata.

    Args:
        keys: entries that hold a ``MetaTensor`` of (c, i, j, k) with an affine in RAS+ mm.
        orientation: axis code of the bundle's grid.
        spacing_mm: spacing along its axes.
        labels: keys that hold label maps; these are taken by nearest neighbour, all others linearly.

    Raises:
        GeometryMismatchError: an entry has no affine of its own, or one that no grid can have.
    """

    def __init__(
        self,
        keys: Hashable | Sequence[Hashable],
        orientation: str,
        spacing_mm: Sequence[float],
        labels: Sequence[Hashable] = (),
    ) -> None:
        super().__init__(keys)
        self.orientation = orientation
        self.spacing_mm = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
        self.labels = tuple(labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The entries on the new grid, float32; others as they were."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._onto_grid(result[key], order=0 if key in self.labels else 1)
        return result

    def _onto_grid(self, image: MetaTensor, order: int) -> MetaTensor:
        if not isinstance(image, MetaTensor):
            raise GeometryMismatchError("the image carries no affine; load it with LoadImaged first")
        source = Geometry(image.affine.numpy(), tuple(image.shape[1:]))
        target = grid_with(source, self.spacing_mm, self.orientation)
        moved = [
            np.asarray(resample_array(channel, source, target, order=order, fill=0.0), np.float32)
            for channel in image.numpy()
        ]
        meta = {key: value for key, value in image.meta.items() if key != _AFFINE}
        meta |= {_SOURCE_AFFINE: source.affine.copy(), _SOURCE_SHAPE: list(source.shape)}
        return MetaTensor(torch.from_numpy(np.stack(moved)), affine=torch.tensor(target.affine), meta=meta)


class RestoreLabelsd(MapTransform):
    """From probabilities on the bundle's grid to a label map on the scan's own grid.

    Args:
        keys: entries that hold probabilities, (c, i, j, k).
        reference: the entry that went through `ToGridd`.
        clean: clean-up of the label map, or None.
    """

    def __init__(
        self,
        keys: Hashable | Sequence[Hashable],
        reference: Hashable,
        clean: CleanLabels | None = None,
    ) -> None:
        super().__init__(keys)
        self.reference = reference
        self.clean = clean

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The entries as (1, i, j, k) label maps with the scan's affine; others as they were."""
        result = dict(data)
        image = result[self.reference]
        prepared = Geometry(image.affine.cpu().numpy(), tuple(image.shape[1:]))
        affine = np.asarray(image.meta[_SOURCE_AFFINE], dtype=np.float64).reshape(4, 4)
        shape = [int(n) for n in np.asarray(image.meta[_SOURCE_SHAPE]).ravel()]
        own = Geometry(affine, (shape[0], shape[1], shape[2]))
        for key in self.key_iterator(result):
            array = torch.as_tensor(result[key]).float().cpu().numpy()
            table = LabelTable.numbered(range(1, array.shape[0]))
            labels = restore_labels(ProbabilityMap(array, prepared, table), own).labels
            if self.clean is not None:
                labels = self.clean(labels, own)
            meta = {k: v for k, v in image.meta.items() if k not in (_AFFINE, _SOURCE_AFFINE, _SOURCE_SHAPE)}
            tensor = torch.from_numpy(np.ascontiguousarray(labels))[None]
            result[key] = MetaTensor(tensor, affine=torch.tensor(own.affine), meta=meta)
        return result


class Applyd(MapTransform):
    """Applies one array transform to entries; how a stock pipeline runs the bundle's shared parts.

    Args:
        keys: entries that hold an array or tensor.
        transform: array in, array out.
    """

    def __init__(self, keys: Hashable | Sequence[Hashable], transform: Callable[[Any], Any]) -> None:
        super().__init__(keys)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The entries transformed; others as they were."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A cleaned label map, and how many components each step took away per label index."""

    labels: NDArray[Any]
    removed: Mapping[int, int]


@dataclass(frozen=True)
class CleanLabels:
    """Clean-up of a label map on the scan's own grid, in this order.

    Attributes:
        keep_largest: label indices of which only the largest component stays.
        min_volume_mm3: components below this volume go; for all labels.
        fill_holes: whether background enclosed by one label becomes that label.
        connectivity: 6, 18 or 26 neighbours (4 or 8 on a grid of one slice).
    """

    keep_largest: Sequence[int] = ()
    min_volume_mm3: float = 0.0
    fill_holes: bool = False
    connectivity: int = 26

    def __post_init__(self) -> None:
        if self.min_volume_mm3 < 0:
            raise ConfigurationError(f"min_volume_mm3 is {self.min_volume_mm3}; expected 0 or more")

    def __call__(self, labels: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
        """The cleaned label map, (i, j, k); the input stays as it was."""
        return self.clean(labels, geometry).labels

    def clean(self, labels: NDArray[Any], geometry: Geometry) -> Cleaned:
        """The cleaned label map with the number of components that went, per label index."""
        removed: dict[int, int] = {}
        if self.keep_largest:
            labels, gone = keep_largest(labels, self.keep_largest, self.connectivity)
            _add(removed, gone)
        if self.min_volume_mm3 > 0:
            labels, gone = remove_small(labels, geometry, self.min_volume_mm3, self.connectivity)
            _add(removed, gone)
        if self.fill_holes:
            labels = fill_holes(labels)
        return Cleaned(labels, removed)


def _add(total: dict[int, int], more: Mapping[int, int]) -> None:
    for index, count in more.items():
        if count:
            total[index] = total.get(index, 0) + count
