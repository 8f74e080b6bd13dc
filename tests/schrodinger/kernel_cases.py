"""Direct calls of the one-dimensional kernels, and the same by dense linear algebra."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from qcore import _core

CAYLEY, EULER = 0, 1
DIRICHLET, PERIODIC = 0, 1
F64, F32 = 0, 1
AUTO, REFERENCE = 0, 1
REAL_TIME = np.array([-0.3j, -0.2 - 0.1j, -0.2 + 0.4j])
"""Coefficients of up to three stages; what is asked of them is an imaginary part."""
IMAGINARY_TIME = np.array([-0.3, -0.2, -0.1], complex)


@dataclass(frozen=True)
class Case:
    """Arguments of a run."""

    psi: np.ndarray
    potential: np.ndarray
    c: np.ndarray
    steps: int = 4
    kappa: float = 1.7
    rule: int = CAYLEY
    order: int = 2
    boundary: int = DIRICHLET
    arithmetic: int = F64
    save_every: int = 0

    @property
    def stages(self) -> int:
        return self.steps * len(self.c)

    def but(self, **changes: Any) -> Case:
        return replace(self, **changes)

    def systems(self, which: slice) -> Case:
        """Some systems of the batch, with their potentials."""
        shared = self.potential.shape[1] == 1
        return self.but(
            psi=self.psi[which].copy(),
            potential=self.potential if shared else self.potential[:, which].copy(),
        )


def make_case(
    batch: int,
    n: int,
    *,
    seed: int = 0,
    dtype: Any = np.complex128,
    stages: int = 1,
    slices: bool = False,
    per_system: bool = False,
    absorbing: bool = False,
    **rest: Any,
) -> Case:
    """Random numbers; `slices`: a potential for every step; `absorbing`: with a negative imaginary part."""
    rng = np.random.default_rng(seed)
    is_complex = np.issubdtype(dtype, np.complexfloating)
    steps = rest.get("steps", 4)
    psi = rng.normal(size=(batch, n)) + (1j * rng.normal(size=(batch, n)) if is_complex else 0)
    shape = (steps if slices else 1, batch if per_system else 1, n)
    potential = rng.random(shape) if not is_complex else rng.normal(size=shape)
    if absorbing:
        potential = potential - 1j * rng.random(shape)
    c = (REAL_TIME if is_complex else IMAGINARY_TIME)[:stages]
    return Case(psi.astype(dtype), potential, c, **rest)


class Result(NamedTuple):
    out: np.ndarray
    frames: np.ndarray | None


def run(case: Case, backend: int = AUTO) -> Result:
    out = np.full_like(case.psi, np.nan)
    frames = None
    if case.save_every:
        frames = np.full((case.stages // case.save_every, *case.psi.shape), np.nan, case.psi.dtype)
    _core.schrodinger_evolve(
        case.psi, case.potential, case.kappa, case.c, out, frames, case.steps, case.save_every, case.rule,
        case.order, case.boundary, case.arithmetic, backend,
    )  # fmt: skip
    return Result(out, frames)


class Gradients(NamedTuple):
    psi: np.ndarray
    potential: np.ndarray
    c: np.ndarray


def pull(
    case: Case,
    states: np.ndarray,
    grad_out: np.ndarray,
    grad_frames: np.ndarray | None = None,
    backend: int = AUTO,
) -> Gradients:
    grads = Gradients(
        np.full_like(grad_out, np.nan), np.full_like(case.potential, np.nan), np.full_like(case.c, np.nan)
    )
    _core.schrodinger_adjoint(
        states, grad_out, grad_frames, case.potential, case.kappa, case.c, *grads, case.steps,
        case.save_every, case.rule, case.order, case.boundary, case.arithmetic, backend,
    )  # fmt: skip
    return grads


def laplacian(n: int, order: int, boundary: int) -> np.ndarray:
    """L_r of csrc/schrodinger/evolve.hpp as a dense matrix."""
    shift = np.zeros((n, n))
    for j in range(n):
        if j + 1 < n or boundary == PERIODIC:
            shift[j, (j + 1) % n] += 1
    line, one = 2 * np.eye(n) - shift - shift.T, np.eye(n)
    if order == 2:
        return line
    if order == 4:
        return np.linalg.solve(one - line / 12, line)
    return np.linalg.solve(one - 2 / 15 * line, line - line @ line / 20)


def dense_trajectory(
    case: Case, psi: torch.Tensor, potential: torch.Tensor, c: torch.Tensor
) -> list[torch.Tensor]:
    """The state after every stage, the first one before any, in complex128 and differentiable."""
    n = psi.shape[1]
    kinetic = torch.from_numpy(case.kappa * laplacian(n, case.order, case.boundary)).to(torch.complex128)
    states = [psi]
    for k in range(case.stages):
        step, stage = divmod(k, len(case.c))
        v = potential[step if potential.shape[0] > 1 else 0].expand(psi.shape[0], n)
        h = kinetic + torch.diag_embed(v.to(torch.complex128))
        chi = torch.linalg.solve(torch.eye(n) - c[stage] * h, states[-1].unsqueeze(-1)).squeeze(-1)
        states.append(2 * chi - states[-1] if case.rule == CAYLEY else chi)
    return states


def dense(case: Case) -> Result:
    states = dense_trajectory(
        case,
        torch.from_numpy(case.psi).to(torch.complex128),
        torch.from_numpy(case.potential),
        torch.from_numpy(case.c),
    )
    every = case.save_every
    frames = torch.stack(states[every::every]).numpy() if every and case.stages >= every else None
    return Result(states[-1].numpy(), frames)


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference in units of the largest entry."""
    if not expected.size:
        return 0.0
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-300))
