"""Operators of given paths: their actions, and the paths of step and ReLU networks.

`qcore.paths` brings its arguments to the form the operators take (csrc/paths/action.hpp): paths or parameters
(B, M), ends x_ini and x_fin (B,) where parameters need them, a potential's coefficients (K,) or (B, K) or the
cells (n, 4) of a table, and factors (R, 3) of the kinetic sum, the potential sum and the correction. The
factors are read on the host: they belong on the CPU wherever the rest lies, from elsewhere they are fetched.
Settings: is_table, start, spacing, scheme, periodic, lam, parameters, dt, hold_ends, backend.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _device
from . import paths_action_composite as composite
from ._register import OptionalTensors, Rule, Tensors, define, derivative, differentiable
from ._second_derivatives import double_vjp, tangent, vjp_tangent
from .paths_action_check import (
    BACKENDS,
    PARAMETERS,
    check_action,
    check_action_gradient,
    check_integrate,
    check_integrate_adjoint,
)

__all__ = ["action", "action_gradient", "integrate", "integrate_adjoint"]


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def host(factors: Tensor) -> Tensor:
    """Factors as the kernels read them."""
    return factors.cpu().contiguous()


def _codes(settings: tuple[Any, ...]) -> tuple[Any, ...]:
    is_table, start, spacing, scheme, periodic, lam, parameters, dt, hold_ends, backend = settings
    scheme_code, parameters_code = composite.SCHEMES[scheme], PARAMETERS[parameters]
    return (
        is_table,
        start,
        spacing,
        scheme_code,
        periodic,
        lam,
        parameters_code,
        dt,
        hold_ends,
        BACKENDS[backend],
    )


# --- the action, (R, B) ---


def _action_outputs(
    x: Tensor, x_ini: Any, x_fin: Any, coefficients: Tensor, factors: Tensor, *_: Any
) -> Tensor:
    return x.new_empty((factors.shape[0], x.shape[0]), dtype=torch.float64)


def _action_kernel(*args: Any) -> Tensor:
    out = _action_outputs(*args)
    arguments: Any = (*map(_contiguous, args[:4]), host(args[4]), out, *_codes(args[5:]))
    _device.kernels(args[0]).paths_action(*arguments)
    return out


# --- its derivatives by the path, its ends and the potential; empty where there is nothing ---


def _gradient_outputs(
    grad: Tensor, x: Tensor, x_ini: Any, x_fin: Any, coefficients: Tensor, *rest: Any
) -> Tensors:
    of_coefficients = rest[-1]
    return (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        x.new_empty(0 if x_ini is None else x.shape[0]),
        x.new_empty(0 if x_fin is None else x.shape[0]),
        coefficients.new_empty(coefficients.shape if of_coefficients else 0),
    )


def _gradient_kernel(*args: Any) -> Tensors:
    tensors: Any = [*map(_contiguous, args[1:5]), host(args[5])]
    *settings, of_coefficients = args[6:]
    outputs = _gradient_outputs(*args)
    absent = tensors[1] is None, tensors[2] is None, not of_coefficients
    given = [None if no else out for no, out in zip(absent, outputs[1:], strict=True)]
    results: Any = (args[0].contiguous(), outputs[0], *given)
    _device.kernels(args[1]).paths_action_gradient(*tensors, *results, *_codes(tuple(settings)))
    return outputs


# --- paths of networks, and the transpose of that map ---


def _integrate_outputs(w: Tensor, x_ini: Tensor, x_fin: Any, *_: Any) -> Tensor:
    return w.new_empty((w.shape[0], w.shape[1] + 1 + (x_fin is not None)))


def _integrate_kernel(w: Tensor, x_ini: Tensor, x_fin: Any, parameters: str, dt: float) -> Tensor:
    x = _integrate_outputs(w, x_ini, x_fin)
    tensors = w.contiguous(), x_ini.contiguous(), _contiguous(x_fin)
    _device.kernels(w).paths_integrate(*tensors, x, PARAMETERS[parameters], dt)
    return x


def _integrate_adjoint_outputs(grad_x: Tensor, parameters: str, dt: float, pinned: bool) -> Tensors:
    batch, beads = grad_x.shape
    return (
        grad_x.new_empty((batch, beads - 1 - pinned)),
        grad_x.new_empty(batch),
        grad_x.new_empty(batch if pinned else 0),
    )


def _integrate_adjoint_kernel(grad_x: Tensor, parameters: str, dt: float, pinned: bool) -> Tensors:
    outputs = grad_w, grad_ini, grad_fin = _integrate_adjoint_outputs(grad_x, parameters, dt, pinned)
    fin = grad_fin if pinned else None
    kernels = _device.kernels(grad_x)
    kernels.paths_integrate_adjoint(grad_x.contiguous(), grad_w, grad_ini, fin, PARAMETERS[parameters], dt)
    return outputs


# --- vmap: one call with more paths, or one after the other where paths can't differ in what is batched ---


def loop(operator: Any, size: int, in_dims: Any, args: tuple[Any, ...]) -> Any:
    """Call an operator for every sample."""
    calls = []
    for i in range(size):
        calls.append(
            operator(*(a if d is None else a.select(d, i) for a, d in zip(args, in_dims, strict=True)))
        )
    if isinstance(calls[0], Tensor):
        return torch.stack(calls), 0
    outputs = tuple(torch.stack(parts) for parts in zip(*calls, strict=True))
    return outputs, (0,) * len(outputs)


def fold(tensor: Any, dim: int | None, size: int, axis: int = 0) -> Any:
    """A tensor whose axis `axis` counts paths, with the samples in it: sample by sample."""
    if tensor is None:
        return None
    if dim is None:
        tensor = tensor.unsqueeze(axis).expand(*tensor.shape[:axis], size, *tensor.shape[axis:])
    else:
        tensor = tensor.movedim(dim, axis)
    return tensor.flatten(axis, axis + 1)


def _fold_coefficients(c: Tensor, dim: int | None, size: int, batch: int, apart: bool) -> Tensor:
    """Coefficients for every path where samples or paths differ in them, or are to get derivatives apart."""
    if dim is None and c.ndim == 1 and not apart:
        return c
    per_sample = c.unsqueeze(0).expand(size, *c.shape) if dim is None else c.movedim(dim, 0)
    if per_sample.ndim == 2:
        per_sample = per_sample.unsqueeze(1).expand(-1, batch, -1)
    return per_sample.flatten(0, 1)


def _batch(x: Tensor, dim: int | None) -> int:
    return x.shape[0] if dim is None else x.movedim(dim, 0).shape[1]


def _action_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    size, is_table = info.batch_size, args[5]
    if size == 0 or in_dims[4] is not None or (is_table and in_dims[3] is not None):
        return loop(_action, size, in_dims, args)
    batch = _batch(args[0], in_dims[0])
    ends = (fold(a, d, size) for a, d in zip(args[:3], in_dims[:3], strict=True))
    c = args[3] if is_table else _fold_coefficients(args[3], in_dims[3], size, batch, False)
    return _action(*ends, c, *args[4:]).unflatten(1, (size, batch)), 1


def _gradient_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    size, is_table, of_coefficients = info.batch_size, args[6], args[-1]
    if size == 0 or in_dims[5] is not None or (is_table and (of_coefficients or in_dims[4] is not None)):
        return loop(_gradient, size, in_dims, args)
    batch = _batch(args[1], in_dims[1])
    grad = fold(args[0], in_dims[0], size, 1)
    ends = (fold(a, d, size) for a, d in zip(args[1:4], in_dims[1:4], strict=True))
    c = args[4] if is_table else _fold_coefficients(args[4], in_dims[4], size, batch, of_coefficients)
    *gradients, of_c = _gradient(grad, *ends, c, *args[5:])
    split = [
        g.unflatten(0, (size, batch)) if g.numel() or batch == 0 else g.expand(size, 0) for g in gradients
    ]
    if not of_coefficients:
        return (*split, of_c.expand(size, 0)), (0,) * 4
    of_c = of_c.unflatten(0, (size, batch))
    shared = args[4].ndim - (in_dims[4] is not None) == 1
    return (*split, of_c.sum(1) if shared else of_c), (0,) * 4


def _integrate_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    size = info.batch_size
    if size == 0:
        return loop(_integrate, size, in_dims, args)
    batch = _batch(args[0], in_dims[0])
    folded = (fold(a, d, size) for a, d in zip(args[:3], in_dims[:3], strict=True))
    return _integrate(*folded, *args[3:]).unflatten(0, (size, batch)), 0


def _integrate_adjoint_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    size = info.batch_size
    if size == 0:
        return loop(_integrate_adjoint, size, in_dims, args)
    batch, pinned = _batch(args[0], in_dims[0]), args[3]
    w, ini, fin = _integrate_adjoint(fold(args[0], in_dims[0], size), *args[1:])
    split = [g.unflatten(0, (size, batch)) for g in (w, ini)]
    return (*split, fin.unflatten(0, (size, batch)) if pinned else fin.expand(size, 0)), (0,) * 3


# --- the operators ---

_TENSORS = "Tensor x, Tensor? x_ini, Tensor? x_fin, Tensor coefficients, Tensor factors"
_SETTINGS = (
    "bool is_table, float start, float spacing, str scheme, bool periodic, float lam, str parameters, "
    "float dt, bool hold_ends, str backend"
)

_action = define(
    f"paths_action({_TENSORS}, {_SETTINGS}) -> Tensor",
    check=check_action,
    outputs=_action_outputs,
    kernel=_action_kernel,
    vmap=_action_vmap,
)
_gradient = define(
    f"paths_action_gradient(Tensor grad, {_TENSORS}, {_SETTINGS}, bool of_coefficients) -> "
    "(Tensor grad_x, Tensor grad_ini, Tensor grad_fin, Tensor grad_coefficients)",
    check=check_action_gradient,
    outputs=_gradient_outputs,
    kernel=_gradient_kernel,
    vmap=_gradient_vmap,
)
_integrate = define(
    "paths_integrate(Tensor w, Tensor x_ini, Tensor? x_fin, str parameters, float dt) -> Tensor",
    check=check_integrate,
    outputs=_integrate_outputs,
    kernel=_integrate_kernel,
    vmap=_integrate_vmap,
)
_integrate_adjoint = define(
    "paths_integrate_adjoint(Tensor grad_x, str parameters, float dt, bool pinned) -> "
    "(Tensor grad_w, Tensor grad_ini, Tensor grad_fin)",
    check=check_integrate_adjoint,
    outputs=_integrate_adjoint_outputs,
    kernel=_integrate_adjoint_kernel,
    vmap=_integrate_adjoint_vmap,
)


# --- derivatives of the action ---


class _Composite:
    """The action as a function of the tensors that are there."""

    def __init__(self, tensors: Any, settings: tuple[Any, ...]) -> None:
        self.present = [i for i, t in enumerate(tensors) if t is not None]
        self.primals = tuple(tensors[i] for i in self.present)
        self.settings = settings

    def __call__(self, *primals: Tensor) -> tuple[Tensor]:
        tensors: list[Tensor | None] = [None] * 5
        for i, t in zip(self.present, primals, strict=True):
            tensors[i] = t
        return composite.action(*tensors, *self.settings)  # type: ignore[arg-type]

    def of_present(self, values: Any) -> OptionalTensors:
        return tuple(values[i] for i in self.present)

    def of_all(self, values: OptionalTensors) -> OptionalTensors:
        filled: list[Tensor | None] = [None] * 5
        for i, value in zip(self.present, values, strict=True):
            filled[i] = value
        return tuple(filled)


def _selected(needed: tuple[bool, ...], gradients: OptionalTensors) -> OptionalTensors:
    return tuple(g if need else None for g, need in zip(gradients, needed, strict=True))


def _action_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    grad = grads[0]
    if grad is None:
        return (None,) * 5
    of_factors = None
    if needed[4]:
        sums = action.call(*tensors[:4], torch.eye(3, dtype=torch.float64), *settings)
        of_factors = (grad.unsqueeze(1) * sums).sum(2).to(tensors[4].device)
    if not any(needed[:4]):
        return None, None, None, None, of_factors
    to_x, to_ini, to_fin, to_c = action_gradient.call(grad, *tensors, *settings, needed[3])
    return _selected(needed, (to_x, to_ini, to_fin, to_c, of_factors))


def _action_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    f = _Composite(tensors, settings)
    return tangent(f, f.primals, f.of_present(tangents))


def _gradient_parts(f: _Composite, gradients: Any, of_coefficients: bool, like: Tensor) -> Tensors:
    """Gradients by all tensors as the operator returns them."""
    to_x, to_ini, to_fin, to_c, _ = f.of_all(gradients)
    empty = like.new_empty(0)
    return (
        to_x,
        empty if to_ini is None else to_ini,
        empty if to_fin is None else to_fin,
        to_c if of_coefficients else empty.double(),
    )  # type: ignore[return-value]


def _gradient_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    grad, *primals = tensors
    *own, of_coefficients = settings
    f = _Composite(primals, tuple(own))
    second = f.of_present((*grads[:3], grads[3] if of_coefficients else None, None))
    to_grads, to_primals = double_vjp(f, f.primals, (grad,), second)
    return _selected(needed, (to_grads[0], *f.of_all(to_primals)))


def _gradient_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    grad, *primals = tensors
    *own, of_coefficients = settings
    f = _Composite(primals, tuple(own))
    pushed = vjp_tangent(f, f.primals, f.of_present(tangents[1:]), (grad,), (tangents[0],))
    return _gradient_parts(f, pushed, of_coefficients, primals[0])


action = differentiable(
    Rule("PathAction", 5, 1, _action, lambda *args: ((_action(*args),), ()), _action_backward, _action_jvp)
)
action_gradient = differentiable(
    Rule(
        "PathActionGradient",
        6,
        4,
        _gradient,
        lambda *args: (_gradient(*args), ()),
        _gradient_backward,
        _gradient_jvp,
    )
)
derivative(_action, action.derive)
derivative(_gradient, action_gradient.derive)


# --- derivatives of the paths of networks: the maps are linear, each the other's transpose ---


def _integrate_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    if grads[0] is None:
        return None, None, None
    parameters, dt = settings
    to_w, to_ini, to_fin = integrate_adjoint.call(grads[0], parameters, dt, tensors[2] is not None)
    return _selected(needed, (to_w, to_ini, to_fin))


def _integrate_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    zeros = (None if p is None else torch.zeros_like(p) for p in tensors)
    moved = (z if t is None else t for z, t in zip(zeros, tangents, strict=True))
    return (integrate.call(*moved, *settings),)


def _adjoint_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    (grad_x,), (parameters, dt, pinned) = tensors, settings
    batch, beads = grad_x.shape
    shapes = (batch, beads - 1 - pinned), (batch,), (batch,)
    w, ini, fin = (grad_x.new_zeros(s) if g is None else g for s, g in zip(shapes, grads, strict=True))
    return (integrate.call(w, ini, fin if pinned else None, parameters, dt),)


def _adjoint_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    outputs: Tensors = integrate_adjoint.call(tangents[0], *settings)
    return outputs


integrate = differentiable(
    Rule(
        "PathOfNetwork",
        3,
        1,
        _integrate,
        lambda *args: ((_integrate(*args),), ()),
        _integrate_backward,
        _integrate_jvp,
    )
)
integrate_adjoint = differentiable(
    Rule(
        "PathOfNetworkAdjoint",
        1,
        3,
        _integrate_adjoint,
        lambda *args: (_integrate_adjoint(*args), ()),
        _adjoint_backward,
        _adjoint_jvp,
    )
)
derivative(_integrate, integrate.derive)
derivative(_integrate_adjoint, integrate_adjoint.derive)
