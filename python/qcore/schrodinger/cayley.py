"""Cayley steps of any tridiagonal operator: the low level of the Crank-Nicolson family."""

from __future__ import annotations

from numbers import Complex
from typing import Any, cast

import torch
from torch import Tensor

from .._ops import schrodinger_cayley as ops
from .._ops._check import one_of, require_count, require_tensor, shape, wrong_type, wrong_value

__all__ = ["cayley"]

_REAL = (torch.float32, torch.float64)
# Tracing states back may cost a digit; where it could cost more, the backward recomputes them from
# checkpoints.
_MOST_AMPLIFICATION = 10.0

OffDiagonal = Tensor | tuple[Tensor, Tensor]
MassMatrix = tuple[Tensor, OffDiagonal] | tuple[Tensor, Tensor, Tensor]


def cayley(
    psi: Tensor,
    diagonal: Tensor,
    off_diagonal: OffDiagonal,
    z: complex | Tensor,
    steps: int,
    mass_matrix: MassMatrix | None = None,
    save_every: int = 0,
) -> Tensor | tuple[Tensor, Tensor]:
    """Take `steps` Cayley steps ``psi <- (M - z A)^{-1} (M + z A) psi`` with a tridiagonal operator A.

    With ``z = -1j * dt / (2 * hbar)`` this is Crank-Nicolson for i hbar M dpsi/dt = A psi, second order in dt
    (Crank & Nicolson 1947; Goldberg, Schey & Schwartz 1967); with ``z = dt / 2`` it is Crank-Nicolson for
    M dpsi/dt = A psi, such as diffusion and Fokker-Planck equations. Any tridiagonal A will do: complex
    Hermitian (first derivatives, magnetic phases, a mass that varies in space), complex symmetric (complex
    scaling, absorbers), real. All steps run in one call, in float64 arithmetic for every dtype.

    Elimination does not pivot. That is safe for Hermitian A and imaginary z (every pivot of 1 - z A has
    modulus >= 1, for any dt), and for -z A positive definite or diagonally dominant, as diffusion with dt > 0
    is. Otherwise a pivot may come out as zero: then the call raises. It also does when the pivots are lost to
    rounding; when they are merely small, digits are.

    Gradients flow to psi, diagonal, off_diagonal, z and mass_matrix. Their memory does not depend on `steps`
    where the steps can be taken back without amplifying rounding errors, judged by the bound
    ((1 + w) / (1 - w))^steps < 10 with w >= |Re| of the numerical range of z A: with Hermitian A, imaginary z
    and no mass matrix w = 0. Else states are kept at about sqrt(steps) points and recomputed between them;
    so they are where numbers can't be looked at (torch.compile, torch.func), unless off_diagonal is one
    tensor, diagonal real, and z an imaginary number. Second derivatives use dense matrices.

    Args:
        psi: (..., n), float32, float64, complex64 or complex128. Real psi needs everything else to be real.
        diagonal: (n,) or (..., n), A[j, j].
        off_diagonal: a tensor u of shape (n - 1,) or (..., n - 1) for A[j, j+1] = u[j] and A[j+1, j] =
            conj(u[j]), which is Hermitian (symmetric if real); or a pair (lower, upper) of such tensors for
            A[j+1, j] = lower[j] and A[j, j+1] = upper[j], whatever they are: (u, u) is complex symmetric.
        z: a number or a 0-dim tensor.
        steps: number of steps, >= 0.
        mass_matrix: None for M = 1, or (diagonal, off_diagonal) or (diagonal, lower, upper), as for A.
        save_every: with k > 0 the states after steps k, 2 k, ... are returned too.

    Returns:
        The state after the last step, of the dtype of psi; with save_every > 0 a pair of it and of the frames
        (steps // save_every, *batch, n). Batch axes of psi and the coefficients are broadcast against each
        other. A system's result does not depend on the rest of its batch or on the number of threads.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came; ValueError also where
            elimination breaks down.

    Example:
        >>> n, h, dt = 400, 0.05, 0.01
        >>> x = h * torch.arange(n, dtype=torch.float64) - 10
        >>> psi = torch.exp(-((x + 4) ** 2) + 2j * x)
        >>> diagonal, u = 1 / h**2 + 0.5 * x**2, torch.full((n - 1,), -0.5 / h**2, dtype=torch.float64)
        >>> psi = cayley(psi, diagonal, u, -0.5j * dt, 100)
    """
    require_tensor("psi", psi)
    if psi.dtype not in ops.DTYPES:
        raise wrong_type("psi", one_of(ops.DTYPES), psi.dtype)
    if psi.ndim < 1 or psi.shape[-1] < 1:
        raise wrong_value("psi", "shape (..., n) with n >= 1", shape(psi))
    require_count("steps", steps)
    require_count("save_every", save_every)
    entries = _entries("", "diagonal", diagonal, "off_diagonal", off_diagonal, psi)
    mass = None if mass_matrix is None else _mass_entries(mass_matrix, psi)
    batch = _batch(psi, entries if mass is None else {**entries, **mass})
    n, kind = psi.shape[-1], ops.coefficient_dtype(psi)
    bands, weights = _bands(entries, batch, n, kind), None if mass is None else _bands(mass, batch, n, kind)
    scale = _scale(z, psi)

    every = ops.checkpoint_interval(n, steps)
    if (_hermitian_by_form(diagonal, off_diagonal, z) and mass is None) or (
        mass is None
        and _may_look((psi, bands, scale))
        and _amplification(bands, scale, steps) < _MOST_AMPLIFICATION
    ):
        every = 0

    flat = psi.expand(*batch, n).reshape(-1, n)
    out, frames = cast(
        "tuple[Tensor, Tensor]", ops.call.call(flat, bands, weights, scale, steps, save_every, every, "auto")
    )
    out = out.reshape(*batch, n)
    return (out, frames.reshape(frames.shape[0], *batch, n)) if save_every else out


# --- arguments ---


def _entries(
    prefix: str, name: str, diagonal: Any, off_name: str, off_diagonal: Any, psi: Tensor
) -> dict[str, Tensor]:
    """The lower, diagonal and upper band by the names that errors give them, checked."""
    if isinstance(off_diagonal, (tuple, list)):
        if len(off_diagonal) != 2:
            raise wrong_value(
                prefix + off_name, "a tensor or a pair (lower, upper)", f"{len(off_diagonal)} entries"
            )
        lower, upper = off_diagonal
        lower_name, upper_name = f"{prefix}{off_name}[0]", f"{prefix}{off_name}[1]"
    else:
        lower = upper = off_diagonal
        lower_name, upper_name = f"{prefix}{off_name} (lower)", f"{prefix}{off_name}"
    _check_entry(upper_name, upper, psi, psi.shape[-1] - 1)
    if lower is upper and not isinstance(off_diagonal, (tuple, list)):
        lower = upper.conj()
    _check_entry(lower_name, lower, psi, psi.shape[-1] - 1)
    _check_entry(prefix + name, diagonal, psi, psi.shape[-1])
    return {lower_name: lower, prefix + name: diagonal, upper_name: upper}


def _mass_entries(mass_matrix: Any, psi: Tensor) -> dict[str, Tensor]:
    if not isinstance(mass_matrix, (tuple, list)):
        expected = "None, (diagonal, off_diagonal) or (diagonal, lower, upper)"
        raise wrong_type("mass_matrix", expected, type(mass_matrix).__name__)
    if len(mass_matrix) == 3:
        mass_matrix = (mass_matrix[0], (mass_matrix[1], mass_matrix[2]))
    if len(mass_matrix) != 2:
        raise wrong_value("mass_matrix", "2 or 3 entries", f"{len(mass_matrix)}")
    return _entries("mass_matrix ", "diagonal", mass_matrix[0], "off_diagonal", mass_matrix[1], psi)


def _check_entry(name: str, tensor: Any, psi: Tensor, length: int) -> None:
    require_tensor(name, tensor)
    if tensor.dtype not in ops.DTYPES:
        raise wrong_type(name, one_of(ops.DTYPES), tensor.dtype)
    if tensor.is_complex() and not psi.is_complex():
        raise wrong_type(name, "a real dtype for real psi", tensor.dtype)
    if tensor.ndim < 1 or tensor.shape[-1] != length:
        raise wrong_value(name, f"shape (..., {length}) for psi of {shape(psi)}", shape(tensor))
    if tensor.device != psi.device:
        raise wrong_value(name, f"the device of psi, {psi.device}", tensor.device)


def _batch(psi: Tensor, entries: dict[str, Tensor]) -> tuple[int, ...]:
    batch = psi.shape[:-1]
    for name, tensor in entries.items():
        try:
            batch = torch.broadcast_shapes(batch, tensor.shape[:-1])  # type: ignore[no-untyped-call]
        except RuntimeError:
            raise wrong_value(name, f"batch axes that broadcast with {tuple(batch)}", shape(tensor)) from None
    return tuple(batch)


def _bands(entries: dict[str, Tensor], batch: tuple[int, ...], n: int, kind: torch.dtype) -> Tensor:
    """(3, 1 or B, n): one set where no band has a batch."""
    lower, diagonal, upper = (t.to(kind) for t in entries.values())
    own = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        *(t.shape[:-1] for t in (lower, diagonal, upper))
    )
    shared = all(size == 1 for size in own)
    full = (1,) if shared else batch
    if shared:
        lower, diagonal, upper = (t.reshape(1, -1) for t in (lower, diagonal, upper))
    lower, diagonal, upper = (t.expand(*full, t.shape[-1]) for t in (lower, diagonal, upper))
    blank = lower.new_zeros(()).expand(*full, 1)
    bands = torch.stack([torch.cat([blank, lower], -1), diagonal, torch.cat([upper, blank], -1)])
    return bands.reshape(3, -1, n)


def _scale(z: Any, psi: Tensor) -> Tensor:
    """z as the tensor (1,) that the operators take."""
    kind = ops.coefficient_dtype(psi)
    if isinstance(z, Tensor):
        if z.ndim != 0:
            raise wrong_value("z", "a number or a 0-dim tensor", shape(z))
        if z.dtype not in ops.DTYPES:
            raise wrong_type("z", one_of(ops.DTYPES), z.dtype)
        if z.device != psi.device:
            raise wrong_value("z", f"the device of psi, {psi.device}", z.device)
        is_complex = z.is_complex()
    else:
        if isinstance(z, bool) or not isinstance(z, (int, float, complex, Complex)):
            raise wrong_type("z", "a number or a 0-dim tensor", type(z).__name__)
        number = complex(z)
        if not (abs(number.real) < float("inf") and abs(number.imag) < float("inf")):
            raise wrong_value("z", "a finite number", z)
        is_complex = number.imag != 0
    if is_complex and not psi.is_complex():
        raise wrong_type("z", "a real number for real psi", z)
    if isinstance(z, Tensor):
        return z.to(kind).reshape(1)
    # Not torch.tensor, whose copy to a GPU waits for it.
    return torch.full((1,), number if psi.is_complex() else number.real, dtype=kind, device=psi.device)


# --- tracing back or checkpoints ---


def _hermitian_by_form(diagonal: Tensor, off_diagonal: Any, z: Any) -> bool:
    """Whether the steps are unitary whatever the numbers are."""
    return (
        diagonal.dtype in _REAL
        and isinstance(off_diagonal, Tensor)
        and not isinstance(z, Tensor)
        and complex(z).real == 0
    )


def _may_look(tensors: tuple[Tensor, ...]) -> bool:
    """Whether a gradient may be asked for and numbers may be read to see how: on a GPU that would wait."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    if any(not t.is_cpu or type(t) is not Tensor for t in tensors):
        return False
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def _amplification(bands: Tensor, z: Tensor, steps: int) -> float:
    """Bound on how much `steps` steps back amplify: von Neumann's inequality on the numerical range of z A.

    Its real part is at most w by Gershgorin's discs for the Hermitian part, and |1 - x| <= (1 + w) / (1 - w)
    |1 + x| where Re x >= -w.
    """
    with torch.no_grad():
        lower, diagonal, upper = (z * bands).unbind(0)
        skew = 0.5 * (upper[:, :-1] + lower[:, 1:].conj()).abs()
        radius = diagonal.real.abs()
        radius[:, :-1] += skew
        radius[:, 1:] += skew
        w = float(radius.max()) if radius.numel() else 0.0
    if not w < 1.0:
        return float("inf")
    try:
        return float(((1.0 + w) / (1.0 - w)) ** steps)
    except OverflowError:
        return float("inf")
