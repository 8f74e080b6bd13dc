"""The command line: ``python -m qcore train | reproduce | evolve | explain | solve | paths | info``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import qcore
from qcore._optional import MissingPackage
from qcore.checkpoint import CheckpointError
from qcore.cli import evolve, explain, info, paths, reproduce, solve, train
from qcore.cli.arguments import CommandError
from qcore.data import DataError
from qcore.experiment import ResultsError

_COMMANDS = {
    "train": train,
    "reproduce": reproduce,
    "evolve": evolve,
    "explain": explain,
    "solve": solve,
    "paths": paths,
    "info": info,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0, or 2 for wrong usage or input (one message on stderr), or 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="qcore", description="PDE networks on fused stencil kernels.")
    parser.add_argument("--version", action="version", version=f"qcore {qcore.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, module in _COMMANDS.items():
        summary = (module.__doc__ or "").strip().splitlines()[0]
        module.add_arguments(commands.add_parser(name, help=summary, description=summary, allow_abbrev=False))
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has written its message
        return int(stop.code or 0)
    try:
        status: int = _COMMANDS[arguments.command].run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"\nqcore {arguments.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away: nothing to tell, now or at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (CommandError, DataError, CheckpointError, ResultsError, MissingPackage, OSError) as error:
        print(f"qcore {arguments.command}: error: {error}", file=sys.stderr)
        return 2
