"""Runs on one axis with tensors that claim to be on a GPU: nothing mixes devices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from qcore._ops import schrodinger as ops
from qcore._ops import schrodinger_transparent as transparent
from qcore.schrodinger import propagate


@pytest.fixture(autouse=True)
def _fake() -> Iterator[None]:
    with FakeTensorMode():
        yield


def state(*shape: int, dtype: torch.dtype = torch.complex64) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="cuda")


def number(value: float = 1.0) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, device="cpu")


def check(results: Any, like: Any) -> None:
    for got, expected in zip(results, like, strict=True):
        assert got.shape == expected.shape
        assert got.dtype == expected.dtype
        assert got.device.type == expected.device.type


# Rules are called directly: autograd itself starts no thread for a GPU that isn't there.


@pytest.mark.parametrize("reversible", [True, False])
def test_evolve(reversible: bool) -> None:
    psi, potential, kappa = state(3, 8), state(1, 1, 8, dtype=torch.float64), number()
    inputs = psi, potential, kappa, torch.empty(2, dtype=torch.complex128, device="cpu")
    settings = 8, "cayley", 2, "dirichlet", "float64", "auto", reversible
    check((ops.evolve.call(*inputs, *settings),), (psi,))
    (out,), kept = ops._evolve_recorded(*inputs, *settings)
    check(ops._evolve_backward((True,) * 4, (out,), inputs, kept, settings), inputs)


def test_frames() -> None:
    psi, potential, kappa = state(3, 8), state(8, 3, 8, dtype=torch.complex128), number()
    inputs = psi, potential, kappa, torch.empty(2, dtype=torch.complex128, device="cpu")
    settings = 8, 4, "cayley", 2, "dirichlet", "float64", "auto", True
    check(ops.evolve_frames.call(*inputs, *settings), (psi, state(4, 3, 8)))
    outputs, kept = ops._frames_recorded(*inputs, *settings)
    check(ops._frames_backward((True,) * 4, outputs, inputs, kept, settings), inputs)


def test_transparent() -> None:
    psi, potential = state(3, 8), state(1, 8, dtype=torch.float64)
    check(transparent.call(psi, potential, 1.5, number(), 6, 2), (psi, state(3, 3, 8)))
    inputs, settings = (psi, potential, number(), number()), (6, 2, "both", "auto")
    outputs, kept = transparent._recorded(*inputs, *settings)
    check(transparent._backward((True,) * 4, outputs, inputs, kept, settings), inputs)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"absorber": (1.0, 0.3, 2.0), "time_order": 4},
        {"boundary": "periodic", "space_order": 6},
        {"boundary": "transparent"},
    ],
)
def test_propagate(settings: Any) -> None:
    psi = state(2, 16)
    potential = state(16, dtype=torch.float64)
    out, frames = propagate(psi, potential, dt=0.01, steps=4, spacing=0.1, save_every=2, **settings)
    check((out, frames), (psi, torch.empty(2, 2, 16, dtype=psi.dtype, device="cuda")))


def test_settings_on_the_gpu_are_refused() -> None:
    psi, potential = state(3, 8), state(1, 1, 8, dtype=torch.float64)
    c = torch.empty(1, dtype=torch.complex128, device="cuda")
    with pytest.raises(ValueError, match="c: expected a CPU tensor, got cuda"):
        ops.evolve.call(psi, potential, number(), c, 8, "cayley", 2, "dirichlet", "float64", "auto", True)
