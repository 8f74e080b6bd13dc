"""Errors of runs too long to be kept: averages over bins of 1, 2, 4, ... measurements, taken as they come.

H. Flyvbjerg and H. G. Petersen, J. Chem. Phys. 91, 461 (1989). Memory grows as the logarithm of the length.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qcore._ops._check import require_tensor, shape, wrong_type, wrong_value

from ._estimate import ENOUGH_BLOCKS, Estimate, disagreement, doubts

_GROUPS = 64
_CHUNK_VALUES = 2**18  # about as many are taken in together: few calls, and they stay in the cache


class _Level(NamedTuple):
    """Bins of one size: how many, their mean, the sum of squares about it; tensors of the binning's shape."""

    bins: int
    mean: Tensor
    squares: Tensor

    def absorb(self, bins: int, mean: Tensor, squares: Tensor) -> _Level:
        """With more bins (Chan, Golub, LeVeque 1983)."""
        total = self.bins + bins
        if total == 0:
            return self
        step = mean - self.mean
        return _Level(
            total,
            self.mean + step * (bins / total),
            self.squares + squares + step * step * (self.bins * bins / total),
        )


class Binning:
    """Averages of a stream over bins of 2^l measurements, l = 0, 1, 2, ...

    Measurements are paired by their number in the stream, and every sum is a fixed tree of additions of whole
    tensors: what comes out does not depend on threads, nor on how the stream was cut into calls of `add`.

    More than 64 chains are averaged in 16 to 64 groups of equal size first, if their number has such a
    divisor, which says the same about the error of the mean of all, to a precision that is enough.

    Args:
        shape: of one measurement; its last axis is the chains.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        if len(shape) == 0:
            raise wrong_value("shape", "at least one axis, the chains", shape)
        self.shape = tuple(shape)
        self.groups = _groups(self.shape[-1])
        self._inner = (*self.shape[:-1], self.groups)
        self._levels: list[_Level] = []
        self._pending: dict[int, Tensor] = {}  # by level: a bin whose neighbour has not come yet
        self._buffer = torch.empty(0, *self._inner, dtype=torch.float64)
        most = _CHUNK_VALUES // max(1, math.prod(self._inner))
        self._doublings = min(max(most, 16), 4096).bit_length() - 1  # a chunk is 2^doublings measurements

    @property
    def measurements(self) -> int:
        """Taken in so far, in each chain."""
        whole = self._levels[0].bins if self._levels else 0
        return whole + self._buffer.shape[0]

    def add(self, values: Tensor) -> None:
        """Take in measurements (n, *shape) that follow the ones before."""
        require_tensor("values", values)
        if values.is_complex() or values.dtype == torch.bool:
            raise wrong_type("values", "real numbers", values.dtype)
        if tuple(values.shape[1:]) != self.shape or values.ndim == 0:
            raise wrong_value("values", f"shape (n, {', '.join(map(str, self.shape))})", shape(values))
        x = values.detach().cpu().double()
        if self.groups < self.shape[-1]:
            per = self.shape[-1] // self.groups
            x = torch.from_numpy(x.reshape(x.shape[0], *self._inner, per).numpy().sum(-1) / per)
        data = torch.cat([self._buffer, x])
        chunk = 2**self._doublings
        whole = data.shape[0] // chunk * chunk
        for first in range(0, whole, chunk):
            self._take(data[first : first + chunk])
        self._buffer = data[whole:].clone()

    def merge(self, other: Binning) -> Binning:
        """Both streams as one, as if they were two runs of the same chains; neither of them is changed.

        Adding to the result goes on with the stream of `self`.
        """
        if not isinstance(other, Binning):
            raise wrong_type("other", "a Binning", type(other).__name__)
        if other.shape != self.shape:
            raise wrong_value("other", f"measurements of shape {self.shape}", other.shape)
        merged = self.copy()
        for level, bins in enumerate(other._with_rest()):
            merged._absorb(level, *bins)
        return merged

    def copy(self) -> Binning:
        """One that goes its own way."""
        twin = Binning(self.shape)
        twin._levels = list(self._levels)  # the tensors themselves are never written to
        twin._pending = dict(self._pending)
        twin._buffer = self._buffer
        return twin

    def state_dict(self) -> dict[str, Any]:
        """All there is, as tensors and numbers."""
        return {
            "shape": list(self.shape),
            "counts": [level.bins for level in self._levels],
            "means": [level.mean for level in self._levels],
            "squares": [level.squares for level in self._levels],
            "pending": dict(self._pending),
            "buffer": self._buffer,
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Binning:
        """What `state_dict` was taken of."""
        binning = cls(tuple(state["shape"]))
        binning._levels = [
            _Level(*bins) for bins in zip(state["counts"], state["means"], state["squares"], strict=True)
        ]
        binning._pending = dict(state["pending"])
        binning._buffer = state["buffer"]
        return binning

    def means(self) -> Tensor:
        """(*shape[:-1], groups) average of each chain or group over all measurements; nan without any."""
        levels = self._with_rest()
        return levels[0].mean if levels else torch.full(self._inner, math.nan, dtype=torch.float64)

    def errors(self) -> tuple[Tensor, Tensor]:
        """Standard error of the mean of all chains by bin size, and the standard error of that.

        Returns:
            two tensors (levels, *shape[:-1]) for bins of 1, 2, 4, ... measurements; a level ends the list
            where fewer than two bins are left. The true error is where they stop to grow (eq. 28).
        """
        pooled = [pool for pool in map(_pool, self._with_rest()) if pool.bins > 1]
        if not pooled:
            empty = torch.empty(0, *self.shape[:-1], dtype=torch.float64)
            return empty, empty
        # A mean of all measurements, also of those at the end that fill no bin.
        total = self.measurements * self.groups
        error = torch.stack(
            [(p.squares / (p.bins - 1) * (2**level / total)).sqrt() for level, p in enumerate(pooled)]
        )
        relative = torch.tensor([1.0 / math.sqrt(2.0 * (p.bins - 1)) for p in pooled], dtype=torch.float64)
        return error, error * relative.reshape(-1, *[1] * (error.ndim - 1))

    def estimates(self) -> list[Estimate]:
        """An estimate for each entry of shape[:-1], in order, all chains pooled.

        The bin size B is the smallest with B^3 > 2 N (e_B / e_1)^4, e being the errors by bin size: there the
        correlation that is left between bins weighs less than the scatter of the error (R. M. Lee et al.,
        Phys. Rev. E 83, 066706 (2011)). Where no size with 30 bins does it there is no plateau, and the
        estimate is marked unreliable; as it is where the means of chains scatter more than their errors.
        """
        observables, chains = math.prod(self.shape[:-1]), self.shape[-1]
        total = self.measurements * chains
        if total == 0:
            return [Estimate.of_nothing(chains, "binning")] * observables
        pooled = [_pool(level) for level in self._with_rest()]
        mean = pooled[0].mean.flatten().tolist()
        errors = self.errors()[0].reshape(-1, observables)
        counts = [pool.bins for pool in pooled if pool.bins > 1]
        found = [_choose(mean[i], errors[:, i].tolist(), counts, total, chains) for i in range(observables)]
        means = self.means().reshape(observables, self.groups).numpy()
        return [
            entry if entry.unreliable else replace(entry, unreliable=disagreement(means[i], entry))
            for i, entry in enumerate(found)
        ]

    def _take(self, chunk: Tensor) -> None:
        bins = [chunk]
        for _ in range(self._doublings):
            bins.append((bins[-1][0::2] + bins[-1][1::2]) * 0.5)
        mean = bins[-1][0]
        for level, x in enumerate(bins[:-1]):
            deviation = x - mean
            self._absorb(level, x.shape[0], mean, _tree_sum(deviation.mul_(deviation)))
        level, zero = self._doublings, torch.zeros_like(mean)
        while True:
            self._absorb(level, 1, mean, zero)
            if level not in self._pending:
                self._pending[level] = mean.clone()
                return
            mean = (self._pending.pop(level) + mean) * 0.5
            level += 1

    def _absorb(self, level: int, count: int, mean: Tensor, squares: Tensor) -> None:
        if level == len(self._levels):
            zero = torch.zeros(self._inner, dtype=torch.float64)
            self._levels.append(_Level(0, zero, zero))
        self._levels[level] = self._levels[level].absorb(count, mean, squares)

    def _with_rest(self) -> list[_Level]:
        """The levels, with the bins that the measurements still in the buffer fill."""
        if self._buffer.shape[0] == 0:
            return self._levels
        twin, x, level = self.copy(), self._buffer, 0
        while x.shape[0] > 0:
            mean = x.mean(0)
            twin._absorb(level, x.shape[0], mean, ((x - mean) ** 2).sum(0))
            even = x.shape[0] // 2 * 2
            x, level = (x[0:even:2] + x[1:even:2]) * 0.5, level + 1
        return twin._levels


def _groups(chains: int) -> int:
    """The largest divisor of the number of chains up to 64, unless that is too small to have any use."""
    if chains <= _GROUPS:
        return chains
    largest = max(groups for groups in range(1, _GROUPS + 1) if chains % groups == 0)
    return largest if 4 * largest >= _GROUPS else chains


def _tree_sum(x: Tensor) -> Tensor:
    while x.shape[0] > 1:
        x = x[0::2] + x[1::2]
    return x[0]


def _pool(level: _Level) -> _Level:
    """The chains of a level as one; sums by NumPy, since torch shares long ones among threads."""
    chains = level.mean.shape[-1]
    means, squares = level.mean.numpy(), level.squares.numpy()
    mean = np.asarray(means.sum(-1) / max(chains, 1))
    between = ((means - mean[..., None]) ** 2).sum(-1)
    total = np.asarray(squares.sum(-1) + level.bins * between)
    return _Level(level.bins * chains, torch.from_numpy(mean), torch.from_numpy(total))


def _choose(mean: float, errors: list[float], counts: list[int], total: int, chains: int) -> Estimate:
    if not errors or not math.isfinite(mean) or not math.isfinite(errors[0]):
        why = "one measurement" if math.isfinite(mean) and not errors else "not finite"
        return Estimate(mean, math.nan, math.nan, math.nan, math.nan, total, chains, "binning", 1, why)
    if errors[0] * math.sqrt(counts[0]) <= 8.0 * np.finfo(np.float64).eps * abs(mean):  # rounding of the mean
        return Estimate(mean, 0.0, 0.5, 0.0, float(total), total, chains, "binning", 1)
    enough = [level for level, count in enumerate(counts) if count >= ENOUGH_BLOCKS] or [0]
    plateau = [level for level in enough if 8**level > 2 * counts[0] * (errors[level] / errors[0]) ** 4]
    level = plateau[0] if plateau else enough[-1]
    growth = (errors[level] / errors[0]) ** 2
    tau, error = 0.5 * growth, errors[level]
    tau_error = tau * math.sqrt(2.0 / (counts[level] - 1))
    why = doubts(total, chains, tau, error)
    if not plateau and not why:
        why = f"the error still grows with bins of {2**level}, of which there are {counts[level]}"
    return Estimate(mean, error, tau, tau_error, total / growth, total, chains, "binning", 2**level, why)
