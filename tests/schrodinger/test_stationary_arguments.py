"""ground_state and eigenstates: derivatives of the energies, and every argument broken once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qcore.schrodinger.stationary import eigenstates, ground_state

from .test_ground_state import field, line

FUNCTIONS = {"ground_state": ground_state, "eigenstates": eigenstates}


def well(n: int = 90) -> tuple[torch.Tensor, float]:
    x, h = line(6.0, n)
    return field(0.5 * x**2 + 0.2 * x**3 / 6 + 0.05 * x**4), h


# --- derivatives --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("order", [2, 6])
def test_gradient_is_the_density_and_the_slope(name: str, order: int) -> None:
    solve = FUNCTIONS[name]
    potential, h = well()
    settings: dict[str, Any] = {"spacing": h, "k": 3, "space_order": order}
    leaf = potential.clone().requires_grad_()
    result = solve(leaf, **settings)
    direction = field(np.random.default_rng(0).normal(size=90))
    for level in range(3):
        (gradient,) = torch.autograd.grad(result.energies[level], leaf, retain_graph=True)
        density = result.states[level].detach() ** 2 * h
        torch.testing.assert_close(gradient, density, rtol=1e-12, atol=1e-15)
        eps = 1e-4
        above, below = (solve(potential + s * eps * direction, **settings).energies[level] for s in (1, -1))
        slope = float((above - below) / (2 * eps))
        assert float(gradient @ direction) == pytest.approx(slope, rel=2e-6, abs=1e-7)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient_in_mass_and_hbar(name: str) -> None:
    solve = FUNCTIONS[name]
    potential, h = well()
    values = {"mass": 1.3, "hbar": 0.7}
    leaves = {key: torch.tensor(v, dtype=torch.float64, requires_grad=True) for key, v in values.items()}
    energies = solve(potential, spacing=h, k=2, space_order=4, **leaves).energies
    gradients = torch.autograd.grad(energies.sum(), list(leaves.values()))
    for key, gradient in zip(values, gradients, strict=True):
        above, below = (
            solve(potential, spacing=h, k=2, space_order=4, **{**values, key: values[key] + s}).energies.sum()
            for s in (1e-4, -1e-4)
        )
        assert float(gradient) == pytest.approx(float(above - below) / 2e-4, rel=1e-6)


def test_gradient_of_batches_of_planes_with_a_mass_for_each_axis() -> None:
    rng = np.random.default_rng(3)
    potential = field(rng.normal(size=(2, 3, 4)))
    mass = [torch.tensor(m, dtype=torch.float64) for m in (1.0, 2.0)]
    weights = field(rng.normal(size=(2, 2)))

    def total(v: torch.Tensor, my: torch.Tensor, mx: torch.Tensor) -> torch.Tensor:
        energies = ground_state(
            v, spacing=(0.5, 0.4), k=2, mass=(my, mx), boundary=("periodic", "dirichlet")
        ).energies
        return (weights * energies).sum()

    inputs = tuple(t.clone().requires_grad_() for t in (potential, *mass))
    assert torch.autograd.gradcheck(total, inputs, eps=1e-5, atol=1e-6)


def test_gradient_reaches_a_float32_potential() -> None:
    potential, h = well()
    leaf = potential.float().requires_grad_()
    ground_state(leaf, spacing=h).energies.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.dtype == torch.float32
    assert float(leaf.grad.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_has_no_derivative_raises(name: str) -> None:
    potential, h = well()
    leaf = potential.clone().requires_grad_()
    result = FUNCTIONS[name](leaf, spacing=h, k=2)
    (gradient,) = torch.autograd.grad((result.energies**2).sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.pow(2).sum().backward()
    with pytest.raises(NotImplementedError, match="states: expected no gradient"):
        (FUNCTIONS[name](leaf, spacing=h, k=2).states ** 4).sum().backward()
    assert not result.residuals.requires_grad
    with pytest.raises(RuntimeError, match="functorch"):
        torch.func.grad(lambda v: FUNCTIONS[name](v, spacing=h, k=1).energies[0])(potential)


# --- arguments ----------------------------------------------------------------------------------------

V = torch.zeros(70, dtype=torch.float64)
NAN = torch.full((70,), float("nan"))
COMMON: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"potential": [0.0] * 70}, TypeError, r"potential: expected a torch\.Tensor, got list"),
    ({"potential": V.to(torch.complex128)}, TypeError, "potential: expected a real floating-point tensor"),
    ({"potential": V.long()}, TypeError, "potential: expected a real floating-point tensor"),
    ({"potential": NAN}, ValueError, "potential: expected finite numbers"),
    ({"potential": torch.tensor(1.0)}, ValueError, "potential: expected at least 1 axes"),
    ({"potential": torch.zeros(3, 0)}, ValueError, "potential: expected at least one grid point"),
    ({"spacing": 0.0}, ValueError, "spacing: expected a finite number > 0, got 0"),
    ({"spacing": "0.1"}, TypeError, "spacing: expected a real number"),
    ({"k": 0}, ValueError, "k: expected an int from 1 to 70"),
    ({"k": 71}, ValueError, "k: expected an int from 1 to 70, the number of grid points, got 71"),
    ({"k": 2.0}, TypeError, "k: expected an int"),
    ({"mass": -1.0}, ValueError, r"mass: expected a number > 0 \(else H is not bounded below\), got -1"),
    ({"mass": 0.0}, ValueError, "mass: expected a finite number other than 0"),
    ({"mass": (1.0, 1.0)}, ValueError, "mass: expected a number, or 1 of them"),
    ({"hbar": 0.0}, ValueError, "hbar: expected"),
    ({"hbar": "1"}, TypeError, "hbar: expected a real number"),
    ({"boundary": "transparent"}, ValueError, "boundary: expected one of 'dirichlet', 'periodic'"),
    ({"boundary": "open"}, ValueError, "boundary: expected one of"),
    ({"space_order": 3}, ValueError, "space_order: expected one of 2, 4, 6, got 3"),
]
OWN: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"spacing": (0.1, 0.1)}, ValueError, "potential: expected at least 2 axes"),
    ({"tolerance": 0.0}, ValueError, "tolerance: expected a finite number > 0"),
    ({"tolerance": None}, TypeError, "tolerance: expected a real number"),
    ({"max_iterations": -1}, ValueError, "max_iterations: expected an int >= 0"),
    ({"max_iterations": 1.5}, TypeError, "max_iterations: expected an int"),
    ({"seed": 1.5}, TypeError, "seed: expected an int, got float"),
    ({"seed": True}, TypeError, "seed: expected an int, got bool"),
    ({"start": np.ones((1, 70))}, TypeError, r"start: expected a torch\.Tensor"),
    ({"start": torch.ones(1, 70, dtype=torch.complex64)}, TypeError, "start: expected a real floating-point"),
    (
        {"start": torch.ones(70)},
        ValueError,
        r"start: expected shape \(1\.\.1, 70\), or without batch, got shape",
    ),
    ({"start": torch.ones(2, 70)}, ValueError, r"start: expected shape \(1\.\.1, 70\)"),
    ({"start": torch.ones(1, 69)}, ValueError, r"start: expected shape \(1\.\.1, 70\)"),
    (
        {"start": torch.zeros(1, 70)},
        ValueError,
        "start: expected states of finite numbers, none of them zero",
    ),
    ({"start": NAN[None]}, ValueError, "start: expected states of finite numbers"),
]


@pytest.mark.parametrize(("broken", "error", "message"), COMMON + OWN)
def test_ground_state_refuses(broken: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"potential": V, "spacing": 0.1, **broken}
    with pytest.raises(error, match=message):
        ground_state(arguments.pop("potential"), **arguments)


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [*COMMON, ({"spacing": (0.1, 0.1)}, ValueError, "spacing: expected one number")],
)
def test_eigenstates_refuses(broken: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"potential": V, "spacing": 0.1, "k": 1, **broken}
    with pytest.raises(error, match=message):
        eigenstates(arguments.pop("potential"), **arguments)
