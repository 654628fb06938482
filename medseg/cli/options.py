"""Options that several commands share."""

from __future__ import annotations

import argparse

from medseg.io.limits import Limits
from medseg.settings import Settings


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``: the result on stdout, alone."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device`` and ``--precision``."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default: auto)")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16", "fp16"),
        help="numbers the network computes in (default: auto, which is fp32)",
    )


def limits_from(settings: Settings) -> Limits:
    """What an input may ask for."""
    return Limits(max_voxels=settings.max_voxels, max_array_bytes=settings.max_array_bytes)
