"""The backward kernels: parity with oracle and autograd, adjointness, checkpoints, gates, long sums."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from .kernels import (
    ALL,
    AUTO,
    BACKENDS,
    REAL,
    REFERENCE,
    WIDTHS,
    assert_all_bitwise,
    assert_bitwise,
    assert_within,
    check_backward,
    compare_gradients,
    cotangents,
    make_chain,
    own_trajectory,
    random_chain,
    run,
    run_backward,
)
from .oracle import (
    ACTIVATIONS,
    BOUNDARIES,
    Chain,
    Gradients,
    forward_bounds,
    gradients,
    roundoff,
    single_threaded,
    trajectory,
    wide,
)

# --- parity ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths_and_heights(width: int, boundary: str) -> None:
    heights = itertools.cycle(range(1 + width % 5, 10, 2))
    dtypes = itertools.cycle(REAL if width % 2 else REAL[::-1])
    for kernel, star in [((3, 3), True), ((3, 3), False), ((5, 5), False), ((1, 7), False), ((7, 3), True)]:
        shape = (2, 2, next(heights), width)
        check_backward(make_chain(shape, kernel, 3, star=star, dtype=next(dtypes), boundary=boundary))
    for kernel in (3, 5, 7):
        check_backward(make_chain((2, 3, width), kernel, 4, dtype=next(dtypes), boundary=boundary))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("star", [False, True], ids=["full", "star"])
def test_kernels(boundary: str, star: bool) -> None:
    """Taps that are zero throughout have gradients like any other."""
    sizes = (1, 3, 5, 7)
    kernels = [(k,) for k in sizes] + list(itertools.product(sizes, sizes))
    kernels += [(3, 3, 3), (1, 3, 3), (3, 1, 1), (1, 1, 5), (5, 3, 1), (1, 7, 1), (7, 1, 3)]
    options = zip(
        itertools.cycle(REAL), itertools.cycle([False, True, True]), itertools.cycle([AUTO] * 4 + [REFERENCE])
    )
    for kernel, (dtype, shared, backend) in zip(kernels, options):  # noqa: B905  (options never end)
        shape = {1: (2, 3, 21), 2: (2, 2, 9, 18), 3: (2, 2, 5, 5, 17)}[len(kernel)]
        bias = "shared" if shared else "channel"
        chain = make_chain(
            shape, kernel, 3, star=star, dtype=dtype, shared=shared, bias=bias, boundary=boundary
        )
        check_backward(chain, backend)


@pytest.mark.parametrize("boundary", ["periodic", "replicate", "zero"])
def test_kernels_wider_than_the_grid(boundary: str) -> None:
    for n, dtype in itertools.product((1, 2, 3), REAL):
        check_backward(make_chain((2, 2, n), 7, 3, dtype=dtype, boundary=boundary))
        check_backward(make_chain((1, 2, n, n), 7, 3, dtype=dtype, boundary=boundary))
        check_backward(make_chain((1, 2, 1, n, 2), (5, 7, 5), 2, dtype=dtype, boundary=boundary))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("steps", [1, 2, 3, 27, 100])
def test_steps(steps: int, boundary: str) -> None:
    shapes = [((2, 3, 19), False), ((2, 1, 11, 19), True), ((2, 2, 11, 19), False), ((1, 1, 4, 5, 6), True)]
    for (shape, star), dtype in zip(shapes, REAL * 2, strict=True):
        if steps < 100 or dtype == torch.float32:
            check_backward(make_chain(shape, 3, steps, star=star, dtype=dtype, boundary=boundary))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", REAL)
def test_activations(activation: str, boundary: str, dtype: torch.dtype) -> None:
    slopes = (0.01, 0.0, 1.0, 2.5) if activation == "leaky_relu" else (0.01,)
    for slope, shape in itertools.product(slopes, ((2, 2, 33), (2, 2, 6, 17), (1, 2, 3, 4, 9))):
        chain = make_chain(shape, 3, 3, dtype=dtype, activation=activation, slope=slope, boundary=boundary)
        check_backward(chain)
        if len(shape) == 4:
            check_backward(chain, REFERENCE)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("bias", [None, "shared", "channel"])
@pytest.mark.parametrize("shared", [False, True], ids=["per channel", "shared"])
def test_skip_bias_and_shared_taps(bias: str | None, shared: bool, boundary: str) -> None:
    for skip, shape, dtype in [
        (1.0, (2, 3, 13), torch.float32),
        (0.0, (2, 3, 5, 17), torch.float64),
        (1 / 3, (2, 3, 5, 17), torch.float32),
    ]:
        check_backward(
            make_chain(shape, 3, 3, skip=skip, dtype=dtype, bias=bias, shared=shared, boundary=boundary)
        )


@pytest.mark.parametrize("steps", [1, 5, 27])
@pytest.mark.parametrize("every", [1, 2, 5, 27, 40])
def test_gradients_of_states(every: int, steps: int) -> None:
    for shape, dtype, boundary in [
        ((2, 2, 17), torch.float32, "zero"),
        ((2, 2, 5, 9), torch.float64, "periodic"),
        ((1, 1, 260, 270), torch.float32, "reflect"),
    ]:
        if shape[2] < 260 or steps <= 5:
            check_backward(make_chain(shape, 3, steps, dtype=dtype, states_every=every, boundary=boundary))


def test_states_may_be_stored_without_gradients_of_their_own() -> None:
    for shape in ((2, 2, 9), (1, 1, 300, 310)):
        chain = make_chain(shape, 3, 4, dtype=torch.float32, states_every=2)
        grad_y, grad_states = cotangents(chain)
        without = run_backward(chain, grad_y)
        assert_all_bitwise(without, run_backward(chain.but(states_every=0), grad_y))
        assert_all_bitwise(run_backward(chain, grad_y, torch.zeros_like(grad_states)), without)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dims", [1, 2, 3])
@single_threaded
def test_parity_with_torchs_autograd(boundary: str, dims: int) -> None:
    """No own trajectory here: torch's padding, convolution and autograd in float64 from start to end."""
    mode = {"zero": "constant", "periodic": "circular"}.get(boundary, boundary)
    conv = (functional.conv1d, functional.conv2d, functional.conv3d)[dims - 1]
    for k, activation in itertools.product((3, 5), ("relu", "tanh")):
        chain = make_chain((2, 3, *(9, 8, 11)[:dims]), k, 4, boundary=boundary, activation=activation)
        leaves = [t.clone().requires_grad_() for t in (chain.x, chain.taps, chain.bias)]
        u = leaves[0]
        for t in range(4):
            extended = functional.pad(u, [k // 2] * (2 * dims), mode=mode)
            u = getattr(torch, activation)(u + conv(extended, leaves[1][t][:, None], leaves[2][t], groups=3))
        grad_y, _ = cotangents(chain)
        expected = Gradients(*torch.autograd.grad(u, leaves, grad_y))
        states = trajectory(chain)
        _, bounds = gradients(chain, grad_y, None, states, forward_bounds(chain, states))
        compare_gradients(chain, run_backward(chain, grad_y), expected, Gradients(*(2 * b for b in bounds)))


# --- planes that leave the caches -----------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "kernel", "steps", "star"),
    [
        ((1, 1, 260, 301), 3, 6, True),
        ((1, 1, 260, 301), 3, 3, False),
        ((2, 1, 1, 300), 3, 40, True),
        ((1, 1, 4, 20_000), 3, 6, True),
        ((1, 1, 20_000, 4), 3, 4, True),
        ((1, 2, 70_000), 3, 6, False),
        ((1, 1, 16, 70, 71), 3, 2, False),
        ((1, 1, 16, 70, 71), 3, 3, True),
        ((1, 2, 64, 64), 3, 40, False),
        ((1, 1, 256, 257), 5, 2, False),
    ],
)
def test_large(shape: tuple[int, ...], kernel: int, steps: int, star: bool, boundary: str) -> None:
    check_backward(make_chain(shape, kernel, steps, dtype=torch.float32, star=star, boundary=boundary))


@pytest.mark.parametrize("boundary", ["reflect", "periodic"])
def test_very_large_against_the_reference(boundary: str) -> None:
    """700 x 900 points, 20 steps, where the oracle would be slow: the reference kernel in float64 stands in.

    The taps' l1 norm is 1, so an error grows by 16 roundings a step at most.
    """
    chain = make_chain((1, 1, 700, 900), 3, 20, star=True, activation="tanh", boundary=boundary)
    grad_y, _ = cotangents(chain)
    expected = run_backward(chain, grad_y, backend=REFERENCE)
    single = chain.but(x=chain.x.float(), taps=chain.taps.float(), bias=chain.bias.float())
    for found, dtype in (
        (run_backward(chain, grad_y), torch.float64),
        (run_backward(single, grad_y.float()), torch.float32),
    ):
        step = 16 * roundoff(dtype) * 20
        assert_within(found.x, expected.x, torch.tensor(step * grad_y.abs().max().item()), "grad_x")
        terms = grad_y.double().abs().sum().item() * chain.x.abs().max().item()
        assert_within(found.taps, expected.taps, torch.tensor(step * terms / 50), "grad_taps")
        assert_within(found.bias, expected.bias, torch.tensor(step * terms / 50), "grad_bias")


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_large_of_other_types(boundary: str) -> None:
    check_backward(make_chain((1, 1, 200, 301), 3, 3, dtype=torch.float64, star=True, boundary=boundary))
    for complex_taps in (False, True):
        options = {"dtype": torch.complex64, "complex_taps": complex_taps, "boundary": boundary}
        check_backward(make_chain((1, 1, 200, 201), 3, 2, **options))


# --- adjoint --------------------------------------------------------------------------------------


def inner(a: Tensor, b: Tensor) -> Tensor:
    return (wide(a) * wide(b).conj()).sum()


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@BACKENDS
def test_backward_is_the_adjoint_of_the_linear_chain(boundary: str, dtype: torch.dtype, backend: int) -> None:
    """<A v, w> == <v, A^T w> for the chain as a linear map of x, for every kernel."""
    small = {1: (2, 2, 8), 2: (2, 2, 7, 9), 3: (1, 2, 4, 5, 6)}
    large = {1: (1, 1, 40_000), 2: (1, 1, 200, 210), 3: (1, 1, 20, 40, 51)}
    cases = [
        (shape[len(kernel)], kernel)
        for kernel in [(1,), (3,), (7,), (3, 3), (5, 3), (1, 7), (7, 7), (3, 3, 3), (1, 3, 5)]
        for shape in (small, large)
        if shape is small or (backend == AUTO and math.prod(kernel) <= 15)
    ]
    for (shape, kernel), complex_taps in itertools.product(cases, {False, dtype.is_complex}):
        options = {"activation": "none", "boundary": boundary, "complex_taps": complex_taps}
        chain = make_chain(shape, kernel, 3, dtype=dtype, bias=None, **options)
        w, _ = cotangents(chain)
        left = inner(run(chain, backend).y, w)
        right = inner(chain.x, run_backward(chain, w, backend=backend).x)
        scale = wide(chain.x).abs().norm() * wide(w).abs().norm()
        terms = math.prod(kernel) * 3 + 4
        assert (left - right).abs() <= 4 * terms * roundoff(dtype) * scale, f"{shape} {kernel}"


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_tap_gradient_is_the_derivative_along_the_taps(boundary: str) -> None:
    """One linear step is linear in its taps too: <J dk, w> == <dk, J^T w>, to rounding."""
    for shape, kernel in (((2, 2, 9), 5), ((2, 3, 7, 9), 3), ((1, 1, 250, 300), 3), ((1, 2, 4, 5, 6), 3)):
        chain = make_chain(shape, kernel, 1, bias=None, activation="none", boundary=boundary)
        w, _ = cotangents(chain)
        direction = torch.randn_like(chain.taps)
        pushed, pulled = run(chain.but(taps=direction, skip=0.0)).y, run_backward(chain, w).taps
        scale = pushed.norm() * w.norm() + direction.norm() * pulled.norm()
        assert (inner(pushed, w) - inner(direction, pulled)).abs() <= 100 * roundoff(torch.float64) * scale


# --- checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    "shape", [(2, 2, 33), (2, 2, 9, 17), (1, 2, 4, 5, 6), (1, 1, 250, 260), (1, 1, 70_000)]
)
def test_checkpoints_change_nothing(shape: tuple[int, ...], boundary: str) -> None:
    """The trajectory is recomputed bit for bit, so grad_x has the same bits; sums may be split otherwise."""
    for steps, activation, dtype in ((9, "relu", torch.float32), (8, "silu", torch.float64)):
        if max(shape) > 200 and dtype == torch.float64:
            continue
        chain = make_chain(
            shape, 3, steps, dtype=dtype, boundary=boundary, activation=activation, states_every=3
        )
        grad_y, grad_states = cotangents(chain)
        expected, bounds = gradients(chain, grad_y, grad_states, own_trajectory(chain))
        whole = run_backward(chain, grad_y, grad_states)
        compare_gradients(chain, whole, expected, bounds)
        for k in (1, 2, 3, 5, 8, 9, 20):
            part = run_backward(chain.but(checkpoint_every=k), grad_y, grad_states)
            assert_bitwise(part.x, whole.x, f"grad_x with checkpoint_every={k}")
            compare_gradients(chain, part, expected, bounds)


def test_checkpoints_of_the_reference() -> None:
    chain = make_chain((2, 2, 9, 17), 3, 9)
    grad_y, _ = cotangents(chain)
    whole = run_backward(chain, grad_y, backend=REFERENCE)
    for k in (1, 2, 5):
        part = run_backward(chain.but(checkpoint_every=k), grad_y, backend=REFERENCE)
        assert_bitwise(part.x, whole.x)


# --- gates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "at_zero"),
    [("relu", 0.0), ("leaky_relu", 0.25), ("none", 1.0), ("tanh", 1.0), ("silu", 0.5)],
)
@BACKENDS
def test_derivative_at_zero(activation: str, at_zero: float, backend: int) -> None:
    for value, dtype, shape in itertools.product((0.0, -0.0), REAL, ((1, 1, 40), (1, 1, 260, 260))):
        x = torch.full(shape, value, dtype=dtype)
        taps = torch.zeros(1, 1, *[3] * (len(shape) - 2), dtype=dtype)
        chain = Chain(x, taps, activation=activation, slope=0.25)
        assert (run_backward(chain, torch.ones_like(x), backend=backend).x == at_zero).all()


@BACKENDS
def test_gate_of_tiny_values_is_open(backend: int) -> None:
    """A subnormal output is above zero."""
    x = torch.full((1, 1, 40), 1e-43)
    assert (run_backward(Chain(x, torch.zeros(2, 1, 3)), torch.ones_like(x), backend=backend).x == 1.0).all()


# --- sums -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 400_000), (1, 1, 600, 601), (500, 1, 28, 28), (1, 1, 60, 80, 80)])
def test_long_sums_keep_their_digits(shape: tuple[int, ...]) -> None:
    """Hundreds of thousands of terms of one sign: a float32 sum would lose three digits."""
    chain = make_chain(shape, 3, 2, dtype=torch.float32, activation="none", star=True)
    chain = chain.but(x=chain.x.abs())
    grad_y = torch.rand_like(chain.x)
    expected, bounds = gradients(chain, grad_y, None, own_trajectory(chain))
    compare_gradients(chain, run_backward(chain, grad_y), expected, bounds)


# --- random calls ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(60))
def test_random_calls(number: int) -> None:
    torch.manual_seed(number)
    check_backward(random_chain(random.Random(number)))


@settings(max_examples=60)
@given(data=st.data())
def test_any_call(data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, 3))
    chain = make_chain(
        (
            data.draw(st.integers(1, 3)),
            data.draw(st.integers(1, 3)),
            *(data.draw(st.integers(1, {1: 300, 2: 40, 3: 12}[dims])) for _ in range(dims)),
        ),
        tuple(data.draw(st.sampled_from([1, 3, 5])) for _ in range(dims)),
        data.draw(st.integers(0, 7)),
        dtype=data.draw(st.sampled_from(ALL)),
        star=data.draw(st.booleans()),
        shared=data.draw(st.booleans()),
        bias=data.draw(st.sampled_from([None, "shared", "channel"])),
        complex_taps=data.draw(st.booleans()),
        skip=data.draw(st.floats(-1, 1, width=32)),
        activation=data.draw(st.sampled_from(list(ACTIVATIONS))),
        boundary=data.draw(st.sampled_from(list(BOUNDARIES))),
        states_every=data.draw(st.integers(0, 4)),
        checkpoint_every=data.draw(st.integers(0, 4)),
    )
    check_backward(chain)
