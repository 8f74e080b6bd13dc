"""How many levels of a discrete one-dimensional H lie below an energy: the proof that none was missed.

By Sylvester's law the number is that of the negative pivots of H - E, in any order of elimination. Cyclic
reduction takes every second point at once, so that n points need log2(n) passes, for all systems of a batch
together. Compact differences are full matrices, but Schur complements of sparse ones: with l the second
difference,

    L_4 = -12 + 12 (1 - l/12)^{-1}              L_6 = 3/8 l - 75/16 + 75/16 (1 - 2l/15)^{-1}

so that [[T, g], [g, -M]] with g^2 = 12 or 75/16 has exactly n negative pivots more than H - E = T + g^2
M^{-1}.
"""

from __future__ import annotations

import torch
from torch import Tensor

# What multiplies l in T, the constant g^2, and what multiplies l in 1 - M
_TERMS = {4: (0.0, 12.0, 1.0 / 12.0), 6: (3.0 / 8.0, 75.0 / 16.0, 2.0 / 15.0)}


def levels_below(energy: Tensor, potential: Tensor, kappa: float, boundary: str, order: int) -> Tensor:
    """Number (B,) of eigenvalues of H = kappa L_r + V below `energy` (B,), for potentials (B, n), n >= 3.

    Exact for an H within rounding of the one given: an energy nearer to a level than that is on either side.
    """
    n = potential.shape[-1]
    diagonal, link = _blocks((potential - energy.unsqueeze(-1)) / kappa, order)
    wide = diagonal.shape[-1] == 2
    count = _negative_pivots(diagonal, link, boundary == "periodic")
    return count - n if wide else count


def _blocks(v: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Blocks (B, n, b, b) on the diagonal, and the one (b, b) beside it, of the sparse matrix over kappa."""
    if order == 2:
        return (v + 2.0).unsqueeze(-1).unsqueeze(-1), v.new_full((1, 1), -1.0)
    in_t, g2, in_m = _TERMS[order]
    diagonal = v.new_zeros((*v.shape, 2, 2))
    diagonal[..., 0, 0] = v + 2.0 * in_t - g2
    diagonal[..., 0, 1] = diagonal[..., 1, 0] = g2**0.5
    diagonal[..., 1, 1] = 2.0 * in_m - 1.0
    return diagonal, torch.diag(v.new_tensor((-in_t, -in_m)))


def _negative_pivots(diagonal: Tensor, link: Tensor, periodic: bool) -> Tensor:
    """Of the block tridiagonal matrix, whose last point also touches the first where it is periodic."""
    batch, _, b, _ = diagonal.shape
    last, border = diagonal[:, -1], torch.zeros_like(diagonal[:, :0])
    if periodic:  # the last point apart, with its links to all others
        diagonal = diagonal[:, :-1]
        border = torch.zeros_like(diagonal)
        border[:, 0] += link
        border[:, -1] += link
    links = link.expand(batch, diagonal.shape[1] - 1, b, b)
    count = torch.zeros(batch, dtype=torch.int64, device=diagonal.device)
    while diagonal.shape[1] > 0:
        single = diagonal.shape[1] == 1
        odd = slice(0, 1) if single else slice(1, None, 2)
        inverse, negative = _invert(diagonal[:, odd])
        count += negative.sum(-1)
        if periodic:
            gone = border[:, odd]
            last = last - _product(gone.mT, _product(inverse, gone)).sum(1)
        if single:
            break
        before, after = links[:, 0::2], links[:, 1::2]  # from even to odd points, from odd to even ones
        from_left = _product(before, inverse)
        from_right = _product(after.mT, inverse[:, : after.shape[1]])
        rest = diagonal[:, 0::2].clone()
        rest[:, : before.shape[1]] -= _product(from_left, before.mT)
        rest[:, 1 : 1 + after.shape[1]] -= _product(from_right, after)
        if periodic:
            remaining = border[:, 0::2].clone()
            remaining[:, : before.shape[1]] -= _product(from_left, gone)
            remaining[:, 1 : 1 + after.shape[1]] -= _product(from_right, gone[:, : after.shape[1]])
            border = remaining
        diagonal, links = rest, -_product(from_left[:, : after.shape[1]], after)
    if periodic:
        count += _invert(last)[1]
    return count


def _product(a: Tensor, b: Tensor) -> Tensor:
    return a * b if a.shape[-1] == 1 else a @ b


def _invert(block: Tensor) -> tuple[Tensor, Tensor]:
    """Inverses of symmetric blocks (..., b, b), b = 1 or 2, and how many eigenvalues of each are negative."""
    tiny = torch.finfo(block.dtype).tiny ** 0.5  # an exact zero moved off zero
    if block.shape[-1] == 1:
        value = torch.where(block.abs() < tiny, tiny, block)
        return value.reciprocal(), (value[..., 0, 0] < 0).long()
    a, b, c = block[..., 0, 0], block[..., 0, 1], block[..., 1, 1]
    determinant = a * c - b * b
    determinant = torch.where(determinant.abs() < tiny, tiny, determinant)
    adjugate = torch.stack((torch.stack((c, -b), -1), torch.stack((-b, a), -1)), -2)
    both = 2 * (a + c < 0).long()
    return adjugate / determinant[..., None, None], torch.where(determinant < 0, 1, both)
