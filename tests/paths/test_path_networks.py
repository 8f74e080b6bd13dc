"""Paths from velocities, their jumps and cosines: formulas, inverses, Jacobians, Gaussian laws."""

from __future__ import annotations

from math import cosh, log, sinh
from typing import Any

import numpy as np
import pytest
import torch

from qcore import paths
from qcore.paths import (
    action,
    action_from_velocity,
    from_acceleration,
    from_cosine,
    from_velocity,
    log_jacobian,
    to_acceleration,
    to_cosine,
    to_velocity,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

PAIRS: Any = {"velocity": (from_velocity, to_velocity), "acceleration": (from_acceleration, to_acceleration)}


def double(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


# --- formulas ---


def test_beads_by_the_formulas_of_the_theory() -> None:
    w, dt = double(9), 0.3
    x = from_acceleration(w, 0.7, dt=dt)
    direct = [0.7 + dt * sum(k * float(w[n - k]) for k in range(1, n + 1)) for n in range(10)]
    torch.testing.assert_close(x, torch.tensor(direct, dtype=torch.float64))
    torch.testing.assert_close(from_velocity(w.cumsum(0), 0.7, dt=dt), x)
    mid = 0.7 + dt * w.cumsum(0).cumsum(0) - dt * w.cumsum(0) / 2
    torch.testing.assert_close((x[1:] + x[:-1]) / 2, mid)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("batch", [0, 1, 7, 8, 9, 33])
@pytest.mark.parametrize("steps", [0, 1, 2, 50])
def test_inverses(kind: str, batch: int, steps: int) -> None:
    make, back = PAIRS[kind]
    w, ini = double(batch, steps), double(batch)
    x = make(w, ini, dt=0.3)
    assert x.shape == (batch, steps + 1)
    torch.testing.assert_close(x[:, 0], ini, rtol=0, atol=0)
    torch.testing.assert_close(back(x, dt=0.3), w, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(make(back(x, dt=0.3), ini, dt=0.3), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", PAIRS)
def test_pinned_paths_end_where_they_should(kind: str) -> None:
    make, back = PAIRS[kind]
    w, fin = double(5, 6), double(5)
    x = make(w, 0.1, dt=0.3, pinned_to=fin)
    torch.testing.assert_close(x[:, -1], fin, rtol=0, atol=0)
    weights = back(x, dt=0.3)
    torch.testing.assert_close(weights[:, :-1], w, rtol=1e-10, atol=1e-10)
    if kind == "acceleration":  # w_N = (x_fin - x_ini) / dt - sum_k k w_{N-k+1}
        k = torch.arange(7, 1, -1, dtype=torch.float64)
        torch.testing.assert_close(weights[:, -1], (fin - 0.1) / 0.3 - (k * w).sum(1))


@pytest.mark.parametrize("kind", PAIRS)
def test_double_sums_of_float32_are_taken_in_float64(kind: str) -> None:
    make, _ = PAIRS[kind]
    w = torch.full((2, 20000), 0.1, dtype=torch.float32)
    x = make(w, 0.0, dt=0.001)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.double(), make(w.double(), 0.0, dt=0.001), rtol=6e-8, atol=0)


@pytest.mark.parametrize("kind", PAIRS)
def test_several_coordinates_and_axes(kind: str) -> None:
    make, back = PAIRS[kind]
    w = double(2, 3, 6, 4)
    ini = double(3, 1, 4)[:, 0]
    x = make(w, ini, dt=0.3, components=True)
    assert x.shape == (2, 3, 7, 4)
    torch.testing.assert_close(x[0, 1, :, 2], make(w[0, 1, :, 2], ini[1, 2], dt=0.3))
    torch.testing.assert_close(back(x, dt=0.3, components=True), w, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("pinned", [False, True])
def test_jacobians(kind: str, pinned: bool) -> None:
    make, _ = PAIRS[kind]
    n = 6
    end: dict[str, Any] = {"pinned_to": 0.4} if pinned else {}
    inner = slice(1, -1) if pinned else slice(1, None)
    jacobian = torch.func.jacrev(lambda w: make(w, 0.1, dt=0.3, **end)[inner])(double(n - pinned))
    logarithm = float(torch.linalg.slogdet(jacobian)[1])
    assert logarithm == pytest.approx(log_jacobian(kind, n, dt=0.3, pinned=pinned), abs=1e-12)
    assert log_jacobian(kind, n, dt=0.3, components=3) == pytest.approx(3 * n * log(0.3))


# --- cosines (section 8) ---


@pytest.mark.parametrize(("coefficients", "points"), [(2, 2), (3, 3), (8, 8), (9, 9), (4, 9), (1, 5)])
def test_cosines_by_the_formula(coefficients: int, points: int) -> None:
    a = double(2, coefficients)
    j, n = torch.arange(points, dtype=torch.float64), torch.arange(coefficients, dtype=torch.float64)
    direct = a @ torch.cos(torch.pi * n[:, None] * j / (points - 1))
    x = from_cosine(a, points=points)
    torch.testing.assert_close(x, direct, rtol=1e-12, atol=1e-12)
    back = to_cosine(x)
    torch.testing.assert_close(back[:, :coefficients], a, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(back[:, coefficients:], torch.zeros_like(back[:, coefficients:]))


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_jacobian_of_cosines(n: int) -> None:
    jacobian = torch.func.jacrev(from_cosine)(double(n + 1))
    sign, logarithm = torch.linalg.slogdet(jacobian)
    assert float(logarithm) == pytest.approx(log_jacobian("cosine", n), abs=1e-12)
    assert float(sign) == (-1) ** (n * (n + 1) // 2)


@pytest.mark.parametrize("signature", ["euclid", "lorentz"])
def test_cosines_diagonalise_the_midpoint_action_of_free_ends(signature: str) -> None:
    mass, k, n, dt = 1.3, 2.1, 9, 0.2
    sign = 1.0 if signature == "euclid" else -1.0

    def s(a: torch.Tensor) -> torch.Tensor:
        x = from_cosine(a)
        value: torch.Tensor = action(
            x, [0.0, 0.0, k / 2], dt=dt, mass=mass, scheme="midpoint", signature=signature
        )
        return value

    hessian = torch.func.hessian(s)(torch.zeros(n + 1, dtype=torch.float64))
    angle = torch.pi * torch.arange(n + 1, dtype=torch.float64) / (2 * n)
    f = torch.ones(n + 1, dtype=torch.float64)
    f[[0, -1]] = 2
    expected = f * (n * dt / 2) * (mass * (4 / dt**2) * angle.sin() ** 2 + sign * k * angle.cos() ** 2)
    torch.testing.assert_close(hessian, torch.diag(expected), rtol=1e-12, atol=1e-11)


# --- Gaussian laws of lattice paths (section 5), by the Hessians of actions ---


def covariance(scheme: str, boundary: str, beads: int, **constants: float) -> np.ndarray:
    k, hbar = constants.pop("k"), constants.pop("hbar")

    def s(x: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = action(
            x, [0.0, 0.0, k / 2], scheme=scheme, boundary=boundary, dt=constants["dt"], mass=constants["mass"]
        )
        return value

    hessian = torch.func.hessian(s)(torch.zeros(beads, dtype=torch.float64)).numpy()
    if boundary == "pinned":
        hessian = hessian[1:-1, 1:-1]
    return hbar * np.linalg.inv(hessian)


@pytest.mark.parametrize("scheme", ["midpoint", "trapezoid"])
def test_correlators_of_the_lattice_oscillator(scheme: str) -> None:
    mass, omega, hbar, dt, n = 1.3, 1.7, 0.7, 0.2, 8
    eps = omega * dt
    m, theta = mass * omega, 2 * np.arctanh(eps / 2)
    if scheme == "trapezoid":
        m, theta = mass * omega * np.sqrt(1 + eps**2 / 4), 2 * np.arcsinh(eps / 2)
    constants = {"k": mass * omega**2, "hbar": hbar, "dt": dt, "mass": mass}
    i = np.arange(n)
    ring = covariance(scheme, "periodic", n, **constants)
    closed = hbar / (2 * m) * np.cosh((n / 2 - i) * theta) / sinh(n * theta / 2)
    np.testing.assert_allclose(ring[0], closed, rtol=1e-12)
    held = covariance(scheme, "pinned", n + 1, **constants)
    low, high = 3, 5
    closed = hbar / m * sinh(low * theta) * sinh((n - high) * theta) / sinh(n * theta)
    np.testing.assert_allclose(held[low - 1, high - 1], closed, rtol=1e-12)
    if scheme == "midpoint":
        free = covariance(scheme, "open", n + 1, **constants)
        closed = hbar / m * cosh(low * theta) * cosh((n - high) * theta) / sinh(n * theta)
        np.testing.assert_allclose(free[low, high], closed, rtol=1e-12)


def test_velocities_of_a_free_bridge_are_correlated() -> None:
    """Section 4: Cov(W_i, W_j) = hbar / (m dt) (delta_ij - 1 / N)."""
    n, dt, mass, hbar = 6, 0.3, 1.3, 0.7

    def s(w: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = paths.action_from_velocity(w, 0.0, [0.0], dt=dt, mass=mass, pinned_to=0.9)
        return value

    hessian = torch.func.hessian(s)(torch.zeros(n - 1, dtype=torch.float64)).numpy()
    expected = hbar / (mass * dt) * (np.eye(n) - 1 / n)
    np.testing.assert_allclose(hbar * np.linalg.inv(hessian), expected[:-1, :-1], rtol=1e-12)


# --- refusals ---


def test_no_cosine_networks() -> None:
    for empty in (torch.zeros(0, 5), torch.zeros(2, 0, 5)):
        assert from_cosine(empty, points=7).shape == (*empty.shape[:-1], 7)
        assert to_cosine(empty).shape == empty.shape


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: from_velocity(torch.zeros(3).long(), 0.0, dt=0.1), TypeError, "velocity: expected float32"),
        (lambda: from_acceleration(torch.zeros(3).half(), 0.0, dt=0.1), TypeError, "w: expected float32"),
        (lambda: from_velocity(torch.zeros(()), 0.0, dt=0.1), ValueError, "velocity: expected shape"),
        (lambda: from_velocity(torch.zeros(3), 0.0, dt=0.1, components=True), ValueError, "(..., N, D)"),
        (lambda: from_velocity(torch.zeros(3), 0.0, dt=-0.1), ValueError, "dt: expected a finite number > 0"),
        (lambda: from_velocity(torch.zeros(3), 0.0, dt=torch.ones(3)), ValueError, "dt: expected a real"),
        (lambda: from_velocity(torch.zeros(3), "0", dt=0.1), TypeError, "x_ini: expected a real number"),  # type: ignore[arg-type]
        (lambda: from_velocity(torch.zeros(3), torch.zeros(2), dt=0.1), ValueError, "x_ini: expected what"),
        (
            lambda: from_velocity(torch.zeros(3), 0.0, dt=0.1, pinned_to=torch.zeros(2)),
            ValueError,
            "pinned_to: expected what broadcasts",
        ),
        (lambda: to_velocity(torch.zeros(2, 0), dt=0.1), ValueError, "x: expected shape"),
        (lambda: to_acceleration(torch.zeros(2), dt=0.0), ValueError, "dt: expected"),
        (lambda: from_cosine(torch.zeros(3), points=2), ValueError, "points: expected at least 3"),
        (lambda: from_cosine(torch.zeros(1)), ValueError, "points: expected at least 2"),
        (lambda: to_cosine(torch.zeros(1)), ValueError, "x: expected shape"),
        (
            lambda: from_velocity(torch.zeros(3), 0.0, dt=torch.tensor(-1.0)),
            ValueError,
            "dt: expected finite",
        ),
        (lambda: log_jacobian("velocity", 3, dt=0.1, pinned="no"), TypeError, "pinned: expected a bool"),  # type: ignore[arg-type]
        (
            lambda: action_from_velocity(torch.zeros(()), 0.0, [0.0], dt=0.1),
            ValueError,
            "velocity: expected shape (..., N)",
        ),
        (lambda: log_jacobian("spline", 3, dt=0.1), ValueError, "kind: expected one of"),
        (lambda: log_jacobian("velocity", 0, dt=0.1), ValueError, "steps: expected at least 1"),
        (lambda: log_jacobian("velocity", 3), TypeError, "dt: expected a real number"),
        (lambda: log_jacobian("cosine", 3, pinned=True), ValueError, "pinned: expected False"),
    ],
)
def test_refusals(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
