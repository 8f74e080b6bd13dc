"""Random numbers as functions of counters: those that the samplers' kernels draw, for Python beside them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from . import _device
from ._check import require_choice, require_count, wrong_type, wrong_value

KINDS = {"words": 0, "uniform": 1, "normal": 2}
PURPOSES = {"metropolis": 2, "gaussian_chain": 3}  # the kernels' Purpose
WORDS = 2**32  # values of a word of a counter


def purpose(name: str, slot: int = 0) -> int:
    """First word of a counter: what the numbers are for, and which of its draws (24 bits)."""
    return PURPOSES[name] << 24 | slot


def draws(
    kind: Literal["words", "uniform", "normal"],
    *,
    purpose: int,
    sweep: int,
    chains: int,
    seed: int,
    site: int = 0,
    sites: int = 1,
    first_chain: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """What the counters (purpose, site + i, sweep, first_chain + c) give under the key `seed`.

    Args:
        kind: "uniform" in (0, 1), "normal" with mean 0 and variance 1, or "words", the 32 random bits
            themselves (float64 only).
        purpose, site, sweep, first_chain: 32-bit words, `purpose` as the function of that name gives it.
        chains, sites: how many.
        seed: 64 bits.
        dtype: float32, of which a counter gives four numbers, or float64, of which it gives two.
        device: of the numbers, which are the same on each.

    Returns:
        (sites, 4 or 2, chains).

    Raises:
        TypeError, ValueError: an argument of the wrong type or value.

    Source: Philox4x32-10 of Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011; normals by
    Box and Muller, Ann. Math. Statist. 29, 610 (1958).
    """
    require_choice("kind", kind, KINDS)
    for name, value in (("chains", chains), ("sites", sites)):
        require_count(name, value)
    for name, value in (
        ("purpose", purpose),
        ("sweep", sweep),
        ("site", site),
        ("first_chain", first_chain),
    ):
        require_count(name, value)
        if value >= WORDS:
            raise wrong_value(name, "an int below 2^32", value)
    require_seed(seed)
    if dtype not in (torch.float32, torch.float64):
        raise wrong_type("dtype", "torch.float32 or torch.float64", dtype)
    count = 2 if dtype == torch.float64 and kind != "words" else 4
    out = torch.empty(sites, count, chains, dtype=dtype, device=device)
    _device.kernels(out).paths_random(purpose, site, sweep, first_chain, seed, KINDS[kind], out)
    return out


def require_seed(seed: int) -> None:
    """Refuse what is not a key of 64 bits."""
    require_count("seed", seed)
    if seed >= 2**64:
        raise wrong_value("seed", "an int below 2^64", seed)
