"""``medseg bundle list|show|verify|import|export``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from medseg.cli import bundle_import
from medseg.cli.options import add_json
from medseg.settings import Settings

_BUNDLE_FAILED = 4


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bundle",
        help="list, show, verify, import or export bundles",
        description="List, show, verify, import or export bundles, offline.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|show|verify|import|export")
    listing = verbs.add_parser("list", help="bundles that medseg finds")
    add_json(listing)
    listing.set_defaults(run=run_list)
    for verb, text, run in (
        ("show", "what a bundle is and gives", run_show),
        ("verify", "check a bundle's files, weights and configuration", run_verify),
    ):
        sub = verbs.add_parser(verb, help=text)
        sub.add_argument("name", metavar="NAME", help="name or folder of the bundle")
        add_json(sub)
        sub.set_defaults(run=run)
    bundle_import.add_to(verbs)
    export = verbs.add_parser("export", help="write a bundle's network for another runtime")
    export.add_argument("name", metavar="NAME", help="name or folder of the bundle")
    export.add_argument("--to", required=True, choices=("openvino", "onnx"), help="what runs it there")
    export.add_argument("-o", "--out", required=True, type=Path, metavar="FOLDER", help="new or empty folder")
    add_json(export)
    export.set_defaults(run=run_export)


def run_list(arguments: argparse.Namespace, settings: Settings) -> tuple[int, Any]:
    """Lists every bundle found; imports no network library."""
    from medseg.bundle.store import list_bundles

    rows = list_bundles(settings.bundles)
    if not arguments.json:
        for row in rows:
            state = row.get("error") or ("" if row["has_weights"] else "no weights")
            line = f"{row['name']:32} {row.get('version') or '-':8} {row.get('task') or ''}  {state}"
            sys.stdout.write(line.rstrip() + "\n")
    return 0, rows


def run_show(arguments: argparse.Namespace, settings: Settings) -> tuple[int, Any]:
    """Shows one bundle: task, input, labels, trust, card."""
    from medseg.bundle.bundle import load_bundle
    from medseg.bundle.store import describe, find_bundle

    record = describe(load_bundle(find_bundle(arguments.name, settings.bundles)))
    if not arguments.json:
        for key, value in record.items():
            if key == "labels":
                sys.stdout.write("labels\n")
                for label in value:
                    code = label["code"]
                    coded = f"  {code['scheme']} {code['value']} {code['meaning']}" if code else ""
                    sys.stdout.write(f"  {label['index']:4} {label['name']}{coded}\n")
            else:
                sys.stdout.write(f"{key:16} {value}\n")
    return 0, record


def run_verify(arguments: argparse.Namespace, settings: Settings) -> tuple[int, Any]:
    """Checks a bundle; exit 4 where a check fails."""
    from medseg.bundle.store import find_bundle
    from medseg.bundle.verify import verify_bundle

    result = verify_bundle(find_bundle(arguments.name, settings.bundles))
    if not arguments.json:
        for check in result.checks:
            sys.stdout.write(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.message}\n")
    return (0 if result.passed else _BUNDLE_FAILED), result.record()


def run_export(arguments: argparse.Namespace, settings: Settings) -> tuple[int, Any]:
    """Writes the network and a record of it into a folder."""
    from medseg.bundle.bundle import load_bundle
    from medseg.bundle.store import find_bundle
    from medseg.workflows.export import export_network

    bundle = load_bundle(find_bundle(arguments.name, settings.bundles))
    exported = export_network(bundle, arguments.to, arguments.out)
    if not arguments.json:
        sys.stdout.write(f"{', '.join(exported.files)} and metadata.json in {exported.folder}\n")
    return 0, exported.metadata | {"folder": str(exported.folder)}
