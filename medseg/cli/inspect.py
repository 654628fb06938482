"""``medseg inspect``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from medseg.cli.options import add_json, limits_from
from medseg.settings import Settings


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "inspect",
        help="say what lies at a path",
        description="Series and images at a path: geometry, a verdict on each, and the bundles that fit.",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="file or folder")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> tuple[int, Any]:
    """Runs `medseg.workflows.inspect`."""
    from medseg.bundle.store import list_bundles
    from medseg.workflows.inspect import inspect

    record = inspect(arguments.path, list_bundles(settings.bundles), limits_from(settings))
    if not arguments.json:
        _print(record)
    return 0, record


def _print(record: dict[str, Any]) -> None:
    for series in record["series"]:
        shape = " × ".join(map(str, series["shape"])) if series["shape"] else "-"
        steps = " × ".join(f"{s:.4g}" for s in series["spacing_mm"]) if series["spacing_mm"] else "-"
        title = series["description"] or series["uid"] or ""
        sys.stdout.write(
            f"{series['verdict']:8} {series['modality'] or '-':4} {shape} at {steps} mm  {title}\n"
        )
        for reason in series["reasons"]:
            sys.stdout.write(f"         {reason}\n")
        if series["bundles"]:
            sys.stdout.write(f"         bundles: {', '.join(series['bundles'])}\n")
    for what, count in record["other"].items():
        sys.stdout.write(f"other    {what}: {count}\n")
