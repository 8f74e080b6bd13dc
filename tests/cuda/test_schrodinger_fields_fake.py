"""Runs on several axes with CUDA tensors that have no memory: nothing is made on another device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode

from qcore.schrodinger import propagate


@pytest.mark.parametrize(
    "options",
    [{}, {"time_order": 4, "save_every": 2}, {"absorber": (1.0, 0.5, 2.0)}, {"space_order": 6}],
)
def test_propagate(options: dict[str, Any]) -> None:
    with FakeTensorMode():
        psi = torch.empty(2, 6, 7, dtype=torch.complex64, device="cuda")
        potential = torch.empty(6, 7, dtype=torch.float64, device="cuda")
        found = propagate(psi, potential, dt=0.1, steps=4, spacing=(0.5, 0.5), **options)
    for out in found if isinstance(found, tuple) else (found,):
        assert (out.dtype, out.device.type) == (psi.dtype, "cuda")


def test_a_potential_that_depends_on_time() -> None:
    with FakeTensorMode():
        psi = torch.empty(6, 7, dtype=torch.complex128, device="cuda")
        shape = torch.empty(6, 7, dtype=torch.float64, device="cuda")
        out = propagate(psi, lambda t: shape * t, dt=0.1, steps=4, spacing=(0.5, 0.5))
    assert (out.shape, out.device.type) == (psi.shape, "cuda")


def test_gradients_lie_beside_the_state_and_coefficients_on_the_cpu() -> None:
    settings = [0, -1], "dirichlet,periodic", 2, "cayley", 3, 1, 0, "float64", True, "auto"
    with FakeTensorMode():
        psi = torch.empty(2, 6, 7, dtype=torch.complex128, device="cuda")
        phases = torch.empty(1, 1, 6, 7, dtype=torch.complex128, device="cuda")
        e = torch.empty(1, 2, 1, dtype=torch.complex128)
        adjoint = torch.ops.qcore.schrodinger_split_adjoint
        gradients = adjoint(psi, psi, None, phases, e, *settings, True, True)
        with pytest.raises(ValueError, match="e: expected a CPU tensor, got cuda:0"):
            adjoint(psi, psi, None, phases, torch.empty_like(e, device="cuda"), *settings, True, True)
    assert [g.shape for g in gradients] == [psi.shape, phases.shape, e.shape]
    assert all(g.device.type == "cuda" for g in gradients)
