"""Errors of functions of averages, by leaving out one block of the data at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qcore._ops._check import require_tensor, shape, wrong_type, wrong_value

from ._estimate import ENOUGH_BLOCKS


@dataclass(frozen=True, eq=False)
class Jackknife:
    """A function of averages with its error.

    Attributes:
        value: the function of the averages over all blocks.
        error: standard error, of the shape of `value`; nan with fewer than two blocks. Where `value` is
            complex the parts of `error` are the errors of its parts.
        bias: of `value`, of order 1 / blocks; `value - bias` is free of it, and noisier.
        blocks: how many there were.
        unreliable: why the error should not be trusted, or empty.
        deviations: (B, m) of the values without each block from their mean, of the m flattened entries; where
            complex (B, 2m), real parts before imaginary.
    """

    value: Tensor
    error: Tensor
    bias: Tensor
    blocks: int
    unreliable: str
    deviations: Tensor = field(repr=False)

    @property
    def covariance(self) -> Tensor:
        """(m, m) of the m flattened entries of `value`; where complex (2m, 2m), real parts first."""
        if self.blocks < 2:
            return torch.full((self.deviations.shape[1],) * 2, math.nan, dtype=torch.float64)
        return (self.deviations.T @ self.deviations) * ((self.blocks - 1) / self.blocks)


def jackknife(
    blocks: Tensor, function: Callable[[Tensor], Tensor], *, weights: Tensor | None = None
) -> Jackknife:
    """A function of averages, such as a ratio, and its error with all correlations between the averages.

    Args:
        blocks: (B, ...) averages over B independent blocks of the data, long compared with autocorrelations.
        function: of a weighted average of `blocks` (...); gives a tensor of any shape.
        weights: (B,) measurements in each block, if they differ; none may be negative.

    Returns:
        Jackknife; unreliable with fewer than 30 blocks.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value.

    Source: B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans (1982); for blocks of unequal
        size this leaves out blocks, not measurements, which differs in the order of their spread.
    """
    require_tensor("blocks", blocks)
    if blocks.ndim == 0 or blocks.shape[0] == 0:
        raise wrong_value("blocks", "shape (B, ...), B >= 1", shape(blocks))
    if not (blocks.is_floating_point() or blocks.is_complex()):
        raise wrong_type("blocks", "real or complex numbers", blocks.dtype)
    count = blocks.shape[0]
    w = torch.ones(count, dtype=torch.float64) if weights is None else weights.double()
    if w.shape != (count,) or not bool((w >= 0).all()):
        raise wrong_value("weights", f"shape ({count},), none negative", shape(w))
    data = blocks.detach().cpu()
    data = data.to(torch.complex128 if data.is_complex() else torch.float64)
    w_data = w.reshape(-1, *[1] * (data.ndim - 1))
    value = torch.as_tensor(function((w_data * data).sum(0) / w.sum()))
    if count == 1:
        left_out = value.unsqueeze(0)
    else:
        sums, kept = without_each(w_data * data), without_each(w)
        left_out = torch.stack([torch.as_tensor(function(sums[i] / kept[i])) for i in range(count)])
    return leave_one_out(value, left_out)


def leave_one_out(value: Tensor, left_out: Tensor) -> Jackknife:
    """The jackknife of a function's value and its values (B, ...) with each of B blocks left out."""
    count = left_out.shape[0]
    flat = left_out.reshape(count, -1)
    parts = torch.cat([flat.real, flat.imag], 1) if flat.is_complex() else flat
    parts = parts.double()
    deviations = parts - parts.mean(0)
    error = ((deviations**2).sum(0) * ((count - 1) / count)).sqrt() if count > 1 else parts[0] * math.nan
    if flat.is_complex():
        error = torch.complex(*error.chunk(2))
    bias = (count - 1) * (left_out.mean(0) - value)
    why = "" if count >= ENOUGH_BLOCKS else f"{count} blocks are fewer than {ENOUGH_BLOCKS}"
    return Jackknife(value, error.reshape(value.shape), bias, count, why, deviations)


def without_each(x: Tensor) -> Tensor:
    """(B, ...) sums over all entries but one, not by subtraction: the largest entry takes no digits along."""
    zero = torch.zeros_like(x[:1])
    before = torch.cat([zero, x[:-1].cumsum(0)])
    after = torch.cat([zero, x.flip(0)[:-1].cumsum(0)]).flip(0)
    return before + after


def block_means(series: Tensor, blocks: int = 100) -> tuple[Tensor, Tensor]:
    """Averages over about so many blocks of a run, and the measurements in each.

    Whole chains are put together where there are more chains than blocks, else each chain is cut into equal
    pieces (to within one measurement).

    Args:
        series: (n, observables, chains).
        blocks: how many, at most one for each measurement of each chain.

    Returns:
        (B, observables) float64 averages, and (B,) float64 numbers of measurements.

    Raises:
        TypeError, ValueError: an argument of the wrong type or shape; no measurements.
    """
    require_tensor("series", series)
    if series.ndim != 3 or series.numel() == 0:
        raise wrong_value("series", "shape (n, observables, chains), not empty", shape(series))
    if isinstance(blocks, bool) or not isinstance(blocks, int) or blocks < 1:
        raise wrong_value("blocks", "an int >= 1", blocks)
    n, _, chains = series.shape
    x = series.detach().cpu().double()
    if chains >= blocks:
        pieces = torch.tensor_split(x, blocks, dim=2)
    else:
        cut = min(n, -(-blocks // chains))
        pieces = tuple(part[:, :, [c]] for part in torch.tensor_split(x, cut) for c in range(chains))
    means = torch.stack([piece.mean((0, 2)) for piece in pieces])
    counts = torch.tensor([piece.shape[0] * piece.shape[2] for piece in pieces], dtype=torch.float64)
    return means, counts
