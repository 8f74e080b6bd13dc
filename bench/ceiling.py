"""What this machine can do at best, by compiled loops in the same run: the yardstick of every share."""

from __future__ import annotations

import torch

from qcore import _core

TRIAD_MEGABYTES = 256.0  # the three arrays together: several times any last-level cache share of two cores
SECONDS = 0.3


class Ceilings:
    """Multiply-adds per second from registers, and bytes per second of a triad a = b + s * c, on all threads.

    The best of all measurements counts: a ceiling that a busy moment lowered would flatter the shares.

    Args:
        threads: on how many threads, as the kernels compared with it.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._fma: dict[str, float] = {}
        self._triad = 0.0

    def measure(self, dtypes: tuple[str, ...] = ("float32", "float64")) -> None:
        """Measure all once more."""
        for dtype in dtypes:
            rate = _core.measure_fma_rate(dtype, SECONDS, self.threads)
            self._fma[dtype] = max(rate, self._fma.get(dtype, 0.0))
        self._triad = max(self._triad, _core.measure_triad(TRIAD_MEGABYTES, SECONDS, self.threads))

    def fma(self, dtype: torch.dtype) -> float:
        """Multiply-adds per second in the type that arithmetic on `dtype` runs in (half types: float32)."""
        return self._fma["float64" if dtype == torch.float64 else "float32"]

    @property
    def triad(self) -> float:
        """Bytes per second."""
        return self._triad

    def facts(self) -> dict[str, float]:
        """All of them, for the record."""
        return {
            **{f"fma_per_second_{dtype}": rate for dtype, rate in self._fma.items()},
            "triad_bytes_per_second": self._triad,
        }
