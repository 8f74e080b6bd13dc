"""Operators of Crank-Nicolson steps on a line whose ends let waves out, and their gradients.

`call(psi, potential, kappa, tau, steps, save_every)` is what `qcore.schrodinger.propagate` uses: psi (B, n)
complex64 or complex128; potential (P, n) float64 with P = 1 or B, whose end values go on outside; kappa =
hbar^2 / (2 m h^2) and tau = dt / (2 hbar), numbers or 0-dim tensors. It returns (out, frames). The operators
take kappa and tau as tensors of the CPU, wherever psi is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _device
from . import schrodinger_transparent_composite as composite
from ._check import one_of, shape, wrong_type, wrong_value
from ._register import OptionalTensors, Rule, Tensors, define, derivative, differentiable
from ._second_derivatives import double_vjp, tangent, vjp, vjp_tangent
from .schrodinger_cayley import (
    BACKENDS,
    _batch_of,
    _check_like,
    _merge,
    _split,
    checkpoint_interval,
    frames_shape,
)
from .schrodinger_check import check_devices, check_on_host

DTYPES = (torch.complex128, torch.complex64)
# (left, right): which ends are transparent; the other has a wall at the point beyond it.
SIDES = {"both": (True, True), "left": (True, False), "right": (False, True)}


def call(
    psi: Tensor,
    potential: Tensor,
    kappa: float | Tensor,
    tau: float | Tensor,
    steps: int,
    save_every: int,
    sides: str = "both",
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """(out, frames) after `steps` steps; frames (steps // save_every, B, n), none for save_every = 0.

    What psi has outside is taken for zero: `require_vanishing_ends` refuses one that is cut off.
    """
    out, frames = differentiable_steps.call(
        psi, potential, _constant(kappa), _constant(tau), steps, save_every, sides, backend
    )
    return out, frames


def _constant(value: float | Tensor) -> Tensor:
    """As a 0-dim tensor of the CPU, where it is read before a launch."""
    return torch.as_tensor(value, dtype=torch.float64, device="cpu")


# --- checks ---


def require_vanishing_ends(psi: Tensor, sides: str = "both", tolerance: float = 1e-6) -> None:
    """Refuse states whose modulus at a transparent end is above `tolerance` times its largest.

    Reads numbers, so it passes what has none at hand: under torch.compile and torch.func, and on a GPU, which
    would have to be waited for.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active() or not psi.is_cpu:
        return
    size = psi.detach().abs()
    if not size.numel():
        return
    largest = size.amax(-1)
    for name, column, is_open in (("first", 0, SIDES[sides][0]), ("last", -1, SIDES[sides][1])):
        share = size[..., column] / largest
        if is_open and bool((share > tolerance).any()):
            raise wrong_value(
                "psi",
                f"a state that vanishes at a transparent end (at most {tolerance:g} of its maximum)",
                f"{float(share[share > tolerance].max()):.3g} of it at the {name} point",
            )


def check_forward(
    psi: Tensor,
    potential: Tensor,
    kappa: Tensor,
    tau: Tensor,
    steps: int,
    save_every: int,
    sides: str,
    backend: str,
) -> None:
    """Refuse what the kernels do not compute."""
    if psi.dtype not in DTYPES:
        raise wrong_type("psi", one_of(DTYPES), psi.dtype)
    if psi.ndim != 2:
        raise wrong_value("psi", "shape (B, n)", shape(psi))
    batch, n = psi.shape
    sets = potential.shape[0] if potential.ndim == 2 else -1
    if (sets != 1 and sets != batch) or tuple(potential.shape) != (sets, n):
        raise wrong_value("potential", f"shape (1 or {batch}, {n})", shape(potential))
    for name, tensor in (("potential", potential), ("kappa", kappa), ("tau", tau)):
        if tensor.dtype != torch.float64:
            raise wrong_type(name, "dtype torch.float64", tensor.dtype)
        if name != "potential" and tensor.ndim != 0:
            raise wrong_value(name, "a 0-dim tensor", shape(tensor))
    check_devices(psi, potential=potential)
    check_on_host(kappa=kappa, tau=tau)
    for name, count in (("steps", steps), ("save_every", save_every)):
        if count < 0:
            raise wrong_value(name, "an int >= 0", count)
    if sides not in SIDES:
        raise wrong_value("sides", one_of(SIDES), repr(sides))
    if backend not in BACKENDS:
        raise wrong_value("backend", one_of(BACKENDS), repr(backend))


def check_saved(*args: Any) -> None:
    """As `check_forward`: the interval of checkpoints follows from the shape."""
    check_forward(*args)


def check_adjoint(
    grad_out: Tensor,
    grad_frames: Tensor | None,
    psi: Tensor,
    kept: Tensor,
    trace: Tensor,
    *args: Any,
) -> None:
    """As `check_forward`, and gradients and what was kept shaped like the outputs they belong to."""
    *rest, _ = args
    check_forward(psi, *rest)
    steps, save_every = rest[3:5]
    _check_like("grad_out", grad_out, psi, tuple(psi.shape), psi.dtype)
    if grad_frames is not None:
        _check_like("grad_frames", grad_frames, psi, frames_shape(psi, steps, save_every), psi.dtype)
    _check_like("kept", kept, psi, _kept_shape(psi, steps), torch.complex128)
    _check_like("trace", trace, psi, _trace_shape(psi, steps), torch.complex128)


def _kept_shape(psi: Tensor, steps: int) -> tuple[int, ...]:
    return (max(0, steps - 1) // checkpoint_interval(psi.shape[1], steps), *psi.shape)


def _trace_shape(psi: Tensor, steps: int) -> tuple[int, ...]:
    return (2, steps, 2, psi.shape[0])


# --- the operators ---


def _forward_outputs(psi: Tensor, *args: Any) -> Tensors:
    steps, save_every = args[3:5]
    out = torch.empty_like(psi, memory_format=torch.contiguous_format)
    return out, psi.new_empty(frames_shape(psi, steps, save_every))


def _saved_outputs(psi: Tensor, *args: Any) -> Tensors:
    steps = args[3]
    kept = psi.new_empty(_kept_shape(psi, steps), dtype=torch.complex128)
    trace = psi.new_empty(_trace_shape(psi, steps), dtype=torch.complex128)
    return *_forward_outputs(psi, *args), kept, trace


def _adjoint_outputs(*args: Any) -> Tensors:
    psi, potential, wanted = args[2], args[5], args[-1]
    return (
        torch.empty_like(psi, memory_format=torch.contiguous_format),
        potential.new_empty(potential.shape if wanted else 0),
        potential.new_empty((2, potential.shape[0]) if wanted else 0),
    )


def _inputs(steps: int, sides: str, *tensors: Any) -> tuple[Tensor, Tensor, float, float, int, bool, bool]:
    psi, potential, kappa, tau = tensors
    if kappa.ndim or tau.ndim:
        raise ValueError("kappa, tau: expected 0-dim tensors")
    left, right = SIDES[sides]
    return psi.contiguous(), potential.contiguous(), float(kappa), float(tau), steps, left, right


def _forward_kernel(*args: Any) -> Tensors:
    *tensors, steps, save_every, sides, backend = args
    out, frames = outputs = _forward_outputs(*args)
    inputs = _inputs(steps, sides, *tensors)
    kernels = _device.kernels(out)
    kernels.schrodinger_transparent(*inputs, out, frames, save_every, None, 1, None, BACKENDS[backend])
    return outputs


def _saved_kernel(*args: Any) -> Tensors:
    *tensors, steps, save_every, sides, backend = args
    out, frames, kept, trace = outputs = _saved_outputs(*args)
    inputs, every = _inputs(steps, sides, *tensors), checkpoint_interval(out.shape[1], steps)
    kernels, saving = _device.kernels(out), (out, frames, save_every, kept, every, trace)
    kernels.schrodinger_transparent(*inputs, *saving, BACKENDS[backend])
    return outputs


def _adjoint_kernel(*args: Any) -> Tensors:
    grad_out, grad_frames, psi, kept, trace, *tensors, steps, save_every, sides, backend, wanted = args
    outputs = _adjoint_outputs(*args)
    grad_psi, grad_potential, grad_constants = outputs
    _device.kernels(psi).schrodinger_transparent_adjoint(
        *_inputs(steps, sides, psi, *tensors),
        kept.contiguous(),
        checkpoint_interval(psi.shape[1], steps),
        trace.contiguous(),
        grad_out.contiguous(),
        None if grad_frames is None else grad_frames.contiguous(),
        save_every,
        grad_psi,
        grad_potential if wanted else None,
        grad_constants if wanted else None,
        BACKENDS[backend],
    )
    return outputs


# --- vmap: N calls become one with a batch of N * B ---


def _refuse_constants(in_dims: Any) -> None:
    if any(dim is not None for dim in in_dims):
        raise NotImplementedError("kappa, tau: expected the same in every call under torch.vmap")


def _forward_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    return _folded(forward, info.batch_size, in_dims, args, (0, 1))


def _saved_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    return _folded(saved, info.batch_size, in_dims, args, (0, 1, 1, 3))


def _folded(operator: Any, size: int, in_dims: Any, args: Any, axes: tuple[int, ...]) -> Any:
    _refuse_constants(in_dims[2:4])
    batch = _batch_of(args[0], in_dims[0])
    psi = _merge(args[0], in_dims[0], size, 0, batch, True)
    outputs = operator(psi, _merge(args[1], in_dims[1], size, 0, batch, False), *args[2:])
    return tuple(_split(o, size, axis) for o, axis in zip(outputs, axes, strict=True)), axes


def _adjoint_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    _refuse_constants(in_dims[6:8])
    size, potential, wanted = info.batch_size, args[5], args[-1]
    batch = _batch_of(args[2], in_dims[2])
    merged = [
        _merge(t, dim, size, axis, batch, own)
        for t, dim, axis, own in zip(
            args[:6], in_dims[:6], (0, 1, 0, 1, 3, 0), (True, True, True, True, True, wanted), strict=True
        )
    ]
    grad_psi, grad_potential, grad_constants = adjoint(*merged, *args[6:])
    if not wanted:
        return (_split(grad_psi, size, 0), grad_potential, grad_constants), (0, None, None)
    sets = _batch_of(potential, in_dims[5])
    to_potential, to_constants = _split(grad_potential, size, 0), _split(grad_constants, size, 1)
    if sets != batch:
        to_potential, to_constants = to_potential.sum(1, keepdim=True), to_constants.sum(2, keepdim=True)
    return (_split(grad_psi, size, 0), to_potential, to_constants), (0, 0, 1)


_INPUTS = "Tensor psi, Tensor potential, Tensor kappa, Tensor tau"
_SETTINGS = "int steps, int save_every, str sides, str backend"

forward = define(
    f"schrodinger_transparent({_INPUTS}, {_SETTINGS}) -> (Tensor out, Tensor frames)",
    check=check_forward,
    outputs=_forward_outputs,
    kernel=_forward_kernel,
    vmap=_forward_vmap,
)
saved = define(
    f"schrodinger_transparent_saved({_INPUTS}, {_SETTINGS}) -> "
    "(Tensor out, Tensor frames, Tensor kept, Tensor trace)",
    check=check_saved,
    outputs=_saved_outputs,
    kernel=_saved_kernel,
    vmap=_saved_vmap,
)
adjoint = define(
    "schrodinger_transparent_adjoint(Tensor grad_out, Tensor? grad_frames, Tensor psi, Tensor kept, "
    "Tensor trace, "
    f"Tensor potential, Tensor kappa, Tensor tau, {_SETTINGS}, bool coefficients) -> "
    "(Tensor grad_psi, Tensor grad_potential, Tensor grad_constants)",
    check=check_adjoint,
    outputs=_adjoint_outputs,
    kernel=_adjoint_kernel,
    vmap=_adjoint_vmap,
)


# --- derivatives ---


def _recorded(*args: Any) -> tuple[Tensors, Tensors]:
    out, frames, kept, trace = saved(*args)
    return (out, frames), (kept, trace)


def _backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    psi, *rest = tensors
    grad_out, grad_frames = grads
    if grad_out is None:
        grad_out = psi.new_zeros(()).expand(psi.shape)
    if not settings[1]:
        grad_frames = None
    grad_psi, grad_potential, grad_constants = differentiable_adjoint.call(
        grad_out, grad_frames, psi, *kept, *rest, *settings, any(needed[1:])
    )
    to_kappa, to_tau = grad_constants.sum(1).unbind(0) if any(needed[1:]) else (None, None)
    gradients = grad_psi, grad_potential, to_kappa, to_tau
    return tuple(
        gradient.to(tensor.device) if need else None
        for gradient, tensor, need in zip(gradients, tensors, needed, strict=True)
    )


def _jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    if all(t is None for t in tangents[1:]):  # linear in psi
        pushed: Tensors = tangent_steps.call(tangents[0], *tensors[1:], *settings)
        return pushed
    return tangent(_dense(settings), tensors, tangents)


# Steps of a tangent: without outputs that have none themselves, around which torch can't nest vmap and
# forward mode.


def _tangent_recorded(*args: Any) -> tuple[Tensors, Tensors]:
    outputs: Tensors = forward(*args)
    return outputs, ()


def _tangent_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    gradients = vjp(_dense(settings), tuple(tensors), grads)
    return tuple(gradient if need else None for gradient, need in zip(gradients, needed, strict=True))


def _dense(settings: tuple[Any, ...]) -> Any:
    steps, save_every, sides = settings[:3]
    left, right = SIDES[sides]
    return lambda psi, potential, kappa, tau: composite.steps(
        psi, potential, kappa, tau, steps, save_every, left, right
    )


def _adjoint_recorded(*args: Any) -> tuple[Tensors, Tensors]:
    return adjoint(*args), ()


def _adjoint_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    grad_out, grad_frames, psi, _, _, *rest = tensors
    second = _by_set(grads, rest[0]) if settings[-1] else (grads[0], None, None, None)
    given = psi, *_sets(rest)
    to_grads, (to_psi, to_potential, to_kappa, to_tau) = double_vjp(
        _dense(settings), given, (grad_out, grad_frames), second
    )
    return *to_grads, to_psi, None, None, to_potential, to_kappa.sum(), to_tau.sum()


def _adjoint_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    grad_out, grad_frames, psi, _, _, *rest = tensors
    dpsi, _, _, dpotential, *dconstants = tangents[2:]
    given = psi, *_sets(rest)
    moved = (dpsi, dpotential, *(None if d is None else d.expand(rest[0].shape[0]) for d in dconstants))
    to_psi, to_potential, to_kappa, to_tau = vjp_tangent(
        _dense(settings), given, moved, (grad_out, grad_frames), tangents[:2]
    )
    absent = rest[0].new_zeros(0)
    if not settings[-1]:
        return to_psi, absent, absent
    return to_psi, to_potential, torch.stack([to_kappa, to_tau]).to(psi.device)


def _sets(rest: Any) -> Tensors:
    """potential, and kappa and tau once for each of its sets, whose gradients come apart as the kernel's."""
    potential, kappa, tau = rest
    return potential, kappa.expand(potential.shape[0]), tau.expand(potential.shape[0])


def _by_set(grads: OptionalTensors, potential: Tensor) -> OptionalTensors:
    to_psi, to_potential, to_constants = grads
    return (to_psi, to_potential, *((None, None) if to_constants is None else to_constants.unbind(0)))


def _forward_derived(*args: Any) -> Tensors:
    outputs: Tensors = differentiable_steps.derive(*args)
    return outputs


def _saved_derived(*args: Any) -> Tensors:
    raise NotImplementedError("qcore::schrodinger_transparent_saved: kept states have no derivative")


differentiable_steps = differentiable(Rule("Transparent", 4, 2, forward, _recorded, _backward, _jvp))
tangent_steps = differentiable(
    Rule("TransparentTangent", 4, 2, forward, _tangent_recorded, _tangent_backward, _jvp)
)
differentiable_adjoint = differentiable(
    Rule("TransparentAdjoint", 8, 3, adjoint, _adjoint_recorded, _adjoint_backward, _adjoint_jvp)
)
derivative(forward, _forward_derived)
derivative(saved, _saved_derived)
derivative(adjoint, differentiable_adjoint.derive)
