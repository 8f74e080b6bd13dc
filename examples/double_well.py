"""A double well: a particle tunnels to and fro, and after 10^5 steps its period still is h / (E1 - E0).

The two lowest states of a double well have almost the same energy; one is even, one odd. Their sum is a
particle on one side; it comes to the other when the two have got half a turn apart, slowly. So slow a motion
asks for very many steps of the fast one, and for a stepper that loses nothing on the way.

    python examples/double_well.py --out double_well.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qcore.schrodinger import eigenstates, energy, expectation, norm, propagate

HEIGHT, HALF = 3.6, 2.0  # V = HEIGHT ((x / HALF)^2 - 1)^2; hbar = mass = 1
BOX = 12.0
PERIODS = 3.0
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"


def main() -> None:
    """Propagate a packet from the left well, find its period, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=191)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("double_well.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # one particle is too little to share

    h = BOX / (arguments.points + 1)
    x = -BOX / 2 + h * torch.arange(1, arguments.points + 1, dtype=torch.float64)
    potential = HEIGHT * ((x / HALF) ** 2 - 1) ** 2
    levels, states = eigenstates(potential, spacing=h, k=4, space_order=4)[:2]
    period = 2 * math.pi / float(levels[1] - levels[0])

    frequency = math.sqrt(8 * HEIGHT) / HALF  # of small vibrations in one well
    psi = torch.exp(-frequency * (x + HALF) ** 2 / 2).to(torch.complex128)
    psi = psi / norm(psi, spacing=h)
    dt = PERIODS * period / arguments.steps
    every = max(1, arguments.steps // 3000)
    end, frames = propagate(
        psi,
        potential,
        dt=dt,
        steps=arguments.steps,
        spacing=h,
        time_order=4,
        space_order=4,
        save_every=every,
    )
    times = dt * every * torch.arange(1, len(frames) + 1, dtype=torch.float64)
    place = expectation(frames, x, spacing=h)
    found = fitted_period(times, place, period)

    def energies(state: Tensor) -> Tensor:
        return energy(state, potential, spacing=h, space_order=4)

    print(f"{arguments.points} points, {arguments.steps} steps of {dt:.3g}, to time {times[-1]:.0f}\n")
    print("energies                   " + "  ".join(f"{level:.8f}" for level in levels))
    print(f"h / (E1 - E0)              {period:.4f}")
    print(f"period of the propagated   {found:.4f}")
    print(f"they differ by             {abs(found / period - 1):.1e}")
    print(f"drift of the norm          {abs(float(norm(end, spacing=h)) - 1):.1e}")
    print(f"drift of the energy        {abs(float(energies(end) - energies(psi))):.1e}")

    figure = draw(x, potential, levels, states, times, place, frames.abs() ** 2, period)
    figure.savefig(arguments.out, dpi=150)
    print(arguments.out)


def fitted_period(times: Tensor, place: Tensor, guess: float) -> float:
    """Period of the sine wave that fits best, by least squares, within a fifth of a guess."""
    low, high = 0.8 * guess, 1.2 * guess
    for _ in range(8):
        periods = torch.linspace(low, high, 41, dtype=torch.float64)
        errors = torch.stack([residual(times, place, 2 * math.pi / period) for period in periods])
        best = int(errors.argmin())
        low, high = float(periods[max(best - 1, 0)]), float(periods[min(best + 1, 40)])
    return (low + high) / 2


def residual(times: Tensor, place: Tensor, omega: Tensor) -> Tensor:
    """What is left of the places without their best sine wave of a frequency."""
    waves = torch.stack([torch.cos(omega * times), torch.sin(omega * times), torch.ones_like(times)], 1)
    fit = torch.linalg.lstsq(waves, place[:, None]).solution
    return (place - (waves @ fit)[:, 0]).square().sum()


def draw(
    x: Tensor,
    potential: Tensor,
    levels: Tensor,
    states: Tensor,
    times: Tensor,
    place: Tensor,
    density: Tensor,
    period: float,
) -> Figure:
    """Well and levels, the density in space and time, the mean place."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 2.2), height_ratios=(1.6, 1))
    well = figure.add_subplot(grid[:, 0])
    well.plot(x, potential, color="#222222")
    for index, (level, state) in enumerate(zip(levels[:2], states[:2], strict=True)):
        state = state * torch.sign(state[x < 0].sum())
        well.plot(
            x, level + 0.8 * state, color=(BLUE, ORANGE)[index], label=f"ψ{'₀₁'[index]} at E{'₀₁'[index]}"
        )
    for level in levels[2:]:
        well.axhline(float(level), color="#cccccc", linewidth=0.8, zorder=0)
    well.set_ylim(-0.3, 1.6 * HEIGHT)
    well.set_xlim(-3.6, 3.6)
    well.set_xlabel("x  [a]")
    well.set_ylabel("energy  [ħ² / m a²]")
    well.legend(frameon=False, fontsize=9, loc="upper center")
    above = figure.add_subplot(grid[0, 1])
    near = x.abs() < 3.6
    above.pcolormesh(
        times.numpy(), x[near].numpy(), density[:, near].T.numpy(), cmap="magma", rasterized=True
    )
    above.set_title("|ψ|²", fontsize=10, loc="left")
    above.set_ylabel("x  [a]")
    above.tick_params(labelbottom=False)
    below = figure.add_subplot(grid[1, 1], sharex=above)
    below.plot(times, place, color=BLUE, linewidth=0.8, label="mean x")
    for turn in range(1, round(float(times[-1]) / period) + 1):
        below.axvline(turn * period, color=ORANGE, linewidth=1, label="h / (E₁ - E₀)" if turn == 1 else None)
    below.set_xlim(0, float(times[-1]))
    below.set_xlabel("time  [m a² / ħ]")
    below.set_ylabel("x  [a]")
    below.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    below.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
