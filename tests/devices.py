"""Where a test runs: on the CPU, in the emulation of the GPU kernels, on a GPU."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from qcore._ops import _device

try:
    from qcore import _emulated as emulated
except ImportError:
    emulated = None

SEED = 12345  # of the shuffled order of threads


def wanted(name: str) -> bool:
    """Whether QCORE_`name` is set.

    REQUIRE_CUDA and REQUIRE_EMULATION: a missing device is a failure, else tests of it are skipped.
    TEST_EMULATED: all numerical tests run in emulation as well, for hours.
    """
    return os.environ.get(f"QCORE_{name}", "0") not in ("", "0")


def require(where: str) -> None:
    """Skip a test whose device this machine or build lacks, or fail it where it was asked for."""
    if where == "cuda":
        missing = not torch.cuda.is_available()
        name, text = "CUDA", "no CUDA device"
    elif where in ("emulated", "shuffled"):
        missing = emulated is None
        name, text = "EMULATION", "built without QCORE_EMULATION"
    else:
        return
    if missing:
        (pytest.fail if wanted(f"REQUIRE_{name}") else pytest.skip)(text)


# Arguments of the kernels that are settings and stay on the host; potentials too, where they are no tables.
ON_HOST = {"c", "e", "factors", "guide"}


class Kernels:
    """The kernels of another device for tensors of the CPU, in the place of `qcore._core`.

    A call copies the memory under its tensors to `device`, in the same layout, and what the kernel made of it
    back: whatever a test asks of results on the CPU, it asks of these kernels. One that the device lacks is a
    failure; but with `skip_plain` the plain ones, which only the CPU is to have, skip the test.
    """

    def __init__(self, module: Any, device: str, *, skip_plain: bool) -> None:
        self._module = module
        self._device = device
        self._skip_plain = skip_plain

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._module, name)
        signature = str(function.__doc__).split("\n")[0]
        parameters = re.findall(r"(\w+): ", signature)

        def call(*args: Any, **kwargs: Any) -> Any:
            named = dict(zip(parameters, args, strict=False)) | kwargs
            host = ON_HOST if named.get("table", True) else ON_HOST | {"potential"}
            copies: dict[int, tuple[Tensor, Tensor]] = {}
            there = {
                key: self._copy(value, copies) if isinstance(value, Tensor) and key not in host else value
                for key, value in named.items()
            }
            try:
                result = function(**there)
            except NotImplementedError as error:
                if self._skip_plain and "'reference' runs on the CPU alone" in str(error):
                    pytest.skip(str(error))
                raise
            for here, copy in copies.values():
                here.copy_(copy)
            return result

        return call

    def _copy(self, tensor: Tensor, copies: dict[int, tuple[Tensor, Tensor]]) -> Tensor:
        """The tensor's twin on the device, in a copy of its storage that others of the call may share."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in copies:
            memory = torch.empty(0, dtype=torch.uint8).set_(storage)
            copies[storage.data_ptr()] = memory, memory.to(self._device, copy=True)
        copy = copies[storage.data_ptr()][1].untyped_storage()
        return torch.empty(0, dtype=tensor.dtype, device=self._device).set_(
            copy, tensor.storage_offset(), tensor.size(), tensor.stride()
        )


@contextmanager
def kernels(where: str, *, skip_plain: bool = False) -> Iterator[None]:
    """CPU tensors go to the kernels of "cpu", "emulated", "shuffled" (threads in another order) or "cuda"."""
    before = _device._on_cpu
    if where == "cuda":
        _device._on_cpu = Kernels(_device.cuda_module(), "cuda", skip_plain=skip_plain)
    elif where != "cpu":
        _device._on_cpu = Kernels(emulated, "cpu", skip_plain=skip_plain)
        emulated.set_schedule(SEED if where == "shuffled" else 0)
    try:
        yield
    finally:
        _device._on_cpu = before
        if emulated is not None:
            emulated.set_schedule(0)


@dataclass(frozen=True)
class Elsewhere:
    """A device other than the CPU."""

    where: str

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``function(*args, **kwargs)`` with its tensors on the device; results come back to the CPU."""
        if self.where == "cuda":
            args, kwargs = tree_map_only(torch.Tensor, lambda t: t.cuda(), (args, kwargs))
            return tree_map_only(torch.Tensor, lambda t: t.cpu(), function(*args, **kwargs))
        with kernels(self.where):
            return function(*args, **kwargs)
