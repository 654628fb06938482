"""nnU-Net's way onto its grid and back, for bundles that run in stock MONAI.

The same functions of `medseg.spatial` as in ``medseg segment``, so both give one label map.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform

from medseg.errors import GeometryMismatchError
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import LabelTable
from medseg.spatial.nnunet import NnunetGrid, prepared_arrays
from medseg.spatial.restore import LabelRestorer

_AFFINE = "affine"
_SOURCE_AFFINE = "medseg_source_affine"
_SOURCE_SHAPE = "medseg_source_shape"
_SLICES_ALONG = "medseg_slices_along"


class ToNnunetGridd(MapTransform):
    """Prepares images as nnU-Net does: turned, cropped to what is not zero, normalised, resampled.

    Args:
        keys: entries that hold a ``MetaTensor`` of (c, i, j, k) with an affine in RAS+ mm.
        grid: the bundle's entry ``grid``, with ``rule: nnunet``.
        transform: intensities, (c, i, j, k) in and out.
    """

    def __init__(
        self,
        keys: Hashable | Sequence[Hashable],
        grid: Mapping[str, Any],
        transform: Callable[[Any], Any],
    ) -> None:
        super().__init__(keys)
        first, second, third = grid["transpose"]
        depth, height, width = grid["spacing_mm"]
        self.grid = NnunetGrid(
            grid["orientation"],
            (first, second, third),
            (depth, height, width),
            grid["order"],
            grid["separate"],
            grid["in_pixels"],
        )
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The entries on nnU-Net's grid, float32; others as they were.

        Raises:
            GeometryMismatchError: an entry has no affine of its own.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._prepared(result[key])
        return result

    def _prepared(self, image: MetaTensor) -> MetaTensor:
        if not isinstance(image, MetaTensor):
            raise GeometryMismatchError("the image carries no affine; load it with LoadImaged first")
        source = Geometry(image.affine.numpy(), tuple(image.shape[1:]))
        found = prepared_arrays(
            list(image.numpy()),
            source,
            self.grid,
            lambda stacked: torch.as_tensor(self.transform(torch.from_numpy(stacked))).numpy(),
        )
        meta = {key: value for key, value in image.meta.items() if key != _AFFINE}
        meta |= {_SOURCE_AFFINE: source.affine.copy(), _SOURCE_SHAPE: list(source.shape)}
        meta[_SLICES_ALONG] = -1 if found.slices_along is None else found.slices_along
        return MetaTensor(
            torch.from_numpy(found.arrays), affine=torch.tensor(found.geometry.affine), meta=meta
        )


class RestoreNnunetLabelsd(MapTransform):
    """From the network's outputs on nnU-Net's grid to a label map on the scan's own grid.

    Args:
        keys: entries that hold outputs, (c, i, j, k).
        reference: the entry that went through `ToNnunetGridd`.
        paint: label that each channel paints, in this order, where it exceeds 0; None where the channel with
            the highest value wins.
    """

    def __init__(
        self, keys: Hashable | Sequence[Hashable], reference: Hashable, paint: Sequence[int] | None = None
    ) -> None:
        super().__init__(keys)
        self.reference = reference
        self.paint = paint

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The entries as (1, i, j, k) label maps with the scan's affine; others as they were."""
        result = dict(data)
        image = result[self.reference]
        prepared = Geometry(image.affine.cpu().numpy(), tuple(image.shape[1:]))
        affine = np.asarray(image.meta[_SOURCE_AFFINE], dtype=np.float64).reshape(4, 4)
        shape = [int(n) for n in np.asarray(image.meta[_SOURCE_SHAPE]).ravel()]
        own = Geometry(affine, (shape[0], shape[1], shape[2]))
        along = int(image.meta[_SLICES_ALONG])
        dropped = (_AFFINE, _SOURCE_AFFINE, _SOURCE_SHAPE, _SLICES_ALONG)
        meta = {key: value for key, value in image.meta.items() if key not in dropped}
        for key in self.key_iterator(result):
            array = torch.as_tensor(result[key]).float().cpu().numpy()
            table = LabelTable.numbered(sorted(self.paint or range(1, array.shape[0])))
            restorer = LabelRestorer(prepared, own, table, None if along < 0 else along, self.paint)
            restorer.add(array, (0, 0, 0), prepared.shape)
            tensor = torch.from_numpy(np.array(restorer.finish().labels))[None]
            result[key] = MetaTensor(tensor, affine=torch.tensor(own.affine), meta=meta)
        return result
