"""The forward kernels against the float64 oracle and against torch's padding and convolution."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from .kernels import (
    ALL,
    AUTO,
    BACKENDS,
    REAL,
    REFERENCE,
    WIDTHS,
    assert_bitwise,
    assert_within,
    check_forward,
    make_chain,
    random_chain,
    run,
)
from .oracle import (
    ACTIVATIONS,
    BOUNDARIES,
    Chain,
    activate,
    forward_bounds,
    merged_taps,
    single_threaded,
    trajectory,
)

STEPS = [0, 1, 2, 3, 27, 100]


# --- sizes, kernels, steps ------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths_and_heights(width: int, boundary: str) -> None:
    """Rows of every length around the vector widths, in planes of 1 to 9 rows, for every kind of kernel."""
    dtypes = itertools.cycle(REAL)
    heights = itertools.cycle(range(1 + width % 3, 10))
    for kernel, star in [((3, 3), True), ((3, 3), False), ((5, 5), False), ((1, 7), False), ((7, 3), True)]:
        for height in itertools.islice(heights, 2):
            dtype = next(dtypes)
            check_forward(
                make_chain((2, 2, height, width), kernel, 4, star=star, dtype=dtype, boundary=boundary)
            )
    for kernel in (1, 3, 5, 7, 3):
        dtype = next(dtypes)
        check_forward(make_chain((2, 3, width), kernel, 5, dtype=dtype, boundary=boundary, activation="tanh"))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("star", [False, True], ids=["full", "star"])
@BACKENDS
def test_kernels(boundary: str, star: bool, backend: int) -> None:
    sizes = (1, 3, 5, 7)
    kernels = [(k,) for k in sizes] + list(itertools.product(sizes, sizes))
    kernels += [(3, 3, 3), (1, 3, 3), (3, 1, 1), (1, 1, 5), (5, 3, 1), (1, 7, 1), (7, 1, 3), (3, 5, 7)]
    for kernel, dtype, shared in zip(
        kernels, itertools.cycle(REAL), itertools.cycle([False, True, True, False])
    ):
        shape = {1: (2, 3, 21), 2: (2, 3, 9, 18), 3: (2, 2, 5, 6, 17)}[len(kernel)]
        check_forward(
            make_chain(shape, kernel, 3, star=star, dtype=dtype, shared=shared, boundary=boundary), backend
        )


@pytest.mark.parametrize("boundary", ["periodic", "replicate", "zero"])
def test_kernels_wider_than_the_grid(boundary: str) -> None:
    """A 7-point kernel on 1 to 3 points: periodic and replicate wrap or repeat more than once."""
    for n, dtype in itertools.product((1, 2, 3), REAL):
        check_forward(make_chain((2, 2, n), 7, 3, dtype=dtype, boundary=boundary))
        check_forward(make_chain((1, 2, n, n), 7, 3, dtype=dtype, boundary=boundary))
        check_forward(make_chain((1, 2, 1, n, 2), (5, 7, 5), 2, dtype=dtype, boundary=boundary))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("steps", STEPS)
def test_steps(steps: int, boundary: str) -> None:
    shapes = [((2, 3, 19), False), ((2, 1, 11, 19), True), ((2, 3, 11, 19), False), ((1, 2, 4, 5, 6), True)]
    for (shape, star), dtype in zip(shapes * 2, [*REAL, *REAL, *REAL[::-1], *REAL[::-1]], strict=True):
        if steps < 100 or dtype == torch.float32:
            check_forward(make_chain(shape, 3, steps, star=star, dtype=dtype, boundary=boundary))


def test_zero_steps_copy_x() -> None:
    for dtype, every in itertools.product(ALL, (0, 2)):
        chain = make_chain((2, 3, 7), 3, 0, dtype=dtype, states_every=every, checkpoint_every=every)
        assert_bitwise(run(chain).y, chain.x)


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", REAL)
def test_activations(activation: str, boundary: str, dtype: torch.dtype) -> None:
    for backend, slope in itertools.product((AUTO, REFERENCE), (0.01, 0.0, 1.0, 2.5)):
        if activation != "leaky_relu" and slope != 0.01:
            continue
        for shape in ((2, 2, 33), (2, 2, 6, 17), (1, 2, 3, 4, 9)):
            chain = make_chain(
                shape, 3, 4, dtype=dtype, activation=activation, slope=slope, boundary=boundary
            )
            check_forward(chain, backend)


@pytest.mark.parametrize("activation", ["tanh", "silu"])
@pytest.mark.parametrize("dtype", REAL)
def test_activations_over_their_whole_range(activation: str, dtype: torch.dtype) -> None:
    """One step that is the activation alone, from the subnormals to overflow."""
    info = torch.finfo(dtype)
    exponents = torch.linspace(math.log2(info.tiny) - 10, math.log2(info.max) - 1, 3000, dtype=torch.float64)
    near = torch.linspace(-110.0, 110.0, 20_001, dtype=torch.float64)
    line = torch.cat(
        [exponents.exp2(), -exponents.exp2(), near, torch.tensor([0.0, math.inf, -math.inf, math.nan])]
    ).to(dtype)
    line = line[: len(line) // 32 * 32 + 3]
    chain = Chain(line.view(1, 1, -1), torch.zeros(1, 1, 1, dtype=dtype), activation=activation)
    expected = activate(line.double(), activation, 0.0)
    bounds = forward_bounds(chain.but(x=chain.x.nan_to_num()), [expected.nan_to_num().view_as(chain.x)] * 2)[
        1
    ]
    for backend in (AUTO, REFERENCE):
        assert_within(run(chain, backend).y.flatten(), expected, bounds.flatten(), activation)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("bias", [None, "shared", "channel"])
@pytest.mark.parametrize("shared", [False, True], ids=["per channel", "shared"])
def test_skip_bias_and_shared_taps(bias: str | None, shared: bool, boundary: str) -> None:
    for skip, dtype, shape in itertools.product(
        (1.0, 0.0, -0.5, 1 / 3), REAL, ((2, 3, 13), (2, 3, 5, 17), (2, 3, 3, 3, 5))
    ):
        check_forward(
            make_chain(shape, 3, 3, skip=skip, dtype=dtype, bias=bias, shared=shared, boundary=boundary)
        )


def test_skip_is_added_to_the_centre_only() -> None:
    chain = Chain(torch.arange(1.0, 6).view(1, 1, 5), torch.zeros(1, 1, 3), skip=3.0, activation="none")
    assert run(chain).y.flatten().tolist() == [3.0, 6.0, 9.0, 12.0, 15.0]


@pytest.mark.parametrize(
    "shape", [(2, 2, 21), (2, 2, 7, 17), (1, 1, 3, 5, 9), (1, 1, 260, 300), (1, 1, 70_000)]
)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_states_and_checkpoints(shape: tuple[int, ...], boundary: str) -> None:
    """Right, and free of influence: y has the same bits whatever else is stored, and so has every state."""
    steps = 7
    chain = make_chain(
        shape, 3, steps, dtype=torch.float32, star=True, boundary=boundary, states_every=1, checkpoint_every=1
    )
    whole = check_forward(chain)
    assert whole.states is not None
    assert whole.checkpoints is not None
    assert_bitwise(whole.y, whole.states[-1], "y and the last state")
    assert_bitwise(whole.checkpoints, whole.states[:-1], "checkpoints and states")
    assert_bitwise(run(chain.but(states_every=0, checkpoint_every=0)).y, whole.y)
    for m, k in ((2, 0), (0, 2), (3, 5), (7, 7), (8, 8), (1, 6)):
        part = run(chain.but(states_every=m, checkpoint_every=k))
        assert_bitwise(part.y, whole.y, f"y with states_every={m}, checkpoint_every={k}")
        if m:
            assert_bitwise(part.states, whole.states[m - 1 :: m], f"states_every={m}")
        if k:
            assert_bitwise(part.checkpoints, whole.states[k - 1 : -1 : k], f"checkpoint_every={k}")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_states_of_odd_intervals(activation: str) -> None:
    for steps, every in itertools.product((1, 2, 5, 27), (1, 2, 3, 27, 28, 1000)):
        chain = make_chain(
            (1, 2, 6, 9), 3, steps, activation=activation, states_every=every, checkpoint_every=every
        )
        check_forward(chain)


# --- planes that leave the caches -----------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "kernel", "steps", "star"),
    [
        ((1, 1, 700, 900), 3, 20, True),
        ((2, 1, 1, 300), 3, 40, True),
        ((1, 1, 40, 5000), 3, 16, False),
        ((1, 1, 5000, 40), 3, 6, True),
        ((1, 1, 5, 20_000), 3, 12, True),
        ((1, 2, 70_000), 3, 30, False),
        ((1, 2, 70_000), 7, 6, False),
        ((1, 1, 20, 60, 62), 3, 5, False),
        ((1, 1, 31, 50, 60), 3, 4, True),
        ((1, 1, 64, 64), 3, 200, False),
        ((2, 2, 128, 129), 3, 27, True),
        ((1, 2, 256, 257), 5, 6, False),
        ((1, 1, 300, 301), 7, 4, True),
    ],
)
def test_large(shape: tuple[int, ...], kernel: int, steps: int, star: bool, boundary: str) -> None:
    check_forward(make_chain(shape, kernel, steps, dtype=torch.float32, star=star, boundary=boundary))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_large_of_other_types(boundary: str) -> None:
    check_forward(make_chain((1, 1, 300, 400), 3, 8, dtype=torch.float64, star=True, boundary=boundary))
    check_forward(
        make_chain((1, 2, 250, 260), 3, 4, dtype=torch.complex64, complex_taps=True, boundary=boundary)
    )
    check_forward(make_chain((1, 1, 250, 260), 3, 4, dtype=torch.complex128, boundary=boundary))


# --- torch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boundary", "mode"),
    [("zero", None), ("periodic", "circular"), ("reflect", "reflect"), ("replicate", "replicate")],
)
@pytest.mark.parametrize("dims", [1, 2, 3])
@single_threaded
def test_parity_with_torchs_convolution(boundary: str, mode: str | None, dims: int) -> None:
    conv = (functional.conv1d, functional.conv2d, functional.conv3d)[dims - 1]
    for k, dtype in itertools.product((1, 3, 5, 7), REAL):
        chain = make_chain((2, 3, *(9, 8, 11)[:dims]), k, 3, dtype=dtype, boundary=boundary)
        u, pad = chain.x, [k // 2] * (2 * dims)
        for t in range(3):
            extended = functional.pad(u, pad, mode=mode) if mode else functional.pad(u, pad)
            u = torch.relu(u + conv(extended, chain.taps[t][:, None], chain.bias[t], groups=3))
        states = trajectory(chain)
        # Both may be off by the bound, on either side.
        assert_within(run(chain).y, u, 2 * forward_bounds(chain, states)[-1])


# --- random calls ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(60))
def test_random_calls(number: int) -> None:
    torch.manual_seed(number)
    chain = random_chain(random.Random(number))
    check_forward(chain, AUTO)


@settings(max_examples=60)
@given(data=st.data())
def test_any_call(data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, 3))
    boundary = data.draw(st.sampled_from(list(BOUNDARIES)))
    space = tuple(data.draw(st.integers(1, {1: 300, 2: 40, 3: 12}[dims])) for _ in range(dims))
    chain = make_chain(
        (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)), *space),
        tuple(data.draw(st.sampled_from([1, 3, 5, 7])) for _ in range(dims)),
        data.draw(st.integers(0, 9)),
        dtype=data.draw(st.sampled_from(ALL)),
        star=data.draw(st.booleans()),
        shared=data.draw(st.booleans()),
        bias=data.draw(st.sampled_from([None, "shared", "channel"])),
        complex_taps=data.draw(st.booleans()),
        skip=data.draw(st.floats(-1, 1, width=32)),
        activation=data.draw(st.sampled_from(list(ACTIVATIONS))),
        boundary=boundary,
        states_every=data.draw(st.integers(0, 4)),
        checkpoint_every=data.draw(st.integers(0, 4)),
    )
    check_forward(chain)


def test_merged_taps_leave_the_taps_alone() -> None:
    """The helper that all of the above stands on."""
    chain = make_chain((1, 2, 5, 5), 3, 2)
    difference = merged_taps(chain, chain.taps) - chain.taps
    assert difference.sum() == 4.0
    assert (difference[:, :, 1, 1] == 1.0).all()
