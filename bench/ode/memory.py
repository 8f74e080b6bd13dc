"""Peak memory of a gradient in each of the ways, each measured in a process of its own.

    python -m bench.ode.memory qcore checkpointed ode/tanh-rk4/32

prints the peak of resident memory above what the inputs already took, in bytes.
"""

from __future__ import annotations

import argparse

import torch

from ..resident import MALLOC, in_new_process, peak_of
from .flows import FLOWS, WAYS, WHO, Flow


def measure(flow: Flow, way: str, who: str, *, threads: int) -> int:
    """The peak of one call in a new process, in bytes.

    Raises:
        RuntimeError: the process failed; with the end of what it said.
    """
    return in_new_process("bench.ode.memory", who, way, flow.name, threads=threads, malloc=MALLOC)


def peak(flow: Flow, way: str, who: str) -> int:
    """Bytes by which a call raises this process's peak of resident memory."""
    WHO[who](flow.shrunk(2), way)()  # code, thread pools and the like come in now
    return peak_of(WHO[who](flow, way))


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
