"""Potentials that change with time: functions and series, at middles of steps and by Magnus."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from qcore.schrodinger import propagate

from . import closed_forms as exact
from . import oracle
from .support import C64, dense, distance, run, tensor, unit_field

H = 0.35
X = H * np.arange(-10, 10)


def driven(x: oracle.Array, t: float) -> oracle.Array:
    """A well that moves and breathes: no two times commute with the kinetic energy the same way."""
    return (1 + 0.5 * np.sin(2 * t)) * 0.5 * (x - 0.6 * np.sin(1.3 * t)) ** 2


def function(x: oracle.Array) -> object:
    """The same for propagate."""
    return lambda t: tensor(driven(x, float(t)))


def middles(dt: float, steps: int, x: oracle.Array = X) -> oracle.Array:
    return np.stack([driven(x, (k + 0.5) * dt) for k in range(steps)])


# --- the same steps as dense ones -----------------------------------------------------------------


@pytest.mark.parametrize("boundary", oracle.WALLS)
@pytest.mark.parametrize("space_order", oracle.SPACE_ORDERS)
def test_each_step_takes_the_potential_of_its_middle(space_order: int, boundary: str) -> None:
    dt, steps = 0.1, 30
    psi = unit_field((2, 20))
    matrices = [dense(v, H, dt, boundary=boundary, order=space_order, hbar=0.8) for v in middles(dt, steps)]
    expected = oracle.march(psi, matrices)
    settings = {
        "dt": dt,
        "steps": steps,
        "spacing": H,
        "boundary": boundary,
        "space_order": space_order,
        "hbar": 0.8,
    }
    assert distance(run(psi, function(X), **settings), expected) <= 1e-12
    series = tensor(middles(dt, steps))[:, None]
    assert distance(run(psi, series, **settings), expected) <= 1e-12


def test_a_series_for_one_state_has_the_steps_first() -> None:
    """psi (n,): (steps, n). One for each system: (steps, B, n)."""
    dt, steps = 0.1, 7
    psi = unit_field((3, 20))
    shifts = (0.0, 0.5, -0.4)
    each = np.stack([[driven(X - a, (k + 0.5) * dt) for a in shifts] for k in range(steps)])
    together = run(psi, each, dt=dt, steps=steps, spacing=H)
    for b, a in enumerate(shifts):
        expected = oracle.march(psi[b], [dense(v, H, dt) for v in each[:, b]])
        assert distance(together[b], expected) <= 1e-12
        alone = run(psi[b], each[:, b], dt=dt, steps=steps, spacing=H)
        assert distance(alone, expected) <= 1e-12
        by_function = run(
            psi[b], lambda t, a=a: tensor(driven(X - a, float(t))), dt=dt, steps=steps, spacing=H
        )
        assert distance(by_function, expected) <= 1e-12


def test_functions_of_time_may_give_a_potential_for_each_system() -> None:
    psi = unit_field((3, 20))
    offsets = torch.tensor([[0.0], [0.4], [-0.3]], dtype=torch.float64)

    def each(t: float) -> Tensor:
        return 0.5 * (tensor(X) - offsets * np.sin(float(t))) ** 2

    together = run(psi, each, dt=0.1, steps=12, spacing=H)
    for b in range(3):
        alone = run(psi[b], lambda t, b=b: each(t)[b], dt=0.1, steps=12, spacing=H)
        assert distance(together[b], alone) <= 1e-14


def test_times_are_those_of_the_middles_from_zero_on() -> None:
    """Also backwards: t = (k + 1/2) dt with dt < 0."""
    for dt in (0.2, -0.2):
        asked: list[float] = []

        def record(t: float, asked: list[float] = asked) -> Tensor:
            asked.append(float(t))
            return tensor(driven(X, float(t)))

        run(unit_field((20,)), record, dt=dt, steps=5, spacing=H)
        assert sorted(set(np.round(asked, 12))) == sorted(
            set(np.round([(k + 0.5) * dt for k in range(5)], 12))
        )


def test_a_constant_function_is_the_constant() -> None:
    psi, v = unit_field((2, 20)), driven(X, 0.3)
    settings = {"steps": 50, "spacing": H}
    expected = run(psi, v, dt=0.02, **settings)
    assert distance(run(psi, lambda t: tensor(v), dt=0.02, **settings), expected) <= 1e-13
    assert distance(run(psi, np.broadcast_to(v, (50, 1, 20)), dt=0.02, **settings), expected) <= 1e-13
    # a Magnus step of equal values is two halves of a step
    halves = run(psi, v, dt=0.01, steps=100, spacing=H, time_order=4)
    assert distance(run(psi, lambda t: tensor(v), dt=0.02, time_order=4, **settings), halves) <= 1e-13


def test_absorption_that_changes_with_time() -> None:
    dt, steps = 0.1, 20
    psi = unit_field((20,))
    series = middles(dt, steps) - 0.5j * np.linspace(0, 1, steps)[:, None] * (abs(X) > 2)
    expected = oracle.march(psi, [dense(v, H, dt) for v in series])
    assert distance(run(psi, series, dt=dt, steps=steps, spacing=H), expected) <= 1e-12


def test_frames_of_a_driven_system_are_those_of_shorter_runs() -> None:
    psi = unit_field((2, 20))
    for time_order in (2, 4):
        settings = {"dt": 0.1, "spacing": H, "time_order": time_order}
        after, frames = propagate(tensor(psi), function(X), steps=13, save_every=4, **settings)
        assert frames.shape == (3, 2, 20)
        for i in range(3):
            shorter = run(psi, function(X), steps=4 * (i + 1), **settings)
            assert distance(frames[i].numpy(), shorter) <= 1e-14
        assert distance(after.numpy(), run(psi, function(X), steps=13, **settings)) <= 1e-14


# --- orders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("time_order", [2, 4])
def test_orders_in_time_against_fine_dense_steps(time_order: int) -> None:
    """Magnus of order four: its error is that of the time dependence and of the approximant alone."""
    vectors = np.linalg.eigh(oracle.hamiltonian(driven(X, 0.0), H))[1]
    start = vectors[:, :4] @ np.array([1, 0.5j, -0.5, 0.25])
    expected = start
    nodes = (0.5 - 3**0.5 / 6, 0.5 + 3**0.5 / 6)
    fine = 800
    for k in range(fine):  # the fourth-order Magnus expansion with its commutator, exponential by eigenvalues
        a, b = (oracle.hamiltonian(driven(X, (k + c) * 2 / fine), H) for c in nodes)
        # Omega = -i dt (A + B) / 2 + sqrt(3) / 12 dt^2 [A, B] (i^2 gives the sign)
        dt = 2 / fine
        hermitian = 0.5 * (a + b) + 1j * 3**0.5 / 12 * dt * (b @ a - a @ b) * -1
        values, states = np.linalg.eigh(hermitian)
        expected = states @ (np.exp(-1j * dt * values) * (states.conj().T @ expected))
    counts = (100, 200) if time_order == 2 else (40, 80)
    errors = [
        oracle.l2(run(start, function(X), dt=2 / n, steps=n, spacing=H, time_order=time_order) - expected)
        for n in counts
    ]
    assert oracle.observed_orders(errors) == pytest.approx([time_order], abs=0.1)
    assert errors[1] > 1e-9


FORCED = exact.ForcedOscillator(1.0, 0.5, -0.3, force=0.6, drive=1.7, mass=1.2, hbar=0.9)


@pytest.mark.parametrize("time_order", [2, 4])
def test_forced_oscillator(time_order: int) -> None:
    """The exact state with its phase, after several periods of the drive; grid of sixth order."""
    h = 0.1
    x = h * np.arange(-70, 71)
    time = 6.0
    settings = {"spacing": h, "mass": 1.2, "hbar": 0.9, "time_order": time_order, "space_order": 6}
    counts = (200, 400) if time_order == 2 else (30, 60)
    errors = []
    for n in counts:
        after = run(
            FORCED.psi(x, 0.0),
            lambda t: tensor(FORCED.potential(x, float(t))),
            dt=time / n,
            steps=n,
            **settings,
        )
        errors.append(oracle.l2(after - FORCED.psi(x, time), h))
    assert oracle.observed_orders(errors) == pytest.approx([time_order], abs=0.1)
    assert errors[1] < 2e-3


@pytest.mark.parametrize("time_order", [2, 4])
def test_forced_oscillators_in_two_dimensions(time_order: int) -> None:
    """Two oscillators with drives of their own: a product of exact states."""
    h = 0.2
    x = h * np.arange(-33, 34)
    one = exact.ForcedOscillator(1.0, 0.5, force=0.6, drive=1.7)
    other = exact.ForcedOscillator(0.8, -0.3, force=-0.4, drive=0.5)

    def potential(t: float) -> Tensor:
        return tensor(np.add.outer(one.potential(x, float(t)), other.potential(x, float(t))))

    def product(t: float) -> oracle.Complex:
        return np.multiply.outer(one.psi(x, t), other.psi(x, t))

    counts = (30, 60) if time_order == 2 else (5, 10)
    errors = []
    for n in counts:
        after = run(
            product(0.0), potential, dt=2.0 / n, steps=n, spacing=(h, h), time_order=time_order, space_order=6
        )
        errors.append(oracle.l2(after - product(2.0), h * h))
    assert oracle.observed_orders(errors) == pytest.approx([time_order], abs=0.15)
    assert errors[1] < 1e-2


def test_split_steps_take_the_potential_of_their_middle() -> None:
    psi = unit_field((2, 6, 5), axes=2)
    y, x = np.arange(6.0), np.arange(5.0)
    values = [np.add.outer(np.sin(y + 0.3 * k), np.cos(x * k)) for k in range(9)]
    expected = oracle.march(psi, [oracle.strang_step(v, 0.1, (0.5, 0.4)) for v in values])
    series = np.stack(values)[:, None]
    assert distance(run(psi, series, dt=0.1, steps=9, spacing=(0.5, 0.4)), expected) <= 1e-12
    found = run(
        psi, lambda t: tensor(values[round(float(t) / 0.1 - 0.5)]), dt=0.1, steps=9, spacing=(0.5, 0.4)
    )
    assert distance(found, expected) <= 1e-12


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("time_order", [2, 4])
def test_driven_motion_is_unitary_and_turns_back(time_order: int) -> None:
    """Back with -dt along the mirrored series of potentials."""
    psi, time, steps = unit_field((3, 20)), 20.0, 400
    settings = {"steps": steps, "spacing": H, "time_order": time_order}
    after = run(psi, function(X), dt=time / steps, **settings)
    assert abs((abs(after) ** 2).sum(-1) - 1).max() <= 1e-12

    def backwards(t: float) -> Tensor:
        return tensor(driven(X, time + float(t)))

    assert distance(run(after, backwards, dt=-time / steps, **settings), psi) <= 1e-11
    single = run(psi, function(X), dt=time / steps, dtype=C64, **settings)
    assert distance(single, after) <= 1e-5


@pytest.mark.parametrize("time_order", [2, 4])
def test_long_series_come_in_blocks_that_nobody_sees(
    time_order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer numbers held at once than the run has: the same frames, the same end."""
    psi = tensor(unit_field((2, 20)))
    settings = {"dt": 0.1, "steps": 23, "spacing": H, "time_order": time_order}
    expected = {every: propagate(psi, function(X), save_every=every, **settings) for every in (1, 5, 9)}
    for numbers in (1, 100, 260):
        monkeypatch.setattr("qcore.schrodinger._motion.SERIES_NUMBERS", numbers)
        for every, (after, frames) in expected.items():
            found, some = propagate(psi, function(X), save_every=every, **settings)
            assert distance(found.numpy(), after.numpy()) <= 1e-14
            assert distance(some.numpy(), frames.numpy()) <= 1e-14
