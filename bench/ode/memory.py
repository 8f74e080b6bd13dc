"""Peak memory of a gradient in each of the ways, each measured in a process of its own.

    python -m bench.ode.memory qcore checkpointed ode/tanh-rk4/32

prints the peak of resident memory above what the inputs already took, in bytes; with malloc as it is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import torch

from ..stencil.memory import _status, available
from .flows import FLOWS, WAYS, WHO, Flow

# A mapping for every block, given back when it is freed: else the holes that glibc leaves between blocks stay
# resident, several times what is in use, in the ways that free most.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_MAX_": "1000000"}

__all__ = ["available", "measure", "peak"]


def measure(flow: Flow, way: str, who: str, *, threads: int) -> int:
    """The peak of one call in a new process, in bytes.

    Raises:
        RuntimeError: the process failed; with the end of what it said.
    """
    command = [sys.executable, "-m", "bench.ode.memory", who, way, flow.name, "--threads", str(threads)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2], env={**os.environ, **MALLOC}
    )
    if done.returncode:
        raise RuntimeError(f"memory of {who}, {way}, {flow.name}: {done.stderr.strip()[-500:]}")
    return int(done.stdout)


def peak(flow: Flow, way: str, who: str) -> int:
    """Bytes by which a call raises this process's peak of resident memory."""
    WHO[who](flow.shrunk(2), way)()  # code, thread pools and the like come in now
    run = WHO[who](flow, way)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here (man 5 proc)
    before = _status("VmRSS")
    gradients = run()
    after = _status("VmHWM")
    del gradients
    return after - before


def main() -> None:
    """Measure in this process and print."""
    flows = {flow.name: flow for flow in FLOWS}
    parser = argparse.ArgumentParser(
        prog="python -m bench.ode.memory", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("who", choices=WHO)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("flow", choices=flows)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(peak(flows[arguments.flow], arguments.way, arguments.who))


if __name__ == "__main__":
    main()
