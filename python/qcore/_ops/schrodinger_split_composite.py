"""Split steps in differentiable torch, in the modes of the grid: for derivatives of derivatives.

The kinetic factors of an axis are functions of l = 2 - (shift left) - (shift right), whose eigenvectors are
sines (zero beyond the ends) or cosines plus sines (periodic): real symmetric orthogonal matrices.
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor


def evolve(
    psi: Tensor,
    phases: Tensor,
    e: Tensor,
    program: list[int],
    boundary: str,
    order: int,
    rule: str,
    steps: int,
    save_every: int,
) -> tuple[Tensor, Tensor]:
    """The state after all steps and, where save_every > 0, the frames (steps // save_every, B, *S)."""
    work = torch.promote_types(psi.dtype, torch.float64)
    state = psi.to(work)
    coefficients = (e if work.is_complex else e.real).to(psi.device)
    walls = zip(psi.shape[1:], boundary.split(","), strict=True)
    axes = [_modes(n, wall, order, psi.device) for n, wall in walls]
    bases = [basis.to(work) for basis, _ in axes]
    factors = [_factor(substep, [energies for _, energies in axes], rule) for substep in coefficients]
    frames: list[Tensor] = []
    for step in range(1, steps + 1):
        for entry in program:
            if entry >= 0:
                state = phases[entry] * state
            else:
                state = _change_basis(factors[-1 - entry] * _change_basis(state, bases), bases)
        if save_every and step % save_every == 0:
            frames.append(state)
    saved = torch.stack(frames) if frames else state.new_empty((0, *state.shape))
    return state.to(psi.dtype), saved.to(psi.dtype)


def _modes(n: int, wall: str, order: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Eigenvectors of an axis, and the eigenvalues of L_r."""
    j = torch.arange(n, dtype=torch.float64, device=device)
    if wall == "dirichlet":
        angle = pi / (n + 1) * (j + 1)
        basis = torch.sin(torch.outer(angle, j + 1)) * (2.0 / (n + 1)) ** 0.5
    else:
        angle = 2.0 * pi / n * j
        basis = (torch.cos(torch.outer(angle, j)) + torch.sin(torch.outer(angle, j))) / n**0.5
    l = 2.0 - 2.0 * torch.cos(angle)  # noqa: E741  (the field's name)
    if order == 4:
        l = l / (1.0 - l / 12.0)  # noqa: E741
    elif order == 6:
        l = l * (1.0 - l / 20.0) / (1.0 - 2.0 * l / 15.0)  # noqa: E741
    return basis, l


def _factor(substep: Tensor, energies: list[Tensor], rule: str) -> Tensor:
    """What a kinetic substep (D, M) multiplies the modes by, on the grid of modes."""
    product = substep.new_ones(())
    for axis, own in enumerate(energies):
        shaped = own.reshape(-1, *(1,) * (len(energies) - 1 - axis))
        for z in substep[axis]:
            above = 1.0 + z * shaped if rule == "cayley" else torch.ones_like(shaped)
            product = product * (above / (1.0 - z * shaped))
    return product


def _change_basis(state: Tensor, bases: list[Tensor]) -> Tensor:
    for axis, basis in enumerate(bases, start=1):
        state = (state.movedim(axis, -1) @ basis).movedim(-1, axis)
    return state
