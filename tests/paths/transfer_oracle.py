"""Sums over lattice paths the long way: every path listed, its weight multiplied out in float64."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor


def rows(tensor: Tensor | None, t: int, b: int) -> Tensor | None:
    """What step t of problem b sees of (1 or N, 1 or B, n)."""
    if tensor is None:
        return None
    return tensor[t % tensor.shape[0], b % tensor.shape[1]]


def listed_paths(sites: int, kernel: int, steps: int, boundary: str):
    """All (tap numbers, sites x_0 ... x_N) that stay on the line."""
    for start in range(sites):
        for taps in itertools.product(range(kernel), repeat=steps):
            path = [start]
            for k in taps:
                x = path[-1] - (k - kernel // 2)  # psi_{t+1}(x) reads x + d
                if boundary == "periodic":
                    x %= sites
                if not 0 <= x < sites:
                    break
                path.append(x)
            else:
                yield taps, path


def enumerate_paths(psi: Tensor, taps: Tensor, factor: Tensor | None, steps: int, boundary: str) -> list:
    """For each problem and end the weights of the paths into it, with their sites."""
    batch, sites = psi.shape
    found = [[[] for _ in range(sites)] for _ in range(batch)]
    for b in range(batch):
        for numbers, path in listed_paths(sites, taps.shape[-1], steps, boundary):
            weight = psi[b, path[0]].item()
            for t, k in enumerate(numbers):
                weight *= rows(taps, t, b)[k].item()
                if factor is not None:
                    weight *= rows(factor, t, b)[path[t + 1]].item()
            found[b][path[-1]].append((weight, path, numbers))
    return found


def total(weights: list) -> complex | float:
    """Summed without rounding where real."""
    values = [w for w, *_ in weights]
    if any(isinstance(v, complex) for v in values):
        return complex(math.fsum(v.real for v in values), math.fsum(v.imag for v in values))
    return math.fsum(values)


def sums(psi: Tensor, taps: Tensor, factor: Tensor | None, steps: int, boundary: str) -> Tensor:
    """psi_N (B, M)."""
    found = enumerate_paths(psi, taps, factor, steps, boundary)
    return torch.tensor([[total(w) for w in line] for line in found], dtype=psi.dtype)


def step_by_step(psi: Tensor, taps: Tensor, factor: Tensor | None, steps: int, boundary: str) -> Tensor:
    """psi_N by a loop over shifts in torch, differentiable; for sizes that have too many paths to list."""
    half = taps.shape[-1] // 2
    for t in range(steps):
        tap = taps[t % taps.shape[0]]
        out = torch.zeros_like(psi)
        for k in range(taps.shape[-1]):
            shifted = torch.roll(psi, half - k, -1)
            if boundary == "zero":
                place = torch.arange(psi.shape[-1]) + k - half
                shifted = torch.where((place >= 0) & (place < psi.shape[-1]), shifted, 0)
                if abs(k - half) >= psi.shape[-1]:
                    shifted = torch.zeros_like(psi)
            out = out + tap[:, k : k + 1] * shifted
        psi = out if factor is None else out * factor[t % factor.shape[0]]
    return psi
