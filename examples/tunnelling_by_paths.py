"""Tunnelling twice: from random paths in imaginary time, and from a wave in real time. They agree.

A closed path in a double well stays in one well for a while, hops, stays in the other: a gas of kinks. How
soon the path forgets its well is how often it hops, and in the correlator <x(0) x(tau)> = A cosh(D (beta/2 -
tau)) the rate is D = E1 - E0. In real time the same D is how fast a wave swings from well to well: its mean
place goes as cos(D t). So sampled paths, none of which knows anything of quantum mechanics, have to hop
at the rate at which Crank-Nicolson's wave function swings.

    python examples/tunnelling_by_paths.py --out tunnelling_by_paths.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qcore.paths import SampleResult, lattice_states, metropolis
from qcore.schrodinger import eigenstates, expectation, norm, propagate

HEIGHT, HALF = 2.0, 1.5  # V = HEIGHT ((x / HALF)^2 - 1)^2; hbar = mass = 1
V = [HEIGHT, 0.0, -2 * HEIGHT / HALF**2, 0.0, HEIGHT / HALF**4]
BETA, SLICES = 32.0, 256
LAGS = [8 * k for k in range(17)]  # to beta / 2
FIRST, SPAN = 24, 24  # the rate is read off at FIRST, FIRST + SPAN and FIRST + 2 SPAN steps
BLUE, ORANGE, GREY, RED = "#0072b2", "#d55e00", "#777777", "#cc3311"


def main() -> None:
    """Sample, propagate, compare, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chains", type=int, default=256)
    parser.add_argument("--sweeps", type=int, default=8000)
    parser.add_argument("--points", type=int, default=239)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("tunnelling_by_paths.png"))
    arguments = parser.parse_args()

    dt = BETA / SLICES
    sampled = metropolis(
        V,
        beta=BETA,
        slices=SLICES,
        chains=arguments.chains,
        sweeps=arguments.sweeps,
        warmup=arguments.sweeps // 4,
        seed=arguments.seed,
        moves=("staging", "reflection"),
        segment=32,  # as long as a kink and more, or paths would not learn to hop
        lags=LAGS,
        start=torch.where(torch.arange(arguments.chains) % 2 == 0, HALF, -HALF)[:, None].repeat(1, SLICES),
    )
    rate = sampled.derived(hopping)
    found, error = float(rate.value), float(rate.error)
    grid = torch.linspace(-5, 5, 401, dtype=torch.float64)
    levels = lattice_states(V, x=grid, dt=dt, k=2).energies
    at_this_step = float(levels[1] - levels[0])

    times, place, splitting = swinging(arguments.points)
    swing = fitted_rate(times, place, splitting)

    print(f"{arguments.chains} closed paths of {SLICES} steps of {dt:g}, {arguments.sweeps} sweeps\n")
    off, apart = (found - at_this_step) / error, (found - swing) / error
    print("E1 - E0")
    print(f"from the paths                        {found:.5f} +- {error:.5f}")
    print(f"of the steps' kernel, diagonalised    {at_this_step:.5f}   off by {off:+.1f} errors")
    print(f"from Crank-Nicolson's wave            {swing:.5f}   off by {apart:+.1f} errors")
    print(f"of the Hamiltonian, diagonalised      {splitting:.5f}")
    print(f"\nthe finite step of the paths changes it by {at_this_step / splitting - 1:+.1e}\n")

    draw(sampled, dt, found, times, place, swing).savefig(arguments.out, dpi=150)
    print(arguments.out)


def hopping(means: dict[str, Tensor]) -> Tensor:
    """D from A cosh(D (beta/2 - tau)): C(tau - s) + C(tau + s) = 2 cosh(D s) C(tau).

    From tau - s = 3 on the states above the lowest two are gone, to 1e-4 of D.
    """
    before, middle, after = (means[f"correlator_{FIRST + k * SPAN}"] for k in range(3))
    return torch.acosh((before + after) / (2 * middle)) / (SPAN * BETA / SLICES)


def swinging(points: int) -> tuple[Tensor, Tensor, float]:
    """A packet in the left well for two periods: times, mean places; and E1 - E0 of its Hamiltonian."""
    h = 10.0 / (points + 1)
    x = -5.0 + h * torch.arange(1, points + 1, dtype=torch.float64)
    potential = HEIGHT * ((x / HALF) ** 2 - 1) ** 2
    levels, states = eigenstates(potential, spacing=h, k=2, space_order=4)[:2]
    splitting = float(levels[1] - levels[0])
    # The ground state's left half, and nothing that is much higher.
    psi = (states[0] * torch.sigmoid(-4 * x)).to(torch.complex128)
    psi = psi / norm(psi, spacing=h)
    steps, every = 4000, 10
    dt = 4 * math.pi / splitting / steps
    settings = {"spacing": h, "time_order": 4, "space_order": 4}
    _, frames = propagate(psi, potential, dt=dt, steps=steps, save_every=every, **settings)
    times = dt * every * torch.arange(1, len(frames) + 1, dtype=torch.float64)
    return times, expectation(frames, x, spacing=h), splitting


def fitted_rate(times: Tensor, place: Tensor, guess: float) -> float:
    """Angular frequency of the cosine that fits best, by least squares, within a fifth of a guess."""
    low, high = 0.8 * guess, 1.2 * guess
    for _ in range(8):
        rates = torch.linspace(low, high, 41, dtype=torch.float64)
        waves = torch.stack([torch.cos(rates[:, None] * times), torch.sin(rates[:, None] * times)], -1)
        targets = place[:, None].expand(len(rates), -1, 1)
        left = targets - waves @ torch.linalg.lstsq(waves, targets).solution
        best = int(left.square().sum((1, 2)).argmin())
        low, high = float(rates[max(best - 1, 0)]), float(rates[min(best + 1, 40)])
    return (low + high) / 2


def draw(sampled: SampleResult, dt: float, rate: float, times: Tensor, place: Tensor, swing: float) -> Figure:
    """A path and its kinks, what paths forget, how the wave swings."""
    figure = Figure(figsize=(11, 4.0), layout="constrained")
    path, correlator, wave = figure.subplots(1, 3, width_ratios=(1.3, 1, 1.2))
    x = sampled.state["x"]
    chain = int(x.mean(0).abs().argmin())  # one that is as long in one well as in the other
    closed = torch.cat([x[:, chain], x[:1, chain]]).double()
    tau = dt * torch.arange(len(closed), dtype=torch.float64)
    path.plot(tau, closed, color=BLUE, linewidth=0.8)
    for side in (-HALF, HALF):
        path.axhline(side, color="#cccccc", linewidth=0.8, zorder=0)
    path.set_xlabel("imaginary time τ  [m a² / ħ]")
    path.set_ylabel("x  [a]")
    path.set_title("a path hops", fontsize=10, loc="left")

    found = [sampled[f"correlator_{lag}"] for lag in LAGS]
    at = dt * torch.tensor(LAGS, dtype=torch.float64)
    correlator.errorbar(
        at, [f.mean for f in found], [f.error for f in found], fmt="o", color=BLUE, markersize=4, linewidth=1
    )
    shape = torch.cosh(rate * (BETA / 2 - at))
    curve = found[FIRST // 8].mean * shape / shape[FIRST // 8]
    correlator.plot(at, curve, color=ORANGE, linewidth=1, label="cosh(D (β/2 - τ))")
    correlator.set_yscale("log")
    correlator.set_xlabel("imaginary time τ  [m a² / ħ]")
    correlator.set_title("⟨x(0) x(τ)⟩: paths forget at the rate D", fontsize=10, loc="left")
    correlator.legend(frameon=False, fontsize=9)

    wave.plot(times, place, color=BLUE, linewidth=0.9, label="Crank-Nicolson")
    size = float(place.abs().max())
    wave.plot(
        times,
        -size * torch.cos(rate * times),
        color=ORANGE,
        linewidth=1,
        linestyle="--",
        label="cos(D t), D of the paths",
    )
    wave.set_xlabel("real time t  [m a² / ħ]")
    wave.set_title("mean x: the wave swings at the rate D", fontsize=10, loc="left")
    wave.set_ylim(-1.2 * size, 2.0 * size)
    wave.legend(frameon=False, fontsize=9, loc="upper right")
    for axes in (path, correlator, wave):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
