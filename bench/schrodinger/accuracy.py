"""Error against time: implicit steps of every order beside Fourier split steps, smooth and rough potentials.

python -m bench.schrodinger.accuracy --json accuracy.json --out accuracy.png
python -m bench.schrodinger.accuracy --quick                      a few runs: does it work?
python -m bench.schrodinger.accuracy_plot accuracy.json --out accuracy.png

Every method is tried on grids of several sizes with several numbers of steps. On each grid steps are added
until what is left of the error comes from the grid. What counts of a method are the runs that no other of its
runs beats in both error and time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from qcore.schrodinger import propagate
from qcore.schrodinger.fourier import split_step

from .. import machine, timing
from ..table import Table
from .problems import PROBLEMS, Grid, Problem

TIME_ORDERS, SPACE_ORDERS = (2, 4, 6, 8), (2, 4, 6)
BATCHES = (1, 64)  # systems moved at once; time is counted per system
STEPS_FROM, STEPS_BY, STEPS_TO = 12, 1.6, 40_000
LEFT = 0.1  # more steps are not tried when they change the error by less than this part of it
LONGEST = 2.0  # seconds of a run for the error; longer ones are not made
LIMIT_STEPS = 800  # of order 8 in time: what remains is the grid's error; of order 4 eight times as many
FEW_STEPS, MANY_STEPS = 10, (30, 300)  # of the two runs that are timed, the longer of so many
TIMED_POINT_STEPS = 10_000_000  # in all, or nearly
DURATION_STEPS = 1000  # dt of the timed runs is that of so many steps; it does not matter
SLOW = 0.2  # seconds from which a run is timed once only
LEVELS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

NOTE = """\
ms of wall time per system of the fastest run at least as accurate; - where none was. Order 2/4: order 2 in
time, 4 in space. Errors: of the revival the distance to the exact state, the state's norm being 1; of the
transmission the part due to the grid and the part due to the steps, added, so that no lucky cancellation
counts. *: the fastest of its column."""


@dataclass(frozen=True)
class Method:
    """A way to move psi to the end of a problem."""

    name: str
    time_order: int
    space_order: int | None  # None: Fourier transforms

    @property
    def ring(self) -> bool:
        """Whether its grid is one."""
        return self.space_order is None

    def run(self, problem: Problem, grid: Grid, psi: Tensor, steps: int, of: int | None = None) -> Tensor:
        """psi after `steps` steps; after the whole time, or the same share of it if there are `of` in all."""
        settings: dict[str, Any] = {
            "dt": problem.time / (of or steps),
            "steps": steps,
            "spacing": grid.spacing,
        }
        potential = problem.potential(grid)
        if self.space_order is None:
            moved = split_step(psi, potential, order=self.time_order, **settings)
        else:
            orders = {"time_order": self.time_order, "space_order": self.space_order}
            moved = propagate(psi, potential, **orders, **settings)
        assert isinstance(moved, Tensor)
        return moved


METHODS = [
    *(Method(f"order {time}/{space}", time, space) for space in SPACE_ORDERS for time in TIME_ORDERS),
    Method("FFT, Strang", 2, None),
    Method("FFT, Blanes-Moan", 4, None),
]


@dataclass(frozen=True)
class Attempt:
    """A method on a grid with some steps: its error, and seconds per system by the number moved at once."""

    problem: str
    method: str
    points: int
    steps: int
    error: float
    seconds: dict[int, float]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "problem": self.problem,
            "method": self.method,
            "points": self.points,
            "steps": self.steps,
            "error": self.error,
            "seconds": {str(batch): time for batch, time in self.seconds.items()},
        }


class Stopwatch:
    """Seconds of runs of a method on a grid, linear in the number of steps: two lengths are timed, once."""

    def __init__(self, batches: tuple[int, ...], point_steps: int, samples: int) -> None:
        self.batches, self.point_steps, self.samples = batches, point_steps, samples
        self.known: dict[tuple[str, str, int, int], tuple[float, float]] = {}

    def seconds(self, problem: Problem, method: Method, grid: Grid, steps: int) -> dict[int, float]:
        """Per system, by the number of systems moved at once."""
        times = {}
        for batch in self.batches:
            key = problem.name, method.name, len(grid.x), batch
            if key not in self.known:
                self.known[key] = self._line(problem, method, grid, batch)
            call, step = self.known[key]
            times[batch] = (call + step * steps) / batch
        return times

    def _line(self, problem: Problem, method: Method, grid: Grid, batch: int) -> tuple[float, float]:
        """Seconds of a call, and of each of its steps."""
        psi = problem.state(grid.x).expand(batch, -1).contiguous()
        many = max(MANY_STEPS[0], min(MANY_STEPS[1], self.point_steps // psi.numel()))

        def timed(steps: int) -> float:
            def run() -> Tensor:
                return method.run(problem, grid, psi, steps, of=DURATION_STEPS)

            first = timing.once(run)
            return median(timing.once(run) for _ in range(self.samples if first < SLOW else 1))

        few_seconds, many_seconds = timed(FEW_STEPS), timed(many)
        step = max(0.0, many_seconds - few_seconds) / (many - FEW_STEPS)
        return max(0.0, few_seconds - FEW_STEPS * step), step


class Limits:
    """The error of a grid with steps so small that they add none: of the highest order in time."""

    def __init__(self, fewest: int) -> None:
        self.fewest = fewest
        self.known: dict[tuple[str, int | None, int], float] = {}

    def of(self, problem: Problem, method: Method, grid: Grid, psi: Tensor) -> float:
        """Of a signed error; 0 for a norm, which needs none."""
        if not problem.signed:
            return 0.0
        key = problem.name, method.space_order, len(grid.x)
        if key not in self.known:
            finest = replace(method, time_order=4 if method.ring else 8)
            steps = (8 if method.ring else 1) * self.fewest
            self.known[key] = problem.error(grid, finest.run(problem, grid, psi, steps))
        return self.known[key]


def attempts(
    problem: Problem, method: Method, watch: Stopwatch, limits: Limits, *, most_steps: int = STEPS_TO
) -> Iterator[Attempt]:
    """Runs of a method from coarse to fine: for each grid with more and more steps."""
    for fineness in problem.ring if method.ring else problem.walls:
        grid = problem.grid(fineness, method.ring)
        psi = problem.state(grid.x)
        whole = limits.of(problem, method, grid, psi)
        before = inf
        for steps in growing(most_steps):
            seconds = watch.seconds(problem, method, grid, steps)
            if seconds[watch.batches[0]] * watch.batches[0] > LONGEST:
                break
            found = problem.error(grid, method.run(problem, grid, psi, steps))
            error = abs(whole) + abs(found - whole) if problem.signed else found
            yield Attempt(problem.name, method.name, len(grid.x), steps, error, seconds)
            if before - error < LEFT * error and error < 0.5:
                break
            before = error


def growing(most: int) -> Iterator[int]:
    """Numbers of steps to try."""
    steps = float(STEPS_FROM)
    while round(steps) <= most:
        yield round(steps)
        steps *= STEPS_BY


def front(made: list[Attempt], batch: int) -> list[Attempt]:
    """Those that none beats in both error and time, from fast to slow."""
    best: list[Attempt] = []
    for attempt in sorted(made, key=lambda attempt: (attempt.seconds[batch], attempt.error)):
        if not best or attempt.error < best[-1].error:
            best.append(attempt)
    return best


def fastest(made: list[Attempt], level: float, batch: int) -> Attempt | None:
    """At least as accurate as this."""
    good = [attempt for attempt in made if attempt.error <= level]
    return min(good, key=lambda attempt: attempt.seconds[batch], default=None)


def tables(made: list[Attempt], batches: tuple[int, ...]) -> list[Table]:
    """Time by method and error, for each problem and batch; the fastest of a column marked."""
    found = []
    for problem in PROBLEMS:
        for batch in batches:
            title = f"{problem.title}, {batch} at once"
            table = Table(title, ["method", *(f"{level:.0e}" for level in LEVELS)], note=NOTE)
            own = [attempt for attempt in made if attempt.problem == problem.name]
            winners = [fastest(own, level, batch) for level in LEVELS]
            for method in METHODS:
                mine = [attempt for attempt in own if attempt.method == method.name]
                cells = []
                for level, winner in zip(LEVELS, winners, strict=True):
                    best = fastest(mine, level, batch)
                    mark = " *" if best is not None and best is winner else ""
                    cells.append("-" if best is None else f"{1e3 * best.seconds[batch]:.3g}{mark}")
                table.rows.append([method.name, *cells])
            found.append(table)
    return found


def main(argv: list[str] | None = None) -> int:
    """Measure, print the tables, write the files."""
    arguments = parse(argv)
    machine.use_threads(arguments.threads)
    if machine.busy(arguments.threads):
        say("the machine is busy with something else: these times will not be worth much")
    timing.keep_freed_memory()
    quick = arguments.quick
    batches = BATCHES[:1] if quick else BATCHES
    watch = Stopwatch(batches, 0 if quick else TIMED_POINT_STEPS, 1 if quick else 5)
    limits = Limits(60 if quick else LIMIT_STEPS)
    made: list[Attempt] = []
    for problem in PROBLEMS:
        short = replace(problem, walls=problem.walls[3:4], ring=problem.ring[3:4]) if quick else problem
        for method in METHODS:
            say(f"{problem.name}: {method.name}")
            made += attempts(short, method, watch, limits, most_steps=60 if quick else STEPS_TO)
    record = {
        "machine": machine.facts(),
        "threads": arguments.threads,
        "batches": list(batches),
        "problems": {problem.name: problem.title for problem in PROBLEMS},
        "methods": {method.name: [method.time_order, method.space_order] for method in METHODS},
        "attempts": [attempt.record() for attempt in made],
    }
    shown = tables(made, batches)
    print("\n\n".join(table.text() for table in shown))
    if arguments.markdown:
        arguments.markdown.write_text("\n\n".join(table.markdown() for table in shown) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.out:
        from .accuracy_plot import draw

        draw(record, arguments.out)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.schrodinger.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a few runs: a check, not a measurement")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all runs there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--out", type=Path, metavar="PNG", help="draw the figure there")
    arguments = parser.parse_args(argv)
    if arguments.threads < 1:
        parser.error(f"--threads: expected at least 1, got {arguments.threads}")
    for file in (arguments.json, arguments.markdown, arguments.out):
        if file is not None and not file.absolute().parent.is_dir():
            parser.error(f"no such folder: {file.absolute().parent}")
    return arguments


def say(line: str) -> None:
    """Tell how far things are, out of the way of the tables."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
