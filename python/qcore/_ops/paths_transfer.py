"""Operators of sums over lattice paths in three semirings: all steps in one call, and their gradients.

`qcore.paths.transfer` is the public function; it brings its arguments to the form the operators take
(csrc/paths/transfer.hpp): psi (B, M), taps (1 or N, 1 or B, K), factor (1 or N, 1 or B, M) or None, and in
the semiring "log" signs in the shapes of the three, or None where all are positive.

The reverse mode needs the states again. Where the trajectory is small all are kept, else one every sqrt(N)
steps, and the adjoint runs the segments between them once more.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import Any

import torch
from torch import Tensor

from . import _device
from . import paths_transfer_composite as composite
from ._check import shape, wrong_value
from ._register import OptionalTensors, Rule, Tensors, define, derivative, differentiable
from ._second_derivatives import double_vjp, tangent, vjp_tangent
from .paths_transfer_check import (
    BACKENDS,
    BOUNDARIES,
    SEMIRINGS,
    check_adjoint,
    check_recorded,
    check_transfer,
    kept_shape,
)

__all__ = ["BACKENDS", "BOUNDARIES", "SEMIRINGS", "adjoint", "best_path", "transfer"]

_SMALL_TRAJECTORY = 4 << 20  # bytes: below, running a segment again costs more than reading it
_TENSORS = 6  # psi, taps, factor and their signs


def _contiguous(tensors: Any) -> Any:
    return [None if t is None else t.contiguous() for t in tensors]


# --- the sum: out (B, M), and exponents (B,) float64 of a scaled run, or signs (B, M), else nothing ---


def _outputs(*args: Any) -> Tensors:
    psi, signs, scaled = args[0], args[3:_TENSORS], args[9]
    out = torch.empty_like(psi, memory_format=torch.contiguous_format)
    if scaled:
        return out, psi.new_empty(psi.shape[0], dtype=torch.float64)
    return out, psi.new_empty(psi.shape if any(s is not None for s in signs) else (0,))


def _run(tensors: Any, outputs: Tensors, kept: Tensor | None, settings: Any) -> None:
    steps, boundary, semiring, scaled, keep_every, backend = settings
    out, second = outputs
    given = scaled or any(s is not None for s in tensors[3:])
    results = out, second if given else None, kept
    codes = steps, BOUNDARIES[boundary], SEMIRINGS[semiring], scaled, keep_every, BACKENDS[backend]
    psi, taps, factor, psi_sign, taps_sign, factor_sign = _contiguous(tensors)
    _device.kernels(psi).paths_transfer_forward(
        psi, taps, factor, psi_sign, taps_sign, factor_sign, *results, *codes
    )


def _transfer_kernel(*args: Any) -> Tensors:
    outputs = _outputs(*args)
    *settings, backend = args[_TENSORS:]
    _run(args[:_TENSORS], outputs, None, (*settings, 0, backend))
    return outputs


# --- the same with states kept ---


def _recorded_outputs(*args: Any) -> Tensors:
    psi, steps, semiring, keep_every = args[0], args[6], args[8], args[10]
    return (*_outputs(*args), psi.new_empty(kept_shape(psi, steps, semiring, keep_every)))


def _recorded_kernel(*args: Any) -> Tensors:
    out, second, kept = outputs = _recorded_outputs(*args)
    _run(args[:_TENSORS], (out, second), kept, args[_TENSORS:])
    return outputs


# --- vector-Jacobian product; a gradient that isn't wanted comes back without entries ---


def _adjoint_outputs(*args: Any) -> Tensors:
    psi, taps, factor = args[2:5]
    *_, want_taps, want_factor, _ = args
    return tuple(
        torch.empty_like(t, memory_format=torch.contiguous_format) if wanted else psi.new_empty(0)
        for t, wanted in ((psi, True), (taps, want_taps), (factor, want_factor))
    )


def _adjoint_kernel(*args: Any) -> Tensors:
    outputs = _adjoint_outputs(*args)
    steps, boundary, semiring, scaled, keep_every, want_taps, want_factor, backend = args[2 + _TENSORS :]
    grad_psi, grad_taps, grad_factor = outputs
    results = grad_psi, grad_taps if want_taps else None, grad_factor if want_factor else None
    codes = steps, BOUNDARIES[boundary], SEMIRINGS[semiring], scaled, keep_every, BACKENDS[backend]
    grad, kept, *chain = _contiguous(args[: 2 + _TENSORS])
    psi, taps, factor, psi_sign, taps_sign, factor_sign = chain
    inputs = grad, kept, psi, taps, factor, psi_sign, taps_sign, factor_sign
    _device.kernels(psi).paths_transfer_adjoint(*inputs, *results, *codes)
    return outputs


# --- vmap: one call on more problems; gradients one after the other ---


def _side_by_side(operator: Any, info: Any, in_dims: Any, args: Any) -> Any:
    size, tensors, settings = info.batch_size, args[:_TENSORS], args[_TENSORS:]
    if size == 0:
        raise NotImplementedError(f"{operator.name()}: expected at least one entry to vmap over, got none")
    psi = tensors[0]
    batch = psi.shape[0] if in_dims[0] is None else psi.movedim(in_dims[0], 0).shape[1]

    def states(t: Tensor | None, dim: int | None) -> Tensor | None:
        if t is None:
            return None
        many = t.expand(size, *t.shape) if dim is None else t.movedim(dim, 0)
        return many.flatten(0, 1)

    def own(t: Tensor | None, dim: int | None, spread: bool) -> Tensor | None:
        if t is None or not spread:
            return t
        many = t.unsqueeze(1) if dim is None else t.movedim(dim, 1)
        return many.expand(-1, size, batch, -1).flatten(1, 2)

    pairs = {0: 3, 3: 0, 1: 4, 4: 1, 2: 5, 5: 2}  # weights and their signs have one shape
    spread = {
        i: any(tensors[j] is not None and isinstance(in_dims[j], int) for j in (i, pairs[i]))
        or (tensors[i] is not None and isinstance(in_dims[i], int))
        or (tensors[i] is not None and in_dims[i] is None and tensors[i].shape[1] != 1)
        for i in (1, 2, 4, 5)
    }
    prepared = [
        states(t, d) if i in (0, 3) else own(t, d, spread[i])
        for i, (t, d) in enumerate(zip(tensors, in_dims[:_TENSORS], strict=True))
    ]
    out, second, *kept = operator(*prepared, *settings)
    apart = [out.unflatten(0, (size, batch))]
    empty = not settings[3] and all(t is None for t in tensors[3:])
    apart.append(second.new_empty(size, 0) if empty else second.unflatten(0, (size, batch)))
    apart += [k.unflatten(2, (size, batch)) for k in kept]
    return tuple(apart), (0, 0, 2)[: len(apart)]


def _transfer_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    return _side_by_side(_transfer, info, in_dims, args)


def _recorded_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    return _side_by_side(_recorded, info, in_dims, args)


def _adjoint_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    calls = [
        _adjoint(*(a.select(d, i) if isinstance(d, int) else a for a, d in zip(args, in_dims, strict=True)))
        for i in range(info.batch_size)
    ]
    return tuple(torch.stack(parts) for parts in zip(*calls, strict=True)), (0, 0, 0)


# --- the operators ---

_INPUTS = (
    "Tensor psi, Tensor taps, Tensor? factor, Tensor? psi_sign, Tensor? taps_sign, Tensor? factor_sign, "
    "int steps, str boundary, str semiring, bool scaled"
)

_transfer = define(
    f"paths_transfer({_INPUTS}, str backend) -> (Tensor out, Tensor second)",
    check=check_transfer,
    outputs=_outputs,
    kernel=_transfer_kernel,
    vmap=_transfer_vmap,
)
_recorded = define(
    f"paths_transfer_recorded({_INPUTS}, int keep_every, str backend) "
    "-> (Tensor out, Tensor second, Tensor kept)",
    check=check_recorded,
    outputs=_recorded_outputs,
    kernel=_recorded_kernel,
    vmap=_recorded_vmap,
)
_adjoint = define(
    f"paths_transfer_adjoint(Tensor grad, Tensor kept, {_INPUTS}, int keep_every, bool want_taps, "
    "bool want_factor, str backend) -> (Tensor grad_psi, Tensor grad_taps, Tensor grad_factor)",
    check=check_adjoint,
    outputs=_adjoint_outputs,
    kernel=_adjoint_kernel,
    vmap=_adjoint_vmap,
)


# --- derivatives ---


def keep_every(psi: Tensor, steps: int, semiring: str) -> int:
    """Steps between the states that a run keeps for its gradient."""
    parts = 2 if semiring == "log" else 1
    small = steps * psi.numel() * psi.element_size() * parts <= _SMALL_TRAJECTORY
    return 1 if small else max(1, ceil(sqrt(steps)))


def _transfer_recorded(*args: Any) -> tuple[Tensors, Tensors]:
    *settings, backend = args[_TENSORS:]
    steps, _, semiring, _ = settings
    every = keep_every(args[0], steps, semiring)
    out, second, kept = _recorded(*args[:_TENSORS], *settings, every, backend)
    return (out, second), (kept,)


def _transfer_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    *chain, backend = settings
    steps, _, semiring, _ = chain
    if grads[0] is None:
        return (None,) * _TENSORS
    every = keep_every(tensors[0], steps, semiring)
    wanted = needed[1], needed[2] and tensors[2] is not None
    found = adjoint.call(grads[0], kept[0], *tensors, *chain, every, *wanted, backend)
    chosen = (g if want else None for g, want in zip(found, (needed[0], *wanted), strict=True))
    return (*chosen, None, None, None)


def _exponent(*args: Any) -> Tensor:
    """Of a scaled run, under any transform."""
    second: Tensor = transfer.call(*args)[1]
    return second


def _in_torch(tensors: Any, settings: Any) -> tuple[Any, tuple[Tensor, ...]]:
    """The chain as a function of its differentiable arguments, and these."""
    steps, boundary, semiring, scaled, _ = settings
    psi, taps, factor, psi_sign, taps_sign, factor_sign = tensors
    signs = psi_sign, taps_sign, factor_sign
    primals = (psi, taps) if factor is None else (psi, taps, factor)
    exponent = None
    if scaled:
        given = [None if t is None else t.detach() for t in tensors]
        exponent = _exponent(*given, *settings)

    def dense(*p: Tensor) -> Tensors:
        own = p[2] if len(p) > 2 else None
        return (composite.transfer(p[0], p[1], own, *signs, exponent, steps, boundary, semiring),)

    return dense, primals


def _transfer_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    f, primals = _in_torch(tensors, settings)
    (moved,) = tangent(f, primals, tangents[: len(primals)])
    second = _outputs(*tensors, *settings)[1]
    return moved, torch.zeros_like(second)


transfer = differentiable(
    Rule(
        "PathTransfer",
        _TENSORS,
        2,
        _transfer,
        _transfer_recorded,
        _transfer_backward,
        _transfer_jvp,
    )
)
derivative(_transfer, transfer.derive)


def _adjoint_recorded(*args: Any) -> tuple[Tensors, Tensors]:
    return _adjoint(*args), ()


def _adjoint_in_torch(tensors: Any, settings: Any) -> tuple[Any, tuple[Tensor, ...]]:
    *chain, _, _, _, backend = settings
    return _in_torch(tensors[2:], (*chain, backend))


def _adjoint_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    f, primals = _adjoint_in_torch(tensors, settings)
    second = tuple(_with_entries(g, p) for g, p in zip(grads, primals, strict=False))
    to_grads, to_inputs = double_vjp(f, primals, (tensors[0],), second)
    # The states kept follow from psi: what depends on them is in psi's gradient.
    found = (*to_grads, None, *to_inputs, *(None for _ in range(2 + _TENSORS - 2 - len(to_inputs))))
    return tuple(g if need else None for g, need in zip(found, needed, strict=True))


def _adjoint_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    *_, want_taps, want_factor, _ = settings
    f, primals = _adjoint_in_torch(tensors, settings)
    pushed = vjp_tangent(f, primals, tangents[2 : 2 + len(primals)], (tensors[0],), tangents[:1])
    empty = tensors[2].new_empty(0)
    found = (*pushed, empty)[:3]
    return tuple(p if want else empty for p, want in zip(found, (True, want_taps, want_factor), strict=True))


def _with_entries(grad: Tensor | None, like: Tensor) -> Tensor | None:
    return grad if grad is not None and grad.shape == like.shape else None


adjoint = differentiable(
    Rule("PathTransferAdjoint", 2 + _TENSORS, 3, _adjoint, _adjoint_recorded, _adjoint_backward, _adjoint_jvp)
)


def _no_derivative(*_: Any) -> Any:
    raise NotImplementedError(
        "torch.ops.qcore.paths_transfer_recorded and _adjoint: have no derivative of their own; call "
        "torch.autograd.grad with create_graph=True on the public function, outside of torch.compile"
    )


derivative(_recorded, _no_derivative)
derivative(_adjoint, _no_derivative)


# --- the best path: integers, no derivative ---


def best_path(
    psi: Tensor, taps: Tensor, factor: Tensor | None, ends: Tensor, steps: int, boundary: str
) -> Tensor:
    """Sites (B, N + 1), int64, of the best path into each of `ends` (B,); -1 where none leads there."""
    check_transfer(psi, taps, factor, None, None, None, steps, boundary, "max", False, "auto")
    if ends.shape != psi.shape[:1]:
        raise wrong_value("ends", f"shape ({psi.shape[0]},)", shape(ends))
    sites = psi.new_empty(psi.shape[0], steps + 1, dtype=torch.float64)
    own = None if factor is None else factor.detach().contiguous()
    at = ends.double().contiguous()
    _device.kernels(psi).paths_transfer_best_path(
        psi.detach().contiguous(), taps.detach().contiguous(), own, at, sites, steps, BOUNDARIES[boundary]
    )
    return sites.long()
