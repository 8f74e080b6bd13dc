"""Networks that are paths agree with ordinary networks, and their random weights with quantum mechanics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from qcore import paths
from qcore.nn import CosinePath, ReluPath, StepPath

KINDS: list[Any] = [ReluPath, StepPath, CosinePath]
QUARTIC = [0.0, 0.0, 0.5, 0.0, 1.0]


def make(kind: Any, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"dt": 0.3, "x_ini": 0.2, "t_ini": -0.5, "paths": 4, "dtype": torch.float64}
    return kind(7, **(arguments | changes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_are_ordinary_networks(kind: Any, dtype: torch.dtype) -> None:
    module = make(kind, dtype=dtype)
    t = torch.linspace(-1.2, 2.4, 211, dtype=dtype)  # also before the path and beyond it
    network = module.as_network()
    assert [type(layer) for layer in network[::2]] == [nn.Linear, nn.Linear]
    found = module(t)
    assert found.dtype == dtype
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(found, network(t[:, None]).T, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_beads_are_values_at_grid_times(kind: Any) -> None:
    module = make(kind)
    t = -0.5 + 0.3 * torch.arange(8, dtype=torch.float64)
    torch.testing.assert_close(module.beads(), module(t), rtol=0, atol=1e-12)
    assert module.beads().shape == (4, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_weights(kind: Any) -> None:
    module = make(kind)
    t = torch.linspace(-0.4, 1.5, 9, dtype=torch.float64)
    module(t).square().sum().backward()
    own = module.weight.grad.clone()
    network = module.as_network()
    network(t[:, None]).square().sum().backward()
    scale = 0.3 if kind is StepPath else 1.0
    torch.testing.assert_close(own, scale * network[2].weight.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_action_is_that_of_the_beads(kind: Any) -> None:
    module = make(kind, mass=1.3)
    expected = paths.action(module.beads(), QUARTIC, dt=0.3, mass=1.3, scheme="midpoint")
    torch.testing.assert_close(module.action(QUARTIC, scheme="midpoint"), expected, rtol=1e-12, atol=1e-12)


def test_training_the_weights_finds_the_classical_path() -> None:
    """The least action of the free particle from x_ini to a pull on its end is a straight line."""
    module = make(ReluPath, paths=1)
    optimizer = torch.optim.LBFGS([module.weight], max_iter=200, tolerance_grad=1e-12, tolerance_change=0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = module.action([0.0]).sum() - 0.5 * module.beads()[0, -1]
        loss.backward()
        return loss

    optimizer.step(closure)
    straight = 0.2 + 0.5 * 0.3 * torch.arange(8, dtype=torch.float64)  # velocity 1/2
    torch.testing.assert_close(module.beads()[0].detach(), straight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [ReluPath, StepPath])
def test_random_weights_are_quantum_paths(kind: Any) -> None:
    """Free particle from x_ini: increments independent, of variance hbar dt / m."""
    count = 20000
    module = make(kind, paths=count, mass=1.3, hbar=0.7)
    steps = module.beads().detach().diff(dim=1).numpy()
    variance = 0.7 * 0.3 / 1.3
    covariance = steps.T @ steps / count
    error = variance * np.sqrt((1 + np.eye(7)) / count)
    assert (np.abs(covariance - variance * np.eye(7)) < 4.5 * error).all()


def test_random_cosines_are_paths_of_the_oscillator() -> None:
    """Section 8: <x(t1) x(t2)> = hbar cosh(w t1) cosh(w (T - t2)) / (m w sinh(w T)), up to modes beyond N."""
    mass, k, time, t = 1.3, 2.1, 1.7, torch.tensor([0.4, 1.1], dtype=torch.float64)
    count, modes = 100_000, 8
    module = CosinePath(modes, dt=time / modes, paths=count, mass=mass, stiffness=k, dtype=torch.float64)
    x = module(t).detach()
    exact = 0.20651833568766373  # of the modes n <= 8
    products = x[:, 0] * x[:, 1]
    assert abs(float(products.mean()) - exact) < 4 * float(products.std()) / count**0.5


def test_random_cosines_without_stiffness_are_free_paths() -> None:
    count, n, dt = 20000, 64, 0.05
    module = CosinePath(n, dt=dt, paths=count, x_ini=0.4, mass=1.3, dtype=torch.float64)
    x = module.beads().detach()
    torch.testing.assert_close(x[:, 0], torch.full((count,), 0.4, dtype=torch.float64))
    moved = (x[:, 32] - x[:, 0]).square()
    modes = torch.arange(1, n + 1, dtype=torch.float64)
    variances = 2 * n * dt / (1.3 * (modes * torch.pi) ** 2)
    expected = (variances * (torch.cos(modes * torch.pi / 2) - 1).square()).sum()
    assert float(expected) == pytest.approx(32 * dt / 1.3, rel=0.02)
    assert abs(float(moved.mean() - expected)) < 4 * float(moved.std()) / count**0.5


def test_seeds_repeat_and_states_load() -> None:
    first, second = make(ReluPath), make(ReluPath)
    for module in (first, second):
        module.reset_parameters(torch.Generator().manual_seed(3))
    assert torch.equal(first.weight, second.weight)
    third = make(ReluPath, x_ini=0.0)
    third.load_state_dict(first.state_dict())
    assert torch.equal(third.beads(), first.beads())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dt": 0.0}, ValueError, "dt: expected a finite number > 0"),
        ({"mass": -1.0}, ValueError, "mass"),
        ({"hbar": "1"}, TypeError, "hbar"),
        ({"paths": 0}, ValueError, "paths: expected at least 1"),
        ({"t_ini": None}, TypeError, "t_ini"),
        ({"t_ini": math.inf}, ValueError, "t_ini: expected a finite number"),
        ({"x_ini": "0"}, TypeError, "x_ini: expected a real number"),
        ({"x_ini": math.nan}, ValueError, "x_ini: expected a finite number"),
        ({"dtype": torch.float16}, TypeError, "dtype: expected torch.float32, torch.float64 or None"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_refusals(kind: Any, change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(kind, **change)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_is_no_time(kind: Any) -> None:
    x = make(kind)(torch.tensor([0.1, math.nan, 0.3], dtype=torch.float64))
    assert x.isnan().any(0).tolist() == [False, True, False]


def test_more_refusals() -> None:
    with pytest.raises(ValueError, match="steps: expected at least 1"):
        ReluPath(0, dt=0.1)
    with pytest.raises(ValueError, match=r"x_ini: expected a number or shape \(4,\)"):
        make(StepPath, x_ini=torch.zeros(3))
    with pytest.raises(ValueError, match="stiffness: expected a number >= 0"):
        make(CosinePath, stiffness=-1.0)
    with pytest.raises(ValueError, match=r"t: expected times of shape \(Q,\)"):
        make(ReluPath)(torch.zeros(2, 2))
