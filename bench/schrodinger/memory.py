"""Peak memory of a gradient against the number of steps, each measured in a process of its own.

    python -m bench.schrodinger.memory qcore 128,1024 1000

prints the peak above what the inputs already took, in bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from ..resident import MALLOC, Peak, in_new_process, peak_of
from ..table import Table
from .cases import Case, Problem, make
from .gradient import loss
from .peers import drift_of, propagated, turned

SHAPE = (128, 1024)  # batch, points: a state of 2 MiB
STEPS = [10, 100, 1000]
TAPED = "torch.fft, taped"
WHO = ("qcore", TAPED)
MOST_FIELDS = 600  # more than these are not asked of the tape, which keeps several a step
ITEM = 16  # bytes of an entry

NOTE = """\
A field is psi (B, n) in complex128. taped: split steps on torch.fft recorded by autograd, which keeps states
of every step; left out where they would not fit."""


def measure(shape: tuple[int, ...], steps: int, *, threads: int, who: tuple[str, ...] = WHO) -> Peak:
    """Run one gradient per rival, each in a new process.

    Raises:
        RuntimeError: a process failed; with the end of what it said.
    """
    named = [name for name in who if name != TAPED or 4 * steps <= MOST_FIELDS]
    module, sizes = "bench.schrodinger.memory", ",".join(map(str, shape))
    peaks = {
        name: in_new_process(module, name, sizes, steps, threads=threads, malloc=MALLOC) for name in named
    }
    return Peak(shape, steps, ITEM, peaks)


def peak_of_gradient(who: str, shape: tuple[int, ...], steps: int) -> int:
    """Bytes by which a gradient raises this process's peak of resident memory."""
    batch, *space = shape
    case = Case("memory", tuple(space), batch, steps)
    gradient(who, make(case.shrunk(4096, steps=2)))()  # code, thread pools and the like come in now
    return peak_of(gradient(who, make(case)))


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
    made.rows += [peak.row(WHO, peaks[0]) for peak in peaks]
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
