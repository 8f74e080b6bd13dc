"""Hydrogen in one dimension: the states of V = -1 / sqrt(x^2 + 2), whose ground energy is -1/2 exactly.

The softened Coulomb potential is the workhorse of strong-field physics. With the softening sqrt(2) bohr its
ground state is (1 + s) exp(-s), s = sqrt(x^2 + 2), at -1/2 hartree as the real atom's. So the errors of the
differences of each order are known. The states above crowd together as Rydberg's do.

    python examples/soft_core_hydrogen.py --out soft_core_hydrogen.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qcore.schrodinger import eigenstates, ground_state

BOX = 400.0  # bohr; the highest states shown reach out to 100
STATES = 9
ORDERS = (2, 4, 6)
COLORS = ("#0072b2", "#d55e00", "#009e73")
GREY = "#777777"


def main() -> None:
    """Solve on grids of many spacings, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--finest", type=int, default=2047, help="points of the finest grid")
    parser.add_argument("--out", type=Path, default=Path("soft_core_hydrogen.png"))
    arguments = parser.parse_args()

    sizes = [(arguments.finest + 1) // 2**halvings - 1 for halvings in (3, 2, 1, 0)]
    spacings = [BOX / (n + 1) for n in sizes]
    errors = {order: [] for order in ORDERS}
    for n, h in zip(sizes, spacings, strict=True):
        for order in ORDERS:
            lowest = ground_state(coulomb(n, h)[1], spacing=h, space_order=order).energies[0]
            errors[order].append(abs(float(lowest) + 0.5))

    print("error of the ground energy, exact -1/2 hartree\n")
    print("spacing/bohr " + "".join(f"{f'order {order}':>12}" for order in ORDERS))
    for row, h in enumerate(spacings):
        print(f"{h:12.4f} " + "".join(f"{errors[order][row]:12.1e}" for order in ORDERS))
    slopes = [math.log2(errors[order][-2] / errors[order][-1]) for order in ORDERS]
    print("order found  " + "".join(f"{slope:12.2f}" for slope in slopes))

    n, h = sizes[-1], spacings[-1]
    x, potential = coulomb(n, h)
    levels, states = ground_state(potential, spacing=h, k=STATES, space_order=6)[:2]
    exact = (1 + (x * x + 2).sqrt()) * torch.exp(-(x * x + 2).sqrt())
    overlap = float((states[0] * exact).sum().abs() / (states[0].norm() * exact.norm()))
    iterated = ground_state(potential, spacing=h, k=STATES).energies
    direct = eigenstates(potential, spacing=h, k=STATES).energies
    print(f"\n1 - |<ground state, exact>|   {1 - overlap:.1e}")
    print(f"energies, iterated - LAPACK's {(iterated - direct).abs().max():.1e} (order 2)\n")
    print("state   energy/hartree   -1 / (2 (n - defect)^2)")
    for index, level in enumerate(levels.tolist()):
        parity = "odd " if index % 2 else "even"
        number = (index + 1) // 2 + (1 if index % 2 == 0 else 0)
        effective = math.sqrt(-1 / (2 * level))
        print(f"{index:5}   {level:14.8f}   {parity} n = {number}, defect {number - effective:+.4f}")

    figure = draw(x, potential, levels, states, spacings, errors)
    figure.savefig(arguments.out, dpi=150)
    print(arguments.out)


def coulomb(n: int, h: float) -> tuple[Tensor, Tensor]:
    """Points and the potential at them, in bohr and hartree."""
    x = -BOX / 2 + h * torch.arange(1, n + 1, dtype=torch.float64)
    return x, -1 / (x * x + 2).sqrt()


def draw(
    x: Tensor,
    potential: Tensor,
    levels: Tensor,
    states: Tensor,
    spacings: list[float],
    errors: dict[int, list[float]],
) -> Figure:
    """States in their potential, and errors by spacing."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    left.plot(x, potential, color="#222222", linewidth=1.2)
    for index, (level, state) in enumerate(zip(levels.tolist()[:4], states, strict=False)):
        color = COLORS[index % 2]
        sign = torch.sign(state[x > 0][state[x > 0].abs().argmax()])
        left.axhline(level, color="#dddddd", linewidth=0.8, zorder=0)
        left.plot(x, level + 0.055 * sign * state / state.abs().max(), color=color)
        left.text(25.6, level, f"{level:.5f}", fontsize=8, color=color, va="center")
    left.set_xlim(-25, 25)
    left.set_ylim(-0.75, 0.03)
    left.set_xlabel("x  [bohr]")
    left.set_ylabel("energy  [hartree]")
    left.set_title("the four lowest states of V = -1 / √(x² + 2)", fontsize=10, loc="left")
    for color, marker, order in zip(COLORS, "os^", ORDERS, strict=True):
        right.loglog(
            spacings, errors[order], color=color, marker=marker, markersize=5, label=f"order {order}"
        )
    right.set_xticks(spacings, [f"{h:.3g}" for h in spacings])
    right.minorticks_off()
    right.set_xlabel("spacing of the grid  [bohr]")
    right.set_ylabel("|E₀ + 1/2|  [hartree]")
    right.set_title("error of the ground energy", fontsize=10, loc="left")
    right.legend(frameon=False, fontsize=9)
    right.grid(color="#e6e6e6", linewidth=0.8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
