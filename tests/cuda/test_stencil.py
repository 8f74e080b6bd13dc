"""The stencil kernels of the GPU against the float64 oracle of the CPU's tests."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from stencil.kernels import (
    ALL,
    AUTO,
    REAL,
    REFERENCE,
    compare_forward,
    compare_gradients,
    cotangents,
    make_chain,
    own_trajectory,
    run,
    run_backward,
    strided,
)
from stencil.oracle import ACTIVATIONS, BOUNDARIES, Chain, forward_bounds, gradients, trajectory


def forward(device: Any, chain: Chain, backend: int = AUTO) -> Any:
    return device.run(lambda **fields: run(Chain(**fields), backend), **vars(chain))


def check_forward(device: Any, chain: Chain, backend: int = AUTO) -> None:
    expected = trajectory(chain)
    compare_forward(chain, forward(device, chain, backend), expected, forward_bounds(chain, expected))


def check_backward(device: Any, chain: Chain, backend: int = AUTO) -> None:
    """Gradients along the device's own trajectory: a gate that closes on one side only is no error."""
    grads = cotangents(chain)
    result = device.run(
        lambda grads, **fields: run_backward(Chain(**fields), *grads, backend), grads, **vars(chain)
    )
    states = device.run(lambda **fields: own_trajectory(Chain(**fields), backend), **vars(chain))
    compare_gradients(chain, result, *gradients(chain, *grads, states))


KERNELS = [(1,), (3,), (7,), (1, 3), (5, 5), (3, 3), (3, 1, 5), (3, 3, 3)]
SPACE = {1: (13,), 2: (4, 9), 3: (3, 4, 5)}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_step_by_step(kernel: tuple[int, ...], boundary: str, device: Any) -> None:
    """Every boundary and number of axes, with dtypes, activations and options in turn."""
    shape = (2, 2, *SPACE[len(kernel)])
    for dtype, activation in itertools.islice(zip(ALL, itertools.cycle(ACTIVATIONS)), len(ALL)):
        chain = make_chain(
            shape,
            kernel,
            3,
            dtype=dtype,
            shared=dtype is torch.float64,
            bias="shared" if dtype is torch.float32 else "channel",
            complex_taps=boundary != "reflect",
            activation=activation,
            boundary=boundary,
            states_every=2 if dtype is torch.float32 else 0,
            checkpoint_every=2 if dtype is torch.float64 else 0,
        )
        check_forward(device, chain, REFERENCE)
        check_backward(device, chain, REFERENCE)


# Widths of one lane, of some, of all; ragged; heights of one warp and of several, filled or not.
SHAPES = [
    *[(1, 1, 1, 1), (3, 2, 2, 3), (5, 1, 8, 4), (2, 2, 9, 8)],
    *[(9, 1, 7, 12), (1, 1, 17, 31), (2, 1, 24, 33), (1, 1, 16, 128)],
]
STARS = pytest.mark.parametrize("star", [False, True], ids=["box", "star"])


@pytest.mark.parametrize("boundary", BOUNDARIES)
@STARS
def test_planes_in_registers(star: bool, boundary: str, device: Any) -> None:
    for shape, dtype, activation in zip(SHAPES, itertools.cycle(REAL), itertools.cycle(ACTIVATIONS)):
        chain = make_chain(shape, 3, 4, dtype=dtype, star=star, boundary=boundary, activation=activation)
        check_forward(device, chain)
        check_backward(device, chain)


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
@STARS
def test_planes_on_lanes_of_seven_rows(star: bool, boundary: str, device: Any) -> None:
    """Warps that are filled, and a last one that isn't."""
    for height, activation in ((14, "relu"), (21, "none"), (20, "relu"), (13, "tanh")):
        chain = make_chain(
            (5, 1, height, 12),
            3,
            6,
            dtype=torch.float32,
            star=star,
            boundary=boundary,
            activation=activation,
            states_every=2,
        )
        check_forward(device, chain)
        check_backward(device, chain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_memory_that_whole_vectors_do_not_fit(dtype: torch.dtype, device: Any) -> None:
    """Columns of a lane are read and written as one vector, unless the field begins or lies beside that."""
    chain = make_chain((2, 1, 9, 8), 3, 3, dtype=dtype)
    beside = torch.zeros(chain.x.numel() + 1, dtype=dtype)[1:].view(chain.x.shape).copy_(chain.x)
    rows = torch.zeros(2, 1, 9, 10, dtype=dtype)[..., :8].copy_(chain.x)
    for x in (chain.x, beside, rows):
        check_forward(device, chain.but(x=x))
        check_backward(device, chain.but(x=x))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("shape", [(1, 1, 21, 141), (1, 1, 131, 9), (1, 1, 131, 12), (1, 1, 9, 148)])
def test_planes_in_tiles(shape: tuple[int, ...], boundary: str, device: Any) -> None:
    """Larger than a block holds: tiles that overlap, four steps a launch, with and without checkpoints."""
    for dtype, every in zip(REAL, (0, 5), strict=True):
        chain = make_chain(
            shape, 3, 9, dtype=dtype, boundary=boundary, states_every=3, checkpoint_every=every
        )
        check_forward(device, chain)
        check_backward(device, chain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_options(dtype: torch.dtype, device: Any) -> None:
    """Half storage, stored states and their gradients, checkpoints, shared parameters, no steps."""
    cases = [(0, 0, 0, None), (1, 1, 1, "shared"), (13, 2, 5, "channel"), (40, 3, 0, None)]
    for steps, states, checkpoints, bias in cases:
        chain = make_chain(
            (3, 2, 10, 6),
            3,
            steps,
            dtype=dtype,
            shared=bias == "shared",
            bias=bias,
            skip=0.3,
            states_every=states,
            checkpoint_every=checkpoints,
        )
        check_forward(device, chain)
        check_backward(device, chain)


def test_long_trajectories_in_two_levels(device: Any) -> None:
    """Step by step, larger than what is kept whole: every few states first, then those between."""
    check_backward(device, make_chain((2, 1, 17_000), 3, 64, boundary="periodic"), REFERENCE)


def test_strides(device: Any) -> None:
    for kernel in (3, 5):
        chain = make_chain((2, 3, 5, 8), kernel, 2, dtype=torch.float32)
        for x in strided(chain.x).values():
            check_forward(device, chain.but(x=x))
            check_backward(device, chain.but(x=x))


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (2, 0, 4, 4), (2, 2, 0, 4), (0, 1, 5)], ids=str)
def test_empty(shape: tuple[int, ...], device: Any) -> None:
    chain = make_chain(shape, 3, 2, dtype=torch.float32)
    check_forward(device, chain)
    check_backward(device, chain)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
def test_nan_and_inf(value: float, activation: str, device: Any) -> None:
    for star, backend in [(True, AUTO), (False, AUTO), (False, REFERENCE)]:
        chain = make_chain((1, 1, 9, 12), 3, 2, dtype=torch.float32, star=star, activation=activation)
        chain.x[0, 0, 4, 5] = value
        assert_same_class(forward(device, chain, backend).y, run(chain, backend).y)


def assert_same_class(a: torch.Tensor, b: torch.Tensor) -> None:
    """NaN where NaN, infinities of the same sign where those are."""
    assert torch.equal(a.isnan(), b.isnan())
    assert torch.equal(a.isposinf(), b.isposinf())
    assert torch.equal(a.isneginf(), b.isneginf())


def test_gradients_are_the_same_in_any_order_of_threads(device: Any) -> None:
    chain = make_chain((9, 2, 10, 12), 3, 5, dtype=torch.float32)
    grads = cotangents(chain)

    def run_once(grads: Any, **fields: Any) -> Any:
        return run_backward(Chain(**fields), *grads)

    first, second = (device.run(run_once, grads, **vars(chain)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
