"""Second derivatives of a function of tensors from reverse mode alone, which nests in every transform.

`f` is differentiable torch that takes tensors and returns a tuple of them. Linear maps are adjoint to each
other under the real inner product, torch's convention for complex tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]
OptionalTensors = tuple["Tensor | None", ...]
Function = Callable[..., Tensors]


def vjp(f: Function, primals: Tensors, grads: OptionalTensors) -> Tensors:
    """Gradients to the primals for gradients to what `f` returns (None: 0)."""
    outputs, pull = cast("tuple[Tensors, Callable[[Tensors], Tensors]]", torch.func.vjp(f, *primals))
    return pull(_filled(grads, outputs))


def tangent(f: Function, primals: Tensors, tangents: OptionalTensors) -> Tensors:
    """Tangents of what `f` returns (None: 0): the pull-back of the pull-back, which is linear."""
    outputs, pull = cast("tuple[Tensors, Callable[[Tensors], Tensors]]", torch.func.vjp(f, *primals))
    _, push = cast(
        "tuple[Tensors, Callable[[Tensors], Tensors]]",
        torch.func.vjp(lambda *u: tuple(pull(tuple(u))), *(torch.zeros_like(o) for o in outputs)),
    )
    return push(_filled(tangents, primals))


def vjp_tangent(
    f: Function,
    primals: Tensors,
    tangents: OptionalTensors,
    grads: OptionalTensors,
    grad_tangents: OptionalTensors,
) -> Tensors:
    """Tangent of `vjp`: linear in the gradients; in the primals derivatives of <w, f(p)> commute."""
    total = vjp(f, primals, grad_tangents)
    if all(t is None for t in tangents):
        return total
    pushed = vjp(lambda *p: tangent(f, p, tangents), primals, grads)
    return tuple(a + b for a, b in zip(total, pushed, strict=True))


def double_vjp(
    f: Function, primals: Tensors, grads: OptionalTensors, second: OptionalTensors
) -> tuple[OptionalTensors, Tensors]:
    """Gradients to (grads, primals) for gradients `second` to the results of `vjp`."""
    present = [i for i, g in enumerate(grads) if g is not None]

    def pulled(*inputs: Tensor) -> Tensors:
        w: list[Tensor | None] = [None] * len(grads)
        for i, g in zip(present, inputs, strict=False):  # the primals follow
            w[i] = g
        return vjp(f, inputs[len(present) :], tuple(w))

    given = tuple(g for g in grads if g is not None)
    results = vjp(pulled, (*given, *primals), second)
    to_grads: list[Tensor | None] = [None] * len(grads)
    for i, g in zip(present, results, strict=False):
        to_grads[i] = g
    return tuple(to_grads), results[len(present) :]


def _filled(grads: OptionalTensors, like: Tensors) -> Tensors:
    return tuple(
        torch.zeros_like(o) if g is None else g.to(o.device) for g, o in zip(grads, like, strict=True)
    )
