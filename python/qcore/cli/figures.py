"""The pictures that the commands draw. Figures are made without pyplot, so nothing global is touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from qcore._atomic import replacing
from qcore._optional import optional_import
from qcore.training import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _MUTED, _LOSS, _ACCURACY = "#222222", "#777777", "#b5502a", "#1f5f8b"


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
    for axes in (upper, lower):
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#bbbbbb")
        axes.tick_params(which="both", color="#bbbbbb", labelcolor=_MUTED)
    figure.suptitle(title, color=_INK, fontsize=12)
    return figure


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
