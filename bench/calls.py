"""What a call costs before any arithmetic: ways to call a tiny problem, timed against the raw call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from .table import Table
from .timing import interleave, once

OP_TARGET = 3.0  # microseconds that the op may take above the raw call
QUICK: dict[str, Any] = {"rounds": 3, "sample": 1e-4}  # of `measure`, to see whether it runs


@dataclass(frozen=True)
class Call:
    """A way to call, timed. Microseconds."""

    name: str
    time: float
    above_raw: float  # median over the rounds of the difference within a round
    target: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether it is as close to the raw call as asked."""
        return None if self.target is None else self.above_raw <= self.target

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "us": self.time,
            "us_above_raw": self.above_raw,
            "target": self.target,
            "reached": self.reached,
        }


def measure(named: dict[str, Callable[[], Any]], *, rounds: int = 31, sample: float = 0.01) -> list[Call]:
    """Time them all in turn; the first is the raw call."""
    for run in named.values():
        run()
    repeats = [max(1, int(sample / once(run))) for run in named.values()]
    samples = interleave(list(named.values()), repeats, rounds)
    raw = samples[0]
    return [
        Call(
            name,
            median(times) * 1e6,
            median(time - base for time, base in zip(times, raw, strict=True)) * 1e6,
            OP_TARGET if name.startswith("torch.ops") else None,
        )
        for name, times in zip(named, samples, strict=True)
    ]


def table(title: str, timed: list[Call]) -> Table:
    """The calls below each other."""
    made = Table(title, ["call", "us", "us above raw", "asked for"])
    for call in timed:
        asked = "" if call.target is None else f"{call.target:g} us {'reached' if call.reached else 'missed'}"
        made.rows.append([call.name, f"{call.time:.2f}", f"{call.above_raw:.2f}", asked])
    return made
