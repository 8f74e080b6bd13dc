"""What a run is, checked: the potential as the kernels take it, when they want it, and blocks of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import atanh, log, prod
from typing import Any

import torch
from torch import Tensor

from .._ops._check import require_number, shape, wrong_type, wrong_value
from ._grid import Grid, Number, number_of, readable, require_potential
from .pade import MAGNUS_NODES, MAGNUS_WEIGHTS

# Numbers of a time-dependent potential that are held at once.
SERIES_NUMBERS = 4_000_000

# Tracing a run back multiplies rounding errors by what an absorber has taken from the state; up to this it is
# done.
REVERSIBLE_GROWTH = 1e3

PotentialLike = Tensor | Callable[[float], Tensor]


@dataclass(frozen=True)
class Potential:
    """A potential for states (*batch, *space): constant, a series over the steps, or a function of time."""

    source: Any
    space: tuple[int, ...]
    batch: tuple[int, ...]
    absorption: Tensor | None
    magnus: bool = False

    @property
    def constant(self) -> bool:
        """Whether it is the same in all steps."""
        return isinstance(self.source, Tensor) and self.source.ndim <= len(self.batch) + len(self.space)

    @property
    def is_function(self) -> bool:
        """Whether it can be had at any time."""
        return not isinstance(self.source, Tensor)

    def steps(self, start: int, stop: int, dt: Number) -> Tensor:
        """V of the steps from start to stop, (S, P, *space): S = 1 where it is constant, else one per step.

        For the Magnus integrator two per step, those of its halves.
        """
        if self.constant:
            return self._form(self.source.unsqueeze(0), lead=1)
        if isinstance(self.source, Tensor):
            return self._form(self.source[start:stop], lead=1)
        if not self.magnus:
            return torch.stack([self.at((k + 0.5) * dt) for k in range(start, stop)])
        (first, second), (u, v) = MAGNUS_NODES, MAGNUS_WEIGHTS
        halves = []
        for k in range(start, stop):
            a, b = self.at((k + first) * dt), self.at((k + second) * dt)
            halves += [2.0 * (u * a + v * b), 2.0 * (v * a + u * b)]
        return torch.stack(halves)

    def at(self, time: Any) -> Tensor:
        """The value of a function of time, (P, *space)."""
        value = self.source(time)
        require_potential(value, "potential(t)")
        return self._form(value)

    def limit(self, steps: int) -> int:
        """Steps whose potentials are worth holding at once."""
        if not self.is_function:
            return max(1, steps)
        return max(1, SERIES_NUMBERS // ((2 if self.magnus else 1) * prod(self.space)))

    def _form(self, value: Tensor, lead: int = 0) -> Tensor:
        """(*lead, P, *space) of what broadcasts to the states after `lead` axes; P = 1 or all states."""
        own, axes = value.shape[lead:], len(self.space)
        whole = self.batch + self.space
        fits = len(own) <= len(whole) and all(
            n in (1, m) for n, m in zip(own[::-1], whole[::-1], strict=False)
        )
        if not fits:
            raise wrong_value(
                "potential",
                f"a shape that broadcasts to psi's, {whole}, or one axis more",
                shape(value),
            )
        value = value.to(torch.complex128 if value.is_complex() else torch.float64)
        if self.absorption is not None:
            value = value - 1j * self.absorption
        front = value.shape[:lead]
        batch = value.shape[lead:-axes] if value.ndim - lead > axes else torch.Size()
        if prod(batch) == 1:
            return (
                value.reshape(*front, *value.shape[lead + len(batch) :])
                .expand(*front, *self.space)
                .unsqueeze(lead)
            )
        value = value.reshape(*front, *(1,) * (len(self.batch) - len(batch)), *value.shape[lead:])
        return value.expand(*front, *self.batch, *self.space).reshape(*front, -1, *self.space)


@dataclass(frozen=True)
class Run:
    """What a run is but for its states and potential."""

    grid: Grid
    dt: Number
    steps: int
    time_order: int
    space_order: int
    save_every: int
    precision: str

    def due(self, start: int, stop: int) -> list[int]:
        """Numbers of the steps from start to stop after which a frame is due, counted from start."""
        if not self.save_every:
            return []
        first = (start // self.save_every + 1) * self.save_every
        return [k - start - 1 for k in range(first, stop + 1, self.save_every)]

    def coefficients(self, poles: Tensor, unit: complex) -> Tensor:
        """c_s = unit dt / (hbar z_s) on the CPU: unit -i for real time, -1 for imaginary time."""
        return unit * torch.as_tensor(self.dt / self.grid.hbar, dtype=torch.float64, device="cpu") / poles


def make_potential(
    potential: Any, psi: Tensor, grid: Grid, absorber: Any, steps: int, imaginary: bool, time_order: int
) -> Potential:
    """The potential of a run of `steps` from psi; refuses what is none."""
    space = grid.space_shape(psi)
    batch = tuple(psi.shape[: -grid.ndim])
    absorption = None if absorber is None else absorbing_layer(absorber, space, grid, psi.device)
    if not isinstance(potential, Tensor) and not callable(potential):
        raise wrong_type("potential", "a torch.Tensor or a function of time", type(potential).__name__)
    made = Potential(potential, space, batch, absorption)
    if not made.constant and time_order > 4:
        raise wrong_value("time_order", "2 or 4 for a potential that depends on time", time_order)
    if made.is_function:
        if imaginary:
            raise wrong_value("potential", "a constant potential in imaginary time", "a function of time")
        return replace(made, magnus=time_order == 4 and grid.ndim == 1)
    _require_device(potential, psi)
    require_potential(potential)
    if not made.constant and time_order == 4:
        raise wrong_value(
            "potential",
            "a function of time for time_order=4 (a series only has the middles of the steps)",
            "a tensor",
        )
    if potential.ndim == psi.ndim + 1 and potential.shape[0] != steps:
        raise wrong_value(
            "potential",
            f"{steps} entries along its first axis, one per step (it has one axis more than psi)",
            shape(potential),
        )
    if imaginary and (potential.is_complex() or absorber is not None or not made.constant):
        raise wrong_value(
            "potential", "a real, constant potential without absorber in imaginary time", "another"
        )
    made.steps(0, 1, 0.0)
    return made


def _require_device(potential: Tensor, psi: Tensor) -> None:
    if potential.device != psi.device:
        raise wrong_value("potential", f"the device of psi, {psi.device}", potential.device)


def absorbing_layer(
    absorber: Any, space: tuple[int, ...], grid: Grid, device: torch.device | None = None
) -> Tensor:
    """W >= 0 of the complex potential V - i W: strength * (depth / width)^power in layers along the walls."""
    expected = "(strength, width, power)"
    if not isinstance(absorber, (tuple, list)) or len(absorber) != 3:
        raise wrong_type("absorber", expected, repr(absorber))
    strength, width, power = absorber
    for name, value in (("strength", strength), ("width", width), ("power", power)):
        require_number(f"absorber {name}", value)
        if not 0.0 < value < float("inf"):
            sign = " (a negative one is gain)" if value < 0 else ""
            raise wrong_value(f"absorber {name}", "a finite number > 0", f"{value}{sign}")
    if "dirichlet" not in grid.boundary:
        raise wrong_value("absorber", "None where there are no walls", repr(absorber))
    total = torch.zeros(space, dtype=torch.float64, device=device)
    for axis, n in enumerate(space):
        if grid.boundary[axis] != "dirichlet":
            continue
        h = grid.spacing[axis]
        if 2.0 * width > (n + 1) * h:
            raise wrong_value("absorber width", f"at most half of the box, {(n + 1) * h / 2}", width)
        x = torch.arange(1, n + 1, dtype=torch.float64, device=device) * h
        depth = (width - torch.minimum(x, (n + 1) * h - x)).clamp(min=0.0)
        layer = strength * (depth / width) ** power
        total = total + layer.reshape(-1, *(1,) * (len(space) - axis - 1))
    return total


def check_absorption(potential: Tensor, dt: Number, hbar: Number) -> None:
    """Refuse an absorption that an implicit step turns round: beyond dt W = 2 hbar it reflects ever more."""
    if potential.is_complex() and readable(potential):
        if number_of(dt) < 0.0:
            raise wrong_value("dt", "a number > 0 with absorption (backwards it amplifies)", number_of(dt))
        strongest = number_of((-potential.imag).amax()) * abs(number_of(dt)) / (2.0 * number_of(hbar))
        if strongest > 1.0:
            raise wrong_value(
                "absorber",
                "dt * W <= 2 hbar at its strongest (beyond, an implicit step absorbs less and less)",
                f"dt * W = {2.0 * strongest:.3g} hbar",
            )


def traces_back(potential: Tensor, dt: Number, hbar: Number, steps: int) -> bool:
    """Whether a run can be traced back from its end without losing digits."""
    if not potential.is_complex():
        return True
    if not readable(potential):
        return False
    strongest = number_of((-potential.imag).amax()) * abs(number_of(dt)) / (2.0 * number_of(hbar))
    return strongest < 1.0 and 2.0 * steps * atanh(strongest) <= log(REVERSIBLE_GROWTH)


def run_blocks(
    advance: Callable[[Tensor, int, int, int], tuple[Tensor, Tensor]],
    psi: Tensor,
    steps: int,
    save_every: int,
    limit: int,
    inside: bool = True,
) -> tuple[Tensor, list[Tensor]]:
    """Advance by blocks of at most `limit` steps: advance(psi, start, stop, save_every) -> psi, frames.

    `inside`: whether a block may have frames of its own; else it ends where one is due.
    """
    frames: list[Tensor] = []
    for start, stop, save in _blocks(steps, save_every, limit, inside):
        psi, part = advance(psi, start, stop, save)
        if save:
            frames.append(part)
        elif save_every and stop % save_every == 0:
            frames.append(psi.unsqueeze(0))
    return psi, frames


def _blocks(steps: int, save_every: int, limit: int, inside: bool) -> Iterator[tuple[int, int, int]]:
    """(start, stop, save_every): blocks with frames of their own, or 0 where one is due at the end."""
    if inside and 0 < save_every <= limit:
        size = limit // save_every * save_every
        for start in range(0, steps, size):
            yield start, min(steps, start + size), save_every
        return
    for period in range(0, steps, save_every or max(1, steps)):
        end = min(steps, period + save_every) if save_every else steps
        for start in range(period, end, limit):
            yield start, min(end, start + limit), 0
