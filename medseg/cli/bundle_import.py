"""``medseg bundle import``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from medseg.cli.options import add_json
from medseg.errors import ConfigurationError
from medseg.settings import Settings

_ALL = "all"


def add_to(verbs: Any) -> None:
    """Adds the verb to the parser of ``medseg bundle``."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "import",
        help="make a bundle of an nnU-Net v2 model",
        description="Make a bundle of an nnU-Net v2 result folder, without running any of its code.",
    )
    parser.add_argument(
        "folder", type=Path, metavar="PATH", help="result folder, named Trainer__Plans__configuration"
    )
    parser.add_argument(
        "-o", "--out", required=True, type=Path, metavar="BUNDLES_DIR", help="where bundles are"
    )
    parser.add_argument(
        "--fold",
        default=_ALL,
        metavar="N[,N...]|all",
        help="which folds; of several the mean is taken (default: all)",
    )
    parser.add_argument("--name", help="of the bundle (default: from the data set and the configuration)")
    parser.add_argument("--modality", help="such as CT or MR (default: from the channels' names)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, _settings: Settings) -> tuple[int, Any]:
    """Imports a model and says where the bundle is."""
    from medseg.bundle.bundle import load_bundle
    from medseg.bundle.importers.nnunet import ImportOptions, import_nnunet
    from medseg.bundle.store import describe

    folds = () if arguments.fold == _ALL else tuple(arguments.fold.split(","))
    if any(not fold.isdigit() for fold in folds):
        raise ConfigurationError(
            f"--fold is {arguments.fold!r}; expected all, or numbers with commas between them, such as 0,1"
        )
    options = ImportOptions(arguments.name, folds, arguments.modality)
    path = import_nnunet(arguments.folder, arguments.out, options)
    record = describe(load_bundle(path))
    if not arguments.json:
        sys.stdout.write(
            f"bundle {record['name']} is in {path}; use it:\n  medseg segment SCAN -b {path} -o OUT\n"
        )
    return 0, record
