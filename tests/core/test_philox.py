"""The random numbers: known answers, and that neighbouring counters and keys share nothing."""

from __future__ import annotations

import pytest
import torch

from qcore import _core

# The known-answer tests that Salmon et al. publish with their generator, for philox4x32-10.
KNOWN = [
    ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([2**32 - 1] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        0x299F31D0_A4093822,
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(counter: list[int], key: int, words: list[int]) -> None:
    assert _core.philox(counter, key) == words


def test_every_bit_of_counter_and_key_changes_half_of_the_bits() -> None:
    def bits(counter: list[int], key: int) -> torch.Tensor:
        words = torch.tensor(_core.philox(counter, key))
        return (words[:, None] >> torch.arange(32)) & 1

    base = bits([1, 2, 3, 4], 5)
    flips = []
    for word in range(4):
        for bit in range(32):
            counter = [1, 2, 3, 4]
            counter[word] ^= 1 << bit
            flips.append((bits(counter, 5) != base).double().mean())
    flips += [(bits([1, 2, 3, 4], 5 ^ 1 << bit) != base).double().mean() for bit in range(64)]
    share = torch.stack(flips)
    assert share.mean().item() == pytest.approx(0.5, abs=0.02)  # of 192 x 128 bits: 6 standard deviations
    assert share.min() > 0.25
    assert share.max() < 0.75


def test_a_counter_has_four_words() -> None:
    with pytest.raises(ValueError, match="counter: expected 4 words, got 3"):
        _core.philox([0, 0, 0], 0)
