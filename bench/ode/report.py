"""Three ways to the gradients of a neural ODE: time, memory, error, beside torchdiffeq with conv2d.

python -m bench.ode.report                    all rows, some minutes
python -m bench.ode.report --only rk4/32      the rows whose name contains that
python -m bench.ode.report --quick            tiny flows: whether it all runs, no more
python -m bench.ode.report --json ode.json && python -m bench.ode.plot ode.json --out ode.png
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from .. import machine, timing
from .flows import DIFFUSION_TIMES, FLOWS, WAYS
from .measure import Row, error_growth, error_table, measure, table


def main(argv: list[str] | None = None) -> int:
    """Measure, print the tables, write the files. Returns 0, or 1 if the two sides did not agree."""
    arguments = parse(argv)
    machine.use_threads(arguments.threads)
    if machine.busy(arguments.threads):
        say("the machine is busy with something else: these numbers will not be worth much")
    facts = {**machine.facts(), "malloc keeps freed memory": str(timing.keep_freed_memory())}
    rows: list[Row] = []
    try:
        for flow in (flow for flow in FLOWS if arguments.only in flow.name):
            for way in WAYS:
                say(f"{flow.name}: {way}")
                rows.append(
                    measure(
                        flow.shrunk(4) if arguments.quick else flow,
                        way,
                        seconds=0.05 if arguments.quick else 4.0,
                        threads=arguments.threads,
                        peaks=not arguments.quick,
                    )
                )
    except timing.Disagreement as error:
        print(f"WRONG: {error}", file=sys.stderr)
        return 1
    say("error against the time of diffusion")
    growth = error_growth(8) if arguments.quick else error_growth()
    tables = [table(rows), error_table(growth)]
    print("\n\n".join(made.text() for made in tables))
    if arguments.markdown:
        arguments.markdown.write_text("\n\n".join(made.markdown() for made in tables) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(record(facts, arguments.threads, rows, growth), indent=1) + "\n")
    return 0


def record(
    facts: dict[str, str], threads: int, rows: list[Row], growth: dict[str, list[float]]
) -> dict[str, Any]:
    """All of it, for JSON and for the plot."""
    return {
        "machine": facts,
        "threads": threads,
        "rows": [row.record() for row in rows],
        "error_growth": {"diffusion_time": list(DIFFUSION_TIMES), "error_stencil": growth},
    }


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.ode.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="tiny flows: a check, not a measurement")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="for both sides (default: torch's)"
    )
    parser.add_argument("--only", metavar="PART", default="", help="rows whose name contains this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    arguments = parser.parse_args(argv)
    if arguments.threads < 1:
        parser.error(f"--threads: expected at least 1, got {arguments.threads}")
    if not any(arguments.only in flow.name for flow in FLOWS):
        names = ", ".join(flow.name for flow in FLOWS)
        parser.error(f"--only: expected part of one of {names}, got {arguments.only!r}")
    for file in (arguments.json, arguments.markdown):
        if file is not None and not file.absolute().parent.is_dir():
            parser.error(f"no such folder: {file.absolute().parent}")
    return arguments


def say(line: str) -> None:
    """Tell how far things are, out of the way of the tables."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
