"""ground_state against full matrices, closed forms and the literature, and the ways to get a wrong state."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
import torch

from qcore.schrodinger import _problems
from qcore.schrodinger.stationary import ground_state

from . import oracle
from .closed_forms import morse_state, oscillator_state, poeschl_teller_state, soft_core_state

ORDERS = oracle.SPACE_ORDERS
WALLS = oracle.WALLS


def line(reach: float, n: int) -> tuple[np.ndarray, float]:
    """n interior points of a box from -reach to reach, and their distance."""
    h = 2 * reach / (n + 1)
    return -reach + h * np.arange(1, n + 1), h


def field(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))


def spectrum(potential: np.ndarray, spacing: object, k: int, **settings: object) -> np.ndarray:
    """The k lowest eigenvalues of the full matrix."""
    h = oracle.hamiltonian(potential, spacing, **settings)  # type: ignore[arg-type]
    return np.linalg.eigvalsh(0.5 * (h + h.T))[:k]


def check_states(
    result: object, potential: np.ndarray, spacing: object, tolerance: float = 1e-9, **settings: object
) -> None:
    """Residuals, norms and signs, recomputed with the full matrix."""
    matrix = oracle.hamiltonian(potential, spacing, **settings)  # type: ignore[arg-type]
    rounding = 1e-13 * np.abs(matrix).max()
    cell = np.prod(np.atleast_1d(spacing))
    k = len(result.energies)  # type: ignore[attr-defined]
    states = result.states.reshape(k, -1).numpy()  # type: ignore[attr-defined]
    energies = result.energies.numpy()  # type: ignore[attr-defined]
    overlaps = states @ states.T * cell
    np.testing.assert_allclose(overlaps, np.eye(k), atol=1e-11)
    residuals = np.sqrt((((matrix @ states.T).T - energies[:, None] * states) ** 2).sum(1) * cell)
    box = sum((pi / n) ** 2 / h**2 for n, h in zip(potential.shape, np.atleast_1d(spacing), strict=True))
    promised = tolerance * (energies - potential.min() + box) + rounding
    assert (residuals <= promised).all()
    np.testing.assert_allclose(result.residuals.numpy(), residuals, atol=rounding)  # type: ignore[attr-defined]
    for state in states:
        first = np.argmax(np.abs(state) >= 0.5 * np.abs(state).max())
        assert state[first] > 0
    assert bool(result.converged)  # type: ignore[attr-defined]


# --- the discrete problem -----------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("wall", WALLS)
@pytest.mark.parametrize("k", [1, 4])
def test_line_has_the_levels_of_the_full_matrix(order: int, wall: str, k: int) -> None:
    rng = np.random.default_rng(order + k)
    x, h = line(6.0, 151)
    potential = 0.5 * x**2 + 0.3 * rng.normal(size=x.size)
    settings = {"mass": 1.7, "hbar": 0.8, "boundary": wall}
    result = ground_state(field(potential), spacing=h, k=k, space_order=order, **settings)
    expected = spectrum(potential, h, k, order=order, **settings)
    np.testing.assert_allclose(result.energies, expected, rtol=1e-12, atol=1e-12)
    check_states(result, potential, h, order=order, **settings)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 64, 65])
@pytest.mark.parametrize("wall", WALLS)
def test_all_levels_of_small_grids(n: int, wall: str) -> None:
    potential = np.cos(np.arange(n)) - 3.0
    for order in ORDERS:
        if wall == "periodic" and n < 3 and order == 6:
            continue  # the oracle's matrix wraps more than once
        result = ground_state(field(potential), spacing=0.7, k=n, boundary=wall, space_order=order)
        expected = spectrum(potential, 0.7, n, boundary=wall, order=order)
        np.testing.assert_allclose(result.energies, expected, atol=1e-12)
        assert bool(result.converged)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("walls", [("dirichlet", "dirichlet"), ("periodic", "dirichlet")])
@pytest.mark.parametrize("name", ["ring", "tilted", "disc"])
def test_plane_has_the_levels_of_the_full_matrix(order: int, walls: tuple[str, str], name: str) -> None:
    """None of these is separable: the mean field alone needs hundreds of steps for the last two."""
    y, hy = line(4.0, 22)
    x, hx = line(4.0, 25)
    grid_y, grid_x = np.meshgrid(y, x, indexing="ij")
    r = np.hypot(grid_x, grid_y)
    potential = {
        "ring": 4 * (r - 2) ** 2,
        "tilted": 5 * (grid_x + grid_y) ** 2 + 0.1 * (grid_x - grid_y) ** 2,
        "disc": np.where(r < 3, -10.0, 400.0),
    }[name]
    spacing, mass = (hy, hx), (1.3, 0.9)
    settings = {"mass": mass, "boundary": walls}
    result = ground_state(field(potential), spacing=spacing, k=4, space_order=order, **settings)
    np.testing.assert_allclose(
        result.energies, spectrum(potential, spacing, 4, order=order, **settings), rtol=1e-11, atol=1e-11
    )
    check_states(result, potential, spacing, order=order, **settings)


def test_plane_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean field goes on alone: as exact, or it says that it wasn't enough."""
    monkeypatch.setattr(_problems, "find_spec", lambda name: None)
    y, h = line(4.0, 20)
    grid_y, grid_x = np.meshgrid(y, y, indexing="ij")
    easy = 0.5 * (grid_x**2 + grid_y**2) + 0.1 * grid_x * grid_y
    result = ground_state(field(easy), spacing=(h, h), k=2)
    np.testing.assert_allclose(result.energies, spectrum(easy, (h, h), 2), atol=1e-10)
    hard = np.where(np.hypot(grid_x, grid_y) < 3, 0.0, 1e6)
    result = ground_state(field(hard), spacing=(h, h), max_iterations=20)
    assert not bool(result.converged)
    assert float(result.energies[0]) >= spectrum(hard, (h, h), 1)[0]


def test_box_of_three_axes_is_the_sum_of_lines() -> None:
    n, h = 13, 0.6
    lines = [0.5 * w * (h * (np.arange(n) - 6)) ** 2 for w in (1.0, 1.0, 2.5)]
    potential = lines[0][:, None, None] + lines[1][None, :, None] + lines[2]
    for order in ORDERS:
        singles = [spectrum(v, h, n, order=order) for v in lines]
        sums = np.sort(np.add.outer(np.add.outer(singles[0], singles[1]), singles[2]).ravel())[:6]
        assert sums[2] - sums[1] < 1e-12  # a degenerate pair
        result = ground_state(field(potential), spacing=(h, h, h), k=6, space_order=order)
        np.testing.assert_allclose(result.energies, sums, rtol=1e-12)
        assert bool(result.converged)


# --- the continuum ------------------------------------------------------------------------------------


def observed(
    potential_at: object,
    exact: float,
    reach: float,
    points: tuple[int, int],
    order: int,
    level: int = 0,
    shift: float = 0.0,
) -> float:
    """Order of the error of a level when the number of intervals doubles."""
    errors = []
    for n in points:
        x, h = line(reach, n)
        result = ground_state(field(potential_at(x + shift)), spacing=h, k=level + 1, space_order=order)  # type: ignore[operator]
        assert bool(result.converged)
        errors.append(abs(float(result.energies[level]) - exact))
    return float(np.log2(errors[0] / errors[1]))


CLOSED = {
    "oscillator": (lambda x: oscillator_state(x, 0)[0], 0.5, 9.0, 0, 0.0),
    "oscillator, n = 2": (lambda x: oscillator_state(x, 2)[0], 2.5, 9.0, 2, 0.0),
    "Morse": (
        lambda x: morse_state(x, 1, 12.0, 0.6)[0],
        morse_state(np.zeros(1), 1, 12.0, 0.6)[1],
        8.0,
        1,
        5.0,
    ),
    "Poeschl-Teller": (lambda x: poeschl_teller_state(x, 3, 2)[0], -2.0, 9.0, 1, 0.0),
    "soft core": (lambda x: soft_core_state(x)[0], -0.5, 22.0, 0, 0.0),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", CLOSED)
def test_order_of_the_levels(name: str, order: int) -> None:
    potential, exact, reach, level, shift = CLOSED[name]
    intervals = {2: 160, 4: 80, 6: 72}[order]
    if name == "soft core":
        intervals *= 2
    points = intervals - 1, 2 * intervals - 1
    assert observed(potential, exact, reach, points, order, level, shift) == pytest.approx(order, abs=0.25)


def test_infinite_well() -> None:
    """Modes of the grid exactly, and E = (n pi)^2 / 2 L^2 in order r."""
    length, levels = 2.0, np.arange(1, 4)
    exact = 0.5 * (levels * pi / length) ** 2
    for order in ORDERS:
        errors = []
        for n in (79, 159):
            h = length / (n + 1)
            energies = ground_state(
                torch.zeros(n, dtype=torch.float64), spacing=h, k=3, space_order=order
            ).energies
            modes = oracle.mode_energies(n, h, order=order)[:3].astype(np.float64)
            np.testing.assert_allclose(energies, modes, rtol=1e-11)
            errors.append(abs(modes - exact))
        np.testing.assert_allclose(np.log2(errors[0] / errors[1]), order, atol=0.05)


def test_discretisation_error_of_the_oscillator() -> None:
    """-m w^2 h^2 / 32 in order 2, and the numbers of the theory at h = 0.1."""
    x, h = line(10.0, 199)
    assert h == pytest.approx(0.1)
    energies = ground_state(field(0.5 * x**2), spacing=h, k=3).energies
    np.testing.assert_allclose(energies, [0.49968730, 1.49843574, 2.49593063], atol=6e-9)
    x, h = line(6.0, 399)
    w, m = 1.4, 1.7
    energy = float(ground_state(field(0.5 * m * w**2 * x**2), spacing=h, mass=m).energies[0])
    assert (energy - 0.5 * w) / h**2 == pytest.approx(-m * w**2 / 32, rel=1e-3)


@pytest.mark.parametrize(
    ("g", "exact"),
    [
        (0.1, (0.559146327184, 1.769502643949)),
        (0.5, (0.696175820765, 2.324406352106)),
        (1.0, (0.803770651234, 2.737892268007, 5.179291687639)),
    ],
)
def test_anharmonic_oscillator(g: float, exact: tuple[float, ...]) -> None:
    """Of order 6, extrapolated from two grids."""
    k = len(exact)
    coarse, fine = (
        ground_state(field(0.5 * x**2 + g * x**4), spacing=h, k=k, space_order=6).energies
        for x, h in (line(6.0, 239), line(6.0, 479))
    )
    np.testing.assert_allclose(fine + (fine - coarse) / 63, exact, atol=2e-10)


def quartic_in_oscillator_basis(size: int = 120, w: float = 2.0) -> float:
    """Lowest level of p^2/2 + x^4 by diagonalisation in states of an oscillator."""
    lower = np.diag(np.sqrt(np.arange(1, size + 8)), 1)
    x = (lower + lower.T) / np.sqrt(2 * w)
    p2 = -0.5 * w * (lower - lower.T) @ (lower - lower.T)
    h = (0.5 * p2 + np.linalg.matrix_power(x, 4))[:size, :size]
    return float(np.linalg.eigvalsh(h)[0])


def test_quartic_oscillator() -> None:
    exact = quartic_in_oscillator_basis()
    assert exact == pytest.approx(0.66798625915577710827, abs=1e-12)
    coarse, fine = (
        float(ground_state(field(x**4), spacing=h, space_order=6).energies[0])
        for x, h in (line(4.5, 199), line(4.5, 399))
    )
    assert fine + (fine - coarse) / 63 == pytest.approx(exact, abs=1e-10)


# --- what is returned ---------------------------------------------------------------------------------


def test_batch() -> None:
    rng = np.random.default_rng(1)
    x, h = line(7.0, 120)
    potentials = field(0.5 * rng.uniform(0.5, 2, (2, 3, 1)) * x**2 + rng.normal(size=(2, 3, 120)))
    result = ground_state(potentials, spacing=h, k=2, space_order=4)
    assert result.energies.shape == result.residuals.shape == (2, 3, 2)
    assert result.states.shape == (2, 3, 2, 120)
    assert result.converged.shape == (2, 3)
    assert result.converged.all()
    for i, j in np.ndindex(2, 3):
        alone = ground_state(potentials[i, j], spacing=h, k=2, space_order=4)
        np.testing.assert_allclose(result.energies[i, j], alone.energies, rtol=1e-13)
        np.testing.assert_allclose(result.states[i, j], alone.states, atol=1e-9)


def test_batch_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    potentials = field(rng.normal(size=(5, 90)))
    whole = ground_state(potentials, spacing=0.1, start=field(rng.normal(size=(5, 1, 90))))
    monkeypatch.setattr("qcore.schrodinger.stationary.CHUNK_NUMBERS", 2 * 5 * 3 * 90 * 2)
    parts = ground_state(potentials, spacing=0.1, start=field(rng.normal(size=(5, 1, 90))))
    np.testing.assert_allclose(parts.energies, whole.energies, rtol=1e-12)
    planes = field(rng.normal(size=(2, 9, 10)))
    both = ground_state(planes, spacing=(0.4, 0.5), k=2)
    for plane, energies in zip(planes, both.energies, strict=True):
        np.testing.assert_allclose(energies, spectrum(plane.numpy(), (0.4, 0.5), 2), rtol=1e-11)


def test_empty_batch() -> None:
    result = ground_state(torch.zeros(0, 3, 80, dtype=torch.float64), spacing=0.1, k=2)
    assert [tuple(part.shape) for part in result] == [(0, 3, 2), (0, 3, 2, 80), (0, 3, 2), (0, 3)]


def test_not_converged_says_so() -> None:
    x, h = line(8.0, 200)
    potential = 0.5 * x**2
    result = ground_state(field(potential), spacing=h, k=3, max_iterations=1)
    assert not bool(result.converged)
    assert (result.residuals > 1e-9).any()
    levels = spectrum(potential, h, 200)
    assert (result.energies.numpy() >= levels[:3] - 1e-12).all()  # upper bounds, one for each level
    for energy, residual in zip(result.energies.numpy(), result.residuals.numpy(), strict=True):
        assert np.abs(levels - energy).min() <= residual


def test_tolerance_is_kept() -> None:
    x, h = line(8.0, 200)
    for tolerance in (1e-3, 1e-6, 1e-11):
        result = ground_state(field(0.5 * x**2), spacing=h, k=2, tolerance=tolerance)
        assert (result.residuals <= tolerance * (result.energies + 0.1) + 1e-12).all()
        assert bool(result.converged)


def test_same_seed_same_bits_and_no_global_random_numbers() -> None:
    x, h = line(8.0, 100)
    before = torch.random.get_rng_state()
    one = ground_state(field(0.5 * x**2), spacing=h)
    two = ground_state(field(0.5 * x**2), spacing=h)
    other = ground_state(field(0.5 * x**2), spacing=h, seed=9)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.states, two.states)
    assert not torch.equal(one.states, other.states)
    np.testing.assert_allclose(one.states, other.states, atol=1e-8)


def test_float32_potential_is_computed_in_float64() -> None:
    x, h = line(8.0, 100)
    potential = field(0.5 * x**2).float()
    result = ground_state(potential, spacing=h)
    assert all(part.dtype == torch.float64 for part in result[:3])
    np.testing.assert_allclose(result.energies, spectrum(potential.double().numpy(), h, 1), rtol=1e-11)
