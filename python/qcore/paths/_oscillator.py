"""The lattice oscillator's Gaussian paths: its one-step kernel, and the coefficients of its Markov chains."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from qcore._ops._check import require_choice, wrong_value

OSCILLATOR_SCHEMES = ("trapezoid", "midpoint", "exact")


class Lattice(NamedTuple):
    """One step of imaginary time.

    It is nu times the kernel of Mehler,
    sqrt(M / (2 pi hbar sinh Th)) exp(-(M / 2 hbar) [(x^2 + y^2) coth Th - 2 x y / sinh Th]),
    with `stiffness` = M / hbar and `angle` = Th. A free step has angle = 0 and only `free` = m / (hbar dt),
    the limit of stiffness / sinh Th.
    """

    stiffness: float
    angle: float
    nu: float
    free: float

    @property
    def sinh(self) -> float:
        """(hbar / M) sinh Th."""
        return math.sinh(self.angle) / self.stiffness if self.angle > 0 else 1 / self.free


def lattice(omega: float, dt: float, mass: float, hbar: float, scheme: str) -> Lattice:
    """The kernel of a step; "exact" is the continuum's, which has no dt error."""
    require_choice("scheme", scheme, OSCILLATOR_SCHEMES)
    eps, free = omega * dt, mass / (hbar * dt)
    if omega == 0:
        return Lattice(0.0, 0.0, 1.0, free)
    stiffness = mass * omega / hbar
    if scheme == "exact":
        return Lattice(stiffness, eps, 1.0, free)
    if scheme == "trapezoid":
        return Lattice(stiffness * math.sqrt(1 + eps**2 / 4), 2 * math.asinh(eps / 2), 1.0, free)
    if eps >= 2:
        raise wrong_value("dt", f"omega dt below 2 with scheme='midpoint', dt < {2 / omega}", dt)
    return Lattice(stiffness, 2 * math.atanh(eps / 2), (1 - eps**2 / 4) ** -0.5, free)


def bridge_coefficients(steps: int, kernel: Lattice) -> Tensor:
    """(N, 3) of x_{n+1} = a x_n + b x_N + s xi: the oscillator's bridge to x_N.

    With r = N - n - 1 steps left after this one, a = sinh(r Th) / sinh((r+1) Th),
    b = sinh(Th) / sinh((r+1) Th), s^2 = (hbar / M) sinh(Th) sinh(r Th) / sinh((r+1) Th).
    """
    left = torch.arange(steps - 1, -1, -1, dtype=torch.float64)
    th = kernel.angle
    if th == 0:
        a, b = left / (left + 1), 1 / (left + 1)
    else:
        whole = -torch.expm1(-2 * (left + 1) * th)
        a = math.exp(-th) * -torch.expm1(-2 * left * th) / whole
        b = torch.exp(-left * th) * -math.expm1(-2 * th) / whole
    return torch.stack([a, b, (kernel.sinh * a).sqrt()], 1)


def open_coefficients(steps: int, kernel: Lattice) -> Tensor:
    """(N, 3) of x_{n+1} = a x_n + s xi: the oscillator's path whose far end is free.

    a = cosh(r Th) / cosh((r+1) Th), s^2 = (hbar / M) sinh(Th) a.
    """
    left = torch.arange(steps - 1, -1, -1, dtype=torch.float64)
    th = kernel.angle
    ratio = (1 + torch.exp(-2 * left * th)) / (1 + torch.exp(-2 * (left + 1) * th))
    a = math.exp(-th) * ratio
    return torch.stack([a, torch.zeros_like(a), (kernel.sinh * a).sqrt()], 1)


def closed_variance(steps: int, kernel: Lattice) -> float:
    """<x_n^2> = (hbar / 2M) coth(N Th / 2) of closed paths."""
    return 1 / (2 * kernel.stiffness * math.tanh(steps * kernel.angle / 2))


def log_closed(steps: int, kernel: Lattice) -> float:
    """log Z = N log nu - log(2 sinh(N Th / 2)) of closed paths."""
    half = steps * kernel.angle / 2
    return steps * math.log(kernel.nu) - half - math.log(-math.expm1(-2 * half))


def log_open(steps: int, kernel: Lattice, y: Tensor) -> Tensor:
    """Paths from y summed over free ends: log of nu^N cosh(N Th)^{-1/2} exp(-(M / 2 hbar) tanh(N Th) y^2)."""
    angle = steps * kernel.angle
    log_cosh = angle + math.log1p(math.exp(-2 * angle)) - math.log(2)
    return steps * math.log(kernel.nu) - 0.5 * log_cosh - 0.5 * kernel.stiffness * math.tanh(angle) * y**2
