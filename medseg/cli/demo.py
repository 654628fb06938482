"""``medseg demo``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from medseg.cli.options import add_json, limits_from
from medseg.cli.progress import ProgressBars
from medseg.cli.segment import close
from medseg.settings import Settings


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo",
        help="the main job on a real scan",
        description="Segments both hippocampi of the ICBM152 template that the nilearn package ships.",
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("medseg-demo"), help="folder for the results")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> tuple[int, Any]:
    """Runs `medseg.workflows.demo` and prints where the reports lie."""
    from medseg.workflows.demo import demo

    with ProgressBars() as bars:
        results = demo(arguments.out, settings.bundles, limits_from(settings), bars, settings.cache)
    code, record = close(results, arguments.out)
    for result in results:
        if result.folder is not None:
            sys.stderr.write(f"report: {(result.folder / 'report.html').resolve()}\n")
    return code, record
