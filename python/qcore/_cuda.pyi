"""Compiled GPU kernels: the functions of `_core`, on arrays of a device; see cuda/module.cpp."""

from typing import Any

from ._core import *  # noqa: F403  (the same functions, less those that are about the CPU)

def copy(x: Any, out: Any) -> None: ...
def fma_chain(out: Any, steps: int) -> None: ...
