"""Peak of resident memory of one call, measured in a process of its own.

What counts is resident memory, so that scratch space of kernels is seen as well as tensors.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

SAME = 1.1  # peaks within this factor are taken for the same

# A mapping for every block, given back when it is freed: else the holes that glibc leaves between blocks stay
# resident, several times what is in use, in the ways that free most.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_MAX_": "1000000"}


def available() -> bool:
    """Whether this system tells the peak of a process and lets it be reset (Linux)."""
    return Path("/proc/self/clear_refs").exists()


def in_new_process(
    module: str, *arguments: object, threads: int, malloc: dict[str, str] | None = None
) -> int:
    """The number of bytes that `python -m module arguments` prints.

    Raises:
        RuntimeError: the process failed; with the end of what it said.
    """
    words = [str(argument) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", module, *words, "--threads", str(threads)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, **(malloc or {})},
    )
    if done.returncode:
        raise RuntimeError(f"memory of {' '.join(words)}: {done.stderr.strip()[-500:]}")
    return int(done.stdout)


def peak_of(run: Callable[[], Any]) -> int:
    """Bytes by which a call raises this process's peak of resident memory."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here (man 5 proc)
    before = _status("VmRSS")
    results = run()
    peak = _status("VmHWM")
    del results
    return peak - before


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


@dataclass(frozen=True)
class Peak:
    """Of one call on a field of `shape` with `item` bytes an entry, in bytes above inputs, by who runs it."""

    shape: tuple[int, ...]
    steps: int
    item: int
    bytes: dict[str, int]

    def fields(self, who: str) -> float:
        """The peak in units of the field."""
        return self.bytes[who] / (self.item * prod(self.shape))

    def record(self) -> dict[str, Any]:
        """For JSON."""
        fields = {who: self.fields(who) for who in self.bytes}
        return {"shape": self.shape, "steps": self.steps, "bytes": self.bytes, "fields": fields}

    def cells(self, rivals: tuple[str, ...]) -> list[str]:
        """Of a table: MiB and fields of each rival, empty where it was not measured."""
        cells: list[str] = []
        for who in rivals:
            known = who in self.bytes
            cells += [f"{self.bytes[who] / 2**20:.1f}", f"{self.fields(who):.1f}"] if known else ["", ""]
        return cells

    def row(self, rivals: tuple[str, ...], first: Peak | None) -> list[str]:
        """Of a table; `first` is the peak that this one should not exceed."""
        asked = ""
        if first is not None and self is not first:
            reached = self.bytes["qcore"] <= SAME * first.bytes["qcore"]
            asked = f"as at T={first.steps} {'reached' if reached else 'missed'}"
        return [f"[{','.join(map(str, self.shape))}]", str(self.steps), *self.cells(rivals), asked]
