"""The smallest engine there is: an AR(1) process with numbers keyed by sweep, and a step that is tuned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Ar1:
    """x_t = rho x_{t-1} + sqrt(1 - rho^2) noise, with <x> = 0, <x^2> = 1; measures every `every`-th sweep."""

    name = "ar1"
    observables = ("x", "x2")

    def __init__(self, chains: int = 4, rho: float = 0.5, seed: int = 1, every: int = 1) -> None:
        self.chains, self.rho, self.seed, self.every = chains, rho, seed, every
        self.calls: list[tuple[int, int, bool]] = []

    def config(self) -> dict[str, Any]:
        return {"chains": self.chains, "rho": self.rho, "seed": self.seed, "every": self.every}

    def start(self) -> dict[str, Tensor]:
        return {
            "x": torch.zeros(self.chains, dtype=torch.float64),
            "tuned_step": torch.ones(self.chains, dtype=torch.float64),
        }

    def advance(
        self, state: dict[str, Tensor], first: int, sweeps: int, *, warmup: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        self.calls.append((first, sweeps, warmup))
        x, step, measured = state["x"], state["tuned_step"], []
        accepted = torch.zeros(self.chains, dtype=torch.float64)
        for sweep in range(first, first + sweeps):
            random = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, sweep, 0, 0]))
            noise = torch.from_numpy(random.standard_normal(self.chains))
            x = self.rho * x + (1 - self.rho**2) ** 0.5 * noise
            accepted += (noise < 0.7 * step).double()
            if (sweep + 1) % self.every == 0:
                measured.append(torch.stack([x, x * x]))
        if warmup:  # once per call, so that calls of other sizes would show
            step = step * (0.5 + accepted / sweeps)
        empty = torch.zeros(0, 2, self.chains, dtype=torch.float64)
        series = torch.stack(measured) if measured else empty
        return {"x": x, "tuned_step": step}, series, accepted / sweeps
