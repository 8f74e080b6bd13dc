"""Oracles: actions written out slice by slice, and Gaussian sums over paths by plain linear algebra."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable

import torch
from torch import Tensor

Potential = Callable[[Tensor], Tensor]


def slope(v: Potential, order: int = 1) -> Potential:
    """A derivative of an elementwise function."""
    return v if order == 0 else slope(torch.func.grad(lambda x: v(x).sum()), order - 1)


def action(path: Tensor, v: Potential, *, dt: float, mass: float, scheme: str, signature: str) -> Tensor:
    """S_E or S of paths (..., N + 1) as the schemes are defined; "chin4": V/3 at even, 4V/3 at odd points."""
    sign = 1.0 if signature == "euclid" else -1.0
    kinetic = mass / (2 * dt) * path.diff().square().sum(-1)
    before, after = path[..., :-1], path[..., 1:]
    if scheme.startswith("midpoint"):
        potential = v((before + after) / 2)
    elif scheme == "endpoint":
        potential = v(after)
    elif scheme == "chin4":
        odd = path[..., 1::2]
        corrected = v(odd) + sign * dt**2 / (12 * mass) * slope(v)(odd) ** 2
        potential = 4 / 3 * corrected + (v(path[..., :-1:2]) + v(path[..., 2::2])) / 3
    else:
        potential = (v(before) + v(after)) / 2
        if scheme == "takahashi-imada":
            potential = potential + dt**2 / (48 * mass) * (slope(v)(before) ** 2 + slope(v)(after) ** 2)
    return kinetic + sign * dt * potential.sum(-1)


def van_vleck(path: Tensor, v: Potential, *, dt: float, mass: float, signature: str) -> Tensor:
    """The product of the factors of "midpoint-vanvleck", which are no part of the action."""
    sign = -1.0 if signature == "euclid" else 1.0
    middle = (path[..., :-1] + path[..., 1:]) / 2
    return (1 + sign * dt**2 / (4 * mass) * slope(v, 2)(middle)).sqrt().prod(-1)


def step_prefactor(dt: float, mass: float, hbar: float, signature: str) -> complex:
    """sqrt(m / (2 pi hbar dt)), with i in real time."""
    size = math.sqrt(mass / (2 * math.pi * hbar * dt))
    return size if signature == "euclid" else size * cmath.exp(-1j * math.pi / 4)


def gaussian_integral(s: Callable[[Tensor], Tensor], variables: int, hbar: float, signature: str) -> complex:
    """The integral of exp(-s / hbar), or exp(i s / hbar), over all variables of a quadratic s.

    By eigenvalues; each Fresnel integral brings its own exp(+-i pi/4).
    """
    zero = torch.zeros(variables, dtype=torch.float64)
    if variables == 0:
        value = float(s(zero)) / hbar
        return cmath.exp(-value if signature == "euclid" else 1j * value)
    constant, linear = float(s(zero)), torch.func.grad(s)(zero)
    eigenvalues, vectors = torch.linalg.eigh(hessian(s, variables))
    along = vectors.mT @ linear
    least = (constant - float((along**2 / eigenvalues).sum()) / 2) / hbar
    size = float((2 * math.pi * hbar / eigenvalues.abs()).sqrt().prod())
    if signature == "euclid":
        assert (eigenvalues > 0).all()
        return size * math.exp(-least)
    turns = float(torch.sign(eigenvalues).sum())
    return size * cmath.exp(1j * (least + math.pi / 4 * turns))


def hessian(s: Callable[[Tensor], Tensor], variables: int) -> Tensor:
    """Of a quadratic s, whose gradient is linear."""
    gradient = torch.func.grad(s)
    at_zero = gradient(torch.zeros(variables, dtype=torch.float64))
    return torch.stack([gradient(unit) - at_zero for unit in torch.eye(variables, dtype=torch.float64)])
