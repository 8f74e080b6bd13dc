"""Operators of the Schroedinger family on one space axis: many implicit steps in one call, and gradients.

`qcore.schrodinger.propagate` is the public function; it brings its arguments to the form the operators take
(csrc/schrodinger/evolve.hpp): psi (B, n); potential (1 or steps, 1 or B, n) in float64 or complex128; kappa,
a 0-dim float64 tensor; c (M,) complex128, the coefficients of the M stages of a step. kappa and c are read
before a launch: they stay on the CPU wherever psi is. The gradient to c lies beside psi, so that nothing has
to wait for it.

The reverse mode needs every state again. Where the steps are unitary (`reversible`) it finds them by tracing
the run back from its end, so that its memory does not depend on the number of steps; elsewhere that would
amplify errors, and the forward stores about sqrt(steps) checkpoints.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import Any

import torch
from torch import Tensor

from . import _device
from . import schrodinger_composite as composite
from ._check import wrong_type, wrong_value
from ._register import OptionalTensors, Rule, Tensors, define, derivative, differentiable, transforming
from ._second_derivatives import double_vjp, tangent, vjp_tangent
from .schrodinger_check import (
    ARITHMETICS,
    BACKENDS,
    BOUNDARIES,
    ORDERS,
    RULES,
    check_adjoint,
    check_evolve,
    check_frames,
    check_reversible,
)
from .schrodinger_vmap import one_by_one, side_by_side

__all__ = ["ARITHMETICS", "BACKENDS", "BOUNDARIES", "ORDERS", "RULES", "adjoint", "evolve", "evolve_frames"]


def _codes(
    rule: str, order: int, boundary: str, arithmetic: str, backend: str, reversible: bool
) -> tuple[int, ...]:
    if reversible:
        check_reversible(rule)
    return RULES[rule], order, BOUNDARIES[boundary], ARITHMETICS[arithmetic], BACKENDS[backend]


def _number(kappa: Tensor) -> float:
    if kappa.dtype != torch.float64:
        raise wrong_type("kappa", "float64", kappa.dtype)
    return float(kappa)


# --- the state after all steps ---


def _evolve_outputs(psi: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(psi, memory_format=torch.contiguous_format)


def _evolve_kernel(
    psi: Tensor, potential: Tensor, kappa: Tensor, c: Tensor, steps: int, *settings: Any
) -> Tensor:
    out = _evolve_outputs(psi)
    inputs = psi.contiguous(), potential.contiguous(), _number(kappa), c.contiguous()
    _device.kernels(psi).schrodinger_evolve(*inputs, out, None, steps, 0, *_codes(*settings))
    return out


# --- with frames, (stages // save_every, B, n) ---


def _frames_outputs(psi: Tensor, potential: Tensor, kappa: Tensor, c: Tensor, *settings: Any) -> Tensors:
    steps, save_every, *_ = settings
    return _evolve_outputs(psi), psi.new_empty((steps * c.shape[0] // save_every, *psi.shape))


def _frames_kernel(psi: Tensor, potential: Tensor, kappa: Tensor, c: Tensor, *settings: Any) -> Tensors:
    steps, save_every, *rest = settings
    out, frames = _frames_outputs(psi, potential, kappa, c, *settings)
    inputs = psi.contiguous(), potential.contiguous(), _number(kappa), c.contiguous()
    kernels = _device.kernels(psi)
    kernels.schrodinger_evolve(*inputs, out, frames, steps, save_every, *_codes(*rest))
    return out, frames


# --- vector-Jacobian product ---


def _adjoint_outputs(
    states: Tensor, grad_out: Tensor, grad_frames: Any, potential: Tensor, *rest: Any
) -> Tensors:
    c = rest[1]
    grad_potential = torch.empty_like(potential, memory_format=torch.contiguous_format)
    return _evolve_outputs(grad_out), grad_potential, grad_out.new_empty(c.shape, dtype=c.dtype)


def _adjoint_kernel(*args: Any) -> Tensors:
    states, grad_out, grad_frames, potential, kappa, c, steps, save_every, *settings = args
    outputs = _adjoint_outputs(*args)
    frames = None if grad_frames is None else grad_frames.contiguous()
    arrays = states.contiguous(), grad_out.contiguous(), frames
    inputs = potential.contiguous(), _number(kappa), c.contiguous()
    grad_psi, grad_potential, grad_c = outputs
    _device.kernels(grad_out).schrodinger_adjoint(
        *arrays, *inputs, grad_psi, grad_potential, grad_c, steps, save_every, *_codes(*settings)
    )
    return outputs


# --- vmap ---


def _evolve_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    return side_by_side(_evolve, info, in_dims, args, (0,))


def _frames_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    return side_by_side(_frames, info, in_dims, args, (0, 1))


def _adjoint_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    return one_by_one(_adjoint, info.batch_size, in_dims, args)


# --- the operators ---

_INPUTS = "Tensor potential, Tensor kappa, Tensor c, int steps"
_SETTINGS = "str rule, int order, str boundary, str arithmetic, str backend, bool reversible"

_evolve = define(
    f"schrodinger_evolve(Tensor psi, {_INPUTS}, {_SETTINGS}) -> Tensor",
    check=check_evolve,
    outputs=_evolve_outputs,
    kernel=_evolve_kernel,
    vmap=_evolve_vmap,
)
_frames = define(
    f"schrodinger_frames(Tensor psi, {_INPUTS}, int save_every, {_SETTINGS}) -> (Tensor out, Tensor frames)",
    check=check_frames,
    outputs=_frames_outputs,
    kernel=_frames_kernel,
    vmap=_frames_vmap,
)
_adjoint = define(
    f"schrodinger_adjoint(Tensor states, Tensor grad_out, Tensor? grad_frames, {_INPUTS}, int save_every, "
    f"{_SETTINGS}) -> (Tensor grad_psi, Tensor grad_potential, Tensor grad_c)",
    check=check_adjoint,
    outputs=_adjoint_outputs,
    kernel=_adjoint_kernel,
    vmap=_adjoint_vmap,
)


# --- derivatives ---
# Settings of the functions below: steps, save_every (0: no frames), rule, order, boundary, arithmetic,
# backend, reversible.


def checkpoint_steps(steps: int, save_steps: int = 0) -> int:
    """Steps between checkpoints: about sqrt(steps), and a multiple of the steps between frames."""
    every = max(1, ceil(sqrt(steps)))
    return every if not save_steps else save_steps * ceil(every / save_steps)


def _with_frames(psi: Tensor, potential: Tensor, kappa: Tensor, c: Tensor, *settings: Any) -> Tensors:
    steps, save_every, *rest = settings
    if save_every:
        out, frames = _frames(psi, potential, kappa, c, steps, save_every, *rest)
        return out, frames
    return _evolve(psi, potential, kappa, c, steps, *rest), psi.new_empty(0)


def _recorded(settings: Any, psi: Tensor, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """out, frames, and what the backward starts from: the last state, or the checkpoints."""
    steps, save_every, *rest = settings
    if rest[-1]:
        out, frames = _with_frames(psi, *inputs, *settings)
        return out, frames, out.clone() if transforming() else out
    stages = inputs[-1].shape[0]
    every = checkpoint_steps(steps, save_every // stages) * stages
    if save_every % stages:
        raise wrong_value(
            "save_every", f"a multiple of the {stages} stages of a step to differentiate", save_every
        )
    if not save_every:
        out, checkpoints = _frames(psi, *inputs, steps, every, *rest)
        return out, psi.new_empty(0), checkpoints
    out, frames = _with_frames(psi, *inputs, *settings)
    kept = frames[every // save_every - 1 :: every // save_every]
    return out, frames, kept.clone() if transforming() else kept.contiguous()


def _pull(
    grad_out: Tensor,
    grad_frames: Tensor | None,
    psi: Tensor,
    kept: Tensor,
    potential: Tensor,
    kappa: Tensor,
    c: Tensor,
    *settings: Any,
) -> Tensors:
    """Gradients to psi, potential, kappa and c, all where psi is."""
    steps, save_every, *rest = settings
    if rest[-1]:
        run = steps, max(1, save_every), *rest
        grad_psi, grad_potential, grad_c = _adjoint(kept, grad_out, grad_frames, potential, kappa, c, *run)
    else:
        grad_psi, grad_potential, grad_c = _pull_segments(
            grad_out, grad_frames, psi, kept, potential, kappa, c, *settings
        )
    # sum c_s dL/dc_s = kappa dL/dkappa + sum V dL/dV, as only the products c kappa and c V enter. Numbers of
    # the CPU may enter sums on a device one by one.
    scaled = torch.stack([c_s * g for c_s, g in zip(c.conj().unbind(), grad_c.unbind(), strict=True)])
    grad_kappa = (scaled.sum().real - (potential.conj() * grad_potential).sum().real) / kappa
    return grad_psi, grad_potential, grad_kappa, grad_c


def _pull_segments(
    grad_out: Tensor,
    grad_frames: Any,
    psi: Tensor,
    kept: Tensor,
    potential: Tensor,
    kappa: Tensor,
    c: Tensor,
    *settings: Any,
) -> Tensors:
    steps, save_every, *rest = settings
    stages = c.shape[0]
    every = checkpoint_steps(steps, save_every // stages)
    per_step = potential.shape[0] != 1
    grad_c = grad_out.new_zeros(c.shape, dtype=c.dtype)
    pieces: list[Tensor] = []
    for start in reversed(range(0, steps, every)):
        stop = min(steps, start + every)
        first = psi if start == 0 else kept[start // every - 1]
        part = potential[start:stop] if per_step else potential
        inputs = part, kappa, c, stop - start
        _, after = _frames(first, *inputs, 1, *rest)
        of_frames = None
        if grad_frames is not None:
            of_frames = grad_frames[start * stages // save_every : stop * stages // save_every]
        states = torch.cat((first.unsqueeze(0), after))
        grad_out, piece, of_c = _adjoint(states, grad_out, of_frames, *inputs, max(1, save_every), *rest)
        grad_c = grad_c + of_c
        pieces.append(piece)
    if not pieces:
        return grad_out, torch.zeros_like(potential), grad_c
    grad_potential = torch.cat(pieces[::-1]) if per_step else torch.stack(pieces).sum(0)
    return grad_out, grad_potential, grad_c


def _dense(settings: Any) -> Any:
    steps, save_every, rule, order, boundary, *_ = settings
    return lambda psi, potential, kappa, c: composite.evolve(
        psi, potential, kappa, c, steps, save_every, rule, order, boundary
    )


def _pull_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    grad_out, grad_frames, psi, _, *parameters = tensors
    to_grads, to_inputs = double_vjp(_dense(settings), (psi, *parameters), (grad_out, grad_frames), grads)
    # The states kept follow from psi: what depends on them is in psi's gradient.
    return _selected(needed, (*to_grads, to_inputs[0], None, *to_inputs[1:]))


def _pull_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    grad_out, grad_frames, psi, _, *parameters = tensors
    moved = tangents[2], *tangents[4:]
    pulled = vjp_tangent(_dense(settings), (psi, *parameters), moved, (grad_out, grad_frames), tangents[:2])
    return tuple(t.to(psi.device) for t in pulled)


def _push(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    return tangent(_dense(settings), tuple(tensors), tangents)


def _zeros_if_none(grad: Tensor | None, like: Tensor) -> Tensor:
    return like.new_zeros(()).expand(like.shape) if grad is None else grad


def _selected(needed: tuple[bool, ...], gradients: OptionalTensors) -> OptionalTensors:
    return tuple(g if need else None for g, need in zip(gradients, needed, strict=True))


def _placed(needed: tuple[bool, ...], gradients: Tensors, tensors: Tensors) -> OptionalTensors:
    """Those that are needed, where the tensors are that they belong to."""
    beside = tuple(
        g.to(t.device) if need else None for g, t, need in zip(gradients, tensors, needed, strict=True)
    )
    return beside


adjoint = differentiable(
    Rule("SchrodingerAdjoint", 7, 4, _pull, lambda *args: (_pull(*args), ()), _pull_backward, _pull_jvp)
)


# The state alone. Its settings: steps, rule, order, boundary, arithmetic, backend, reversible.


def _evolve_recorded(*args: Any) -> tuple[Tensors, Tensors]:
    tensors, (steps, *rest) = args[:4], args[4:]
    out, _, kept = _recorded((steps, 0, *rest), *tensors)
    return (out,), (kept,)


def _evolve_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    (steps, *rest), (psi, *parameters) = settings, tensors
    grad = _zeros_if_none(grads[0], psi)
    pulled = adjoint.call(grad, None, psi, kept[0], *parameters, steps, 0, *rest)
    return _placed(needed, pulled, tensors)


def _evolve_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    steps, *rest = settings
    return _push(tangents, tensors, (steps, 0, *rest))[:1]


evolve = differentiable(
    Rule("SchrodingerEvolve", 4, 1, _evolve, _evolve_recorded, _evolve_backward, _evolve_jvp)
)
derivative(_evolve, evolve.derive)


# With frames. Its settings have save_every, in stages, a multiple of the stages of a step, after steps.


def _frames_recorded(*args: Any) -> tuple[Tensors, Tensors]:
    out, frames, kept = _recorded(args[4:], *args[:4])
    return (out, frames), (kept,)


def _frames_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    psi, *parameters = tensors
    grad = _zeros_if_none(grads[0], psi)
    pulled = adjoint.call(grad, grads[1], psi, kept[0], *parameters, *settings)
    return _placed(needed, pulled, tensors)


evolve_frames = differentiable(
    Rule("SchrodingerFrames", 4, 2, _with_frames, _frames_recorded, _frames_backward, _push)
)
derivative(_frames, evolve_frames.derive)


def _no_derivative(*_: Any) -> Any:
    raise NotImplementedError(
        "torch.ops.qcore.schrodinger_adjoint: has no derivative of its own; call torch.autograd.grad with "
        "create_graph=True on the public function, outside of torch.compile"
    )


derivative(_adjoint, _no_derivative)
