"""Which module works on a tensor, and what is said where there is none."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

from devices import ON_HOST, Kernels, emulated, require
from qcore import _core
from qcore._ops import _device
from qcore.stencil import residual_chain


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A build without the module of the GPU kernels."""
    import qcore

    monkeypatch.delattr(qcore, "_cuda", raising=False)
    monkeypatch.setitem(sys.modules, "qcore._cuda", None)
    _device.cuda_module.cache_clear()
    yield
    _device.cuda_module.cache_clear()


def test_tensors_on_the_cpu_go_to_the_core() -> None:
    assert _device.kernels(torch.ones(1)) is _core


@pytest.mark.usefixtures("without_cuda")
def test_a_build_without_gpu_kernels_says_so() -> None:
    with FakeTensorMode():
        x = torch.empty(1, device="cuda")
    with pytest.raises(
        NotImplementedError, match="no CUDA kernels: move the tensors to the CPU, or build it"
    ):
        _device.kernels(x)


@pytest.mark.usefixtures("without_cuda")
def test_kernels_that_do_not_load_are_no_missing_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError(f"{name}: undefined symbol")

    monkeypatch.setattr(_device, "import_module", broken)
    with pytest.raises(ImportError, match=r"do not load: qcore\._cuda: undefined symbol"):
        _device.cuda_module()


DRIVER = r"(no NVIDIA driver was found: install|the driver knows CUDA up to)"
ARCHITECTURES = r"this build of qcore has kernels for \S+: build it with QCORE_CUDA_ARCHITECTURES set"


@pytest.mark.parametrize("name", ["_cuda", "_emulated"])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (35, rf"\(cudaErrorInsufficientDriver\); {DRIVER}"),
        (222, rf"\(cudaErrorUnsupportedPtxVersion\); {DRIVER}"),
        (100, r"\(cudaErrorNoDevice\); is there a GPU, and do CUDA_VISIBLE_DEVICES and the driver let"),
        (209, rf"\(cudaErrorNoKernelImageForDevice\); {ARCHITECTURES}"),
        (98, rf"\(cudaErrorInvalidDeviceFunction\); {ARCHITECTURES}"),
        (700, r"an illegal memory access was encountered \(cudaErrorIllegalAddress\)$"),
    ],
)
def test_errors_say_what_failed_and_what_to_do(name: str, error: int, said: str) -> None:
    module: Any = pytest.importorskip(f"qcore.{name}")
    text = module.error_message(error, "a launch")
    assert text.startswith("CUDA, a launch: ")
    assert re.search(said, text), text


def test_the_build_is_told_without_a_driver() -> None:
    module: Any = pytest.importorskip("qcore._cuda")
    build = module.build_info()
    assert re.fullmatch(r"\d+\.\d+", build["runtime"])
    assert build["architectures"]


def test_importing_does_not_load_the_gpu_kernels() -> None:
    import subprocess

    code = "import sys, qcore; assert 'qcore._cuda' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_gpu_module_refuses_memory_of_the_host() -> None:
    cuda: Any = pytest.importorskip("qcore._cuda")
    with pytest.raises(ValueError, match="x: expected a CUDA tensor, got a CPU tensor"):
        cuda.copy(torch.ones(3), torch.ones(3))


def test_shapes_and_devices_without_a_gpu() -> None:
    with FakeTensorMode():
        x, taps = torch.empty(2, 1, 4, device="cuda"), torch.empty(5, 1, 3, device="cuda")
        y, states = residual_chain(x, taps, states_every=2)
    assert (y.shape, y.device.type) == (x.shape, "cuda")
    assert (states.shape, states.device.type) == ((2, *x.shape), "cuda")


@pytest.mark.parametrize("n", [0, 1, 3, 4, 1001, 16 * 256 + 4])
def test_copy(n: int, device: Any) -> None:
    x = torch.rand(n)

    def copy(x: torch.Tensor) -> torch.Tensor:
        out = torch.full_like(x, torch.nan)
        _device.kernels(x).copy(x, out)
        return out

    assert torch.equal(device.run(copy, x), x)


def test_copies_of_whole_vectors_refuse_memory_that_begins_between_them(device: Any) -> None:
    def copy(x: torch.Tensor) -> None:
        _device.kernels(x).copy(x[1:], torch.empty_like(x[1:]))

    with pytest.raises(ValueError, match="x: expected memory that begins on 16 bytes, got an offset"):
        device.run(copy, torch.rand(9))


def test_elements_between_multiples_of_their_size_are_refused() -> None:
    require("emulated")
    memory = np.zeros(9)
    x = memory[1 if memory.ctypes.data % 16 == 0 else 2 :][:6].view(np.complex128).reshape(1, 1, 3)
    taps, y = np.zeros((1, 1, 3), complex), np.zeros((1, 1, 3), complex)
    with pytest.raises(ValueError, match="x: expected elements at multiples of their size, 16 bytes, got an"):
        emulated.stencil_residual_chain(x, taps, None, y, None, None, 1.0, 0, 0.01, 0, 0, 0, 0)


ABOUT_THE_CPU = {"build_info", "isa", "isa_available", "num_threads", "measure_fma_rate", "measure_triad"}


def test_the_gpu_module_has_the_functions_of_the_core() -> None:
    emulated: Any = pytest.importorskip("qcore._emulated")
    names = {name for name in dir(_core) if not name.startswith("_")} - ABOUT_THE_CPU
    missing = {name for name in names if not hasattr(emulated, name)}
    assert missing <= {"philox", "vector_function"}, missing
    for name in names - missing:
        assert inspect.getdoc(getattr(emulated, name)) == inspect.getdoc(getattr(_core, name))


def test_calls_on_copies() -> None:
    """Tests of the CPU run on a GPU's kernels through `Kernels`: layouts arrive there, results come back."""
    seen: dict[str, tuple[int, tuple[int, ...], int]] = {}

    def shift(
        x: torch.Tensor, same: torch.Tensor, c: torch.Tensor, out: torch.Tensor | None, by: int
    ) -> None:
        """shift(x: object, same: object, c: object, out: object, by: typing.SupportsInt) -> None"""
        for name, tensor in {"x": x, "same": same, "c": c}.items():
            seen[name] = (tensor.storage_offset(), tensor.stride(), tensor.untyped_storage().data_ptr())
        x += by
        assert out is None

    base = torch.zeros(4, 6)
    x, c = base[1:, ::2], torch.ones(1)
    Kernels(SimpleNamespace(shift=shift), "cpu", skip_plain=False).shift(x, base.t(), c, None, 3)
    assert seen["x"][:2] == (6, (6, 2))
    assert seen["same"][:2] == (0, (1, 6))
    assert seen["x"][2] == seen["same"][2] != base.data_ptr()  # a copy of their storage, and one
    assert seen["c"][2] == c.data_ptr()  # a setting stays on the host
    expected = torch.zeros(4, 6)
    expected[1:, ::2] = 3
    torch.testing.assert_close(base, expected)


@pytest.mark.parametrize("kernel", ["reference", "another"])
@pytest.mark.parametrize("skip_plain", [False, True])
def test_only_plain_kernels_skip_a_test(kernel: str, skip_plain: bool) -> None:
    def call() -> None:
        """call() -> None"""
        raise NotImplementedError(f"backend: the plain kernel '{kernel}' runs on the CPU alone")

    kind = pytest.skip.Exception if skip_plain and kernel == "reference" else NotImplementedError
    with pytest.raises(kind, match=kernel):
        Kernels(SimpleNamespace(call=call), "cpu", skip_plain=skip_plain).call()


def test_settings_on_the_host_are_those_of_the_bindings() -> None:
    sources = "".join(p.read_text() for p in (Path(__file__).parents[2] / "csrc/bindings").glob("*.cpp"))
    arrays = re.findall(r'\b(HostArray|OptionalArray|Array) a\w+\(\w+, "(\w+)"([^)]*)\)', sources)
    always = {name for kind, name, memory in arrays if kind == "HostArray" or memory == ", Memory::host"}
    assert always == ON_HOST
    # and where they are no tables, potentials
    assert {name for _, name, memory in arrays if "?" in memory or "potential_memory" in memory} <= {
        "potential"
    }
