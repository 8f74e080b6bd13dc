"""Which compiled module works on a tensor: ``_core`` on the CPU, ``_cuda`` on a GPU.

Both have the same functions with the same arguments. ``_cuda`` runs them on the current stream of the device
that the arrays lie on. It is loaded with the first CUDA tensor: importing qcore never touches a GPU, and a
build without it works everywhere else.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from torch import Tensor

from .. import _core

_on_cpu: Any = _core


def kernels(tensor: Tensor) -> Any:
    """The module whose kernels take `tensor`.

    Raises:
        NotImplementedError: it lies on a GPU and this build has no CUDA kernels.
    """
    return _on_cpu if tensor.is_cpu else cuda_module()


@cache
def cuda_module() -> Any:
    """``_cuda``, loaded; that alone asks neither for a driver nor for a device.

    Raises:
        NotImplementedError: this build has no CUDA kernels.
        ImportError: it has, but they do not load.
    """
    try:
        return import_module("qcore._cuda")
    except ModuleNotFoundError as error:
        raise NotImplementedError(
            "this build of qcore has no CUDA kernels: move the tensors to the CPU, or build it where nvcc is "
            f"found, with QCORE_CUDA=ON ({error})"
        ) from error
    except ImportError as error:
        raise ImportError(f"the CUDA kernels of this build of qcore do not load: {error}") from error
