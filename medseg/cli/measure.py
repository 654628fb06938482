"""``medseg measure``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.cli.options import add_json, limits_from
from medseg.errors import ConfigurationError
from medseg.report.report import NOTICE
from medseg.settings import Settings

if TYPE_CHECKING:
    from medseg.workflows.measure import Earlier


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "measure",
        help="measure a segmentation",
        description="Volumes, diameters and intensities per label and instance of a label map.",
    )
    parser.add_argument("segmentation", type=Path, metavar="SEG", help="label map")
    parser.add_argument("--image", type=Path, help="the scan, on the same grid, for intensities and pictures")
    parser.add_argument(
        "--unit", choices=("HU", "SUV"), help="unit of the scans' values, where their files do not tell it"
    )
    parser.add_argument("-o", "--out", required=True, type=Path, help="folder for the results")
    parser.add_argument("-b", "--bundle", help="bundle whose label names the map uses")
    parser.add_argument(
        "--instances",
        action="store_true",
        help="measure each connected component of every label (with -b: of the labels it counts)",
    )
    _add_follow_up(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def _add_follow_up(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("follow-up; measures objects too")
    add = group.add_argument
    add("--recist", action="store_true", help="choose target lesions, sum up their diameters (RECIST 1.1)")
    add("--node-label", action="append", default=[], metavar="LABEL", help="label of lymph nodes, repeatable")
    add("--previous", type=Path, metavar="SEG", help="label map of an earlier examination to compare with")
    add("--previous-image", type=Path, metavar="IMAGE", help="its scan")
    add("--registered", action="store_true",
        help="the two scans lie in one space, whatever their frames of reference say")  # fmt: skip
    add("--match", choices=("overlap", "centre"), help="when two lesions are the same (default: overlap)")
    add("--max-distance-mm", type=float, metavar="MM", help="for --match centre (default: 10)")
    add("--stable-percent", type=float, metavar="PERCENT",
        help="volume change below which a lesion is stable (default: 25)")  # fmt: skip


def run(arguments: argparse.Namespace, settings: Settings) -> tuple[int, Any]:
    """Runs `medseg.workflows.measure`."""
    from medseg.bundle.bundle import load_bundle
    from medseg.bundle.store import find_bundle
    from medseg.spatial.volume import Unit
    from medseg.workflows.measure import MeasureOptions, measure_file

    table = None
    if arguments.bundle is not None:
        table = load_bundle(find_bundle(arguments.bundle, settings.bundles)).metadata.label_table
    options = MeasureOptions(
        image_path=arguments.image,
        image_unit=None if arguments.unit is None else Unit(arguments.unit),
        table=table,
        instances=arguments.instances,
        recist=arguments.recist,
        node_labels=frozenset(arguments.node_label),
        earlier=_earlier(arguments),
        limits=limits_from(settings),
    )
    folder, record = measure_file(arguments.segmentation, arguments.out, options)
    sys.stderr.write(f"report: {folder / 'report.html'}\n{NOTICE}\n")
    return 0, record


def _earlier(arguments: argparse.Namespace) -> Earlier | None:
    from medseg.measure.change import ChangeOptions
    from medseg.measure.pairing import PairingOptions
    from medseg.workflows.measure import Earlier

    said = {
        "--previous-image": arguments.previous_image,
        "--registered": arguments.registered or None,
        "--match": arguments.match,
        "--max-distance-mm": arguments.max_distance_mm,
        "--stable-percent": arguments.stable_percent,
    }
    if arguments.previous is None:
        given = [name for name, value in said.items() if value is not None]
        if given:
            raise ConfigurationError(
                f"{given[0]} goes with --previous, the label map to compare with; add it"
            )
        return None
    if arguments.max_distance_mm is not None and arguments.match != "centre":
        raise ConfigurationError("--max-distance-mm goes with --match centre; add it")
    pairing = PairingOptions(
        by=arguments.match or "overlap",
        max_distance_mm=10.0 if arguments.max_distance_mm is None else arguments.max_distance_mm,
    )
    stable = 25.0 if arguments.stable_percent is None else arguments.stable_percent
    return Earlier(
        arguments.previous, arguments.previous_image, ChangeOptions(arguments.registered, pairing, stable)
    )
