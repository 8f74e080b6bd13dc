"""Random ReLU networks are quantum paths, and their average is the ground state of an anharmonic oscillator.

The network x(t) = y + sum_n w_n ReLU(t - t_n) is a path from y, straight between its knots, and w_n is by how
much its velocity jumps. Draw the weights so that the velocities are independent and normal, of variance
hbar / (m dt), and the network is a free particle's quantum path in imaginary time. Nothing is trained: give
every network the weight exp(-S_V / hbar), S_V the integral of V along it, and the mean weight of the networks
that start at y is the ground state's wave function at y, up to a factor (Feynman and Kac).

    python examples/random_relu_networks.py --out random_relu_networks.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qcore.nn import ReluPath
from qcore.paths import action_from_acceleration, lattice_states, propagator
from qcore.schrodinger import eigenstates

V = [0.0, 0.0, 0.5, 0.0, 1.0]  # x^2 / 2 + x^4; hbar = mass = 1
UNITS, DT = 50, 0.05
SHORTER = 10  # units that the networks have less from which the energy is read off
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"


def main() -> None:
    """Draw networks, average, compare, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("random_relu_networks.png"))
    arguments = parser.parse_args()
    count = arguments.networks

    networks = ReluPath(UNITS, dt=DT, paths=count, dtype=torch.float64)
    networks.reset_parameters(torch.Generator().manual_seed(arguments.seed))
    w = networks.weight.detach()
    times = torch.linspace(0, UNITS * DT, 777, dtype=torch.float64)
    few = ReluPath(UNITS, dt=DT, paths=8, dtype=torch.float64)
    few.load_state_dict({"weight": w[:8], "x_ini": networks.x_ini[:8]})
    ordinary = few.as_network()  # Linear(1, 50), ReLU, Linear(50, 8)
    print(f"{count} networks of {UNITS} ReLU units\n")
    print(f"|as torch.nn layers - as a path|  {(ordinary(times[:, None]).T - few(times)).abs().max():.1e}")
    print(f"variance of the weights           {w[:, 1:].var() * DT:.3f} hbar / m dt, expected 2")
    neighbours = (w[:, 1:-1] * w[:, 2:]).mean() * DT
    print(f"covariance of neighbours          {neighbours:.3f} hbar / m dt, expected -1\n")

    y = 0.1 * torch.arange(-20, 21, dtype=torch.float64)
    mean, error = averages(w, y)
    x = torch.linspace(-5, 5, 401, dtype=torch.float64)
    whole = propagator(V, x=x, dt=DT, steps=UNITS).sum(0) * 0.025  # over where paths end
    exact = whole[[int((x - place).abs().argmin()) for place in y]]
    off = ((mean - exact) / error)[y.abs() < 1.6]
    print("    y   mean weight              exact, this step")
    for k in range(0, len(y), 5):
        print(f"{y[k]:5.1f}   {mean[k]:.6f} +- {error[k]:.6f}   {exact[k]:.6f}")
    print(f"\nlargest deviation                 {off.abs().max():.1f} errors")

    energy, spread = ground_energy(w)
    level = float(lattice_states(V, x=x, dt=DT, k=1).energies)
    ground = eigenstates(0.5 * x**2 + x**4, spacing=0.025, k=1, space_order=6)
    print(f"energy from the networks          {energy:.4f} +- {spread:.4f}")
    print(f"ground state, this step           {level:.4f}   off by {(energy - level) / spread:+.1f} errors")
    print(f"ground state                      {float(ground.energies):.4f}")

    draw(networks, y, mean, error, x, ground.states[0].abs()).savefig(arguments.out, dpi=150)
    print(arguments.out)


def log_weights(w: Tensor, start: float) -> Tensor:
    """-S_V / hbar of the networks with these weights from this start."""
    return -action_from_acceleration(w, start, V, dt=DT, parts=True).potential


def averages(w: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean weight of the networks from each start, the same networks for all, and its error."""
    weights = torch.stack([log_weights(w, float(start)).exp() for start in y])
    return weights.mean(1), weights.std(1) / weights.shape[1] ** 0.5


def ground_energy(w: Tensor) -> tuple[float, float]:
    """-d ln(mean weight) / dT between networks and the same without their last units, by the jackknife."""
    whole, part = (log_weights(weights, 0.0).exp() for weights in (w, w[:, :-SHORTER]))
    means = torch.stack([whole, part])
    blocks = means[:, : means.shape[1] // 100 * 100].reshape(2, 100, -1).mean(2)
    others = (blocks.sum(1, keepdim=True) - blocks) / 99
    found = torch.log(others[1] / others[0]) / (SHORTER * DT)
    return float(found.mean()), float(found.std(correction=0)) * 99**0.5


def draw(networks: ReluPath, y: Tensor, mean: Tensor, error: Tensor, x: Tensor, ground: Tensor) -> Figure:
    """Some networks, dark where they weigh much, and what all weigh beside the wave function."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    times = torch.linspace(0, UNITS * DT, 501, dtype=torch.float64)
    with torch.no_grad():
        shown = networks.beads()[:80]
        weights = log_weights(networks.weight[:80], 0.0).exp()
        curves = networks(times)[:80]
    for curve, weight in zip(curves, weights / weights.max(), strict=True):
        left.plot(times, curve, color=BLUE, linewidth=0.8, alpha=0.06 + 0.94 * float(weight))
    left.plot(times[0], shown[0, 0], "o", color=ORANGE, markersize=5)
    left.set_ylim(-3.2, 3.2)
    left.set_xlabel("imaginary time t  [1 / ω]")
    left.set_ylabel("output x(t)  [√(ħ / mω)]")
    left.set_title("80 random ReLU networks, dark: weight exp(-S_V / ħ)", fontsize=10, loc="left")
    there = ground[[int((x - place).abs().argmin()) for place in y]]
    scale = float((mean * there).sum() / there.square().sum())
    near = x.abs() < 2.1
    right.plot(x[near], scale * ground[near], color=ORANGE, linewidth=1.2, label="ground state, scaled")
    right.errorbar(y, mean, error, fmt="o", color=BLUE, markersize=3.5, linewidth=1, label="mean of networks")
    right.set_xlabel("start y  [√(ħ / mω)]")
    right.set_title("V = x²/2 + x⁴", fontsize=10, loc="left")
    right.set_ylim(0, 1.3 * float(mean.max()))
    right.legend(frameon=False, fontsize=9)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
