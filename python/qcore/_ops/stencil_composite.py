"""The stencil chain as plain differentiable torch: forward mode and second derivatives of the fused operator.

Shifted slices instead of a convolution, and gathered indices instead of `torch.nn.functional.pad`: both work
for every dtype, 1 to 3 space axes, boundaries wider than the axis, every order of derivative and every
transform, at the cost of one product per tap and step. Half storage is computed in float32 and rounded where
a state is stored, as the kernels do.
"""

from __future__ import annotations

from itertools import product
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

HALF = (torch.bfloat16, torch.float16)


def chain(
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    skip: float,
    activation: str,
    slope: float,
    boundary: str,
    states_every: int,
) -> tuple[Tensor, ...]:
    """(y,), or (y, states) with states_every > 0; shapes as in the operator."""
    u = x.float() if x.dtype in HALF else x
    states = []
    for t in range(taps.shape[0]):
        u = _activate(_step(u, taps[t], bias, t, skip, boundary), activation, slope)
        if states_every and (t + 1) % states_every == 0:
            states.append(u.to(x.dtype))
    return (u.to(x.dtype), _stack(states, x)) if states_every else (u.to(x.dtype),)


def chain_tangent(
    primals: tuple[Tensor, Tensor, Tensor | None],
    tangents: tuple[Tensor | None, ...],
    skip: float,
    activation: str,
    slope: float,
    boundary: str,
    states_every: int,
) -> tuple[Tensor, ...]:
    """Tangents of the outputs of `chain` for tangents of x, taps and bias (None: zero)."""
    x, taps, bias = primals
    dx, dtaps, dbias = tangents
    u = x.float() if x.dtype in HALF else x
    du = torch.zeros_like(u) if dx is None else dx.to(u.dtype)
    states = []
    for t in range(taps.shape[0]):
        z = _step(u, taps[t], bias, t, skip, boundary)
        dz = _step(du, taps[t], dbias, t, skip, boundary)
        if dtaps is not None:
            dz = dz + _correlate(u, dtaps[t], boundary)
        du = dz * _activation_derivative(z, activation, slope)
        u = _activate(z, activation, slope)
        if states_every and (t + 1) % states_every == 0:
            states.append(du.to(x.dtype))
    return (du.to(x.dtype), _stack(states, x)) if states_every else (du.to(x.dtype),)


def chain_vjp(
    grads: tuple[Tensor | None, ...], primals: tuple[Tensor, Tensor, Tensor | None], *settings: Any
) -> tuple[Tensor, ...]:
    """Gradients to x, taps and, if it is given, bias, for gradients to the outputs of `chain` (None: 0)."""
    return _pull(lambda *inputs: chain(*_three(inputs), *settings), _given(primals), grads)


def chain_vjp_tangent(
    grads: tuple[Tensor | None, ...],
    grad_tangents: tuple[Tensor | None, ...],
    primals: tuple[Tensor, Tensor, Tensor | None],
    tangents: tuple[Tensor | None, ...],
    *settings: Any,
) -> tuple[Tensor, ...]:
    """Tangent of `chain_vjp`.

    In the gradients to the outputs w it is linear. In the primals p, derivatives of <w, f(p)> commute: the
    directional derivative along t of the gradient is the gradient of <w, f'(p) t>. So reverse mode over
    `chain_tangent` is all it takes, which nests where forward mode over forward mode would not.
    """
    total = chain_vjp(grad_tangents, primals, *settings)
    if all(t is None for t in tangents):
        return total

    def pushed(*inputs: Tensor) -> tuple[Tensor, ...]:
        return chain_tangent(_three(inputs), tangents, *settings)

    return tuple(a + b for a, b in zip(total, _pull(pushed, _given(primals), grads), strict=True))


def chain_double_vjp(
    second: tuple[Tensor | None, ...],
    grads: tuple[Tensor | None, ...],
    primals: tuple[Tensor, Tensor, Tensor | None],
    *settings: Any,
) -> tuple[tuple[Tensor | None, ...], tuple[Tensor, ...]]:
    """Gradients to (grads, primals) for gradients `second` to the results of `chain_vjp`."""
    present = [i for i, g in enumerate(grads) if g is not None]

    def pulled(*inputs: Tensor) -> tuple[Tensor, ...]:
        w: list[Tensor | None] = [None] * len(grads)
        for i, g in zip(present, inputs, strict=False):  # the primals follow
            w[i] = g
        return chain_vjp(tuple(w), _three(inputs[len(present) :]), *settings)

    given = _given(primals)
    results = _pull(pulled, (*(g for g in grads if g is not None), *given), second)
    to_grads: list[Tensor | None] = [None] * len(grads)
    for i, g in zip(present, results, strict=False):
        to_grads[i] = g
    return tuple(to_grads), results[len(present) :]


def _pull(f: Any, primals: tuple[Tensor, ...], grads: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    outputs, vjp = cast("tuple[tuple[Tensor, ...], Any]", torch.func.vjp(f, *primals))
    filled = tuple(torch.zeros_like(o) if g is None else g for o, g in zip(outputs, grads, strict=False))
    gradients: tuple[Tensor, ...] = vjp(filled)
    return gradients


def _given(primals: tuple[Tensor, Tensor, Tensor | None]) -> tuple[Tensor, ...]:
    return tuple(p for p in primals if p is not None)


def _three(inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor | None]:
    x, taps, *bias = inputs
    return x, taps, bias[0] if bias else None


def _stack(states: list[Tensor], x: Tensor) -> Tensor:
    return torch.stack(states) if states else x.new_zeros((0, *x.shape))


def _step(u: Tensor, taps: Tensor, bias: Tensor | None, t: int, skip: float, boundary: str) -> Tensor:
    z = _correlate(u, taps, boundary)
    if skip != 0.0:
        z = z + skip * u
    return z if bias is None else z + bias[t].reshape(-1, *(1,) * (u.ndim - 2))


def _correlate(u: Tensor, taps: Tensor, boundary: str) -> Tensor:
    """Cross-correlation of (B, C, *S) with (C or 1, *K), same size."""
    sizes, kernel = u.shape[2:], taps.shape[1:]
    padded = _pad(u, tuple(kernel), boundary)
    weights = taps.reshape(taps.shape[0], -1).unbind(1)
    z = torch.zeros_like(u)
    for weight, offset in zip(weights, product(*map(range, kernel)), strict=True):
        window = padded
        for axis, (o, n) in enumerate(zip(offset, sizes, strict=True), start=2):
            window = window.narrow(axis, o, n)
        z = z + weight.reshape(-1, *(1,) * len(kernel)) * window
    return z


def _pad(u: Tensor, kernel: tuple[int, ...], boundary: str) -> Tensor:
    if boundary == "zero":
        return F.pad(u, [k // 2 for k in reversed(kernel) for _ in range(2)])
    for axis, k in enumerate(kernel, start=2):
        n, r = u.shape[axis], k // 2
        if r and n:
            i = torch.arange(-r, n + r, device=u.device)
            if boundary == "periodic":
                i = i % n
            elif boundary == "replicate":
                i = i.clamp(0, n - 1)
            else:
                i = n - 1 - (n - 1 - i.abs()).abs()
            u = u.index_select(axis, i)
        elif r:
            u = u.new_zeros((*u.shape[:axis], 2 * r, *u.shape[axis + 1 :]))
    return u


def _activate(z: Tensor, activation: str, slope: float) -> Tensor:
    if activation == "none":
        return z
    if activation == "relu":
        return F.relu(z)
    if activation == "leaky_relu":
        return F.leaky_relu(z, slope)
    if activation == "tanh":
        return torch.tanh(z)
    return z * torch.sigmoid(z)  # F.silu's own backward has no forward mode


def _activation_derivative(z: Tensor, activation: str, slope: float) -> Tensor | float:
    if activation == "none":
        return 1.0
    if activation == "relu":  # written so that a NaN passes, as in torch's own derivative
        return torch.where(z <= 0, torch.zeros_like(z), torch.ones_like(z))
    if activation == "leaky_relu":
        return torch.where(z <= 0, torch.full_like(z, slope), torch.ones_like(z))
    if activation == "tanh":
        return 1.0 - torch.tanh(z) ** 2
    s = torch.sigmoid(z)
    return s * (1.0 + z * (1.0 - s))
