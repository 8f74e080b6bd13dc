"""Binning of streams: against plain formulas and the Gamma method, however the stream is cut or merged."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from qcore import stats
from qcore.stats import Binning

from .series import ar1, tau_of_ar1


def binned(x: Tensor, *cuts: int) -> Binning:
    binning = Binning(tuple(x.shape[1:]))
    for part in torch.tensor_split(x, list(cuts)):
        binning.add(part)
    return binning


@pytest.mark.parametrize("n", [1, 2, 37, 256, 257, 1000, 4096, 5003])
def test_errors_by_bin_size_are_those_of_bins(n: int) -> None:
    x = ar1(n, 3, 0.7)
    error, of_error = binned(x).errors()
    levels = 0
    while (n >> levels) * 3 > 1:
        bins = n >> levels
        means = x[: bins << levels].reshape(bins, -1, 3).mean(1)
        expected = (means.flatten().var(correction=1) * 2**levels / (n * 3)).sqrt()
        torch.testing.assert_close(error[levels], expected, rtol=1e-11, atol=0)
        torch.testing.assert_close(
            of_error[levels], expected / math.sqrt(2 * (bins * 3 - 1)), rtol=1e-11, atol=0
        )
        levels += 1
        if n >> levels == 0:
            break
    assert error.shape[0] == levels
    torch.testing.assert_close(binned(x).means(), x.mean(0), rtol=0, atol=1e-14)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_agrees_with_the_gamma_method_and_the_closed_form(rho: float) -> None:
    x = ar1(2**15, 4, rho)
    (found,) = binned(x.unsqueeze(1)).estimates()
    gamma = stats.estimate(x)
    assert found.mean == pytest.approx(gamma.mean, abs=1e-13)
    assert found.error == pytest.approx(gamma.error, rel=0.1)
    assert abs(found.tau_int - tau_of_ar1(rho)) < 4 * found.tau_error + 0.02 * tau_of_ar1(rho)
    assert found.unreliable == ""
    assert (found.method, found.measurements, found.chains) == ("binning", 2**17, 4)


def test_error_bars_cover() -> None:
    x = ar1(2**12, 1000, 0.6, seed=3)
    binning = Binning((1000, 1))
    binning.add(x.unsqueeze(-1))
    covered = sum(abs(entry.mean) < entry.error for entry in binning.estimates())
    assert 640 <= covered <= 710  # the bins chosen leave about 1 % of the error out


def test_cuts_do_not_show() -> None:
    x = ar1(3001, 2, 0.8).reshape(3001, 1, 2).repeat(1, 5, 1)
    whole, cut = binned(x), binned(x, *range(7, 3000, 13))
    assert cut.estimates() == whole.estimates()
    for a, b in zip(whole.state_dict()["squares"], cut.state_dict()["squares"], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("chains", "groups"), [(64, 64), (1000, 50), (128, 64), (67, 67), (2 * 67, 134), (96, 48)]
)
def test_many_chains_are_averaged_in_groups(chains: int, groups: int) -> None:
    x = ar1(700, chains, 0.6)
    binning = binned(x.unsqueeze(1))
    assert binning.groups == groups
    (found,) = binning.estimates()
    assert found.mean == pytest.approx(float(x.mean()), abs=1e-13)
    exact = math.sqrt(2 * tau_of_ar1(0.6) / (700 * chains))
    assert found.error == pytest.approx(exact, rel=0.15)
    assert found.ess == pytest.approx(700 * chains / (2 * found.tau_int), rel=1e-12)
    assert (found.measurements, found.chains) == (700 * chains, chains)
    torch.testing.assert_close(binning.means()[0], x.mean(0).reshape(groups, -1).mean(1), rtol=0, atol=1e-13)


def test_threads_do_not_show() -> None:
    x = torch.randn(4, 1, 70000, dtype=torch.float64)
    torch.set_num_threads(1)
    one = binned(x).estimates()
    torch.set_num_threads(2)
    assert binned(x).estimates() == one


def test_merging_chains_is_the_whole() -> None:
    x = ar1(5000, 6, 0.8)
    merged = binned(x[:, :1])
    for c in range(1, 6):
        merged = merged.merge(binned(x[:, [c]]))
    error, whole = merged.errors()[0], binned(x).errors()[0]
    torch.testing.assert_close(error, whole, rtol=1e-11, atol=0)
    assert merged.measurements == 30000
    torch.testing.assert_close(merged.means()[0], x.mean(), rtol=0, atol=1e-13)


def test_merging_stretches_of_a_run_is_the_whole_for_bins_that_fit() -> None:
    x = ar1(4096, 2, 0.8)
    first, second = binned(x[:1024]), binned(x[1024:])
    merged = first.merge(second)
    torch.testing.assert_close(merged.errors()[0][:11], binned(x).errors()[0][:11], rtol=1e-11, atol=0)
    torch.testing.assert_close(merged.means(), x.mean(0), rtol=0, atol=1e-13)
    assert (first.measurements, second.measurements) == (1024, 3072)


def test_states_go_on() -> None:
    x = ar1(3000, 2, 0.5)
    binning = binned(x[:1234])
    again = Binning.from_state_dict(binning.state_dict())
    twin = binning.copy()
    binning.add(x[1234:])
    again.add(x[1234:])
    assert again.errors()[0].equal(binning.errors()[0])
    assert twin.measurements == 1234


def test_no_plateau_is_said() -> None:
    (found,) = binned(ar1(2048, 1, 0.995).unsqueeze(1)).estimates()
    assert found.unreliable
    (found,) = binned(torch.cumsum(ar1(1 << 14, 1, 0.0), 0).unsqueeze(1)).estimates()
    assert found.unreliable


def test_little_and_nothing() -> None:
    empty = Binning((2, 3))
    assert [entry.unreliable for entry in empty.estimates()] == ["no measurements"] * 2
    assert empty.means().isnan().all()
    assert empty.errors()[0].shape == (0, 2)
    one = binned(torch.ones(1, 1, 1))
    assert one.estimates()[0].unreliable == "one measurement"
    constant = binned(torch.full((5003, 1, 2), 3.7, dtype=torch.float64))
    assert (constant.estimates()[0].error, constant.estimates()[0].tau_int) == (0.0, 0.5)
    x = torch.zeros(300, 1, 1)
    x[3] = math.nan
    assert binned(x).estimates()[0].unreliable == "not finite"


def test_refusals() -> None:
    with pytest.raises(ValueError, match="shape: expected at least one axis"):
        Binning(())
    with pytest.raises(ValueError, match=r"values: expected shape \(n, 2, 3\), got shape \(4, 2\)"):
        Binning((2, 3)).add(torch.zeros(4, 2))
    with pytest.raises(TypeError, match="values: expected real numbers"):
        Binning((2,)).add(torch.zeros(4, 2, dtype=torch.complex128))
    with pytest.raises(TypeError, match=r"values: expected a torch\.Tensor"):
        Binning((2,)).add([1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="other: expected measurements of shape"):
        Binning((2,)).merge(Binning((3,)))
    with pytest.raises(TypeError, match="other: expected a Binning"):
        Binning((2,)).merge(3)  # type: ignore[arg-type]
