"""Operators of scalar fields on a lattice: the action, and its gradient.

Fields phi (B, T, L); factors (R, 4) of the sums over steps in time, over steps in space, of squares and of
fourth powers (csrc/paths/phi4.hpp), on the CPU as those of the actions. Settings: midpoint, periodic,
backend.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _device
from . import paths_action_composite as composite
from ._register import OptionalTensors, Rule, Tensors, define, derivative, differentiable
from ._second_derivatives import double_vjp, tangent, vjp_tangent
from .paths_action import fold, host, loop
from .paths_action_check import BACKENDS, check_field, check_field_gradient

__all__ = ["phi4", "phi4_gradient"]


def _phi4_outputs(phi: Tensor, factors: Tensor, *_: Any) -> Tensor:
    return phi.new_empty((factors.shape[0], phi.shape[0]), dtype=torch.float64)


def _phi4_kernel(phi: Tensor, factors: Tensor, midpoint: bool, periodic: bool, backend: str) -> Tensor:
    out = _phi4_outputs(phi, factors)
    reference = BACKENDS[backend] == 1
    arrays = phi.contiguous(), host(factors), out
    _device.kernels(phi).paths_phi4_action(*arrays, midpoint, periodic, reference)
    return out


def _gradient_outputs(grad: Tensor, phi: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(phi, memory_format=torch.contiguous_format)


def _gradient_kernel(
    grad: Tensor, phi: Tensor, factors: Tensor, midpoint: bool, periodic: bool, backend: str
) -> Tensor:
    out = _gradient_outputs(grad, phi)
    arrays = phi.contiguous(), host(factors), grad.contiguous(), out
    _device.kernels(phi).paths_phi4_gradient(*arrays, midpoint, periodic, BACKENDS[backend] == 1)
    return out


def _phi4_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    size = info.batch_size
    if size == 0 or in_dims[1] is not None:
        return loop(_phi4, size, in_dims, args)
    phi = fold(args[0], in_dims[0], size)
    return _phi4(phi, *args[1:]).unflatten(1, (size, -1 if phi.numel() else 0)), 1


def _gradient_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    size = info.batch_size
    if size == 0 or in_dims[2] is not None:
        return loop(_gradient, size, in_dims, args)
    phi = fold(args[1], in_dims[1], size)
    grad = fold(args[0], in_dims[0], size, 1)
    return _gradient(grad, phi, *args[2:]).unflatten(0, (size, -1 if phi.numel() else 0)), 0


_SETTINGS = "bool midpoint, bool periodic, str backend"

_phi4 = define(
    f"paths_phi4(Tensor phi, Tensor factors, {_SETTINGS}) -> Tensor",
    check=check_field,
    outputs=_phi4_outputs,
    kernel=_phi4_kernel,
    vmap=_phi4_vmap,
)
_gradient = define(
    f"paths_phi4_gradient(Tensor grad, Tensor phi, Tensor factors, {_SETTINGS}) -> Tensor",
    check=check_field_gradient,
    outputs=_gradient_outputs,
    kernel=_gradient_kernel,
    vmap=_gradient_vmap,
)


def _composite(settings: tuple[Any, ...]) -> Any:
    return lambda phi, factors: composite.field_action(phi, factors, *settings)


def _phi4_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    phi, factors = tensors
    grad = grads[0]
    if grad is None:
        return None, None
    to_phi = phi4_gradient.call(grad, phi, factors, *settings) if needed[0] else None
    to_factors = None
    if needed[1]:
        sums = phi4.call(phi, torch.eye(4, dtype=torch.float64), *settings)
        to_factors = (grad.unsqueeze(1) * sums).sum(2).to(factors.device)
    return to_phi, to_factors


def _phi4_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    return tangent(_composite(settings), tuple(tensors), tangents)


def _gradient_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    grad, *primals = tensors
    to_grads, to_primals = double_vjp(_composite(settings), tuple(primals), (grad,), (grads[0], None))
    gradients = (*to_grads, *to_primals)
    return tuple(g if need else None for g, need in zip(gradients, needed, strict=True))


def _gradient_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    grad, *primals = tensors
    f = _composite(settings)
    return vjp_tangent(f, tuple(primals), tangents[1:], (grad,), (tangents[0],))[:1]


phi4 = differentiable(
    Rule("Phi4Action", 2, 1, _phi4, lambda *args: ((_phi4(*args),), ()), _phi4_backward, _phi4_jvp)
)
phi4_gradient = differentiable(
    Rule(
        "Phi4Gradient",
        3,
        1,
        _gradient,
        lambda *args: ((_gradient(*args),), ()),
        _gradient_backward,
        _gradient_jvp,
    )
)
derivative(_phi4, phi4.derive)
derivative(_gradient, phi4_gradient.derive)
