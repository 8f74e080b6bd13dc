"""Moments and composed kernels against walks counted step by step, closed forms and orders of convergence."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import Any

import pytest
import torch
from torch import Tensor

from qcore.residual import composed_kernel, gaussian_kernel, generator, moments
from qcore.stencil import pde_taps, residual_chain

F64 = torch.float64
FORMS = ("exact", "linear", "pde")


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def draws(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> Tensor:
    return torch.empty(*shape, dtype=F64).uniform_(low, high, generator=torch.Generator().manual_seed(seed))


def pde_chain(a: float, b: float, g: float, layers: int) -> Tensor:
    return pde_taps(column(a).expand(layers), column(b).expand(layers), gamma=g)


def counted(taps: Tensor, skip: Tensor) -> dict[tuple[int, ...], float]:
    """Weight of every total displacement, (vx,) or (vx, vy), of one channel, in plain Python."""
    total: dict[tuple[int, ...], float] = {(0,) * (taps.ndim - 1): 1.0}
    for layer, weight in zip(taps, skip, strict=True):
        steps: dict[tuple[int, ...], float] = defaultdict(float)
        steps[(0,) * layer.ndim] = float(weight)
        for index in itertools.product(*map(range, layer.shape)):
            offset = [i - k // 2 for i, k in zip(index, layer.shape, strict=True)]
            steps[tuple(-d for d in reversed(offset))] += float(layer[index])
        before, total = total, defaultdict(float)
        for place, mass in before.items():
            for step, factor in steps.items():
                total[tuple(p + s for p, s in zip(place, step, strict=True))] += mass * factor
    return total


def averages(walk: dict[tuple[int, ...], float]) -> tuple[float, Tensor, Tensor, Tensor]:
    """Mass, mean, covariance, third central moments of a counted walk."""
    places = torch.tensor(list(walk), dtype=F64)
    weights = torch.tensor(list(walk.values()), dtype=F64)
    mass = weights.sum()
    mean = weights @ places / mass
    off = places - mean
    covariance = torch.einsum("n,ni,nj->ij", weights, off, off) / mass
    return mass.item(), mean, covariance, weights @ off**3 / mass


def places(kernel: Tensor) -> Tensor:
    return torch.arange(kernel.shape[-1], dtype=kernel.dtype) - kernel.shape[-1] // 2


# --- moments ---


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kernel", [(3,), (5,), (3, 3), (1, 5)])
def test_exact_moments_are_those_of_counted_walks(kernel: tuple[int, ...], signed: bool) -> None:
    taps = draws(4, 2, *kernel, seed=1, low=-0.1 if signed else 0.0, high=0.3)
    skip = draws(4, 2, seed=2, low=0.5, high=1.0)
    found = moments(taps, skip)
    for c in range(2):
        mass, mean, covariance, third = averages(counted(taps[:, c], skip[:, c]))
        assert found.mass[c].item() == pytest.approx(mass, rel=1e-12)
        for got, expected in zip(found[1:], (mean, covariance, third), strict=True):
            torch.testing.assert_close(got[c], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("a", "b", "g", "exact", "approximate"),
    [
        (0.8, 0.3, 0.0, (1.0, -8.1, 14.85), (1.0, -8.1, 17.28)),
        (0.8, 0.3, -0.05, (0.250344, -8.52632, 15.49695), (0.259240, -8.1, 17.28)),
        (0.3, 0.05, 0.0, (1.0, -1.35, 2.3625), (1.0, -1.35, 2.43)),
        (0.95, 0.3, 0.0, (1.0, -8.1, 21.9375), (1.0, -8.1, 24.3675)),
    ],
)
def test_moments_of_the_theory_note(
    a: float, b: float, g: float, exact: tuple[float, ...], approximate: tuple[float, ...]
) -> None:
    taps = pde_chain(a, b, g, 27)
    for form, expected in zip(FORMS, (exact, approximate, approximate), strict=True):
        found = moments(taps, form=form)
        values = (found.mass.item(), found.mean.item(), found.covariance.item())
        assert values == pytest.approx(expected, rel=5e-6)
    assert moments(taps, form="linear").third.item() == pytest.approx(-27 * b)
    assert moments(taps, form="pde").third.item() == 0.0


def test_closed_forms_in_two_dimensions() -> None:
    """With G = 1 + g: mean -b/G, covariance diag(a^2, s^2)/G - b b^T/G^2; approximated -b, diag(a^2, s^2)."""
    a, b, s, r = (draws(6, 2, seed=i, low=0.2) for i in range(4))
    g = draws(6, 2, seed=4, low=-0.3, high=0.3)
    taps = pde_taps(a, b, s, r, g, advection=-0.125)
    drift = torch.stack([b, r], -1) / 8
    spread = torch.diag_embed(torch.stack([a, s], -1) ** 2)
    G = (1 + g)[..., None]
    exact = moments(taps)
    torch.testing.assert_close(exact.mass, (1 + g).prod(0))
    torch.testing.assert_close(exact.mean, (drift / G).sum(0))
    outer = drift[..., None] * drift[..., None, :]
    torch.testing.assert_close(exact.covariance, (spread / G[..., None] - outer / G[..., None] ** 2).sum(0))
    for form in ("linear", "pde"):
        found = moments(taps, form=form)
        torch.testing.assert_close(found.mass, g.sum(0).exp())
        torch.testing.assert_close(found.mean, drift.sum(0))
        torch.testing.assert_close(found.covariance, spread.sum(0))


@pytest.mark.parametrize("convolutional", [False, True])
@pytest.mark.parametrize("form", ["exact", "linear", "pde"])
def test_moments_are_those_of_the_kernel(form: str, convolutional: bool) -> None:
    taps = draws(6, 1, 5, seed=5, low=0.0, high=0.3)
    skip = draws(6, 1, 3, seed=6, low=0.02, high=0.2)
    skip[..., 1] = 1.0
    given: Any = skip if convolutional else column(0.7, 1.0, -1.3, 1.2, 0.9, 1.1)
    kernel = composed_kernel(taps, given, form=form, sites=129)[0]
    found, v = moments(taps, given, form=form), places(kernel)
    mass = kernel.sum()
    mean = (kernel * v).sum() / mass
    assert found.mass.item() == pytest.approx(mass.item(), rel=1e-12)
    assert found.mean.item() == pytest.approx(mean.item(), rel=1e-9)
    for power, got in ((2, found.covariance), (3, found.third)):
        expected = (kernel * (v - mean) ** power).sum() / mass
        assert got.item() == pytest.approx(expected.item(), rel=1e-8, abs=1e-8)


def test_covariance_of_a_convolutional_skip_in_the_plane() -> None:
    """Minus the second derivatives of the generator at p = 0; the mean is i times the first."""
    taps, skip = draws(1, 1, 3, 5, seed=21, low=0.0, high=0.3), draws(1, 1, 3, 3, seed=22, low=0.0)
    for form in FORMS:
        found = moments(taps, skip, form=form)

        def real(p: Tensor, form: str = form) -> Tensor:
            return generator(taps, skip, p, form).real.sum()

        def imaginary(p: Tensor, form: str = form) -> Tensor:
            return generator(taps, skip, p, form).imag.sum()

        origin = torch.zeros(2, dtype=F64)
        hessian = torch.autograd.functional.hessian(real, origin)
        torch.testing.assert_close(found.covariance[0], -hessian, rtol=1e-11, atol=1e-12)
        slope = torch.autograd.functional.jacobian(imaginary, origin)
        torch.testing.assert_close(found.mean[0], -slope, rtol=1e-11, atol=1e-12)


def test_a_tap_moves_mass_against_its_offset() -> None:
    taps = torch.zeros(1, 1, 3, 5, dtype=F64)
    taps[0, 0, 0, 4] = 1.0  # the source one row up and two columns right
    found = moments(taps, 0.0)
    assert found.mean.tolist() == [[-2.0, 1.0]]
    x = torch.zeros(1, 1, 5, 7, dtype=F64)
    x[0, 0, 2, 3] = 1.0
    y = residual_chain(x, taps, skip=0.0)
    assert y[0, 0].nonzero().tolist() == [[3, 1]]


def test_layers_add_up() -> None:
    taps, skip = draws(5, 2, 3, 3, seed=7, low=0.0), draws(5, seed=8, low=0.5)
    for form in FORMS:
        whole, first, rest = (moments(taps[s], skip[s], form=form) for s in (slice(5), slice(2), slice(2, 5)))
        torch.testing.assert_close(whole.mass, first.mass * rest.mass)
        for w, f, r in zip(whole[1:], first[1:], rest[1:], strict=True):
            torch.testing.assert_close(w, f + r)
        none = moments(taps[:0], skip[:0], form=form)
        assert none.mass.tolist() == [1.0, 1.0]
        assert not any(part.any() for part in none[1:])


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_moments(form: str) -> None:
    taps = draws(3, 2, 3, 3, seed=9, low=0.0, high=0.2).requires_grad_()
    kernel = draws(3, 1, 3, 3, seed=10, low=0.0, high=0.2).requires_grad_()
    for skip in (draws(3, 2, seed=11, low=0.5).requires_grad_(), kernel):
        assert torch.autograd.gradcheck(lambda t, s: tuple(moments(t, s, form=form)), (taps, skip))


# --- composed kernels ---


@pytest.mark.parametrize("kernel", [(3,), (7,), (3, 3), (3, 5)])
def test_exact_kernel_is_the_counted_walk(kernel: tuple[int, ...]) -> None:
    taps, skip = draws(4, 1, *kernel, seed=12), draws(4, seed=13)
    found = composed_kernel(taps, skip)[0]
    assert found.shape == tuple(4 * (k - 1) + 1 for k in kernel)
    expected = torch.zeros_like(found)
    for place, weight in counted(taps[:, 0], skip).items():
        expected[tuple(m // 2 + v for m, v in zip(found.shape, reversed(place), strict=True))] = weight
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("sites", [7, 8, (5, 12)])
def test_exact_kernel_is_the_sum_over_waves(sites: Any) -> None:
    """Also where the kernel goes around the grid: K(v) = sum_p e^{ipv} prod_t (1 + Omega_t) / M."""
    sizes = sites if isinstance(sites, tuple) else (sites,)
    taps, skip = draws(6, 2, *(3,) * len(sizes), seed=14), draws(6, 2, seed=15)
    found = composed_kernel(taps, skip, sites=sites)
    grids = [torch.arange(m, dtype=F64) for m in sizes]
    waves = torch.cartesian_prod(*(2 * math.pi * g / len(g) for g in grids)).reshape(-1, len(sizes))
    v = torch.cartesian_prod(*(g - len(g) // 2 for g in grids)).reshape(-1, len(sizes))
    p = waves[:, 0] if len(sizes) == 1 else waves.flip(1)
    gain = generator(taps, skip, p).exp().prod(0)
    expected = gain @ torch.exp(1j * (waves @ v.T)) / len(waves)
    torch.testing.assert_close(found.flatten(1), expected.real, rtol=1e-11, atol=1e-11)
    assert expected.imag.abs().max() < 1e-11


def test_three_layers_of_the_theory_note() -> None:
    kernel = composed_kernel(pde_chain(0.8, 0.3, -0.05, 3))[0]
    assert kernel[3].item() == pytest.approx(0.178405, abs=1e-12)
    assert kernel.sum().item() == pytest.approx(0.857375, abs=1e-12)
    two = composed_kernel(pde_chain(0.8, 0.3, -0.05, 2))[0]
    assert two[2].item() == pytest.approx(0.31**2 + 2 * 0.47 * 0.17, abs=1e-15)


@pytest.mark.parametrize("form", FORMS)
def test_kernels_of_two_parts_compose(form: str) -> None:
    taps, skip = draws(5, 1, 3, seed=16, low=0.0, high=0.4), draws(5, seed=17, low=0.5)
    whole, first, rest = (
        torch.fft.fft(torch.fft.ifftshift(composed_kernel(taps[s], skip[s], form=form, sites=31)[0]))
        for s in (slice(5), slice(2), slice(2, 5))
    )
    torch.testing.assert_close(whole, first * rest, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("form", ["linear", "pde"])
def test_approximations_factorise_over_the_axes(form: str) -> None:
    """Omega of a five-point layer is a sum over the axes, e^Omega a product; in a field y comes first."""
    a, b, s, r = (draws(4, seed=i, low=0.3) for i in range(4))
    plane = composed_kernel(pde_taps(a, b, s, r, 0.1), form=form, sites=(12, 17))[0]
    along_x = composed_kernel(pde_taps(a, b, gamma=0.1), form=form, sites=17)[0]
    along_y = composed_kernel(pde_taps(s, r), form=form, sites=12)[0]
    torch.testing.assert_close(plane, along_y[:, None] * along_x, rtol=0.0, atol=1e-12)


def test_where_every_gate_is_open_the_kernel_is_the_chain() -> None:
    a, b, s, r = (draws(8, seed=i, low=0.4, high=0.7) for i in range(4))
    taps = pde_taps(a, 0.3 * b, s, 0.3 * r, 0.05)
    image = draws(1, 1, 9, 11, seed=18, low=0.0)
    out = residual_chain(image, taps, activation="relu", boundary="periodic")
    kernel = composed_kernel(taps, sites=(9, 11))
    axes = (-2, -1)
    spectrum = torch.fft.fft2(image) * torch.fft.fft2(torch.fft.ifftshift(kernel, dim=axes))
    torch.testing.assert_close(torch.fft.ifft2(spectrum).real, out, rtol=1e-12, atol=1e-13)


def test_distances_of_the_theory_note() -> None:
    """L1 distance to the exact kernel of 27 layers: e^Omega, Gaussian, Gaussian with the exact moments."""
    for a, b, g, expected in (
        (0.8, 0.3, 0.0, (0.0828, 0.0732, 0.0273)),
        (0.8, 0.3, -0.05, (0.0330, 0.0274, 0.0074)),
        (0.3, 0.05, 0.0, (0.0201, 0.0903, 0.0852)),
        (0.95, 0.3, 0.0, (0.0613, 0.0532, 0.0318)),
    ):
        taps = pde_chain(a, b, g, 27)
        exact, linear, pde = (composed_kernel(taps, form=form, sites=201)[0] for form in FORMS)
        found, v = moments(taps), places(exact)
        width, shift = found.covariance[0, 0].sqrt(), -found.mean[0]
        matched = gaussian_kernel(v, width, shift, gamma=found.mass.log())
        samples = gaussian_kernel(v, column(a).expand(27), b, gamma=g)
        torch.testing.assert_close(pde, samples, rtol=0.0, atol=1e-6)
        distances = [(k - exact).abs().sum().item() for k in (linear, samples, matched)]
        assert distances == pytest.approx(expected, abs=6e-5)


def test_exponential_approximation_is_of_first_order_in_the_time_step() -> None:
    """At a fixed time and spacing, e^Omega comes nearer as dt; what the Gaussian misses remains.

    So the order of the three is exact, e^Omega, Gaussian for small steps; for large ones it is not.
    """
    a, b, time = 0.6, 0.3, 4.0
    first, second = [], []
    for layers in (64, 128):
        taps = pde_taps(column(a).expand(layers), column(b).expand(layers), dt=time / layers)
        exact, linear, pde = (composed_kernel(taps, form=form, sites=65)[0] for form in FORMS)
        first.append((exact - linear).abs().sum().item())
        second.append((linear - pde).abs().sum().item())
    assert first[1] / first[0] == pytest.approx(0.5, rel=0.05)
    assert second[1] == pytest.approx(second[0], rel=1e-9)
    assert first[1] < second[1] / 4


def test_kernel_converges_to_the_gaussian_as_the_grid_is_refined() -> None:
    """dt ~ dx^2, weights per length K / dx: the heat kernel with drift and growth, to order dx^2."""
    a, b, g, time = 0.8, 0.5, 0.3, 1.0
    errors = []
    for n in (8, 16):
        dx, layers = 1.0 / n, 4 * n * n
        parameters = column(a).expand(layers), column(b).expand(layers)
        taps = pde_taps(*parameters, gamma=g, dt=time / layers, dx=dx)
        kernel = composed_kernel(taps, sites=12 * n + 1)[0]
        v = places(kernel) * dx
        expected = gaussian_kernel(v, a * math.sqrt(time), b * time, gamma=g * time)
        errors.append((kernel / dx - expected).abs().max().item())
    assert errors[1] / errors[0] == pytest.approx(0.25, rel=0.1)


def test_small_weights_of_a_walk_are_precise() -> None:
    """The furthest a walk can go is one step repeated: (a^2 + b)/2 and (a^2 - b)/2 to the power of N."""
    kernel = composed_kernel(pde_chain(0.8, 0.3, 0.0, 200))[0]
    assert kernel[0].item() == pytest.approx(0.47**200, rel=1e-12)
    assert kernel[-1].item() == pytest.approx(0.17**200, rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_kernels(form: str) -> None:
    taps = draws(3, 2, 3, seed=19, low=0.0, high=0.3).requires_grad_()
    skip = draws(3, 2, seed=20, low=0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda t, s: composed_kernel(t, s, form=form, sites=6), (taps, skip))


@pytest.mark.parametrize("form", FORMS)
def test_dtypes_and_empty_chains(form: str) -> None:
    taps = torch.rand(3, 2, 3)
    assert composed_kernel(taps, form=form).dtype == torch.float32
    assert moments(taps, form=form).covariance.dtype == torch.float32
    nothing = composed_kernel(taps[:0], form=form, sites=4)
    torch.testing.assert_close(nothing, torch.tensor([[0.0, 0, 1, 0]]).expand(2, 4))
    assert composed_kernel(taps[:0], form=form).shape == (2, 1)


# --- arguments ---

TAPS = torch.rand(2, 3, 3)
BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "taps": ({"taps": None}, TypeError, r"taps: expected a torch\.Tensor, got NoneType"),
    "taps complex": (
        {"taps": TAPS.to(torch.complex64)},
        TypeError,
        "taps: expected a real floating dtype, got torch.complex64",
    ),
    "taps shape": ({"taps": TAPS[0]}, ValueError, r"taps: expected shape \(T, C, \*K\)"),
    "skip": ({"skip": None}, TypeError, "skip: expected a real number, got NoneType"),
    "skip complex": ({"skip": 1j}, TypeError, "skip: expected a real number, got complex"),
    "skip shape": ({"skip": torch.ones(3)}, ValueError, r"skip: expected a number, .* got shape \(3,\)"),
    "skip zero": ({"skip": 0.0, "form": "linear"}, ValueError, "skip: expected a symbol without zeros for"),
    "form": ({"form": "exp"}, ValueError, "form: expected one of 'exact', 'linear', 'pde', got 'exp'"),
}
BAD_SITES: dict[str, tuple[Any, type[Exception], str]] = {
    "zero": (0, ValueError, "sites: expected at least 1, got 0"),
    "negative": (-3, ValueError, "sites: expected an int >= 0, got -3"),
    "too many": ((3, 3), ValueError, "sites: expected a number or 1 of them, got 2"),
    "float": (3.0, TypeError, "sites: expected an int >= 0, got float"),
    "floats": ((3.0,), TypeError, "sites: expected an int >= 0, got float"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("function", [moments, composed_kernel])
def test_bad_arguments(function: Any, case: str) -> None:
    change, error, message = BAD[case]
    with pytest.raises(error, match=message):
        function(**({"taps": TAPS} | change))


@pytest.mark.parametrize("case", BAD_SITES)
def test_bad_sites(case: str) -> None:
    sites, error, message = BAD_SITES[case]
    with pytest.raises(error, match=message):
        composed_kernel(TAPS, sites=sites)
