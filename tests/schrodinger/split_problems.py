"""Split-step problems of every kind, and what has to come out: dense matrices, exact modes of the grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi, prod
from typing import Any

import torch
from torch import Tensor

from qcore._ops import _device

WALLS = {"dirichlet": 0, "periodic": 1}
RULES = {"cayley": 0, "euler": 1}
AUTO, REFERENCE = 0, 1
C128, F64 = torch.complex128, torch.float64


@dataclass(frozen=True)
class Problem:
    """Arguments of the kernel, but for the state."""

    phases: Tensor
    e: Tensor
    program: tuple[int, ...]
    walls: tuple[str, ...]
    steps: int = 3
    rule: str = "cayley"
    order: int = 2
    fast: bool = False

    def but(self, **changes: Any) -> Problem:
        return replace(self, **changes)

    @property
    def settings(self) -> tuple[Any, ...]:
        return list(self.program), [WALLS[w] for w in self.walls], self.steps

    @property
    def codes(self) -> tuple[int, ...]:
        return RULES[self.rule], self.order, int(self.fast)


def make_problem(
    sizes: tuple[int, ...],
    *,
    real: bool = False,
    batch: int = 1,
    tables: int = 2,
    substeps: int = 2,
    stages: int = 1,
    walls: tuple[str, ...] | None = None,
    strength: float = 2.0,
    program: tuple[int, ...] = (0, -1, 0),
    **rest: Any,
) -> Problem:
    """Random unitary factors, or for real states decaying ones; `batch`: fields with tables of their own."""
    axes = len(sizes)
    walls = walls or tuple(("dirichlet", "periodic")[i % 2] for i in range(axes))
    noise = torch.rand(tables, batch, *sizes, dtype=F64)
    size = strength * torch.rand(substeps, axes, stages, dtype=F64, device="cpu")  # wherever psi is
    phases = 0.5 + noise if real else torch.polar(torch.ones_like(noise), 6 * noise)
    e = torch.complex(-size, torch.zeros_like(size)) if real else torch.complex(torch.zeros_like(size), -size)
    return Problem(phases, e, program, walls, **rest)


def run(p: Problem, psi: Tensor, *, save_every: int = 0, backend: int = AUTO) -> tuple[Tensor, Tensor]:
    """The kernel's state after all steps, and its frames."""
    out = torch.full_like(psi, torch.nan)
    frames = psi.new_full((p.steps // save_every if save_every else 0, *psi.shape), torch.nan)
    inputs = psi.contiguous(), p.phases, p.e, out, frames if save_every else None
    _device.kernels(psi).schrodinger_split_evolve(*inputs, *p.settings, save_every, *p.codes, backend)
    return out, frames


def pull(
    p: Problem,
    states: Tensor,
    grad: Tensor,
    grad_frames: Tensor | None = None,
    *,
    save_every: int = 1,
    first: int = 0,
    backend: int = AUTO,
) -> tuple[Tensor, Tensor, Tensor]:
    """The kernel's gradients with respect to psi, phases and e."""
    outputs = [torch.full_like(t, torch.nan) for t in (grad, p.phases)]
    outputs.append(grad.new_full(p.e.shape, torch.nan, dtype=p.e.dtype))
    inputs = states, grad, grad_frames, p.phases, p.e, *outputs
    _device.kernels(grad).schrodinger_split_adjoint(
        *inputs, *p.settings, save_every, first, *p.codes, backend
    )
    return tuple(outputs)


# --- dense linear algebra ---


def second_difference(n: int, wall: str) -> Tensor:
    """l = 2 - (shift right) - (shift left)."""
    one = torch.eye(n, dtype=F64)
    shift = torch.roll(one, 1, 1) if wall == "periodic" else torch.diag(torch.ones(n - 1, dtype=F64), 1)
    return 2 * one - shift - shift.T


def of_order(difference: Any, order: int, divide: Any) -> Any:
    """L_r as a function of l: of matrices or of their eigenvalues."""
    if order == 2:
        return difference
    if order == 4:
        return divide(difference, 1 / 12, 0.0)
    return divide(difference, 2 / 15, 1 / 20)


def kinetic_matrix(n: int, wall: str, order: int) -> Tensor:
    """Dense L_r of an axis."""
    one = torch.eye(n, dtype=F64)
    return of_order(
        second_difference(n, wall),
        order,
        lambda l, mass, more: torch.linalg.solve(one - mass * l, l - more * l @ l),  # noqa: E741
    )


def stage_matrix(e: Tensor, line: Tensor, rule: str) -> Tensor:
    """(1 - e L)^{-1}, or 2 (1 - e L)^{-1} - 1."""
    one = torch.eye(line.shape[0], dtype=C128)
    inverse = torch.linalg.inv(one - e * line)
    return inverse if rule == "euler" else 2 * inverse - one


def dense(p: Problem, psi: Tensor, save_every: int = 0) -> tuple[Tensor, Tensor]:
    """What `run` has to give, in complex128 and differentiable."""
    lines = [kinetic_matrix(n, w, p.order) for n, w in zip(psi.shape[1:], p.walls, strict=True)]
    state, frames = psi.to(C128), []
    for step in range(1, p.steps + 1):
        for entry in p.program:
            if entry >= 0:
                state = state * p.phases[entry]
                continue
            for axis, line in enumerate(lines, start=1):
                for e in p.e[-1 - entry, axis - 1]:
                    matrix = stage_matrix(e, line, p.rule)
                    state = torch.movedim(torch.tensordot(matrix, state, dims=([1], [axis])), 0, axis)
        if save_every and step % save_every == 0:
            frames.append(state)
    saved = torch.stack(frames) if frames else state.new_zeros((0, *state.shape))
    return (state, saved) if psi.is_complex() else (state.real, saved.real)


# --- exact modes of the grid ---


def modes(n: int, wall: str) -> tuple[Tensor, Tensor]:
    """A real symmetric orthogonal matrix of the eigenvectors of l, and its eigenvalues."""
    j = torch.arange(n, dtype=F64)
    if wall == "dirichlet":
        angle = pi * torch.outer(j + 1, j + 1) / (n + 1)
        return torch.sin(angle) * (2 / (n + 1)) ** 0.5, 2 - 2 * torch.cos(pi * (j + 1) / (n + 1))
    angle = 2 * pi * torch.outer(j, j) / n
    return (torch.cos(angle) + torch.sin(angle)) / n**0.5, 2 - 2 * torch.cos(2 * pi * j / n)


def free(p: Problem, psi: Tensor) -> Tensor:
    """Motion without pointwise factors: every mode of the grid times a number for each stage."""
    state = psi.to(C128)
    factor = torch.ones(psi.shape[1:], dtype=C128)
    for axis, (n, wall) in enumerate(zip(psi.shape[1:], p.walls, strict=True)):
        matrix, l = modes(n, wall)  # noqa: E741
        energies = of_order(l, p.order, lambda l, mass, more: l * (1 - more * l) / (1 - mass * l))  # noqa: E741
        own = torch.ones(n, dtype=C128)
        for entry in p.program:
            for e in p.e[-1 - entry, axis]:
                own = own * ((1 + e * energies if p.rule == "cayley" else 1) / (1 - e * energies))
        factor = factor * own.reshape(-1, *(1,) * (len(p.walls) - axis - 1))
        state = torch.movedim(torch.tensordot(matrix.to(C128), state, dims=([1], [axis + 1])), 0, axis + 1)
    state = state * factor**p.steps
    for axis, (n, wall) in enumerate(zip(psi.shape[1:], p.walls, strict=True)):
        matrix = modes(n, wall)[0].to(C128)
        state = torch.movedim(torch.tensordot(matrix, state, dims=([1], [axis + 1])), 0, axis + 1)
    return state if psi.is_complex() else state.real


def random_state(batch: int, sizes: tuple[int, ...], dtype: torch.dtype = C128) -> Tensor:
    """Of order 1 in the maximum norm, for any size."""
    return torch.randn(batch, *sizes, dtype=dtype) / max(1, prod(sizes)) ** 0.1


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the largest number."""
    wide = torch.complex128 if found.is_complex() else F64
    scale = expected.abs().max().clamp_min(1e-300)
    return float(((found.to(wide) - expected.to(wide)).abs().max() / scale).item()) if found.numel() else 0.0
