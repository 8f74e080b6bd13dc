"""The lattice oscillator's paths as Gaussian Markov chains: each bead given the one before, and the last."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from qcore._ops._check import require_choice

from ._lattice_oscillator import lattice_oscillator

SCHEMES = ("trapezoid", "midpoint", "exact")


class ChainStep(NamedTuple):
    """One step of a path: of the oscillator's lattice, or with angle 0 of the free particle."""

    angle: float
    """theta of `LatticeOscillator`"""
    variance: float
    """(hbar / M) sinh theta; of a free step hbar dt / m"""


def chain_step(omega: float, dt: float, mass: float, hbar: float, scheme: str) -> ChainStep:
    """The step of a scheme; omega = 0 is the free particle."""
    require_choice("scheme", scheme, SCHEMES)
    if omega == 0:
        return ChainStep(0.0, hbar * dt / mass)
    lattice = lattice_oscillator(dt=dt, omega=omega, mass=mass, hbar=hbar, scheme=scheme)
    angle = float(lattice.angle)
    return ChainStep(angle, hbar / float(lattice.strength) * math.sinh(angle))


def bridge_coefficients(steps: int, step: ChainStep) -> Tensor:
    """(N, 3) of x_{n+1} = a x_n + b x_N + s xi: the bridge to x_N.

    With r = N - n - 1 steps left after this one, a = sinh(r theta) / sinh((r+1) theta),
    b = sinh(theta) / sinh((r+1) theta), s^2 = (hbar / M) sinh(theta) a.
    """
    left = torch.arange(steps - 1, -1, -1, dtype=torch.float64)
    angle = step.angle
    if angle == 0:
        a, b = left / (left + 1), 1 / (left + 1)
    else:
        whole = -torch.expm1(-2 * (left + 1) * angle)
        a = math.exp(-angle) * -torch.expm1(-2 * left * angle) / whole
        b = torch.exp(-left * angle) * -math.expm1(-2 * angle) / whole
    return torch.stack([a, b, (step.variance * a).sqrt()], 1)


def open_coefficients(steps: int, step: ChainStep) -> Tensor:
    """(N, 3) of x_{n+1} = a x_n + s xi: the path whose far end is free.

    a = cosh(r theta) / cosh((r+1) theta), s^2 = (hbar / M) sinh(theta) a.
    """
    left = torch.arange(steps - 1, -1, -1, dtype=torch.float64)
    angle = step.angle
    ratio = (1 + torch.exp(-2 * left * angle)) / (1 + torch.exp(-2 * (left + 1) * angle))
    a = math.exp(-angle) * ratio
    return torch.stack([a, torch.zeros_like(a), (step.variance * a).sqrt()], 1)
