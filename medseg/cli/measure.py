"""``medseg measure``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from medseg.cli.options import add_json, limits_from
from medseg.report.report import NOTICE
from medseg.settings import Settings


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "measure",
        help="measure a segmentation",
        description="Volumes, diameters and intensities per label and instance of a label map.",
    )
    parser.add_argument("segmentation", type=Path, metavar="SEG", help="label map")
    parser.add_argument("--image", type=Path, help="the scan, on the same grid, for intensities and pictures")
    parser.add_argument("-o", "--out", required=True, type=Path, help="folder for the results")
    parser.add_argument("-b", "--bundle", help="bundle whose label names the map uses")
    parser.add_argument(
        "--instances",
        action="store_true",
        help="measure each connected component of every label (with -b: of the labels it counts)",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> tuple[int, Any]:
    """Runs `medseg.workflows.measure`."""
    from medseg.bundle.bundle import load_bundle
    from medseg.bundle.store import find_bundle
    from medseg.workflows.measure import measure_file

    table = None
    if arguments.bundle is not None:
        table = load_bundle(find_bundle(arguments.bundle, settings.bundles)).metadata.label_table
    folder, record = measure_file(
        arguments.segmentation,
        arguments.out,
        image_path=arguments.image,
        table=table,
        instances=arguments.instances,
        limits=limits_from(settings),
    )
    sys.stderr.write(f"report: {folder / 'report.html'}\n{NOTICE}\n")
    return 0, record
