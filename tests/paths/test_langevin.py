"""Langevin motion: the discrete stationary laws of its schemes, runaways, bookkeeping."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest
import torch

from qcore import _core
from qcore.paths import Diverged, SampleResult, Table, langevin

from .dynamics import assert_near, assert_same, with_threads

DTYPES = [torch.float32, torch.float64]
QUARTIC = [0.0, 0.0, 0.5, 0.0, 0.25]  # G of theory section 13, with psi_0^2 = exp(-x^2 - x^4 / 2)
EXACT = {"x2": 0.28960238631924, "x4": 0.21039761368076}


def stationary(dt: float, *, implicit: bool) -> dict[str, float]:
    """<x^2> and <x^4> of the Markov chain itself, hbar = m = 1, by powers of its matrix."""
    x = np.linspace(-3.2, 3.2, 641)
    to, at = x[:, None], x[None, :]
    where = 0.5 * (to + at) if implicit else at
    push = to - at + (where + where**3) * dt
    density = np.exp(-(push**2) / (2 * dt))
    if implicit:
        density = density * (1 + 0.5 * dt * (1 + 3 * where**2))
    density /= density.sum(0)
    law = np.ones_like(x) / x.size
    for _ in range(9):  # 512 steps
        density = density @ density
    law = density @ law
    return {"x2": float(law @ x**2), "x4": float(law @ x**4)}


# --- stationary laws ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("scheme", "variance", "rho"),
    [
        ("euler-maruyama", 1.1111111111, 0.8),
        ("heun", 0.9890109890, 0.82),
        ("leimkuhler-matthews", 1.0, None),
        ("implicit-midpoint", 1.0, 0.9 / 1.1),
        ("exact", 1.0, math.exp(-0.2)),
    ],
)
def test_oscillator(scheme: str, variance: float, rho: float | None, dtype: torch.dtype) -> None:
    """The table of theory section 13 at eps = 0.2, with other units, and about another centre."""
    w, m, hbar = 1.6, 1.3, 0.7
    expected = {"x": 0.0, "x2": variance * hbar / (2 * m * w)}
    expected["x4"] = 3 * expected["x2"] ** 2
    if rho is not None:
        expected.update({f"correlator_{lag}": expected["x2"] * rho**lag for lag in (0, 1, 5)})
    result = langevin(
        [0.3, 0.0, 0.5 * w],
        scheme=scheme,
        dt=0.2 / w,
        mass=m,
        hbar=hbar,
        chains=2048,
        steps=4096,
        warmup=128,
        lags=(0, 1, 5),
        seed=8,
        dtype=dtype,
    )
    assert_near(result, **expected)
    assert result["x2"].error < 1e-3 * expected["x2"] * 3
    shifted = langevin(
        [0.0, -w, 0.5 * w],
        scheme=scheme,
        dt=0.2 / w,
        mass=m,
        hbar=hbar,
        chains=512,
        steps=1024,
        warmup=128,
        seed=8,
        x0=1.0,
        dtype=dtype,
    )
    assert_near(shifted, x=1.0, x2=1 + expected["x2"])


@pytest.mark.parametrize(("scheme", "implicit"), [("euler-maruyama", False), ("implicit-midpoint", True)])
@pytest.mark.parametrize("dt", [0.05, 0.1])
def test_quartic_law_of_the_chain_itself(scheme: str, implicit: bool, dt: float) -> None:
    law = stationary(dt, implicit=implicit)
    if not implicit:  # theory, section 13
        assert law["x2"] == pytest.approx({0.05: 0.297762906, 0.1: 0.306944865}[dt], abs=1e-8)
    result = langevin(QUARTIC, scheme=scheme, dt=dt, chains=2048, steps=4096, warmup=256, seed=9)
    assert_near(result, **law)


@pytest.mark.parametrize("scheme", ["heun", "leimkuhler-matthews"])
def test_second_order_schemes_come_near_the_ground_state(scheme: str) -> None:
    """Euler-Maruyama errs by 1.7e-2 at dt = 0.1 and by 8e-3 at 0.05."""
    found = [
        langevin(QUARTIC, scheme=scheme, dt=dt, chains=4096, steps=4096, warmup=256, seed=10)["x2"]
        for dt in (0.2, 0.05)
    ]
    off = [abs(entry.mean - EXACT["x2"]) for entry in found]
    assert off[0] < 0.03
    assert off[1] < off[0] / 16 + 4 * found[1].error + 3e-4  # the error falls as dt^2, or faster


def test_the_implicit_midpoint_errs_in_first_order_where_the_drift_is_curved() -> None:
    """Of the chain itself: its error halves with dt, though it has none for the oscillator."""
    error = [stationary(dt, implicit=True)["x2"] - EXACT["x2"] for dt in (0.04, 0.02)]
    assert error[0] / error[1] == pytest.approx(2, abs=0.1)


def test_a_table_follows_its_polynomial() -> None:
    x = torch.linspace(-4, 4, 801, dtype=torch.float64)
    table = Table(0.5 * x**2 + 0.25 * x**4, -4.0, 0.01)
    options: dict[str, Any] = {"dt": 0.05, "chains": 19, "steps": 64, "seed": 3, "dtype": torch.float64}
    for scheme in ("heun", "implicit-midpoint"):
        a = langevin(table, scheme=scheme, **options)
        b = langevin(QUARTIC, scheme=scheme, **options)
        torch.testing.assert_close(a.state["x"], b.state["x"], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", ["euler-maruyama", "heun", "leimkuhler-matthews", "implicit-midpoint"])
def test_functions_of_torch_make_the_same_steps(scheme: str, dtype: torch.dtype) -> None:
    options: dict[str, Any] = {
        "scheme": scheme,
        "dt": 0.05,
        "chains": 7,
        "steps": 20,
        "warmup": 10,
        "measure_every": 5,
        "lags": (0, 2),
        "seed": 3,
        "dtype": dtype,
    }
    inside = langevin(QUARTIC, **options)
    by_drift = langevin(drift=lambda x: -x - x**3, **options)
    by_potential = langevin(lambda x: 0.5 * x**2 + 0.25 * x**4, **options)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for other in (by_drift, by_potential):
        assert inside.series is not None
        torch.testing.assert_close(other.series, inside.series, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(other.state["x"], inside.state["x"], rtol=tolerance, atol=tolerance)


# --- runaways -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_runaways_are_found(dtype: torch.dtype) -> None:
    x0 = torch.zeros(50)
    x0[[7, 33]] = 6.5  # beyond sqrt(2 / dt)
    options: dict[str, Any] = {"dt": 0.05, "chains": 50, "steps": 128, "x0": x0, "dtype": dtype}
    with pytest.raises(Diverged, match="euler-maruyama: 2 of 50 chains were at no finite place by step 64"):
        langevin(QUARTIC, scheme="euler-maruyama", **options)
    with pytest.raises(Diverged, match="2 of 50"):
        langevin(drift=lambda x: -x - x**3, scheme="euler-maruyama", **options)
    assert bool(langevin(QUARTIC, scheme="implicit-midpoint", **options).state["x"].isfinite().all())


def test_implicit_steps_without_solution_are_found() -> None:
    """F = 10 x at dt = 0.2: the midpoint's equation is 0 y = b."""
    with pytest.raises(Diverged, match="not solved"):
        langevin([0.0, 0.0, -5.0], scheme="implicit-midpoint", dt=0.2, chains=3, steps=64, x0=1.0)


# --- bookkeeping ----------------------------------------------------------------------------------


def small(**changes: Any) -> SampleResult:
    arguments: dict[str, Any] = {
        "dt": 0.1,
        "scheme": "heun",
        "chains": 37,
        "steps": 42,
        "warmup": 7,
        "measure_every": 7,
        "lags": (0, 3),
        "seed": 11,
    }
    return langevin(changes.pop("potential", QUARTIC), **{**arguments, **changes})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", ["euler-maruyama", "heun", "leimkuhler-matthews", "implicit-midpoint"])
def test_bits_do_not_depend_on_threads_chains_or_cuts(scheme: str, dtype: torch.dtype) -> None:
    kind: dict[str, Any] = {"dtype": dtype, "scheme": scheme}
    whole = small(**kind)
    assert_same(whole, with_threads(1, lambda: small(**kind)))
    assert_same(small(**kind, chains=5), whole, slice(0, 5))
    part = small(**kind, steps=14)
    assert_same(small(**kind, steps=28, previous=part), whole)
    longer = small(**kind, measure_every=1, lags=(0,))  # the same way, measured more often
    assert torch.equal(longer.state["x"], whole.state["x"])
    assert not torch.equal(small(**kind, seed=12).state["x"], whole.state["x"])


def digest() -> str:
    """Of the bits of some runs."""
    schemes = ("euler-maruyama", "heun", "leimkuhler-matthews", "implicit-midpoint")
    results = [small(dtype=dtype, scheme=scheme) for dtype in DTYPES for scheme in schemes]
    results.append(small(potential=[0.0, 0.0, 0.5], scheme="exact"))
    data = b"".join(r.series.numpy().tobytes() + r.state["x"].numpy().tobytes() for r in results)  # type: ignore[union-attr]
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"potential": None}, "potential: expected a potential G or a drift, got neither"),
        ({"drift": torch.sin}, "got both"),
        ({"potential": None, "drift": 3}, "drift: expected a function"),
        ({"potential": None, "drift": torch.sum}, "drift: expected values of shape"),
        ({"scheme": "rk4"}, "scheme"),
        ({"scheme": "exact"}, "scheme: expected 'exact' only for"),
        ({"scheme": "exact", "potential": [0.0, 0.0, -1.0]}, "scheme: expected 'exact' only for"),
        ({"scheme": "exact", "potential": None, "drift": torch.sin}, "scheme: expected 'exact' only for"),
        ({"dt": 0.0}, "dt"),
        ({"mass": -1.0}, "mass"),
        ({"hbar": math.inf}, "hbar"),
        ({"chains": 0}, "chains"),
        ({"steps": 40}, "steps: expected a multiple of measure_every = 7"),
        ({"warmup": 3}, "warmup: expected a multiple"),
        ({"measure_every": 0}, "measure_every"),
        ({"lags": (8,)}, "lags: expected ints from 0 to 7"),
        ({"x0": torch.zeros(3)}, "x0: expected shape"),
        ({"seed": -1}, "seed"),
        ({"dtype": torch.int64}, "dtype"),
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
        "scheme": 0,
        "dt": 0.1,
        "diffusion": 0.5,
        "first": 0,
        "count": 2,
        "steps": 4,
        "lags": [1],
        "seed": 1,
        "x": torch.zeros(3),
        "measured": torch.zeros(2, 4, 3, **f64),
        "failed": torch.zeros(3, **f64),
    }
    _core.paths_langevin(*known.values())
    nothing = {"count": 0, "measured": torch.zeros(0, 4, 3, **f64)}
    _core.paths_langevin(*{**known, **nothing}.values())
    nobody = {"x": torch.zeros(0), "measured": torch.zeros(2, 4, 0, **f64), "failed": torch.zeros(0, **f64)}
    _core.paths_langevin(*{**known, **nobody}.values())
    for changes, message in (
        ({"scheme": 5}, "scheme"),
        ({"scheme": 4}, "potential: expected a polynomial of second degree"),
        ({"dt": 0.0}, "dt"),
        ({"diffusion": -1.0}, "diffusion"),
        ({"steps": 0}, "steps"),
        ({"steps": 2**32}, "steps"),
        ({"lags": [5]}, "lags"),
        ({"x": torch.zeros(3, 1)}, "x: expected 1 axes"),
        ({"measured": torch.zeros(2, 3, 3, **f64)}, "measured"),
        ({"failed": torch.zeros(3)}, "failed"),
    ):
        with pytest.raises(ValueError, match=message):
            _core.paths_langevin(*{**known, **changes}.values())
