"""Diffusion Monte Carlo: the laws of its time step and of its populations, resampling, bookkeeping."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest
import torch

from qcore import _core
from qcore.paths import SampleResult, Table, dmc

from .dynamics import assert_same, with_threads

OSCILLATOR = [0.0, 0.0, 0.5]
QUARTIC = [0.0, 0.0, 0.5, 0.0, 1.0]
DTYPES = [torch.float32, torch.float64]


def assert_law(result: SampleResult, walkers: int, **expected: float) -> None:
    """Within four errors and the bias of a finite population."""
    for name, value in expected.items():
        entry = result[name]
        assert entry.error < 0.01
        assert abs(entry.mean - value) < 4 * entry.error + 0.5 / walkers, f"{name}: {entry}, expected {value}"


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dt", [0.5, 0.25])
def test_oscillator_at_finite_dt(dt: float, dtype: torch.dtype) -> None:
    """Theory, section 18: walkers have the density phi_0 = exp(-A x^2 / 2), of variance 1/A, not phi_0^2."""
    a = math.sqrt(1 + dt**2 / 4)
    result = dmc(OSCILLATOR, dt=dt, walkers=1000, populations=4, warmup=200, steps=8000, seed=1, dtype=dtype)
    assert_law(result, 1000, energy_growth=math.asinh(dt / 2) / dt, energy_mixed=1 / (2 * a), x2=1 / a, x=0.0)
    assert abs(result["x4"].mean - 3 / a**2) < 4 * result["x4"].error + 5 / 1000
    assert abs(result["energy_growth"].mean - 0.5) > 4 * result["energy_growth"].error or dt < 0.3


def test_units() -> None:
    m, hbar, w, dt = 1.4, 0.6, 2.2, 0.2
    result = dmc(
        [0.25, 0.0, 0.5 * m * w**2], dt=dt, mass=m, hbar=hbar, walkers=2000, warmup=200, steps=4000, seed=2
    )
    variance = hbar / (m * w * math.sqrt(1 + (w * dt / 2) ** 2))
    assert_law(
        result,
        2000,
        energy_growth=0.25 + hbar / dt * math.asinh(w * dt / 2),
        energy_mixed=0.25 + 0.5 * m * w**2 * variance,
        x2=variance,
    )


def test_quartic_energy_of_the_transfer_matrix() -> None:
    """Theory, section 6: g = 1, dtau = 0.1, trapezoid."""
    result = dmc(QUARTIC, dt=0.1, walkers=2000, warmup=200, steps=6000, seed=3)
    assert_law(result, 2000, energy_growth=0.8017443262)


def test_the_bias_of_small_populations() -> None:
    """Theory, section 18: comb, dtau = 0.1, 10 walkers give 0.53808, 100 give 0.50197."""
    for walkers, expected, width in ((10, 0.53808, 4e-3), (100, 0.50197, 3e-3)):
        result = dmc(OSCILLATOR, dt=0.1, walkers=walkers, populations=64, warmup=200, steps=10000, seed=4)
        assert result["energy_mixed"].mean == pytest.approx(expected, abs=width)


def test_a_guide_that_is_the_ground_state_leaves_no_variance() -> None:
    result = dmc(OSCILLATOR, dt=0.1, guide=[0.0, 0.0, -0.5], walkers=500, warmup=100, steps=4000, seed=5)
    for name in ("energy_mixed", "energy_growth"):
        assert result[name].mean == pytest.approx(0.5, abs=1e-12)
    assert result["effective_fraction"].mean == pytest.approx(1, abs=1e-12)
    assert_law(result, 500, x2=0.5 / (1 - 0.05))  # of phi_0^2, by the drift's Euler steps
    # A sextic partner of supersymmetric quantum mechanics: W = x^4 / 4, E_0 = 0 (notes, 2.3)
    sextic = [0.0, 0.0, -1.5, 0.0, 0.0, 0.0, 0.5]
    result = dmc(
        sextic, dt=0.02, guide=[0.0, 0.0, 0.0, 0.0, -0.25], walkers=100, warmup=20, steps=200, seed=5
    )
    assert result["energy_mixed"].mean == pytest.approx(0, abs=1e-12)


def test_a_guide_near_the_ground_state_keeps_the_energy_and_narrows_it() -> None:
    plain = dmc(QUARTIC, dt=0.02, walkers=500, warmup=500, steps=5000, seed=6)
    guided = dmc(
        QUARTIC, dt=0.02, guide=[0.0, 0.0, -0.7, 0.0, -0.15], walkers=500, warmup=500, steps=5000, seed=6
    )
    assert guided["energy_mixed"].mean == pytest.approx(0.80377, abs=4 * guided["energy_mixed"].error + 3e-3)
    assert guided["energy_growth"].error < 0.5 * plain["energy_growth"].error


# --- resampling -----------------------------------------------------------------------------------


def copies(weights: torch.Tensor, seed: int) -> torch.Tensor:
    """How often one step of walkers too heavy to move copies each of them, dt = 1."""
    n = weights.shape[0]
    points = torch.cat([-torch.log(weights), torch.zeros(5)]).double()
    table = Table(points, 0.0, 1.0)
    walkers = torch.arange(n, dtype=torch.float64)[None].clone()
    measured, reference = torch.zeros(1, 6, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    _core.paths_dmc(
        table.cells(), True, 0.0, 1.0, None, 1e40, 1.0, 1.0, 0, 1, 1, seed, walkers, reference, measured
    )
    assert float(measured[0, 0]) == pytest.approx(-math.log(float(weights.mean())), abs=1e-9)
    return torch.bincount(walkers[0].round().long(), minlength=n).double()


def test_the_comb_copies_each_walker_floor_or_ceil_times_and_is_unbiased() -> None:
    weights = 0.05 + torch.rand(23, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 2
    expected = 23 * weights / weights.sum()
    found = torch.stack([copies(weights, seed) for seed in range(400)])
    assert bool((found.sum(1) == 23).all())
    assert bool(((found - expected).abs() < 1).all())
    error = found.std(0) / 20
    assert float(((found.mean(0) - expected).abs() / error.clamp(min=1e-3)).max()) < 4


# --- bookkeeping ----------------------------------------------------------------------------------


def small(**changes: Any) -> SampleResult:
    arguments: dict[str, Any] = {
        "dt": 0.1, "walkers": 37, "populations": 5, "warmup": 6, "steps": 21, "measure_every": 3, "seed": 11,
    }  # fmt: skip
    return dmc(changes.pop("potential", QUARTIC), **{**arguments, **changes})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("guide", [None, [0.0, 0.0, -0.6]])
def test_bits_do_not_depend_on_threads_populations_or_cuts(guide: Any, dtype: torch.dtype) -> None:
    kind: dict[str, Any] = {"dtype": dtype, "guide": guide}
    whole = small(**kind)
    assert_same(whole, with_threads(1, lambda: small(**kind)))
    assert_same(small(**kind, populations=2), whole, slice(0, 2))
    part = small(**kind, steps=9)
    assert_same(small(**kind, steps=12, previous=part), whole)
    assert not torch.equal(small(**kind, seed=12).state["walkers"], whole.state["walkers"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_torch_make_the_same_steps(dtype: torch.dtype) -> None:
    inside = small(dtype=dtype)
    outside = small(potential=lambda x: 0.5 * x**2 + x**4, dtype=dtype)
    assert inside.series is not None
    tolerance = 2e-5 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(outside.series, inside.series, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        outside.state["walkers"], inside.state["walkers"], rtol=tolerance, atol=tolerance
    )


def digest() -> str:
    """Of the bits of some runs."""
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    potentials = (QUARTIC, Table(0.5 * x**2, -5.0, 0.1))
    results = [
        small(dtype=dtype, potential=v, guide=guide)
        for dtype in DTYPES
        for v in potentials
        for guide in (None, [0.0, 0.0, -0.6])
    ]
    data = b"".join(r.series.numpy().tobytes() + r.state["walkers"].numpy().tobytes() for r in results)  # type: ignore[union-attr]
    return hashlib.sha256(data).hexdigest()


def test_lost_populations_are_found() -> None:
    with pytest.raises(ArithmeticError, match="weights"):
        small(potential=[0.0, 0.0, -50.0], dt=20.0, steps=300)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 0.0}, "dt"),
        ({"mass": 0.0}, "mass"),
        ({"hbar": -1.0}, "hbar"),
        ({"walkers": 0}, "walkers"),
        ({"populations": 0}, "populations"),
        ({"measure_every": 0}, "measure_every"),
        ({"steps": 20}, "steps: expected a multiple of measure_every = 3"),
        ({"warmup": 1}, "warmup: expected a multiple"),
        ({"guide": lambda x: -x}, "guide: expected a polynomial"),
        ({"guide": [0.0], "potential": lambda x: x**2}, "guide: expected None"),
        ({"start": torch.zeros(3)}, "start"),
        ({"seed": 2**64}, "seed"),
        ({"dtype": torch.float16}, "dtype"),
    ],
)
def test_arguments_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        small(**changes)


def test_the_kernel_refuses_by_itself() -> None:
    f64 = {"dtype": torch.float64}
    known: dict[str, Any] = {
        "potential": torch.tensor(QUARTIC, **f64),
        "table": False,
        "start": 0.0,
        "inverse_spacing": 1.0,
        "guide": None,
        "mass": 1.0,
        "hbar": 1.0,
        "dt": 0.1,
        "first": 0,
        "count": 2,
        "steps": 4,
        "seed": 1,
        "walkers": torch.zeros(3, 5),
        "reference": torch.zeros(3, **f64),
        "measured": torch.zeros(2, 6, 3, **f64),
    }
    _core.paths_dmc(*known.values())
    _core.paths_dmc(*{**known, "count": 0, "measured": torch.zeros(0, 6, 3, **f64)}.values())
    nobody = {"walkers": torch.zeros(0, 5), "reference": torch.zeros(0, **f64)}
    _core.paths_dmc(*{**known, **nobody, "measured": torch.zeros(2, 6, 0, **f64)}.values())
    for changes, message in (
        ({"dt": 0.0}, "dt"),
        ({"mass": -1.0}, "mass"),
        ({"guide": torch.zeros(20, **f64)}, "potential: expected 1 to 16"),
        ({"steps": 2**40}, "steps"),
        ({"walkers": torch.zeros(3)}, "walkers: expected 2 axes"),
        ({"walkers": torch.zeros(3, 0)}, "walkers: expected at least one"),
        ({"reference": torch.zeros(3)}, "reference"),
        ({"measured": torch.zeros(2, 5, 3, **f64)}, "measured"),
    ):
        with pytest.raises(ValueError, match=message):
            _core.paths_dmc(*{**known, **changes}.values())
