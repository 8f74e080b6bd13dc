"""Errors of correlated measurements: autocorrelation times, binning, and what they can be trusted for."""

from qcore.stats._binning import Binning
from qcore.stats._estimate import Estimate
from qcore.stats._gamma import autocorrelation, estimate

__all__ = ["Binning", "Estimate", "autocorrelation", "estimate"]
