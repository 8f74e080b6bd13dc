"""Dense float64 linear algebra for Cayley steps, and random problems for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

TYPES = (torch.complex128, torch.complex64, torch.float64, torch.float32)
# What a result may differ by, relative to its largest entry: rounding of the inputs and the output.
CLOSE = {torch.complex128: 1e-12, torch.float64: 1e-12, torch.complex64: 1e-6, torch.float32: 1e-6}


def tridiagonal(lower: Any, diagonal: Any, upper: Any) -> np.ndarray:
    """Matrices (*batch, n, n) from A[j+1, j], A[j, j], A[j, j+1]."""
    lower, diagonal, upper = (np.asarray(a) for a in (lower, diagonal, upper))
    n = diagonal.shape[-1]
    batch = np.broadcast_shapes(lower.shape[:-1], diagonal.shape[:-1], upper.shape[:-1])
    a = np.zeros((*batch, n, n), dtype=np.result_type(lower, diagonal, upper))
    i = np.arange(n)
    a[..., i, i] = diagonal
    a[..., i[1:], i[:-1]] = lower
    a[..., i[:-1], i[1:]] = upper
    return a


def dense_cayley(psi: Any, a: np.ndarray, z: complex, steps: int, m: np.ndarray | None = None) -> np.ndarray:
    """(steps + 1, *batch, n): the states before and after every step."""
    m = np.eye(a.shape[-1]) if m is None else m
    u = np.asarray(psi)
    u = u.astype(np.complex128 if np.iscomplexobj(u) else np.float64)
    states = [np.broadcast_to(u, np.broadcast_shapes(u.shape, a.shape[:-1], m.shape[:-1]))]
    for _ in range(steps):
        rhs = (m + z * a) @ states[-1][..., None]
        states.append(np.linalg.solve(m - z * a, rhs)[..., 0])
    return np.stack(states)


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal numbers, the same for the same arguments."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Of coefficients for psi of a dtype."""
    return torch.complex128 if dtype.is_complex else torch.float64


def relative(got: Tensor, expected: np.ndarray) -> float:
    """Largest difference over the largest entry."""
    assert tuple(got.shape) == expected.shape
    if not expected.size:
        return 0.0
    return float(np.abs(got.detach().numpy() - expected).max() / np.abs(expected).max())
