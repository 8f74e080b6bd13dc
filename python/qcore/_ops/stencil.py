"""Operators of the stencil family: T fused steps u <- act(skip u + corr(u, taps_t) + bias_t), and gradients.

`qcore.stencil.residual_chain` is the public function; it brings its arguments to the form the operators take:
x (B, C, *S) with 1 to 3 space axes; taps (T, C or 1, *K) in the compute dtype (float32 for half x; for
complex x real or complex); bias (T, C or 1) in the dtype of taps, or None; skip a number that the kernel adds
to the centre tap. `stencil_check` holds the names, dtypes and shapes.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from . import _device
from . import stencil_composite as composite
from ._register import OptionalTensors, Rule, Tensors, define, derivative, differentiable
from .stencil_check import (
    ACTIVATIONS,
    BACKENDS,
    BOUNDARIES,
    MAX_KERNEL,
    TAPS_DTYPES,
    check_backward,
    check_forward,
    check_saved,
    checkpoints_shape,
    states_shape,
)

__all__ = [
    "ACTIVATIONS",
    "BACKENDS",
    "BOUNDARIES",
    "MAX_KERNEL",
    "TAPS_DTYPES",
    "backward",
    "chain",
    "chain_backward",
    "chain_with_states",
    "check_forward",
    "checkpoint_interval",
    "forward",
    "saved",
]

# The trajectory a backward call recomputes should stay in the second-level cache beside its working set.
ON_CHIP_BYTES = 640 * 1024
# Segments shorter than this are not worth holding whole: streaming through them in a wavefront costs less.
MIN_RESIDENT_STEPS = 4
# Steps times stencil radius that a wavefront over a large plane spans.
WAVEFRONT_ROWS = 8


def checkpoint_interval(spatial: tuple[int, ...], kernel: tuple[int, ...], steps: int, itemsize: int) -> int:
    """How often the forward stores a state for the backward: after every k steps, 0 for never.

    Never, when the whole trajectory of a plane fits on chip, where it is recomputed from x. Else as many
    steps as fit, when that is worth it. Else the depth of a wavefront (1-D and 2-D), or every step (3-D).
    Depends on shapes alone, so that results do not depend on the machine or the number of threads.

    Args:
        spatial: sizes S of one plane.
        kernel: sizes K of the stencil.
        steps: T.
        itemsize: bytes of one point in compute precision.
    """
    plane = prod(spatial) * itemsize
    if (steps + 1) * plane <= ON_CHIP_BYTES:
        return 0
    resident = ON_CHIP_BYTES // plane - 1
    if resident >= MIN_RESIDENT_STEPS:
        return resident
    if len(spatial) <= 2:
        return max(1, WAVEFRONT_ROWS // max(1, max(kernel) // 2))
    return 1


def _contiguous(taps: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """As the kernels take them; of x and its gradients they take any strides."""
    return taps.contiguous(), None if bias is None else bias.contiguous()


# --- y alone: the hot path ---


def _forward_outputs(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _forward_kernel(
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    skip: float,
    activation: str,
    slope: float,
    boundary: str,
    backend: str,
) -> Tensor:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    codes = ACTIVATIONS[activation], slope, BOUNDARIES[boundary], 0, 0, BACKENDS[backend]
    parameters = _contiguous(taps, bias)
    _device.kernels(x).stencil_residual_chain(x, *parameters, y, None, None, skip, *codes)
    return y


def _forward_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    fold, inputs = _fold_inputs(info.batch_size, in_dims, *args[:3])
    return fold.unfold(forward(*inputs, *args[3:]), 0)


# --- with states for the caller and checkpoints for the backward; empty (0,) where not asked for ---


def _saved_outputs(x: Tensor, taps: Tensor, bias: Tensor | None, *settings: Any) -> Tensors:
    *_, states_every, checkpoint_every, _ = settings
    return (
        _forward_outputs(x),
        x.new_empty(states_shape(x, taps, states_every)),
        x.new_empty(checkpoints_shape(x, taps, checkpoint_every), dtype=TAPS_DTYPES[x.dtype][0]),
    )


def _saved_kernel(x: Tensor, taps: Tensor, bias: Tensor | None, *settings: Any) -> Tensors:
    skip, activation, slope, boundary, states_every, checkpoint_every, backend = settings
    y, states, checkpoints = _saved_outputs(x, taps, bias, *settings)
    wanted = states if states_every else None, checkpoints if checkpoint_every else None
    every = states_every, checkpoint_every
    codes = ACTIVATIONS[activation], slope, BOUNDARIES[boundary], *every, BACKENDS[backend]
    _device.kernels(x).stencil_residual_chain(x, *_contiguous(taps, bias), y, *wanted, skip, *codes)
    return y, states, checkpoints


def _saved_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    fold, inputs = _fold_inputs(info.batch_size, in_dims, *args[:3])
    y, states, checkpoints = saved(*inputs, *args[3:])
    return _transpose(fold.unfold(y, 0), fold.unfold(states, 1), fold.unfold(checkpoints, 1))


# --- vector-Jacobian product; empty (0,) gradients of parameters that are not wanted or not there ---


def _backward_outputs(*args: Any) -> Tensors:
    _, _, x, _, taps, bias, *_, parameters = args
    return (
        _forward_outputs(x),
        taps.new_empty(taps.shape if parameters else 0),
        taps.new_empty(bias.shape if parameters and bias is not None else 0),
    )


def _backward_kernel(*args: Any) -> Tensors:
    grad_y, grad_states, x, checkpoints, taps, bias, *settings = args
    skip, activation, slope, boundary, states_every, checkpoint_every, backend, parameters = settings
    grad_x, grad_taps, grad_bias = outputs = _backward_outputs(*args)
    taps, bias = _contiguous(taps, bias)
    if not parameters:  # the kernel sums them in the same pass either way
        grad_taps, grad_bias = torch.empty_like(taps), torch.empty_like(taps if bias is None else bias)
    every = 0 if grad_states is None else states_every, checkpoint_every
    codes = ACTIVATIONS[activation], slope, BOUNDARIES[boundary], *every, BACKENDS[backend]
    inputs = grad_y, grad_states, x, checkpoints, taps, bias
    gradients = grad_x, grad_taps, None if bias is None else grad_bias
    _device.kernels(inputs[2]).stencil_residual_chain_backward(*inputs, *gradients, skip, *codes)
    return outputs


def _backward_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    grad_y, grad_states, x, checkpoints, taps, bias, *settings = args
    y_dim, states_dim, x_dim, checkpoints_dim, taps_dim, bias_dim, *_ = in_dims
    # Gradients to the parameters are wanted one by one: then every call needs parameters of its own.
    by_channel = settings[-1] or taps_dim is not None or bias_dim is not None
    fold = _Fold(info.batch_size, x, x_dim, by_channel)
    grad_x, grad_taps, grad_bias = backward(
        fold.field(grad_y, y_dim),
        None if grad_states is None else fold.field(grad_states, states_dim, lead=1),
        fold.field(x, x_dim),
        None if checkpoints is None else fold.field(checkpoints, checkpoints_dim, lead=1),
        fold.parameter(taps, taps_dim),
        fold.parameter(bias, bias_dim),
        *settings,
    )
    return _transpose(
        fold.unfold(grad_x, 0),
        fold.unfold_parameter(grad_taps, taps, taps_dim),
        fold.unfold_parameter(grad_bias, bias, bias_dim),
    )


# --- vmap ---


class _Fold:
    """Brings N calls to one: into the batch axis B or, where each has parameters of its own, into C."""

    def __init__(self, size: int, x: Tensor, x_dim: int | None, by_channel: bool) -> None:
        self.size = size
        self.axis = 1 if by_channel else 0
        self.channels = _shape(x, x_dim)[1]

    def field(self, tensor: Tensor, dim: int | None, lead: int = 0) -> Tensor:
        """(B, C, *S), after `lead` further axes: N merged into B or C."""
        return self._batch(tensor, dim, self.axis + lead).flatten(self.axis + lead, self.axis + lead + 1)

    def parameter(self, tensor: Tensor | None, dim: int | None) -> Tensor | None:
        """(T, C or 1, ...): (T, N * C, ...) when folding by channel."""
        if tensor is None or self.axis == 0:
            return tensor
        batched = self._batch(tensor, dim, 1)
        return batched.expand(-1, -1, self.channels, *batched.shape[3:]).flatten(1, 2)

    def unfold(self, tensor: Tensor, lead: int) -> tuple[Tensor, int | None]:
        """Undo `field`; an output that was not asked for is not batched."""
        if tensor.ndim == 1:
            return tensor, None
        axis = self.axis + lead
        sizes = (self.size, tensor.shape[axis] // max(1, self.size))
        return tensor.reshape(*tensor.shape[:axis], *sizes, *tensor.shape[axis + 1 :]), axis

    def unfold_parameter(
        self, grad: Tensor, like: Tensor | None, dim: int | None
    ) -> tuple[Tensor, int | None]:
        """Undo `parameter` for its gradient, summed over channels where they shared it."""
        if like is None or grad.ndim == 1:
            return grad, None
        batched = grad.reshape(grad.shape[0], self.size, self.channels, *grad.shape[2:])
        shared = _shape(like, dim)[1] != self.channels
        return batched.sum(2, keepdim=True) if shared else batched, 1

    def _batch(self, tensor: Tensor, dim: int | None, axis: int) -> Tensor:
        if dim is not None:
            return tensor.movedim(dim, axis)
        return tensor.unsqueeze(axis).expand(*tensor.shape[:axis], self.size, *tensor.shape[axis:])


def _fold_inputs(size: int, in_dims: Any, x: Tensor, taps: Tensor, bias: Tensor | None) -> Any:
    x_dim, taps_dim, bias_dim, *_ = in_dims
    fold = _Fold(size, x, x_dim, by_channel=taps_dim is not None or bias_dim is not None)
    return fold, (fold.field(x, x_dim), fold.parameter(taps, taps_dim), fold.parameter(bias, bias_dim))


def _shape(tensor: Tensor, dim: int | None) -> list[int]:
    return [n for i, n in enumerate(tensor.shape) if i != dim]


def _transpose(*pairs: tuple[Tensor, int | None]) -> tuple[Tensors, tuple[int | None, ...]]:
    return tuple(output for output, _ in pairs), tuple(dim for _, dim in pairs)


# --- the operators ---

_SETTINGS = "float skip, str activation, float slope, str boundary"

forward = define(
    f"stencil_residual_chain(Tensor x, Tensor taps, Tensor? bias, {_SETTINGS}, str backend) -> Tensor",
    check=check_forward,
    outputs=_forward_outputs,
    kernel=_forward_kernel,
    vmap=_forward_vmap,
)
saved = define(
    f"stencil_residual_chain_saved(Tensor x, Tensor taps, Tensor? bias, {_SETTINGS}, int states_every, "
    "int checkpoint_every, str backend) -> (Tensor y, Tensor states, Tensor checkpoints)",
    check=check_saved,
    outputs=_saved_outputs,
    kernel=_saved_kernel,
    vmap=_saved_vmap,
)
backward = define(
    "stencil_residual_chain_backward(Tensor grad_y, Tensor? grad_states, Tensor x, Tensor? checkpoints, "
    f"Tensor taps, Tensor? bias, {_SETTINGS}, int states_every, int checkpoint_every, str backend, "
    "bool parameters) -> (Tensor grad_x, Tensor grad_taps, Tensor grad_bias)",
    check=check_backward,
    outputs=_backward_outputs,
    kernel=_backward_kernel,
    vmap=_backward_vmap,
)


# --- derivatives ---
# The composites take (skip, activation, slope, boundary, states_every).


def _checkpoint_every(x: Tensor, taps: Tensor) -> int:
    itemsize = max(x.element_size(), 4)  # half types are computed in float32
    return checkpoint_interval(x.shape[2:], taps.shape[2:], taps.shape[0], itemsize)


def _chain_recorded(x: Tensor, taps: Tensor, bias: Tensor | None, *settings: Any) -> tuple[Tensors, Tensors]:
    checkpoint_every = _checkpoint_every(x, taps)
    if not checkpoint_every:
        return (forward(x, taps, bias, *settings),), ()
    *head, backend = settings
    y, _, checkpoints = saved(x, taps, bias, *head, 0, checkpoint_every, backend)
    return (y,), (checkpoints,)


def _chain_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    *head, backend = settings
    return _states_backward(needed, (grads[0], None), tensors, kept, (*head, 0, backend))


def _chain_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    return _states_jvp(tangents, tensors, (*settings[:4], 0))


def _states_plain(x: Tensor, taps: Tensor, bias: Tensor | None, *settings: Any) -> Tensors:
    *head, backend = settings
    y, states, _ = saved(x, taps, bias, *head, 0, backend)
    return y, states


def _states_recorded(x: Tensor, taps: Tensor, bias: Tensor | None, *settings: Any) -> tuple[Tensors, Tensors]:
    *head, backend = settings
    y, states, checkpoints = saved(x, taps, bias, *head, _checkpoint_every(x, taps), backend)
    return (y, states), (checkpoints,)


def _states_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    x, taps, bias = tensors
    grad_y, grad_states = grads
    if grad_y is None:
        grad_y = x.new_zeros(()).expand(x.shape)
    *head, backend = settings
    every = _checkpoint_every(x, taps)
    checkpoints = kept[0] if every else None
    parameters = needed[1] or needed[2]
    gradients = chain_backward.call(
        grad_y, grad_states, x, checkpoints, taps, bias, *head, every, backend, parameters
    )
    return tuple(gradient if need else None for gradient, need in zip(gradients, needed, strict=True))


def _states_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    return composite.chain_tangent(tensors, tangents, *settings[:5])


def _backward_recorded(*args: Any) -> tuple[Tensors, Tensors]:
    return backward(*args), ()


def _backward_backward(
    needed: tuple[bool, ...], grads: OptionalTensors, tensors: Any, kept: Tensors, settings: tuple[Any, ...]
) -> OptionalTensors:
    grad_y, grad_states, x, _, taps, bias = tensors
    second = grads if settings[-1] else (grads[0], None, None)
    to_grads, to_primals = composite.chain_double_vjp(
        second, (grad_y, grad_states), (x, taps, bias), *settings[:5]
    )
    to_x, to_taps, to_bias = (*to_primals, None)[:3]
    return *to_grads, to_x, None, to_taps, to_bias


def _backward_jvp(tangents: OptionalTensors, tensors: Any, settings: tuple[Any, ...]) -> Tensors:
    grad_y, grad_states, x, _, taps, bias = tensors
    dgrad_y, dgrad_states, dx, _, dtaps, dbias = tangents
    pushed = composite.chain_vjp_tangent(
        (grad_y, grad_states), (dgrad_y, dgrad_states), (x, taps, bias), (dx, dtaps, dbias), *settings[:5]
    )
    absent = taps.new_zeros(0)
    return (*pushed, absent)[:3] if settings[-1] else (pushed[0], absent, absent)


def _saved_derived(*args: Any) -> Tensors:
    *head, states_every, checkpoint_every, backend = args
    if not states_every or checkpoint_every:
        raise NotImplementedError("qcore::stencil_residual_chain_saved: checkpoints have no derivative")
    y, states = chain_with_states.derive(*head, states_every, backend)
    return y, states, _saved_outputs(*args)[2]


chain = differentiable(Rule("ResidualChain", 3, 1, forward, _chain_recorded, _chain_backward, _chain_jvp))
chain_with_states = differentiable(
    Rule("ResidualChainStates", 3, 2, _states_plain, _states_recorded, _states_backward, _states_jvp)
)
chain_backward = differentiable(
    Rule("ResidualChainBackward", 6, 3, backward, _backward_recorded, _backward_backward, _backward_jvp)
)
derivative(forward, chain.derive)
derivative(saved, _saved_derived)
derivative(backward, chain_backward.derive)
