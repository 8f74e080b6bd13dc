"""H on a grid as the search for its lowest levels takes it, with an inverse to search by.

One axis: (H - s)^{-1} is an implicit Euler step of imaginary time, which the compiled kernel does for all
states of all potentials at once, and signs of pivots prove that no level was missed.

More axes: first the inverse of the mean field, the separable Hamiltonian sum_a K_a + V_a whose V_a(x_a) is V
averaged over the ground states of the other axes (Hartree). It is diagonal in products of one-dimensional
states, and exact where V is separable. Where it has not led to the end after some steps, sparse LU factors of
H with the three-point differences (for every order: the operators are spectrally equivalent) take over, if
SciPy is installed and the grid not too large for them.
"""

from __future__ import annotations

from importlib.util import find_spec
from math import pi
from typing import Any

import torch
from torch import Tensor

from .._ops import schrodinger as _ops
from .._optional import optional_import
from ._grid import Grid
from ._inertia import levels_below
from .hamiltonian import kinetic, kinetic_energies

ROUNDING = 8.0 * torch.finfo(torch.float64).eps  # of H psi, in units of |K| + |V psi|
CLOSEST = 0.1  # distance of a shift from the level above it, in mean gaps of the levels above
SWEEPS = 3  # over the axes, for the mean field
PATIENCE = 12  # steps with the mean field before the sparse factors
REFACTOR = 8  # steps with the same factors
SPARSE_POINTS = {2: 300_000, 3: 40_000}  # largest grids for them: up to about 1 GB


class OnGrid:
    """Potentials (B, *space) in float64, each with 0 as its least value."""

    def __init__(self, potential: Tensor, grid: Grid, space_order: int, tolerance: float) -> None:
        self.potential = potential
        self.grid = grid
        self.space_order = space_order
        self.tolerance = tolerance
        self.kappa = [float(grid.kappa(axis)) for axis in range(grid.ndim)]
        space = potential.shape[1:]
        # A level lies above this, and above 0 by the kinetic energy that the size of the box implies.
        self.bottom = -sum(k * (pi / n) ** 2 for k, n in zip(self.kappa, space, strict=True))
        self.strength = float(kinetic_energies(grid, space, space_order, potential.device).amax())

    def apply(self, x: Tensor) -> Tensor:
        """H x for x (B, m, N)."""
        field = x.reshape(*x.shape[:2], *self.potential.shape[1:])
        return (kinetic(field, self.grid, self.space_order) + self.potential.unsqueeze(1) * field).flatten(2)

    def limit(self, levels: Tensor, states: Tensor) -> Tensor:
        """`tolerance` of the distance to the bottom, but not less than the rounding of H psi."""
        rounding = self.strength + (self.potential.flatten(1).unsqueeze(1) * states).norm(dim=-1)
        return torch.maximum(self.tolerance * (levels - self.bottom), ROUNDING * rounding)

    def _mean_gaps(self, levels: Tensor) -> Tensor:
        """For each level (B, m) the mean distance of those above it; for the last the distance to it."""
        span = levels[:, -1:] - levels
        return span.maximum(span[:, -2:-1]) / torch.arange(levels.shape[1], 0, -1, device=levels.device)


class Line(OnGrid):
    """One axis."""

    def improve(self, residual: Tensor, levels: Tensor, norms: Tensor) -> Tensor:
        """(H - s)^{-1} residual, for each state with an s of its own a little below its level.

        For all but the lowest state H - s is indefinite: pivots may then be small and the result inexact,
        which a direction of search may be.
        """
        shift = levels - torch.maximum(2.0 * norms, CLOSEST * self._mean_gaps(levels))
        return self.inverse(residual, shift.clamp_min(self.bottom))

    def spread(self, rows: Tensor) -> Tensor:
        """States (B, m, N) to begin with, from random rows (m, N)."""
        batch = self.potential.shape[0]
        return self.inverse(
            rows.expand(batch, *rows.shape), rows.new_full((batch, rows.shape[0]), self.bottom)
        )

    def inverse(self, x: Tensor, shift: Tensor) -> Tensor:
        """(H - shift)^{-1} x, shift (B, m)."""
        scale = self.kappa[0]  # an imaginary time step of hbar / kappa: 1 + (H - shift - kappa) / kappa
        lowered = self.potential.unsqueeze(1) - (shift + scale).unsqueeze(-1)
        kappa = x.new_tensor(scale)
        c = torch.tensor([-1.0 / scale], dtype=torch.complex128, device=x.device)
        settings = 1, "euler", self.space_order, self.grid.boundary[0], "float64", "auto", False
        rows = x.flatten(0, 1)
        solved: Tensor = _ops.evolve.call(rows, lowered.flatten(0, 1).unsqueeze(0), kappa, c, *settings)
        return solved.view(x.shape)

    def complete(self, levels: Tensor, norms: Tensor) -> Tensor:
        """Whether fewer than k levels lie below the highest of k found, by the signs of pivots."""
        highest = levels[:, -1] - torch.maximum(
            norms[:, -1], ROUNDING * (self.strength + levels[:, -1].abs())
        )
        below = levels_below(highest, self.potential, self.kappa[0], self.grid.boundary[0], self.space_order)
        return below < levels.shape[1]


class Box(OnGrid):
    """Two or three axes."""

    def __init__(self, potential: Tensor, grid: Grid, space_order: int, tolerance: float) -> None:
        super().__init__(potential, grid, space_order, tolerance)
        self.lines = [self._line(axis, space_order) for axis in range(grid.ndim)]
        self.products, self.above = self._mean_field()
        self.steps = 0
        self.factors: list[Any] = []
        small = potential[0].numel() <= SPARSE_POINTS[grid.ndim]
        self.sparse = small and find_spec("scipy") is not None

    def improve(self, residual: Tensor, levels: Tensor, norms: Tensor) -> Tensor:
        """Residuals through the inverse of the mean field less their level, kept off zero; or of H itself."""
        self.steps += 1
        if self.sparse and self.steps > PATIENCE:
            if (self.steps - PATIENCE - 1) % REFACTOR == 0:
                self._factorise(levels, norms)
            solved = [f.solve(r.T.cpu().numpy()).T for f, r in zip(self.factors, residual, strict=True)]
            return torch.stack([residual.new_tensor(x) for x in solved])
        nearest = torch.maximum(2.0 * norms, CLOSEST * self._mean_gaps(levels))
        return self._filter(residual, (levels - levels[:, :1]) - nearest, nearest)

    def spread(self, rows: Tensor) -> Tensor:
        """States (B, m, N) to begin with, from random rows (m, N)."""
        batch = self.potential.shape[0]
        zero = rows.new_zeros((batch, rows.shape[0]))
        return self._filter(rows.expand(batch, *rows.shape), zero, zero - self.bottom)

    def complete(self, levels: Tensor, norms: Tensor) -> Tensor:
        """Nothing shows this on more than one axis."""
        return torch.ones_like(levels[:, 0], dtype=torch.bool)

    def _filter(self, x: Tensor, shift: Tensor, nearest: Tensor) -> Tensor:
        """x / max(|E - shift|, nearest) in the products of one-dimensional states; shift, nearest (B, m)."""
        amplitudes = self._transform(x.reshape(*x.shape[:2], *self.potential.shape[1:]), self.products)
        shape = *shift.shape, *(1,) * self.grid.ndim
        distance = (self.above.unsqueeze(1) - shift.reshape(shape)).abs().maximum(nearest.reshape(shape))
        return self._transform(amplitudes / distance, [states.mT for states in self.products]).flatten(2)

    def _transform(self, field: Tensor, matrices: list[Tensor]) -> Tensor:
        for axis, matrix in enumerate(matrices):
            rows = field.movedim(axis + 2, -1)
            field = (rows.flatten(1, -2) @ matrix).view(rows.shape).movedim(-1, axis + 2)
        return field

    def _factorise(self, levels: Tensor, norms: Tensor) -> None:
        """Sparse LU factors of H - s, s a little below the lowest level that is still to converge."""
        splu = optional_import("scipy.sparse.linalg", "a search on more than one axis", "eigen").splu
        unfinished = (norms > self.tolerance * (levels - self.bottom)).long().argmax(1, keepdim=True)
        shift = levels - torch.maximum(2.0 * norms, CLOSEST * self._mean_gaps(levels))
        shift = shift.gather(1, unfinished).clamp_min(self.bottom).flatten()
        settings = {
            "permc_spec": "MMD_AT_PLUS_A",
            "diag_pivot_thresh": 0.01,
            "options": {"SymmetricMode": True},
        }
        diagonals = self.potential.flatten(1) - shift.unsqueeze(-1)
        kinetic_part = self._sparse_kinetic()
        self.factors = []
        for diagonal in diagonals.cpu().numpy():
            matrix = kinetic_part.copy()
            matrix.setdiag(matrix.diagonal() + diagonal)
            self.factors.append(splu(matrix.tocsc(), **settings))

    def _sparse_kinetic(self) -> Any:
        sparse = optional_import("scipy.sparse", "a search on more than one axis", "eigen")
        total = None
        for axis in range(self.grid.ndim):
            line = sparse.csr_matrix(self._line(axis, 2).cpu().numpy())
            total = line if total is None else sparse.kronsum(line, total, format="csr")
        return total

    def _line(self, axis: int, order: int) -> Tensor:
        """Kinetic energy (n, n) of an axis."""
        grid = self.grid
        line = Grid((grid.spacing[axis],), (grid.mass[axis],), grid.hbar, (grid.boundary[axis],))
        eye = torch.eye(self.potential.shape[axis + 1], dtype=torch.float64, device=self.potential.device)
        return kinetic(eye, line, order)

    def _mean_field(self) -> tuple[list[Tensor], Tensor]:
        """States (B, n, n) of each axis, in columns; energies (B, *space) of products above the lowest."""
        axes = range(self.grid.ndim)
        fields = [self.potential.amin([d + 1 for d in axes if d != axis]) for axis in axes]
        solved = [torch.linalg.eigh(k + torch.diag_embed(v)) for k, v in zip(self.lines, fields, strict=True)]
        for _ in range(SWEEPS):
            for axis in axes:
                mean = self.potential
                for other in axes:
                    if other != axis:
                        density = solved[other][1][..., 0] ** 2
                        mean = (mean * self._along(other, density)).sum(other + 1, keepdim=True)
                solved[axis] = torch.linalg.eigh(self.lines[axis] + torch.diag_embed(mean.flatten(1)))
        above = self.potential.new_zeros(())
        for axis, (levels, _) in enumerate(solved):
            above = above + self._along(axis, levels - levels[:, :1])
        return [states for _, states in solved], above

    def _along(self, axis: int, values: Tensor) -> Tensor:
        """(B, n) as a field that varies along one axis."""
        return values.reshape(values.shape[0], *(-1 if d == axis else 1 for d in range(self.grid.ndim)))
