"""Split steps against dense exponentials, coherent and forced states, and what V(t) and absorbers ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qcore.schrodinger.fourier import BLANES_MOAN, STRANG, split_step
from qcore.schrodinger.observables import norm
from qcore.schrodinger.scattering import sech2_transmission

from . import closed_forms, oracle
from .support import C64, C128, F32, F64, distance, random_field, tensor

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Arrays this small are slower on several threads, and much slower on a busy machine."""
    torch.set_num_threads(1)


def ring(n: int, length: float) -> tuple[np.ndarray, float]:
    h = length / n
    return (np.arange(n) - n // 2) * h, h


def evolve(psi: np.ndarray, potential: Any, dtype: torch.dtype = C128, **setting: Any) -> np.ndarray:
    potential = tensor(potential) if isinstance(potential, np.ndarray) else potential
    found = split_step(tensor(psi, dtype), potential, **setting)
    assert isinstance(found, Tensor)
    assert found.dtype == dtype
    assert found.shape == psi.shape
    return found.to(C128).numpy()


def spectral(potential: np.ndarray, spacing: Any, mass: Any = 1.0, hbar: float = 1.0) -> np.ndarray:
    """Dense H on a ring: plane waves are its free states, built as outer products, without a transform."""
    axes = potential.ndim
    steps = spacing if isinstance(spacing, tuple) else (spacing,) * axes
    masses = mass if isinstance(mass, tuple) else (mass,) * axes
    total = np.diag(potential.ravel()).astype(complex)
    for axis, (n, h, m) in enumerate(zip(potential.shape, steps, masses, strict=True)):
        number = np.arange(n) - n * (2 * np.arange(n) >= n)
        waves = np.exp(2j * np.pi * np.outer(np.arange(n), number) / n) / math.sqrt(n)
        energies = (hbar * 2 * np.pi * number / (n * h)) ** 2 / (2 * m)
        product = np.ones((1, 1))
        for other, size in enumerate(potential.shape):
            factor = (waves * energies) @ waves.conj().T if other == axis else np.eye(size)
            product = np.kron(product, factor)
        total = total + product
    return total


def orders(errors: list[float]) -> list[float]:
    return [math.log2(a / b) for a, b in pairwise(errors)]


# --- orders in time -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [STRANG, BLANES_MOAN])
def test_schemes_are_consistent_palindromes(scheme: Any) -> None:
    for coefficients in scheme:
        assert sum(coefficients) == pytest.approx(1.0, abs=1e-15)
        assert coefficients == coefficients[::-1]
    assert len(scheme[0]) == len(scheme[1]) + 1


@pytest.mark.parametrize(
    ("space", "spacing"), [((16,), 0.5), ((6, 5), (0.5, 0.7)), ((4, 3, 5), (0.9, 0.8, 0.7))]
)
@pytest.mark.parametrize("order", [2, 4])
def test_order_in_time_against_the_exponential_of_the_matrix(
    space: tuple[int, ...], spacing: Any, order: int
) -> None:
    psi, potential = random_field((2, *space)), random_field(space, 1).real
    mass = (1.0, 1.7, 0.8)[: len(space)]
    dense = spectral(potential, spacing, mass, 1.3)
    energies, states = np.linalg.eigh(dense)
    exact = (states * np.exp(-1j * 0.8 / 1.3 * energies)) @ states.conj().T
    exact_psi = (psi.reshape(2, -1) @ exact.T).reshape(psi.shape)
    errors = []
    for steps in (16, 32):
        setting: dict[str, Any] = {"spacing": spacing, "mass": mass, "hbar": 1.3, "order": order}
        errors.append(distance(evolve(psi, potential, dt=0.8 / steps, steps=steps, **setting), exact_psi))
    assert orders(errors)[-1] == pytest.approx(order, abs=0.1)


def revival(steps: int, order: int, n: int = 128) -> float:
    """L2 error of a coherent state after one period, psi(T) = -psi(0)."""
    w = 0.2
    x, h = ring(n, 80.0)
    psi = (w / math.pi) ** 0.25 * np.exp(-0.5 * w * (x - 10) ** 2)
    period = 2 * math.pi / w
    found = evolve(psi, 0.5 * w * w * x * x, dt=period / steps, steps=steps, spacing=h, order=order)
    return math.sqrt(h * (abs(found + psi) ** 2).sum())


@pytest.mark.parametrize(("order", "steps"), [(2, 160), (4, 40)])
def test_order_in_time_of_a_revival(order: int, steps: int) -> None:
    errors = [revival(steps * 2**i, order) for i in range(2)]
    assert orders(errors)[-1] == pytest.approx(order, abs=0.02)


def test_fourth_order_pays_at_equal_numbers_of_transforms() -> None:
    # six kicks to one
    assert revival(27, 4) * 500 < revival(162, 2)


def test_space_is_spectral() -> None:
    errors = [revival(400, 4, n) for n in (64, 96, 128)]
    assert errors[-1] < 1e-10  # all that is left is that of time
    gains = [a / b for a, b in pairwise(errors)]
    assert min(gains) > 1000.0


# --- closed forms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4])
def test_a_free_packet_is_exact_in_one_step(order: int) -> None:
    x, h = ring(384, 90.0)
    psi = closed_forms.free_packet(x, 0.0, -8.0, 2.0, 1.1, mass=0.8, hbar=1.3)
    exact = closed_forms.free_packet(x, 4.0, -8.0, 2.0, 1.1, mass=0.8, hbar=1.3)
    setting: dict[str, Any] = {"spacing": h, "mass": 0.8, "hbar": 1.3, "order": order}
    free = np.zeros(384)
    assert distance(evolve(psi, free, dt=4.0, steps=1, **setting), exact) < 1e-9
    assert distance(evolve(psi, free, dt=0.5, steps=8, **setting), exact) < 1e-9


@pytest.mark.parametrize(("order", "steps"), [(2, 100), (4, 25)])
def test_a_forced_oscillator_keeps_the_order(order: int, steps: int) -> None:
    x, h = ring(128, 32.0)
    forced = closed_forms.ForcedOscillator(1.0, 1.5, 0.5, force=0.8, drive=1.7, mass=0.9, hbar=1.2)
    start, end = forced.psi(x, 0.0), forced.psi(x, 5.0)
    positions = tensor(x)
    times: list[float] = []

    def potential(t: float) -> Tensor:
        times.append(t)
        return 0.5 * 0.9 * positions**2 - 0.8 * math.cos(1.7 * t) * positions

    errors = []
    for count in (2 * steps, 4 * steps):
        setting: dict[str, Any] = {"spacing": h, "mass": 0.9, "hbar": 1.2, "order": order}
        found = evolve(start, potential, dt=5.0 / count, steps=count, **setting)
        errors.append(distance(found, end))
    assert orders(errors)[-1] == pytest.approx(order, abs=0.1)
    assert len(times) == 6 * steps * (1 if order == 2 else 6)
    if order == 2:
        np.testing.assert_allclose(times[:3], 2.5 / steps * np.array([0.5, 1.5, 2.5]), rtol=1e-14)


@pytest.mark.parametrize(
    ("barrier", "transmission", "k0"),
    [
        (lambda x: 2.0 / np.cosh(x) ** 2, lambda e: sech2_transmission(e, height=2.0, width=1.0), 1.9),
        (lambda x: -3.0 / np.cosh(x) ** 2, lambda e: sech2_transmission(e, height=-3.0, width=1.0), 2.5),
    ],
)
def test_a_packet_is_transmitted_as_the_formula_says(
    barrier: Callable[[np.ndarray], np.ndarray], transmission: Callable[[Tensor], Tensor], k0: float
) -> None:
    x, h = ring(1024, 240.0)
    s, start = 4.0, -35.0
    psi = closed_forms.gaussian_packet(x, start, k0, s)
    found = evolve(psi, barrier(x), dt=0.1, steps=400, spacing=h, order=4)
    k = np.linspace(max(k0 - 6 / s, 1e-6), k0 + 6 / s, 2001)
    weight = s * math.sqrt(2 / math.pi) * np.exp(-2 * (s * (k - k0)) ** 2)
    mean = np.trapezoid(weight * transmission(tensor(0.5 * k * k)).numpy(), k)
    assert mean > 0.1
    assert h * (abs(found[x > 0]) ** 2).sum() == pytest.approx(mean, abs=2e-6)


def test_imaginary_time_finds_ground_states() -> None:
    x, h = ring(64, 16.0)
    potential, _, state = closed_forms.oscillator_state(x, 0)
    state = state / math.sqrt(h * (state**2).sum())
    start = abs(random_field((2, 64)).real) + 0.1
    errors = []
    for dt in (0.2, 0.1):
        found = evolve(start, potential + 100.0, F64, dt=dt, steps=round(30 / dt), spacing=h, imaginary=True)
        assert distance(h * (abs(found) ** 2).sum(-1), np.ones(2)) < 1e-13
        errors.append(distance(found.real, np.stack([state, state])))
    assert orders(errors)[0] == pytest.approx(2, abs=0.05)
    alike = evolve(start, potential, dt=0.1, steps=300, spacing=h, imaginary=True)
    assert distance(alike, found) < 1e-12  # complex psi, another zero of energy


def test_one_step_of_imaginary_time_is_the_product_of_its_factors() -> None:
    psi, potential = random_field((3, 6)), random_field((6,), 1).real
    half = oracle.exact_step(spectral(np.zeros(6), 0.7, hbar=1.3).real, -0.15 / 1.3)
    expected = psi @ (half @ np.diag(np.exp(-0.3 / 1.3 * potential)) @ half).T
    expected = expected / np.sqrt(0.7 * (abs(expected) ** 2).sum(-1, keepdims=True))
    found = evolve(psi, potential, dt=0.3, steps=1, spacing=0.7, hbar=1.3, imaginary=True)
    assert distance(found, expected) < 1e-13


def test_imaginary_time_neither_over_nor_underflows() -> None:
    x, h = ring(64, 16.0)
    for offset in (-1e6, 1e6):
        potential = 0.5 * x * x + offset
        found = evolve(np.exp(-x * x), potential, F32, dt=0.5, steps=200, spacing=h, imaginary=True)
        assert h * (abs(found) ** 2).sum() == pytest.approx(1.0, abs=1e-5)


# --- conservation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(C128, 1e-12), (C64, 2e-4)])
def test_unitary_and_reversible(order: int, dtype: torch.dtype, tolerance: float) -> None:
    psi, potential = random_field((3, 20)), 3 * random_field((3, 20), 1).real
    there = evolve(psi, potential, dtype, dt=0.1, steps=100, spacing=0.4, order=order)
    sizes = (abs(there) ** 2).sum(-1) / (abs(psi) ** 2).sum(-1)
    np.testing.assert_allclose(sizes, 1.0, rtol=0, atol=tolerance)
    back = evolve(there, potential, dtype, dt=-0.1, steps=100, spacing=0.4, order=order)
    assert distance(back, psi) < 10 * tolerance


def test_an_absorber_takes_what_its_exponential_says() -> None:
    # W everywhere: |psi|^2 falls by exp(-2 W t / hbar) however the packet moves
    psi = random_field((2, 12))
    for order in (2, 4):
        setting: dict[str, Any] = {"dt": 0.1, "steps": 20, "spacing": 0.4, "hbar": 1.3, "order": order}
        found = evolve(psi, np.full(12, 0.5 - 0.3j), **setting)
        plain = evolve(psi, np.full(12, 0.5), **setting)
        assert distance(found, math.exp(-0.3 * 2.0 / 1.3) * plain) < 1e-13


# --- batches, time series, frames -----------------------------------------------------------------------


def test_each_system_with_a_potential_of_its_own() -> None:
    psi, potential = random_field((2, 3, 8)), random_field((3, 8), 1).real
    together = evolve(psi, potential, dt=0.1, steps=5, spacing=0.5)
    for i in range(2):
        for j in range(3):
            alone = evolve(psi[i, j], potential[j], dt=0.1, steps=5, spacing=0.5)
            assert distance(together[i, j], alone) < 1e-15


def test_a_series_is_a_function_sampled_at_the_middles() -> None:
    psi, series = random_field((2, 8)), random_field((5, 1, 8), 1).real
    rows = tensor(series)
    expected = evolve(psi, lambda t: rows[math.floor(t / 0.1), 0], dt=0.1, steps=5, spacing=0.5)
    assert distance(evolve(psi, series, dt=0.1, steps=5, spacing=0.5), expected) == 0
    own = random_field((5, 2, 8), 1).real
    for i in range(2):
        alone = evolve(psi[i], own[:, i], dt=0.1, steps=5, spacing=0.5)
        assert distance(evolve(psi, own, dt=0.1, steps=5, spacing=0.5)[i], alone) < 1e-15


@pytest.mark.parametrize("imaginary", [False, True])
@pytest.mark.parametrize("constant", [True, False])
def test_frames_are_the_states_on_the_way(imaginary: bool, constant: bool) -> None:
    psi, fixed = tensor(random_field((2, 8))), tensor(random_field((8,), 1).real)
    potential: Any = fixed if constant else (lambda t: fixed * (1 + t))
    setting: dict[str, Any] = {"dt": 0.1, "spacing": 0.5, "imaginary": imaginary}
    before = psi.clone()
    last, frames = split_step(psi, potential, steps=7, save_every=3, **setting)
    assert frames.shape == (2, 2, 8)
    torch.testing.assert_close(frames[0], split_step(psi, potential, steps=3, **setting))
    torch.testing.assert_close(frames[1], split_step(psi, potential, steps=6, **setting))
    torch.testing.assert_close(last, split_step(psi, potential, steps=7, **setting))
    assert torch.equal(psi, before)
    assert split_step(psi, potential, steps=2, save_every=3, **setting)[1].shape == (0, 2, 8)


def test_no_steps_give_a_copy() -> None:
    psi = tensor(random_field((2, 8)))
    found = split_step(psi, torch.zeros(8), dt=0.1, steps=0, spacing=0.5)
    assert torch.equal(found, psi)
    assert found.data_ptr() != psi.data_ptr()
    assert split_step(psi[:0], torch.zeros(8), dt=0.1, steps=3, spacing=0.5).shape == (0, 8)
    real = split_step(psi.real, torch.zeros(8), dt=0.1, steps=0, spacing=0.5, imaginary=True)
    torch.testing.assert_close(norm(real, spacing=0.5), torch.ones(2, dtype=F64))


@pytest.mark.parametrize("order", [2, 4])
def test_complex64_is_complex128_rounded(order: int) -> None:
    psi, potential = random_field((2, 16)), 1000.1 + random_field((16,), 1).real
    setting: dict[str, Any] = {"dt": 0.1, "steps": 50, "spacing": 0.5, "order": order}
    assert distance(evolve(psi, potential, C64, **setting), evolve(psi, potential, **setting)) < 3e-5


# --- derivatives --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "imaginary"), [(2, False), (4, False), (2, True)])
def test_derivatives(order: int, imaginary: bool) -> None:
    psi = tensor(random_field((2, 4))).requires_grad_()
    potential = tensor(random_field((2, 4), 1).real).requires_grad_()
    dt, mass, hbar = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.2, 0.9, 1.3))

    def run(psi: Any, potential: Any, dt: Any, mass: Any, hbar: Any) -> Any:
        setting: dict[str, Any] = {"spacing": 0.6, "mass": mass, "hbar": hbar, "imaginary": imaginary}
        return split_step(psi, potential, dt=dt, steps=4 // order, order=order, save_every=1, **setting)

    assert torch.autograd.gradcheck(
        run, (psi, potential, dt, mass, hbar), check_forward_ad=True, fast_mode=True
    )


def test_derivatives_through_v_of_t() -> None:
    psi, slope = tensor(random_field((4,))), tensor(random_field((4,), 1).real).requires_grad_()
    dt = torch.tensor(0.2, dtype=F64, requires_grad=True)

    def run(slope: Tensor, dt: Tensor) -> Any:
        return split_step(psi, lambda t: slope * torch.cos(3 * t), dt=dt, steps=2, spacing=0.6)

    assert torch.autograd.gradcheck(run, (slope, dt))
    series = tensor(random_field((2, 4), 2).real).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: split_step(psi, s, dt=0.2, steps=2, spacing=0.6), (series,))


def test_maps_over_potentials() -> None:
    psi, potentials = tensor(random_field((8,))), tensor(random_field((3, 8), 1).real)
    one = lambda v: split_step(psi, v, dt=0.1, steps=3, spacing=0.5)  # noqa: E731
    found = torch.func.vmap(one)(potentials)
    torch.testing.assert_close(found, torch.stack([one(v) for v in potentials]))


# --- what it refuses ----------------------------------------------------------------------------------

PSI, V = torch.ones(2, 6, dtype=C128), torch.zeros(6, dtype=F64)
IMAGINARY = {"imaginary": True}
BROKEN: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"psi": None}, TypeError, "psi: expected a torch.Tensor"),
    ({"psi": PSI.real}, TypeError, "psi: expected torch.complex64 or torch.complex128 in real time"),
    ({"psi": torch.ones(6).half()}, TypeError, "psi: expected one of"),
    ({"psi": PSI[:, :0]}, ValueError, "psi: expected at least one grid point"),
    ({"spacing": (1.0, 1.0, 1.0)}, ValueError, "psi: expected at least 3 axes"),
    ({"potential": 0.0}, TypeError, "potential: expected a torch.Tensor"),
    ({"potential": V[:4]}, ValueError, "potential: expected a shape that broadcasts"),
    ({"psi": PSI[:1], "potential": torch.zeros(2, 6)}, ValueError, "potential: expected a shape that"),
    ({"potential": torch.zeros(2, 2, 6)}, ValueError, "potential: expected 3 entries along its first axis"),
    ({"potential": torch.zeros(3, 2, 6), "order": 4}, ValueError, "potential: expected .* and order 2"),
    ({"potential": V / 0}, ValueError, "potential: expected finite numbers"),
    ({"potential": V + 1j}, ValueError, "potential: expected an imaginary part <= 0"),
    ({"potential": V - 1j, "dt": -0.1}, ValueError, "dt: expected a number > 0 for an absorbing potential"),
    ({"potential": V - 1j, **IMAGINARY}, TypeError, "potential: expected a real tensor in imaginary time"),
    ({"potential": lambda t: 1.0}, TypeError, r"potential\(t\): expected a torch.Tensor"),
    ({"potential": lambda t: V + math.nan}, ValueError, r"potential\(t\): expected finite numbers"),
    ({"potential": lambda t: V[:4]}, ValueError, r"potential\(t\): expected a shape that broadcasts"),
    ({"dt": 0.0}, ValueError, "dt: expected a finite number other than 0"),
    ({"dt": math.nan}, ValueError, "dt: expected a finite number other than 0"),
    ({"dt": "1"}, TypeError, "dt: expected a real number"),
    ({"dt": torch.ones(2)}, ValueError, "dt: expected a real number or a real 0-dim tensor"),
    ({"dt": -0.1, **IMAGINARY}, ValueError, "dt: expected a number > 0 in imaginary time"),
    ({"steps": -1}, ValueError, "steps: expected an int >= 0"),
    ({"steps": 2.0}, TypeError, "steps: expected an int >= 0"),
    ({"spacing": 0.0}, ValueError, "spacing: expected a finite number > 0"),
    ({"mass": 0.0}, ValueError, "mass: expected a finite number other than 0"),
    ({"hbar": -1.0}, ValueError, "hbar: expected a number > 0"),
    ({"imaginary": 1}, TypeError, "imaginary: expected a bool"),
    ({"order": 3}, ValueError, "order: expected 2 or 4, got 3"),
    ({"order": 4, **IMAGINARY}, ValueError, "order: expected 2 in imaginary time"),
    ({"save_every": -1}, ValueError, "save_every: expected an int >= 0"),
    ({"psi": PSI * 0, **IMAGINARY}, ValueError, "psi: expected a norm > 0"),
]


@pytest.mark.parametrize(("change", "error", "words"), BROKEN)
def test_refuses(change: dict[str, Any], error: type[Exception], words: str) -> None:
    good: dict[str, Any] = {"psi": PSI, "potential": V, "dt": 0.1, "steps": 3, "spacing": 0.5}
    split_step(**good)
    with pytest.raises(error, match=words):
        split_step(**{**good, **change})


def test_refuses_a_step_that_leaves_nothing() -> None:
    psi = torch.zeros(8, dtype=C128)
    psi[0] = 1.0  # and too heavy to move to where the potential is low
    potential = torch.full((8,), 1e6, dtype=F64)
    potential[4] = 0.0
    with pytest.raises(ValueError, match="dt: expected a step after which psi is finite and not zero"):
        split_step(psi, potential, dt=1e-2, steps=2, spacing=1.0, mass=1e300, imaginary=True)
