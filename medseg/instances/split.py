"""From a label map to its single objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigurationError, LabelTableError
from medseg.instances.filter import check_volume_option, checked_connectivity, components, is_smaller
from medseg.instances.instance import Instance, InstanceMap
from medseg.instances.necks import NeckOptions, split_at_necks
from medseg.instances.regions import Region, find_regions
from medseg.spatial.segmentation import Segmentation


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How a label map is taken apart.

    Attributes:
        connectivity: 6, 18 or 26 neighbours; 4 or 8 on a grid of one slice.
        watershed: whether touching objects are cut at their necks, see `medseg.instances.necks`.
        neck_ratio: a neck is cut where it is narrower than this share of the smaller object's width, above
            0 to 1. Larger values cut more.
        min_distance_mm: objects whose centres lie closer together stay one; None for no such limit.
        min_volume_mm3: smaller objects are left out, after all cutting.
        all_labels: take all labels apart, not those of kind ``thing`` alone.
        labels: names of the labels to take apart instead; None to go by their kind.

    Raises:
        ConfigurationError: a value outside its range.
    """

    connectivity: int = 26
    watershed: bool = False
    neck_ratio: float = 0.8
    min_distance_mm: float | None = None
    min_volume_mm3: float = 0.0
    all_labels: bool = False
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.neck_ratio <= 1:
            raise ConfigurationError(f"neck_ratio is {self.neck_ratio}; expected above 0 and up to 1")
        if self.min_distance_mm is not None and not self.min_distance_mm >= 0:
            raise ConfigurationError(f"min_distance_mm is {self.min_distance_mm}; expected 0 or more")


def split(segmentation: Segmentation, options: SplitOptions | None = None) -> InstanceMap:
    """The objects of a segmentation: connected components, where asked cut at their necks.

    Args:
        segmentation: any; without a label to take apart the result is empty.
        options: None for the defaults.

    Returns:
        Ids 1 to n without gaps, by label index and then by descending volume; objects of one volume by
        their first voxel in C order. The ids do not depend on how the components were found.

    Raises:
        ConfigurationError: no such connectivity, or an option in millimetres for an unknown pixel size.
        LabelTableError: ``options.labels`` names a label that the table lacks.
    """
    options = options or SplitOptions()
    geometry = segmentation.geometry
    _check_options(segmentation, options)
    chosen = _chosen_indices(segmentation, options)
    wanted = np.isin(segmentation.labels, chosen)
    labels = np.where(wanted, segmentation.labels, 0)
    ids = components(labels, options.connectivity)
    if options.watershed:
        necks = NeckOptions(
            checked_connectivity(options.connectivity, geometry.shape),
            options.neck_ratio,
            options.min_distance_mm or 0.0,
        )
        ids = split_at_necks(ids, geometry, necks)
    flat = labels.reshape(-1)
    found = [(int(flat[region.first]), region) for region in find_regions(ids)]
    if options.min_volume_mm3 > 0:
        found = [pair for pair in found if not is_smaller(pair[1], geometry, options.min_volume_mm3)]
    found.sort(key=lambda pair: (pair[0], -pair[1].voxel_count, pair[1].first))
    instances = tuple(_instance(n, index, region, segmentation) for n, (index, region) in enumerate(found, 1))
    return InstanceMap(_renumbered(ids, found), geometry, instances, segmentation.table)


def _check_options(segmentation: Segmentation, options: SplitOptions) -> None:
    checked_connectivity(options.connectivity, segmentation.geometry.shape)
    check_volume_option(options.min_volume_mm3, segmentation.geometry)
    if options.min_distance_mm and not segmentation.geometry.calibrated:
        raise ConfigurationError(
            "min_distance_mm is given but the pixel size of this image is unknown; store the pixel size in "
            "the file or leave the option out"
        )


def _chosen_indices(segmentation: Segmentation, options: SplitOptions) -> list[int]:
    table = segmentation.table
    if options.labels is not None:
        if options.all_labels:
            raise ConfigurationError("both all_labels and a choice of labels are given; give one of them")
        try:
            return [table.by_name(name).index for name in options.labels]
        except LabelTableError as error:
            raise LabelTableError(f"{error}; choose labels to split from those") from None
    return [label.index for label in table if options.all_labels or label.kind == "thing"]


def _renumbered(ids: NDArray[np.int32], found: list[tuple[int, Region]]) -> NDArray[np.int32]:
    new = np.zeros(int(ids.max()) + 1, dtype=np.int32)
    for number, (_, region) in enumerate(found, start=1):
        new[region.value] = number
    result: NDArray[Any] = new[ids]
    return result


def _instance(number: int, index: int, region: Region, segmentation: Segmentation) -> Instance:
    geometry = segmentation.geometry
    return Instance(
        id=number,
        label=segmentation.table.by_index(index).name,
        voxel_count=region.voxel_count,
        volume_ml=region.volume_ml(geometry),
        centroid_mm=region.centroid_mm(geometry),
        box=region.box,
    )
