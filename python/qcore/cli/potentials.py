"""The potentials that ``qcore solve`` knows by name: parameters, a start that shows them, what is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from qcore.schrodinger import barrier_transmission

Parameters = Mapping[str, float]
Energies = list[float | None]


@dataclass(frozen=True)
class Box:
    """The interval from ``left`` to ``right`` along each axis, with its grid points."""

    left: float
    right: float
    points: tuple[int, ...]  # in the order of the axes of psi: (nx,) or (ny, nx)
    boundary: str

    @property
    def length(self) -> float:
        """Of each axis."""
        return self.right - self.left

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of grid points: of a ring's points, or of the interior points between two walls."""
        walls = 0 if self.boundary == "periodic" else 1
        return tuple(self.length / (n + walls) for n in self.points)

    def coordinates(self) -> tuple[Tensor, ...]:
        """x, or y and x: of the shape of psi but for axes of size 1, so that they broadcast."""
        first = 0 if self.boundary == "periodic" else 1
        axes = len(self.points)
        found = []
        for axis, (n, h) in enumerate(zip(self.points, self.spacing, strict=True)):
            x = self.left + (torch.arange(n, dtype=torch.float64) + first) * h
            found.append(x.reshape([n if other == axis else 1 for other in range(axes)]))
        return tuple(found)


@dataclass(frozen=True)
class Potential:
    """A potential with a name. Energies and lengths are in the units of hbar and mass, both 1 unless told.

    Attributes:
        formula: V as a reader sees it.
        parameters: their names and defaults.
        values: V on a grid, from the box, the parameters and the mass.
        box, points, packet: defaults; a packet is x0, k0, width, in two dimensions x0, y0, kx, ky, width.
        space_order: the default; 2 where V jumps, as no higher order is reached there.
        positive: parameters that have to be > 0.
        crossing: where there is no period, the share of the way to the wall ahead that there is time for.
        period: a time after which something has come round, from parameters, mass and hbar.
        energies: exact energies of the lowest states, None where not known, from how many, parameters, mass,
            hbar and box.
        orbit: exact mean position at some times, from times, x0, velocity and parameters.
    """

    formula: str
    parameters: Parameters
    values: Callable[[Box, Parameters, float], Tensor]
    box: tuple[float, float]
    points: int
    packet: tuple[float, ...]
    axes: int = 1
    space_order: int = 4
    period: Callable[[Parameters, float, float], float] | None = None
    energies: Callable[[int, Parameters, float, float, Box], Energies] | None = None
    orbit: Callable[[Tensor, float, float, Parameters], Tensor] | None = None
    positive: tuple[str, ...] = ()
    crossing: float = 0.6


def covered(box: Box, axis: int, left: float, right: float) -> Tensor:
    """Share of each point's cell along an axis that lies between ``left`` and ``right``.

    With it a jump stands where it belongs, wherever the grid points are; a point on it has half a share.
    """
    x, h = box.coordinates()[axis], box.spacing[axis]
    return ((x + h / 2).clamp(max=right) - (x - h / 2).clamp(min=left)).clamp(min=0.0) / h


def packet_transmission(
    k0: float, width: float, height: float, thickness: float, mass: float = 1.0, hbar: float = 1.0
) -> float:
    """Probability that a Gaussian packet from afar passes a rectangular barrier.

    Its wave numbers have mean k0 and standard deviation 1 / (2 width); each passes as a plane wave does.
    """
    deviations = torch.linspace(-10.0, 10.0, 4001, dtype=torch.float64)
    weight = torch.exp(-(deviations**2) / 2.0)
    k = (abs(k0) + deviations / (2.0 * width)).clamp(min=0.0)  # the others never come to the barrier
    passed = barrier_transmission(
        (hbar * k) ** 2 / (2.0 * mass), height=height, width=thickness, mass=mass, hbar=hbar
    )
    return float((passed * weight * (k > 0.0)).sum() / weight.sum())


def _harmonic(box: Box, p: Parameters, mass: float) -> Tensor:
    square = sum(x * x for x in box.coordinates())
    return torch.as_tensor(0.5 * mass * p["omega"] ** 2 * square)


def _harmonic_energies(count: int, p: Parameters, mass: float, hbar: float, box: Box) -> Energies:
    return [hbar * p["omega"] * (n + 0.5) for n in range(count)]


def _harmonic_energies_2d(
    count: int, p: Parameters, mass: float, hbar: float, box: Box
) -> list[float | None]:
    shells = [n for n in range(count) for _ in range(n + 1)]
    return [hbar * p["omega"] * (n + 1.0) for n in shells[:count]]


def _harmonic_orbit(times: Tensor, start: float, velocity: float, p: Parameters) -> Tensor:
    phase = p["omega"] * times
    return start * torch.cos(phase) + velocity / p["omega"] * torch.sin(phase)


def _two_turns(p: Parameters, mass: float, hbar: float) -> float:
    return 2.0 * 2.0 * math.pi / p["omega"]


def _free_energies(count: int, p: Parameters, mass: float, hbar: float, box: Box) -> Energies:
    if box.boundary == "periodic":
        waves = [2.0 * math.pi * ((n + 1) // 2) / box.length for n in range(count)]
    else:
        waves = [math.pi * (n + 1) / box.length for n in range(count)]
    return [(hbar * k) ** 2 / (2.0 * mass) for k in waves]


def _free_orbit(times: Tensor, start: float, velocity: float, p: Parameters) -> Tensor:
    return start + velocity * times


def _double_well(box: Box, p: Parameters, mass: float) -> Tensor:
    (x,) = box.coordinates()
    return p["height"] * ((x / (p["distance"] / 2.0)) ** 2 - 1.0) ** 2


def _morse(box: Box, p: Parameters, mass: float) -> Tensor:
    (x,) = box.coordinates()
    return p["depth"] * (1.0 - torch.exp(-x / p["range"])) ** 2 - p["depth"]


def _morse_frequency(p: Parameters, mass: float) -> float:
    return math.sqrt(2.0 * p["depth"] / mass) / p["range"]


def _morse_energies(count: int, p: Parameters, mass: float, hbar: float, box: Box) -> Energies:
    quantum, depth = hbar * _morse_frequency(p, mass), p["depth"]
    bound = 2.0 * depth / quantum - 0.5  # states below it are bound
    return [
        quantum * (n + 0.5) - (quantum * (n + 0.5)) ** 2 / (4.0 * depth) - depth if n < bound else None
        for n in range(count)
    ]


def _morse_turns(p: Parameters, mass: float, hbar: float) -> float:
    return 12.0 * 2.0 * math.pi / _morse_frequency(p, mass)


def _soft_core(box: Box, p: Parameters, mass: float) -> Tensor:
    (x,) = box.coordinates()
    return -p["charge"] / torch.sqrt(x * x + p["softening"] ** 2)


def _soft_core_energies(count: int, p: Parameters, mass: float, hbar: float, box: Box) -> Energies:
    # (1 + s) exp(-s), s = sqrt(y^2 + 2), y in Bohr radii, is the state for a softening of sqrt(2) of them.
    radius = hbar**2 / (mass * p["charge"])
    known = math.isclose(p["softening"], math.sqrt(2.0) * radius, rel_tol=1e-9)
    return [-0.5 * p["charge"] / radius if known else None, *[None] * (count - 1)][:count]


def _slits(box: Box, p: Parameters, mass: float) -> Tensor:
    wall = covered(box, 1, -p["thickness"] / 2.0, p["thickness"] / 2.0)
    middle, half = p["distance"] / 2.0, p["slit"] / 2.0
    holes = covered(box, 0, middle - half, middle + half) + covered(box, 0, -middle - half, -middle + half)
    return p["height"] * wall * (1.0 - holes.clamp(max=1.0))


POTENTIALS: dict[str, Potential] = {
    "harmonic": Potential(
        formula="m omega^2 x^2 / 2",
        parameters={"omega": 1.0},
        positive=("omega",),
        values=_harmonic,
        box=(-12.0, 12.0),
        points=511,
        packet=(-4.0, 0.0, 1.0),
        period=_two_turns,
        energies=_harmonic_energies,
        orbit=_harmonic_orbit,
    ),
    "barrier": Potential(
        formula="height where |x| < width / 2",
        parameters={"height": 2.0, "width": 1.0},
        positive=("width",),
        values=lambda box, p, mass: p["height"] * covered(box, 0, -p["width"] / 2.0, p["width"] / 2.0),
        box=(-60.0, 60.0),
        points=2047,
        packet=(-16.0, 1.8, 3.0),
        space_order=2,
    ),
    "double-well": Potential(
        formula="height ((2 x / distance)^2 - 1)^2",
        parameters={"height": 3.0, "distance": 4.0},
        positive=("height", "distance"),
        values=_double_well,
        box=(-6.0, 6.0),
        points=383,
        packet=(-2.0, 0.0, 0.45),
    ),
    "morse": Potential(
        formula="depth (1 - exp(-x / range))^2 - depth",
        parameters={"depth": 12.0, "range": 2.0},
        positive=("depth", "range"),
        values=_morse,
        box=(-4.0, 20.0),
        points=767,
        packet=(1.2, 0.0, 0.4),
        period=_morse_turns,
        energies=_morse_energies,
    ),
    "soft-core": Potential(
        formula="-charge / sqrt(x^2 + softening^2)",
        parameters={"charge": 1.0, "softening": math.sqrt(2.0)},
        positive=("charge", "softening"),
        values=_soft_core,
        box=(-60.0, 60.0),
        points=1535,
        packet=(-12.0, 0.8, 2.5),
        energies=_soft_core_energies,
    ),
    "free": Potential(
        formula="0",
        parameters={},
        values=lambda box, p, mass: torch.zeros(box.points, dtype=torch.float64),
        box=(-40.0, 40.0),
        points=1023,
        packet=(-20.0, 2.0, 1.5),
        energies=_free_energies,
        orbit=_free_orbit,
    ),
    "harmonic-2d": Potential(
        formula="m omega^2 (x^2 + y^2) / 2",
        parameters={"omega": 1.0},
        positive=("omega",),
        values=_harmonic,
        axes=2,
        box=(-8.0, 8.0),
        points=127,
        packet=(3.0, 0.0, 0.0, 3.0, 0.707),
        period=lambda p, mass, hbar: 2.0 * math.pi / p["omega"],
        energies=_harmonic_energies_2d,
        orbit=_harmonic_orbit,
    ),
    "double-slit": Potential(
        formula="height in a wall of thickness at x = 0 with two slits",
        parameters={"height": 80.0, "thickness": 0.5, "slit": 0.8, "distance": 2.4},
        positive=("height", "thickness", "slit", "distance"),
        values=_slits,
        axes=2,
        box=(-12.0, 12.0),
        points=255,
        packet=(-6.0, 0.0, 6.0, 0.0, 1.6),
        crossing=0.9,
    ),
}
