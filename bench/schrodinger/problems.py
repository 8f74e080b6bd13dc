"""Two problems with known answers, one smooth and one with jumps, to compare methods by error and time.

Units: hbar = m = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, pi

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Points x (n,) of spacing h: between walls one spacing beyond the ends, or around a ring."""

    x: Tensor
    spacing: float


@dataclass(frozen=True)
class Problem:
    """A state, a potential, a time, and what is known then.

    Args:
        name, title: short; and for a plot.
        time: how long the motion lasts.
        grid: a number that sets its fineness, and whether it is a ring -> the grid.
        state: psi(x, 0).
        potential: V of a grid, averaged over the cells of its points.
        error: of psi(T) on a grid; signed if it may vanish by chance, a number >= 0 otherwise.
        signed: which of the two.
        walls, ring: finenesses worth trying with implicit methods and with Fourier transforms.
    """

    name: str
    title: str
    time: float
    grid: Callable[[int, bool], Grid]
    state: Callable[[Tensor], Tensor]
    potential: Callable[[Grid], Tensor]
    error: Callable[[Grid, Tensor], float]
    signed: bool
    walls: tuple[int, ...]
    ring: tuple[int, ...]


# --- the coherent state of an oscillator: after a period it is minus itself ---

OSCILLATOR, START, BOX = 0.2, 10.0, 80.0


def coherent_grid(n: int, ring: bool) -> Grid:
    """[-40, 40] in n spacings."""
    h = BOX / n
    return Grid(torch.arange(0 if ring else 1, n, dtype=torch.float64) * h - BOX / 2, h)


def coherent_state(x: Tensor) -> Tensor:
    """At rest at x0 = 10."""
    return ((OSCILLATOR / pi) ** 0.25 * torch.exp(-0.5 * OSCILLATOR * (x - START) ** 2)).cdouble()


def revival_error(grid: Grid, psi: Tensor) -> float:
    """||psi(T) + psi(0)||, the norm of psi(0) being 1."""
    return float(torch.linalg.vector_norm(psi + coherent_state(grid.x)) * grid.spacing**0.5)


COHERENT = Problem(
    "coherent",
    "Revival of a coherent state: smooth potential",
    2 * pi / OSCILLATOR,
    coherent_grid,
    coherent_state,
    lambda grid: 0.5 * (OSCILLATOR * grid.x) ** 2,
    revival_error,
    signed=False,
    walls=(96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096),
    ring=(72, 80, 96, 108, 128, 160),
)

# --- a packet that a rectangular barrier lets through in part ---

BARRIER, EDGE = 2.0, 0.5  # V = 2 between -1/2 and 1/2
PACKET_START, WIDTH, WAVE = (
    -30.0,
    4.0,
    2.0,
)  # |psi|^2 of standard deviation 4; the energy is the barrier's height
REACH, MOTION = 90.0, 38.0  # of the grid to both sides; the time at which both parts have left the barrier


def barrier_grid(per_unit: int, ring: bool) -> Grid:
    """So many spacings a unit: the jumps are on points if that is even, half-way between if odd."""
    h = 1.0 / per_unit
    if not ring:
        half = ceil(REACH / h)
        return Grid(torch.arange(-half, half + 1, dtype=torch.float64) * h, h)
    n = smooth_number(ceil(2 * REACH / h))
    return Grid((torch.arange(n, dtype=torch.float64) - n // 2) * h, h)


def smooth_number(least: int) -> int:
    """The first even number from `least` on without a prime factor beyond 5, quick to transform."""
    n = least + least % 2
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 2


def packet(x: Tensor) -> Tensor:
    """A Gaussian of norm 1 on its way to the right."""
    size = (2 * pi * WIDTH**2) ** -0.25 * torch.exp(-(((x - PACKET_START) / (2 * WIDTH)) ** 2))
    return torch.polar(size, WAVE * x)


def barrier(grid: Grid) -> Tensor:
    """The share of each point's cell inside the barrier, times its height."""
    right = torch.clamp(grid.x + grid.spacing / 2, -EDGE, EDGE)
    left = torch.clamp(grid.x - grid.spacing / 2, -EDGE, EDGE)
    return BARRIER * (right - left) / grid.spacing


def transmitted() -> float:
    """Probability beyond the barrier in the end: the mean of the transmission of plane waves (textbook)."""
    spread = 1 / (2 * WIDTH)
    k = torch.linspace(WAVE - 9 * spread, WAVE + 9 * spread, 20001, dtype=torch.float64)
    weight = torch.exp(-0.5 * ((k - WAVE) / spread) ** 2)
    energy = 0.5 * k**2
    inside = (2 * (energy - BARRIER)).cdouble().sqrt()
    # sin(q a)^2 / q^2, which is sinh below the barrier's height and a^2 at it
    ratio = (torch.sinc(inside * (2 * EDGE) / pi) * (2 * EDGE)).real ** 2
    through = 1 / (1 + BARRIER**2 * 2 * ratio / (4 * energy))
    return float((weight * through).sum() / weight.sum())


def transmission_error(grid: Grid, psi: Tensor) -> float:
    """Of the probability at x > 0, signed."""
    right = psi[..., grid.x > 0]
    return float((right.abs() ** 2).sum() * grid.spacing) - transmitted()


RECTANGLE = Problem(
    "barrier",
    "Transmission of a rectangular barrier: a potential with jumps",
    MOTION,
    barrier_grid,
    packet,
    barrier,
    transmission_error,
    signed=True,
    walls=(2, 3, 4, 5, 6, 7, 8, 10, 11, 14, 15, 20, 21, 28, 29, 40, 41, 60, 61, 84),
    ring=(2, 3, 4, 5, 6, 7, 8, 10, 11, 14, 15, 20, 21, 28, 29),
)

PROBLEMS = (COHERENT, RECTANGLE)
