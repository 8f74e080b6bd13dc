"""eigenstates (LAPACK) against full matrices and closed forms, and ground_state against it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from qcore._optional import MissingPackage
from qcore.schrodinger.stationary import eigenstates, ground_state

from . import oracle
from .closed_forms import morse_state, oscillator_state, poeschl_teller_state
from .test_ground_state import ORDERS, WALLS, check_states, field, line, spectrum


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("wall", WALLS)
def test_levels_of_the_full_matrix(order: int, wall: str) -> None:
    rng = np.random.default_rng(order)
    x, h = line(5.0, 83)
    potential = 0.5 * x**2 + rng.normal(size=x.size)
    settings = {"mass": 0.6, "hbar": 1.3, "boundary": wall}
    result = eigenstates(field(potential), spacing=h, k=9, space_order=order, **settings)
    np.testing.assert_allclose(
        result.energies, spectrum(potential, h, 9, order=order, **settings), rtol=1e-12
    )
    check_states(result, potential, h, order=order, **settings)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("wall", WALLS)
def test_ground_state_agrees(order: int, wall: str) -> None:
    x, h = line(7.0, 150)
    potential = field(np.stack([0.5 * x**2, (x**2 - 4) ** 2 / 4 + 0.1 * x, -6 / np.cosh(x) ** 2]))
    settings = {"spacing": h, "k": 3, "boundary": wall, "space_order": order}
    direct = eigenstates(potential, **settings)
    search = ground_state(potential, **settings)
    assert direct.converged.all()
    assert search.converged.all()
    np.testing.assert_allclose(search.energies, direct.energies, rtol=1e-11, atol=1e-11)
    bound = [
        0,
        1,
    ]  # all three states of the first two; the third has two bound ones, then the ring's near-pairs
    np.testing.assert_allclose(search.states[bound], direct.states[bound], atol=1e-7)


def test_states_of_the_continuum() -> None:
    x, h = line(9.0, 599)
    for potential, energy, state, level in (
        (*oscillator_state(x, 3), 3),
        (*morse_state(x + 5, 1, 12.0, 0.6), 1),
        (*poeschl_teller_state(x, 3, 2), 1),
    ):
        result = eigenstates(field(potential), spacing=h, k=level + 1)
        assert float(result.energies[level]) == pytest.approx(energy, abs=3e-3)
        exact = state / oracle.l2(state, h)
        overlap = float((result.states[level] * field(exact)).sum() * h)
        assert abs(overlap) == pytest.approx(1, abs=1e-5)


def test_nodes_and_order() -> None:
    """State number j has j nodes; energies ascend."""
    x, h = line(6.0, 300)
    result = eigenstates(field(0.5 * x**2), spacing=h, k=8)
    assert (result.energies.diff() > 0).all()
    for j, state in enumerate(result.states.numpy()):
        visible = state[np.abs(state) > 1e-6 * np.abs(state).max()]
        assert (np.diff(np.sign(visible)) != 0).sum() == j


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("order", ORDERS)
def test_all_levels_of_small_grids(n: int, order: int) -> None:
    potential = np.sin(np.arange(n)) + 2
    result = eigenstates(field(potential), spacing=0.5, k=n, space_order=order)
    np.testing.assert_allclose(result.energies, spectrum(potential, 0.5, n, order=order), rtol=1e-12)


def test_batch_and_empty_batch() -> None:
    rng = np.random.default_rng(0)
    potentials = field(rng.normal(size=(2, 3, 40)))
    result = eigenstates(potentials, spacing=0.2, k=2)
    assert result.states.shape == (2, 3, 2, 40)
    assert result.converged.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        np.testing.assert_allclose(
            result.energies[i, j], spectrum(potentials[i, j].numpy(), 0.2, 2), rtol=1e-12
        )
    empty = eigenstates(torch.zeros(0, 40), spacing=0.2, k=2)
    assert [tuple(part.shape) for part in empty] == [(0, 2), (0, 2, 40), (0, 2), (0,)]


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.linalg", None)
    with pytest.raises(MissingPackage, match=r"eigenstates needs scipy.*\[eigen\]"):
        eigenstates(torch.zeros(8), spacing=0.5, k=1)
    assert bool(eigenstates(torch.zeros(8), spacing=0.5, k=1, space_order=4).converged)
