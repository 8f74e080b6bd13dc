"""Potentials of one coordinate: polynomial coefficients, a table, or any function of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from qcore._ops._check import (
    require_number,
    require_positive,
    require_tensor,
    shape,
    wrong_type,
    wrong_value,
)
from qcore.paths._numbers import values_known

MAX_DEGREE = 15  # of polynomials in the kernels


class Polynomial(NamedTuple):
    """V(x) = sum_k c_k x^k.

    Attributes:
        coefficients: (K+1,), c_0 first, or (B, K+1) for a polynomial per path; float64, K at most 15.
    """

    coefficients: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """V at x, by Horner's rule, in the type of x; coefficients (B, K+1) take x (B, ...)."""
        c = self.coefficients.to(x.dtype)
        if c.ndim == 2:
            c = c.reshape(c.shape[0], *[1] * (x.ndim - 1), c.shape[1])
        value = c[..., -1].expand(x.shape)
        for k in range(c.shape[-1] - 2, -1, -1):
            value = value * x + c[..., k]
        return value


class Table(NamedTuple):
    """V between the points start + i spacing by cubics whose slopes at the points are of fourth order.

    The interpolation is exact for cubics and errs by O(spacing^4) otherwise, has a continuous slope, and goes
    on as a straight line beyond the ends.

    Attributes:
        values: (n,), n >= 5, V at the points.
        start: the first point.
        spacing: between points, above 0.
    """

    values: Tensor
    start: float
    spacing: float

    def cells(self) -> Tensor:
        """(n-1, 4) float64: the cubic in u = (x - x_i) / spacing of each cell, constant first."""
        v = self.values.double()
        inner = (8 * (v[3:-1] - v[1:-3]) - (v[4:] - v[:-4])) / 12
        first = torch.stack([_one_sided(v[:5], _END), _one_sided(v[:5], _NEXT)])
        last = -torch.stack([_one_sided(v.flip(0)[:5], _NEXT), _one_sided(v.flip(0)[:5], _END)])
        slope = torch.cat([first, inner, last])
        rise, left, right = v[1:] - v[:-1], slope[:-1], slope[1:]
        return torch.stack([v[:-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise], 1)

    def __call__(self, x: Tensor) -> Tensor:
        """V at x, in the type of x."""
        cells = self.cells()
        u = (x.double() - self.start) / self.spacing
        i = u.detach().nan_to_num(0.0).floor().clamp(0, cells.shape[0] - 1).long()  # NaN stays in u
        f = u - i
        inside = f.clamp(0, 1)
        c0, c1, c2, c3 = cells[i].unbind(-1)
        value = c0 + inside * (c1 + inside * (c2 + inside * c3))
        slope = c1 + inside * (2 * c2 + inside * 3 * c3)
        return (value + (f - inside) * slope).to(x.dtype)


# Weights of five values for the slope at the first and at the second of them, fourth order.
_END = (-25 / 12, 4.0, -3.0, 4 / 3, -1 / 4)
_NEXT = (-1 / 4, -5 / 6, 3 / 2, -1 / 2, 1 / 12)


def _one_sided(v: Tensor, weights: Sequence[float]) -> Tensor:
    return (v * v.new_tensor(weights)).sum()


Function: TypeAlias = Callable[[Tensor], Tensor]
Potential: TypeAlias = "Polynomial | Table | Function"
PotentialLike: TypeAlias = "Tensor | Sequence[float] | Polynomial | Table | Function"


def as_potential(potential: PotentialLike, name: str = "potential") -> Potential:
    """The potential that a user meant: numbers are polynomial coefficients, c_0 first.

    Raises:
        ValueError, TypeError: what is no potential, or one that isn't finite; the message names it.
    """
    if isinstance(potential, Polynomial | Table):
        checked: Polynomial | Table = potential
    elif isinstance(potential, Tensor | Sequence) and not isinstance(potential, str):
        checked = Polynomial(torch.as_tensor(potential, dtype=torch.float64))
    elif callable(potential):
        return potential
    else:
        raise wrong_type(name, "polynomial coefficients, a Table or a function of torch", type(potential))
    if isinstance(checked, Polynomial):
        c = checked.coefficients
        if c.ndim not in (1, 2) or not 1 <= c.shape[-1] <= MAX_DEGREE + 1:
            raise wrong_value(name, f"1 to {MAX_DEGREE + 1} coefficients, (K+1,) or (B, K+1)", shape(c))
        if c.is_complex() or not c.is_floating_point():
            raise wrong_type(name, "real coefficients", c.dtype)
        _finite(name, c)
        return checked if c.dtype == torch.float64 else Polynomial(c.double())
    v = checked.values
    require_tensor(f"{name}.values", v)
    if v.ndim != 1 or v.shape[0] < 5:
        raise wrong_value(f"{name}.values", "shape (n,), n >= 5", shape(v))
    if v.is_complex() or not v.is_floating_point():
        raise wrong_type(f"{name}.values", "real values", v.dtype)
    require_number(f"{name}.start", checked.start)
    if not isfinite(checked.start):
        raise wrong_value(f"{name}.start", "a finite number", checked.start)
    require_positive(f"{name}.spacing", checked.spacing)
    _finite(f"{name}.values", v)
    return checked


def evaluate(
    potential: Potential, x: Tensor, name: str = "potential", expected: tuple[int, ...] | None = None
) -> Tensor:
    """V(x), checked to be real numbers: one for each of x, or of the shape that is expected."""
    value = potential(x)
    require_tensor(name, value)
    if value.shape != (x.shape if expected is None else expected):
        what = "like its argument" if expected is None else f"for points {tuple(x.shape)}"
        size = tuple(x.shape) if expected is None else expected
        raise wrong_value(name, f"values of shape {size}, {what}", shape(value))
    if not value.is_floating_point():
        raise wrong_type(name, "real values", value.dtype)
    return value


def _finite(name: str, values: Tensor) -> None:
    if not values_known(values):
        return
    # A sum is cheaper, and enough but for sums that overflow; of a few numbers Python's is cheaper still.
    few = values.ndim == 1 and values.shape[0] <= MAX_DEGREE + 1
    if isfinite(sum(values.tolist()) if few else float(values.detach().sum())):
        return
    if not bool(torch.isfinite(values).all()):
        raise wrong_value(name, "finite numbers", "some that aren't")
