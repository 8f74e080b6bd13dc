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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from .measure import Result, beside, own, table
from .rows import Contest, Place, Row

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
    place = Place(arguments.device, arguments.compile)
    clock: Clock
    ceilings: Ceilings
    if place.cuda:
        device.same_precision()
        clock = timer = DeviceClock()
        ceilings = DeviceCeilings(timer)
    else:
        clock, ceilings = HostClock(), HostCeilings(torch.get_num_threads())
    report = Report(arguments, ceilings, place)
    report.measure_ceilings()
    report.machine = {**machine.facts(), **device.facts()}
    started = perf_counter()
    open_contests: list[tuple[Result, Contest]] = []
    for row in arguments.rows:
        if perf_counter() - started > arguments.budget:
            report.late.append(row.name)
            continue
        say(f"{row.name}: {row.label}")
        with report.failures_of(row.name):
            result, contest = own(row, place, clock)
            report.results.append(result)
            if contest is not None:
                open_contests.append((result, contest))
        report.write()
    # With qcore's own times on file, those of the peers, most of whose time goes into compiling them.
    while open_contests:
        result, contest = open_contests.pop(0)
        if perf_counter() - started > arguments.budget:
            report.late.append(f"{result.row.name}, peers")
            continue
        with report.failures_of(result.row.name), compilations():
            beside(result, contest, place, clock, seconds=arguments.seconds, say=say)
        report.write()
        if place.cuda:
            with report.failures_of(result.row.name):
                torch.cuda.empty_cache()
    with report.failures_of("ceilings"):
        report.measure_ceilings()
    report.write()
    report.tell()
    return 1 if report.every_wrong() else 0


@dataclass
class Report:
    """What has been measured so far, on file after every row: the next one may take the process with it."""

    arguments: argparse.Namespace
    ceilings: Ceilings
    place: Place
    machine: dict[str, str] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    started: float = field(default_factory=perf_counter)

    def measure_ceilings(self) -> None:
        """Once more; the best counts."""
        self.ceilings.measure()

    @contextmanager
    def failures_of(self, name: str) -> Iterator[None]:
        """Note what goes wrong: the rows after it are worth having all the same."""
        try:
            yield
        except Disagreement as error:
            self.wrong.append(f"{name}: {error}")
        except Exception as error:
            self.wrong.append(f"{name}: {type(error).__name__}: {error}")

    def every_wrong(self) -> list[str]:
        """Rows that failed and peers that disagree."""
        return self.wrong + [f"{r.row.name}: {error}" for r in self.results for error in r.wrong.values()]

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "machine": self.machine,
            "device": self.place.device,
            "seconds": perf_counter() - self.started,
            "ceilings": self.ceilings.facts(),
            "rows": [result.record(self.ceilings) for result in self.results],
            "not_reached_in_time": self.late,
            "wrong": self.every_wrong(),
        }

    def tables(self) -> list[Table]:
        """The machine and the rows."""
        ceilings = {name: f"{rate:.4g}" for name, rate in self.ceilings.facts().items()}
        facts = Table("Machine", ["fact", "value"], [list(f) for f in {**self.machine, **ceilings}.items()])
        return [facts, table(self.results, self.ceilings)]

    def write(self) -> None:
        """To the files; each is whole at any moment."""
        if self.arguments.markdown:
            replace(self.arguments.markdown, "\n\n".join(t.markdown() for t in self.tables()) + "\n")
        if self.arguments.json:
            replace(self.arguments.json, json.dumps(self.record(), indent=1) + "\n")

    def tell(self) -> None:
        """On the terminal."""
        print("\n\n".join(table.text() for table in self.tables()))
        for line in self.every_wrong():
            print(f"WRONG: {line}", file=sys.stderr)
        for name in self.late:
            print(f"no time left for {name}", file=sys.stderr)


def replace(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(text)
    beside.replace(file)


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


def say(line: str) -> None:
    """Tell how far things are, out of the way of the tables."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
