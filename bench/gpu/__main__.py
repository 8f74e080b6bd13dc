"""The GPU kernels beside the strongest alternatives on the same device, with shares of its own ceilings.

python -m bench.gpu                           everything; some minutes, most of them compiling peers
python -m bench.gpu --only stencil            the rows whose name contains that
python -m bench.gpu --budget 200              no new row after so many seconds
python -m bench.gpu --quick --device cpu      tiny shapes on the CPU's kernels: whether it all runs, no more
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from .. import machine
from ..stencil.peers import compilations
from ..table import Table
from ..timing import Disagreement
from . import device, paths, schrodinger, stencil
from .ceiling import Ceilings, DeviceCeilings, HostCeilings
from .clock import Clock, DeviceClock, HostClock
from .measure import Result, measure, table
from .rows import Place, Row

SECONDS, QUICK_SECONDS = 1.0, 0.02


def every_row(quick: bool) -> list[Row]:
    """Those with a number to reach first, of every family in turn, for where time is short."""
    families = [family.rows(quick) for family in (stencil, schrodinger, paths)]
    longest = max(map(len, families))
    return [family[i] for i in range(longest) for family in families if i < len(family)]


def main(argv: list[str] | None = None) -> int:
    """Run the chosen rows, print the table, write the files.

    Returns:
        0, missing kernels included; 1 if a peer's result was not qcore's or a kernel failed.
    """
    arguments = parse(argv)
    started = perf_counter()
    place = Place(arguments.device, arguments.compile)
    clock: Clock
    ceilings: Ceilings
    if place.cuda:
        device.same_precision()
        clock = timer = DeviceClock()
        ceilings = DeviceCeilings(timer)
    else:
        clock, ceilings = HostClock(), HostCeilings(torch.get_num_threads())
    ceilings.measure()
    results: list[Result] = []
    wrong: list[str] = []
    late: list[str] = []
    for row in arguments.rows:
        if perf_counter() - started > arguments.budget:
            late.append(row.name)
            continue
        try:
            with compilations():
                results.append(measure(row, place, clock, seconds=arguments.seconds, say=say))
        except Disagreement as error:
            wrong.append(f"{row.name}: {error}")
        except Exception as error:  # the rows after it are worth having all the same
            wrong.append(f"{row.name}: {type(error).__name__}: {error}")
        if place.cuda:
            torch.cuda.empty_cache()
    ceilings.measure()
    record = {
        "machine": {**machine.facts(), **device.facts()},
        "device": place.device,
        "seconds": perf_counter() - started,
        "ceilings": ceilings.facts(),
        "rows": [result.record(ceilings) for result in results],
        "not_reached_in_time": late,
        "wrong": wrong,
    }
    write(arguments, record, [_facts(record), table(results, ceilings)])
    for line in wrong:
        print(f"WRONG: {line}", file=sys.stderr)
    for name in late:
        print(f"no time left for {name}", file=sys.stderr)
    return 1 if wrong else 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments, with the chosen rows as `rows`."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the code")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, no compiler: not a measurement")
    parser.add_argument("--only", metavar="PATTERN", help="rows whose name contains or matches this")
    parser.add_argument("--seconds", type=float, help="for the comparison with one peer")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds; no row starts later")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="no compiled peers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--list", action="store_true", help="print the names of the rows and leave")
    arguments = parser.parse_args(argv)
    rows = every_row(arguments.quick)
    if arguments.list:
        print("\n".join(row.name for row in rows))
        parser.exit()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device; --quick --device cpu tries the code without one")
    pattern = arguments.only or ""
    arguments.rows = [row for row in rows if pattern in row.name or fnmatch.fnmatch(row.name, pattern)]
    if not arguments.rows:
        parser.error(f"--only: no row matches '{pattern}'; --list prints them")
    for file in (arguments.json, arguments.markdown):
        if file is not None and not file.absolute().parent.is_dir():
            parser.error(f"no such folder: {file.absolute().parent}")
    arguments.compile = arguments.compile and not arguments.quick
    if arguments.seconds is None:
        arguments.seconds = QUICK_SECONDS if arguments.quick else SECONDS
    return arguments


def write(arguments: argparse.Namespace, record: dict[str, Any], tables: list[Table]) -> None:
    """To the terminal and the files."""
    print("\n\n".join(table.text() for table in tables))
    if arguments.markdown:
        arguments.markdown.write_text("\n\n".join(table.markdown() for table in tables) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


def _facts(record: dict[str, Any]) -> Table:
    ceilings = {name: f"{rate:.4g}" for name, rate in record["ceilings"].items()}
    facts = {**record["machine"], **ceilings}
    return Table("Machine", ["fact", "value"], [list(fact) for fact in facts.items()])


def say(line: str) -> None:
    """Tell how far things are, out of the way of the tables."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
