"""Levels and thermal averages of a lattice of times by its transfer matrix: what samplers converge to."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from qcore._ops._check import require_count, wrong_value
from qcore.paths._numbers import Real
from qcore.paths._on_grid import Field, as_points
from qcore.paths._propagator import Step

_QUADRATURE = 1e-10  # error of a step by the sums over points; that of energies is hbar / dt times as large


class LatticeStates(NamedTuple):
    """Eigenstates of one time step, and from them every average over rings of steps.

    These have the error of the time step in them, so they are what a sampler at this dt converges to. For
    "chin4" a site is every other point of time, and `slices` are even; its odd points are not among them.
    """

    energies: Tensor
    """(..., k) rising, -hbar ln(eigenvalue) / dt."""
    states: Tensor
    """(..., k, n), sum psi^2 dx = 1."""
    x: Tensor
    """(n,), the points."""
    dt: Tensor
    """0-dim, time step."""
    hbar: Tensor
    """0-dim."""

    def log_partition_function(self, slices: int) -> Tensor:
        """ln Z (...) of a ring of `slices` steps, hbar beta = slices dt.

        Raises:
            TypeError, ValueError: `slices` is not an int >= 1.
        """
        return torch.logsumexp(self._exponents(slices), -1)

    def density(self, slices: int | None = None) -> Tensor:
        """(..., n), distribution of a site of a ring of `slices` steps; of the ground state for None.

        Raises:
            TypeError, ValueError: `slices` is not an int >= 1.
        """
        if slices is None:
            return self.states[..., 0, :] ** 2
        weights = torch.softmax(self._exponents(slices), -1)
        return (weights[..., None] * self.states**2).sum(-2)

    def mean(self, values: Tensor, slices: int | None = None) -> Tensor:
        """(...), the mean over that distribution of a function whose values at the points are given."""
        return (self.density(slices) * values).sum(-1) * self._dx

    def correlator(self, values: Tensor, distance: int, slices: int | None = None) -> Tensor:
        """(...), the mean of f(x_0) f(x_j), for the values of f at the points and j = distance.

        Raises:
            TypeError, ValueError: `slices` is not an int >= 1, or distance not one from 0 to slices.
        """
        require_count("distance", distance)
        overlaps = (self.states * (values * self._dx)) @ self.states.mT
        rate = self.energies * (self.dt / self.hbar)
        if slices is None:
            decay = torch.exp(-distance * (rate - rate[..., :1]))
            return (decay * overlaps[..., 0, :] ** 2).sum(-1)
        total = self.log_partition_function(slices)
        if distance > slices:
            raise wrong_value("distance", f"an int from 0 to slices = {slices}", distance)
        here, there = -(slices - distance) * rate, -distance * rate
        exponent = here[..., :, None] + there[..., None, :]
        return (torch.exp(exponent - total[..., None, None]) * overlaps**2).sum((-2, -1))

    @property
    def _dx(self) -> Tensor:
        return (self.x[-1] - self.x[0]) / (self.x.shape[0] - 1)

    def _exponents(self, slices: int) -> Tensor:
        require_count("slices", slices)
        if slices < 1:
            raise wrong_value("slices", "an int >= 1", slices)
        return -slices * self.dt / self.hbar * self.energies


def lattice_states(
    potential: Any,
    *,
    x: Tensor,
    dt: Real,
    k: int | None = None,
    mass: Real = 1.0,
    hbar: Real = 1.0,
    scheme: str = "trapezoid",
) -> LatticeStates:
    r"""Levels and states of the sum over paths with time steps dt, in imaginary time.

    The one-step kernel of :func:`propagator` times dx is a symmetric matrix; its eigenvalues are
    exp(-E dt / hbar). O(n^3) by LAPACK, in float64.

    Args:
        potential: V, as in `propagator`: a tensor (..., n) of values, coefficients, Table or a function.
        x: (n,), points at equal distances, reaching far enough as in `propagator`, and so near that sums over
            them err by less than 1e-10 in a step: dt >= 1.2 m dx^2 / hbar.
        dt: time step > 0, a number or 0-dim tensor.
        k: how many of the lowest states; None: all whose eigenvalues are above rounding (1e-13 of the
            largest, energies of 30 hbar / dt above the lowest; in a batch as many as every potential has).
        mass, hbar: > 0, numbers or 0-dim tensors.
        scheme: as in `propagator`. "endpoint" has the levels of "trapezoid", and its sites their distribution
            on a ring, so these are given.

    Returns:
        LatticeStates, float64; energies are differentiable in potential, dt, mass and hbar, states where
        levels are distinct (torch.linalg.eigh).

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; a dt that the grid does not
            resolve; a k beyond what rounding leaves.

    Source: Creutz & Freedman, Ann. Phys. 132, 427 (1981).
    """
    points = as_points(x)
    step = Step(points, dt, mass, hbar, "euclid", "trapezoid" if scheme == "endpoint" else scheme)
    step.require_resolution(1, _QUADRATURE)
    field = Field(potential, points)
    matrix = step.kernel(field) * points.spacing
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    values, vectors = values.flip(-1), vectors.flip(-1)
    sure = int((values > 1e-13 * values[..., :1]).sum(-1).min()) if values.numel() else values.shape[-1]
    if k is not None:
        require_count("k", k)
        if not 1 <= k <= sure:
            raise wrong_value("k", f"an int from 1 to {sure}, the levels above rounding", k)
    kept = sure if k is None else k
    duration = step.dt * (2 if scheme == "chin4" else 1)
    energies = -values[..., :kept].log() * (step.hbar / duration)
    states = vectors[..., :kept].mT / points.spacing**0.5
    return LatticeStates(energies, states, points.x, step.dt, step.hbar)
