"""Peak memory of a gradient against the number of steps, each measured in a process of its own.

    python -m bench.schrodinger.memory qcore 128,1024 1000

prints the peak above what the inputs already took, in bytes. What counts is resident memory, so that scratch
space of kernels is seen as well as tensors.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..ode.memory import MALLOC
from ..stencil.memory import _status, available
from ..table import Table
from .cases import Case, Problem, make
from .gradient import loss
from .peers import drift_of, propagated, turned

SHAPE = (128, 1024)  # batch, points: a state of 2 MiB
STEPS = [10, 100, 1000]
__all__ = ["STEPS", "WHO", "Peak", "available", "measure", "peak_of_gradient", "table"]
TAPED = "torch.fft, taped"
WHO = ("qcore", TAPED)
MOST_FIELDS = 600  # more than these are not asked of the tape, which keeps several a step
SAME = 1.1  # peaks within this factor are taken for the same

NOTE = """\
A field is psi (B, n) in complex128. taped: split steps on torch.fft recorded by autograd, which keeps states
of every step; left out where they would not fit."""


@dataclass(frozen=True)
class Peak:
    """Of one gradient, in bytes above inputs, by who runs it."""

    shape: tuple[int, ...]
    steps: int
    bytes: dict[str, int]

    def fields(self, who: str) -> float:
        """The peak in units of psi."""
        return self.bytes[who] / (16 * prod(self.shape))

    def record(self) -> dict[str, Any]:
        """For JSON."""
        fields = {who: self.fields(who) for who in self.bytes}
        return {"shape": self.shape, "steps": self.steps, "bytes": self.bytes, "fields": fields}


def measure(shape: tuple[int, ...], steps: int, *, threads: int, who: tuple[str, ...] = WHO) -> Peak:
    """Run one gradient per rival, each in a new process.

    Raises:
        RuntimeError: a process failed; with the end of what it said.
    """
    peaks = {}
    for name in who:
        if name == TAPED and 4 * steps > MOST_FIELDS:
            continue
        command = [
            sys.executable,
            "-m",
            "bench.schrodinger.memory",
            name,
            ",".join(map(str, shape)),
            str(steps),
        ]
        done = subprocess.run(
            [*command, "--threads", str(threads)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, **MALLOC},
        )
        if done.returncode:
            raise RuntimeError(f"memory of {name} at {shape}, T={steps}: {done.stderr.strip()[-500:]}")
        peaks[name] = int(done.stdout)
    return Peak(shape, steps, peaks)


def peak_of_gradient(who: str, shape: tuple[int, ...], steps: int) -> int:
    """Bytes by which a gradient raises this process's peak of resident memory."""
    batch, *space = shape
    case = Case("memory", tuple(space), batch, steps)
    gradient(who, make(case.shrunk(4096, steps=2)))()  # code, thread pools and the like come in now
    run = gradient(who, make(case))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here (man 5 proc)
    before = _status("VmRSS")
    result = run()
    peak = _status("VmHWM")
    del result
    return peak - before


def gradient(who: str, problem: Problem) -> Callable[[], Tensor]:
    """The gradient to V of a run's loss."""
    potential = problem.potential.clone().requires_grad_()

    def run() -> Tensor:
        psi = propagated(problem, potential) if who == "qcore" else taped(problem, potential)
        return torch.autograd.grad(loss(psi), potential)[0]

    return run


def taped(problem: Problem, potential: Tensor) -> Tensor:
    """Split steps of one axis that autograd records."""
    case, drift = problem.case, drift_of(problem.case)
    kick, half = (turned(potential, part, case) for part in (1.0, 0.5))
    psi = problem.psi * half
    for step in range(case.steps):
        psi = torch.fft.ifft(torch.fft.fft(psi) * drift)
        psi = psi * (kick if step + 1 < case.steps else half)
    return psi


def table(peaks: list[Peak]) -> Table:
    """The peaks below each other."""
    units = [f"{who} {unit}" for who in WHO for unit in ("MiB", "fields")]
    made = Table("Peak memory of a gradient above its inputs", ["psi", "T", *units, "asked for"], note=NOTE)
    for peak in peaks:
        cells = []
        for who in WHO:
            known = who in peak.bytes
            cells += [f"{peak.bytes[who] / 2**20:.1f}", f"{peak.fields(who):.1f}"] if known else ["", ""]
        first, asked = peaks[0], ""
        if peak is not first:
            reached = peak.bytes["qcore"] <= SAME * first.bytes["qcore"]
            asked = f"as at T={first.steps} {'reached' if reached else 'missed'}"
        made.rows.append([f"[{','.join(map(str, peak.shape))}]", str(peak.steps), *cells, asked])
    return made


def main() -> None:
    """Measure in this process and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.schrodinger.memory", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("who", choices=WHO)
    parser.add_argument("shape", type=lambda text: tuple(int(n) for n in text.split(",")), help="B,n")
    parser.add_argument("steps", type=int)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(peak_of_gradient(arguments.who, arguments.shape, arguments.steps))


if __name__ == "__main__":
    main()
