"""One row: qcore, checked against every peer, in turn with the fastest of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from statistics import median, quantiles
from typing import Any

from ..stencil.measure import Verdict
from ..table import Table
from ..timing import Disagreement, Run
from . import device
from .ceiling import Ceilings
from .clock import WARM_SAMPLE, Clock, Timed, alone, captured, compare, launches
from .rows import Contest, Peer, Place, Row

ALONE = 7  # cold samples of qcore without a rival
WARM_REPEATS = 1000

NOTE = """\
Rates: 1e9 units per second, median (quartiles). Cold: the level-two cache flushed before every call, and the
device alone counts; warm: one call after the other, what the host needs included. Ratio: time of the fastest
peer over ours for the same work, median over pairs in turn. Peers run as one CUDA graph where they can be
captured (marked G), which spares them what the host needs. Shares: of what kernels of our own reach on this
device in the same run, counting the multiply-adds and the least traffic that the work takes."""


@dataclass
class Result:
    """A row as measured; times per unit of work."""

    row: Row
    missing: str = ""  # why qcore has no time
    alone: list[float] = field(default_factory=list)  # seconds per unit, cold, before any peer
    alone_warm: float = 0.0
    launches: int | None = None  # of a call of ours
    clocks: dict[str, int] = field(default_factory=dict)  # of the device, after that
    timed: dict[str, Timed] = field(default_factory=dict)  # the fastest peer, and the one a target names
    screened: dict[str, float] = field(default_factory=dict)  # rate of every peer, cold
    failed: dict[str, str] = field(default_factory=dict)  # why a peer has no time
    wrong: dict[str, str] = field(default_factory=dict)  # how far a peer is from qcore, which is a failure

    @property
    def best(self) -> str:
        """The fastest peer; empty if none ran."""
        return max(self.timed, key=lambda name: self.screened[name], default="")

    @property
    def rate(self) -> float:
        """Units per second, cold."""
        times = [time for timed in self.timed.values() for time in timed.cold.ours]
        return 1 / median(times or self.alone)

    def share_of_fma(self, ceilings: Ceilings) -> float | None:
        """Of the multiply-adds the device can do."""
        row = self.row
        return self.rate * row.operations / ceilings.fma(row.dtype) if row.operations else None

    def share_of_copy(self, ceilings: Ceilings) -> float | None:
        """Of the bytes the device can move."""
        row = self.row
        return self.rate / row.amount * row.bytes / ceilings.bandwidth if row.bytes else None

    def verdicts(self) -> list[Verdict]:
        """How each target came out."""
        row, made = self.row, []
        if row.ratio is not None:
            named = row.against or self.best
            timed = next((t for name, t in self.timed.items() if named and name.startswith(named)), None)
            value = None if timed is None else timed.cold.ratio
            made.append(Verdict(f"{row.ratio:g}x {row.against or 'best torch'}", row.ratio, value))
        if row.rate is not None:
            made.append(Verdict(f"{row.rate / 1e9:g} G/s", row.rate, self.rate))
        return made

    def record(self, ceilings: Ceilings) -> dict[str, Any]:
        """All of it, for JSON."""
        made = {"name": self.row.name, "label": self.row.label, "unit": self.row.unit}
        if self.missing:
            return {**made, "missing": self.missing}
        return {
            **made,
            "rate": self.rate,
            "seconds_per_unit_alone": self.alone,
            "seconds_per_unit_alone_warm": self.alone_warm,
            "launches": self.launches,
            "clocks": self.clocks,
            "share_of_fma": self.share_of_fma(ceilings),
            "share_of_copy": self.share_of_copy(ceilings),
            "best_peer": self.best,
            "peers": {name: _timed_record(timed) for name, timed in self.timed.items()},
            "screened": self.screened,
            "failed": self.failed,
            "wrong": self.wrong,
            "asked": [verdict._asdict() | {"reached": verdict.reached} for verdict in self.verdicts()],
        }


def _timed_record(timed: Timed) -> dict[str, Any]:
    return {
        kind: {
            "ratio": pair.ratio,
            "ratio_quartiles": pair.spread,
            "seconds_per_unit_ours": pair.ours,
            "seconds_per_unit_peer": pair.theirs,
        }
        for kind, pair in timed._asdict().items()
    }


def own(row: Row, place: Place, clock: Clock) -> tuple[Result, Contest | None]:
    """Time qcore alone: what is worth having whatever becomes of the peers.

    Returns:
        The result so far, and what is left to do; None where there is no kernel.
    """
    result = Result(row)
    try:
        contest = row.prepare(place)
        contest.ours()
    except NotImplementedError as error:
        result.missing = str(error)
        return result, None
    result.alone = [clock.cold(contest.ours, 1) / row.amount for _ in range(ALONE)]
    once = clock.warm(contest.ours, 1)
    repeats = max(1, min(WARM_REPEATS, ceil(WARM_SAMPLE / once)))
    result.alone_warm = median(clock.warm(contest.ours, repeats) for _ in range(3)) / row.amount
    if place.cuda:
        result.clocks = device.clocks()
        try:
            result.launches = launches(contest.ours)
        except Exception as error:  # a profiler that may not look
            result.failed["profiler"] = _reason(error)
    return result, contest


def beside(
    result: Result,
    contest: Contest,
    place: Place,
    clock: Clock,
    *,
    seconds: float,
    say: Callable[[str], None],
) -> None:
    """Time the row in turn with its fastest peer, and with the one that a target names.

    Args:
        result: of `own`; takes the times.
        contest: of `own`.
        place: where.
        clock: by what.
        seconds: rough length of the comparison with a peer.
        say: told what is going on.
    """
    row = result.row
    runs: dict[str, tuple[Run, float]] = {}
    for peer in contest.peers:
        say(f"{row.name}: {peer.name}")
        try:
            name, run = _ready(peer, place)
            result.screened[name] = peer.amount / alone(clock, run)
            runs[name] = run, peer.amount
        except Disagreement as error:
            result.wrong[peer.name] = str(error)
        except Exception as error:  # what this torch or library does not do; a peer is no reason to stop
            result.failed[peer.name] = _reason(error)
    chosen = {max(runs, key=lambda name: result.screened[name])} if runs else set()
    chosen |= {name for name in runs if row.against and name.startswith(row.against)}
    for name in sorted(chosen):
        run, amount = runs[name]
        timed = compare(clock, contest.ours, run, seconds=seconds)
        result.timed[name] = timed.per(row.amount, amount)


def _reason(error: Exception) -> str:
    """Its kind and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _ready(peer: Peer, place: Place) -> tuple[str, Run]:
    """A peer's name and call, checked, warm, and as a graph where it can be one."""
    runner = peer.build()
    peer.check(runner.read(runner.run()))
    if not place.cuda:
        return peer.name, runner.run
    try:
        replay = captured(runner.run)
    except Exception:  # what waits for the device or allocates by itself cannot be captured
        return peer.name, runner.run
    peer.check(runner.read(replay()))
    return f"{peer.name} G", replay


def table(results: list[Result], ceilings: Ceilings) -> Table:
    """The rows below each other."""
    columns = ["row", "work", "G/s cold", "warm", "launches", "fastest peer", "its G/s", "ratio cold", "warm"]
    made = Table("GPU kernels", [*columns, "of FMA", "of copy", "asked for"], note=NOTE)
    for result in results:
        head = [result.row.name, f"{result.row.label}; {result.row.unit}"]
        if result.missing:
            made.rows.append([*head, f"missing: {result.missing}", *[""] * 9])
            continue
        warm, peer = f"{1e-9 / result.alone_warm:.4g}", ["none", "", "", ""]
        if result.best:
            timed = result.timed[result.best]
            warm = f"{1e-9 / median(timed.warm.ours):.4g}"
            theirs = f"{1e-9 / median(timed.cold.theirs):.3g}"
            low, high = timed.cold.spread
            spread = f"{timed.cold.ratio:.3g} ({low:.3g}..{high:.3g})"
            peer = [result.best, theirs, spread, f"{timed.warm.ratio:.3g}"]
        shares = [
            "" if share is None else f"{share:.0%}"
            for share in (result.share_of_fma(ceilings), result.share_of_copy(ceilings))
        ]
        count = "" if result.launches is None else str(result.launches)
        asked = ", ".join(map(str, result.verdicts()))
        made.rows.append([*head, _with_quartiles(result), warm, count, *peer, *shares, asked])
    return made


def _with_quartiles(result: Result) -> str:
    times = result.timed[result.best].cold.ours if result.best else result.alone
    high, _, low = (1e-9 / time for time in quantiles(times, n=4, method="inclusive"))
    return f"{result.rate / 1e9:.4g} ({low:.3g}..{high:.3g})"
