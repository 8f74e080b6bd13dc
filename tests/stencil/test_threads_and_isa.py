"""The same bits for every number of threads and split of the batch; the same numbers from every ISA."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from processes import with_isa
from qcore import _core

from .kernels import (
    AUTO,
    REFERENCE,
    assert_all_bitwise,
    assert_bitwise,
    assert_within,
    compare_forward,
    compare_gradients,
    cotangents,
    make_chain,
    own_trajectory,
    run,
    run_backward,
)
from .oracle import ACTIVATIONS, BOUNDARIES, Chain, Forward, Gradients, forward_bounds, gradients, trajectory

SHAPES = [
    ((37, 3, 28, 28), 3, 9),
    ((1, 1, 28, 28), 3, 9),
    ((3, 2, 65), 5, 9),
    ((1000, 1, 9), 3, 3),
    ((2, 2, 6, 7, 8), 3, 3),
    ((1, 1, 300, 410), 3, 6),
    ((3, 2, 260, 270), 3, 2),
    ((1, 1, 7, 30_000), 3, 3),
    ((1, 1, 30_000, 5), 3, 3),
    ((1, 2, 90_000), 3, 6),
    ((1, 1, 30, 70, 71), 3, 2),
    ((1, 1, 260, 270), 7, 2),
]


# --- threads --------------------------------------------------------------------------------------


def everything(chain: Chain) -> tuple[Forward, Gradients, Gradients]:
    """Forward with states and checkpoints, backward without and with checkpoints."""
    grad_y = torch.linspace(-1, 1, chain.x.numel(), dtype=torch.float64).view(chain.x.shape).to(chain.x.dtype)
    forward = run(chain)
    grad_states = forward.states * 0.5
    without = run_backward(chain.but(checkpoint_every=0), grad_y, grad_states)
    return forward, without, run_backward(chain, grad_y, grad_states, checkpoints=forward.checkpoints)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "kernel", "steps"), SHAPES)
def test_bits_do_not_depend_on_the_threads(
    shape: tuple[int, ...], kernel: int, steps: int, boundary: str
) -> None:
    chain = make_chain(
        shape,
        kernel,
        steps,
        dtype=torch.float32,
        boundary=boundary,
        star=len(shape) == 4,
        states_every=2,
        checkpoint_every=2,
    )
    torch.set_num_threads(1)
    expected = everything(chain)
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        for name, e, f in zip(
            ("forward", "backward", "backward from checkpoints"), expected, everything(chain), strict=True
        ):
            assert_all_bitwise(f, e, f"{name}, {threads} threads:")


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.complex128]
)
@pytest.mark.parametrize("shape", [(19, 2, 28, 28), (1, 1, 220, 300)])
def test_bits_do_not_depend_on_the_threads_for_other_types(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    for complex_taps in {False, dtype.is_complex}:
        chain = make_chain(
            shape,
            3,
            4,
            dtype=dtype,
            complex_taps=complex_taps,
            shared=True,
            states_every=2,
            checkpoint_every=2,
        )
        torch.set_num_threads(1)
        expected = everything(chain)
        for threads in (2, 3):
            torch.set_num_threads(threads)
            for e, f in zip(expected, everything(chain), strict=True):
                assert_all_bitwise(f, e, f"{threads} threads:")


def test_thread_count_of_torch_is_honoured() -> None:
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        assert _core.num_threads() == threads


# --- batch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize(
    ("shape", "steps"), [((7, 3, 28, 28), 5), ((9, 2, 33), 5), ((3, 2, 4, 5, 9), 3), ((3, 2, 250, 300), 2)]
)
def test_an_image_does_not_depend_on_its_batch(
    shape: tuple[int, ...], steps: int, dtype: torch.dtype, boundary: str
) -> None:
    """Nor a channel on the other channels."""
    chain = make_chain(shape, 3, steps, dtype=dtype, boundary=boundary, complex_taps=True, states_every=1)
    grad_y, grad_states = cotangents(chain)
    y, states, _ = run(chain)
    grad_x = run_backward(chain, grad_y, grad_states).x
    for b in (slice(0, 1), slice(1, 3), slice(shape[0] - 1, None)):
        part = chain.but(x=chain.x[b])
        assert_bitwise(run(part).y, y[b], f"y of images {b}")
        assert_bitwise(run(part).states, states[:, b], f"states of images {b}")
        assert_bitwise(run_backward(part, grad_y[b], grad_states[:, b]).x, grad_x[b], f"grad_x of images {b}")
    for c in range(shape[1]):
        channel = slice(c, c + 1)
        bias = None if chain.bias is None else chain.bias[:, channel].contiguous()
        part = chain.but(x=chain.x[:, channel], taps=chain.taps[:, channel].contiguous(), bias=bias)
        assert_bitwise(run(part).y, y[:, channel], f"y of channel {c}")
        found = run_backward(part, grad_y[:, channel], grad_states[:, :, channel])
        assert_bitwise(found.x, grad_x[:, channel], f"grad_x of channel {c}")


def test_shared_taps_give_the_bits_of_taps_per_channel() -> None:
    for shape in ((3, 4, 28, 28), (1, 2, 300, 310)):
        chain = make_chain(shape, 3, 5, dtype=torch.float32, shared=True, bias="shared")
        spread = chain.but(
            taps=chain.taps.expand(-1, shape[1], -1, -1).contiguous(),
            bias=chain.bias.expand(-1, shape[1]).contiguous(),
        )
        assert_bitwise(run(chain).y, run(spread).y)
        grad_y, _ = cotangents(chain)
        one, many = run_backward(chain, grad_y), run_backward(spread, grad_y)
        assert_bitwise(one.x, many.x)
        _, bounds = gradients(chain, grad_y)
        assert_within(one.taps, many.taps.double().sum(1, keepdim=True), bounds.taps)
        assert_within(one.bias, many.bias.double().sum(1, keepdim=True), bounds.bias)


# --- instruction sets -----------------------------------------------------------------------------


def isa_suite() -> list[Chain]:
    """Every kernel, type and boundary once or more, in sizes that leave remainders for any vector width."""
    chains = []
    dtypes = itertools.cycle(
        [
            torch.float32,
            torch.float64,
            torch.float32,
            torch.bfloat16,
            torch.float16,
            torch.complex64,
            torch.complex128,
        ]
    )
    kernels = itertools.cycle([(3, True), (3, False), (5, False), (7, True), (1, False)])
    activations = itertools.cycle(ACTIVATIONS)
    small = [(3, 2, 61), (2, 2, 11, 28), (2, 3, 9, 33), (1, 2, 8, 8, 19), (2, 1, 28, 28)]
    cases = list(itertools.product(BOUNDARIES, small))
    cases += zip(
        BOUNDARIES, [(1, 1, 200, 359), (1, 1, 70_001), (1, 1, 18, 60, 70), (1, 1, 359, 200)], strict=True
    )
    for boundary, shape in cases:
        kernel, star = next(kernels)
        dtype = next(dtypes)
        chains.append(
            make_chain(
                shape,
                kernel,
                2 if len(chains) >= 20 else 6,
                dtype=dtype,
                star=star,
                activation=next(activations),
                boundary=boundary,
                complex_taps=len(chains) % 2 == 0,
                states_every=2,
            )
        )
    return chains


def isa_results() -> list[tuple[Any, ...]]:
    """What comes out of the suite in this process."""
    torch.manual_seed(0)
    found = []
    for chain in isa_suite():
        grad_y, grad_states = cotangents(chain)
        result = run_backward(chain, grad_y, grad_states)
        found.append((grad_y, grad_states, tuple(run(chain)), tuple(result), own_trajectory(chain)))
    return found


@pytest.mark.parametrize("isa", _core.isa_available())
def test_every_instruction_set_agrees_with_the_oracle(isa: str) -> None:
    """And so with every other one, and with the reference kernel."""
    found = with_isa(isa, isa_results)
    torch.manual_seed(0)
    for chain, (grad_y, grad_states, forward, backward, own) in zip(isa_suite(), found, strict=True):
        states = trajectory(chain)
        bounds = forward_bounds(chain, states)
        compare_forward(chain, Forward(*forward), states, bounds)
        reference = run(chain.upcast(), REFERENCE)
        here = run(chain.upcast(), AUTO)
        assert_within(here.y, reference.y, 2 * bounds[-1], "this process and the reference")
        expected, gradient_bounds = gradients(chain, grad_y, grad_states, own)
        compare_gradients(chain, Gradients(*backward), expected, gradient_bounds)
