"""Results as ArviZ keeps them."""

from __future__ import annotations

import torch

from qcore.paths import run

from .toy_engine import Ar1


def test_export() -> None:
    result = run(Ar1(chains=3), sweeps=50, warmup=10)
    tree = result.to_arviz()
    posterior = tree["posterior"]
    assert set(posterior.data_vars) == {"x", "x2"}
    assert posterior["x"].dims == ("chain", "draw")
    assert result.series is not None
    assert torch.equal(torch.from_numpy(posterior["x2"].values.copy()), result.series[:, 1].T)
    assert posterior.attrs["sampler"] == "ar1"
    assert '"rho": 0.5' in posterior.attrs["config"]
