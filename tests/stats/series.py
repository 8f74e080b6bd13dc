"""Series whose autocorrelations are known."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def ar1(n: int, chains: int, rho: float, seed: int = 1) -> Tensor:
    """(n, chains): stationary x_t = rho x_{t-1} + noise of variance 1."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal((n, chains)) * np.sqrt(1 - rho**2)
    x = np.empty((n, chains))
    x[0] = random.standard_normal(chains)
    for t in range(1, n):
        x[t] = rho * x[t - 1] + noise[t]
    return torch.from_numpy(x)


def tau_of_ar1(rho: float) -> float:
    """1/2 + sum of rho^t."""
    return (1 + rho) / (2 * (1 - rho))
