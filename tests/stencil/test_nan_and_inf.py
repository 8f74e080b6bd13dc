"""NaN and infinity go where torch lets them go, and nowhere else.

One exception is documented: taps that are zero in every step and channel (off the star, for one) are left
out, where torch would multiply NaN by zero.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from .kernels import (
    AUTO,
    BACKENDS,
    REFERENCE,
    WIDTHS,
    assert_bitwise,
    assert_within,
    cotangents,
    make_chain,
    own_trajectory,
    run,
    run_backward,
)
from .oracle import ACTIVATIONS, BOUNDARIES, Chain, forward_bounds, gradients, trajectory


def check_spread(chain: Chain, place: tuple[int, ...], value: float, backend: int = AUTO) -> None:
    """NaN and inf stand where they do in the oracle; points out of reach keep their bits."""
    clean = trajectory(chain)
    bound = forward_bounds(chain, clean)[-1]
    x = chain.x.clone()
    x[(0, 0, *place)] = value
    poisoned = chain.but(x=x)
    expected = trajectory(poisoned, skip_zeros=backend == AUTO)[-1]
    reached = ~((expected == clean[-1]) | (expected.isnan() & clean[-1].isnan()))
    found = run(poisoned, backend).y
    assert_within(found, expected, torch.where(reached, 1e-4, bound), f"{value} at {place}")
    assert_bitwise(
        found.masked_fill(reached, 0.0),
        run(chain, backend).y.masked_fill(reached, 0.0),
        "points out of reach",
    )


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_spread_from_edges_and_corners(activation: str, boundary: str, value: float) -> None:
    options = {"dtype": torch.float32, "activation": activation, "boundary": boundary}
    for star, place in itertools.product((False, True), ((0, 0), (8, 18), (4, 18), (3, 9))):
        check_spread(make_chain((1, 2, 9, 19), 3, 3, star=star, **options), place, value)
    check_spread(make_chain((1, 2, 9, 19), 3, 3, star=True, **options), (4, 18), value, REFERENCE)
    check_spread(make_chain((2, 1, 37), 5, 3, **options), (36,), value)
    check_spread(make_chain((1, 1, 4, 5, 9), 3, 2, star=True, **options), (0, 4, 8), value)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("star", [False, True], ids=["full", "star"])
def test_spread_in_large_planes(star: bool, boundary: str) -> None:
    chain = make_chain((1, 1, 250, 301), 3, 3, dtype=torch.float32, star=star, boundary=boundary)
    for place, value in zip(((0, 300), (249, 0), (120, 150)), (math.nan, math.inf, -math.inf), strict=True):
        check_spread(chain, place, value)


@BACKENDS
def test_activation_of_nan_is_nan(backend: int) -> None:
    for width, activation in itertools.product(WIDTHS, ACTIVATIONS):
        chain = make_chain((1, 1, 2, width), 1, 3, dtype=torch.float32, activation=activation)
        assert run(chain.but(x=torch.full_like(chain.x, math.nan)), backend).y.isnan().all()


@BACKENDS
def test_nan_in_taps_and_bias(backend: int) -> None:
    """Every point of that channel, no point of another."""
    for shape in ((1, 2, 9, 19), (1, 2, 260, 270)):
        chain = make_chain(shape, 3, 3, dtype=torch.float32)
        taps, bias = chain.taps.clone(), chain.bias.clone()
        taps[1, 0, 1, 1] = math.nan
        bias[1, 0] = math.nan
        for poisoned in (chain.but(taps=taps), chain.but(bias=bias)):
            y = run(poisoned, backend).y
            assert y[:, 0].isnan().all()
            assert_bitwise(y[:, 1], run(chain, backend).y[:, 1])


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_overflow_gives_infinity(boundary: str) -> None:
    """The pad beyond a row must not turn 0 * inf into NaN within it."""
    for width, steps, activation in itertools.product((5, 16, 28, 33, 300), (2, 6), ("relu", "none", "silu")):
        x = torch.full((1, 1, 300 if width == 300 else 6, width), 2e38)
        chain = Chain(
            x,
            torch.full((steps, 1, 3, 3), 0.5),
            torch.ones(steps, 1),
            activation=activation,
            boundary=boundary,
        )
        assert (run(chain).y == math.inf).all()


def test_subnormals_are_kept() -> None:
    for dtype, value in (
        (torch.float32, 1e-41),
        (torch.float64, 1e-310),
        (torch.float16, 1e-7),
        (torch.bfloat16, 1e-39),
    ):
        for shape in ((1, 1, 4, 18), (1, 1, 300, 300)):
            x = torch.full(shape, value, dtype=dtype)
            taps = torch.zeros(3, 1, 3, 3, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
            assert x.all()
            assert_bitwise(run(Chain(x, taps)).y, x)
            assert_bitwise(run_backward(Chain(x, taps), x).x, x)


# --- backward -------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["none", "relu", "tanh"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("shape", [(1, 2, 9, 19), (2, 2, 40), (1, 1, 200, 340)])
def test_nan_in_grad_y(shape: tuple[int, ...], activation: str, boundary: str) -> None:
    """Autograd's gate multiplies by 0 or 1, a kernel may select: behind a closed ReLU either is right."""
    chain = make_chain(shape, 3, 2, dtype=torch.float32, activation=activation, boundary=boundary)
    grad_y, _ = cotangents(chain)
    opened = [tuple(p) for p in (run(chain).y[0, 0] > 0).nonzero().tolist()]
    clean, own = run_backward(chain, grad_y), own_trajectory(chain)
    for place in (opened[0], opened[-1]):
        poisoned = grad_y.clone()
        poisoned[(0, 0, *place)] = math.nan
        found = run_backward(chain, poisoned)
        expected, _ = gradients(chain, poisoned, None, own)
        nan = expected.x.isnan()
        if activation == "relu":
            assert not (found.x.isnan() & ~nan).any()
        else:
            assert torch.equal(found.x.isnan(), nan)
        assert_bitwise(found.x.masked_fill(nan, 0.0), clean.x.masked_fill(nan, 0.0), "points out of reach")
        assert found.bias[-1, 0].isnan()
        assert found.taps[-1, 0, 1].isnan().any()
        if shape[1] == 2:
            assert_bitwise(found.taps[:, 1], clean.taps[:, 1])
            assert_bitwise(found.bias[:, 1], clean.bias[:, 1])


@BACKENDS
def test_nan_in_x(backend: int) -> None:
    """relu'(NaN) is what torch says it is, and the gradients of what read the NaN are NaN."""
    values = [1.0, math.nan, -1.0, 2.0, 0.0] * 9
    for activation in ACTIVATIONS:
        x = torch.tensor(values, requires_grad=True)
        functions = {
            "none": lambda z: z * 1.0,
            "silu": torch.nn.functional.silu,
            "leaky_relu": torch.nn.functional.leaky_relu,
        }
        functions.get(activation, getattr(torch, activation, None))(x).backward(torch.ones_like(x))
        chain = Chain(x.detach().view(1, 1, -1), torch.zeros(1, 1, 1), activation=activation)
        found = run_backward(chain, torch.ones(1, 1, len(values)), backend=backend)
        assert_within(found.x.flatten(), x.grad, torch.tensor(1e-6), activation)
        assert found.taps.isnan().all()


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_gradients(value: float) -> None:
    chain = make_chain((1, 1, 9, 19), 3, 1, dtype=torch.float32, activation="none")
    grad_y, _ = cotangents(chain)
    grad_y[0, 0, 0, 18] = value
    for backend in (AUTO, REFERENCE):
        found = run_backward(chain, grad_y, backend=backend)
        expected, bounds = gradients(chain, grad_y)
        assert_within(found.bias, expected.bias, bounds.bias)
        finite = expected.x.isfinite()
        assert torch.equal(found.x.isfinite(), finite)
        assert (found.x[~finite] == expected.x[~finite].float()).all()
