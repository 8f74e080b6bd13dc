"""What the stencil kernels compute: names, dtypes and shapes, checked alike for real and fake tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._check import one_of, shape, wrong_type, wrong_value

# Codes as the kernels number them.
ACTIVATIONS = {"none": 0, "relu": 1, "leaky_relu": 2, "tanh": 3, "silu": 4}
BOUNDARIES = {"zero": 0, "periodic": 1, "reflect": 2, "replicate": 3}
BACKENDS = {"auto": 0, "reference": 1}

# For each dtype of x the dtypes taps may have; the first is the one its arithmetic runs in.
TAPS_DTYPES = {
    torch.float32: (torch.float32,),
    torch.float64: (torch.float64,),
    torch.bfloat16: (torch.float32,),
    torch.float16: (torch.float32,),
    torch.complex64: (torch.complex64, torch.float32),
    torch.complex128: (torch.complex128, torch.float64),
}

MAX_KERNEL = 7


def check_dtypes(x: Tensor, taps: Tensor) -> None:
    """Refuse a dtype of x or taps that there is no kernel for."""
    if x.dtype not in TAPS_DTYPES:
        raise wrong_type("x", one_of(TAPS_DTYPES), x.dtype)
    if taps.dtype not in TAPS_DTYPES[x.dtype]:
        raise wrong_type("taps", f"dtype {one_of(TAPS_DTYPES[x.dtype])} for x of {x.dtype}", taps.dtype)


def check_forward(
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    skip: float,
    activation: str,
    slope: float,
    boundary: str,
    backend: str,
) -> None:
    """Refuse what the kernels do not compute."""
    check_dtypes(x, taps)
    sizes, kernel = x.shape[2:], taps.shape[2:]
    if not 1 <= len(sizes) <= 3:
        raise wrong_value("x", "shape (B, C, *S) with 1 to 3 space axes", shape(x))
    channels = x.shape[1]
    if len(kernel) != len(sizes) or (taps.shape[1] != 1 and taps.shape[1] != channels):
        axes = ", ".join(("K",) * len(sizes))
        raise wrong_value("taps", f"shape (T, 1 or {channels}, {axes}) for x of {shape(x)}", shape(taps))
    for k, n in zip(kernel, sizes, strict=True):
        if k % 2 == 0 or k > MAX_KERNEL:
            raise wrong_value("taps", f"odd kernel sizes from 1 to {MAX_KERNEL}", shape(taps))
        if boundary == "reflect" and k // 2 >= n:
            raise wrong_value("x", f"space axes longer than {k // 2} to reflect with kernel {k}", shape(x))
    if bias is not None:
        if bias.dtype != taps.dtype:
            raise wrong_type("bias", f"the dtype of taps, {taps.dtype}", bias.dtype)
        steps = taps.shape[0]
        if bias.ndim != 2 or bias.shape[0] != steps or (bias.shape[1] != 1 and bias.shape[1] != channels):
            raise wrong_value("bias", f"shape ({steps}, 1 or {channels})", shape(bias))
        if x.dtype.is_complex and not taps.dtype.is_complex:
            raise wrong_type("taps", "complex taps when there is a bias on complex x", taps.dtype)
        if bias.device != x.device:
            raise wrong_value("bias", f"the device of x, {x.device}", bias.device)
    if taps.device != x.device:
        raise wrong_value("taps", f"the device of x, {x.device}", taps.device)
    if activation not in ACTIVATIONS:
        raise wrong_value("activation", one_of(ACTIVATIONS), repr(activation))
    if activation != "none" and x.dtype.is_complex:
        raise wrong_value("activation", "'none' for complex x", repr(activation))
    if activation == "leaky_relu" and not slope >= 0.0:
        raise wrong_value("slope", "a number >= 0", slope)
    if boundary not in BOUNDARIES:
        raise wrong_value("boundary", one_of(BOUNDARIES), repr(boundary))
    if backend not in BACKENDS:
        raise wrong_value("backend", one_of(BACKENDS), repr(backend))


def check_saved(x: Tensor, taps: Tensor, bias: Tensor | None, *settings: Any) -> None:
    """As `check_forward`, with states_every and checkpoint_every before the backend."""
    skip, activation, slope, boundary, states_every, checkpoint_every, backend = settings
    check_forward(x, taps, bias, skip, activation, slope, boundary, backend)
    for name, every in (("states_every", states_every), ("checkpoint_every", checkpoint_every)):
        if every < 0:
            raise wrong_value(name, "an int >= 0", every)


def check_backward(
    grad_y: Tensor,
    grad_states: Tensor | None,
    x: Tensor,
    checkpoints: Tensor | None,
    taps: Tensor,
    bias: Tensor | None,
    *settings: Any,
) -> None:
    """As `check_saved`, and gradients and checkpoints shaped like the outputs they belong to."""
    *_, states_every, checkpoint_every, _, _ = settings
    check_saved(x, taps, bias, *settings[:-1])
    _check_like("grad_y", grad_y, x, tuple(x.shape), x.dtype)
    if grad_states is not None:
        _check_like("grad_states", grad_states, x, states_shape(x, taps, states_every), x.dtype)
    if checkpoint_every:
        if checkpoints is None:
            raise wrong_value("checkpoints", f"a tensor for checkpoint_every={checkpoint_every}", None)
        expected = checkpoints_shape(x, taps, checkpoint_every)
        _check_like("checkpoints", checkpoints, x, expected, TAPS_DTYPES[x.dtype][0])


def states_shape(x: Tensor, taps: Tensor, every: int) -> tuple[int, ...]:
    """Of the states after steps every, 2 every, ...; (0,) when not asked for."""
    return (taps.shape[0] // every, *x.shape) if every else (0,)


def checkpoints_shape(x: Tensor, taps: Tensor, every: int) -> tuple[int, ...]:
    """Of the states after steps every, 2 every, ... short of the last; (0,) when not asked for."""
    return (max(0, taps.shape[0] - 1) // every, *x.shape) if every else (0,)


def _check_like(name: str, tensor: Tensor, x: Tensor, expected: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(tensor.shape) != expected:
        raise wrong_value(name, f"shape {expected}", shape(tensor))
    if tensor.dtype != dtype:
        raise wrong_type(name, f"dtype {dtype}", tensor.dtype)
    if tensor.device != x.device:
        raise wrong_value(name, f"the device of x, {x.device}", tensor.device)
