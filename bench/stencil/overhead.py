"""What a call costs before any arithmetic: the same tiny chain through each floor of the house."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

from qcore import _core, stencil

from ..table import Table
from ..timing import interleave, once
from .cases import Case, make
from .peers import PEERS, ours

TINY = Case("overhead", (1, 1, 8, 8), steps=1)
OP_TARGET = 3.0  # microseconds that the op may take above the raw call


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


def calls() -> dict[str, Any]:
    """What is called, by name; the raw call first."""
    problem, training = make(TINY), make(replace(TINY, train=True))
    x, taps, y = problem.x, problem.taps, torch.empty_like(problem.x)
    weight = problem.merged[0].unsqueeze(1)
    # skip, ReLU, slope, zero boundary, no states, no checkpoints, the fastest backend
    settings = 1.0, 1, 0.01, 0, 0, 0, 0
    raw, op = _core.stencil_residual_chain, torch.ops.qcore.stencil_residual_chain.default

    def call_op() -> Any:
        return op(x, taps, None, 1.0, "relu", 0.01, "zero", "auto")

    def raw_allocating() -> None:
        raw(x, taps, None, torch.empty_like(x), None, None, *settings)

    return {
        "raw _core call": lambda: raw(x, taps, None, y, None, None, *settings),
        "raw _core call, output allocated": raw_allocating,
        "torch.ops.qcore.stencil_residual_chain": call_op,
        "qcore.stencil.residual_chain": lambda: stencil.residual_chain(x, taps),
        "torch: one relu(conv2d)": lambda: torch.relu_(F.conv2d(x, weight, padding=1)),
        "training step, qcore": ours(training).run,
        "training step, torch": PEERS[0].build(training).run,
    }


def measure(*, rounds: int = 31, sample: float = 0.01) -> list[Call]:
    """Time them all in turn, on 64 points. Only the training steps have inputs that ask for gradients."""
    named = calls()
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


def table(timed: list[Call]) -> Table:
    """The calls below each other."""
    made = Table("A call on 64 points, one step", ["call", "us", "us above raw", "asked for"])
    for call in timed:
        asked = "" if call.target is None else f"{call.target:g} us {'reached' if call.reached else 'missed'}"
        made.rows.append([call.name, f"{call.time:.2f}", f"{call.above_raw:.2f}", asked])
    return made
