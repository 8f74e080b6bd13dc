"""Orders of convergence of propagate, measured: 2M in time, 2, 4 and 6 in space, 2 and 4 for split steps."""

from __future__ import annotations

import numpy as np
import pytest

from . import closed_forms as exact
from . import oracle
from .support import C64, distance, run, unit_field

X = 0.3 * np.arange(-18, 19)
ANHARMONIC = 0.5 * X**2 + 0.02 * X**4
# Steps over T = 3 at which E dt is small enough for the leading term, yet the errors are far above rounding.
COUNTS = {2: (200, 400), 4: (80, 160), 6: (40, 80), 8: (24, 48)}


@pytest.mark.parametrize("boundary", oracle.WALLS)
@pytest.mark.parametrize("space_order", oracle.SPACE_ORDERS)
@pytest.mark.parametrize("time_order", oracle.TIME_ORDERS)
def test_time_orders_against_the_exponential_of_the_matrix(
    time_order: int, space_order: int, boundary: str
) -> None:
    """The same grid on both sides: all that is left is the error of the steps."""
    h = oracle.hamiltonian(ANHARMONIC, 0.3, boundary=boundary, order=space_order)
    energies, vectors = np.linalg.eigh(h)
    # the lowest six states: nothing above E = 7 has an order yet
    start = unit_field((6,)) @ vectors[:, :6].T
    expected = oracle.march(start, oracle.exact_step(h, -3j))
    settings = {"spacing": 0.3, "boundary": boundary, "time_order": time_order, "space_order": space_order}
    errors = [
        oracle.l2(run(start, ANHARMONIC, dt=3 / n, steps=n, **settings) - expected)
        for n in COUNTS[time_order]
    ]
    assert energies[5] < 8
    assert errors[1] > 1e-11
    assert oracle.observed_orders(errors) == pytest.approx([time_order], abs=0.1)


@pytest.mark.parametrize("time_order", oracle.TIME_ORDERS)
def test_the_error_of_a_step_has_its_constant(time_order: int) -> None:
    """Over N steps an eigenstate's angle is off by N (E dt)^(2M+1) / 12, 720, 100800, 25401600."""
    constant = {2: 12.0, 4: 720.0, 6: 100_800.0, 8: 25_401_600.0}[time_order]
    energies, vectors = np.linalg.eigh(oracle.hamiltonian(ANHARMONIC, 0.3))
    energy, state = energies[3], vectors[:, 3] + 0j
    dt, steps = 0.5 / energy, 200
    after = run(state, ANHARMONIC, dt=dt, steps=steps, spacing=0.3, time_order=time_order)
    off = np.angle(np.vdot(state, after) * np.exp(1j * energy * dt * steps))
    assert off == pytest.approx(steps * 0.5 ** (time_order + 1) / constant, rel=0.05, abs=1e-12)


@pytest.mark.parametrize("space_order", oracle.SPACE_ORDERS)
def test_space_orders_by_the_revival_of_a_coherent_state(space_order: int) -> None:
    """psi(T) = -psi(0) on finer and finer grids, steps of eighth order."""
    motion = exact.ForcedOscillator(1.0, 1.0, 0.5)
    errors = []
    for n in {2: (100, 200, 400), 4: (40, 80, 160), 6: (36, 72, 144)}[space_order]:
        h = 16 / n
        x = -8 + h * np.arange(1, n)
        start = motion.psi(x, 0.0)
        after = run(
            start,
            motion.potential(x, 0.0),
            dt=2 * np.pi / 240,
            steps=240,
            spacing=h,
            time_order=8,
            space_order=space_order,
        )
        errors.append(oracle.l2(after + start, h))
    assert oracle.observed_orders(errors)[1] == pytest.approx(space_order, abs=0.1)
    assert errors[2] < 2e-2


@pytest.mark.parametrize("time_order", oracle.TIME_ORDERS)
def test_time_orders_by_the_revival_of_a_coherent_state(time_order: int) -> None:
    """On one fine grid of sixth order, against the revival itself."""
    motion = exact.ForcedOscillator(1.0, 1.0, 0.5)
    h = 0.05
    x = -7 + h * np.arange(281)
    start = motion.psi(x, 0.0)
    settings = {"spacing": h, "time_order": time_order, "space_order": 6}
    counts = {2: (100, 200, 400), 4: (20, 40, 80), 6: (12, 24, 48), 8: (24, 32)}[time_order]
    errors = [
        oracle.l2(run(start, motion.potential(x, 0.0), dt=2 * np.pi / n, steps=n, **settings) + start, h)
        for n in counts
    ]
    v = motion.potential(x, 0.0)
    grid_error = oracle.l2(
        run(start, v, dt=2 * np.pi / 200, steps=200, spacing=h, time_order=8, space_order=6) + start, h
    )
    orders = oracle.observed_orders(errors, counts[1] / counts[0])
    assert errors[-1] > 20 * grid_error
    assert orders[-1] == pytest.approx(time_order, abs=0.15 if time_order < 8 else 0.3)


@pytest.mark.parametrize("time_order", [2, 4])
@pytest.mark.parametrize("axes", [2, 3])
def test_split_steps_against_the_exponential_of_the_matrix(axes: int, time_order: int) -> None:
    """A potential that doesn't separate, walls and rings; dense exponential of the whole."""
    shape, spacing = ((10, 9), (0.5, 0.6)) if axes == 2 else ((6, 5, 7), (0.7, 0.8, 0.6))
    walls = ("dirichlet", "periodic", "dirichlet")[:axes]
    mass = (1.0, 1.3, 0.8)[:axes]
    grid = np.meshgrid(
        *(h * (np.arange(n) - (n - 1) / 2) for h, n in zip(spacing, shape, strict=True)), indexing="ij"
    )
    v = 0.5 * sum(g**2 for g in grid) + 0.3 * grid[0] ** 2 * grid[1] ** 2
    start = np.exp(-sum((g - 0.4) ** 2 for g in grid) / 2 + 0.5j * grid[1])
    start = start / oracle.l2(start)
    h = oracle.hamiltonian(v, spacing, mass=mass, boundary=walls, hbar=0.9)
    expected = (oracle.exact_step(h, -1j / 0.9) @ start.ravel()).reshape(shape)
    settings = {"spacing": spacing, "mass": mass, "boundary": walls, "hbar": 0.9, "time_order": time_order}
    counts = (20, 40, 80) if time_order == 2 else (8, 16, 32)
    errors = [oracle.l2(run(start, v, dt=1 / n, steps=n, **settings) - expected) for n in counts]
    orders = oracle.observed_orders(errors)
    assert orders[1] == pytest.approx(time_order, abs=0.1)
    assert errors[0] < 1e-1


@pytest.mark.parametrize("space_order", oracle.SPACE_ORDERS)
def test_space_orders_in_two_dimensions(space_order: int) -> None:
    """The coherent state of an oscillator with two frequencies, a product of closed forms."""
    one, other = exact.ForcedOscillator(1.0, 0.8), exact.ForcedOscillator(0.7, 0.0, 0.6)
    errors = []
    for n in (28, 56):
        h = 14 / n
        x = -7 + h * np.arange(1, n)
        start = np.multiply.outer(one.psi(x, 0.0), other.psi(x, 0.0))
        v = np.add.outer(one.potential(x, 0.0), other.potential(x, 0.0))
        after = run(start, v, dt=0.02, steps=50, spacing=(h, h), time_order=4, space_order=space_order)
        errors.append(oracle.l2(after - np.multiply.outer(one.psi(x, 1.0), other.psi(x, 1.0)), h * h))
    assert oracle.observed_orders(errors) == pytest.approx([space_order], abs=0.3)


def test_higher_orders_pay() -> None:
    """With as many points and factors, the eighth order is far nearer to the revival than the second."""
    motion = exact.ForcedOscillator(1.0, 1.0)
    h = 0.1
    x = -7 + h * np.arange(141)
    start, v = motion.psi(x, 0.0), motion.potential(x, 0.0)
    plain = run(start, v, dt=2 * np.pi / 80, steps=80, spacing=h)
    fine = run(start, v, dt=2 * np.pi / 20, steps=20, spacing=h, time_order=8, space_order=6)
    assert distance(fine, -start) < 1e-3 * distance(plain, -start)
    single = run(start, v, dt=2 * np.pi / 20, steps=20, spacing=h, time_order=8, space_order=6, dtype=C64)
    assert distance(single, fine) < 1e-5
