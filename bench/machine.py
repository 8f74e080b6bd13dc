"""What a benchmark's numbers depend on: processor, instruction set, versions, threads, load, date."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

import torch

from qcore import _core
from qcore.cli import info

# Processor flags that decide how fast a kernel can be; the others are noise in a record.
VECTOR_FLAGS = ("sse4_2", "avx", "fma", "avx2", "f16c", "avx512", "avx_vnni", "amx", "asimd", "sve")


def facts() -> dict[str, str]:
    """Name and value of each, as text."""
    return {
        **info.collect(),
        "CPU flags": " ".join(flag for flag in cpu_flags() if flag.startswith(VECTOR_FLAGS)),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def cpu_flags() -> list[str]:
    """The processor's feature flags; empty where the system does not list them (not Linux)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        name, _, flags = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return sorted(flags.split())
    return []


def busy(threads: int) -> bool:
    """Whether others keep the processor from us: more load over the last minute than CPUs to spare."""
    return os.getloadavg()[0] > max(0.3, (os.cpu_count() or 1) - threads)


def use_threads(threads: int) -> None:
    """Let torch and the kernels run on so many threads, both on the same number.

    Raises:
        RuntimeError: the kernels do not follow torch's number of threads.
    """
    torch.set_num_threads(threads)
    if _core.num_threads() != threads:
        raise RuntimeError(f"threads: torch runs on {threads}, the kernels on {_core.num_threads()}")
