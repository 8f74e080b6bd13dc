"""Errors of correlated measurements: autocorrelation times, binning, jackknife, agreement of chains.

Every autocorrelation time is tau_int = 1/2 + sum_{t > 0} rho(t), in units of measurements.
"""

from qcore.stats._binning import Binning
from qcore.stats._convergence import Convergence, convergence, to_arviz
from qcore.stats._estimate import Estimate
from qcore.stats._gamma import autocorrelation, estimate
from qcore.stats._jackknife import Jackknife, block_means, jackknife

__all__ = [
    "Binning",
    "Convergence",
    "Estimate",
    "Jackknife",
    "autocorrelation",
    "block_means",
    "convergence",
    "estimate",
    "jackknife",
    "to_arviz",
]
