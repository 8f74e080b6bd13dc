"""HMC of the phi^4 field on periodic lattices."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest
import torch

from qcore import _core
from qcore._ops.paths_dynamics import FieldModel, leapfrog_phi4
from qcore.paths import hmc_phi4
from qcore.paths._hmc_phi4 import field_model

from .dynamics import assert_near, assert_same, normals, with_threads

SHAPES = [(1, 1), (1, 4), (2, 2), (2, 5), (3, 1), (5, 4), (8, 8)]


def plain_action(
    phi: torch.Tensor, rows: float, columns: float, quadratic: float, quartic: float
) -> torch.Tensor:
    """As the docs write it, (chains,)."""
    bonds = 0.5 * rows * (phi.roll(-1, 1) - phi) ** 2 + 0.5 * columns * (phi.roll(-1, 2) - phi) ** 2
    return (bonds + quadratic * phi**2 + quartic * phi**4).sum((1, 2))


# --- motion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_leapfrog_against_plain_leapfrog(shape: tuple[int, int]) -> None:
    model = FieldModel(1.4, 0.8, -0.6, 0.3)
    x, p = normals(7, *shape), normals(7, *shape, seed=2)
    y, w = x.clone(), p.clone()
    energies = leapfrog_phi4(model, step=0.07, steps=11, phi=y, momenta=w)

    def energy() -> torch.Tensor:
        return plain_action(x, *model) + 0.5 * p.square().sum((1, 2))

    def force() -> torch.Tensor:
        at = x.clone().requires_grad_()
        return -torch.autograd.grad(plain_action(at, *model).sum(), at)[0]

    torch.testing.assert_close(energies[0], energy(), rtol=1e-12, atol=1e-12)
    p = p + 0.035 * force()
    for s in range(11):
        x = x + 0.07 * p
        p = p + (0.07 if s < 10 else 0.035) * force()
    torch.testing.assert_close(y, x, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(w, p, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(energies[1], energy(), rtol=1e-11, atol=1e-11)


def test_a_trajectory_run_backwards_ends_where_it_began() -> None:
    model = field_model(-4.0, 5.1, "lattice")
    x, p = 0.5 * normals(5, 6, 6), normals(5, 6, 6, seed=2)
    y, w = x.clone(), p.clone()
    leapfrog_phi4(model, step=0.02, steps=25, phi=y, momenta=w)
    assert float((y - x).abs().max()) > 0.1
    w.neg_()
    leapfrog_phi4(model, step=0.02, steps=25, phi=y, momenta=w)
    torch.testing.assert_close(y, x, rtol=0, atol=1e-12)


def test_the_energy_error_of_a_trajectory_is_of_second_order() -> None:
    model = field_model(-4.0, 5.1, "lattice")
    x, p = 0.5 * normals(30, 8, 8), normals(30, 8, 8, seed=2)
    errors = []
    for steps in (20, 40, 80):
        before, after = leapfrog_phi4(model, step=0.5 / steps, steps=steps, phi=x.clone(), momenta=p.clone())
        errors.append(float((after - before).abs().mean()))
    assert [math.log2(errors[k] / errors[k + 1]) for k in range(2)] == pytest.approx([2, 2], abs=0.15)


# --- averages -------------------------------------------------------------------------------------


def exact_2x2(model: FieldModel) -> dict[str, float]:
    """Sums over a grid of the four fields: exact to rounding for such smooth integrands."""
    x = np.linspace(-3.6, 3.6, 37)
    a, b, c, d = np.meshgrid(x, x, x, x, indexing="ij")  # rows (a b), (c d)
    rows, columns, quadratic, quartic = model
    action = rows * ((a - c) ** 2 + (b - d) ** 2) + columns * ((a - b) ** 2 + (c - d) ** 2)
    for f in (a, b, c, d):
        action = action + quadratic * f**2 + quartic * f**4
    w = np.exp(-(action - action.min()))
    w /= w.sum()
    mean = (a + b + c + d) / 4
    return {
        "action_density": float((w * action).sum()) / 4,
        "abs_phi": float((w * abs(mean)).sum()),
        "phi2": float((w * a**2).sum()),
        "phi4": float((w * a**4).sum()),
        "susceptibility": float(4 * (w * mean**2).sum()),
        "correlator_0": float((w * (a + b) ** 2).sum()) / 2,
        "correlator_1": float((w * (a + b) * (c + d)).sum()) / 2,
        "exp_minus_dh": 1.0,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("convention", "mass2", "coupling"),
    [("continuum", -0.5, 0.4), ("lattice", -1.0, 1.5)],
)
def test_two_by_two(convention: str, mass2: float, coupling: float, dtype: torch.dtype) -> None:
    result = hmc_phi4(
        shape=(2, 2), mass2=mass2, coupling=coupling, convention=convention, chains=64, trajectories=1000,
        warmup=100, seed=4, dtype=dtype,
    )  # fmt: skip
    assert_near(result, **exact_2x2(field_model(mass2, coupling, convention)))


def test_two_columns_in_eight_steps_of_time() -> None:
    """Theory, section 7: L = 2, a = 1, m^2 = 1, g = .5, Nt = 8, dtau = .25, trapezoid."""
    result = hmc_phi4(
        shape=(8, 2),
        mass2=1.0,
        coupling=0.5,
        dt=0.25,
        chains=64,
        trajectories=2500,
        warmup=100,
        seed=4,
        leapfrog_steps=12,
    )
    phi2, both = 0.2658300534, 0.0760642446
    assert_near(result, phi2=phi2, correlator_0=phi2 + both, exp_minus_dh=1.0)


def test_free_field_mode_by_mode() -> None:
    m2, shape, dt, a = 0.4, (6, 8), 0.8, 1.25
    k, q = (torch.arange(n, dtype=torch.float64) * 2 * math.pi / n for n in shape)
    inverse = (
        (a / dt) * 4 * torch.sin(k / 2)[:, None] ** 2 + (dt / a) * 4 * torch.sin(q / 2) ** 2 + dt * a * m2
    )
    time = torch.arange(4, dtype=torch.float64)
    slow = (torch.cos(k[:, None] * time) / inverse[:, :1]).mean(0)
    result = hmc_phi4(
        shape=shape, mass2=m2, coupling=0.0, spacing=a,
        dt=dt, chains=1024, trajectories=60, warmup=60, seed=6,
        leapfrog_steps=8, dtype=torch.float64,
    )  # fmt: skip
    assert_near(
        result, phi2=float((1 / inverse).mean()), **{f"correlator_{t}": float(slow[t]) for t in range(4)}
    )
    power = torch.fft.fft2(result.state["phi"]).abs().square() / (shape[0] * shape[1]) * inverse
    error = power.std(0) / 32
    assert float(((power.mean(0) - 1) / error).abs().max()) < 4.5  # of 48 numbers


def test_the_conventions_are_one_model() -> None:
    """phi_lattice = phi_continuum / sqrt 2 with lambda = 4 g at the same m^2."""
    phi = normals(3, 5, 5)
    for mass2, coupling in ((-4.0, 5.1), (0.3, 0.0)):
        lattice = plain_action(phi / math.sqrt(2), *field_model(mass2, 4 * coupling, "lattice"))
        continuum = plain_action(phi, *field_model(mass2, coupling))
        torch.testing.assert_close(lattice, continuum, rtol=1e-13, atol=1e-12)


# --- bookkeeping ----------------------------------------------------------------------------------


def small(**changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "shape": (5, 3),
        "mass2": -1.0,
        "coupling": 1.0,
        "chains": 37,
        "trajectories": 6,
        "warmup": 40,
        "seed": 11,
    }
    return hmc_phi4(**{**arguments, **changes})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bits_do_not_depend_on_threads_chains_or_cuts(dtype: torch.dtype) -> None:
    whole = small(dtype=dtype)
    assert_same(whole, with_threads(1, lambda: small(dtype=dtype)))
    assert_same(small(dtype=dtype, chains=5), whole, slice(0, 5))
    part = small(dtype=dtype, trajectories=2)
    assert_same(small(dtype=dtype, trajectories=4, previous=part), whole)
    assert not torch.equal(small(dtype=dtype, seed=12).state["phi"], whole.state["phi"])


def digest() -> str:
    """Of the bits of some runs."""
    results = [small(dtype=dtype) for dtype in (torch.float32, torch.float64)]
    data = b"".join(r.series.numpy().tobytes() + r.state["phi"].numpy().tobytes() for r in results)
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (4,)}, "shape"),
        ({"shape": (0, 4)}, "shape"),
        ({"coupling": -1.0}, "coupling: expected a finite number >= 0"),
        ({"coupling": 0.0}, "mass2: expected a number > 0"),
        ({"mass2": math.nan}, "mass2"),
        ({"convention": "kappa"}, "convention"),
        ({"spacing": 0.0}, "spacing"),
        ({"dt": -1.0}, "dt"),
        ({"convention": "lattice", "dt": 0.5}, "spacing and dt: expected 1"),
        ({"chains": 0}, "chains"),
        ({"leapfrog_steps": 0}, "leapfrog_steps"),
        ({"start": torch.zeros(37, 5, 4)}, "start"),
        ({"dtype": torch.bfloat16}, "dtype"),
        ({"trajectories": -1}, "trajectories: expected an int >= 0"),
    ],
)
def test_arguments_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        small(**changes)


def test_the_kernel_refuses_by_itself() -> None:
    f64 = {"dtype": torch.float64}
    phi, tuning = torch.zeros(2, 3, 4), torch.zeros(2, 4, **f64)
    rest = (1.0, 1.0, 1.0, 0.5, 0, 1, 1, 0.0, False, 0.8, 0.1, 1.0, 1)
    measured, accepted = torch.zeros(1, 8, 2, **f64), torch.zeros(2, **f64)
    _core.paths_hmc_phi4(*rest, phi, tuning, measured, accepted)
    for wrong, message in (
        ((1.0, 1.0, 1.0, -0.5, *rest[4:], phi, tuning, measured, accepted), "quartic"),
        ((0.0, *rest[1:], phi, tuning, measured, accepted), "stiffness"),
        ((*rest, phi[0], tuning, measured, accepted), "phi: expected 3 axes"),
        ((*rest, phi[:, :0], tuning, measured, accepted), "phi: expected at least one site"),
        ((*rest, phi, tuning, measured[:, :7], accepted), "measured: expected shape"),
    ):
        with pytest.raises(ValueError, match=message):
            _core.paths_hmc_phi4(*wrong)
