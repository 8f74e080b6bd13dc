"""A linear chain as a random walk: moments of the displacement, and the kernel of all layers together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qcore._ops import _check
from qcore.residual._kernels import FORMS, cumulants, expand, merge, require_nonzero_skip, split
from qcore.residual.spectrum import generator
from qcore.stencil import residual_chain


class Moments(NamedTuple):
    """Displacement of mass by a chain; axes are ordered x first, x being the last axis of a field."""

    mass: Tensor
    """(C,) factor of the sum of a field."""
    mean: Tensor
    """(C, D) mean displacement in grid points; positive is to larger x."""
    covariance: Tensor
    """(C, D, D) covariance of the displacement in grid points squared."""
    third: Tensor
    """(C, D) third central moment of the displacement along each axis."""


def moments(taps: Tensor, skip: float | Tensor = 1.0, *, form: str = "exact") -> Moments:
    r"""How a linear chain of T layers displaces mass: its moments up to the third.

    A tap at the offset d moves mass by v = -d. With the weights T(d) of skip and taps together, the sum over
    v of one layer is its mass, and averages of powers of v with these weights are its moments. Over layers
    masses multiply, and means, covariances and third central moments add up. N layers of
    :func:`qcore.stencil.pde_taps` have, along each axis,

    ========== ============== ================ =======================================
    form       mass           mean             variance
    ========== ============== ================ =======================================
    "exact"    (1 + g)^N      -N b / (1 + g)   N (a^2 / (1 + g) - b^2 / (1 + g)^2)
    "linear"   e^{N g}        -N b             N a^2
    "pde"      e^{N g}        -N b             N a^2
    ========== ============== ================ =======================================

    "linear" is the kernel that e^{generator} of that form belongs to, which for positive taps is a walk with
    Poisson jumps, with the third central moment of -N b; "pde" is a Gaussian, with 0.

    Args:
        taps: (T, C or 1, *K) with 1 to 3 space axes, as in :func:`qcore.stencil.residual_chain`, real.
        skip: a number, (T,), (T, C), or the kernel (T, C or 1, *K) of a convolutional skip.
        form: "exact", "linear" or "pde", as in :func:`generator`.

    Returns:
        Moments(mass, mean, covariance, third), in the dtype of taps and skip, differentiable. Signed weights
        can have a negative variance or mass; where a layer's mass is 0 all but the mass is nan.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; a skip whose sum is 0, for
            "linear" and "pde".

    Source: derivatives at p = 0 of the generator, eq. 29-33 of the residual-network paper. Note: the paper
        has the variance N a^2 and the mass e^{N g} of its approximations alone.
    """
    _check.require_choice("form", form, FORMS)
    w, f = split(taps, skip)
    if form == "exact":
        mass, mean, covariance, third = cumulants(merge(w, f))
    else:
        require_nonzero_skip(w.flatten(2).sum(2), form)
        gain, growth, mean, covariance, third = expand(w, f)
        mass = gain * growth.exp()
        if form == "pde":
            third = torch.zeros_like(third)
    return Moments(mass.prod(0), mean.sum(0), covariance.sum(0), third.sum(0))


def composed_kernel(
    taps: Tensor,
    skip: float | Tensor = 1.0,
    *,
    form: str = "exact",
    sites: int | Sequence[int] | None = None,
) -> Tensor:
    r"""Kernel K(x_N - x_0) of all T layers of a linear chain together: what a chain makes of a single point.

    .. math::
        K(v) = \frac{1}{M} \sum_p e^{ip \cdot v} \exp \sum_t \mathrm{generator}_t(p),
        \qquad p = 2\pi k/M \in [-\pi, \pi).

    With the exact generator this is the kernel of the chain, and comes from it: a unit at one site goes
    through :func:`qcore.stencil.residual_chain`, so that the smallest weights of a walk are as precise as the
    largest. Where no weight is negative it is the chain, ReLU and all, for every non-negative field. "linear"
    and "pde" are sums over the waves, with rounding errors of the size of the largest entry. "pde" is
    :func:`gaussian_kernel` but for what that has beyond \|p\| = pi, and its sum is its mass.

    Args:
        taps, skip, form: as in :func:`moments`; kernel sizes to 7, float32 or float64.
        sites: M, size of the periodic grid, one number for all axes or one per axis in the order of a field's
            (y, x); if None the least on which the exact kernel does not meet itself, T (k - 1) + 1. The
            other forms reach further, "linear" as e^{-v log v}, and are wound around the grid.

    Returns:
        (C, *M), K(v) at the index M // 2 + v along each axis, differentiable.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; a skip whose symbol is 0, for
            "linear" and "pde".

    Source: eq. 26-33 of the residual-network paper. Note: the paper leaves out the factor 1/M of every layer.
    """
    _check.require_choice("form", form, FORMS)
    w, f = split(taps, skip)
    weights = merge(w, f)
    steps, channels = weights.shape[:2]
    sizes = _sizes(sites, [steps * (k - 1) + 1 for k in weights.shape[2:]])
    if form == "exact":
        point = weights.new_zeros(1, channels, *sizes)
        centre: Any = (..., *(m // 2 for m in sizes))
        point[centre] = 1.0
        return residual_chain(point, weights, skip=0.0, activation="none", boundary="periodic")[0]
    axes = [2 * math.pi * torch.fft.fftfreq(m, dtype=weights.dtype, device=weights.device) for m in sizes]
    grids = torch.meshgrid(*axes, indexing="ij")
    p = grids[0] if len(grids) == 1 else torch.stack(grids[::-1], -1)
    gain = generator(f, w, p, form).sum(0).exp()
    space = tuple(range(1, 1 + len(sizes)))
    kernel: Tensor = torch.fft.fftshift(torch.fft.ifftn(gain, dim=space).real, dim=space)
    return kernel


def _sizes(sites: Any, least: list[int]) -> list[int]:
    if sites is None:
        return least
    sizes = list(sites) if isinstance(sites, (list, tuple)) else [sites] * len(least)
    if len(sizes) != len(least):
        raise _check.wrong_value("sites", f"a number or {len(least)} of them", len(sizes))
    for size in sizes:
        _check.require_count("sites", size)
        if size == 0:
            raise _check.wrong_value("sites", "at least 1", size)
    return sizes
