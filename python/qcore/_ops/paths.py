"""Calls of the path family's kernels: outputs allocated, arguments in the order of the compiled module.

taps (N, K), gates (N, B, H, W) and bias (N,) are float64 and contiguous; offsets lists row and column of each
tap, outputs the sites y W + x. The kernels check the rest.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from torch import Tensor

from . import _device


class GatedChain(NamedTuple):
    """Layers psi_t(x) = g_t(x) (sum_k T_t(k) psi_{t-1}(x + offset_k) + b_t), and where paths end."""

    taps: Tensor
    offsets: list[int]
    gates: Tensor
    bias: Tensor | None
    outputs: list[int]
    boundary: int

    @property
    def rows(self) -> tuple[int, int]:
        """(B, R): a row of sums for every input and output."""
        return self.gates.shape[1], len(self.outputs)

    @property
    def paths(self) -> int:
        """How many paths end at an output, those that leave the lattice among them."""
        steps, kernel = self.taps.shape
        return int(kernel**steps)


def transfer(chain: GatedChain, scaled: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Summed weights (B, R, H W) and what biases bring (B, R); scaled: with exponents of two (B, R, 2)."""
    weights = chain.gates.new_empty(*chain.rows, prod(chain.gates.shape[2:]))
    from_bias = chain.gates.new_empty(chain.rows)
    exponents = chain.gates.new_empty(*chain.rows, 2) if scaled else None
    _device.kernels(chain.gates).paths_transfer(*chain, weights, from_bias, exponents)
    return weights, from_bias, exponents


def enumerate_paths(chain: GatedChain) -> tuple[Tensor, Tensor]:
    """Weights (B, R, K^N) of single paths, and the sites (R, K^N) where they start, -1 off the lattice."""
    weights = chain.gates.new_empty(*chain.rows, chain.paths)
    starts = chain.gates.new_empty(len(chain.outputs), chain.paths)
    arguments = chain.taps, chain.offsets, chain.gates, chain.outputs, chain.boundary
    _device.kernels(chain.gates).paths_enumerate(*arguments, weights, starts)
    return weights, starts.long()


def sample(chain: GatedChain, psi0: Tensor, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Mean over random paths (B, R), and the variance of that mean."""
    mean, variance = chain.gates.new_empty(chain.rows), chain.gates.new_empty(chain.rows)
    _device.kernels(chain.gates).paths_sample(*chain, psi0, samples, seed, 0, mean, variance)
    return mean, variance
