"""The Lagrangian of a walk against a search for the supremum, and against the weights of long walks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from qcore.residual import composed_kernel, discrete_lagrangian, moments
from qcore.stencil import pde_taps

F64 = torch.float64
LAYER = pde_taps(torch.tensor([0.8], dtype=F64), torch.tensor([0.3], dtype=F64))


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def draws(*shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    return torch.empty(*shape, dtype=F64).uniform_(low, high, generator=torch.Generator().manual_seed(seed))


def searched(v: float, weights: dict[int, float]) -> float:
    """sup_q [q v - ln sum kappa(u) e^{qu}] by thirds, in plain Python."""

    def gain(q: float) -> float:
        exponents = [math.log(w) + q * (u - v) for u, w in weights.items() if w > 0]
        top = max(exponents)
        return -top - math.log(sum(math.exp(e - top) for e in exponents))

    low, high = -200.0, 200.0
    for _ in range(150):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (left, high) if gain(left) < gain(right) else (low, right)
    return gain((low + high) / 2)


@pytest.mark.parametrize(
    ("v", "exact", "gaussian"),
    [
        (-0.9, 0.450540, 0.281250),
        (-0.6, 0.090601, 0.070312),
        (-0.3, 0.0, 0.0),
        (0.0, 0.077603, 0.070312),
        (0.3, 0.305080, 0.281250),
        (0.6, 0.700762, 0.632812),
    ],
)
def test_values_of_the_theory_note(v: float, exact: float, gaussian: float) -> None:
    found = discrete_lagrangian(column(v), LAYER).item()
    assert found == pytest.approx(exact, abs=6e-7)
    assert found >= (v + 0.3) ** 2 / (2 * 0.64) - 1e-15  # here the Gaussian makes every step likelier
    assert (v + 0.3) ** 2 / (2 * 0.64) == pytest.approx(gaussian, abs=6e-7)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("convolutional", [False, True])
def test_it_is_the_supremum(kernel: int, convolutional: bool) -> None:
    taps = draws(2, 2, kernel, seed=kernel) ** 6  # weights over many decades
    skip = draws(2, 1, 3, seed=1) if convolutional else draws(2, seed=2)
    radius = kernel // 2
    v = draws(9, seed=3, low=-radius, high=radius)
    found = discrete_lagrangian(v, taps, skip)
    assert found.shape == (2, 2, 9)
    for t in range(2):
        for c in range(2):
            weights = {d - radius: taps[t, c, radius - (d - radius)].item() for d in range(kernel)}
            for u in range(-1, 2):
                weight = skip[t, 0, 1 - u].item() if convolutional else (u == 0) * skip[t].item()
                weights[u] += weight
            expected = [searched(x, weights) for x in v.tolist()]
            torch.testing.assert_close(found[t, c], column(*expected), rtol=1e-11, atol=1e-11)


def test_long_walks_approach_it_at_the_rate_of_large_deviations() -> None:
    """w_N(x) = e^{-N L(x/N)} sqrt(L''(x/N) / (2 pi N)) (1 + O(1/N)), for a layer with growth."""
    taps = pde_taps(column(0.8), column(0.3), gamma=-0.05)
    for velocity in (-0.6, -0.2, 0.0, 0.4):
        misses = []
        v = column(velocity).requires_grad_()
        value = discrete_lagrangian(v, taps)
        (slope,) = torch.autograd.grad(value.sum(), v, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), v)
        for steps in (100, 200):
            kernel = composed_kernel(taps.expand(steps, 1, 3))[0]
            weight = kernel[steps + round(velocity * steps)].log().item()
            prefactor = 0.5 * math.log(curvature.item() / (2 * math.pi * steps))
            misses.append(abs(weight + steps * value.item() - prefactor))
        assert misses[0] < 0.05
        assert misses[1] / misses[0] == pytest.approx(0.5, rel=0.1)


def test_least_and_curved_at_the_mean() -> None:
    taps, skip = draws(3, 2, 5, seed=4), draws(3, 2, seed=5)
    walks = [moments(taps[t : t + 1], skip[t : t + 1]) for t in range(3)]
    for t, walk in enumerate(walks):
        for c in range(2):
            v = walk.mean[c, 0].clone().requires_grad_()
            value = discrete_lagrangian(v, taps[t : t + 1, c : c + 1], skip[t : t + 1, c : c + 1]).sum()
            (slope,) = torch.autograd.grad(value, v, create_graph=True)
            (curvature,) = torch.autograd.grad(slope, v)
            assert value.item() == pytest.approx(-math.log(walk.mass[c].item()), rel=1e-12)
            assert abs(slope.item()) < 1e-12
            assert curvature.item() == pytest.approx(1 / walk.covariance[c, 0, 0].item(), rel=1e-10)


def test_convex() -> None:
    v = torch.linspace(-2, 2, 401, dtype=F64)
    values = discrete_lagrangian(v, draws(2, 1, 5, seed=6))
    assert (values[..., 2:] - 2 * values[..., 1:-1] + values[..., :-2]).min() > 0


# --- the ends of the domain ---


def test_ends_and_beyond() -> None:
    """kappa = .17 at +1, .36 at 0, .47 at -1; tap d is displacement -d."""
    v = column(-1.5, -1.0, 1.0, 1.0001, math.inf, -math.inf, math.nan)
    found = discrete_lagrangian(v, LAYER)[0, 0]
    assert found[1].item() == pytest.approx(-math.log(0.47), rel=1e-14)
    assert found[2].item() == pytest.approx(-math.log(0.17), rel=1e-14)
    assert found.isinf().tolist() == [True, False, False, True, True, True, False]
    assert found.isnan().tolist() == [False] * 6 + [True]


@pytest.mark.parametrize("weight", [0.47, 1e-12, 1e-300])
def test_the_end_is_approached_smoothly(weight: float) -> None:
    """L is the least sum P ln(P / kappa) over shares P of mean v; here 1 - s, s and O(s^2 kappa)."""
    taps = torch.tensor([[[weight, 0.0, 0.3]]], dtype=F64)
    for s in (1e-3, 1e-6, 1e-9, 1e-13):
        v = 1.0 - s
        found = discrete_lagrangian(column(v), taps, 0.36).item()
        s = 1.0 - v
        expected = (
            -(1 - s) * math.log(weight) + s * math.log(s) + (1 - s) * math.log1p(-s) - s * math.log(0.36)
        )
        assert found == pytest.approx(expected, rel=1e-13, abs=6 * s**2 * weight)


def test_zeros_narrow_the_domain() -> None:
    """The domain ends at the last weight, not at the end of the kernel; gaps inside it do no harm."""
    taps = torch.tensor([[[0.0, 0.0, 0.0, 0.2, 0.0], [0.3, 0.0, 0.0, 0.0, 0.2]]], dtype=F64)
    v = column(-2.0, -1.0, -0.5, 0.0, 0.5, 2.0)
    one, two = discrete_lagrangian(v, taps, column(0.6))[0]
    assert one.isinf().tolist() == [True, False, False, False, True, True]
    assert one[2].item() == pytest.approx(searched(-0.5, {-1: 0.2, 0: 0.6}), rel=1e-12)
    assert one[[1, 3]].tolist() == pytest.approx([-math.log(0.2), -math.log(0.6)])
    assert two.isfinite().all()
    assert two[2].item() == pytest.approx(searched(-0.5, {-2: 0.2, 0: 0.6, 2: 0.3}), rel=1e-12)


def test_a_single_weight_and_none() -> None:
    taps = torch.tensor([[[0.0, 0.0, 0.4]], [[0.0, 0.0, 0.0]]], dtype=F64)
    found = discrete_lagrangian(column(-1.0, 0.0, -0.5), taps, 0.0)[:, 0]
    assert found[0].tolist() == pytest.approx([-math.log(0.4), math.inf, math.inf])
    assert found[1].tolist() == [math.inf] * 3


# --- derivatives ---


def test_first_and_second_derivatives() -> None:
    taps = draws(2, 1, 5, seed=7).requires_grad_()
    skip = draws(2, seed=8).requires_grad_()
    v = draws(4, seed=9, low=-1.8, high=1.8).requires_grad_()
    assert torch.autograd.gradcheck(discrete_lagrangian, (v, taps, skip))
    assert torch.autograd.gradgradcheck(discrete_lagrangian, (v, taps, skip))


def test_first_derivative_in_closed_form() -> None:
    """With three weights and x = e^q: kappa(1) (1 - v) x^2 - kappa(0) v x - kappa(-1) (1 + v) = 0."""
    v = torch.cat([torch.linspace(-0.95, 0.95, 39, dtype=F64), column(-1 + 1e-6, 1 - 1e-6)]).requires_grad_()
    (q,) = torch.autograd.grad(discrete_lagrangian(v, LAYER).sum(), v)
    v = v.detach()
    ahead, linear, behind = 0.17 * (1 - v), -0.36 * v, -0.47 * (1 + v)
    root = (linear**2 - 4 * ahead * behind).sqrt()
    x = torch.where(linear < 0, (root - linear) / (2 * ahead), -2 * behind / (root + linear))
    torch.testing.assert_close(q, x.log(), rtol=1e-9, atol=1e-13)


def test_derivative_to_a_weight_of_zero() -> None:
    """dL/dkappa(u) = -e^{qu} / sum kappa e^{qu}, at kappa(u) = 0 too, inside the range of the walk."""
    taps = torch.tensor([[[0.3, 0.0, 0.5]]], dtype=F64, requires_grad=True)
    v = column(0.2).requires_grad_()
    value = discrete_lagrangian(v, taps, 0.0).sum()
    to_taps, q = torch.autograd.grad(value, (taps, v))
    total = 0.3 * math.exp(q.item()) + 0.5 * math.exp(-q.item())
    expected = [-math.exp(q.item()) / total, -1 / total, -math.exp(-q.item()) / total]
    assert to_taps.flatten().tolist() == pytest.approx(expected, rel=1e-12)


def test_derivatives_at_the_end_and_beyond_are_not_nan() -> None:
    taps = LAYER.clone().requires_grad_()
    v = column(-1.0, 1.0, 2.0, 0.0).requires_grad_()
    values = discrete_lagrangian(v, taps)[0, 0]
    (gradient,) = torch.autograd.grad(values[:2].sum(), taps, retain_graph=True)
    torch.testing.assert_close(gradient, torch.tensor([[[-1 / 0.17, 0.0, -1 / 0.47]]], dtype=F64))
    single = torch.tensor([[[0.0, 0.0, 0.4]]], dtype=F64, requires_grad=True)
    (gradient,) = torch.autograd.grad(discrete_lagrangian(column(-1.0), single, 0.0).sum(), single)
    assert gradient[0, 0].tolist() == pytest.approx([0.0, 0.0, -1 / 0.4])
    for leaf in (taps, v):
        (gradient,) = torch.autograd.grad(values[[0, 1, 3]].sum(), leaf, retain_graph=True)
        assert gradient.isfinite().all()


# --- types, arguments ---


def test_dtypes_and_shapes() -> None:
    taps, skip = torch.rand(2, 3, 3), torch.ones(2, 3)
    v = torch.rand(4, 5) - 0.5
    found = discrete_lagrangian(v, taps, skip)
    assert found.dtype == torch.float32
    assert found.shape == (2, 3, 4, 5)
    torch.testing.assert_close(
        found.double(), discrete_lagrangian(v.double(), taps, skip), rtol=1e-4, atol=1e-5
    )
    assert discrete_lagrangian(torch.tensor(0.1), taps, skip).shape == (2, 3)
    assert discrete_lagrangian(v, taps[:0], skip[:0]).shape == (0, 3, 4, 5)


TAPS = torch.rand(2, 3, 3)
BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "v": ({"v": 0.5}, TypeError, r"v: expected a torch\.Tensor, got float"),
    "v dtype": ({"v": torch.arange(3)}, TypeError, r"v: expected a real floating dtype, got torch\.int64"),
    "taps": ({"taps": None}, TypeError, r"taps: expected a torch\.Tensor, got NoneType"),
    "taps complex": (
        {"taps": TAPS + 0j},
        TypeError,
        "taps: expected a real floating dtype, got torch.complex64",
    ),
    "plane": (
        {"taps": torch.rand(2, 3, 3, 3)},
        ValueError,
        r"taps: expected shape \(T, C, K\) of one dimension",
    ),
    "signed tap": ({"taps": -TAPS}, ValueError, r"taps: expected weights skip \+ taps >= 0 .*, got -0\.\d+"),
    "signed skip": ({"skip": -1.0}, ValueError, r"taps: expected weights skip \+ taps >= 0"),
    "nan": ({"taps": TAPS * math.nan}, ValueError, r"taps: expected weights skip \+ taps >= 0 .*, got nan"),
    "skip": ({"skip": None}, TypeError, "skip: expected a real number, got NoneType"),
    "skip shape": ({"skip": torch.ones(3)}, ValueError, r"skip: expected a number, .* got shape \(3,\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case: str) -> None:
    change, error, message = BAD[case]
    with pytest.raises(error, match=message):
        discrete_lagrangian(**({"v": torch.zeros(3), "taps": TAPS} | change))


def test_pde_layers_with_signed_weights_are_refused() -> None:
    for a, b, g in ((0.5, 0.3, 0.0), (0.8, 0.3, -0.5)):  # |b| > a^2; 1 + g < a^2
        with pytest.raises(ValueError, match=r"weights of paths with signs have no real action"):
            discrete_lagrangian(column(0.0), pde_taps(column(a), column(b), gamma=g))
