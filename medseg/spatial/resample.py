"""From one grid onto another, by where the voxels lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ConfigurationError, GeometryMismatchError
from medseg.spatial.geometry import Geometry
from medseg.spatial.labels import LabelTable
from medseg.spatial.orientation import reoriented, take_by_index
from medseg.spatial.restore import LabelRestorer, parallel
from medseg.spatial.segmentation import ProbabilityMap, Segmentation
from medseg.spatial.volume import Volume

_SAME_SPACING = 1e-3


def grid_with(geometry: Geometry, spacing_mm: tuple[float, float, float], orientation: str) -> Geometry:
    """A grid over the same part of the patient, with other spacing and other axis order.

    Axes keep the directions of ``geometry`` (an oblique scan gets an oblique grid), the centre stays where
    it is, and each length is rounded to whole voxels, at least one. An axis whose spacing differs from the
    wanted one by less than 0.1 % keeps it, so that such a scan is turned and never interpolated.

    Args:
        geometry: the scan's grid.
        spacing_mm: wanted spacing along the *new* axes, in mm.
        orientation: wanted axis code of the new grid.

    Raises:
        ConfigurationError: a spacing is not positive, or the orientation is no code.
        GeometryMismatchError: the pixel size of ``geometry`` is unknown.
    """
    if not all(np.isfinite(s) and s > 0 for s in spacing_mm) or len(spacing_mm) != 3:
        raise ConfigurationError(f"spacing {spacing_mm} is not three positive lengths in mm")
    turned = reoriented(geometry, orientation)
    have = turned.spacing_mm
    step = [h if abs(h - w) <= _SAME_SPACING * w else w for h, w in zip(have, spacing_mm, strict=True)]
    shape = [max(1, round(n * h / s)) for n, h, s in zip(turned.shape, have, step, strict=True)]
    affine = turned.affine.copy()
    affine[:3, :3] = turned.affine[:3, :3] * (np.array(step) / np.array(have))
    affine[:3, 3] = turned.centre_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(affine, (shape[0], shape[1], shape[2]), geometry.frame_of_reference_uid)


def resample_array(
    array: NDArray[Any], source: Geometry, target: Geometry, *, order: int, fill: float
) -> NDArray[Any]:
    """Values of ``array`` at the voxel centres of ``target``.

    Where the two grids differ only by turning, flipping or cropping, voxels are copied exactly. Otherwise
    spline interpolation of ``order``; up to half a voxel outside the source the edge value holds, beyond it
    ``fill``. Nothing is smoothed before a coarser grid is filled.

    Args:
        array: (i, j, k) on ``source``.
        source: the grid of ``array``.
        target: the grid of the result.
        order: 0 nearest, 1 linear, 3 cubic.
        fill: value outside the source.

    Returns:
        ``target.shape``; the dtype of ``array`` for order 0 and for exact copies, else float32.

    Raises:
        GeometryMismatchError: the array does not have the source's shape, or the frames of reference are
            known and differ.
    """
    _check_pair(array, source, target)
    matrix: NDArray[Any] = np.linalg.solve(source.affine, target.affine)
    copied = take_by_index(array, matrix, target.shape)
    if copied is not None:
        return np.ascontiguousarray(copied)
    dtype = array.dtype if order == 0 else np.dtype(np.float32)
    values: NDArray[Any] = ndimage.affine_transform(
        array if order == 0 else np.asarray(array, np.float32),
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=target.shape,
        output=dtype,
        order=order,
        mode="nearest",
    )
    outside = _outside(matrix, source.shape, target.shape)
    if outside is not None:
        values[outside] = fill
    return values


def resample_volume(volume: Volume, target: Geometry, *, order: int = 1, fill: float = 0.0) -> Volume:
    """A volume on another grid; see `resample_array`. Unit and source stay."""
    array = resample_array(volume.array, volume.geometry, target, order=order, fill=fill)
    return Volume(array, target, volume.unit, volume.source)


def resample_segmentation(segmentation: Segmentation, target: Geometry) -> Segmentation:
    """A label map on another grid by nearest neighbour; outside is background."""
    labels = resample_array(segmentation.labels, segmentation.geometry, target, order=0, fill=0)
    return Segmentation(labels, target, segmentation.table, segmentation.source)


def restore_labels(
    probabilities: ProbabilityMap, target: Geometry, source: str | None = None
) -> Segmentation:
    """The most probable label at each voxel of ``target``.

    Probabilities are interpolated linearly class by class and compared as they come, so that the classes
    never exist on ``target`` all at once. Outside the map is background; ties go to the lower index.

    Args:
        probabilities: (c, i, j, k) on the prepared grid.
        target: the scan's own grid.
        source: what the scan was read from.
    """
    _check_pair(probabilities.array[0], probabilities.geometry, target)
    if not parallel(probabilities.geometry, target):
        return _restored_in_full(probabilities, target, source)
    restorer = LabelRestorer(probabilities.geometry, target, probabilities.table)
    restorer.add(probabilities.array, (0, 0, 0), probabilities.geometry.shape)
    return restorer.finish(source)


def _restored_in_full(probabilities: ProbabilityMap, target: Geometry, source: str | None) -> Segmentation:
    """For grids with other directions, which nothing here makes."""
    table: LabelTable = probabilities.table
    indices = [0, *(label.index for label in table)]
    dtype = np.min_scalar_type(max(indices))
    labels = np.zeros(target.shape, dtype)
    best = resample_array(probabilities.array[0], probabilities.geometry, target, order=1, fill=1.0)
    best = np.array(best, dtype=np.float32)
    for array, index in zip(probabilities.array[1:], indices[1:], strict=True):
        score = resample_array(array, probabilities.geometry, target, order=1, fill=0.0)
        wins = score > best
        labels[wins] = index
        np.copyto(best, score, where=wins)
    return Segmentation(labels, target, table, source)


def _check_pair(array: NDArray[Any], source: Geometry, target: Geometry) -> None:
    if array.shape != source.shape:
        raise GeometryMismatchError(f"the array has shape {array.shape} but its grid has {source.shape}")
    a, b = source.frame_of_reference_uid, target.frame_of_reference_uid
    if a is not None and b is not None and a != b:
        raise GeometryMismatchError(
            "the two grids belong to different frames of reference, so one cannot be resampled onto the "
            "other; register the scans first"
        )
    if source.calibrated != target.calibrated:
        raise GeometryMismatchError("one grid has a known pixel size and the other has not")


def _outside(
    matrix: NDArray[Any], source_shape: tuple[int, ...], target_shape: tuple[int, int, int]
) -> NDArray[np.bool_] | None:
    """Voxels of the target more than half a source voxel outside the source; None where there are none."""
    axes = [np.arange(n, dtype=np.float64) for n in target_shape]
    outside: NDArray[np.bool_] | None = None
    for axis, length in enumerate(source_shape):
        position = (
            matrix[axis, 0] * axes[0][:, None, None]
            + matrix[axis, 1] * axes[1][None, :, None]
            + matrix[axis, 2] * axes[2][None, None, :]
            + matrix[axis, 3]
        )
        beyond = (position < -0.5 - 1e-6) | (position > length - 0.5 + 1e-6)
        if beyond.any():
            outside = beyond if outside is None else outside | beyond
    return outside
