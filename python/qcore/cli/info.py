"""Print what belongs in a bug report: versions, build, vector instructions, threads, CUDA."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import numpy
import torch

import qcore
from qcore import _core


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(arguments: argparse.Namespace) -> int:
    """Print the facts, one on a line."""
    facts = collect()
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")
    return 0


def collect() -> dict[str, str]:
    """The facts by name, in the order of printing."""
    build = _core.build_info()
    return {
        "qcore": qcore.__version__,
        "core": f"{build['version']}, {build['compiler']}, {build['build_type']}",
        "flags": build["flags"],
        "pybind11": build["pybind11"],
        "instruction set": f"{_core.isa()} (available: {', '.join(_core.isa_available())})",
        "QCORE_ISA": os.environ.get("QCORE_ISA", "not set"),
        "threads": f"{_core.num_threads()} (core), {torch.get_num_threads()} (torch), {os.cpu_count()} CPUs",
        "OpenMP": f"{build['openmp']} at build; loaded: {', '.join(openmp_runtimes()) or 'unknown'}",
        "CUDA": _cuda(build["cuda"]),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": f"{platform.platform()}, {_cpu_name()}",
    }


def openmp_runtimes() -> list[str]:
    """File names of the OpenMP runtimes in this process; empty where the system does not tell (not Linux)."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    files = {Path(line.split(maxsplit=5)[5]).name for line in lines if "/" in line}
    return sorted(file for file in files if file.startswith(("libgomp", "libomp", "libiomp")))


def _cuda(built: str) -> str:
    ours = f"{built} in the core"
    if not torch.cuda.is_available():
        return f"{ours}; torch: {torch.version.cuda or 'CPU build'}, no device"
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{ours}; torch: {torch.version.cuda}, {', '.join(devices)}"


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
