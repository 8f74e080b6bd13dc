"""Propagators on a grid: every path enumerated, closed forms, orders in dt, what a grid cannot resolve."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from paths import plain_action as plain
from qcore import schrodinger
from qcore.paths import (
    Polynomial,
    Table,
    action,
    free_kernel,
    lattice_oscillator,
    lattice_states,
    mehler,
    propagator,
)

SCHEMES = ["trapezoid", "midpoint", "midpoint-vanvleck", "endpoint", "takahashi-imada", "chin4"]
BOTH = [
    (scheme, signature)
    for scheme in SCHEMES
    for signature in ("euclid", "lorentz")
    if (scheme, signature) != ("takahashi-imada", "lorentz")
]
DOUBLE = torch.float64
QUARTIC = Polynomial(torch.tensor([0.0, 0.0, 0.5, 0.0, 1.0], dtype=DOUBLE))  # x^2/2 + x^4
E0, AMPLITUDE = 0.80377065123427376935, 0.2311723466403  # its ground state; <0.5|exp(-H)|-0.3>


def grid(end: float, n: int) -> Tensor:
    return torch.linspace(-end, end, n, dtype=DOUBLE)


# --- what it is ---


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize(("scheme", "signature"), BOTH)
def test_it_is_the_sum_over_all_paths(scheme: str, signature: str, steps: int) -> None:
    """Five points, every path through them one by one."""
    if scheme == "chin4" and steps == 1:
        steps = 2
    n, dx, dt, mass, hbar = 5, 0.4, 0.9, 1.3, 0.7
    x = 0.1 + dx * torch.arange(n, dtype=DOUBLE)

    def v(x: Tensor) -> Tensor:
        return 0.3 * x**2 - 0.2 * x**3 + torch.cos(x)

    paths = torch.cartesian_prod(*[torch.arange(n)] * (steps + 1)).reshape(-1, steps + 1)
    s = plain.action(x[paths], v, dt=dt, mass=mass, scheme=scheme, signature=signature) / hbar
    weights = torch.exp(-s) if signature == "euclid" else torch.exp(1j * s)
    if scheme == "midpoint-vanvleck":
        weights = weights * plain.van_vleck(x[paths], v, dt=dt, mass=mass, signature=signature)
    weights = weights * plain.step_prefactor(dt, mass, hbar, signature) ** steps * dx ** (steps - 1)
    expected = torch.zeros(n * n, dtype=weights.dtype).index_add(0, paths[:, -1] * n + paths[:, 0], weights)
    found = propagator(v, x=x, dt=dt, steps=steps, mass=mass, hbar=hbar, signature=signature, scheme=scheme)
    torch.testing.assert_close(found, expected.reshape(n, n), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("scheme", "signature"), BOTH)
def test_its_action_is_that_of_paths(scheme: str, signature: str) -> None:
    n, dx, dt, steps = 5, 0.4, 0.9, 4
    x = dx * torch.arange(n, dtype=DOUBLE) - 0.3
    v = [0.1, -0.2, 0.4, 0.1, 0.05]
    paths = torch.cartesian_prod(*[torch.arange(n)] * (steps + 1))
    s = action(x[paths], v, dt=dt, mass=1.3, hbar=0.7, scheme=scheme, signature=signature) / 0.7
    weights = torch.exp(-s) if signature == "euclid" else torch.exp(1j * s)
    weights = weights * plain.step_prefactor(dt, 1.3, 0.7, signature) ** steps * dx ** (steps - 1)
    expected = torch.zeros(n * n, dtype=weights.dtype).index_add(0, paths[:, -1] * n + paths[:, 0], weights)
    found = propagator(v, x=x, dt=dt, steps=steps, mass=1.3, hbar=0.7, signature=signature, scheme=scheme)
    torch.testing.assert_close(found, expected.reshape(n, n), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("steps", [1, 3, 16])
def test_a_free_particle_is_exact_whatever_the_steps(steps: int) -> None:
    x = grid(9, 181)
    found = propagator(torch.zeros_like(x), x=x, dt=0.8 / steps, steps=steps, mass=1.3, hbar=0.7)
    near = x.abs() < 3
    expected = free_kernel(x[near, None], x[near], 0.8, mass=1.3, hbar=0.7)
    torch.testing.assert_close(found[near][:, near], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("scheme", SCHEMES[:-1])
def test_the_oscillator_on_a_lattice_of_times(scheme: str) -> None:
    x, steps, dt = grid(8, 161), 7, 0.21
    found = propagator([0, 0, 1.3 * 1.7**2 / 2], x=x, dt=dt, steps=steps, mass=1.3, hbar=0.7, scheme=scheme)
    near = x.abs() < 2
    lattice = lattice_oscillator(dt=dt, omega=1.7, mass=1.3, hbar=0.7, scheme=scheme)
    expected = lattice.propagator(x[near, None], x[near], steps)
    torch.testing.assert_close(found[near][:, near], expected, rtol=1e-11, atol=1e-13)


def test_known_errors_of_slices() -> None:
    x = grid(6, 121)
    i, j = int((x - 0.5).abs().argmin()), int((x + 0.3).abs().argmin())
    exact = float(mehler(0.5, -0.3, 1.0))
    symmetric, earlier = [], []
    for steps in (4, 8, 16, 32):
        dt = 1 / steps
        symmetric.append(float(propagator(x**2 / 2, x=x, dt=dt, steps=steps)[i, j]) - exact)
        # V at the earlier point is V at the later one on the way back.
        earlier.append(float(propagator(x**2 / 2, x=x, dt=dt, steps=steps, scheme="endpoint")[j, i]) - exact)
    assert symmetric == pytest.approx([5.4e-4, 1.4e-4, 3.4e-5, 8.6e-6], rel=0.03)
    assert earlier == pytest.approx([3.2e-3, 1.4e-3, 6.8e-4, 3.3e-4], rel=0.03)


# --- orders in dt, on a potential that is not harmonic ---

LEVEL_ORDERS = {
    "trapezoid": 2,
    "midpoint": 1,
    "midpoint-vanvleck": 2,
    "endpoint": 2,
    "takahashi-imada": 4,
    "chin4": 4,
}
AMPLITUDE_ORDERS = LEVEL_ORDERS | {"endpoint": 1, "takahashi-imada": 2}


def slope(errors: list[float]) -> float:
    """The order that the last two of three halvings show."""
    return math.log2(abs(errors[-2] / errors[-1]))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_orders_in_imaginary_time(scheme: str) -> None:
    x = grid(3.5, 141)
    i, j = int((x - 0.5).abs().argmin()), int((x + 0.3).abs().argmin())
    levels, amplitudes = [], []
    for steps in (8, 16, 32):
        dt = 1 / steps
        levels.append(float(lattice_states(QUARTIC, x=x, dt=dt, k=1, scheme=scheme).energies) - E0)
        amplitudes.append(
            float(propagator(QUARTIC, x=x, dt=dt, steps=steps, scheme=scheme)[i, j]) - AMPLITUDE
        )
    assert slope(levels) == pytest.approx(LEVEL_ORDERS[scheme], abs=0.1)
    assert slope(amplitudes) == pytest.approx(AMPLITUDE_ORDERS[scheme], abs=0.25)


@pytest.mark.parametrize(
    ("scheme", "order"),
    [("trapezoid", 2), ("midpoint", 1), ("midpoint-vanvleck", 2), ("endpoint", 1), ("chin4", 4)],
)
def test_orders_in_real_time(scheme: str, order: int) -> None:
    """A packet in a weakly quartic well, beside its motion in the levels of a fine Hamiltonian."""
    x, duration = grid(5, 501), 1.6
    dx = float(x[1] - x[0])
    v = x**2 / 2 + 0.02 * x**4
    packet = torch.exp(-((x - 0.4) ** 2) / 1.6).to(torch.complex128)
    found = schrodinger.eigenstates(v, spacing=dx, k=24, space_order=6)
    parts = (found.states * packet).sum(-1) * dx
    exact = (torch.exp(-1j * duration * found.energies) * parts) @ found.states.to(parts.dtype)
    errors = []
    for steps in (4, 8, 16):
        k = propagator(v, x=x, dt=duration / steps, steps=steps, signature="lorentz", scheme=scheme)
        errors.append(float((k @ packet * dx - exact).norm() * dx**0.5))
    assert slope(errors) == pytest.approx(order, abs=0.1)


def test_real_time_beyond_a_caustic() -> None:
    """A coherent state comes back after a period with the phase -1, and turned half-way (Maslov)."""
    x = grid(7, 701)
    dx = float(x[1] - x[0])
    packet = torch.exp(-((x - 1.0) ** 2) / 2).to(torch.complex128)
    k = propagator(x**2 / 2, x=x, dt=math.pi / 22, steps=22, signature="lorentz")
    half = k @ packet * dx
    whole = k @ half * dx
    torch.testing.assert_close(half, -1j * packet.flip(0), rtol=0, atol=6e-3)
    torch.testing.assert_close(whole, -packet, rtol=0, atol=1.2e-2)


# --- levels and rings ---


def test_known_levels_and_rings() -> None:
    x = grid(5, 201)
    for scheme, energy, square in (
        ("midpoint", 0.7574476959, 0.2643969164),
        ("trapezoid", 0.8017443262, 0.2564549052),
    ):
        found = lattice_states(QUARTIC, x=x, dt=0.1, k=1, scheme=scheme)
        assert float(found.energies) == pytest.approx(energy, abs=1e-10)
        assert float(found.mean(x**2)) == pytest.approx(square, abs=1e-10)
    rings = {
        "midpoint": (0.2297170588, 0.2755684352, 0.2062531192, 0.0811011760),
        "trapezoid": (0.2059801837, 0.2645977668, 0.1901155090, 0.0746211998),
    }
    for scheme, (z, x2, x4, across) in rings.items():
        found = lattice_states(QUARTIC, x=x, dt=2 / 16, scheme=scheme)
        assert float(found.log_partition_function(16).exp()) == pytest.approx(z, abs=1e-10)
        assert float(found.mean(x**2, 16)) == pytest.approx(x2, abs=1e-10)
        assert float(found.mean(x**4, 16)) == pytest.approx(x4, abs=1e-10)
        assert float(found.correlator(x, 8, 16)) == pytest.approx(across, abs=1e-10)
    for dt, off in ((0.1, 2.24e-3), (0.05, 5.59e-4), (0.025, 1.40e-4)):
        narrow = grid(4, 201)
        found = lattice_states(QUARTIC, x=narrow, dt=dt, k=1, scheme="midpoint-vanvleck")
        assert float(found.energies) - E0 == pytest.approx(off, rel=0.01)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rings_are_traces_of_propagators(scheme: str) -> None:
    x, steps, dt = grid(3, 81), 6, 0.2
    dx = float(x[1] - x[0])
    found = lattice_states(QUARTIC, x=x, dt=dt, mass=1.3, hbar=0.7, scheme=scheme)

    def product(steps: int) -> Tensor:
        return propagator(QUARTIC, x=x, dt=dt, steps=steps, mass=1.3, hbar=0.7, scheme=scheme) * dx

    whole = product(steps).diagonal()
    torch.testing.assert_close(found.log_partition_function(steps).exp(), whole.sum(), rtol=1e-11, atol=0)
    torch.testing.assert_close(found.density(steps), whole / whole.sum() / dx, rtol=1e-9, atol=1e-11)
    joint = product(2) * product(4).T  # x_0 and x_2
    expected = (x[:, None] * joint * x).sum() / joint.sum()
    torch.testing.assert_close(found.correlator(x, 2, steps), expected, rtol=1e-10, atol=0)


def test_long_rings_are_the_ground_state() -> None:
    x = grid(5, 201)
    found = lattice_states(QUARTIC, x=x, dt=0.1)
    torch.testing.assert_close(found.density(4000), found.density())
    torch.testing.assert_close(found.correlator(x, 7, 4000), found.correlator(x, 7))
    expected = -400 * found.energies[0]
    torch.testing.assert_close(found.log_partition_function(4000), expected)
    oscillator = lattice_states([0, 0, 0.5], x=grid(9, 181), dt=0.3)
    lattice = lattice_oscillator(dt=0.3)
    levels = lattice.levels(torch.arange(6))
    torch.testing.assert_close(oscillator.energies[:6], levels, rtol=1e-9, atol=0)
    infinite = lattice.correlator(0, 5, boundary="infinite")
    torch.testing.assert_close(oscillator.correlator(grid(9, 181), 5), infinite, rtol=1e-10, atol=0)


# --- potentials of all kinds ---


@pytest.mark.parametrize(("scheme", "signature"), BOTH)
def test_values_on_the_grid_mean_the_function(scheme: str, signature: str) -> None:
    x = grid(3, 61)

    def v(x: Tensor) -> Tensor:
        return 1 + 0.2 * x - 0.3 * x**2 + 0.1 * x**3

    given: dict[str, Any] = {"x": x, "dt": 0.3, "steps": 2, "signature": signature, "scheme": scheme}
    expected = propagator(v, **given)
    values = propagator(v(x), **given)
    table = propagator(Table(v(x), -3.0, 0.1), **given)
    rounding = 1e-9 if scheme == "midpoint-vanvleck" else 1e-12
    torch.testing.assert_close(values, expected, rtol=rounding, atol=rounding)
    torch.testing.assert_close(table, expected, rtol=rounding, atol=rounding)
    torch.testing.assert_close(propagator([1, 0.2, -0.3, 0.1], **given), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_batches_of_potentials(scheme: str) -> None:
    x = grid(2, 31)
    coefficients = torch.rand(2, 4, dtype=DOUBLE)
    values = torch.stack([Polynomial(c)(x) for c in coefficients])
    given: dict[str, Any] = {"x": x, "dt": 0.2, "steps": 4, "scheme": scheme}
    expected = torch.stack([propagator(Polynomial(c), **given) for c in coefficients])
    torch.testing.assert_close(propagator(Polynomial(coefficients), **given), expected)
    found = propagator(values.reshape(1, 2, 31), **given)
    assert found.shape == (1, 2, 31, 31)
    torch.testing.assert_close(found[0], expected, rtol=1e-9, atol=1e-12)
    assert propagator(values[:0], **given).shape == (0, 31, 31)
    levels = lattice_states(Polynomial(coefficients), x=x, dt=0.2, k=3, scheme=scheme)
    one = lattice_states(Polynomial(coefficients[1]), x=x, dt=0.2, k=3, scheme=scheme)
    torch.testing.assert_close(levels.energies[1], one.energies)
    torch.testing.assert_close(levels.correlator(x, 2, 8)[1], one.correlator(x, 2, 8))


@pytest.mark.parametrize("signature", ["euclid", "lorentz"])
@pytest.mark.parametrize("scheme", ["trapezoid", "midpoint", "endpoint"])
def test_potentials_that_change_in_time(scheme: str, signature: str) -> None:
    x = grid(2, 11)
    v = torch.rand(2, 3, 11, dtype=DOUBLE)
    given: dict[str, Any] = {"x": x, "dt": 0.9, "signature": signature, "scheme": scheme}
    found = propagator(v, **given, steps=3, time_dependent=True)
    first, second, third = (propagator(v[:, s], **given, steps=1) for s in range(3))
    torch.testing.assert_close(found, third @ second @ first * 0.4**2, rtol=1e-12, atol=1e-14)
    same = propagator(v[:, :1].expand(-1, 3, -1), **given, steps=3, time_dependent=True)
    torch.testing.assert_close(same, propagator(v[:, 0], **given, steps=3), rtol=1e-12, atol=1e-14)


def test_a_pushed_oscillator() -> None:
    """V = x^2/2 - f(t) x in imaginary time; its mean path solves x'' = x - f on the lattice of times."""
    x, steps, dt = grid(9, 181), 20, 0.1
    push = torch.sin(torch.arange(steps, dtype=DOUBLE) / 3)
    k = propagator(x**2 / 2 - push[:, None] * x, x=x, dt=dt, steps=steps, time_dependent=True)
    quadratic = torch.zeros(steps - 1, steps - 1, dtype=DOUBLE)
    quadratic.diagonal().fill_(2 / dt + dt)
    quadratic.diagonal(1).fill_(-1 / dt)
    quadratic.diagonal(-1).fill_(-1 / dt)
    force = dt * (push[:-1] + push[1:]) / 2  # on x_1 ... x_(N-1); both ends are at 0
    gain = float(force @ torch.linalg.solve(quadratic, force)) / 2
    expected = float(lattice_oscillator(dt=dt).propagator(0.0, 0.0, steps)) * math.exp(gain)
    assert float(k[90, 90]) == pytest.approx(expected, rel=1e-11)


def test_no_steps_are_the_delta_function_of_the_grid() -> None:
    x = grid(1, 5)
    for signature, scheme in (("euclid", "trapezoid"), ("lorentz", "chin4")):
        found = propagator(x**2, x=x, dt=1e-9, steps=0, signature=signature, scheme=scheme)
        torch.testing.assert_close(found, torch.eye(5, dtype=found.dtype) / 0.5)
    found = propagator(torch.zeros(2, 0, 5), x=x, dt=1e-9, steps=0, time_dependent=True)
    torch.testing.assert_close(found, (torch.eye(5, dtype=DOUBLE) / 0.5).expand(2, 5, 5))


def test_single_precision() -> None:
    x = grid(4, 65)
    for signature, dtype in (("euclid", torch.float32), ("lorentz", torch.complex64)):
        given: dict[str, Any] = {"dt": 0.4, "steps": 8, "signature": signature}
        found = propagator(x.float() ** 2 / 2, x=x.float(), **given)
        assert found.dtype == dtype
        expected = propagator(x**2 / 2, x=x, **given)
        torch.testing.assert_close(found, expected.to(dtype), rtol=2e-5, atol=1e-5)
        assert propagator(x.float() ** 2 / 2, x=x, **given).dtype == expected.dtype


@pytest.mark.parametrize(("scheme", "signature"), BOTH)
def test_gradients(scheme: str, signature: str) -> None:
    x = grid(1.5, 6)
    v = torch.cos(2 * x).mul(0.2).requires_grad_()
    dt = torch.tensor(0.8, dtype=DOUBLE, requires_grad=True)
    mass = torch.tensor(1.1, dtype=DOUBLE, requires_grad=True)
    hbar = torch.tensor(0.9, dtype=DOUBLE, requires_grad=True)

    def kernel(v: Tensor, dt: Tensor, mass: Tensor, hbar: Tensor) -> Tensor:
        return propagator(v, x=x, dt=dt, steps=4, mass=mass, hbar=hbar, signature=signature, scheme=scheme)

    assert gradcheck(kernel, (v, dt, mass, hbar))


def test_gradients_of_levels_and_of_coefficients() -> None:
    x = grid(4, 41)
    c = torch.tensor([0.1, 0.2, 0.6, 0.05, 0.2], dtype=DOUBLE, requires_grad=True)
    dt = torch.tensor(0.3, dtype=DOUBLE, requires_grad=True)
    assert gradcheck(lambda c, dt: lattice_states(Polynomial(c), x=x, dt=dt, k=3).energies, (c, dt))
    # Hellmann and Feynman: -d ln Z / d c_k = dt slices <x^k>
    found = lattice_states(Polynomial(c), x=x, dt=0.3)
    (slopes,) = torch.autograd.grad(-found.log_partition_function(5), c)
    expected = torch.stack([found.mean(x**k, 5) for k in range(5)]) * 1.5
    torch.testing.assert_close(slopes, expected.detach(), rtol=1e-9, atol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("scheme", ["trapezoid", "midpoint", "takahashi-imada", "chin4"])
def test_transforms_of_torch(scheme: str) -> None:
    x = grid(3, 31)
    v = torch.rand(3, 31, dtype=DOUBLE)

    def kernel(v: Tensor) -> Tensor:
        return propagator(v, x=x, dt=0.2, steps=4, scheme=scheme)

    whole = kernel(v)
    torch.testing.assert_close(torch.func.vmap(kernel)(v), whole)
    slopes = torch.func.vmap(torch.func.grad(lambda row: kernel(row).sum()))(v)
    leaf = v.clone().requires_grad_()
    torch.testing.assert_close(slopes, torch.autograd.grad(kernel(leaf).sum(), leaf)[0])
    _, along = torch.func.jvp(kernel, (v,), (torch.ones_like(v),))
    if scheme in ("trapezoid", "midpoint"):  # a constant in V is a factor exp(-T V)
        torch.testing.assert_close(along, -0.8 * whole)
    else:
        assert bool(along.isfinite().all())


# --- refusals ---


def test_real_time_below_nyquist_is_refused_with_the_least_dt() -> None:
    x = grid(5, 201)  # L = 10, dx = 0.05: mass L dx / (pi hbar) = 0.159
    least = 10 * 0.05 / math.pi
    with pytest.raises(ValueError, match=r"dt: expected more than .* = 0\.159155.*Nyquist.*schrodinger"):
        propagator(x**2, x=x, dt=0.999 * least, steps=3, signature="lorentz")
    propagator(x**2, x=x, dt=1.001 * least, steps=3, signature="lorentz")
    with pytest.raises(ValueError, match=r"dt: expected more than .* = 0\.31831"):
        propagator(x**2, x=x, dt=0.2, steps=3, mass=2.0, signature="lorentz")


def test_what_nyquist_refuses_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norm of a resting packet after a step, from above the bound to below it."""
    x = grid(5, 201)
    packet = torch.exp(-(x**2) / 2).to(torch.complex128)
    monkeypatch.setattr("qcore.paths._propagator.Step.require_resolution", lambda self, steps: None)
    drift = []
    for dt in (0.2, 0.02):
        k = propagator(torch.zeros_like(x), x=x, dt=dt, steps=1, signature="lorentz")
        drift.append(float(abs((k @ packet * 0.05).norm() / packet.norm() - 1)))
    assert drift[0] < 1e-4
    assert drift[1] > 0.05


def test_steps_between_the_points_are_refused_with_the_least_dt(monkeypatch: pytest.MonkeyPatch) -> None:
    x = grid(5, 101)
    with pytest.raises(ValueError, match=r"dt: expected at least 0\.00735.* points 0\.1 apart") as refusal:
        propagator(x**2, x=x, dt=0.001, steps=10)
    least = float(str(refusal.value).split("at least ")[1].split()[0])
    propagator(x**2, x=x, dt=1.01 * least, steps=10)
    with pytest.raises(ValueError, match=r"dt: expected at least 0\.0120.*1e-10 at most"):
        lattice_states(x**2, x=x, dt=0.0115)
    level = lattice_states([0, 0, 0.5], x=grid(7, 141), dt=0.0125, k=1).energies
    assert float(level) == pytest.approx(float(lattice_oscillator(dt=0.0125).levels(0)), abs=1e-8)
    # The error is what the bound says it is.
    monkeypatch.setattr("qcore.paths._propagator.Step.require_resolution", lambda self, steps: None)
    k = propagator(torch.zeros_like(x), x=x, dt=0.004, steps=10)
    excess = float(k[50].sum() * 0.1) - 1
    assert excess == pytest.approx((1 + 2 * math.exp(-2 * math.pi**2 * 0.4)) ** 10 - 1, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": [0.0, 1.0]}, TypeError, "x: expected a torch.Tensor, got list"),
        ({"x": torch.arange(21)}, TypeError, "x: expected torch.float32 or torch.float64"),
        ({"x": torch.rand(3, 7)}, ValueError, r"x: expected shape \(n,\), n >= 2"),
        ({"x": torch.zeros(1)}, ValueError, r"x: expected shape \(n,\), n >= 2"),
        ({"x": grid(2, 21) ** 3}, ValueError, "x: expected increasing numbers at equal distances"),
        ({"x": grid(2, 21).flip(0)}, ValueError, "x: expected increasing numbers at equal distances"),
        ({"dt": -0.1}, ValueError, "dt: expected finite numbers > 0, got -0.1"),
        ({"dt": torch.ones(2)}, ValueError, "dt: expected a number or a 0-dim tensor"),
        ({"mass": 0.0}, ValueError, "mass: expected finite numbers > 0"),
        ({"hbar": math.nan}, ValueError, "hbar: expected finite numbers > 0"),
        ({"steps": 1.0}, TypeError, "steps: expected an int >= 0"),
        ({"steps": -1}, ValueError, "steps: expected an int >= 0"),
        ({"steps": 3, "scheme": "chin4"}, ValueError, 'steps: expected an even number for "chin4", got 3'),
        ({"scheme": "simpson"}, ValueError, "scheme: expected one of 'trapezoid'"),
        ({"signature": "minkowski"}, ValueError, "signature: expected one of"),
        ({"scheme": "takahashi-imada", "signature": "lorentz"}, ValueError, "scheme: expected not"),
        ({"scheme": "midpoint-vanvleck", "dt": 2.5}, ValueError, "dt: expected 1 - dt.2 V''"),
        (
            {"potential": torch.zeros(20)},
            ValueError,
            r"potential: expected shape \(..., 21\), V at the points",
        ),
        (
            {"potential": torch.zeros(21, dtype=torch.int64)},
            TypeError,
            "potential: expected torch.float32 or",
        ),
        ({"potential": torch.full((21,), math.inf)}, ValueError, "potential: expected finite numbers"),
        ({"potential": lambda x: 1 / (x - x)}, ValueError, "potential: expected finite numbers on the grid"),
        ({"potential": lambda x: x.sum()}, ValueError, "potential: expected values of shape"),
        ({"potential": lambda x: 1j * x}, TypeError, "potential: expected real values"),
        ({"time_dependent": None}, TypeError, "time_dependent: expected a bool"),
        ({"potential": "x**2"}, TypeError, "potential: expected polynomial coefficients"),
        ({"time_dependent": True}, ValueError, r"potential: expected shape \(..., 4, n\), V at each step"),
        ({"time_dependent": True, "potential": [1.0]}, TypeError, "potential: expected a tensor"),
        ({"time_dependent": True, "scheme": "chin4"}, ValueError, 'scheme: expected not "chin4"'),
    ],
)
def test_refusals(change: dict[str, Any], error: type[Exception], message: str) -> None:
    x = grid(2, 21)
    given: dict[str, Any] = {"potential": x**2, "x": x, "dt": 0.2, "steps": 4} | change
    with pytest.raises(error, match=message):
        propagator(given.pop("potential"), **given)


def test_refusals_of_states() -> None:
    x = grid(2, 21)
    found = lattice_states(x**2, x=x, dt=0.5)
    for call, message in (
        (lambda: lattice_states(x**2, x=x, dt=0.5, k=0), r"k: expected an int from 1 to \d+"),
        (lambda: lattice_states(x**2, x=x, dt=0.5, k=21), r"k: expected an int from 1 to \d+"),
        (lambda: lattice_states(x**2, x=x, dt=0.5, scheme="simpson"), "scheme: expected one of"),
        (lambda: found.density(0), "slices: expected an int >= 1"),
        (lambda: found.correlator(x, 9, 8), "distance: expected an int from 0 to slices = 8, got 9"),
        (lambda: found.correlator(x, -1), "distance: expected an int >= 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
