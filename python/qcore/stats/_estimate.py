"""An average with its error, and what it rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ENOUGH_TIMES = 50.0  # measurements in autocorrelation times, below which a time is not to be trusted
ENOUGH_LENGTH = 10.0  # the same for the length of each chain
ENOUGH_BLOCKS = 30  # independent blocks, below which the error of an error exceeds 13 %


@dataclass(frozen=True)
class Estimate:
    """A mean over correlated measurements.

    Times follow the convention tau_int = 1/2 + sum_{t > 0} rho(t) (Wolff 2004), which is 1/2 for independent
    measurements and half of what emcee and Sokal's 1 + 2 sum rho(t) report. Their unit is a measurement.

    Attributes:
        mean: average over all measurements of all chains.
        error: standard error of the mean, autocorrelations included.
        tau_int: integrated autocorrelation time.
        tau_error: standard error of tau_int.
        ess: effective sample size, measurements / (2 tau_int).
        measurements: how many there were, all chains together.
        chains: independent chains they came from.
        method: "gamma" (summed autocorrelations) or "binning" (spread of bin averages).
        window: lags summed over, or measurements in a bin.
        unreliable: why the error should not be trusted; empty where nothing speaks against it.
    """

    mean: float
    error: float
    tau_int: float
    tau_error: float
    ess: float
    measurements: int
    chains: int
    method: str
    window: int
    unreliable: str = ""

    @classmethod
    def of_nothing(cls, chains: int, method: str) -> Estimate:
        """What no measurement says."""
        nan = math.nan
        return cls(nan, nan, nan, nan, 0.0, 0, chains, method, 0, "no measurements")

    def __str__(self) -> str:
        """Value with its error in brackets, time and sample size."""
        text = (
            f"{with_error(self.mean, self.error)}, tau_int {with_error(self.tau_int, self.tau_error)} "
            f"(1/2 + sum rho), ESS {self.ess:.0f}"
        )
        return f"{text}, unreliable: {self.unreliable}" if self.unreliable else text


def doubts(measurements: int, chains: int, tau: float, error: float) -> str:
    """What speaks against an error that rests on so many measurements of so many chains."""
    if not (math.isfinite(error) and math.isfinite(tau)):
        return "not finite"
    length = measurements / chains
    if measurements < ENOUGH_TIMES * tau:
        return f"{measurements} measurements are fewer than {ENOUGH_TIMES:g} tau"
    if length < ENOUGH_LENGTH * tau:
        return f"chains of {length:.0f} measurements are shorter than {ENOUGH_LENGTH:g} tau"
    return ""


def disagreement(means: NDArray[np.float64], entry: Estimate) -> str:
    """Whether the means of chains scatter more than their error says, as those of stuck chains do; in words.

    Args:
        means: (chains,), or of as many groups of chains.
        entry: the estimate from all of them.
    """
    freedom = means.size - 1
    if freedom < 1 or not entry.error > 0.0:
        return ""
    squares = float((((means - means.mean()) / entry.error) ** 2).sum()) / means.size
    # Beyond this by chance, chi^2 comes less often than once in 10^4; error^2 is itself uncertain.
    allowed = freedom + 6.0 * math.sqrt(2.0 * freedom) + 9.0
    if not squares > allowed * (1.0 + 4.0 * entry.tau_error / entry.tau_int):
        return ""
    return (
        f"chains disagree: their means scatter {math.sqrt(squares / freedom):.1f} times as far as they should"
    )


def with_error(value: float, error: float) -> str:
    """A value with two digits of its error in brackets: 0.80377(12)."""
    if not (math.isfinite(value) and math.isfinite(error)):
        return f"{value:.6g}({error:.2g})"
    if error <= 0.0:
        return f"{value:.10g}(0)"
    places = 1 - math.floor(math.log10(float(f"{error:.1e}")))
    if not 0 <= places <= 15:
        return f"{value:.6g}({error:.1e})"
    digits = f"{error:.{places}f}" if error >= 0.95 else str(round(error * 10**places))
    return f"{value:.{places}f}({digits})"
