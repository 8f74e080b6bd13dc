"""Propagators as sums over paths: short-time kernels on a grid of positions, composed."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from qcore._ops._check import require_bool, require_choice, require_count, shape, wrong_type, wrong_value
from qcore.paths._closed_forms import free_kernel
from qcore.paths._numbers import SIGNATURES, Real, from_polar, positive, values_known
from qcore.paths._on_grid import Field, Points, as_points

SCHEMES = ("trapezoid", "midpoint", "midpoint-vanvleck", "endpoint", "takahashi-imada", "chin4")

_QUADRATURE = 1e-5  # error of the sums over points, over all steps, beyond which a grid is refused


def propagator(
    potential: Any,
    *,
    x: Tensor,
    dt: Real,
    steps: int,
    mass: Real = 1.0,
    hbar: Real = 1.0,
    signature: str = "euclid",
    scheme: str = "trapezoid",
    time_dependent: bool = False,
) -> Tensor:
    r"""The sum over all lattice paths of some steps, between all pairs of grid points.

    .. math::
        K(x_N, x_0) = \Big(\frac{m}{2\pi\hbar\,\delta t}\Big)^{N/2}
                      \int dx_1 \cdots dx_{N-1}\, e^{-S_E/\hbar},
        \qquad \psi_T = \texttt{K @ psi\_0 * dx},

    with i dt for dt in the root and exp(i S / hbar) in real time. S is that of :func:`qcore.paths.action` in
    the same scheme; each integral over an intermediate position is the sum over the grid, times dx once.
    Equal steps are composed by repeated squaring, O(n^3 log N).

    Orders in dt (measured on x^4): "trapezoid" 2; "midpoint" 1 (its potential is in effect V - hbar dt V'' /
    8 m), and 2 with the factor of "midpoint-vanvleck"; "endpoint" 1, but 2 in traces and levels;
    "takahashi-imada" 2, but 4 in traces and levels; "chin4" 4.

    The grid has to do two things. It has to reach as far as the paths do: those that leave the box are lost,
    as at an absorbing wall. And it has to resolve a step. In imaginary time sums over points err by 2 N
    exp(-2 pi^2 hbar dt / m dx^2) of the result; above 1e-5 is refused. In real time the kernel's phase may
    not turn by more than pi from point to point anywhere in the box (Nyquist), m L dx / (hbar dt) < pi, which
    is a lower bound on dt; below it the kernel on the grid is noise, and is refused. For short real times
    take `qcore.schrodinger.propagate` or `qcore.schrodinger.split_step`.

    Args:
        potential: V: a tensor of its values at the points, (n,) or (..., n), read as `Table` between them
            where a scheme needs that; or what `action` takes: numbers as coefficients, Polynomial, Table, or
            a function of x.
        x: (n,), the points, at equal distances; float32 or float64.
        dt: time step > 0, a number or 0-dim tensor: Euclidean time hbar beta / steps, or real time.
        steps: N >= 0; 0 gives the delta function of the grid, 1/dx on the diagonal. Even for "chin4", whose
            potential has other weights at odd points of time.
        mass, hbar: > 0, numbers or 0-dim tensors.
        signature: "euclid" (imaginary time) or "lorentz" (real time).
        scheme: "trapezoid", "midpoint", "midpoint-vanvleck", "endpoint" (V at the later point of each step),
            "takahashi-imada" ("euclid" only) or "chin4".
        time_dependent: the potential is a tensor (..., steps, n), V at the middle of each step.

    Returns:
        (..., n, n), K at the end x[i] from the start x[j], 1 / length; complex for "lorentz"; single
        precision where x and the potential's tensor are. Differentiable in potential, dt, mass and hbar.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; a dt that the grid does not
            resolve, with the smallest that it does.

    Source: Feynman & Hibbs, Quantum Mechanics and Path Integrals, chapter 2; Takahashi & Imada, J. Phys. Soc.
    Jpn. 53, 3765 (1984); Chin, Phys. Lett. A 226, 344 (1997), algorithm A.
    """
    points = as_points(x)
    require_count("steps", steps)
    step = Step(points, dt, mass, hbar, signature, scheme)
    if scheme == "chin4" and steps % 2:
        raise wrong_value("steps", 'an even number for "chin4"', steps)
    require_bool("time_dependent", time_dependent)
    if time_dependent:
        _require_steps_axis(potential, steps, scheme)
    field = Field(potential, points)
    if steps:
        step.require_resolution(steps)
    dtype = field.dtype.to_complex() if signature == "lorentz" else field.dtype
    if time_dependent:
        return _product(step, potential, dtype)
    kernel = step.kernel(field).to(dtype)
    count = steps // 2 if scheme == "chin4" else steps
    if count == 1:
        return kernel
    whole: Tensor = torch.linalg.matrix_power(kernel * points.spacing, count)
    return whole / points.spacing


class Step:
    """A time step on a grid: its constants and, for a potential, its kernel; "chin4" takes two at once."""

    def __init__(self, points: Points, dt: Any, mass: Any, hbar: Any, signature: str, scheme: str) -> None:
        """Reads and checks the constants.

        Raises:
            TypeError, ValueError: one of the wrong type or value.
        """
        require_choice("signature", signature, SIGNATURES)
        require_choice("scheme", scheme, SCHEMES)
        if scheme == "takahashi-imada" and signature == "lorentz":
            raise wrong_value(
                "scheme", 'not "takahashi-imada" with "lorentz": it serves traces', repr(scheme)
            )
        self.points, self.signature, self.scheme = points, signature, scheme
        self.dt, self.mass, self.hbar = (
            _number(name, value) for name, value in (("dt", dt), ("mass", mass), ("hbar", hbar))
        )
        x = points.x
        self._free = free_kernel(x[:, None], x, self.dt, mass=self.mass, hbar=self.hbar, signature=signature)

    def require_resolution(self, steps: int, allowed: float = _QUADRATURE) -> None:
        """See that the points are near enough for a sum over them to be the integral.

        Args:
            steps: how many are composed.
            allowed: relative error of that, in imaginary time.

        Raises:
            ValueError: they are not.
        """
        if not values_known():
            return
        dt, dx = float(self.dt.detach()), self.points.spacing
        inertia = float(self.mass.detach()) / float(self.hbar.detach())
        if self.signature == "lorentz":
            least = inertia * self.points.length * dx / math.pi
            if not dt > least:
                reason = (
                    f"more than mass L dx / (pi hbar) = {least:.6g}, or the phase of the kernel turns by "
                    "more than pi between points (below Nyquist); for short steps take "
                    "schrodinger.propagate or schrodinger.split_step"
                )
                raise wrong_value("dt", reason, dt)
            return
        least = inertia * dx**2 / (2 * math.pi**2) * math.log(2 * steps / allowed)
        if not dt >= least:
            reason = (
                f"at least {least:.6g} with points {dx:.6g} apart: sums over them have an error of "
                f"2 steps exp(-2 pi^2 hbar dt / (mass dx^2)), {allowed:g} at most is allowed"
            )
            raise wrong_value("dt", reason, dt)

    def kernel(self, field: Field) -> Tensor:
        """(..., n, n), the density of a step, or of two for "chin4"; float64 or complex128."""
        x, free = self.points.x, self._free
        if self.scheme.startswith("midpoint"):
            weight = self._weight(field.between(), 1.0)
            if self.scheme == "midpoint-vanvleck":
                weight = weight * self._van_vleck(field.curvatures_between())
            index = torch.arange(x.shape[0], device=x.device)
            return free * weight[..., index[:, None] + index]
        if self.scheme == "chin4":
            end = self._weight(field.values(), 1 / 3)
            middle = self._weight(self._corrected(field, 12.0), 4 / 3) * self.points.spacing
            inner = (free * middle[..., None, :]) @ free
            return end[..., :, None] * inner * end[..., None, :]
        if self.scheme == "endpoint":
            return self._weight(field.values(), 1.0)[..., :, None] * free
        v = self._corrected(field, 24.0) if self.scheme == "takahashi-imada" else field.values()
        half = self._weight(v, 0.5)
        return half[..., :, None] * free * half[..., None, :]

    def _weight(self, v: Tensor, share: float) -> Tensor:
        """exp(-share dt V / hbar), with i in real time."""
        exponent = share * self.dt / self.hbar * v
        if self.signature == "euclid":
            return torch.exp(-exponent)
        return from_polar(torch.ones_like(exponent), -exponent)

    def _corrected(self, field: Field, divisor: float) -> Tensor:
        """V + dt^2 V'^2 / (divisor m), from the double commutator [V, [T, V]]; minus in real time."""
        sign = 1.0 if self.signature == "euclid" else -1.0
        return field.values() + sign * self.dt**2 / (divisor * self.mass) * field.slopes() ** 2

    def _van_vleck(self, curvature: Tensor) -> Tensor:
        euclid = self.signature == "euclid"
        square = 1 + (-1.0 if euclid else 1.0) * self.dt**2 / (4 * self.mass) * curvature
        if values_known() and not bool((square > 0).all()):
            form = f"1 {'-' if euclid else '+'} dt^2 V'' / (4 mass)"
            expected = f'{form} > 0 on the grid for "midpoint-vanvleck", by a smaller dt or box'
            raise wrong_value("dt", expected, float(self.dt.detach()))
        return square.sqrt()


def _product(step: Step, potential: Tensor, dtype: torch.dtype) -> Tensor:
    """The kernels of the steps of a potential (..., steps, n), the last on the left."""
    dx, n = step.points.spacing, step.points.x.shape[0]
    kernels = (step.kernel(Field(v, step.points)).to(dtype) for v in potential.unbind(-2))
    found = next(kernels, None)
    if found is None:
        identity = torch.eye(n, dtype=dtype, device=potential.device) / dx
        return identity.expand(*potential.shape[:-2], n, n).clone()
    for kernel in kernels:
        found = kernel @ (found * dx)
    return found


def _require_steps_axis(potential: Any, steps: int, scheme: str) -> None:
    if scheme == "chin4":
        raise wrong_value("scheme", 'not "chin4" with time_dependent=True', repr(scheme))
    if not isinstance(potential, Tensor):
        raise wrong_type("potential", "a tensor, with time_dependent=True", type(potential).__name__)
    if potential.ndim < 2 or potential.shape[-2] != steps:
        raise wrong_value("potential", f"shape (..., {steps}, n), V at each step", shape(potential))


def _number(name: str, value: Any) -> Tensor:
    number = positive(name, value)
    if number.ndim:
        raise wrong_value(name, "a number or a 0-dim tensor", shape(number))
    return number
