"""The action of lattice fields: the theory's numbers, conventions, propagators, gradient and Laplacian."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qcore import paths
from qcore.paths import lattice_laplacian, phi4_action, phi4_gradient

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

BACKENDS = ["auto", "reference"]


def theory_field() -> torch.Tensor:
    """N = 3, L = 4 of section 7: (T, L), built from the weights of its ReLU networks."""
    i, n = torch.arange(4, dtype=torch.float64), torch.arange(1, 4, dtype=torch.float64)
    w = (-1.0) ** i / 2 + 0.25 * n[:, None] - 0.1 * i
    return paths.from_acceleration(w, 0.1 * i, dt=0.25, components=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_field_of_the_theory(backend: str) -> None:
    phi = theory_field()
    torch.testing.assert_close(phi[3], torch.tensor([1.375, -0.175, 1.275, -0.275], dtype=torch.float64))
    settings: dict[str, Any] = {
        "mass2": 1.5,
        "coupling": 0.3,
        "spacing": 0.5,
        "dt": 0.25,
        "boundary": "open",
        "backend": backend,
    }
    for scheme, signature, expected in [
        ("midpoint", "lorentz", -0.41115657333374),
        ("midpoint", "euclid", 3.2561565733337403),
        ("trapezoid", "euclid", 3.6142892614746094),
    ]:
        found = phi4_action(phi, scheme=scheme, signature=signature, **settings)
        assert float(found) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("scheme", ["trapezoid", "midpoint"])
def test_the_measure_scales_away(scheme: str) -> None:
    """S[phi; a, g] is the printed form, with measure 1, of sqrt(a) phi with g / a."""
    phi, a = torch.randn(3, 5, 6, dtype=torch.float64), 0.4
    settings: dict[str, Any] = {"mass2": 0.7, "spacing": a, "dt": 0.3, "scheme": scheme}
    scaled = phi4_action(a**0.5 * phi, coupling=0.3 / a, **settings) / a
    torch.testing.assert_close(phi4_action(phi, coupling=0.3, **settings), scaled)


def plain_action(phi: torch.Tensor, mass2: float, g: float, a: float, dt: float, scheme: str) -> torch.Tensor:
    """Periodic in time and space, by rolls."""
    after = torch.roll(phi, -1, -2)
    y = (phi + after) / 2 if scheme == "midpoint" else phi
    density = (after - phi) ** 2 / (2 * dt**2) + (torch.roll(y, -1, -1) - y) ** 2 / (2 * a**2)
    return a * dt * (density + mass2 / 2 * y**2 + g * y**4).sum((-1, -2))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scheme", ["trapezoid", "midpoint"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (3, 1), (4, 17), (5, 33), (3, 700)])
def test_periodic_fields_against_rolls(
    size: tuple[int, int], scheme: str, dtype: torch.dtype, backend: str
) -> None:
    phi = torch.randn(2, 3, *size, dtype=torch.float64).to(dtype).requires_grad_()
    settings: dict[str, Any] = {"mass2": -0.7, "coupling": 0.3, "spacing": 0.5, "dt": 0.25, "scheme": scheme}
    found = phi4_action(phi, backend=backend, **settings)
    expected = plain_action(phi.double(), -0.7, 0.3, 0.5, 0.25, scheme)
    loose = dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=2e-6 if loose else 1e-12, atol=1e-6 if loose else 1e-12)
    gradient = torch.autograd.grad(expected.sum(), phi)[0]
    tolerance: dict[str, float] = {"rtol": 2e-5, "atol": 1e-4} if loose else {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(torch.autograd.grad(found.sum(), phi)[0], gradient, **tolerance)
    direct = phi4_gradient(phi.detach(), backend=backend, **settings)
    assert direct.dtype == dtype
    torch.testing.assert_close(direct, gradient, **tolerance)


def test_the_two_conventions_agree() -> None:
    """phi_lattice = phi / sqrt(2), lambda = 4 g; and the hopping form."""
    phi = torch.randn(4, 6, 8, dtype=torch.float64)
    continuum = phi4_action(phi, mass2=-1.2, coupling=0.3)
    lattice = phi4_action(phi / 2**0.5, mass2=-1.2, coupling=1.2, convention="lattice")
    torch.testing.assert_close(lattice, continuum)
    # Albergo et al.: sum of phi box phi + m^2 phi^2 + lambda phi^4.
    box = -lattice_laplacian(phi)
    written = (phi * box - 4.0 * phi**2 + 6.975 * phi**4).sum((-1, -2))
    torch.testing.assert_close(phi4_action(phi, mass2=-4.0, coupling=6.975, convention="lattice"), written)
    k, m2 = 0.2, -1.2
    l4 = (1 - k * (4 + m2)) / 2
    neighbours = sum(phi * torch.roll(phi, -1, axis) for axis in (-1, -2))
    hopping = (-2 * k * neighbours + (1 - 2 * l4) * phi**2 + l4 * phi**4).sum((-1, -2))
    mapped = phi4_action(k**0.5 * phi, mass2=m2, coupling=l4 / k**2, convention="lattice")
    torch.testing.assert_close(mapped, hopping)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("midpoint", (0.5552360079294196, 0.37019096085238756, 0.26666645548329787, 0.1982811280936384)),
        ("trapezoid", (0.5370666156605485, 0.370053099065006, 0.27225400900028746, 0.1972123366898243)),
    ],
)
def test_the_free_propagator_is_the_inverse_of_the_hessian(scheme: str, expected: tuple[float, ...]) -> None:
    nt, sites, dt, a, m2 = 8, 4, 0.25, 0.5, 1.0

    def s(phi: torch.Tensor) -> torch.Tensor:
        return phi4_action(phi, mass2=m2, coupling=0.0, spacing=a, dt=dt, scheme=scheme)

    hessian = torch.func.hessian(s)(torch.zeros(nt, sites, dtype=torch.float64)).reshape(nt * sites, -1)
    g = torch.linalg.inv(hessian)[0].reshape(nt, sites)
    found = [float(g[n, i]) for n, i in ((0, 0), (1, 0), (0, 1), (4, 2))]
    assert found == pytest.approx(expected, abs=1e-14)


def test_two_sites_have_two_bonds() -> None:
    phi = torch.tensor([[1.0, 4.0]], dtype=torch.float64)
    found = phi4_action(phi, mass2=0.0, coupling=0.0, spacing=0.5, dt=1.0)
    assert float(found) == pytest.approx(0.5 * (3.0 / 0.5) ** 2)  # a dt (phi_1 - phi_0)^2 / a^2


@pytest.mark.parametrize(
    ("scheme", "z", "square", "product"),
    [
        ("midpoint", 0.0398080410, 0.2833029266, 0.0816942597),
        ("trapezoid", 0.0263029129, 0.2658300534, 0.0760642446),
    ],
)
def test_two_interacting_sites_by_quadrature(scheme: str, z: float, square: float, product: float) -> None:
    """L = 2, Nt = 8: the transfer matrix from actions of fields of two slices; moments by its powers."""
    dt, n, reach = 0.25, 44, 3.1
    q = np.linspace(-reach, reach, n)
    h = q[1] - q[0]
    grid = torch.tensor(np.stack(np.meshgrid(q, q, indexing="ij"), -1).reshape(-1, 2))
    pairs = torch.stack((grid[:, None].expand(-1, n * n, -1), grid[None].expand(n * n, -1, -1)), 2)
    settings: dict[str, Any] = {"mass2": 1.0, "coupling": 0.5, "dt": dt, "boundary": "open", "scheme": scheme}
    step = (-phi4_action(pairs.float(), **settings)).exp().numpy() * h**2 / (2 * np.pi * dt)
    two = step @ step
    four = two @ two
    diagonal = np.einsum("ij,ji->i", four, four)
    x = grid.numpy()
    total = diagonal.sum()
    assert total == pytest.approx(z, rel=1e-5)
    assert (diagonal * x[:, 0] ** 2).sum() / total == pytest.approx(square, rel=1e-5)
    assert (diagonal * x[:, 0] * x[:, 1]).sum() / total == pytest.approx(product, rel=1e-5)


def test_the_laplacian_of_a_plane_wave() -> None:
    t, i = torch.arange(12, dtype=torch.float64)[:, None], torch.arange(10, dtype=torch.float64)
    a, dt, p, k = 0.5, 0.3, 2 * torch.pi * 3 / 10, 2 * torch.pi * 2 / 12
    wave = torch.cos(k * t + p * i)
    eigenvalue = -(4 / dt**2) * np.sin(k / 2) ** 2 - (4 / a**2) * np.sin(p / 2) ** 2
    torch.testing.assert_close(lattice_laplacian(wave, spacing=a, dt=dt), eigenvalue * wave)


def test_derivatives_by_the_couplings() -> None:
    phi = torch.randn(2, 3, 4, dtype=torch.float64)
    constants = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (-0.7, 0.3)]
    assert torch.autograd.gradcheck(lambda m, g: phi4_action(phi, mass2=m, coupling=g, dt=0.3), constants)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"phi": torch.zeros(3)}, ValueError, r"phi: expected shape \(..., T, L\)"),
        ({"phi": torch.zeros(3, 0)}, ValueError, "phi: expected shape"),
        ({"phi": torch.zeros(3, 3).half()}, TypeError, "phi: expected float32 or float64"),
        ({"mass2": "1"}, TypeError, "mass2: expected a real number"),
        ({"coupling": torch.zeros(2)}, ValueError, "coupling: expected a real number"),
        ({"spacing": 0.0}, ValueError, "spacing: expected a finite number > 0"),
        ({"dt": -1.0}, ValueError, "dt: expected a finite number > 0"),
        ({"convention": "albergo"}, ValueError, "convention: expected one of"),
        ({"convention": "lattice", "spacing": 0.5}, ValueError, "spacing: expected 1 in the convention"),
        ({"convention": "lattice", "dt": 0.5}, ValueError, "dt: expected 1 in the convention"),
        ({"scheme": "chin4"}, ValueError, "scheme: expected one of"),
        ({"signature": "x"}, ValueError, "signature: expected one of"),
        ({"boundary": "pinned"}, ValueError, "boundary: expected one of"),
        ({"backend": "x"}, ValueError, "backend: expected one of"),
    ],
)
def test_refusals(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"phi": torch.zeros(2, 3), "mass2": 1.0, "coupling": 0.1} | change
    for function in (phi4_action, phi4_gradient):
        with pytest.raises(error, match=message):
            function(**arguments)
