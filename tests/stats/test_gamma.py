"""The Gamma method: times of AR(1) series in closed form, error bars that cover, replicas, doubts."""

from __future__ import annotations

import math

import pytest
import torch

from qcore import stats

from .series import ar1, tau_of_ar1


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.9])
@pytest.mark.parametrize("chains", [1, 8])
def test_the_time_of_an_ar1_series(rho: float, chains: int) -> None:
    found = stats.estimate(ar1(40000 // chains, chains, rho))
    exact = tau_of_ar1(rho)
    assert abs(found.tau_int - exact) < 4 * found.tau_error
    assert found.tau_error < 0.15 * exact
    assert abs(found.mean) < 4 * found.error
    assert found.error == pytest.approx(math.sqrt(2 * exact / 40000), rel=0.15)
    assert found.ess == pytest.approx(found.measurements / (2 * found.tau_int), rel=1e-12)
    assert (found.measurements, found.chains, found.method) == (40000, chains, "gamma")
    assert found.unreliable == ""


def test_error_bars_cover() -> None:
    """Of 1000 intervals of one standard error 68.3 % should cover the truth; 65 to 71 % is 2 sigma."""
    x = ar1(4000, 1000, 0.6, seed=3)
    found = [stats.estimate(x[:, k]) for k in range(1000)]
    covered = sum(abs(entry.mean) < entry.error for entry in found)
    assert 650 <= covered <= 710
    twice = sum(abs(entry.mean) < 2 * entry.error for entry in found)
    assert 935 <= twice <= 973
    exact = tau_of_ar1(0.6)
    pulls = torch.tensor([(entry.tau_int - exact) / entry.tau_error for entry in found])
    assert abs(float(pulls.mean())) < 0.3
    assert 0.8 < float(pulls.std()) < 1.2


def test_against_sums_written_out() -> None:
    """Autocovariances over chains by loops, the window and the corrections of the paper by hand."""
    x = ar1(300, 3, 0.7, seed=5)
    n, chains = x.shape
    d = (x - x.mean()).tolist()
    gamma = [
        sum(d[i][c] * d[i + t][c] for c in range(chains) for i in range(n - t)) / (chains * (n - t))
        for t in range(n // 2 + 1)
    ]
    tau, window = 0.5, 0
    for w in range(1, n // 2 + 1):
        tau += gamma[w] / gamma[0]
        slow = 2.0 / math.log((2 * tau + 1) / (2 * tau - 1))
        if math.exp(-w / slow) - slow / math.sqrt(w * n * chains) < 0:
            window = w
            break
    total = n * chains
    c = gamma[0] + 2 * sum(gamma[1 : window + 1])
    variance = gamma[0] + c / total
    c += (2 * window + 1) * c / total
    found = stats.estimate(x)
    assert found.window == window > 3
    assert found.error == pytest.approx(math.sqrt(c / total), rel=1e-10)
    assert found.tau_int == pytest.approx(c / (2 * variance), rel=1e-10)
    assert found.tau_error == pytest.approx(
        found.tau_int * math.sqrt(4 / total * (window + 0.5 - found.tau_int)), rel=1e-10
    )
    rho = stats.autocorrelation(x, 20)
    torch.testing.assert_close(
        rho, torch.tensor(gamma[:21], dtype=torch.float64) / gamma[0], rtol=1e-10, atol=1e-12
    )


def test_autocovariances_are_averaged_before_the_window_is_chosen() -> None:
    """No chain of 100 can tell its time of 2; 400 of them can."""
    x = ar1(100, 400, 0.6, seed=7)
    together = stats.estimate(x)
    assert abs(together.tau_int - tau_of_ar1(0.6)) < 4 * together.tau_error
    assert together.tau_error < 0.1
    assert stats.estimate(x[:, 0]).tau_error > 0.4
    assert together.unreliable == ""


def test_chains_that_disagree_widen_the_error() -> None:
    """Chains stuck at different levels: their spread must show, though each is white noise on its own."""
    levels = torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    x = 0.1 * ar1(1000, 4, 0.0) + levels
    found = stats.estimate(x)
    assert found.error > 0.2  # the spread of four levels is 1, and a naive error 0.016
    assert found.unreliable


def chains_at_levels(chains: int, step: float) -> torch.Tensor:
    """White noise about levels that differ so little that autocorrelations hardly show it."""
    levels = step * torch.linspace(-1, 1, chains, dtype=torch.float64)
    return ar1(20000, chains, 0.0, seed=chains) + levels


@pytest.mark.parametrize("chains", [2, 4, 64])
def test_chains_that_disagree_a_little_are_noticed(chains: int) -> None:
    x = chains_at_levels(chains, 0.1)
    assert "chains disagree: their means scatter" in stats.estimate(x).unreliable
    binning = stats.Binning((1, chains))
    binning.add(x.unsqueeze(1))
    assert binning.estimates()[0].unreliable
    assert stats.estimate(chains_at_levels(chains, 0.0)).unreliable == ""


@pytest.mark.parametrize(("n", "chains"), [(400, 2), (400, 8), (100, 100)])
def test_chains_that_agree_are_not_accused(n: int, chains: int) -> None:
    x = ar1(n, 200 * chains, 0.5, seed=11)
    binning = stats.Binning((200, chains))
    binning.add(x.reshape(n, 200, chains))
    for k, binned in enumerate(binning.estimates()):
        assert "disagree" not in stats.estimate(x[:, k * chains : (k + 1) * chains]).unreliable
        assert "disagree" not in binned.unreliable


def test_the_order_of_chains_and_the_offset_do_not_matter() -> None:
    x = ar1(2000, 4, 0.8)
    found, other = stats.estimate(x), stats.estimate(x[:, [2, 0, 3, 1]] + 1000.0)
    assert other.error == pytest.approx(found.error, rel=1e-9)
    assert other.tau_int == pytest.approx(found.tau_int, rel=1e-9)
    assert stats.estimate(x[:, 0]) == stats.estimate(x[:, :1])


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_huge_and_tiny_values(scale: float) -> None:
    x = ar1(2000, 4, 0.8)
    found, other = stats.estimate(x), stats.estimate(scale * x)
    assert other.error == pytest.approx(scale * found.error, rel=1e-9)
    assert other.tau_int == pytest.approx(found.tau_int, rel=1e-9)
    assert other.unreliable == ""


def test_s_widens_the_window() -> None:
    x = ar1(20000, 1, 0.8)
    assert stats.estimate(x, S=1.0).window < stats.estimate(x, S=2.0).window


def test_doubts() -> None:
    assert "50 tau" in stats.estimate(ar1(300, 1, 0.95)).unreliable
    assert "10 tau" in stats.estimate(ar1(30, 300, 0.8)).unreliable
    assert stats.estimate(torch.zeros(0)).unreliable == "no measurements"
    assert stats.estimate(torch.zeros(0, 3)).unreliable == "no measurements"
    assert stats.estimate(torch.ones(1)).unreliable == "one measurement"
    x = ar1(100, 1, 0.0)
    x[17] = math.inf
    found = stats.estimate(x)
    assert (found.mean, found.unreliable) == (math.inf, "not finite")
    assert "unreliable" in str(found)


@pytest.mark.parametrize("value", [0.0, 3.7, 1e300, -1e-300])
def test_a_series_that_does_not_vary_has_no_error(value: float) -> None:
    found = stats.estimate(torch.full((50, 2), value, dtype=torch.float64))
    assert (found.mean, found.error, found.tau_int) == (pytest.approx(value), 0.0, 0.5)


def test_threads_do_not_show() -> None:
    x = ar1(3000, 7, 0.5)
    torch.set_num_threads(1)
    one = stats.estimate(x)
    torch.set_num_threads(2)
    assert stats.estimate(x) == one


def test_integers_and_strides() -> None:
    x = ar1(500, 6, 0.5)
    assert stats.estimate(x[::2, 1::2]) == stats.estimate(x[::2, 1::2].contiguous())
    assert stats.estimate((10 * x).long()).mean == pytest.approx(float((10 * x).long().double().mean()))


@pytest.mark.parametrize(
    ("series", "error", "message"),
    [
        ([1.0, 2.0], TypeError, "series: expected a torch.Tensor"),
        (torch.zeros(3, 3, 3), ValueError, r"series: expected shape \(n,\) or \(n, chains\)"),
        (torch.zeros(3, dtype=torch.complex64), TypeError, "series: expected real numbers"),
        (torch.zeros(3, dtype=torch.bool), TypeError, "series: expected real numbers"),
    ],
)
def test_refusals(series: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        stats.estimate(series)  # type: ignore[arg-type]
    with pytest.raises(error, match=message):
        stats.autocorrelation(series)  # type: ignore[arg-type]


def test_refused_numbers() -> None:
    with pytest.raises(ValueError, match="S: expected a finite number > 0, got 0"):
        stats.estimate(torch.zeros(3), S=0)
    with pytest.raises(ValueError, match=r"lags: expected an int in 0 ... 2, got 3"):
        stats.autocorrelation(torch.zeros(3), 3)
    with pytest.raises(ValueError, match="series: expected at least one measurement"):
        stats.autocorrelation(torch.zeros(0))


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (0.803770, 0.000123, "0.80377(12)"),
        (12.3456, 1.2345, "12.3(1.2)"),
        (0.5, 0.0999, "0.50(10)"),
        (1234.5, 56.0, "1234(56)"),
        (2.0, 0.0, "2(0)"),
        (1.0, math.nan, "1(nan)"),
        (3.0e-20, 2.0e-22, "3e-20(2.0e-22)"),
    ],
)
def test_values_with_errors(mean: float, error: float, text: str) -> None:
    from qcore.stats._estimate import with_error

    assert with_error(mean, error) == text
