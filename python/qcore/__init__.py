"""qcore: compiled, differentiable kernels for stencil chains, path sums and Schroedinger steps, as torch ops.

A residual layer is a time step of a PDE, a stack of layers is a sum over paths, and both are Schroedinger
dynamics in imaginary time. `qcore.stencil` holds fused residual stencil chains, `qcore.nn` the networks built
on them, `qcore.residual` what a trained chain is: a random walk, a sum over paths. `qcore.schrodinger` moves
wave functions by fused Crank-Nicolson steps. `qcore.paths` sums, weighs and samples paths.
"""

import torch  # first, so that the one OpenMP runtime of the process is torch's

TORCH_FLOOR = (2, 10)
if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < TORCH_FLOOR:
    raise ImportError(
        f"qcore needs torch >= {TORCH_FLOOR[0]}.{TORCH_FLOOR[1]} (the first with the tensor exchange API "
        f"that the kernels read tensors by), found torch {torch.__version__}"
    )

from . import _core, nn, paths, residual, schrodinger, stats, stencil  # noqa: E402

__version__: str = _core.build_info()["version"]
__all__ = ["__version__", "nn", "paths", "residual", "schrodinger", "stats", "stencil"]
