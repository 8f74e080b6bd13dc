"""The jackknife: against closed forms and the delta method; blocks of runs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from qcore import stats

from .series import ar1, tau_of_ar1


def test_of_the_mean_it_is_the_standard_error() -> None:
    x = torch.randn(50, 3, dtype=torch.float64)
    found = stats.jackknife(x, lambda mean: mean)
    torch.testing.assert_close(found.value, x.mean(0), rtol=0, atol=1e-14)
    torch.testing.assert_close(found.error, x.std(0) / math.sqrt(50), rtol=1e-10, atol=0)
    torch.testing.assert_close(found.covariance, torch.cov(x.T) / 50, rtol=1e-10, atol=1e-15)
    assert found.bias.abs().max() < 1e-13
    assert (found.blocks, found.unreliable) == (50, "")


def test_of_a_ratio_it_is_the_delta_method() -> None:
    """Numerator and denominator vary together; as if independent, errors would be 20 times too large."""
    b = 2 + 0.5 * torch.randn(2000, dtype=torch.float64)
    a = 3 * b + 0.03 * torch.randn(2000, dtype=torch.float64)
    found = stats.jackknife(torch.stack([a, b], 1), lambda mean: mean[0] / mean[1])
    ratio = a.mean() / b.mean()
    delta = (a - ratio * b).std() / b.mean() / math.sqrt(2000)
    assert float(found.error) == pytest.approx(float(delta), rel=2e-3)
    naive = float(ratio) * math.hypot(float(a.std() / a.mean()), float(b.std() / b.mean())) / math.sqrt(2000)
    assert naive > 20 * float(found.error)


def test_the_bias_of_a_square_is_found() -> None:
    """<x>^2 overestimates by the variance of the mean, which for a square the jackknife gives exactly."""
    x = 1 + torch.randn(40, dtype=torch.float64)
    found = stats.jackknife(x, lambda mean: mean**2)
    assert float(found.bias) == pytest.approx(float(x.var() / 40), rel=1e-10)


def test_complex_values_have_errors_of_their_parts() -> None:
    x = torch.complex(torch.randn(60, dtype=torch.float64), 5 * torch.randn(60, dtype=torch.float64))
    found = stats.jackknife(x, lambda mean: mean)
    assert float(found.error.real) == pytest.approx(float(x.real.std()) / math.sqrt(60), rel=1e-10)
    assert float(found.error.imag) == pytest.approx(float(x.imag.std()) / math.sqrt(60), rel=1e-10)
    covariance = torch.cov(torch.stack([x.real, x.imag])) / 60
    torch.testing.assert_close(found.covariance, covariance, rtol=1e-10, atol=1e-15)


def test_weights_are_numbers_of_measurements() -> None:
    x = torch.randn(90, dtype=torch.float64)
    parts = torch.tensor_split(x, [10, 40])
    means = torch.stack([part.mean() for part in parts])
    counts = torch.tensor([10.0, 30.0, 50.0])
    found = stats.jackknife(means, lambda mean: mean.exp(), weights=counts)
    assert float(found.value) == pytest.approx(math.exp(float(x.mean())), rel=1e-13)
    left = torch.stack([torch.cat([*parts[:k], *parts[k + 1 :]]).mean().exp() for k in range(3)])
    assert float(found.error) == pytest.approx(
        math.sqrt(2 / 3 * float(((left - left.mean()) ** 2).sum())), rel=1e-12
    )
    assert found.unreliable == "3 blocks are fewer than 30"


def test_one_block_has_no_error() -> None:
    found = stats.jackknife(torch.ones(1, 2), lambda mean: mean)
    assert found.error.isnan().all()
    assert found.unreliable


@pytest.mark.parametrize(
    ("n", "chains", "expected"), [(1000, 3, 102), (7, 250, 100), (5, 2, 10), (1000, 1, 100)]
)
def test_blocks_of_a_run(n: int, chains: int, expected: int) -> None:
    x = torch.randn(n, 2, chains, dtype=torch.float64)
    means, counts = stats.block_means(x)
    assert means.shape == (expected, 2)
    assert float(counts.sum()) == n * chains
    torch.testing.assert_close((counts @ means) / counts.sum(), x.mean((0, 2)), rtol=0, atol=1e-13)


def test_blocks_keep_correlations_inside() -> None:
    x = ar1(20000, 1, 0.8).reshape(20000, 1, 1)
    means, counts = stats.block_means(x)
    found = stats.jackknife(means, lambda mean: mean, weights=counts)
    exact = math.sqrt(2 * tau_of_ar1(0.8) / 20000)
    assert float(found.error) == pytest.approx(exact, rel=0.25)  # 100 blocks: the error is known to 7 %


def ratio(mean: Tensor) -> Tensor:
    return mean


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"blocks: expected shape \(B, ...\), B >= 1"):
        stats.jackknife(torch.zeros(0, 2), ratio)
    with pytest.raises(TypeError, match="blocks: expected real or complex numbers"):
        stats.jackknife(torch.zeros(3, dtype=torch.long), ratio)
    with pytest.raises(TypeError, match="blocks: expected a torch"):
        stats.jackknife([1.0], ratio)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"weights: expected shape \(3,\), none negative"):
        stats.jackknife(torch.zeros(3), ratio, weights=torch.tensor([1.0, -1.0, 1.0]))
    with pytest.raises(ValueError, match=r"series: expected shape \(n, observables, chains\)"):
        stats.block_means(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="blocks: expected an int >= 1"):
        stats.block_means(torch.zeros(3, 2, 1), 0)
