"""Ground states of the Gross-Pitaevskii equation, by descent on the sphere of states of one norm."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._ops._check import require_count, require_positive, require_tensor, shape, wrong_value
from ._grid import Grid, number_of
from .gross_pitaevskii import require_condensate
from .hamiltonian import closed_grid, from_modes, kinetic, kinetic_energies, to_modes

# Halvings of a step along the search direction before it counts as no descent at all.
HALVINGS = 40


class GrossPitaevskiiState(NamedTuple):
    """A ground state and how well it solves H psi = mu psi, H = T + V + g |psi|^2."""

    psi: Tensor
    """(*space) float64, sum |psi|^2 prod(spacing) = particles; positive but for rounding."""
    chemical_potential: Tensor
    """mu, energy."""
    energy: Tensor
    """<T + V> + g/2 sum |psi|^4 prod(spacing), for all particles."""
    residual: Tensor
    """Norm of (H - mu) psi for psi of norm 1, energy: mu is no farther than this from an eigenvalue of H."""
    converged: bool
    """Whether the residual came below the tolerance."""


def gross_pitaevskii_ground_state(
    potential: Tensor,
    *,
    g: float | Tensor,
    spacing: Any,
    particles: float = 1.0,
    mass: Any = 1.0,
    hbar: Any = 1.0,
    boundary: str | tuple[str, ...] = "dirichlet",
    space_order: int = 2,
    tolerance: float = 1e-10,
    iterations: int = 1000,
    initial: Tensor | None = None,
) -> GrossPitaevskiiState:
    r"""Least energy among the states of a given norm, by preconditioned nonlinear conjugate gradients.

    Every iteration minimises E exactly on the great circle through psi and the search direction; the
    preconditioner is W (a + T)^{-1} W, W^2 = 1 / (a + V + g |psi|^2), with the energy a of psi above the
    minimum of V. So there is no time step, and the state is that of the H of the grid.

    Args:
        potential: V (*space), energy, real.
        g: coupling, a number. A negative one in two or three dimensions has a ground state in the continuum
            only for few particles; beyond, the grid's own collapsed state comes out.
        spacing: distance of grid points, a number (one space axis) or one for each axis.
        particles: sum |psi|^2 prod(spacing) of the state, > 0.
        mass, hbar, boundary, space_order: as of `hamiltonian`.
        tolerance: converged when the residual is below tolerance times a.
        iterations: the most to take.
        initial: (*space), real, not zero: where to start.

    Returns:
        GrossPitaevskiiState; look at its `converged`. Not differentiable.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value.

    Source: Antoine, Levitt, Tang, J. Comput. Phys. 343, 92 (2017).
    """
    grid = closed_grid(spacing, mass, hbar, boundary)
    require_positive("particles", particles)
    require_positive("tolerance", tolerance)
    require_count("iterations", iterations)
    for name, field in (("potential", potential), ("initial", potential if initial is None else initial)):
        require_tensor(name, field)
        if field.dtype not in (torch.float32, torch.float64) or field.ndim != grid.ndim:
            expected = f"float32 or float64 with {grid.ndim} axes, one per entry of spacing"
            raise wrong_value(name, expected, f"{field.dtype} of {shape(field)}")
    start = torch.ones_like(potential) if initial is None else initial
    if start.shape != potential.shape:
        raise wrong_value("initial", shape(potential), shape(start))
    require_condensate(start, potential, grid, g, space_order)
    with torch.no_grad():
        potential = potential.detach().double()
        above = potential - potential.min()
        if initial is None and float(above.max()) > 0.0:
            start = 1 / (1 + above / above.mean())  # wide where V is low, nowhere zero
        size = float(torch.linalg.vector_norm(start))
        if not 0.0 < size < math.inf:
            raise wrong_value("initial", "a finite norm > 0", f"norm {size}")
        search = _Minimiser(potential, number_of(g), particles, grid, space_order)
        return search.minimise(start.double(), tolerance, iterations)


class _Minimiser:
    def __init__(self, potential: Tensor, g: float, particles: float, grid: Grid, space_order: int) -> None:
        self.potential, self.g, self.particles = potential, g, particles
        self.grid, self.order = grid, space_order
        self.lowest = float(potential.min())
        self.kinetic_energies = kinetic_energies(grid, tuple(potential.shape), space_order, potential.device)

    def minimise(self, psi: Tensor, tolerance: float, iterations: int) -> GrossPitaevskiiState:
        psi = psi * (self.particles / self.dot(psi, psi)) ** 0.5
        direction: Tensor | None = None
        before = psi, 1.0
        for iteration in range(iterations + 1):
            linear = self.linear(psi)
            image = linear + self.g * psi**3
            mu = self.dot(psi, image) / self.particles
            gradient = image - mu * psi
            residual = (self.dot(gradient, gradient) / self.particles) ** 0.5
            # <T> + <V - min V> + |g| <psi^2>; 0 only for a constant state, which is its own ground state
            repulsion = self.g * self.dot(psi**2, psi**2) / self.particles
            scale = mu - self.lowest - repulsion + abs(repulsion)
            converged = residual <= tolerance * scale or residual == 0.0
            if converged or iteration == iterations:
                break
            steepest = self.tangent(self.precondition(gradient, psi, scale), psi)
            product = self.dot(gradient, steepest)
            move = -steepest
            if direction is not None:
                old_gradient, old_product = before
                memory = (product - self.dot(old_gradient, steepest)) / old_product  # Polak and Ribiere's
                move = max(0.0, memory) * self.tangent(direction, psi) - steepest
                if self.dot(move, gradient) >= 0.0:
                    move = -steepest
            before = gradient, product
            length = (self.dot(move, move) / self.particles) ** 0.5
            unit = move / length
            angle = self.angle(psi, unit, linear)
            if angle == 0.0:
                break
            c, s = math.cos(angle), math.sin(angle)
            psi, direction = c * psi + s * unit, length * (c * unit - s * psi)
        return self.state(psi, mu, residual, converged)

    def linear(self, psi: Tensor) -> Tensor:
        """(T + V) psi."""
        return kinetic(psi, self.grid, self.order) + self.potential * psi

    def dot(self, a: Tensor, b: Tensor) -> float:
        """Integral of a b."""
        return float((a * b).sum()) * self.grid.cell

    def tangent(self, direction: Tensor, psi: Tensor) -> Tensor:
        """The part of a direction that keeps the norm of psi."""
        return direction - (self.dot(direction, psi) / self.particles) * psi

    def precondition(self, gradient: Tensor, psi: Tensor, scale: float) -> Tensor:
        """W (a + T)^{-1} W gradient."""
        weight = (scale + self.potential - self.lowest + max(self.g, 0.0) * psi**2).rsqrt()
        modes = to_modes(weight * gradient, self.grid) / (scale + self.kinetic_energies)
        return weight * from_modes(modes, self.grid, is_complex=False)

    def angle(self, psi: Tensor, direction: Tensor, linear: Tensor) -> float:
        """Where on psi cos + direction sin the energy is less: Newton's step or part of it; 0 if nowhere."""
        moved = self.linear(direction)
        c2, cs, s2 = self.dot(psi, linear), 2 * self.dot(direction, linear), self.dot(direction, moved)
        quartic = [self.g / 2 * math.comb(4, k) * self.dot(psi ** (4 - k), direction**k) for k in range(5)]

        def change(angle: float) -> float:
            # E(angle) - E(0), each term small with the angle, as near the minimum E itself is all rounding
            c, s = math.cos(angle), math.sin(angle)
            terms = [q * c ** (4 - k) * s**k for k, q in enumerate(quartic) if k]
            return s * s * (s2 - c2) + c * s * cs - quartic[0] * s * s * (1 + c * c) + sum(terms)

        slope = cs + quartic[1]
        curvature = 2 * (s2 - c2) + 2 * quartic[2] - 4 * quartic[0]
        angle = -slope / curvature if curvature > 0.0 else math.pi / 4
        angle = min(angle, math.pi / 4)
        for _ in range(HALVINGS):
            if change(angle) < 0.0:
                return angle
            angle /= 2
        return 0.0

    def state(self, psi: Tensor, mu: float, residual: float, converged: bool) -> GrossPitaevskiiState:
        energy = mu * self.particles - self.g / 2 * self.dot(psi**2, psi**2)
        numbers = [psi.new_tensor(value) for value in (mu, energy, residual)]
        return GrossPitaevskiiState(
            psi if float(psi.sum()) >= 0.0 else -psi, numbers[0], numbers[1], numbers[2], converged
        )
