"""The generator of a layer against closed forms, waves sent through layers, and error bounds."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from qcore.residual import generator, hamiltonian
from qcore.stencil import pde_taps, residual_chain, stability

F64 = torch.float64
FORMS = ("exact", "linear", "pde")


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def draws(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> Tensor:
    return torch.empty(*shape, dtype=F64).uniform_(low, high, generator=torch.Generator().manual_seed(seed))


# --- closed forms ---


def test_values_of_the_theory_note() -> None:
    taps = pde_taps(column(0.8), column(0.3), gamma=-0.05)
    p = column(0.0, 0.5, 1.0)
    omega = torch.tensor(
        [-0.05, -0.12834716 + 0.143827662j, -0.344206524 + 0.252441295j], dtype=torch.complex128
    )
    exact = torch.tensor(
        [-0.051293294, -0.123932647 + 0.163532139j, -0.352820765 + 0.367456792j], dtype=torch.complex128
    )
    for form, expected in (("linear", omega), ("exact", exact)):
        found = generator(taps, 1.0, p, form)[0, 0]
        torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("share", "one", "two", "three"),
    [
        (0.0, 0.95, 0.95123, 0.95123),
        (0.25, 0.76255 + 0.21213j, 0.77096 + 0.16604j, 0.75926 + 0.18228j),
        (0.5, 0.31 + 0.3j, 0.47917 + 0.14823j, 0.38482 + 0.19608j),
        (0.75, -0.14255 + 0.21213j, 0.31185 + 0.06716j, 0.12240 + 0.10454j),
        (1.0, -0.33, 0.26448, 0.02376 + 0.03271j),
    ],
)
def test_factors_of_waves_of_the_theory_note(
    share: float, one: complex, two: complex, three: complex
) -> None:
    taps = pde_taps(column(0.8), column(0.3), gamma=-0.05)
    for form, expected in zip(FORMS, (one, two, three), strict=True):
        factor = generator(taps, 1.0, torch.tensor(share * math.pi, dtype=F64), form).exp()
        assert factor.item() == pytest.approx(expected, abs=7.1e-6)  # five digits of both parts


@pytest.mark.parametrize("skip", ["number", "per step", "per channel"])
def test_pde_layers_have_their_own_parameters(skip: str) -> None:
    """Omega = (g - a^2 (1 - cos p) + i b sin p) / w; for small p, log w + (g - a^2 p^2 / 2 + i b p) / w."""
    a, b, g = (draws(4, 2, seed=s) for s in range(3))
    p = draws(5, 3, seed=3, low=-math.pi, high=math.pi)
    weight = {
        "number": torch.tensor([[1.7]], dtype=F64),
        "per step": draws(4, 1),
        "per channel": draws(4, 2),
    }[skip]
    given: Any = {"number": 1.7, "per step": weight[:, 0], "per channel": weight}[skip]
    column = (slice(None), slice(None), None, None)
    w = weight.to(torch.complex128).expand(4, 2)[column]
    omega = torch.complex(g[column] - a[column] ** 2 * (1 - p.cos()), b[column] * p.sin()) / w
    small = torch.complex(g[column] - a[column] ** 2 * p**2 / 2, b[column] * p) / w
    taps = pde_taps(a, b, gamma=g)
    torch.testing.assert_close(generator(taps, given, p, "linear"), w.log() + omega, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(generator(taps, given, p, "pde"), w.log() + small, rtol=1e-12, atol=1e-12)
    exact = generator(taps, given, p)
    torch.testing.assert_close(exact, (w * (1 + omega)).log(), rtol=1e-11, atol=1e-11)
    assert exact.shape == (4, 2, 5, 3)


def test_small_wave_numbers_in_two_dimensions() -> None:
    a, b, s, r, g = (draws(3, seed=i) for i in range(5))
    p = draws(6, 2, seed=5)
    found = generator(pde_taps(a, b, s, r, g, advection=-0.125), 1.0, p, "pde")[:, 0]
    px, py = p[:, 0], p[:, 1]
    t = (slice(None), None)
    real = g[t] - a[t] ** 2 * px**2 / 2 - s[t] ** 2 * py**2 / 2
    expected = torch.complex(real, -(b[t] * px + r[t] * py) / 8)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_quotient_of_the_theory_note() -> None:
    """Arrays over displacements, w {0: 1, +1: .2, -1: .1}, f {0: -.64, +1: .17, -1: .47}; taps reversed."""
    skip = torch.tensor([[[0.2, 1.0, 0.1]]], dtype=F64)
    taps = torch.tensor([[[0.17, -0.64, 0.47]]], dtype=F64)
    p = 2 * math.pi * torch.arange(16, dtype=F64) / 16
    w = 1 + 0.2 * torch.exp(-1j * p) + 0.1 * torch.exp(1j * p)
    assert w.abs().min().item() == pytest.approx(0.7)
    omega = generator(taps, skip, p, "linear")[0, 0] - w.log()
    assert abs(omega[0].item()) < 1e-15
    assert omega[8].item() == pytest.approx(-1.828571429, abs=5e-10)


# --- waves through layers ---


@pytest.mark.parametrize("convolutional", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_layer_multiplies_waves_by_the_exponential(dims: int, convolutional: bool) -> None:
    space, kernel = (6, 8, 7)[-dims:], (3, 5, 3)[-dims:]
    taps = draws(1, 2, *kernel, seed=1)
    x = draws(1, 2, *space, seed=2)
    skip = draws(1, 2, *(3,) * dims, seed=3) if convolutional else draws(1, 2, seed=3)
    periodic = {"activation": "none", "boundary": "periodic"}
    if convolutional:
        expected = sum(residual_chain(x, k, skip=0.0, **periodic) for k in (taps, skip))  # type: ignore[misc]
    else:
        expected = residual_chain(x, taps, skip=skip, **periodic)  # type: ignore[assignment]
    grids = torch.meshgrid(*(2 * math.pi * torch.fft.fftfreq(n, dtype=F64) for n in space), indexing="ij")
    p = grids[0] if dims == 1 else torch.stack(grids[::-1], -1)
    axes = tuple(range(-dims, 0))
    found = torch.fft.ifftn(generator(taps, skip, p)[0].exp() * torch.fft.fftn(x, dim=axes), dim=axes)
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-12, atol=1e-12)


# --- what the approximations leave out ---


def test_bounds_on_the_exponential() -> None:
    """|log(1+z) - z| <= |z|^2 / (2 (1 - |z|)) and |1+z - e^z| <= |z|^2 e^{|z|} / 2."""
    z = torch.complex(draws(4000, seed=0), draws(4000, seed=1))
    z = 0.95 * z / z.abs().clamp(min=1.0)
    p = torch.zeros((), dtype=F64)
    linear, exact = (generator(z[:, None, None], 1.0, p, form)[:, 0] for form in ("linear", "exact"))
    torch.testing.assert_close(linear, z, rtol=1e-15, atol=1e-16)
    size = z.abs()
    assert ((exact - linear).abs() <= size**2 / (2 * (1 - size))).all()
    assert ((exact.exp() - linear.exp()).abs() <= size**2 / 2 * size.exp()).all()


def test_error_after_many_layers_is_half_the_square_of_the_symbol() -> None:
    taps, p, layers = draws(1, 1, 5, seed=4), draws(20, seed=5, low=-3, high=3), 30
    misses = []
    for scale in (1e-2, 5e-3):
        exact, linear = (generator(scale * taps, 1.0, p, form) for form in ("exact", "linear"))
        error = (layers * (linear - exact)).exp() - 1
        misses.append(error / (layers * linear**2 / 2) - 1)
    assert misses[1].abs().max() < 0.6 * misses[0].abs().max()
    assert misses[1].abs().max() < 0.2


@pytest.mark.parametrize("convolutional", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_pde_form_is_of_second_order(dims: int, convolutional: bool) -> None:
    taps = draws(2, 1, *(5, 3, 3)[:dims], seed=6)
    skip: Any = draws(2, 1, *(3, 3, 5)[:dims], seed=7, low=0.1) if convolutional else 0.7
    direction = draws(10, dims, seed=8)
    errors = []
    for h in (2e-2, 1e-2):
        p = h * (direction[:, 0] if dims == 1 else direction)
        errors.append((generator(taps, skip, p, "pde") - generator(taps, skip, p, "linear")).abs())
    assert errors[0].max() > 1e-9
    assert (errors[1].sum() / errors[0].sum()).item() == pytest.approx(1 / 8, rel=0.05)


# --- the Hamiltonian ---


@pytest.mark.parametrize("form", FORMS)
def test_hamiltonian_is_minus_the_generator(form: str) -> None:
    taps, p = draws(3, 2, 3, seed=9), draws(7, seed=10)
    assert torch.equal(hamiltonian(taps, 2.0, p, form), -generator(taps, 2.0, p, form))


def test_growth_is_an_attractive_well_and_stable_layers_cost_energy() -> None:
    a, b = column(0.8, 0.8, 0.9), column(0.3, 0.8, 0.0)
    p = torch.linspace(-math.pi, math.pi, 101, dtype=F64)
    energy = hamiltonian(pde_taps(a, b), 1.0, p).real
    assert stability(a, b).stable.all()
    assert energy.min() > -1e-14
    shifted = hamiltonian(pde_taps(a, b, gamma=0.2), 1.0, p, "pde")
    torch.testing.assert_close(shifted, hamiltonian(pde_taps(a, b), 1.0, p, "pde") - 0.2)


# --- branches, zeros ---


def test_a_negative_skip_is_a_phase_of_pi() -> None:
    taps, p = 0.1 * draws(1, 1, 3, seed=11), draws(50, seed=12, low=-math.pi, high=math.pi)
    for form in ("linear", "pde"):
        positive, negative = (generator(s * taps, s, p, form) for s in (1.0, -1.0))
        torch.testing.assert_close(negative, positive + 1j * math.pi)
    exact = generator(-taps, -1.0, p)
    torch.testing.assert_close(exact.exp(), -generator(taps, 1.0, p).exp())
    assert exact.imag.abs().max() <= math.pi


def test_phases_add_over_layers_past_the_branch() -> None:
    a, b = column(0.8).expand(27), column(0.3).expand(27)
    taps = pde_taps(a, b)
    p = column(1.5)
    total = generator(taps, 1.0, p).sum(0)
    assert total.imag.item() > math.pi
    step = complex(1 - 0.64 * (1 - math.cos(1.5)), 0.3 * math.sin(1.5))
    assert total.exp().item() == pytest.approx(step**27, rel=1e-11)


def test_a_wave_that_is_taken_away() -> None:
    """a^2 = 1/2 at p = pi: 1 - a^2 (1 - cos p) = 0, up to rounding; exactly 0 for a layer without weights."""
    gone = generator(pde_taps(column(math.sqrt(0.5)), column(0.0)), 1.0, column(math.pi))
    assert gone.real.item() < -34
    nothing = generator(torch.zeros(1, 1, 3, dtype=F64), 0.0, column(0.0, 1.0))
    assert nothing.real.tolist() == [[[-math.inf, -math.inf]]]
    plain = generator(torch.ones(1, 1, 3, dtype=F64), 0.0, column(0.0))
    assert plain.item() == pytest.approx(math.log(3.0))


def test_zeros_of_the_skip_are_refused_where_it_divides() -> None:
    taps = torch.ones(2, 1, 3, dtype=F64)
    p = column(0.5)
    zero_at_pi = torch.tensor([[[0.5, 0.0, 0.5]]], dtype=F64).expand(2, 1, 3)
    for form in ("linear", "pde"):
        with pytest.raises(ValueError, match="skip: expected a symbol without zeros for the form"):
            generator(taps, column(1.0, 0.0), p, form)
    with pytest.raises(ValueError, match="skip: expected a symbol without zeros"):
        generator(taps, zero_at_pi - zero_at_pi.flip(2), p, "pde")
    assert generator(taps, zero_at_pi, p, "pde").isfinite().all()


# --- dtypes, gradients, arguments ---


@pytest.mark.parametrize("form", FORMS)
def test_dtypes_and_empty_chains(form: str) -> None:
    taps, p = torch.rand(2, 3, 3), torch.rand(4)
    assert generator(taps, 1.0, p, form).dtype == torch.complex64
    assert generator(taps.double(), 1.0, p, form).dtype == torch.complex128
    assert generator(taps, 1.0, p.double(), form).dtype == torch.complex128
    assert generator(taps.to(torch.complex64), 1j, p, form).dtype == torch.complex64
    assert generator(taps[:0], 1.0, p, form).shape == (0, 3, 4)
    assert generator(taps[:, :1], torch.ones(2, 3), p, form).shape == (2, 3, 4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dims", [1, 2])
def test_gradients(form: str, dims: int) -> None:
    taps = draws(2, 2, *(3,) * dims, seed=13).mul_(0.2).requires_grad_()
    p = draws(3, *((2,) if dims == 2 else ()), seed=14).requires_grad_()
    kernel = draws(2, 1, *(3,) * dims, seed=15).mul_(0.1)
    kernel[(..., *(1,) * dims)] += 1.0
    for skip in (draws(2, 2, seed=16, low=0.5).requires_grad_(), kernel.requires_grad_()):
        assert torch.autograd.gradcheck(lambda t, s, q: generator(t, s, q, form), (taps, skip, p))


TAPS, P = torch.rand(2, 3, 3), torch.rand(4)
BAD: dict[str, tuple[tuple[Any, ...], type[Exception], str]] = {
    "taps": (([1.0], 1.0, P), TypeError, r"taps: expected a torch\.Tensor, got list"),
    "taps dtype": ((TAPS.int(), 1.0, P), TypeError, r"taps: expected a floating or complex dtype, got torch"),
    "taps shape": (
        (TAPS[0], 1.0, P),
        ValueError,
        r"taps: expected shape \(T, C, \*K\) .* got shape \(3, 3\)",
    ),
    "taps even": ((TAPS[..., :2], 1.0, P), ValueError, r"taps: expected .* odd .* got shape \(2, 3, 2\)"),
    "skip": ((TAPS, "1", P), TypeError, "skip: expected a real number, got str"),
    "skip dtype": ((TAPS, torch.ones(2).int(), P), TypeError, "skip: expected a floating or complex dtype"),
    "skip layers": ((TAPS, torch.ones(3), P), ValueError, r"skip: expected a number, shape \(2,\), .* got"),
    "skip channels": ((TAPS, torch.ones(2, 2), P), ValueError, r"skip: expected .* got shape \(2, 2\)"),
    "skip kernel": ((TAPS, torch.ones(2, 3, 2), P), ValueError, r"skip: expected .* got shape \(2, 3, 2\)"),
    "skip axes": (
        (TAPS, torch.ones(2, 3, 3, 3), P),
        ValueError,
        r"skip: expected .* got shape \(2, 3, 3, 3\)",
    ),
    "skip device": ((TAPS, torch.ones(2, device="meta"), P), ValueError, "skip: expected the device of taps"),
    "p": ((TAPS, 1.0, 0.5), TypeError, r"p: expected a torch\.Tensor, got float"),
    "p dtype": ((TAPS, 1.0, P.int()), TypeError, r"p: expected a real floating dtype, got torch\.int32"),
    "p axes": (
        (torch.rand(2, 1, 3, 3), 1.0, P),
        ValueError,
        r"p: expected shape \(\.\.\., 2\), got shape \(4,\)",
    ),
    "form": (
        (TAPS, 1.0, P, "gauss"),
        ValueError,
        "form: expected one of 'exact', 'linear', 'pde', got 'gauss'",
    ),
    "form type": ((TAPS, 1.0, P, 1), TypeError, "form: expected one of .* got int"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("function", [generator, hamiltonian])
def test_bad_arguments(function: Any, case: str) -> None:
    arguments, error, message = BAD[case]
    with pytest.raises(error, match=message):
        function(*arguments)
