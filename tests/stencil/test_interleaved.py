"""Batches of small planes, which go through the steps one image a vector lane."""

from __future__ import annotations

import pytest
import torch

from .kernels import (
    assert_all_bitwise,
    assert_bitwise,
    check_backward,
    check_forward,
    make_chain,
    run,
    run_backward,
)
from .oracle import ACTIVATIONS, BOUNDARIES

SPACES = [(1, 1), (1, 5), (4, 1), (3, 2), (8, 8), (5, 17), (28, 28)]
BATCHES = [3, 4, 7, 8, 9, 16, 17, 33]  # lanes: 2 to 16
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("star", [True, False], ids=["star", "box"])
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_shapes(space: tuple[int, int], star: bool, boundary: str) -> None:
    chain = make_chain(
        (33, 2, *space),
        3,
        5,
        dtype=torch.float32,
        star=star,
        boundary=boundary,
        states_every=2,
        checkpoint_every=2,
    )
    check_forward(chain)
    check_backward(chain)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", BATCHES)
def test_batches(batch: int, dtype: torch.dtype) -> None:
    chain = make_chain((batch, 2, 6, 7), 3, 4, dtype=dtype, star=True, boundary="periodic", states_every=1)
    check_forward(chain)
    check_backward(chain)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_activations(activation: str, boundary: str) -> None:
    chain = make_chain(
        (18, 1, 9, 10),
        3,
        6,
        dtype=torch.float32,
        activation=activation,
        boundary=boundary,
        checkpoint_every=4,
    )
    check_forward(chain)
    check_backward(chain)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_an_image_alone_has_the_same_bits(dtype: torch.dtype, boundary: str) -> None:
    """One lane of many, or a plane of its own: the steps round alike."""
    chain = make_chain((21, 2, 7, 12), 3, 7, dtype=dtype, boundary=boundary, activation="tanh")
    together = run(chain).y
    for image in (0, 5, 20):
        assert_bitwise(run(chain.but(x=chain.x[image : image + 1])).y[0], together[image], f"image {image}")


def test_strides() -> None:
    """Fields whose rows are no rows in memory."""
    chain = make_chain((20, 3, 6, 9), 3, 4, dtype=torch.float32, states_every=2)
    grad_y = torch.randn_like(chain.x)
    expected = run(chain), run_backward(chain, grad_y)
    for order in ((1, 2, 3, 0), (3, 0, 2, 1), (0, 2, 3, 1)):
        back = [order.index(i) for i in range(4)]
        strided = chain.but(x=chain.x.permute(order).contiguous().permute(back))
        assert not strided.x.is_contiguous()
        assert_all_bitwise(run(strided), expected[0], str(order))
        assert_all_bitwise(run_backward(strided, grad_y), expected[1], str(order))


def test_nan_stays_in_its_image() -> None:
    chain = make_chain((16, 1, 6, 6), 3, 3, dtype=torch.float32)
    clean = run(chain).y
    x = chain.x.clone()
    x[7, 0, 2, 3] = torch.nan
    y = run(chain.but(x=x)).y
    assert y[7].isnan().any()
    others = [i for i in range(16) if i != 7]
    assert_bitwise(y[others], clean[others], "other images")
