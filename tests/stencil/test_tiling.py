"""However a large plane is cut, into blocks of steps, strips, bands or pieces: the same bits, the right ones.

Sizes leave one thread's cache and fall on both sides of the places where tiles begin and end.
"""

from __future__ import annotations

import itertools

import pytest
import torch

from .kernels import (
    AUTO,
    assert_all_bitwise,
    assert_bitwise,
    assert_within,
    check_backward,
    check_forward,
    cotangents,
    make_chain,
    run,
    run_backward,
)
from .oracle import BOUNDARIES, HALF, Chain, forward_bounds, trajectory

PLANE = (1, 1, 250, 262)
LONG = 40  # steps: more than any kernel goes through at once


def part_of(chain: Chain, x: torch.Tensor, first: int, last: int) -> Chain:
    """Steps first .. last - 1 of a chain, on x, storing nothing."""
    bias = None if chain.bias is None else chain.bias[first:last].contiguous()
    return chain.but(
        x=x, taps=chain.taps[first:last].contiguous(), bias=bias, states_every=0, checkpoint_every=0
    )


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "kernel", "dtype", "complex_taps"),
    [
        (PLANE, 3, torch.float32, False),
        (PLANE, 7, torch.float32, False),
        ((1, 1, 180, 190), 3, torch.float64, False),
        ((1, 1, 250, 262), 3, torch.complex64, False),
        (PLANE, 3, torch.complex64, True),
        ((1, 1, 70_000), 3, torch.float32, False),
        ((1, 1, 17, 62, 64), 3, torch.float32, False),
        ((2, 2, 40, 44), 3, torch.float32, False),
    ],
)
def test_long_chains_are_short_ones_in_a_row(
    shape: tuple[int, ...], kernel: int, dtype: torch.dtype, complex_taps: bool, boundary: str
) -> None:
    """To the last bit, for y and grad_x, whatever else is stored on the way."""
    steps = LONG if kernel == 3 and len(shape) < 5 else 12
    chain = make_chain(
        shape, kernel, steps, dtype=dtype, star=True, complex_taps=complex_taps, boundary=boundary
    )
    whole, u, places = run(chain).y, chain.x, [0, 1, 12, LONG]
    between = [u]
    for first, last in itertools.pairwise([p for p in places if p <= steps]):
        u = run(part_of(chain, u, first, last)).y
        between.append(u)
    assert_bitwise(whole, u, "y in parts")
    for k in (9, 32, 33):
        stored = run(chain.but(checkpoint_every=k, states_every=k))
        assert_bitwise(stored.y, whole, f"y with checkpoint_every={k}")
        assert_bitwise(stored.checkpoints, stored.states[: chain.but(checkpoint_every=k).n_checkpoints])
    grad_y, _ = cotangents(chain)
    g = grad_y
    used = [p for p in places if p <= steps]
    for (first, last), x in reversed(list(zip(itertools.pairwise(used), between[:-1], strict=True))):
        g = run_backward(part_of(chain, x, first, last), g).x
    for k in (0, 4, 17):
        assert_bitwise(
            run_backward(chain.but(checkpoint_every=k), grad_y).x, g, f"grad_x, checkpoint_every={k}"
        )


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("shape", [(2, 1, 250, 262), (1, 1, 70_000), (1, 1, 17, 62, 64)])
def test_half_storage_never_rounds_between_blocks(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    for every in (0, 4, 33):
        chain = make_chain(
            shape,
            3,
            LONG,
            dtype=dtype,
            star=True,
            states_every=13,
            checkpoint_every=every,
            activation="leaky_relu",
        )
        half, single = run(chain), run(chain.upcast())
        assert_bitwise(half.y, single.y.to(dtype), f"y, checkpoint_every={every}")
        assert_bitwise(half.states, single.states.to(dtype))
        assert_bitwise(half.checkpoints, single.checkpoints)
        grad_y, grad_states = cotangents(chain)
        back = run_backward(chain, grad_y, grad_states, AUTO, half.checkpoints)
        expected = run_backward(chain.upcast(), grad_y.float(), grad_states.float(), AUTO, half.checkpoints)
        assert_bitwise(back.x, expected.x.to(dtype), f"grad_x, checkpoint_every={every}")
        assert_bitwise(back.taps, expected.taps)


def test_complex_field_with_real_taps_is_two_real_fields_however_long() -> None:
    chain = make_chain((2, 2, 250, 262), 3, LONG, dtype=torch.complex64, star=True)
    states = trajectory(chain.but(x=chain.x[:1, :1], taps=chain.taps[:, :1]))
    bound = 2 * forward_bounds(chain.but(x=chain.x[:1, :1], taps=chain.taps[:, :1]), states)[-1].max()
    y = run(chain).y
    assert_within(y.real, run(chain.but(x=chain.x.real)).y, bound)
    assert_within(y.imag, run(chain.but(x=chain.x.imag)).y, bound)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("kernel", "star", "shape"),
    [
        ((3, 3), True, (1, 1, 140, 700)),
        ((3, 3), False, (1, 1, 140, 700)),
        ((5, 5), False, (1, 1, 140, 700)),
        ((7, 1), False, (1, 1, 140, 700)),
        ((1, 7), False, (1, 1, 70, 1500)),
        ((3, 5), True, (1, 1, 70, 1500)),
    ],
)
def test_strips_and_bands(kernel: tuple[int, ...], star: bool, shape: tuple[int, ...], boundary: str) -> None:
    for dtype, every in ((torch.float32, 0), (torch.float64, 2)):
        steps = 5 if dtype == torch.float32 else 3
        chain = make_chain(shape, kernel, steps, dtype=dtype, star=star, boundary=boundary)
        chain = chain.but(states_every=2, checkpoint_every=every)
        check_forward(chain)
        check_backward(chain)


@pytest.mark.parametrize("height", [1, 2, 63, 64, 65, 127, 128, 129])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_heights_around_a_band(height: int, boundary: str) -> None:
    if height == 1 and boundary == "reflect":
        height = 3
    width = 600 if height > 3 else 30_001
    check_backward(make_chain((1, 1, height, width), 3, 8, dtype=torch.float32, star=True, boundary=boundary))


@pytest.mark.parametrize("width", [255, 256, 257, 513, 640, 641])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_widths_around_a_strip(width: int, boundary: str) -> None:
    for kernel, steps in (((3, 3), 8), ((1, 5), 4)):
        height = 80_000 // width
        chain = make_chain((1, 1, height, width), kernel, steps, dtype=torch.float32, boundary=boundary)
        check_forward(chain)
        if width % 2:
            check_backward(chain)


def test_more_steps_than_rows() -> None:
    """Every tile of a flat plane reaches beyond both of its edges."""
    for boundary, height in itertools.product(BOUNDARIES, (2, 3)):
        for kernel in (3, (3, 5)):
            chain = make_chain((1, 1, height, 35_000), kernel, 8, dtype=torch.float32, boundary=boundary)
            check_forward(chain)
    chain = make_chain((1, 1, 3, 35_000), 3, 8, dtype=torch.float32, boundary="periodic")
    check_backward(chain)


def test_planes_of_a_batch_do_not_mix() -> None:
    """Tiles of several planes and channels are handed out together: each plane gets what it gets alone."""
    chain = make_chain((3, 2, 200, 330), 3, 5, dtype=torch.float32, boundary="reflect", states_every=2)
    grad_y, grad_states = cotangents(chain)
    y, states, _ = run(chain)
    whole = run_backward(chain, grad_y, grad_states)
    for b, c in itertools.product(range(3), range(2)):
        i, j = slice(b, b + 1), slice(c, c + 1)
        alone = chain.but(
            x=chain.x[i, j], taps=chain.taps[:, j].contiguous(), bias=chain.bias[:, j].contiguous()
        )
        assert_bitwise(run(alone).y, y[i, j])
        assert_bitwise(run(alone).states, states[:, i, j])
        found = run_backward(alone, grad_y[i, j], grad_states[:, i, j])
        assert_bitwise(found.x, whole.x[i, j])


def test_scratch_memory_full_of_nan_changes_nothing() -> None:
    """Threads keep their scratch memory: what a call of NaNs leaves there must not reach the next one."""
    torch.set_num_threads(1)
    chains = [
        make_chain(shape, kernel, 4, dtype=dtype, boundary=boundary, complex_taps=True)
        for (shape, kernel), boundary, dtype in itertools.product(
            [
                ((3, 2, 28, 28), 3),
                (PLANE, 3),
                ((2, 2, 41), 7),
                ((1, 2, 6, 7, 9), 3),
                ((1, 1, 17, 62, 64), 3),
                ((1, 1, 70_001), 5),
            ],
            ("zero", "replicate"),
            (torch.float32, torch.complex64),
        )
    ]
    weights = [cotangents(c)[0] for c in chains]
    clean = [(run(c), run_backward(c, w)) for c, w in zip(chains, weights, strict=True)]
    for dirty in chains[::3]:
        poison = torch.full_like(dirty.x, float("nan"))
        for chain, weight, expected in zip(chains, weights, clean, strict=True):
            run(dirty.but(x=poison))
            assert_all_bitwise(run(chain), expected[0], "forward")
            run_backward(dirty.but(x=poison), poison)
            assert_all_bitwise(run_backward(chain, weight), expected[1], "backward")
