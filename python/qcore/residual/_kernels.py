"""The linear part of each layer as two kernels, skip and convolution, and what both are expanded in."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from qcore._ops import _check

FORMS = ("exact", "linear", "pde")


class Expansion(NamedTuple):
    """Per layer log(w~) + f~/w~ = log(skip) + growth - i mean.p - p.covariance.p / 2 + ..., see `expand`."""

    skip: Tensor
    """(T, C): w~(0)."""
    growth: Tensor
    """(T, C): f~(0) / w~(0)."""
    mean: Tensor
    """(T, C, D)"""
    covariance: Tensor
    """(T, C, D, D)"""
    third: Tensor
    """(T, C, D): third derivatives along each axis."""


def split(taps: Tensor, skip: complex | Tensor, *, allow_complex: bool = False) -> tuple[Tensor, Tensor]:
    """Skip and taps as kernels (T, C, *K), each of its own size; a skip that is a number has size 1."""
    _check.require_tensor("taps", taps)
    _require_dtype("taps", taps, allow_complex)
    if not 3 <= taps.ndim <= 5 or any(k % 2 == 0 for k in taps.shape[2:]):
        raise _check.wrong_value("taps", "shape (T, C, *K) with 1 to 3 odd kernel sizes", _check.shape(taps))
    if not isinstance(skip, Tensor):
        dtype = taps.dtype
        if allow_complex and isinstance(skip, complex):
            dtype = torch.promote_types(dtype, torch.complex64)
        else:
            _check.require_number("skip", skip)
        skip = torch.full((taps.shape[0], 1), skip, dtype=dtype, device=taps.device)
    _require_dtype("skip", skip, allow_complex)
    if skip.device != taps.device:
        raise _check.wrong_value("skip", f"the device of taps, {taps.device}", skip.device)
    steps, channels = taps.shape[:2]
    kernel = skip.unsqueeze(1) if skip.ndim == 1 else skip
    if kernel.ndim == 2:
        kernel = kernel.reshape(*kernel.shape, *(1,) * (taps.ndim - 2))
    if (
        kernel.ndim != taps.ndim
        or kernel.shape[0] != steps
        or not (kernel.shape[1] in (1, channels) or channels == 1)
        or any(k % 2 == 0 for k in kernel.shape[2:])
    ):
        expected = f"a number, shape ({steps},), ({steps}, {channels}) or a kernel ({steps}, {channels}, *K)"
        raise _check.wrong_value("skip", expected, _check.shape(skip))
    dtype = torch.promote_types(taps.dtype, kernel.dtype)
    width = kernel.shape[1] if channels == 1 else channels
    return (
        kernel.to(dtype).expand(steps, width, *kernel.shape[2:]),
        taps.to(dtype).expand(steps, width, *taps.shape[2:]),
    )


def merge(skip: Tensor, taps: Tensor) -> Tensor:
    """The weights T(d) = skip(d) + taps(d) of a layer, (T, C, *K)."""
    sizes = [max(pair) for pair in zip(skip.shape[2:], taps.shape[2:], strict=True)]
    return _widen(skip, sizes) + _widen(taps, sizes)


def displacements(kernel: Tensor) -> Tensor:
    """(K, D): v = -d of every tap of a flattened kernel, x first."""
    real = kernel.real.dtype if kernel.dtype.is_complex else kernel.dtype
    axes = [k // 2 - torch.arange(k, dtype=real, device=kernel.device) for k in kernel.shape[2:]]
    return torch.cartesian_prod(*axes).reshape(-1, len(axes)).flip(-1)


def raw_moments(kernel: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums of 1, v_i, v_i v_j, v_i^3 over the displacements: (T, C), (.., D), (.., D, D), (.., D)."""
    v = displacements(kernel).to(kernel.dtype)
    flat = kernel.flatten(2)
    square = torch.einsum("tck,ki,kj->tcij", flat, v, v)
    return flat.sum(2), flat @ v, square, flat @ v**3


def cumulants(kernel: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mass, mean, covariance and third central moments of the displacement, per layer."""
    mass, first, second, third = raw_moments(kernel)
    mean = first / mass.unsqueeze(2)
    second = second / mass[..., None, None]
    covariance = second - mean.unsqueeze(3) * mean.unsqueeze(2)
    along = second.diagonal(dim1=2, dim2=3)
    return mass, mean, covariance, third / mass.unsqueeze(2) - 3 * along * mean + 2 * mean**3


def expand(skip: Tensor, taps: Tensor) -> Expansion:
    """Derivatives at p = 0 of log(w~) + f~/w~: cumulants of w, plus moments of Omega in f = w Omega."""
    w0, mean, covariance, third = cumulants(skip)
    _, w1, w2, w3 = raw_moments(skip)
    f0, f1, f2, f3 = raw_moments(taps)
    column, matrix = w0.unsqueeze(2), w0[..., None, None]
    # Leibniz's rule for f = w Omega, solved for the highest derivative of Omega each time.
    o0 = f0 / w0
    o1 = (f1 - o0.unsqueeze(2) * w1) / column
    mixed = o1.unsqueeze(3) * w1.unsqueeze(2)
    o2 = (f2 - mixed - mixed.mT - o0[..., None, None] * w2) / matrix
    o2_along, w2_along = (m.diagonal(dim1=2, dim2=3) for m in (o2, w2))
    o3 = (f3 - 3 * o2_along * w1 - 3 * o1 * w2_along - o0.unsqueeze(2) * w3) / column
    return Expansion(w0, o0, mean + o1, covariance + o2, third + o3)


def require_nonzero_skip(gain: Tensor, form: str) -> None:
    """Refuse Omega = f~/w~ where w~ is 0."""
    if (gain == 0).any():
        raise _check.wrong_value("skip", f"a symbol without zeros for the form {form!r}", "a zero of it")


def points(name: str, value: Any, dimensions: int) -> Tensor:
    """Wave numbers or displacements (...) of one dimension, (..., D) of more, as (..., D)."""
    _check.require_tensor(name, value)
    if not value.dtype.is_floating_point:
        raise _check.wrong_type(name, "a real floating dtype", value.dtype)
    if dimensions == 1:
        return value.unsqueeze(-1)  # type: ignore[no-any-return]
    if value.ndim == 0 or value.shape[-1] != dimensions:
        raise _check.wrong_value(name, f"shape (..., {dimensions})", _check.shape(value))
    return value  # type: ignore[no-any-return]


def _widen(kernel: Tensor, sizes: list[int]) -> Tensor:
    around = [(size - k) // 2 for size, k in zip(sizes, kernel.shape[2:], strict=True)]
    return F.pad(kernel, [r for r in reversed(around) for _ in range(2)])


def _require_dtype(name: str, value: Tensor, allow_complex: bool) -> None:
    if not (value.dtype.is_floating_point or (allow_complex and value.dtype.is_complex)):
        kinds = "a floating or complex dtype" if allow_complex else "a real floating dtype"
        raise _check.wrong_type(name, kinds, value.dtype)
