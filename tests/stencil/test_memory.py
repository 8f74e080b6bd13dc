"""Inputs of any strides, empty fields, and memory around the outputs: forward and backward."""

from __future__ import annotations

import itertools

import pytest
import torch

from qcore import _core

from .kernels import (
    ALL,
    AUTO,
    BACKENDS,
    REFERENCE,
    assert_all_bitwise,
    assert_bitwise,
    check_forward,
    compare_gradients,
    cotangents,
    make_chain,
    make_taps,
    own_trajectory,
    run,
    run_backward,
    strided,
)
from .oracle import BOUNDARIES, HALF, Chain, Gradients, gradients

LAYOUTS = list(strided(torch.zeros(2, 2, 2, 2)))
SHAPES = [(3, 2, 17), (2, 2, 5, 18), (2, 1, 3, 4, 5)]
GUARDED = [(2, 2, 5), (1, 1, 3, 17), (1, 1, 259, 257), (1, 1, 70_001), (1, 1, 9, 90, 91)]


# --- strides --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ALL)
def test_strides_forward(layout: str, dtype: torch.dtype) -> None:
    for shape in SHAPES:
        chain = make_chain(shape, 3, 3, dtype=dtype, complex_taps=True)
        chain = chain.but(x=strided(chain.x)[layout])
        expected = run(chain.but(x=chain.x.contiguous()))
        assert_bitwise(check_forward(chain, AUTO).y, expected.y, "strides change the bits of y")
        check_forward(chain, REFERENCE)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ALL)
def test_strides_backward(layout: str, dtype: torch.dtype) -> None:
    for shape in SHAPES:
        chain = make_chain(shape, 3, 2, dtype=dtype, complex_taps=True, states_every=1)
        grad_y, grad_states = cotangents(chain)
        chain = chain.but(x=strided(chain.x)[layout])
        grad_y, grad_states = strided(grad_y)[layout], strided(grad_states)[layout]
        contiguous = run_backward(
            chain.but(x=chain.x.contiguous()), grad_y.contiguous(), grad_states.contiguous()
        )
        assert_all_bitwise(run_backward(chain, grad_y, grad_states), contiguous)
        expected, bounds = gradients(chain, grad_y, grad_states, own_trajectory(chain))
        compare_gradients(chain, contiguous, expected, bounds)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_of_large_planes(layout: str) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.complex64):
        chain = make_chain(
            (1, 2, 270, 310), 3, 2, dtype=dtype, star=True, complex_taps=True, boundary="reflect"
        )
        chain = chain.but(x=strided(chain.x)[layout])
        contiguous = chain.but(x=chain.x.contiguous())
        assert_all_bitwise(run(chain), run(contiguous))
        grad_y = strided(cotangents(chain)[0])[layout]
        assert_all_bitwise(run_backward(chain, grad_y), run_backward(contiguous, grad_y.contiguous()))


# --- nothing at all -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        (0, 2, 5),
        (2, 0, 5),
        (2, 3, 0),
        (2, 3, 4, 0),
        (2, 3, 0, 4),
        (1, 1, 0, 0),
        (1, 2, 0, 3, 5),
        (1, 2, 3, 0, 5),
        (0, 0, 0, 0, 0),
    ],
)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@BACKENDS
def test_empty_fields(shape: tuple[int, ...], boundary: str, backend: int) -> None:
    """Empty outputs, and gradients of taps and bias that are zero, not left as they were."""
    for dtype, channels in itertools.product(ALL, {1, shape[1]}):
        compute = torch.float32 if dtype in HALF else dtype
        chain = Chain(
            torch.zeros(shape, dtype=dtype),
            make_taps(3, channels, (3,) * (len(shape) - 2)).to(compute),
            torch.ones(3, channels, dtype=compute),
            activation="none" if dtype.is_complex else "relu",
            boundary=boundary,
            states_every=1,
            checkpoint_every=2,
        )
        forward = run(chain, backend)
        assert forward.states.shape == (3, *shape)
        found = run_backward(chain, torch.zeros_like(chain.x), torch.zeros_like(forward.states), backend)
        assert found.x.shape == shape
        assert (found.taps == 0).all()
        assert (found.bias == 0).all()


@pytest.mark.parametrize("dtype", ALL)
@BACKENDS
def test_no_steps(dtype: torch.dtype, backend: int) -> None:
    """y is x, grad_x is grad_y, nothing is stored."""
    for every, shape in itertools.product((0, 2), ((2, 3, 7), (1, 1, 300, 310))):
        chain = make_chain(shape, 3, 0, dtype=dtype, states_every=every, checkpoint_every=every)
        grad_y, grad_states = cotangents(chain)
        assert_bitwise(run(chain, backend).y, chain.x)
        found = run_backward(chain, grad_y, grad_states, backend)
        assert_bitwise(found.x, grad_y)
        assert found.taps.shape[0] == 0


# --- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", GUARDED)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_forward_writes_its_outputs_only(shape: tuple[int, ...], boundary: str) -> None:
    """Outputs inside larger buffers of a known value; inputs keep their bits."""
    chain = make_chain(shape, 3, 4, dtype=torch.float32, boundary=boundary)
    n = chain.x.numel()
    inputs = (chain.x, chain.taps, chain.bias)
    copies = [t.clone() for t in inputs]
    buffers = [torch.full((n * m + 128,), 7.0) for m in (1, 4, 3)]
    y, states, checkpoints = (
        b[64:-64].view(*([m] if m > 1 else []), *shape) for b, m in zip(buffers, (1, 4, 3), strict=True)
    )
    code = list(BOUNDARIES).index(boundary)
    _core.stencil_residual_chain(*inputs, y, states, checkpoints, 1.0, 1, 0.01, code, 1, 1, 0)
    assert_bitwise(y, run(chain).y)
    for b in buffers:
        assert (b[:64] == 7).all()
        assert (b[-64:] == 7).all()
    for now, before in zip(inputs, copies, strict=True):
        assert_bitwise(now, before)


@pytest.mark.parametrize("shape", GUARDED)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_backward_writes_its_outputs_only(shape: tuple[int, ...], boundary: str) -> None:
    chain = make_chain(shape, 3, 4, dtype=torch.float32, boundary=boundary)
    grad_y, _ = cotangents(chain)
    inputs = (grad_y, chain.x, chain.taps, chain.bias)
    copies = [t.clone() for t in inputs]
    buffers = [torch.full((t.numel() + 128,), 7.0) for t in inputs[1:]]
    outputs = [b[64:-64].view(t.shape) for b, t in zip(buffers, inputs[1:], strict=True)]
    code = list(BOUNDARIES).index(boundary)
    _core.stencil_residual_chain_backward(
        grad_y, None, chain.x, None, chain.taps, chain.bias, *outputs, 1.0, 1, 0.01, code, 0, 0, 0
    )
    assert_all_bitwise(Gradients(*outputs), run_backward(chain, grad_y))
    for b in buffers:
        assert (b[:64] == 7).all()
        assert (b[-64:] == 7).all()
    for now, before in zip(inputs, copies, strict=True):
        assert_bitwise(now, before)


def test_bias_gradient_may_be_left_out() -> None:
    for shape in ((2, 2, 9, 9), (1, 1, 300, 310)):
        chain = make_chain(shape, 3, 4, dtype=torch.float32)
        grad_y, _ = cotangents(chain)
        expected = run_backward(chain, grad_y)
        grad_x, grad_taps = torch.empty_like(chain.x), torch.empty_like(chain.taps)
        _core.stencil_residual_chain_backward(
            grad_y,
            None,
            chain.x,
            None,
            chain.taps,
            chain.bias,
            grad_x,
            grad_taps,
            None,
            1.0,
            1,
            0.01,
            0,
            0,
            0,
            0,
        )
        assert_bitwise(grad_x, expected.x)
        assert_bitwise(grad_taps, expected.taps)


def test_calls_run_again_with_the_same_bits() -> None:
    """Also after calls of other shapes have left their numbers in the scratch memory."""
    chains = [
        make_chain(shape, kernel, 5, dtype=dtype, boundary=boundary)
        for shape, kernel in (
            ((3, 2, 28, 28), 3),
            ((1, 1, 300, 320), 3),
            ((2, 2, 40), 7),
            ((1, 2, 6, 7, 9), 3),
        )
        for dtype, boundary in ((torch.float32, "zero"), (torch.float64, "reflect"))
    ]
    weights = [cotangents(c)[0] for c in chains]
    first = [(run(c), run_backward(c, w)) for c, w in zip(chains, weights, strict=True)]
    for order in (range(len(chains)), reversed(range(len(chains)))):
        for i in order:
            assert_all_bitwise(run(chains[i]), first[i][0], f"call {i}")
            assert_all_bitwise(run_backward(chains[i], weights[i]), first[i][1], f"call {i}")
