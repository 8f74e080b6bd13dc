"""Cayley steps as differentiable torch: forward mode step by step, and dense matrices for second derivatives.

Shapes as in the operators: psi (B, n), bands (3, P, n), mass (3, Q, n) or None, z (Z,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ._second_derivatives import Function, OptionalTensors, Tensors

OneStep = Callable[[Tensor, Tensor, "Tensor | None", Tensor], Tensor]


def dense_steps(
    psi: Tensor, bands: Tensor, mass: Tensor | None, z: Tensor, count: int, save_every: int
) -> tuple[Tensor, Tensor]:
    """(out, frames) by dense matrices: O(P n^2) memory, O(P n^3) operations, differentiable repeatedly."""
    za = z[:, None, None] * dense(bands)
    m = torch.eye(psi.shape[1], dtype=bands.dtype) if mass is None else dense(mass)
    step = inverse(m - za) @ (m + za)
    u, frames = psi.to(bands.dtype), []
    for t in range(count):
        u = (step @ u[..., None])[..., 0]
        if save_every and (t + 1) % save_every == 0:
            frames.append(u.to(psi.dtype))
    return u.to(psi.dtype), stack(frames, psi)


def function_of(tensors: Any, count: int, save_every: int) -> tuple[Function, Tensors]:
    """`dense_steps` as a function of those tensors that are there, and these."""
    if tensors[2] is not None:
        return (lambda u, a, m, s: dense_steps(u, a, m, s, count, save_every)), tensors
    psi, bands, _, z = tensors
    return (lambda u, a, s: dense_steps(u, a, None, s, count, save_every)), (psi, bands, z)


def steps_tangent(
    primals: Any, tangents: OptionalTensors, count: int, save_every: int, one_step: OneStep
) -> tuple[Tensor, Tensor]:
    """Tangents of (out, frames) for tangents of psi, bands, mass and z (None: zero), step by step in O(n).

    With chi the mean of the states before and after a step, (M - z A) dchi = M dpsi + dM (psi - chi)
    + (z dA + dz A) chi, and a step C = `one_step` gives (M - z A)^{-1} M = (1 + C) / 2.
    """
    psi, bands, mass, z = primals
    dpsi, dbands, dmass, dz = tangents
    u = psi.to(bands.dtype)
    du = torch.zeros_like(u) if dpsi is None else dpsi.to(bands.dtype)
    frames = []
    for t in range(count):
        after = one_step(u, bands, mass, z)
        chi, forces = 0.5 * (u + after), []
        if dbands is not None:
            forces.append(z[:, None] * apply(dbands, chi))
        if dz is not None:
            forces.append(dz[:, None] * apply(bands, chi))
        if dmass is not None:
            forces.append(apply(dmass, u - chi))
        if forces:
            force = sum(forces[1:], start=forces[0])
            push = force if mass is None else _solve(mass, force, one_step)
            du = one_step(du + push, bands, mass, z) + push
        else:
            du = one_step(du, bands, mass, z)
        u = after
        if save_every and (t + 1) % save_every == 0:
            frames.append(du.to(psi.dtype))
    return du.to(psi.dtype), stack(frames, psi)


def _solve(mass: Tensor, f: Tensor, one_step: OneStep) -> Tensor:
    """M^{-1} f: the step with A = 1 - M, z = 1 and no mass is 2 M^{-1} - 1."""
    one = torch.stack([torch.zeros_like(mass[0]), torch.ones_like(mass[0]), torch.zeros_like(mass[0])])
    return 0.5 * (one_step(f, one - mass, None, mass.new_ones(1)) + f)


def dense(bands: Tensor) -> Tensor:
    """(3, P, n) as matrices (P, n, n)."""
    lower, diagonal, upper = bands.unbind(0)
    return (
        torch.diag_embed(diagonal) + torch.diag_embed(lower[:, 1:], -1) + torch.diag_embed(upper[:, :-1], 1)
    )


def inverse(matrices: Tensor) -> Tensor:
    """Of (P, n, n), by what works in torch 2.13.

    Not `solve`: what its forward mode returns has lost its dependence on the matrix, without a word. And one
    by
    one: on a batch, after torch.set_num_threads, MKL's threads inside torch's may wait for ever.
    """
    return torch.stack([torch.linalg.inv(a) for a in matrices.unbind(0)])


def apply(bands: Tensor, u: Tensor) -> Tensor:
    """(3, P, n) applied to (B, n)."""
    lower, diagonal, upper = bands.unbind(0)
    from_left = F.pad(lower[:, 1:] * u[:, :-1], (1, 0))
    return diagonal * u + from_left + F.pad(upper[:, :-1] * u[:, 1:], (0, 1))


def stack(frames: list[Tensor], psi: Tensor) -> Tensor:
    """Frames (S, B, n), or none."""
    return torch.stack(frames) if frames else psi.new_zeros((0, *psi.shape))
