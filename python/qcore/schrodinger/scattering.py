"""Transmission through barriers that have a closed form: what a simulated one is compared with."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .._ops._check import require_number, require_positive, require_tensor, wrong_type, wrong_value


def barrier_transmission(
    energy: Tensor, *, height: float, width: float, mass: float = 1.0, hbar: float = 1.0
) -> Tensor:
    r"""Transmission through the rectangular barrier (or well) V = height for 0 < x < width, 0 elsewhere.

    .. math::
        T(E) = \Big[1 + \frac{V^2 \sinh^2(\kappa w)}{4 E (V - E)}\Big]^{-1}, \qquad \hbar\kappa = \sqrt{2m(V -
        E)},

    with sin^2 for E > V and its limit at E = V.

    Args:
        energy: real, float32 or float64, E >= 0.
        height: energy; negative for a well.
        width: length, > 0.
        mass, hbar: > 0.

    Returns:
        T, shaped like energy; 0 at E = 0 (1 for height = 0); differentiable in energy where E > 0.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value.

    Source: any textbook, such as Landau & Lifshitz, Quantum Mechanics, section 25, problem 2.
    """
    _check(energy, height, mass, hbar)
    require_positive("width", width)
    if height == 0:
        return torch.ones_like(energy)
    action = (2 * mass * width**2 / hbar**2) * (height - energy)  # (kappa w)^2
    strength = mass * (height * width / hbar) ** 2 / (2 * energy)
    return 1 / (1 + strength * _sinhc_squared(action))


def sech2_transmission(
    energy: Tensor, *, height: float, width: float, mass: float = 1.0, hbar: float = 1.0
) -> Tensor:
    r"""Transmission over the smooth barrier (or well) V = height / cosh^2(x / width).

    .. math::
        T(E) = \frac{\sinh^2(\pi k w)}{\sinh^2(\pi k w) + \cosh^2\big(\frac\pi2\sqrt{8 m V w^2/\hbar^2 -
        1}\big)}, \qquad \hbar k = \sqrt{2mE},

    with cos^2(pi/2 sqrt(1 - 8 m V w^2 / hbar^2)) where that is real. The wells of height -l(l + 1) hbar^2 /
    (2 m w^2), l = 1, 2, ..., reflect nothing.

    Args:
        energy: real, float32 or float64, E >= 0.
        height: energy; negative for a well.
        width: length, > 0.
        mass, hbar: > 0.

    Returns:
        T, shaped like energy; differentiable in energy where E > 0.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value.

    Source: Landau & Lifshitz, Quantum Mechanics, section 25, problem 4.
    """
    _check(energy, height, mass, hbar)
    require_positive("width", width)
    root = 8 * mass * height * (width / hbar) ** 2 - 1
    wave = (2 * mass * energy).sqrt() * (math.pi * width / hbar)
    # cosh^2(r) / sinh^2(a) with the exponentials taken out, so that high barriers and energies don't
    # overflow.
    rest = -torch.expm1(-2 * wave)
    if root > 0:
        half = math.pi / 2 * math.sqrt(root)
        ratio = (half - wave).exp() * (1 + math.exp(-2 * half)) / rest
    else:
        # sin(pi/2 (sqrt(1 + s) - 1)) up to its sign: exactly 0 for the wells that reflect nothing.
        cosine = abs(math.sin(math.pi / 2 * math.remainder(math.sqrt(-root) - 1, 2)))
        if cosine == 0:
            return torch.ones_like(energy)
        ratio = 2 * cosine * (-wave).exp() / rest
    return 1 / (1 + ratio.square())


def _sinhc_squared(square: Tensor) -> Tensor:
    # (sinh(s) / s)^2 with s^2 given, sin for negative ones. Each branch gets harmless numbers where another
    # one counts, # so that no NaN gets into a gradient.
    small = square.abs() < 1e-3
    size = torch.where(small, torch.ones_like(square), square.abs()).sqrt()
    outer = torch.where(square > 0, size.clamp(max=300.0).sinh(), size.sin()) / size
    series = 1 + square / 6 * (1 + square / 20 * (1 + square / 42))
    return torch.where(small, series, outer).square()


def _check(energy: Any, height: Any, mass: Any, hbar: Any) -> None:
    require_tensor("energy", energy)
    if energy.dtype not in (torch.float32, torch.float64):
        raise wrong_type("energy", "torch.float32 or torch.float64", energy.dtype)
    if (energy < 0).any():
        raise wrong_value("energy", "numbers >= 0", "a negative one")
    require_number("height", height)
    if not math.isfinite(height):
        raise wrong_value("height", "a finite number", height)
    require_positive("mass", mass)
    require_positive("hbar", hbar)
