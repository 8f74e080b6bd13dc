"""What the tests of propagate share: random fields, numpy in and out, comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcore.schrodinger import propagate

from . import oracle
from .oracle import Complex, Field

C128, C64, F64, F32 = torch.complex128, torch.complex64, torch.float64, torch.float32


def random_field(shape: tuple[int, ...], seed: int = 0) -> Complex:
    """Complex normal numbers; a grid of n points has norm^2 of about 2 n."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def unit_field(shape: tuple[int, ...], seed: int = 0, axes: int = 1) -> Complex:
    """The same with sum |psi|^2 = 1 over the last `axes` axes."""
    psi = random_field(shape, seed)
    return psi / np.sqrt((abs(psi) ** 2).sum(axis=tuple(range(-axes, 0)), keepdims=True))


def tensor(field: Field, dtype: torch.dtype | None = None) -> Tensor:
    """A contiguous tensor of a numpy field."""
    return torch.from_numpy(np.ascontiguousarray(field)).to(dtype)


def run(psi: Field, potential: Any, *, dtype: torch.dtype = C128, **settings: Any) -> Complex:
    """propagate of a numpy field, as a numpy field of complex128; the dtype of the outcome is checked."""
    potential = tensor(potential) if isinstance(potential, np.ndarray) else potential
    found = propagate(tensor(psi, dtype), potential, **settings)
    assert isinstance(found, Tensor)
    assert found.dtype == dtype
    assert found.shape == psi.shape
    return found.to(C128).numpy()


def distance(a: Field, b: Field) -> float:
    """Largest difference of two fields; not a number if one has such entries."""
    assert a.shape == b.shape
    return float(abs(a - b).max()) if a.size else 0.0


def bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors agree bit for bit."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    raw = [(torch.view_as_real(t.resolve_conj()) if t.is_complex() else t).numpy().tobytes() for t in (a, b)]
    return raw[0] == raw[1]


def mean_energy(psi: Field, h: Field) -> Any:
    """<psi|h|psi> / <psi|psi> of every field of a batch, psi flattened at the end."""
    return np.einsum("...i,ij,...j->...", psi.conj(), h, psi).real / (abs(psi) ** 2).sum(-1)


def dense(potential: Field, spacing: Any, dt: float, time_order: int = 2, **settings: Any) -> Complex:
    """The dense matrix of one step in one dimension; settings of oracle.hamiltonian."""
    h = oracle.hamiltonian(potential, spacing, **settings)
    return oracle.pade_step(h, -1j * dt / settings.get("hbar", 1.0), time_order // 2)
