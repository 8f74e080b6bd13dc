"""The pictures and movies of ``qcore solve``: a density in space and time, states in their potential."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qcore._optional import optional_import
from qcore.cli.figures import _figure, _plain
from qcore.cli.motion import Motion, System

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people who don't see red and green apart can tell.
_INK, _MUTED, _BLUE, _ORANGE, _GREEN = "#222222", "#666666", "#0072b2", "#d55e00", "#009e73"
_SKY = "#56b4e9"
_DENSITY = "magma"
_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 8, "handlelength": 1.4, "borderaxespad": 0.2}
_WALL = "#999999"
_MOVIE_DPI = 80


def motion(system: System, motion: Motion, title: str, exact: Tensor | None) -> Figure:
    """Density over time and place beside the potential, above traces of energy and probability.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    figure = _figure(9.6, 6.8)
    grid = figure.add_gridspec(3, 3, width_ratios=(1.1, 4.6, 0.1), height_ratios=(3.4, 1.0, 1.0))
    main = figure.add_subplot(grid[0, 1])
    side = figure.add_subplot(grid[0, 0], sharey=main)
    energies = figure.add_subplot(grid[1, 1], sharex=main)
    chances = figure.add_subplot(grid[2, 1], sharex=main)

    times, x = motion.times, motion.shown[0]
    # A packet that starts narrow would leave everything later pale: the peak of the median time is enough.
    peak = 1.3 * float(motion.density.amax(1).median()) or 1.0
    image = main.pcolorfast(
        _edges(times), _edges(x), motion.density.T.numpy(), cmap=_DENSITY, vmin=0.0, vmax=peak
    )
    main.plot(times, motion.mean[:, 0], color=_SKY, linewidth=1.2, label="mean x")
    if exact is not None:
        main.plot(times, exact[:, 0], color=_GREEN, linewidth=1.2, linestyle=(0, (2, 5)), label="exact")
    main.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, **_LEGEND)
    main.set_ylim(*_extent(motion))
    main.set_title("probability density |ψ|²", color=_INK, fontsize=10, loc="left")
    main.spines[:].set_visible(False)
    main.tick_params(labelbottom=False, labelleft=False, length=0)
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[0, 2]), extend="max")
    bar.outline.set_visible(False)
    bar.ax.tick_params(color="#bbbbbb", labelcolor=_MUTED, labelsize=8)

    energy = float(motion.energy[0])
    side.plot(system.potential, system.box.coordinates()[0], color=_INK, linewidth=1.2, label="V(x)")
    side.axvline(energy, color=_ORANGE, linewidth=1.2, label="⟨H⟩")
    side.set_xlim(*_energy_window(system, energy, motion))
    side.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, **_LEGEND)
    side.set_ylabel("position x", color=_MUTED)
    side.set_xlabel("energy", color=_MUTED)
    side.xaxis.set_in_layout(False)  # there is room below
    _plain(side)
    facts = figure.add_subplot(grid[1:, 0])
    facts.set_axis_off()
    facts.text(0.0, 0.5, _facts(system, motion), color=_MUTED, fontsize=8, va="center", linespacing=1.6)

    energies.plot(times, motion.energy, color=_ORANGE, label="total")
    energies.plot(times, motion.potential, color=_INK, linewidth=1.0, label="potential")
    energies.plot(times, motion.energy - motion.potential, color=_BLUE, linewidth=1.0, label="kinetic")
    energies.set_title("energy", color=_INK, fontsize=10, loc="left")
    energies.tick_params(labelbottom=False)
    chances.plot(times, motion.norm**2, color=_ORANGE, label="everywhere")
    chances.plot(times, _beyond(motion), color=_GREEN, linewidth=1.2, label="at x > 0")
    chances.set_ylim(-0.05, 1.1)
    chances.set_title("probability", color=_INK, fontsize=10, loc="left")
    chances.set_xlabel("time t", color=_MUTED)
    for axes in (energies, chances):
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=3, **_LEGEND)
        _plain(axes)
    chances.set_xlim(float(times[0]), float(times[-1]))
    figure.suptitle(title, color=_INK, fontsize=12)
    return figure


def motion_2d(system: System, motion: Motion, title: str) -> Figure:
    """Six densities on the way, with the potential's outline, and what has been where over all times.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    figure = _figure(10.2, 7.2)
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    frames = torch.linspace(0, len(motion.times) - 1, panels.size).round().long().tolist()
    for axes, frame in zip(panels.flat, frames, strict=True):
        _map(axes, system, motion.density[frame])
        axes.plot(motion.mean[: frame + 1, 0], motion.mean[: frame + 1, 1], color=_SKY, linewidth=1.2)
        axes.set_title(f"time {float(motion.times[frame]):.3g}", color=_INK, fontsize=10, loc="left")
    for axes in panels[-1]:
        axes.set_xlabel("x", color=_MUTED)
    for axes in panels[:, 0]:
        axes.set_ylabel("y", color=_MUTED)
    figure.suptitle(
        f"{title}\n|ψ|, each panel from zero to its largest; blue: path of the mean; grey: where V rises",
        color=_INK,
        fontsize=11,
    )
    return figure


def states(
    system: System,
    energies: Tensor,
    functions: Tensor,
    title: str,
    relaxation: tuple[Tensor, Tensor] | None = None,
) -> Figure:
    """States at the height of their energies in the potential; for imaginary time, how the energy came down.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    if functions.ndim == 3:
        return _states_2d(system, energies, functions, title)
    figure = _figure(9.6 if relaxation else 6.4, 4.8)
    panels = figure.subplots(1, 2 if relaxation else 1, squeeze=False)[0]
    axes = panels[0]
    x = system.box.coordinates()[0]
    levels = energies.tolist()
    bottom = float(system.potential.min())
    step = (levels[-1] - levels[0]) / max(len(levels) - 1, 1) or max(levels[0] - bottom, 1e-300)
    peak = float(functions.abs().max()) or 1.0
    axes.plot(x, system.potential, color=_INK, linewidth=1.2)
    for index, (level, psi) in enumerate(zip(levels, functions, strict=True)):
        color = (_BLUE, _ORANGE)[index % 2]
        psi = psi.real if psi.is_complex() else psi
        psi = psi * torch.sign(psi[psi.abs().argmax()])
        axes.axhline(level, color="#cccccc", linewidth=0.8, zorder=0)
        axes.plot(x, level + 0.6 * step * psi / peak, color=color, linewidth=1.2)
    axes.set_ylim(bottom - 0.1 * (levels[-1] - bottom + step), levels[-1] + 1.2 * step)
    axes.set_xlim(*_where(x, (functions.abs() ** 2).sum(0), 1e-5))
    axes.set_xlabel("position x", color=_MUTED)
    axes.set_ylabel("energy", color=_MUTED)
    axes.set_title("V(x), and ψ at the height of its energy", color=_INK, fontsize=10, loc="left")
    _plain(axes)
    if relaxation:
        times, above = relaxation
        scale = max(abs(float(energies[0])), 1e-300)
        panels[1].semilogy(times, above.abs().clamp(min=1e-16 * scale), color=_BLUE)
        panels[1].set_xlabel("imaginary time", color=_MUTED)
        panels[1].set_title("energy above the lowest eigenvalue", color=_INK, fontsize=10, loc="left")
        _plain(panels[1])
    figure.suptitle(title, color=_INK, fontsize=12)
    return figure


def movie(system: System, motion: Motion, title: str, frames: Sequence[int]) -> Iterator[Any]:
    """Images of |psi|^2 above the potential, one for each of the frames.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    figure = _figure(7.2, 4.0)
    axes = figure.subplots()
    x = motion.shown[0]
    top = 1.15 * float(motion.density.amax(1).quantile(0.9)) or 1.0
    _, high = _energy_window(system, float(motion.energy[0]), motion)
    low = float(system.potential.min())
    beside = axes.twinx()
    beside.fill_between(
        system.box.coordinates()[0], system.potential, low, color=_WALL, alpha=0.35, linewidth=0
    )
    beside.axhline(float(motion.energy[0]), color=_ORANGE, linewidth=1.0)
    beside.set_ylim(low, high)
    beside.set_ylabel("V (grey), ⟨H⟩ (orange)", color=_MUTED)
    beside.spines[:].set_visible(False)
    beside.tick_params(color="#bbbbbb", labelcolor=_MUTED)
    axes.set_zorder(beside.get_zorder() + 1)
    axes.patch.set_visible(False)
    (line,) = axes.plot(x, motion.density[0], color=_BLUE, linewidth=1.6)
    axes.set_xlim(*_extent(motion))
    axes.set_ylim(0.0, top)
    axes.set_xlabel("position x", color=_MUTED)
    axes.set_ylabel("|ψ|²", color=_BLUE)
    _plain(axes)
    axes.grid(visible=False)
    axes.set_title(title, color=_INK, fontsize=11, loc="left")
    clock = axes.set_title("", color=_MUTED, fontsize=10, loc="right")

    def show(frame: int) -> None:
        line.set_ydata(motion.density[frame])
        clock.set_text(f"time {float(motion.times[frame]):.2f}")

    yield from _images(figure, show, frames)


def movie_2d(system: System, motion: Motion, title: str, frames: Sequence[int]) -> Iterator[Any]:
    """Images of |psi| with the potential's outline, one for each of the frames.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    figure = _figure(5.2, 5.2)
    axes = figure.subplots()
    image = _map(axes, system, motion.density[0])
    axes.set_xlabel("x", color=_MUTED)
    axes.set_ylabel("y", color=_MUTED)
    axes.set_title(title, color=_INK, fontsize=9, loc="left")
    clock = axes.set_title("", color=_MUTED, fontsize=9, loc="right")

    def show(frame: int) -> None:
        image.set_data(motion.density[frame].sqrt().numpy())
        image.autoscale()
        clock.set_text(f"time {float(motion.times[frame]):.2f}")

    yield from _images(figure, show, frames)


def _images(figure: Figure, show: Any, frames: Sequence[int]) -> Iterator[Any]:
    """The figure as a picture of few colours after ``show`` has made it that of each frame."""
    backend = optional_import("matplotlib.backends.backend_agg", "drawing a movie")
    pillow = optional_import("PIL.Image", "drawing a movie")
    canvas = backend.FigureCanvasAgg(figure)
    figure.set_dpi(_MOVIE_DPI)
    for index, frame in enumerate(frames):
        show(frame)
        canvas.draw()
        if index == 0:
            figure.set_layout_engine("none")  # or the axes would tremble with the width of the clock
        size = canvas.get_width_height()
        yield pillow.frombuffer("RGBA", size, bytes(canvas.buffer_rgba())).convert("RGB").quantize(colors=64)


def _map(axes: Axes, system: System, density: Tensor) -> Any:
    """|psi| in the plane, so that faint parts show too, and lines where the potential rises."""
    box = system.box
    image = axes.imshow(
        density.sqrt().numpy(), origin="lower", extent=(box.left, box.right) * 2, cmap=_DENSITY
    )
    low, high = float(system.potential.min()), float(system.potential.max())
    if high > low:
        y, x = (axis.flatten().numpy() for axis in box.coordinates())
        levels = [low + share * (high - low) for share in (0.1, 0.25, 0.5, 0.75)]
        axes.contour(x, y, system.potential.numpy(), levels=levels, colors=_WALL, linewidths=0.6)
    axes.spines[:].set_color("#bbbbbb")
    axes.tick_params(color="#bbbbbb", labelcolor=_MUTED)
    return image


def _states_2d(system: System, energies: Tensor, functions: Tensor, title: str) -> Figure:
    columns = min(len(functions), 4)
    rows = -(-len(functions) // columns)
    figure = _figure(2.4 * columns + 0.8, 2.5 * rows + 0.9)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    box = system.box
    y, x = (axis.flatten() for axis in box.coordinates())
    density = (functions.abs() ** 2).sum(0)
    for index, (axes, energy, psi) in enumerate(zip(panels.flat, energies.tolist(), functions, strict=False)):
        peak = float(psi.abs().max()) or 1.0
        psi = psi.real if psi.is_complex() else psi
        axes.imshow(
            psi.numpy(), origin="lower", extent=(box.left, box.right) * 2, cmap="PuOr", vmin=-peak, vmax=peak
        )
        axes.set_title(f"{index}: {energy:.6g}", color=_INK, fontsize=10)
        axes.spines[:].set_color("#bbbbbb")
        axes.tick_params(color="#bbbbbb", labelcolor=_MUTED)
    panels[0, 0].set_xlim(*_where(x, density.amax(0), 1e-4))
    panels[0, 0].set_ylim(*_where(y, density.amax(1), 1e-4))
    for axes in list(panels.flat)[len(functions) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("y", color=_MUTED)
    for axes in panels[-1]:
        axes.set_xlabel("x", color=_MUTED)
    figure.suptitle(f"{title}\nψ(x, y): number and energy", color=_INK, fontsize=11)
    return figure


def _energy_window(system: System, energy: float, motion: Motion) -> tuple[float, float]:
    """Energies to show: the potential where the particle goes, and its energy, not a divergence far away."""
    x = system.box.coordinates()[0]
    left, right = _extent(motion)
    inside = system.potential[(x >= left) & (x <= right)]
    low = min(float(inside.min()), energy)
    high = max(energy, min(float(inside.max()), low + 2.5 * (energy - low)) if energy > low else energy)
    margin = 0.08 * (high - low) or 0.5
    return low - margin, high + margin


def _facts(system: System, motion: Motion) -> str:
    """What the lines, which look flat, don't tell."""
    lines = [f"{system.box.points[0]} points", f"{motion.steps} steps"]
    if system.box.boundary != "transparent":
        for name, values in (("norm", motion.norm), ("energy", motion.energy)):
            lines.append(f"drift of {name} {float((values - values[0]).abs().max()):.1e}")
    return "\n".join(lines)


def _extent(motion: Motion) -> tuple[float, float]:
    """The part of the box where all but a thousandth of the packet is at every time."""
    x = motion.shown[0]
    below = motion.density.cumsum(1)
    below = below / below[:, -1:].clamp(min=1e-300)
    left = (below > 5e-4).to(torch.uint8).argmax(1).min()
    right = (below >= 1 - 5e-4).to(torch.uint8).argmax(1).max()
    if not left < right:  # nothing anywhere
        left, right = torch.tensor(0), torch.tensor(len(x) - 1)
    margin = 0.03 * float(x[right] - x[left])
    return max(float(x[left]) - margin, float(x[0])), min(float(x[right]) + margin, float(x[-1]))


def _edges(values: Tensor) -> Tensor:
    """Ends of the cells around some rising values; the outer ones end there."""
    return torch.cat([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])


def _where(x: Tensor, weight: Tensor, share: float) -> tuple[float, float]:
    """Ends of the interval outside of which a weight is less than some share of its peak."""
    inside = (weight > share * weight.max()).nonzero()
    if len(inside) == 0:
        return float(x[0]), float(x[-1])
    left, right = float(x[inside[0, 0]]), float(x[inside[-1, 0]])
    margin = 0.04 * (right - left)
    return max(left - margin, float(x[0])), min(right + margin, float(x[-1]))


def _beyond(motion: Motion) -> Tensor:
    """Share of the density at x > 0, of the norm at each time."""
    positive = (motion.shown[0] > 0).to(motion.density.dtype)
    whole = motion.density.sum(1)
    return (motion.density * positive).sum(1) / torch.where(whole > 0, whole, 1.0) * motion.norm**2
