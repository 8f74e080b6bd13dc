"""propagate against textbook quantum mechanics, and the laws that every step keeps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from qcore.schrodinger import propagate

from . import closed_forms as exact
from . import oracle
from .support import C64, C128, dense, distance, mean_energy, run, tensor, unit_field

# --- bound states ---------------------------------------------------------------------------------

WELL = np.linspace(-9, 9, 181)
MORSE = np.linspace(-1.6, 7.0, 173)
STATES = {
    "oscillator, ground": (WELL, exact.oscillator_state(WELL, 0)),
    "oscillator, third": (WELL, exact.oscillator_state(WELL, 2)),
    "Morse, ground": (MORSE, exact.morse_state(MORSE, 0, 10.0, 1.0)),
    "Morse, first excited": (MORSE, exact.morse_state(MORSE, 1, 10.0, 1.0)),
    "Poeschl and Teller, l = 2, ground": (WELL * 2, exact.poeschl_teller_state(WELL * 2, 2, 2)),
    "Poeschl and Teller, l = 2, excited": (WELL * 2, exact.poeschl_teller_state(WELL * 2, 2, 1)),
    "soft core": (WELL * 3, exact.soft_core_state(WELL * 3)),
}


@pytest.mark.parametrize("name", STATES)
def test_textbook_eigenstates_only_gather_their_phase(name: str) -> None:
    """<psi(0)|psi(T)> = exp(-i E T) up to the O(h^6) of the grid."""
    x, (v, energy, state) = STATES[name]
    h = x[1] - x[0]
    state = state / oracle.l2(state)
    time = 4.0
    after = run(state, v, dt=time / 100, steps=100, spacing=h, time_order=8, space_order=6)
    overlap = np.vdot(state, after)
    # relative error of k^2 is (k h)^6 / 8640 times 2.6 for the compact formula; k^2 <= 2 (E - min V)
    curvature = 2 * (energy - v.min())
    assert abs(overlap - np.exp(-1j * energy * time)) <= 10 * time * curvature**4 * h**6 / 8640 + 1e-5


@pytest.mark.parametrize("name", STATES)
def test_eigenvectors_of_the_grid_turn_by_the_angle_of_crank_and_nicolson(name: str) -> None:
    """Exactly -2 atan(dt E / 2 hbar) per step, for the lowest, middle and highest state."""
    x, (v, _, _) = STATES[name]
    x, v, h = x[::3], v[::3], 3 * (x[1] - x[0])
    energies, vectors = np.linalg.eigh(oracle.hamiltonian(v, h, hbar=0.9, mass=1.2))
    for index in (0, 1, len(x) // 2, len(x) - 1):
        for dt in (0.05, 0.9):
            angle = -2 * np.arctan(dt * energies[index] / (2 * 0.9))
            after = run(vectors[:, index] + 0j, v, dt=dt, steps=100, spacing=h, hbar=0.9, mass=1.2)
            assert distance(after, vectors[:, index] * np.exp(100j * angle)) <= 1e-11


def test_infinite_well_revives() -> None:
    """Every state of the box comes back at T = 4 m L^2 / (pi hbar); walls at the indices -1 and n."""
    n, length, mass, hbar = 150, 3.0, 1.4, 0.8
    h = length / (n + 1)
    x = h * np.arange(1, n + 1)
    time = 4 * mass * length**2 / (np.pi * hbar)
    # smooth states: the first modes with decaying weights
    start = sum(0.5**k * np.sin(k * np.pi * x / length) for k in range(1, 7)) + 0j
    after = run(
        start, 0 * x, dt=time / 400, steps=400, spacing=h, mass=mass, hbar=hbar, time_order=8, space_order=6
    )
    # the phase of mode k is off by E T (k pi / (n + 1))^6 / 3300, E T = 2 pi k^2
    assert distance(after, start) <= 1e-5
    half = run(
        start, 0 * x, dt=time / 800, steps=400, spacing=h, mass=mass, hbar=hbar, time_order=8, space_order=6
    )
    # at T/2 the mirror image, with the sign of -1 for even and odd alike: exp(-i pi k^2) = (-1)^k
    assert distance(half, -start[::-1]) <= 1e-5


def test_coherent_state_revives_with_the_opposite_sign() -> None:
    x = np.linspace(-9, 9, 241)
    motion = exact.ForcedOscillator(1.0, 1.5, 0.5)
    start, h = motion.psi(x, 0.0), x[1] - x[0]
    v = motion.potential(x, 0.0)
    after, frames = propagate(
        tensor(start),
        tensor(v),
        dt=np.pi / 100,
        steps=200,
        spacing=h,
        time_order=8,
        space_order=6,
        save_every=50,
    )
    assert distance(after.numpy(), -start) <= 1e-4
    for quarter, frame in enumerate(frames.numpy(), start=1):
        assert distance(frame, motion.psi(x, quarter * np.pi / 2)) <= 1e-4
    # any state of the oscillator: psi(T/2) = -i psi(-x, 0)
    assert distance(frames[1].numpy(), -1j * start[::-1]) <= 1e-4


def test_free_packet_moves_and_spreads() -> None:
    """Mean -3 + 1.5 T and variance 1 + T^2 / 4 to O(h^2); the wave to O(h^6) if compact."""
    x = np.linspace(-20, 20, 402)[1:-1]
    h = x[1] - x[0]
    start = exact.gaussian_packet(x, -3.0, 1.5, 1.0)
    plain = run(start, 0 * x, dt=0.01, steps=100, spacing=h)
    probability = abs(plain) ** 2 * h
    mean = (probability * x).sum()
    assert mean == pytest.approx(-1.507556, abs=2e-6)
    assert (probability * x**2).sum() - mean**2 == pytest.approx(1.243715, abs=2e-6)
    fine = run(start, 0 * x, dt=0.01, steps=100, spacing=h, time_order=8, space_order=6)
    assert distance(fine, exact.free_packet(x, 1.0, -3.0, 1.5, 1.0)) <= 1e-5


# --- scattering -----------------------------------------------------------------------------------


def transmitted(
    potential: Callable[[oracle.Array], oracle.Array],
    h: float,
    *,
    k0: float,
    s: float,
    x0: float,
    **orders: int,
) -> float:
    """The part of a packet from x0 < 0 that is right of the middle when its free centre is at -x0."""
    reach = 4.5 * abs(x0)
    x = h * np.arange(-round(reach / h), round(reach / h) + 1)
    start = exact.gaussian_packet(x, x0, k0, s)
    time = -2 * x0 / k0
    steps = round(time / 0.1)
    after = run(start, potential(x), dt=time / steps, steps=steps, spacing=h, **orders)
    return float((abs(after[x > 0]) ** 2).sum() * h)


SLOW = {"k0": 1.7, "s": 3.0, "x0": -24.0}


def test_transmission_through_a_smooth_barrier() -> None:
    expected = exact.packet_transmission(lambda k: exact.sech2_transmission(k, 1.5), 1.7, 3.0)
    found = transmitted(lambda x: 1.5 / np.cosh(x) ** 2, 0.2, **SLOW, time_order=8, space_order=6)
    assert 0.2 < expected < 0.8
    assert found == pytest.approx(expected, abs=1e-4)


def test_transmission_through_a_rectangle() -> None:
    """With half the height on the jumps the error of the three-point difference falls as h^2."""
    expected = exact.packet_transmission(lambda k: exact.rectangle_transmission(k, 1.5, 2.0), 1.7, 3.0)

    def rectangle(x: oracle.Array) -> oracle.Array:
        return 1.5 * ((abs(x) < 1 - 1e-9) + 0.5 * (abs(abs(x) - 1) <= 1e-9))

    errors = [abs(transmitted(rectangle, h, **SLOW, time_order=8) - expected) for h in (0.25, 0.125)]
    assert 0.2 < expected < 0.8
    assert oracle.observed_orders(errors) == pytest.approx([2.0], abs=0.2)
    assert errors[1] <= 5e-3


def test_reflectionless_wells() -> None:
    """-l (l + 1) / 2 sech^2 x lets every wave pass; depths between two of these reflect what they should."""
    fast = {"k0": 1.5, "s": 4.0, "x0": -36.0, "time_order": 8, "space_order": 6}
    for depth in (1.0, 2.0, 3.0):
        passed = transmitted(lambda x, d=depth: -d / np.cosh(x) ** 2, 0.15, **fast)
        expected = exact.packet_transmission(lambda k, d=depth: exact.sech2_transmission(k, -d), 1.5, 4.0)
        assert passed == pytest.approx(expected, abs=5e-6)
        assert (1 - expected > 1e-4) == (depth == 2.0)


# --- laws -----------------------------------------------------------------------------------------

LONG_RUN = 100_000
GRID = 0.4 * np.arange(-7, 8)
ANHARMONIC = 0.5 * GRID**2 + 0.05 * GRID**4


@pytest.mark.parametrize(("time_order", "boundary"), [(2, "dirichlet"), (2, "periodic"), (4, "dirichlet")])
def test_a_long_run_keeps_norm_and_energy_and_turns_back(time_order: int, boundary: str) -> None:
    """1e5 steps: the norm drifts by less than 10 roundings a step in float64, 2e-11 a step in complex64."""
    settings = {"dt": 0.05, "steps": LONG_RUN, "spacing": 0.4, "time_order": time_order, "boundary": boundary}
    h = oracle.hamiltonian(ANHARMONIC, 0.4, boundary=boundary)
    width = np.ptp(np.linalg.eigvalsh(h))
    psi = unit_field((1, 15))
    for dtype, gate in ((C128, 1e-15 * LONG_RUN), (C64, 2e-11 * LONG_RUN)):
        # the norm as stored: rounding of the state to complex64 itself is random, 6e-8 sqrt(N) / sqrt(n)
        after = run(psi, ANHARMONIC, dtype=dtype, **settings)
        factors = time_order // 2
        assert abs((abs(after) ** 2).sum(-1) - 1).max() <= 2 * gate * factors + (3e-7 if dtype == C64 else 0)
        drift = abs(mean_energy(after, h) - mean_energy(psi, h)).max()
        assert drift <= width * (gate * factors + (1e-5 if dtype == C64 else 0))
        back = run(after, ANHARMONIC, dtype=dtype, **{**settings, "dt": -0.05})
        assert distance(back, psi) <= (1e-9 if dtype == C128 else 5e-5)


def test_fast_arithmetic_drifts_within_its_bound() -> None:
    """Pure float32: the norm may drift by one rounding, 6e-8, per factor."""
    psi = unit_field((3, 15))
    after = run(psi, ANHARMONIC, dtype=C64, arithmetic="fast", dt=0.05, steps=10_000, spacing=0.4)
    assert abs(np.sqrt((abs(after) ** 2).sum(-1)) - 1).max() <= 6e-8 * 10_000


@pytest.mark.parametrize("time_order", [2, 4])
def test_splitting_keeps_norm_and_turns_back(time_order: int) -> None:
    shape = (9, 8)
    v = np.add.outer(0.5 * np.linspace(-2, 2, 9) ** 2, 0.3 * np.linspace(-2, 2, 8) ** 4) + 0.2
    v[3, 4] += 4.0
    psi = unit_field((2, *shape), axes=2)
    settings = {"steps": 2000, "spacing": (0.5, 0.4), "time_order": time_order}
    after = run(psi, v, dt=0.1, **settings)
    assert abs((abs(after) ** 2).sum((-2, -1)) - 1).max() <= 1e-11
    assert distance(run(after, v, dt=-0.1, **settings), psi) <= 1e-10
    single = run(psi, v, dt=0.1, dtype=C64, **settings)
    assert abs((abs(single) ** 2).sum((-2, -1)) - 1).max() <= 2e-5


def test_a_translation_of_the_ring_is_a_translation_of_the_state() -> None:
    """Roll psi and V, and the outcome rolls: bit for bit nowhere promised, to rounding everywhere."""
    psi, v = unit_field((2, 30)), np.cos(np.arange(30.0))
    settings = {"dt": 0.2, "steps": 200, "spacing": 0.4, "boundary": "periodic", "time_order": 4}
    expected = np.roll(run(psi, v, **settings), 11, axis=-1)
    assert distance(run(np.roll(psi, 11, axis=-1), np.roll(v, 11), **settings), expected) <= 1e-12


def test_mirror_images() -> None:
    psi, v = unit_field((2, 30)), np.cos(np.arange(30.0)) + 0.1 * np.arange(30.0)
    for boundary in oracle.WALLS:
        settings = {"dt": 0.2, "steps": 200, "spacing": 0.4, "boundary": boundary}
        expected = run(psi, v, **settings)[:, ::-1]
        assert distance(run(psi[:, ::-1], v[::-1], **settings), expected) <= 1e-12


def test_conjugation_reverses_time() -> None:
    """For real V: conj psi(t) is the evolution of conj psi(0) by -t."""
    psi, v = unit_field((2, 30)), np.cos(np.arange(30.0))
    settings = {"steps": 100, "spacing": 0.4, "time_order": 6}
    assert distance(run(psi.conj(), v, dt=-0.1, **settings), run(psi, v, dt=0.1, **settings).conj()) <= 1e-13


def test_units_only_enter_by_two_numbers() -> None:
    """hbar dt / (m h^2) and V dt / hbar are all that a step knows."""
    psi, v = unit_field((2, 24)), np.cos(np.arange(24.0))
    expected = run(psi, v, dt=0.1, steps=50, spacing=0.4)
    scaled = run(psi, 2.5 * v, dt=0.1 * 3 / 2.5, steps=50, spacing=0.4 * 3**0.5, hbar=3.0, mass=3 / 2.5)
    assert distance(scaled, expected) <= 1e-12
    assert distance(expected, oracle.march(psi, dense(v, 0.4, 0.1), 50)) <= 1e-12


def test_states_of_a_separable_potential_factorise() -> None:
    """Two axes with V_x + V_y and a state f(y) g(x): the product of one-dimensional splittings."""
    f, g = unit_field((11,)), unit_field((9,), 1)
    vy, vx = np.sin(np.arange(11.0)), np.cos(np.arange(9.0))
    settings = {"dt": 0.1, "steps": 60}
    both = run(np.multiply.outer(f, g), np.add.outer(vy, vx), spacing=(0.5, 0.4), mass=(1.0, 1.7), **settings)
    one_y = oracle.march(f, oracle.strang_step(vy, 0.1, (0.5,)), 60)
    one_x = oracle.march(g, oracle.strang_step(vx, 0.1, (0.4,), mass=1.7), 60)
    assert distance(both, np.multiply.outer(one_y, one_x)) <= 1e-12
