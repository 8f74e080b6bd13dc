"""The transfer over lattice paths in differentiable torch: for forward mode and derivatives of derivatives.

Costs O(B M K) memory a step, where the kernels keep O(sqrt(N) B M) in all.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NOTHING = float("-inf")


def transfer(
    psi: Tensor,
    taps: Tensor,
    factor: Tensor | None,
    psi_sign: Tensor | None,
    taps_sign: Tensor | None,
    factor_sign: Tensor | None,
    exponent: Tensor | None,
    steps: int,
    boundary: str,
    semiring: str,
) -> Tensor:
    """psi_N (B, M): arguments as the operator takes them; `exponent` (B,) divides a scaled run's result."""
    state, sign = psi, psi_sign
    total = None
    if exponent is not None:
        total = torch.zeros_like(exponent)
    for t in range(steps):
        windows = _windows(state, taps.shape[-1], boundary, 0.0 if semiring == "linear" else _NOTHING)
        tap = taps[t % taps.shape[0]].unsqueeze(1)  # (1 or B, 1, K)
        f = None if factor is None else factor[t % factor.shape[0]]
        if semiring == "linear":
            state = (tap * windows).sum(-1)
            state = state if f is None else state * f
            if total is not None:
                state, total = _rescaled(state, total)
            continue
        terms = tap + windows
        if semiring == "max":
            state = terms.max(-1).values
        else:
            signs = None
            if sign is not None or taps_sign is not None:
                one = torch.ones_like(state) if sign is None else sign
                signs = _windows(one, taps.shape[-1], boundary, 0.0)
                if taps_sign is not None:
                    signs = signs * taps_sign[t % taps.shape[0]].unsqueeze(1)
            state, sign = log_sum(terms, signs)
            if factor_sign is not None and factor is not None:
                own = factor_sign[t % factor.shape[0]]
                sign = own.expand(state.shape) if sign is None else sign * own
                state = torch.where(sign == 0, torch.full_like(state, _NOTHING), state)
        state = state if f is None else state + f
    if total is not None and exponent is not None:
        state = state * torch.exp2(total - exponent).unsqueeze(-1).to(state.dtype)
    if semiring == "log" and steps == 0 and sign is not None:
        state = torch.where(sign == 0, torch.full_like(state, _NOTHING), state)
    return state


def log_sum(terms: Tensor, signs: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """log |sum_k signs_k exp(terms_k)| over the last axis and the sign; -inf has gradient zero."""
    live = terms.detach()
    if signs is not None:
        live = torch.where(signs == 0, torch.full_like(live, _NOTHING), live)
    most = live.amax(-1, keepdim=True)
    shift = torch.where(torch.isfinite(most), most, torch.zeros_like(most))
    shares = torch.exp(torch.where(torch.isneginf(live), live, terms) - shift)
    total = shares.sum(-1) if signs is None else (signs * shares).sum(-1)
    empty = total == 0
    size = torch.where(empty, torch.ones_like(total), total.abs()).log() + shift.squeeze(-1)
    out = torch.where(empty, torch.full_like(total, _NOTHING), size)
    return out, None if signs is None else total.detach().sign()


def _windows(state: Tensor, kernel: int, boundary: str, outside: float) -> Tensor:
    """(B, M, K): what each output reads."""
    sites, half = state.shape[-1], kernel // 2
    tap = torch.arange(kernel, device=state.device)
    place = torch.arange(sites, device=state.device).unsqueeze(1) + tap - half
    inside = (place >= 0) & (place < sites)
    read = state[:, place % sites]
    if boundary == "periodic":
        return read
    return torch.where(inside, read, torch.full_like(read, outside))


def _rescaled(state: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    size = state.detach().abs().amax(-1)
    usable = (size > 0) & torch.isfinite(size)
    power = torch.where(usable, size, torch.ones_like(size)).log2().floor()
    return state * torch.exp2(-power).unsqueeze(-1), total + power.to(total.dtype)
