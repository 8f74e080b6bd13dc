"""One row of the report: find the fastest peer, then time it and qcore in turn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, NamedTuple

from ..ceiling import Ceilings
from ..table import Table
from ..timing import Comparison, compare, no_collection, once
from .cases import Case, Problem, make
from .peers import Peer, Runner, check, compilations, ours, peers_of

SCREENING_STEPS = (
    4  # all peers are first timed on so many steps: their time per step hardly depends on the number
)
CANDIDATES = 3  # at most so many of them then run in full,
MARGIN = 1.5  # none slower than the first by more than this
REPEAT_BELOW = 1.0  # seconds: a single run this short is not trusted

NOTE = """\
GP/s: 1e9 point-steps per second, median. Ratio: median over alternating pairs. Shares: of what compiled loops
reach on this machine in the same run, counting one FMA per tap and point-step (training: four), and the least
traffic of a call (float32: 8 B per point; training 20 B)."""


class Verdict(NamedTuple):
    """A target and what came of it; None if it could not be measured."""

    asked: str
    target: float
    value: float | None

    @property
    def reached(self) -> bool:
        """Whether it was reached."""
        return self.value is not None and self.value >= self.target

    def __str__(self) -> str:
        return f"{self.asked} {'reached' if self.reached else 'missed'}"


@dataclass
class Row:
    """A case as measured. Rates in point-steps per second."""

    case: Case
    rate: float
    comparison: Comparison | None  # None: no peer would run
    best: str
    screened: dict[str, float]  # rate of every peer on SCREENING_STEPS steps
    failed: dict[str, str]  # why a peer has no time

    @property
    def peer_rate(self) -> float | None:
        """That of the fastest peer."""
        return None if self.comparison is None else self.case.point_steps / median(self.comparison.theirs)

    def fma_share(self, ceilings: Ceilings) -> float:
        """Of the multiply-adds the machine can do."""
        return self.rate * self.case.fma_per_point_step / ceilings.fma(self.case.dtype)

    def triad_share(self, ceilings: Ceilings) -> float:
        """Of the bytes the machine can move, counting the least traffic a call can have."""
        return self.rate / self.case.steps * self.case.bytes_per_point / ceilings.triad

    def verdicts(self, ceilings: Ceilings) -> list[Verdict]:
        """How each target of the case came out."""
        targets, ratio = self.case.targets, None if self.comparison is None else self.comparison.ratio
        asked = [
            ("{:g}x", targets.ratio, ratio),
            ("{:g} GP/s", targets.rate, self.rate / 1e9),
            ("{:.0%} of FMA", targets.fma_share, self.fma_share(ceilings)),
        ]
        return [
            Verdict(what.format(target), target, value) for what, target, value in asked if target is not None
        ]

    def record(self, ceilings: Ceilings) -> dict[str, Any]:
        """All of it, for JSON."""
        comparison = self.comparison
        return {
            "name": self.case.name,
            "case": {**asdict(self.case), "dtype": str(self.case.dtype).removeprefix("torch.")},
            "rate": self.rate,
            "ns_per_point_step": 1e9 / self.rate,
            "fma_share": self.fma_share(ceilings),
            "triad_share": self.triad_share(ceilings),
            "best_peer": self.best,
            "peer_rate": self.peer_rate,
            "ratio": None if comparison is None else comparison.ratio,
            "ratio_quartiles": None if comparison is None else comparison.spread,
            "seconds_ours": None if comparison is None else comparison.ours,
            "seconds_peer": None if comparison is None else comparison.theirs,
            "screened": self.screened,
            "failed": self.failed,
            "asked": [
                verdict._asdict() | {"reached": verdict.reached} for verdict in self.verdicts(ceilings)
            ],
        }


def measure(
    case: Case,
    *,
    compiled: bool = True,
    seconds: float = 10.0,
    say: Callable[[str], None] = lambda line: None,
) -> Row:
    """Time a case against its fastest peer.

    Args:
        case: what to time.
        compiled: also against the peers that torch.compile makes.
        seconds: rough length of the final comparison, which has three pairs at least.
        say: told what is going on.

    Raises:
        Disagreement: a peer's result is not qcore's.
    """
    short, full = make(replace(case, steps=min(case.steps, SCREENING_STEPS))), make(case)
    failed: dict[str, str] = {}
    with compilations() if compiled else nullcontext():
        screened = _time(peers_of(case, compiled=compiled), short, failed, say)
        rates = {peer: short.case.point_steps / seconds for peer, (_, seconds) in screened.items()}
        fastest = sorted(rates, key=lambda peer: rates[peer], reverse=True)[:CANDIDATES]
        candidates = _time([p for p in fastest if rates[p] * MARGIN >= rates[fastest[0]]], full, failed, say)
        mine = ours(full)
        mine.run()
        by_name = {peer.name: rate for peer, rate in rates.items()}
        if not candidates:
            return Row(case, case.point_steps / _quick(mine), None, "", by_name, failed)
        best = min(candidates, key=lambda peer: candidates[peer][1])
        say(f"{case.name}: against {best.name}")
        comparison = compare(
            mine.run, candidates[best][0].run, seconds=seconds, sample=min(0.02, seconds / 20)
        )
    return Row(case, case.point_steps / median(comparison.ours), comparison, best.name, by_name, failed)


def _time(
    peers: list[Peer], problem: Problem, failed: dict[str, str], say: Callable[[str], None]
) -> dict[Peer, tuple[Runner, float]]:
    """The peers that run here, checked and warm, and their seconds for a call; why the others do not."""
    timed = {}
    for peer in peers:
        say(f"{problem.case.name}: {peer.name}, {problem.case.steps} steps")
        expected = ours(problem)
        try:
            runner = peer.build(problem)
            result = runner.read(runner.run())
        except Exception as error:  # no compiler, or a case torch does not support: no reason to stop
            failed[peer.name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            continue
        check(peer.name, result, expected.read(expected.run()), problem.case)
        timed[peer] = runner, _quick(runner)
    return timed


def _quick(runner: Runner) -> float:
    """Seconds of a call, the least of three unless calls are long."""
    with no_collection():
        seconds = once(runner.run)
        return seconds if seconds > REPEAT_BELOW else min(seconds, once(runner.run), once(runner.run))


def table(rows: list[Row], ceilings: Ceilings) -> Table:
    """The rows beside each other."""
    columns = [
        "row",
        "shape",
        "GP/s",
        "ns/point-step",
        "best torch",
        "its GP/s",
        "ratio (quartiles)",
        "of FMA",
        "of triad",
    ]
    made = Table("Stencil chains", [*columns, "asked for"], note=NOTE)
    for row in rows:
        peer = ["none ran", "", ""]
        if row.comparison is not None and row.peer_rate is not None:
            low, high = row.comparison.spread
            peer = [
                row.best,
                f"{row.peer_rate / 1e9:.3g}",
                f"{row.comparison.ratio:.3g} ({low:.3g}..{high:.3g})",
            ]
        shares = [f"{share:.0%}" for share in (row.fma_share(ceilings), row.triad_share(ceilings))]
        own = [f"{row.rate / 1e9:.3g}", f"{1e9 / row.rate:.3g}"]
        asked = ", ".join(map(str, row.verdicts(ceilings)))
        made.rows.append([row.case.name, row.case.label, *own, *peer, *shares, asked])
    return made
