"""The 1-D Schroedinger steps in differentiable torch, by dense matrices: for derivatives of derivatives.

Costs O(n^3) once and O(n^2) a stage and system, where the kernels cost O(n).
"""

from __future__ import annotations

import torch
from torch import Tensor

# L_r = (l - q l^2) / (1 - m l)
_MASS = {2: 0.0, 4: 1.0 / 12.0, 6: 2.0 / 15.0}
_QUARTIC = {2: 0.0, 4: 0.0, 6: 1.0 / 20.0}


def second_difference(n: int, boundary: str, device: torch.device | None = None) -> Tensor:
    """l = 2 - (shift right) - (shift left) as a float64 matrix (n, n)."""
    eye = torch.eye(n, dtype=torch.float64, device=device)
    right = torch.roll(eye, 1, 0)
    if boundary == "dirichlet":
        right = torch.tril(right)  # without the entry that wraps around
        if n == 1:
            right = torch.zeros_like(eye)
    return 2.0 * eye - right - right.T


def laplacian(n: int, order: int, boundary: str, device: torch.device | None = None) -> Tensor:
    """L_r as a float64 matrix (n, n)."""
    line = second_difference(n, boundary, device)
    stiffness = line - _QUARTIC[order] * line @ line
    matrix: Tensor = torch.linalg.solve(
        torch.eye(n, dtype=torch.float64, device=device) - _MASS[order] * line, stiffness
    )
    return matrix


def evolve(
    psi: Tensor,
    potential: Tensor,
    kappa: Tensor,
    c: Tensor,
    steps: int,
    save_every: int,
    rule: str,
    order: int,
    boundary: str,
) -> tuple[Tensor, Tensor]:
    """The state after all stages and, where save_every > 0, the frames (stages // save_every, B, n)."""
    n, stages = psi.shape[-1], c.shape[0]
    work = torch.promote_types(psi.dtype, torch.float64)
    state = psi.to(work)
    factors = c if work.is_complex else c.real
    kinetic = kappa * laplacian(n, order, boundary, psi.device)
    eye = torch.eye(n, dtype=work, device=psi.device)
    frames: list[Tensor] = []
    for k in range(steps * stages):
        energy = potential[0 if potential.shape[0] == 1 else k // stages]
        matrix = eye - factors[k % stages] * (kinetic + torch.diag_embed(energy))  # (P, n, n)
        chi = torch.linalg.solve(matrix, state.unsqueeze(-1)).squeeze(-1)
        state = 2.0 * chi - state if rule == "cayley" else chi
        if save_every and (k + 1) % save_every == 0:
            frames.append(state)
    saved = torch.stack(frames) if frames else state.new_empty((0, *state.shape))
    return state.to(psi.dtype), saved.to(psi.dtype)
