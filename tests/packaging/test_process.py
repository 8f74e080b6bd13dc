"""What importing qcore does to the process it is imported into: run in fresh interpreters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import qcore

# Runs a kernel on every thread there is, and torch's own threads as well.
KERNEL_CALL = """
x = torch.rand(64, 4, 24, 24)
y = qcore.stencil.residual_chain(x, torch.rand(3, 4, 3, 3))
torch.nn.functional.conv2d(x, torch.rand(4, 4, 3, 3))
"""

# Files mapped into the process, by their path: two copies of one library have two.
MAPPED = """
def mapped():
    with open("/proc/self/maps") as maps:
        return {line.split(maxsplit=5)[5].strip() for line in maps if "/" in line}
"""

IMPORT_ORDERS = {
    "torch first": "import torch, qcore",
    "qcore first": "import qcore, torch",
    # Against the package's own order: the loader finds a runtime for _core, and torch has to take that one.
    "compiled module first": """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("qcore._core", sys.argv[1])
sys.modules["qcore._core"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["qcore._core"])
import qcore, torch
""",
}

linux_only = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc/self/maps")


@linux_only
@pytest.mark.parametrize("order", IMPORT_ORDERS)
def test_one_openmp_runtime(order: str, run_python: Callable[..., str], core_file: Path) -> None:
    report = """
import json, os
runtimes = [f for f in mapped() if os.path.basename(f).startswith(("libgomp", "libomp", "libiomp"))]
torch.set_num_threads(3)
three = qcore._core.num_threads()
torch.set_num_threads(1)
print(json.dumps([runtimes, three, qcore._core.num_threads()]))
"""
    output = run_python("-c", IMPORT_ORDERS[order] + MAPPED + KERNEL_CALL + report, str(core_file))
    runtimes, three, one = json.loads(output)
    assert len(runtimes) == 1, runtimes
    assert (three, one) == (3, 1), "the core does not follow torch.set_num_threads"


def test_subnormal_numbers_survive(run_python: Callable[..., str]) -> None:
    # The flag is one of each thread: NumPy answers for this one, the kernel for all that it starts.
    output = run_python(
        "-c",
        """
import numpy as np, torch, qcore
x = torch.full((512, 1, 28, 28), 1e-40)
y = qcore.stencil.residual_chain(x, torch.zeros(2, 1, 3, 3))
print(np.float64(5e-324) * np.float64(1) > 0, np.float32(1e-40) * np.float32(0.5) > 0, torch.equal(x, y))
""",
    )
    assert output.split() == ["True", "True", "True"]


@linux_only
def test_import_leaves_the_gpu_alone(run_python: Callable[..., str]) -> None:
    output = run_python(
        "-c",
        MAPPED
        + "import os, sys, torch\nbefore = mapped()\nimport qcore\n"
        + KERNEL_CALL
        + """
new = {os.path.basename(file) for file in mapped() - before}
libraries = [file for file in new if file.startswith(("libcu", "libnv"))]
print(torch.cuda.is_initialized(), "qcore._cuda" in sys.modules, libraries)
""",
    )
    assert output.strip() == "False False []"


def test_import_without_a_gpu(run_python: Callable[..., str]) -> None:
    code = "import torch, qcore\n" + KERNEL_CALL + "print(torch.cuda.is_available(), tuple(y.shape))"
    assert run_python("-c", code, CUDA_VISIBLE_DEVICES="").strip() == "False (64, 4, 24, 24)"


# A module that has torch's name and a version, and nothing else.
IMPORT_ON_STUB = """
import sys, types
sys.modules["torch"] = types.ModuleType("torch")
sys.modules["torch"].__version__ = sys.argv[1]
try:
    import qcore
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("version", ["1.13.1", "2.9.1+cu128"])
def test_older_torch_is_refused_by_name(version: str, run_python: Callable[..., str]) -> None:
    message = run_python("-c", IMPORT_ON_STUB, version)
    floor = ".".join(map(str, qcore.TORCH_FLOOR))
    assert message.startswith("ImportError qcore needs torch")
    assert f">= {floor}" in message
    assert f"found torch {version}" in message


@pytest.mark.parametrize("version", ["2.10.0a0+git0123abc", "2.13.0", "3.0.0"])
def test_newer_torch_passes_the_version_check(version: str, run_python: Callable[..., str]) -> None:
    message = run_python("-c", IMPORT_ON_STUB, version)
    assert message, "qcore imported without a torch"
    assert "qcore needs torch" not in message
