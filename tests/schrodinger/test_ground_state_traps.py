"""ground_state where a search can go wrong: near pairs, symmetries, missed levels, wells, walls, units."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qcore.schrodinger import _inertia, _problems
from qcore.schrodinger.stationary import ground_state

from . import oracle
from .closed_forms import oscillator_state
from .test_ground_state import ORDERS, WALLS, field, line, spectrum


def test_pair_of_a_double_well() -> None:
    x, h = line(6.0, 299)
    potential = (x**2 - 9) ** 2 / 7
    expected = spectrum(potential, h, 4)
    gap = expected[1] - expected[0]
    assert gap / expected[0] < 2e-6
    result = ground_state(field(potential), spacing=h, k=2)
    energies = result.energies.numpy()
    assert energies[1] - energies[0] == pytest.approx(gap, rel=1e-5)
    even, odd = result.states.numpy()
    np.testing.assert_allclose(even, even[::-1], atol=1e-6)
    np.testing.assert_allclose(odd, -odd[::-1], atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_odd_start_still_gives_the_even_ground_state(order: int) -> None:
    x, h = line(8.0, 161)
    _, _, odd = oscillator_state(x, 1)
    result = ground_state(field(0.5 * x**2), spacing=h, start=field(odd)[None], space_order=order)
    assert float(result.energies[0]) == pytest.approx(0.5, abs=1e-3)
    state = result.states[0].numpy()
    np.testing.assert_allclose(state, state[::-1], atol=1e-8)
    assert (state > -1e-12).all()


def test_start_is_used() -> None:
    x, h = line(8.0, 161)
    known = ground_state(field(0.5 * x**2), spacing=h, k=2)
    few = ground_state(field(0.5 * x**2), spacing=h, k=2, start=known.states, max_iterations=1)
    assert bool(few.converged)
    assert not bool(ground_state(field(0.5 * x**2), spacing=h, k=2, max_iterations=1).converged)


def test_missed_level_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that begins in odd states finds odd ones, until the count of pivots says one is missed."""
    x, h = line(8.0, 160)
    spread = _problems.Line.spread
    calls = []

    def odd_at_first(self: _problems.Line, rows: torch.Tensor) -> torch.Tensor:
        states = spread(self, rows)
        calls.append(1)
        return states - states.flip(-1) if len(calls) == 1 else states

    def odd_search(
        self: _problems.Line, residual: torch.Tensor, levels: torch.Tensor, norms: torch.Tensor
    ) -> torch.Tensor:
        # rounding must not let an even state in by itself
        return improve(self, residual - residual.flip(-1) if len(calls) == 1 else residual, levels, norms)

    improve = _problems.Line.improve
    monkeypatch.setattr(_problems.Line, "spread", odd_at_first)
    monkeypatch.setattr(_problems.Line, "improve", odd_search)
    found = ground_state(field(0.5 * x**2), spacing=h)
    assert bool(found.converged)
    assert float(found.energies[0]) == pytest.approx(0.5, abs=1e-3)
    assert len(calls) > 1
    monkeypatch.setattr(
        _problems.Line, "complete", lambda self, levels, norms: torch.ones(1, dtype=torch.bool)
    )
    calls.clear()
    assert float(ground_state(field(0.5 * x**2), spacing=h).energies[0]) == pytest.approx(1.5, abs=3e-3)


@pytest.mark.parametrize("wall", WALLS)
@pytest.mark.parametrize("order", ORDERS)
def test_count_of_levels_below(wall: str, order: int) -> None:
    rng = np.random.default_rng(5)
    for n in (3, 4, 5, 7, 8, 16, 33, 90):
        for scale in (1.0, 1e3, 1e7):
            potential = scale * rng.normal(size=n)
            levels = spectrum(potential, 0.1, n, boundary=wall, order=order)
            width = 1e-8 * np.abs(levels).max()
            at = np.concatenate((levels - width, levels + width, rng.uniform(levels[0], levels[-1], 10)))
            given = field(at), field(potential).expand(at.size, n), 0.5 / 0.1**2, wall, order
            np.testing.assert_array_equal(_inertia.levels_below(*given), (levels < at[:, None]).sum(1))


@pytest.mark.parametrize("order", ORDERS)
def test_deep_narrow_well(order: int) -> None:
    """One level far below all others, which lie close together: E_0 = V_0 + ..., then those of the box."""
    x, h = line(10.0, 200)
    potential = np.zeros_like(x)
    potential[37] = -1e5
    result = ground_state(field(potential), spacing=h, k=4, space_order=order)
    np.testing.assert_allclose(result.energies, spectrum(potential, h, 4, order=order), rtol=1e-12, atol=1e-8)
    assert float(result.energies[0]) < -9e4
    assert bool(result.converged)
    assert int(result.states[0].abs().argmax()) == 37


def test_well_in_the_last_corner_of_a_plane() -> None:
    potential = np.zeros((24, 24))
    potential[20:22, 2:4] = -30.0
    potential[4:10, 10:18] = -4.0
    result = ground_state(field(potential), spacing=(0.5, 0.5), k=3)
    np.testing.assert_allclose(result.energies, spectrum(potential, (0.5, 0.5), 3), atol=1e-9)


@pytest.mark.parametrize("height", [1e4, 1e12])
@pytest.mark.parametrize("order", ORDERS)
def test_wall_of_high_potential(height: float, order: int) -> None:
    x, h = line(5.0, 199)
    inside = np.abs(x) < 2
    result = ground_state(field(np.where(inside, 0.0, height)), spacing=h, k=3, space_order=order)
    assert bool(result.converged)
    if height == 1e12 and order == 2:
        n = int(inside.sum())
        np.testing.assert_allclose(result.energies, oracle.mode_energies(n, h)[:3].astype(float), rtol=1e-8)
    if height == 1e4:
        expected = spectrum(np.where(inside, 0.0, height), h, 3, order=order)
        np.testing.assert_allclose(result.energies, expected, rtol=1e-10)


def test_ring_without_potential() -> None:
    """Levels 0, then pairs; the lowest state is constant."""
    n, h = 100, 0.2
    result = ground_state(torch.zeros(n, dtype=torch.float64), spacing=h, k=5, boundary="periodic")
    modes = np.sort(oracle.mode_energies(n, h, boundary="periodic").astype(float))[:5]
    np.testing.assert_allclose(result.energies, modes, atol=1e-12)
    np.testing.assert_allclose(result.states[0], 1 / np.sqrt(n * h), rtol=1e-8)
    assert bool(result.converged)


@pytest.mark.parametrize("offset", [-1e6, 1e4])
def test_constant_in_the_potential(offset: float) -> None:
    x, h = line(8.0, 161)
    plain = ground_state(field(0.5 * x**2), spacing=h, k=2)
    shifted = ground_state(field(0.5 * x**2 + offset), spacing=h, k=2)
    np.testing.assert_allclose(shifted.energies - offset, plain.energies, atol=1e-15 * abs(offset) * 4)
    np.testing.assert_allclose(shifted.states, plain.states, atol=1e-7)


def test_units_of_an_electron() -> None:
    """In kg, m and J nothing is near 1: the tolerance is relative."""
    hbar, m, w = 1.054571817e-34, 9.1093837e-31, 5e14
    x, h = line(5e-9, 300)
    result = ground_state(field(0.5 * m * w**2 * x**2), spacing=h, k=2, mass=m, hbar=hbar)
    unit = hbar * w
    expected = spectrum(0.5 * m * w**2 * x**2 / unit, h, 2, mass=m, hbar=hbar / np.sqrt(unit))
    np.testing.assert_allclose(result.energies / unit, expected, rtol=1e-11)
    assert (result.residuals / unit < 1e-8).all()
    assert bool(result.converged)
