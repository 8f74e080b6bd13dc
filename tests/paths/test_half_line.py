"""Wave functions and partition functions by Gaussian paths: closed forms, lattice values, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from qcore.paths import FewSamplesError, Table, ground_state_wavefunction, partition_function
from qcore.paths._ground import variational_omega
from qcore.paths._potential import as_potential

QUARTIC = [0.0, 0.0, 0.5, 0.0, 1.0]
OSCILLATOR = [0.0, 0.0, 0.5]
Y = torch.tensor([0.0, 0.5, -1.2], dtype=torch.float64)
# A_N and C_N of the half-line oscillator, m = hbar = omega = 1, dt = 0.1, N = 20.
HALF_LINE = {
    "trapezoid": (0.9651729320524289, 0.515767003551459),
    "midpoint": (0.9641453188277076, 0.528202955264146),
}


@pytest.mark.parametrize("scheme", HALF_LINE)
def test_the_oscillator_from_free_paths(scheme: str) -> None:
    a, c = HALF_LINE[scheme]
    psi = ground_state_wavefunction(Y, OSCILLATOR, steps=20, dt=0.1, samples=20_000, scheme=scheme, seed=1)
    exact = c * torch.exp(-a * Y**2 / 2)
    assert bool(((psi.value - exact).abs() < 4 * psi.value_error).all())
    assert bool((psi.value_error < 0.01 * exact.max()).all())


@pytest.mark.parametrize("scheme", HALF_LINE)
def test_the_oscillator_from_its_own_paths_has_no_error(scheme: str) -> None:
    a, c = HALF_LINE[scheme]
    psi = ground_state_wavefunction(
        Y, OSCILLATOR, steps=20, dt=0.1, samples=300, scheme=scheme, omega=1.0, seed=1
    )
    torch.testing.assert_close(psi.value, c * torch.exp(-a * Y**2 / 2), rtol=1e-13, atol=0)
    assert bool((psi.error < 1e-7).all())
    torch.testing.assert_close(psi.ess, torch.full_like(Y, 300.0))


@pytest.mark.parametrize("scheme", HALF_LINE)
def test_units(scheme: str) -> None:
    mass, hbar, omega, dt, steps = 1.3, 0.7, 1.7, 0.2, 200
    psi = ground_state_wavefunction(
        Y,
        [0.0, 0.0, mass * omega**2 / 2],
        steps=steps,
        dt=dt,
        samples=300,
        mass=mass,
        hbar=hbar,
        scheme=scheme,
        omega=omega,
    )
    width = {"midpoint": 2.21, "trapezoid": 2.24170704821125}[scheme]
    log = psi.log - psi.log[0]
    torch.testing.assert_close(log, -width * Y**2 / (2 * hbar), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("omega", [0.0, 2.0])
def test_the_quartic_oscillator(omega: float) -> None:
    y = torch.tensor([0.0, 0.5], dtype=torch.float64)
    psi = ground_state_wavefunction(y, QUARTIC, steps=40, dt=0.1, samples=40_000, omega=omega, seed=2)
    exact = transfer_wavefunction(y, 40, 0.1)
    torch.testing.assert_close(exact, torch.tensor([0.055143, 0.044789]).double(), rtol=0, atol=1e-6)
    assert bool(((psi.value - exact).abs() < 4 * psi.value_error).all())


def transfer_wavefunction(y: Tensor, steps: int, dt: float) -> Tensor:
    """psi_N(y) of the quartic oscillator by the trapezoid rule on a fine grid."""
    x = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    v = 0.5 * x**2 + x**4

    def step(a: Tensor, va: Tensor) -> Tensor:
        free = torch.exp(-((a[:, None] - x) ** 2) / (2 * dt)) / math.sqrt(2 * math.pi * dt)
        return free * torch.exp(-dt / 2 * (va[:, None] + v)) * 0.01

    psi = torch.ones_like(x)
    t = step(x, v)
    for _ in range(steps - 1):
        psi = t @ psi
    return step(y, 0.5 * y**2 + y**4) @ psi


@pytest.mark.parametrize("omega", [0.0, 1.5])
@pytest.mark.parametrize("scheme", HALF_LINE)
def test_functions_and_tables_see_the_same_paths(scheme: str, omega: float) -> None:
    settings = {"steps": 12, "dt": 0.1, "samples": 700, "omega": omega, "scheme": scheme, "seed": 3}
    kernel = ground_state_wavefunction(Y, QUARTIC, **settings)  # type: ignore[arg-type]
    function = ground_state_wavefunction(Y, lambda x: 0.5 * x**2 + x**4, **settings)  # type: ignore[arg-type]
    torch.testing.assert_close(function.log, kernel.log, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(function.ess, kernel.ess, rtol=1e-9, atol=0)
    points = torch.linspace(-8, 8, 3201, dtype=torch.float64)
    table = Table(0.5 * points**2 + points**4, -8.0, 0.005)
    tabled = ground_state_wavefunction(Y, table, **settings)  # type: ignore[arg-type]
    torch.testing.assert_close(tabled.log, kernel.log, rtol=1e-7, atol=1e-7)


def test_ess_of_free_bridges_is_reported_as_theory_has_it() -> None:
    # Half-line oscillator from y = 0: E[w^k] = cosh(sqrt(k) T)^(-1/2) in the continuum.
    steps, t = 200, 2.0
    psi = ground_state_wavefunction(
        torch.zeros(1, dtype=torch.float64), OSCILLATOR, steps=steps, dt=t / steps, samples=20_000, seed=4
    )
    expected = math.cosh(t) ** -1 * math.cosh(math.sqrt(2) * t) ** 0.5
    assert float(psi.ess) / 20_000 == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("scheme", "exact"), [("trapezoid", 0.4269072194757819), ("midpoint", 0.450009441573825)]
)
def test_partition_function_of_the_oscillator(scheme: str, exact: float) -> None:
    own = partition_function(OSCILLATOR, beta=2.0, slices=8, samples=300, omega=1.0, scheme=scheme)
    assert float(own.value) == pytest.approx(exact, rel=1e-13)
    other = partition_function(
        OSCILLATOR, beta=2.0, slices=8, samples=20_000, omega=1.3, scheme=scheme, seed=1
    )
    assert abs(float(other.log) - math.log(exact)) < 4 * float(other.error)
    assert 0 < float(other.error) < 0.01


@pytest.mark.parametrize(("scheme", "exact"), [("trapezoid", 0.2059801837), ("midpoint", 0.2297170588)])
def test_partition_function_of_the_quartic_oscillator(scheme: str, exact: float) -> None:
    z = partition_function(QUARTIC, beta=2.0, slices=16, samples=40_000, scheme=scheme, seed=2)
    assert abs(float(z.log) - math.log(exact)) < 4 * float(z.error)
    assert float(z.error) < 0.004
    assert float(z.ess) > 0.8 * 40_000  # the chosen oscillator is a good one


def test_errors_cover() -> None:
    """log Z of many seeds scatters by the error that each reports."""
    runs = [
        partition_function(QUARTIC, beta=2.0, slices=16, samples=1000, omega=1.5, seed=s) for s in range(60)
    ]
    pulls = torch.stack([(run.log - math.log(0.2059801837)) / run.error for run in runs])
    assert abs(float(pulls.mean())) < 4 / math.sqrt(60)
    assert float(pulls.std()) == pytest.approx(1, abs=4 / math.sqrt(2 * 60))


def test_the_chosen_oscillator_is_the_potential_s_own() -> None:
    omega = variational_omega(as_potential([0.0, 0.0, 0.98]), 16, 0.1, 1.0, 1.0, "trapezoid")
    assert omega == pytest.approx(1.4, rel=0.01)


def test_a_dt_given_is_the_beta_given() -> None:
    by_beta = partition_function(QUARTIC, beta=2.0, slices=16, samples=300, hbar=0.5)
    by_dt = partition_function(QUARTIC, dt=0.0625, slices=16, samples=300, hbar=0.5)
    assert torch.equal(by_beta.log, by_dt.log)


def test_bits_do_not_depend_on_the_threads() -> None:
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runs.append(partition_function(QUARTIC, beta=2.0, slices=16, samples=3000).log)
    assert torch.equal(*runs)


def test_uneven_weights_are_refused() -> None:
    double_well = [9.0, 0.0, -6.0, 0.0, 1.0]
    with pytest.raises(FewSamplesError, match="ess: expected at least 100 effective samples, got"):
        partition_function(double_well, beta=20.0, slices=100, samples=2000)
    with pytest.raises(FewSamplesError, match="of 2000"):
        ground_state_wavefunction(Y, OSCILLATOR, steps=200, dt=0.2, samples=2000)


def not_elementwise(x: Tensor) -> Tensor:
    return x.sum()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beta": 0.0}, ValueError, "beta: expected a finite number > 0"),
        ({"beta": -1.0}, ValueError, "beta"),
        ({"beta": None}, ValueError, "beta: expected beta or dt"),
        ({"dt": 0.5}, ValueError, "dt: expected hbar beta / slices = 0.25"),
        ({"slices": 1}, ValueError, "slices: expected at least 2"),
        ({"samples": 1}, ValueError, "samples: expected at least 2"),
        ({"scheme": "chin4"}, ValueError, "scheme: expected one of"),
        ({"omega": 0.0}, ValueError, "omega"),
        ({"min_ess": -1.0}, ValueError, "min_ess: expected a finite number >= 0"),
        ({"omega": 9.0, "scheme": "midpoint"}, ValueError, "dt: expected omega dt < 2"),
        ({"potential": not_elementwise}, ValueError, "potential: expected values of shape"),
        ({"potential": lambda x: 1 / x}, ValueError, "potential: expected finite"),
        ({"potential": lambda x: x > 0}, TypeError, "potential: expected real values"),
        ({"potential": [[1.0, 2.0]]}, ValueError, "potential: expected one polynomial"),
    ],
)
def test_partition_function_refuses(
    arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    good: dict[str, object] = {"potential": OSCILLATOR, "beta": 2.0, "slices": 8, "samples": 300}
    with pytest.raises(error, match=message):
        partition_function(**{**good, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"y": 0.0}, TypeError, "y: expected a torch.Tensor"),
        ({"y": torch.zeros(2, 2)}, ValueError, "y: expected real, shape"),
        ({"y": torch.full((2,), math.nan)}, ValueError, "y: expected finite"),
        ({"steps": 0}, ValueError, "steps"),
        ({"dt": -0.1}, ValueError, "dt"),
        ({"omega": -1.0}, ValueError, "omega"),
        ({"min_ess": math.nan}, ValueError, "min_ess: expected a finite number >= 0"),
        ({"samples": 2.5}, TypeError, "samples"),
        ({"scheme": "endpoint"}, ValueError, "scheme"),
        ({"potential": lambda x: x.sqrt()}, ValueError, "potential: expected finite"),
    ],
)
def test_wavefunction_refuses(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    good: dict[str, object] = {"y": Y, "potential": OSCILLATOR, "dt": 0.1, "steps": 8, "samples": 300}
    with pytest.raises(error, match=message):
        ground_state_wavefunction(**{**good, **arguments})  # type: ignore[arg-type]
