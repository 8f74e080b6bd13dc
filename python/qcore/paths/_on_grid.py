"""A uniform grid of positions, and potentials with their derivatives on it and half-way between points."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from qcore._ops._check import require_tensor, shape, wrong_type, wrong_value
from qcore.paths._numbers import values_known
from qcore.paths._potential import Function, Polynomial, Potential, Table, as_potential, evaluate


class Points(NamedTuple):
    """A uniform grid."""

    x: Tensor
    """(n,) float64"""
    spacing: float
    dtype: torch.dtype
    """of x as it was given"""

    @property
    def length(self) -> float:
        """From the first to the last point."""
        return self.spacing * (self.x.shape[0] - 1)

    def halves(self) -> Tensor:
        """(2n - 1,): the points and the middles between them; the middle of x_i and x_j is entry i + j."""
        return self.x[0] + self.spacing / 2 * torch.arange(
            2 * self.x.shape[0] - 1, dtype=torch.float64, device=self.x.device
        )


def as_points(x: Any) -> Points:
    """The grid that a tensor (n,) describes.

    Raises:
        TypeError, ValueError: it is no real tensor of n >= 2 increasing, equally spaced numbers.
    """
    require_tensor("x", x)
    if x.dtype not in (torch.float32, torch.float64):
        raise wrong_type("x", "torch.float32 or torch.float64", x.dtype)
    if x.ndim != 1 or x.shape[0] < 2:
        raise wrong_value("x", "shape (n,), n >= 2", shape(x))
    place = x.detach().double()
    spacing = float(place[-1] - place[0]) / (x.shape[0] - 1)
    rounding = 1e-6 * spacing + 8 * torch.finfo(x.dtype).eps * float(place.abs().max())
    if not spacing > 0 or not bool(((place.diff() - spacing).abs() <= rounding).all()):
        raise wrong_value("x", "increasing numbers at equal distances", "others")
    return Points(place, spacing, x.dtype)


class Field:
    """V over a grid: a tensor of its values at the points, (..., n), or a function of x.

    Between its points a tensor is read as `Table`, by cubics of fourth order.
    """

    def __init__(self, potential: Any, points: Points, name: str = "potential") -> None:
        """Reads and checks the potential.

        Raises:
            TypeError, ValueError: it is no potential, or not a finite value for each point.
        """
        self._points, self._name = points, name
        self._rows: Tensor | None = None
        if isinstance(potential, Tensor):
            n = points.x.shape[0]
            if potential.dtype not in (torch.float32, torch.float64):
                raise wrong_type(name, "torch.float32 or torch.float64", potential.dtype)
            if potential.ndim == 0 or potential.shape[-1] != n:
                expected = f"shape (..., {n}), V at the points of x (coefficients: qcore.paths.Polynomial)"
                raise wrong_value(name, expected, shape(potential))
            self._rows = potential.double()
            self.dtype = torch.promote_types(potential.dtype, points.dtype)
            self._require_finite(self._rows)
        else:
            self._function: Potential = as_potential(potential, name)
            self.dtype = points.dtype

    def values(self) -> Tensor:
        """(..., n), V at the points."""
        return self._rows if self._rows is not None else self._at(self._points.x, 0)

    def slopes(self) -> Tensor:
        """(..., n), dV/dx at the points."""
        return self._at(self._points.x, 1)

    def between(self) -> Tensor:
        """(..., 2n - 1), V at the points and half-way between them."""
        return self._at(self._points.halves(), 0)

    def curvatures_between(self) -> Tensor:
        """(..., 2n - 1), d^2V/dx^2 there."""
        return self._at(self._points.halves(), 2)

    def _at(self, x: Tensor, order: int) -> Tensor:
        if self._rows is not None:
            start, spacing = float(self._points.x[0]), self._points.spacing
            rows = self._rows.reshape(-1, self._rows.shape[-1])
            tables = [as_potential(Table(row, start, spacing), self._name) for row in rows]
            if not tables:
                return x.new_empty(*self._rows.shape[:-1], x.shape[0])
            found = torch.stack([derivative(table, x, order) for table in tables])
            return found.reshape(*self._rows.shape[:-1], x.shape[0])
        function = self._function
        if isinstance(function, Polynomial) and function.coefficients.ndim == 2:
            x = x.expand(function.coefficients.shape[0], -1)
        found = derivative(lambda at: evaluate(function, at, self._name), x, order)
        self._require_finite(found)
        return found

    def _require_finite(self, values: Tensor) -> None:
        if values_known() and not bool(values.isfinite().all()):
            raise wrong_value(self._name, "finite numbers on the grid", "some that aren't")


def derivative(function: Potential, x: Tensor, order: int) -> Tensor:
    """The derivative of some order of an elementwise function, itself differentiable."""
    for _ in range(order):
        function = _slope(function)
    return function(x)


def _slope(function: Potential) -> Function:
    slope: Function = torch.func.grad(lambda x: function(x).sum())
    return slope
