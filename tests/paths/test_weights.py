"""Weighted averages: closed forms of bridges and of phases, streams and merges, the sign problem refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from qcore.paths import SignProblemError, Weights, expectation, weights
from qcore.paths._weights import _Sums


def bridges(count: int, steps: int, duration: float) -> Tensor:
    """(count, steps + 1) free Brownian bridges from 0 to 0, by pinning free walks."""
    dt = duration / steps
    walk = torch.zeros(count, steps + 1, dtype=torch.float64)
    walk[:, 1:] = (math.sqrt(dt) * torch.randn(count, steps, dtype=torch.float64)).cumsum(1)
    return walk - walk[:, -1:] * torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def oscillator_over_free(omega: float, steps: int, duration: float) -> float:
    """Average of exp(-omega^2/2 dt sum x^2) over them: K_oscillator / K_free of the lattice, at 0."""
    dt = duration / steps
    w = 2 / dt * math.asinh(dt * omega / 2)
    return math.sqrt(math.sinh(dt * w) / dt * duration / math.sinh(w * duration))


@pytest.mark.parametrize("duration", [1.0, 2.0, 5.0])
def test_bridges_reweighted_to_an_oscillator(duration: float) -> None:
    """Average weight, effective sample size and <x^2> in the middle, exact at this number of steps."""
    steps, count = 16, 40000
    x = bridges(count, steps, duration)
    dt = duration / steps
    log_w = -0.5 * dt * (x**2).sum(1)
    sums = weights(log_w, x[:, steps // 2] ** 2)

    mean, error = sums.log_mean
    first, second = (oscillator_over_free(w, steps, duration) for w in (1.0, math.sqrt(2)))
    assert abs(float(mean) - math.log(first)) < 4 * float(error)
    assert float(error) == pytest.approx(math.sqrt((second / first**2 - 1) / count), rel=0.3)
    assert sums.ess / count == pytest.approx(first**2 / second, rel=0.02)

    found = sums.expectation()
    w = 2 / dt * math.asinh(dt / 2)
    exact = dt / math.sinh(dt * w) * math.sinh(w * duration / 2) ** 2 / math.sinh(w * duration)
    assert abs(float(found.mean) - exact) < 4 * float(found.error)
    assert float(found.error) < 0.05 * exact
    assert (found.average_phase, found.average_phase_error) == (1.0, 0.0)
    assert found.samples == count
    assert found.unreliable == ""


def rotated_samples(theta: float, steps: int, count: int) -> tuple[Tensor, Tensor]:
    """Free steps of the time |dt| e^{-i (pi/2 - theta)}, drawn from the moduli of their Gaussian weights.

    exp(i x^2 / (2 dt)) with 1 / dt = e^{i (pi/2 - theta)} has the exponent -x^2/2 (sin' + i cos'), so that
    x has the variance 1 / sin(theta) and the phase exp(i x^2 cos(theta) / 2), of average (sin theta)^{1/2}
    in modulus.
    """
    x = torch.randn(count, steps, dtype=torch.float64) / math.sqrt(math.sin(theta))
    return 0.5j * math.cos(theta) * (x**2).sum(1), x


@pytest.mark.parametrize(("theta", "steps"), [(math.pi / 4, 8), (math.pi / 4, 4), (1.2, 20)])
def test_the_average_phase_of_a_rotated_contour(theta: float, steps: int) -> None:
    log_w, x = rotated_samples(theta, steps, 50000)
    sums = weights(log_w, x[:, 0] ** 2)
    phase, error = sums.average_phase
    exact = math.sin(theta) ** (steps / 2)
    assert abs(phase - exact) < 4 * error
    assert error == pytest.approx(math.sqrt((1 - exact**2) / 50000), rel=0.6)  # 1 / sqrt(2) of it, or all
    found = sums.expectation()
    # <x^2> under the complex Gaussian exp(-x^2 (sin theta - i cos theta) / 2).
    target = 1 / complex(math.sin(theta), -math.cos(theta))
    assert abs(float(found.mean.real) - target.real) < 4 * float(found.error.real)
    assert abs(float(found.mean.imag) - target.imag) < 4 * float(found.error.imag)
    assert float(found.error.real) < 0.2
    assert found.ess == pytest.approx(50000)


def test_a_sign_problem_is_refused() -> None:
    """theta = 0.3, N = 20: the average phase is 5e-6, which 1e5 samples cannot tell from nothing."""
    log_w, x = rotated_samples(0.3, 20, 100000)
    with pytest.raises(
        SignProblemError, match=r"average phase: .* from 100000 samples; that takes more than"
    ) as info:
        expectation(log_w, x[:, 0])
    error = info.value
    assert error.average_phase < 5 * error.error
    assert error.samples == 100000
    assert error.samples_needed > 100000
    assert isinstance(error, ArithmeticError)


def test_too_few_effective_samples_are_refused_with_the_number_needed() -> None:
    """A phase of 0.1 with next to no error, from 1000 samples: N phase^2 = 10, and 3000 would do."""
    angles = torch.tensor([math.acos(0.1), -math.acos(0.1)], dtype=torch.float64).repeat(500)
    log_w = 1j * angles
    with pytest.raises(SignProblemError, match="that takes about 3e\\+03 samples") as info:
        expectation(log_w, torch.ones(1000))
    assert info.value.samples_needed == pytest.approx(3000, rel=1e-6)
    more = expectation(log_w.repeat(4), torch.ones(4000))
    assert complex(more.mean) == pytest.approx(1)


@pytest.mark.parametrize("complex_weights", [False, True])
def test_covariances(complex_weights: bool) -> None:
    """Of averages of x and of (x + y) / 2: the diagonal is the error, and off it stands their common part."""
    x, y = torch.randn(2, 20000, dtype=torch.float64)
    log_w = torch.zeros(20000, dtype=torch.complex128) if complex_weights else torch.zeros(20000)
    found = expectation(log_w, torch.stack([x, (x + y) / 2], 1))
    size = 4 if complex_weights else 2
    assert found.covariance.shape == (size, size)
    assert float(found.covariance[0, 0].sqrt()) == pytest.approx(float(found.error.real[0]), rel=1e-12)
    assert float(found.covariance[0, 1] * 20000) == pytest.approx(0.5, rel=0.4)


def test_threads_do_not_show() -> None:
    log_w, o = torch.randn(2, 1, 200000, dtype=torch.float64)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(_Sums.of(log_w.to(torch.complex128), o[:, :, None].to(torch.complex128)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_positive_weights_are_never_refused() -> None:
    few = expectation(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]))
    assert float(few.mean) == 2
    assert few.unreliable
    no_phase = expectation(torch.zeros(3, dtype=torch.complex128), torch.tensor([1.0, 2.0, 3.0]))
    assert complex(no_phase.mean) == 2


def test_the_error_knows_the_covariance() -> None:
    """O = 1 + small: numerator and denominator vary together, and the ratio hardly at all."""
    log_w = torch.randn(5000, dtype=torch.float64)
    o = 1 + 1e-6 * torch.randn(5000, dtype=torch.float64)
    found = expectation(log_w, o)
    w = log_w.exp()
    mean = (w * o).sum() / w.sum()
    delta = float((w**2 * (o - mean) ** 2).sum().sqrt() / w.sum())
    assert float(found.error) == pytest.approx(delta, rel=0.3)
    assert float(found.mean) == pytest.approx(float(mean), abs=1e-15)


@pytest.mark.parametrize("complex_weights", [False, True])
def test_error_bars_cover(complex_weights: bool) -> None:
    """Reweighted Gaussians, 400 times; 68 +- 5 %."""
    torch.set_num_threads(1)
    covered = 0
    for _ in range(400):
        x = torch.randn(1000, dtype=torch.float64)
        log_w = (0.5j if complex_weights else 0.5) * x
        found = expectation(log_w, x)
        part, error = (found.mean.imag, found.error.imag) if complex_weights else (found.mean, found.error)
        covered += abs(float(part) - 0.5) < float(error)
    assert 0.63 * 400 <= covered <= 0.74 * 400


def test_correlated_samples_get_the_errors_of_their_blocks() -> None:
    x = torch.randn(500, dtype=torch.float64).repeat_interleave(100)
    found = expectation(torch.zeros(50000), x)
    assert float(found.error) == pytest.approx(float(x.std()) / math.sqrt(500), rel=0.3)


def same(a: Weights, b: Weights, rtol: float = 1e-11) -> None:
    found, other = a.expectation(), b.expectation()
    torch.testing.assert_close(found.mean, other.mean, rtol=rtol, atol=rtol)
    torch.testing.assert_close(found.error, other.error, rtol=rtol, atol=rtol)
    torch.testing.assert_close(a.log_mean[0], b.log_mean[0], rtol=rtol, atol=rtol)
    assert found.ess == pytest.approx(other.ess, rel=rtol)
    assert found.average_phase == pytest.approx(other.average_phase, rel=rtol)
    assert a.samples == b.samples


@pytest.mark.parametrize("n", [5, 64, 127, 128, 1000])
@pytest.mark.parametrize("complex_weights", [False, True])
def test_streams_are_the_whole(n: int, complex_weights: bool) -> None:
    x = 100 * torch.randn(n, dtype=torch.float64)
    log_w = torch.complex(x, 0.3 * torch.randn(n, dtype=torch.float64)) if complex_weights else x
    o = torch.randn(n, 2, 3, dtype=torch.float64)
    whole = weights(log_w, o)
    for size in (7, 300) if n > 200 else (1, 7):
        stream = Weights((2, 3))
        for first in range(0, n, size):
            stream.add(log_w[first : first + size], o[first : first + size])
        if complex_weights and n < 30:
            assert stream.samples == n
        else:
            same(stream, whole)


@pytest.mark.parametrize(("n", "cut"), [(4096, 2048), (4096, 512), (1000, 0), (100, 64), (5000, 4096)])
def test_merging_is_the_whole(n: int, cut: int) -> None:
    log_w = torch.randn(n, dtype=torch.float64)
    o = torch.randn(n, dtype=torch.float64)
    first, second = weights(log_w[:cut], o[:cut]), weights(log_w[cut:], o[cut:])
    before = second.samples
    merged, whole = first.merge(second), weights(log_w, o)
    found, other = merged.expectation(), whole.expectation()
    assert float(found.mean) == pytest.approx(float(other.mean), rel=1e-12)
    assert float(found.error) == pytest.approx(float(other.error), rel=0.4)  # other blocks
    assert merged.ess == pytest.approx(whole.ess, rel=1e-12)
    assert float(merged.log_mean[0]) == pytest.approx(float(whole.log_mean[0]), abs=1e-12)
    assert (merged.samples, second.samples) == (n, before)
    merged.add(log_w, o)
    assert (merged.samples, first.samples) == (2 * n, cut)


def test_merging_many_with_rests() -> None:
    log_w = torch.randn(3000, dtype=torch.float64)
    o = torch.randn(3000, dtype=torch.float64)
    merged = Weights()
    for part in torch.tensor_split(torch.stack([log_w, o]), [3, 900, 1103, 1500, 2977], dim=1):
        merged = merged.merge(weights(*part))
    whole = expectation(log_w, o)
    assert float(merged.expectation().mean) == pytest.approx(float(whole.mean), rel=1e-12)
    assert float(merged.expectation().error) == pytest.approx(float(whole.error), rel=0.4)
    assert merged.samples == 3000


@pytest.mark.parametrize("angle", [0.0, 2.0, math.pi, -math.pi])
def test_the_angle_of_the_mean_weight(angle: float) -> None:
    """Gaussian phases about an angle, also about pi, where branches of the logarithm meet."""
    log_w = 1j * (angle + 0.1 * torch.randn(10000, dtype=torch.float64))
    mean, error = weights(log_w).log_mean
    turned = complex(mean) - 1j * angle
    assert abs(turned.real + 0.005) < 4 * float(error.real)
    assert abs(math.remainder(turned.imag, 2 * math.pi)) < 4 * float(error.imag)
    assert float(error.imag) == pytest.approx(0.1 / 100, rel=0.3)
    assert float(error.real) == pytest.approx(0.1**2 / math.sqrt(2) / 100, rel=0.3)


def test_huge_and_tiny_weights() -> None:
    log_w = torch.randn(1000, dtype=torch.float64)
    o = torch.randn(1000, dtype=torch.float64)
    plain = weights(log_w, o)
    for shift in (1e5, -1e5):
        moved = weights(log_w + shift, o)
        assert float(moved.expectation().mean) == pytest.approx(float(plain.expectation().mean), rel=1e-9)
        assert float(moved.log_mean[0]) == pytest.approx(float(plain.log_mean[0]) + shift, rel=1e-14)


def test_weights_of_zero() -> None:
    log_w = torch.tensor([0.0, -math.inf, 0.0] * 100, dtype=torch.float64)
    o = torch.tensor([1.0, 100.0, 3.0] * 100, dtype=torch.float64)
    for cast in (log_w, log_w.to(torch.complex128)):
        found = expectation(cast, o)
        assert complex(found.mean) == pytest.approx(2)
        assert found.ess == pytest.approx(200)
        assert complex(weights(cast).log_mean[0]) == pytest.approx(math.log(2 / 3))
    nothing = weights(torch.full((50,), -math.inf), torch.ones(50))
    assert math.isnan(float(nothing.expectation().mean))
    assert float(nothing.log_mean[0]) == -math.inf


def test_nan_and_infinity_propagate() -> None:
    for bad in (math.nan, math.inf):
        log_w = torch.zeros(100)
        log_w[7] = bad
        assert math.isnan(float(expectation(log_w, torch.ones(100)).mean))
    o = torch.ones(100, 2)
    o[3, 1] = math.nan
    mean = expectation(torch.zeros(100), o).mean
    assert float(mean[0]) == 1
    assert math.isnan(float(mean[1]))


def test_no_samples() -> None:
    found = Weights((2,)).expectation()
    assert found.mean.isnan().all()
    assert found.mean.shape == (2,)
    assert (found.samples, math.isnan(found.ess)) == (0, True)
    empty = weights(torch.zeros(0), torch.zeros(0, 2))
    assert empty.merge(empty).samples == 0


def test_observables_of_no_entries() -> None:
    assert expectation(torch.zeros(100), torch.zeros(100, 0)).mean.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_dtypes(dtype: torch.dtype) -> None:
    x = torch.randn(2000, dtype=torch.float64)
    found = expectation((0.1 * x).to(dtype), x.float())
    assert found.mean.dtype == (torch.complex128 if dtype.is_complex else torch.float64)
    exact = (x * (0.1 * x).exp()).sum() / (0.1 * x).exp().sum()
    assert float(found.mean.real) == pytest.approx(float(exact), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0], torch.ones(1)), TypeError, "log_weights: expected a torch"),
        ((torch.zeros(2, 2), torch.ones(2, 2)), ValueError, r"log_weights: expected shape \(n,\), got"),
        ((torch.zeros(2), torch.ones(3)), ValueError, r"observable: expected shape \(2,\), got shape \(3,\)"),
        ((torch.zeros(2), 3.0), TypeError, "observable: expected a torch"),
        ((torch.zeros(2).long(), torch.ones(2)), TypeError, "log_weights: expected real or complex numbers"),
        ((torch.zeros(2), torch.ones(2).long()), TypeError, "observable: expected real or complex numbers"),
    ],
)
def test_refusals(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        expectation(*arguments)


def test_refused_merges() -> None:
    with pytest.raises(TypeError, match="other: expected Weights, got int"):
        Weights().merge(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"other: expected observables of shape \(2,\), got \(\)"):
        Weights((2,)).merge(Weights())
