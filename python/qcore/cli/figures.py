"""The pictures that the commands draw. Figures are made without pyplot, so nothing global is touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from qcore._atomic import replacing
from qcore._optional import optional_import
from qcore.experiment import TITLES, Run
from qcore.training import WITH_INITS, Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qcore.residual import Layers

_INK, _MUTED, _LOSS, _ACCURACY = "#222222", "#777777", "#b5502a", "#1f5f8b"
_COLORS = {"pde1": "#b5502a", "pde2": "#1f5f8b", "resnet": "#3d8b4f", "ode": "#7a4fa3", "none": "#999999"}


def training_curve(history: Sequence[Epoch], title: str) -> Figure:
    """Training loss and test accuracy over the epochs, one above the other.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    figure = _figure(6.4, 4.8)
    upper, lower = figure.subplots(2, 1, sharex=True)
    epochs = [epoch.epoch for epoch in history]
    losses = [epoch.loss for epoch in history]
    scores = [100.0 * epoch.test_accuracy for epoch in history]
    marker = "o" if len(history) <= 20 else ""
    upper.plot(epochs, losses, color=_LOSS, marker=marker, markersize=4)
    upper.set_title(f"training loss (nats)    {losses[-1]:.3g}", color=_LOSS, fontsize=10, loc="left")
    if all(loss > 0 for loss in losses):
        ticker = optional_import("matplotlib.ticker", "drawing a picture")
        upper.set_yscale("log")
        few = max(losses) < 100 * min(losses)
        upper.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        upper.yaxis.set_major_formatter("{x:g}")
        upper.yaxis.set_minor_formatter(ticker.NullFormatter())
    lower.plot(epochs, scores, color=_ACCURACY, marker=marker, markersize=4)
    lower.set_title(f"test accuracy (%)    {scores[-1]:.2f}", color=_ACCURACY, fontsize=10, loc="left")
    lower.set_xlabel("epoch", color=_MUTED)
    lower.set_xlim(0.5, len(history) + 0.5)
    lower.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    _plain(upper)
    _plain(lower)
    figure.suptitle(title, color=_INK, fontsize=12)
    return figure


def accuracy_curves(runs: Sequence[Run]) -> Figure:
    """Test accuracy over the epochs, whole and near the top; a column is a depth, a line a network.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    depths = sorted({run.config.depth for run in runs if run.config.model != "none"}) or [0]
    figure = _figure(3.4 * len(depths) + 0.4, 6.4)
    grid = figure.subplots(2, len(depths), sharex=True, sharey="row", squeeze=False)
    for column, depth in zip(grid.T, depths, strict=True):
        shown = [run for run in runs if run.config.depth == depth or run.config.model == "none"]
        for (model, init), group in _by_network(shown).items():
            for axes in column:
                _mean_curve(axes, group, *_line(model, init), label=_label(model, init))
        column[0].set_title(f"{depth} layers", color=_INK, fontsize=11)
        column[1].set_xlabel("epoch", color=_MUTED)
        column[1].xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        for axes in column:
            _plain(axes)
    best = max(100.0 * max(run.accuracies) for run in runs)
    grid[0, 0].set_ylim(0.0, 100.0)
    grid[1, 0].set_ylim(best - 4.0, best + 0.3)  # where the good ones differ
    for axes in grid[:, 0]:
        axes.set_ylabel("test accuracy (%)", color=_MUTED)
    handles = {
        text: line for axes in grid.flat for line, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles, frameon=False, fontsize=9, ncols=len(handles), loc="outside lower center"
    )
    return figure


def _mean_curve(axes: Axes, group: Sequence[Run], color: str, style: str, *, label: str) -> None:
    scores = 100.0 * torch.tensor([run.accuracies for run in group], dtype=torch.float64)
    epochs = range(1, scores.shape[1] + 1)
    mean = scores.mean(0)
    axes.plot(epochs, mean, color=color, linestyle=style, linewidth=1.5, label=label)
    if len(group) > 1:
        error = scores.std(0) / len(group) ** 0.5
        axes.fill_between(epochs, mean - error, mean + error, color=color, alpha=0.2, linewidth=0)


def mass_curves(runs: Sequence[Run]) -> Figure:
    """Share of the mass left by layer, untrained above trained; a line is a run, a column a network.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    networks = _by_network([run for run in runs if run.config.model != "none"]) or _by_network(runs)
    figure = _figure(3.0 * len(networks) + 0.4, 5.2)
    grid = figure.subplots(2, len(networks), sharex=True, sharey=True, squeeze=False)
    for column, ((model, init), group) in enumerate(networks.items()):
        for axes, name in zip(grid[:, column], ("untrained", "trained"), strict=True):
            for run in group:
                mass = run.mass_untrained if name == "untrained" else run.mass_trained
                # A logarithmic axis has no place for nothing at all.
                axes.plot([max(value, 1e-9) for value in mass], color=_line(model, init)[0], linewidth=0.9)
            axes.set_yscale("log")
            axes.set_ylim(1e-5, 1e5)
            axes.axhline(1.0, color="#bbbbbb", linewidth=0.8, zorder=0)
            _plain(axes)
        grid[0, column].set_title(_label(model, init), color=_INK, fontsize=10)
        grid[1, column].set_xlabel("layer", color=_MUTED)
    for row, name in enumerate(("untrained", "trained")):
        grid[row, 0].set_ylabel(f"mass left, {name}", color=_MUTED)
    return figure


def _by_network(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.config.model, run.config.init), []).append(run)
    return {key: groups[key] for key in sorted(groups, key=lambda key: (list(TITLES).index(key[0]), key[1]))}


def _line(model: str, init: str) -> tuple[str, str]:
    styles = {"uniform": "-", "normal": "--", "symmetric": ":"}
    return _COLORS[model], styles[init]


def _label(model: str, init: str) -> str:
    return TITLES[model] + (f", {init} start" if model in WITH_INITS else "")


def _plain(axes: Axes) -> None:
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")
    axes.tick_params(which="both", color="#bbbbbb", labelcolor=_MUTED)


def evolution(layers: Sequence[int], states: Sequence[torch.Tensor], title: str) -> Figure:
    """A grid of states (H, W) after the given layers, each on its own scale, with kept mass and maximum.

    The kept mass is the sum of a state over the sum of the first one.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    columns = min(len(layers), 4 if len(layers) != 5 else 5)
    rows = -(-len(layers) // columns)
    figure = _figure(2.2 * columns + 0.2, 2.55 * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    mass = float(states[0].sum())
    for axes, layer, state in zip(panels, layers, states, strict=False):
        _panel(axes, layer, state, float(state.sum()) / mass if mass else float("nan"))
    for axes in list(panels):
        axes.set_axis_off()
    figure.suptitle(title, color=_INK, fontsize=11)
    return figure


def explanation(
    image: torch.Tensor,
    output: torch.Tensor,
    weights: torch.Tensor,
    pixel: tuple[int, int],
    layers: Layers,
    kept: torch.Tensor,
    title: str,
) -> Figure:
    """Input, output and where the paths into one output pixel come from, above what each layer does.

    Args:
        image, output: (H, W), before and after the chain.
        weights: (H, W), summed weights of the paths from every input pixel to ``pixel``.
        pixel: row and column in the output.
        layers: of the chain.
        kept: (T + 1,) share of the mass after 0, ..., T layers.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    figure = _figure(11.0, 6.0)
    upper, lower = figure.subplots(2, 4, height_ratios=(1.25, 1.0))
    contribution = weights * image
    for axes, field, name, signed in (
        (upper[0], image, "input", False),
        (upper[1], output, "output", False),
        (upper[2], weights, "weight of the paths into the cross", True),
        (upper[3], contribution, "what they bring: weight x input", True),
    ):
        peak = float(field.abs().max()) or 1.0
        axes.imshow(
            field.numpy(), cmap="RdBu_r" if signed else "magma", vmin=-peak if signed else 0.0, vmax=peak
        )
        axes.plot(pixel[1], pixel[0], "+", color="#111111" if signed else "#66ff66", markersize=9)
        axes.set_title(name, color=_INK, fontsize=10)
        total = float(field.sum())
        axes.set_xlabel(f"sum {total:.3g}   largest {peak:.3g}", color=_MUTED, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    depth = len(layers.gain)
    after = range(depth + 1)
    start = torch.zeros(1, 2, dtype=layers.drift.dtype)
    drift = torch.cat([start, layers.drift.cumsum(0)])
    variance = torch.cat([start, layers.variance.cumsum(0)])
    for axis, (name, color) in enumerate((("x", _LOSS), ("y", _ACCURACY))):
        lower[0].plot(after, drift[:, axis], color=color, label=name)
        lower[1].plot(after, variance[:, axis], color=color, label=name)
    for half in (image.shape[1] / 2, -image.shape[1] / 2):
        lower[0].axhline(half, color="#bbbbbb", linewidth=0.8, linestyle="--")
    lower[2].plot(range(1, depth + 1), layers.gain, color=_LOSS, marker=".", label="largest of a wave")
    lower[2].plot(range(1, depth + 1), layers.mass, color=_ACCURACY, marker=".", label="of the mass")
    lower[2].axhline(1.0, color="#bbbbbb", linewidth=0.8)
    lower[3].plot(after, kept.clamp(min=1e-9), color=_INK)
    lower[3].set_yscale("log")
    lower[3].axhline(1.0, color="#bbbbbb", linewidth=0.8)
    titles = (
        "drift (pixels; dashed: half the frame)",
        "variance (pixels²)",
        "gain of each layer",
        "mass left",
    )
    for axes, name in zip(lower, titles, strict=True):
        axes.set_title(name, color=_INK, fontsize=10)
        axes.set_xlabel("layer", color=_MUTED)
        _plain(axes)
    for axes in lower[:3]:
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, color=_INK, fontsize=11)
    return figure


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _figure(width: float, height: float) -> Figure:
    figure: Figure = optional_import("matplotlib.figure", "drawing a picture").Figure(
        figsize=(width, height), layout="constrained"
    )
    return figure


def _panel(axes: Axes, layer: int, state: torch.Tensor, kept: float) -> None:
    peak = float(state.max())
    axes.imshow(state.numpy(), cmap="magma", vmin=0.0, vmax=peak if peak > 0 else 1.0)
    axes.set_title("input" if layer == 0 else f"layer {layer}", color=_INK, fontsize=11)
    mass = f"{100 * kept:.3g} %" if not kept >= 10 else f"x {kept:.3g}"
    axes.set_xlabel(f"mass {mass}   max {peak:.3g}", color=_MUTED, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
