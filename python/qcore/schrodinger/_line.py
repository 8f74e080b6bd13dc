"""Runs on one space axis, by the fused kernel."""

from __future__ import annotations

from math import factorial, log
from typing import Any

import torch
from torch import Tensor

from .._ops import schrodinger as ops
from .._ops import schrodinger_transparent as transparent
from .._ops._check import wrong_value
from ._grid import Grid, number_of, values_known
from ._motion import Potential, Run, check_absorption, run_blocks, traces_back
from .observables import energy
from .pade import damped_poles, diagonal_poles

# Steps of imaginary time after which the energies are counted from a new reference.
RENEWAL = 32

# Decay of a state, in powers of e, that is let happen before it is normalised, by its precision.
DECAY = {torch.float64: 200.0, torch.float32: 30.0}

# Largest eigenvalue of L_r.
TOP = {2: 4.0, 4: 6.0, 6: 48.0 / 7.0}


def real_time(run: Run, psi: Tensor, potential: Potential) -> tuple[Tensor, list[Tensor]]:
    """psi (B, n) after the run, and its frames (pieces of (frames, B, n))."""
    substeps = 2 if potential.magnus else 1
    c = run.coefficients(diagonal_poles(run.time_order), -1j) / substeps
    limit = potential.limit(run.steps)

    def advance(state: Tensor, start: int, stop: int, save: int) -> tuple[Tensor, Tensor]:
        energies = potential.steps(start, stop, run.dt)
        check_absorption(energies, run.dt, run.grid.hbar)
        reversible = traces_back(energies, run.dt, run.grid.hbar, stop - start)
        count = (stop - start) * substeps
        return _evolve(run, state, energies, c, count, save * substeps, "cayley", reversible)

    return run_blocks(advance, psi, run.steps, run.save_every, limit)


def open_ends(run: Run, psi: Tensor, potential: Potential) -> tuple[Tensor, list[Tensor]]:
    """As `real_time`, with ends that waves leave through."""
    if not potential.constant or potential.steps(0, 1, run.dt).is_complex():
        raise wrong_value("potential", "a real, constant one where the boundary is 'transparent'", "another")
    transparent.require_vanishing_ends(psi)
    tau = run.dt / (2.0 * run.grid.hbar)
    energies = potential.steps(0, 1, run.dt)[0]
    out, frames = transparent.call(psi, energies, run.grid.kappa(0), tau, run.steps, run.save_every)
    return out, [frames] if run.save_every else []


def imaginary_time(run: Run, psi: Tensor, potential: Potential) -> tuple[Tensor, list[Tensor]]:
    """psi (B, n) normalised, after the run, and its normalised frames.

    The rule is chosen for each system by itself, so that its result does not depend on the others.
    """
    energies = potential.steps(0, 1, run.dt)[0]
    if not values_known():
        return _damp(run, psi, energies, monotone=False)
    top = run.grid.kappa(0) * TOP[run.space_order] + energies.amax(-1) - energies.amin(-1)
    monotone = (top * (run.dt / run.grid.hbar)).detach() <= 2.0
    if bool(monotone.all()) or not bool(monotone.any()):
        return _damp(run, psi, energies, bool(monotone.all()))
    order, parts = torch.argsort(monotone.to(torch.int8), stable=True), []
    for value in (False, True):
        own = monotone == value
        parts.append(_damp(run, psi[own], energies[own], value))
    back = torch.argsort(order)
    final = torch.cat([part[0] for part in parts])[back]
    return final, [torch.cat(pair, 1)[:, back] for pair in zip(parts[0][1], parts[1][1], strict=True)]


def _damp(run: Run, psi: Tensor, energies: Tensor, monotone: bool) -> tuple[Tensor, list[Tensor]]:
    """`imaginary_time` by the Crank-Nicolson family where that reduces higher energies more, else the damped
    one.

    The energies of a system are counted from a reference E: every 32 steps its mean energy, but no more than
    min V + hbar / dt, below which dt (E - E_0) <= hbar holds for certain and the steps damp the higher of any
    two states more. In between it is normalised whenever it could have become too small.
    """
    rate = run.dt / run.grid.hbar
    lowest = energies.amin(-1)
    rule = "cayley" if monotone else "euler"
    poles = (diagonal_poles if monotone else damped_poles)(run.time_order)
    c = run.coefficients(poles, -1.0)
    real = not psi.is_complex() and bool((poles.imag == 0).all())
    state = normalised(psi if real or psi.is_complex() else psi.to(psi.dtype.to_complex()), run.grid)
    frames: list[Tensor] = []
    reference, limit, step = lowest, 0, 0
    while step < run.steps:
        if step % RENEWAL == 0:
            mean = energies_of(run, state, energies)
            reference = torch.minimum(mean, lowest + 1.0 / rate)
            limit = steps_between(state, rate * (mean - reference), run.time_order)
        end = min(run.steps, step + limit, (step // RENEWAL + 1) * RENEWAL)
        shifted = (energies - reference.unsqueeze(-1)).unsqueeze(0)
        due = run.due(step, end)
        state, after = _evolve(run, state, shifted, c, end - step, 1 if due else 0, rule, False)
        frames += [normalised(after[k], run.grid).unsqueeze(0) for k in due]
        state, step = normalised(state, run.grid), end
    return as_given(psi, state, frames)


def as_given(psi: Tensor, state: Tensor, frames: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """State and frames as real as psi: all that complex steps give a real start beside it is rounding."""
    if psi.is_complex() or not state.is_complex():
        return state, frames
    return state.real, [frame.real for frame in frames]


def steps_between(state: Tensor, above: Tensor, order: int) -> int:
    """Steps that states may take until they must be normalised; `above`: dt / hbar times their energies."""
    if not values_known() or not above.numel():
        return 1
    x = max(0.0, number_of(above.amax()))
    decay = log(sum(x**k / factorial(k) for k in range(order + 1)))
    return max(1, int(DECAY[state.dtype.to_real()] / (decay + 1e-3)))


def normalised(states: Tensor, grid: Grid) -> Tensor:
    """States of norm 1."""
    square = states.abs().to(torch.float64) ** 2
    return states / (square.sum(grid.axes, keepdim=True) * grid.cell).sqrt().to(states.abs().dtype)


def energies_of(run: Run, states: Tensor, potential: Tensor) -> Tensor:
    """<H> of states (B, *S) in a potential (P, *S), (B,) float64."""
    wide = states.to(torch.promote_types(states.dtype, torch.float64))
    where: dict[str, Any] = {
        name: getattr(run.grid, name) for name in ("spacing", "mass", "hbar", "boundary")
    }
    return energy(wide, potential, **where, space_order=run.space_order)


def _evolve(
    run: Run,
    psi: Tensor,
    potential: Tensor,
    c: Tensor,
    steps: int,
    save_every: int,
    rule: str,
    reversible: bool,
) -> tuple[Tensor, Tensor]:
    """`steps` steps of c's stages from psi (B, n), and the frames if save_every > 0."""
    kappa = torch.as_tensor(run.grid.kappa(0), dtype=torch.float64, device="cpu")
    settings = (rule, run.space_order, run.grid.boundary[0], run.precision, "auto", reversible)
    if not save_every:
        return ops.evolve.call(psi, potential, kappa, c, steps, *settings), psi.new_empty(0)
    saved: tuple[Tensor, Tensor] = ops.evolve_frames.call(
        psi, potential, kappa, c, steps, save_every * c.shape[0], *settings
    )
    return saved
