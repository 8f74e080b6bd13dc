"""Fused chains of residual stencil steps, stencils of partial differential equations, and their stability.

One step is u <- act(skip * u + corr(u, taps) + bias): a residual layer with a depthwise convolution and an
explicit Euler step of an advection-diffusion-reaction equation at once. The last axis of a field is x, the
second-last y, the third-last z, all increasing with the index. A tap at offset d multiplies the source at +d
(cross-correlation, as in torch's convolutions).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor
from torch.nn import functional as F

from ._ops import _check
from ._ops import stencil as _ops
from ._ops.stencil_check import ACTIVATIONS, BACKENDS, BOUNDARIES, TAPS_DTYPES, check_forward
from ._von_neumann import largest_gain

__all__ = ["Stability", "pde_taps", "residual_chain", "stability", "symbol"]

_HALF = (torch.bfloat16, torch.float16)


@overload
def residual_chain(
    x: Tensor,
    taps: Tensor,
    *,
    skip: complex | Tensor = ...,
    bias: Tensor | None = ...,
    activation: str = ...,
    slope: float = ...,
    boundary: str = ...,
    states_every: Literal[0] = ...,
    backend: str = ...,
) -> Tensor: ...


@overload
def residual_chain(
    x: Tensor,
    taps: Tensor,
    *,
    skip: complex | Tensor = ...,
    bias: Tensor | None = ...,
    activation: str = ...,
    slope: float = ...,
    boundary: str = ...,
    states_every: int,
    backend: str = ...,
) -> Tensor | tuple[Tensor, Tensor]: ...


def residual_chain(
    x: Tensor,
    taps: Tensor,
    *,
    skip: complex | Tensor = 1.0,
    bias: Tensor | None = None,
    activation: str = "relu",
    slope: float = 0.01,
    boundary: str = "zero",
    states_every: int = 0,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """T residual stencil steps u <- act(skip_t * u + corr(u, taps_t) + bias_t) in one call, starting from x.

    The same as a loop over ``act(skip_t * u + convNd(u, taps_t, bias_t, padding="same", groups=C))`` with the
    padding that `boundary` names, except that the fields between the steps stay in cache.

    Args:
        x: (B, C, *S) with 1 to 3 space axes; any strides; axes of length 0 and 1 are fine.
        taps: (T, C, *K), or (T, 1, *K) shared by all channels; each size in K is 1, 3, 5 or 7. T = 0 returns
            a copy of x.
        skip: weight of the identity: a number, or per step (T,), or per step and channel (T, C).
        bias: (T,) or (T, C), or None.
        activation: "none", "relu", "leaky_relu", "tanh" or "silu".
        slope: slope of leaky_relu below zero, >= 0; other activations do not look at it.
        boundary: what lies outside the field at every step: "zero", "periodic", "reflect" (the edge point not
            repeated; needs axes longer than half the kernel) or "replicate" (the edge point repeated).
        states_every: m > 0 also returns the states after steps m, 2m, ...
        backend: "auto", or "reference" for the plain loops that the fast kernels are tested against.

    Returns:
        The last state, shaped as x, contiguous. With states_every = m the pair of it and the states,
        (T // m, B, C, *S).

    Types: x is float32 or float64 and taps, bias and tensor skip have its dtype. Or x is bfloat16 or float16
        and they have its dtype or float32: the arithmetic is float32 from the first step to the last, and
        only what is returned is rounded (a loop in torch rounds at every step). Or x is complex64 or
        complex128, the activation "none", and they are real or complex of the same precision.

    Derivatives: to x, taps, bias and tensor skip, exact at every boundary; relu has derivative 0 at 0,
        leaky_relu `slope`. Reverse mode recomputes the fields between steps, bit for bit, instead of keeping
        them all: it keeps x alone where the trajectory of a plane fits in cache, else one state in compute
        precision every few steps. Second derivatives and forward mode work too, as plain torch operations,
        and so do torch.func transforms. torch.compile and torch.export hold the call as one operator; a
        torch.func transform inside a compiled function breaks the graph there (with fullgraph=True it
        raises). Complex gradients are dL/dRe + i dL/dIm. Results and gradients are the same bit for bit for
        every number of threads. NaN and infinity propagate as in torch.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a shape that does not fit, mixed devices, an unknown name, a negative slope or
            states_every.
        NotImplementedError: a tensor that is neither a dense CPU nor a dense CUDA tensor, or a CUDA tensor
            where this build has no kernels for it.

    Source: forward Euler residual blocks, eq. 21-25 of the residual-network paper.
    """
    if not (
        isinstance(x, Tensor)
        and isinstance(taps, Tensor)
        and type(activation) is type(boundary) is type(backend) is str
        and type(slope) is float
        and type(states_every) is int
        and states_every >= 0
    ):
        _check.require_tensor("x", x)
        _check.require_tensor("taps", taps)
        _check.require_choice("activation", activation, ACTIVATIONS)
        _check.require_choice("boundary", boundary, BOUNDARIES)
        _check.require_choice("backend", backend, BACKENDS)
        _check.require_number("slope", slope)
        _check.require_count("states_every", states_every)
    if type(skip) is not float or bias is not None or taps.dtype != x.dtype or x.dtype in _HALF:
        taps, bias, skip = _parameters(x, taps, bias, skip, activation, slope, boundary, backend)
    settings = skip, activation, slope, boundary
    if states_every:
        y, states = _ops.chain_with_states.call(x, taps, bias, *settings, states_every, backend)
        return y, states
    return _ops.chain.call(x, taps, bias, *settings, backend)  # type: ignore[no-any-return]


def _parameters(
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    skip: complex | Tensor,
    activation: str,
    slope: float,
    boundary: str,
    backend: str,
) -> tuple[Tensor, Tensor | None, float]:
    """taps, bias, skip as the operators take them: one dtype, bias of two axes, a varying skip folded in."""
    if x.dtype not in TAPS_DTYPES:
        raise _check.wrong_type("x", _check.one_of(TAPS_DTYPES), x.dtype)
    parameters = {"taps": taps}
    if bias is not None:
        _check.require_tensor("bias", bias)
        parameters["bias"] = bias
    if isinstance(skip, Tensor):
        parameters["skip"] = skip
    elif not (isinstance(skip, complex) and x.dtype.is_complex):
        _check.require_number("skip", skip)

    accepted = sorted({x.dtype, *TAPS_DTYPES[x.dtype]}, key=str)
    for name, parameter in parameters.items():
        if parameter.layout != torch.strided:
            raise NotImplementedError(f"{name}: expected a dense tensor, got {parameter.layout}")
        if parameter.dtype not in accepted:
            choices = _check.one_of(accepted)
            raise _check.wrong_type(name, f"{choices} for x of {x.dtype}", parameter.dtype)
        if parameter.device != x.device:
            raise _check.wrong_value(name, f"the device of x, {x.device}", parameter.device)
    # Real taps on a complex field are half the work, but leave no room for a complex skip or a bias.
    any_complex = isinstance(skip, complex) or any(p.dtype.is_complex for p in parameters.values())
    dtype = TAPS_DTYPES[x.dtype][1 if x.dtype.is_complex and bias is None and not any_complex else 0]

    taps = taps.to(dtype)
    # What follows relies on the shapes.
    check_forward(x, taps, None, 0.0, activation, slope, boundary, backend)
    steps, channels = taps.shape[0], x.shape[1]
    if bias is not None:
        bias = _per_step("bias", bias, steps, channels).to(dtype)
    if isinstance(skip, complex):
        skip = torch.full((steps,), skip, dtype=dtype, device=x.device)
    if isinstance(skip, Tensor):
        weight = _per_step("skip", skip, steps, channels).to(dtype)
        radii = [k // 2 for k in reversed(taps.shape[2:]) for _ in range(2)]
        taps = taps + F.pad(weight.reshape(*weight.shape, *(1,) * (taps.ndim - 2)), radii)
        skip = 0.0
    return taps, bias, float(skip)


def _per_step(name: str, value: Tensor, steps: int, channels: int) -> Tensor:
    """(T,) or (T, C or 1) as (T, C or 1)."""
    column = value.unsqueeze(1) if value.ndim == 1 else value
    if column.ndim != 2 or column.shape[0] != steps or (column.shape[1] != 1 and column.shape[1] != channels):
        raise _check.wrong_value(name, f"shape ({steps},) or ({steps}, {channels})", _check.shape(value))
    return column


def pde_taps(
    alpha: Tensor,
    beta: Tensor,
    sigma: Tensor | None = None,
    rho: Tensor | None = None,
    gamma: float | Tensor = 0.0,
    *,
    advection: float = 1.0,
    dt: float = 1.0,
    dx: float = 1.0,
) -> Tensor:
    r"""Stencils of explicit Euler steps of an advection-diffusion-reaction equation.

    .. math::
        \psi_t = \tfrac{\alpha^2}{2}\psi_{xx} + a\beta\,\psi_x
                 \;[\,+ \tfrac{\sigma^2}{2}\psi_{yy} + a\rho\,\psi_y\,] + \gamma\,\psi

    with central differences on a grid of spacing dx (the same along x and y) and a time step dt, for
    :func:`residual_chain`, whose skip of 1 is the identity of the Euler step. Positive a*beta moves a profile
    to smaller x.

    Args:
        alpha, beta: (T,) or (T, C), real: diffusion (only alpha**2 enters) and advection along x, per step.
        sigma, rho: the same along y, for two dimensions; both or neither.
        gamma: growth: a number, (T,) or (T, C).
        advection: the factor a of beta and rho: 1 for PDE network 1 (eq. 39), -1/8 for network 2 (eq. 40).
        dt: time step, > 0.
        dx: grid spacing, > 0.

    Returns:
        Without sigma (T, 1 or C, 3), the taps at x-1, x, x+1. With sigma (T, 1 or C, 3, 3): K[1, 1] is the
        centre, K[1, 2] and K[1, 0] are at x+1 and x-1, K[2, 1] and K[0, 1] at y+1 and y-1, and the corners
        are exactly 0. Differentiable; alpha = 0 is a stationary point of every loss, so never start there.

    Raises:
        TypeError: a parameter that is no tensor, not real, or of another dtype than alpha.
        ValueError: a shape that does not fit, mixed devices, sigma without rho, dt or dx not above 0.

    Source: eq. 21-25, 39 and 40 of the residual-network paper, in correlation order.
    """
    diffusion, drift, growth = _step(alpha, beta, sigma, rho, gamma, advection, dt, dx)
    # One small product, because a chain builds its taps anew for every batch.
    terms = torch.stack((*diffusion, *drift, growth), -1)
    weights = terms.new_tensor(_TERMS_TO_TAPS[len(diffusion)])
    return (terms @ weights).reshape(*growth.shape, *(3 for _ in diffusion))


# Rows: diffusion per axis, drift per axis (x first), growth. Columns: the taps of a 3 or 3x3 kernel.
_TERMS_TO_TAPS = {
    1: (
        (0.5, -1.0, 0.5),
        (-0.5, 0.0, 0.5),
        (0.0, 1.0, 0.0),
    ),
    2: (
        (0.0, 0.0, 0.0, 0.5, -1.0, 0.5, 0.0, 0.0, 0.0),
        (0.0, 0.5, 0.0, 0.0, -1.0, 0.0, 0.0, 0.5, 0.0),
        (0.0, 0.0, 0.0, -0.5, 0.0, 0.5, 0.0, 0.0, 0.0),
        (0.0, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0),
        (0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0),
    ),
}


def symbol(taps: Tensor, p: Tensor, skip: complex | Tensor = 1.0) -> Tensor:
    """Gain of one step, without activation and bias, for plane waves e^{ip.x} on a periodic grid.

    Args:
        taps: (T, C, *K) with 1 to 3 space axes, as in :func:`residual_chain`.
        p: real wave numbers in radians per grid point: (...) in one dimension; (..., 2) ordered (px, py) in
            two and (..., 3) ordered (px, py, pz) in three, x being the last axis of a field.
        skip: weight of the identity: a number, (T,) or (T, C).

    Returns:
        skip + sum over offsets d of taps[d] e^{ip.d}, complex, (T, C, ...). Its largest modulus over p is the
        gain of the worst wave.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a shape that does not fit.

    Source: von Neumann analysis; symbol of eq. 21-25 of the residual-network paper.
    """
    _check.require_tensor("taps", taps)
    _check.require_tensor("p", p)
    kernel = taps.shape[2:]
    if not (taps.dtype.is_floating_point or taps.dtype.is_complex):
        raise _check.wrong_type("taps", "a floating or complex dtype", taps.dtype)
    if not p.dtype.is_floating_point:
        raise _check.wrong_type("p", "a real floating dtype", p.dtype)
    if not 1 <= len(kernel) <= 3 or any(k % 2 == 0 for k in kernel):
        raise _check.wrong_value("taps", "shape (T, C, *K) with 1 to 3 odd kernel sizes", _check.shape(taps))
    if len(kernel) > 1 and (p.ndim == 0 or p.shape[-1] != len(kernel)):
        raise _check.wrong_value("p", f"shape (..., {len(kernel)})", _check.shape(p))
    if len(kernel) == 1:
        p = p.unsqueeze(-1)

    dtype = torch.promote_types(torch.promote_types(taps.dtype, p.dtype), torch.complex64)
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    axes = [torch.arange(k, dtype=real, device=p.device) - k // 2 for k in kernel]
    offsets = torch.cartesian_prod(*axes).reshape(-1, len(kernel)).flip(-1)
    waves = torch.exp(1j * (p.to(real) @ offsets.T))
    gain: Tensor = torch.tensordot(taps.flatten(2).to(dtype), waves, dims=([2], [-1]))
    if isinstance(skip, Tensor):
        weight = _per_step("skip", skip, taps.shape[0], taps.shape[1])
        return gain + weight.reshape(*weight.shape, *(1,) * (gain.ndim - 2))
    if not isinstance(skip, complex):
        _check.require_number("skip", skip)
    return gain + skip


class Stability(NamedTuple):
    """What :func:`stability` finds, each (T,) or (T, C)."""

    max_gain: Tensor
    """Largest modulus of the symbol over all wave numbers."""
    stable: Tensor
    """max_gain <= 1: no wave grows. Decided by the closed criterion, not from the rounded max_gain."""
    positive: Tensor
    """All taps >= 0, skip included: no new extrema, and max |u| grows by 1 + dt gamma at most."""


def stability(
    alpha: Tensor,
    beta: Tensor,
    sigma: Tensor | None = None,
    rho: Tensor | None = None,
    gamma: float | Tensor = 0.0,
    *,
    advection: float = 1.0,
    dt: float = 1.0,
    dx: float = 1.0,
) -> Stability:
    r"""Von Neumann stability of the linear steps that :func:`pde_taps` gives, with a skip of 1.

    With A = dt alpha^2/dx^2, S = dt sigma^2/dx^2, bx = dt a beta/dx, by = dt a rho/dx and G = 1 + dt gamma
    the gain of the wave (px, py) is G - A(1 - cos px) - S(1 - cos py) + i(bx sin px + by sin py). Its largest
    modulus is max(\|G\|, \|G - 2(A + S)\|) if bx^2/A + by^2/S is no more than that, and larger otherwise. At
    gamma = 0 a step is stable exactly when A + S <= 1 and bx^2/A + by^2/S <= 1; in one dimension, b^2 <= A <=
    1.

    A zero boundary restricts the step to a window of the unbounded grid and cannot raise its norm, nor can
    relu.

    Args:
        alpha, beta, sigma, rho, gamma, advection, dt, dx: as in :func:`pde_taps`.

    Returns:
        Stability(max_gain, stable, positive): max_gain in the dtype of alpha, exact to rounding and
        differentiable, the others bool; each (T,), or (T, C) when a parameter is.

    Raises:
        TypeError, ValueError: as :func:`pde_taps`.

    Source: von Neumann analysis of eq. 21-25, 39 and 40 of the residual-network paper.
    """
    diffusion, drift, growth = _step(alpha, beta, sigma, rho, gamma, advection, dt, dx, torch.float64)
    gain = 1 + growth
    max_gain, stable = largest_gain(gain, diffusion, drift)
    positive = gain >= sum(diffusion)
    for a, b in zip(diffusion, drift, strict=True):
        positive = positive & (a >= b.abs())
    found = (max_gain.to(alpha.dtype), stable, positive)
    if any(isinstance(v, Tensor) and v.ndim == 2 for v in (alpha, beta, sigma, rho, gamma)):
        return Stability(*found)
    return Stability(*(t.squeeze(1) for t in found))


def _step(
    alpha: Tensor,
    beta: Tensor,
    sigma: Tensor | None,
    rho: Tensor | None,
    gamma: float | Tensor,
    advection: float,
    dt: float,
    dx: float,
    dtype: torch.dtype | None = None,
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Per axis, x first, dt alpha^2/dx^2 and dt a beta/dx, then dt gamma; each (T, 1 or C)."""
    _check.require_number("advection", advection)
    _check.require_positive("dt", dt)
    _check.require_positive("dx", dx)
    parameters = {"alpha": alpha, "beta": beta}
    if sigma is not None or rho is not None:
        if sigma is None or rho is None:
            missing = "sigma" if sigma is None else "rho"
            raise _check.wrong_value(missing, "a tensor (both sigma and rho, or neither)", None)
        parameters |= {"sigma": sigma, "rho": rho}
    if isinstance(gamma, Tensor):
        parameters["gamma"] = gamma
    else:
        _check.require_number("gamma", gamma)
    _check_parameters(parameters)

    columns = [v.unsqueeze(1) if v.ndim == 1 else v for v in parameters.values()]
    if dtype is not None:
        columns = [v.to(dtype) for v in columns]
    width = max(v.shape[1] for v in columns)
    columns = [v.expand(-1, width) for v in columns]
    growth = columns.pop() if isinstance(gamma, Tensor) else torch.full_like(columns[0], float(gamma))
    diffusion = [dt / dx**2 * a * a for a in columns[::2]]
    drift = [dt * advection / dx * b for b in columns[1::2]]
    return diffusion, drift, dt * growth


def _check_parameters(parameters: dict[str, Tensor]) -> None:
    alpha = parameters["alpha"]
    for name, value in parameters.items():
        _check.require_tensor(name, value)
        if not value.dtype.is_floating_point:
            raise _check.wrong_type(name, "a real floating dtype", value.dtype)
        if value.dtype != alpha.dtype:
            raise _check.wrong_type(name, f"the dtype of alpha, {alpha.dtype}", value.dtype)
        if value.device != alpha.device:
            raise _check.wrong_value(name, f"the device of alpha, {alpha.device}", value.device)
        if value.ndim not in (1, 2):
            raise _check.wrong_value(name, "shape (T,) or (T, C)", _check.shape(value))
    steps = alpha.shape[0]
    channels = max([1, *(v.shape[1] for v in parameters.values() if v.ndim == 2)])
    for name, value in parameters.items():
        if value.shape[0] != steps or (value.ndim == 2 and value.shape[1] not in (1, channels)):
            raise _check.wrong_value(name, f"shape ({steps},) or ({steps}, {channels})", _check.shape(value))
