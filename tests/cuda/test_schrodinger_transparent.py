"""Crank-Nicolson steps with transparent ends: the kernels of a GPU against those of the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from qcore._ops import schrodinger_transparent as ops

KAPPA, TAU = 1.7, 0.4


def states(batch: int, n: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(batch, n, dtype=torch.complex128).to(dtype)


def potentials(sets: int, n: int) -> Tensor:
    return torch.randn(sets, n, dtype=torch.float64)


def run(psi: Tensor, potential: Tensor, steps: int, save_every: int = 0, sides: str = "both") -> Any:
    return ops.call(psi, potential, KAPPA, TAU, steps, save_every, sides)


def pulled(psi: Tensor, potential: Tensor, steps: int, save_every: int, sides: str) -> tuple[Tensor, ...]:
    """Gradients to psi, potential, kappa and tau of a fixed function of all that comes out."""
    psi, potential = psi.detach().requires_grad_(), potential.detach().requires_grad_()
    kappa = torch.tensor(KAPPA, dtype=torch.float64, device="cpu", requires_grad=True)
    tau = torch.tensor(TAU, dtype=torch.float64, device="cpu", requires_grad=True)
    out, frames = ops.call(psi, potential, kappa, tau, steps, save_every, sides)
    total = (out.abs() ** 2 * torch.arange(out.numel(), device=out.device).reshape(out.shape)).sum()
    for k, frame in enumerate(frames):
        total = total + (k + 1) * frame.imag.sum() + (frame.real**3).sum()
    return torch.autograd.grad(total, (psi, potential, kappa, tau))


def agree(got: Any, expected: Any, limit: float) -> None:
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if b.numel():
            assert float((a - b).abs().max()) <= limit * max(1.0, float(b.abs().max()))


@pytest.mark.parametrize("sides", ["both", "left", "right"])
@pytest.mark.parametrize(("batch", "n"), [(3, 1), (2, 2), (5, 17), (2, 512), (2, 513), (1, 1300)])
def test_steps(batch: int, n: int, sides: str, device: Any) -> None:
    psi, potential = states(batch, n), potentials(batch if n % 2 else 1, n)
    agree(device.run(run, psi, potential, 5, 2, sides), run(psi, potential, 5, 2, sides), 1e-12)


def test_more_steps_than_lanes(device: Any) -> None:
    psi, potential = states(2, 9), potentials(1, 9)
    agree(device.run(run, psi, potential, 150), run(psi, potential, 150), 1e-12)


def test_weights_stay_exact_over_many_steps(device: Any) -> None:
    """Their recurrence alternates in sign, so that rounding adds up."""
    psi, potential = states(1, 2), potentials(1, 2)
    agree(device.run(run, psi, potential, 2500), run(psi, potential, 2500), 1e-12)


def test_single_precision(device: Any) -> None:
    psi, potential = states(3, 20, torch.complex64), potentials(3, 20)
    agree(device.run(run, psi, potential, 6, 3), run(psi, potential, 6, 3), 1e-6)


@pytest.mark.parametrize(("batch", "steps"), [(0, 3), (2, 0)])
def test_nothing_to_do(batch: int, steps: int, device: Any) -> None:
    psi, potential = states(batch, 4), potentials(1, 4)
    agree(device.run(run, psi, potential, steps), run(psi, potential, steps), 0.0)
    agree(device.run(pulled, psi, potential, steps, 0, "both"), pulled(psi, potential, steps, 0, "both"), 0.0)


@pytest.mark.parametrize("sides", ["both", "left", "right"])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("n", "steps", "save_every"), [(1, 3, 0), (6, 9, 2), (530, 5, 0)])
def test_gradients(n: int, steps: int, save_every: int, own: bool, sides: str, device: Any) -> None:
    psi, potential = states(3, n), potentials(3 if own else 1, n)
    given = psi, potential, steps, save_every, sides
    agree(device.run(pulled, *given), pulled(*given), 1e-10)


def test_gradients_in_single_precision(device: Any) -> None:
    given = states(3, 8, torch.complex64), potentials(1, 8), 7, 3, "both"
    agree(device.run(pulled, *given), pulled(*given), 1e-5)


def test_too_many_points_are_refused(device: Any) -> None:
    with pytest.raises(NotImplementedError, match=r"more than 8192 points .* move the tensors to the CPU"):
        device.run(run, states(1, 8193), potentials(1, 8193), 1)
