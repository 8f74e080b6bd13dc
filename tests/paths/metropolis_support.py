"""Potentials, exact lattice averages and direct kernel calls for the tests of Metropolis sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qcore.paths import Metropolis, SampleResult, Table, metropolis

QUARTIC = [0.0, 0.0, 0.5, 0.0, 1.0]
BETA, SLICES = 2.0, 16
EVERY_MOVE = ("single", "staging", "bisection", "displacement", "reflection")
# <x^2>, <x^4>, <x_0 x_8> of the quartic oscillator's closed lattice, beta = 2, N = 16, m = hbar = 1.
LATTICE = {
    "trapezoid": (0.2645977668, 0.1901155090, 0.0746211998),
    "midpoint": (0.2755684352, 0.2062531192, 0.0811011760),
}


def quartic(x: Tensor) -> Tensor:
    """The same as a function of torch."""
    return 0.5 * x**2 + x**4


def quartic_table() -> Table:
    """The same as a table."""
    points = torch.linspace(-6, 6, 2401, dtype=torch.float64)
    return Table(quartic(points), -6.0, 0.005)


def exact_lattice(scheme: str, lag: int) -> dict[str, float]:
    """Averages over the closed quartic lattice, by powers of its transfer matrix on a fine grid.

    Both energies are -d log Z / d beta by a difference of fourth order.
    """
    x = torch.linspace(-4, 4, 401, dtype=torch.float64)
    h = float(x[1] - x[0])

    def step(beta: float) -> Tensor:
        dt = beta / SLICES
        v = quartic(x)
        if scheme == "takahashi-imada":
            v = v + dt**2 / 24 * (x + 4 * x**3) ** 2
        u = quartic((x[:, None] + x) / 2) if scheme == "midpoint" else (v[:, None] + v) / 2
        free = torch.exp(-((x[:, None] - x) ** 2) / (2 * dt)) / math.sqrt(2 * math.pi * dt)
        return free * torch.exp(-dt * u) * h

    def log_z(beta: float) -> float:
        return math.log(float(torch.linalg.matrix_power(step(beta), SLICES).trace()))

    t = step(BETA)
    z = torch.linalg.matrix_power(t, SLICES)
    weight = z.diagonal() / z.trace()
    far = torch.linalg.matrix_power(t, lag), torch.linalg.matrix_power(t, SLICES - lag)
    d = 1e-2
    slope = (log_z(BETA - 2 * d) - 8 * log_z(BETA - d) + 8 * log_z(BETA + d) - log_z(BETA + 2 * d)) / (12 * d)
    return {
        "energy_virial": -slope,
        "energy_thermodynamic": -slope,
        "x2": float((weight * x**2).sum()),
        "x4": float((weight * x**4).sum()),
        f"correlator_{lag}": float(torch.einsum("i,ij,j,ji->", x, far[0], x, far[1]) / z.trace()),
    }


def engine(**arguments: object) -> Metropolis:
    """A small run of the quartic oscillator but for what is given."""
    settings: dict[str, object] = {
        "potential": QUARTIC,
        "beta": BETA,
        "slices": SLICES,
        "chains": 20,
        "segment": 4,
        "seed": 7,
        "dtype": torch.float64,
    }
    return Metropolis(**{**settings, **arguments})  # type: ignore[arg-type]


def sample(**arguments: object) -> SampleResult:
    """`metropolis` of the quartic oscillator but for what is given."""
    settings: dict[str, object] = {
        "potential": QUARTIC,
        "beta": BETA,
        "slices": SLICES,
        "chains": 128,
        "sweeps": 1000,
        "warmup": 100,
        "segment": 8,
        "seed": 7,
    }
    return metropolis(**{**settings, **arguments})  # type: ignore[arg-type]


def assert_within(result: SampleResult, exact: dict[str, float], sigmas: float = 4.0) -> None:
    """Every average within so many of its errors."""
    for name, value in exact.items():
        estimate = result[name]
        assert estimate.error > 0
        assert abs(estimate.mean - value) < sigmas * estimate.error, f"{name}: {estimate} against {value}"
