"""Chains to test with, calls to the compiled kernels, and comparisons that say where they fail."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from qcore._ops import _device

from .oracle import (
    ACTIVATIONS,
    BOUNDARIES,
    Chain,
    Forward,
    Gradients,
    activate,
    compute_dtype,
    correlate,
    forward_bounds,
    gradients,
    merged_taps,
    per_channel,
    single_threaded,
    storage_bound,
    stored_states,
    trajectory,
    wide,
)

AUTO, REFERENCE = 0, 1
REAL = (torch.float32, torch.float64)
ALL = (*REAL, torch.bfloat16, torch.float16, torch.complex64, torch.complex128)
WIDTHS = (1, 2, 3, 5, 15, 16, 17, 28, 31, 32, 33, 64, 100)  # around the vector widths
BACKENDS = pytest.mark.parametrize("backend", [AUTO, REFERENCE], ids=["auto", "reference"])


# --- data -----------------------------------------------------------------------------------------


def radius_that_fits(kernel: tuple[int, ...], space: tuple[int, ...], boundary: str) -> tuple[int, ...]:
    """The kernel, cut down where reflect would refuse so short an axis."""
    if boundary != "reflect":
        return kernel
    return tuple(min(k, 2 * max(n - 1, 0) + 1) for k, n in zip(kernel, space, strict=True))


def star_mask(kernel: tuple[int, ...]) -> Tensor:
    """True on the axes through the centre."""
    offsets = torch.meshgrid(*(torch.arange(k) - k // 2 for k in kernel), indexing="ij")
    return sum((o != 0).int() for o in offsets) <= 1


def make_taps(
    steps: int, channels: int, kernel: tuple[int, ...], *, star: bool = False, skip: float = 1.0
) -> Tensor:
    """Random float64 taps (steps, channels, *kernel) whose merged l1 norm is 1.

    The neighbours' share shrinks with the number of steps: a signal must neither grow (the error bound would
    grow faster) nor be smoothed or die out (there would be nothing left to compare).
    """
    neighbours = 0.2 + torch.rand(steps, channels, *kernel, dtype=torch.float64)
    neighbours = torch.where(torch.rand_like(neighbours) < 0.3, -neighbours, neighbours)
    if star:
        neighbours = neighbours * star_mask(kernel)
    centre = tuple(k // 2 for k in kernel)
    neighbours[(..., *centre)] = 0.0
    size = neighbours.abs().flatten(2).sum(-1).clamp_min(1e-9).view(steps, channels, *[1] * len(kernel))
    share = min(0.6, 2 / max(steps, 1))
    taps = neighbours / size * share
    taps[(..., *centre)] = 1 - share - skip
    return taps


@single_threaded
def biases_at_the_gates(x: Tensor, taps: Tensor, columns: int, options: dict[str, object]) -> Tensor:
    """Biases (T, columns) that close about three gates of ten in every step."""
    chain = Chain(x[:1], taps, **options)
    merged, u, found = merged_taps(chain, taps), x[:1], []
    for t in range(chain.steps):
        z = correlate(u, merged[t], chain.boundary)
        bias = -z[0].flatten(1)[:, :10_000].quantile(0.3, dim=1)
        bias = bias if columns == len(bias) else bias.mean(0, keepdim=True)
        u = activate(z + per_channel(bias, chain), chain.activation, chain.slope)
        found.append(bias)
    return torch.stack(found) if found else torch.zeros(0, columns, dtype=torch.float64)


def make_chain(
    shape: tuple[int, ...],
    kernel: tuple[int, ...] | int = 3,
    steps: int = 4,
    *,
    dtype: torch.dtype = torch.float64,
    star: bool = False,
    shared: bool = False,
    bias: str | None = "channel",
    complex_taps: bool = False,
    **options: object,
) -> Chain:
    """A random chain on a grid `shape` (B, C, *S); bias is None, "shared" (T, 1) or "channel" (T, C)."""
    space = shape[2:]
    kernel = (kernel,) * len(space) if isinstance(kernel, int) else kernel
    boundary = str(options.get("boundary", "zero"))
    kernel = radius_that_fits(kernel, space, boundary)
    taps = make_taps(
        steps, 1 if shared else shape[1], kernel, star=star, skip=float(options.get("skip", 1.0))
    )
    shift = None
    if bias is not None:  # up and down in turn
        shift = torch.rand(steps, 1 if bias == "shared" else shape[1], dtype=torch.float64) + 0.2
        shift[1::2] *= -1
        shift *= 0.2 / max(steps, 1) ** 0.5
    # silu halves small values: start it where it is nearly the identity.
    x = torch.randn(shape, dtype=torch.float64) + (3.0 if options.get("activation") == "silu" else 0.5)
    if shift is not None and options.get("activation", "relu") in ("relu", "leaky_relu") and x.numel():
        shift = biases_at_the_gates(x, taps, shift.shape[1], options)
    compute = compute_dtype(dtype)
    if dtype.is_complex:
        options["activation"] = "none"
        x = torch.complex(x, torch.randn(shape, dtype=torch.float64))
        if complex_taps:
            taps = taps * torch.polar(torch.ones_like(taps), torch.randn_like(taps) / max(steps, 1))
            shift = None if shift is None else torch.complex(shift, torch.randn_like(shift))
        else:
            compute, shift = (torch.float32 if dtype == torch.complex64 else torch.float64), None
    return Chain(x.to(dtype), taps.to(compute), None if shift is None else shift.to(compute), **options)


def cotangents(chain: Chain) -> tuple[Tensor, Tensor | None]:
    """Random gradients to y and, where the chain stores states, to those."""
    grad_y = torch.randn(chain.x.shape, dtype=wide(chain.x).dtype).to(chain.x.dtype)
    if not chain.states_every:
        return grad_y, None
    return grad_y, torch.randn(chain.n_states, *chain.x.shape, dtype=wide(chain.x).dtype).to(chain.x.dtype)


def strided(x: Tensor) -> dict[str, Tensor]:
    """x, or a part of it, in memory of every kind."""
    wide = torch.zeros(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)
    wide[..., ::2] = x
    padded = (
        functional.pad(x, (3, 2))
        if not x.is_complex()
        else torch.complex(*(functional.pad(p, (3, 2)) for p in (x.real, x.imag)))
    )
    return {
        "every second": wide[..., ::2],
        "sliced": padded[..., 3:-2],
        "offset": torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape),
        "space transposed": x.transpose(-1, -2).contiguous().transpose(-1, -2),
        "channels last": x.movedim(1, -1).contiguous().movedim(-1, 1),
        "batch last": x.movedim(0, -1).contiguous().movedim(-1, 0),
        "batch expanded": x[:1].expand(x.shape),
        "channel expanded": x[:, :1].expand(x.shape),
        "row expanded": x[..., :1, :].expand(x.shape),
        "column expanded": x[..., :1].expand(x.shape),
        "one value": x.flatten()[:1].view([1] * x.ndim).expand(x.shape),
        "odd strides": torch.as_strided(
            torch.cat([x.flatten()] * 3), x.shape, [max(1, s - 1) for s in x.stride()]
        ),
        "windows that overlap": torch.as_strided(x, x.shape, (1,) * x.ndim),
    }


def random_chain(draw: random.Random) -> Chain:
    """One call drawn from everything at once."""
    dims = draw.choice([1, 2, 2, 3])
    space = tuple(draw.choice(WIDTHS if axis == dims - 1 else list(range(1, 10))) for axis in range(dims))
    dtype = draw.choice(ALL)
    chain = make_chain(
        (draw.randint(1, 3), draw.randint(1, 4), *space),
        tuple(draw.choice([1, 3, 3, 5, 7]) for _ in range(dims)),
        draw.choice([1, 2, 3, 6, 13]),
        dtype=dtype,
        star=draw.random() < 0.5,
        shared=draw.random() < 0.3,
        bias=draw.choice([None, "shared", "channel"]),
        complex_taps=draw.random() < 0.5,
        skip=draw.choice([1.0, 1.0, 0.0, 0.3]),
        activation=draw.choice(list(ACTIVATIONS)),
        boundary=draw.choice(list(BOUNDARIES)),
        states_every=draw.choice([0, 1, 2, 5]),
        checkpoint_every=draw.choice([0, 1, 3, 4]),
    )
    return chain.but(x=draw.choice([chain.x, *strided(chain.x).values()]))


# --- calls ----------------------------------------------------------------------------------------


def poisoned(*shape: int, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An output of NaNs, so that a point that is never written shows."""
    return torch.full(shape, math.nan, dtype=dtype or like.dtype, device=like.device)


def options_of(chain: Chain, backend: int) -> tuple[object, ...]:
    return (
        chain.skip,
        ACTIVATIONS[chain.activation],
        chain.slope,
        BOUNDARIES[chain.boundary],
        chain.states_every,
        chain.checkpoint_every,
        backend,
    )


def run(chain: Chain, backend: int = AUTO) -> Forward:
    """The kernel's y, states and checkpoints."""
    shape = tuple(chain.x.shape)
    y = poisoned(*shape, like=chain.x)
    states = poisoned(chain.n_states, *shape, like=chain.x) if chain.states_every else None
    checkpoints = None
    if chain.checkpoint_every:
        checkpoints = poisoned(chain.n_checkpoints, *shape, like=chain.x, dtype=compute_dtype(chain.x.dtype))
    _device.kernels(chain.x).stencil_residual_chain(
        chain.x, chain.taps, chain.bias, y, states, checkpoints, *options_of(chain, backend)
    )
    return Forward(y, states, checkpoints)


def run_backward(
    chain: Chain,
    grad_y: Tensor,
    grad_states: Tensor | None = None,
    backend: int = AUTO,
    checkpoints: Tensor | None = None,
) -> Gradients:
    """The kernel's gradients; runs the forward for checkpoints where the chain asks for them."""
    if chain.checkpoint_every and checkpoints is None:
        checkpoints = run(chain, backend).checkpoints
    grad_x = poisoned(*chain.x.shape, like=chain.x)
    grad_taps = poisoned(*chain.taps.shape, like=chain.taps)
    grad_bias = None if chain.bias is None else poisoned(*chain.bias.shape, like=chain.bias)
    _device.kernels(chain.x).stencil_residual_chain_backward(
        grad_y,
        grad_states,
        chain.x,
        checkpoints,
        chain.taps,
        chain.bias,
        grad_x,
        grad_taps,
        grad_bias,
        *options_of(chain, backend),
    )
    return Gradients(grad_x, grad_taps, grad_bias)


def own_trajectory(chain: Chain, backend: int = AUTO) -> list[Tensor]:
    """States u_0 .. u_T as the kernel computes them, before any is rounded to a half type."""
    every = run(chain.upcast().but(states_every=1, checkpoint_every=0), backend).states
    return [wide(chain.x), *wide(every)]


# --- comparisons ----------------------------------------------------------------------------------


def where(mask: Tensor) -> str:
    """The box that holds the True elements."""
    points = mask.nonzero()
    if not points.numel():
        return "one scalar"
    low, high = points.min(0).values.tolist(), points.max(0).values.tolist()
    box = ", ".join(str(a) if a == b else f"{a}:{b + 1}" for a, b in zip(low, high, strict=True))
    return f"{len(points)} of {mask.numel()} elements, all within [{box}] of shape {tuple(mask.shape)}"


def assert_within(actual: Tensor, expected: Tensor, bound: Tensor, what: str = "result") -> None:
    """|actual - expected| <= bound everywhere; NaN must stand where NaN is expected, inf where inf is."""
    assert actual.shape == expected.shape, (
        f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    )
    actual, expected = wide(actual), wide(expected)
    wrong = torch.isnan(actual) != torch.isnan(expected)
    assert not wrong.any(), f"{what}: NaN in the wrong places: {where(wrong)}"
    exact = (actual == expected) | torch.isnan(expected)
    error = torch.where(exact, 0.0, (actual - expected).abs())
    wrong = ~((error <= bound) | exact)
    if wrong.any():
        excess = torch.where(wrong, error / bound.clamp_min(1e-300), 0.0)
        worst = np.unravel_index(int(excess.argmax()), tuple(excess.shape) or (1,))
        raise AssertionError(
            f"{what}: error above the bound in {where(wrong)}; worst at {tuple(map(int, worst))}: "
            f"{excess.max():.3g} times the bound, |error| {error.flatten()[excess.argmax()]:.3g}, "
            f"got {actual.flatten()[excess.argmax()]:.9g}, expected {expected.flatten()[excess.argmax()]:.9g}"
        )


def bits(t: Tensor) -> Tensor:
    t = torch.view_as_real(t) if t.is_complex() else t
    return t.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[t.element_size()])


def assert_bitwise(actual: Tensor | None, expected: Tensor | None, what: str = "result") -> None:
    """The same bits, NaNs and signs of zero included."""
    if expected is None:
        assert actual is None, f"{what}: expected None"
        return
    assert actual is not None, f"{what}: got None"
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    wrong = bits(actual) != bits(expected)
    if wrong.any():
        error = (wide(actual) - wide(expected)).abs().nan_to_num(0.0).max()
        raise AssertionError(f"{what}: bits differ in {where(wrong)}, by up to {error:.3g}")


def assert_all_bitwise(
    actual: tuple[Tensor | None, ...], expected: tuple[Tensor | None, ...], what: str = ""
) -> None:
    """Field by field, for two `Forward` or two `Gradients`."""
    for name, a, e in zip(type(expected)._fields, actual, expected, strict=True):  # type: ignore[attr-defined]
        assert_bitwise(a, e, f"{what} {name}")


def check_forward(chain: Chain, backend: int = AUTO) -> Forward:
    """Run a chain and compare y, states and checkpoints with the oracle."""
    result = run(chain, backend)
    expected = trajectory(chain)
    compare_forward(chain, result, expected, forward_bounds(chain, expected))
    return result


def compare_forward(chain: Chain, result: Forward, expected: list[Tensor], bounds: list[Tensor]) -> None:
    dtype = chain.x.dtype
    if result.states is not None:
        for i, (u, b) in enumerate(
            zip(*(stored_states(s, chain.states_every, chain.steps) for s in (expected, bounds)), strict=True)
        ):
            assert_within(result.states[i], u, storage_bound(u, b, dtype), f"states[{i}]")
    if result.checkpoints is not None:
        for i, (u, b) in enumerate(
            zip(
                *(stored_states(s, chain.checkpoint_every, chain.steps - 1) for s in (expected, bounds)),
                strict=True,
            )
        ):
            assert_within(result.checkpoints[i], u, b, f"checkpoints[{i}]")
    assert_within(result.y, expected[-1], storage_bound(expected[-1], bounds[-1], dtype), "y")


def check_backward(chain: Chain, backend: int = AUTO) -> Gradients:
    """Run a chain backwards and compare every gradient with the oracle's along the kernel's trajectory."""
    grad_y, grad_states = cotangents(chain)
    result = run_backward(chain, grad_y, grad_states, backend)
    expected, bounds = gradients(chain, grad_y, grad_states, own_trajectory(chain, backend))
    compare_gradients(chain, result, expected, bounds)
    return result


def compare_gradients(chain: Chain, result: Gradients, expected: Gradients, bounds: Gradients) -> None:
    assert_within(result.x, expected.x, storage_bound(expected.x, bounds.x, chain.x.dtype), "grad_x")
    if chain.bias is not None:
        assert result.bias is not None
        assert_within(result.bias, expected.bias, bounds.bias, "grad_bias")
    taps = expected.taps if chain.taps.is_complex() else expected.taps.real
    assert_within(result.taps, taps, bounds.taps, "grad_taps")


__all__ = [name for name in dir() if not name.startswith("_")]
