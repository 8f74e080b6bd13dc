"""The systems of ``qcore paths``, and what is exact for them at the time step of the paths and without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from qcore import schrodinger
from qcore.cli.arguments import CommandError
from qcore.paths import LatticeStates, Polynomial, lattice_states

Parameters = Mapping[str, float]

_DECAY = 18.0  # exponents of a state's amplitude, and
_COLD = 25.0  # of a level's weight, at which it is left out
_MOST_POINTS = 1600  # of a transfer matrix that is to be diagonalised within a second or two
_LEVELS = 80


@dataclass(frozen=True)
class System:
    """A particle in a polynomial well that is even in x.

    Attributes:
        formula: V as a reader sees it.
        parameters: their names and defaults.
        positive: those that have to be > 0.
        coefficients: of V, constant first, from the parameters and the mass.
        moves: of a Metropolis sweep: hot paths are short and wander only as a whole, two wells need a move
            that changes sides.
    """

    formula: str
    parameters: Parameters
    positive: tuple[str, ...]
    coefficients: Callable[[Parameters, float], list[float]]
    moves: tuple[str, ...] = ("single", "staging", "displacement")


def _double_well(p: Parameters, mass: float) -> list[float]:
    half = p["distance"] / 2.0
    return [p["height"], 0.0, -2.0 * p["height"] / half**2, 0.0, p["height"] / half**4]


SYSTEMS: dict[str, System] = {
    "harmonic": System(
        formula="m omega^2 x^2 / 2",
        parameters={"omega": 1.0},
        positive=("omega",),
        coefficients=lambda p, mass: [0.0, 0.0, mass * p["omega"] ** 2 / 2.0],
    ),
    "quartic": System(
        formula="m omega^2 x^2 / 2 + g x^4",
        parameters={"omega": 1.0, "g": 1.0},
        positive=("omega", "g"),
        coefficients=lambda p, mass: [0.0, 0.0, mass * p["omega"] ** 2 / 2.0, 0.0, p["g"]],
    ),
    "double-well": System(
        formula="height ((2 x / distance)^2 - 1)^2",
        parameters={"height": 2.0, "distance": 3.0},
        positive=("height", "distance"),
        coefficients=_double_well,
        moves=("single", "staging", "displacement", "reflection"),
    ),
}


def parameters_of(
    name: str, defaults: Parameters, positive: tuple[str, ...], given: Mapping[str, float] | None
) -> dict[str, float]:
    """The defaults with what --set gave.

    Raises:
        CommandError: a name that is none of them, or a value that isn't allowed.
    """
    found = dict(defaults)
    for key, value in (given or {}).items():
        if key not in defaults:
            raise CommandError(f"--set: expected parameters of {name} ({', '.join(defaults)}), got {key!r}")
        if key in positive and not value > 0:
            raise CommandError(f"--set: expected {key} > 0, got {value:g}")
        found[key] = value
    return found


@dataclass(frozen=True)
class Means:
    """Averages at the temperature of the paths."""

    energy: float
    x2: float
    x4: float


@dataclass(frozen=True)
class Exact:
    """What the paths should give.

    Attributes:
        x: points of the line.
        levels: E_0 and E_1, without time steps.
        ground: |psi_0|^2 at the points.
        means: without time steps, None where it is too hot for the levels at hand.
        lattice: averages with time steps, None where the matrix would be too large.
        states: of a time step, None alike.
    """

    x: Tensor
    levels: tuple[float, float]
    ground: Tensor
    means: Means | None
    lattice: Means | None
    states: LatticeStates | None


def exact(
    coefficients: list[float], *, mass: float, hbar: float, beta: float, slices: int, scheme: str
) -> Exact:
    """By diagonalisation: of the Hamiltonian, and of the kernel of one time step."""
    potential = Polynomial(torch.tensor(coefficients, dtype=torch.float64))
    end = reach(potential, mass, hbar, beta)
    dt = hbar * beta / slices
    n = 2 * math.ceil(max(end / (0.8 * math.sqrt(hbar * dt / mass)), 200.0)) + 1

    fine = torch.linspace(-end, end, 601, dtype=torch.float64)
    dx = float(fine[1] - fine[0])
    found = schrodinger.eigenstates(
        potential(fine), spacing=dx, k=_LEVELS, mass=mass, hbar=hbar, space_order=6
    )
    weights = torch.softmax(-beta * found.energies, 0)
    density = (weights[:, None] * found.states**2).sum(0) * dx
    energy = float((weights * found.energies).sum())
    cold = beta * float(found.energies[-1] - found.energies[0]) > _COLD
    means = Means(energy, float(density @ fine**2), float(density @ fine**4)) if cold else None
    levels = float(found.energies[0]), float(found.energies[1])
    ground = found.states[0] ** 2
    if n > _MOST_POINTS:
        return Exact(fine, levels, ground, means, None, None)
    x = torch.linspace(-end, end, n, dtype=torch.float64)
    step = torch.tensor(dt, dtype=torch.float64, requires_grad=True)
    states = lattice_states(potential, x=x, dt=step, mass=mass, hbar=hbar, scheme=scheme)
    (slope,) = torch.autograd.grad(states.log_partition_function(slices), step)
    states = LatticeStates(*(part.detach() for part in states))
    lattice = Means(
        -float(slope) * hbar / slices,  # -d ln Z / d beta
        float(states.mean(x**2, slices)),
        float(states.mean(x**4, slices)),
    )
    return Exact(fine, levels, ground, means, lattice, states)


def reach(potential: Polynomial, mass: float, hbar: float, beta: float) -> float:
    """How far out there is anything to find, for all levels that count at this temperature."""
    scale = 1.0
    while True:
        x = torch.linspace(0.0, scale, 4001, dtype=torch.float64)[1:]
        v = potential(x)
        low = min(float(v.min()), float(potential(torch.zeros(1, dtype=torch.float64))))
        # The ground state is below that of a box of half-width x with the highest V inside for its floor.
        floor = v.cummax(0).values.clamp(min=low)
        ground = float((floor + (math.pi * hbar / (2 * x)) ** 2 / (2 * mass)).min())
        rate = (2 * mass * (v - ground - _COLD / beta).clamp(min=0)).sqrt() / hbar
        exponent = rate.cumsum(0) * (scale / 4000)
        if float(exponent[-1]) > _DECAY:
            # The last stretch inside which V is not yet above the levels has to be left behind for good.
            outside = exponent > _DECAY
            return float(x[int(outside.to(torch.uint8).argmax())])
        scale *= 1.5
        if scale > 1e9:
            raise CommandError("--set: expected a well that holds the particle at this temperature")
