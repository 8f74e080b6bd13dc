"""What ``qcore solve`` computes: a packet's motion block by block, a relaxation, the lowest states."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from qcore import schrodinger
from qcore.cli.potentials import Box

_BLOCKS = 50  # calls of a run, between which it can be interrupted
_SHOWN = {1: 1024, 2: 256}  # points along an axis that a picture can show
# Energy times time step over hbar, by the order in time, for a phase error of some 1e-5 a step.
_PHASE = {2: 0.05, 4: 0.2, 6: 0.5, 8: 0.8}


@dataclass(frozen=True)
class System:
    """A particle in a potential on a grid."""

    box: Box
    potential: Tensor
    mass: float
    hbar: float
    space_order: int

    @property
    def spacing(self) -> float | tuple[float, ...]:
        """As the functions of qcore.schrodinger take it."""
        spacing = self.box.spacing
        return spacing if len(spacing) > 1 else spacing[0]

    def packet(self, centre: tuple[float, ...], wave: tuple[float, ...], width: float) -> Tensor:
        """A Gaussian packet of norm 1: width is the standard deviation of |psi|^2 along each axis."""
        factors = []
        for x, x0, k0 in zip(self.box.coordinates(), reversed(centre), reversed(wave), strict=True):
            factors.append(torch.exp(torch.complex(-((x - x0) ** 2) / (4.0 * width**2), k0 * x)))
        psi = torch.as_tensor(math.prod(factors[1:], start=factors[0])).expand(self.box.points).contiguous()
        return psi / schrodinger.norm(psi, spacing=self.spacing)

    def energy(self, psi: Tensor) -> Tensor:
        """Expectation of the Hamiltonian, (*batch,)."""
        boundary = "dirichlet" if self.box.boundary == "transparent" else self.box.boundary
        found: Tensor = schrodinger.energy(
            psi,
            self.potential,
            spacing=self.spacing,
            mass=self.mass,
            hbar=self.hbar,
            boundary=boundary,
            space_order=self.space_order,
        )
        return found

    def time_step(self, psi: Tensor, time_order: int) -> float:
        """A step, 1, 2 or 5 times a power of 10, for a packet of this energy."""
        low, high = float(self.potential.min()), float(self.potential.max())
        fastest = float(self.energy(psi)) - low
        if self.potential.ndim > 1:  # the steps are split, and the phase of V alone is not to run ahead
            fastest = max(fastest, 0.1 * (high - low))
        return _round_number(_PHASE[time_order] * self.hbar / fastest)

    def propagate(
        self, psi: Tensor, dt: float, steps: int, *, time_order: int, imaginary: bool = False, save_every: int
    ) -> tuple[Tensor, Tensor]:
        """``schrodinger.propagate`` in this system: the last state, and those on the way."""
        return schrodinger.propagate(
            psi,
            self.potential,
            dt=dt,
            steps=steps,
            spacing=self.spacing,
            mass=self.mass,
            hbar=self.hbar,
            boundary=self.box.boundary,
            imaginary=imaginary,
            time_order=time_order,
            space_order=self.space_order,
            save_every=save_every,
        )


@dataclass(frozen=True)
class Motion:
    """What was seen of a packet at F times, the start among them.

    Attributes:
        times, norm, energy, potential: (F,), the last two expectations in the normalised state.
        mean, spread: (F, axes), mean and standard deviation of x (and y).
        density: (F, *space), |psi|^2 at ``shown``, fewer points than those of the grid if these are many.
        shown: coordinates of the density, as of ``Box.coordinates``.
        psi: the state at the end.
        steps: done in ``seconds``; fewer than asked for if ``finished`` is False.
    """

    times: Tensor
    norm: Tensor
    energy: Tensor
    potential: Tensor
    mean: Tensor
    spread: Tensor
    density: Tensor
    shown: tuple[Tensor, ...]
    psi: Tensor
    steps: int
    seconds: float
    finished: bool


def move(
    system: System,
    psi: Tensor,
    *,
    dt: float,
    steps: int,
    time_order: int,
    frames: int,
    on_steps: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> Motion:
    """Let a packet move and look at it about ``frames`` times.

    It is done in blocks; between them progress is told, and the question asked whether to stop.
    """
    every = -(-steps // frames)
    ends = [*range(0, steps - steps % every, every * _block(system, steps // every)), steps - steps % every]
    at = [0]
    seen = [_observe(system, psi[None])]
    began = time.perf_counter()
    for done, until in pairwise(sorted({*ends, steps})):
        save = min(every, until - done)
        psi, states = system.propagate(psi, dt, until - done, time_order=time_order, save_every=save)
        seen.append(_observe(system, states))
        at += range(done + save, until + 1, save)
        on_steps(until - done)
        if should_stop():
            break
    seconds = time.perf_counter() - began
    numbers = torch.cat([found[0] for found in seen])
    axes = len(system.box.points)
    return Motion(
        times=torch.tensor(at, dtype=torch.float64) * dt,
        norm=numbers[:, 0],
        energy=numbers[:, 1],
        potential=numbers[:, 2],
        mean=numbers[:, 3 : 3 + axes],
        spread=numbers[:, 3 + axes :],
        density=torch.cat([found[1] for found in seen]),
        shown=tuple(_coarse(x, axes) for x in system.box.coordinates()),
        psi=psi,
        steps=at[-1],
        seconds=seconds,
        finished=at[-1] == steps,
    )


def _block(system: System, frames: int) -> int:
    """Frames of one call: all where the ends are transparent, as these remember what came through."""
    return frames if system.box.boundary == "transparent" else max(1, frames // _BLOCKS)


def _observe(system: System, states: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers (F, 3 + 2 axes) and densities (F, *shown) of F states."""
    axes = len(system.box.points)
    space = tuple(range(-axes, 0))
    density = states.abs() ** 2
    share = density * math.prod(system.box.spacing)
    whole = share.sum(space, keepdim=True)
    share = share / torch.where(whole > 0, whole, 1.0)
    mean, spread = [], []
    for x in reversed(system.box.coordinates()):
        centre = (share * x).sum(space, keepdim=True)
        mean.append(centre.flatten())
        spread.append((share * (x - centre) ** 2).sum(space).sqrt())
    norm = schrodinger.norm(states, spacing=system.spacing)
    potential = (share * system.potential).sum(space)
    return torch.stack([norm, system.energy(states), potential, *mean, *spread], 1), _coarse(density, axes)


def _coarse(values: Tensor, axes: int) -> Tensor:
    """Averages over groups of points, along every space axis that has more of them than a picture shows."""
    for axis in range(-axes, 0):
        group = -(-values.shape[axis] // _SHOWN[axes])
        if group > 1:
            whole = values.shape[axis] // group
            lines = values.narrow(axis, 0, whole * group).movedim(axis, -1)
            values = lines.reshape(*lines.shape[:-1], whole, group).mean(-1).movedim(-1, axis)
    return values


def relax(
    system: System,
    psi: Tensor,
    *,
    dt: float,
    steps: int,
    time_order: int,
    on_steps: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Imaginary time: the times (F,), the energies (F,) at them, and the state that is left."""
    at, energies = [0], [system.energy(psi[None])]
    marks = sorted({round(block * steps / _BLOCKS) for block in range(_BLOCKS + 1)})
    for done, until in pairwise(marks):
        psi, states = system.propagate(
            psi, dt, until - done, time_order=time_order, imaginary=True, save_every=1
        )
        energies.append(system.energy(states))
        at += range(done + 1, until + 1)
        on_steps(until - done)
        if should_stop():
            break
    return torch.tensor(at, dtype=torch.float64) * dt, torch.cat(energies), psi


def lowest_states(system: System, count: int) -> schrodinger.GroundState:
    """The lowest states, by LAPACK where the matrix is tridiagonal and by iteration elsewhere."""
    potential, spacing = system.potential, system.box.spacing
    if len(spacing) == 1 and system.box.boundary == "dirichlet" and system.space_order == 2:
        return schrodinger.eigenstates(
            potential, spacing=spacing[0], k=count, mass=system.mass, hbar=system.hbar
        )
    return schrodinger.ground_state(
        potential,
        spacing=spacing,
        k=count,
        mass=system.mass,
        hbar=system.hbar,
        boundary=system.box.boundary,
        space_order=system.space_order,
    )


def _round_number(value: float) -> float:
    """The largest of 1, 2 and 5 times powers of 10 that is not above a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    leading = max(digit for digit in (1.0, 2.0, 5.0) if digit * power <= value * (1.0 + 1e-12))
    return float(f"{leading * power:.0e}")
