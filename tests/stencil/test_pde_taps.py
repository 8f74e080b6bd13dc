"""Stencils of the advection-diffusion-reaction step, their symbol and their stability, against theory."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from qcore.stencil import pde_taps, residual_chain, stability, symbol

# torch's own: it scripts decompositions for forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

F64 = torch.float64


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def draws(n: int, low: float, high: float, seed: int) -> Tensor:
    return torch.empty(n, dtype=F64).uniform_(low, high, generator=torch.Generator().manual_seed(seed))


# --- fixtures of the theory ---

PSI = torch.tensor([[[1.0, 2, 4, 8, 16]]], dtype=F64)
IMAGE = torch.tensor([[[[1.0, 0, 2, 0], [0, 3, 0, -1], [2, 0, 1, 0], [0, -2, 0, 4]]]], dtype=F64)
PDE_1 = [
    [0.49, 0.815, 0.98, -0.065],
    [1.415, 1.47, 0.035, -0.49],
    [0.98, 0.965, 0.49, -0.145],
    [-0.31, -0.98, 1.785, 1.96],
]
PDE_2 = [
    [0.49, 0.9275, 0.98, 0.2725],
    [0.8525, 1.47, 0.8225, -0.49],
    [0.98, 0.6275, 0.49, 0.6425],
    [-0.085, -0.98, 0.3225, 1.96],
]


def test_taps_in_one_dimension() -> None:
    taps = pde_taps(column(0.8), column(0.3), gamma=-0.05)
    torch.testing.assert_close(taps, torch.tensor([[[0.17, -0.69, 0.47]]], dtype=F64))


@pytest.mark.parametrize(
    ("boundary", "expected"),
    [("zero", [1.25, 2.67, 5.34, 10.68, 6.32]), ("periodic", [3.97, 2.67, 5.34, 10.68, 6.79])],
)
def test_step_in_one_dimension(boundary: str, expected: list[float]) -> None:
    taps = pde_taps(column(0.8), column(0.3), gamma=-0.05)
    y = residual_chain(PSI, taps, activation="none", boundary=boundary)
    torch.testing.assert_close(y, torch.tensor([[expected]], dtype=F64))


@pytest.mark.parametrize(
    ("advection", "x_ahead", "x_behind", "y_ahead", "y_behind", "expected", "total", "relu_total"),
    [
        (1.0, 0.38, -0.02, 0.025, 0.225, PDE_1, 9.395, 11.385),
        (-0.125, 0.155, 0.205, 0.1375, 0.1125, PDE_2, 9.2825, 10.8375),
    ],
)
def test_step_in_two_dimensions(
    advection: float,
    x_ahead: float,
    x_behind: float,
    y_ahead: float,
    y_behind: float,
    expected: list[list[float]],
    total: float,
    relu_total: float,
) -> None:
    taps = pde_taps(*map(column, (0.6, 0.4, 0.5, -0.2)), gamma=0.1, advection=advection)
    centre = 0.1 - 0.36 - 0.25
    layout = [[0.0, y_behind, 0.0], [x_behind, centre, x_ahead], [0.0, y_ahead, 0.0]]
    torch.testing.assert_close(taps, torch.tensor([[layout]], dtype=F64))
    y = residual_chain(IMAGE, taps, activation="none")
    torch.testing.assert_close(y, torch.tensor([[expected]], dtype=F64))
    torch.testing.assert_close(y.sum().item(), total)
    torch.testing.assert_close(residual_chain(IMAGE, taps).sum().item(), relu_total)


@pytest.mark.parametrize(
    ("alpha", "beta", "gamma", "expected"),
    [(0.8, 0.3, -0.05, 0.95), (0.8, 0.9, 0.0, 1.035460), (1.2, 0.0, 0.0, 1.88), (1.0, 1.0, 0.0, 1.0)],
)
def test_largest_gain(alpha: float, beta: float, gamma: float, expected: float) -> None:
    found = stability(column(alpha), column(beta), gamma=gamma).max_gain
    assert found.item() == pytest.approx(expected, abs=5e-7)


# --- taps ---


def test_corners_and_missing_neighbours_are_exactly_zero() -> None:
    taps = pde_taps(*(draws(7, 0, 1, s) for s in range(4)))
    assert torch.equal(taps[:, :, ::2, ::2], torch.zeros(7, 1, 2, 2, dtype=F64))


def test_advection_scales_beta_and_rho() -> None:
    a, b, s, r = (draws(5, -1, 1, seed) for seed in range(4))
    assert torch.equal(pde_taps(a, b, s, r, advection=-0.125), pde_taps(a, -b / 8, s, -r / 8))


def test_two_dimensions_transpose_when_the_axes_are_swapped() -> None:
    a, b, s, r = (draws(5, -1, 1, seed) for seed in range(4))
    torch.testing.assert_close(pde_taps(a, b, s, r), pde_taps(s, r, a, b).mT)


def test_reversed_advection_mirrors() -> None:
    a, b = draws(5, -1, 1, 0), draws(5, -1, 1, 1)
    assert torch.equal(pde_taps(a, -b), pde_taps(a, b).flip(-1))


def test_step_and_spacing() -> None:
    """With dt and dx: k(+-1) = dt (a^2 / 2 dx^2 +- b / 2 dx), k(0) = dt (g - a^2 / dx^2)."""
    a, b, g, dt, dx = 0.7, -0.3, 0.2, 0.01, 0.5
    taps = pde_taps(column(a), column(b), gamma=g, dt=dt, dx=dx)
    ahead, behind = (dt * (a * a / (2 * dx * dx) + s * b / (2 * dx)) for s in (1, -1))
    torch.testing.assert_close(taps, torch.tensor([[[behind, dt * (g - a * a / dx**2), ahead]]], dtype=F64))


@pytest.mark.parametrize("dimensions", [1, 2])
def test_steps_converge_to_the_equation(dimensions: int) -> None:
    """A Gaussian on a periodic grid drifts by -b t, widens by a^2 t, grows by e^{g t}, up to O(dx^2)."""
    a, b, s, r, g, time = 0.5, 0.8, 0.3, -0.6, 0.4, 0.5
    errors = []
    for n in (32, 64):
        dx = 8.0 / n
        steps = n * n // 16
        dt = time / steps
        grid = torch.arange(n, dtype=F64) * dx - 4.0

        def profile(width: float, drift: float, start: float, x: Tensor = grid) -> Tensor:
            y = (x + drift + 4.0) % 8.0 - 4.0
            return torch.exp(-(y**2) / (2 * (start**2 + width**2))) / math.sqrt(start**2 + width**2)

        u = profile(0.0, 0.0, 0.5)
        expected = math.exp(g * time) * profile(a * math.sqrt(time), b * time, 0.5)
        parameters = [column(a), column(b)]
        if dimensions == 2:
            expected = profile(s * math.sqrt(time), r * time, 0.5)[:, None] * expected
            u = u[:, None] * u
            parameters += [column(s), column(r)]
        taps = pde_taps(*(p.expand(steps) for p in parameters), gamma=g, dt=dt, dx=dx)
        y = residual_chain(u[None, None], taps, activation="none", boundary="periodic")
        errors.append(((y[0, 0] - expected).abs().max() / expected.max()).item())
    assert errors[1] < 0.3 * errors[0]
    assert errors[1] < 0.015


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((4, 3), (4, 3)), ((4,), (4, 3)), ((4, 1), (4, 3))])
@pytest.mark.parametrize("gamma", ["number", "tensor"])
def test_shapes_and_gradients(shapes: tuple[tuple[int, ...], tuple[int, ...]], gamma: str) -> None:
    first, second = (torch.rand(shape, dtype=F64, requires_grad=True) for shape in shapes)
    growth: Any = 0.1 if gamma == "number" else torch.rand(4, dtype=F64, requires_grad=True)
    channels = 3 if (4, 3) in shapes else 1
    assert pde_taps(first, second, gamma=growth).shape == (4, channels, 3)
    assert pde_taps(first, second, second, first, growth).shape == (4, channels, 3, 3)

    def taps(a: Tensor, b: Tensor, *g: Tensor) -> Tensor:
        return pde_taps(a, b, b, a, g[0] if g else 0.1, advection=-0.125, dt=0.5, dx=2.0)

    leaves = (first, second) if gamma == "number" else (first, second, growth)
    assert torch.autograd.gradcheck(taps, leaves, check_forward_ad=True)


def test_gradient_of_a_chain_in_its_parameters() -> None:
    """dL/da = a sum m (psi(x+1) - 2 psi + psi(x-1)), dL/db = (adv/2) sum m (psi(x+1) - psi(x-1)), ..."""
    x = torch.randn(2, 1, 5, 6, dtype=F64)
    a, b, s, r, g = (torch.tensor([v], dtype=F64, requires_grad=True) for v in (0.6, 0.4, 0.5, -0.2, 0.1))
    y = residual_chain(x, pde_taps(a, b, s, r, g, advection=-0.125), boundary="periodic")
    upstream = torch.randn_like(y)
    found = torch.autograd.grad(y, (a, b, s, r, g), upstream)
    m = upstream * (y > 0)
    expected = []
    for alpha, axis in ((a, 3), (s, 2)):
        ahead, behind = x.roll(-1, axis), x.roll(1, axis)
        expected += [alpha * (m * (ahead - 2 * x + behind)).sum(), -(m * (ahead - behind)).sum() / 16]
    expected.append((m * x).sum())
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f.squeeze(), e.squeeze())


def test_empty_chain_of_parameters() -> None:
    empty = torch.empty(0)
    assert pde_taps(empty, empty, empty, empty).shape == (0, 1, 3, 3)
    assert stability(empty, empty, empty, empty).max_gain.shape == (0,)


# --- symbol ---


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_symbol_is_the_gain_of_a_plane_wave(dims: int, dtype: torch.dtype) -> None:
    kernel, space, waves = (3, 5, 1)[:dims], (6, 8, 5)[:dims], (1, 3, 2)[:dims]
    taps = torch.randn(2, 2, *kernel, dtype=dtype)
    skip = torch.randn(2, 2, dtype=dtype)
    p = torch.tensor(
        [2 * math.pi * k / n for k, n in zip(waves, space, strict=True)], dtype=F64
    )  # (..., y, x)
    grids = torch.meshgrid(*(torch.arange(n, dtype=F64) for n in space), indexing="ij")
    wave = torch.exp(1j * sum(k * grid for k, grid in zip(p, grids, strict=True)))
    x = wave.expand(1, 2, *space)
    for t in range(2):
        y = residual_chain(x, taps[t : t + 1], skip=skip[t : t + 1], activation="none", boundary="periodic")
        gain = symbol(taps, p[0] if dims == 1 else p.flip(0), skip)
        assert gain.shape == (2, 2)
        torch.testing.assert_close(y, gain[t].reshape(1, 2, *(1,) * dims) * x)


def test_symbol_in_closed_form() -> None:
    """1 + g - a^2 (1 - cos px) - s^2 (1 - cos py) + i (bx sin px + by sin py)."""
    a, b, s, r = (draws(4, -1, 1, seed) for seed in range(4))
    p = torch.randn(5, 6, 2, dtype=F64)
    px, py = p[..., 0], p[..., 1]
    t = (slice(None), None, None)
    expected = torch.complex(
        1.1 - a[t] ** 2 * (1 - px.cos()) - s[t] ** 2 * (1 - py.cos()),
        -0.125 * (b[t] * px.sin() + r[t] * py.sin()),
    )
    found = symbol(pde_taps(a, b, s, r, 0.1, advection=-0.125), p)
    assert found.shape == (4, 1, 5, 6)
    torch.testing.assert_close(found[:, 0], expected)


@pytest.mark.parametrize(
    ("taps", "p", "dtype"),
    [
        (torch.float32, torch.float32, torch.complex64),
        (torch.float32, torch.float64, torch.complex128),
        (torch.bfloat16, torch.float32, torch.complex64),
        (torch.complex64, torch.float32, torch.complex64),
    ],
)
def test_symbol_dtypes_and_gradient(taps: torch.dtype, p: torch.dtype, dtype: torch.dtype) -> None:
    leaf = torch.randn(2, 1, 3).to(taps).requires_grad_()
    gain = symbol(leaf, torch.linspace(0, 3, 4).to(p), 0.5)
    assert gain.dtype == dtype
    assert gain.shape == (2, 1, 4)
    (gradient,) = torch.autograd.grad(gain.abs().sum(), leaf)
    assert gradient.dtype == taps


# --- stability ---


def brute_force_1d(a: Tensor, b: Tensor, g: Tensor, n: int = 4001) -> Tensor:
    p = torch.linspace(0, math.pi, n, dtype=F64)
    real = (1 + g)[:, None] - (a * a)[:, None] * (1 - p.cos())
    return torch.hypot(real, b[:, None] * p.sin()).amax(1)


def brute_force_2d(a: Tensor, b: Tensor, s: Tensor, r: Tensor, g: Tensor, n: int = 101) -> Tensor:
    px, py = torch.linspace(0, 2 * math.pi, n, dtype=F64)[:, None], torch.linspace(0, math.pi, n, dtype=F64)
    found = []
    for A, bx, S, by, growth in zip(a * a, b, s * s, r, g, strict=True):
        real = 1 + growth - A * (1 - px.cos()) - S * (1 - py.cos())
        found.append(torch.hypot(real, bx * px.sin() + by * py.sin()).max())
    return torch.stack(found)


def test_largest_gain_in_one_dimension_against_a_grid() -> None:
    a, b, g = draws(4000, -1.3, 1.3, 0), draws(4000, -1.5, 1.5, 1), draws(4000, -2.2, 0.5, 2)
    found, brute = stability(a, b, gamma=g), brute_force_1d(a, b, g)
    assert (found.max_gain - brute).min() > -1e-12  # a grid can only miss the maximum
    assert (found.max_gain - brute).max() < 2e-6
    clear = (brute - 1).abs() > 1e-5
    assert torch.equal(found.stable[clear], brute[clear] <= 1)


def test_largest_gain_in_two_dimensions_against_a_grid() -> None:
    a, b, s, r = (draws(200, -1.2, 1.2, seed) for seed in range(4))
    g = draws(200, -1.5, 0.5, 4)
    found, brute = stability(a, b, s, r, g), brute_force_2d(a, b, s, r, g)
    assert (found.max_gain - brute).min() > -1e-12
    assert (found.max_gain - brute).max() < 3e-3
    clear = (brute - 1).abs() > 3e-3
    assert torch.equal(found.stable[clear], brute[clear] <= 1)


def test_stable_is_the_closed_criterion() -> None:
    """g = 0: b^2 <= a^2 <= 1; in two dimensions a^2 + s^2 <= 1 and b^2/a^2 + r^2/s^2 <= 1, edges included."""
    a, b = draws(20000, -1.2, 1.2, 0), draws(20000, -1.2, 1.2, 1)
    a[:100], a[100:200] = 1.0, -1.0
    b[200:400] = a[200:400]
    assert torch.equal(stability(a, b).stable, (b * b <= a * a) & (a * a <= 1))
    assert stability(a, b).stable[200:400].equal(a[200:400].abs() <= 1)

    a, s = draws(20000, 0.05, 0.95, 2), draws(20000, 0.05, 0.95, 3)
    b, r = draws(20000, -1, 1, 4), draws(20000, -1, 1, 5)
    found = stability(a, b, s, r)
    assert torch.equal(found.stable, (a * a + s * s <= 1) & (b * b / (a * a) + r * r / (s * s) <= 1))
    assert 500 < found.stable.sum() < 10000
    assert torch.equal(found.max_gain[found.stable], torch.ones(int(found.stable.sum()), dtype=F64))


def test_the_second_dimension_reduces_to_the_first() -> None:
    a, b, g = draws(3000, -1.3, 1.3, 0), draws(3000, -1.5, 1.5, 1), draws(3000, -2.2, 0.5, 2)
    zero = torch.zeros_like(a)
    one = stability(a, b, gamma=g)
    for two in (stability(a, b, zero, zero, g), stability(zero, zero, a, b, g)):
        torch.testing.assert_close(two.max_gain, one.max_gain, rtol=1e-13, atol=1e-13)
        assert torch.equal(two.stable, one.stable)
        assert torch.equal(two.positive, one.positive)


def test_pure_advection_is_unstable() -> None:
    found = stability(column(0.0, 0.0), column(0.5, 0.0))
    torch.testing.assert_close(found.max_gain, column(math.sqrt(1.25), 1.0))
    assert found.stable.tolist() == [False, True]
    found = stability(column(0.0), column(0.5), column(0.0), column(1.0))
    torch.testing.assert_close(found.max_gain, column(math.sqrt(1 + 1.5**2)))


def test_positive_says_that_no_tap_is_negative() -> None:
    a, b, s, r = (draws(5000, -1, 1, seed) for seed in range(4))
    g = draws(5000, -0.5, 0.5, 4)
    for parameters in ((a, b), (a, 0.2 * b, s, 0.2 * r)):
        taps = pde_taps(*parameters, gamma=g).flatten(1)
        taps[:, taps.shape[1] // 2] += 1
        found = stability(*parameters, gamma=g)
        assert torch.equal(found.positive, (taps >= 0).all(1))
        assert 100 < found.positive.sum() < 4900


def test_step_spacing_and_advection_enter_as_in_the_taps() -> None:
    a, b, s, r = (draws(50, -1, 1, seed) for seed in range(4))
    how = {"advection": -0.5, "dt": 0.3, "dx": 0.7}
    p = torch.cartesian_prod(*(torch.linspace(0, 2 * math.pi, 201, dtype=F64),) * 2)
    brute = symbol(pde_taps(a, b, s, r, 0.1, **how), p).abs().amax((1, 2))
    found = stability(a, b, s, r, 0.1, **how).max_gain
    assert (found - brute).min() > -1e-12
    assert (found - brute).max() < 1e-3


def test_shapes_and_dtypes() -> None:
    a, b = torch.rand(4, 3), torch.rand(4)
    for found in (stability(a, b), stability(b, a), stability(b, b, gamma=a)):
        assert [t.shape for t in found] == [(4, 3)] * 3
        assert [t.dtype for t in found] == [torch.float32, torch.bool, torch.bool]
    assert [t.shape for t in stability(b, b, b, b)] == [(4,)] * 3


def test_max_gain_is_differentiable() -> None:
    g = torch.Generator().manual_seed(3)
    leaves = [torch.empty(6, dtype=F64).uniform_(0.3, 1.2, generator=g).requires_grad_() for _ in range(5)]
    a, b, s, r, growth = leaves
    inside = stability(a, b, s, r, growth - 1).max_gain
    assert torch.autograd.gradcheck(lambda *v: stability(*v[:4], v[4] - 1).max_gain, leaves, rtol=1e-4)
    assert torch.autograd.gradcheck(lambda *v: stability(*v[:2], gamma=v[2] - 1).max_gain, (a, b, growth))
    assert inside.isfinite().all()
    zero = torch.zeros(2, dtype=F64, requires_grad=True)
    (gradient,) = torch.autograd.grad(stability(zero, zero, zero, zero).max_gain.sum(), zero)
    assert gradient.isfinite().all()


def test_stable_steps_do_not_grow_and_unstable_ones_do() -> None:
    noise = torch.randn(1, 1, 16, 16, dtype=F64)
    for parameters, stable in (((0.6, 0.3, 0.6, 0.3), True), ((0.8, 0.3, 0.8, 0.3), False)):
        columns = [column(v).expand(200) for v in parameters]
        assert stability(*columns).stable.all() == stable
        y = residual_chain(noise, pde_taps(*columns), activation="none", boundary="periodic")
        assert (y.norm() <= noise.norm()) == stable


def test_nan_is_not_stable() -> None:
    a, b = column(math.nan, 0.5, 0.5), column(0.1, math.nan, 0.1)
    half = torch.full_like(a, 0.5)
    for found in (stability(a, b), stability(a, b, half, half), stability(half, half, a, b)):
        assert found.max_gain.isnan().tolist() == [True, True, False]
        assert not found.stable[:2].any()
        assert not found.positive[:2].any()


def test_all_of_it_compiles_in_one_graph() -> None:
    torch._dynamo.reset()
    x, p = torch.randn(1, 2, 4, 4), torch.rand(5, 2)

    def everything(a: Tensor, b: Tensor) -> list[Tensor]:
        taps = pde_taps(a, b, b, a, gamma=0.1, advection=-0.125)
        return [residual_chain(x, taps), symbol(taps, p).abs(), *stability(a, b)[:2]]

    a, b = torch.rand(3, requires_grad=True), torch.rand(3, 2)
    found = torch.compile(everything, fullgraph=True, backend="aot_eager")(a, b)
    expected = everything(a, b)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(r[0].sum() + r[1].sum() + r[2].sum(), a)[0] for r in (found, expected)]
    torch.testing.assert_close(*gradients)
