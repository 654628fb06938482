"""Peak memory of ``medseg segment`` on large scans with many classes.

    python benchmarks/memory.py                    512 × 512 × 600 voxels, 118 classes, 1.5 mm, within 4 GB
    python benchmarks/memory.py --lengths 150 600  other lengths; how the peak grows with the scan
    python benchmarks/memory.py --limit none       as much as it takes without a limit

Scans of 0.8 × 0.8 × 1 mm are made up of smooth waves; the network is a small U-Net with random weights and
windows of 96³, half overlapping. Each length runs as a whole process, from the file to labels, measurements
and report. For comparison the figure that all classes of all voxels of the prepared volume take in float32,
which is what an inferer holds that adds up the whole volume. Prints peak memory and time; asserts nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.networks.nets import UNet

SPACING = (0.8, 0.8, 1.0)
GRID_MM = 1.5
NETWORK = {"spatial_dims": 3, "in_channels": 1, "channels": [8, 16], "strides": [2], "norm": "INSTANCE"}


def make_bundle(folder: Path, classes: int) -> None:
    """A bundle with one label per class and random weights."""
    torch.manual_seed(0)
    network = UNet(out_channels=classes, **NETWORK)
    weights = folder / "models" / "model.pt"
    weights.parent.mkdir(parents=True)
    torch.save(network.state_dict(), weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    channel = {"type": "image", "format": "magnitude", "modality": "CT", "num_channels": 1}
    metadata = {
        "schema": "none",
        "version": "0.1.0",
        "changelog": {"0.1.0": "first"},
        "monai_version": "1.6.1",
        "pytorch_version": "2.10.0",
        "numpy_version": "2.0.0",
        "task": "memory",
        "description": "A network for a benchmark.",
        "authors": "none",
        "copyright": "none",
        "network_data_format": {
            "inputs": {"image": channel},
            "outputs": {"pred": {"type": "image", "format": "segmentation", "num_channels": classes}},
        },
        "medseg": {
            "schema": 1,
            "modality": "CT",
            "dims": 3,
            "channels": ["image"],
            "labels": [{"index": n, "name": f"label_{n}"} for n in range(1, classes)],
            "weights": {"file": "models/model.pt", "sha256": digest},
            "intended_use": "a benchmark",
            "limits": ["is not trained"],
        },
    }
    config = {
        "device": "cpu",
        "grid": {"orientation": "RAS", "spacing_mm": [GRID_MM] * 3},
        "network_def": {"_target_": "monai.networks.nets.UNet", "out_channels": classes, **NETWORK},
        "prepare": {"_target_": "monai.transforms.NormalizeIntensity", "channel_wise": True},
        "inferer": {
            "_target_": "monai.inferers.SlidingWindowInferer",
            "roi_size": [96, 96, 96],
            "sw_batch_size": 1,
            "overlap": 0.5,
            "mode": "gaussian",
        },
        "activation": {"_target_": "monai.transforms.Activations", "softmax": True, "dim": 0},
    }
    configs = folder / "configs"
    configs.mkdir()
    (configs / "metadata.json").write_text(json.dumps(metadata))
    (configs / "inference.json").write_text(json.dumps(config))


def make_scan(path: Path, length: int) -> None:
    """Waves along each axis, int16."""
    shape = (512, 512, length)
    waves = [300 * np.sin(np.arange(n, dtype=np.float32) / 40) for n in shape]
    values = waves[0][:, None, None] + waves[1][None, :, None] + waves[2][None, None, :]
    values = values.astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([*SPACING, 1.0])), path)


def run(scan: Path, bundle: Path, out: Path, limit: str) -> tuple[float, float]:
    """Seconds and peak GB of one whole process."""
    command = [sys.executable, "-m", "medseg", "segment", str(scan), "-b", str(bundle), "-o", str(out)]
    if limit != "none":
        command += ["--memory-limit", limit]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"medseg segment ended with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begin, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[600])
    parser.add_argument("--classes", type=int, default=118)
    parser.add_argument("--limit", default="4GB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        make_bundle(bundle, arguments.classes)
        for length in arguments.lengths:
            scan = Path(folder) / f"scan_{length}.nii"
            make_scan(scan, length)
            seconds, peak = run(scan, bundle, Path(folder) / f"out_{length}", arguments.limit)
            prepared = np.prod(
                [round(n * s / GRID_MM) for n, s in zip((512, 512, length), SPACING, strict=True)]
            )
            whole = prepared * arguments.classes * 4 / 1e9
            print(
                f"512 × 512 × {length}, {arguments.classes} classes, limit {arguments.limit}: "
                f"peak {peak:.2f} GB, {seconds:.0f} s (all classes of all voxels alone: {whole:.1f} GB)",
                flush=True,
            )


if __name__ == "__main__":
    main()
