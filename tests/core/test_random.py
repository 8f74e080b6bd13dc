"""Vector random numbers: the scalar generator's words, uniforms inside (0, 1), normals that are normal."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch
from torch import Tensor

from processes import with_isa
from qcore import _core

WORDS, UNIFORM, NORMAL = 0, 1, 2
DTYPES = (torch.float32, torch.float64)


def draw(
    kind: int,
    dtype: torch.dtype,
    sites: int,
    chains: int,
    *,
    counter: tuple[int, ...] = (7, 0, 3, 0),
    seed: int = 5,
) -> Tensor:
    """(sites, draws, chains)."""
    draws = 4 if dtype == torch.float32 or kind == WORDS else 2
    out = torch.empty(sites, draws, chains, dtype=dtype)
    _core.paths_random(*counter, seed, kind, out)
    return out


@pytest.mark.parametrize(
    ("counter", "seed"),
    [
        ((0, 0, 0, 0), 0),
        ((7, 11, 13, 17), 2**64 - 1),
        ((2**32 - 1, 2**32 - 3, 2**32 - 1, 2**32 - 40), 2**64 - 1),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), 0x299F31D0_A4093822),
    ],
)
def test_words_are_those_of_the_scalar_generator(counter: tuple[int, int, int, int], seed: int) -> None:
    purpose, site, sweep, chain = counter
    words = draw(WORDS, torch.float64, 3, 37, counter=counter, seed=seed)
    for i in range(3):
        for c in range(37):
            assert words[i, :, c].long().tolist() == _core.philox([purpose, site + i, sweep, chain + c], seed)


def test_uniforms_are_made_of_the_words() -> None:
    words = draw(WORDS, torch.float64, 50, 33).long()
    single = ((words >> 9).double() + 0.5) * 2.0**-23
    assert torch.equal(draw(UNIFORM, torch.float32, 50, 33).double(), single)
    high, low = words[:, 0::2], words[:, 1::2]
    double = (((high << 20) | (low >> 12)).double() + 0.5) * 2.0**-52
    assert torch.equal(draw(UNIFORM, torch.float64, 50, 33), double)


def test_normals_are_those_of_box_and_muller() -> None:
    words = draw(WORDS, torch.float64, 400, 33).long()
    first, second = words[:, 0::2].double(), words[:, 1::2]
    radius = (-2 * torch.log((first.float().double() + 0.5).float().double() * 2.0**-32)).sqrt()
    angle = torch.where(second < 2**31, second, second - 2**32).float().double() * (2 * math.pi * 2.0**-32)
    expected = torch.stack([radius * angle.cos(), radius * angle.sin()], 2).flatten(1, 2)
    error = (draw(NORMAL, torch.float32, 400, 33).double() - expected).abs()
    assert error.max() < 5e-7 * 6
    u = draw(UNIFORM, torch.float64, 400, 33)
    radius, angle = (-2 * u[:, 0].log()).sqrt(), 2 * math.pi * (u[:, 1] - 0.5)
    expected = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    assert (draw(NORMAL, torch.float64, 400, 33) - expected).abs().max() < 1e-14


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_and_tails(dtype: torch.dtype) -> None:
    z = draw(NORMAL, dtype, 300, 1000).double()
    n = z.numel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert abs(float((z**power).mean()) - moment) < 4 * math.sqrt(variance / n)
    for threshold in (1.0, 2.0, 3.0, 4.0):
        share = math.erfc(threshold / math.sqrt(2))
        assert abs(float((z.abs() > threshold).double().mean()) - share) < 4 * math.sqrt(share / n)
    # The two of a pair, neighbouring sites and neighbouring chains.
    for a, b in ((z[:, 0], z[:, 1]), (z[1:], z[:-1]), (z[..., 1:], z[..., :-1])):
        assert abs(float((a * b).mean())) < 4 / math.sqrt(a.numel())
        assert abs(float((a**2 * b**2).mean()) - 1) < 4 * math.sqrt(8 / a.numel())
    u = draw(UNIFORM, dtype, 300, 1000).double()
    assert u.min() > 0
    assert u.max() < 1
    counts = torch.histc(u, 256, 0, 1)
    chi_squared = float(((counts - u.numel() / 256) ** 2).sum() * 256 / u.numel())
    assert abs(chi_squared - 255) < 4 * math.sqrt(2 * 255)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [UNIFORM, NORMAL])
def test_a_chain_draws_the_same_whoever_is_beside_it(kind: int, dtype: torch.dtype) -> None:
    all_of_them = draw(kind, dtype, 4, 50)
    for first in (0, 1, 7, 16, 33):
        alone = draw(kind, dtype, 4, 50 - first, counter=(7, 0, 3, first))
        assert torch.equal(alone, all_of_them[..., first:])
    assert torch.equal(draw(kind, dtype, 2, 50, counter=(7, 2, 3, 0)), all_of_them[2:])


def digest() -> str:
    """Of the bits of numbers drawn in this process."""
    bits = hashlib.sha256()
    for dtype in (torch.float32, torch.float64):
        for kind in (1, 2):
            out = torch.empty(200, 4 if dtype == torch.float32 else 2, 61, dtype=dtype)
            _core.paths_random(7, 0, 3, 0, 5, kind, out)
            bits.update(out.numpy().tobytes())
    return bits.hexdigest()


def test_bits_are_those_of_every_instruction_set_with_a_fused_multiply_add() -> None:
    fused = [isa for isa in _core.isa_available() if isa not in ("x86-64-v2", "baseline")]
    assert len({with_isa(isa, digest) for isa in fused}) <= 1


@pytest.mark.parametrize(
    ("arguments", "out", "message"),
    [
        ((0, 0, 0, 0, 0, 3), torch.empty(1, 1, 1), "kind: expected 0"),
        ((0, 0, 0, 0, 0, 0), torch.empty(1, 1, 1), "out: expected dtype float64"),
        ((0, 0, 0, 0, 0, 1), torch.empty(1, 5, 1), "at most 4 draws"),
        ((0, 0, 0, 0, 0, 1), torch.empty(1, 3, 1, dtype=torch.float64), "at most 2 draws"),
        ((0, 0, 0, 0, 0, 1), torch.empty(4, 1), "out: expected shape"),
        ((0, 0, 0, 0, 0, 1), torch.empty(1, 4, 2).transpose(1, 2), "contiguous"),
        ((0, 0, 0, 2**32 - 3, 0, 1), torch.empty(1, 1, 4), "first_chain: expected numbers from 0"),
        ((0, 2**32 - 1, 0, 0, 0, 1), torch.empty(2, 1, 4), "site: expected numbers from 0"),
        ((0, 0, 0, 0, 0, 1), torch.empty(1, 1, 4, dtype=torch.complex64), "out: expected dtype float32"),
    ],
)
def test_refusals(arguments: tuple[int, ...], out: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.paths_random(*arguments, out)
