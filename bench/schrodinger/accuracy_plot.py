"""Draw what `python -m bench.schrodinger.accuracy --json FILE` found.

python -m bench.schrodinger.accuracy_plot FILE --out PNG
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qcore.cli.figures import write_png

INK, MUTED = "#222222", "#666666"
# Colours of Okabe and Ito, apart for all kinds of colour vision.
COLORS = {2: "#e69f00", 4: "#56b4e9", 6: "#009e73", 8: "#d55e00"}  # by order in time
MARKERS = {2: "o", 4: "s", 6: "^"}  # by order in space
FOURIER = {2: ":", 4: "-"}  # line styles by order in time


def main(argv: list[str] | None = None) -> int:
    """Draw the figure of a record."""
    parser = argparse.ArgumentParser(prog="python -m bench.schrodinger.accuracy_plot", description=__doc__)
    parser.add_argument("record", type=Path, metavar="FILE", help="JSON of bench.schrodinger.accuracy")
    parser.add_argument("--out", type=Path, metavar="PNG", required=True)
    arguments = parser.parse_args(argv)
    try:
        draw(json.loads(arguments.record.read_text()), arguments.out)
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"FILE: expected the JSON of a whole run, got {arguments.record}: {error!r}")
    print(arguments.out)
    return 0


def draw(record: dict[str, Any], out: Path) -> None:
    """Write the figure.

    Raises:
        KeyError: the record lacks something.
    """
    write_png(figure(record), out)


def figure(record: dict[str, Any]) -> Figure:
    """A row for each problem, a column for each number of systems moved at once."""
    batches, problems = record["batches"], record["problems"]
    made = Figure(figsize=(5.2 * len(batches) + 2.2, 4.2 * len(problems)), layout="constrained")
    panels = made.subplots(len(problems), len(batches), squeeze=False, sharey="row")
    for (problem, title), row in zip(problems.items(), panels, strict=True):
        for batch, axes in zip(batches, row, strict=True):
            _panel(axes, record, problem, str(batch))
            several = "one system" if batch == 1 else f"{batch} systems at once"
            axes.set_title(f"{title}\n{several}", color=INK, fontsize=10, loc="left")
            axes.set_xlabel("wall time per system (ms)", color=MUTED)
        row[0].set_ylabel(
            "distance to the exact state"
            if problem == "coherent"
            else "error of the transmitted probability",
            color=MUTED,
        )
    made.legend(handles=_legend(), loc="outside right center", frameon=False, fontsize=9)
    threads = f"{record['threads']} thread" + "s" * (record["threads"] > 1)
    made.suptitle(f"Error against time, {threads}: the best runs of each method", color=INK, fontsize=12)
    return made


def _panel(axes: Axes, record: dict[str, Any], problem: str, batch: str) -> None:
    for method, (time_order, space_order) in record["methods"].items():
        own = [
            (1e3 * attempt["seconds"][batch], attempt["error"])
            for attempt in record["attempts"]
            if attempt["problem"] == problem and attempt["method"] == method
        ]
        best = [point for point in sorted(own) if all(other[1] > point[1] for other in own if other < point)]
        times, errors = zip(*best, strict=True) if best else ((), ())
        if space_order is None:
            axes.plot(times, errors, color="black", linestyle=FOURIER[time_order], linewidth=2.4, zorder=3)
        else:
            style = {"color": COLORS[time_order], "marker": MARKERS[space_order]}
            axes.plot(times, errors, **style, linewidth=1.1, markersize=4, markerfacecolor="white")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(top=1.0)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")
    axes.tick_params(which="both", color="#bbbbbb", labelcolor=MUTED)


def _legend() -> list[Line2D]:
    def line(label: str, **style: Any) -> Line2D:
        return Line2D([], [], label=label, **style)

    return [
        line("implicit, order in time", linestyle="none"),
        *(line(f"{order}", color=color, linewidth=2) for order, color in COLORS.items()),
        line("", linestyle="none"),
        line("implicit, order in space", linestyle="none"),
        *(
            line(f"{order}", color=MUTED, marker=marker, markerfacecolor="white", linewidth=1)
            for order, marker in MARKERS.items()
        ),
        line("", linestyle="none"),
        line("Fourier split steps", linestyle="none"),
        line("Strang (2)", color="black", linestyle=FOURIER[2], linewidth=2.4),
        line("Blanes-Moan (4)", color="black", linestyle=FOURIER[4], linewidth=2.4),
    ]


if __name__ == "__main__":
    sys.exit(main())
