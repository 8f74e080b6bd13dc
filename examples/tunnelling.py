"""Tunnelling: packets of many energies meet a barrier, all in one call, beside the textbook's formula.

A Gaussian packet is a sum of plane waves, and each of these passes a rectangular barrier with a probability
that every textbook has. Averaged over the packet's wave numbers, that is what has to be found beyond it.

    python examples/tunnelling.py --out tunnelling.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qcore.schrodinger import barrier_transmission, energy, norm, propagate, transmission

HEIGHT, WIDTH = 2.0, 2.5  # of the barrier, which stands around x = 0; hbar = mass = 1
HALF_BOX = 170.0
START, SPREAD = -24.0, 5.0  # mean and standard deviation of the packets' |psi|^2
SLOWEST, FASTEST = 1.0, 3.2  # wave numbers
TIME = 56.0  # the slowest parts have left the barrier, the fastest have not yet come to a wall
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"


def main() -> None:
    """Propagate, compare, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=8703)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--packets", type=int, default=23)
    parser.add_argument("--out", type=Path, default=Path("tunnelling.png"))
    arguments = parser.parse_args()

    h = 2.0 * HALF_BOX / (arguments.points + 1)
    x = -HALF_BOX + h * torch.arange(1, arguments.points + 1, dtype=torch.float64)
    # Each point has the mean of V over its cell, so that edges stand where they should between points too.
    share = ((x + h / 2).clamp(max=WIDTH / 2) - (x - h / 2).clamp(min=-WIDTH / 2)).clamp(min=0) / h
    potential = HEIGHT * share

    waves = torch.linspace(SLOWEST, FASTEST, arguments.packets, dtype=torch.float64)
    envelope = torch.exp(-((x - START) ** 2) / (4 * SPREAD**2))
    psi = envelope * torch.exp(1j * waves[:, None] * x)
    psi = psi / norm(psi, spacing=h)[:, None]

    dt = TIME / arguments.steps
    every = max(1, arguments.steps // 200)
    end, frames = propagate(
        psi, potential, dt=dt, steps=arguments.steps, spacing=h, time_order=4, save_every=every
    )
    passed = transmission(end, ((x - WIDTH / 2) / h + 0.5).clamp(0, 1), spacing=h)
    expected = torch.stack([packet_transmission(k) for k in waves])

    before = energy(psi, potential, spacing=h)
    print(f"{arguments.packets} packets on {arguments.points} points, {arguments.steps} steps of {dt:g}\n")
    print(f"largest drift of the norm    {(norm(end, spacing=h) - 1).abs().max():.1e}")
    print(f"largest drift of the energy  {(energy(end, potential, spacing=h) - before).abs().max():.1e}\n")
    print("wave number   mean energy   transmission   analytic   off by")
    for k, mean, found, exact in zip(waves, before, passed, expected, strict=True):
        print(f"{k:11.2f}   {mean:11.3f}   {found:12.6f}   {exact:8.6f}   {found - exact:+.1e}")
    print(f"\nlargest difference           {(passed - expected).abs().max():.1e}")

    middle = int((waves - math.sqrt(2 * HEIGHT) * 0.9).abs().argmin())
    times = dt * every * torch.arange(1, len(frames) + 1)
    figure = draw(x, times, frames[:, middle].abs(), waves, passed, middle)
    figure.savefig(arguments.out, dpi=150)
    print(arguments.out)


def plane_wave_transmission(k: Tensor) -> Tensor:
    """Of a wave number: T = 1 / (1 + V^2 sin^2(q w) / (4 E (E - V))), q = sqrt(2 (E - V))."""
    return barrier_transmission(k**2 / 2, height=HEIGHT, width=WIDTH)


def packet_transmission(k0: Tensor) -> Tensor:
    """The mean of that over a packet's wave numbers, whose standard deviation is 1 / (2 SPREAD)."""
    deviations = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    weight = torch.exp(-(deviations**2) / 2)
    return (plane_wave_transmission(k0 + deviations / (2 * SPREAD)) * weight).sum() / weight.sum()


def draw(x: Tensor, times: Tensor, size: Tensor, waves: Tensor, passed: Tensor, shown: int) -> Figure:
    """One packet in space and time, and what passes of all."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    near = (x > -80) & (x < 80)
    image = left.pcolormesh(
        times.numpy(), x[near].numpy(), size[:, near].T.numpy(), cmap="magma", rasterized=True
    )
    left.axhspan(-WIDTH / 2, WIDTH / 2, color="white", alpha=0.35, linewidth=0)
    left.set_xlabel("time  [m a² / ħ]")
    left.set_ylabel("position x  [a]")
    left.set_title(f"|ψ| for wave number {waves[shown]:.2f} / a", fontsize=10, loc="left")
    figure.colorbar(image, ax=left, pad=0.01, label="|ψ|  [1 / √a]")

    k = torch.linspace(0.95, float(waves[-1]) + 0.1, 300, dtype=torch.float64)
    right.plot(k**2 / 2, plane_wave_transmission(k), color=GREY, linestyle=":", label="plane wave, analytic")
    averaged = torch.stack([packet_transmission(value) for value in k])
    right.plot(k**2 / 2, averaged, color=ORANGE, label="packet, analytic")
    right.plot(waves**2 / 2, passed, "o", color=BLUE, markersize=4, label="packet, propagated")
    right.axvline(HEIGHT, color="#cccccc", linewidth=0.8, zorder=0)
    right.annotate(
        "barrier's height", (HEIGHT, 0.02), (4, 0), textcoords="offset points", fontsize=8, color=GREY
    )
    right.set_xlabel("energy (ħk₀)² / 2m  [ħ² / m a²]")
    right.set_title("transmission", fontsize=10, loc="left")
    right.legend(frameon=False, fontsize=9)
    right.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
