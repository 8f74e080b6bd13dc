"""What the transfer kernels compute: dtypes and shapes, checked alike for real and fake tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ._check import one_of, require_choice, require_count, shape, wrong_type, wrong_value

# Codes as the kernels number them.
BOUNDARIES = {"zero": 0, "periodic": 1}
SEMIRINGS = {"linear": 0, "log": 1, "max": 2}
BACKENDS = {"auto": 0, "reference": 1}

REAL = (torch.float32, torch.float64)
COMPLEX = (torch.complex64, torch.complex128)
MAX_LOG_TAPS = 2**14


def check_transfer(
    psi: Tensor,
    taps: Tensor,
    factor: Tensor | None,
    psi_sign: Tensor | None,
    taps_sign: Tensor | None,
    factor_sign: Tensor | None,
    steps: int,
    boundary: str,
    semiring: str,
    scaled: bool,
    backend: str,
) -> None:
    """Refuse what the kernels do not compute."""
    require_choice("semiring", semiring, SEMIRINGS)
    require_choice("boundary", boundary, BOUNDARIES)
    require_choice("backend", backend, BACKENDS)
    require_count("steps", steps)
    dtypes = (*REAL, *COMPLEX) if semiring == "linear" else REAL
    if psi.dtype not in dtypes:
        raise wrong_type("psi", one_of(dtypes), psi.dtype)
    if psi.ndim != 2 or psi.shape[1] < 1:
        raise wrong_value("psi", "shape (B, M) with M >= 1", shape(psi))
    if taps.ndim != 3 or taps.shape[2] % 2 == 0:
        raise wrong_value("taps", "shape (1 or N, 1 or B, K) with K odd", shape(taps))
    if semiring == "log" and taps.shape[2] > MAX_LOG_TAPS:
        raise wrong_value("taps", f"at most {MAX_LOG_TAPS} taps in the semiring 'log'", taps.shape[2])
    _check_rows("taps", taps, psi, steps, taps.shape[2])
    if factor is not None:
        _check_rows("factor", factor, psi, steps, psi.shape[1])
    if scaled and semiring != "linear":
        raise wrong_value("scaled", "False but in the semiring 'linear'", scaled)
    for name, sign, of in (
        ("psi_sign", psi_sign, psi),
        ("taps_sign", taps_sign, taps),
        ("factor_sign", factor_sign, factor),
    ):
        if sign is None:
            continue
        if semiring != "log" or of is None:
            raise wrong_value(name, "None but in the semiring 'log', with what it belongs to", shape(sign))
        _check_like(name, sign, psi, tuple(of.shape))


def check_recorded(*args: object) -> None:
    """As `check_transfer`, with keep_every before backend."""
    check: Callable[..., None] = check_transfer
    check(*args[:-2], args[-1])
    _check_every(args[-2])


def check_adjoint(
    grad: Tensor,
    kept: Tensor,
    psi: Tensor,
    taps: Tensor,
    factor: Tensor | None,
    psi_sign: Tensor | None,
    taps_sign: Tensor | None,
    factor_sign: Tensor | None,
    steps: int,
    boundary: str,
    semiring: str,
    scaled: bool,
    keep_every: int,
    want_taps: bool,
    want_factor: bool,
    backend: str,
) -> None:
    """As `check_recorded`, for the gradient to out."""
    signs = psi_sign, taps_sign, factor_sign
    check_transfer(psi, taps, factor, *signs, steps, boundary, semiring, scaled, backend)
    _check_every(keep_every)
    _check_like("grad", grad, psi, tuple(psi.shape))
    _check_like("kept", kept, psi, kept_shape(psi, steps, semiring, keep_every))
    if want_factor and factor is None:
        raise wrong_value("want_factor", "False without a factor", want_factor)


def kept_shape(psi: Tensor, steps: int, semiring: str, keep_every: int) -> tuple[int, ...]:
    """Of the states that a recorded run keeps."""
    count = (steps - 1) // keep_every if keep_every > 0 and steps > 0 else 0
    return (count, 2 if semiring == "log" else 1, *psi.shape)


def _check_every(keep_every: object) -> None:
    require_count("keep_every", keep_every)


def _check_rows(name: str, tensor: Tensor, psi: Tensor, steps: int, last: int) -> None:
    batch = psi.shape[0]
    fits = (
        tensor.ndim == 3
        and tensor.shape[0] in (1, steps)
        and tensor.shape[1] in (1, batch)
        and tensor.shape[2] == last
    )
    if not fits:
        raise wrong_value(name, f"shape (1 or {steps}, 1 or {batch}, {last})", shape(tensor))
    _check_dtype(name, tensor, psi)


def _check_dtype(name: str, tensor: Tensor, psi: Tensor) -> None:
    if tensor.dtype != psi.dtype:
        raise wrong_type(name, f"dtype {psi.dtype}", tensor.dtype)
    if tensor.device != psi.device:
        raise wrong_value(name, f"the device of psi, {psi.device}", tensor.device)


def _check_like(name: str, tensor: Tensor, psi: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise wrong_value(name, f"shape {expected}", shape(tensor))
    _check_dtype(name, tensor, psi)
