"""What an installation consists of, from a wheel or editable, and that its parts agree with each other."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import json
import platform
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import pytest
import torch
from packaging.requirements import Requirement

import qcore
from qcore import _core

Distribution = importlib.metadata.Distribution


def is_editable(distribution: Distribution) -> bool:
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))


@pytest.fixture
def wheel_files(distribution: Distribution) -> list[PurePosixPath]:
    """What was installed from the wheel, without the byte code that pip adds."""
    if is_editable(distribution):
        pytest.skip("an editable installation leaves the package where it is")
    assert distribution.files is not None
    return [file for file in distribution.files if file.suffix != ".pyc"]


def test_versions_agree(distribution: Distribution) -> None:
    assert distribution.version == qcore.__version__ == _core.build_info()["version"]


def test_the_imported_package_is_the_installed_one(distribution: Distribution, core_file: Path) -> None:
    """Not the sources beside the tests, unless it was these that were installed as editable."""
    imported = Path(qcore.__file__).parent
    if is_editable(distribution):
        assert imported == Path(__file__).parents[2] / "python" / "qcore"
    else:
        assert imported == core_file.parent == Path(str(distribution.locate_file("qcore")))


def test_wheel_is_python_and_the_modules(wheel_files: list[PurePosixPath]) -> None:
    """No C++ sources, no build files, and no runtime library of its own."""
    suffixes = {file.suffix for file in wheel_files if file.parts[0] == "qcore"}
    assert suffixes == {".py", ".pyi", ".typed", ".so"}
    modules = {file.name.partition(".")[0] for file in wheel_files if ".so" in file.name}
    assert "_core" in modules
    assert modules <= {"_core", "_cuda", "_emulated", "_emulation_selftest"}


def test_wheel_is_the_package_its_metadata_and_a_script(wheel_files: list[PurePosixPath]) -> None:
    metadata = f"qcore_kernels-{qcore.__version__}.dist-info"
    assert [file.name for file in wheel_files if file.parts[0] not in ("qcore", metadata)] == ["qcore"]
    assert any(file.parts[0] == metadata and file.name == "LICENSE" for file in wheel_files)


def test_typing_files_are_there() -> None:
    package = Path(qcore.__file__).parent
    assert (package / "py.typed").is_file()
    assert (package / "_core.pyi").is_file()


def stub_functions() -> dict[str, list[str]]:
    """Names in _core.pyi, each with the names of its arguments."""
    tree = ast.parse((Path(qcore.__file__).parent / "_core.pyi").read_text())
    definitions = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)]
    assert all(isinstance(node, ast.FunctionDef) for node in definitions), "this test reads functions only"
    return {node.name: [argument.arg for argument in node.args.args] for node in definitions}


def test_stub_and_module_have_the_same_names() -> None:
    assert set(stub_functions()) == {name for name in dir(_core) if not name.startswith("_")}


@pytest.mark.parametrize("name", [name for name in dir(_core) if not name.startswith("_")])
def test_stub_and_module_have_the_same_arguments(name: str) -> None:
    # pybind11 writes the signature into the first line of the docstring, with types that aren't all Python.
    documented = (inspect.getdoc(getattr(_core, name)) or "").splitlines()[0]
    assert documented.startswith(f"{name}(")
    arguments = documented[len(name) + 1 : documented.rindex(") -> ")]
    names = [argument.partition(":")[0].strip() for argument in arguments.split(", ") if argument]
    assert names == stub_functions()[name]


def test_torch_floor_is_the_required_version(distribution: Distribution) -> None:
    (torch,) = [r for r in map(Requirement, distribution.requires or []) if r.name == "torch"]
    assert str(torch.specifier) == ">=" + ".".join(map(str, qcore.TORCH_FLOOR))


def test_console_script_is_the_module_command(distribution: Distribution) -> None:
    from qcore.cli import main

    (script,) = distribution.entry_points.select(group="console_scripts")
    assert script.name == "qcore"
    assert script.load() is main


@pytest.fixture(scope="module")
def info(run_python: Callable[..., str]) -> dict[str, str]:
    """What `python -m qcore info` says, by name, where the processor's slowest instruction set is forced."""
    output = run_python("-m", "qcore", "info", QCORE_ISA=_core.isa_available()[0])
    pairs = (re.split(r" {2,}", line, maxsplit=1) for line in output.splitlines())
    return dict(pairs)


def test_info_has_what_a_bug_report_needs(info: dict[str, str]) -> None:
    build = _core.build_info()
    assert info["qcore"] == qcore.__version__
    for fact in (build["version"], build["compiler"], build["build_type"]):
        assert fact in info["core"]
    assert info["flags"] == build["flags"]
    assert info["torch"] == torch.__version__
    assert info["Python"].startswith(platform.python_version())
    assert {"threads", "OpenMP", "numpy", "platform"} <= set(info)


def test_info_names_the_instruction_set_in_use(info: dict[str, str]) -> None:
    available = _core.isa_available()
    assert info["instruction set"].split()[0] == available[0]
    assert all(isa in info["instruction set"] for isa in available)


def test_info_tells_what_there_is_for_gpus(info: dict[str, str]) -> None:
    if find_spec("qcore._cuda"):
        assert re.fullmatch(r"for \d[\w-]*(, \d[\w-]*)*, CUDA \d+\.\d+", info["CUDA kernels"])
    else:
        assert info["CUDA kernels"] == "none in this build"
    assert info["GPU"].startswith("none; torch: ") != torch.cuda.is_available()
