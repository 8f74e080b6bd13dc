"""The split-operator method on a periodic grid: kinetic energy among waves, potential in space, by turns."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from .._ops._check import shape, wrong_type, wrong_value
from .._ops._register import transforming
from ._grid import Grid, Number, make_grid, number_of, require_potential, require_times, values_known
from .hamiltonian import require_on_grid, require_psi

Potential = Tensor | Callable[[Any], Tensor]

# A step is drift a_0, kick b_1, drift a_1, ..., kick b_s, drift a_s; both lists are palindromes and add to 1.
Scheme = tuple[tuple[float, ...], tuple[float, ...]]


def _palindromes(drifts: tuple[float, ...], kicks: tuple[float, ...]) -> Scheme:
    # What is in the middle follows from the sum.
    middle = 1 - 2 * sum(drifts)
    inner = 0.5 - sum(kicks)
    return (*drifts, middle, *drifts[::-1]), (*kicks, inner, inner, *kicks[::-1])


STRANG: Scheme = (0.5, 0.5), (1.0,)
# S_6 of Blanes & Moan: order 4 with 6 kicks, for any two operators.
BLANES_MOAN = _palindromes(
    (0.0792036964311957, 0.353172906049774, -0.0420650803577195), (0.209515106613362, -0.143851773179818)
)
SCHEMES = {2: STRANG, 4: BLANES_MOAN}


def split_step(
    psi: Tensor,
    potential: Potential,
    *,
    dt: float | Tensor,
    steps: int,
    spacing: Any,
    mass: Any = 1.0,
    hbar: Any = 1.0,
    imaginary: bool = False,
    order: int = 2,
    save_every: int = 0,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Evolve i hbar psi_t = (-hbar^2/2m d^2/dx^2 + V) psi on a periodic grid by fast Fourier transforms.

    Spectrally accurate in space, unitary for real V, and of order 2 (Strang) or 4 (Blanes & Moan) in dt: the
    method for smooth potentials and states. A jump of V, or a wall, leaves it with order 2 in the spacing at
    best, where `propagate` is faster.

    Args:
        psi: (*batch, n), (*batch, ny, nx) or (*batch, nz, ny, nx), complex64 or complex128; in imaginary time
            also float32 or float64.
        potential: V, energy; real, or complex with Im V <= 0, which absorbs. A tensor that broadcasts against
            psi, the same in all steps; for order 2 also one with one axis more than psi, (steps, *batch or
            ones, *space): one entry per step, taken at its middle; or a function of time that returns one of
            the former kind, called with t from 0, a float, or a tensor if dt is one: at the middle of each
            step (order 2), at six times within (order 4).
        dt: time step, not 0 (negative runs back in time, for real V); a number or a 0-dim tensor.
        steps: number of steps, >= 0.
        spacing: distance of grid points, a number (one space axis) or one for each axis.
        mass: a number or 0-dim tensor, or one for each axis.
        hbar: a number or 0-dim tensor.
        imaginary: run exp(-H dt / hbar) instead, dt > 0, order 2, and normalise after every step.
        order: of the error in dt, 2 (one kick a step) or 4 (six; its negative substeps are not possible in
            imaginary time, and in a strong absorber amplify within a step: keep |Im V| dt / hbar small).
        save_every: keep the state after every so many steps, 0 for none. Costs half a Fourier transform pair
            for each.

    Returns:
        psi at the end, or (psi, frames) with frames (steps // save_every, *psi.shape) if save_every > 0. In
        imaginary time sum |psi|^2 prod(spacing) = 1. Differentiable in all tensors; reverse mode keeps the
        states of all substeps.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; gain (Im V > 0, or an absorber
            run back in time); in imaginary time order 4, dt < 0, or a psi that is zero, also one that becomes
            zero by underflow.

    Source: Feit, Fleck, Steiger, J. Comput. Phys. 47, 412 (1982); S_6 of Blanes & Moan, J. Comput. Appl.
        Math. 142, 313 (2002).
    """
    grid = make_grid(spacing, mass, hbar, "periodic")
    require_psi(psi, grid)
    _check_settings(psi, dt, steps, imaginary, order, save_every)
    run = _Run(psi, potential, grid, dt, imaginary, SCHEMES[order])
    if run.series and (order != 2 or run.potential.shape[0] != steps):
        expected = f"{steps} entries along its first axis (it has one axis more than psi), and order 2"
        raise wrong_value("potential", expected, f"{shape(run.potential)}, order {order}")
    last, frames = run.evolve(steps, save_every)
    if not save_every:
        return last
    return last, torch.stack(frames) if frames else last.new_zeros(steps // save_every, *last.shape)


class _Run:
    """The phases of a run; those that don't change are computed once."""

    def __init__(
        self, psi: Tensor, potential: Potential, grid: Grid, dt: Number, imaginary: bool, scheme: Scheme
    ) -> None:
        self.psi, self.grid, self.dt, self.imaginary = psi, grid, dt, imaginary
        self.space = require_psi(psi, grid)
        self.dtype = psi.dtype.to_complex()
        self.drifts, self.kicks = scheme
        self.instants = tuple(accumulate(self.drifts[:-1]))
        energies = wave_energies(grid, self.space, psi.device)
        self.drift_phases = {a: self.phase(energies, a) for a in {*self.drifts, 2 * self.drifts[0]}}
        self.potential: Any = potential
        self.series = isinstance(potential, Tensor) and potential.ndim == psi.ndim + 1
        self.kick_phases: dict[float, Tensor] = {}
        if not self.moving:
            constant = self.checked(potential, "potential")
            self.kick_phases = {b: self.phase(constant, b) for b in {*self.kicks}}

    @property
    def moving(self) -> bool:
        """Whether the potential depends on time."""
        return self.series or (callable(self.potential) and not isinstance(self.potential, Tensor))

    def evolve(self, steps: int, save_every: int) -> tuple[Tensor, list[Tensor]]:
        """The state after all steps, and one after every save_every."""
        frames: list[Tensor] = []
        axes, half = self.grid.axes, self.drift_phases[self.drifts[0]]
        whole = self.drift_phases[2 * self.drifts[0]]
        psi = self.normalised(self.psi.to(self.dtype, copy=True), "psi")
        if not steps or not psi.numel():
            return self.returned(psi), frames
        amplitudes = multiplied(torch.fft.fftn(psi, dim=axes, norm="ortho"), half)
        for step in range(steps):
            for stage, coefficient in enumerate(self.kicks):
                if stage:
                    amplitudes = multiplied(amplitudes, self.drift_phases[self.drifts[stage]])
                psi = torch.fft.ifftn(amplitudes, dim=axes, norm="ortho")
                psi = multiplied(psi, self.kick_phase(step, stage, coefficient))
                amplitudes = torch.fft.fftn(psi, dim=axes, norm="ortho")
            if self.imaginary:  # the size alone: far from under- and overflow on the way
                size = torch.linalg.vector_norm(amplitudes, dim=axes, keepdim=True)
                amplitudes = multiplied(amplitudes, 1 / size)
            saved = save_every and (step + 1) % save_every == 0
            if not saved and step + 1 < steps:
                # the last drift of this step and the first of the next
                amplitudes = multiplied(amplitudes, whole)
                continue
            amplitudes = multiplied(amplitudes, half)
            psi = self.normalised(torch.fft.ifftn(amplitudes, dim=axes, norm="ortho"), "dt")
            if saved:
                frames.append(self.returned(psi))
            amplitudes = multiplied(amplitudes, half)
        return self.returned(psi), frames

    def kick_phase(self, step: int, stage: int, coefficient: float) -> Tensor:
        """Phase factor of the potential at a substep."""
        if not self.moving:
            return self.kick_phases[coefficient]
        if self.series:
            return self.phase(self.checked(self.potential[step], "potential"), coefficient)
        value = self.potential((step + self.instants[stage]) * self.dt)
        return self.phase(self.checked(value, "potential(t)"), coefficient)

    def checked(self, value: Any, name: str) -> Tensor:
        """The potential in double precision; in imaginary time from its least value, not to overflow."""
        require_on_grid(name, value, self.psi, self.space, more_batch=False)
        potential: Tensor = value
        require_potential(potential, name)
        back = values_known() and number_of(self.dt) < 0
        if back and potential.is_complex() and (potential.imag < 0).any():
            raise wrong_value("dt", "a number > 0 for an absorbing potential", number_of(self.dt))
        if self.imaginary:
            if potential.is_complex():
                raise wrong_type(name, "a real tensor in imaginary time", potential.dtype)
            axes = tuple(range(-min(potential.ndim, self.grid.ndim), 0))
            potential = potential - potential.detach().amin(axes, keepdim=True)
        return potential.to(torch.complex128 if potential.is_complex() else torch.float64)

    def phase(self, energy: Tensor, coefficient: float) -> Tensor:
        """exp(-i coefficient dt energy / hbar) in the precision of psi; without the i in imaginary time."""
        angle = energy * (coefficient * self.dt / self.grid.hbar)
        if self.imaginary:
            return (-angle).exp().to(self.dtype)
        if angle.is_complex():
            return (-1j * angle).exp().to(self.dtype)
        return torch.complex(angle.cos(), -angle.sin()).to(self.dtype)  # faster than a complex exp

    def normalised(self, psi: Tensor, culprit: str) -> Tensor:
        """In imaginary time psi with sum |psi|^2 prod(spacing) = 1; names the culprit if psi is zero."""
        if not self.imaginary:
            return psi
        size = torch.linalg.vector_norm(psi, dim=self.grid.axes, keepdim=True)
        if values_known() and not ((size > 0) & size.isfinite()).all():
            expected = (
                "a norm > 0"
                if culprit == "psi"
                else "a step after which psi is finite and not zero everywhere"
            )
            raise wrong_value(culprit, expected, f"norm {size.min().item()}")
        normal: Tensor = psi / (size * self.grid.cell**0.5)
        return normal

    def returned(self, psi: Tensor) -> Tensor:
        """psi in the dtype it came in."""
        return psi if self.psi.is_complex() else psi.real.clone()


def wave_energies(grid: Grid, space: tuple[int, ...], device: torch.device) -> Tensor:
    """(hbar k)^2 / 2m of every wave on the grid, (*space), float64."""
    total = torch.zeros((), dtype=torch.float64, device=device)
    for index, (n, h) in enumerate(zip(space, grid.spacing, strict=True)):
        wave = torch.fft.fftfreq(n, h / (2 * math.pi), dtype=torch.float64, device=device)
        energy = (grid.hbar * wave) ** 2 / (2 * grid.mass[index])
        total = total + energy.reshape(-1, *(1,) * (len(space) - 1 - index))
    return total


def multiplied(fresh: Tensor, factor: Tensor) -> Tensor:
    """fresh * factor; in place, unless a derivative needs the old values."""
    recording = torch.is_grad_enabled() and (fresh.requires_grad or factor.requires_grad)
    return fresh * factor if recording or transforming() else fresh.mul_(factor)


def _check_settings(psi: Any, dt: Any, steps: Any, imaginary: Any, order: Any, save_every: Any) -> None:
    require_times(dt, steps, imaginary, save_every)
    if isinstance(order, bool) or order not in SCHEMES:
        raise wrong_value("order", "2 or 4", repr(order))
    if imaginary and order == 4:
        raise wrong_value(
            "order", "2 in imaginary time, where the negative substeps of order 4 diverge", order
        )
    if not imaginary and not psi.is_complex():
        raise wrong_type("psi", "torch.complex64 or torch.complex128 in real time", psi.dtype)
