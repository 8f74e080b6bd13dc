"""Which instruction set the kernels were told to use, and what happens when this processor lacks it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from qcore import _core

X86 = platform.machine() in ("x86_64", "AMD64")
LEVELS = ["x86-64-v2", "x86-64-v3", "x86-64-v4"] if X86 else ["baseline"]


def import_core(isa: str | None, code: str = "print(_core.isa())") -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "QCORE_ISA"}
    if isa is not None:
        environment["QCORE_ISA"] = isa
    program = "import torch\nfrom qcore import _core\n" + code
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_available_levels_come_in_order() -> None:
    available = _core.isa_available()
    assert available
    assert available == LEVELS[: len(available)]


def test_isa_in_use_is_available() -> None:
    assert _core.isa() in _core.isa_available()


@pytest.mark.skipif(not X86 or not os.path.exists("/proc/cpuinfo"), reason="reads the flags of an x86 Linux")
def test_available_levels_match_the_processor() -> None:
    with open("/proc/cpuinfo") as file:
        flags = set(next(line for line in file if line.startswith("flags")).split())
    avx512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    assert ("x86-64-v3" in _core.isa_available()) == ({"avx2", "fma", "bmi1", "bmi2", "f16c"} <= flags)
    assert ("x86-64-v4" in _core.isa_available()) == (
        {"avx2", "fma", "bmi1", "bmi2", "f16c"} | avx512 <= flags
    )


def test_default_is_the_best() -> None:
    for isa in (None, ""):
        done = import_core(isa)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [_core.isa_available()[-1]]


@pytest.mark.parametrize("isa", _core.isa_available())
def test_environment_forces_a_level(isa: str) -> None:
    for name in {isa, isa.rpartition("-")[2]}:
        done = import_core(name)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [isa]


@pytest.mark.parametrize("wrong", ["avx9", "x86-64-v9", "V4", "x86-64-v", "v3 ", "baseline" if X86 else "v2"])
def test_unknown_level_fails_the_import_with_one_message(wrong: str) -> None:
    program = """
import torch
try:
    from qcore import _core
except (ImportError, RuntimeError) as error:
    print(error)
else:
    print("imported", _core.isa())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "QCORE_ISA": wrong},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = (
        f"QCORE_ISA: expected one of {', '.join(_core.isa_available())} on this processor, got '{wrong}'"
    )
    assert expected in done.stdout


def test_changing_the_environment_later_changes_nothing() -> None:
    code = (
        "import os\nbefore = _core.isa()\nos.environ['QCORE_ISA'] = 'nonsense'\nprint(before == _core.isa())"
    )
    assert import_core(None, code).stdout.split() == ["True"]


def test_build_info_is_text() -> None:
    info = _core.build_info()
    assert {"version", "compiler", "build_type", "flags", "openmp"} <= info.keys()
    assert all(isinstance(v, str) and v for v in info.values())
    assert "fast-math" not in info["flags"]


def test_variants_are_compiled_apart() -> None:
    """Fused multiply-add rounds once and x86-64-v2 has none: the levels must not all run the same code."""
    if "x86-64-v3" not in _core.isa_available():
        pytest.skip("this processor has one level only")
    code = """
generator = torch.Generator().manual_seed(0)
x, taps = torch.randn(4, 2, 28, 28, generator=generator), torch.randn(9, 2, 3, 3, generator=generator) / 9
y = torch.empty_like(x)
_core.stencil_residual_chain(x, taps, None, y, None, None, 1.0, 0, 0.01, 0, 0, 0, 0)
print(y.view(torch.int32).sum().item())
"""
    sums = {isa: import_core(isa, code).stdout.split()[0] for isa in ("x86-64-v2", "x86-64-v3")}
    assert sums["x86-64-v2"] != sums["x86-64-v3"]
