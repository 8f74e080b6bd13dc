"""What goes wrong in implicit Schroedinger steppers, one test each, named by the mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qcore.schrodinger import propagate

from . import closed_forms as exact
from . import oracle
from .support import C64, C128, F64, bits, dense, distance, random_field, run, tensor, unit_field

WALLS = pytest.mark.parametrize("boundary", oracle.WALLS)

# dt with m = hbar = h = 1 (kappa = 1/2) such that tau kappa = dt kappa / 2 hbar is the number given
KAPPA = 0.5


def dt_of(tau_kappa: float) -> float:
    return 4 * tau_kappa


# --- 1, 2, 4: elimination without pivoting --------------------------------------------------------


@WALLS
@pytest.mark.parametrize("tau_kappa", [1e-2, 1.0, 1e2, 1e3, 1e5])
def test_pivots_grow_in_wells_as_deep_as_the_band(tau_kappa: float, boundary: str) -> None:
    """V = -2 kappa takes the diagonal away: elimination grows by tau kappa."""
    n, dt, steps = 64, dt_of(tau_kappa), 20
    v, psi = np.full(n, -2 * KAPPA), unit_field((3, n))
    expected = oracle.discrete_oracle(psi, dt, steps, 1.0, boundary=boundary, constant=-2 * KAPPA)
    # u times the growth, tau kappa, in each step; on a ring over a denominator of about 1 / tau kappa
    bound = 1e-13 + steps * 2.2e-16 * 8 * tau_kappa * (
        max(1.0, tau_kappa / 10) if boundary == "periodic" else 1.0
    )
    found = run(psi, v, dt=dt, steps=steps, spacing=1.0, boundary=boundary)
    assert distance(found, expected) <= bound
    single = run(psi, v, dt=dt, steps=steps, spacing=1.0, boundary=boundary, dtype=C64)
    assert distance(single, expected) <= bound + steps * 6e-8 * max(1.0, tau_kappa**0.5)


@WALLS
def test_pivots_of_random_potentials(boundary: str) -> None:
    """Depths to -400, steps to 10, grids from coarse to fine: always regular."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        h, dt = 10 ** rng.uniform(-2, 0), 10 ** rng.uniform(-4, 1)
        v, psi = rng.uniform(-400, 400, 48), unit_field((2, 48))
        found = run(psi, v, dt=dt, steps=3, spacing=h, boundary=boundary)
        size = dt / 2 * (2 / h**2 + 400)
        assert distance(found, oracle.march(psi, dense(v, h, dt, boundary=boundary), 3)) <= 1e-13 * (1 + size)


@pytest.mark.parametrize("tau_kappa", [1e-3, 1.0, 1e3, 1e5])
def test_the_recovered_state_drifts_over_many_sweeps(tau_kappa: float) -> None:
    """States kept in eliminated form and recovered at the end: 2000 steps, deep wells and none."""
    for depth in (0.0, -2 * KAPPA, -KAPPA):
        psi = unit_field((2, 64))
        after = run(psi, np.full(64, depth), dt=dt_of(tau_kappa), steps=2000, spacing=1.0)
        assert abs((abs(after) ** 2).sum(-1) - 1).max() <= 2000 * 1e-15 * max(1.0, tau_kappa**0.5)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_corners_overlap_on_short_rings(n: int) -> None:
    """n = 1: no neighbour but itself, no kinetic energy. n = 2: one neighbour, twice."""
    psi, v = unit_field((4, n)), np.arange(n) - 0.3
    h = oracle.hamiltonian(v, 0.5, boundary="periodic")
    if n == 1:
        assert h[0, 0] == v[0]
    if n == 2:
        assert h[0, 1] == -2 * (2.0)
    found = run(psi, v, dt=0.3, steps=10, spacing=0.5, boundary="periodic")
    assert distance(found, oracle.march(psi, oracle.pade_step(h, -0.3j, 1), 10)) <= 1e-13


# --- 3: single precision --------------------------------------------------------------------------


@pytest.mark.parametrize("dt", [0.05, 0.005, 0.0005])
def test_rounded_coefficients_drift_in_single_precision(dt: float) -> None:
    """Coefficients in float32 are off by 2e-8, every step the same way; in float64 only storage rounds."""
    x = 0.1 * np.arange(-64, 64)
    start = exact.ForcedOscillator(1.0, 1.0).psi(x, 0.0)
    settings = {"dt": dt, "steps": 20_000, "spacing": 0.1}
    wide = run(start, 0.5 * x**2, **settings)
    narrow = run(start, 0.5 * x**2, dtype=C64, **settings)
    assert distance(narrow, wide) <= 1e-5
    # storing the start in complex64 changes its norm itself
    norm = (abs(start.astype(np.complex64)).astype(float) ** 2).sum()
    assert abs((abs(narrow) ** 2).sum() / norm - 1) <= 2 * 2e-11 * 20_000 + 1e-6


# --- 5, 6: high modes -----------------------------------------------------------------------------


@pytest.mark.parametrize("time_order", oracle.TIME_ORDERS)
def test_rough_states_are_damped_in_real_time(time_order: int) -> None:
    """A spike rings, its high modes stand still for large steps; but every mode keeps its weight."""
    spike = np.zeros(40, complex)
    spike[11] = 1
    after = run(spike, np.zeros(40), dt=50.0, steps=100, spacing=0.5, time_order=time_order)
    modes = np.linalg.eigh(oracle.kinetic(40, 0.5))[1]
    assert distance(abs(modes.T @ after), abs(modes.T @ spike)) <= 1e-11


def test_rough_states_ring_in_imaginary_time() -> None:
    """Crank and Nicolson multiply the highest mode by nearly -1; here a spike becomes smooth and positive."""
    spike = np.zeros(41)
    spike[11] = 1
    v = 0.5 * (0.25 * np.arange(-20, 21)) ** 2
    for time_order in (2, 4):
        after = run(
            spike, v, dt=1.0, steps=4, spacing=0.25, dtype=F64, imaginary=True, time_order=time_order
        ).real
        modes = np.linalg.eigh(oracle.hamiltonian(v, 0.25))[1]
        weights = abs(modes.T @ after)
        assert weights[30:].max() <= 1e-4 * weights[0]
        assert (after[5:30] > 0).all()


@pytest.mark.parametrize("factor", [0.95, 1.05, 3.0])
def test_the_highest_mode_wins_in_imaginary_time(factor: float) -> None:
    """dtau around 2 / sqrt(E_0 E_max), where the slowest mode of plain Crank and Nicolson changes."""
    x = 0.1 * np.arange(-80, 81)
    energies, modes = np.linalg.eigh(oracle.hamiltonian(0.5 * x**2, 0.1))
    dt = factor * 2 / np.sqrt(energies[0] * energies[-1])
    mixed = (modes[:, 0] + modes[:, -1]).astype(float)
    after = run(mixed, 0.5 * x**2, dt=dt, steps=200, spacing=0.1, dtype=F64, imaginary=True).real
    assert abs(modes[:, 0] @ after) ** 2 * 0.1 == pytest.approx(1, abs=1e-9)


# --- 7: absorbers ---------------------------------------------------------------------------------


def test_an_absorber_with_the_wrong_sign_amplifies() -> None:
    """The norm falls in every step, with a layer and with an absorbing potential."""
    x = 0.2 * np.arange(-100, 100)
    start = exact.gaussian_packet(x, 0.0, 2.0, 1.0)
    for settings, v in (
        ({"absorber": (2.0, 8.0, 2.0)}, 0 * x + 0j),
        ({}, -2j * np.clip((abs(x) - 12) / 8, 0, None) ** 2),
    ):
        v = v.real if settings else v
        _, frames = propagate(
            tensor(start), tensor(v), dt=0.05, steps=400, spacing=0.2, save_every=1, **settings
        )
        norms = (frames.abs() ** 2).sum(-1)
        assert (norms.diff() <= 1e-13 * norms[:-1]).all()
        assert norms[-1] < 0.1 * norms[0]


def test_an_absorber_does_what_its_formula_says() -> None:
    """V - i strength (depth / width)^power from the walls, one spacing beyond the ends."""
    n, h, (strength, width, power) = 40, 0.25, (1.5, 3.0, 3.0)
    x = h * np.arange(1, n + 1)
    depth = np.clip(width - np.minimum(x, (n + 1) * h - x), 0, None)
    v = np.sin(x)
    expected = oracle.march(
        unit_field((2, n)), dense(v - 1j * strength * (depth / width) ** power, h, 0.1), 50
    )
    found = run(unit_field((2, n)), v, dt=0.1, steps=50, spacing=h, absorber=(strength, width, power))
    assert distance(found, expected) <= 1e-13


def test_an_absorber_reflects() -> None:
    """A smooth ramp over a few wavelengths leaves 1e-4 of a packet in the box."""
    h, n = 0.1, 600
    x = h * (np.arange(n) - n / 2)
    start = exact.gaussian_packet(x, 0.0, 3.0, 1.5)
    after = run(
        start, 0 * x, dt=0.02, steps=1000, spacing=h, time_order=4, space_order=4, absorber=(3.0, 15.0, 3.0)
    )
    assert oracle.l2(after, h) ** 2 <= 1e-4


@pytest.mark.parametrize("time_order", [2, 4])
def test_a_stronger_absorber_absorbs_less(time_order: int) -> None:
    """Beyond dt W = 2 hbar an implicit step reflects: refused; up to there more strength leaves less."""
    psi, left = unit_field((1,)), []
    for strength in (0.0, 0.5, 1.0, 5.0, 19.0, 19.99):
        v = np.array([-1j * strength])
        after = run(psi, v, dt=0.1, steps=1, spacing=1e3, time_order=time_order, boundary="periodic")
        left.append(float(abs(after[0])))
    assert (np.diff(left) < 0).all()
    for strength in (20.1, 1e4):
        with pytest.raises(ValueError, match="2 hbar"):
            run(psi, np.array([-1j * strength]), dt=0.1, steps=1, spacing=1e3, time_order=time_order)


def test_an_absorber_run_backwards_amplifies() -> None:
    """dt < 0 makes absorption gain, and at |dt| W = 2 hbar a stage has no inverse: refused."""
    for strength in (1e-3, 20.0):
        v = torch.full((3,), -1j * strength, dtype=C128)
        with pytest.raises(ValueError, match=r"^dt: expected .* absor"):
            propagate(tensor(unit_field((3,))), v, dt=-0.1, steps=1, spacing=1.0)
    with pytest.raises(ValueError, match=r"^dt: expected .* absor"):
        run(unit_field((9,)), np.zeros(9), dt=-0.1, steps=1, spacing=1.0, absorber=(1.0, 2.0, 2.0))


# --- 8: transparent boundary ----------------------------------------------------------------------


@pytest.mark.parametrize("ends", [(0.0, 0.0), (0.4, -0.3)])
def test_a_transparent_boundary_reflects(ends: tuple[float, float]) -> None:
    """Packets leave over plateaus of different height: the same as in a box thirty times as wide."""
    h, dt, n, wide, steps = 0.1, 0.01, 150, 2250, 800
    x = h * np.arange(-wide, n + wide)
    v = (
        ends[0]
        + (ends[1] - ends[0]) * np.clip((x - 6) / 3, 0, 1)
        + np.exp(-((x - 7) ** 2)) * (abs(x - 7) < 5)
    )
    start = np.stack([exact.gaussian_packet(x, 7.0, k, 0.4) for k in (4.0, -3.0)])
    start[abs(start) < 1e-14] = 0
    inside = slice(wide, wide + n)
    settings = {"dt": dt, "spacing": h, "save_every": 100}
    _, expected = propagate(tensor(start), tensor(v), steps=steps, **settings)
    after, frames = propagate(
        tensor(start[:, inside]), tensor(v[inside]), steps=steps, boundary="transparent", **settings
    )
    assert distance(frames.numpy(), expected[..., inside].numpy()) <= 1e-10
    assert bits(after, frames[-1])
    assert float((after.abs() ** 2).sum() * h) < 0.3 * 2


def test_a_transparent_boundary_depends_on_the_direction_of_time() -> None:
    """conj psi runs backwards; a state that stands on the ends is refused: outside there is none."""
    x = 0.1 * np.arange(80)
    start = exact.gaussian_packet(x, 4.0, 3.0, 0.4)
    start[abs(start) < 1e-12] = 0
    v = 0.3 * (x > 5) + 0j
    settings = {"steps": 300, "spacing": 0.1, "boundary": "transparent"}
    after = run(start, v.real, dt=0.01, **settings)
    assert 0.01 < oracle.l2(after, 0.1) ** 2 < 0.9
    assert distance(run(start.conj(), v.real, dt=-0.01, **settings).conj(), after) <= 1e-13
    each = np.stack([v.real, 0 * x, v.real - 1])
    together = run(np.stack([start] * 3), each, dt=0.01, **settings)
    for row, energies in zip(together, each, strict=True):
        assert distance(row, run(start, energies, dt=0.01, **settings)) <= 1e-13
    assert distance(run(start, v.real, dt=0.01, dtype=C64, **settings), after) <= 1e-6
    with pytest.raises(ValueError, match=r"^psi: expected .*transparent"):
        run(np.ones(80) + 0j, v.real, dt=0.01, **settings)
    with pytest.raises(ValueError, match=r"^potential: expected .*transparent"):
        run(start, v.real - 0.1j, dt=0.01, **settings)


# --- 9: gradients (their own file has the rest) ---------------------------------------------------


def test_the_transpose_is_taken_for_the_inverse() -> None:
    """For one absorbing step U the gradient to psi is U* y, and neither U^-1 y nor U^T y."""
    v = tensor(np.array([0.3 - 0.5j, -1.0, 0.2 - 2j, 0.0]))
    psi = tensor(random_field((4,))).requires_grad_()
    y = tensor(random_field((4,), 1))
    step = dense(v.numpy(), 0.5, 0.4)
    (pulled,) = torch.autograd.grad(propagate(psi, v, dt=0.4, steps=1, spacing=0.5), psi, grad_outputs=y)
    assert distance(pulled.numpy(), step.conj().T @ y.numpy()) <= 1e-14
    assert distance(pulled.numpy(), np.linalg.solve(step, y.numpy())) > 1e-2
    assert distance(pulled.numpy(), step.T @ y.numpy()) > 1e-2


# --- 10, 11, 12 -----------------------------------------------------------------------------------


def test_split_factors_that_do_not_commute_lose_the_norm() -> None:
    """Potentials inside the factors of the axes aren't unitary; a wild V and a large step show it."""
    rng = np.random.default_rng(1)
    v, psi = rng.uniform(-50, 50, (6, 7)), unit_field((6, 7), axes=2)
    for time_order in (2, 4):
        after = run(psi, v, dt=0.8, steps=200, spacing=(0.3, 0.4), time_order=time_order)
        assert oracle.l2(after) == pytest.approx(1, abs=1e-12)
        back = run(after, v, dt=-0.8, steps=200, spacing=(0.3, 0.4), time_order=time_order)
        assert distance(back, psi) <= 1e-10


def test_two_potentials_in_one_step_lose_the_norm() -> None:
    """V(t) on one side and V(t + dt) on the other: a norm off by dt^2. Both sides take V(t + dt / 2)."""
    x = 0.4 * np.arange(16)
    psi = unit_field((16,))

    def v(t: float) -> torch.Tensor:
        return tensor(20 * np.sin(x + 5 * float(t)) * (x > 2))

    for time_order in (2, 4):
        after = run(psi, v, dt=0.3, steps=100, spacing=0.4, time_order=time_order)
        assert oracle.l2(after) == pytest.approx(1, abs=1e-13)


def test_the_box_is_one_spacing_too_short() -> None:
    """Walls at the indices -1 and n: sin(pi (j + 1) / (n + 1)) is an eigenstate."""
    n, h = 9, 0.3
    energy = (1 - np.cos(np.pi / (n + 1))) / h**2
    right = np.sin(np.pi * np.arange(1, n + 1) / (n + 1)) + 0j
    after = run(right, np.zeros(n), dt=0.2, steps=7, spacing=h)
    assert distance(after, right * np.exp(-14j * np.arctan(0.1 * energy))) <= 1e-14
    wave = np.exp(2j * np.pi * np.arange(n) / n)
    energy = (1 - np.cos(2 * np.pi / n)) / h**2
    after = run(wave, np.zeros(n), dt=0.2, steps=7, spacing=h, boundary="periodic")
    assert distance(after, wave * np.exp(-14j * np.arctan(0.1 * energy))) <= 1e-14


def test_axes_are_mixed_up() -> None:
    """Spacing, mass and boundary come in the order of psi's axes: transposed together, all is transposed."""
    psi, v = unit_field((4, 5, 6), axes=3), np.random.default_rng(0).normal(size=(4, 5, 6))
    spacing, mass, walls = (0.3, 0.4, 0.5), (1.0, 2.0, 3.0), ("dirichlet", "periodic", "dirichlet")
    expected = run(psi, v, dt=0.1, steps=20, spacing=spacing, mass=mass, boundary=walls)
    for order in ((0, 2, 1), (1, 0, 2), (2, 0, 1)):
        found = run(
            psi.transpose(order), v.transpose(order), dt=0.1, steps=20,
            spacing=tuple(spacing[i] for i in order), mass=tuple(mass[i] for i in order),
            boundary=tuple(walls[i] for i in order),
        )  # fmt: skip
        assert distance(found, expected.transpose(order)) <= 1e-13


# --- 13: batches, chunks and threads --------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "walls": {},
    "ring": {"boundary": "periodic"},
    "orders 8, 6": {"time_order": 8, "space_order": 6},
    "fast": {"arithmetic": "fast"},
    "absorbing": {"absorber": (1.0, 1.0, 2.0)},
}


@pytest.mark.parametrize("dtype", [C64, C128])
@pytest.mark.parametrize("name", CASES)
def test_bits_depend_on_the_batch(name: str, dtype: torch.dtype) -> None:
    """A system alone, in the middle of vectors, in the remainder: the same bits."""
    psi = tensor(random_field((37, 21)), dtype)
    settings: dict[str, Any] = {"dt": 0.1, "steps": 6, "spacing": 0.4, **CASES[name]}
    for v in (torch.linspace(-1, 2, 21, dtype=F64), torch.randn(37, 21, dtype=F64)):
        whole = propagate(psi, v, **settings)
        for part in (slice(0, 1), slice(5, 6), slice(36, 37), slice(0, 8), slice(3, 20), slice(7, 37)):
            alone = propagate(psi[part], v if v.ndim == 1 else v[part], **settings)
            assert bits(alone, whole[part]), part
        shaped = propagate(
            psi[:36].reshape(4, 9, 21), v if v.ndim == 1 else v[:36].reshape(4, 9, 21), **settings
        )
        assert bits(shaped.reshape(36, 21), whole[:36])


@pytest.mark.parametrize("shape", [(37, 300), (5, 2000), (1, 5000), (3, 24, 30), (2, 8, 9, 10)])
def test_bits_depend_on_the_threads(shape: tuple[int, ...]) -> None:
    """Values, frames and gradients."""
    spacing: Any = {2: 0.4, 3: (0.4, 0.5), 4: (0.4, 0.5, 0.6)}[len(shape)]
    psi = tensor(random_field(shape))
    v = torch.randn(shape[1:], dtype=F64)

    def everything() -> list[torch.Tensor]:
        state, energy = psi.clone().requires_grad_(), v.clone().requires_grad_()
        after, frames = propagate(state, energy, dt=0.1, steps=6, spacing=spacing, save_every=3)
        loss = (after.abs() ** 4).sum() + frames.real.sum()
        return [after, frames, *torch.autograd.grad(loss, [state, energy])]

    torch.set_num_threads(1)
    expected = everything()
    for threads in (2, 3):
        torch.set_num_threads(threads)
        for a, b in zip(everything(), expected, strict=True):
            assert bits(a.detach(), b.detach())


def test_a_bad_system_spoils_its_neighbours() -> None:
    """NaN and infinity in one state of a batch stay there."""
    psi = tensor(random_field((11, 21)))
    settings: dict[str, Any] = {"dt": 0.1, "steps": 6, "spacing": 0.4}
    v = torch.linspace(-1, 2, 21, dtype=F64)
    for boundary in oracle.WALLS:
        expected = propagate(psi, v, boundary=boundary, **settings)
        spoilt = psi.clone()
        spoilt[4, 7] = float("nan")
        spoilt[9, 0] = float("inf")
        found = propagate(spoilt, v, boundary=boundary, **settings)
        for b in range(11):
            assert not found[b].isfinite().all() if b in (4, 9) else bits(found[b], expected[b])


def test_sizes_beyond_one_chunk() -> None:
    """Batches and grids that don't fit into a chunk, against the pieces."""
    psi = tensor(random_field((150, 700)))
    v = torch.linspace(-1, 2, 700, dtype=F64)
    settings: dict[str, Any] = {"dt": 0.1, "steps": 3, "spacing": 0.4}
    whole = propagate(psi, v, **settings)
    for part in (slice(0, 3), slice(70, 81), slice(140, 150)):
        assert bits(propagate(psi[part], v, **settings), whole[part])
    # one long system, cut into pieces by whoever likes: light cones of 3 steps reach a few hundred points
    long, middle = tensor(random_field((6000,))), slice(2000, 4000)
    v = torch.sin(0.4 * torch.arange(6000, dtype=F64))
    found = propagate(long, v, **settings)[2500:3500]
    assert distance(found.numpy(), propagate(long[middle], v[middle], **settings)[500:1500].numpy()) <= 1e-13
