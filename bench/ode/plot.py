"""Draw what `python -m bench.ode.report --json FILE` measured: python -m bench.ode.plot FILE --out PNG."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qcore.cli.figures import write_png

INK, MUTED = "#222222", "#777777"
COLORS = {"discrete": "#1f5f8b", "checkpointed": "#3d8b4f", "adjoint": "#b5502a"}
FLOW, OTHER = "tanh-rk4", "linear-euler"


def main(argv: list[str] | None = None) -> int:
    """Draw the figure of a report."""
    parser = argparse.ArgumentParser(prog="python -m bench.ode.plot", description=__doc__)
    parser.add_argument("report", type=Path, metavar="FILE", help="JSON of bench.ode.report")
    parser.add_argument("--out", type=Path, metavar="PNG", required=True)
    arguments = parser.parse_args(argv)
    try:
        report = json.loads(arguments.report.read_text())
        made = figure(report)
    except (OSError, ValueError, KeyError) as error:
        parser.error(f"FILE: expected the JSON of a whole report, got {arguments.report}: {error!r}")
    write_png(made, arguments.out)
    print(arguments.out)
    return 0


def figure(report: dict[str, Any]) -> Figure:
    """Time and memory against steps, error against the time of diffusion.

    Raises:
        KeyError: the report lacks something.
    """
    made = Figure(figsize=(11.0, 4.0), layout="constrained")
    time, memory, error = made.subplots(1, 3)
    for way, color in COLORS.items():
        for name, style in ((FLOW, "-"), (OTHER, ":")):
            rows = [row for row in report["rows"] if row["way"] == way and name in row["name"]]
            steps = [row["flow"]["steps"] for row in rows]
            label = way if name == FLOW else None
            shown = {"color": color, "linestyle": style, "marker": "o", "markersize": 4, "label": label}
            time.plot(steps, [1e3 * row["seconds"] for row in rows], **shown)
            memory.plot(steps, [row["fields"].get("qcore", 1.0) for row in rows], **shown)  # 1: not measured
        growth = report["error_growth"]
        error.plot(
            growth["diffusion_time"], growth["error_stencil"][way], color=color, marker="o", markersize=4
        )
    ticks = sorted({row["flow"]["steps"] for row in report["rows"]})
    for axes, title in ((time, "time of a gradient (ms)"), (memory, "peak memory (states)")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel("steps    (solid: tanh, rk4; dotted: linear, fused Euler)", color=MUTED, fontsize=9)
        _plain(axes, title)
    error.set_yscale("log")
    error.set_xlabel("a² T, diffusion a²/2 over the time T", color=MUTED, fontsize=9)
    _plain(error, "relative error of dL/dK, float32")
    made.legend(*time.get_legend_handles_labels(), frameon=False, ncols=3, loc="outside lower center")
    threads = f"{report['threads']} thread" + "s" * (report["threads"] > 1)
    made.suptitle(f"Three ways to the gradients of a neural ODE, {threads}", color=INK, fontsize=12)
    return made


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")
    axes.tick_params(which="both", color="#bbbbbb", labelcolor=MUTED)


if __name__ == "__main__":
    sys.exit(main())
