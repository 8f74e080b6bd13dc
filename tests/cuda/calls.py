"""A call of each family through its public function, on tensors that a test has put where it wants them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qcore import paths
from qcore.schrodinger import cayley, propagate
from qcore.stencil import residual_chain

Tensors = tuple[Tensor, ...]
QUARTIC = [0.0, 0.0, 0.5, 0.0, 1.0]


@dataclass(frozen=True)
class Call:
    """`run(*make())`; `make` draws other numbers each time, on the CPU.

    `most` bounds the kernels of the library's own that a call may launch; `waits` says why a call has to see
    its results before it returns, if it has to: it cannot be captured in a graph then.
    """

    name: str
    make: Callable[[], Tensors]
    run: Callable[..., Tensors]
    most: int
    waits: str = ""


def _gradients(run: Callable[..., Tensor]) -> Callable[..., Tensors]:
    """Of the result's sum of squares to every argument."""

    def both(*tensors: Tensor) -> Tensors:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        y = run(*leaves)
        return torch.autograd.grad(y, leaves, y.detach().conj())

    return both


def _alone(run: Callable[..., Tensor]) -> Callable[..., Tensors]:
    return lambda *tensors: (run(*tensors),)


# --- stencil ---


def _images() -> Tensors:
    return torch.randn(8, 2, 28, 28), 0.1 * torch.randn(5, 2, 3, 3)


def _plane() -> Tensors:
    return torch.randn(1, 1, 200, 260), 0.1 * torch.randn(6, 1, 3, 3)


# --- schrodinger ---


def _systems() -> Tensors:
    return torch.randn(40, 100, dtype=torch.complex128), torch.rand(100, dtype=torch.float64)


def _field() -> Tensors:
    return torch.randn(2, 24, 40, dtype=torch.complex128), torch.rand(24, 40, dtype=torch.float64)


def _moved(psi: Tensor, potential: Tensor) -> Tensor:
    spacing = 0.1 if potential.ndim == 1 else (0.1,) * potential.ndim
    moved = propagate(psi, potential, dt=0.02, steps=7, spacing=spacing)
    assert isinstance(moved, Tensor)
    return moved


def _operator() -> Tensors:
    return (
        torch.randn(6, 50, dtype=torch.complex128),
        torch.rand(50, dtype=torch.float64),
        torch.randn(49, dtype=torch.complex128),
    )


def _turned(psi: Tensor, diagonal: Tensor, upper: Tensor) -> Tensor:
    turned = cayley(psi, diagonal, upper, -0.01j, 5)
    assert isinstance(turned, Tensor)
    return turned


# --- paths ---


def _weights() -> Tensors:
    return torch.rand(9, 200) + 0.1, torch.rand(7) / 7


def _lattice_sum(psi: Tensor, taps: Tensor) -> Tensor:
    return paths.transfer(psi, taps, steps=6, method="direct")


def _log_sum(psi: Tensor, taps: Tensor) -> Tensor:
    return paths.transfer(psi.log(), taps.log(), steps=6, semiring="log", method="direct")


def _action(x: Tensor) -> Tensor:
    return paths.action(x, QUARTIC, dt=0.1)


def _force(phi: Tensor) -> Tensor:
    return paths.phi4_gradient(phi, mass2=-1.0, coupling=0.3)


def _sampler(name: str, engine: Any, kernels: int, waits: str = "") -> Call:
    """Sweeps of an engine from a state that is moved at random; all that it keeps are its tensors."""
    start = engine.start()
    names = list(start)
    moved = next(name for name in ("x", "phi") if name in start)

    def make() -> Tensors:
        state = {**start, moved: start[moved] + 0.3 * torch.rand_like(start[moved])}
        return tuple(state[name].clone() for name in names)

    def run(*tensors: Tensor) -> Tensors:
        state = dict(zip(names, tensors, strict=True))
        after, measured, accepted = engine.advance(state, 0, 4, warmup=False)
        return (*(after[name] for name in names), measured, accepted)

    return Call(name, make, run, kernels, waits)


SAMPLERS = [
    _sampler("metropolis", paths.Metropolis(QUARTIC, beta=2.0, slices=16, chains=40, seed=3), 8),
    _sampler("hmc", paths.Hmc(QUARTIC, slices=16, dt=0.1, chains=40, step_size=0.05, seed=3), 8),
    _sampler(
        "hmc_phi4",
        paths.HmcPhi4(shape=(8, 8), mass2=-1.0, coupling=0.3, chains=10, step_size=0.05, seed=3),
        8,
    ),
    _sampler(
        "langevin",
        paths.Langevin(QUARTIC, dt=0.01, chains=40, measure_every=2, seed=3),
        8,
        waits="it raises where a chain has run away",
    ),
]

CALLS = [
    Call("stencil", _images, _alone(residual_chain), 1),
    Call("stencil plane", _plane, _alone(residual_chain), 6),
    Call("stencil gradients", _images, _gradients(residual_chain), 8),
    Call("propagate", _systems, _alone(_moved), 8),
    Call("propagate gradients", _systems, _gradients(_moved), 24),
    Call("propagate plane", _field, _alone(_moved), 60),
    Call("cayley", _operator, _alone(_turned), 8),
    Call("transfer", _weights, _alone(_lattice_sum), 8),
    Call("transfer gradients", _weights, _gradients(_lattice_sum), 24),
    Call("transfer of logarithms", _weights, _alone(_log_sum), 8),
    Call("action", lambda: (torch.randn(30, 65),), _alone(_action), 2),
    Call("action gradient", lambda: (torch.randn(30, 65),), _gradients(_action), 4),
    Call("phi4 force", lambda: (torch.randn(5, 8, 12),), _alone(_force), 2),
    *SAMPLERS,
]
