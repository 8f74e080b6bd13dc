"""Half types round only where a value is stored; complex fields follow complex arithmetic."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from .kernels import (
    AUTO,
    REFERENCE,
    assert_bitwise,
    assert_within,
    check_backward,
    check_forward,
    cotangents,
    make_chain,
    run,
    run_backward,
)
from .oracle import ACTIVATIONS, BOUNDARIES, HALF, Chain, forward_bounds, gradients, trajectory, wide

SHAPES = [
    ((2, 3, 31), 5),
    ((2, 2, 7, 18), 3),
    ((1, 2, 4, 5, 9), 3),
    ((1, 1, 280, 300), 3),
    ((1, 1, 140_000), 3),
]
BACKENDS = pytest.mark.parametrize("backend", [AUTO, REFERENCE], ids=["auto", "reference"])


# --- half storage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "kernel"), SHAPES)
@BACKENDS
def test_half_forward_is_the_rounded_float32_forward(
    dtype: torch.dtype, boundary: str, shape: tuple[int, ...], kernel: int, backend: int
) -> None:
    for activation, star in zip(("relu", "silu", "none"), (True, False, True), strict=True):
        if math.prod(shape) > 1000 and activation != "relu":
            continue
        chain = make_chain(
            shape,
            kernel,
            5,
            dtype=dtype,
            star=star,
            activation=activation,
            boundary=boundary,
            states_every=2,
            checkpoint_every=2,
        )
        half, single = run(chain, backend), run(chain.upcast(), backend)
        assert_bitwise(half.y, single.y.to(dtype), "y")
        assert_bitwise(half.states, single.states.to(dtype), "states")
        assert_bitwise(half.checkpoints, single.checkpoints, "checkpoints, in float32")


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "kernel"), SHAPES)
@BACKENDS
def test_half_backward_is_the_rounded_float32_backward(
    dtype: torch.dtype, boundary: str, shape: tuple[int, ...], kernel: int, backend: int
) -> None:
    """Also with a checkpoint in between: those are kept in float32."""
    for activation, every in (("relu", 0), ("tanh", 0), ("relu", 2)):
        if math.prod(shape) > 1000 and (activation != "relu" or backend == REFERENCE):
            continue
        chain = make_chain(
            shape,
            kernel,
            4,
            dtype=dtype,
            activation=activation,
            boundary=boundary,
            states_every=2,
            checkpoint_every=every,
        )
        grad_y, grad_states = cotangents(chain)
        half = run_backward(chain, grad_y, grad_states, backend)
        single = run_backward(chain.upcast(), grad_y.float(), grad_states.float(), backend)
        assert_bitwise(half.x, single.x.to(dtype), "grad_x")
        assert_bitwise(half.taps, single.taps, "grad_taps")
        assert_bitwise(half.bias, single.bias, "grad_bias")


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_half_against_the_oracle(dtype: torch.dtype, boundary: str) -> None:
    for activation, steps in itertools.product(ACTIVATIONS, (1, 4)):
        chain = make_chain(
            (2, 2, 6, 17), 3, steps, dtype=dtype, activation=activation, boundary=boundary, states_every=2
        )
        check_forward(chain)
        check_backward(chain)


@pytest.mark.parametrize("dtype", HALF)
def test_rounding_to_storage(dtype: torch.dtype) -> None:
    """Ties to even, overflow to infinity, subnormals: as torch rounds."""
    info = torch.finfo(dtype)
    exact = torch.rand(2000).to(dtype).float() * 4 - 2
    exact = exact.to(dtype).float()
    up = torch.nextafter(exact.to(dtype), torch.tensor(math.inf, dtype=dtype)).float()
    halfway = (exact + up) / 2
    edges = torch.tensor(
        [
            info.max,
            info.max * (1 + info.eps / 4),
            info.max * (1 + info.eps / 2),
            -info.max * (1 + info.eps),
            math.inf,
            -math.inf,
        ]
    )
    small = torch.tensor(
        [info.tiny, info.tiny * info.eps, info.tiny * info.eps / 2, info.tiny * info.eps * 0.51, 0.0]
    )
    values = torch.cat(
        [exact, halfway, torch.nextafter(halfway, up), torch.nextafter(halfway, exact), edges, small]
    )
    values = values[torch.isfinite(values)]
    # One times a tap is any float32 number.
    line = torch.ones(1, values.numel(), 1, dtype=dtype)
    chain = Chain(line, values.view(1, -1, 1), skip=0.0, activation="none")
    for backend in (AUTO, REFERENCE):
        assert_bitwise(run(chain, backend).y.flatten(), values.to(dtype), f"backend {backend}")


@pytest.mark.parametrize("dtype", HALF)
def test_every_half_number_is_read_right(dtype: torch.dtype) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    numbers = every[~every.isnan()]
    chain = Chain(numbers.view(1, 1, -1), torch.zeros(1, 1, 1), activation="none")
    for backend in (AUTO, REFERENCE):
        found = run(chain, backend)
        assert_bitwise(found.y.flatten() + 0.0, numbers + 0.0)
        assert run(chain.but(x=every[every.isnan()].view(1, 1, -1)), backend).y.isnan().all()


def test_state_is_kept_in_float32_between_steps() -> None:
    """Four times 2^-9 make 2^-7; from 1, bfloat16 would round each of the four steps back to 1."""
    chain = Chain(
        torch.ones(1, 1, 4, dtype=torch.bfloat16),
        torch.zeros(4, 1, 1),
        torch.full((4, 1), 2.0**-9),
        activation="none",
    )
    assert (run(chain).y.float() == 1.0078125).all()


# --- complex --------------------------------------------------------------------------------------


def complex_chain(
    shape: tuple[int, ...], kernel: int, dtype: torch.dtype, complex_taps: bool, boundary: str, **more: object
) -> Chain:
    return make_chain(shape, kernel, 3, dtype=dtype, complex_taps=complex_taps, boundary=boundary, **more)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("complex_taps", [False, True], ids=["real taps", "complex taps"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_complex_forward_and_backward(dtype: torch.dtype, complex_taps: bool, boundary: str) -> None:
    options = {"states_every": 2, "checkpoint_every": 2}
    for (shape, kernel), star in itertools.product(SHAPES[:3], (False, True)):
        chain = complex_chain(shape, kernel, dtype, complex_taps, boundary, star=star, shared=star, **options)
        for backend in (AUTO, REFERENCE):
            check_forward(chain, backend)
            check_backward(chain, backend)
    for shape, kernel in (((1, 1, 170, 200), 3), ((1, 1, 40_000), 5)):
        chain = complex_chain(shape, kernel, dtype, complex_taps, boundary, star=True, **options)
        check_forward(chain)
        check_backward(chain)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_real_taps_act_on_real_and_imaginary_part_alike(boundary: str) -> None:
    for shape, kernel in SHAPES[:4]:
        chain = complex_chain(shape, kernel, torch.complex64, False, boundary)
        states = trajectory(chain)
        y = run(chain).y
        for part, value in ((torch.real, y.real), (torch.imag, y.imag)):
            alone = run(chain.but(x=part(chain.x).contiguous())).y
            assert_within(value, alone, 2 * forward_bounds(chain, states)[-1], part.__name__)


def test_complex_taps_with_zero_imaginary_part_are_real_taps() -> None:
    chain = complex_chain((2, 2, 6, 9), 3, torch.complex128, False, "reflect")
    other = chain.but(taps=chain.taps.to(torch.complex128))
    bound = forward_bounds(chain, trajectory(chain))[-1]
    assert_within(run(other).y, run(chain).y, 2 * bound)
    grad_y, _ = cotangents(chain)
    real, full = run_backward(chain, grad_y), run_backward(other, grad_y)
    _, bounds = gradients(chain, grad_y)
    assert_within(full.x, real.x, 2 * bounds.x)
    assert_within(full.taps.real, real.taps, 2 * bounds.taps)


def test_multiplication_by_i_turns_the_field() -> None:
    x = torch.randn(1, 1, 20, dtype=torch.complex64)
    chain = Chain(x, torch.full((1, 1, 1), 1j, dtype=torch.complex64), skip=0.0, activation="none")
    assert_bitwise(run(chain).y + 0.0, torch.complex(-x.imag, x.real) + 0.0)
    back = run_backward(chain, x)
    assert_bitwise(back.x + 0.0, torch.complex(x.imag, -x.real) + 0.0)


@pytest.mark.parametrize("backend", [AUTO, REFERENCE], ids=["auto", "reference"])
def test_complex_gradients_follow_torch(backend: int) -> None:
    """dL/dRe + i dL/dIm, by autograd of torch's complex convolution."""
    chain = make_chain((2, 3, 9), 3, 1, dtype=torch.complex128, complex_taps=True, skip=0.0)
    leaves = [t.clone().requires_grad_() for t in (chain.x, chain.taps, chain.bias)]
    y = torch.nn.functional.conv1d(leaves[0], leaves[1][0][:, None], leaves[2][0], padding=1, groups=3)
    grad_y, _ = cotangents(chain)
    expected = torch.autograd.grad(y, leaves, grad_y)
    _, bounds = gradients(chain, grad_y)
    for name, found, e, bound in zip(
        "xtb", run_backward(chain, grad_y, backend=backend), expected, bounds, strict=True
    ):
        assert_within(found, e, 2 * bound, f"grad of {name}")


def test_loss_of_complex_chain_decreases_along_its_gradient() -> None:
    """The sign convention, end to end: |y|^2 grows along its gradient at the rate |gradient|^2."""
    chain = make_chain((1, 2, 8), 3, 3, dtype=torch.complex128, complex_taps=True)

    def loss(c: Chain) -> Tensor:
        return run(c).y.abs().square().sum()

    found = run_backward(chain, 2 * run(chain).y)
    for name, gradient in zip(("x", "taps", "bias"), found, strict=True):
        value, h = getattr(chain, name), 1e-6
        change = (
            loss(chain.but(**{name: value + h * gradient})) - loss(chain.but(**{name: value - h * gradient}))
        ) / (2 * h)
        assert change == pytest.approx(wide(gradient).abs().square().sum().item(), rel=1e-7)
