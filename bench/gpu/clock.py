"""Timing on a device: by events, with the level-two cache cold or warm, rivals in turn as on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import torch

from .. import timing
from ..timing import Comparison, Run

WARM_SAMPLE = 2e-3  # seconds: shorter calls are repeated until a warm sample lasts so long
SLEEP_RATE = 2e9  # cycles per second that torch's sleeping kernel is told; the clock of large GPUs is near it
MAX_LEAD = 0.05  # seconds that a device is held at most while the host fills its queue


class Clock(Protocol):
    """Seconds of a call of `run`, the mean of so many."""

    def cold(self, run: Run, repeats: int) -> float:
        """With nothing in the level-two cache, and without what the host needs."""

    def warm(self, run: Run, repeats: int) -> float:
        """One call after the other as a user's loop makes them, the host's part included."""


class HostClock:
    """For kernels on the CPU: the wall's, cold and warm alike."""

    def cold(self, run: Run, repeats: int) -> float:
        """As warm."""
        return self.warm(run, repeats)

    def warm(self, run: Run, repeats: int) -> float:
        """Wall time."""
        return timing.sample_wall(run, repeats)


class DeviceClock:
    """CUDA events on the current stream of the current device."""

    def __init__(self) -> None:
        cache = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
        self._flushed = torch.empty(2 * cache, dtype=torch.uint8, device="cuda")
        self._begin, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._leads: WeakKeyDictionary[Run, float] = WeakKeyDictionary()  # runs hold their arrays

    def cold(self, run: Run, repeats: int) -> float:
        """Each call after twice the cache was written; the device waits until the host has sent it all."""
        if run not in self._leads:
            self._leads[run] = min(MAX_LEAD, self._sending(run))
        total = 0.0
        for _ in range(repeats):
            torch.cuda.synchronize()
            torch.cuda._sleep(int((1.5 * self._leads[run] + 2e-5) * SLEEP_RATE))
            self._flushed.zero_()
            total += self._between(run, 1)
        return total / repeats

    def warm(self, run: Run, repeats: int) -> float:
        """Between two events."""
        torch.cuda.synchronize()
        return self._between(run, repeats) / repeats

    def _between(self, run: Run, repeats: int) -> float:
        self._begin.record()
        for _ in range(repeats):
            run()
        self._end.record()
        torch.cuda.synchronize()
        return self._begin.elapsed_time(self._end) * 1e-3

    def _sending(self, run: Run) -> float:
        """Seconds that the host takes to send a call's launches."""
        torch.cuda.synchronize()
        start = perf_counter()
        run()
        return perf_counter() - start


class Timed(NamedTuple):
    """Two rivals, cold and warm, in seconds per call."""

    cold: Comparison
    warm: Comparison

    def per(self, ours: float, theirs: float) -> Timed:
        """The same for each unit of work, of which a call of either does so many."""
        return Timed(*(Comparison([t / ours for t in c.ours], [t / theirs for t in c.theirs]) for c in self))


def compare(
    clock: Clock, ours: Run, theirs: Run, *, seconds: float, min_pairs: int = 5, max_pairs: int = 31
) -> Timed:
    """Time two warm rivals in turn, A B, B A, ..., for about so many seconds: first cold, then warm."""
    runs = [ours, theirs]
    once = [clock.warm(run, 1) for run in runs]
    repeats = [max(1, ceil(WARM_SAMPLE / time)) for time in once]

    def pairs(pair: float) -> int:
        return max(min_pairs, min(max_pairs, int(0.5 * seconds / pair)))

    cold = timing.interleave(runs, [1, 1], pairs(sum(once)), clock.cold)
    length = sum(time * count for time, count in zip(once, repeats, strict=True))
    warm = timing.interleave(runs, repeats, pairs(length), clock.warm)
    return Timed(Comparison(*cold), Comparison(*warm))


def alone(clock: Clock, run: Run, samples: int = 5) -> float:
    """Median seconds of a cold call."""
    return median(clock.cold(run, 1) for _ in range(samples))


def captured(run: Run) -> Callable[[], Any]:
    """`run` as one CUDA graph, which is how a user would get rid of its launches' cost.

    What it returns stays where it is and is written again by every replay.

    Raises:
        Exception: `run` cannot be captured; of whatever kind it threw.
    """
    before, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(before)
    with torch.cuda.stream(aside):
        for _ in range(3):
            run()
    before.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            result = run()
    except Exception:
        # What torch leaves behind otherwise: the capture's stream as the current one, and a generator that
        # takes the capture for going on and draws no more.
        torch.cuda.set_stream(before)
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.graphsafe_set_state(torch.Generator(device="cuda"))
        raise

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def launches(run: Run) -> int:
    """How many kernels, copies and fills a call puts on the device."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as record:
        run()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in record.events())
