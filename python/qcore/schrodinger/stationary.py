"""Stationary states H psi = E psi: the lowest levels of one or many potentials on a grid of 1 to 3 axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._ops._check import require_count, require_positive, require_tensor, shape, wrong_type, wrong_value
from .._optional import optional_import
from ._davidson import SPACE, block_size, lowest
from ._grid import Grid, require_potential
from ._problems import Box, Line, OnGrid
from .hamiltonian import closed_grid, kinetic, require_order

__all__ = ["GroundState", "eigenstates", "ground_state"]

DENSE_POINTS = 64  # grids up to this size are solved as a full matrix
CHUNK_NUMBERS = 2**20  # float64 numbers that systems worked on together may take: 8 MB
DIRECT_ROUNDING = 100.0 * torch.finfo(torch.float64).eps  # of LAPACK, in units of the largest element of H


class GroundState(NamedTuple):
    """The k lowest stationary states, by energy.

    Attributes:
        energies: (*batch, k) float64, of the discrete H, ascending.
        states: (*batch, k, *space) float64, real, orthonormal with the weight prod(spacing). The first point,
            in the order of the indices, where |psi| is at least half its maximum has psi > 0.
        residuals: (*batch, k) float64, the L2 norms of H psi - E psi, an energy.
        converged: (*batch,) bool, 0-dim without batch: whether every residual is as small as was asked for.
    """

    energies: Tensor
    states: Tensor
    residuals: Tensor
    converged: Tensor


# From potentials (B, *space) whose least value is 0: states (B, k, N) and whether they converged, (B,)
Solver = Callable[[Tensor, Grid], tuple[Tensor, Tensor]]


def ground_state(
    potential: Tensor,
    *,
    spacing: Any,
    k: int = 1,
    mass: Any = 1.0,
    hbar: Any = 1.0,
    boundary: str | tuple[str, ...] = "dirichlet",
    space_order: int = 2,
    tolerance: float = 1e-9,
    max_iterations: int = 200,
    start: Tensor | None = None,
    seed: int = 0,
) -> GroundState:
    r"""The k lowest stationary states of H = -(hbar^2 / 2m) d^2/dx^2 + V on a grid of 1 to 3 axes.

    A block Davidson search: Rayleigh-Ritz in a space that grows by residuals passed through an approximate
    inverse of H. It starts from random states, so that no symmetry can hide a level, and it ends on the
    residuals, never on a change of energy. On one axis the inverse is a step of imaginary time by the
    compiled kernel, for all potentials of a batch at once, and a count of negative pivots (Sylvester) proves
    that no lower level was missed; a search that fails this goes on. On more axes it is that of a mean field
    or of sparse LU factors, without such a proof.

    Args:
        potential: V, energy, (*batch, *space), real; computed in float64.
        spacing: distance of grid points, a number (one space axis) or one for each of 1 to 3 axes.
        k: number of states.
        mass: a number or 0-dim tensor > 0, or one for each axis.
        hbar: a number or 0-dim tensor.
        boundary: "dirichlet" (walls one spacing beyond the first and the last point) or "periodic", or one
            for each axis.
        space_order: 2, 4 or 6. Energies and states are those of the discrete H: they differ from those of the
            continuum in order h^space_order; in order 2, the lowest of a harmonic well by -m w^2 h^2 / 32.
        tolerance: largest residual, in units of the height of its level above min V (to which the kinetic
            energy that the size of the box implies is added). Never less than the rounding of H psi itself, 8
            eps (|K| + |V psi|).
        max_iterations: steps of the search; 10 to 40 are usual.
        start: (*batch, j, *space), or without batch, 1 <= j <= k: states to begin with, beside the random
            ones.
        seed: of the random states; the same for every potential, so that a result does not depend on the
            batch.

    Returns:
        GroundState. Where `converged` is False (max_iterations was too small, or rounding too large: V of a
        wall many orders of magnitude above the levels on several axes) the energies are still upper bounds of
        levels, and the residuals say how near: some level lies within the residual of each energy.

        Levels nearer to each other than the residuals are found together, but for degenerate ones the states
        are any orthonormal basis. Levels that are asked for one by one (k = 1) mix with those within their
        residual.

        Energies are differentiable once in potential, mass and hbar: dE = <psi|dH|psi> (Hellmann and
        Feynman), for a degenerate level only the sum over its states is meaningful. The states have no
        derivative, and energies no second one: asking raises, and so does a transform of torch.func.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value. A complex potential, a negative
            mass and a transparent boundary are refused: H would not be symmetric and bounded below.

    Source: Davidson, J. Comput. Phys. 17, 87 (1975); Morgan and Scott, SIAM J. Sci. Stat. Comput. 7, 817
    (1986).
    """
    grid = _bound_grid(spacing, mass, hbar, boundary)
    require_order(space_order)
    field, space = _require_field(potential, grid)
    _require_number_of_states(k, space)
    require_positive("tolerance", tolerance)
    require_count("max_iterations", max_iterations)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise wrong_type("seed", "an int", type(seed).__name__)
    first = None if start is None else _require_start(start, field, grid, k)
    m = block_size(k, space.numel())

    def search(v: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        if space.numel() <= max(DENSE_POINTS, SPACE * m):
            return _dense(OnGrid(v, grid, space_order, tolerance), k)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(2 * m, space.numel(), dtype=torch.float64, generator=generator).to(v.device)
        own = None if first is None else first.broadcast_to(v.shape[0], *first.shape[1:])
        states, converged = [], []
        step = _chunk(2 * SPACE * m * space.numel())
        for i in range(0, v.shape[0], step):
            part = v[i : i + step]
            problem = (Line if grid.ndim == 1 else Box)(part, grid, space_order, tolerance)
            begin = problem.spread(rows[:m])
            if own is not None:
                begin = torch.cat((own[i : i + step], begin), 1)
            found = lowest(problem, begin, rows[m:], k, max_iterations)
            states.append(found.states)
            converged.append(found.converged)
        return torch.cat(states), torch.cat(converged)

    return _stationary(search, field, grid, space_order, k)


def eigenstates(
    potential: Tensor,
    *,
    spacing: float,
    k: int,
    mass: Any = 1.0,
    hbar: Any = 1.0,
    boundary: str = "dirichlet",
    space_order: int = 2,
) -> GroundState:
    r"""The k lowest stationary states on one axis by LAPACK, without iteration or tolerance.

    Order 2 between walls is a tridiagonal eigenproblem (scipy.linalg.eigh_tridiagonal, O(k n) for each
    potential; needs SciPy). All else is a full one (torch.linalg.eigh, O(n^3)).

    Args:
        potential: V, energy, (*batch, n), real; computed in float64.
        spacing: distance of grid points, a number.
        k: number of states, at most n.
        mass: a number or 0-dim tensor > 0.
        hbar: a number or 0-dim tensor.
        boundary: "dirichlet" (walls one spacing beyond the first and the last point) or "periodic".
        space_order: 2, 4 or 6.

    Returns:
        GroundState, differentiable as that of `ground_state`; `converged` where the residuals are within
        LAPACK's rounding, 100 eps (|K| + max V - min V).

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value.
        qcore._optional.MissingPackage: SciPy is not installed.
    """
    grid = _bound_grid(spacing, mass, hbar, boundary)
    if grid.ndim != 1:
        raise wrong_value("spacing", "one number, eigenstates has one space axis", f"{grid.ndim}")
    require_order(space_order)
    field, space = _require_field(potential, grid)
    _require_number_of_states(k, space)

    def solve(v: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        problem = OnGrid(v, grid, space_order, tolerance=1e-9)
        if space_order == 2 and grid.boundary == ("dirichlet",):
            linalg = optional_import("scipy.linalg", "qcore.schrodinger.eigenstates", "eigen")
            beside = torch.full((space[0] - 1,), -problem.kappa[0], dtype=torch.float64).numpy()
            diagonals = (v + 2.0 * problem.kappa[0]).cpu().numpy()
            found = [
                linalg.eigh_tridiagonal(d, beside, select="i", select_range=(0, k - 1))[1].T
                for d in diagonals
            ]
            states = torch.stack([v.new_tensor(f) for f in found])
        else:
            states, _ = _dense(problem, k)
        _, norms = _rayleigh(problem, states)
        rounding = DIRECT_ROUNDING * (problem.strength + v.flatten(1).amax(1))
        return states, (norms <= rounding.unsqueeze(-1)).all(-1)

    return _stationary(solve, field, grid, space_order, k)


# --- arguments ---


def _bound_grid(spacing: Any, mass: Any, hbar: Any, boundary: Any) -> Grid:
    def plain(value: Any) -> Any:  # numbers to check, without a record for gradients
        if isinstance(value, (tuple, list)):
            return tuple(map(plain, value))
        return value.detach() if isinstance(value, Tensor) else value

    grid = closed_grid(spacing, plain(mass), plain(hbar), boundary)
    for value in grid.mass:
        if not float(value) > 0.0:
            raise wrong_value("mass", "a number > 0 (else H is not bounded below)", float(value))
    masses = tuple(mass) if isinstance(mass, (tuple, list)) else (mass,) * grid.ndim
    return Grid(grid.spacing, masses, hbar, grid.boundary)


def _require_field(potential: Any, grid: Grid) -> tuple[Tensor, torch.Size]:
    require_tensor("potential", potential)
    if not potential.is_floating_point():
        raise wrong_type("potential", "a real floating-point tensor", potential.dtype)
    space = torch.Size(grid.space_shape(potential, "potential"))
    if space.numel() == 0:
        raise wrong_value("potential", "at least one grid point on every space axis", shape(potential))
    require_potential(potential)
    return potential.to(torch.float64), space


def _require_number_of_states(k: Any, space: torch.Size) -> None:
    require_count("k", k)
    if not 1 <= k <= space.numel():
        raise wrong_value("k", f"an int from 1 to {space.numel()}, the number of grid points", k)


def _require_start(start: Any, potential: Tensor, grid: Grid, k: int) -> Tensor:
    """As (B or 1, j, N)."""
    require_tensor("start", start)
    if not start.is_floating_point():
        raise wrong_type("start", "a real floating-point tensor", start.dtype)
    batch, space = potential.shape[: -grid.ndim], potential.shape[-grid.ndim :]
    lead = start.shape[: -grid.ndim]
    if (
        start.shape[-grid.ndim :] != space
        or not lead
        or lead[:-1] not in (batch, torch.Size())
        or not 1 <= lead[-1] <= k
    ):
        expected = (*(str(n) for n in batch), f"1..{k}", *(str(n) for n in space))
        raise wrong_value("start", f"shape ({', '.join(expected)}), or without batch", shape(start))
    rows: Tensor = start.detach().to(torch.float64).reshape(-1, lead[-1], space.numel())
    if not rows.isfinite().all() or (rows == 0).all(-1).any():
        raise wrong_value("start", "states of finite numbers, none of them zero", "one that is not")
    return rows


# --- solutions ---


def _chunk(numbers: int) -> int:
    """How many systems to take at once when each needs so many numbers."""
    return max(1, CHUNK_NUMBERS // numbers)


def _dense(problem: OnGrid, k: int) -> tuple[Tensor, Tensor]:
    """Lowest states of full matrices, and whether their residuals are within the problem's limit."""
    v = problem.potential
    points = v[0].numel()
    eye = torch.eye(points, dtype=v.dtype, device=v.device).expand(1, -1, -1)
    free = OnGrid(torch.zeros_like(v[:1]), problem.grid, problem.space_order, problem.tolerance).apply(eye)
    states = []
    step = _chunk(2 * points * points)
    for i in range(0, v.shape[0], step):
        matrix = 0.5 * (free + free.mT) + torch.diag_embed(v[i : i + step].flatten(1))
        states.append(torch.linalg.eigh(matrix).eigenvectors[..., :k].mT)
    found = torch.cat(states)
    levels, norms = _rayleigh(problem, found)
    return found, (norms <= problem.limit(levels, found)).all(-1)


def _rayleigh(problem: OnGrid, states: Tensor) -> tuple[Tensor, Tensor]:
    """Energies (B, k) of states (B, k, N) of unit length, and their residuals."""
    images = problem.apply(states)
    levels = (states * images).sum(-1)
    return levels, (images - levels.unsqueeze(-1) * states).norm(dim=-1)


def _signed(states: Tensor) -> Tensor:
    size = states.abs()
    first = (size >= 0.5 * size.amax(-1, keepdim=True)).long().argmax(-1, keepdim=True)
    return states * states.gather(-1, first).sign()


def _solved(solve: Solver, potential: Tensor, grid: Grid, space_order: int, k: int) -> tuple[Tensor, ...]:
    """The fields of GroundState; no derivatives."""
    batch, space = potential.shape[: -grid.ndim], potential.shape[-grid.ndim :]
    if batch.numel() == 0:
        none = potential.new_empty((*batch, k))
        return (
            none,
            potential.new_empty((*batch, k, *space)),
            none.clone(),
            none.new_empty(batch, dtype=torch.bool),
        )
    v = potential.reshape(-1, *space)
    offset = v.flatten(1).amin(1)
    lowered = v - offset.reshape(-1, *(1,) * grid.ndim)
    states, converged = solve(lowered, grid)
    states = states / states.norm(dim=-1, keepdim=True)
    levels, norms = _rayleigh(OnGrid(lowered, grid, space_order, 1.0), states)
    levels, order = levels.sort(-1)
    states = _signed(states.gather(1, order.unsqueeze(-1).expand_as(states))) / grid.cell**0.5
    energies = levels + offset.unsqueeze(-1)
    residuals = norms.gather(1, order).reshape(*batch, k)
    return energies.reshape(*batch, k), states.reshape(*batch, k, *space), residuals, converged.reshape(batch)


class _Stationary(torch.autograd.Function):
    """Energies with the first derivative <psi|dH|psi>."""

    @staticmethod
    def forward(
        ctx: Any,
        solve: Solver,
        grid: Grid,
        space_order: int,
        k: int,
        potential: Tensor,
        hbar: Tensor,
        *mass: Tensor,
    ) -> tuple[Tensor, ...]:
        plain = Grid(grid.spacing, tuple(m.detach() for m in mass), hbar.detach(), grid.boundary)
        energies, states, residuals, converged = _solved(solve, potential.detach(), plain, space_order, k)
        ctx.save_for_backward(states, potential, hbar, *mass)
        ctx.settings = grid.spacing, grid.boundary, space_order
        ctx.mark_non_differentiable(residuals, converged)
        ctx.set_materialize_grads(False)
        return energies, states, residuals, converged

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_energies: Tensor | None, grad_states: Tensor | None, *_: Any
    ) -> tuple[Any, ...]:
        if grad_states is not None:
            raise NotImplementedError(
                "states: expected no gradient through stationary states, got one; only energies have it"
            )
        if grad_energies is None:
            return (None,) * len(ctx.needs_input_grad)
        spacing, boundary, space_order = ctx.settings
        states = ctx.saved_tensors[0]
        needed = ctx.needs_input_grad[4:]
        with torch.enable_grad():
            inputs = [
                x.detach().requires_grad_(need) for x, need in zip(ctx.saved_tensors[1:], needed, strict=True)
            ]
            potential, hbar, *mass = inputs
            grid = Grid(spacing, tuple(mass), hbar, boundary)
            images = kinetic(states, grid, space_order) + potential.unsqueeze(-1 - grid.ndim) * states
            energies = (states * images).sum(grid.axes) * grid.cell
            wanted = [x for x, need in zip(inputs, needed, strict=True) if need]
            gradients = iter(torch.autograd.grad(energies, wanted, grad_energies))
        return None, None, None, None, *(next(gradients) if need else None for need in needed)


def _stationary(solve: Solver, potential: Tensor, grid: Grid, space_order: int, k: int) -> GroundState:
    def number(value: Any) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=potential.device)

    constants = number(grid.hbar), *(number(m) for m in grid.mass)
    settings = solve, grid, space_order, k
    return GroundState(*_Stationary.apply(*settings, potential, *constants))  # type: ignore[no-untyped-call]
