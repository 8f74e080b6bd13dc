"""The pictures of ``qcore paths``: paths, densities and correlators; fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qcore.cli import paths_field
from qcore.cli.figures import _figure, _plain
from qcore.cli.paths_systems import Exact
from qcore.paths import SampleResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _MUTED, _BLUE, _ORANGE, _GREEN = "#222222", "#666666", "#0072b2", "#d55e00", "#009e73"
_SHADES = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#cc79a7")
_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 8, "handlelength": 1.6}


def particle(
    result: SampleResult, known: Exact, settings: dict[str, Any], lags: list[int], title: str
) -> Figure:
    """Some paths, where all of them are beside |psi_0|^2, and how they forget.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    figure = _figure(11.0, 4.4)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.7, 1.0, 1.35))
    middle.sharey(left)
    step = settings["hbar"] * settings["beta"] / settings["slices"]
    x = result.state["x"].double()
    paths = x.T if settings["sampler"] == "metropolis" else x  # beads or chains first
    shown = paths[: len(_SHADES)]
    shown = torch.cat([shown, shown[:, :1]], 1)  # they are closed
    times = step * torch.arange(shown.shape[1])
    for path, color in zip(shown, _SHADES, strict=False):
        left.plot(times, path, color=color, linewidth=0.9)
    left.set_xlim(0.0, float(times[-1]))
    left.set_xlabel("Euclidean time τ", color=_MUTED)
    left.set_ylabel("position x", color=_MUTED)
    left.set_title(f"the last of {len(shown)} chains", color=_INK, fontsize=10, loc="left")

    edges, heights = _histogram(result, paths, float(known.x[-1]))
    middle.stairs(heights, edges, orientation="horizontal", fill=True, color="#bcd6ea", label="paths")
    if known.states is not None:
        density = known.states.density(settings["slices"])
        middle.plot(density, known.states.x, color=_BLUE, linewidth=1.2, label="exact, this step")
    middle.plot(known.ground, known.x, color=_ORANGE, linewidth=1.2, linestyle="--", label="|ψ₀|²")
    middle.set_title("density", color=_INK, fontsize=10, loc="left")
    middle.legend(loc="upper right", **_LEGEND)
    middle.tick_params(labelleft=False)
    middle.set_xlim(0.0, 1.25 * max(float(heights.max()), float(known.ground.max())))
    near = known.x[known.ground > 1e-4 * known.ground.max()]
    left.set_ylim(*(1.15 * float(end) for end in (near[0], near[-1])))

    _correlator(right, result, known, settings, lags)
    for axes in (left, middle, right):
        _plain(axes)
    figure.suptitle(title, color=_INK, fontsize=11)
    return figure


def field(result: SampleResult, p: dict[str, float], settings: dict[str, Any]) -> Figure:
    """A field, the values of all, and how rows forget.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    figure = _figure(11.0, 3.9)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1.0, 1.2))
    phi = result.state["phi"].double()
    peak = float(phi[0].abs().max()) or 1.0
    image = left.imshow(phi[0].numpy(), cmap="RdBu_r", vmin=-peak, vmax=peak, origin="lower")
    bar = figure.colorbar(image, ax=left)
    bar.outline.set_visible(False)
    bar.ax.tick_params(color="#bbbbbb", labelcolor=_MUTED, labelsize=8)
    left.set_title("φ of the first chain", color=_INK, fontsize=10, loc="left")
    left.spines[:].set_visible(False)
    left.tick_params(color="#bbbbbb", labelcolor=_MUTED, labelsize=8)

    end = float(phi.abs().max()) or 1.0
    edges = torch.linspace(-end, end, 81, dtype=torch.float64)
    counts = torch.histc(phi.float(), 80, -end, end).double()
    density = counts / counts.sum().clamp(min=1) / (edges[1] - edges[0])
    middle.stairs(density, edges, fill=True, color="#bcd6ea")
    middle.set_title("values of φ, all chains", color=_INK, fontsize=10, loc="left")
    middle.set_xlabel("φ", color=_MUTED)

    means, errors = result.array("correlator")
    distance = torch.arange(len(means))
    seen = means > errors
    right.errorbar(
        distance[seen],
        means[seen],
        errors[seen].nan_to_num(),
        fmt="o",
        markersize=3,
        color=_INK,
        linewidth=1.0,
        label="sampled",
    )
    exact = paths_field.free_correlator(p, settings["sites"])
    if exact is not None:
        right.plot(distance, exact, color=_BLUE, linewidth=1.0, label="exact")
        right.legend(loc="upper right", **_LEGEND)
    right.set_yscale("log")
    right.set_xlabel("distance of rows", color=_MUTED)
    right.set_title("correlator of rows", color=_INK, fontsize=10, loc="left")
    for axes in (middle, right):
        _plain(axes)
    values = ", ".join(f"{name} = {value:g}" for name, value in p.items())
    figure.suptitle(f"lattice φ⁴, {values}", color=_INK, fontsize=11)
    return figure


def _histogram(result: SampleResult, paths: Tensor, end: float) -> tuple[Tensor, Tensor]:
    """Ends of bins, and the density in them: of every measured bead, or of the last paths."""
    counts = result.state.get("histogram")
    if counts is None:
        counts = torch.histc(paths.float(), 90, -end, end).double()
    edges = torch.linspace(-end, end, len(counts) + 1, dtype=torch.float64)
    return edges, counts / counts.sum().clamp(min=1) / (edges[1] - edges[0])


def _correlator(
    axes: Axes, result: SampleResult, known: Exact, settings: dict[str, Any], lags: list[int]
) -> None:
    step = settings["hbar"] * settings["beta"] / settings["slices"]
    found = [result[f"correlator_{lag}"] for lag in lags]
    times = step * torch.tensor(lags, dtype=torch.float64)
    means = torch.tensor([entry.mean for entry in found], dtype=torch.float64)
    errors = torch.tensor([entry.error for entry in found], dtype=torch.float64).nan_to_num()
    if known.states is not None:
        x = known.states.x
        line = [float(known.states.correlator(x, lag, settings["slices"])) for lag in lags]
        axes.plot(times, line, color=_BLUE, linewidth=1.0, label="exact, this step")
        low = 0.3 * min(line)
    else:
        low = 0.3 * float(means.clamp(min=1e-12).min())
    seen = means > errors  # a logarithm has no place for the others
    axes.errorbar(
        times[seen],
        means[seen],
        errors[seen],
        fmt="o",
        markersize=3,
        color=_INK,
        linewidth=1.0,
        label="⟨x(0) x(τ)⟩",
    )
    gap = (known.levels[1] - known.levels[0]) / settings["hbar"]
    axes.plot(
        times,
        float(means[0]) * torch.exp(-gap * times),
        color=_ORANGE,
        linewidth=1.0,
        linestyle="--",
        label="slope E₁ - E₀",
    )
    axes.set_yscale("log")
    axes.set_ylim(low, 2.0 * float(means[0]))
    axes.set_xlabel("Euclidean time τ", color=_MUTED)
    axes.set_title("correlator", color=_INK, fontsize=10, loc="left")
    axes.legend(loc="upper right", **_LEGEND)
