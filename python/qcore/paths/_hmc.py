"""Hybrid Monte Carlo of closed Euclidean paths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcore._ops._check import require_bool, require_count, require_number, require_positive, wrong_value
from qcore._ops.paths_dynamics import PATH_OBSERVABLES, PathModel, Trajectories, hmc_paths
from qcore._ops.paths_random import WORDS, require_seed

from ._hmc_torch import torch_trajectories
from ._potential import Potential, PotentialLike, as_potential, evaluate
from ._run import SampleResult, run
from ._sampling import (
    checked_lags,
    digest,
    duration,
    fingerprint,
    finite_at,
    kernel_potential,
    require_confining,
    require_cpu,
    starting_point,
)

MIXING_LENGTH = (
    math.pi / 2
)  # of a trajectory after which an oscillator of frequency 1 has forgotten its place


class Hmc:
    """The engine of `hmc`, whose arguments it takes.

    Polynomials and tables move in the kernel, all trajectories of a call in one go. Other functions go
    through torch, with the same random numbers, and tens of times slower.
    """

    name = "hmc"
    dt_order = 2

    def __init__(
        self,
        potential: PotentialLike,
        *,
        slices: int,
        chains: int,
        dt: float | None = None,
        beta: float | None = None,
        mass: float = 1.0,
        hbar: float = 1.0,
        step_size: float | None = None,
        leapfrog_steps: int = 10,
        jitter: float = 0.2,
        target: float = 0.8,
        fourier_acceleration: bool = False,
        frequency: float | None = None,
        lags: Sequence[int] = (),
        start: float | Tensor = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.potential = as_potential(potential)
        require_positive("mass", mass)
        require_positive("hbar", hbar)
        self.beta, self.dt = duration(beta, dt, slices, hbar)
        self.slices, self.chains, self.mass, self.hbar = slices, chains, float(mass), float(hbar)
        self._start = starting_point(start, (chains, slices), dtype)
        finite_at(self.potential, self._start, "potential")
        require_confining(self.potential)
        require_bool("fourier_acceleration", fourier_acceleration)
        if frequency is None:
            frequency = trial_frequency(self.potential, self.mass, self.hbar)
        require_positive("frequency", frequency)
        self.lags = checked_lags(lags, slices - 1)
        self.model = PathModel(
            self.mass, self.hbar, self.dt, float(frequency) if fourier_acceleration else 0.0
        )
        if fourier_acceleration:
            first, longest = (
                0.5 * MIXING_LENGTH / max(leapfrog_steps, 1),
                MIXING_LENGTH / max(leapfrog_steps, 1),
            )
        else:
            stiffest = (4 * mass / self.dt + self.dt * mass * frequency**2) / hbar
            first, longest = 1 / math.sqrt(stiffest), math.inf
        self.trajectories = checked_trajectories(
            step_size, first, longest, leapfrog_steps, jitter, target, seed
        )
        self.observables = (*PATH_OBSERVABLES, *(f"correlator_{lag}" for lag in self.lags))
        self._kernel = kernel_potential(self.potential)

    def config(self) -> dict[str, Any]:
        """All that decides what a run gives."""
        return {
            "potential": fingerprint(self.potential),
            **{name: getattr(self, name) for name in ("slices", "chains", "beta", "lags")},
            **self.model._asdict(),
            **settings(self.trajectories, self._start),
        }

    def start(self) -> dict[str, Tensor]:
        """x (chains, slices), and each chain's step."""
        return {"x": self._start.clone(), "tuned_step": first_tuning(self.trajectories, self.chains)}

    def advance(
        self, state: dict[str, Tensor], first: int, sweeps: int, *, warmup: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """`sweeps` trajectories from number `first` on."""
        check_count(first, sweeps)
        x, tuning = state["x"].clone(), state["tuned_step"].clone()
        if self._kernel is None:
            require_cpu(x)
            measured, accepted = torch_trajectories(
                self.potential, self.model, self.trajectories, self.lags, x, tuning, first, sweeps, warmup
            )
        else:
            measured, accepted = hmc_paths(
                self._kernel,
                self.model,
                self.trajectories,
                lags=self.lags,
                x=x,
                tuning=tuning,
                first=first,
                count=sweeps,
                tune=warmup,
            )
        return {"x": x, "tuned_step": tuning}, measured, accepted


def hmc(
    potential: PotentialLike,
    *,
    slices: int,
    dt: float | None = None,
    beta: float | None = None,
    mass: float = 1.0,
    hbar: float = 1.0,
    chains: int = 64,
    sweeps: int = 1000,
    warmup: int = 200,
    seed: int = 0,
    step_size: float | None = None,
    leapfrog_steps: int = 10,
    jitter: float = 0.2,
    target: float = 0.8,
    fourier_acceleration: bool = False,
    frequency: float | None = None,
    lags: Sequence[int] = (),
    start: float | Tensor = 0.0,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> SampleResult:
    """Sample closed paths x_0, ..., x_{N-1}, x_N = x_0, with weight exp(-S/hbar), by trajectories of whole
    paths.

    S = sum_n m (x_n - x_{n-1})^2 / (2 dt) + dt V(x_n), the trapezoid action: averages err by O(dt^2) from
    those of exp(-beta H), with N dt = hbar beta, and not at all from those of this lattice.

    A trajectory draws momenta, moves path and momenta by leapfrog, and is accepted with probability
    min(1, exp(-dH)). With unit masses the slowest modes need of the order of N steps to move.
    With `fourier_acceleration` the mass matrix is the Hessian of S/hbar for an oscillator, so that all its
    modes turn at one rate; that rotation is made exactly and only V minus the oscillator kicks: the step then
    doesn't shrink with dt, and a quadratic V of this frequency is sampled with acceptance 1. Momenta and
    kicks of this mass matrix are two recurrences along the path, not Fourier transforms.

    Args:
        potential: coefficients of a polynomial, c_0 first, a Table, or a function of torch (slow; through
            autograd).
        slices: N, at least 2.
        dt, beta: step of Euclidean time or inverse temperature; one of them, or both if N dt = hbar beta.
        mass, hbar: in the potential's units.
        chains: independent ones; each is the same whatever their number.
        sweeps: measured trajectories.
        warmup: trajectories before them, in which each chain tunes its step towards acceptance `target`.
        seed: of the random numbers, 64 bits.
        step_size: leapfrog step at the start, None for a guess. In units of 1/frequency if accelerated, else
            such that momenta have variance 1.
        leapfrog_steps: of a trajectory.
        jitter: every trajectory's step is the chain's times a uniform factor in 1 -+ jitter, which keeps
            oscillators from turning by the same angle each time.
        target: acceptance that the warm-up aims at, between 0 and 1.
        fourier_acceleration: see above.
        frequency: of the oscillator in the mass matrix; None takes that of the Gaussian wave function about 0
            of the lowest energy.
        lags: j of the correlators <x_n x_{n+j}> to measure.
        start: where paths begin: a number, or (chains, slices).
        dtype: of the path, torch.float32 or torch.float64; energies add up in float64 either way.
        options: block, progress, checkpoint, resume, keep_chains, time_limit, previous, device, as
            qcore.paths.run takes them.

    Returns:
        SampleResult with energy_virial <V + x V'/2> and energy_thermodynamic, which both estimate
        -d ln Z / d beta of the lattice, x, x2, x4, exp_minus_dh (1 if all is well), and correlators.

    Raises:
        ValueError, TypeError: an argument that can't be, such as a polynomial that isn't bounded below; the
            message names it.

    Sources: Duane, Kennedy, Pendleton, Roweth, Phys. Lett. B 195, 216 (1987); the exact rotation: Beskos,
    Pinski, Sanz-Serna, Stuart, Stoch. Proc. Appl. 121, 2201 (2011); tuning: Hoffman, Gelman, JMLR 15, 1593
    (2014).
    """
    engine = Hmc(
        potential,
        slices=slices,
        chains=chains,
        dt=dt,
        beta=beta,
        mass=mass,
        hbar=hbar,
        step_size=step_size,
        leapfrog_steps=leapfrog_steps,
        jitter=jitter,
        target=target,
        fourier_acceleration=fourier_acceleration,
        frequency=frequency,
        lags=lags,
        start=start,
        seed=seed,
        dtype=dtype,
    )
    return run(engine, sweeps=sweeps, warmup=warmup, **options)


def trial_frequency(potential: Potential, mass: float, hbar: float) -> float:
    """w of the Gaussian exp(-m w x^2 / 2 hbar) with the lowest energy hbar w / 4 + <V>, to some percent."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    w = torch.logspace(-4, 4, 321, dtype=torch.float64)
    width = torch.sqrt(hbar / (2 * mass * w))
    with torch.no_grad():
        v = evaluate(potential, width[:, None] * torch.from_numpy(nodes))
    energy = hbar * w / 4 + v @ torch.from_numpy(weights / weights.sum()).to(v.dtype)
    energy = torch.where(torch.isfinite(energy), energy, math.inf)
    return float(w[energy.argmin()])


# --- what all runs of trajectories share ------------------------------------------------------------------


def checked_trajectories(
    step_size: float | None,
    guess: float,
    longest: float,
    leapfrog_steps: int,
    jitter: float,
    target: float,
    seed: int,
) -> Trajectories:
    """The settings of `hmc` and `hmc_phi4` that have the same meaning in both."""
    require_count("leapfrog_steps", leapfrog_steps)
    if leapfrog_steps == 0:
        raise wrong_value("leapfrog_steps", "at least 1", leapfrog_steps)
    if step_size is not None:
        require_positive("step_size", step_size)
        longest = max(longest, float(step_size))
    for name, value in (("jitter", jitter), ("target", target)):
        require_number(name, value)
    if not 0 <= jitter < 1:
        raise wrong_value("jitter", "a number from 0 to below 1", jitter)
    if not 0 < target < 1:
        raise wrong_value("target", "a number between 0 and 1", target)
    require_seed(seed)
    step = guess if step_size is None else float(step_size)
    return Trajectories(leapfrog_steps, float(jitter), float(target), step, min(longest, 1e300), seed)


def first_tuning(trajectories: Trajectories, chains: int) -> Tensor:
    """(chains, 4): logs of the steps in use and kept, mean error of the acceptance, trajectories so far."""
    row = [math.log(trajectories.step), math.log(trajectories.step), 0.0, 0.0]
    return torch.tensor([row], dtype=torch.float64).repeat(chains, 1)


def settings(trajectories: Trajectories, start: Tensor) -> dict[str, Any]:
    """For a config."""
    return {
        **trajectories._asdict(),
        "dtype": str(start.dtype).removeprefix("torch."),
        "start": digest(start),
    }


def check_count(first: int, sweeps: int) -> None:
    """Refuse sweeps whose numbers no longer fit into a counter."""
    if first + sweeps > WORDS:
        raise wrong_value("sweeps", "numbers below 2^32, warm-up included", first + sweeps)
