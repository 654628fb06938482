"""Components and touching objects: medseg beside SciPy and scikit-image.

    python benchmarks/splitting.py

Prints seconds, the ratio to each peer in this same run (above 1: the peer takes longer) and peak memory of
NumPy's arrays. No time is asserted; the answers are.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.measure import label as skimage_label
from skimage.segmentation import watershed

from medseg.instances.filter import components
from medseg.instances.split import SplitOptions, split
from medseg.phantoms import oblique_geometry, touching_balls
from medseg.spatial import Label, LabelTable, Segmentation


def timed(function: Callable[[], Any], repeats: int = 3) -> tuple[float, float, Any]:
    """Best seconds of some runs, peak MiB of one more, and the result."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return best, peak, result


def show(name: str, ours: tuple[float, float, Any], peers: dict[str, tuple[float, float, Any]]) -> None:
    print(f"{name:34s} medseg {ours[0]:7.3f} s {ours[1]:7.0f} MiB")
    for peer, (seconds, peak, _) in peers.items():
        print(f"{'':34s} {peer:28s} {seconds:7.3f} s {peak:7.0f} MiB   ratio {seconds / ours[0]:5.1f}")


def scipy_watershed(mask: np.ndarray, spacing: tuple[float, ...], radius_mm: float) -> np.ndarray:
    """The recipe of the tutorials, given the true radius: distance map, peaks, markers, watershed."""
    distance = ndimage.distance_transform_edt(mask, sampling=spacing)
    apart = int(radius_mm / max(spacing))
    peaks = peak_local_max(distance, min_distance=apart, labels=mask.astype(int), exclude_border=False)
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, markers, mask=mask)


def main() -> None:
    spacing, radius = (1.0, 1.0, 1.0), 9.0
    geometry = oblique_geometry((134, 134, 134), spacing, (10, 20, 30))
    mask, _ = touching_balls(geometry, (7, 7, 7), radius, overlap_mm=0.8)
    table = LabelTable((Label(1, "ball", kind="thing"),))
    segmentation = Segmentation(mask.astype(np.uint8), geometry, table)

    blobs = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(192, 192, 192)), 3) > 0.02
    ours = timed(lambda: components(blobs, 26))
    peers = {
        "scipy.ndimage.label": timed(lambda: ndimage.label(blobs, np.ones((3, 3, 3)))[0]),
        "skimage.measure.label": timed(lambda: skimage_label(blobs, connectivity=3)),
    }
    assert all(int(result[2].max()) == int(ours[2].max()) for result in peers.values())
    show(f"label 192³, {ours[2].max()} components", ours, peers)

    whole = split(segmentation)
    ours = timed(lambda: split(segmentation, SplitOptions(watershed=True)), repeats=2)
    peers = {
        "scipy EDT + skimage watershed": timed(lambda: scipy_watershed(mask, spacing, radius), repeats=1)
    }
    (recipe,) = peers.values()
    assert len(whole.instances) == 1
    assert len(ours[2].instances) == 343
    print(
        f"343 touching balls in {len(whole.instances)} component: medseg finds {len(ours[2].instances)} "
        f"without being told the radius, the recipe with the radius {recipe[2].max()}"
    )
    show("split at necks, 134³", ours, peers)


if __name__ == "__main__":
    main()
