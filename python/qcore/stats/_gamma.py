"""The Gamma method: errors from autocorrelations summed over a window that the data choose.

U. Wolff, "Monte Carlo errors with less errors", Comput. Phys. Commun. 156, 143 (2004), hep-lat/0306017.
Arrays are NumPy's and the transforms single-threaded, so that no number of threads shows in a result.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qcore._ops._check import require_positive, require_tensor, shape, wrong_type, wrong_value

from ._estimate import Estimate, disagreement, doubts

_AT_ONCE = 2**22  # values in a transform

Array = NDArray[np.float64]


def estimate(series: Tensor, *, S: float = 2.0) -> Estimate:
    """Mean, error and integrated autocorrelation time of one observable, by the Gamma method.

    Autocovariances are averaged over the chains, about the mean of all, before the window is chosen, so that
    many short chains give as good a time as one long one. The window W is the first where the truncation
    error e^{-W/tau} is smaller than the statistical one, with tau = S tau_int (eq. 50 ff.); the bias of order
    1/N from subtracting the measured mean is taken out (eq. 49).

    Args:
        series: (n,) or (n, chains), real; equally spaced measurements of a stationary run.
        S: exponential over integrated time, 1 to 2; larger is more careful.

    Returns:
        Estimate, with tau_int = 1/2 + sum rho in units of measurements; its `unreliable` says so where there
        are fewer than 50 tau_int measurements in all or 10 in a chain, or where the means of chains scatter
        more than their errors allow. Nothing is raised for that.

    Raises:
        TypeError, ValueError: `series` is no real tensor of one or two axes; S is not positive.
    """
    require_positive("S", S)
    x = as_chains("series", series)
    n, chains = x.shape
    total = n * chains
    if total == 0:
        return Estimate.of_nothing(chains, "gamma")
    mean = float(x.mean())
    if not math.isfinite(mean) or total == 1:
        why = "one measurement" if math.isfinite(mean) else "not finite"
        return Estimate(mean, math.nan, math.nan, math.nan, math.nan, total, chains, "gamma", 0, why)
    covariance, unit = _autocovariance(x, mean, max(n // 2, 1))
    if unit == 0.0:
        return Estimate(mean, 0.0, 0.5, 0.0, float(total), total, chains, "gamma", 0)
    window, closed = _window(covariance / covariance[0], total, S)
    sums = float(covariance[0] + 2.0 * covariance[1 : window + 1].sum())
    variance = float(covariance[0]) + sums / total
    sums *= 1.0 + (2 * window + 1) / total
    if not sums > 0.0:  # so anticorrelated, or so few, that the noise outweighs what is left
        nan, why = math.nan, "anticorrelated beyond what can be resolved"
        return Estimate(mean, nan, nan, nan, nan, total, chains, "gamma", window, why)
    tau = 0.5 * sums / variance
    tau_error = 2.0 * tau * math.sqrt(max(window + 0.5 - tau, 0.0) / total)  # eq. 42
    error = unit * math.sqrt(sums / total)
    why = doubts(total, chains, tau, error)
    if not closed and not why:
        why = f"correlated over the whole window of {window}"
    found = Estimate(mean, error, tau, tau_error, total / (2.0 * tau), total, chains, "gamma", window, why)
    return found if why else replace(found, unreliable=disagreement(x.mean(axis=0), found))


def autocorrelation(series: Tensor, lags: int | None = None) -> Tensor:
    """Normalised autocorrelation function rho(t), t = 0 ... lags, averaged over chains before the division.

    Args:
        series: (n,) or (n, chains), real.
        lags: the largest t; n - 1 if None.

    Returns:
        (lags + 1,) float64, 1 at t = 0; nan where the series does not vary.

    Raises:
        TypeError, ValueError: an argument of the wrong type or shape; lags not in 0 ... n - 1.

    Source: eq. 31 and 36 of Wolff (2004).
    """
    x = as_chains("series", series)
    if x.size == 0:
        raise wrong_value("series", "at least one measurement", shape(series))
    last = x.shape[0] - 1 if lags is None else lags
    if isinstance(last, bool) or not isinstance(last, int) or not 0 <= last < x.shape[0]:
        raise wrong_value("lags", f"an int in 0 ... {x.shape[0] - 1}", lags)
    covariance, _ = _autocovariance(x, float(x.mean()), last)
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(covariance / covariance[0])


def as_chains(name: str, series: Any) -> Array:
    """The series as (n, chains) float64."""
    require_tensor(name, series)
    if series.is_complex() or not (series.is_floating_point() or series.dtype.is_signed):
        raise wrong_type(name, "real numbers", series.dtype)
    if series.ndim not in (1, 2):
        raise wrong_value(name, "shape (n,) or (n, chains)", shape(series))
    x: Array = series.detach().cpu().double().numpy()
    return x.reshape(x.shape[0], -1) if x.size else x.reshape(x.shape[0], x.shape[1] if x.ndim == 2 else 1)


def _autocovariance(x: Array, mean: float, lags: int) -> tuple[Array, float]:
    """Gamma(t), t = 0 ... lags (eq. 31): products summed over all chains, by the number of pairs.

    In squares of the unit that comes with it, to keep them from overflow; 0 for a series without variance.
    """
    n, chains = x.shape
    lags = min(lags, n - 1)
    sums = np.zeros(lags + 1)
    with np.errstate(invalid="ignore", over="ignore"):
        deviation = (x - mean).T
        unit = float(np.abs(deviation).max())
    if not unit > 8.0 * np.finfo(np.float64).eps * abs(mean):  # the rounding of the mean
        return sums, 0.0
    unit = 2.0 ** math.frexp(unit)[1] if math.isfinite(unit) else unit
    size = 1 << (n + lags).bit_length()  # zeros behind the end, so that it does not meet the beginning
    step = max(1, _AT_ONCE // size)
    for first in range(0, chains, step):
        waves = np.fft.rfft(deviation[first : first + step] / unit, size, axis=1)
        sums += np.fft.irfft((waves.real**2 + waves.imag**2).sum(axis=0), size)[: lags + 1]
    return sums / (chains * (n - np.arange(lags + 1))), unit


def _window(rho: Array, total: int, s: float) -> tuple[int, bool]:
    """The window of eq. 50-52, and whether the criterion was met before the data ended.

    Where negative correlations bring tau_int below 1/2 the paper takes the exponential time to be tiny; here
    significant correlations count by their size, or the window would end before they do.
    """
    tau = 0.5 + np.cumsum(rho[1:])
    size = np.abs(rho[1:])
    either = 0.5 + np.cumsum(np.where(size > 2.0 / math.sqrt(total), size, 0.0))
    tau = np.where(tau > 0.5, tau, either)
    w = np.arange(1, rho.size)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slow = np.where(tau > 0.5, s / np.log((2.0 * tau + 1.0) / (2.0 * tau - 1.0)), 1e-300)
        g = np.exp(-w / slow) - slow / np.sqrt(w * float(total))
    below = np.flatnonzero(g < 0.0)
    return (int(w[below[0]]), True) if below.size else (rho.size - 1, rho.size == 1)
