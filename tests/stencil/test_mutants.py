"""Mutants that a kernel might be, each of which the comparisons of the kernel tests must catch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from .kernels import compare_forward, compare_gradients, cotangents, make_chain, star_mask
from .oracle import (
    BOUNDARIES,
    Chain,
    Forward,
    Gradients,
    activate,
    correlate,
    forward_bounds,
    gradients,
    merged_taps,
    per_channel,
    stored_states,
    trajectory,
    vjp,
    wide,
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Many small torch operations: the conftest puts the number of threads back."""
    torch.set_num_threads(1)


# --- forward mutants ------------------------------------------------------------------------------


def evolve(
    chain: Chain, step: Callable[[Tensor, int, Tensor], Tensor] | None = None, steps: int | None = None
) -> Tensor:
    """The oracle's chain with `step(u, t, right result)` between the steps."""
    u = wide(chain.x)
    taps = merged_taps(chain, wide(chain.taps))
    for t in range(chain.steps if steps is None else steps):
        z = correlate(u, taps[t], chain.boundary) + per_channel(wide(chain.bias)[t], chain)
        new = activate(z, chain.activation, chain.slope)
        u = new if step is None else step(u, t, new)
    return u


def stale_halo(chain: Chain) -> Tensor:
    """Zero boundary whose pad column right of the grid is not zeroed again after the first step."""
    u = functional.pad(wide(chain.x), (0, 1))
    wider = chain.but(x=u)
    return evolve(wider)[..., :-1]


def symmetric(chain: Chain) -> Tensor:
    """Reflect that repeats the edge point."""
    wider = chain.but(x=wide(chain.x), boundary="replicate")
    return evolve(wider)


def with_boundary(boundary: str, chain: Chain) -> Tensor:
    return evolve(chain.but(boundary=boundary))


FORWARD_MUTANTS: dict[str, Callable[[Chain], Tensor]] = {
    "true convolution": lambda c: evolve(c.but(taps=c.taps.flip(2, 3))),
    "axes exchanged": lambda c: evolve(c.but(taps=c.taps.transpose(2, 3).contiguous())),
    "mirrored rows": lambda c: evolve(c.but(taps=c.taps.flip(2))),
    "no skip in the last step": lambda c: evolve(
        c,
        lambda u, t, new: (
            activate(correlate(u, wide(c.taps)[t], c.boundary), "relu", 0) if t == c.steps - 1 else new
        ),
    ),
    "one step too few": lambda c: evolve(c, steps=c.steps - 1),
    "steps in the wrong order": lambda c: evolve(c.but(taps=c.taps.flip(0))),
    "bias of another step": lambda c: evolve(c.but(bias=c.bias.roll(1, 0))),
    "bias of another channel": lambda c: evolve(c.but(bias=c.bias.roll(1, 1))),
    "taps of another channel": lambda c: evolve(c.but(taps=c.taps.roll(1, 1))),
    "taps of the first channel for all": lambda c: evolve(c.but(taps=c.taps[:, :1])),
    "activation forgotten once": lambda c: evolve(
        c.but(activation="none"), lambda u, t, new: new if t == 2 else new.relu()
    ),
    "bfloat16 between steps": lambda c: evolve(c, lambda u, t, new: new.bfloat16().double()),
    "float16 between steps": lambda c: evolve(c, lambda u, t, new: new.half().double()),
    "15 bits between steps": lambda c: evolve(c, lambda u, t, new: (new * 2**15).round() / 2**15),
    "last column left from the step before": lambda c: evolve(
        c, lambda u, t, new: torch.cat([new[..., :-1], u[..., -1:]], -1) if t == c.steps - 1 else new
    ),
    "last row not written": lambda c: evolve(c).index_fill(2, torch.tensor([c.x.shape[2] - 1]), math.nan),
    "one point off by 1e-4": lambda c: evolve(c).index_put(
        tuple(torch.tensor(i) for i in (1, 1, 3, 4)), torch.tensor(1e-4, dtype=torch.float64), accumulate=True
    ),
    "images exchanged": lambda c: evolve(c).flip(0),
    "halo not zeroed again": stale_halo,
    "edge value in place of zero": symmetric,
    **{f"boundary {b}": functools.partial(with_boundary, b) for b in BOUNDARIES},
}


@pytest.mark.parametrize("mutant", FORWARD_MUTANTS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("steps", [4, 27])
def test_forward_mutants_are_caught(mutant: str, boundary: str, steps: int) -> None:
    if mutant == f"boundary {boundary}" or (
        mutant == "edge value in place of zero" and boundary == "replicate"
    ):
        mutate = evolve  # the right one
    elif mutant == "halo not zeroed again" and boundary != "zero":
        mutate = FORWARD_MUTANTS["boundary zero"]
    else:
        mutate = FORWARD_MUTANTS[mutant]
    chain = make_chain((2, 3, 8, 9), 3, steps, dtype=torch.float32, boundary=boundary)
    states = trajectory(chain)
    bounds = forward_bounds(chain, states)
    compare_forward(chain, Forward(evolve(chain).float(), None, None), states, bounds)
    if mutate is evolve:
        return
    with pytest.raises(AssertionError, match=r"y: (error above|NaN)"):
        compare_forward(chain, Forward(mutate(chain).float(), None, None), states, bounds)


def test_wrong_states_and_checkpoints_are_caught() -> None:
    chain = make_chain((2, 2, 8, 9), 3, 6, dtype=torch.float32, states_every=2, checkpoint_every=2)
    expected = trajectory(chain)
    bounds = forward_bounds(chain, expected)
    y = expected[-1].float()
    states = torch.stack(stored_states(expected, 2, 6)).float()
    checkpoints = torch.stack(stored_states(expected, 2, 5)).float()
    compare_forward(chain, Forward(y, states, checkpoints), expected, bounds)
    late = torch.stack(expected[1:6:2]).float()
    with pytest.raises(AssertionError, match="states"):
        compare_forward(chain, Forward(y, late, checkpoints), expected, bounds)
    with pytest.raises(AssertionError, match="checkpoints"):
        compare_forward(chain, Forward(y, states, late[:2]), expected, bounds)


# --- backward mutants -----------------------------------------------------------------------------


def plain_backward(
    chain: Chain, grad_y: Tensor, grad_states: Tensor | None, states: list[Tensor], bug: str = ""
) -> Gradients:
    """The recursion of the backward pass by hand, with one bug of those below."""
    taps = merged_taps(chain, wide(chain.taps))
    g = wide(grad_y)
    grad_taps = torch.zeros_like(taps)
    grad_bias = torch.zeros(
        chain.steps, taps.shape[1] if chain.bias is None else chain.bias.shape[1], dtype=taps.dtype
    )
    every = chain.states_every
    for t in reversed(range(chain.steps)):
        if (
            grad_states is not None
            and bug != "states not added"
            and (t + (bug != "states one step late")) % every == 0
        ):
            g = g + wide(grad_states)[min((t + 1) // every, len(grad_states)) - 1]
        closed = chain.slope if chain.activation == "leaky_relu" else 0.0
        gate_of = states[t] if bug == "gate of the state before" else states[t + 1]
        opened = gate_of.real >= 0 if bug == "gate open at zero" else gate_of.real > 0
        if chain.activation != "none" and not (bug == "no gate in the last step" and t == chain.steps - 1):
            g = torch.where(opened, g, closed * g)
        boundary = chain.boundary
        _, sums = vjp(
            states[t], taps[t], "zero" if bug == "tap sums read zeros beyond the edge" else boundary, g
        )
        if bug == "corners left out":
            sums = sums * star_mask(taps.shape[2:])
        if bug == "one row left out of the sums":
            sums = vjp(states[t], taps[t], boundary, g.index_fill(2, torch.tensor([3]), 0.0))[1]
        grad_taps[t] = sums
        per_image = g[:-1] if bug == "last image left out of the bias" else g
        summed = per_image.sum(dim=(0, *range(2, g.ndim)))
        grad_bias[t] = summed if grad_bias.shape[1] == summed.shape[0] else summed.sum()
        if bug == "taps not flipped":
            g = correlate(g, taps[t], boundary)
        elif bug == "edges not folded":
            g = correlate(g, taps[t].flip(*range(1, taps.ndim - 1)), boundary)
        elif bug == "edges cut off":
            g = correlate(g, taps[t].flip(*range(1, taps.ndim - 1)), "zero")
        elif bug == "taps not conjugated":
            g = vjp(states[t], taps[t].conj().resolve_conj(), boundary, g)[0]
        else:
            g = vjp(states[t], taps[t], boundary, g)[0]
        if bug == "bfloat16 between steps":
            g = g.bfloat16().double()
    return Gradients(g, grad_taps, None if chain.bias is None else grad_bias)


BACKWARD_BUGS = [
    "states not added",
    "states one step late",
    "gate of the state before",
    "no gate in the last step",
    "tap sums read zeros beyond the edge",
    "corners left out",
    "one row left out of the sums",
    "last image left out of the bias",
    "taps not flipped",
    "edges not folded",
    "edges cut off",
    "bfloat16 between steps",
]


def narrowed(g: Gradients) -> Gradients:
    return Gradients(
        *(None if t is None else t.to(torch.complex64 if t.is_complex() else torch.float32) for t in g)
    )


@pytest.mark.parametrize("bug", BACKWARD_BUGS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("steps", [4, 12])
def test_backward_mutants_are_caught(bug: str, boundary: str, steps: int) -> None:
    if (bug in ("tap sums read zeros beyond the edge", "edges cut off") and boundary == "zero") or (
        bug == "edges not folded" and boundary in ("zero", "periodic")
    ):
        bug = ""  # right there
    chain = make_chain(
        (2, 3, 8, 9), 3, steps, dtype=torch.float32, star=True, boundary=boundary, states_every=2
    )
    grad_y, grad_states = cotangents(chain)
    states = trajectory(chain)
    expected, bounds = gradients(chain, grad_y, grad_states, states)
    compare_gradients(chain, narrowed(plain_backward(chain, grad_y, grad_states, states)), expected, bounds)
    if bug:
        with pytest.raises(AssertionError, match="grad_"):
            compare_gradients(
                chain, narrowed(plain_backward(chain, grad_y, grad_states, states, bug)), expected, bounds
            )


def test_gate_open_at_zero_is_caught() -> None:
    """A zero pre-activation has gradient 0: dead regions have plenty of them."""
    chain = make_chain((1, 1, 12, 12), 3, 2, dtype=torch.float32, bias=None)
    chain = chain.but(x=chain.x.index_fill(2, torch.arange(6), 0.0))
    grad_y, _ = cotangents(chain)
    expected, bounds = gradients(chain, grad_y)
    compare_gradients(
        chain, narrowed(plain_backward(chain, grad_y, None, trajectory(chain))), expected, bounds
    )
    mutant = narrowed(plain_backward(chain, grad_y, None, trajectory(chain), "gate open at zero"))
    with pytest.raises(AssertionError, match="grad_x"):
        compare_gradients(chain, mutant, expected, bounds)


def test_missing_conjugate_is_caught() -> None:
    chain = make_chain((2, 2, 11), 3, 3, dtype=torch.complex64, complex_taps=True)
    grad_y, _ = cotangents(chain)
    expected, bounds = gradients(chain, grad_y)
    states = trajectory(chain)
    compare_gradients(chain, narrowed(plain_backward(chain, grad_y, None, states)), expected, bounds)
    mutant = narrowed(plain_backward(chain, grad_y, None, states, "taps not conjugated"))
    with pytest.raises(AssertionError, match="grad_x"):
        compare_gradients(chain, mutant, expected, bounds)


def test_long_sums_in_float32_are_caught() -> None:
    chain = make_chain((1, 1, 300_000), 3, 1, dtype=torch.float32, activation="none")
    grad_y = torch.rand_like(chain.x)
    expected, bounds = gradients(chain, grad_y)
    right = narrowed(plain_backward(chain, grad_y, None, trajectory(chain)))
    compare_gradients(chain, right, expected, bounds)
    one_by_one = torch.from_numpy(np.cumsum(grad_y.numpy().ravel(), dtype=np.float32)[-1:]).view(1, 1)
    with pytest.raises(AssertionError, match="grad_bias"):
        compare_gradients(chain, right._replace(bias=one_by_one), expected, bounds)
