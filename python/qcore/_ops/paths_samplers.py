"""Calls of the sampling kernels, with arrays made for them; samplers are no differentiable operators."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import _device
from ._check import require_count, wrong_value
from .paths_random import PURPOSES, WORDS, require_seed

MOVES = {"single": 0, "staging": 1, "bisection": 2, "displacement": 3, "reflection": 4}


class KernelPotential(NamedTuple):
    """A potential as kernels take it: a polynomial's coefficients (K+1,) or a table's cells (n-1, 4)."""

    coefficients: Tensor
    table: bool = False
    start: float = 0.0
    inverse_spacing: float = 1.0

    def on(self, device: torch.device) -> KernelPotential:
        """For kernels of that device: a table lies there, while a polynomial is read on the host."""
        place = device if self.table else torch.device("cpu")
        return self._replace(coefficients=self.coefficients.to(place))


class MetropolisSettings(NamedTuple):
    """What a Metropolis run keeps from call to call; the kernel's header says what each is."""

    potential: KernelPotential
    link: float
    potential_scale: float
    correction: float
    midpoint: bool
    pinned: bool
    moves: tuple[str, ...]
    segment: int
    hits: int
    every: int
    lags: tuple[int, ...]
    histogram: tuple[float, float]  # first edge and bins per unit of length
    seed: int


def metropolis_sweeps(
    settings: MetropolisSettings,
    *,
    x: Tensor,
    step: Tensor,
    counts: Tensor,
    histogram: Tensor | None,
    first: int,
    sweeps: int,
    warmup: bool,
) -> tuple[Tensor, Tensor]:
    """Sweeps first, ..., first + sweeps - 1 of all chains, in place.

    Args:
        settings: of the run.
        x: (beads, chains) float32 or float64.
        step: (2, chains) float64, full widths of single-bead and displacement proposals.
        counts: (2, moves, chains) float64, proposals made and accepted.
        histogram: (bins,) float64 or None.
        first, sweeps: numbers below 2^32.
        warmup: tune the steps, count nothing.

    Returns:
        measured (measurements, 4 + lags, chains) and accepted (chains,), float64.
    """
    measurements = (first + sweeps) // settings.every - first // settings.every
    measured = x.new_empty(measurements, 4 + len(settings.lags), x.shape[1], dtype=torch.float64)
    accepted = x.new_empty(x.shape[1], dtype=torch.float64)
    potential = settings.potential.on(x.device)
    _device.kernels(x).paths_metropolis(
        x,
        step,
        counts,
        measured,
        accepted,
        histogram,
        potential.coefficients,
        potential.table,
        potential.start,
        potential.inverse_spacing,
        settings.link,
        settings.potential_scale,
        settings.correction,
        settings.midpoint,
        settings.pinned,
        warmup,
        [MOVES[move] for move in settings.moves],
        settings.segment,
        settings.hits,
        first,
        sweeps,
        settings.every,
        list(settings.lags),
        *settings.histogram,
        settings.seed,
    )
    return measured, accepted


class GaussianChain(NamedTuple):
    """x_0 = start + start_sigma xi_0, x_{n+1} = a_n x_n + b_n x_end + s_n xi_{n+1}; x_end = x_0 if closed.

    coefficients (N, 3) float64 hold a, b, s; start and end are (Q,) float64.
    """

    coefficients: Tensor
    start: Tensor
    end: Tensor
    start_sigma: float
    closed: bool


def gaussian_paths(
    chain: GaussianChain, *, samples: int, first: int, seed: int, dtype: torch.dtype, slot: int
) -> Tensor:
    """(Q, samples, N + 1) samples of the chain, numbered from `first` on."""
    _check_samples(samples, first, seed)
    out = chain.start.new_empty(chain.start.shape[0], samples, chain.coefficients.shape[0] + 1, dtype=dtype)
    _device.kernels(out).paths_gaussian(*_arguments(chain, slot), first, seed, out)
    return out


def gaussian_weights(
    chain: GaussianChain,
    potential: KernelPotential,
    *,
    scale: float,
    quadratic: float,
    midpoint: bool,
    samples: int,
    first: int,
    seed: int,
    slot: int,
) -> Tensor:
    """(Q, groups, 3): of groups of samples the largest log weight, sums of weights and of their squares.

    log w = sum_n (quadratic x_n^2 - scale V(x_n)) over the points, ends by half, or over midpoints; sums are
    in units of the group's largest weight and of its square.
    """
    _check_samples(samples, first, seed)
    groups = -(-samples // GROUP)
    out = chain.start.new_empty(chain.start.shape[0], groups, 3, dtype=torch.float64)
    potential = potential.on(out.device)
    _device.kernels(out).paths_gaussian_weights(
        *_arguments(chain, slot),
        first,
        seed,
        potential.coefficients,
        potential.table,
        potential.start,
        potential.inverse_spacing,
        scale,
        quadratic,
        midpoint,
        samples,
        out,
    )
    return out


GROUP = 256  # samples in a group, the kernel's chain_group


def _arguments(chain: GaussianChain, slot: int) -> tuple[Tensor, Tensor, Tensor, float, bool, int]:
    """All that the kernels want of a chain, with the first word of its counters."""
    word = PURPOSES["gaussian_chain"] << 24 | slot
    return *chain[:3], chain.start_sigma, chain.closed, word


def _check_samples(samples: int, first: int, seed: int) -> None:
    require_count("samples", samples)
    require_count("first", first)
    if first + samples > WORDS:
        raise wrong_value("samples", "sample numbers below 2^32", first + samples)
    require_seed(seed)
