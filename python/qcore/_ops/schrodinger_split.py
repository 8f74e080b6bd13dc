"""Operators of split steps on 1 to 3 space axes: pointwise factors between kinetic sweeps, and gradients.

`qcore.schrodinger.propagate` brings its arguments to the form they take (csrc/schrodinger/split.hpp): psi (B,
*S); phases (Q, 1 or B, *S) complex128, or float64 for real psi; e (A, D, M) complex128, the coefficients of A
kinetic substeps along D axes in M stages; program, the substeps of a step, q >= 0 for phases[q] and -1 - a
for e[a]; boundary, the names of the axes' boundaries with commas between. e is read before a launch: it stays
on the CPU wherever psi is. The gradient to e lies beside psi, so that nothing has to wait for it.

The reverse mode traces the states back where the steps are unitary (`reversible`); elsewhere it stores about
sqrt(steps) checkpoints.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _device
from . import schrodinger_split_composite as composite
from ._check import one_of, require_choice, require_count, shape, wrong_type, wrong_value
from ._register import OptionalTensors, Rule, Tensors, define, derivative, differentiable, transforming
from ._second_derivatives import double_vjp, tangent, vjp_tangent
from .schrodinger import checkpoint_steps
from .schrodinger_check import (
    ARITHMETICS,
    BACKENDS,
    BOUNDARIES,
    DTYPES,
    RULES,
    check_devices,
    check_every,
    check_on_host,
    check_reversible,
    check_settings,
)
from .schrodinger_vmap import one_by_one, side_by_side

__all__ = ["split_evolve", "split_frames"]


def check_evolve(
    psi: Tensor,
    phases: Tensor,
    e: Tensor,
    program: list[int],
    boundary: str,
    order: int,
    rule: str,
    steps: int,
    arithmetic: str,
    reversible: bool,
    backend: str,
) -> None:
    """Refuse what the kernels do not compute."""
    if psi.dtype not in DTYPES:
        raise wrong_type("psi", one_of(DTYPES), psi.dtype)
    axes = boundary.split(",")
    if not 1 <= len(axes) <= 3 or psi.ndim != len(axes) + 1 or 0 in psi.shape[1:]:
        raise wrong_value("psi", f"shape (B, *S) with the 1 to 3 axes of boundary {boundary!r}", shape(psi))
    for name in axes:
        require_choice("boundary", name, BOUNDARIES)
    batch, *space = psi.shape
    wanted = torch.complex128 if psi.dtype.is_complex else torch.float64
    if phases.dtype != wanted:
        raise wrong_type("phases", f"dtype {wanted} for psi of {psi.dtype}", phases.dtype)
    sizes = list(phases.shape)
    if len(sizes) != len(space) + 2 or sizes[2:] != space or sizes[1] not in (1, batch):
        raise wrong_value("phases", f"shape (Q, 1 or {batch}, {', '.join(map(str, space))})", shape(phases))
    if e.dtype != torch.complex128 or e.ndim != 3 or e.shape[1] != len(space) or e.shape[2] < 1:
        raise wrong_value(
            "e", f"a complex128 tensor of shape (A, {len(space)}, M)", f"{e.dtype} of {shape(e)}"
        )
    for entry in program:
        if not -e.shape[0] <= entry < phases.shape[0]:
            expected = f"entries from {-e.shape[0]} to {phases.shape[0] - 1}"
            raise wrong_value("program", expected, entry)
    require_count("steps", steps)
    check_settings(psi, rule, order, arithmetic, backend, reversible)
    check_devices(psi, phases=phases)
    check_on_host(e=e)


def check_frames(psi: Tensor, phases: Tensor, e: Tensor, *settings: Any) -> None:
    """As `check_evolve`, with save_every after steps."""
    program, boundary, order, rule, steps, save_every, *rest = settings
    check_evolve(psi, phases, e, program, boundary, order, rule, steps, *rest)
    check_every(save_every)


def check_adjoint(
    states: Tensor, grad_out: Tensor, grad_frames: Tensor | None, phases: Tensor, e: Tensor, *settings: Any
) -> None:
    """As `check_frames`; states are the last one, or those before every step of a run not traced back."""
    *head, save_every, first, arithmetic, reversible, backend, _, _ = settings
    check_frames(grad_out, phases, e, *head, save_every, arithmetic, reversible, backend)
    require_count("first", first)
    steps = head[-1]
    expected = tuple(grad_out.shape) if reversible else (steps, *grad_out.shape)
    frames = (first + steps) // save_every - first // save_every, *grad_out.shape
    for name, tensor, sizes in (("states", states, expected), ("grad_frames", grad_frames, frames)):
        if tensor is not None and (tuple(tensor.shape) != sizes or tensor.dtype != grad_out.dtype):
            raise wrong_value(
                name, f"{grad_out.dtype} of shape {sizes}", f"{tensor.dtype} of {shape(tensor)}"
            )


def _codes(boundary: str, order: int, rule: str, arithmetic: str, reversible: bool, backend: str) -> Any:
    if reversible:
        check_reversible(rule)
    walls = [BOUNDARIES[name] for name in boundary.split(",")]
    return walls, (RULES[rule], order, ARITHMETICS[arithmetic], BACKENDS[backend])


# --- the state after all steps, and frames (steps // save_every, B, *S) ---


def _evolve_outputs(psi: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(psi, memory_format=torch.contiguous_format)


def _evolve_kernel(psi: Tensor, phases: Tensor, e: Tensor, *settings: Any) -> Tensor:
    program, boundary, order, rule, steps, *rest = settings
    walls, codes = _codes(boundary, order, rule, *rest)
    out = _evolve_outputs(psi)
    inputs = psi.contiguous(), phases.contiguous(), e.contiguous()
    run: Any = list(program), walls, steps, 0, *codes
    _device.kernels(psi).schrodinger_split_evolve(*inputs, out, None, *run)
    return out


def _frames_outputs(psi: Tensor, phases: Tensor, e: Tensor, *settings: Any) -> Tensors:
    steps, save_every = settings[4:6]
    return _evolve_outputs(psi), psi.new_empty((steps // save_every, *psi.shape))


def _frames_kernel(psi: Tensor, phases: Tensor, e: Tensor, *settings: Any) -> Tensors:
    program, boundary, order, rule, steps, save_every, *rest = settings
    walls, codes = _codes(boundary, order, rule, *rest)
    out, frames = _frames_outputs(psi, phases, e, *settings)
    inputs = psi.contiguous(), phases.contiguous(), e.contiguous()
    run: Any = list(program), walls, steps, save_every, *codes
    _device.kernels(psi).schrodinger_split_evolve(*inputs, out, frames, *run)
    return out, frames


# --- vector-Jacobian product; empty gradients of phases and e where not wanted ---


def _adjoint_outputs(*args: Any) -> Tensors:
    _, grad_out, _, phases, e, *_, of_phases, of_e = args
    return (
        _evolve_outputs(grad_out),
        phases.new_empty(phases.shape if of_phases else 0),
        grad_out.new_empty(e.shape if of_e else 0, dtype=e.dtype),
    )


def _adjoint_kernel(*args: Any) -> Tensors:
    states, grad_out, grad_frames, phases, e, *settings, of_phases, of_e = args
    program, boundary, order, rule, steps, save_every, first, *rest = settings
    walls, codes = _codes(boundary, order, rule, *rest)
    outputs = _adjoint_outputs(*args)
    arrays = (
        states.contiguous(),
        grad_out.contiguous(),
        None if grad_frames is None else grad_frames.contiguous(),
    )
    grad_psi, grad_phases, grad_e = outputs
    wanted = grad_phases if of_phases else None, grad_e if of_e else None
    inputs = phases.contiguous(), e.contiguous(), grad_psi, *wanted
    run: Any = list(program), walls, steps, save_every, first, *codes
    _device.kernels(grad_out).schrodinger_split_adjoint(*arrays, *inputs, *run)
    return outputs


# --- vmap ---


def _evolve_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    return side_by_side(_evolve, info, in_dims, args, (0,))


def _frames_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    return side_by_side(_frames, info, in_dims, args, (0, 1))


def _adjoint_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    return one_by_one(_adjoint, info.batch_size, in_dims, args)


# --- the operators ---

_INPUTS = "Tensor phases, Tensor e, int[] program, str boundary, int order, str rule, int steps"
_SETTINGS = "str arithmetic, bool reversible, str backend"

_evolve = define(
    f"schrodinger_split_evolve(Tensor psi, {_INPUTS}, {_SETTINGS}) -> Tensor",
    check=check_evolve,
    outputs=_evolve_outputs,
    kernel=_evolve_kernel,
    vmap=_evolve_vmap,
)
_frames = define(
    f"schrodinger_split_frames(Tensor psi, {_INPUTS}, int save_every, {_SETTINGS}) -> "
    "(Tensor out, Tensor frames)",
    check=check_frames,
    outputs=_frames_outputs,
    kernel=_frames_kernel,
    vmap=_frames_vmap,
)
_adjoint = define(
    f"schrodinger_split_adjoint(Tensor states, Tensor grad_out, Tensor? grad_frames, {_INPUTS}, "
    f"int save_every, int first, {_SETTINGS}, bool of_phases, bool of_e) "
    "-> (Tensor grad_psi, Tensor grad_phases, Tensor grad_e)",
    check=check_adjoint,
    outputs=_adjoint_outputs,
    kernel=_adjoint_kernel,
    vmap=_adjoint_vmap,
)


# --- derivatives ---
# Settings of the functions below: program, boundary, order, rule, steps, save_every (0: no frames),
# arithmetic, reversible, backend.


def _run(psi: Tensor, phases: Tensor, e: Tensor, *settings: Any) -> Tensors:
    *head, save_every, arithmetic, reversible, backend = settings
    tail = arithmetic, reversible, backend
    if save_every:
        out, frames = _frames(psi, phases, e, *head, save_every, *tail)
        return out, frames
    return _evolve(psi, phases, e, *head, *tail), psi.new_empty(0)


def _recorded(*args: Any) -> tuple[Tensors, Tensors]:
    """Kept is what the backward starts from: the last state, or checkpoints."""
    psi, phases, e, *settings = args
    *head, save_every, arithmetic, reversible, backend = settings
    if reversible:
        out, frames = _run(*args)
        return (out, frames), (out.clone() if transforming() else out,)
    every = checkpoint_steps(head[-1], save_every)
    if not save_every:
        out, kept = _frames(psi, phases, e, *head, every, arithmetic, reversible, backend)
        return (out, psi.new_empty(0)), (kept,)
    out, frames = _run(*args)
    kept = frames[every // save_every - 1 :: every // save_every]
    return (out, frames), (kept.clone() if transforming() else kept.contiguous(),)


def _pull(
    grad_out: Tensor,
    grad_frames: Tensor | None,
    psi: Tensor,
    kept: Tensor,
    phases: Tensor,
    e: Tensor,
    *settings: Any,
) -> Tensors:
    """Gradients to psi, phases and e, all where psi is; empty ones of phases and e where not wanted."""
    *head, steps, save_every, arithmetic, reversible, backend, of_phases, of_e = settings
    wanted = of_phases, of_e
    tail = arithmetic, reversible, backend
    frames_every = max(1, save_every)
    if reversible:
        pulled: Tensors = _adjoint(
            kept, grad_out, grad_frames, phases, e, *head, steps, frames_every, 0, *tail, *wanted
        )
        return pulled
    every = checkpoint_steps(steps, save_every)
    sums = [
        phases.new_zeros(phases.shape if of_phases else 0),
        grad_out.new_zeros(e.shape if of_e else 0, dtype=e.dtype),
    ]
    for start in reversed(range(0, steps, every)):
        count = min(steps - start, every)
        first = psi if start == 0 else kept[start // every - 1]
        states = first.unsqueeze(0)
        if count > 1:
            _, after = _frames(first, phases, e, *head, count - 1, 1, *tail)
            states = torch.cat((states, after))
        of_frames = None
        if grad_frames is not None:
            of_frames = grad_frames[start // save_every : (start + count) // save_every]
        grad_out, of_phases, of_e = _adjoint(
            states, grad_out, of_frames, phases, e, *head, count, frames_every, start, *tail, *wanted
        )
        sums = [sums[0] + of_phases, sums[1] + of_e]
    return grad_out, sums[0], sums[1]


def _dense(settings: Any) -> Any:
    program, boundary, order, rule, steps, save_every, *_ = settings
    return lambda psi, phases, e: composite.evolve(
        psi, phases, e, program, boundary, order, rule, steps, save_every
    )


def _pull_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    grad_out, grad_frames, psi, _, phases, e = tensors
    of_phases, of_e = settings[-2:]
    second = grads[0], grads[1] if of_phases else None, grads[2] if of_e else None
    to_grads, to_inputs = double_vjp(_dense(settings), (psi, phases, e), (grad_out, grad_frames), second)
    # The states kept follow from psi: what depends on them is in psi's gradient.
    gradients = (*to_grads, to_inputs[0], None, *to_inputs[1:])
    return tuple(g if need else None for g, need in zip(gradients, needed, strict=True))


def _pull_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    grad_out, grad_frames, psi, _, phases, e = tensors
    moved = tangents[2], *tangents[4:]
    pushed = vjp_tangent(_dense(settings), (psi, phases, e), moved, (grad_out, grad_frames), tangents[:2])
    of_phases, of_e = settings[-2:]
    return (
        pushed[0],
        pushed[1] if of_phases else phases.new_empty(0),
        pushed[2].to(psi.device) if of_e else psi.new_empty(0, dtype=e.dtype),
    )


_adjoint_function = differentiable(
    Rule("SchrodingerSplitAdjoint", 6, 3, _pull, lambda *a: (_pull(*a), ()), _pull_backward, _pull_jvp)
)


def _backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    psi, phases, e = tensors
    grad = psi.new_zeros(()).expand(psi.shape) if grads[0] is None else grads[0]
    frames = grads[1] if settings[5] else None
    pulled = _adjoint_function.call(grad, frames, psi, kept[0], phases, e, *settings, *needed[1:])
    return tuple(g.to(t.device) if need else None for g, t, need in zip(pulled, tensors, needed, strict=True))


def _jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    return tangent(_dense(settings), tuple(tensors), tangents)


split_frames = differentiable(Rule("SchrodingerSplitFrames", 3, 2, _run, _recorded, _backward, _jvp))
derivative(_frames, split_frames.derive)


# The state alone: settings without save_every.


def _alone(settings: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*settings[:5], 0, *settings[5:])


def _alone_recorded(*args: Any) -> tuple[Tensors, Tensors]:
    (out, _), kept = _recorded(*args[:3], *_alone(args[3:]))
    return (out,), kept


def _alone_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    return _backward(needed, (grads[0], None), tensors, kept, _alone(settings))


def _alone_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    return _jvp(tangents, tensors, _alone(settings))[:1]


split_evolve = differentiable(
    Rule("SchrodingerSplit", 3, 1, _evolve, _alone_recorded, _alone_backward, _alone_jvp)
)
derivative(_evolve, split_evolve.derive)


def _no_derivative(*_: Any) -> Any:
    raise NotImplementedError(
        "torch.ops.qcore.schrodinger_split_adjoint: has no derivative of its own; call "
        "torch.autograd.grad with create_graph=True on the public function, outside of torch.compile"
    )


derivative(_adjoint, _no_derivative)
