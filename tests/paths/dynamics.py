"""What the tests of HMC, Langevin motion and diffusion Monte Carlo share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from qcore.paths import SampleResult

SIGMAS = 4.0


def normals(*size: int, seed: int = 1) -> torch.Tensor:
    """Standard normals of a size, float64."""
    return torch.randn(*size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def assert_near(result: SampleResult, **expected: float) -> None:
    """Estimates within four of their errors."""
    for name, value in expected.items():
        entry = result[name]
        assert entry.error > 0, name
        off = abs(entry.mean - value) / entry.error
        assert off < SIGMAS, f"{name}: {entry.mean} +- {entry.error}, expected {value}: {off:.1f} sigma"


def assert_same(a: SampleResult, b: SampleResult, chains: slice = slice(None)) -> None:
    """The same bits in every measurement, and in the last state, of these chains of b."""
    assert a.series is not None
    assert b.series is not None
    assert torch.equal(a.series, b.series[:, :, chains])
    for name, value in a.state.items():
        assert torch.equal(value, b.state[name][chains]), name


class Lattice:
    """Averages over closed paths of n slices by powers of the trapezoid transfer matrix on a grid."""

    def __init__(
        self, v: Callable[[np.ndarray], np.ndarray], n: int, dt: float, mass: float = 1.0, hbar: float = 1.0
    ) -> None:
        x = np.linspace(-6, 6, 401)
        kick = np.exp(-0.5 * dt * v(x) / hbar)
        free = np.exp(-mass * (x[:, None] - x[None, :]) ** 2 / (2 * hbar * dt))
        t = math.sqrt(mass / (2 * math.pi * hbar * dt)) * kick[:, None] * free * kick[None, :] * (x[1] - x[0])
        self.values, self.vectors = np.linalg.eigh(t)
        self.x, self.n, self.dt, self.hbar = x, n, dt, hbar

    def __call__(self, f: Callable[[np.ndarray], np.ndarray]) -> float:
        weights = self.values**self.n
        mean = np.einsum("xk,x,xk->k", self.vectors, f(self.x), self.vectors)
        return float(weights @ mean / weights.sum())

    def correlator(self, lag: int) -> float:
        x = np.einsum("xk,x,xl->kl", self.vectors, self.x, self.vectors)
        near, far = self.values**lag, self.values ** (self.n - lag)
        return float(np.einsum("k,l,kl->", far, near, x**2) / (self.values**self.n).sum())

    def log_z(self) -> float:
        return float(np.log((self.values**self.n).sum()))


def with_threads(threads: int, make: Callable[[], Any]) -> Any:
    """What `make` gives with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return make()
    finally:
        torch.set_num_threads(before)
