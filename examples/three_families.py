"""Three families, one number: the oscillator's propagator from paths, from a wave equation, from a network.

K(x, y; T) is how much weight goes from y to x in the imaginary time T, and Mehler's formula says how much.
Here a unit of weight begins in a narrow Gaussian around y; how much of it comes to x?

* `paths.transfer` adds the weights of all lattice paths, a Gaussian step and a share of e^{-V} at a time.
* `schrodinger.propagate` steps a wave function that begins around y. It keeps it normalised; the part that is
  the ground state, which decays as e^{-E0 T}, gives the size back.
* `stencil.residual_chain` is a network: linear residual layers u + k * u, all alike, without any potential.
  For the oscillator that is enough, since its propagator is that of free diffusion for the longer time
  sinh(w T) / w between two Gaussians, e^{-a x^2} K_free e^{-a y^2} with a = (m w / 2 hbar) tanh(w T / 2).

    python examples/three_families.py --out three_families.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qcore.paths import free_kernel, mehler, transfer
from qcore.schrodinger import eigenstates, propagate
from qcore.stencil import residual_chain

END, START, TIME = 0.5, -0.3, 1.0  # x, y and T; m = w = hbar = 1
WIDTH = 0.25  # of the weight around y
BOX = 16.0
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"


def main() -> None:
    """Compute, compare, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--halvings", type=int, choices=range(6), default=2, help="of the spacing, from 0.1")
    parser.add_argument("--out", type=Path, default=Path("three_families.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a line is too little to share

    families = {"paths": by_paths, "waves": by_waves, "network": by_network}
    spacings = [0.1 / 2**k for k in range(arguments.halvings + 1)]
    x = line(spacings[-1])
    exact = float(by_formula(torch.tensor([END], dtype=torch.float64)))
    print(f"what comes to {END} in the imaginary time {TIME:g} of a unit around {START}\n")
    print(f"{'Mehler, exact':<29}{exact:.12f}")
    columns = {name: family(x) for name, family in families.items()}
    found = {name: at(column, x) for name, column in columns.items()}
    titles = ("paths.transfer", "schrodinger.propagate", "stencil.residual_chain")
    for title, value in zip(titles, found.values(), strict=True):
        print(f"{title:<29}{value:.12f}   off by {abs(value - exact):.1e}")
    print(f"\nlargest difference between two of them {max(found.values()) - min(found.values()):.1e}\n")

    errors = {
        name: [abs(at(family(line(h)), line(h)) - exact) for h in spacings]
        for name, family in families.items()
    }
    print("spacing       " + "   ".join(f"{name:>9}" for name in families))
    for row, h in enumerate(spacings):
        print(f"{h:<14g}" + "   ".join(f"{errors[name][row]:9.1e}" for name in families))

    draw(x, columns, spacings, errors).savefig(arguments.out, dpi=150)
    print(arguments.out)


def line(h: float) -> Tensor:
    """Points between two walls, x and y among them."""
    n = round(BOX / h) - 1
    return -BOX / 2 + h * torch.arange(1, n + 1, dtype=torch.float64)


def at(column: Tensor, x: Tensor) -> float:
    """The entry at the end of the paths."""
    return float(column[int((x - END).abs().argmin())])


def source(x: Tensor) -> Tensor:
    """The unit of weight around y."""
    return torch.exp(-((x - START) ** 2) / (2 * WIDTH**2)) / (math.sqrt(2 * math.pi) * WIDTH)


def by_formula(x: Tensor) -> Tensor:
    """Mehler's formula, integrated over the places where weight begins."""
    y = START + WIDTH * torch.linspace(-9, 9, 181, dtype=torch.float64)
    return (mehler(x[:, None], y, TIME) * source(y)).sum(-1) * (0.1 * WIDTH)


def by_paths(x: Tensor) -> Tensor:
    """Half of V before and half after each step, and the error of that, dt^2, extrapolated away."""
    h = float(x[1] - x[0])

    def summed(steps: int) -> Tensor:
        dt = TIME / steps
        radius = math.ceil(9 * math.sqrt(dt) / h)  # where a Gaussian step has nothing left
        offsets = h * torch.arange(-radius, radius + 1, dtype=torch.float64)
        taps = h * free_kernel(offsets, 0.0, dt)
        v = dt * x**2 / 2
        return transfer(source(x) * torch.exp(-v / 2), taps, potential=v, steps=steps) * torch.exp(v / 2)

    steps = round(0.8 / h) * 4  # points have to be nearer than a step is wide
    return (4 * summed(2 * steps) - summed(steps)) / 3


def by_waves(x: Tensor) -> Tensor:
    """A normalised state, and its size by its part that is the ground state."""
    h = float(x[1] - x[0])
    v = x**2 / 2
    lowest = eigenstates(v, spacing=h, k=1, space_order=6)
    psi = propagate(
        source(x),
        v,
        dt=TIME * h / 4,
        steps=round(4 / h),
        spacing=h,
        imaginary=True,
        time_order=6,
        space_order=6,
    )
    ground = lowest.states[0]
    before, after = float((ground * source(x)).sum() * h), float((ground * psi).sum() * h)
    return psi * (before * math.exp(-float(lowest.energies[0]) * TIME) / after)


def by_network(x: Tensor) -> Tensor:
    """Layers u + k * u of seven taps, each exp(r h^2 d^2/dx^2) to order h^6, between two Gaussians."""
    h = float(x[1] - x[0])
    longer = math.sinh(TIME)
    layers = math.ceil(longer / h**2)
    r = longer / (2 * layers * h**2)  # about 1/2: hbar dt / (2 m h^2) of a layer
    second = torch.tensor([0.0, 0, 1, -2, 1, 0, 0], dtype=torch.float64)  # differences of even order
    fourth = torch.tensor([0.0, 1, -4, 6, -4, 1, 0], dtype=torch.float64)
    sixth = torch.tensor([1.0, -6, 15, -20, 15, -6, 1], dtype=torch.float64)
    kernel = r * second + (r**2 / 2 - r / 12) * fourth + (r**3 / 6 - r**2 / 12 + r / 90) * sixth
    gauss = torch.exp(-math.tanh(TIME / 2) / 2 * x**2)
    u = (source(x) * gauss)[None, None]
    return residual_chain(u, kernel.repeat(layers, 1, 1), activation="none")[0, 0] * gauss


def draw(
    x: Tensor, columns: dict[str, Tensor], spacings: list[float], errors: dict[str, list[float]]
) -> Figure:
    """The weight as the three have it, and how far off they are."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    near = x.abs() < 3.2
    left.plot(x[near], by_formula(x[near]), color=GREY, linewidth=1.0, label="Mehler's formula")
    marks = {"paths": ("o", BLUE, 0), "waves": ("s", ORANGE, 1), "network": ("^", GREEN, 2)}
    every = 3 * max(1, round(0.07 / float(x[1] - x[0])))
    for name, (mark, color, shift) in marks.items():
        some = torch.arange(len(x))[near][shift * every // 3 :: every]
        left.plot(x[some], columns[name][some], mark, color=color, markersize=4.5, label=name)
        right.loglog(
            spacings, errors[name], mark + "-", color=color, markersize=4.5, linewidth=1.0, label=name
        )
    left.axvline(START, color="#cccccc", linewidth=0.8, zorder=0)
    left.set_xlabel("x  [√(ħ / mω)]")
    left.set_title(f"weight after T = {TIME:g} / ω, from a unit around {START}", fontsize=10, loc="left")
    right.set_xlabel("spacing of points")
    right.set_xticks(spacings, [f"{h:g}" for h in spacings])
    right.minorticks_off()
    right.set_title(f"error at x = {END}", fontsize=10, loc="left")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
