"""What the schemes are good for: short-time kernels made of actions of two or three beads, and their spectra.

The kernel exp(-S_E) on a fine grid is the transfer matrix of the lattice path integral; its largest
eigenvalue gives the lattice's ground-state energy, its trace the partition function. Theory, section 6.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from qcore.paths import action

E0, E1 = 0.803770651234273769, 2.73789226800843426  # H = p^2/2 + x^2/2 + x^4
Z2 = 0.204598470321  # at beta = 2
QUARTIC = [0.0, 0.0, 0.5, 0.0, 1.0]
GRID = np.linspace(-4.0, 4.0, 201)
SPACING = GRID[1] - GRID[0]


@cache
def kernel(scheme: str, dt: float) -> np.ndarray:
    """The kernel of one step, or of chin4's two, on the grid: density times spacing."""
    norm = SPACING / np.sqrt(2 * np.pi * dt)
    x = torch.tensor(GRID)
    if scheme != "chin4":
        pairs = torch.stack(torch.meshgrid(x, x, indexing="ij"), -1)
        return norm * (-action(pairs, QUARTIC, dt=dt, scheme=scheme)).exp().numpy()
    # A step x -> y -> z. The action is that of x -> y with y of the weight in the middle, plus that of y -> z
    # with a middle of weight nought: of three beads with the third, or the first, on the second.
    n = len(GRID)
    triples = torch.stack(torch.meshgrid(x, x, indexing="ij"), -1)
    left = torch.stack((triples[..., 0], triples[..., 1], triples[..., 1]), -1)
    whole = action(left, QUARTIC, dt=dt, scheme=scheme)
    alone = action(torch.stack((x, x, x), -1), QUARTIC, dt=dt, scheme=scheme)
    # whole(x, y) = K(x, y) + dt (V(x)/3 + 4/3 V~(y) + V(y)/3); alone(y) = dt (2/3 V(y) + 4/3 V~(y)).
    third = dt / 3 * (x.square() / 2 + x.pow(4))
    middle = alone - 2 * third
    first = whole - third[None, :]
    second = (first - middle[None, :]).T
    assert first.shape == second.shape == (n, n)
    return norm**2 * (-first).exp().numpy() @ (-second).exp().numpy()


@cache
def spectrum(scheme: str, dt: float) -> np.ndarray:
    steps = 2 if scheme == "chin4" else 1
    matrix = kernel(scheme, dt)
    if scheme in ("endpoint", "startpoint"):
        values = np.sort(np.linalg.eigvals(matrix).real)
    else:
        values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    return -np.log(values[::-1][:2]) / (steps * dt)


def order(errors: list[float]) -> float:
    """From two errors, at steps dt and dt / 2."""
    return float(np.log2(abs(errors[0]) / abs(errors[1])))


def test_lattice_energies_of_the_theory() -> None:
    assert spectrum("midpoint", 0.1)[0] == pytest.approx(0.7574476959, abs=1e-9)
    assert spectrum("trapezoid", 0.1)[0] == pytest.approx(0.8017443262, abs=1e-9)
    for dt, error in ((0.1, 2.24e-3), (0.05, 5.59e-4)):
        assert spectrum("midpoint-vanvleck", dt)[0] - E0 == pytest.approx(error, rel=5e-3)
    assert spectrum("takahashi-imada", 0.1)[0] - E0 == pytest.approx(-1.6e-5, rel=0.05)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("midpoint", 1),
        ("midpoint-vanvleck", 2),
        ("trapezoid", 2),
        ("endpoint", 2),
        ("startpoint", 2),
        ("takahashi-imada", 4),
        ("chin4", 4),
    ],
)
def test_orders_of_energies(scheme: str, expected: int) -> None:
    """On an anharmonic potential: the oscillator would hide the order of the midpoint."""
    for level, exact in enumerate((E0, E1)):
        errors = [spectrum(scheme, dt)[level] - exact for dt in (0.05, 0.025)]
        assert order(errors) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [("midpoint", 1), ("trapezoid", 2), ("endpoint", 1), ("takahashi-imada", 2), ("chin4", 4)],
)
def test_orders_of_matrix_elements(scheme: str, expected: int) -> None:
    """<x| exp(-H) |y>: of order 4 by chin4, but not by Takahashi and Imada."""
    reference, _ = converged()
    i, j = (int(np.argmin(np.abs(GRID - at))) for at in (0.51, -0.3))
    errors = []
    for dt in (1 / 16, 1 / 32):
        steps = round(1 / dt) // (2 if scheme == "chin4" else 1)
        power = np.linalg.matrix_power(kernel(scheme, dt), steps)
        errors.append(power[i, j] / SPACING - reference[i, j])
    assert order(errors) == pytest.approx(expected, abs=0.2)


@cache
def converged() -> tuple[np.ndarray, np.ndarray]:
    """<x| exp(-H) |y> by the Hamiltonian's own spectrum in the sinc basis of the grid, and its energies."""
    n = len(GRID)
    difference = np.subtract.outer(np.arange(n), np.arange(n))
    with np.errstate(divide="ignore"):
        kinetic = np.where(difference == 0, np.pi**2 / 3, 2.0 * (-1.0) ** difference / difference**2.0)
    h = kinetic / (2 * SPACING**2) + np.diag(GRID**2 / 2 + GRID**4)
    energies, states = np.linalg.eigh(h)
    return (states * np.exp(-energies)) @ states.T / SPACING, energies


def test_the_reference_itself() -> None:
    _, energies = converged()
    assert energies[:2] == pytest.approx([E0, E1], abs=1e-11)


@pytest.mark.parametrize(
    ("scheme", "z", "square", "quartic", "half"),
    [
        ("midpoint", 0.2297170588, 0.2755684352, 0.2062531192, 0.0811011760),
        ("trapezoid", 0.2059801837, 0.2645977668, 0.1901155090, 0.0746211998),
    ],
)
def test_a_finite_periodic_lattice(scheme: str, z: float, square: float, quartic: float, half: float) -> None:
    step = kernel(scheme, 0.125)
    eight = np.linalg.matrix_power(step, 8)
    whole = eight @ eight
    density = np.diag(whole)
    assert density.sum() == pytest.approx(z, abs=1e-9)
    assert (density * GRID**2).sum() / density.sum() == pytest.approx(square, abs=1e-9)
    assert (density * GRID**4).sum() / density.sum() == pytest.approx(quartic, abs=1e-9)
    across = np.einsum("i,ij,j,ji->", GRID, eight, GRID, eight) / density.sum()
    assert across == pytest.approx(half, abs=1e-9)


@pytest.mark.parametrize(("scheme", "expected"), [("takahashi-imada", 4), ("trapezoid", 2), ("chin4", 4)])
def test_orders_of_partition_functions(scheme: str, expected: int) -> None:
    errors = []
    for n in (32, 64):
        power = np.linalg.matrix_power(kernel(scheme, 2 / n), n // (2 if scheme == "chin4" else 1))
        errors.append(np.trace(power) - Z2)
    assert order(errors) == pytest.approx(expected, abs=0.15)


def test_paths_of_two_beads_and_long_paths_are_the_same_sum() -> None:
    """The action of a periodic path is the sum of those of its steps, so the transfer matrix is exact."""
    x = torch.randn(3, 6, dtype=torch.float64)
    pairs = torch.stack((x, torch.roll(x, -1, 1)), -1)
    for scheme in ("trapezoid", "midpoint", "endpoint", "midpoint-vanvleck", "takahashi-imada"):
        whole = action(0.5 * x, QUARTIC, dt=0.1, scheme=scheme, boundary="periodic")
        torch.testing.assert_close(whole, action(0.5 * pairs, QUARTIC, dt=0.1, scheme=scheme).sum(1))
