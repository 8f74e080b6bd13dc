"""Crank-Nicolson with transparent ends as plain differentiable torch: dense, for second derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from .schrodinger_cayley_composite import inverse, stack


def steps(
    psi: Tensor,
    potential: Tensor,
    kappa: Tensor,
    tau: Tensor,
    count: int,
    save_every: int,
    left: bool,
    right: bool,
) -> tuple[Tensor, Tensor]:
    """(out, frames); shapes as in the operator, kappa and tau () or one for each set of potentials (P,)."""
    n, where = psi.shape[1], psi.device
    kappa, tau = kappa.to(where), tau.to(where)
    coupling = 1j * tau * kappa
    diagonal = 1.0 + 1j * tau[..., None] * (2.0 * kappa[..., None] + potential)
    ends = [(0, left), (n - 1, right)]
    weights = [
        [coupling * nu for nu in end_weights(potential[:, j] / kappa, 1.0 / (tau * kappa), count)]
        if is_open
        else []
        for j, is_open in ends
    ]
    corners = torch.eye(n, dtype=torch.complex128, device=where)
    for (j, _), w in zip(ends, weights, strict=True):
        if w:
            diagonal = diagonal - w[0][:, None] * corners[j]
    off = coupling.reshape(-1, 1) * torch.ones(n - 1, dtype=torch.complex128, device=where)
    matrix = torch.diag_embed(diagonal) - torch.diag_embed(off, 1) - torch.diag_embed(off, -1)
    solution = inverse(matrix)
    stacks = [torch.stack(w) if w else None for w in weights]
    u, frames = psi.to(torch.complex128), []
    past: list[list[Tensor]] = [[], []]
    for m in range(count):
        rhs = u
        for (j, _), stacked, chis in zip(ends, stacks, past, strict=True):
            if stacked is not None and m:
                beyond = (stacked[1 : m + 1].flip(0) * torch.stack(chis)).sum(0)
                rhs = rhs + beyond[:, None] * corners[j]
        chi = (solution @ rhs[..., None])[..., 0]
        for (j, _), chis in zip(ends, past, strict=True):
            chis.append(chi[:, j])
        u = 2.0 * chi - u
        if save_every and (m + 1) % save_every == 0:
            frames.append(u.to(psi.dtype))
    return u.to(psi.dtype), stack(frames, psi)


def end_weights(s: Tensor, r: Tensor, count: int) -> list[Tensor]:
    """Coefficients of nu(x) = (b - sqrt(b^2 - 4)) / 2, b = 2 + s - i r (1 - x) / (1 + x): transparent.hpp."""
    b0, b1 = 2.0 + s - 1j * r, 2.0 + s + 1j * r
    p0, p1, q0, q1 = b0 - 2.0, b1 - 2.0, b0 + 2.0, b1 + 2.0
    a, b, c = p0 * q0, p0 * q1 + p1 * q0, p1 * q1
    root = torch.sqrt(a)
    f = torch.where((b0 - root).abs() > (b0 + root).abs(), -root, root)
    before, nu = torch.zeros_like(f), torch.zeros_like(f)
    zero, weights = torch.zeros_like(f), []
    for k in range(count):
        nu = 0.5 * ((b0 if k == 0 else b1 if k == 1 else zero) - f) - nu
        weights.append(nu)
        f, before = ((0.5 - k) * b * f + (2.0 - k) * c * before) / (a * (k + 1.0)), f
    return weights
