"""Peak memory of a training step against the number of steps, each measured in a process of its own.

    python -m bench.stencil.memory qcore 64,32,28,28 27

prints the peak above what the inputs already took, in bytes.
"""

from __future__ import annotations

import argparse

import torch

from ..resident import Peak, in_new_process, peak_of
from ..table import Table
from .cases import Case, make
from .peers import PEERS, ours

ON_CHIP = (64, 32, 28, 28)  # images whose trajectory stays in cache: the peak should not depend on T
SHAPES = [ON_CHIP, (1, 1, 1024, 1024)]
STEPS = [3, 9, 27, 81]
WHO = ("qcore", "conv")  # the peer that keeps least: one field per layer, the ReLU in place

ITEM = 4  # bytes of an entry
NOTE = "A field is (B, C, *S) in float32. The results y and grad_x are two of them."


def measure(shape: tuple[int, ...], steps: int, *, threads: int, who: tuple[str, ...] = WHO) -> Peak:
    """Run one training step per rival, each in a new process.

    Raises:
        RuntimeError: a process failed; with the end of what it said.
    """
    sizes = ",".join(map(str, shape))
    peaks = {
        name: in_new_process("bench.stencil.memory", name, sizes, steps, threads=threads) for name in who
    }
    return Peak(shape, steps, ITEM, peaks)


def peak_of_training(who: str, shape: tuple[int, ...], steps: int) -> int:
    """Bytes by which a training step raises this process's peak of resident memory."""
    build = ours if who == "qcore" else next(peer.build for peer in PEERS if peer.name == who)
    case = Case("memory", shape, steps, train=True)
    build(make(case.shrunk(4096, steps=2))).run()  # code, thread pools and the like come in now
    return peak_of(build(make(case)).run)


def table(peaks: list[Peak]) -> Table:
    """The peaks below each other."""
    units = [f"{who} {unit}" for who in WHO for unit in ("MiB", "fields")]
    made = Table(
        "Peak memory of a training step above its inputs", ["shape", "T", *units, "asked for"], note=NOTE
    )
    for peak in peaks:
        first = next(other for other in peaks if other.shape == peak.shape)
        made.rows.append(peak.row(WHO, first if peak.shape == ON_CHIP else None))
    return made


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
