"""What the device can do at best, by kernels of our own in the same run: the yardstick of every share."""

from __future__ import annotations

from typing import Protocol

import torch

from qcore._ops import _device

from .. import ceiling
from ..timing import Run
from .clock import DeviceClock

COPIED = 2**28  # floats: a gigabyte, far past any cache
THREADS_PER_MULTIPROCESSOR = 2048
FMA_STEPS = {torch.float32: 60_000, torch.float64: 30_000}  # of eight multiply-adds, some milliseconds
REPEATS = 5


class Ceilings(Protocol):
    """Multiply-adds and bytes per second, the best of all measurements."""

    def measure(self) -> None:
        """Measure all once more."""

    def fma(self, dtype: torch.dtype) -> float:
        """Multiply-adds per second of arithmetic on `dtype` (half types: float32)."""

    @property
    def bandwidth(self) -> float:
        """Bytes per second, read and written."""

    def facts(self) -> dict[str, float]:
        """All of them, for the record."""


class HostCeilings(ceiling.Ceilings):
    """Of the CPU."""

    @property
    def bandwidth(self) -> float:
        """Of the triad."""
        return self.triad


class DeviceCeilings:
    """Of the current CUDA device: a copy of a gigabyte, and chains of multiply-adds in registers."""

    def __init__(self, clock: DeviceClock) -> None:
        self._clock = clock
        self._fma: dict[torch.dtype, float] = {}
        self._copy = 0.0

    def measure(self) -> None:
        """Measure all once more."""
        kernels = _device.cuda_module()
        free, _ = torch.cuda.mem_get_info()
        count = min(COPIED, free // 32)
        x, out = (torch.zeros(count, device="cuda") for _ in range(2))
        self._copy = max(self._copy, *self._rates(lambda: kernels.copy(x, out), 8.0 * count))
        multiprocessors = torch.cuda.get_device_properties(x.device).multi_processor_count
        for dtype, steps in FMA_STEPS.items():
            sums = torch.empty(multiprocessors * THREADS_PER_MULTIPROCESSOR, dtype=dtype, device="cuda")
            amount = 8.0 * steps * sums.numel()
            rates = self._rates(lambda sums=sums, steps=steps: kernels.fma_chain(sums, steps), amount)
            self._fma[dtype] = max(self._fma.get(dtype, 0.0), *rates)

    def _rates(self, run: Run, amount: float) -> list[float]:
        return [amount / self._clock.warm(run, 1) for _ in range(REPEATS)]

    def fma(self, dtype: torch.dtype) -> float:
        """Multiply-adds per second."""
        return self._fma[torch.float64 if dtype == torch.float64 else torch.float32]

    @property
    def bandwidth(self) -> float:
        """Of the copy."""
        return self._copy

    def facts(self) -> dict[str, float]:
        """All of them."""
        named = {str(dtype).removeprefix("torch."): rate for dtype, rate in self._fma.items()}
        return {
            **{f"fma_per_second_{name}": rate for name, rate in named.items()},
            "copy_bytes_per_second": self._copy,
        }
