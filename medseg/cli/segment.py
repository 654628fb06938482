"""``medseg segment``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.cli.options import add_device, add_json, limits_from
from medseg.cli.progress import ProgressBars
from medseg.errors import MedsegError
from medseg.report.report import NOTICE
from medseg.settings import Settings

if TYPE_CHECKING:
    from medseg.workflows.outputs import CaseResult

_SOME_FAILED = 7
_SUFFIXES = {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha"}


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "segment", help="segment scans with a bundle", description="Segment scans with a bundle."
    )
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="image file, DICOM folder, or folder of cases"
    )
    parser.add_argument("-b", "--bundle", required=True, help="name or folder of the bundle")
    parser.add_argument("-o", "--out", required=True, type=Path, help="folder for the results")
    parser.add_argument(
        "--format", default="nifti", choices=sorted(_SUFFIXES), help="of the label maps (default: nifti)"
    )
    parser.add_argument(
        "--backend",
        default="auto",
        choices=("auto", "torch", "openvino"),
        help="what runs the network (default: auto, openvino on a CPU where it can, else torch)",
    )
    parser.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="most memory to hold, such as 4GB; a scan that needs more is refused",
    )
    parser.add_argument("--tta", action="store_true", help="average over mirrored copies (slower)")
    add_device(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> tuple[int, Any]:
    """Runs `medseg.workflows.segment` with bars and a closing line."""
    from medseg.bundle.bundle import load_bundle
    from medseg.bundle.store import find_bundle
    from medseg.inference.memory import parse_bytes
    from medseg.inference.predictor import PredictorOptions
    from medseg.workflows.segment import SegmentOptions, segment

    bundle = load_bundle(find_bundle(arguments.bundle, settings.bundles))
    options = SegmentOptions(
        predictor=PredictorOptions(
            arguments.device,
            arguments.precision,
            arguments.tta,
            None if arguments.memory_limit is None else parse_bytes(arguments.memory_limit),
            arguments.backend,
            settings.cache,
        ),
        limits=limits_from(settings),
        suffix=_SUFFIXES[arguments.format],
    )
    with ProgressBars() as bars:
        results = segment(arguments.inputs, bundle, arguments.out, options, bars)
    return close(results, arguments.out)


def close(results: list[CaseResult], out: Path) -> tuple[int, Any]:
    """Prints how the run ended; gives the exit code and the result for ``--json``."""
    failed = [result for result in results if result.failed]
    record = {"out": str(out), "cases": [result.record() for result in results]}
    if len(results) == 1 and failed:
        error = failed[0].error
        return (error.exit_code if isinstance(error, MedsegError) else 1), record
    for result in results:
        for warning in result.warnings:
            sys.stderr.write(f"{result.case_id}: {warning}\n")
    meant = [result for result in results if not result.skipped]
    sys.stderr.write(f"{len(meant) - len(failed)} of {len(meant)} cases done; results in {out}\n")
    sys.stderr.write(NOTICE + "\n")
    return (_SOME_FAILED if failed else 0), record
