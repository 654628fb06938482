"""Overlap and surface metrics of a pair of label maps: medseg beside its peers.

    python benchmarks/metrics.py            60 labels at 512 × 512 × 300; takes some minutes
    python benchmarks/metrics.py --small    20 labels at 192 × 192 × 120; takes a minute

Each contender runs in a process of its own, one after the other, on the same two maps, every label of them.
medseg computes all scores of `medseg.evaluate.compare`; MONAI HD95, NSD and ASSD; surface-distance its robust
Hausdorff distance, surface Dice and average distance; MedPy hd95 and assd (small run only). Peers that are
not installed are left out and named (``pip install "medseg[peers]"``; MedPy by hand, it is GPL).

Prints seconds, how many times as long as medseg, and the peak of memory beyond the two maps and the imports.
Needs Linux for the memory. No time is asserted; that numbers with the same definition agree is.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SPACING = (0.8, 0.8, 1.0)
TOLERANCE = 1.05
Array = np.ndarray[Any, np.dtype[Any]]
Scores = dict[str, dict[str, float]]


def paint(labels: Array, index: int, centre: Array, radii: Array) -> None:
    """An ellipsoid along the axes, in voxels, over what is there."""
    low = np.maximum(np.floor(centre - radii), 0).astype(int)
    high = np.minimum(np.ceil(centre + radii) + 1, labels.shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    axes = [((np.arange(a, b) - c) / r) ** 2 for a, b, c, r in zip(low, high, centre, radii, strict=True)]
    inside = axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :] <= 1
    labels[box][inside] = index


def pair(shape: tuple[int, int, int], count: int) -> tuple[Array, Array]:
    """Organs of all sizes, and a prediction that is off by about a voxel."""
    random = np.random.default_rng(0)
    reference, prediction = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    largest = 0.2 * min(shape)
    for index in range(1, count + 1):
        radii = random.uniform(0.1, 1 if index < count // 5 else 0.4, 3) * largest + 3
        centre = random.uniform(0.15, 0.85, 3) * shape
        paint(reference, index, centre, radii)
        paint(prediction, index, centre + random.normal(0, 1, 3), radii * random.normal(1, 0.03, 3))
    return prediction, reference


def run_medseg(prediction: Array, reference: Array, threads: int) -> Callable[[], Scores]:
    from medseg.evaluate.compare import CompareOptions, compare
    from medseg.spatial import Geometry, LabelTable, Segmentation

    geometry = Geometry(np.diag([*SPACING, 1.0]), reference.shape)
    table = LabelTable.numbered(np.unique(reference))
    maps = [Segmentation(labels, geometry, table) for labels in (prediction, reference)]
    options = CompareOptions(tolerances_mm=(TOLERANCE,), threads=threads)

    def run() -> Scores:
        scores: Scores = {}
        for score in compare(*maps, options):
            if score.value is not None:
                scores.setdefault(score.label.removeprefix("label_"), {})[score.metric] = score.value
        return scores

    return run


def run_monai(prediction: Array, reference: Array, threads: int) -> Callable[[], Scores]:
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    torch.set_num_threads(threads)
    options: Any = {"include_background": True, "spacing": list(SPACING)}

    def run() -> Scores:
        scores = {}
        for index in np.unique(reference)[1:]:
            masks = [torch.from_numpy(labels == index)[None, None] for labels in (prediction, reference)]
            scores[str(index)] = {
                "hd95_max_mm": float(compute_hausdorff_distance(*masks, percentile=95, **options)),
                f"nsd_{TOLERANCE}mm": float(
                    compute_surface_dice(*masks, class_thresholds=[TOLERANCE], **options)
                ),
                "assd_mm": float(compute_average_surface_distance(*masks, symmetric=True, **options)),
            }
        return scores

    return run


def run_surface_distance(prediction: Array, reference: Array, threads: int) -> Callable[[], Scores]:
    import surface_distance

    _ = threads

    def run() -> Scores:
        scores = {}
        for index in np.unique(reference)[1:]:
            found = surface_distance.compute_surface_distances(
                reference == index, prediction == index, SPACING
            )
            surface_distance.compute_average_surface_distance(found)
            scores[str(index)] = {
                "hd95_surfel_mm": float(surface_distance.compute_robust_hausdorff(found, 95)),
                f"nsd_surfel_{TOLERANCE}mm": float(
                    surface_distance.compute_surface_dice_at_tolerance(found, TOLERANCE)
                ),
            }
        return scores

    return run


def run_medpy(prediction: Array, reference: Array, threads: int) -> Callable[[], Scores]:
    from medpy.metric import binary

    _ = threads

    def run() -> Scores:
        return {
            str(index): {
                "hd95_pooled_mm": float(binary.hd95(prediction == index, reference == index, SPACING)),
                "assd_mm": float(binary.assd(prediction == index, reference == index, SPACING)),
            }
            for index in np.unique(reference)[1:]
        }

    return run


CONTENDERS: dict[str, tuple[str, str, Callable[[Array, Array, int], Callable[[], Scores]]]] = {
    "medseg": ("medseg", "all scores of compare", run_medseg),
    "MONAI": ("monai", "HD95, NSD, ASSD", run_monai),
    "surface-distance": ("surface_distance", "HD95, NSD, ASD", run_surface_distance),
    "MedPy": ("medpy", "hd95, assd", run_medpy),
}


def resident_kib(what: str) -> int:
    """A line of Linux's account of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1])


def contend(name: str, folder: Path, threads: int) -> None:
    """The child's part: one contender on the stored pair; prints JSON."""
    warnings.simplefilter("ignore")
    # surface-distance 0.1 was written for NumPy 1 and asks for this name.
    vars(np).setdefault("Inf", np.inf)
    prediction, reference = np.load(folder / "prediction.npy"), np.load(folder / "reference.npy")
    run = CONTENDERS[name][2](prediction, reference, threads)
    before = resident_kib("VmRSS")
    # Linux forgets the peak so far: loading is not what is measured.
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    scores = run()
    seconds = time.perf_counter() - start
    peak = resident_kib("VmHWM")
    print(json.dumps({"seconds": seconds, "mib": (peak - before) / 1024, "scores": scores}))


def check_agreement(ours: Scores, theirs: Scores) -> int:
    """How many numbers both have; all must be equal."""
    compared = 0
    for label, metrics in theirs.items():
        for metric, value in metrics.items():
            assert np.isclose(ours[label][metric], value, rtol=1e-4, atol=1e-5), (label, metric)
            compared += 1
    return compared


def semantic(small: bool, threads: int) -> None:
    shape, count = ((192, 192, 120), 20) if small else ((512, 512, 300), 60)
    with tempfile.TemporaryDirectory() as folder:
        prediction, reference = pair(shape, count)
        np.save(Path(folder) / "prediction.npy", prediction)
        np.save(Path(folder) / "reference.npy", reference)
        maps_mib = (prediction.nbytes + reference.nbytes) / 2**20
        found = len(np.unique(reference)) - 1
        del prediction, reference
        size = " × ".join(map(str, shape))
        print(f"{size}, {found} labels, two maps of {maps_mib:.0f} MiB, {threads} threads")
        results: dict[str, Any] = {}
        for name, (module, what, _) in CONTENDERS.items():
            if importlib.util.find_spec(module) is None:
                print(f"{name:17} not installed, left out")
                continue
            if name == "MedPy" and not small:
                print(f"{name:17} left out: it would take hours; see --small")
                continue
            command = [sys.executable, __file__, "--contend", name, folder, "--threads", str(threads)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results[name] = json.loads(out.splitlines()[-1])
            report(name, what, results, maps_mib)


def report(name: str, what: str, results: dict[str, Any], maps_mib: float) -> None:
    ours, it = results["medseg"], results[name]
    agreed = "" if it is ours else f"; {check_agreement(ours['scores'], it['scores'])} numbers agree"
    print(
        f"{name:17} {what:24} {it['seconds']:8.2f} s {it['seconds'] / ours['seconds']:7.1f} ×"
        f"   {it['mib']:6.0f} MiB beyond the maps: peak {1 + it['mib'] / maps_mib:.1f} × the maps{agreed}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a quick run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--contend", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contend:
        contend(arguments.contend[0], Path(arguments.contend[1]), arguments.threads)
    else:
        semantic(arguments.small, arguments.threads)


if __name__ == "__main__":
    main()
