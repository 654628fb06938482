"""The ``medseg`` command: reads the arguments, runs one workflow, turns errors into exit codes."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from medseg import __version__
from medseg.cli import bundle, demo, evaluate, inspect, measure, segment
from medseg.errors import MedsegError
from medseg.report.report import NOTICE
from medseg.settings import Settings

_BUG = 1
_INTERRUPTED = 130

Command = Callable[[argparse.Namespace, Settings], tuple[int, Any]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code.

    0 done, 2 configuration, 3 input, 4 bundle, 5 inference, 6 service, 7 some cases failed, 1 a bug,
    130 interrupted. With ``--json`` the result stands alone on stdout.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="medseg: %(message)s", stream=sys.stderr)
    try:
        settings = Settings.from_environment()
        command: Command = arguments.run
        code, result = command(arguments, settings)
    except MedsegError as error:
        return _failed(error, arguments)
    except KeyboardInterrupt:
        _say("medseg: stopped; cases that were done are whole")
        return _INTERRUPTED
    except BrokenPipeError:
        return _BUG
    except Exception as error:
        logging.getLogger(__name__).debug("traceback", exc_info=True)
        _say(f"medseg: a bug: {type(error).__name__}: {error}; please report it with the command you ran")
        return _BUG
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")
    return code


def _failed(error: MedsegError, arguments: argparse.Namespace) -> int:
    if arguments.json:
        record = {"error": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
        sys.stdout.write(json.dumps(record, indent=2) + "\n")
    _say(f"medseg: {error}")
    return error.exit_code


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medseg",
        description=f"Medical image segmentation. {NOTICE}",
    )
    parser.add_argument("--version", action="version", version=f"medseg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (segment, measure, evaluate, inspect, bundle, demo):
        module.add_to(commands)
    return parser
