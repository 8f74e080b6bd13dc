"""Operators of Cayley steps psi <- (M - z A)^{-1} (M + z A) psi of tridiagonal A and M, and their gradients.

`qcore.schrodinger.cayley` is the public function; it brings its arguments to the form the operators take: psi
(B, n); bands (3, P, n), the entries A[j, j-1], A[j, j] and A[j, j+1] (the first of the lower and the last
of the upper are not read); mass (3, Q, n) likewise, or None for M = 1; z (Z,); P, Q and Z are 1 or B.
Coefficients are complex128 with complex psi, else float64.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from torch import Tensor

from .. import _core
from . import schrodinger_cayley_composite as composite
from ._check import one_of, shape, wrong_type, wrong_value
from ._register import OptionalTensors, Rule, Tensors, define, derivative, differentiable
from ._second_derivatives import double_vjp, vjp_tangent

BACKENDS = {"auto": 0, "reference": 1}
DTYPES = (torch.complex128, torch.complex64, torch.float64, torch.float32)

# A backward pass that recomputes states from checkpoints holds those between two for a vector of systems.
SEGMENT_BYTES = 64 * 2**20


def coefficient_dtype(psi: Tensor) -> torch.dtype:
    """Of bands, mass and z, and of states kept for the backward."""
    return torch.complex128 if psi.is_complex() else torch.float64


def checkpoint_interval(n: int, steps: int) -> int:
    """Steps between checkpoints: about sqrt(steps), fewer where that many states would be too large."""
    most = SEGMENT_BYTES // (128 * max(1, n))
    return max(1, min(isqrt(max(0, steps - 1)) + 1, most))


# --- checks ---


def check_forward(
    psi: Tensor, bands: Tensor, mass: Tensor | None, z: Tensor, steps: int, save_every: int, backend: str
) -> None:
    """Refuse what the kernels do not compute."""
    if psi.dtype not in DTYPES:
        raise wrong_type("psi", one_of(DTYPES), psi.dtype)
    if psi.ndim != 2:
        raise wrong_value("psi", "shape (B, n)", shape(psi))
    batch, n = psi.shape
    coefficients: list[tuple[str, Tensor | None, int]] = [("bands", bands, 3), ("mass", mass, 3), ("z", z, 1)]
    for name, tensor, ndim in coefficients:
        if tensor is None:
            continue
        sets = tensor.shape[ndim - 2] if tensor.ndim == ndim else -1
        expected = (3, sets, n) if ndim == 3 else (sets,)
        if (sets != 1 and sets != batch) or tuple(tensor.shape) != expected:
            wanted = f"(3, 1 or {batch}, {n})" if ndim == 3 else f"(1 or {batch},)"
            raise wrong_value(name, f"shape {wanted}", shape(tensor))
        if tensor.dtype != coefficient_dtype(psi):
            raise wrong_type(name, f"dtype {coefficient_dtype(psi)} for psi of {psi.dtype}", tensor.dtype)
        if tensor.device != psi.device:
            raise wrong_value(name, f"the device of psi, {psi.device}", tensor.device)
    for name, count in (("steps", steps), ("save_every", save_every)):
        if count < 0:
            raise wrong_value(name, "an int >= 0", count)
    if backend not in BACKENDS:
        raise wrong_value("backend", one_of(BACKENDS), repr(backend))


def check_saved(psi: Tensor, bands: Tensor, mass: Tensor | None, z: Tensor, *settings: Any) -> None:
    """As `check_forward`, with checkpoint_every before the backend."""
    steps, save_every, checkpoint_every, backend = settings
    check_forward(psi, bands, mass, z, steps, save_every, backend)
    if checkpoint_every < 0:
        raise wrong_value("checkpoint_every", "an int >= 0", checkpoint_every)


def check_adjoint(
    grad_out: Tensor,
    grad_frames: Tensor | None,
    psi: Tensor,
    kept: Tensor,
    bands: Tensor,
    mass: Tensor | None,
    z: Tensor,
    *settings: Any,
) -> None:
    """As `check_saved`, and gradients and kept states shaped like the outputs they belong to."""
    steps, save_every, checkpoint_every, backend, _ = settings
    check_saved(psi, bands, mass, z, steps, save_every, checkpoint_every, backend)
    _check_like("grad_out", grad_out, psi, tuple(psi.shape), psi.dtype)
    if grad_frames is not None:
        _check_like("grad_frames", grad_frames, psi, frames_shape(psi, steps, save_every), psi.dtype)
    expected = kept_shape(psi, steps, checkpoint_every)
    _check_like("kept", kept, psi, expected, coefficient_dtype(psi))


def _check_like(
    name: str, tensor: Tensor, psi: Tensor, expected: tuple[int, ...], dtype: torch.dtype
) -> None:
    if tuple(tensor.shape) != expected:
        raise wrong_value(name, f"shape {expected}", shape(tensor))
    if tensor.dtype != dtype:
        raise wrong_type(name, f"dtype {dtype}", tensor.dtype)
    if tensor.device != psi.device:
        raise wrong_value(name, f"the device of psi, {psi.device}", tensor.device)


def frames_shape(psi: Tensor, steps: int, every: int) -> tuple[int, ...]:
    """Of the states after steps every, 2 every, ...; none for 0."""
    return (steps // every if every else 0, *psi.shape)


def kept_shape(psi: Tensor, steps: int, every: int) -> tuple[int, ...]:
    """Of the states after steps every, 2 every, ... short of the last; of the last alone for 0."""
    return (max(0, steps - 1) // every if every else 1, *psi.shape)


# --- the operators ---


def _forward_outputs(psi: Tensor, *args: Any) -> Tensors:
    steps, save_every = args[3:5]
    out = torch.empty_like(psi, memory_format=torch.contiguous_format)
    return out, psi.new_empty(frames_shape(psi, steps, save_every))


def _saved_outputs(psi: Tensor, *args: Any) -> Tensors:
    steps, _, checkpoint_every = args[3:6]
    kept = psi.new_empty(kept_shape(psi, steps, checkpoint_every), dtype=coefficient_dtype(psi))
    return *_forward_outputs(psi, *args), kept


def _adjoint_outputs(*args: Any) -> Tensors:
    _, _, psi, _, bands, mass, z, *settings = args
    wanted = settings[-1]
    return (
        torch.empty_like(psi, memory_format=torch.contiguous_format),
        bands.new_empty(bands.shape if wanted else 0),
        bands.new_empty(mass.shape if wanted and mass is not None else 0),
        bands.new_empty(z.shape if wanted else 0),
    )


def _plain(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _forward_kernel(
    psi: Tensor, bands: Tensor, mass: Tensor | None, z: Tensor, steps: int, save_every: int, backend: str
) -> Tensors:
    out, frames = outputs = _forward_outputs(psi, bands, mass, z, steps, save_every)
    inputs = _plain(psi), _plain(bands), _plain(mass), _plain(z), steps
    _core.schrodinger_cayley(*inputs, out, frames, save_every, None, 0, BACKENDS[backend])
    return outputs


def _saved_kernel(psi: Tensor, bands: Tensor, mass: Tensor | None, z: Tensor, *settings: Any) -> Tensors:
    steps, save_every, checkpoint_every, backend = settings
    out, frames, kept = outputs = _saved_outputs(psi, bands, mass, z, *settings)
    inputs = _plain(psi), _plain(bands), _plain(mass), _plain(z), steps
    _core.schrodinger_cayley(*inputs, out, frames, save_every, kept, checkpoint_every, BACKENDS[backend])
    return outputs


def _adjoint_kernel(*args: Any) -> Tensors:
    grad_out, grad_frames, psi, kept, bands, mass, z, *settings = args
    steps, save_every, checkpoint_every, backend, wanted = settings
    outputs = _adjoint_outputs(*args)
    grad_psi, grad_bands, grad_mass, grad_z = outputs if wanted else (outputs[0], None, None, None)
    _core.schrodinger_cayley_adjoint(
        _plain(psi),
        _plain(bands),
        _plain(mass),
        _plain(z),
        steps,
        _plain(kept),
        checkpoint_every,
        _plain(grad_out),
        _plain(grad_frames),
        save_every,
        grad_psi,
        grad_bands,
        None if mass is None else grad_mass,
        grad_z,
        BACKENDS[backend],
    )
    return outputs


# --- vmap: N calls become one with a batch of N * B ---


def _merge(
    tensor: Tensor | None, dim: int | None, size: int, axis: int, batch: int, own: bool
) -> Tensor | None:
    """N merged into `axis`; where that is 1 and not `own`, a tensor that has no N stays as it is."""
    if tensor is None or (dim is None and tensor.shape[axis] == 1 and not own):
        return tensor
    moved = tensor.unsqueeze(axis) if dim is None else tensor.movedim(dim, axis)
    sizes = list(moved.shape)
    sizes[axis : axis + 2] = [size, batch]
    return moved.expand(sizes).flatten(axis, axis + 1)


def _split(tensor: Tensor, size: int, axis: int) -> Tensor:
    sizes = (size, tensor.shape[axis] // max(1, size))
    return tensor.reshape(*tensor.shape[:axis], *sizes, *tensor.shape[axis + 1 :])


def _batch_of(psi: Tensor, dim: int | None) -> int:
    return next(n for i, n in enumerate(psi.shape) if i != dim)


def _forward_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    outputs = forward(*_merged(info.batch_size, in_dims, args), *args[4:])
    return _split_outputs(outputs, info.batch_size)


def _saved_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    outputs = saved(*_merged(info.batch_size, in_dims, args), *args[4:])
    return _split_outputs(outputs, info.batch_size)


def _merged(size: int, in_dims: Any, args: Any) -> Any:
    psi, bands, mass, z = args[:4]
    batch = _batch_of(psi, in_dims[0])
    return (
        _merge(psi, in_dims[0], size, 0, batch, True),
        _merge(bands, in_dims[1], size, 1, batch, False),
        _merge(mass, in_dims[2], size, 1, batch, False),
        _merge(z, in_dims[3], size, 0, batch, False),
    )


def _split_outputs(outputs: Tensors, size: int) -> Any:
    axes = (0, 1, 1)[: len(outputs)]
    return tuple(_split(o, size, axis) for o, axis in zip(outputs, axes, strict=True)), axes


def _adjoint_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    _, _, psi, _, bands, mass, z, *settings = args
    size, wanted = info.batch_size, settings[-1]
    batch = _batch_of(psi, in_dims[2])
    axes = (0, 1, 0, 1, 1, 1, 0)
    # Gradients to the coefficients are wanted one by one: then every call needs a set of its own.
    merged = [
        _merge(t, dim, size, axis, batch, wanted or i < 4)
        for i, (t, dim, axis) in enumerate(zip(args[:7], in_dims[:7], axes, strict=True))
    ]
    grad_psi, *gradients = adjoint(*merged, *settings)
    results: list[Tensor] = [_split(grad_psi, size, 0)]
    dims: list[int | None] = [0]
    for grad, tensor, dim, axis in zip(gradients, (bands, mass, z), in_dims[4:7], axes[4:], strict=True):
        if tensor is None or not wanted:
            results.append(grad)
            dims.append(None)
            continue
        sets = [n for i, n in enumerate(tensor.shape) if i != dim][axis]
        grad = _split(grad, size, axis)
        results.append(grad if sets == batch else grad.sum(axis + 1, keepdim=True))
        dims.append(axis)
    return tuple(results), tuple(dims)


_INPUTS = "Tensor psi, Tensor bands, Tensor? mass, Tensor z, int steps, int save_every"

forward = define(
    f"schrodinger_cayley({_INPUTS}, str backend) -> (Tensor out, Tensor frames)",
    check=check_forward,
    outputs=_forward_outputs,
    kernel=_forward_kernel,
    vmap=_forward_vmap,
)
saved = define(
    f"schrodinger_cayley_saved({_INPUTS}, int checkpoint_every, str backend) -> "
    "(Tensor out, Tensor frames, Tensor kept)",
    check=check_saved,
    outputs=_saved_outputs,
    kernel=_saved_kernel,
    vmap=_saved_vmap,
)
adjoint = define(
    "schrodinger_cayley_adjoint(Tensor grad_out, Tensor? grad_frames, Tensor psi, Tensor kept, "
    "Tensor bands, Tensor? mass, Tensor z, int steps, int save_every, int checkpoint_every, str backend, "
    "bool coefficients) -> (Tensor grad_psi, Tensor grad_bands, Tensor grad_mass, Tensor grad_z)",
    check=check_adjoint,
    outputs=_adjoint_outputs,
    kernel=_adjoint_kernel,
    vmap=_adjoint_vmap,
)


# --- derivatives: the settings of `call` are steps, save_every, checkpoint_every, backend ---


def _call_plain(psi: Tensor, bands: Tensor, mass: Tensor | None, z: Tensor, *settings: Any) -> Tensors:
    steps, save_every, _, backend = settings
    outputs: Tensors = forward(psi, bands, mass, z, steps, save_every, backend)
    return outputs


def _call_recorded(*args: Any) -> tuple[Tensors, Tensors]:
    out, frames, kept = saved(*args)
    return (out, frames), (kept,)


def _call_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    psi, bands, mass, z = tensors
    grad_out, grad_frames = grads
    if grad_out is None:
        grad_out = psi.new_zeros(()).expand(psi.shape)
    if not settings[1]:
        grad_frames = None
    gradients = call_adjoint.call(
        grad_out, grad_frames, psi, kept[0], bands, mass, z, *settings, any(needed[1:])
    )
    return tuple(gradient if need else None for gradient, need in zip(gradients, needed, strict=True))


def _call_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    steps, save_every, _, backend = settings

    def one_step(*inputs: Tensor | None) -> Tensor:
        out: Tensor = call_step.call(*inputs, 1, 0, 1, backend)[0]
        return out

    return composite.steps_tangent(tensors, tangents, steps, save_every, one_step)


# One step inside forward mode. There is nothing to keep between one step and its backward, and torch can't
# nest vmap and forward mode around a function with outputs that have no tangent.


def _step_recorded(*args: Any) -> tuple[Tensors, Tensors]:
    return _call_plain(*args), ()


def _step_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    psi = tensors[0]
    nothing = psi.new_empty(kept_shape(psi, 1, 1), dtype=coefficient_dtype(psi))
    return _call_backward(needed, grads, tensors, (nothing,), settings)


def _adjoint_recorded(*args: Any) -> tuple[Tensors, Tensors]:
    return adjoint(*args), ()


def _adjoint_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    grad_out, grad_frames, psi, _, bands, mass, z = tensors
    f, given = composite.function_of((psi, bands, mass, z), *settings[:2])
    second = grads if settings[-1] else (grads[0], None, None, None)
    if mass is None:
        second = (*second[:2], second[3])
    to_grads, (to_psi, to_bands, *to_mass, to_z) = double_vjp(f, given, (grad_out, grad_frames), second)
    return *to_grads, to_psi, None, to_bands, to_mass[0] if to_mass else None, to_z


def _adjoint_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    grad_out, grad_frames, psi, _, bands, mass, z = tensors
    dpsi, _, *dcoefficients = tangents[2:]
    f, given = composite.function_of((psi, bands, mass, z), *settings[:2])
    moved = (dpsi, *(d for d, c in zip(dcoefficients, (bands, mass, z), strict=True) if c is not None))
    pushed = vjp_tangent(f, given, moved, (grad_out, grad_frames), tangents[:2])
    absent = bands.new_zeros(0)
    if not settings[-1]:
        return pushed[0], absent, absent, absent
    return pushed if mass is not None else (*pushed[:2], absent, pushed[2])


def _forward_derived(psi: Tensor, bands: Tensor, mass: Tensor | None, z: Tensor, *settings: Any) -> Tensors:
    # The bare operator can't look at the numbers: checkpoints are right for all of them.
    steps, save_every, backend = settings
    every = checkpoint_interval(psi.shape[1], steps)
    outputs: Tensors = call.derive(psi, bands, mass, z, steps, save_every, every, backend)
    return outputs


def _saved_derived(*args: Any) -> Tensors:
    raise NotImplementedError("qcore::schrodinger_cayley_saved: kept states have no derivative")


call = differentiable(Rule("Cayley", 4, 2, _call_plain, _call_recorded, _call_backward, _call_jvp))
call_step = differentiable(Rule("CayleyStep", 4, 2, _call_plain, _step_recorded, _step_backward, _call_jvp))
call_adjoint = differentiable(
    Rule("CayleyAdjoint", 7, 4, adjoint, _adjoint_recorded, _adjoint_backward, _adjoint_jvp)
)
derivative(forward, _forward_derived)
derivative(saved, _saved_derived)
derivative(adjoint, call_adjoint.derive)
