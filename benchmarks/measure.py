"""Measuring every label of a label map: medseg beside scikit-image.

    python benchmarks/measure.py

Prints seconds, the ratio in this same run (above 1: scikit-image takes longer) and peak memory of NumPy's
arrays. No time is asserted; that both give the same numbers is.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from skimage.measure import regionprops_table

from medseg.instances.regions import find_regions
from medseg.measure.measure import measure
from medseg.phantoms import ellipsoid, oblique_geometry
from medseg.spatial import Geometry, LabelTable, Segmentation, Unit, Volume

PROPERTIES = ("label", "area", "centroid", "bbox", "intensity_mean", "intensity_max", "intensity_min")


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds of one run, peak MiB of another, and the result."""
    start = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - start
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return seconds, peak, result


def organs(shape: tuple[int, int, int], count: int, largest_mm: float) -> tuple[Segmentation, Volume]:
    """Ellipsoids with radii from 4 mm on all over an oblique CT-like grid."""
    geometry: Geometry = oblique_geometry(shape, (0.8, 0.8, 1.0), (4, -6, 9), "LPS")
    random = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint8)
    for index in range(1, count + 1):
        radii = random.uniform(4, largest_mm if index < 12 else 25, 3)
        centre = geometry.to_world(random.uniform(0.15, 0.85, 3) * shape)
        labels[ellipsoid(geometry, centre, radii, tuple(random.uniform(-40, 40, 3)))] = index
    image = random.normal(40, 50, shape).astype(np.int16)
    segmentation = Segmentation(labels, geometry, LabelTable.numbered(range(1, count + 1)))
    return segmentation, Volume(image, geometry, Unit.HU)


def same_numbers(measurements: list[Any], table: dict[str, np.ndarray], geometry: Geometry) -> None:
    ours = {(m.label, m.name): m.value for m in measurements}
    for row, index in enumerate(table["label"]):
        name = f"label_{index}"
        assert ours[name, "voxel_count"] == table["area"][row]
        centre = geometry.to_world([table[f"centroid-{axis}"][row] for axis in range(3)])
        assert np.allclose([ours[name, f"centroid_{axis}_mm"] for axis in "ras"], centre)
        assert np.isclose(ours[name, "intensity_mean"], table["intensity_mean"][row])
        assert ours[name, "intensity_max"] == table["intensity_max"][row]


def main() -> None:
    segmentation, image = organs((512, 512, 300), 117, 60)
    arrays = (segmentation.labels, image.array)
    ours = timed(lambda: measure(segmentation, None, image))
    theirs = timed(lambda: regionprops_table(*arrays, properties=PROPERTIES))
    same_numbers(ours[2], theirs[2], segmentation.geometry)
    print(f"512 × 512 × 300, {len(segmentation.table)} labels; voxel counts, centroids and intensities agree")
    print(f"medseg, all 23 measurements                 {ours[0]:7.2f} s {ours[1]:7.0f} MiB")
    print(
        f"skimage, counts, centroids, intensities     {theirs[0]:7.2f} s {theirs[1]:7.0f} MiB"
        f"   ratio {theirs[0] / ours[0]:.1f}"
    )

    places = timed(lambda: find_regions(segmentation.labels))
    peer = timed(
        lambda: regionprops_table(segmentation.labels, properties=("label", "area", "bbox", "centroid"))
    )
    print(f"medseg, counts, boxes and centroids alone   {places[0]:7.2f} s {places[1]:7.0f} MiB")
    print(
        f"skimage, the same                           {peer[0]:7.2f} s {peer[1]:7.0f} MiB"
        f"   ratio {peer[0] / places[0]:.1f}"
    )

    segmentation, image = organs((70, 70, 50), 4, 12)
    ours = timed(lambda: measure(segmentation, None, image))
    theirs = timed(lambda: regionprops_table(segmentation.labels, properties=("label", "feret_diameter_max")))
    print("70 × 70 × 50, 4 labels with radii up to 12 mm")
    print(f"medseg, all 23 measurements                 {ours[0]:7.2f} s {ours[1]:7.0f} MiB")
    print(
        f"skimage, the longest diameter alone         {theirs[0]:7.2f} s {theirs[1]:7.0f} MiB"
        f"   ratio {theirs[0] / ours[0]:.1f}"
    )


if __name__ == "__main__":
    main()
