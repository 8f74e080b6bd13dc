"""Crank-Nicolson steps of many systems by cuSPARSE's interleaved tridiagonal solver.

It solves anew every step, there being no routine that keeps factors. Entry j of all systems lies together,
and psi' = 2 A^{-1} psi - psi with A / 2 given needs no product with H: the right-hand side is psi itself.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..schrodinger.cases import Problem, Runner
from ..schrodinger.tridiagonal import coefficients, halved, potential_of

NAME = "cuSPARSE gtsvInterleavedBatch"
ELIMINATION = 0  # Thomas's algorithm, the fastest of its three, without pivots; Cayley's matrices need none

Solve = Callable[[Tensor, Tensor, Tensor, Tensor], None]


class Interleaved:
    """x <- A^{-1} x in place for (n, B) complex arrays lower, diagonal, upper, x on the current stream.

    By the functions of the library that torch has loaded, whatever else is installed.
    """

    def __init__(self, like: Tensor) -> None:
        self._library = ctypes.CDLL("libcusparse.so.12")
        letter = {torch.complex64: "C", torch.complex128: "Z"}[like.dtype]
        self._solve = self._function(f"cusparse{letter}gtsvInterleavedBatch")
        self._handle = ctypes.c_void_p()
        self._checked(self._function("cusparseCreate")(ctypes.byref(self._handle)))
        n, systems = like.shape
        size = ctypes.c_size_t()
        ask = self._function(f"cusparse{letter}gtsvInterleavedBatch_bufferSizeExt")
        pointers = [ctypes.c_void_p(like.data_ptr())] * 4
        self._checked(ask(self._handle, ELIMINATION, n, *pointers, systems, ctypes.byref(size)))
        self._room = torch.empty(max(1, size.value), dtype=torch.uint8, device=like.device)

    def __call__(self, lower: Tensor, diagonal: Tensor, upper: Tensor, x: Tensor) -> None:
        """Solve; what becomes of the bands is up to the library."""
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self._checked(self._function("cusparseSetStream")(self._handle, stream))
        pointers = [ctypes.c_void_p(part.data_ptr()) for part in (lower, diagonal, upper, x)]
        room = ctypes.c_void_p(self._room.data_ptr())
        self._checked(self._solve(self._handle, ELIMINATION, x.shape[0], *pointers, x.shape[1], room))

    def _function(self, name: str) -> Any:
        return getattr(self._library, name)

    @staticmethod
    def _checked(status: int) -> None:
        if status != 0:
            raise RuntimeError(f"cuSPARSE: status {status}")


def steps(problem: Problem, solver: Callable[[Tensor], Solve] = Interleaved, compiled: bool = True) -> Runner:
    """All steps, with one pointwise kernel between solves.

    Args:
        problem: order 2 in time and space, walls, a constant potential.
        solver: made for an array of the shape and type of x.
        compiled: the pointwise kernel by torch.compile; else as separate operations.
    """
    case = problem.case
    (c,) = coefficients(case.time_order)
    bands = halved(potential_of(problem), problem.kappa, c, case.space_order)
    n, systems, device = case.space[0], case.batch, problem.psi.device
    host = torch.zeros(3, n, dtype=torch.complex128)
    host[0, 1:], host[1], host[2, :-1] = (torch.from_numpy(band.astype(complex)) for band in bands)
    kept = host.to(device, case.dtype).unsqueeze(2).expand(3, n, systems).contiguous()
    own, start = kept.clone(), problem.psi.T.contiguous()
    x, psi = start.clone(), torch.empty_like(start)
    solve = solver(x)
    solve(*own.unbind(0), x)
    spoiled = not torch.equal(torch.view_as_real(own), torch.view_as_real(kept))

    def between(x: Tensor, psi: Tensor, own: Tensor, kept: Tensor) -> None:
        moved = x - psi
        psi.copy_(moved)
        x.copy_(moved)
        if spoiled:
            own.copy_(kept)

    # On reals, which torch.compile handles in one kernel.
    reals = [torch.view_as_real(part) for part in (x, psi, own, kept)]
    step = torch.compile(between, fullgraph=True, dynamic=False) if compiled else between

    @torch.no_grad()
    def run() -> Tensor:
        psi.copy_(start)
        x.copy_(start)
        own.copy_(kept)
        for _ in range(case.steps):
            solve(*own.unbind(0), x)
            step(*reals)
        return psi

    return Runner(run, lambda psi: psi.T.contiguous())
