"""Bead updates of Metropolis sampling per second: the kernel beside NumPy and torch, quartic oscillator.

An update is a proposal to one bead of one path, with its two random numbers. The peers move every other bead
of all paths at once, the strongest way to write it with arrays; beads are in rows, paths side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcore import paths

from .. import timing
from ..table import Table
from . import rates
from .rates import Row

BETA, MASS = 2.0, 1.0
COEFFICIENTS = [0.0, 0.0, 0.5, 0.0, 1.0]
STEP = 0.7
TARGET_RATE, TARGET_RATIO = 0.4e9, 12.0  # updates per second and core; times as fast as NumPy

Sweeps = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """A run that is timed."""

    name: str
    slices: int
    chains: int
    dtype: torch.dtype
    moves: tuple[str, ...] = ("single",)
    sweeps: int = 20

    @property
    def updates(self) -> int:
        """Of a call."""
        return self.slices * self.chains * self.sweeps * len(self.moves)


CASES = [
    Case("paths/metropolis/single-f32", 64, 4096, torch.float32),
    Case("paths/metropolis/single-f64", 64, 4096, torch.float64),
    Case("paths/metropolis/single-f32-long", 1024, 256, torch.float32),
    Case("paths/metropolis/staging-f32", 64, 4096, torch.float32, ("staging",)),
]


def ours(case: Case, device: str = "cpu") -> Sweeps:
    """The kernel, measuring only at the end of a call as the peers do."""
    engine = paths.Metropolis(
        COEFFICIENTS,
        beta=BETA,
        slices=case.slices,
        chains=case.chains,
        moves=case.moves,
        every=case.sweeps,
        segment=16,
        seed=1,
        dtype=case.dtype,
    )
    state = {name: part.to(device) for name, part in engine.start().items()}
    return lambda: engine.advance(state, 0, case.sweeps, warmup=False)


def link(case: Case) -> float:
    """m / (hbar dt)."""
    return MASS * case.slices / BETA


def numpy_checkerboard(case: Case) -> Sweeps:
    """Even beads, then odd ones, of all paths at once."""
    dtype = np.float32 if case.dtype == torch.float32 else np.float64
    x = np.zeros((case.slices, case.chains), dtype)
    random = np.random.Generator(np.random.SFC64(1))  # the fastest that NumPy has
    k, scale = dtype(link(case)), dtype(BETA / case.slices)
    half = case.slices // 2

    def action(y: Any) -> Any:
        square = y * y
        return scale * square * (dtype(0.5) + square)

    def sweeps() -> None:
        for _ in range(case.sweeps):
            for parity in (0, 1):
                old = x[parity::2]
                other = x[1 - parity :: 2]
                neighbours = other + np.roll(other, 1 if parity == 0 else -1, 0)
                u = random.random((2, half, case.chains), dtype)
                new = old + dtype(STEP) * (u[0] - dtype(0.5))
                change = k * (new - old) * (new + old - neighbours) + action(new) - action(old)
                x[parity::2] = np.where(u[1] < np.exp(-change), new, old)

    return sweeps


def torch_sweep(x: Tensor, k: float, scale: float) -> Tensor:
    """One sweep as tensor operations; compiles to a few fused loops."""
    even, odd = x[0], x[1]
    for parity in (0, 1):
        old, other = (even, odd) if parity == 0 else (odd, even)
        neighbours = other + other.roll(1 if parity == 0 else -1, 0)
        new = old + STEP * (torch.rand_like(old) - 0.5)
        a, b = new * new, old * old
        change = k * (new - old) * (new + old - neighbours) + scale * (a * (0.5 + a) - b * (0.5 + b))
        moved = torch.where(torch.rand_like(old) < torch.exp(-change), new, old)
        even, odd = (moved, odd) if parity == 0 else (even, moved)
    return torch.stack([even, odd])


def torch_checkerboard(case: Case, device: str = "cpu", *, compiled: bool) -> Sweeps:
    """Even and odd beads in halves of their own, so that nothing is gathered; they stay where they are."""
    sweep = torch.compile(torch_sweep) if compiled else torch_sweep
    state = torch.zeros(2, case.slices // 2, case.chains, dtype=case.dtype, device=device)

    @torch.no_grad()
    def sweeps() -> Tensor:
        x = state
        for _ in range(case.sweeps):
            x = sweep(x, link(case), BETA / case.slices)
        return state.copy_(x)

    sweeps()
    return sweeps


PEERS: dict[str, Callable[[Case], Sweeps]] = {
    "numpy": numpy_checkerboard,
    "torch eager": lambda case: torch_checkerboard(case, compiled=False),
    "torch compiled": lambda case: torch_checkerboard(case, compiled=True),
}


def rows(
    chosen: set[str] | None = None, *, seconds: float = 4.0, peers: tuple[str, ...] = tuple(PEERS)
) -> Iterator[Row]:
    """Measure the cases of these names, or all, against each peer in turn."""
    for case in CASES:
        if chosen is not None and case.name not in chosen:
            continue
        run = ours(case)
        run()
        for peer in peers:
            other = PEERS[peer](case)
            comparison = timing.compare(run, other, seconds=seconds)
            rate = case.updates / sorted(comparison.ours)[len(comparison.ours) // 2]
            # Peers make single-bead updates only; staging updates are worth more.
            target = TARGET_RATIO if peer == "numpy" and case.moves == ("single",) else None
            yield Row(case.name, peer, rate, comparison.ratio, comparison.spread, target)


def names() -> list[str]:
    """Of all rows."""
    return [case.name for case in CASES]


def table(measured: list[Row], threads: int) -> Table:
    """For people."""
    title = f"Metropolis bead updates, quartic oscillator, {threads} threads"
    note = f"Reach: {TARGET_RATE / 1e9} G updates/s/core, single beads, float32. Peers move single beads."
    return rates.table(title, "updates", note, measured)
