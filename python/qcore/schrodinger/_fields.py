"""Runs on several space axes: pointwise factors of the potential between kinetic sweeps along the axes."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from .._ops import schrodinger_split as ops
from ._grid import number_of, values_known
from ._line import TOP, as_given, energies_of, normalised, steps_between
from ._motion import Potential, Run, run_blocks, traces_back
from .pade import damped_poles, diagonal_poles, suzuki


def real_time(run: Run, psi: Tensor, potential: Potential) -> tuple[Tensor, list[Tensor]]:
    """psi (B, *S) after the run, and its frames (pieces of (frames, B, *S))."""
    fractions = suzuki(run.time_order)
    distinct = sorted(set(fractions))
    poles = diagonal_poles(run.time_order)
    e = torch.stack([_kinetic(run, poles, -1j) * f for f in distinct])
    kinetic = [-1 - distinct.index(f) for f in fractions]

    def constant(state: Tensor, start: int, stop: int, save: int) -> tuple[Tensor, Tensor]:
        energies = potential.steps(start, stop, run.dt).squeeze(0)
        halves = [0.5 * (a + b) for a, b in pairwise((0.0, *fractions, 0.0))]
        kicks = sorted(set(halves))
        phases = torch.stack([_factor(run, energies, f, -1j) for f in kicks])
        program = [kicks.index(halves[0])]
        for half, sweep in zip(halves[1:], kinetic, strict=True):
            program += [sweep, kicks.index(half)]
        reversible = traces_back(energies, run.dt, run.grid.hbar, run.steps)
        return _evolve(run, state, phases, e, program, stop - start, save, "cayley", reversible)

    def driven(state: Tensor, start: int, stop: int, save: int) -> tuple[Tensor, Tensor]:
        kicks: list[Tensor] = []
        program: list[int] = []
        late = torch.zeros((), dtype=torch.float64, device=psi.device)
        for energies, fraction, sweep in _pieces(run, potential, start, stop, fractions, kinetic):
            early = 0.5 * fraction * energies
            program += [len(kicks), sweep]
            kicks.append(late + early)
            late = early
        program.append(len(kicks))
        kicks.append(late)
        energies = torch.stack(torch.broadcast_tensors(*kicks))  # type: ignore[no-untyped-call]
        reversible = traces_back(energies, run.dt, run.grid.hbar, 1)
        return _evolve(run, state, _factor(run, energies, 1.0, -1j), e, program, 1, 0, "cayley", reversible)

    if potential.constant:
        return run_blocks(constant, psi, run.steps, run.save_every, max(1, run.steps))
    return run_blocks(driven, psi, run.steps, run.save_every, potential.limit(run.steps), inside=False)


def _pieces(
    run: Run, potential: Potential, start: int, stop: int, fractions: tuple[float, ...], kinetic: list[int]
) -> list[tuple[Tensor, float, int]]:
    """Potential (P, *S), fraction of a step and kinetic substep of every Strang step from start to stop."""
    if not potential.is_function:
        energies = potential.steps(start, stop, run.dt)
        return [(energies[k], 1.0, kinetic[0]) for k in range(stop - start)]
    pieces = []
    for k in range(start, stop):
        done = 0.0
        for fraction, sweep in zip(fractions, kinetic, strict=True):
            pieces.append((potential.at((k + done + 0.5 * fraction) * run.dt), fraction, sweep))
            done += fraction
    return pieces


def imaginary_time(run: Run, psi: Tensor, potential: Potential) -> tuple[Tensor, list[Tensor]]:
    """psi (B, *S) normalised, after the run, and its normalised frames."""
    energies = potential.steps(0, 1, run.dt).squeeze(0)
    lowest = energies.amin(run.grid.axes, keepdim=True)
    rate = run.dt / run.grid.hbar
    kappas = [run.grid.kappa(d) for d in range(run.grid.ndim)]
    monotone = values_known() and all(number_of(TOP[run.space_order] * k * rate) <= 2.0 for k in kappas)
    rule, poles = ("cayley", diagonal_poles(2)) if monotone else ("euler", damped_poles(2))
    real = not psi.is_complex() and monotone
    work = psi if real or psi.is_complex() else psi.to(psi.dtype.to_complex())
    e = _kinetic(run, poles, -1.0).unsqueeze(0)
    half = _factor(run, energies - lowest - 1.0 / rate, 0.5, -1.0).unsqueeze(0)

    state = normalised(work, run.grid)
    frames: list[Tensor] = []
    step = 0
    while step < run.steps:
        above = rate * (energies_of(run, state, energies) - lowest.flatten())
        end = min(run.steps, step + steps_between(state, above + 1.0, 1))
        due = run.due(step, end)
        state, after = _evolve(run, state, half, e, [0, -1, 0], end - step, 1 if due else 0, rule, False)
        frames += [normalised(after[k], run.grid).unsqueeze(0) for k in due]
        state, step = normalised(state, run.grid), end
    return as_given(psi, state, frames)


def _kinetic(run: Run, poles: Tensor, unit: complex) -> Tensor:
    """e (D, M) of a whole step, on the CPU."""
    kappas = [
        torch.as_tensor(run.grid.kappa(d), dtype=torch.float64, device="cpu") for d in range(run.grid.ndim)
    ]
    return torch.stack(kappas).unsqueeze(-1) * run.coefficients(poles, unit)


def _factor(run: Run, energies: Tensor, fraction: float, unit: complex) -> Tensor:
    """exp(unit fraction dt V / hbar)."""
    return torch.exp(unit * fraction * (run.dt / run.grid.hbar) * energies)


def _evolve(
    run: Run,
    psi: Tensor,
    phases: Tensor,
    e: Tensor,
    program: list[int],
    steps: int,
    save_every: int,
    rule: str,
    reversible: bool,
) -> tuple[Tensor, Tensor]:
    phases = phases.to(torch.complex128) if psi.is_complex() else phases
    boundary = ",".join(run.grid.boundary)
    settings = (program, boundary, run.space_order, rule, steps)
    if not save_every:
        out = ops.split_evolve.call(psi, phases, e, *settings, run.precision, reversible, "auto")
        return out, psi.new_empty(0)
    saved: tuple[Tensor, Tensor] = ops.split_frames.call(
        psi, phases, e, *settings, save_every, run.precision, reversible, "auto"
    )
    return saved
