"""propagate in imaginary time: the ground state of psi's symmetry and never another one, for every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qcore.schrodinger import cayley, propagate

from . import closed_forms as exact
from . import oracle
from .support import C64, C128, F32, F64, bits, distance, mean_energy, random_field, run, tensor

H = 0.1
X = H * np.arange(-80, 81)
WELL = 0.5 * X**2
COARSE = 0.3 * np.arange(-13, 14)


def ground(v: oracle.Array, h: float, **settings: Any) -> tuple[float, oracle.Array]:
    """Lowest energy and state of the dense matrix, sum |psi|^2 h = 1."""
    energies, vectors = np.linalg.eigh(oracle.hamiltonian(v, h, **settings))
    return float(energies[0]), vectors[:, 0] / np.sqrt(h)


def fidelity(a: oracle.Field, b: oracle.Field, h: float) -> float:
    """|<a|b>|^2 of normalised states."""
    return float(abs(np.vdot(a, b) * h) ** 2)


def imaginary(psi: oracle.Field, v: oracle.Array, **settings: Any) -> oracle.Complex:
    settings.setdefault("dtype", F64 if psi.dtype == np.float64 else C128)
    return run(psi, v, imaginary=True, **settings)


# --- one Cayley step ------------------------------------------------------------------------------


def test_a_fixture_of_one_step() -> None:
    """D = 1/2, h = 1, dtau = 0.2, no reference energy: (1 + dtau H / 2) psi' = (1 - dtau H / 2) psi."""
    psi = torch.tensor([0, 1, 1j, 0, 0.5], dtype=C128)
    v = torch.tensor([0, 0.5, 1, 0.5, 0], dtype=F64)
    found = cayley(psi, 1 + v, torch.full((4,), -0.5, dtype=F64), -0.1, 1).numpy()
    expected = [0.0793555 + 0.00331236j, 0.74582102 + 0.07287181j, 0.07452799 + 0.67273932j,
                0.04285072 + 0.07287181j, 0.41103867 + 0.00331236j]  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-8)


# --- never the wrong state ------------------------------------------------------------------------


def test_naive_crank_and_nicolson_would_be_wrong() -> None:
    """h = 0.1, dtau = 0.5: its slowest mode is the highest of the grid, E = 225.6."""
    energies = np.linalg.eigvalsh(oracle.hamiltonian(WELL, H))
    factors = abs((1 - 0.25 * energies) / (1 + 0.25 * energies))
    assert np.argmax(factors) == 160
    assert energies[160] == pytest.approx(225.57, abs=0.01)


@pytest.mark.parametrize("time_order", oracle.TIME_ORDERS)
@pytest.mark.parametrize("dt", [0.004, 0.02, 0.13, 0.14, 0.5, 2.0, 20.0, 1e3, 1e6])
def test_every_step_leads_to_the_ground_state(dt: float, time_order: int) -> None:
    """From a rough state that holds every mode of the grid."""
    energy, state = ground(WELL, H)
    steps = min(4000, max(60, round(25 / dt)))
    if dt < 0.01 and time_order > 4:
        steps = 200  # then only the energy has to have fallen
    psi = random_field((161,)).real
    after = imaginary(psi, WELL, dt=dt, steps=steps, spacing=H, time_order=time_order)
    assert np.isfinite(after).all()
    h = oracle.hamiltonian(WELL, H)
    if dt * steps >= 16:
        assert fidelity(after, state, H) == pytest.approx(1, abs=1e-6)
        assert mean_energy(after, h) == pytest.approx(energy, abs=1e-5)
    else:
        assert mean_energy(after, h) < 5


@pytest.mark.parametrize("dtype", [F32, C64, F64, C128])
@pytest.mark.parametrize("dt", [0.5, 30.0, 1e4])
def test_every_precision_survives_large_steps(dt: float, dtype: torch.dtype) -> None:
    """A state loses many powers of ten between renormalisations; none may be lost to the range of float32."""
    _, state = ground(WELL, H)
    psi = random_field((161,)).real
    for time_order in (2, 8):
        after = imaginary(psi, WELL, dtype=dtype, dt=dt, steps=64, spacing=H, time_order=time_order)
        assert np.isfinite(after).all()
        assert fidelity(after, state, H) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("shift", [-1e3, -3.0, 7.0, 1e3])
def test_the_zero_of_energy_does_not_matter(shift: float) -> None:
    """H + E: the same state. A rule that looks at E dt alone fails here."""
    psi = random_field((161,)).real
    expected = imaginary(psi, WELL, dt=0.5, steps=80, spacing=H)
    found = imaginary(psi, WELL + shift, dt=0.5, steps=80, spacing=H)
    assert distance(found, expected) <= 1e-8


def test_wells_below_zero_and_walls_far_above() -> None:
    """Negative energies, a spike of 1e6, two wells of different depth."""
    spike = np.where(abs(COARSE) < 0.1, 1e6, 0.0)
    tilted = 0.2 * (COARSE**2 - 4) ** 2 - 20 + 0.4 * COARSE
    for v in (exact.poeschl_teller_state(COARSE, 2, 2)[0], 0.5 * (COARSE - 1) ** 2 + spike, tilted):
        energies = np.linalg.eigvalsh(oracle.hamiltonian(v, 0.3))
        _, state = ground(v, 0.3)
        steps = round(20 / (energies[1] - energies[0]) / 0.5)
        after = imaginary(random_field((27,)).real, v, dt=0.5, steps=steps, spacing=0.3)
        assert fidelity(after, state, 0.3) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("boundary", oracle.WALLS)
@pytest.mark.parametrize("space_order", oracle.SPACE_ORDERS)
def test_boundaries_and_space_orders(space_order: int, boundary: str) -> None:
    v = 0.5 * COARSE**2 + 0.3 * COARSE
    settings = {"mass": 1.3, "hbar": 0.8, "boundary": boundary}
    _, state = ground(v, 0.3, order=space_order, **settings)
    for dt in (0.02, 1.0):
        after = imaginary(
            random_field((27,)),
            v,
            dt=dt,
            steps=round(20 / dt),
            spacing=0.3,
            space_order=space_order,
            **settings,
        )
        assert fidelity(after, state, 0.3) == pytest.approx(1, abs=1e-6)


def test_textbook_energies() -> None:
    for x in (WELL,):
        h = oracle.hamiltonian(x, H)
        after = imaginary(random_field((161,)).real, x, dt=0.5, steps=60, spacing=H)
        # E0 of the three-point difference is off by -h^2 w^2 / 32
        assert mean_energy(after, h) == pytest.approx(0.5 - H**2 / 32, abs=2e-6)
    x = 0.1 * np.arange(-200, 201)
    v, energy, _ = exact.soft_core_state(x)
    h = oracle.hamiltonian(v, 0.1, order=6)
    after = imaginary(random_field((401,)).real, v, dt=2.0, steps=60, spacing=0.1, space_order=6)
    assert mean_energy(after, h) == pytest.approx(energy, abs=1e-5)


def test_two_and_three_dimensions() -> None:
    """A separable oscillator, and the ground state of the dense matrix to the splitting's order."""
    x = 0.5 * np.arange(-7, 8)
    for axes in (2, 3):
        v = 0.5 * sum(np.meshgrid(*(((1 + 0.2 * i) * x) ** 2 for i in range(axes)), indexing="ij"))
        rough = random_field((15,) * axes).real + 3  # not orthogonal to the ground state
        after = imaginary(rough, v, dt=0.02, steps=500, spacing=(0.5,) * axes)
        product = np.ones(())
        for i in range(axes):
            product = np.multiply.outer(product, ground(0.5 * ((1 + 0.2 * i) * x) ** 2, 0.5)[1])
        assert fidelity(after, product, 0.5**axes) == pytest.approx(1, abs=1e-4)
        assert oracle.l2(after, 0.5**axes) == pytest.approx(1, abs=1e-13)


# --- what it is -----------------------------------------------------------------------------------


@pytest.mark.parametrize("time_order", oracle.TIME_ORDERS)
@pytest.mark.parametrize("kind", ["damped", "diagonal"])
def test_orders_of_convergence(kind: str, time_order: int) -> None:
    """Against exp(-H tau) psi, normalised: large steps are [0/p], small ones [M/M]; both of order p = 2M."""
    v = 0.5 * COARSE**2 + 0.3 * COARSE
    h = oracle.hamiltonian(v, 0.3)
    start = np.exp(-((COARSE - 1) ** 2) / 2)
    expected = oracle.exact_step(h, -1.0) @ start
    expected /= oracle.l2(expected, 0.3)
    counts, nearness = ((5, 10), 0.7) if kind == "damped" else ((16, 32), 0.2)
    errors = [
        oracle.l2(imaginary(start, v, dt=1 / n, steps=n, spacing=0.3, time_order=time_order) - expected)
        for n in counts
    ]
    assert errors[0] < 1e-2
    if errors[1] > 1e-14:
        assert oracle.observed_orders(errors) == pytest.approx([time_order], abs=nearness)
    else:
        assert (kind, time_order) == ("diagonal", 8), "only this one is at rounding"


def test_the_mean_energy_never_rises() -> None:
    """Frame by frame, from the roughest state, with every kind of step."""
    h = oracle.hamiltonian(WELL, H)
    start = tensor(np.sign(np.sin(7 * X)) + 0.1)
    for dt in (0.001, 0.008, 0.1, 0.5, 5.0):
        for time_order in (2, 4):
            _, frames = propagate(
                start,
                tensor(WELL),
                dt=dt,
                steps=70,
                spacing=H,
                imaginary=True,
                time_order=time_order,
                save_every=1,
            )
            energies = mean_energy(frames.numpy(), h)
            assert (np.diff(energies) <= 1e-9 * energies[:-1]).all()
            assert energies[0] < mean_energy(start.numpy(), h)


def test_states_and_frames_are_normalised_with_the_spacing() -> None:
    psi = random_field((3, 27)) * np.array([[1e-20], [1.0], [1e20]])
    after, frames = propagate(
        tensor(psi), tensor(COARSE**2), dt=0.1, steps=41, spacing=0.3, imaginary=True, save_every=10
    )
    assert frames.shape == (4, 3, 27)
    for states in (after, *frames):
        assert (states.abs() ** 2).sum(-1).numpy() * 0.3 == pytest.approx(np.ones(3), abs=1e-13)
    unmoved = propagate(tensor(psi), tensor(COARSE**2), dt=0.1, steps=0, spacing=0.3, imaginary=True)
    assert (unmoved.abs() ** 2).sum(-1).numpy() * 0.3 == pytest.approx(np.ones(3), abs=1e-13)


def test_symmetry_is_kept() -> None:
    """An odd psi leads to the lowest odd state: as documented, and a trap for many."""
    v = 0.25 * COARSE**4 - COARSE**2
    _, vectors = np.linalg.eigh(oracle.hamiltonian(v, 0.3))
    after = imaginary(np.tanh(COARSE), v, dt=0.2, steps=60, spacing=0.3)
    assert distance(after, -after[::-1]) <= 1e-6
    assert fidelity(after, vectors[:, 1] / np.sqrt(0.3), 0.3) == pytest.approx(1, abs=1e-6)


def test_real_states_stay_real_and_agree_with_complex_ones() -> None:
    psi = random_field((2, 27)).real
    for time_order in oracle.TIME_ORDERS:
        for dt in (0.01, 1.0):
            settings = {"dt": dt, "steps": 30, "spacing": 0.3, "time_order": time_order}
            real = imaginary(psi, COARSE**2, **settings)
            assert distance(imaginary(psi + 0j, COARSE**2, **settings), real) <= 1e-12
            single = imaginary(psi, COARSE**2, dtype=F32, **settings)
            assert distance(single, imaginary(psi, COARSE**2, dtype=C64, **settings)) <= 1e-6
            # at small steps of second order it also matters how often the reference energy is renewed
            assert distance(single, real) <= (1e-3 if dt * time_order < 0.03 else 1e-6)


def test_a_phase_is_kept() -> None:
    psi = random_field((27,)).real
    settings = {"dt": 0.1, "steps": 30, "spacing": 0.3}
    turned = imaginary(psi * np.exp(0.7j), COARSE**2, **settings)
    assert distance(turned, np.exp(0.7j) * imaginary(psi, COARSE**2, **settings)) <= 1e-12


def test_a_system_does_not_see_the_others() -> None:
    """Alone or in a batch of other states: the same steps, so the same bits."""
    psi = tensor(np.stack([np.exp(-(COARSE**2)), np.exp(-((COARSE - 2) ** 2)), random_field((27,)).real]))
    for dt in (0.01, 1.0):
        settings: dict[str, Any] = {"dt": dt, "steps": 5, "spacing": 0.3, "imaginary": True}
        together = propagate(psi, tensor(COARSE**2), **settings)
        for b in range(3):
            assert bits(together[b], propagate(psi[b], tensor(COARSE**2), **settings))


def test_a_system_does_not_see_the_potentials_of_the_others() -> None:
    v = tensor(np.stack([COARSE**2, COARSE**4 + 50, -20 / np.cosh(COARSE)]))
    psi = tensor(np.exp(-((np.stack([COARSE] * 3) - 0.5) ** 2)))
    for dt in (0.01, 1.0):
        settings: dict[str, Any] = {"dt": dt, "steps": 5, "spacing": 0.3, "imaginary": True}
        together = propagate(psi, v, **settings)
        for b in range(3):
            assert distance(together[b].numpy(), propagate(psi[b], v[b], **settings).numpy()) <= 1e-13


@pytest.mark.parametrize("dt", [0.01, 1.0])
def test_saving_frames_does_not_change_the_motion(dt: float) -> None:
    """However the run is cut into blocks between them."""
    psi, v = tensor(np.exp(-((COARSE - 1) ** 2))), tensor(COARSE**2)
    settings: dict[str, Any] = {"dt": dt, "steps": 75, "spacing": 0.3, "imaginary": True}
    expected = propagate(psi, v, **settings).numpy()
    for every in (1, 7, 20, 33, 75):
        after, frames = propagate(psi, v, save_every=every, **settings)
        assert distance(after.numpy(), expected) <= 1e-13
        if 75 % every == 0:
            assert distance(frames[-1].numpy(), expected) <= 1e-13
