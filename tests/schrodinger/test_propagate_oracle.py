"""propagate against the exact modes of the grid and against dense steps, in float64 to rounding.

Bounds: a mode of modulus one gathers an error of its angle of about one rounding per step, so
1e-12 (1 + N / 1000) for a field of unit norm; complex64 storage adds 6e-8 per step, met at random.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qcore.schrodinger import propagate

from . import oracle
from .support import C64, C128, dense, distance, random_field, run, tensor, unit_field

STEPS = 1000
GATE = 1e-12 * (1 + STEPS / 1000)
CONSTANTS = {"mass": 1.3, "hbar": 0.7}
WALLS = pytest.mark.parametrize("boundary", oracle.WALLS)
TIME = pytest.mark.parametrize("time_order", oracle.TIME_ORDERS)
SPACE = pytest.mark.parametrize("space_order", oracle.SPACE_ORDERS)

FREE_1D = {"dt": 0.13, "spacing": 0.35, **CONSTANTS}


def free(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.float64)


# --- free motion, by exact modes ------------------------------------------------------------------


@WALLS
@SPACE
@TIME
def test_free_motion_is_that_of_the_modes(time_order: int, space_order: int, boundary: str) -> None:
    psi = unit_field((3, 53))
    settings = {**FREE_1D, "boundary": boundary, "time_order": time_order, "space_order": space_order}
    expected = oracle.discrete_oracle(psi, steps=STEPS, **settings)
    assert distance(run(psi, free(53), steps=STEPS, **settings), expected) <= GATE


@WALLS
@SPACE
def test_a_constant_potential_adds_to_the_energies(space_order: int, boundary: str) -> None:
    psi = unit_field((37,))
    settings = {**FREE_1D, "boundary": boundary, "time_order": 4, "space_order": space_order}
    for constant in (-3.0, 0.8, 40.0):
        expected = oracle.discrete_oracle(psi, steps=STEPS, constant=constant, **settings)
        assert distance(run(psi, free(37) + constant, steps=STEPS, **settings), expected) <= GATE


@pytest.mark.parametrize("tau_kappa", [1e-9, 1e-2, 1.0, 1e2, 1e5])
def test_steps_of_any_size(tau_kappa: float) -> None:
    """dt from far below to far above the inverse bandwidth of the grid, m = hbar = h = 1: kappa = 1/2."""
    psi = unit_field((2, 61))
    for boundary in oracle.WALLS:
        settings = {"dt": 4 * tau_kappa, "spacing": 1.0, "boundary": boundary}
        expected = oracle.discrete_oracle(psi, steps=300, **settings)
        # backward error of a solve: u times the largest entry of 1 + i tau H, in each step
        bound = max(GATE, 2.2e-16 * 2 * tau_kappa * 300)
        assert distance(run(psi, free(61), steps=300, **settings), expected) <= bound


@WALLS
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 16, 33])
def test_short_grids(n: int, boundary: str) -> None:
    for space_order in oracle.SPACE_ORDERS:
        for time_order in (2, 8):
            psi = unit_field((2, n), seed=n)
            settings = {**FREE_1D, "boundary": boundary, "time_order": time_order, "space_order": space_order}
            expected = oracle.discrete_oracle(psi, steps=50, **settings)
            assert distance(run(psi, free(n), steps=50, **settings), expected) <= GATE


@WALLS
@SPACE
@TIME
def test_complex64_computes_in_float64(time_order: int, space_order: int, boundary: str) -> None:
    psi = unit_field((2, 53))
    settings = {**FREE_1D, "boundary": boundary, "time_order": time_order, "space_order": space_order}
    expected = oracle.discrete_oracle(psi, steps=STEPS, **settings)
    assert distance(run(psi, free(53), steps=STEPS, dtype=C64, **settings), expected) <= 1e-5


@WALLS
@SPACE
@TIME
def test_fast_complex64(time_order: int, space_order: int, boundary: str) -> None:
    """Pure float32 rounds its coefficients, so the error grows as N, by u = 6e-8 per factor and step."""
    psi = unit_field((2, 53))
    settings = {**FREE_1D, "boundary": boundary, "time_order": time_order, "space_order": space_order}
    expected = oracle.discrete_oracle(psi, steps=STEPS, **settings)
    found = run(psi, free(53), steps=STEPS, dtype=C64, arithmetic="fast", **settings)
    assert distance(found, expected) <= 6e-8 * STEPS * time_order / 2


@pytest.mark.parametrize("walls", [("dirichlet", "periodic"), ("periodic", "dirichlet"), ("dirichlet",) * 2])
@SPACE
def test_two_dimensions(walls: tuple[str, str], space_order: int) -> None:
    psi = unit_field((2, 13, 18), axes=2)
    settings = {"dt": 0.2, "spacing": (0.5, 0.35), "mass": (1.3, 0.8), "hbar": 0.9, "boundary": walls}
    expected = oracle.discrete_oracle(psi, steps=500, space_order=space_order, constant=0.4, **settings)
    v = torch.full((13, 18), 0.4, dtype=torch.float64)
    assert distance(run(psi, v, steps=500, space_order=space_order, **settings), expected) <= GATE
    single = run(psi, v, steps=500, space_order=space_order, dtype=C64, **settings)
    assert distance(single, expected) <= 1e-5


@pytest.mark.parametrize("walls", [("dirichlet", "periodic", "dirichlet"), ("periodic",) * 3])
@SPACE
def test_three_dimensions(walls: tuple[str, ...], space_order: int) -> None:
    psi = unit_field((2, 5, 9, 6), axes=3)
    settings = {"dt": 0.2, "spacing": (0.5, 0.35, 0.6), "mass": (1.0, 1.2, 0.8), "boundary": walls}
    expected = oracle.discrete_oracle(psi, steps=500, space_order=space_order, constant=-0.3, **settings)
    v = torch.full((5, 9, 6), -0.3, dtype=torch.float64)
    assert distance(run(psi, v, steps=500, space_order=space_order, **settings), expected) <= GATE


# --- with a potential, by dense steps -------------------------------------------------------------


def potential_on(shape: tuple[int, ...], seed: int = 5, scale: float = 3.0) -> oracle.Array:
    return np.random.default_rng(seed).uniform(-scale, scale, shape)


@WALLS
@SPACE
@TIME
def test_a_potential(time_order: int, space_order: int, boundary: str) -> None:
    psi, v = unit_field((3, 24)), potential_on((24,))
    step = dense(v, 0.35, 0.1, time_order, boundary=boundary, order=space_order, **CONSTANTS)
    expected = oracle.march(psi, step, 100)
    settings = {"dt": 0.1, "steps": 100, "spacing": 0.35, "boundary": boundary, **CONSTANTS}
    found = run(psi, v, time_order=time_order, space_order=space_order, **settings)
    assert distance(found, expected) <= GATE


@WALLS
@SPACE
@TIME
def test_an_absorbing_potential(time_order: int, space_order: int, boundary: str) -> None:
    psi, v = unit_field((2, 24)), potential_on((24,)) - 1j * potential_on((24,), 6) ** 2 / 9
    step = dense(v, 0.35, 0.1, time_order, boundary=boundary, order=space_order)
    expected = oracle.march(psi, step, 60)
    settings = {"dt": 0.1, "steps": 60, "spacing": 0.35, "boundary": boundary}
    found = run(psi, v, time_order=time_order, space_order=space_order, **settings)
    assert distance(found, expected) <= GATE
    assert oracle.l2(found) < 0.9 * oracle.l2(psi)


@WALLS
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_potential_on_short_grids(n: int, boundary: str) -> None:
    for space_order in oracle.SPACE_ORDERS:
        for time_order in (2, 6):
            psi, v = unit_field((5, n)), potential_on((n,))
            step = dense(v, 0.35, 0.1, time_order, boundary=boundary, order=space_order)
            settings = {"dt": 0.1, "steps": 30, "spacing": 0.35, "boundary": boundary}
            found = run(psi, v, time_order=time_order, space_order=space_order, **settings)
            assert distance(found, oracle.march(psi, step, 30)) <= GATE


@WALLS
@SPACE
def test_each_system_with_a_potential_of_its_own(space_order: int, boundary: str) -> None:
    """13 systems: whole vectors and a remainder. Equal to a loop, and to dense steps."""
    psi, v = unit_field((13, 20)), potential_on((13, 20))
    settings = {"dt": 0.1, "steps": 50, "spacing": 0.35, "boundary": boundary, "time_order": 4}
    together = run(psi, v, space_order=space_order, **settings)
    for b in range(13):
        alone = run(psi[b], v[b], space_order=space_order, **settings)
        assert distance(together[b], alone) <= 1e-14
        step = dense(v[b], 0.35, 0.1, 4, boundary=boundary, order=space_order)
        assert distance(alone, oracle.march(psi[b], step, 50)) <= GATE


@pytest.mark.parametrize(
    "shape", [(20,), (1, 20), (3, 20), (1, 3, 20), (2, 1, 20), (2, 3, 20), (1,), (2, 3, 1)]
)
def test_potentials_broadcast(shape: tuple[int, ...]) -> None:
    psi, v = unit_field((2, 3, 20)), potential_on(shape)
    whole = np.broadcast_to(v, psi.shape)
    found = run(psi, v, dt=0.1, steps=20, spacing=0.35)
    for i in range(2):
        for j in range(3):
            expected = oracle.march(psi[i, j], dense(whole[i, j], 0.35, 0.1), 20)
            assert distance(found[i, j], expected) <= GATE


def test_potentials_broadcast_in_two_dimensions() -> None:
    psi = unit_field((2, 3, 6, 5), axes=2)
    for shape in ((6, 5), (1, 5), (6, 1), (3, 6, 5), (2, 3, 6, 5), (2, 1, 6, 5)):
        v = potential_on(shape)
        whole = np.broadcast_to(v, psi.shape)
        found = run(psi, v, dt=0.1, steps=20, spacing=(0.5, 0.35))
        for i in range(2):
            for j in range(3):
                step = oracle.strang_step(whole[i, j], 0.1, (0.5, 0.35))
                assert distance(found[i, j], oracle.march(psi[i, j][None], step, 20)[0]) <= GATE


@SPACE
def test_splitting_in_two_and_three_dimensions(space_order: int) -> None:
    """Real and absorbing potentials, by dense Strang steps."""
    for shape, spacing, walls in (
        ((7, 6), (0.5, 0.35), ("dirichlet", "periodic")),
        ((4, 3, 5), (0.5, 0.4, 0.35), ("periodic", "dirichlet", "dirichlet")),
    ):
        psi = unit_field((2, *shape), axes=len(shape))
        for v in (potential_on(shape), potential_on(shape) - 0.3j):
            settings = {
                "mass": tuple(1.0 + 0.2 * i for i in range(len(shape))),
                "hbar": 0.8,
                "boundary": walls,
            }
            step = oracle.strang_step(v, 0.1, spacing, order=space_order, **settings)
            found = run(psi, v, dt=0.1, steps=40, spacing=spacing, space_order=space_order, **settings)
            assert distance(found, oracle.march(psi, step, 40)) <= GATE


@WALLS
def test_negative_steps_and_masses(boundary: str) -> None:
    """dt < 0 goes back; a negative mass turns the sign of the kinetic energy."""
    psi, v = unit_field((2, 24)), potential_on((24,))
    for dt, mass in ((-0.1, 1.0), (0.1, -1.4), (-0.1, -0.6)):
        expected = oracle.march(psi, dense(v, 0.35, dt, 4, mass=mass, boundary=boundary), 40)
        found = run(psi, v, dt=dt, steps=40, spacing=0.35, mass=mass, boundary=boundary, time_order=4)
        assert distance(found, expected) <= GATE


def test_dt_and_constants_may_be_tensors() -> None:
    psi, v = tensor(unit_field((2, 24))), tensor(potential_on((24,)))
    number = {"dt": 0.1, "mass": 1.3, "hbar": 0.7}
    as_tensor = {name: torch.tensor(value, dtype=torch.float64) for name, value in number.items()}
    expected = propagate(psi, v, steps=20, spacing=0.35, **number)
    found = propagate(psi, v, steps=20, spacing=0.35, **as_tensor)
    assert distance(found.numpy(), expected.numpy()) <= 1e-14


def test_random_field_is_not_special() -> None:
    """Superposition: propagate is linear in psi."""
    a, b, v = random_field((24,)), random_field((24,), 1), potential_on((24,))
    settings = {"dt": 0.1, "steps": 50, "spacing": 0.35}
    mixed = run(0.3 * a - 2j * b, v, **settings)
    assert distance(mixed, 0.3 * run(a, v, **settings) - 2j * run(b, v, **settings)) <= 1e-11
    assert propagate(tensor(a), tensor(v), **settings).dtype == C128
