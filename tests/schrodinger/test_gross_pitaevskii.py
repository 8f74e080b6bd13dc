"""The Gross-Pitaevskii equation: solitons, virial theorem, Thomas-Fermi limit, and a radial reference."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from qcore.schrodinger.gross_pitaevskii import chemical_potential, gross_pitaevskii, gross_pitaevskii_energy
from qcore.schrodinger.gross_pitaevskii_ground import gross_pitaevskii_ground_state
from qcore.schrodinger.hamiltonian import hamiltonian
from qcore.schrodinger.observables import norm
from qcore.schrodinger.propagate import propagate

from . import oracle
from .support import C64, C128, F32, F64, distance, random_field, tensor

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Arrays this small are slower on several threads, and much slower on a busy machine."""
    torch.set_num_threads(1)


def evolve(psi: np.ndarray, potential: np.ndarray, dtype: torch.dtype = C128, **setting: Any) -> np.ndarray:
    found = gross_pitaevskii(tensor(psi, dtype), tensor(potential), **setting)
    assert isinstance(found, Tensor)
    assert found.dtype == dtype
    assert found.shape == psi.shape
    return found.to(C128).numpy()


def box(n: int, length: float) -> tuple[np.ndarray, float]:
    h = length / (n + 1)
    return (np.arange(n) + 1) * h - length / 2, h


def orders(errors: list[float]) -> list[float]:
    return [math.log2(a / b) for a, b in pairwise(errors)]


# --- real time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["dirichlet", "periodic"])
@pytest.mark.parametrize("order", [2, 4])
def test_a_step_is_the_product_of_its_factors(boundary: str, order: int) -> None:
    psi, potential, g, dt = random_field((3, 7)), random_field((7,), 1).real, 0.8, 0.2
    setting: dict[str, Any] = {"mass": 0.7, "hbar": 1.3, "boundary": boundary}
    cayley = oracle.pade_step(oracle.kinetic(7, 0.5, order=order, **setting), -1j * dt / 1.3, 1)
    expected = psi
    for _ in range(3):
        expected = expected * np.exp(-0.5j * dt / 1.3 * (potential + g * abs(expected) ** 2))
        expected = expected @ cayley.T
        expected = expected * np.exp(-0.5j * dt / 1.3 * (potential + g * abs(expected) ** 2))
    found = evolve(psi, potential, g=g, dt=dt, steps=3, spacing=0.5, space_order=order, **setting)
    assert distance(found, expected) < 1e-13


def bright_soliton(x: np.ndarray, t: float, a: float, v: float) -> np.ndarray:
    """Of i psi_t = -psi_xx / 2 - |psi|^2 psi."""
    return a / np.cosh(a * (x - v * t)) * np.exp(1j * (v * x + (a * a - v * v) * t / 2))


def soliton_error(n: int, steps: int, space_order: int = 2) -> float:
    x, h = box(n, 32.0)
    setting: dict[str, Any] = {"g": -1.0, "spacing": h, "space_order": space_order}
    found = evolve(bright_soliton(x, 0.0, 1.2, 0.8), 0 * x, dt=2.0 / steps, steps=steps, **setting)
    return math.sqrt(h * (abs(found - bright_soliton(x, 2.0, 1.2, 0.8)) ** 2).sum())


def test_a_bright_soliton_moves_with_order_two() -> None:
    assert orders([soliton_error(n, n // 2) for n in (127, 255, 511)])[-1] == pytest.approx(2, abs=0.05)
    # dt alone, and h alone: the other one far below
    assert orders([soliton_error(255, steps, 6) for steps in (25, 50)])[0] == pytest.approx(2, abs=0.1)
    coarse, fine = soliton_error(127, 200), soliton_error(255, 200)
    assert orders([coarse, fine])[0] == pytest.approx(2, abs=0.15)
    assert soliton_error(255, 200, 4) < 0.1 * fine


def test_a_plane_wave_on_a_ring_only_turns() -> None:
    # rho = 1/4 everywhere, so each factor of a step is a number
    n, h, g, dt, steps = 16, 0.5, 1.7, 0.1, 20
    k = 2 * math.pi * 3 / n
    wave = 0.5 * np.exp(1j * k * np.arange(n))
    turn = -2 * math.atan(dt / 2 * (1 - math.cos(k)) / h**2) - dt * (0.6 + g / 4)
    found = evolve(wave, np.full(n, 0.6), g=g, dt=dt, steps=steps, spacing=h, boundary="periodic")
    assert distance(found, wave * np.exp(1j * steps * turn)) < 1e-13


def test_without_coupling_it_is_the_linear_equation() -> None:
    psi, potential = random_field((2, 12)), random_field((12,), 1).real
    step = oracle.exact_step(oracle.hamiltonian(potential, 0.5), -1j * 0.5)
    errors = [
        distance(evolve(psi, potential, g=0.0, dt=0.5 / steps, steps=steps, spacing=0.5), psi @ step.T)
        for steps in (32, 64)
    ]
    assert orders(errors)[0] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(C128, 1e-12), (C64, 2e-4)])
def test_norm_energy_and_reversal(dtype: torch.dtype, tolerance: float) -> None:
    x, h = box(63, 16.0)
    psi = tensor(np.exp(-((x - 1) ** 2) / 2 + 0.7j * x), dtype)
    potential = tensor(x * x / 2)
    setting: dict[str, Any] = {"g": 2.0, "spacing": h}
    last, frames = gross_pitaevskii(psi, potential, dt=0.01, steps=300, save_every=10, **setting)
    sizes = norm(frames, spacing=h)
    torch.testing.assert_close(sizes, norm(psi, spacing=h).expand(30), rtol=0, atol=tolerance)
    energies = gross_pitaevskii_energy(frames, potential, **setting)
    start = gross_pitaevskii_energy(psi, potential, **setting)
    assert float((energies - start).abs().max()) < 3e-4 * float(start)
    back = gross_pitaevskii(last, potential, dt=-0.01, steps=300, **setting)
    assert float((back - psi).abs().max()) < 10 * tolerance


def test_the_energy_oscillates_within_dt_squared() -> None:
    x, h = box(63, 16.0)
    psi, potential = tensor(np.exp(-((x - 1) ** 2) / 2 + 0.7j * x), C128), tensor(x * x / 2)
    drifts = []
    for dt in (0.04, 0.02):
        setting: dict[str, Any] = {"g": 2.0, "spacing": h}
        _, frames = gross_pitaevskii(psi, potential, dt=dt, steps=round(3 / dt), save_every=1, **setting)
        energies = gross_pitaevskii_energy(frames, potential, **setting)
        drifts.append(float((energies - gross_pitaevskii_energy(psi, potential, **setting)).abs().max()))
    assert orders(drifts)[0] == pytest.approx(2, abs=0.1)


def test_two_dimensions_with_axes_of_their_own() -> None:
    # psi(x, y) = f(x) c(y) with a constant c on a ring: the one-dimensional run with g |c|^2
    x, h = box(31, 10.0)
    f, c = np.exp(-(x**2) / 2 + 0.5j * x), 0.8
    plane = np.broadcast_to(c * f, (6, 31))
    setting: dict[str, Any] = {"dt": 0.02, "steps": 20}
    found = evolve(
        np.stack([plane, 2 * plane]),
        np.broadcast_to(x * x / 2, (6, 31)),
        g=1.5,
        spacing=(0.7, h),
        boundary=("periodic", "dirichlet"),
        **setting,
    )
    for i, scale in enumerate((1, 2)):
        line = evolve(f, x * x / 2, g=1.5 * (scale * c) ** 2, spacing=h, **setting)
        assert distance(found[i], np.broadcast_to(scale * c * line, (6, 31))) < 1e-12


# --- imaginary time -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dt", [0.1, 0.2])
@pytest.mark.parametrize("g", [3.0, -1.0])
def test_imaginary_time_ends_in_a_stationary_state(dt: float, g: float) -> None:
    x, h = box(63, 14.0)
    psi, potential = tensor(np.stack([np.exp(-((x - 1) ** 2)), 2 * np.exp(-(x**2))])), tensor(x * x / 2)
    setting: dict[str, Any] = {"g": g, "spacing": h}
    last = gross_pitaevskii(psi, potential, dt=dt, steps=round(45 / dt), imaginary=True, **setting)
    assert isinstance(last, Tensor)
    torch.testing.assert_close(norm(last, spacing=h), norm(psi, spacing=h), rtol=1e-12, atol=0)
    mu = chemical_potential(last, potential, **setting)
    rest = hamiltonian(last, potential + g * last**2, spacing=h) - mu[:, None] * last
    assert float(norm(rest, spacing=h).max()) < 1e-9  # no error of dt in one dimension
    for i in range(2):
        found = gross_pitaevskii_ground_state(
            potential, particles=float(norm(psi[i], spacing=h)) ** 2, **setting
        )
        assert found.converged
        torch.testing.assert_close(last[i], found.psi, rtol=0, atol=1e-8)
        torch.testing.assert_close(mu[i], found.chemical_potential, rtol=0, atol=1e-9)


def test_imaginary_time_in_two_dimensions_has_the_error_of_the_splitting() -> None:
    x, h = box(23, 10.0)
    potential = tensor(0.5 * x[:, None] ** 2 + x**2)
    psi = torch.exp(-potential)
    setting: dict[str, Any] = {"g": 4.0, "spacing": (h, h)}
    size = float(norm(psi, spacing=(h, h)))
    exact = gross_pitaevskii_ground_state(potential, particles=size**2, **setting).psi
    errors = []
    for dt in (0.1, 0.05):
        last = gross_pitaevskii(psi, potential, dt=dt, steps=round(12 / dt), imaginary=True, **setting)
        errors.append(float((last - exact).abs().max()))
    assert orders(errors)[0] == pytest.approx(2, abs=0.3)
    assert errors[1] < 1e-2


# --- ground states ------------------------------------------------------------------------------------


def parts(psi: Tensor, potential: Tensor, spacing: Any, g: float) -> tuple[float, float, float]:
    """Kinetic, potential, interaction energy."""
    zero = torch.zeros_like(potential)
    kinetic = float(gross_pitaevskii_energy(psi, zero, g=0.0, spacing=spacing, space_order=6))
    cell = float(np.prod(spacing))
    return kinetic, float((potential * psi**2).sum()) * cell, g / 2 * float((psi**4).sum()) * cell


@pytest.mark.parametrize("g", [0.0, 1.0, 50.0, -2.0])
def test_virial_theorem_and_energies_in_one_dimension(g: float) -> None:
    x, h = box(127, 24.0)
    potential = tensor(x * x / 2)
    found = gross_pitaevskii_ground_state(potential, g=g, spacing=h, space_order=6)
    assert found.converged
    t, v, i = parts(found.psi, potential, h, g)
    # scaling x by s turns the parts into t / s^2, v s^2, i / s
    assert 2 * t - 2 * v + i == pytest.approx(0.0, abs=2e-5 * (t + v))
    assert float(found.energy) == pytest.approx(t + v + i, rel=1e-12)
    assert float(found.chemical_potential) == pytest.approx(t + v + 2 * i, rel=1e-12)
    assert float(norm(found.psi, spacing=h)) == pytest.approx(1.0, rel=1e-13)
    assert (found.psi > -1e-11).all()  # far out it is less than the rounding of the transforms
    if g == 0:
        assert float(found.energy) == pytest.approx(0.5, abs=1e-6)


def test_the_bright_soliton_is_a_ground_state() -> None:
    # g = -1 and a norm^2 of 2 a: psi = a sech(a x), mu = -a^2 / 2, E = -a^3 / 3
    x, h = box(255, 32.0)
    found = gross_pitaevskii_ground_state(
        torch.zeros(255, dtype=F64),
        g=-1.0,
        particles=2.4,
        spacing=h,
        space_order=6,
        initial=tensor(np.exp(-x * x)),
    )
    assert found.converged
    assert float(found.chemical_potential) == pytest.approx(-0.72, abs=1e-5)
    assert float(found.energy) == pytest.approx(-(1.2**3) / 3, abs=1e-5)
    assert distance(found.psi.numpy(), 1.2 / np.cosh(1.2 * x)) < 1e-4


def test_thomas_fermi_limit() -> None:
    # mu -> (3 g / 4 sqrt 2)^(2/3), from above, and the parts of the energy -> mu / 5, 2 mu / 5
    excess = []
    for g in (100.0, 400.0):
        x, h = box(255, 40.0)
        found = gross_pitaevskii_ground_state(tensor(x * x / 2), g=g, spacing=h, space_order=4)
        assert found.converged
        limit = (3 * g / (4 * math.sqrt(2))) ** (2 / 3)
        excess.append(float(found.chemical_potential) / limit - 1)
        _, v, i = parts(found.psi, tensor(x * x / 2), h, g)
        assert v == pytest.approx(limit / 5, rel=0.02)
        assert i == pytest.approx(limit * 2 / 5, rel=0.02)
        inside = 2 * limit > 1.5 * x * x
        profile = (limit - x * x / 2)[inside] / g
        assert distance(found.psi.numpy()[inside] ** 2, profile) < 0.02 * limit / g
    # kinetic corrections are of order mu^-2 log mu
    assert 0 < excess[1] < excess[0] / 3


def radial_chemical_potential(g: float, n: int = 1200, radius: float = 9.0) -> float:
    """mu of the isotropic trap by its radial equation for u = sqrt(4 pi) r psi, by fixed-point iteration."""
    h = radius / (n + 1)
    r = (np.arange(n) + 1) * h
    u = r * np.exp(-r * r / 4)
    mu = 0.0
    for _ in range(400):
        u = u / math.sqrt(h * (u * u).sum())
        felt = r * r / 2 + g * u * u / (4 * math.pi * r * r)
        levels, states = eigh_tridiagonal(
            1 / h**2 + felt, np.full(n - 1, -0.5 / h**2), select="i", select_range=(0, 0)
        )
        if abs(levels[0] - mu) < 1e-12:
            break
        mu, new = levels[0], abs(states[:, 0]) / math.sqrt(h)
        u = np.sqrt(0.7 * u * u + 0.3 * new * new)  # mixes densities, or it would swing
    return float(mu)


@pytest.mark.parametrize("g", [10.0, 100.0])
def test_the_isotropic_trap_in_three_dimensions(g: float) -> None:
    coarse, fine = radial_chemical_potential(g, 600), radial_chemical_potential(g, 1201)
    exact = fine + (fine - coarse) / 3
    x, h = box(31, 14.0)
    squares = x * x / 2
    potential = tensor(squares[:, None, None] + squares[:, None] + squares)
    found = gross_pitaevskii_ground_state(potential, g=g, spacing=(h,) * 3, space_order=6)
    assert found.converged
    assert float(found.chemical_potential) == pytest.approx(exact, rel=2e-5)
    t, v, i = parts(found.psi, potential, (h,) * 3, g)
    assert 2 * t - 2 * v + 3 * i == pytest.approx(0.0, abs=2e-4 * v)


def test_ground_states_of_the_linear_equation_are_those_of_the_matrix() -> None:
    potential = random_field((4, 5)).real
    for boundary in ("dirichlet", "periodic"):
        dense = oracle.hamiltonian(
            potential, (0.5, 0.7), boundary=boundary, order=4, mass=(1.0, 0.7), hbar=1.3
        )
        levels, states = np.linalg.eigh(dense)
        found = gross_pitaevskii_ground_state(
            tensor(potential),
            g=0.0,
            spacing=(0.5, 0.7),
            particles=3.0,
            boundary=boundary,
            mass=(1.0, 0.7),
            hbar=1.3,
            space_order=4,
        )
        assert found.converged
        assert float(found.chemical_potential) == pytest.approx(levels[0], rel=1e-12)
        expected = abs(states[:, 0]).reshape(4, 5) * math.sqrt(3 / 0.35)
        assert distance(found.psi.numpy(), expected) < 1e-8


def test_a_constant_state_is_found_at_once_and_few_iterations_are_not_enough() -> None:
    flat = gross_pitaevskii_ground_state(
        torch.full((8,), 0.3, dtype=F64), g=2.0, spacing=0.5, boundary="periodic", iterations=0
    )
    assert flat.converged
    assert float(flat.chemical_potential) == pytest.approx(0.3 + 2.0 / 4.0)
    x, h = box(63, 14.0)
    early = gross_pitaevskii_ground_state(tensor(x * x / 2), g=5.0, spacing=h, iterations=2)
    assert not early.converged
    late = gross_pitaevskii_ground_state(tensor(x * x / 2), g=5.0, spacing=h, initial=early.psi)
    assert float(late.residual) < 1e-8 < float(early.residual)
    assert float(late.energy) < float(early.energy)


# --- batches, frames, derivatives -----------------------------------------------------------------------


@pytest.mark.parametrize("imaginary", [False, True])
def test_frames_and_batches(imaginary: bool) -> None:
    psi, potential = tensor(random_field((2, 8))), tensor(random_field((2, 8), 1).real)
    setting: dict[str, Any] = {"g": 0.7, "dt": 0.1, "spacing": 0.5, "imaginary": imaginary}
    before = psi.clone()
    last, frames = gross_pitaevskii(psi, potential, steps=7, save_every=3, **setting)
    assert frames.shape == (2, 2, 8)
    torch.testing.assert_close(frames[0], gross_pitaevskii(psi, potential, steps=3, **setting))
    torch.testing.assert_close(frames[1], gross_pitaevskii(psi, potential, steps=6, **setting))
    torch.testing.assert_close(last, gross_pitaevskii(psi, potential, steps=7, **setting))
    for i in range(2) if not imaginary else ():  # where propagate counts energies from the lowest of a batch
        alone = gross_pitaevskii(psi[i], potential[i], steps=7, **setting)
        torch.testing.assert_close(last[i], alone, rtol=0, atol=1e-14)
    assert torch.equal(psi, before)
    none, frames = gross_pitaevskii(psi, potential, steps=0, save_every=1, **setting)
    assert torch.equal(none, psi)
    assert none.data_ptr() != psi.data_ptr()
    assert frames.shape == (0, 2, 8)


def test_complex64_is_complex128_rounded() -> None:
    psi, potential = random_field((2, 16)), 1000.1 + random_field((16,), 1).real
    setting: dict[str, Any] = {"g": 0.7, "dt": 0.1, "steps": 100, "spacing": 0.5}
    assert distance(evolve(psi, potential, C64, **setting), evolve(psi, potential, **setting)) < 3e-5


def test_real_states_stay_real_in_imaginary_time() -> None:
    psi = random_field((2, 8)).real
    for dtype in (F32, F64):
        evolve(psi, random_field((8,), 1).real, dtype, g=0.7, dt=0.1, steps=3, spacing=0.5, imaginary=True)


@pytest.mark.parametrize("imaginary", [False, True])
def test_derivatives(imaginary: bool) -> None:
    psi = tensor(random_field((2, 4))).requires_grad_()
    potential = tensor(random_field((4,), 1).real).requires_grad_()
    g, dt = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.7, 0.1))

    def run(psi: Any, potential: Any, g: Any, dt: Any) -> Any:
        setting: dict[str, Any] = {"spacing": 0.6, "hbar": 1.3, "imaginary": imaginary}
        return gross_pitaevskii(psi, potential, g=g, dt=dt, steps=2, save_every=1, **setting)

    assert torch.autograd.gradcheck(run, (psi, potential, g, dt), fast_mode=True)


def test_derivatives_of_energies() -> None:
    psi = tensor(random_field((2, 4))).requires_grad_()
    potential = tensor(random_field((4,), 1).real).requires_grad_()
    g = torch.tensor(0.7, dtype=F64, requires_grad=True)
    for function in (chemical_potential, gross_pitaevskii_energy):
        assert torch.autograd.gradcheck(lambda p, v, c: function(p, v, g=c, spacing=0.6), (psi, potential, g))  # noqa: B023


def test_energies_have_the_field_equation_as_their_derivative() -> None:
    psi = tensor(random_field((7,)).real).requires_grad_()
    potential = tensor(random_field((7,), 1).real)
    gross_pitaevskii_energy(psi, potential, g=0.7, spacing=0.6).backward()
    state = psi.detach()
    field = hamiltonian(state, potential + 0.7 * state**2, spacing=0.6)
    torch.testing.assert_close(psi.grad, 2 * 0.6 * field)


# --- what they refuse ---------------------------------------------------------------------------------

PSI, V = torch.ones(2, 6, dtype=C128), torch.zeros(6, dtype=F64)
IMAGINARY = {"imaginary": True}
SHARED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"potential": None}, TypeError, "potential: expected a torch.Tensor"),
    ({"g": "1"}, TypeError, "g: expected a real number"),
    ({"g": math.nan}, ValueError, "g: expected a finite number"),
    ({"g": torch.ones(2)}, ValueError, "g: expected a real number or a real 0-dim tensor"),
    ({"spacing": 0.0}, ValueError, "spacing: expected a finite number > 0"),
    ({"mass": 0.0}, ValueError, "mass: expected a finite number other than 0"),
    ({"hbar": 0.0}, ValueError, "hbar: expected a finite number other than 0"),
    ({"boundary": "transparent"}, ValueError, "boundary: expected one of 'dirichlet', 'periodic'"),
    ({"space_order": 5}, ValueError, "space_order: expected one of 2, 4, 6"),
]
FIELDS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"psi": None}, TypeError, "psi: expected a torch.Tensor"),
    ({"psi": torch.ones(6).int()}, TypeError, "psi: expected one of"),
    ({"psi": PSI[:, :0]}, ValueError, "psi: expected at least one grid point"),
    ({"spacing": (1.0,) * 3}, ValueError, "psi: expected at least 3 axes"),
    ({"potential": V[:4]}, ValueError, "potential: expected a shape that broadcasts"),
    ({"potential": V / 0}, ValueError, "potential: expected finite numbers"),
    ({"potential": V - 1j}, TypeError, "potential: expected a real tensor"),
]
RUN: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"psi": PSI.real}, TypeError, "psi: expected torch.complex64 or torch.complex128 in real time"),
    ({"psi": PSI * 0, **IMAGINARY}, ValueError, "psi: expected a norm > 0 in imaginary time"),
    ({"psi": PSI[0], "potential": V.expand(2, 6)}, ValueError, "potential: expected a shape that broadcasts"),
    ({"dt": 0.0}, ValueError, "dt: expected a finite number other than 0"),
    ({"dt": None}, TypeError, "dt: expected a real number"),
    ({"dt": -0.1, **IMAGINARY}, ValueError, "dt: expected a number > 0 in imaginary time"),
    ({"steps": -1}, ValueError, "steps: expected an int >= 0"),
    ({"steps": None}, TypeError, "steps: expected an int >= 0"),
    ({"imaginary": "yes"}, TypeError, "imaginary: expected a bool"),
    ({"save_every": -1}, ValueError, "save_every: expected an int >= 0"),
]
GROUND: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"potential": V[None]}, ValueError, "potential: expected float32 or float64 with 1 axes"),
    ({"potential": V - 1j}, ValueError, "potential: expected float32 or float64 with 1 axes"),
    ({"potential": V / 0}, ValueError, "potential: expected finite numbers"),
    ({"potential": V[:0]}, ValueError, "expected at least one grid point"),
    ({"particles": 0.0}, ValueError, "particles: expected a finite number > 0"),
    ({"tolerance": 0.0}, ValueError, "tolerance: expected a finite number > 0"),
    ({"iterations": -1}, ValueError, "iterations: expected an int >= 0"),
    ({"initial": V}, ValueError, "initial: expected a finite norm > 0"),
    ({"initial": V[:4] + 1}, ValueError, r"initial: expected shape \(6,\)"),
    ({"initial": 1.0}, TypeError, "initial: expected a torch.Tensor"),
    ({"initial": PSI[0]}, ValueError, "initial: expected float32 or float64 with 1 axes"),
]
STATE: dict[str, Any] = {"psi": PSI, "potential": V, "g": 1.0, "spacing": 0.5}
GOOD: list[tuple[Any, dict[str, Any], Any]] = [
    (gross_pitaevskii, {**STATE, "dt": 0.1, "steps": 2}, [*SHARED, *FIELDS, *RUN]),
    (chemical_potential, STATE, [*SHARED, *FIELDS]),
    (gross_pitaevskii_energy, STATE, [*SHARED, *FIELDS]),
    (gross_pitaevskii_ground_state, {"potential": V, "g": 1.0, "spacing": 0.5}, [*SHARED, *GROUND]),
]


@pytest.mark.parametrize(
    ("function", "good", "change", "error", "words"),
    [(function, good, *broken) for function, good, table in GOOD for broken in table],
)
def test_refuses(
    function: Any, good: dict[str, Any], change: dict[str, Any], error: type[Exception], words: str
) -> None:
    function(**good)
    with pytest.raises(error, match=words):
        function(**{**good, **change})


def test_the_kinetic_step_is_that_of_propagate() -> None:
    psi = tensor(random_field((2, 6)))
    found = gross_pitaevskii(psi, V, g=0.0, dt=0.1, steps=4, spacing=0.5)
    torch.testing.assert_close(found, propagate(psi, V, dt=0.1, steps=4, spacing=0.5), rtol=0, atol=1e-14)
