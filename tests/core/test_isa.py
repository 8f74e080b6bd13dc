"""Which instruction set the kernels were told to use, and what happens when this processor lacks it."""

from __future__ import annotations

import os
import platform
from textwrap import indent

import pytest

from processes import in_process
from qcore import _core

X86 = platform.machine() in ("x86_64", "AMD64")
LEVELS = ["x86-64-v2", "x86-64-v3", "x86-64-v4"] if X86 else ["baseline"]


# The extension alone: it is the one that looks at the environment, and needs no torch.
LOAD = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("qcore._core", {_core.__file__!r})
_core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(_core)
"""


def import_core(isa: str, code: str = "print(_core.isa())") -> str:
    """What code prints that follows the import of the core with QCORE_ISA set."""
    return in_process(LOAD + code, QCORE_ISA=isa)


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


def test_default_is_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    best = [_core.isa_available()[-1]]
    assert import_core("").split() == best
    monkeypatch.delenv("QCORE_ISA", raising=False)
    assert in_process(LOAD + "print(_core.isa())").split() == best


@pytest.mark.parametrize("isa", _core.isa_available())
def test_environment_forces_a_level(isa: str) -> None:
    for name in {isa, isa.rpartition("-")[2]}:
        assert import_core(name).split() == [isa]


def test_the_package_takes_the_level_of_the_environment() -> None:
    isa = _core.isa_available()[0]
    assert in_process("import qcore\nprint(qcore._core.isa())", QCORE_ISA=isa).split() == [isa]


@pytest.mark.parametrize("wrong", ["avx9", "x86-64-v9", "V4", "x86-64-v", "v3 ", "baseline" if X86 else "v2"])
def test_unknown_level_fails_the_import_with_one_message(wrong: str) -> None:
    load = indent(LOAD if wrong != "avx9" else "import qcore", "    ")
    program = f"try:\n{load}\nexcept (ImportError, RuntimeError) as error:\n    print(error)"
    levels = ", ".join(_core.isa_available())
    expected = f"QCORE_ISA: expected one of {levels} on this processor, got '{wrong}'"
    assert expected in in_process(program, QCORE_ISA=wrong)


def test_changing_the_environment_later_changes_nothing() -> None:
    code = (
        "import os\nbefore = _core.isa()\nos.environ['QCORE_ISA'] = 'nonsense'\nprint(before == _core.isa())"
    )
    assert import_core("", code).split() == ["True"]


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
import numpy as np
rng = np.random.default_rng(0)
x, taps = rng.normal(size=(4, 2, 28, 28)).astype("f4"), rng.normal(size=(9, 2, 3, 3)).astype("f4") / 9
y = np.empty_like(x)
_core.stencil_residual_chain(x, taps, None, y, None, None, 1.0, 0, 0.01, 0, 0, 0, 0)
print(y.view("i4").sum(dtype="i8"))
"""
    sums = {isa: import_core(isa, code) for isa in ("x86-64-v2", "x86-64-v3")}
    assert sums["x86-64-v2"] != sums["x86-64-v3"]
