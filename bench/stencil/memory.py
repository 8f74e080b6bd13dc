"""Peak memory of a training step against the number of steps, each measured in a process of its own.

    python -m bench.stencil.memory qcore 64,32,28,28 27

prints the peak above what the inputs already took, in bytes. What counts is resident memory, so that scratch
space of kernels is seen as well as tensors.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from ..table import Table
from .cases import Case, make
from .peers import PEERS, ours

ON_CHIP = (64, 32, 28, 28)  # images whose trajectory stays in cache: the peak should not depend on T
SHAPES = [ON_CHIP, (1, 1, 1024, 1024)]
STEPS = [3, 9, 27, 81]
WHO = ("qcore", "conv")  # the peer that keeps least: one field per layer, the ReLU in place

SAME = 1.1  # peaks within this factor are taken for the same
NOTE = "A field is (B, C, *S) in float32. The results y and grad_x are two of them."


@dataclass(frozen=True)
class Peak:
    """Of one training step, in bytes above inputs, by who runs it."""

    shape: tuple[int, ...]
    steps: int
    bytes: dict[str, int]

    def fields(self, who: str) -> float:
        """The peak in units of one field (B, C, *S) in float32; the results alone, y and grad_x, are two."""
        return self.bytes[who] / (4 * prod(self.shape))

    def record(self) -> dict[str, Any]:
        """For JSON."""
        fields = {who: self.fields(who) for who in self.bytes}
        return {"shape": self.shape, "steps": self.steps, "bytes": self.bytes, "fields": fields}


def available() -> bool:
    """Whether this system tells the peak of a process and lets it be reset (Linux)."""
    return Path("/proc/self/clear_refs").exists()


def measure(shape: tuple[int, ...], steps: int, *, threads: int, who: tuple[str, ...] = WHO) -> Peak:
    """Run one training step per rival, each in a new process.

    Raises:
        RuntimeError: a process failed; with the end of what it said.
    """
    peaks = {}
    for name in who:
        command = [sys.executable, "-m", "bench.stencil.memory", name, ",".join(map(str, shape)), str(steps)]
        done = subprocess.run(
            [*command, "--threads", str(threads)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        if done.returncode:
            raise RuntimeError(f"memory of {name} at {shape}, T={steps}: {done.stderr.strip()[-500:]}")
        peaks[name] = int(done.stdout)
    return Peak(shape, steps, peaks)


def peak_of_training(who: str, shape: tuple[int, ...], steps: int) -> int:
    """Bytes by which a training step raises this process's peak of resident memory."""
    build = ours if who == "qcore" else next(peer.build for peer in PEERS if peer.name == who)
    case = Case("memory", shape, steps, train=True)
    build(make(case.shrunk(4096, steps=2))).run()  # code, thread pools and the like come in now
    run = build(make(case)).run
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here (man 5 proc)
    before = _status("VmRSS")
    results = run()
    peak = _status("VmHWM")
    del results
    return peak - before


def table(peaks: list[Peak]) -> Table:
    """The peaks below each other."""
    units = [f"{who} {unit}" for who in WHO for unit in ("MiB", "fields")]
    made = Table(
        "Peak memory of a training step above its inputs", ["shape", "T", *units, "asked for"], note=NOTE
    )
    for peak in peaks:
        cells = []
        for who in WHO:
            cells += (
                [f"{peak.bytes[who] / 2**20:.1f}", f"{peak.fields(who):.1f}"]
                if who in peak.bytes
                else ["", ""]
            )
        first = next(other for other in peaks if other.shape == peak.shape)
        asked = ""
        if peak.shape == ON_CHIP and peak is not first:
            reached = peak.bytes["qcore"] <= SAME * first.bytes["qcore"]
            asked = f"as at T={first.steps} {'reached' if reached else 'missed'}"
        made.rows.append([f"[{','.join(map(str, peak.shape))}]", str(peak.steps), *cells, asked])
    return made


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def main() -> None:
    """Measure in this process and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.stencil.memory", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("who", choices=WHO)
    parser.add_argument("shape", type=lambda text: tuple(int(n) for n in text.split(",")), help="B,C,H,W")
    parser.add_argument("steps", type=int)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(peak_of_training(arguments.who, arguments.shape, arguments.steps))


if __name__ == "__main__":
    main()
