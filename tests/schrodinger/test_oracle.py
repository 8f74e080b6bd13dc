"""The oracles against one another: dense steps, modes, closed forms, scattering by integration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from . import closed_forms as exact
from . import oracle


def _random(shape: tuple[int, ...], seed: int = 0) -> oracle.Complex:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


@pytest.mark.parametrize("boundary", oracle.WALLS)
@pytest.mark.parametrize("order", oracle.SPACE_ORDERS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 17])
def test_modes_are_the_spectrum_of_the_dense_matrix(n: int, order: int, boundary: str) -> None:
    settings = {"mass": 0.7, "hbar": 1.3, "boundary": boundary, "order": order}
    dense = oracle.kinetic(n, 0.4, **settings)
    assert np.allclose(dense, dense.T, atol=1e-13)
    modes = np.sort(oracle.mode_energies(n, 0.4, **settings).astype(float))
    assert np.allclose(np.linalg.eigvalsh(dense), modes, atol=1e-12)


@pytest.mark.parametrize("order", oracle.SPACE_ORDERS)
def test_differences_have_their_order(order: int) -> None:
    """On a plane wave the relative error of k^2 falls as h^order."""
    energies = [oracle.mode_energies(n, 1 / n, boundary="periodic", order=order)[1] for n in (8, 16, 32)]
    errors = [abs(2 * float(energy) / (2 * np.pi) ** 2 - 1) for energy in energies]
    assert oracle.observed_orders(errors) == pytest.approx([order, order], abs=0.1)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_pade_approximates_the_exponential(m: int) -> None:
    """R_MM(-i x) e^{i x} - 1 starts with x^(2M+1) / 12, 720, 100800, 25401600, and R has modulus one."""
    leading = {1: 12.0, 2: 720.0, 3: 100_800.0, 4: 25_401_600.0}[m]
    x = np.array([0.3], np.longdouble)
    phase = (oracle.pade_angle(x, m) + x).astype(float)
    assert phase[0] * leading == pytest.approx(0.3 ** (2 * m + 1), rel=0.02)
    h = np.diag([0.3, 1.1, 40.0])
    step = np.diag(oracle.pade_step(h, -1j, m))
    assert np.allclose(abs(step), 1, atol=1e-14)
    assert np.allclose(
        np.angle(step[:2]), oracle.pade_angle(np.array([0.3, 1.1]), m).astype(float), atol=1e-13
    )


def test_poles_are_where_tables_say() -> None:
    """M = 2: 3 +- i sqrt 3 (the roots of 12 - 6 z + z^2); M = 3 has one real pole."""
    assert np.allclose(sorted(oracle.poles(2), key=np.imag), [3 - 3**0.5 * 1j, 3 + 3**0.5 * 1j])
    assert oracle.poles(1) == pytest.approx([2.0])
    assert sorted(oracle.poles(3).real) == pytest.approx([3.6778146454, 3.6778146454, 4.6443707093])


@pytest.mark.parametrize("boundary", oracle.WALLS)
@pytest.mark.parametrize("space_order", oracle.SPACE_ORDERS)
@pytest.mark.parametrize("time_order", oracle.TIME_ORDERS)
def test_modes_against_dense_steps(time_order: int, space_order: int, boundary: str) -> None:
    for n in (1, 2, 3, 16):
        psi = _random((2, n))
        settings = {"mass": 1.4, "hbar": 0.8, "boundary": boundary}
        h = oracle.hamiltonian(np.full(n, 0.6), 0.3, order=space_order, **settings)
        expected = oracle.march(psi, oracle.pade_step(h, -0.25j / 0.8, time_order // 2), 40)
        found = oracle.discrete_oracle(
            psi, 0.25, 40, 0.3, time_order=time_order, space_order=space_order, constant=0.6, **settings
        )
        assert abs(found - expected).max() <= 2e-13


def test_modes_against_dense_splitting_in_two_and_three_axes() -> None:
    walls = ("dirichlet", "periodic", "dirichlet")
    for axes in (2, 3):
        shape, spacing, mass = (3, 5, 4)[:axes], (0.5, 0.7, 0.6)[:axes], (1.0, 1.5, 0.8)[:axes]
        psi = _random((2, *shape))
        step = oracle.strang_step(
            np.full(shape, 0.3), 0.2, spacing, mass=mass, hbar=1.1, boundary=walls[:axes], order=4
        )
        found = oracle.discrete_oracle(
            psi, 0.2, 30, spacing, mass=mass, hbar=1.1, boundary=walls[:axes], space_order=4, constant=0.3
        )
        assert abs(found - oracle.march(psi, step, 30)).max() <= 1e-13


def test_one_fixture_of_crank_nicolson() -> None:
    """Five points, D = 1/2, h = 1, dt = 0.2: norm^2 2.25 and energy 3.75 before and after."""
    v = np.array([0, 0.5, 1, 0.5, 0])
    psi = np.array([0, 1, 1j, 0, 0.5], complex)
    h = oracle.hamiltonian(v, 1.0)
    after = oracle.pade_step(h, -0.2j, 1) @ psi
    expected = [
        0.021908481598 + 0.090639186857j,
        0.856600700331 - 0.256891258252j,
        0.410068454360 + 1.006673031774j,
        -0.082866247418 + 0.082214298140j,
        0.485618766194 - 0.102705188990j,
    ]
    assert after == pytest.approx(expected, abs=1e-12)
    assert oracle.l2(after) ** 2 == pytest.approx(2.25)
    assert (after.conj() @ h @ after).real == pytest.approx(3.75)


Motion = Callable[[oracle.Array, float], oracle.Field]


# --- closed forms ---------------------------------------------------------------------------------


def _residual(psi: Motion, potential: Motion, t: float, *, mass: float, hbar: float) -> float:
    """max |i hbar psi_t - H psi| by Fourier and by a central difference of sixth order in time."""
    n, length = 256, 24.0
    x = -length / 2 + length / n * np.arange(n)
    k = 2 * np.pi * np.fft.fftfreq(n, length / n)
    e = 2e-3
    weights = {1: 45 / 60, 2: -9 / 60, 3: 1 / 60}
    rate = sum(w * (psi(x, t + j * e) - psi(x, t - j * e)) for j, w in weights.items()) / e
    now = psi(x, t)
    kinetic = np.fft.ifft(hbar**2 * k**2 / (2 * mass) * np.fft.fft(now))
    return float(abs(1j * hbar * rate - kinetic - potential(x, t) * now).max())


def test_packets_solve_the_equation() -> None:
    forced = exact.ForcedOscillator(1.3, 1.0, 0.4, force=0.8, drive=0.7, mass=1.2, hbar=0.9)
    for t in (0.0, 0.9, 3.1):
        assert _residual(forced.psi, forced.potential, t, mass=1.2, hbar=0.9) <= 1e-9

    def free(x: oracle.Array, t: float) -> oracle.Complex:
        return exact.free_packet(x, t, -1.0, 1.5, 0.8, mass=1.2, hbar=0.9)

    assert _residual(free, lambda x, t: 0 * x, 0.5, mass=1.2, hbar=0.9) <= 1e-9
    x = np.linspace(-12, 12, 481)
    assert free(x, 0.0) == pytest.approx(exact.gaussian_packet(x, -1.0, 1.5, 0.8))
    coherent = exact.ForcedOscillator(1.3, 1.0, 0.4)
    assert coherent.psi(x, 2 * np.pi / 1.3) == pytest.approx(-coherent.psi(x, 0.0), abs=1e-12)


def test_bound_states_are_eigenstates() -> None:
    """H psi = E psi by Fourier differentiation."""
    n, length = 512, 40.0
    x = -length / 2 + length / n * np.arange(n)
    k = 2 * np.pi * np.fft.fftfreq(n, length / n)
    states = [exact.oscillator_state(x, j, 1.1) for j in range(3)]
    states += [exact.poeschl_teller_state(x, 2, mu) for mu in (2, 1)] + [exact.soft_core_state(x)]
    grid = x + 14.0  # the Morse well is steep on the left
    states += [exact.morse_state(grid * 0.5, j, 10.0, 1.0) for j in (0, 1)]
    for index, (v, energy, state) in enumerate(states):
        scale = 0.5 if index >= 6 else 1.0
        kinetic = np.fft.ifft(0.5 * (k / scale) ** 2 * np.fft.fft(state)).real
        inside = abs(state) > 1e-6 * abs(state).max()
        residual = abs(kinetic + v * state - energy * state)[inside].max()
        assert residual <= 1e-6 * abs(state).max(), index


@pytest.mark.parametrize("barrier", ["rectangle", "sech2", "well"])
def test_transmission_against_integration_of_the_stationary_equation(barrier: str) -> None:
    """From a transmitted wave e^{i k x} back through the barrier; |t|^2 = 1 / |incoming amplitude|^2."""
    height, width = {"rectangle": (2.0, 1.5), "sech2": (1.5, 1.0), "well": (-1.0, 1.0)}[barrier]
    wave_numbers = np.array([0.7, 1.6, 2.0, 2.6])
    edge = 0.5 * width if barrier == "rectangle" else 20.0

    def v(x: float) -> float:
        return height if barrier == "rectangle" else height / np.cosh(x) ** 2

    found = []
    for k in wave_numbers:
        start = [np.exp(1j * k * edge), 1j * k * np.exp(1j * k * edge)]
        end = solve_ivp(
            lambda x, u, k=k: [u[1], 2 * (v(x) - 0.5 * k * k) * u[0]],
            (edge, -edge),
            start,
            rtol=1e-10,
            atol=1e-12,
        ).y[:, -1]
        incoming = 0.5 * (end[0] + end[1] / (1j * k)) * np.exp(1j * k * edge)
        found.append(1 / abs(incoming) ** 2)
    if barrier == "rectangle":
        expected = exact.rectangle_transmission(wave_numbers, height, width)
    else:
        expected = exact.sech2_transmission(wave_numbers, height)
    assert found == pytest.approx(expected, abs=1e-7)


def test_mean_transmission_of_a_packet() -> None:
    """Everything passes nothing: the weights integrate to one; a step function gives the error function."""
    assert exact.packet_transmission(lambda k: 0 * k + 1, 2.0, 3.0) == pytest.approx(1, abs=1e-6)
    assert exact.packet_transmission(lambda k: np.where(k > 2.0, 1.0, 0.0), 2.0, 3.0) == pytest.approx(
        0.5, abs=1e-2
    )
