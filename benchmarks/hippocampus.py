"""Dice of ``hippocampus_mr_unet3d`` on its validation fold, with 95 % intervals: what the model card states.

    python benchmarks/hippocampus.py [--data FOLDER] [--tta] [--json FILE]

FOLDER holds Task04 of the Medical Segmentation Decathlon (imagesTr, labelsTr); by default ``hippocampus``
in the folder that MEDSEG_DATA names. The fold is the part ``validation`` of the bundle's ``datalist.json``,
which training never saw. Intervals: percentile bootstrap over cases, 10,000 draws. For comparison, nnU-Net's
published five-fold means are 0.8975 (anterior), 0.8807 (posterior) and 0.8891 (both).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

import medseg

NAME = "hippocampus_mr_unet3d"
DRAWS = 10_000


def dice(prediction: np.ndarray, reference: np.ndarray, index: int) -> float:
    """2 · |A ∩ B| / (|A| + |B|) of one label."""
    a, b = prediction == index, reference == index
    return 2 * int((a & b).sum()) / (int(a.sum()) + int(b.sum()))


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean over cases."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Prints one line per label, one for their mean, and the time a case takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("MEDSEG_DATA", "../shared/data")) / "hippocampus"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--bundle", default=NAME)
    parser.add_argument("--tta", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    bundle = medseg.load_bundle(medseg.find_bundle(arguments.bundle))
    predictor = medseg.Predictor(bundle, medseg.PredictorOptions(tta=arguments.tta))
    listed = json.loads((bundle.path / "configs" / "datalist.json").read_text())["validation"]
    rows, seconds = [], []
    for item in listed:
        ref = medseg.CaseRef(Path(item["image"]).stem, {"image": (arguments.data / item["image"],)})
        reference = medseg.read_segmentation(arguments.data / item["label"], bundle.label_table)
        begin = time.perf_counter()
        found = predictor.predict(medseg.read_case(ref)).segmentation
        seconds.append(time.perf_counter() - begin)
        rows.append([dice(found.labels, reference.labels, label.index) for label in bundle.label_table])
    values = np.array(rows)
    record = {"cases": len(rows), "tta": arguments.tta}
    columns = [*(label.name for label in bundle.label_table), "mean"]
    for name, column in zip(columns, [*values.T, values.mean(axis=1)], strict=True):
        low, high = interval(column)
        record[name] = {"dice": round(float(column.mean()), 4), "ci95": [round(low, 4), round(high, 4)]}
        print(f"{name:24} Dice {column.mean():.4f}  95 % CI {low:.4f} to {high:.4f}")
    where = f"{predictor.device}, {predictor.precision}"
    print(f"{len(rows)} cases, {np.median(seconds):.2f} s a case on {where}")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
