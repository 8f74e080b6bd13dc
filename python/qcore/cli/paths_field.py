"""The lattice phi^4 field of ``qcore paths``: how it is sampled, and what is exact for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from qcore.cli.arguments import CommandError
from qcore.paths import SampleResult, hmc_phi4, lattice_oscillator
from qcore.stats import Estimate, Jackknife

PARAMETERS = {"mass2": 0.5, "coupling": 0.5}


def require_minimum(p: Mapping[str, float]) -> None:
    """Refuse parameters for which there is no lowest action.

    Raises:
        CommandError: the coupling is negative, or zero and mass2 not above.
    """
    if p["coupling"] < 0:
        raise CommandError(f"--set: expected coupling >= 0, got {p['coupling']:g}")
    if p["coupling"] == 0 and not p["mass2"] > 0:
        raise CommandError(f"--set: expected mass2 > 0 where coupling is 0, got {p['mass2']:g}")


def headline(p: Mapping[str, float], settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is about to run."""
    values = ", ".join(f"{name} = {value:g}" for name, value in p.items())
    size = settings["sites"]
    return [
        ("action", f"sum of (d phi)^2 / 2 + mass2 phi^2 / 2 + coupling phi^4; {values}"),
        ("fields", f"{settings['chains']} on {size} x {size} sites, periodic"),
    ]


def sample(
    p: Mapping[str, float], settings: Mapping[str, Any], progress: Callable[[int], object]
) -> SampleResult:
    """Many fields at once."""
    return hmc_phi4(
        shape=(settings["sites"], settings["sites"]),
        mass2=p["mass2"],
        coupling=p["coupling"],
        chains=settings["chains"],
        trajectories=settings["sweeps"],
        warmup=settings["warmup"],
        seed=settings["seed"],
        progress=progress,
    )


def rows(
    result: SampleResult, p: Mapping[str, float], settings: Mapping[str, Any]
) -> list[tuple[str, Estimate, float | None]]:
    """Averages, and beside them what is exact: all where nothing interacts, else little."""
    free = p["coupling"] == 0
    phi2 = _free_square(p["mass2"], settings["sites"]) if free else None
    return [
        ("action / site", result["action_density"], 0.5 if free else None),
        ("<phi^2>", result["phi2"], phi2),
        ("<phi^4>", result["phi4"], None if phi2 is None else 3.0 * phi2**2),
        ("<|mean phi|>", result["abs_phi"], None),
        ("susceptibility", result["susceptibility"], 1.0 / p["mass2"] if free else None),
        ("<exp(-dH)>", result["exp_minus_dh"], 1.0),
    ]


def balance(result: SampleResult, p: Mapping[str, float]) -> Jackknife:
    """action / site + coupling <phi^4>, exactly 1/2 on every lattice since <phi dS/dphi> = 1."""
    return result.derived(lambda means: means["action_density"] + p["coupling"] * means["phi4"])


def free_correlator(p: Mapping[str, float], sites: int) -> torch.Tensor | None:
    """Of rows 0 to sites // 2 apart, where nothing interacts: an oscillator in steps of one site."""
    if p["coupling"] != 0:
        return None
    lattice = lattice_oscillator(dt=1.0, omega=math.sqrt(p["mass2"]))
    return lattice.correlator(torch.arange(sites // 2 + 1), 0, sites)


def _free_square(mass2: float, sites: int) -> float:
    k = 4.0 * torch.sin(math.pi / sites * torch.arange(sites, dtype=torch.float64)) ** 2
    return float((1.0 / (mass2 + k[:, None] + k)).mean())
