"""HMC of closed paths: its motion, its averages, its bookkeeping."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest
import torch

from qcore import _core
from qcore._ops.paths_dynamics import PathModel, leapfrog_paths
from qcore.paths import Table, hmc
from qcore.paths._hmc import Hmc, trial_frequency
from qcore.paths._potential import as_potential
from qcore.paths._sampling import kernel_potential

from .dynamics import Lattice, assert_near, assert_same, normals, with_threads

OSCILLATOR = [0.0, 0.0, 0.5]
QUARTIC = [0.0, 0.0, 0.5, 0.0, 1.0]  # theory, section 6, g = 1
KINDS = {"leapfrog": False, "accelerated": True}


def trajectory(
    x: torch.Tensor, p: torch.Tensor, step: float, steps: int, frequency: float, potential: Any = QUARTIC
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x, p = x.clone(), p.clone()
    kernel = kernel_potential(as_potential(potential))
    assert kernel is not None
    energies = leapfrog_paths(
        kernel, PathModel(1.3, 0.9, 0.2, frequency), step=step, steps=steps, x=x, momenta=p
    )
    return x, p, energies


# --- motion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("frequency", [0.0, 1.7])
@pytest.mark.parametrize("slices", [2, 3, 17, 64])
def test_a_trajectory_run_backwards_ends_where_it_began(slices: int, frequency: float) -> None:
    x, v = normals(5, slices), normals(5, slices, seed=2)
    y, w, energies = trajectory(x, v, 0.04, 20, frequency)
    assert float((y - x).abs().max()) > 0.1
    back, u, reverse = trajectory(y, -w, 0.04, 20, frequency)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-12)
    torch.testing.assert_close(-u, v, rtol=0, atol=1e-12)
    torch.testing.assert_close(reverse.flip(0), energies, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("frequency", [0.0, 1.7])
def test_the_energy_error_of_a_trajectory_is_of_second_order(frequency: float) -> None:
    x, v = 0.5 * normals(40, 16), 0.5 * normals(40, 16, seed=2)
    errors = []
    for steps in (20, 40, 80):
        before, after = trajectory(x, v, 0.6 / steps, steps, frequency)[2]
        errors.append(float((after - before).abs().mean()))
    orders = [math.log2(errors[k] / errors[k + 1]) for k in range(2)]
    assert orders == pytest.approx([2, 2], abs=0.15)


def test_an_oscillator_of_the_masses_frequency_keeps_its_energy_at_any_step() -> None:
    w = 1.7
    x, v = normals(3, 32), normals(3, 32, seed=2)
    _, _, energies = trajectory(x, v, 0.7, 9, w, [0.3, 0.0, 0.5 * 1.3 * w**2])
    torch.testing.assert_close(energies[1], energies[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("frequency", [0.0, 1.7])
def test_energies_and_motion_are_those_of_the_dense_hamiltonian(frequency: float) -> None:
    """dx/dt and dp/dt of one tiny step, with S and the mass matrix written out."""
    m, hbar, dt, n = 1.3, 0.9, 0.2, 7
    x, v = normals(2, n), normals(2, n, seed=2)
    eye = torch.eye(n, dtype=torch.float64)
    hop = eye.roll(1, 0)
    mass = eye
    if frequency:
        mass = m / (hbar * dt) * ((2 + (frequency * dt) ** 2) * eye - hop - hop.T)

    def action(y: torch.Tensor) -> torch.Tensor:
        kinetic = m * (y - y.roll(1, 1)).square().sum(1) / (2 * dt)
        return (kinetic + dt * (0.5 * y**2 + y**4).sum(1)) / hbar

    step = 1e-5
    y, w, energies = trajectory(x, v, step, 1, frequency)
    expected = action(x) + 0.5 * torch.einsum("cn,nm,cm->c", v, mass, v)
    torch.testing.assert_close(energies[0], expected, rtol=1e-12, atol=0)
    at = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(action(at).sum(), at)
    torch.testing.assert_close((y - x) / step, v, rtol=1e-3, atol=2e-3)
    torch.testing.assert_close((w - v) / step, -slope @ torch.linalg.inv(mass), rtol=1e-3, atol=2e-3)


# --- averages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("accelerated", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_oscillator_lattice(dtype: torch.dtype, accelerated: bool) -> None:
    """Closed forms of theory section 5, with m, w and hbar that aren't 1."""
    m, hbar, w, dt, n = 1.3, 0.7, 1.7, 0.25, 12
    angle = 2 * math.asinh(w * dt / 2)
    modified = m * w * math.sqrt(1 + (w * dt / 2) ** 2)

    def correlator(lag: int) -> float:
        return hbar / (2 * modified) * math.cosh((n / 2 - lag) * angle) / math.sinh(n * angle / 2)

    result = hmc(
        [0.0, 0.0, 0.5 * m * w**2],
        slices=n,
        dt=dt,
        mass=m,
        hbar=hbar,
        chains=64,
        sweeps=600,
        warmup=100,
        seed=3,
        fourier_acceleration=accelerated,
        frequency=1.2,
        leapfrog_steps=6,
        lags=(0, 1, 5),
        dtype=dtype,
    )
    # d angle / d dt of -d ln Z / d beta at fixed n: beta = n dt / hbar
    energy = 0.5 * hbar / math.tanh(n * angle / 2) * w / math.sqrt(1 + (w * dt / 2) ** 2)
    assert_near(
        result,
        x=0.0,
        x2=correlator(0),
        x4=3 * correlator(0) ** 2,
        energy_virial=energy,
        energy_thermodynamic=energy,
        exp_minus_dh=1.0,
        **{f"correlator_{lag}": correlator(lag) for lag in (0, 1, 5)},
    )
    assert 0.6 < float(result.acceptance.mean()) < 1


@pytest.mark.parametrize("accelerated", KINDS.values(), ids=KINDS)
def test_quartic_lattice(accelerated: bool) -> None:
    """At finite dt: beta = 2, N = 16, g = 1 of theory section 6."""
    result = hmc(
        QUARTIC,
        slices=16,
        beta=2.0,
        chains=64,
        sweeps=1500,
        warmup=150,
        seed=1,
        lags=(8,),
        fourier_acceleration=accelerated,
        leapfrog_steps=5 if accelerated else 12,
    )
    h = 1e-4
    log_z = [Lattice(lambda x: 0.5 * x**2 + x**4, 16, 0.125 + d).log_z() for d in (h, -h)]
    energy = -(log_z[0] - log_z[1]) / (2 * 16 * h)
    assert_near(
        result,
        x2=0.2645977668,
        x4=0.1901155090,
        correlator_8=0.0746211998,
        energy_virial=energy,
        energy_thermodynamic=energy,
        exp_minus_dh=1.0,
    )
    assert result["x2"].error < 0.002


def test_double_well_as_coefficients_table_and_function() -> None:
    """As the transfer matrix has it; the function as the coefficients, trajectory by trajectory."""
    wells = [1.0, 0.0, -2.0, 0.0, 1.0]
    exact = Lattice(lambda x: (x**2 - 1) ** 2, 10, 0.2)
    options: dict[str, Any] = {
        "slices": 10, "dt": 0.2, "chains": 32, "seed": 5, "dtype": torch.float64, "lags": (0, 3),
    }  # fmt: skip
    points = torch.linspace(-4, 4, 1601, dtype=torch.float64)
    table = Table((points**2 - 1) ** 2, -4.0, 0.005)
    for accelerated in (False, True):
        kind = {"fourier_acceleration": accelerated, "frequency": 2.0, **options}
        result = hmc(table, sweeps=1500, warmup=100, **kind)
        assert_near(
            result, x2=exact(lambda x: x**2), x4=exact(lambda x: x**4), correlator_3=exact.correlator(3)
        )
        inside = hmc(wells, sweeps=3, warmup=5, **kind)
        outside = hmc(lambda x: (x**2 - 1) ** 2, sweeps=3, warmup=5, **kind)
        assert inside.series is not None
        assert outside.series is not None
        torch.testing.assert_close(outside.series, inside.series, rtol=1e-7, atol=1e-8)
        torch.testing.assert_close(
            outside.state["tuned_step"], inside.state["tuned_step"], rtol=1e-7, atol=1e-8
        )


def test_acceptance_follows_from_the_energy_error() -> None:
    """<P> = erfc(sqrt(<dH>) / 2) for many slices (notes, 2.8): dH is then Gaussian with variance 2 <dH>."""
    result = hmc(
        OSCILLATOR,
        slices=256,
        dt=0.25,
        chains=64,
        sweeps=400,
        warmup=100,
        seed=2,
        jitter=0.0,
        keep_chains=True,
        dtype=torch.float64,
    )
    assert result.series is not None
    change = -result.series[:, result.observables.index("exp_minus_dh")].log()
    step = result.state["tuned_step"][:, 1]
    assert float(step.std()) < 0.2  # each chain has its own, near the others
    mean = change.mean(0)
    expected = torch.special.erfc(mean.clamp(min=0).sqrt() / 2)
    off = (result.acceptance - expected).mean() / ((result.acceptance - expected).std() / 8)
    assert abs(float(off)) < 4
    assert float(result.acceptance.mean()) == pytest.approx(0.8, abs=0.05)  # the target


def test_acceleration_keeps_the_step_as_dt_falls() -> None:
    steps, taus = [], []
    for n in (16, 128):
        result = hmc(
            QUARTIC,
            slices=n,
            beta=4.0,
            chains=32,
            sweeps=200,
            warmup=150,
            leapfrog_steps=4,
            fourier_acceleration=True,
        )
        steps.append(float(result.state["tuned_step"][:, 1].exp().mean()))
        taus.append(result["x2"].tau_int)
    assert steps[1] > 0.8 * steps[0]
    assert max(taus) < 3


def test_the_trial_frequency_is_that_of_an_oscillator() -> None:
    found = trial_frequency(as_potential([0.0, 0.0, 0.5 * 2.0 * 3.0**2]), 2.0, 0.6)
    assert found == pytest.approx(3.0, rel=0.03)


# --- bookkeeping ----------------------------------------------------------------------------------


def small(**changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "slices": 9, "dt": 0.3, "chains": 37, "sweeps": 6, "warmup": 40, "seed": 11, "lags": (0, 2),
    }  # fmt: skip
    return hmc(QUARTIC, **{**arguments, **changes})


@pytest.mark.parametrize("accelerated", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bits_do_not_depend_on_threads_chains_or_cuts(dtype: torch.dtype, accelerated: bool) -> None:
    kind = {"dtype": dtype, "fourier_acceleration": accelerated}
    whole = small(**kind)
    assert_same(whole, with_threads(1, lambda: small(**kind)))
    assert_same(small(**kind, chains=5), whole, slice(0, 5))
    part = small(**kind, sweeps=2)
    assert_same(small(**kind, sweeps=4, previous=part), whole)
    assert not torch.equal(small(**kind, seed=12).state["x"], whole.state["x"])


def test_chains_that_never_moved_are_not_trusted() -> None:
    result = hmc(QUARTIC, slices=8, beta=1.0, chains=4, sweeps=50, warmup=0, step_size=1e3)
    assert float(result.acceptance.max()) == 0
    assert {entry.unreliable for entry in result.estimates.values()} == {"no proposal was accepted"}
    assert "unreliable: no proposal was accepted" in str(result)


def test_steps_stay_after_the_warm_up() -> None:
    after = small(sweeps=1).state["tuned_step"]
    assert torch.equal(small(sweeps=5).state["tuned_step"], after)
    assert float(after[:, 3].min()) == 40
    untouched = small(warmup=0, step_size=0.05).state["tuned_step"]
    assert torch.equal(untouched[:, :2], torch.full((37, 2), math.log(0.05), dtype=torch.float64))


def digest() -> str:
    """Of the bits of some runs."""
    kinds = [(d, a) for d in (torch.float32, torch.float64) for a in (False, True)]
    results = [small(dtype=d, fourier_acceleration=a) for d, a in kinds]
    data = b"".join(r.series.numpy().tobytes() + r.state["x"].numpy().tobytes() for r in results)
    return hashlib.sha256(data).hexdigest()


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slices": 1}, "slices: expected at least 2"),
        ({"dt": None}, "beta: expected beta or dt"),
        ({"dt": -1.0}, "dt: expected a finite number > 0"),
        ({"beta": 3.0}, "dt: expected hbar beta / slices"),
        ({"mass": 0.0}, "mass"),
        ({"hbar": math.nan}, "hbar"),
        ({"chains": 0}, "chains"),
        ({"step_size": 0.0}, "step_size"),
        ({"leapfrog_steps": 0}, "leapfrog_steps"),
        ({"jitter": 1.0}, "jitter"),
        ({"target": 0.0}, "target"),
        ({"frequency": -1.0}, "frequency"),
        ({"fourier_acceleration": 1}, "fourier_acceleration"),
        ({"lags": (9,)}, "lags: expected ints from 0 to 8"),
        ({"lags": (1, 1)}, "lags: expected ints that differ"),
        ({"lags": 3}, "lags: expected a sequence"),
        ({"start": torch.zeros(3, 3)}, "start: expected shape"),
        ({"start": math.inf}, "start: expected finite"),
        ({"seed": 2**64}, "seed"),
        ({"dtype": torch.float16}, "dtype"),
        ({"sweeps": -1}, "sweeps"),
    ],
)
def test_arguments_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        small(**changes)


def test_potentials_refused() -> None:
    with pytest.raises(ValueError, match="potential: expected one bounded below"):
        hmc([0.0, 0.0, 0.0, 0.0, -1.0], slices=4, beta=1.0, sweeps=1)
    with pytest.raises(ValueError, match="potential: expected one polynomial"):
        hmc(torch.ones(2, 3, dtype=torch.float64), slices=4, dt=0.1)
    with pytest.raises(ValueError, match="potential: expected values of shape"):
        hmc(lambda x: x.sum(), slices=4, dt=0.1)


def arguments(**changes: Any) -> list[Any]:
    f64 = {"dtype": torch.float64}
    known: dict[str, Any] = {
        "potential": torch.ones(3, **f64),
        "table": False,
        "start": 0.0,
        "inverse_spacing": 1.0,
        "mass": 1.0,
        "hbar": 1.0,
        "dt": 0.1,
        "frequency": 1.0,
        "lags": [0],
        "first": 0,
        "count": 2,
        "steps": 1,
        "jitter": 0.0,
        "tune": False,
        "target": 0.8,
        "step": 0.1,
        "longest": 1.0,
        "seed": 1,
        "x": torch.zeros(4, 5),
        "tuning": torch.zeros(4, 4, **f64),
        "measured": torch.zeros(2, 7, 4, **f64),
        "accepted": torch.zeros(4, **f64),
    }
    return list({**known, **changes}.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(4)}, "x: expected 2 axes"),
        ({"x": torch.zeros(4, 5, dtype=torch.bfloat16)}, "x: expected float32 or float64"),
        ({"x": torch.zeros(5, 4).T}, "x: expected a contiguous"),
        ({"tuning": torch.zeros(4, 4)}, "tuning: expected dtype float64"),
        ({"measured": torch.zeros(2, 6, 4, dtype=torch.float64)}, "measured: expected shape"),
        ({"accepted": torch.zeros(3, dtype=torch.float64)}, "accepted: expected shape"),
        ({"potential": torch.ones(17, dtype=torch.float64)}, "potential: expected 1 to 16"),
        ({"potential": torch.ones(3)}, "potential: expected dtype float64"),
        ({"table": True}, "potential: expected shape"),
        ({"lags": [5]}, "lags: expected from 0 to 4"),
        ({"steps": 0}, "steps"),
        ({"first": 2**32 - 1}, "first"),
        ({"dt": math.inf}, "dt"),
        ({"frequency": -1.0}, "frequency"),
    ],
)
def test_the_kernel_refuses_by_itself(changes: dict[str, Any], message: str) -> None:
    _core.paths_hmc(*arguments())
    with pytest.raises(ValueError, match=message):
        _core.paths_hmc(*arguments(**changes))


@pytest.mark.parametrize(("chains", "count"), [(0, 2), (4, 0), (0, 0)])
def test_nothing_to_do(chains: int, count: int) -> None:
    f64 = {"dtype": torch.float64}
    x, tuning = torch.full((chains, 5), 0.5), torch.zeros(chains, 4, **f64)
    measured, accepted = torch.zeros(count, 7, chains, **f64), torch.ones(chains, **f64)
    _core.paths_hmc(*arguments(count=count, x=x, tuning=tuning, measured=measured, accepted=accepted))
    assert bool((x == 0.5).all()) or count
    assert not accepted.any() or count


def test_the_kernel_refuses_shared_memory() -> None:
    shared = torch.zeros(40, dtype=torch.float64)
    with pytest.raises(ValueError, match="accepted: expected memory of its own"):
        _core.paths_hmc(*arguments(tuning=shared[:16].view(4, 4), accepted=shared[12:16]))


def test_leapfrog_refuses_by_itself() -> None:
    x, energies = torch.zeros(2, 5), torch.zeros(2, 2, dtype=torch.float64)
    potential = (torch.ones(3, dtype=torch.float64), False, 0.0, 1.0, 1.0, 1.0, 0.1, 0.0)
    _core.paths_leapfrog(*potential, 0.1, 2, x, torch.ones(2, 5), energies)
    for arguments_, message in (
        ((0.1, 0, x, torch.ones(2, 5), energies), "steps"),
        ((math.nan, 2, x, torch.ones(2, 5), energies), "step"),
        ((0.1, 2, x, torch.ones(2, 4), energies), "momenta: expected shape"),
        ((0.1, 2, x, torch.ones(2, 5, dtype=torch.float64), energies), "momenta: expected dtype"),
        ((0.1, 2, x, x, energies), "momenta: expected memory of its own"),
        ((0.1, 2, x, torch.ones(2, 5), energies[:1]), "energies: expected shape"),
    ):
        with pytest.raises(ValueError, match=message):
            _core.paths_leapfrog(*potential, *arguments_)


def test_the_engine_states_its_order_and_config() -> None:
    engine = Hmc(QUARTIC, slices=4, dt=0.1, chains=2)
    assert engine.dt_order == 2
    assert engine.config()["potential"] == {"coefficients": QUARTIC}
    assert np.isclose(engine.beta, 0.4)
