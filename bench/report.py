"""The benchmark report: every row against its fastest peer, with shares of this machine's own ceilings.

python -m bench.report                        everything; sit back
python -m bench.report --only design/forward  the rows whose name contains that
python -m bench.report --quick                tiny shapes, no compiler: whether it all runs, no more
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

from . import calls, machine, timing
from .ceiling import Ceilings
from .resident import Peak, available
from .schrodinger import section as schrodinger
from .stencil import cases, memory, overhead
from .stencil import measure as measured
from .table import Table
from .timing import Disagreement

QUICK_POINTS, QUICK_STEPS = 4096, 5


def main(argv: list[str] | None = None) -> int:
    """Run the chosen rows, print the tables, write the files.

    Returns:
        0; 1 if a peer's result was not qcore's; 130 if interrupted, with what there was printed and written.
    """
    arguments = parse(argv)
    started = perf_counter()
    machine.use_threads(arguments.threads)
    if machine.busy(arguments.threads):
        say("the machine is busy with something else: these numbers will not be worth much")
    kept = timing.keep_freed_memory()
    report = Report(arguments.threads, {**machine.facts(), "malloc keeps freed memory": str(kept)})
    status = 0
    try:
        report.run(arguments.rows, quick=arguments.quick, compiled=arguments.compile)
    except KeyboardInterrupt:
        say("interrupted: what there is follows")
        status = 130
    report.seconds = perf_counter() - started
    tables = report.tables()
    print("\n\n".join(table.text() for table in tables))
    if arguments.markdown:
        arguments.markdown.write_text("\n\n".join(table.markdown() for table in tables) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(report.record(), indent=1) + "\n")
    for error in report.wrong:
        print(f"WRONG: {error}", file=sys.stderr)
    return 1 if report.wrong else status


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments, with the names of the chosen rows as `rows`."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny shapes and eager peers only: a check, not a measurement"
    )
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="for both sides (default: torch's)"
    )
    parser.add_argument(
        "--only", metavar="PATTERN", help="rows whose name contains this or matches it as a glob"
    )
    parser.add_argument(
        "--no-compile", dest="compile", action="store_false", help="leave out the peers of torch.compile"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--list", action="store_true", help="print the names of the rows and leave")
    arguments = parser.parse_args(argv)
    names = [case.name for case in cases.rows()] + ["overhead", "memory", *schrodinger.names()]
    if arguments.list:
        print("\n".join(names))
        parser.exit()
    if arguments.threads < 1:
        parser.error(f"--threads: expected at least 1, got {arguments.threads}")
    pattern = arguments.only or ""
    arguments.rows = {name for name in names if pattern in name or fnmatch.fnmatch(name, pattern)}
    if not arguments.rows:
        parser.error(f"--only: no row matches '{pattern}'; --list prints them")
    for file in (arguments.json, arguments.markdown):
        if file is not None and not file.absolute().parent.is_dir():
            parser.error(f"no such folder: {file.absolute().parent}")
    arguments.compile = arguments.compile and not arguments.quick
    return arguments


def say(line: str) -> None:
    """Tell how far things are, out of the way of the tables."""
    print(line, file=sys.stderr, flush=True)


class Report:
    """What was measured, and its tables."""

    def __init__(self, threads: int, facts: dict[str, str]) -> None:
        self.threads = threads
        self.facts = facts
        self.ceilings = Ceilings(threads)
        self.rows: list[measured.Row] = []
        self.calls: list[calls.Call] = []
        self.peaks: list[Peak] = []
        self.schrodinger = schrodinger.Section(threads)
        self.wrong: list[str] = []
        self.seconds = 0.0

    def run(self, names: set[str], *, quick: bool, compiled: bool) -> None:
        """Measure the rows of these names; the ceilings before and after."""
        self.ceilings.measure()
        for case in cases.rows():
            if case.name in names:
                self._case(case.shrunk(QUICK_POINTS, QUICK_STEPS) if quick else case, quick, compiled)
        if "overhead" in names:
            say("overhead")
            self.calls = calls.measure(overhead.calls(), **(calls.QUICK if quick else {}))
        if "memory" in names and available():
            shapes = [(1, 1, 64, 64)] if quick else memory.SHAPES
            for shape in shapes:
                for steps in [4] if quick else memory.STEPS:
                    say(f"memory: {shape} T={steps}")
                    who = memory.WHO[:1] if quick else memory.WHO
                    self.peaks.append(memory.measure(shape, steps, threads=self.threads, who=who))
        self.schrodinger.run(names, quick=quick, say=say)
        self.wrong += self.schrodinger.wrong
        self.ceilings.measure()

    def _case(self, case: cases.Case, quick: bool, compiled: bool) -> None:
        seconds = 0.1 if quick else 10.0 if case.thorough else 4.0
        try:
            self.rows.append(measured.measure(case, compiled=compiled, seconds=seconds, say=say))
        except Disagreement as error:
            self.wrong.append(str(error))

    def record(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "machine": self.facts,
            "threads": self.threads,
            "seconds": self.seconds,
            "ceilings": self.ceilings.facts(),
            "rows": [row.record(self.ceilings) for row in self.rows],
            "overhead": [call.record() for call in self.calls],
            "memory": [peak.record() for peak in self.peaks],
            "schrodinger": self.schrodinger.record(self.ceilings),
            "wrong": self.wrong,
        }

    def tables(self) -> list[Table]:
        """Machine first, then what was measured."""
        ceilings = [(name, f"{value:.4g}") for name, value in self.ceilings.facts().items()]
        length = ("this report took", f"{self.seconds:.0f} s on {self.threads} threads a side")
        made = [
            Table("Machine", ["fact", "value"], [*self.facts.items(), *ceilings, length]),
            measured.table(self.rows, self.ceilings),
            calls.table(overhead.TITLE, self.calls),
            memory.table(self.peaks),
            *self.schrodinger.tables(self.ceilings),
        ]
        return [table for table in made if table.rows]


if __name__ == "__main__":
    sys.exit(main())
