"""The oracle, its bounds and the comparisons that the kernel tests stand on."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from .kernels import (
    assert_bitwise,
    assert_within,
    compare_forward,
    cotangents,
    make_chain,
)
from .oracle import (
    ACTIVATIONS,
    BOUNDARIES,
    Chain,
    Forward,
    activate,
    correlate,
    forward_bounds,
    gradients,
    merged_taps,
    per_channel,
    source_map,
    trajectory,
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Many small torch operations: the conftest puts the number of threads back."""
    torch.set_num_threads(1)


PAD_MODES = {"periodic": "circular", "reflect": "reflect", "replicate": "replicate"}


def conv_step(u: Tensor, merged: Tensor, bias: Tensor | None, boundary: str) -> Tensor:
    """One pre-activation with torch's own padding and depthwise convolution."""
    channels, kernel = u.shape[1], merged.shape[1:]
    weight = merged.expand(channels, *kernel)[:, None].to(u.dtype)
    pad = [k // 2 for k in reversed(kernel) for _ in range(2)]
    extended = (
        functional.pad(u, pad) if boundary == "zero" else functional.pad(u, pad, mode=PAD_MODES[boundary])
    )
    conv = (functional.conv1d, functional.conv2d, functional.conv3d)[len(kernel) - 1]
    return conv(
        extended, weight, None if bias is None else bias.expand(channels).to(u.dtype), groups=channels
    )


def conv_chain(chain: Chain, dtype: torch.dtype = torch.float64) -> Tensor:
    u = chain.x.to(dtype)
    taps = merged_taps(chain, chain.taps).to(dtype)
    for t in range(chain.steps):
        bias = None if chain.bias is None else chain.bias[t].to(dtype)
        u = activate(conv_step(u, taps[t], bias, chain.boundary), chain.activation, chain.slope)
    return u


# --- the oracle is right --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["periodic", "reflect", "replicate"])
def test_source_map_is_torchs_padding(mode: str) -> None:
    for n, radius in itertools.product(range(1, 8), range(4)):
        if (radius >= n and mode == "reflect") or radius > n:
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
def test_trajectory_is_torchs_convolution(
    shape: tuple[int, ...], kernel: tuple[int, ...], boundary: str
) -> None:
    for activation, bias, shared in itertools.product(
        ACTIVATIONS, (None, "shared", "channel"), (False, True)
    ):
        chain = make_chain(
            shape, kernel, 3, activation=activation, bias=bias, shared=shared, boundary=boundary, skip=0.7
        )
        torch.testing.assert_close(trajectory(chain)[-1], conv_chain(chain), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_autograds_of_torchs_convolution(activation: str, boundary: str) -> None:
    chain = make_chain((2, 3, 6, 7), (3, 5), 4, activation=activation, boundary=boundary)
    leaves = [t.clone().requires_grad_() for t in (chain.x, chain.taps, chain.bias)]
    grad_y, _ = cotangents(chain)
    expected = torch.autograd.grad(
        conv_chain(chain.but(x=leaves[0], taps=leaves[1], bias=leaves[2])), leaves, grad_y
    )
    found, _ = gradients(chain, grad_y)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_gradients_of_states_add_up() -> None:
    chain = make_chain((2, 2, 9), 3, 5, states_every=2, activation="tanh")
    grad_y, grad_states = cotangents(chain)
    x = chain.x.clone().requires_grad_()
    u, loss = x, torch.zeros((), dtype=torch.float64)
    for t in range(5):
        u = torch.tanh(
            correlate(u, merged_taps(chain, chain.taps)[t], "zero") + per_channel(chain.bias[t], chain)
        )
        if t in (1, 3):
            loss = loss + (u * grad_states[t // 2]).sum()
    (expected,) = torch.autograd.grad(loss + (u * grad_y).sum(), x)
    torch.testing.assert_close(gradients(chain, grad_y, grad_states)[0].x, expected, rtol=1e-12, atol=1e-13)


# --- the data and the bounds are of use -----------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("steps", [1, 2, 4, 27, 100])
def test_chains_stay_alive_and_bounds_stay_small(activation: str, steps: int) -> None:
    """Neither signal nor gradient may vanish, or a bound relative to the input would let anything pass."""
    for boundary, channels in (("zero", 1), ("periodic", 3), ("reflect", 1)):
        if (steps == 100 and channels > 1) or (activation == "silu" and steps > 4):
            continue  # silu halves small values: what is left after many steps says little
        chain = make_chain(
            (2, channels, 9, 17), 3, steps, dtype=torch.float32, activation=activation, boundary=boundary
        )
        states = trajectory(chain)
        bound, level = forward_bounds(chain, states)[-1].max(), states[-1].abs().max()
        grads, bounds = gradients(chain, cotangents(chain)[0])
        if activation == "relu":  # gates of both kinds in every step
            assert all(0.1 < (u == 0).double().mean() < 0.6 for u in states[1:])
        assert bounds.x.max() < 1e-5 * (steps + 20) * grads.x.abs().max()
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
        compare_forward(
            chain, Forward(conv_chain(chain, dtype), None, None), states, forward_bounds(chain, states)
        )


# --- the comparisons ------------------------------------------------------------------------------


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
