"""The actions of paths and fields in differentiable torch, in float64: for derivatives of derivatives, and
for potentials that are functions of torch. The kernels compute the same in one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]

SCHEMES = {
    "trapezoid": 0,
    "endpoint": 1,
    "startpoint": 2,
    "takahashi-imada": 3,
    "chin4": 4,
    "midpoint": 5,
    "midpoint-vanvleck": 6,
}
"""With the codes of csrc/paths/action.hpp."""
CORRECTED = ("takahashi-imada", "chin4")
ON_LINKS = ("midpoint", "midpoint-vanvleck")


# --- potentials ---


def polynomial(coefficients: Tensor) -> Function:
    """V of coefficients (K,), or (B, K) for points (B, ...)."""

    def value(x: Tensor) -> Tensor:
        c = coefficients
        if c.ndim == 2:
            c = c.reshape(c.shape[0], *[1] * (x.ndim - 1), c.shape[1])
        total = c[..., -1].expand(x.shape)
        for k in range(c.shape[-1] - 2, -1, -1):
            total = total * x + c[..., k]
        return total

    return value


def table(cells: Tensor, start: float, spacing: float) -> Function:
    """V of the cubics of a table's cells (n, 4), straight beyond its ends."""

    def value(x: Tensor) -> Tensor:
        u = (x - start) / spacing
        i = u.detach().floor().clamp(0, cells.shape[0] - 1).long()
        f = u - i
        inside = f.clamp(0, 1)
        c0, c1, c2, c3 = cells[i].unbind(-1)
        slope = c1 + inside * (2 * c2 + inside * 3 * c3)
        return c0 + inside * (c1 + inside * (c2 + inside * c3)) + (f - inside) * slope

    return value


def slope_of(potential: Function) -> Function:
    """V' of a potential of one coordinate, point by point; of several, the gradient."""

    def slope(x: Tensor) -> Tensor:
        pulled: Any = torch.func.vjp(potential, x)
        value, pull = pulled
        gradient: Tensor = pull(torch.ones_like(value))[0]
        return gradient

    return slope


# --- sums over a path ---


def next_bead(x: Tensor, periodic: bool) -> tuple[Tensor, Tensor]:
    """Both ends of every link of paths (B, M, ...)."""
    if periodic:
        return x, torch.roll(x, -1, 1)
    links = x.shape[1] - 1
    return x.narrow(1, 0, links), x.narrow(1, 1, links)


def kinetic_sum(x: Tensor, periodic: bool) -> Tensor:
    """sum (x_{n+1} - x_n)^2 / 2 of paths (B, M, ...), one number a path."""
    here, there = next_bead(x, periodic)
    return (there - here).square().flatten(1).sum(1) / 2


def bead_weights(beads: int, scheme: str, periodic: bool) -> tuple[Tensor, Tensor]:
    """What V and V'^2 count on every bead, in units of dt and of dt^3 / m."""
    plain, squared = torch.ones(beads, dtype=torch.float64), torch.zeros(beads, dtype=torch.float64)
    if scheme == "takahashi-imada":
        squared += 1 / 24
    elif scheme == "chin4":
        plain[0::2], plain[1::2] = 2 / 3, 4 / 3
        squared[1::2] = 1 / 9
    if not periodic:
        first, last = {"endpoint": (0.0, 1.0), "startpoint": (1.0, 0.0)}.get(scheme, (0.5, 0.5))
        for weights in (plain, squared):
            weights[0] *= first
            weights[-1] *= last
        if beads == 1:  # no step, no action
            return 0 * plain, 0 * squared
    return plain, squared


def potential_sums(
    x: Tensor, potential: Function, scheme: str, periodic: bool, lam: Tensor | float
) -> tuple[Tensor, Tensor]:
    """The potential sum and the correction of paths (B, M) or (B, M, D), one number a path each.

    `potential` maps (B, M) to (B, M), or (B, M, D) to (B, M).
    """
    if scheme in ON_LINKS:
        here, there = next_bead(x, periodic)
        y = (here + there) / 2
        total = potential(y).sum(1)
        if scheme == "midpoint":
            return total, torch.zeros_like(total)
        curvature = slope_of(slope_of(potential))(y)
        return total, torch.log(1 - lam * curvature).sum(1)
    plain, squared = bead_weights(x.shape[1], scheme, periodic)
    total = _weighted(plain, potential(x))
    if scheme not in CORRECTED:
        return total, torch.zeros_like(total)
    squares = slope_of(potential)(x).square()
    if x.ndim == 3:
        squares = squares.sum(2)
    return total, _weighted(squared, squares)


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    """The weighted sum over beads, from which beads of weight 0 are left out whatever they hold."""
    weights = weights.to(values)
    return torch.where(weights != 0, weights * values, 0.0).sum(1)


# --- paths from parameters ---


def network(parameters: str, w: Tensor, x_ini: Tensor, x_fin: Tensor | None, dt: Tensor | float) -> Tensor:
    """Beads (B, N + 1), or one more with x_fin, of velocities or their jumps (B, N)."""
    way = w.cumsum(1) if parameters == "velocity" else w.cumsum(1).cumsum(1)
    start = x_ini.unsqueeze(1)
    pieces = [start, start + dt * way]
    if x_fin is not None:
        pieces.append(x_fin.unsqueeze(1))
    return torch.cat(pieces, 1)


def held(x: Tensor) -> Tensor:
    """The path with ends that are constants."""
    if x.shape[1] <= 2:
        return x.detach()
    return torch.cat((x[:, :1].detach(), x[:, 1:-1], x[:, -1:].detach()), 1)


def action(
    x: Tensor,
    x_ini: Tensor | None,
    x_fin: Tensor | None,
    coefficients: Tensor,
    factors: Tensor,
    *settings: Any,
) -> tuple[Tensor]:
    """What the operator paths_action returns."""
    is_table, start, spacing, scheme, periodic, lam, parameters, dt, hold_ends, *_ = settings
    beads = x.double()
    if parameters != "path":
        assert x_ini is not None
        fin = None if x_fin is None else x_fin.double()
        beads = network(parameters, beads, x_ini.double(), fin, dt)
    if hold_ends:
        beads = held(beads)
    potential = table(coefficients, start, spacing) if is_table else polynomial(coefficients)
    plain, correction = potential_sums(beads, potential, scheme, periodic, lam)
    sums = torch.stack((kinetic_sum(beads, periodic), plain, correction))
    return ((factors.to(sums.device).unsqueeze(-1) * sums).sum(1),)


# --- fields ---


def field_sums(phi: Tensor, midpoint: bool, periodic: bool) -> Tensor:
    """Time, space, mass and quartic sums (4, B) of fields (B, T, L)."""
    here, there = next_bead(phi, periodic)
    y = (here + there) / 2 if midpoint else phi
    weights = phi.new_ones(y.shape[1])
    if not (midpoint or periodic):
        weights = bead_weights(phi.shape[1], "trapezoid", False)[0].to(phi)

    def total(values: Tensor) -> Tensor:
        return (weights[:, None] * values).flatten(1).sum(1)

    return torch.stack(
        (
            kinetic_sum(phi, periodic),
            total((torch.roll(y, -1, 2) - y).square()) / 2,
            total(y.square()) / 2,
            total(y.pow(4)),
        )
    )


def field_action(phi: Tensor, factors: Tensor, *settings: Any) -> tuple[Tensor]:
    """What the operator paths_phi4 returns."""
    midpoint, periodic, *_ = settings
    sums = field_sums(phi.double(), midpoint, periodic)
    return ((factors.to(sums.device).unsqueeze(-1) * sums).sum(1),)
