"""The exact Lagrangian of a walk on the lattice, by Legendre transform."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qcore._ops import _check
from qcore.residual._kernels import displacements, merge, points, split

# Bisection brings q, at most 1500 away, so near that each step of Newton's method doubles the digits.
_BISECTIONS = 17
_NEWTON_STEPS = 3


def discrete_lagrangian(v: Tensor, taps: Tensor, skip: float | Tensor = 1.0) -> Tensor:
    r"""Exact Lagrangian of each layer of a walk on the lattice: the Legendre transform of its generator.

    .. math::
        L(v) = \sup_q \Big[ q v - \ln \sum_u \kappa(u) e^{qu} \Big],

    with the weight kappa(u) = T(-u) of the displacement u, skip and taps together; the logarithm is the exact
    generator at p = iq. Over N equal layers the weight of the displacement x is e^{-N L(x/N)} sqrt(L''(x/N) /
    (2 pi N)), up to a factor 1 + O(1/N). L is convex. At the mean displacement it is least, -ln mass, and its
    curvature is 1 / variance. It is finite from the smallest to the largest displacement that has a weight,
    minus the logarithm of that weight at either end, and inf beyond. In the Gaussian approximation it is
    (v + b)^2 / (2 a^2) - g.

    Args:
        v: real velocities in grid points per layer, (...).
        taps: (T, C or 1, K), as in :func:`qcore.stencil.residual_chain`; one dimension.
        skip: a number, (T,), (T, C), or the kernel (T, C or 1, K) of a convolutional skip.

    Returns:
        (T, C, ...). First and second derivatives to v, taps and skip are exact inside the domain; dL/dv = q.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; a negative weight: then weights
            of paths have signs, and e^{-S} has no real S. For a PDE layer that is \|b\| > a^2 or 1 + g < a^2.

    Source: section 5 of the theory of residual networks, in place of eq. 38 of the residual-network paper.
    """
    points("v", v, 1)
    kernel, convolution = split(taps, skip)
    if taps.ndim != 3:
        raise _check.wrong_value("taps", "shape (T, C, K) of one dimension", _check.shape(taps))
    kappa = merge(kernel, convolution)
    if not (kappa >= 0).all():
        expected = "weights skip + taps >= 0 (weights of paths with signs have no real action)"
        raise _check.wrong_value("taps", expected, kappa.min().item())
    dtype = torch.promote_types(kappa.dtype, v.dtype)
    u = displacements(kappa)[:, 0].to(dtype)
    v = v.to(dtype).expand(*kappa.shape[:2], *v.shape)
    kappa = kappa.to(dtype).reshape(*kappa.shape[:2], *(1,) * (v.ndim - 2), len(u))

    weights = kappa.detach()
    low, high = (sign * _end(weights, sign * u).expand(v.shape) for sign in (-1.0, 1.0))
    inside = ~((v <= low) | (v >= high))  # nan counts as inside, and stays nan
    safe = torch.where(inside, v, (weights * u).sum(-1) / weights.sum(-1))
    q = torch.where(inside, _tilt(safe.detach(), weights, u), 0.0)
    # One more step of Newton's method, with a graph: it leaves q as it is and carries dq/dv and dq/dkappa.
    _, slope, curvature = _log_sum(q, kappa, u)
    movable = inside & (curvature > 0)
    q = q + torch.where(movable, (safe - slope) / torch.where(movable, curvature, 1.0), 0.0)
    interior = q * safe - _log_sum(q, kappa, u)[0]

    at_low, at_high = (-torch.where(u == end.unsqueeze(-1), kappa, 0.0).sum(-1).log() for end in (low, high))
    ends = torch.where(v == low, at_low, torch.where(v == high, at_high, math.inf))
    return torch.where(inside, interior, ends)


def _end(kappa: Tensor, u: Tensor) -> Tensor:
    """Largest displacement that has a weight."""
    return torch.where(kappa > 0, u, -math.inf).amax(-1)


def _tilt(v: Tensor, kappa: Tensor, u: Tensor) -> Tensor:
    """q where the weights kappa e^{qu} have the mean displacement v, for v inside their range."""
    bounds = []
    for sign in (-1.0, 1.0):
        side = sign * u
        end = _end(kappa, side).unsqueeze(-1)
        weight = torch.where(side == end, kappa, 0.0).sum(-1, keepdim=True)
        # At q > 0 the mean is less than e^{-q} times this sum below the end.
        below = torch.where(kappa > 0, (end - side) * kappa, 0.0).sum(-1).log() - weight.squeeze(-1).log()
        bounds.append(sign * (below - (end.squeeze(-1) - sign * v).log()).clamp(min=0.0))
    low, high = bounds
    for _ in range(_BISECTIONS):
        q = (low + high) / 2
        above = _log_sum(q, kappa, u)[1] > v
        low, high = torch.where(above, low, q), torch.where(above, q, high)
    q = (low + high) / 2
    for _ in range(_NEWTON_STEPS):
        _, slope, curvature = _log_sum(q, kappa, u)
        q = torch.where(curvature > 0, q + (v - slope) / curvature, q)
    return q


def _log_sum(q: Tensor, kappa: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ln sum kappa(u) e^{qu} and its first two derivatives to q; differentiable to a kappa of 0 too."""
    exponent = q.unsqueeze(-1) * u
    with torch.no_grad():
        top = (exponent + kappa.log()).amax(-1, keepdim=True)
        largest = math.log(torch.finfo(kappa.dtype).max) - 1.0
    # Only beyond the range of the walk, where kappa is 0, can an exponent be that large.
    terms = kappa * (exponent - top).clamp(max=largest).exp()
    total = terms.sum(-1, keepdim=True)
    shares = terms / total
    mean = (shares * u).sum(-1)
    variance = (shares * (u - mean.unsqueeze(-1)) ** 2).sum(-1)
    return (top + total.log()).squeeze(-1), mean, variance
