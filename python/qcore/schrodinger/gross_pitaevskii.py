r"""The Gross-Pitaevskii (cubic Schroedinger) equation i hbar psi_t = (T + V + g |psi|^2) psi, and its ground
states.

The norm of psi is that of the user: with sum |psi|^2 prod(spacing) = N particles, g is the coupling of one
pair; with norm 1, g counts all particles, g N. T is the kinetic energy of `hamiltonian`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._ops._check import require_number, shape, wrong_type, wrong_value
from ._grid import Grid, Number, number_of, require_times, values_known
from .hamiltonian import closed_grid, kinetic, require_fields, require_on_grid, require_order
from .propagate import propagate

Step = Callable[[Tensor, Tensor], Tensor]


def gross_pitaevskii(
    psi: Tensor,
    potential: Tensor,
    *,
    g: float | Tensor,
    dt: float | Tensor,
    steps: int,
    spacing: Any,
    mass: Any = 1.0,
    hbar: Any = 1.0,
    boundary: str | tuple[str, ...] = "dirichlet",
    imaginary: bool = False,
    space_order: int = 2,
    save_every: int = 0,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Evolve i hbar psi_t = (T + V + g |psi|^2) psi, in real or imaginary time.

    Real time: Strang splitting of order 2. exp(-i dt (V + g |psi|^2) / 2 hbar), exact as it leaves |psi|
    alone; a Crank-Nicolson step of the kinetic energy, `propagate` without potential; the same phase again.
    Keeps the norm to rounding, and the energy up to an oscillation of order dt^2.

    Imaginary time: the normalised gradient flow of Bao and Du. Every step is one implicit, damping step of
    `propagate` with the potential V + g |psi|^2 of the state before, and gives psi the norm back with which
    it started. In one dimension the ground state is a fixed point for any dt; in two and three it is one up
    to order dt^2, from the splitting of the axes. A dt above hbar / (g |psi|^2) may make the density swing
    between two shapes instead. `gross_pitaevskii_ground_state` is faster, has neither error, and tells
    whether it arrived.

    Args:
        psi: (*batch, n), (*batch, ny, nx) or (*batch, nz, ny, nx), complex64 or complex128; in imaginary time
            also float32 or float64.
        potential: V, energy; a real tensor that broadcasts against psi.
        g: coupling, energy times volume (length, area) per particle, > 0 repulsive; a number or a 0-dim
            tensor.
        dt: time step, not 0, in imaginary time > 0; a number or a 0-dim tensor.
        steps: number of steps, >= 0.
        spacing: distance of grid points, a number (one space axis) or one for each axis.
        mass: a number or 0-dim tensor, or one for each axis.
        hbar: a number or 0-dim tensor.
        boundary: "dirichlet" or "periodic", or one for each axis.
        imaginary: as above.
        space_order: 2, 4 or 6.
        save_every: keep the state after every so many steps, 0 for none.

    Returns:
        psi at the end, or (psi, frames) with frames (steps // save_every, *psi.shape) if save_every > 0.
        Differentiable in all tensors.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; a psi of norm 0 in imaginary
            time.

    Source: Bao & Du, SIAM J. Sci. Comput. 25, 1674 (2004); Muruganandam & Adhikari, Comput. Phys. Commun.
        180, 1888 (2009).
    """
    grid = closed_grid(spacing, mass, hbar, boundary)
    require_condensate(psi, potential, grid, g, space_order)
    require_on_grid("potential", potential, psi, grid.space_shape(psi), more_batch=False)
    _check_settings(psi, dt, steps, imaginary, save_every)
    potential = potential.double()  # also for float32 states: errors of its phase would add up
    where = {"spacing": spacing, "mass": mass, "hbar": hbar, "boundary": boundary, "space_order": space_order}

    def step(state: Tensor, felt: Tensor) -> Tensor:
        moved = propagate(state, felt, dt=dt, steps=1, imaginary=imaginary, **where)
        assert isinstance(moved, Tensor)  # no frames asked for
        return moved

    if imaginary:
        last, frames = _relax(psi, potential, g, step, steps, grid, save_every)
    else:
        last, frames = _move(psi, potential, g, dt, step, steps, grid, save_every)
    if not save_every:
        return last
    return last, torch.stack(frames) if frames else last.new_empty(0, *last.shape)


def _move(
    psi: Tensor, potential: Tensor, g: Number, dt: Number, step: Step, steps: int, grid: Grid, save_every: int
) -> tuple[Tensor, list[Tensor]]:
    """Real time: half the phase, kinetic step, half the phase."""
    free = torch.zeros(grid.space_shape(psi), dtype=psi.dtype.to_real(), device=psi.device)
    frames: list[Tensor] = []
    psi = _kick(psi, potential, g, dt / 2, grid) if steps else psi.clone()
    for number in range(1, steps + 1):
        psi = step(psi, free)
        saved = bool(save_every) and number % save_every == 0
        if not saved and number < steps:
            # The phase keeps |psi|, so that the halves of this step and the next are one.
            psi = _kick(psi, potential, g, dt, grid)
            continue
        psi = _kick(psi, potential, g, dt / 2, grid)
        if saved:
            frames.append(psi)
        if number < steps:
            psi = _kick(psi, potential, g, dt / 2, grid)
    return psi, frames


def _kick(psi: Tensor, potential: Tensor, g: Number, dt: Number, grid: Grid) -> Tensor:
    angle = (potential + g * _density(psi.to(torch.complex128))) * (dt / grid.hbar)
    return psi * torch.complex(angle.cos(), -angle.sin()).to(psi.dtype)


def _relax(
    psi: Tensor, potential: Tensor, g: Number, step: Step, steps: int, grid: Grid, save_every: int
) -> tuple[Tensor, list[Tensor]]:
    """Imaginary time: implicit steps in the potential of the state before, at the norm of the start."""
    size = torch.linalg.vector_norm(psi, dim=grid.axes, keepdim=True) * grid.cell**0.5
    if values_known() and not (size > 0).all():
        raise wrong_value("psi", "a norm > 0 in imaginary time", "norm 0")
    frames: list[Tensor] = []
    psi = psi.clone()
    for number in range(1, steps + 1):
        psi = size * step(psi, potential + g * _density(psi))
        if save_every and number % save_every == 0:
            frames.append(psi)
    return psi, frames


def chemical_potential(
    psi: Tensor,
    potential: Tensor,
    *,
    g: float | Tensor,
    spacing: Any,
    mass: Any = 1.0,
    hbar: Any = 1.0,
    boundary: str | tuple[str, ...] = "dirichlet",
    space_order: int = 2,
) -> Tensor:
    """mu = <psi|T + V + g |psi|^2|psi> / <psi|psi>, the energy of one more particle; arguments as of
    `gross_pitaevskii`.

    Returns:
        (*batch,), real; differentiable.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value.
    """
    grid = closed_grid(spacing, mass, hbar, boundary)
    psi, potential = require_condensate(psi, potential, grid, g, space_order)
    linear, quartic, size = _sums(psi, potential, grid, space_order)
    return (linear + g * quartic) / size


def gross_pitaevskii_energy(
    psi: Tensor,
    potential: Tensor,
    *,
    g: float | Tensor,
    spacing: Any,
    mass: Any = 1.0,
    hbar: Any = 1.0,
    boundary: str | tuple[str, ...] = "dirichlet",
    space_order: int = 2,
) -> Tensor:
    """E = <psi|T + V|psi> + g/2 sum |psi|^4 prod(spacing), which real time conserves; arguments as of
    `gross_pitaevskii`.

    For all particles: not divided by <psi|psi>.

    Returns:
        (*batch,), real; differentiable.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value.
    """
    grid = closed_grid(spacing, mass, hbar, boundary)
    psi, potential = require_condensate(psi, potential, grid, g, space_order)
    linear, quartic, _ = _sums(psi, potential, grid, space_order)
    return linear + g * quartic / 2


def _density(psi: Tensor) -> Tensor:
    return psi.real.square() + psi.imag.square() if psi.is_complex() else psi.square()


def _sums(psi: Tensor, potential: Tensor, grid: Grid, space_order: int) -> tuple[Tensor, Tensor, Tensor]:
    """<psi|T + V|psi>, integral of |psi|^4, <psi|psi>."""
    image = kinetic(psi, grid, space_order) + potential * psi
    linear = (psi.conj() * image).sum(grid.axes)
    density = _density(psi)
    linear = linear.real if linear.is_complex() else linear
    quartic, size = density.square().sum(grid.axes), density.sum(grid.axes)
    return linear * grid.cell, quartic * grid.cell, size * grid.cell


def require_condensate(
    psi: Any, potential: Any, grid: Grid, g: Any, space_order: Any
) -> tuple[Tensor, Tensor]:
    """The fields of the equation; refuses what is none, or no coupling."""
    psi, potential = require_fields(psi, potential, grid)
    if potential.is_complex():
        raise wrong_type("potential", "a real tensor", potential.dtype)
    require_order(space_order)
    if isinstance(g, Tensor):
        if g.ndim != 0 or g.is_complex():
            raise wrong_value("g", "a real number or a real 0-dim tensor", f"{g.dtype} of {shape(g)}")
    else:
        require_number("g", g)
    if values_known() and not math.isfinite(number_of(g)):
        raise wrong_value("g", "a finite number", number_of(g))
    return psi, potential


def _check_settings(psi: Tensor, dt: Any, steps: Any, imaginary: Any, save_every: Any) -> None:
    require_times(dt, steps, imaginary, save_every)
    if not imaginary and not psi.is_complex():
        raise wrong_type("psi", "torch.complex64 or torch.complex128 in real time", psi.dtype)
