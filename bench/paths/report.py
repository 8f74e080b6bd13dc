"""The path family: sums over paths, actions, Metropolis and HMC beside what a user would pick instead.

python -m bench.paths.report                          all rows, some minutes
python -m bench.paths.report --only hmc               one suite: transfer, action, metropolis or hmc
python -m bench.paths.report --quick                  tiny shapes, no compiler: whether it all runs, no more
python -m bench.paths.report --json p.json --markdown p.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .. import machine, timing
from ..ceiling import Ceilings
from ..table import Table
from . import action, hmc, metropolis, transfer

QUICK_SECONDS, SECONDS = 0.02, 3.0
EAGER = ("numpy", "torch eager")

Records = list[dict[str, Any]]


def of_transfer(ceilings: Ceilings, quick: bool) -> tuple[Table, Records]:
    """Sums over lattice paths."""
    cases = [case.shrunk() if quick else case for case in transfer.rows()]
    seconds = QUICK_SECONDS if quick else SECONDS
    rows = [transfer.measure(case, seconds=seconds, say=say) for case in cases]
    return transfer.table(rows, ceilings), [row.record(ceilings) for row in rows]


def of_action(ceilings: Ceilings, quick: bool) -> tuple[Table, Records]:
    """Actions of given paths, and one path in the first cache."""
    rows = []
    for case in action.rows():
        say(case.name)
        seconds = QUICK_SECONDS if quick else SECONDS
        rows.append(action.measure(action.shrunk(case) if quick else case, seconds=seconds))
    first = action.resident(11 if quick else 201)
    table = action.table(rows, ceilings)
    table.note = (
        f"In the first cache {first:.3f} ns a slice and thread; asked for {action.RESIDENT_TARGET:g}."
    )
    return table, [*(row.record(ceilings) for row in rows), {"name": "resident", "ns_per_slice": first}]


def of_metropolis(ceilings: Ceilings, quick: bool) -> tuple[Table, Records]:
    """Updates of beads."""
    say("metropolis")
    few = {"chosen": {metropolis.CASES[0].name}, "seconds": QUICK_SECONDS, "peers": EAGER}
    rows = list(metropolis.rows(**(few if quick else {})))
    return metropolis.table(rows, ceilings.threads), [asdict(row) for row in rows]


def of_hmc(ceilings: Ceilings, quick: bool) -> tuple[Table, Records]:
    """Steps of fields and paths."""
    say("hmc")
    few = {"chosen": {hmc.CASES[0].name}, "seconds": QUICK_SECONDS, "peers": EAGER}
    rows = list(hmc.rows(**(few if quick else {})))
    return hmc.table(rows, ceilings.threads), [asdict(row) for row in rows]


SUITES: dict[str, Callable[[Ceilings, bool], tuple[Table, Records]]] = {
    "transfer": of_transfer,
    "action": of_action,
    "metropolis": of_metropolis,
    "hmc": of_hmc,
}


def main(argv: list[str] | None = None) -> int:
    """Measure, print the tables, write the files. Returns 0, or 1 if a peer's result was not ours."""
    arguments = parse(argv)
    machine.use_threads(arguments.threads)
    if machine.busy(arguments.threads):
        say("the machine is busy with something else: these numbers will not be worth much")
    facts = {**machine.facts(), "malloc keeps freed memory": str(timing.keep_freed_memory())}
    ceilings = Ceilings(arguments.threads)
    ceilings.measure()
    tables, records = [Table("Machine", ["fact", "value"], [list(fact) for fact in facts.items()])], {}
    for name in arguments.only or SUITES:
        try:
            table, records[name] = SUITES[name](ceilings, arguments.quick)
        except timing.Disagreement as error:
            print(f"WRONG: {name}: {error}", file=sys.stderr)
            return 1
        tables.append(table)
    print("\n\n".join(table.text() for table in tables))
    if arguments.markdown:
        arguments.markdown.write_text("\n\n".join(table.markdown() for table in tables) + "\n")
    if arguments.json:
        whole = {"machine": facts, "threads": arguments.threads, "ceilings": ceilings.facts(), **records}
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.paths.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=SUITES, metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--quick", action="store_true", help="tiny shapes: a check, not a measurement")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    arguments = parser.parse_args(argv)
    if arguments.threads < 1:
        parser.error(f"--threads: expected at least 1, got {arguments.threads}")
    for file in (arguments.json, arguments.markdown):
        if file is not None and not file.absolute().parent.is_dir():
            parser.error(f"no such folder: {file.absolute().parent}")
    return arguments


def say(line: str) -> None:
    """Tell how far things are."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
