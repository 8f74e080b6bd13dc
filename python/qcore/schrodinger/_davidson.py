"""Lowest eigenpairs of many symmetric operators at once, by the block Davidson method with thick restarts.

The levels are the Rayleigh-Ritz values in a growing orthonormal space: no step rule of an imaginary time can
then turn the answer into another state, and the search space keeps every direction that was ever in it. A
step adds to it the residuals of the lowest states, passed through an approximate inverse (Davidson, J.
Comput. Phys. 17, 87, 1975; Morgan and Scott, SIAM J. Sci. Stat. Comput. 7, 817, 1986). With the exact inverse
it is a block Krylov method for the inverse.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

SPARE = 2  # states looked for beyond those asked for: the gap to the rest sets the speed
SPACE = 5  # largest search space, in blocks; the lowest two blocks of it survive a restart


class Problem(Protocol):
    """B operators on N points; a block x is (B, m, N), one state per row."""

    def apply(self, x: Tensor) -> Tensor:
        """H x."""

    def improve(self, residual: Tensor, levels: Tensor, norms: Tensor) -> Tensor:
        """About (H - E)^{-1} on the residuals of the lowest states, levels and norms (B, m)."""

    def spread(self, rows: Tensor) -> Tensor:
        """States (B, m, N) to search from, by random rows (m, N)."""

    def limit(self, levels: Tensor, states: Tensor) -> Tensor:
        """Norm (B, m) up to which a residual counts as zero."""

    def complete(self, levels: Tensor, norms: Tensor) -> Tensor:
        """Whether no level was missed below the highest one given, (B,) bool."""


class Found(NamedTuple):
    """levels (B, k), states (B, k, N) of unit length, norms (B, k) of the residuals, converged (B,)."""

    levels: Tensor
    states: Tensor
    norms: Tensor
    converged: Tensor


def block_size(k: int, points: int) -> int:
    """Rows that `lowest` works on for k states."""
    return min(points, k + max(SPARE, k // 4))


def lowest(problem: Problem, start: Tensor, spare: Tensor, k: int, max_iterations: int) -> Found:
    """The k lowest eigenpairs, ascending.

    Args:
        problem: the operators.
        start: (B, d, N) with d >= k, states to begin with.
        spare: (m, N), random rows for when a level was missed; m = block_size(k, N), and SPACE * m <= N.
        k: number of states.
        max_iterations: number of times that the search space may grow.
    """
    m = spare.shape[0]
    basis = _orthonormal(start)
    images = problem.apply(basis)
    found: Found | None = None
    for iteration in range(max_iterations + 1):
        matrix = basis @ images.mT
        levels, mix = torch.linalg.eigh(0.5 * (matrix + matrix.mT))
        states = mix[..., :m].mT @ basis
        levels = levels[:, :m]
        residual = problem.apply(states) - levels.unsqueeze(-1) * states
        norms = residual.norm(dim=-1)
        small = (norms <= problem.limit(levels, states))[:, :k].all(-1)
        missed = torch.zeros_like(small)
        if small.any():
            missed = small & ~problem.complete(levels[:, :k], norms[:, :k])
        found = _record(found, Found(levels[:, :k], states[:, :k], norms[:, :k], small & ~missed))
        if found.converged.all() or iteration == max_iterations:
            break
        step = problem.improve(residual, levels, norms)
        failed = ~step.isfinite().all(-1).all(-1) | missed
        if failed.any():
            step = torch.where(failed[:, None, None], problem.spread(spare.roll(iteration, -1)), step)
        if basis.shape[1] + m > SPACE * m:
            basis = _orthonormal(mix[..., : 2 * m].mT @ basis)
            images = problem.apply(basis)
        step = _beside(basis, step)
        basis = torch.cat((basis, step), 1)
        images = torch.cat((images, problem.apply(step)), 1)
    assert found is not None
    return found


def _record(found: Found | None, latest: Found) -> Found:
    """Keep what converged before, so that a result does not depend on the other systems of the batch."""
    if found is None:
        return latest
    old = found.converged
    return Found(
        torch.where(old[:, None], found.levels, latest.levels),
        torch.where(old[:, None, None], found.states, latest.states),
        torch.where(old[:, None], found.norms, latest.norms),
        old | latest.converged,
    )


def _unit(rows: Tensor) -> Tensor:
    length: Tensor = rows.norm(dim=-1, keepdim=True)
    return rows / length.clamp_min(torch.finfo(rows.dtype).tiny)


def _orthonormal(rows: Tensor) -> Tensor:
    """Combinations of the rows by their Gram matrix, which keeps an entry small where all rows are small.

    A Householder reflection would leave rounding errors of the largest entry everywhere, and a high wall
    multiplies them. What lies in the span of the others has no direction after the first pass but that of its
    rounding errors.
    """
    for _ in range(3):
        rows = _unit(rows)
        weights, mix = torch.linalg.eigh(rows @ rows.mT)
        floor = torch.finfo(rows.dtype).eps * weights[..., -1:]
        rows = (mix.mT @ rows) / weights.maximum(floor).sqrt().unsqueeze(-1)
    return rows


def _beside(basis: Tensor, rows: Tensor) -> Tensor:
    """Orthonormal rows that span, beside the basis, what the given ones do."""

    def project(x: Tensor) -> Tensor:
        return x - (x @ basis.mT) @ basis

    rows = _orthonormal(project(_unit(project(_unit(rows)))))
    return _orthonormal(project(rows))
