"""Arguments of `transfer` as the operators take them."""

from __future__ import annotations

from math import prod
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from qcore._ops._check import (
    one_of,
    require_choice,
    require_count,
    require_tensor,
    shape,
    wrong_type,
    wrong_value,
)
from qcore._ops.paths_transfer_check import BOUNDARIES, COMPLEX, REAL

SEMIRINGS = ("real", "complex", "log", "max")


class SignedLog(NamedTuple):
    """Numbers sign * exp(log): 0 is the pair (anything, -inf) or (0, anything).

    Attributes:
        sign: -1, 0 or 1, in the dtype and shape of `log`.
        log: log |w|.
    """

    sign: Tensor
    log: Tensor


Weights: TypeAlias = "Tensor | SignedLog"


class Chain(NamedTuple):
    """A transfer with its batch axes in one."""

    psi: Tensor
    """(B, M)"""
    taps: Tensor
    """(1 or N, 1 or B, K), or dense (1 or N, 1 or B, M, M)"""
    factor: Tensor | None
    """(1 or N, 1 or B, M): exp(-potential) * gates, or its logarithm"""
    signs: tuple[Tensor | None, Tensor | None, Tensor | None]
    """of the three, in the semiring log"""
    steps: int
    shape: tuple[int, ...]
    """of psi0"""

    @property
    def signed(self) -> bool:
        """Whether any weight came with a sign."""
        return any(s is not None for s in self.signs)


def make_chain(
    psi0: Weights,
    taps: Weights,
    potential: Tensor | None,
    gates: Weights | None,
    steps: int | None,
    boundary: str,
    semiring: str,
    dense: bool,
) -> Chain:
    """Check the arguments of a transfer and bring them to the operators' form."""
    require_choice("semiring", semiring, SEMIRINGS)
    require_choice("boundary", boundary, BOUNDARIES)
    psi, psi_sign = _apart("psi0", psi0, semiring)
    tap, tap_sign = _apart("taps", taps, semiring)
    gate, gate_sign = (None, None) if gates is None else _apart("gates", gates, semiring)
    allowed = COMPLEX if semiring == "complex" else REAL
    if psi.dtype not in allowed:
        hint = " (semiring='complex' takes complex numbers)" if psi.dtype in COMPLEX else ""
        raise wrong_type(
            "psi0", f"dtype {one_of(allowed)} in the semiring {semiring!r}", f"{psi.dtype}{hint}"
        )
    if psi.ndim < 1 or psi.shape[-1] < 1:
        raise wrong_value("psi0", "shape (..., M) with M >= 1", shape(psi))
    sites = psi.shape[-1]
    matrix = 2 if dense else 1
    if dense and (tap.ndim < 2 or tap.shape[-2:] != (sites, sites)):
        raise wrong_value("taps", f"matrices of shape (..., {sites}, {sites}) where dense", shape(tap))
    if not dense and (tap.ndim < 1 or tap.shape[-1] % 2 == 0):
        raise wrong_value("taps", "an odd number of taps, shape (..., K)", shape(tap))
    last = tuple(tap.shape[-matrix:])
    count = _steps(steps, (tap, matrix), (potential, 1), (gate, 1))

    def rows(name: str, tensor: Tensor, ends: tuple[int, ...]) -> Tensor:
        return _rows(name, _cast(name, tensor, psi), psi, count, ends)

    factor = None
    if potential is not None:
        require_tensor("potential", potential)
        v = rows("potential", potential, (sites,))
        factor = -v if semiring in ("log", "max") else torch.exp(-v)
    signs: list[Tensor | None] = [None if psi_sign is None else _flat(psi_sign, psi), None, None]
    if tap_sign is not None:
        signs[1] = rows("taps.sign", tap_sign, last)
    if gate is not None:
        g = rows("gates", gate, (sites,))
        if gate_sign is not None:
            signs[2] = rows("gates.sign", gate_sign, (sites,))
        if factor is None:
            factor = g
        else:
            factor = factor + g if semiring in ("log", "max") else factor * g
            if signs[2] is not None:
                signs[2] = signs[2].expand(factor.shape)
    return Chain(
        _flat(psi, psi),
        rows("taps", tap, last),
        factor,
        (signs[0], signs[1], signs[2]),
        count,
        tuple(psi.shape),
    )


def _apart(name: str, value: Weights, semiring: str) -> tuple[Tensor, Tensor | None]:
    if not isinstance(value, SignedLog):
        require_tensor(name, value)
        return value, None
    if semiring != "log":
        raise wrong_type(name, f"a tensor in the semiring {semiring!r}", "a SignedLog")
    for part, tensor in (("sign", value.sign), ("log", value.log)):
        require_tensor(f"{name}.{part}", tensor)
    if value.sign.shape != value.log.shape:
        raise wrong_value(
            f"{name}.sign", f"the shape of {name}.log, {tuple(value.log.shape)}", shape(value.sign)
        )
    return value.log, value.sign.to(value.log.dtype).sign().detach()


def _steps(steps: int | None, *per_step: tuple[Tensor | None, int]) -> int:
    """What is asked for, or what the arguments that have an axis for it are given for."""
    if steps is not None:
        require_count("steps", steps)
        return steps
    given = [t.shape[0] for t, own in per_step if t is not None and t.ndim > own]
    if not given:
        raise wrong_value("steps", "an int >= 0 where nothing is given step by step", None)
    return next((n for n in given if n != 1), 1)


def _cast(name: str, tensor: Tensor, psi: Tensor) -> Tensor:
    if tensor.dtype == psi.dtype and tensor.device == psi.device:
        return tensor
    if tensor.dtype in COMPLEX and not psi.dtype.is_complex:
        raise wrong_type(name, "real numbers for real psi0", tensor.dtype)
    if tensor.dtype not in (*REAL, *COMPLEX):
        raise wrong_type(name, one_of((*REAL, *COMPLEX)), tensor.dtype)
    if tensor.device != psi.device:
        raise wrong_value(name, f"the device of psi0, {psi.device}", tensor.device)
    return tensor.to(psi.dtype)


def _rows(name: str, tensor: Tensor, psi: Tensor, steps: int, ends: tuple[int, ...]) -> Tensor:
    """(1 or N, 1 or B, *ends)."""
    if tensor.shape == ends:
        return tensor.reshape(1, 1, *ends)
    own, batch = len(ends), tuple(psi.shape[:-1])
    lead = tuple(tensor.shape[:-own])
    fits = tuple(tensor.shape[-own:]) == ends and (not lead or lead[0] in (1, steps))
    if len(lead) > 1:
        pairs = zip(lead[1:], batch, strict=False)
        fits = fits and len(lead) == 1 + len(batch) and all(n in (1, b) for n, b in pairs)
    if not fits:
        tail = ", ".join(map(str, ends))
        choices = [f"({tail}{',' if own == 1 else ''})", f"(1 or {steps}, {tail})"]
        if batch:
            choices.append(f"(1 or {steps}, {', '.join(f'1 or {b}' for b in batch)}, {tail})")
        raise wrong_value(name, "shape " + " or ".join(choices), shape(tensor))
    if len(lead) == 1:
        return tensor.reshape(lead[0], 1, *ends)
    if all(n == 1 for n in lead[1:]):
        return tensor.reshape(lead[0], 1, *ends)
    return tensor.expand(lead[0], *batch, *ends).reshape(lead[0], prod(batch), *ends)


def _flat(tensor: Tensor, psi: Tensor) -> Tensor:
    return tensor if psi.ndim == 2 else tensor.reshape(prod(psi.shape[:-1]), psi.shape[-1])
