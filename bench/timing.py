"""Timing of rivals in one process: in turn, in alternating order, warm, medians."""

from __future__ import annotations

import ctypes
import gc
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter
from typing import Any

Run = Callable[[], Any]


class Disagreement(Exception):
    """What a peer computes isn't what qcore computes: the two are not to be compared."""


@dataclass(frozen=True)
class Comparison:
    """Seconds per call of two rivals, sample i of one taken next to sample i of the other.

    The ratio is formed within each pair and then its median taken: what slows the machine a while slows both.
    """

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """How many times longer theirs took, pair by pair."""
        return [b / a for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """Lower and upper quartile of the ratio."""
        low, _, high = quantiles(self.ratios, n=4, method="inclusive")
        return low, high


def compare(
    ours: Run, theirs: Run, *, seconds: float, min_pairs: int = 3, max_pairs: int = 31, sample: float = 0.02
) -> Comparison:
    """Time two warm rivals A B, B A, A B, ... for about so many seconds.

    Args:
        ours, theirs: what to call.
        seconds: rough length of the whole comparison; `min_pairs` are made however long they take.
        min_pairs, max_pairs: bounds of the number of pairs.
        sample: a shorter call is repeated until a sample lasts so many seconds.
    """
    first = once(ours), once(theirs)
    repeats = [max(1, math.ceil(sample / time)) for time in first]
    pair = sum(time * count for time, count in zip(first, repeats, strict=True))
    pairs = max(min_pairs, min(max_pairs, int(seconds / pair)))
    samples = interleave([ours, theirs], repeats, pairs)
    return Comparison(*samples)


def sample_wall(run: Run, repeats: int) -> float:
    """Seconds of a call, the mean of so many."""
    start = perf_counter()
    for _ in range(repeats):
        run()
    return (perf_counter() - start) / repeats


def interleave(
    runs: Sequence[Run],
    repeats: Sequence[int],
    rounds: int,
    sample: Callable[[Run, int], float] = sample_wall,
) -> list[list[float]]:
    """Seconds per call of each run: a sample of `repeats` calls in each round, every other one backwards."""
    samples: list[list[float]] = [[] for _ in runs]
    with no_collection():
        for number in range(rounds):
            order = range(len(runs)) if number % 2 == 0 else reversed(range(len(runs)))
            for index in order:
                samples[index].append(sample(runs[index], repeats[index]))
    return samples


def once(run: Run) -> float:
    """Seconds of one call."""
    return sample_wall(run, 1)


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of a measurement."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed for the next call; False where this cannot be told to it.

    By default glibc gives large blocks back to the system and the next call pays for their pages again: up to
    half the time of a chain of convolutions. That is no part of what is compared. Both sides gain,
    the peers more.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # a C library without it
        return False
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, 2**31 - 1))
