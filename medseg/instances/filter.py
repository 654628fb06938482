"""Cleaning a label map: components, the largest of them, small ones, holes.

Arrays come in as they are and stay as they are; every function returns a new array of the same dtype.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import cc3d
import fill_voids
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ConfigurationError, InputError
from medseg.instances.regions import Region, find_regions
from medseg.spatial.geometry import Geometry

_CONNECTIVITIES = (6, 18, 26)
_PLANE_CONNECTIVITIES = {4: 6, 8: 26}


def components(labels: NDArray[Any], connectivity: int = 26) -> NDArray[np.int32]:
    """Numbers the connected components of a mask or of each label of a label map.

    Voxels of different labels never belong to one component.

    Args:
        labels: (i, j, k) boolean or integer, no negative values; 0 is background.
        connectivity: 6 (faces), 18 (and edges) or 26 (and corners); 4 or 8 where there is one slice only.

    Returns:
        (i, j, k) int32, 1 to n in no promised order; more than 65,535 components are allowed.

    Raises:
        ConfigurationError: no such connectivity.
        InputError: not a three-dimensional array of integers.
    """
    _check_labels(labels)
    writeable = np.require(labels, requirements=["C", "W"])  # cc3d takes no read-only buffer
    found = cc3d.connected_components(
        writeable, connectivity=checked_connectivity(connectivity, labels.shape)
    )
    return np.asarray(found).astype(np.int32, copy=False)


def keep_largest(
    labels: NDArray[Any], indices: Iterable[int] | None = None, connectivity: int = 26
) -> tuple[NDArray[Any], dict[int, int]]:
    """Keeps the largest component of each label; the others become background.

    Of components of one size the one with the first voxel in C order stays.

    Args:
        labels: (i, j, k) boolean or integer.
        indices: which labels; None for all. The rest stay untouched.
        connectivity: see `components`.

    Returns:
        The label map, and for each label that lost components how many.

    Raises:
        ConfigurationError: no such connectivity.
        InputError: not a three-dimensional array of integers.
    """
    wanted = None if indices is None else {int(i) for i in indices}
    ids, regions = _labelled_components(labels, connectivity)
    largest: dict[int, Region] = {}
    for index, region in regions:
        best = largest.get(index)
        if best is None or (-region.voxel_count, region.first) < (-best.voxel_count, best.first):
            largest[index] = region
    dropped = [
        (index, region)
        for index, region in regions
        if (wanted is None or index in wanted) and region is not largest[index]
    ]
    return _without(labels, ids, dropped)


def remove_small(
    labels: NDArray[Any],
    geometry: Geometry,
    min_volume_mm3: float | Mapping[int, float],
    connectivity: int = 26,
) -> tuple[NDArray[Any], dict[int, int]]:
    """Removes components smaller than a volume.

    Args:
        labels: (i, j, k) boolean or integer.
        geometry: where the voxels lie.
        min_volume_mm3: components below it go; one number for all labels, or one per label index (labels
            that it does not name stay untouched).
        connectivity: see `components`.

    Returns:
        The label map, and for each label that lost components how many.

    Raises:
        ConfigurationError: no such connectivity, a volume below 0, or an unknown pixel size.
        InputError: not a three-dimensional array of integers, or not of the geometry's shape.
    """
    check_volume_option(min_volume_mm3, geometry)
    _check_labels(labels)
    if labels.shape != geometry.shape:
        raise InputError(f"the label map has shape {labels.shape} but its grid has {geometry.shape}")
    ids, regions = _labelled_components(labels, connectivity)
    dropped: list[tuple[int, Region]] = []
    for index, region in regions:
        limit = min_volume_mm3.get(index, 0.0) if isinstance(min_volume_mm3, Mapping) else min_volume_mm3
        if limit > 0 and is_smaller(region, geometry, limit):
            dropped.append((index, region))
    return _without(labels, ids, dropped)


def fill_holes(
    labels: NDArray[Any], indices: Iterable[int] | None = None, slice_axis: int | None = None
) -> NDArray[Any]:
    """Fills background that a label encloses with that label.

    Voxels of other labels are never overwritten. Where labels are nested, a hole goes to the innermost one.
    Background counts as enclosed where no path over voxel faces leads to the edge of the image.

    Args:
        labels: (i, j, k) boolean or integer.
        indices: which labels; None for all.
        slice_axis: None to fill in three dimensions; 0, 1 or 2 to fill each slice along that array axis
            for itself. An image of one slice is always filled in its plane.

    Raises:
        ConfigurationError: no such axis.
        InputError: not a three-dimensional array of integers.
    """
    _check_labels(labels)
    if slice_axis not in {None, 0, 1, 2}:
        raise ConfigurationError(f"slice_axis is {slice_axis}; expected None, 0, 1 or 2")
    wanted = None if indices is None else {int(i) for i in indices}
    axis = 2 if slice_axis is None and labels.shape[2] == 1 else slice_axis
    holes: list[tuple[int, int, Region, NDArray[np.bool_]]] = []
    for region in find_regions(labels):
        if wanted is not None and region.value not in wanted:
            continue
        mask = labels[region.slices] == region.value
        filled = _filled(mask, axis)
        if (added := filled & (labels[region.slices] == 0)).any():
            holes.append((int(filled.sum()), region.value, region, added))
    result = labels.copy()
    for _, value, region, added in sorted(holes, key=lambda hole: hole[:2]):
        part = result[region.slices]
        part[added & (part == 0)] = value
    return result


def checked_connectivity(connectivity: int, shape: tuple[int, ...]) -> int:
    """The three-dimensional connectivity that is meant, 6, 18 or 26.

    Raises:
        ConfigurationError: no such connectivity for a grid of this shape.
    """
    if connectivity in _CONNECTIVITIES:
        return connectivity
    if connectivity in _PLANE_CONNECTIVITIES and shape[2] == 1:
        return _PLANE_CONNECTIVITIES[connectivity]
    raise ConfigurationError(
        f"connectivity {connectivity} is not valid for a grid of shape {tuple(shape)}; expected 6, 18 or 26, "
        "or 4 or 8 for a single slice"
    )


def check_volume_option(min_volume_mm3: float | Mapping[int, float], geometry: Geometry) -> None:
    """Refuses a smallest volume that means nothing on this grid.

    Raises:
        ConfigurationError: a volume that is negative or not finite, or in mm³ without a pixel size.
    """
    limits = list(min_volume_mm3.values()) if isinstance(min_volume_mm3, Mapping) else [min_volume_mm3]
    if not all(np.isfinite(limit) and limit >= 0 for limit in limits):
        raise ConfigurationError(f"min_volume_mm3 is {min_volume_mm3}; expected finite volumes of 0 or more")
    if any(limit > 0 for limit in limits) and not geometry.calibrated:
        raise ConfigurationError(
            "min_volume_mm3 is given but the pixel size of this image is unknown; store the pixel size in "
            "the file or leave the option out"
        )


def is_smaller(region: Region, geometry: Geometry, min_volume_mm3: float) -> bool:
    """Whether the region lies below the volume; one that equals it up to rounding does not."""
    return region.voxel_count * geometry.voxel_volume_mm3 < min_volume_mm3 * (1 - 1e-9)


def _labelled_components(
    labels: NDArray[Any], connectivity: int
) -> tuple[NDArray[np.int32], list[tuple[int, Region]]]:
    """The component map, and each component with its label index."""
    ids = components(labels, connectivity)
    flat = labels.reshape(-1)
    return ids, [(int(flat[region.first]), region) for region in find_regions(ids)]


def _without(
    labels: NDArray[Any], ids: NDArray[np.int32], dropped: list[tuple[int, Region]]
) -> tuple[NDArray[Any], dict[int, int]]:
    """The labels without some components, and how many went per label index."""
    if not dropped:
        return labels.copy(), {}
    keep = np.ones(int(ids.max()) + 1, dtype=labels.dtype)
    keep[[region.value for _, region in dropped]] = 0
    removed = Counter(index for index, _ in dropped)
    return labels * keep[ids], dict(sorted(removed.items()))


def _filled(mask: NDArray[np.bool_], slice_axis: int | None) -> NDArray[np.bool_]:
    if slice_axis is None:
        # One voxel of margin, so that a crop that is one voxel thick is no special case.
        return np.asarray(fill_voids.fill(np.pad(mask, 1)))[1:-1, 1:-1, 1:-1].astype(bool)
    filled = np.empty_like(mask)
    for source, target in zip(
        np.moveaxis(mask, slice_axis, 0), np.moveaxis(filled, slice_axis, 0), strict=True
    ):
        target[...] = ndimage.binary_fill_holes(source)
    return filled


def _check_labels(labels: NDArray[Any]) -> None:
    if labels.ndim != 3 or labels.dtype.kind not in "bui":
        raise InputError(
            f"a label map of shape {labels.shape} and type {labels.dtype} was given; expected three axes "
            "(i, j, k) of booleans or integers"
        )
