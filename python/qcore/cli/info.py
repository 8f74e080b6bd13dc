"""Print what belongs in a bug report: versions, build, vector instructions, threads, CUDA."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy
import torch

import qcore
from qcore import _core
from qcore._ops import _device


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
        "CUDA kernels": cuda_kernels(),
        "GPU": _gpu(),
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


def cuda_kernels() -> str:
    """For which compute capabilities there are kernels, and by which CUDA; or why there are none."""
    try:
        build = _device.cuda_module().build_info()
    except NotImplementedError:
        return "none in this build"
    except ImportError as error:
        return str(error)
    return f"for {build['architectures'].replace(';', ', ')}, CUDA {build['runtime']}"


def _gpu() -> str:
    made_for = torch.version.cuda
    torch_has = f"torch: {f'CUDA {made_for}' if made_for else 'CPU build'}"
    if not torch.cuda.is_available():
        return f"none; {torch_has}"
    internal: Any = torch._C
    driver = internal._cuda_getDriverVersion()
    names = [
        f"{torch.cuda.get_device_name(index)} ({''.join(map(str, torch.cuda.get_device_capability(index)))})"
        for index in range(torch.cuda.device_count())
    ]
    return f"{', '.join(names)}; {torch_has}, driver: CUDA {driver // 1000}.{driver % 1000 // 10}"


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
