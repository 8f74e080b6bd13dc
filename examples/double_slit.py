"""The double slit: one packet, a wall with two holes, and the fringes on a screen behind it.

Three walls are solved in one call, as a batch: both slits open, only the upper one, only the lower one. What
comes to the screen through both is not the sum of what comes through each: that is interference.

    python examples/double_slit.py --out double_slit.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qcore.schrodinger import norm, propagate

BOX = 24.0  # edge of the square; hbar = mass = 1
WALL, HEIGHT = 0.5, 120.0  # thickness and energy of the wall at x = 0
SLIT, APART = 0.7, 2.4  # width of a slit, and from middle to middle
START, WAVE, SPREAD = -5.0, 6.0, 1.7  # the packet: where, wave number, standard deviation of |psi|^2
SCREEN = 8.0  # x of the screen
TIME = 2.4
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"


def main() -> None:
    """Propagate, measure, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=255, help="along each axis")
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--out", type=Path, default=Path("double_slit.png"))
    arguments = parser.parse_args()

    n = arguments.points
    h = BOX / (n + 1)
    x = -BOX / 2 + h * torch.arange(1, n + 1, dtype=torch.float64)
    y = x[:, None]
    wall = HEIGHT * covered(x, h, -WALL / 2, WALL / 2)
    upper = covered(y, h, APART / 2 - SLIT / 2, APART / 2 + SLIT / 2)
    lower = covered(y, h, -APART / 2 - SLIT / 2, -APART / 2 + SLIT / 2)
    potential = torch.stack([wall * (1 - upper - lower), wall * (1 - upper), wall * (1 - lower)])

    psi = torch.exp(-((x - START) ** 2 + y**2) / (4 * SPREAD**2) + 1j * WAVE * x)
    psi = (psi / norm(psi, spacing=(h, h))).expand(3, n, n).contiguous()
    every = max(1, arguments.steps // 60)
    end, frames = propagate(
        psi,
        potential,
        dt=TIME / arguments.steps,
        steps=arguments.steps,
        spacing=(h, h),
        space_order=4,
        save_every=every,
    )

    # What hits the screen: the current through it, summed over time.
    column = int((x - SCREEN).abs().argmin())
    before, here, after = (frames[..., column + shift] for shift in (-1, 0, 1))
    current = (here.conj() * (after - before)).imag / (2 * h)  # (frames, 3, ny)
    hits = current.sum(0) * TIME / arguments.steps * every
    both, apart = hits[0], hits[1] + hits[2]

    drift = (norm(end, spacing=(h, h)) - 1).abs().max()
    mirror = (frames[:, 0] - frames[:, 0].flip(-2)).abs().max()
    swapped = (frames[:, 1] - frames[:, 2].flip(-2)).abs().max()
    beyond = (end[0].abs() ** 2 * (x > WALL / 2)).sum() * h * h
    dark = first_minimum(y[:, 0], both / apart)
    print(f"{n} x {n} points, {arguments.steps} steps, 3 walls\n")
    print(f"drift of the norm                      {drift:.1e}")
    print(f"both open: largest |psi(y) - psi(-y)|  {mirror:.1e}")
    print(f"one open: largest mirrored difference  {swapped:.1e}")
    print(f"behind the wall                        {100 * beyond:.2f} %")
    print(f"first dark fringe                      y = {dark:.2f}, by two point sources {two_sources():.2f}")
    middle = int(y[:, 0].abs().argmin())
    print(f"in the middle, both / sum of each      {both[middle] / apart[middle]:.3f} (2 by two equal waves)")

    figure = draw(x, frames[:, 0], both, apart, hits[1], potential[0])
    figure.savefig(arguments.out, dpi=150)
    print(arguments.out)


def covered(x: Tensor, h: float, left: float, right: float) -> Tensor:
    """Share of each point's cell between two edges, so that edges may lie between points."""
    return ((x + h / 2).clamp(max=right) - (x - h / 2).clamp(min=left)).clamp(min=0) / h


def first_minimum(y: Tensor, ratio: Tensor) -> float:
    """The place y > 0 of the first local minimum."""
    half, place = ratio[y > 0], y[y > 0]
    lower = (half[1:-1] < half[:-2]) & (half[1:-1] < half[2:])
    return float(place[1:-1][lower][0]) if lower.any() else float("nan")


def two_sources() -> float:
    """Where on the screen two waves from the slits are half a wave length apart."""
    y = torch.linspace(0, SCREEN, 100_001, dtype=torch.float64)
    paths = torch.hypot(torch.tensor(SCREEN), y + APART / 2) - torch.hypot(
        torch.tensor(SCREEN), y - APART / 2
    )
    return float(y[(paths - torch.pi / WAVE).abs().argmin()])


def draw(x: Tensor, frames: Tensor, both: Tensor, apart: Tensor, upper: Tensor, wall: Tensor) -> Figure:
    """The packet before, in and behind the wall; what came to the screen."""
    figure = Figure(figsize=(11, 3.5), layout="constrained")
    panels = figure.subplots(1, 4, width_ratios=(1, 1, 1, 0.9))
    ends = (float(x[0]), float(x[-1])) * 2
    for axes, moment in zip(panels, (0.3, 0.55, 0.85), strict=False):
        index = round(moment * len(frames)) - 1
        axes.imshow(frames[index].abs().numpy(), origin="lower", extent=ends, cmap="magma")
        axes.contour(x, x, wall.numpy(), levels=[HEIGHT / 2], colors="white", linewidths=0.7)
        axes.axvline(SCREEN, color=GREEN, linewidth=1, linestyle="--")
        axes.set_title(f"|ψ| at time {TIME * (index + 1) / len(frames):.2f}", fontsize=10, loc="left")
        axes.set_xlabel("x  [a]")
    panels[0].set_ylabel("y  [a]")
    screen = panels[3]
    screen.plot(both, x, color=BLUE, label="both slits")
    screen.plot(apart, x, color=ORANGE, linestyle="--", label="sum of each alone")
    screen.plot(upper, x, color=GREEN, linewidth=0.8, label="upper alone")
    screen.set_ylim(ends[0], ends[1])
    screen.set_title("hits on the screen", fontsize=10, loc="left")
    screen.set_xlabel("probability per length  [1 / a]")
    screen.spines[["top", "right"]].set_visible(False)
    screen.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


if __name__ == "__main__":
    main()
