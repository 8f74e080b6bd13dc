"""Public functions of the path family on CUDA tensors, without a GPU: nothing they make lies elsewhere.

Without derivatives: torch's autograd wants a real device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from qcore import paths


@pytest.fixture(autouse=True)
def _fake() -> Iterator[None]:
    with FakeTensorMode():
        yield


def _on_gpu(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, device="cuda", dtype=dtype)


def _runs(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    out = function(*args, **kwargs)
    results = [t for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, Tensor)]
    assert results
    assert all(t.is_cuda for t in results)


@pytest.mark.parametrize("semiring", ["real", "complex", "log", "max"])
def test_transfer(semiring: str) -> None:
    dtype = torch.complex64 if semiring == "complex" else torch.float32
    psi, taps, potential = _on_gpu(3, 20, dtype=dtype), _on_gpu(5, dtype=dtype), _on_gpu(4, 20)
    _runs(paths.transfer, psi, taps, potential=potential, semiring=semiring, method="direct")
    _runs(paths.transfer, psi, taps, steps=3, out_exponent=semiring in ("real", "complex"), semiring=semiring)
    matrices = _on_gpu(20, 20, dtype=dtype)
    if semiring != "log":  # its values decide by which way
        _runs(paths.transfer, psi, matrices, steps=3, dense=True, semiring=semiring)


@pytest.mark.parametrize("scheme", ["trapezoid", "takahashi-imada", "chin4", "midpoint"])
@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_action(scheme: str, boundary: str) -> None:
    x = _on_gpu(3, 21 if boundary == "open" else 20)
    settings = {"scheme": scheme, "boundary": boundary}
    _runs(paths.action, x, [0.0, 0.0, 0.5], dt=0.1, **settings)
    _runs(paths.action, x, _on_gpu(3, dtype=torch.float64), dt=0.1, mass=torch.tensor(1.5), **settings)
    if scheme in ("trapezoid", "midpoint"):
        _runs(paths.action, x, lambda y: y**4, dt=0.1, **settings)


def test_action_of_a_learned_mass() -> None:
    """It is fetched to the host, where the kernels read it."""
    _runs(paths.action, _on_gpu(3, 21), [0.0, 0.0, 0.5], dt=0.1, mass=_on_gpu(dtype=torch.float64))


@pytest.mark.parametrize("x_ini", [0.0, "tensor"])
@pytest.mark.parametrize("pinned_to", [None, 1.0, "tensor"])
def test_networks(x_ini: Any, pinned_to: Any) -> None:
    ends = {"x_ini": x_ini, "pinned_to": pinned_to}
    given: Any = {name: _on_gpu(3) if end == "tensor" else end for name, end in ends.items()}
    w = _on_gpu(3, 20)
    for action in (paths.action_from_velocity, paths.action_from_acceleration):
        _runs(action, w, given["x_ini"], [0.0, 0.0, 0.5], dt=0.1, pinned_to=given["pinned_to"])
    for path in (paths.from_velocity, paths.from_acceleration):
        _runs(path, w, given["x_ini"], dt=0.1, pinned_to=given["pinned_to"])


@pytest.mark.parametrize("scheme", ["trapezoid", "midpoint"])
def test_phi4(scheme: str) -> None:
    phi = _on_gpu(2, 6, 8)
    _runs(paths.phi4_action, phi, mass2=0.5, coupling=0.1, scheme=scheme)
    _runs(paths.phi4_action, phi, mass2=_on_gpu(), coupling=0.1, scheme=scheme)
    assert paths.phi4_gradient(phi.detach(), mass2=0.5, coupling=0.1, scheme=scheme).is_cuda
    assert paths.lattice_laplacian(phi.detach()).is_cuda
