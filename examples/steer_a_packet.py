"""Optimal control: an atom in optical tweezers is carried to another place, quickly, and arrives at rest.

The tweezers are a well that moves along a path c(t). A straight path in so short a time leaves the atom
sloshing. So the path is learned: psi is propagated; the fidelity, which is the probability to be in the
ground state of the well where it stops, is differentiated through all the steps to every value of the
potential, and from there to the path; and Adam takes it uphill. No states are kept: the motion is run back.

    python examples/steer_a_packet.py --out steer_a_packet.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qcore.schrodinger import eigenstates, expectation, propagate

BOX = 20.0  # hbar = mass = 1
DEPTH, WAIST = 8.0, 1.4  # of the tweezers: V = -DEPTH exp(-2 (x - c)^2 / WAIST^2)
FROM, TO = -5.0, 5.0
TIME = 7.0  # some four vibrations in the well
WAVES = 14  # learned numbers: sine waves on top of the straight path
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"


def main() -> None:
    """Learn the path, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=159)
    parser.add_argument("--steps", type=int, default=350)
    parser.add_argument("--iterations", type=int, default=150)
    parser.add_argument("--out", type=Path, default=Path("steer_a_packet.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # one atom is too little to share

    h = BOX / (arguments.points + 1)
    x = -BOX / 2 + h * torch.arange(1, arguments.points + 1, dtype=torch.float64)
    dt = TIME / arguments.steps
    middles = (torch.arange(arguments.steps, dtype=torch.float64) + 0.5) / arguments.steps  # of the steps
    waves = torch.sin(torch.pi * middles[:, None] * torch.arange(1, WAVES + 1))
    start = ground(tweezers(x, torch.tensor(FROM)), h)
    target = ground(tweezers(x, torch.tensor(TO)), h)

    def path(amplitudes: Tensor) -> Tensor:
        return FROM + (TO - FROM) * middles + waves @ amplitudes

    def carried(amplitudes: Tensor, save_every: int) -> tuple[Tensor, Tensor]:
        potential = tweezers(x, path(amplitudes)[:, None])  # (steps, n)
        return propagate(start, potential, dt=dt, steps=arguments.steps, spacing=h, save_every=save_every)

    def fidelity(psi: Tensor) -> Tensor:
        return ((target.conj() * psi).sum() * h).abs() ** 2

    amplitudes = torch.zeros(WAVES, dtype=torch.float64, requires_grad=True)
    # By symmetry half the gradient is zero at first; Adam should not scale up what rounding makes of it.
    optimizer = torch.optim.Adam([amplitudes], lr=0.05, eps=1e-3)
    every = max(1, arguments.steps // 175)
    with torch.no_grad():
        straight = carried(amplitudes, every)
    history = []
    for _ in range(arguments.iterations):
        optimizer.zero_grad()
        psi, _ = carried(amplitudes, arguments.steps)
        found = fidelity(psi)
        (1 - found).backward()
        optimizer.step()
        history.append(found.item())
    with torch.no_grad():
        learned = carried(amplitudes, every)
        history.append(float(fidelity(learned[0])))

    print(f"{arguments.points} points, {arguments.steps} steps, {WAVES} numbers to learn\n")
    print("path       fidelity   arrives at")
    for name, (psi, _) in (("straight", straight), ("learned", learned)):
        print(f"{name:<10} {float(fidelity(psi)):.6f}   {float(expectation(psi, x, spacing=h)):+.4f}")
    print(f"\nfrom {FROM:g} to {TO:g} in time {TIME:g}; {arguments.iterations} iterations of Adam")

    times = dt * every * torch.arange(len(straight[1]) + 1)
    densities = [torch.cat([start[None], frames]).abs() ** 2 for _, frames in (straight, learned)]
    paths = [path(torch.zeros_like(amplitudes)), path(amplitudes).detach()]
    figure = draw(x, TIME * middles, times, paths, densities, history)
    figure.savefig(arguments.out, dpi=150)
    print(arguments.out)


def tweezers(x: Tensor, centre: Tensor) -> Tensor:
    """The well at a place, or at one for each time."""
    return -DEPTH * torch.exp(-2 * (x - centre) ** 2 / WAIST**2)


def ground(potential: Tensor, h: float) -> Tensor:
    """The ground state in a potential at rest."""
    return eigenstates(potential, spacing=h, k=1).states[0].to(torch.complex128)


def draw(
    x: Tensor,
    middles: Tensor,
    times: Tensor,
    paths: list[Tensor],
    densities: list[Tensor],
    history: list[float],
) -> Figure:
    """The atom on the straight and on the learned path, and how the fidelity rose."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
    peak = float(densities[1].max())
    for axes, name, path, density in zip(panels, ("straight", "learned"), paths, densities, strict=False):
        image = axes.pcolormesh(
            times.numpy(), x.numpy(), density.T.numpy(), cmap="magma", vmax=peak, rasterized=True
        )
        axes.plot(
            middles, path, color="#56b4e9", linewidth=1.2, linestyle="--", label="centre of the tweezers"
        )
        axes.set_xlim(0, TIME)
        axes.set_ylim(-8, 8)
        axes.set_title(f"|ψ|², {name} path", fontsize=10, loc="left")
        axes.set_xlabel("time  [m a² / ħ]")
        axes.legend(frameon=False, fontsize=8, loc="upper left", labelcolor="white")
    panels[0].set_ylabel("x  [a]")
    figure.colorbar(image, ax=panels[1], pad=0.01, label="|ψ|²  [1 / a]")
    panels[2].semilogy([1 - value for value in history], color=BLUE)
    panels[2].set_title("1 - fidelity", fontsize=10, loc="left")
    panels[2].set_xlabel("iteration of Adam")
    panels[2].grid(color="#e6e6e6", linewidth=0.8)
    panels[2].spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
