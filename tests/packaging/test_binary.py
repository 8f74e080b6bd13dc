"""The shared object: what it needs, what it exports, what it leaves to be found at load time."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

# The runtimes of C and C++. That of CUDA is inside the module of the GPU kernels.
ALLOWED = {
    "libstdc++.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libc.so.6",
    "libpthread.so.0",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
}

pytestmark = pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is not installed")


def readelf(option: str, file: Path) -> list[str]:
    command = ["readelf", "--wide", option, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def dynamic(tag: str, file: Path) -> set[str]:
    found = (re.search(rf"\({tag}\).*\[(.*)\]", line) for line in readelf("--dynamic", file))
    return {match[1] for match in found if match}


def symbols(file: Path) -> list[tuple[str, bool]]:
    """Name and whether it is defined, of every dynamic symbol."""
    rows = [line.split() for line in readelf("--dyn-syms", file)]
    numbered = [row for row in rows if len(row) >= 8 and row[0][:-1].isdigit()]
    return [(row[7].partition("@")[0], row[6] != "UND") for row in numbered]


def test_needs_only_the_runtimes_of_c_cpp_and_openmp(module_file: Path) -> None:
    """OpenMP's by its plain name, so that the loader takes the one torch has."""
    openmp = {"libgomp.so.1"} if module_file.name.startswith("_core") else set()
    needed = dynamic("NEEDED", module_file)
    assert openmp <= needed
    assert needed <= ALLOWED | openmp


def test_searches_no_folder_of_its_own(module_file: Path) -> None:
    assert not dynamic("RPATH", module_file) | dynamic("RUNPATH", module_file)


def test_exports_its_entry_point_alone(module_file: Path) -> None:
    entry = f"PyInit_{module_file.name.partition('.')[0]}"
    assert [name for name, defined in symbols(module_file) if defined] == [entry]


def test_leaves_no_symbol_of_torch_to_be_found(module_file: Path) -> None:
    undefined = [name for name, defined in symbols(module_file) if not defined]
    assert any(name.startswith("Py") for name in undefined), "no symbol of Python: is this list read right?"
    assert [name for name in undefined if re.search(r"c10|2at\d|torch|aoti", name)] == []


def test_has_all_of_its_own_kernels(module_file: Path) -> None:
    """The linker lets a module be without one, for want of the symbols of Python, and loading it fails."""
    assert [name for name, defined in symbols(module_file) if not defined and "5qcore" in name] == []


def test_does_not_ask_for_an_executable_stack(module_file: Path) -> None:
    (stack,) = [line for line in readelf("--segments", module_file) if "GNU_STACK" in line]
    assert re.search(r"\bRW\b", stack), stack
