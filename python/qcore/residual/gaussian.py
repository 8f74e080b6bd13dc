"""Layers as Gaussian steps in the continuum: their kernel, their Lagrangian, and the action of a path."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from qcore._ops import _check
from qcore.residual._kernels import points


class Lagrangian(NamedTuple):
    """L = T - V of single steps, or its sum over the steps of a path, the action."""

    value: Tensor
    """kinetic - potential"""
    kinetic: Tensor
    """T"""
    potential: Tensor
    """V, minus the Euclidean potential: growth is positive."""


def gaussian_kernel(
    v: Tensor,
    alpha: float | Tensor,
    beta: float | Tensor,
    sigma: float | Tensor | None = None,
    rho: float | Tensor | None = None,
    gamma: float | Tensor = 0.0,
    *,
    advection: float = 1.0,
) -> Tensor:
    r"""Heat kernel with drift and growth: the weight of the displacement v over N layers in the continuum.

    .. math::
        K_N(v) = \frac{e^{\sum g}}{\sqrt{2\pi \sum a^2}}
                 \exp\Big(-\frac{(v + \sum b)^2}{2 \sum a^2}\Big), \qquad v = x_N - x_0,

    in two dimensions the product over x, with (a, b) = (alpha, advection beta), and y, with (sigma, advection
    rho), and e^{sum g} once. It is e^{-L} of each layer, integrated over all positions in between; the
    transform of e^{generator} of the form "pde"; and the solution at time N of the equation of
    :func:`qcore.stencil.pde_taps` from a point.

    Its integral over v is e^{sum g}, but its sum over the integers is e^{sum g} (1 + 2 sum_{m>0} e^{-2 pi^2
    m^2 A} cos(2 pi m B)), with A = sum a^2 and B = sum b: off by up to 7e-6 for A = 0.8^2, 1.4e-2 for 0.5^2
    and 0.34 for 0.3^2. On a lattice take a narrow kernel from :func:`composed_kernel`.

    Args:
        v: real displacements in grid points: (...) in one dimension, (..., 2) ordered (vx, vy) in two.
        alpha, beta: numbers for one layer, or (..., N) for the N layers, whose leading axes broadcast with
            those of v; alpha not 0, its sign is free.
        sigma, rho: the same along y, for two dimensions; both or neither.
        gamma: growth, alike. Numbers beside tensors hold for every layer.
        advection: the factor of beta and rho, as in pde_taps.

    Returns:
        (...), weight per unit of length or area; differentiable.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; an alpha or sigma of 0.

    Source: eq. 34-38 of the residual-network paper. Note: the paper leaves out 1/sqrt(2 pi) in every layer,
        and the absolute value of alpha.
    """
    move, spreads, drifts, growth = _parameters(v, alpha, beta, sigma, rho, gamma, advection)
    exponent = _over_layers(growth)
    _broadcast("parameters (..., N) with leading axes that broadcast with v", move.shape[:-1], exponent.shape)
    for axis, (spread, drift) in enumerate(zip(spreads, drifts, strict=True)):
        variance = _over_layers(spread**2)
        off = move[..., axis] + _over_layers(drift)
        exponent = exponent - off**2 / (2 * variance) - (2 * math.pi * variance).log() / 2
    return exponent.exp()


def lagrangian(
    v: Tensor,
    alpha: float | Tensor,
    beta: float | Tensor,
    sigma: float | Tensor | None = None,
    rho: float | Tensor | None = None,
    gamma: float | Tensor = 0.0,
    *,
    advection: float = 1.0,
) -> Lagrangian:
    r"""Gaussian Lagrangian of a layer: a step by v has the weight e^{-L} per unit of length or area.

    .. math::
        T = \frac{(v + b)^2}{2a^2}, \qquad V = g - \ln|a| - \tfrac12 \ln 2\pi, \qquad L = T - V,

    and in two dimensions T = (vx + bx)^2 / (2 a^2) + (vy + by)^2 / (2 s^2), V = g - ln\|a s\| - ln 2 pi. This
    V is minus the Euclidean potential: with V_E = -V the Lagrangian is T + V_E, and growth is an attractive
    well.

    Args:
        v: displacement x_t - x_{t-1} of a step: (...) in one dimension, (..., 2) ordered (vx, vy) in two.
        alpha, beta, sigma, rho, gamma: numbers, or tensors that broadcast with (...); alpha and sigma not 0;
            sigma and rho for two dimensions, both or neither.
        advection: the factor of beta and rho, as in :func:`qcore.stencil.pde_taps`.

    Returns:
        Lagrangian(value, kinetic, potential), each (...), differentiable.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; an alpha or sigma of 0.

    Source: eq. 36-38 of the residual-network paper. Note: the paper's V lacks -(1/2) ln 2 pi per axis and the
        absolute value of alpha.
    """
    move, spreads, drifts, potential = _parameters(v, alpha, beta, sigma, rho, gamma, advection)
    _broadcast("parameters that broadcast with v", move.shape[:-1], potential.shape)
    kinetic = torch.zeros_like(move[..., 0])
    for axis, (spread, drift) in enumerate(zip(spreads, drifts, strict=True)):
        kinetic = kinetic + ((move[..., axis] + drift) / spread) ** 2 / 2
        potential = potential - spread.abs().log() - math.log(2 * math.pi) / 2
    value = kinetic - potential
    return Lagrangian(value, kinetic.expand(value.shape), potential.expand(value.shape))


def action(
    path: Tensor,
    alpha: float | Tensor,
    beta: float | Tensor,
    sigma: float | Tensor | None = None,
    rho: float | Tensor | None = None,
    gamma: float | Tensor = 0.0,
    *,
    advection: float = 1.0,
) -> Lagrangian:
    """Gaussian action of paths, the sum of :func:`lagrangian` over steps: a path has the weight e^{-action}.

    Integrated over all positions but the first and the last, the weights are :func:`gaussian_kernel`.

    Args:
        path: positions x_0, ..., x_N in grid points: (..., N + 1) in one dimension, (..., N + 1, 2) ordered
            (x, y) in two.
        alpha, beta, sigma, rho, gamma: numbers for all layers, or (..., N) with a value for each; else as in
            lagrangian.
        advection: as in lagrangian.

    Returns:
        Lagrangian(value, kinetic, potential), each (...): the action and its parts; differentiable.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; an alpha or sigma of 0.

    Source: eq. 36-38 of the residual-network paper; V as in lagrangian.
    """
    plane = sigma is not None or rho is not None
    axis = -2 if plane else -1
    points("path", path, 2 if plane else 1)
    if path.ndim < -axis or path.shape[axis] == 0:
        expected = "shape (..., N + 1, 2)" if plane else "shape (..., N + 1)"
        raise _check.wrong_value("path", expected, _check.shape(path))
    steps = path.shape[axis] - 1
    layers = {"alpha": alpha, "beta": beta, "sigma": sigma, "rho": rho, "gamma": gamma}
    for name, value in layers.items():
        # Broadcasting alone would also accept N values for a path of one step.
        if isinstance(value, Tensor) and value.ndim and value.shape[-1] not in (1, steps):
            raise _check.wrong_value(name, f"shape (..., {steps}), one per step", _check.shape(value))
    parts = lagrangian(path.diff(dim=axis), alpha, beta, sigma, rho, gamma, advection=advection)
    return Lagrangian(*(part.sum(-1) for part in parts))


def _parameters(
    v: Tensor,
    alpha: float | Tensor,
    beta: float | Tensor,
    sigma: float | Tensor | None,
    rho: float | Tensor | None,
    gamma: float | Tensor,
    advection: float,
) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
    """v as (..., D); spread and drift of the layers per axis and their growth, all of one shape."""
    _check.require_number("advection", advection)
    given: dict[str, float | Tensor] = {"alpha": alpha, "beta": beta, "gamma": gamma}
    if sigma is not None or rho is not None:
        if sigma is None or rho is None:
            missing = "sigma" if sigma is None else "rho"
            raise _check.wrong_value(missing, "a number or tensor (both sigma and rho, or neither)", None)
        given |= {"sigma": sigma, "rho": rho}
    move = points("v", v, 2 if "sigma" in given else 1)
    values: dict[str, Tensor] = {}
    for name, value in given.items():
        if not isinstance(value, Tensor):
            _check.require_number(name, value)
            value = torch.tensor(float(value), dtype=v.dtype, device=v.device)
        if not value.dtype.is_floating_point:
            raise _check.wrong_type(name, "a real floating dtype", value.dtype)
        if value.device != v.device:
            raise _check.wrong_value(name, f"the device of v, {v.device}", value.device)
        if name in ("alpha", "sigma") and (value == 0).any():
            raise _check.wrong_value(name, "no 0 (a layer without diffusion has no density)", 0.0)
        values[name] = value
    shape = _broadcast("parameters of shapes that broadcast", *(value.shape for value in values.values()))
    values = {name: value.expand(shape) for name, value in values.items()}
    spreads = [values[name] for name in ("alpha", "sigma") if name in values]
    drifts = [advection * values[name] for name in ("beta", "rho") if name in values]
    return move, spreads, drifts, values["gamma"]


def _broadcast(expected: str, *shapes: torch.Size) -> torch.Size:
    try:
        return torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call, no-any-return]
    except RuntimeError:
        got = " and ".join(str(tuple(shape)) for shape in shapes)
        raise _check.wrong_value("alpha", expected, got) from None


def _over_layers(parameter: Tensor) -> Tensor:
    return parameter.sum(-1) if parameter.ndim else parameter
