"""Observables against sums written out, closed forms, and laws that hold exactly on the grid."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qcore.schrodinger.hamiltonian import hamiltonian
from qcore.schrodinger.observables import (
    autocorrelation,
    energy,
    expectation,
    momentum,
    norm,
    probability_current,
    spectrum,
    transmission,
)
from qcore.schrodinger.scattering import barrier_transmission, sech2_transmission

from . import closed_forms, oracle
from .support import C64, C128, F32, F64, random_field, tensor

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Arrays this small are slower on several threads, and much slower on a busy machine."""
    torch.set_num_threads(1)


WALLS = ("dirichlet", "periodic")
GRIDS: list[tuple[tuple[int, ...], Any]] = [((7,), 0.5), ((3, 4), (0.5, 0.25)), ((2, 3, 4), (0.5, 0.25, 2.0))]


# --- norm, expectation, energy ------------------------------------------------------------------------


@pytest.mark.parametrize(("space", "spacing"), GRIDS)
@pytest.mark.parametrize("dtype", [F32, F64, C64, C128])
def test_norm_counts_the_cell(space: tuple[int, ...], spacing: Any, dtype: torch.dtype) -> None:
    psi = random_field((2, *space)) if dtype.is_complex else random_field((2, *space)).real
    cell = np.prod(spacing)
    expected = [math.sqrt(cell * sum(abs(z) ** 2 for z in row.ravel())) for row in psi]
    found = norm(tensor(psi, dtype), spacing=spacing)
    assert found.dtype == dtype.to_real()
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=F64), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("space", "spacing"), GRIDS)
def test_expectation_of_a_function_of_position(space: tuple[int, ...], spacing: Any) -> None:
    psi, x = random_field((2, *space)), random_field(space, 1).real
    weight = abs(psi) ** 2
    expected = [(row * x).sum() / row.sum() for row in weight]
    found = expectation(tensor(psi), tensor(x), spacing=spacing)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=F64))
    mask = x > 0
    share = expectation(tensor(psi), torch.from_numpy(mask), spacing=spacing)
    torch.testing.assert_close(
        share, tensor((weight * mask).reshape(2, -1).sum(1) / weight.reshape(2, -1).sum(1))
    )


@pytest.mark.parametrize(("space", "spacing"), GRIDS)
@pytest.mark.parametrize("order", [2, 4])
def test_energy_is_the_quotient_of_the_dense_matrix(space: tuple[int, ...], spacing: Any, order: int) -> None:
    psi, potential = random_field((2, *space)), random_field(space, 1).real
    dense = oracle.hamiltonian(potential, spacing, order=order)
    flat = psi.reshape(2, -1)
    expected = np.einsum("bi,ij,bj->b", flat.conj(), dense, flat) / (abs(flat) ** 2).sum(1)
    found = energy(tensor(psi), tensor(potential), spacing=spacing, space_order=order)
    torch.testing.assert_close(found, tensor(expected.real), rtol=1e-12, atol=0)
    operator = expectation(
        tensor(psi),
        lambda f: hamiltonian(f, tensor(potential), spacing=spacing, space_order=order),
        spacing=spacing,
    )
    torch.testing.assert_close(operator, found.to(C128), rtol=1e-12, atol=1e-12)


def test_the_imaginary_part_of_an_energy_is_the_loss() -> None:
    psi, potential = random_field((9,)), random_field((9,), 1)
    potential = potential.real - 1j * abs(potential.imag)
    rate = -2 * (potential.imag * abs(psi) ** 2).sum() / (abs(psi) ** 2).sum() / 1.3
    found = energy(tensor(psi), tensor(potential), spacing=0.5, hbar=1.3)
    assert float(found.imag) == pytest.approx(-1.3 / 2 * rate, rel=1e-12)


# --- momentum -----------------------------------------------------------------------------------------


def grid(n: int, length: float, boundary: str = "dirichlet") -> tuple[np.ndarray, float]:
    h = length / (n if boundary == "periodic" else n + 1)
    return (np.arange(n) + 1) * h - length / 2, h


@pytest.mark.parametrize("boundary", WALLS)
@pytest.mark.parametrize("n", [80, 81])
def test_momentum_of_a_packet(boundary: str, n: int) -> None:
    x, h = grid(n, 24.0, boundary)
    psi = tensor(closed_forms.gaussian_packet(x, 0.5, 1.2, 1.0))
    exact = -1.5j * (-(x - 0.5) / 2 + 1.2j) * psi.numpy()
    found = momentum(psi, spacing=h, hbar=1.5, boundary=boundary, difference="spectral")
    torch.testing.assert_close(found, tensor(exact), rtol=0, atol=1e-9)
    mean = expectation(psi, lambda f: momentum(f, spacing=h, hbar=1.5, boundary=boundary), spacing=h)
    # a central difference has sin(k h) / h for k; its mean over a Gaussian of k is known
    assert mean.item() == pytest.approx(1.5 * math.sin(1.2 * h) / h * math.exp(-(h**2) / 8), abs=1e-9)


@pytest.mark.parametrize("axis", [-3, -2, -1])
@pytest.mark.parametrize("boundary", WALLS)
def test_momentum_is_the_sum_of_the_current(axis: int, boundary: str) -> None:
    psi, spacing = tensor(random_field((2, 3, 4, 5))), (0.5, 0.25, 2.0)
    setting: dict[str, Any] = {"spacing": spacing, "axis": axis, "hbar": 1.3, "boundary": boundary}
    current = probability_current(psi, mass=(1.0, 0.7, 3.0), **setting)
    size = (psi.abs() ** 2).sum((1, 2, 3))
    mass = (1.0, 0.7, 3.0)[axis]
    found = expectation(psi, lambda f: momentum(f, **setting), spacing=spacing)
    expected = mass * current.sum((1, 2, 3)) / size  # a face has the weight of a point
    torch.testing.assert_close(found, expected.to(C128), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("difference", "boundary"), [("central", "dirichlet"), ("central", "periodic"), ("spectral", "periodic")]
)
def test_momentum_is_hermitian(difference: str, boundary: str) -> None:
    left, right = tensor(random_field((8,))), tensor(random_field((8,), 1))

    def apply(f: Tensor) -> Tensor:
        return momentum(f, spacing=0.5, boundary=boundary, difference=difference)

    torch.testing.assert_close((left.conj() * apply(right)).sum(), (apply(left).conj() * right).sum())


@pytest.mark.parametrize("n", [1, 2, 9])
def test_spectral_momentum_between_walls_turns_sines_into_cosines(n: int) -> None:
    amplitudes, k = random_field((n,)), np.pi * (np.arange(n) + 1) / ((n + 1) * 0.3)
    x = 0.3 * (np.arange(n) + 1)
    psi = np.sin(np.outer(x, k)) @ amplitudes
    found = momentum(tensor(psi), spacing=0.3, difference="spectral")
    torch.testing.assert_close(found, tensor(-1j * np.cos(np.outer(x, k)) @ (k * amplitudes)))


# --- current ------------------------------------------------------------------------------------------


def crank_nicolson(psi: np.ndarray, dense: np.ndarray, dt: float, hbar: float) -> np.ndarray:
    one = np.eye(len(dense))
    return np.linalg.solve(one + 0.5j * dt / hbar * dense, (one - 0.5j * dt / hbar * dense) @ psi)


@pytest.mark.parametrize("boundary", WALLS)
@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_continuity_is_exact_for_crank_nicolson(boundary: str, n: int) -> None:
    psi, potential, h, dt = random_field((n,)), random_field((n,), 1).real, 0.4, 0.3
    setting: dict[str, Any] = {"mass": 0.7, "hbar": 1.3, "boundary": boundary}
    after = crank_nicolson(psi, oracle.hamiltonian(potential, h, **setting), dt, 1.3)
    current = probability_current(tensor((psi + after) / 2), spacing=h, **setting).numpy()
    inflow = current[:-1] - current[1:] if boundary == "dirichlet" else np.roll(current, 1) - current
    assert current.shape == (n + 1 if boundary == "dirichlet" else n,)
    np.testing.assert_allclose((abs(after) ** 2 - abs(psi) ** 2) / dt, inflow / h, rtol=0, atol=1e-12 * n)


@pytest.mark.parametrize("walls", list(itertools.product(WALLS, repeat=3)))
def test_continuity_on_three_axes(walls: tuple[str, ...]) -> None:
    space, spacing = (3, 4, 2), (0.5, 0.25, 2.0)
    psi, potential = tensor(random_field(space)), tensor(random_field(space, 1).real)
    setting: dict[str, Any] = {"spacing": spacing, "mass": (1.0, 0.7, 3.0), "hbar": 1.3, "boundary": walls}
    # d|psi|^2/dt = 2 Re(conj(psi) dpsi/dt), with dpsi/dt = -i H psi / hbar
    change = 2 * (psi.conj() * (-1j / 1.3) * hamiltonian(psi, potential, **setting)).real
    inflow = torch.zeros(space, dtype=F64)
    for axis in (-3, -2, -1):
        current = probability_current(psi, axis=axis, **setting)
        walled = walls[axis] == "dirichlet"
        step = current.diff(dim=axis) if walled else current - current.roll(1, axis)
        inflow -= step / spacing[axis]
    torch.testing.assert_close(change, inflow, rtol=0, atol=1e-12)


def test_the_current_of_a_plane_wave_and_of_a_real_state() -> None:
    k = 2 * math.pi * 3 / 20
    wave = tensor(np.exp(1j * k * np.arange(20)))
    found = probability_current(wave, spacing=0.5, mass=2.0, hbar=1.5, boundary="periodic")
    torch.testing.assert_close(found, torch.full((20,), 1.5 / (2.0 * 0.5) * math.sin(k), dtype=F64))
    assert not probability_current(wave.real, spacing=0.5).any()


# --- transmission -------------------------------------------------------------------------------------


def test_transmission_is_the_probability_of_a_region() -> None:
    psi = random_field((2, 3, 4, 5))
    weight = abs(psi) ** 2 * 0.5 * 0.25 * 2.0
    spacing = (0.5, 0.25, 2.0)
    for axis, n in ((-3, 3), (-2, 4), (-1, 5)):
        for start in range(n + 1):
            expected = np.moveaxis(weight, axis, -1)[..., start:].sum((1, 2, 3))
            found = transmission(tensor(psi), start, spacing=spacing, axis=axis)
            torch.testing.assert_close(found, tensor(expected))
            mask = torch.arange(n).reshape(-1, *(1,) * (-axis - 1)) >= start
            torch.testing.assert_close(transmission(tensor(psi), mask, spacing=spacing), found)
            graded = transmission(tensor(psi), 0.5 * mask, spacing=spacing)
            torch.testing.assert_close(graded, 0.5 * found)


def test_rectangular_barrier_against_the_matching_of_waves() -> None:
    k = np.linspace(0.05, 6.0, 400)
    for height, width in ((2.0, 1.0), (0.3, 4.0), (-3.0, 1.7), (8.0, 0.2)):
        expected = closed_forms.rectangle_transmission(k, height, width)
        found = barrier_transmission(tensor(0.5 * k * k), height=height, width=width)
        torch.testing.assert_close(found, tensor(expected), rtol=1e-11, atol=1e-300)
    # the same barriers with lengths halved, for another particle: energies are times 4 hbar^2 / m
    unit = 4 * 1.3**2 / 2.0
    setting = {"height": 2 * unit, "width": 0.5, "mass": 2.0, "hbar": 1.3}
    for function, known in (
        (barrier_transmission, closed_forms.rectangle_transmission(k, 2.0, 1.0)),
        (sech2_transmission, closed_forms.sech2_transmission(k, 2.0)),
    ):
        found = function(tensor(0.5 * k * k * unit), **setting)
        torch.testing.assert_close(found, tensor(known), rtol=1e-11, atol=0)


def test_rectangular_barrier_where_the_energy_meets_the_top() -> None:
    top = 2.0
    energies = top * (1 + torch.tensor([-1e-3, -1e-4, -1e-6, 0.0, 1e-6, 1e-4, 1e-3], dtype=F64))
    found = barrier_transmission(energies, height=top, width=1.3)
    limit = 1 / (1 + top * 1.3**2 / 2)
    torch.testing.assert_close(found[3], torch.tensor(limit, dtype=F64))
    # smooth through the seams of the series and of the two signs
    slope = found.diff() / energies.diff()
    assert float(slope.std() / slope.mean()) < 2e-3
    assert barrier_transmission(torch.zeros(1), height=1.0, width=1.0).item() == 0.0
    assert barrier_transmission(torch.ones(1), height=1e4, width=100.0).item() == 0.0
    assert barrier_transmission(torch.ones(1), height=0.0, width=1.0).item() == 1.0


def test_smooth_barrier_against_its_textbook_form() -> None:
    k = np.linspace(0.05, 6.0, 400)
    for height, a in ((2.0, 1.0), (0.1, 1.0), (-1.7, 0.6), (3.0, 2.5)):
        expected = closed_forms.sech2_transmission(k, height, a)
        found = sech2_transmission(tensor(0.5 * k * k), height=height, width=1 / a)
        torch.testing.assert_close(found, tensor(expected), rtol=1e-10, atol=1e-300)
    energies = torch.tensor([1e-3, 1.0, 1e6], dtype=F64)
    for l in (1, 2, 3):  # noqa: E741  (the field's name)
        assert (sech2_transmission(energies, height=-l * (l + 1) / 2, width=1.0) == 1).all()
    assert sech2_transmission(energies, height=1e7, width=10.0)[:2].tolist() == [0.0, 0.0]


def test_transmissions_have_derivatives() -> None:
    energies = torch.tensor([0.4, 1.0, 1.9995, 2.0, 2.001, 5.0], dtype=F64, requires_grad=True)
    for function in (barrier_transmission, sech2_transmission):
        for height in (2.0, -1.3):
            assert torch.autograd.gradcheck(lambda e: function(e, height=height, width=1.2), (energies,))  # noqa: B023


# --- spectra ------------------------------------------------------------------------------------------


def test_autocorrelation_starts_with_the_start() -> None:
    psi, frames = random_field((2, 5)), random_field((3, 2, 5), 1)
    found = autocorrelation(tensor(psi), tensor(frames), spacing=0.5)
    series = np.concatenate([psi[None], frames])
    torch.testing.assert_close(found, tensor(0.5 * (psi.conj() * series).sum(-1)))


def exact_correlation(
    weights: np.ndarray, energies: np.ndarray, dt: float, count: int, hbar: float
) -> Tensor:
    t = dt * np.arange(count)
    return tensor((weights * np.exp(-1j * np.outer(t, energies) / hbar)).sum(-1))


@pytest.mark.parametrize("window", ["hann", "gaussian", "none"])
def test_spectrum_of_a_coherent_oscillator_state(window: str) -> None:
    # |c_n|^2 of a coherent state are Poisson's; here with mean 2
    n, hbar, dt, count = np.arange(12), 1.3, 0.11, 900
    weights = np.exp(-2.0) * 2.0**n / np.array([math.factorial(i) for i in n], float)
    levels = 1.3 * 0.7 * (n + 0.5)
    correlation = exact_correlation(weights, levels, dt, count, hbar)
    energies, intensity = spectrum(correlation, dt=dt, hbar=hbar, window=window)
    width = float(energies[1] - energies[0])
    assert (energies.diff() > 0).all()
    assert len(energies) == 8 * count
    assert float(energies[0]) == pytest.approx(-math.pi * hbar / dt)
    assert float(intensity.sum()) * width == pytest.approx(float(correlation[0].real), rel=1e-12)
    for level, weight in zip(levels[:6], weights[:6], strict=True):
        near = (energies - level).abs() < 0.3
        peak = energies[near][intensity[near].argmax()]
        assert abs(float(peak) - level) <= 1.01 * width
        if window != "none":  # whose side lobes reach into the neighbours
            assert float(intensity[near].sum()) * width == pytest.approx(weight, rel=1e-2, abs=2e-4)


def test_spectrum_of_a_run_finds_the_levels_of_the_grid() -> None:
    x, h = grid(63, 16.0)
    potential = 0.5 * x * x
    dense = oracle.hamiltonian(potential, h)
    levels = np.linalg.eigvalsh(dense)
    dt, count = 0.15, 800
    step = oracle.exact_step(dense, -1j * dt)
    psi = closed_forms.gaussian_packet(x, 1.0, 0.0, math.sqrt(0.5)).astype(complex)
    frames = [psi]
    for _ in range(count - 1):
        frames.append(step @ frames[-1])
    correlation = autocorrelation(tensor(psi), tensor(np.array(frames[1:])), spacing=h)
    energies, intensity = spectrum(correlation, dt=dt)
    width = float(energies[1] - energies[0])
    for level in levels[:5]:
        near = (energies - level).abs() < 0.4
        assert abs(float(energies[near][intensity[near].argmax()]) - level) <= width


def test_spectrum_of_a_batch_and_of_one_entry() -> None:
    a = exact_correlation(np.array([0.5, 0.5]), np.array([1.0, 2.0]), 0.2, 50, 1.0)
    b = exact_correlation(np.array([1.0]), np.array([-3.0]), 0.2, 50, 1.0)
    both = spectrum(torch.stack([a, b], 1), dt=0.2, padding=2)
    for i, one in enumerate((a, b)):
        torch.testing.assert_close(both.intensity[:, i], spectrum(one, dt=0.2, padding=2).intensity)
    flat = spectrum(torch.ones(1, dtype=C128), dt=0.2).intensity
    torch.testing.assert_close(flat, torch.full_like(flat, 0.2 / (2 * math.pi)))


# --- derivatives --------------------------------------------------------------------------------------


def test_derivatives() -> None:
    psi = tensor(random_field((2, 5))).requires_grad_()
    potential = tensor(random_field((5,), 1).real).requires_grad_()
    frames = tensor(random_field((3, 2, 5), 2)).requires_grad_()
    functions: list[Any] = [
        lambda p, v, f: norm(p, spacing=0.5),
        lambda p, v, f: expectation(p, v, spacing=0.5),
        lambda p, v, f: expectation(p, lambda g: momentum(g, spacing=0.5), spacing=0.5),
        lambda p, v, f: momentum(p, spacing=0.5, difference="spectral"),
        lambda p, v, f: energy(p, v, spacing=0.5),
        lambda p, v, f: probability_current(p, spacing=0.5),
        lambda p, v, f: transmission(p, 2, spacing=0.5),
        lambda p, v, f: spectrum(autocorrelation(p, f, spacing=0.5), dt=0.3, padding=1).intensity,
    ]
    for function in functions:
        assert torch.autograd.gradcheck(function, (psi, potential, frames))
    zero = torch.zeros(4, dtype=C128, requires_grad=True)
    norm(zero, spacing=0.5).backward()
    assert zero.grad is not None
    assert not zero.grad.any()


def test_maps_over_states() -> None:
    psi, potential = tensor(random_field((3, 6))), tensor(random_field((6,), 1).real)
    for function in (
        lambda p: norm(p, spacing=0.5),
        lambda p: energy(p, potential, spacing=0.5),
        lambda p: probability_current(p, spacing=0.5),
        lambda p: transmission(p, 2, spacing=0.5),
        lambda p: momentum(p, spacing=0.5, difference="spectral"),
    ):
        torch.testing.assert_close(torch.func.vmap(function)(psi), function(psi))


# --- what they refuse ---------------------------------------------------------------------------------

PSI, X = torch.ones(2, 6, dtype=C128), torch.zeros(6, dtype=F64)
GOOD: dict[Any, dict[str, Any]] = {
    norm: {"psi": PSI, "spacing": 0.5},
    expectation: {"psi": PSI, "observable": X, "spacing": 0.5},
    momentum: {"psi": PSI, "spacing": 0.5},
    probability_current: {"psi": PSI, "spacing": 0.5},
    transmission: {"psi": PSI, "region": 3, "spacing": 0.5},
    autocorrelation: {"psi": PSI, "frames": PSI[None], "spacing": 0.5},
    spectrum: {"correlation": PSI[0], "dt": 0.1},
    barrier_transmission: {"energy": X, "height": 1.0, "width": 1.0},
    sech2_transmission: {"energy": X, "height": 1.0, "width": 1.0},
}
BROKEN: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    *[
        (f, change, error, words)
        for f in (norm, expectation, momentum, probability_current, transmission, autocorrelation)
        for change, error, words in (
            ({"psi": 1.0}, TypeError, "psi: expected a torch.Tensor, got float"),
            ({"psi": torch.ones(2, 6).int()}, TypeError, "psi: expected one of"),
            ({"psi": torch.tensor(1.0)}, ValueError, "psi: expected at least 1 axes"),
            ({"spacing": -1.0}, ValueError, "spacing: expected a finite number > 0"),
        )
    ],
    (expectation, {"observable": X[:5]}, ValueError, "observable: expected a shape that broadcasts"),
    (expectation, {"observable": "x"}, TypeError, "observable: expected a torch.Tensor or a callable"),
    (expectation, {"observable": lambda f: 1.0}, TypeError, r"observable\(psi\): expected a torch.Tensor"),
    (expectation, {"observable": lambda f: f[0]}, ValueError, r"observable\(psi\): expected shape \(2, 6\)"),
    *[
        (f, {"axis": value}, error, words)
        for f in (momentum, probability_current, transmission)
        for value, error, words in (
            (0, ValueError, "axis: expected a space axis counted from the end, -1 to -1, got 0"),
            (-2, ValueError, "axis: expected a space axis"),
            (1.0, TypeError, "axis: expected an int"),
        )
    ],
    *[
        (f, change, error, words)
        for f in (momentum, probability_current)
        for change, error, words in (
            ({"hbar": 0.0}, ValueError, "hbar: expected"),
            ({"boundary": "transparent"}, ValueError, "boundary: expected one of 'dirichlet', 'periodic'"),
        )
    ],
    (probability_current, {"mass": 0.0}, ValueError, "mass: expected"),
    (momentum, {"difference": "forward"}, ValueError, "difference: expected one of 'central', 'spectral'"),
    (transmission, {"region": 7}, ValueError, "region: expected an index from 0 to 6, got 7"),
    (transmission, {"region": -1}, ValueError, "region: expected an index from 0 to 6"),
    (transmission, {"region": 0.5}, TypeError, "region: expected an int, or a bool or real tensor"),
    (transmission, {"region": PSI}, TypeError, "region: expected an int, or a bool or real tensor"),
    (transmission, {"region": X[:5]}, ValueError, "region: expected a shape that broadcasts"),
    (autocorrelation, {"frames": None}, TypeError, "frames: expected a torch.Tensor"),
    (autocorrelation, {"frames": PSI}, ValueError, r"frames: expected \(count, \*psi.shape\)"),
    (autocorrelation, {"frames": PSI[None].to(C64)}, TypeError, "frames: expected the dtype of psi"),
    (spectrum, {"correlation": X}, TypeError, "correlation: expected a complex tensor"),
    (spectrum, {"correlation": [1.0]}, TypeError, "correlation: expected a torch.Tensor"),
    (spectrum, {"correlation": PSI[:0]}, ValueError, r"correlation: expected \(count, \*batch\)"),
    (spectrum, {"dt": 0.0}, ValueError, "dt: expected a finite number > 0"),
    (spectrum, {"hbar": -1.0}, ValueError, "hbar: expected a finite number > 0"),
    (spectrum, {"window": "box"}, ValueError, "window: expected one of 'hann', 'gaussian', 'none'"),
    (spectrum, {"padding": 0}, ValueError, "padding: expected an int > 0"),
    (spectrum, {"padding": 1.5}, TypeError, "padding: expected an int"),
    *[
        (f, change, error, words)
        for f in (barrier_transmission, sech2_transmission)
        for change, error, words in (
            ({"energy": 1.0}, TypeError, "energy: expected a torch.Tensor"),
            ({"energy": PSI}, TypeError, "energy: expected torch.float32 or torch.float64"),
            ({"energy": X - 1}, ValueError, "energy: expected numbers >= 0"),
            ({"height": math.inf}, ValueError, "height: expected a finite number"),
            ({"height": "1"}, TypeError, "height: expected a real number"),
            ({"width": 0.0}, ValueError, "width: expected a finite number > 0"),
            ({"mass": -1.0}, ValueError, "mass: expected a finite number > 0"),
            ({"hbar": 0.0}, ValueError, "hbar: expected a finite number > 0"),
        )
    ],
]


@pytest.mark.parametrize(("function", "change", "error", "words"), BROKEN)
def test_refuses(function: Any, change: dict[str, Any], error: type[Exception], words: str) -> None:
    function(**GOOD[function])
    with pytest.raises(error, match=words):
        function(**{**GOOD[function], **change})
