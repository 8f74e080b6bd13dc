"""Split steps in differentiable torch, by a dense matrix for each axis: for derivatives of derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from .schrodinger_composite import laplacian


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
    coefficients = e if work.is_complex else e.real
    axes = [laplacian(n, order, b).to(work) for n, b in zip(psi.shape[1:], boundary.split(","), strict=True)]
    frames: list[Tensor] = []
    for step in range(1, steps + 1):
        for entry in program:
            if entry >= 0:
                state = phases[entry] * state
                continue
            for d, line in enumerate(axes):
                for z in coefficients[-1 - entry, d]:
                    state = _stage(state, line, z, d - len(axes), rule)
        if save_every and step % save_every == 0:
            frames.append(state)
    saved = torch.stack(frames) if frames else state.new_empty((0, *state.shape))
    return state.to(psi.dtype), saved.to(psi.dtype)


def _stage(state: Tensor, line: Tensor, z: Tensor, axis: int, rule: str) -> Tensor:
    matrix = torch.eye(line.shape[0], dtype=line.dtype) - z * line
    chi: Tensor = (
        torch.linalg.solve(matrix, state.movedim(axis, -1).unsqueeze(-1)).squeeze(-1).movedim(-1, axis)
    )
    return 2.0 * chi - state if rule == "cayley" else chi
