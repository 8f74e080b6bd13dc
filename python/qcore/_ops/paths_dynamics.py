"""Calls of the kernels of HMC, Langevin motion and diffusion Monte Carlo: arrays made, one call each.

Samplers are no differentiable operators. What the tensors hold is said in csrc/paths/{hmc,langevin,dmc}.hpp.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import _device
from .paths_samplers import KernelPotential

HMC, LANGEVIN, DIFFUSION = 8 << 24, 9 << 24, 10 << 24  # first words of counters: the kernels' Purpose, slot 0
SCHEMES = {"euler-maruyama": 0, "heun": 1, "leimkuhler-matthews": 2, "implicit-midpoint": 3, "exact": 4}
PATH_OBSERVABLES = ("energy_virial", "energy_thermodynamic", "x", "x2", "x4", "exp_minus_dh")
FIELD_OBSERVABLES = ("action_density", "abs_phi", "phi2", "phi4", "susceptibility", "exp_minus_dh")
WALK_OBSERVABLES = ("x", "x2", "x4")
DMC_OBSERVABLES = ("energy_growth", "energy_mixed", "x", "x2", "x4", "effective_fraction")


class Trajectories(NamedTuple):
    """What an HMC run keeps from call to call, whatever it moves."""

    steps: int  # leapfrog steps of a trajectory
    jitter: float
    target: float
    step: float  # at the start
    longest: float  # step
    seed: int


class PathModel(NamedTuple):
    """Closed paths; a frequency above 0 is that of the oscillator whose Hessian the mass matrix is."""

    mass: float
    hbar: float
    dt: float
    frequency: float


class FieldModel(NamedTuple):
    """S = sum of stiffness (phi' - phi)^2 / 2 to next row and column, quadratic phi^2, quartic phi^4."""

    row_stiffness: float
    column_stiffness: float
    quadratic: float
    quartic: float


def hmc_paths(
    potential: KernelPotential,
    model: PathModel,
    trajectories: Trajectories,
    *,
    lags: tuple[int, ...],
    x: Tensor,
    tuning: Tensor,
    first: int,
    count: int,
    tune: bool,
) -> tuple[Tensor, Tensor]:
    """Trajectories first, ..., first + count - 1 of paths x (chains, slices), in place as `tuning` (chains,
    4).

    Returns:
        measured (count, 6 + lags, chains), accepted (chains,), float64.
    """
    measured, accepted = _results(x, count, len(PATH_OBSERVABLES) + len(lags))
    t = trajectories
    _device.kernels(x).paths_hmc(
        *potential.on(x.device),
        *model,
        lags,
        first,
        count,
        t.steps,
        t.jitter,
        tune,
        t.target,
        t.step,
        t.longest,
        t.seed,
        x,
        tuning,
        measured,
        accepted,
    )
    return measured, accepted


def hmc_phi4(
    model: FieldModel,
    trajectories: Trajectories,
    *,
    phi: Tensor,
    tuning: Tensor,
    first: int,
    count: int,
    tune: bool,
) -> tuple[Tensor, Tensor]:
    """The same for fields phi (chains, rows, columns); measured (count, 7 + rows // 2, chains)."""
    measured, accepted = _results(phi, count, len(FIELD_OBSERVABLES) + phi.shape[1] // 2 + 1)
    t = trajectories
    _device.kernels(phi).paths_hmc_phi4(
        *model,
        first,
        count,
        t.steps,
        t.jitter,
        tune,
        t.target,
        t.step,
        t.longest,
        t.seed,
        phi,
        tuning,
        measured,
        accepted,
    )
    return measured, accepted


def leapfrog_paths(
    potential: KernelPotential, model: PathModel, *, step: float, steps: int, x: Tensor, momenta: Tensor
) -> Tensor:
    """One trajectory from these momenta (velocities, with a frequency), in place; (2, chains) energies."""
    energies = x.new_empty(2, x.shape[0], dtype=torch.float64)
    _device.kernels(x).paths_leapfrog(*potential.on(x.device), *model, step, steps, x, momenta, energies)
    return energies


def leapfrog_phi4(model: FieldModel, *, step: float, steps: int, phi: Tensor, momenta: Tensor) -> Tensor:
    """One trajectory from these momenta, in place; (2, chains) energies before and after."""
    energies = phi.new_empty(2, phi.shape[0], dtype=torch.float64)
    _device.kernels(phi).paths_leapfrog_phi4(*model, step, steps, phi, momenta, energies)
    return energies


def langevin(
    potential: KernelPotential,
    *,
    scheme: str,
    dt: float,
    diffusion: float,
    lags: tuple[int, ...],
    x: Tensor,
    first: int,
    count: int,
    steps: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Sweeps first, ..., first + count - 1 of `steps` steps each, of x (chains,) in place.

    Returns:
        measured (count, 3 + lags, chains); failed (chains,), the step after which a chain had run away, or
        -1.
    """
    measured, failed = _results(x, count, len(WALK_OBSERVABLES) + len(lags))
    _device.kernels(x).paths_langevin(
        *potential.on(x.device),
        SCHEMES[scheme],
        dt,
        diffusion,
        first,
        count,
        steps,
        lags,
        seed,
        x,
        measured,
        failed,
    )
    return measured, failed


def dmc(
    potential: KernelPotential,
    guide: Tensor | None,
    *,
    mass: float,
    hbar: float,
    dt: float,
    walkers: Tensor,
    reference: Tensor,
    first: int,
    count: int,
    steps: int,
    seed: int,
) -> Tensor:
    """Sweeps of `steps` steps of walkers (populations, size), in place as `reference` (populations,).

    Returns:
        measured (count, 6, populations).
    """
    measured, _ = _results(walkers, count, len(DMC_OBSERVABLES))
    _device.kernels(walkers).paths_dmc(
        *potential.on(walkers.device),
        guide,
        mass,
        hbar,
        dt,
        first,
        count,
        steps,
        seed,
        walkers,
        reference,
        measured,
    )
    return measured


def _results(x: Tensor, count: int, observables: int) -> tuple[Tensor, Tensor]:
    measured = x.new_empty(count, observables, x.shape[0], dtype=torch.float64)
    return measured, x.new_empty(x.shape[0], dtype=torch.float64)
