"""Where a test runs: on the CPU, in the emulation of the GPU kernels, on a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_map_only

from qcore._ops import _device

try:
    from qcore import _emulated
except ImportError:
    _emulated = None

SEED = 12345  # of the shuffled order of threads


def _wanted(name: str) -> bool:
    """Whether a missing device is to fail, not to skip."""
    return os.environ.get(f"QCORE_REQUIRE_{name}", "0") not in ("", "0")


def require(where: str) -> None:
    """Skip a test whose device this machine or build lacks, or fail it where it was asked for."""
    if where == "cuda":
        missing = not torch.cuda.is_available()
        name, text = "CUDA", "no CUDA device"
    elif where in ("emulated", "shuffled"):
        missing = _emulated is None
        name, text = "EMULATION", "built without QCORE_EMULATION"
    else:
        return
    if missing:
        (pytest.fail if _wanted(name) else pytest.skip)(text)


@contextmanager
def emulation(schedule: int = 0) -> Iterator[None]:
    """CPU tensors go to the emulated GPU kernels; schedule 0: threads in ascending order, else shuffled."""
    before = _device._on_cpu
    _emulated.set_schedule(schedule)
    _device._on_cpu = _emulated
    try:
        yield
    finally:
        _device._on_cpu = before
        _emulated.set_schedule(0)


@dataclass(frozen=True)
class Elsewhere:
    """A device other than the CPU."""

    where: str

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``function(*args, **kwargs)`` with its tensors on the device; results come back to the CPU."""
        if self.where == "cuda":
            args, kwargs = tree_map_only(torch.Tensor, lambda t: t.cuda(), (args, kwargs))
            return tree_map_only(torch.Tensor, lambda t: t.cpu(), function(*args, **kwargs))
        with emulation(SEED if self.where == "shuffled" else 0):
            return function(*args, **kwargs)
