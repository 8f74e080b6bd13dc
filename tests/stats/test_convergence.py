"""Agreement of chains and export, with ArviZ; its own numbers are checked against closed forms."""

from __future__ import annotations

import sys

import pytest
import torch

from qcore import stats
from qcore._optional import MissingPackage

from .series import ar1, tau_of_ar1


def test_chains_that_agree() -> None:
    found = stats.convergence(ar1(2000, 4, 0.5))
    assert abs(found.rhat - 1) < 0.01
    exact = 8000 / (2 * tau_of_ar1(0.5))
    assert found.ess_bulk == pytest.approx(exact, rel=0.15)
    assert found.ess_bulk == pytest.approx(stats.estimate(ar1(2000, 4, 0.5)).ess, rel=0.1)
    assert 1000 < found.ess_tail < 8000


def test_chains_that_disagree() -> None:
    x = ar1(500, 4, 0.5)
    x[:, 0] += 3
    found = stats.convergence(x)
    assert found.rhat > 1.3
    assert found.ess_bulk < 20
    drift = ar1(500, 4, 0.5) + torch.linspace(0, 4, 500, dtype=torch.float64)[:, None]
    assert stats.convergence(drift).rhat > 1.3  # each chain is split: a drift shows
    wide = ar1(500, 4, 0.5)
    wide[:, 0] *= 4
    assert stats.convergence(wide).rhat > 1.05  # folded: a scale shows


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"series: expected shape \(n, chains\) with n >= 4, real"):
        stats.convergence(torch.zeros(3, 4))
    with pytest.raises(TypeError, match="series: expected a torch"):
        stats.convergence(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"series: expected shape \(n, 2, chains\), real"):
        stats.to_arviz(torch.zeros(5, 3, 4), ("a", "b"))


def test_a_missing_arviz_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("arviz_stats", "arviz_stats.base", "arviz_base"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (
        lambda: stats.convergence(torch.zeros(5, 4)),
        lambda: stats.to_arviz(torch.zeros(5, 2, 4), ("a", "b")),
    ):
        with pytest.raises(MissingPackage, match=r"pip install \"qcore-kernels\[arviz\]\""):
            call()
