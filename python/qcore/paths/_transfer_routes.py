"""Transfers that are no banded sums: matrix products for dense taps, spectra for homogeneous ones."""

from __future__ import annotations

import torch
from torch import Tensor

from qcore._ops._check import wrong_value
from qcore._ops.paths_transfer_composite import log_sum

from ._numbers import values_known
from ._transfer_arguments import Chain

# What one run by spectra takes, in products of the fused kernel: measured in float32 on AVX-512, rounded up.
_PRODUCTS_PER_CALL, _PRODUCTS_PER_SITE = 6e6, 600.0
_NEAR = 1e3  # entries within this factor: spectra lose three digits in the smallest


def fourier_transfer(chain: Chain, boundary: str, semiring: str, out_exponent: bool) -> Tensor:
    """psi_N by spectra, or the reason why not."""
    if semiring in ("log", "max"):
        raise wrong_value(
            "method", f"'direct' in the semiring {semiring!r}: spectra lose small weights", "'fft'"
        )
    if out_exponent:
        raise wrong_value("method", "'direct' with out_exponent: a spectrum is in one scale", "'fft'")
    reason = _not_fourier(chain, boundary)
    if reason:
        raise wrong_value("method", f"'direct' {reason}", "'fft'")
    if semiring == "real" and values_known(chain.psi, chain.taps) and chain.psi.numel():
        positive = bool((chain.psi >= 0).all()) and bool((chain.taps >= 0).all())
        spread = _spread(chain, boundary) if positive else 1.0
        finest = torch.finfo(chain.psi.dtype).eps
        if not spread * finest * 16 < 1:
            raise wrong_value(
                "method",
                "'direct' for positive weights whose sums span more than the precision",
                f"'fft', where the smallest would drown in the rounding of one {spread:.1e} times as large",
            )
    return _spectra(chain.psi, chain.taps[0, 0], chain.steps, boundary)


def prefers_fourier(chain: Chain, boundary: str) -> Tensor | None:
    """psi_N by spectra where that is faster and as good, else None."""
    if _not_fourier(chain, boundary) or not values_known(chain.psi, chain.taps):
        return None
    products = float(chain.steps * chain.taps.shape[-1] * chain.psi.numel())
    spectra = _PRODUCTS_PER_CALL + _PRODUCTS_PER_SITE * chain.psi.numel()
    if products < 3 * spectra:  # one run for the range of the result, one for the result
        return None
    if not _spread(chain, boundary) < _NEAR:
        return None
    return _spectra(chain.psi, chain.taps[0, 0], chain.steps, boundary)


def _not_fourier(chain: Chain, boundary: str) -> str:
    if chain.factor is not None:
        return "with a potential or gates, which change from site to site"
    if chain.taps.shape[:2] != (1, 1):
        return "with taps that differ by step or problem"
    if boundary == "zero" and chain.steps > 1:
        return "with the boundary 'zero' in more than one step: paths must not come back from beyond"
    return ""


def _spread(chain: Chain, boundary: str) -> float:
    """How many times larger the largest sum of absolute weights is than the smallest."""
    with torch.no_grad():
        sums = _spectra(chain.psi.abs(), chain.taps[0, 0].abs(), chain.steps, boundary)
        least, most = sums.amin(-1), sums.amax(-1)
        spread = torch.where(most == 0, torch.ones_like(most), most / least.clamp(min=0.0))
        return float(spread.max())


def _spectra(psi: Tensor, taps: Tensor, steps: int, boundary: str) -> Tensor:
    sites, kernel = psi.shape[-1], taps.shape[-1]
    half = kernel // 2
    length = sites if boundary == "periodic" else sites + half
    place = (torch.arange(kernel, device=psi.device) - half).neg() % length
    response = torch.zeros(length, dtype=taps.dtype, device=psi.device).index_add(0, place, taps)
    if psi.is_complex():
        spectrum = torch.fft.fft(psi, length) * _power(torch.fft.fft(response), steps)
        back: Tensor = torch.fft.ifft(spectrum)
        return back[..., :sites]
    spectrum = torch.fft.rfft(psi, length) * _power(torch.fft.rfft(response), steps)
    out: Tensor = torch.fft.irfft(spectrum, length)
    return out[..., :sites]


def _power(base: Tensor, exponent: int) -> Tensor:
    """By squaring: torch's complex power goes through logarithms."""
    result = torch.ones_like(base)
    while exponent:
        if exponent & 1:
            result = result * base
        exponent >>= 1
        if exponent:
            base = base * base
    return result


# --- dense ---


def dense_transfer(chain: Chain, semiring: str, out_exponent: bool) -> tuple[Tensor, Tensor]:
    """psi_N and its exponents or signs, a matrix product a step."""
    state, matrices, factor = chain.psi, chain.taps, chain.factor
    sign, tap_sign, factor_sign = chain.signs
    if chain.signed and sign is None:
        sign = torch.ones_like(state)
    total = torch.zeros(state.shape[:1], dtype=torch.float64, device=state.device)
    if out_exponent:
        state, total = _rescaled(state, total)
    for t in range(chain.steps):
        matrix = matrices.select(0, t % matrices.shape[0])  # (1 or B, M, M)
        f = None if factor is None else factor.select(0, t % factor.shape[0])
        if semiring in ("real", "complex"):
            state = _product(matrix, state)
            state = state if f is None else state * f
            if out_exponent:
                state, total = _rescaled(state, total)
            continue
        if semiring == "max":
            state = (matrix + state.unsqueeze(-2)).max(-1).values
        elif sign is not None:
            signs = sign.unsqueeze(-2).expand(*state.shape[:1], *matrix.shape[-2:])
            if tap_sign is not None:
                signs = signs * tap_sign.select(0, t % tap_sign.shape[0])
            state, new_sign = log_sum(matrix + state.unsqueeze(-2), signs)
            sign = new_sign
            if factor_sign is not None and sign is not None:
                sign = sign * factor_sign.select(0, t % factor_sign.shape[0])
                state = torch.where(sign == 0, torch.full_like(state, float("-inf")), state)
        else:
            state = _log_product(matrix, state)
        state = state if f is None else state + f
    return state, total if out_exponent or sign is None else sign


def _product(matrix: Tensor, state: Tensor) -> Tensor:
    if matrix.shape[0] == 1:
        return state @ matrix.squeeze(0).mT
    return (matrix @ state.unsqueeze(-1)).squeeze(-1)


def _log_product(matrix: Tensor, state: Tensor) -> Tensor:
    """log of a matrix product, by one product of shifted exponentials unless these lose weights."""
    if not values_known(matrix, state):
        return log_sum(matrix + state.unsqueeze(-2), None)[0]
    row, top = _shift(matrix), _shift(state)
    shares = _product(torch.exp(matrix - row), torch.exp(state - top))
    info = torch.finfo(state.dtype)
    lost = ~(shares > state.shape[-1] * info.tiny / info.eps)
    if bool(lost.any()):
        return log_sum(matrix + state.unsqueeze(-2), None)[0]
    return shares.log() + row.squeeze(-1) + top


def _shift(logs: Tensor) -> Tensor:
    most = logs.detach().amax(-1, keepdim=True)
    return torch.where(torch.isfinite(most), most, torch.zeros_like(most))


def _rescaled(state: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Brings the largest part of each row to [1, 2)."""
    parts = torch.view_as_real(state.detach()).flatten(-2) if state.is_complex() else state.detach()
    size = parts.abs().amax(-1)
    usable = (size > 0) & torch.isfinite(size)
    power = torch.frexp(torch.where(usable, size, torch.ones_like(size))).exponent - 1
    half = torch.div(power, 2, rounding_mode="floor")  # 2^-power itself may leave the range
    scaled = state
    for part in (half, power - half):
        scaled = scaled * torch.exp2(-part.to(size.dtype)).unsqueeze(-1)
    return scaled, total + power.double()
