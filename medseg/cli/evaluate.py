"""``medseg evaluate``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.cli.options import add_json, limits_from
from medseg.cli.progress import ProgressBars
from medseg.errors import ConfigurationError
from medseg.report.report import NOTICE
from medseg.settings import Settings

if TYPE_CHECKING:
    from medseg.workflows.compare_pair import PairOptions
    from medseg.workflows.evaluate import Evaluated

_SOME_FAILED = 7
_SHOWN = ("dice", "nsd", "hd95_max_mm", "pq")


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "evaluate",
        help="compare predictions with references",
        description="Compare label maps with references: scores, statistics and a report.",
    )
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="label map, or folder of them")
    parser.add_argument("references", type=Path, metavar="REFERENCES", help="label map, or folder of them")
    parser.add_argument("-o", "--out", required=True, type=Path, help="folder for the results")
    _add_labels(parser)
    _add_objects(parser)
    _add_statistics(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def _add_labels(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("label maps")
    add = group.add_argument
    add("--tolerance-mm", type=float, action="append", metavar="MM",
        help="tolerance of the surface Dice, repeatable (default: 1)")  # fmt: skip
    add("--boundary-mm", type=float, default=1.0, metavar="MM", help="width for boundary IoU (default: 1)")
    add("--tubular", action="append", default=[], metavar="LABEL", help="label that gets centreline Dice")
    add("-b", "--bundle", help="bundle whose label names both sides use")
    add("--labels", type=Path, metavar="FILE",
        help="YAML or JSON, index: name, or such a mapping each under prediction and reference")  # fmt: skip
    add("--suffix", action="append", default=[], metavar="TEXT",
        help="end of file names that is no part of the case's id, such as _seg")  # fmt: skip
    add("--resample", action="store_true",
        help="bring predictions on another grid onto the reference's instead of refusing them")  # fmt: skip
    add("--images", type=Path, metavar="PATH", help="scans, for the pictures of the worst cases")
    add("--threads", type=int, default=2, help="labels compared at a time (default: 2)")


def _add_objects(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("objects")
    add = group.add_argument
    add("--instances", action="store_true", help="also score the connected components of the labels")
    add("--instance-maps", action="store_true", help="the files hold one id per object; score these")
    add("--match", default="greedy", choices=("greedy", "optimal", "overlap", "distance"),
        help="when two objects are the same, for recall and so on (default: greedy by IoU)")  # fmt: skip
    add("--min-iou", type=float, default=0.5, help="IoU above which they are (default: 0.5)")
    add("--max-distance-mm", type=float, metavar="MM", help="for --match distance")
    add("--dilation", type=int, default=3, metavar="STEPS",
        help="of the lesion-wise scores: within it lesions are one (default: 3)")  # fmt: skip
    add("--min-lesion-mm3", type=float, default=50.0, metavar="MM3",
        help="of the lesion-wise scores: lesions up to it are not scored (default: 50)")  # fmt: skip


def _add_statistics(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("statistics")
    add = group.add_argument
    add("--compare", type=Path, metavar="PREDICTIONS", help="a second model's, tested against the first's")
    add("--cases", type=Path, metavar="CSV",
        help="case_id, patient_id (what the bootstrap draws) and attributes to group by")  # fmt: skip
    add("--penalty", action="append", default=[], metavar="METRIC=VALUE",
        help="what a miss counts where it has no value (default: in mm the grid's diagonal)")  # fmt: skip
    add("--draws", type=int, default=10_000, help="of the bootstrap (default: 10000)")
    add("--seed", type=int, default=0, help="of the bootstrap (default: 0)")


def run(arguments: argparse.Namespace, settings: Settings) -> tuple[int, Any]:
    """Runs `medseg.workflows.evaluate` and prints the main numbers."""
    from medseg.evaluate.aggregate import AggregateOptions
    from medseg.report.evaluation_data import evaluation_record
    from medseg.workflows.evaluate import EvaluateOptions, evaluate

    options = EvaluateOptions(
        pair=_pair_options(arguments, settings),
        aggregate=AggregateOptions(_penalties(arguments.penalty), arguments.draws, arguments.seed),
        suffixes=tuple(arguments.suffix),
        images=arguments.images,
        cases=arguments.cases,
        other=arguments.compare,
    )
    with ProgressBars() as bars:
        result = evaluate(arguments.predictions, arguments.references, arguments.out, options, bars)
    _say(result, arguments.out)
    code = _SOME_FAILED if result.evaluation.failures else 0
    return code, evaluation_record(result.evaluation, result.pooled) if arguments.json else None


def _pair_options(arguments: argparse.Namespace, settings: Settings) -> PairOptions:
    from medseg.evaluate.compare import CompareOptions
    from medseg.evaluate.detection import DetectOptions
    from medseg.evaluate.lesionwise import LesionOptions
    from medseg.instances.match import MatchOptions
    from medseg.workflows.compare_pair import PairOptions
    from medseg.workflows.label_names import read_label_names

    table = None
    if arguments.bundle is not None:
        from medseg.bundle.bundle import load_bundle
        from medseg.bundle.store import find_bundle

        table = load_bundle(find_bundle(arguments.bundle, settings.bundles)).metadata.label_table
    detect = DetectOptions(
        MatchOptions(arguments.match, arguments.min_iou, max_distance_mm=arguments.max_distance_mm),
        LesionOptions(arguments.dilation, arguments.min_lesion_mm3),
    )
    return PairOptions(
        compare=CompareOptions(
            tuple(arguments.tolerance_mm or (1.0,)),
            arguments.boundary_mm,
            frozenset(arguments.tubular),
            arguments.threads,
        ),
        detect=detect if arguments.instances or arguments.instance_maps else None,
        instance_maps=arguments.instance_maps,
        table=table,
        names=None if arguments.labels is None else read_label_names(arguments.labels),
        resample=arguments.resample,
        limits=limits_from(settings),
    )


def _penalties(texts: list[str]) -> dict[str, float]:
    penalties = {}
    for text in texts:
        metric, _, value = text.partition("=")
        try:
            penalties[metric] = float(value)
        except ValueError:
            raise ConfigurationError(
                f"the penalty is {text!r}; expected METRIC=VALUE, such as hd95_max_mm=374"
            ) from None
    return penalties


def _say(result: Evaluated, out: Path) -> None:
    from medseg.report.metric_names import metric_heading
    from medseg.report.numbers import number_texts

    evaluation = result.evaluation
    for label in evaluation.labels:
        parts = []
        for found in evaluation.summaries:
            if found.label == label and found.mean is not None and found.metric.startswith(_SHOWN):
                mean, *ends = number_texts([found.mean, *(found.ci95 or ())])
                interval = f" [{ends[0]}, {ends[1]}]" if ends else ""
                if "surfel" not in found.metric:
                    parts.append(f"{metric_heading(found.metric)} {mean}{interval}")
        sys.stderr.write(f"{label}: {', '.join(parts) or 'no scores'}\n")
    total = len(evaluation.cases) + len(evaluation.failures)
    sys.stderr.write(f"{len(evaluation.cases)} of {total} cases compared; report: {out / 'report.html'}\n")
    sys.stderr.write(NOTICE + "\n")
