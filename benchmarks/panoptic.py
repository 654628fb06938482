"""Panoptic quality: medseg beside panoptica and MONAI, where they are installed.

    python benchmarks/panoptic.py

Prints the best of some interleaved runs from the same two arrays, the ratio in this same run (above 1: the
peer takes longer) and peak memory of NumPy's arrays. No time is asserted; that panoptica gives the same
numbers is. A peer that is not installed is named and left out.
"""

from __future__ import annotations

import importlib
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from medseg.evaluate.panoptic import panoptic_quality
from medseg.instances.match import match_overlaps
from medseg.instances.overlaps import find_overlaps

SIDE = 128
REPEATS = 5
SLOW = 3.0
"""Seconds from which a peer is run once only."""


def spheres(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction: spheres with radii of 4 to 8 voxels; moved by up to 2, a tenth lost."""
    random = np.random.default_rng(seed)
    distance = np.sqrt(((np.indices((17, 17, 17)) - 8) ** 2).sum(axis=0))
    maps = np.zeros((2, SIDE, SIDE, SIDE), np.int32)
    for number in range(1, count + 1):
        centre, radius = random.integers(12, SIDE - 12, 3), random.uniform(4, 8)
        for side, place in enumerate((centre, centre + random.integers(-2, 3, 3))):
            if side == 0 or random.random() < 0.9:
                window = tuple(slice(c - 8, c + 9) for c in place)
                maps[side][window][distance <= radius] = number
    return maps[0], maps[1]


def medseg(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, ...]:
    """PQ, SQ, RQ and the three counts."""
    found = panoptic_quality(match_overlaps(find_overlaps(prediction, reference)))
    counts = (found.true_positives, found.false_positives, found.false_negatives)
    return (found.pq or 0.0, found.sq or 0.0, found.rq or 0.0, *counts)


def panoptica() -> Callable[..., tuple[float, ...]]:
    """The same from panoptica's evaluator, asked for IoU alone."""
    package = importlib.import_module("panoptica")
    metric = importlib.import_module("panoptica.metrics").Metric
    evaluator = package.Panoptica_Evaluator(
        expected_input=package.InputType.UNMATCHED_INSTANCE,
        instance_matcher=package.NaiveThresholdMatching(matching_threshold=0.5),
        instance_metrics=[metric.IOU],
        global_metrics=[],
    )

    def run(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, ...]:
        found = evaluator.evaluate(prediction, reference, verbose=False)
        found = found["ungrouped"] if isinstance(found, dict) else found
        return found.pq, found.sq, found.rq, found.tp, found.fp, found.fn

    return run


def monai() -> Callable[..., tuple[float, ...]]:
    """PQ from MONAI's function, which smooths it by a millionth."""
    torch = importlib.import_module("torch")
    compute = importlib.import_module("monai.metrics").compute_panoptic_quality

    def run(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, ...]:
        sides = [torch.from_numpy(array) for array in (prediction, reference)]
        return (float(compute(*sides, metric_name="pq")),)

    return run


def interleaved(runs: dict[str, Callable[..., Any]], sides: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """Name → (best seconds, result); a slow one runs once."""
    best: dict[str, tuple[float, Any]] = {}
    for _ in range(REPEATS):
        for name, run in runs.items():
            if name in best and best[name][0] > SLOW:
                continue
            start = time.perf_counter()
            result = run(*sides)
            seconds = time.perf_counter() - start
            best[name] = (min(seconds, best.get(name, (np.inf,))[0]), result)
    return best


def peak_mib(run: Callable[..., Any], sides: tuple[np.ndarray, np.ndarray]) -> float:
    tracemalloc.start()
    run(*sides)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return peak


def main() -> None:
    runs: dict[str, Callable[..., Any]] = {"medseg": medseg}
    for name, make in (("panoptica", panoptica), ("monai", monai)):
        try:
            runs[name] = make()
        except ImportError as error:
            print(f"{name} is left out: {error}")
    for count in (50, 200):
        reference, prediction = spheres(count, seed=count)
        sides = prediction, reference
        if count > 50:
            runs.pop("monai", None)  # it grows with the product of the counts
        best = interleaved(runs, sides)
        ours = best["medseg"]
        memory = f"{peak_mib(medseg, sides):5.1f} MiB over {2 * reference.nbytes / 2**20:.0f} MiB of maps"
        pq, _, _, *counts = ours[1]
        print(f"{count} instances, {SIDE}³: PQ {pq:.6f}, TP FP FN {counts}")
        print(f"  {'medseg':10s} {ours[0] * 1000:9.1f} ms  peak {memory}")
        for name, (seconds, result) in best.items():
            if name != "medseg":
                same = np.allclose(
                    result, ours[1][: len(result)], rtol=0, atol=1e-12 if len(result) > 3 else 1e-5
                )
                print(
                    f"  {name:10s} {seconds * 1000:9.1f} ms  ratio {seconds / ours[0]:6.1f}  "
                    f"values {'equal' if same else 'differ: ' + str(result)}"
                )
                assert same or name == "monai", "medseg and panoptica differ"


if __name__ == "__main__":
    main()
