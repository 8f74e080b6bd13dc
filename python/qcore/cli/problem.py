"""The problem that the arguments of ``qcore solve`` describe: potential, grid, packet, steps."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcore.cli.arguments import CommandError
from qcore.cli.motion import System, lowest_states
from qcore.cli.potentials import POTENTIALS, Box, Parameters, Potential

_PACKET_NAMES = {1: "x0 k0 width", 2: "x0 y0 kx ky width"}
_MOST_STEPS = 10_000_000  # of a default; who wants more says so


class NumberList:
    """An argument type: a finite number, or some with commas between them."""

    def __call__(self, text: str) -> list[float]:
        """The numbers in ``text``."""
        try:
            values = [float(part) for part in text.split(",")]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)):
            raise argparse.ArgumentTypeError(f"expected finite numbers, got {text!r}")
        return values


class Settings:
    """An argument type: NAME=NUMBER, or some with commas between them."""

    def __call__(self, text: str) -> dict[str, float]:
        """Numbers by name."""
        found: dict[str, float] = {}
        for part in text.split(","):
            name, sign, value = part.partition("=")
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            if not (sign and name.strip() and math.isfinite(number)) or name.strip() in found:
                raise argparse.ArgumentTypeError(f"expected NAME=NUMBER,... each once, got {text!r}")
            found[name.strip()] = number
        return found


@dataclass(frozen=True)
class Plan:
    """A packet and the steps that it is to make."""

    psi: Tensor
    centre: tuple[float, ...]
    wave: tuple[float, ...]
    width: float
    dt: float
    steps: int
    time_order: int
    space_order: int
    wells: float | None  # E_1 - E_0 of a double well
    passes: bool  # whether it comes to a barrier from afar

    def headline(self) -> list[tuple[str, str]]:
        """What is about to run."""
        place, wave = _point(self.centre), _point(self.wave)
        return [
            ("packet", f"at {place}, wave number {wave}, width {self.width:g}"),
            (
                "steps",
                f"{self.steps} of {self.dt:.6g}, to time {self.steps * self.dt:.6g}; "
                f"order {self.time_order} in time, {self.space_order} in space",
            ),
        ]

    def settings(self) -> dict[str, Any]:
        """For a file of numbers."""
        packet = {"centre": self.centre, "wave_number": self.wave, "width": self.width}
        return {"packet": packet, "dt": self.dt, "steps": self.steps, "time_order": self.time_order}


@dataclass(frozen=True)
class Problem:
    """A system, and what is known of it by name."""

    name: str
    known: Potential | None
    parameters: Parameters
    system: System

    @property
    def title(self) -> str:
        """For a picture."""
        listed = ", ".join(f"{name} {value:.4g}" for name, value in self.parameters.items())
        return f"{self.name}: {listed}" if listed else self.name

    def headline(self) -> list[tuple[str, str]]:
        """Potential and grid."""
        box = self.system.box
        size = " x ".join(map(str, reversed(box.points)))
        steps = sorted(set(box.spacing))
        spacing = " and ".join(f"{h:.4g}" for h in steps)
        formula = f"V = {self.known.formula}" if self.known else "values of the file"
        listed = "".join(f", {name} {value:.6g}" for name, value in self.parameters.items())
        return [
            ("potential", f"{self.name}: {formula}{listed}"),
            (
                "grid",
                f"{size} points from {box.left:g} to {box.right:g}, spacing {spacing}, {box.boundary}; "
                f"mass {self.system.mass:g}, hbar {self.system.hbar:g}",
            ),
        ]

    def settings(self) -> dict[str, Any]:
        """For a file of numbers."""
        system, box = self.system, self.system.box
        return {
            "potential": self.name,
            "parameters": dict(self.parameters),
            "box": [box.left, box.right],
            "points": box.points,
            "spacing": box.spacing,
            "boundary": box.boundary,
            "mass": system.mass,
            "hbar": system.hbar,
            "space_order": system.space_order,
        }

    def exact_energies(self, count: int) -> list[float | None]:
        """Of the lowest states, None where no closed form is known."""
        if self.known is None or self.known.energies is None:
            return [None] * count
        system = self.system
        return self.known.energies(count, self.parameters, system.mass, system.hbar, system.box)

    def orbit(self, times: Tensor, centre: tuple[float, ...], wave: tuple[float, ...]) -> Tensor | None:
        """Exact mean place (F, axes) at some times, by Ehrenfest's theorem, far from the walls.

        None where no closed form is known, and where the packet goes out or round.
        """
        if self.known is None or self.known.orbit is None or self.system.box.boundary != "dirichlet":
            return None
        speed = [self.system.hbar * k / self.system.mass for k in wave]
        orbit = self.known.orbit
        return torch.stack(
            [orbit(times, x0, v, self.parameters) for x0, v in zip(centre, speed, strict=True)], 1
        )

    def plan(self, arguments: argparse.Namespace) -> Plan:
        """Packet and steps, the defaults filled in.

        Raises:
            CommandError: the packet does not fit the grid, or no default time can be found.
        """
        system = self.system
        axes = len(system.box.points)
        given = _packet_numbers(arguments.packet, axes) or self._default_packet()
        centre, wave, width = tuple(given[:axes]), tuple(given[axes : 2 * axes]), given[-1]
        self._check_packet(centre, wave, width)
        psi = system.packet(centre, wave, width)
        time_order = arguments.time_order or (4 if axes == 1 and system.box.boundary != "transparent" else 2)
        wells = None
        if self.name == "double-well":
            energies = lowest_states(system, 2).energies
            wells = float(energies[1] - energies[0])
        dt = arguments.dt or system.time_step(psi, time_order)
        if arguments.steps is not None:
            steps = arguments.steps
        else:
            span = arguments.time or self._default_time(centre, wave, width, wells)
            if arguments.time is None and span / dt > _MOST_STEPS:
                raise CommandError(
                    f"--time: expected one, as the default, {span:.3g}, would be {span / dt:.2g} steps"
                )
            steps = max(1, round(span / dt))
            if arguments.dt is None:
                steps = math.ceil(span / dt * (1.0 - 1e-12))
                dt = span / steps  # so that it ends where it should
        comes = self.name == "barrier" and centre[0] * wave[0] < 0
        return Plan(psi, centre, wave, width, dt, steps, time_order, system.space_order, wells, passes=comes)

    def _default_packet(self) -> list[float]:
        box = self.system.box
        if self.known is not None and self.known.box == (box.left, box.right):
            return list(self.known.packet)
        if self.known is not None:
            raise CommandError(
                f"--packet: expected one, as --box is not the default one: {_PACKET_NAMES[len(box.points)]}"
            )
        raise CommandError(f"--packet: expected one for this file: {_PACKET_NAMES[len(box.points)]}")

    def _check_packet(self, centre: tuple[float, ...], wave: tuple[float, ...], width: float) -> None:
        box = self.system.box
        if not width > 0:
            raise CommandError(f"--packet: expected a width > 0, got {width:g}")
        if not width >= max(box.spacing):
            raise CommandError(
                f"--packet: expected a width of at least the grid's spacing, {max(box.spacing):.3g}, "
                f"got {width:g}"
            )
        for place in centre:
            if not box.left < place < box.right:
                raise CommandError(
                    f"--packet: expected a place between {box.left:g} and {box.right:g}, got {place:g}"
                )
        highest = math.pi / max(box.spacing)
        for k in wave:
            if not abs(k) < highest:
                raise CommandError(
                    f"--packet: expected wave numbers below pi / spacing, {highest:.4g}, got {k:g}; "
                    f"more --points resolve it"
                )

    def _default_time(
        self, centre: tuple[float, ...], wave: tuple[float, ...], width: float, wells: float | None
    ) -> float:
        system, box = self.system, self.system.box
        if wells is not None:
            return 2.0 * math.pi * system.hbar / wells
        if self.known is not None and self.known.period is not None:
            return self.known.period(self.parameters, system.mass, system.hbar)
        speed = system.hbar / system.mass
        ways = [
            (box.right - x if k > 0 else x - box.left) / abs(k)
            for x, k in zip(centre, wave, strict=True)
            if k
        ]
        if ways:
            return (self.known.crossing if self.known else 0.6) * min(ways) / speed
        return 0.2 * box.length * width / speed  # one at rest: until it has spread


def read_problem(arguments: argparse.Namespace) -> Problem:
    """The potential of the arguments on its grid.

    Raises:
        CommandError: they do not make a problem.
    """
    name: str = arguments.potential
    if name in POTENTIALS:
        known = POTENTIALS[name]
        return _named(name, known, arguments)
    if not name.endswith(".npy"):
        choices = ", ".join(POTENTIALS)
        raise CommandError(f"--potential: expected one of {choices}, or a .npy file, got {name!r}")
    for option in ("points", "set"):
        if getattr(arguments, option) is not None:
            raise CommandError(f"--{option}: not allowed with a file, which has its own values")
    if arguments.box is None:
        raise CommandError("--box: expected with a potential from a file: its length, or its two ends")
    values = _load(Path(name))
    box = Box(*_ends(arguments.box), tuple(values.shape), arguments.boundary)
    return _problem(Path(name).name, None, {}, box, values, arguments)


def _named(name: str, known: Potential, arguments: argparse.Namespace) -> Problem:
    parameters = dict(known.parameters)
    for key, value in (arguments.set or {}).items():
        if key not in parameters:
            names = ", ".join(parameters) or "none"
            raise CommandError(f"--set: expected parameters of {name} ({names}), got {key!r}")
        if key in known.positive and not value > 0:
            raise CommandError(f"--set: expected {key} > 0, got {value:g}")
        parameters[key] = value
    left, right = known.box if arguments.box is None else _ends(arguments.box)
    box = Box(left, right, (arguments.points or known.points,) * known.axes, arguments.boundary)
    values = known.values(box, parameters, arguments.mass)
    return _problem(name, known, parameters, box, values, arguments)


def _problem(
    name: str,
    known: Potential | None,
    parameters: Parameters,
    box: Box,
    values: Tensor,
    arguments: argparse.Namespace,
) -> Problem:
    if not values.isfinite().all():
        raise CommandError(f"--potential: expected finite values, got infinity or NaN on the grid of {name}")
    if len(box.points) > 1:
        if box.boundary == "transparent":
            raise CommandError("--boundary: expected dirichlet or periodic in 2-D, got transparent")
        if arguments.imaginary:
            raise CommandError(
                "--imaginary: expected a potential in 1-D; in 2-D --states 1 finds the ground state"
            )
        if arguments.time_order not in (None, 2, 4):
            raise CommandError(f"--time-order: expected 2 or 4 in 2-D, got {arguments.time_order}")
    if box.boundary == "transparent" and (arguments.time_order or 2, arguments.space_order or 2) != (2, 2):
        raise CommandError("--boundary: transparent ends need --time-order 2 and --space-order 2")
    default = 2 if box.boundary == "transparent" else known.space_order if known else 4
    order = arguments.space_order or default
    return Problem(name, known, parameters, System(box, values, arguments.mass, arguments.hbar, order))


def _ends(numbers: list[list[float]]) -> tuple[float, float]:
    values = [value for part in numbers for value in part]
    ends = [-values[0] / 2.0, values[0] / 2.0] if len(values) == 1 else values
    if len(ends) != 2 or not ends[0] < ends[1]:
        got = " ".join(f"{value:g}" for value in values)
        raise CommandError(f"--box: expected a length > 0, or two rising ends, got {got}")
    return ends[0], ends[1]


def _packet_numbers(given: list[list[float]] | None, axes: int) -> list[float] | None:
    if given is None:
        return None
    values = [value for part in given for value in part]
    expected = 2 * axes + 1
    if len(values) != expected:
        raise CommandError(
            f"--packet: expected {expected} numbers, {_PACKET_NAMES[axes]}, got {len(values)} of them"
        )
    return values


def _load(path: Path) -> Tensor:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise CommandError(f"--potential: {path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise CommandError(f"--potential: {path}: not a file of numpy.save: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = getattr(array, "dtype", type(array).__name__)
        raise CommandError(f"--potential: {path}: expected real numbers, got {kind}")
    if array.ndim not in (1, 2) or min(array.shape) < 3:
        raise CommandError(
            f"--potential: {path}: expected shape (nx,) or (ny, nx), at least 3 an axis, got {array.shape}"
        )
    return torch.from_numpy(array.astype(np.float64))


def _point(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
