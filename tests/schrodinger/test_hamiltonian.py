"""H psi against dense matrices built from the difference l alone, and energies against closed forms."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import log2
from typing import Any

import numpy as np
import pytest
import torch

from qcore.schrodinger.hamiltonian import hamiltonian, kinetic_symbol
from qcore.schrodinger.observables import energy

from . import closed_forms, oracle
from .support import C64, C128, F32, F64, random_field, tensor

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Arrays this small are slower on several threads, and much slower on a busy machine."""
    torch.set_num_threads(1)


ORDERS = (2, 4, 6)
WALLS = ("dirichlet", "periodic")


# --- against dense matrices ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("boundary", WALLS)
@pytest.mark.parametrize("order", ORDERS)
def test_one_axis(n: int, boundary: str, order: int) -> None:
    psi, potential = random_field((3, n)), random_field((n,), 1).real
    setting: dict[str, Any] = {"mass": 0.7, "hbar": 1.3, "boundary": boundary}
    found = hamiltonian(tensor(psi), tensor(potential), spacing=0.4, space_order=order, **setting)
    dense = oracle.hamiltonian(potential, 0.4, order=order, **setting)
    torch.testing.assert_close(found, tensor(psi @ dense.T), rtol=0, atol=1e-13 * abs(dense).sum())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("space", [(4, 5), (3, 4, 2)])
def test_several_axes_each_with_its_own_setting(space: tuple[int, ...], order: int) -> None:
    axes = len(space)
    psi, potential = random_field((2, *space)), random_field(space, 1)
    for boundary in itertools.product(WALLS, repeat=axes):
        setting: dict[str, Any] = {"mass": (1.0, 0.5, -2.0)[:axes], "boundary": boundary}
        spacing = (0.5, 0.3, 0.4)[:axes]
        absorbing = potential.real - 1j * abs(potential.imag)
        found = hamiltonian(tensor(psi), tensor(absorbing), spacing=spacing, space_order=order, **setting)
        dense = oracle.hamiltonian(absorbing, spacing, order=order, **setting)
        expected = (psi.reshape(2, -1) @ dense.T).reshape(psi.shape)
        torch.testing.assert_close(found, tensor(expected), rtol=0, atol=1e-13 * abs(dense).max())


@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize("boundary", WALLS)
@pytest.mark.parametrize("order", ORDERS)
def test_symbol_is_the_spectrum(n: int, boundary: str, order: int) -> None:
    expected = np.linalg.eigvalsh(oracle.kinetic(n, 0.4, boundary=boundary, order=order))
    found = kinetic_symbol(n, 1 / (2 * 0.4**2), boundary, order).sort().values
    torch.testing.assert_close(found, tensor(expected), rtol=0, atol=1e-13 * 40)


@pytest.mark.parametrize("dtype", [F32, F64, C64, C128])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", WALLS)
def test_keeps_the_precision_of_psi(dtype: torch.dtype, order: int, boundary: str) -> None:
    psi, potential = tensor(random_field((2, 12)).real).to(dtype), tensor(random_field((12,), 1).real)
    mass = torch.tensor(1.5, dtype=F64)
    setting: dict[str, Any] = {"spacing": 0.5, "mass": mass, "boundary": boundary, "space_order": order}
    found = hamiltonian(psi, potential, **setting)
    assert found.dtype == dtype
    exact = hamiltonian(psi.to(C128), potential, **setting)
    single = dtype in (F32, C64)
    torch.testing.assert_close(found.to(C128), exact, rtol=0, atol=2e-5 if single else 1e-13)


def test_a_real_state_in_an_absorbing_potential_becomes_complex() -> None:
    psi, potential = tensor(random_field((6,)).real), tensor(random_field((6,), 1))
    potential = torch.complex(potential.real, -potential.imag.abs())
    found = hamiltonian(psi, potential, spacing=0.5)
    torch.testing.assert_close(found, hamiltonian(psi.to(C128), potential, spacing=0.5))


def test_batches_of_states_and_potentials_broadcast() -> None:
    psi, potential = tensor(random_field((3, 1, 6))), tensor(random_field((2, 6), 1).real)
    together = hamiltonian(psi, potential, spacing=0.5)
    assert together.shape == (3, 2, 6)
    for i, j in itertools.product(range(3), range(2)):
        alone = hamiltonian(psi[i, 0], potential[j], spacing=0.5)
        torch.testing.assert_close(together[i, j], alone, rtol=0, atol=0)


# --- against closed forms -----------------------------------------------------------------------------


def box(n: int, length: float) -> tuple[np.ndarray, float]:
    h = length / (n + 1)
    return (np.arange(n) + 1) * h - length / 2, h


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", WALLS)
@pytest.mark.parametrize(
    "state",
    [
        lambda x: closed_forms.oscillator_state(x, 0),
        lambda x: closed_forms.oscillator_state(x, 3),
        lambda x: closed_forms.poeschl_teller_state(x, 3, 3),
        lambda x: closed_forms.poeschl_teller_state(x, 3, 2),
    ],
    ids=["oscillator 0", "oscillator 3", "Poeschl-Teller 3", "Poeschl-Teller 2"],
)
def test_energies_have_the_order_of_the_differences(
    state: Callable[[np.ndarray], tuple[np.ndarray, float, np.ndarray]], order: int, boundary: str
) -> None:
    errors = []
    for n in (127, 255):  # the states end within 20 on either side, so that walls and ring are the same
        x, h = box(n, 40.0)
        potential, exact, psi = state(x)
        setting: dict[str, Any] = {"spacing": h, "boundary": boundary, "space_order": order}
        errors.append(abs(float(energy(tensor(psi), tensor(potential), **setting)) - exact))
    assert errors[1] > 1e-11  # or it would be rounding that is measured
    assert log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)
    assert log2(errors[0] / errors[1]) > order - 0.15


@pytest.mark.parametrize("order", ORDERS)
def test_the_oscillator_has_the_leading_error_of_its_difference(order: int) -> None:
    # L_r / h^2 = k^2 - c k^(r+2) h^r with c from the series in theta, and <k^4>, <k^6>, <k^8> of the state
    constant = {2: 1 / 12 * 3 / 4, 4: 1 / 240 * 15 / 8, 6: 23 / 75600 * 105 / 16}[order]
    x, h = box(199, 24.0)
    potential, exact, psi = closed_forms.oscillator_state(x, 0)
    found = float(energy(tensor(psi), tensor(potential), spacing=h, space_order=order))
    assert (exact - found) / h**order == pytest.approx(constant / 2, rel=0.03)


# --- derivatives --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("boundary", WALLS)
def test_derivatives(order: int, boundary: str) -> None:
    psi = tensor(random_field((2, 4))).requires_grad_()
    potential = tensor(random_field((4,), 1).real).requires_grad_()
    mass, hbar = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.8, 1.2))

    def run(psi: Any, potential: Any, mass: Any, hbar: Any) -> Any:
        setting = {"mass": mass, "hbar": hbar, "boundary": boundary, "space_order": order}
        return hamiltonian(psi, potential, spacing=0.6, **setting)

    assert torch.autograd.gradcheck(run, (psi, potential, mass, hbar), check_forward_ad=True)
    real = psi.detach().real.clone().requires_grad_()
    assert torch.autograd.gradcheck(run, (real, potential, mass, hbar))


def test_maps_over_states_and_potentials() -> None:
    psi, potential = tensor(random_field((3, 6))), tensor(random_field((3, 6), 1).real)
    one = lambda p, v: hamiltonian(p, v, spacing=0.5, space_order=4)  # noqa: E731
    torch.testing.assert_close(torch.func.vmap(one)(psi, potential), one(psi, potential))


# --- what it refuses ----------------------------------------------------------------------------------

PSI, V = torch.ones(2, 6, dtype=C128), torch.zeros(6, dtype=F64)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"psi": [1.0]}, TypeError, "psi: expected a torch.Tensor, got list"),
        ({"psi": torch.ones(6).int()}, TypeError, "psi: expected one of"),
        ({"psi": torch.ones(6, dtype=torch.float16)}, TypeError, "psi: expected one of"),
        ({"psi": PSI[..., :0]}, ValueError, "psi: expected at least one grid point"),
        ({"psi": PSI[0], "spacing": (0.5, 0.5)}, ValueError, "psi: expected at least 2 axes"),
        ({"potential": 0.0}, TypeError, "potential: expected a torch.Tensor, got float"),
        ({"potential": V[:5]}, ValueError, "potential: expected a shape that broadcasts"),
        ({"psi": PSI[:, :1]}, ValueError, "potential: expected a shape that broadcasts"),
        ({"potential": V + torch.inf}, ValueError, "potential: expected finite numbers"),
        ({"potential": V + 1j}, ValueError, "potential: expected an imaginary part <= 0"),
        ({"spacing": 0.0}, ValueError, "spacing: expected a finite number > 0"),
        ({"spacing": "x"}, TypeError, "spacing: expected a real number"),
        ({"spacing": (1.0,) * 4}, ValueError, "spacing: expected 1 to 3 numbers"),
        ({"mass": 0.0}, ValueError, "mass: expected a finite number other than 0"),
        ({"mass": (1.0, 2.0)}, ValueError, "mass: expected a number, or 1 of them"),
        ({"mass": torch.ones(2)}, ValueError, "mass: expected a real number or a real 0-dim tensor"),
        ({"hbar": -1.0}, ValueError, "hbar: expected a number > 0"),
        ({"hbar": None}, TypeError, "hbar: expected a real number"),
        ({"boundary": "neumann"}, ValueError, "boundary: expected one of"),
        ({"boundary": "transparent"}, ValueError, "boundary: expected one of 'dirichlet', 'periodic'"),
        ({"boundary": ("periodic", "periodic")}, ValueError, "boundary: expected a name, or 1 of them"),
        ({"space_order": 3}, ValueError, "space_order: expected one of 2, 4, 6, got 3"),
        ({"space_order": "2"}, ValueError, "space_order: expected one of 2, 4, 6, got '2'"),
    ],
)
def test_refuses(change: dict[str, Any], error: type[Exception], words: str) -> None:
    good = {"psi": PSI, "potential": V, "spacing": 0.5}
    hamiltonian(**good)
    for function in (hamiltonian, energy):
        with pytest.raises(error, match=words):
            function(**{**good, **change})


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        ((0, 1.0), ValueError, "n: expected an int > 0, got 0"),
        ((4.0, 1.0), TypeError, "n: expected an int > 0, got float"),
        ((4, 1.0, "transparent"), ValueError, "boundary: expected one of"),
        ((4, 1.0, "periodic", 8), ValueError, "space_order: expected one of 2, 4, 6"),
    ],
)
def test_symbol_refuses(args: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        kinetic_symbol(*args)
