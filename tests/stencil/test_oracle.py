"""The oracle and the comparisons themselves: right ones pass, and every mutant that a kernel might be is caught."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from .kernels import (
    assert_bitwise,
    assert_within,
    compare_forward,
    compare_gradients,
    cotangents,
    make_chain,
    star_mask,
)
from .oracle import (
    ACTIVATIONS,
    BOUNDARIES,
    Chain,
    Forward,
    Gradients,
    activate,
    correlate,
    forward_bounds,
    gradients,
    merged_taps,
    per_channel,
    source_map,
    stored_states,
    trajectory,
    vjp,
    wide,
)

PAD_MODES = {"periodic": "circular", "reflect": "reflect", "replicate": "replicate"}


def conv_step(u: Tensor, merged: Tensor, bias: Tensor | None, boundary: str) -> Tensor:
    """One pre-activation with torch's own padding and depthwise convolution."""
    channels, kernel = u.shape[1], merged.shape[1:]
    weight = merged.expand(channels, *kernel)[:, None].to(u.dtype)
    pad = [k // 2 for k in reversed(kernel) for _ in range(2)]
    extended = functional.pad(u, pad) if boundary == "zero" else functional.pad(u, pad, mode=PAD_MODES[boundary])
    conv = (functional.conv1d, functional.conv2d, functional.conv3d)[len(kernel) - 1]
    return conv(extended, weight, None if bias is None else bias.expand(channels).to(u.dtype), groups=channels)


def conv_chain(chain: Chain, dtype: torch.dtype = torch.float64) -> Tensor:
    u = chain.x.to(dtype)
    taps = merged_taps(chain, chain.taps).to(dtype)
    for t in range(chain.steps):
        bias = None if chain.bias is None else chain.bias[t].to(dtype)
        u = activate(conv_step(u, taps[t], bias, chain.boundary), chain.activation, chain.slope)
    return u


# --- the oracle is right -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["periodic", "reflect", "replicate"])
def test_source_map_is_torchs_padding(mode: str) -> None:
    for n, radius in itertools.product(range(1, 8), range(4)):
        if radius >= n and mode == "reflect" or radius > n:
            continue
        line = torch.arange(n, dtype=torch.float64).view(1, 1, n)
        expected = functional.pad(line, (radius, radius), mode=PAD_MODES[mode]).flatten().long()
        assert torch.equal(source_map(n, radius, mode), expected)


def test_source_map_beyond_torchs_padding() -> None:
    assert source_map(2, 3, "periodic").tolist() == [1, 0, 1, 0, 1, 0, 1, 0]
    assert source_map(1, 3, "replicate").tolist() == [0] * 7
    assert source_map(2, 3, "zero").tolist() == [2, 2, 2, 0, 1, 2, 2, 2]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "kernel"),
    [((2, 3, 9), (5,)), ((2, 2, 7, 6), (3, 3)), ((1, 3, 8, 9), (7, 1)), ((2, 1, 5, 6, 7), (3, 1, 5))],
)
def test_trajectory_is_torchs_convolution(shape: tuple[int, ...], kernel: tuple[int, ...], boundary: str) -> None:
    for activation, bias, shared in itertools.product(ACTIVATIONS, (None, "shared", "channel"), (False, True)):
        chain = make_chain(shape, kernel, 3, activation=activation, bias=bias, shared=shared, boundary=boundary, skip=0.7)
        torch.testing.assert_close(trajectory(chain)[-1], conv_chain(chain), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_autograds_of_torchs_convolution(activation: str, boundary: str) -> None:
    chain = make_chain((2, 3, 6, 7), (3, 5), 4, activation=activation, boundary=boundary)
    leaves = [t.clone().requires_grad_() for t in (chain.x, chain.taps, chain.bias)]
    grad_y, _ = cotangents(chain)
    expected = torch.autograd.grad(conv_chain(chain.but(x=leaves[0], taps=leaves[1], bias=leaves[2])), leaves, grad_y)
    found, _ = gradients(chain, grad_y)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_gradients_of_states_add_up() -> None:
    chain = make_chain((2, 2, 9), 3, 5, states_every=2, activation="tanh")
    grad_y, grad_states = cotangents(chain)
    x = chain.x.clone().requires_grad_()
    u, loss = x, torch.zeros((), dtype=torch.float64)
    for t in range(5):
        u = torch.tanh(correlate(u, merged_taps(chain, chain.taps)[t], "zero") + per_channel(chain.bias[t], chain))
        if t in (1, 3):
            loss = loss + (u * grad_states[t // 2]).sum()
    (expected,) = torch.autograd.grad(loss + (u * grad_y).sum(), x)
    torch.testing.assert_close(gradients(chain, grad_y, grad_states)[0].x, expected, rtol=1e-12, atol=1e-13)


# --- the data and the bounds are of use ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("steps", [1, 2, 4, 27, 100])
def test_chains_stay_alive_and_bounds_stay_small(activation: str, steps: int) -> None:
    """Neither the signal nor the gradient may vanish, or a bound that is relative to the input would let anything pass."""
    for boundary, channels in (("zero", 1), ("periodic", 3), ("reflect", 1)):
        chain = make_chain((2, channels, 9, 17), 3, steps, dtype=torch.float32, activation=activation, boundary=boundary)
        states = trajectory(chain)
        bound, level = forward_bounds(chain, states)[-1].max(), states[-1].abs().max()
        grads, bounds = gradients(chain, cotangents(chain)[0])
        if activation == "relu":  # gates of both kinds in every step
            assert all(0.1 < (u == 0).double().mean() < 0.6 for u in states[1:])
        assert bounds.x.max() < 1e-5 * (steps + 20) * grads.x.abs().max()
        if activation == "silu" and steps > 4:
            continue  # silu halves small values: what is left after many steps says little
        assert grads.x.abs().max() > 0.1
        assert bounds.taps.max() < 1e-4 * (steps + 20) * grads.taps.abs().max()
        assert level > 0.03
        assert bound < 6e-6 * (steps + 20) * level


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds_hold_for_a_right_implementation(boundary: str, dtype: torch.dtype) -> None:
    for activation, steps in itertools.product(ACTIVATIONS, (1, 5, 27)):
        chain = make_chain((2, 2, 9, 12), 3, steps, dtype=dtype, activation=activation, boundary=boundary)
        states = trajectory(chain)
        compare_forward(chain, Forward(conv_chain(chain, dtype), None, None), states, forward_bounds(chain, states))


# --- forward mutants -------------------------------------------------------------------------------------------------------------


def evolve(chain: Chain, step: Callable[[Tensor, int, Tensor], Tensor] | None = None, steps: int | None = None) -> Tensor:
    """The oracle's chain with `step(u, t, right result)` between the steps."""
    u = wide(chain.x)
    taps = merged_taps(chain, wide(chain.taps))
    for t in range(chain.steps if steps is None else steps):
        z = correlate(u, taps[t], chain.boundary) + per_channel(wide(chain.bias)[t], chain)
        new = activate(z, chain.activation, chain.slope)
        u = new if step is None else step(u, t, new)
    return u


def stale_halo(chain: Chain) -> Tensor:
    """Zero boundary whose pad column right of the grid is not zeroed again after the first step."""
    u = functional.pad(wide(chain.x), (0, 1))
    wider = chain.but(x=u)
    return evolve(wider)[..., :-1]


def symmetric(chain: Chain) -> Tensor:
    """Reflect that repeats the edge point."""
    wider = chain.but(x=wide(chain.x), boundary="replicate")
    return evolve(wider)


FORWARD_MUTANTS: dict[str, Callable[[Chain], Tensor]] = {
    "true convolution": lambda c: evolve(c.but(taps=c.taps.flip(2, 3))),
    "axes exchanged": lambda c: evolve(c.but(taps=c.taps.transpose(2, 3).contiguous())),
    "mirrored rows": lambda c: evolve(c.but(taps=c.taps.flip(2))),
    "no skip in the last step": lambda c: evolve(
        c, lambda u, t, new: activate(correlate(u, wide(c.taps)[t], c.boundary), "relu", 0) if t == c.steps - 1 else new
    ),
    "one step too few": lambda c: evolve(c, steps=c.steps - 1),
    "steps in the wrong order": lambda c: evolve(c.but(taps=c.taps.flip(0))),
    "bias of another step": lambda c: evolve(c.but(bias=c.bias.roll(1, 0))),
    "bias of another channel": lambda c: evolve(c.but(bias=c.bias.roll(1, 1))),
    "taps of another channel": lambda c: evolve(c.but(taps=c.taps.roll(1, 1))),
    "taps of the first channel for all": lambda c: evolve(c.but(taps=c.taps[:, :1])),
    "activation forgotten once": lambda c: evolve(c.but(activation="none"), lambda u, t, new: new if t == 2 else new.relu()),
    "bfloat16 between steps": lambda c: evolve(c, lambda u, t, new: new.bfloat16().double()),
    "float16 between steps": lambda c: evolve(c, lambda u, t, new: new.half().double()),
    "15 bits between steps": lambda c: evolve(c, lambda u, t, new: (new * 2**15).round() / 2**15),
    "last column left from the step before": lambda c: evolve(
        c, lambda u, t, new: torch.cat([new[..., :-1], u[..., -1:]], -1) if t == c.steps - 1 else new
    ),
    "last row not written": lambda c: evolve(c).index_fill(2, torch.tensor([c.x.shape[2] - 1]), math.nan),
    "one point off by 1e-4": lambda c: evolve(c).index_put(
        tuple(torch.tensor(i) for i in (1, 1, 3, 4)), torch.tensor(1e-4, dtype=torch.float64), accumulate=True
    ),
    "images exchanged": lambda c: evolve(c).flip(0),
    "halo not zeroed again": stale_halo,
    "edge value in place of zero": symmetric,
    **{f"boundary {b}": (lambda b: lambda c: evolve(c.but(boundary=b)))(b) for b in BOUNDARIES},
}


@pytest.mark.parametrize("mutant", FORWARD_MUTANTS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("steps", [4, 27])
def test_forward_mutants_are_caught(mutant: str, boundary: str, steps: int) -> None:
    if mutant == f"boundary {boundary}" or (mutant == "edge value in place of zero" and boundary == "replicate"):
        mutate = evolve  # the right one
    elif mutant == "halo not zeroed again" and boundary != "zero":
        mutate = FORWARD_MUTANTS["boundary zero"]
    else:
        mutate = FORWARD_MUTANTS[mutant]
    chain = make_chain((2, 3, 8, 9), 3, steps, dtype=torch.float32, boundary=boundary)
    states = trajectory(chain)
    bounds = forward_bounds(chain, states)
    compare_forward(chain, Forward(evolve(chain).float(), None, None), states, bounds)
    if mutate is evolve:
        return
    with pytest.raises(AssertionError, match=r"y: (error above|NaN)"):
        compare_forward(chain, Forward(mutate(chain).float(), None, None), states, bounds)


def test_wrong_states_and_checkpoints_are_caught() -> None:
    chain = make_chain((2, 2, 8, 9), 3, 6, dtype=torch.float32, states_every=2, checkpoint_every=2)
    expected = trajectory(chain)
    bounds = forward_bounds(chain, expected)
    y = expected[-1].float()
    states = torch.stack(stored_states(expected, 2, 6)).float()
    checkpoints = torch.stack(stored_states(expected, 2, 5)).float()
    compare_forward(chain, Forward(y, states, checkpoints), expected, bounds)
    late = torch.stack(expected[1:6:2]).float()
    with pytest.raises(AssertionError, match="states"):
        compare_forward(chain, Forward(y, late, checkpoints), expected, bounds)
    with pytest.raises(AssertionError, match="checkpoints"):
        compare_forward(chain, Forward(y, states, late[:2]), expected, bounds)
    with pytest.raises(ValueError, match="zip"):
        states_too_few = chain.but(states_every=2, checkpoint_every=0)
        compare_forward(states_too_few, Forward(y, states, None), expected[:-2], bounds)


# --- backward mutants --------------------------------------------------------------------------------------------------------------


def plain_backward(chain: Chain, grad_y: Tensor, grad_states: Tensor | None, states: list[Tensor], bug: str = "") -> Gradients:
    """The recursion of the backward pass by hand, with one bug of those below."""
    taps = merged_taps(chain, wide(chain.taps))
    g = wide(grad_y)
    grad_taps = torch.zeros_like(taps)
    grad_bias = torch.zeros(chain.steps, taps.shape[1] if chain.bias is None else chain.bias.shape[1], dtype=taps.dtype)
    every = chain.states_every
    for t in reversed(range(chain.steps)):
        if grad_states is not None and bug != "states not added" and (t + (bug != "states one step late")) % every == 0:
            g = g + wide(grad_states)[min((t + 1) // every, len(grad_states)) - 1]
        closed = chain.slope if chain.activation == "leaky_relu" else 0.0
        gate_of = states[t] if bug == "gate of the state before" else states[t + 1]
        opened = gate_of.real >= 0 if bug == "gate open at zero" else gate_of.real > 0
        if chain.activation != "none" and not (bug == "no gate in the last step" and t == chain.steps - 1):
            g = torch.where(opened, g, closed * g)
        boundary = chain.boundary
        _, sums = vjp(states[t], taps[t], "zero" if bug == "tap sums read zeros beyond the edge" else boundary, g)
        if bug == "corners left out":
            sums = sums * star_mask(taps.shape[2:])
        if bug == "one row left out of the sums":
            sums = vjp(states[t], taps[t], boundary, g.index_fill(2, torch.tensor([3]), 0.0))[1]
        grad_taps[t] = sums
        per_image = g[:-1] if bug == "last image left out of the bias" else g
        summed = per_image.sum(dim=(0, *range(2, g.ndim)))
        grad_bias[t] = summed if grad_bias.shape[1] == summed.shape[0] else summed.sum()
        if bug == "taps not flipped":
            g = correlate(g, taps[t], boundary)
        elif bug == "edges not folded":
            g = correlate(g, taps[t].flip(*range(1, taps.ndim - 1)), boundary)
        elif bug == "edges cut off":
            g = correlate(g, taps[t].flip(*range(1, taps.ndim - 1)), "zero")
        elif bug == "taps not conjugated":
            g = vjp(states[t], taps[t].conj().resolve_conj(), boundary, g)[0]
        else:
            g = vjp(states[t], taps[t], boundary, g)[0]
        if bug == "bfloat16 between steps":
            g = g.bfloat16().double()
    return Gradients(g, grad_taps, None if chain.bias is None else grad_bias)


BACKWARD_BUGS = [
    "states not added",
    "states one step late",
    "gate of the state before",
    "no gate in the last step",
    "tap sums read zeros beyond the edge",
    "corners left out",
    "one row left out of the sums",
    "last image left out of the bias",
    "taps not flipped",
    "edges not folded",
    "edges cut off",
    "bfloat16 between steps",
]


def narrowed(g: Gradients) -> Gradients:
    return Gradients(*(None if t is None else t.to(torch.complex64 if t.is_complex() else torch.float32) for t in g))


@pytest.mark.parametrize("bug", BACKWARD_BUGS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("steps", [4, 12])
def test_backward_mutants_are_caught(bug: str, boundary: str, steps: int) -> None:
    if (bug in ("tap sums read zeros beyond the edge", "edges cut off") and boundary == "zero") or (
        bug == "edges not folded" and boundary in ("zero", "periodic")
    ):
        bug = ""  # right there
    chain = make_chain((2, 3, 8, 9), 3, steps, dtype=torch.float32, star=True, boundary=boundary, states_every=2)
    grad_y, grad_states = cotangents(chain)
    states = trajectory(chain)
    expected, bounds = gradients(chain, grad_y, grad_states, states)
    compare_gradients(chain, narrowed(plain_backward(chain, grad_y, grad_states, states)), expected, bounds)
    if bug:
        with pytest.raises(AssertionError, match="grad_"):
            compare_gradients(chain, narrowed(plain_backward(chain, grad_y, grad_states, states, bug)), expected, bounds)


def test_gate_open_at_zero_is_caught() -> None:
    """A zero pre-activation has gradient 0: dead regions have plenty of them."""
    chain = make_chain((1, 1, 12, 12), 3, 2, dtype=torch.float32, bias=None)
    chain = chain.but(x=chain.x.index_fill(2, torch.arange(6), 0.0))
    grad_y, _ = cotangents(chain)
    expected, bounds = gradients(chain, grad_y)
    compare_gradients(chain, narrowed(plain_backward(chain, grad_y, None, trajectory(chain))), expected, bounds)
    with pytest.raises(AssertionError, match="grad_x"):
        mutant = plain_backward(chain, grad_y, None, trajectory(chain), "gate open at zero")
        compare_gradients(chain, narrowed(mutant), expected, bounds)


def test_missing_conjugate_is_caught() -> None:
    chain = make_chain((2, 2, 11), 3, 3, dtype=torch.complex64, complex_taps=True)
    grad_y, _ = cotangents(chain)
    expected, bounds = gradients(chain, grad_y)
    states = trajectory(chain)
    compare_gradients(chain, narrowed(plain_backward(chain, grad_y, None, states)), expected, bounds)
    with pytest.raises(AssertionError, match="grad_x"):
        mutant = plain_backward(chain, grad_y, None, states, "taps not conjugated")
        compare_gradients(chain, narrowed(mutant), expected, bounds)


def test_long_sums_in_float32_are_caught() -> None:
    chain = make_chain((1, 1, 300_000), 3, 1, dtype=torch.float32, activation="none")
    grad_y = torch.rand_like(chain.x)
    expected, bounds = gradients(chain, grad_y)
    right = narrowed(plain_backward(chain, grad_y, None, trajectory(chain)))
    compare_gradients(chain, right, expected, bounds)
    one_by_one = torch.from_numpy(np.cumsum(grad_y.numpy().ravel(), dtype=np.float32)[-1:]).view(1, 1)
    with pytest.raises(AssertionError, match="grad_bias"):
        compare_gradients(chain, right._replace(bias=one_by_one), expected, bounds)


# --- the comparisons -----------------------------------------------------------------------------------------------------------------


def test_assert_within() -> None:
    expected = torch.tensor([1.0, math.nan, math.inf, -math.inf])
    bound = torch.full((4,), 0.1)
    assert_within(torch.tensor([1.05, math.nan, math.inf, -math.inf]), expected, bound)
    for wrong in (
        [1.2, math.nan, math.inf, -math.inf],
        [math.nan, math.nan, math.inf, -math.inf],
        [1.0, 0.0, math.inf, -math.inf],
        [1.0, math.nan, -math.inf, -math.inf],
        [1.0, math.nan, 3e38, -math.inf],
        [math.inf, math.nan, math.inf, -math.inf],
    ):
        with pytest.raises(AssertionError):
            assert_within(torch.tensor(wrong), expected, bound)
    with pytest.raises(AssertionError, match="shape"):
        assert_within(expected[:2], expected, bound)
    with pytest.raises(AssertionError, match=r"1 of 4 .*\[1\]"):
        assert_within(torch.tensor([0.0, 1.0, 0.0, 0.0]), torch.zeros(4), bound)


def test_assert_bitwise() -> None:
    a = torch.tensor([0.0, math.nan, 1.0])
    assert_bitwise(a, a.clone())
    assert_bitwise(None, None)
    for wrong in ([-0.0, math.nan, 1.0], [0.0, 0.0, 1.0], [0.0, math.nan, 1.0 + 1.2e-7]):
        with pytest.raises(AssertionError, match="bits differ in 1 of 3"):
            assert_bitwise(torch.tensor(wrong), a)
    for wrong in (a.double(), a[:2], None):
        with pytest.raises(AssertionError):
            assert_bitwise(wrong, a)
    with pytest.raises(AssertionError):
        assert_bitwise(a, None)
    assert_bitwise(torch.tensor([1 + 2j]), torch.tensor([1 + 2j]))
    with pytest.raises(AssertionError):
        assert_bitwise(torch.tensor([1 - 2j]), torch.tensor([1 + 2j]))
