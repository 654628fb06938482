"""Network time and agreement: PyTorch fp32 against OpenVINO fp32 and bf16, in one run.

    taskset -c 1 .venv/bin/python benchmarks/backends.py [--large [--roi 96]] [--rounds 7]

Times alternate between the backends within each round, so that what else runs on the machine meets all of
them alike; the ratios of medians are printed. Without ``--large`` it is the network and the windows of the
shipped bundle on noise; with it an untrained DynUNet of about 31 million parameters.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import torch

import medseg
from medseg.bundle.bundle import resolve_parts
from medseg.inference.backends.openvino_backend import OpenVINOBackend
from medseg.inference.backends.torch_backend import TorchBackend

CHOICES = {"torch fp32": "fp32", "torch bf16": "bf16", "openvino fp32": "fp32", "openvino bf16": "bf16"}


def _large() -> torch.nn.Module:
    from monai.networks.nets import DynUNet

    torch.manual_seed(0)
    return DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=3,
        kernel_size=[3] * 6,
        strides=[1, 2, 2, 2, 2, 2],
        upsample_kernel_size=[2] * 5,
        filters=[32, 64, 128, 256, 320, 320],
        norm_name="INSTANCE",
    ).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--roi", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.large:
        network, roi = _large(), (arguments.roi,) * 3
    else:
        parts = resolve_parts(medseg.load_bundle(medseg.find_bundle("hippocampus_mr_unet3d")))
        network, roi = parts.network, parts.windows.roi_size
    network.requires_grad_(requires_grad=False)
    parameters = sum(p.numel() for p in network.parameters())
    print(f"{parameters / 1e6:.1f} M parameters, windows of {roi}, {torch.get_num_threads()} threads")

    backends = {}
    for name, precision in CHOICES.items():
        begin = time.perf_counter()
        if name.startswith("torch"):
            backends[name] = TorchBackend(network, "cpu", precision)
        else:
            backends[name] = OpenVINOBackend(network, (1, *roi), precision)
            print(f"{name}: converted, compiled and checked in {time.perf_counter() - begin:.1f} s")
    window = torch.randn(1, 1, *roi)
    outputs = {name: backend.run(window) for name, backend in backends.items()}
    times: dict[str, list[float]] = {name: [] for name in backends}
    for _ in range(arguments.rounds):
        for name, backend in backends.items():
            begin = time.perf_counter()
            backend.run(window)
            times[name].append(time.perf_counter() - begin)
    reference, base = outputs["torch fp32"], statistics.median(times["torch fp32"])
    for name, output in outputs.items():
        median = statistics.median(times[name])
        largest = float((output - reference).abs().max() / reference.abs().max())
        alike = float((output.argmax(1) == reference.argmax(1)).double().mean())
        print(
            f"{name:14} median {median:.3f} s, least {min(times[name]):.3f} s, {base / median:.2f} times as "
            f"fast as torch fp32; largest difference {largest:.1e}, {100 * alike:.3f} % of the labels alike"
        )


if __name__ == "__main__":
    main()
