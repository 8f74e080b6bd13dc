"""Hybrid Monte Carlo trajectories per second: the kernels beside torch and NumPy.

A site-step is one leapfrog step of one site (slice) of one chain; momenta, energies, acceptance and, for
ours only, measurements of every trajectory are in the time. The peers move all chains at once, the strongest
way to write it with arrays: neighbours by rolls, the loop over steps compiled step by step or left to eager.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcore import paths
from qcore._ops.paths_dynamics import PathModel, leapfrog_paths, leapfrog_phi4
from qcore._ops.paths_samplers import KernelPotential
from qcore.paths._hmc_phi4 import field_model

from .. import timing
from ..table import Table
from . import rates
from .rates import Row

PREFIX = "paths/hmc/"
QUARTIC = [0.0, 0.0, 0.5, 0.0, 1.0]
DT = 0.125
MASS2, COUPLING = -4.0, 5.1  # of phi^4 in the lattice convention: the point of Albergo et al. at L = 14
STEP, STEPS = 0.02, 20
TARGET_RATE, TARGET_RATIO = (
    2e9,
    10.0,
)  # float32 site-steps per second and core; times as fast as the best of torch

Run = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """A run that is timed: fields of a (side, side) lattice, or paths of `side` slices."""

    name: str
    field: bool
    side: int
    chains: int
    dtype: torch.dtype
    accelerated: bool = False
    trajectories: int = 4

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a chain."""
        return (self.side, self.side) if self.field else (self.side,)

    @property
    def site_steps(self) -> int:
        """Of a call."""
        return int(torch.Size(self.shape).numel()) * self.chains * STEPS * self.trajectories


CASES = [
    Case(f"{PREFIX}phi4-16-f32", True, 16, 512, torch.float32, trajectories=16),
    Case(f"{PREFIX}phi4-32-f32", True, 32, 128, torch.float32),
    Case(f"{PREFIX}phi4-64-f32", True, 64, 64, torch.float32),
    Case(f"{PREFIX}phi4-64-f64", True, 64, 64, torch.float64),
    Case(f"{PREFIX}phi4-128-f32", True, 128, 32, torch.float32),
    Case(f"{PREFIX}path-64-f32", False, 64, 1024, torch.float32),
    Case(f"{PREFIX}path-64-f32-accelerated", False, 64, 1024, torch.float32, accelerated=True),
]


def ours(case: Case, device: str = "cpu") -> Run:
    """The kernel."""
    common: dict[str, Any] = {
        "chains": case.chains,
        "step_size": STEP,
        "leapfrog_steps": STEPS,
        "start": 0.3,
        "seed": 1,
        "dtype": case.dtype,
    }
    engine: paths.Engine
    if case.field:
        engine = paths.HmcPhi4(
            shape=(case.side, case.side), mass2=MASS2, coupling=COUPLING, convention="lattice", **common
        )
    else:
        engine = paths.Hmc(QUARTIC, slices=case.side, dt=DT, fourier_acceleration=case.accelerated, **common)
    state = {name: part.to(device) for name, part in engine.start().items()}
    return lambda: engine.advance(state, 0, case.trajectories, warmup=False)


# --- what a user would write ---


def field_force(phi: Any, roll: Any) -> Any:
    """-dS/dphi of phi^4 in the lattice convention, chains first."""
    around = roll(phi, 1, 1) + roll(phi, -1, 1) + roll(phi, 1, 2) + roll(phi, -1, 2)
    return 2 * around - phi * ((8 + 2 * MASS2) + (4 * COUPLING) * (phi * phi))


def path_force(x: Any, roll: Any) -> Any:
    """-dS/dx of the quartic oscillator, chains first."""
    curve = roll(x, 1, 1) + roll(x, -1, 1) - 2 * x
    return curve / DT - DT * x * (1 + 4 * (x * x))


def field_action(phi: Any, roll: Any) -> Any:
    """Terms of S."""
    square = phi * phi
    bonds = phi * (roll(phi, 1, 1) + roll(phi, 1, 2))
    return (4 + MASS2) * square + COUPLING * square * square - 2 * bonds


def path_action(x: Any, roll: Any) -> Any:
    """Terms of S."""
    link, square = x - roll(x, 1, 1), x * x
    return link * link / (2 * DT) + DT * square * (0.5 + square)


def torch_trajectories(case: Case, device: str = "cpu", *, compiled: bool) -> Run:
    """Eager or compiled torch; the state stays where it is, so that a CUDA graph moves it on."""
    force, action = (field_force, field_action) if case.field else (path_force, path_action)

    def kick_and_drift(x: Tensor, p: Tensor, kick: float) -> tuple[Tensor, Tensor]:
        p = p + kick * force(x, torch.roll)
        return x + STEP * p, p

    def energy(x: Tensor, p: Tensor) -> Tensor:
        return (action(x, torch.roll) + 0.5 * p * p).flatten(1).sum(1)

    if compiled:
        kick_and_drift, energy = torch.compile(kick_and_drift), torch.compile(energy)
    state = torch.full((case.chains, *case.shape), 0.3, dtype=case.dtype, device=device)
    column = (case.chains, *[1] * len(case.shape))

    @torch.no_grad()
    def run() -> None:
        x = state
        for _ in range(case.trajectories):
            p = torch.randn_like(x)
            before = energy(x, p)
            y = x
            for s in range(STEPS):
                y, p = kick_and_drift(y, p, STEP if s else 0.5 * STEP)
            p = p + 0.5 * STEP * force(y, torch.roll)
            yes = torch.rand_like(before) < torch.exp(before - energy(y, p))
            x = torch.where(yes.view(column), y, x)
        state.copy_(x)

    run()
    return run


def numpy_trajectories(case: Case) -> Run:
    """NumPy."""
    dtype = np.float32 if case.dtype == torch.float32 else np.float64
    force, action = (field_force, field_action) if case.field else (path_force, path_action)
    random = np.random.Generator(np.random.SFC64(1))
    state = {"x": np.full((case.chains, *case.shape), 0.3, dtype)}
    axes, column = tuple(range(1, 1 + len(case.shape))), (case.chains, *[1] * len(case.shape))
    step = dtype(STEP)

    def run() -> None:
        for _ in range(case.trajectories):
            x = state["x"]
            p = random.standard_normal(x.shape, dtype)
            before = (action(x, np.roll) + 0.5 * p * p).sum(axes)
            y = x
            for s in range(STEPS):
                p = p + (step if s else step / 2) * force(y, np.roll)
                y = y + step * p
            p = p + step / 2 * force(y, np.roll)
            after = (action(y, np.roll) + 0.5 * p * p).sum(axes)
            yes = random.random(case.chains, dtype) < np.exp(np.minimum(before - after, 0))
            state["x"] = np.where(yes.reshape(column), y, x)

    return run


def check(case: Case, device: str = "cpu") -> None:
    """A few steps of the peers' forces beside the kernel's, from the same momenta.

    Raises:
        Disagreement: they differ.
    """
    force = field_force if case.field else path_force
    x, p = (torch.randn(2, *case.shape, dtype=torch.float64).to(device) for _ in range(2))
    y, w = x.clone(), p.clone()
    if case.field:
        leapfrog_phi4(field_model(MASS2, COUPLING, "lattice"), step=STEP, steps=3, phi=y, momenta=w)
    else:
        potential = KernelPotential(torch.tensor(QUARTIC, dtype=torch.float64))
        leapfrog_paths(potential, PathModel(1.0, 1.0, DT, 0.0), step=STEP, steps=3, x=y, momenta=w)
    for s in range(3):
        p = p + (STEP if s else STEP / 2) * force(x, torch.roll)
        x = x + STEP * p
    if not torch.allclose(x, y, rtol=1e-10, atol=1e-10):
        raise timing.Disagreement(f"{case.name}: paths differ by {float((x - y).abs().max())}")


PEERS: dict[str, Callable[[Case], Run]] = {
    "torch compiled": lambda case: torch_trajectories(case, compiled=True),
    "torch eager": lambda case: torch_trajectories(case, compiled=False),
    "numpy": numpy_trajectories,
}


def rows(
    chosen: set[str] | None = None, *, seconds: float = 4.0, peers: tuple[str, ...] = tuple(PEERS)
) -> Iterator[Row]:
    """Measure the cases of these names, or all, against each peer; site-steps per second on all threads."""
    for case in CASES:
        if chosen is not None and case.name not in chosen:
            continue
        check(case)
        run = ours(case)
        run()
        for peer in peers:
            comparison = timing.compare(run, PEERS[peer](case), seconds=seconds)
            rate = case.site_steps / sorted(comparison.ours)[len(comparison.ours) // 2]
            target = TARGET_RATIO if peer.startswith("torch") and case.field else None
            yield Row(case.name, peer, rate, comparison.ratio, comparison.spread, target)


def names() -> list[str]:
    """Of all rows."""
    return [case.name for case in CASES]


def table(measured: list[Row], threads: int) -> Table:
    """For people."""
    title = f"HMC site-steps, {STEPS} leapfrog steps a trajectory, {threads} threads"
    note = (
        f"Reach: {TARGET_RATE / 1e9:g} G site-steps/s/core for phi^4 in float32 up to 64 x 64. Peers\n"
        "of accelerated paths make plain leapfrog steps, which are worth less."
    )
    return rates.table(title, "site-steps", note, measured)
