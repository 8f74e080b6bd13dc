"""One row of the report: qcore in turn with every peer of a case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from ..ceiling import Ceilings
from ..stencil.measure import Verdict
from ..table import Table
from ..timing import Comparison, compare, once
from .cases import Case, Problem, make
from .peers import CHECK_STEPS, Peer, check, ours, peers_of, with_steps

PEER_POINT_STEPS = 10_000_000  # a peer makes fewer steps than qcore: about so many point-steps,
PEER_STEPS = 4  # but so many steps at least

NOTE = """\
ns: per point and step, median. Ratio: of times per step, median over alternating pairs; peers make only the
steps given and are scaled. Peers marked * run on one thread whatever qcore has. Shares: of what compiled
loops reach on this machine in the same run, counting 12 multiply-adds for each of the tridiagonal systems of
a step (one along each axis in order 2) and 4 for a phase, in the type of the arithmetic; and one read and one
write of psi a call."""


@dataclass(frozen=True)
class Match:
    """qcore beside one peer, in seconds per step of each."""

    peer: str
    threads: int
    steps: int  # that the peer made
    comparison: Comparison


@dataclass
class Row:
    """A case as measured."""

    case: Case
    seconds: float  # per step of qcore
    matches: list[Match]  # the fastest peer first
    failed: dict[str, str]  # why a peer has no time

    @property
    def rate(self) -> float:
        """Point-steps per second."""
        return self.case.points / self.seconds

    @property
    def ns(self) -> float:
        """Per point-step."""
        return 1e9 / self.rate

    def peer_ns(self, match: Match) -> float:
        """Per point-step."""
        return 1e9 * median(match.comparison.theirs) / self.case.points

    def fma_share(self, ceilings: Ceilings) -> float:
        """Of the multiply-adds the machine can do."""
        return self.rate * self.case.operations_per_point_step / ceilings.fma(self.case.compute)

    def triad_share(self, ceilings: Ceilings) -> float:
        """Of the bytes the machine can move, counting the least traffic a call can have."""
        return self.rate / self.case.steps * self.case.bytes_per_point / ceilings.triad

    def verdicts(self) -> list[Verdict]:
        """How each target of the case came out; a time is turned into a rate, so that more is better."""
        targets, found = self.case.targets, {match.peer: match.comparison.ratio for match in self.matches}
        made = [Verdict(f"{ratio:g}x {peer}", ratio, found.get(peer)) for peer, ratio in targets.ratios]
        if targets.ns is not None:
            made.append(Verdict(f"{targets.ns:g} ns", 1 / targets.ns, 1 / self.ns))
        return made

    def record(self, ceilings: Ceilings) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "name": self.case.name,
            "case": described(self.case),
            "rate": self.rate,
            "ns_per_point_step": self.ns,
            "fma_share": self.fma_share(ceilings),
            "triad_share": self.triad_share(ceilings),
            "peers": [
                {
                    "name": match.peer,
                    "threads": match.threads,
                    "steps": match.steps,
                    "ns_per_point_step": self.peer_ns(match),
                    "ratio": match.comparison.ratio,
                    "ratio_quartiles": match.comparison.spread,
                    "seconds_per_step_ours": match.comparison.ours,
                    "seconds_per_step_peer": match.comparison.theirs,
                }
                for match in self.matches
            ],
            "failed": self.failed,
            "asked": [verdict._asdict() | {"reached": verdict.reached} for verdict in self.verdicts()],
        }


def described(case: Case) -> dict[str, Any]:
    """A case, for JSON."""
    return {**asdict(case), "dtype": str(case.dtype).removeprefix("torch.")}


def measure(case: Case, *, seconds: float = 10.0, say: Callable[[str], None] = lambda line: None) -> Row:
    """Time a case in turn with each of its peers.

    Args:
        case: what to time.
        seconds: rough length of each comparison, which has three pairs at least.
        say: told what is going on.

    Raises:
        Disagreement: a peer's result is not qcore's.
    """
    problem = make(case)
    check_steps = min(case.steps, CHECK_STEPS)
    expected = ours(with_steps(problem, check_steps))
    answer = expected.read(expected.run())
    mine = ours(problem)
    matches: list[Match] = []
    failed: dict[str, str] = {}
    for peer in peers_of(case):
        say(f"{case.name}: {peer.name}")
        steps = peer_steps(case)
        try:
            trial = peer.build(with_steps(problem, check_steps))
            got = trial.read(trial.run())
            theirs = peer.build(with_steps(problem, steps))
            theirs.run()
        except Exception as error:  # a package that isn't there, or a case it does not support
            failed[peer.name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            continue
        check(peer, got, answer, case)
        timed = compare(mine.run, theirs.run, seconds=seconds, sample=min(0.02, seconds / 20))
        per_step = Comparison([t / case.steps for t in timed.ours], [t / steps for t in timed.theirs])
        matches.append(Match(peer.name, threads_of(peer), steps, per_step))
    matches.sort(key=lambda match: median(match.comparison.theirs))
    return Row(case, _own(problem, matches), matches, failed)


def peer_steps(case: Case) -> int:
    """So few that a peer's run is not long."""
    return min(case.steps, max(PEER_STEPS, PEER_POINT_STEPS // case.points))


def threads_of(peer: Peer) -> int:
    """On how many a peer runs."""
    return 1 if peer.alone else torch.get_num_threads()


def _own(problem: Problem, matches: list[Match]) -> float:
    """Seconds per step of qcore, in all comparisons together; alone, if there was none."""
    if matches:
        return median(time for match in matches for time in match.comparison.ours)
    run = ours(problem).run
    run()
    return min(once(run) for _ in range(3)) / problem.case.steps


def table(rows: list[Row], ceilings: Ceilings) -> Table:
    """The rows beside each other."""
    columns = [
        "row",
        "systems",
        "ns",
        "fastest peer",
        "its ns",
        "its steps",
        "ratio (quartiles)",
        "other peers",
    ]
    made = Table("Schroedinger steps", [*columns, "of FMA", "of triad", "asked for"], note=NOTE)
    for row in rows:
        peer = ["none", "", "", ""]
        if row.matches:
            best = row.matches[0]
            low, high = best.comparison.spread
            ratio = f"{best.comparison.ratio:.3g} ({low:.3g}..{high:.3g})"
            peer = [_marked(best), f"{row.peer_ns(best):.3g}", str(best.steps), ratio]
        others = ", ".join(f"{_marked(match)} {match.comparison.ratio:.3g}x" for match in row.matches[1:])
        shares = [f"{share:.0%}" for share in (row.fma_share(ceilings), row.triad_share(ceilings))]
        asked = ", ".join(map(str, row.verdicts()))
        made.rows.append([row.case.name, row.case.label, f"{row.ns:.3g}", *peer, others, *shares, asked])
    return made


def _marked(match: Match) -> str:
    return match.peer + "*" * (match.threads == 1 < torch.get_num_threads())
