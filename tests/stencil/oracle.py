"""Stencil chains in plain float64 torch, and how far a kernel may be from them.

The reference shares nothing with the kernels: the grid is extended by explicit index maps (`source_map`), a
step is a sum of shifted windows, gradients come from torch's autograd.

Tolerances are a contract, not constants. With u the unit roundoff of the compute type, A_t the merged taps of
a step (skip added to the centre), n the operations behind one output value and L the Lipschitz constant of
the activation, the error of a state obeys, point by point (running error analysis, Higham, Accuracy and
Stability of Numerical Algorithms, 3.3)

    E_{t+1} = L (|A_t| E_t + n u (|A_t| |u_t| + |b_t|)) + s u |u_{t+1}|

with s roundoffs for tanh and silu. It grows as T n u max|u| when the taps' l1 norm is 1, as `make_chain`
arranges. Backwards, with d_t = g_{t+1} act'(z_t),

    E(d_t) = |act'| E(g_{t+1}) + |g_{t+1}| E(act') + u |d_t|
    E(g_t) = |A_t|^T E(d_t) + n u |A_t|^T |d_t|
    E(dL/dtap) = sum (E(d_t) + SUM_DEPTH u |d_t|) |u_t|

A gradient is compared along the trajectory that the kernel itself ran through (its states after every step),
since a rounding error may open or close the gate of a ReLU that sits at zero.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

ACTIVATIONS = {"none": 0, "relu": 1, "leaky_relu": 2, "tanh": 3, "silu": 4}
BOUNDARIES = {"zero": 0, "periodic": 1, "reflect": 2, "replicate": 3}
HALF = (torch.bfloat16, torch.float16)

# Units in the last place that a kernel's tanh or silu may be off, times two (unit roundoffs).
ACTIVATION_ROUNDOFFS = {"none": 0, "relu": 0, "leaky_relu": 1, "tanh": 8, "silu": 8}
LIPSCHITZ = {"none": 1.0, "relu": 1.0, "leaky_relu": 1.0, "tanh": 1.0, "silu": 1.1}

# Sums for the gradients of taps and bias run in float64, but within a row or a small image in compute
# precision, where the error grows as the root of the number of terms (Higham and Mary 2019): as if 16 of them
# met their worst case.
SUM_DEPTH = 16


@dataclass(frozen=True)
class Chain:
    """One call: x (B, C, *S), taps (T, C or 1, *K) in compute type, bias (T, C or 1) or None."""

    x: Tensor
    taps: Tensor
    bias: Tensor | None = None
    skip: float = 1.0
    activation: str = "relu"
    slope: float = 0.01
    boundary: str = "zero"
    states_every: int = 0
    checkpoint_every: int = 0

    @property
    def steps(self) -> int:
        return self.taps.shape[0]

    @property
    def n_states(self) -> int:
        return self.steps // self.states_every if self.states_every else 0

    @property
    def n_checkpoints(self) -> int:
        return (self.steps - 1) // self.checkpoint_every if self.checkpoint_every and self.steps else 0

    def but(self, **changes: object) -> Chain:
        return replace(self, **changes)

    def upcast(self) -> Chain:
        """The same chain with the field stored in compute precision."""
        return self.but(x=self.x.to(compute_dtype(self.x.dtype)))


class Forward(NamedTuple):
    y: Tensor
    states: Tensor | None
    checkpoints: Tensor | None


class Gradients(NamedTuple):
    x: Tensor
    taps: Tensor
    bias: Tensor | None


P, R = ParamSpec("P"), TypeVar("R")


def single_threaded(function: Callable[P, R]) -> Callable[P, R]:
    """Run in one thread: on a busy machine the barriers of many small operations cost more than the work."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return wrapper


# --- types ----------------------------------------------------------------------------------------


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type of a state between steps."""
    return torch.float32 if dtype in HALF else dtype


def wide(t: Tensor) -> Tensor:
    """In float64 or complex128, detached."""
    return t.detach().to(torch.complex128 if t.is_complex() else torch.float64)


def roundoff(dtype: torch.dtype) -> float:
    """Unit roundoff of arithmetic in `dtype`, plus that of the float64 oracle; doubled for complex."""
    u = torch.finfo(compute_dtype(dtype)).eps / 2 + torch.finfo(torch.float64).eps / 2
    return 2 * u if dtype.is_complex else u


def underflow(dtype: torch.dtype) -> float:
    """Absolute error near zero: silu loses its last |z| tiny / 4 to the overflow of exp(-z)."""
    return 128 * torch.finfo(compute_dtype(dtype)).tiny


# --- the oracle -----------------------------------------------------------------------------------


def source_map(n: int, radius: int, boundary: str) -> Tensor:
    """For grid indices -radius .. n - 1 + radius: the index whose value stands there, n for a zero."""
    i = torch.arange(-radius, n + radius)
    if boundary == "zero":
        return torch.where((i >= 0) & (i < n), i, n)
    if boundary == "periodic":
        return i.remainder(n)
    if boundary == "reflect":
        return (n - 1) - (n - 1 - i.abs()).abs()
    if boundary == "replicate":
        return i.clamp(0, n - 1)
    raise ValueError(boundary)


def extend(u: Tensor, axis: int, radius: int, boundary: str) -> Tensor:
    """u with `radius` more points on both sides of an axis."""
    index = source_map(u.shape[axis], radius, boundary)
    source = (
        torch.cat([u, torch.zeros_like(u.narrow(axis, 0, 1))], axis) if boundary == "zero" and radius else u
    )
    before, after = index[:radius], index[len(index) - radius :]
    return torch.cat([source.index_select(axis, before), u, source.index_select(axis, after)], axis)


def correlate(u: Tensor, taps: Tensor, boundary: str, skip_zeros: bool = False) -> Tensor:
    """sum_d taps[c, d] u[b, c, x + d] for u (B, C, *S) and taps (C or 1, *K).

    skip_zeros leaves out offsets whose tap is zero in all channels, which matters to NaN and inf only.
    """
    if u.numel() == 0:
        return u * taps.sum()
    kernel, space = taps.shape[1:], u.shape[2:]
    extended = u
    for axis, k in enumerate(kernel, start=2):
        extended = extend(extended, axis, k // 2, boundary)
    record = torch.is_grad_enabled() and (u.requires_grad or taps.requires_grad)
    total = torch.zeros(u.shape, dtype=torch.promote_types(u.dtype, taps.dtype))
    for offset in itertools.product(*map(range, kernel)):
        tap = taps[(slice(None), *offset)]
        if skip_zeros and not tap.any():
            continue
        window = extended[(..., *(slice(o, o + n) for o, n in zip(offset, space, strict=True)))]
        tap = tap.view(-1, *[1] * len(space))
        total = (
            total + tap * window if record else total.addcmul_(tap.to(total.dtype), window.to(total.dtype))
        )
    return total


def activate(z: Tensor, activation: str, slope: float, open_gates: Tensor | None = None) -> Tensor:
    """act(z); open_gates, where given, decides for the piecewise linear ones instead of the sign of z."""
    if activation == "relu":
        return torch.relu(z) if open_gates is None else z * open_gates
    if activation == "leaky_relu":
        return torch.where(z > 0 if open_gates is None else open_gates, z, slope * z)
    return {"none": lambda v: v, "tanh": torch.tanh, "silu": torch.nn.functional.silu}[activation](z)


def merged_taps(chain: Chain, taps: Tensor) -> Tensor:
    """Taps with skip added at the centre."""
    centre = torch.zeros(taps.shape[2:], dtype=taps.dtype)
    centre[tuple(k // 2 for k in centre.shape)] = chain.skip
    return taps + centre


def per_channel(bias: Tensor, chain: Chain) -> Tensor:
    return bias.view(-1, *[1] * (chain.x.ndim - 2))


@single_threaded
def trajectory(chain: Chain, skip_zeros: bool = False) -> list[Tensor]:
    """States u_0 .. u_T in float64 or complex128."""
    taps = merged_taps(chain, wide(chain.taps))
    u = wide(chain.x)
    states = [u]
    for t in range(chain.steps):
        z = correlate(u, taps[t], chain.boundary, skip_zeros)
        if chain.bias is not None:
            z = z + per_channel(wide(chain.bias)[t], chain)
        u = activate(z, chain.activation, chain.slope)
        states.append(u)
    return states


def stored_states(states: list[Tensor], every: int, last: int) -> list[Tensor]:
    return states[every : last + 1 : every] if every else []


# --- error bounds ---------------------------------------------------------------------------------


def operations(taps: Tensor, boundary: str) -> int:
    """Roundings behind one value of a step or its adjoint: taps, skip, bias, edges that fold back."""
    n = 1
    for k in taps.shape[2:]:
        folded = (k // 2) * (k // 2 + 1) // 2 if boundary in ("reflect", "replicate") else 0
        n *= k + folded
    return n + 4


def magnitudes(chain: Chain) -> tuple[Tensor, Tensor]:
    """|A| as it passes errors on, and as rounding sees it: merging skip and centre may cancel."""
    taps = wide(chain.taps)
    return merged_taps(chain, taps).abs(), merged_taps(chain.but(skip=abs(chain.skip)), taps.abs())


@single_threaded
def forward_bounds(chain: Chain, states: list[Tensor]) -> list[Tensor]:
    """Pointwise bound on the error of each state u_0 .. u_T before it is stored."""
    u = roundoff(chain.x.dtype)
    n = operations(chain.taps, chain.boundary)
    passed, rounded = magnitudes(chain)
    lipschitz = max(LIPSCHITZ[chain.activation], chain.slope if chain.activation == "leaky_relu" else 0.0)
    error = torch.zeros_like(states[0].abs())
    bounds = [error]
    for t in range(chain.steps):
        size = correlate(states[t].abs(), rounded[t], chain.boundary)
        if chain.bias is not None:
            size = size + per_channel(wide(chain.bias)[t].abs(), chain)
        error = lipschitz * (correlate(error, passed[t], chain.boundary) + n * u * size)
        error = (
            error
            + ACTIVATION_ROUNDOFFS[chain.activation] * u * states[t + 1].abs()
            + underflow(chain.x.dtype)
        )
        bounds.append(error)
    return bounds


def storage_bound(value: Tensor, bound: Tensor, dtype: torch.dtype) -> Tensor:
    """`bound` after one more rounding, into `dtype` if that is a half type."""
    if dtype not in HALF:
        return bound
    info = torch.finfo(dtype)
    return bound + (value.abs() + bound) * info.eps / 2 + info.smallest_normal * info.eps


def vjp(u: Tensor, taps: Tensor, boundary: str, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """(A^T cotangent, sum of cotangent times what each tap read)."""
    u, taps = u.detach().requires_grad_(), taps.detach().requires_grad_()
    grads = torch.autograd.grad(correlate(u, taps, boundary), (u, taps), cotangent)
    return grads[0], grads[1]


@single_threaded
def gradients(
    chain: Chain,
    grad_y: Tensor,
    grad_states: Tensor | None = None,
    states: list[Tensor] | None = None,
    errors: list[Tensor] | None = None,
) -> tuple[Gradients, Gradients]:
    """Float64 gradients by autograd, and bounds on a kernel's error in them.

    `states` u_0 .. u_T is the trajectory to differentiate along, the oracle's own by default; `errors` says
    how far the kernel's may be from it (None: it is the kernel's own).
    """
    if states is None:
        states = trajectory(chain)
    x, raw_taps = wide(chain.x).requires_grad_(), wide(chain.taps).requires_grad_()
    bias = None if chain.bias is None else wide(chain.bias).requires_grad_()
    taps = merged_taps(chain, raw_taps)

    u, before, after = x, [], []  # pre-activations z_t and states u_{t+1}
    for t in range(chain.steps):
        z = correlate(u, taps[t], chain.boundary)
        if bias is not None:
            z = z + per_channel(bias[t], chain)
        u = activate(z, chain.activation, chain.slope, states[t + 1].real > 0)
        u = states[t + 1] + (u - u.detach())
        before.append(z)
        after.append(u)
    outputs, cotangents = [u if after else x * 1.0], [wide(grad_y)]
    if grad_states is not None:
        outputs += after[chain.states_every - 1 :: chain.states_every]
        cotangents += list(wide(grad_states))
    inputs = [x, raw_taps, *before, *after, *([] if bias is None else [bias])]
    found = torch.autograd.grad(outputs, inputs, cotangents, allow_unused=True)
    found = [torch.zeros_like(i) if f is None else f for i, f in zip(inputs, found, strict=True)]
    d, g = found[2 : 2 + chain.steps], found[2 + chain.steps : 2 + 2 * chain.steps]
    values = Gradients(found[0], found[1], None if bias is None else found[-1])
    return values, gradient_bounds(chain, states, errors, before, d, g)


def gradient_bounds(
    chain: Chain,
    states: list[Tensor],
    errors: list[Tensor] | None,
    before: list[Tensor],
    d: list[Tensor],
    g: list[Tensor],
) -> Gradients:
    """Bounds by the recursion in the module's docstring; d and g are the gradients to z_t and u_{t+1}."""
    u, floor = roundoff(chain.x.dtype), underflow(chain.x.dtype)
    n = operations(chain.taps, chain.boundary)
    passed, rounded = magnitudes(chain)
    taps_bound = torch.zeros_like(passed)
    bias_bound = None if chain.bias is None else torch.zeros_like(chain.bias.real, dtype=torch.float64)
    error = torch.zeros_like(states[0].abs())
    for t in reversed(range(chain.steps)):
        size, field = d[t].abs(), states[t].abs()
        if chain.activation in ("tanh", "silu"):
            z_error = n * u * correlate(field, rounded[t], chain.boundary)
            z_error += 0.0 if errors is None else correlate(errors[t], passed[t], chain.boundary)
        if chain.activation == "tanh":
            level = torch.tanh(before[t].detach())
            derivative = 1 - level.square()
            wrong = 2 * level.abs() * (z_error + 8 * u * level.abs()) + 4 * u
        elif chain.activation == "silu":
            s = torch.sigmoid(before[t].detach())
            derivative = (s * (1 + before[t].detach() * (1 - s))).abs()
            wrong = 0.5 * z_error + 16 * u
        else:
            closed = {"none": 1.0, "relu": 0.0, "leaky_relu": chain.slope}[chain.activation]
            derivative = torch.where(states[t + 1].real > 0, torch.ones_like(size), closed)
            wrong = torch.zeros_like(size)
        error = derivative * error + g[t].abs() * wrong + 2 * u * size + floor
        terms = error + SUM_DEPTH * u * size
        taps_bound[t] = vjp(field, passed[t], chain.boundary, terms)[1]
        if errors is not None:
            taps_bound[t] += vjp(errors[t], passed[t], chain.boundary, size + error)[1]
        if bias_bound is not None:
            summed = terms.sum(dim=(0, *range(2, terms.ndim)))
            bias_bound[t] = summed if bias_bound.shape[1] == summed.shape[0] else summed.sum()
        # `rounded` and `passed` differ in the centre tap only, which reads the point itself.
        cancelled = per_channel((rounded[t] - passed[t]).flatten(1).sum(1), chain)
        error = (
            vjp(field, passed[t], chain.boundary, error + n * u * size)[0] + n * u * cancelled * size + floor
        )
    return Gradients(error, taps_bound, bias_bound)
