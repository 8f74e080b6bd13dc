"""Gaussian kernel, Lagrangian and action against quadrature, sums over paths, and the equation itself."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from qcore.residual import action, gaussian_kernel, generator, lagrangian
from qcore.stencil import pde_taps

F64 = torch.float64
# Three layers of the theory note.
A, B, G = ((0.8, 1.1, 0.6), (0.3, -0.2, 0.5), (-0.05, 0.1, 0.02))


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def draws(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> Tensor:
    return torch.empty(*shape, dtype=F64).uniform_(low, high, generator=torch.Generator().manual_seed(seed))


# --- the kernel ---


def test_one_layer_of_the_theory_note() -> None:
    found = gaussian_kernel(torch.tensor(0.7, dtype=F64), 0.8, 0.3, gamma=-0.05)
    assert found.item() == pytest.approx(0.217176480475, abs=1e-12)


def test_three_layers_of_the_theory_note() -> None:
    found = gaussian_kernel(column(-0.4), column(*A), column(*B), gamma=column(*G))
    assert found.item() == pytest.approx(0.285222824248, abs=1e-12)


def test_kernel_is_the_transform_of_the_generator() -> None:
    """(1/2 pi) int dp e^{ipv} e^{-a^2 p^2 / 2 + ibp + g}, by a sum that converges beyond all orders."""
    a, b, g = draws(3, seed=0, low=0.5), draws(3, seed=1), draws(3, seed=2)
    p = torch.linspace(-30, 30, 6001, dtype=F64)
    v = draws(7, seed=3, low=-3, high=3)
    gain = generator(pde_taps(a, b, gamma=g), 1.0, p, "pde").sum((0, 1)).exp()
    expected = (torch.exp(1j * v[:, None] * p) * gain).sum(1).real * 0.01 / (2 * math.pi)
    torch.testing.assert_close(gaussian_kernel(v, a, b, gamma=g), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dims", [1, 2])
def test_layers_compose(dims: int) -> None:
    """int dy K_{3..4}(x - y) K_{1..2}(y) dy = K_{1..4}(x): one and one layer, two and two."""
    names = ("alpha", "beta", "sigma", "rho", "gamma") if dims == 2 else ("alpha", "beta", "gamma")
    layers = {name: draws(4, seed=i, low=0.4, high=0.8) for i, name in enumerate(names)}
    h = 0.2
    line = h * torch.arange(-60, 61, dtype=F64)
    y = torch.cartesian_prod(*(line,) * dims)
    for split, end in ((1, 2), (2, 4)):
        first, second, both = (
            {name: value[part] for name, value in layers.items()}
            for part in (slice(split), slice(split, end), slice(end))
        )
        x = draws(5, *((2,) if dims == 2 else ()), seed=9, low=-3, high=0)
        steps = x[:, None] - y
        found = (gaussian_kernel(steps, **second) * gaussian_kernel(y, **first)).sum(1) * h**dims
        torch.testing.assert_close(found, gaussian_kernel(x, **both), rtol=1e-10, atol=1e-12)


def test_two_dimensions_are_a_product() -> None:
    a, b, s, r, g = (draws(3, seed=i, low=0.3) for i in range(5))
    v = draws(4, 5, 2, seed=6)
    found = gaussian_kernel(v, a, b, s, r, g, advection=-0.125)
    along_x = gaussian_kernel(v[..., 0], a, -b / 8, gamma=g)
    along_y = gaussian_kernel(v[..., 1], s, -r / 8)
    torch.testing.assert_close(found, along_x * along_y, rtol=1e-13, atol=0.0)
    single = gaussian_kernel(v, 0.8, 0.3, 0.5, -0.2, 0.1)
    off = (v[..., 0] + 0.3) ** 2 / (2 * 0.64) + (v[..., 1] - 0.2) ** 2 / (2 * 0.25)
    torch.testing.assert_close(single, torch.exp(0.1 - off) / (2 * math.pi * 0.8 * 0.5), rtol=1e-13, atol=0.0)


def test_integral_is_the_growth() -> None:
    v = torch.linspace(-15, 15, 1501, dtype=F64)
    total = gaussian_kernel(v, column(*A), column(*B), gamma=column(*G)).sum() * 0.02
    assert total.item() == pytest.approx(math.exp(sum(G)), rel=1e-12)


@pytest.mark.parametrize(
    ("a", "total", "defect"),
    [
        (0.3, 0.894086756, 0.338),
        (0.4, 0.973728860, 8.50e-2),
        (0.5, 0.995555167, 1.44e-2),
        (0.6, 0.999493166, 1.64e-3),
        (0.8, 0.999997984, 6.52e-6),
        (1.0, 0.999999998, 5.35e-9),
    ],
)
def test_sum_over_a_lattice_is_not_the_integral(a: float, total: float, defect: float) -> None:
    n = torch.arange(-60, 61, dtype=F64)
    found = gaussian_kernel(n, a, 0.3).sum().item()
    assert found == pytest.approx(total, abs=6e-10)
    m = torch.arange(1, 30, dtype=F64)
    waves = 2 * (torch.exp(-2 * math.pi**2 * m**2 * a**2) * (2 * math.pi * m * 0.3).cos()).sum()
    assert found == pytest.approx(1 + waves.item(), abs=1e-14)
    worst = abs(gaussian_kernel(n, a, 0.0).sum().item() - 1)  # where all waves add up
    assert worst == pytest.approx(defect, rel=0.03)


def test_kernel_solves_the_equation() -> None:
    """psi_t = a^2/2 psi_xx + b psi_x + g psi, time being what multiplies a^2, b and g."""
    a, b, g = 0.7, -0.4, 0.3
    t, x = (draws(20, seed=i, low=0.5, high=2.0).requires_grad_() for i in range(2))
    psi = gaussian_kernel(x, (a * t.sqrt()).unsqueeze(1), (b * t).unsqueeze(1), gamma=(g * t).unsqueeze(1))
    psi_t, psi_x = torch.autograd.grad(psi.sum(), (t, x), create_graph=True)
    (psi_xx,) = torch.autograd.grad(psi_x.sum(), x)
    torch.testing.assert_close(psi_t, a**2 / 2 * psi_xx + b * psi_x + g * psi, rtol=1e-11, atol=1e-13)


def test_sign_of_alpha_is_free_and_shapes_broadcast() -> None:
    v = draws(6, seed=1)
    a, b = draws(2, 1, 3, seed=2), draws(3, seed=3)
    found = gaussian_kernel(v, a, b, gamma=0.1)
    assert found.shape == (2, 6)
    torch.testing.assert_close(found, gaussian_kernel(v, -a, b, gamma=column(0.1, 0.1, 0.1)))
    for row in range(2):
        torch.testing.assert_close(found[row], gaussian_kernel(v, a[row, 0], b, gamma=0.1))
    assert gaussian_kernel(v.float(), 0.8, 0.3).dtype == torch.float32
    assert gaussian_kernel(v[:0], 0.8, 0.3).shape == (0,)


# --- Lagrangian and action ---


def test_action_of_the_theory_note() -> None:
    path = column(0.0, -0.5, -0.2, -1.0)
    steps = lagrangian(path.diff(), 0.8, 0.3, gamma=-0.05)
    torch.testing.assert_close(steps.kinetic, column(0.03125, 0.28125, 0.1953125))
    torch.testing.assert_close(steps.potential, column(-0.745794981890).expand(3), rtol=0.0, atol=1e-12)
    found = action(path, 0.8, 0.3, gamma=-0.05)
    assert found.value.item() == pytest.approx(2.745197445671, abs=1e-12)
    assert found.kinetic.item() == pytest.approx(0.5078125, abs=1e-15)
    assert found.potential.item() == pytest.approx(-3 * 0.745794981890, abs=1e-11)
    assert math.exp(-found.value.item()) == pytest.approx(0.064235616648, abs=1e-12)
    total = gaussian_kernel(column(-1.0), column(0.8).expand(3), 0.3, gamma=-0.05)
    assert total.item() == pytest.approx(0.247163481495, abs=1e-12)


def test_weight_of_a_step_is_the_kernel_of_a_layer() -> None:
    v = draws(5, 3, 2, seed=0)
    a, b, s, r, g = (draws(3, seed=i) for i in range(1, 6))
    for options in ({}, {"advection": -0.125}):
        step = lagrangian(v, a, b, s, r, g, **options)
        layer = [part.unsqueeze(-1) for part in (a, b, s, r, g)]
        torch.testing.assert_close((-step.value).exp(), gaussian_kernel(v, *layer, **options))
        torch.testing.assert_close(step.value, step.kinetic - step.potential)
        potential = g - (a * s).abs().log() - math.log(2 * math.pi)
        torch.testing.assert_close(step.potential, potential.expand(5, 3))
    assert lagrangian(v[..., 0], -a, b).value.equal(lagrangian(v[..., 0], a, b).value)


def test_sum_over_lattice_paths() -> None:
    """All paths 0 -> 1 of three steps: e^{-(T - V)} nearly gives the kernel, e^{-(T + V)} does not."""
    sites = range(-6, 7)
    paths = torch.tensor([(0, *middle, 1) for middle in itertools.product(sites, sites)], dtype=F64)
    found = action(paths, column(*A), column(*B), gamma=column(*G))
    assert (-found.value).exp().sum().item() == pytest.approx(0.161362012, abs=6e-10)
    assert (-found.kinetic - found.potential).exp().sum().item() == pytest.approx(9.700799349, abs=6e-10)
    continuum = gaussian_kernel(column(1.0), column(*A), column(*B), gamma=column(*G))
    assert continuum.item() == pytest.approx(0.161278868, abs=6e-10)


def test_integral_over_paths_is_the_kernel() -> None:
    h = 0.25
    line = h * torch.arange(-40, 41, dtype=F64)
    middle = torch.cartesian_prod(line, line)
    start, end = torch.full((len(middle), 1), 0.4, dtype=F64), torch.zeros(len(middle), 1, dtype=F64)
    paths = torch.cat([start, middle, end], 1)
    total = (-action(paths, column(*A), column(*B), gamma=column(*G)).value).exp().sum() * h**2
    assert total.item() == pytest.approx(0.285222824248, abs=1e-10)


def test_action_in_two_dimensions_is_a_sum() -> None:
    path = draws(3, 5, 2, seed=0)
    a, b, s, r, g = (draws(4, seed=i) for i in range(1, 6))
    found = action(path, a, b, s, r, g)
    x, y = action(path[..., 0], a, b, gamma=g), action(path[..., 1], s, r)
    for both, first, second in zip(found, x, y, strict=True):
        torch.testing.assert_close(both, first + second)
    assert found.value.shape == (3,)


def test_growth_makes_paths_likelier_and_the_drift_is_the_best_path() -> None:
    path = torch.arange(5, dtype=F64) * -0.3
    assert action(path, 0.8, 0.3).kinetic.item() == pytest.approx(0.0, abs=1e-30)
    plain, grown = (action(path, 0.8, 0.3, gamma=g).value.item() for g in (0.0, 0.25))
    assert grown == pytest.approx(plain - 4 * 0.25)


def test_a_path_without_steps_has_no_action() -> None:
    assert action(column(2.0), 0.8, 0.3, gamma=1.0).value.item() == 0.0
    assert action(torch.zeros(4, 1, 2), 0.8, 0.3, 0.5, 0.1).value.tolist() == [0.0] * 4


@pytest.mark.parametrize("function", [gaussian_kernel, lagrangian, action])
@pytest.mark.parametrize("dims", [1, 2])
def test_gradients(function: Any, dims: int) -> None:
    x = draws(2, 4, *((2,) if dims == 2 else ()), seed=0).requires_grad_()
    shape = (4, 3) if function is gaussian_kernel else (3,) if function is action else (4,)
    leaves = [draws(*shape, seed=i, low=0.4).requires_grad_() for i in range(1, 3 + 2 * (dims == 2))]
    g = draws(*shape, seed=7).requires_grad_()

    def outputs(x: Tensor, g: Tensor, *leaves: Tensor) -> Any:
        found = function(x, *leaves, gamma=g, advection=0.7)
        return found if isinstance(found, Tensor) else tuple(found)

    assert torch.autograd.gradcheck(outputs, (x, g, *leaves))


# --- arguments ---

V = torch.rand(4)
BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "alpha": ({"alpha": "1"}, TypeError, "alpha: expected a real number, got str"),
    "alpha dtype": ({"alpha": torch.ones(3).int()}, TypeError, "alpha: expected a real floating dtype"),
    "alpha zero": ({"alpha": 0.0}, ValueError, r"alpha: expected no 0 .*, got 0\.0"),
    "alpha device": ({"alpha": torch.ones(3, device="meta")}, ValueError, "alpha: expected the device of v"),
    "beta": ({"beta": None}, TypeError, "beta: expected a real number, got NoneType"),
    "sigma alone": ({"sigma": 1.0}, ValueError, r"rho: expected a number or tensor \(both .* got None"),
    "rho alone": ({"rho": 1.0}, ValueError, r"sigma: expected a number or tensor \(both .* got None"),
    "gamma": ({"gamma": True}, TypeError, "gamma: expected a real number, got bool"),
    "advection": ({"advection": "1"}, TypeError, "advection: expected a real number, got str"),
    "shapes": (
        {"alpha": torch.ones(3), "beta": torch.ones(2)},
        ValueError,
        r"(alpha: expected parameters of shapes|beta: expected shape \(\.\.\., 3\)).* got",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("function", [gaussian_kernel, lagrangian, action])
def test_bad_parameters(function: Any, case: str) -> None:
    change, error, message = BAD[case]
    plane = "sigma" in change or "rho" in change
    with pytest.raises(error, match=message):
        function(torch.rand(4, 2) if plane else V, **({"alpha": 0.8, "beta": 0.3} | change))


@pytest.mark.parametrize(("function", "name"), [(gaussian_kernel, "v"), (lagrangian, "v"), (action, "path")])
def test_bad_displacements(function: Any, name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name}: expected a torch\.Tensor, got float"):
        function(0.7, 0.8, 0.3)
    with pytest.raises(TypeError, match=rf"{name}: expected a real floating dtype, got torch\.int64"):
        function(torch.arange(3), 0.8, 0.3)
    with pytest.raises(ValueError, match=rf"{name}: expected shape \(\.\.\., 2\), got shape \(4, 3\)"):
        function(torch.rand(4, 3), 0.8, 0.3, 0.5, 0.1)
    with pytest.raises(ValueError, match=r"sigma: expected no 0"):
        function(torch.rand(4, 2), 0.8, 0.3, 0.0, 0.1)


def test_bad_shapes() -> None:
    with pytest.raises(
        ValueError, match=r"alpha: expected parameters that broadcast with v, got \(4,\) and \(3,\)"
    ):
        lagrangian(V, torch.ones(3), 0.3)
    with pytest.raises(
        ValueError, match=r"alpha: expected parameters \(\.\.\., N\) .* got \(4,\) and \(3,\)"
    ):
        gaussian_kernel(V, torch.ones(3, 2), 0.3)
    for path in (torch.rand(()), torch.rand(3, 0)):
        with pytest.raises(ValueError, match=r"path: expected shape \(\.\.\., N \+ 1\), got shape"):
            action(path, 0.8, 0.3)
    with pytest.raises(ValueError, match=r"path: expected shape \(\.\.\., N \+ 1, 2\), got shape \(2,\)"):
        action(torch.rand(2), 0.8, 0.3, 0.5, 0.1)
    with pytest.raises(
        ValueError, match=r"gamma: expected shape \(\.\.\., 1\), one per step, got shape \(3,\)"
    ):
        action(torch.rand(2), 0.8, 0.3, gamma=torch.ones(3))
