"""Whether chains agree: rank-normalised R-hat and effective sample sizes, as ArviZ computes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from qcore._ops._check import require_tensor, shape, wrong_value
from qcore._optional import optional_import


class Convergence(NamedTuple):
    """Of one observable. Good is R-hat < 1.01 and both sizes >= 400, with four chains or more."""

    rhat: float
    """Rank-normalised, split and folded R-hat; 1 where chains agree."""
    ess_bulk: float
    """Effective sample size for the middle of the distribution."""
    ess_tail: float
    """The smaller one of its 5 % and 95 % quantiles."""


def convergence(series: Tensor) -> Convergence:
    """R-hat and effective sample sizes of one observable. Needs ArviZ (pip install "qcore-kernels[arviz]").

    Args:
        series: (n, chains), n >= 4 measurements of each chain, real; two chains or more say more.

    Returns:
        Convergence(rhat, ess_bulk, ess_tail).

    Raises:
        TypeError, ValueError: `series` is no tensor of that shape.
        MissingPackage: ArviZ is not installed.

    Source: A. Vehtari et al., Bayesian Analysis 16, 667 (2021).
    """
    require_tensor("series", series)
    if series.ndim != 2 or series.shape[0] < 4 or series.shape[1] < 1 or series.is_complex():
        raise wrong_value("series", "shape (n, chains) with n >= 4, real", f"{shape(series)}, {series.dtype}")
    array_stats = optional_import("arviz_stats.base", "R-hat", extra="arviz").array_stats
    draws = series.detach().cpu().double().T.numpy()
    return Convergence(
        float(array_stats.rhat(draws)),
        float(array_stats.ess(draws, method="bulk")),
        float(array_stats.ess(draws, method="tail", prob=(0.05, 0.95))),
    )


def to_arviz(series: Tensor, observables: tuple[str, ...], attributes: dict[str, Any] | None = None) -> Any:
    """Measurements as ArviZ keeps them: an xarray.DataTree whose group "posterior" has (chain, draw) arrays.

    Args:
        series: (n, observables, chains), real.
        observables: their names.
        attributes: put on the group.

    Raises:
        TypeError, ValueError: `series` is no tensor of that shape.
        MissingPackage: ArviZ is not installed.
    """
    require_tensor("series", series)
    if series.ndim != 3 or series.shape[1] != len(observables) or series.is_complex():
        raise wrong_value("series", f"shape (n, {len(observables)}, chains), real", shape(series))
    arviz = optional_import("arviz_base", "an export to ArviZ", extra="arviz")
    draws = series.detach().cpu().to(torch.float64).permute(1, 2, 0).numpy()
    posterior = dict(zip(observables, draws, strict=True))
    return arviz.from_dict({"posterior": posterior}, attrs={"posterior": attributes or {}})
