"""What a state on a grid tells: norm, energy, expectation values, currents, transmission, spectra.

A state psi has its space axes last, as many as `spacing` has entries; all axes before are batch (frames of a
run, systems, or both), and every function works on all of them at once. Sums over the grid carry the weight
prod(spacing), so that they approximate integrals. All are differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._ops._check import (
    require_choice,
    require_count,
    require_positive,
    require_tensor,
    shape,
    wrong_type,
    wrong_value,
)
from ._grid import Grid, make_grid
from .hamiltonian import closed_grid, hamiltonian, neighbours, odd_extension, require_on_grid, require_psi

DIFFERENCES = ("central", "spectral")
WINDOWS = ("hann", "gaussian", "none")
# Standard deviations of the Gaussian window in the length of the record.
GAUSSIAN_WIDTHS = 4.0


class Spectrum(NamedTuple):
    """How much of a state has which energy."""

    energies: Tensor
    """(m,), ascending."""
    intensity: Tensor
    """(m, *batch), probability per energy."""


def norm(psi: Tensor, *, spacing: Any) -> Tensor:
    """L2 norm sqrt(sum |psi|^2 prod(spacing)) of a state: 1 where the probabilities add to 1.

    Args:
        psi: (*batch, *space), real or complex.
        spacing: distance of grid points, a number or one for each space axis.

    Returns:
        (*batch,), real; its square is the total probability. At psi = 0 it has no derivative (torch gives 0).

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value.
    """
    grid = make_grid(spacing)
    require_psi(psi, grid)
    size: Tensor = torch.linalg.vector_norm(psi, dim=grid.axes) * grid.cell**0.5
    return size


def inner(left: Tensor, right: Tensor, grid: Grid) -> Tensor:
    """<left|right> over the grid."""
    return (left.conj() * right).sum(grid.axes) * grid.cell


def expectation(psi: Tensor, observable: Tensor | Callable[[Tensor], Tensor], *, spacing: Any) -> Tensor:
    """<psi|O|psi> / <psi|psi>.

    Args:
        psi: (*batch, *space), real or complex.
        observable: a function of the position as a tensor that broadcasts with psi, such as the coordinate x
            itself; or a callable that takes psi and returns O psi, such as ``lambda f: momentum(f,
            spacing=h)``.
        spacing: distance of grid points, a number or one for each space axis.

    Returns:
        (*batch,): real for a real tensor, or if all is real; else complex (an Hermitian operator has no
        imaginary part but for rounding).

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; a callable that returns another
            shape.
    """
    grid = make_grid(spacing)
    space = require_psi(psi, grid)
    weight = psi.abs().square()
    if isinstance(observable, Tensor):
        require_on_grid("observable", observable, psi, space)
        return (weight * observable).sum(grid.axes) / weight.sum(grid.axes)
    if not callable(observable):
        raise wrong_type("observable", "a torch.Tensor or a callable", type(observable).__name__)
    image = observable(psi)
    require_tensor("observable(psi)", image)
    if image.shape != psi.shape:
        raise wrong_value("observable(psi)", shape(psi), shape(image))
    return (psi.conj() * image).sum(grid.axes) / weight.sum(grid.axes)


def energy(
    psi: Tensor,
    potential: Tensor,
    *,
    spacing: Any,
    mass: Any = 1.0,
    hbar: Any = 1.0,
    boundary: str | tuple[str, ...] = "dirichlet",
    space_order: int = 2,
) -> Tensor:
    """<psi|H|psi> / <psi|psi> with the Hamiltonian of the grid; arguments as of `hamiltonian`.

    Returns:
        (*batch,), real for a real potential; for an absorbing one complex, its imaginary part -hbar/2 times
        the rate at which probability is lost.

    Raises:
        TypeError, ValueError: as `hamiltonian`.
    """
    setting = {"mass": mass, "hbar": hbar, "boundary": boundary, "space_order": space_order}
    image = hamiltonian(psi, potential, spacing=spacing, **setting)
    axes = make_grid(spacing).axes
    value = (psi.conj() * image).sum(axes) / psi.abs().square().sum(axes)
    return value.real if value.is_complex() and not potential.is_complex() else value


def momentum(
    psi: Tensor,
    *,
    spacing: Any,
    axis: int = -1,
    hbar: Any = 1.0,
    boundary: str | tuple[str, ...] = "dirichlet",
    difference: str = "central",
) -> Tensor:
    """p psi = -i hbar d psi / dx along one axis; for `expectation`.

    Args:
        psi: (*batch, *space), real or complex.
        spacing: distance of grid points, a number or one for each space axis.
        axis: the space axis, counted from the end: -1 is x, -2 is y, -3 is z.
        hbar: a number or 0-dim tensor.
        boundary: "dirichlet" or "periodic", or one for each axis.
        difference: "central", (psi_{j+1} - psi_{j-1}) / 2h, whose mean value is m sum J h of
            `probability_current`; or "spectral", exact in the Fourier or sine modes of the grid.

    Returns:
        p psi, shaped like psi, complex.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value.
    """
    grid = closed_grid(spacing, 1.0, hbar, boundary)
    require_psi(psi, grid)
    index = _axis_index(axis, grid)
    require_choice("difference", difference, DIFFERENCES)
    h, name = grid.spacing[index], grid.boundary[index]
    if difference == "central" or not psi.numel():  # empty arrays have no transform
        left, right = neighbours(psi, axis, name)
        slope = (right - left) / (2 * h)
    else:
        slope = _spectral_slope(psi, axis, h, name)
    return -1j * (grid.hbar * slope)


def _spectral_slope(psi: Tensor, axis: int, h: float, boundary: str) -> Tensor:
    field = psi if boundary == "periodic" else odd_extension(psi, axis)
    n = field.shape[axis]
    wave = torch.fft.fftfreq(n, h / (2 * math.pi), dtype=torch.float64, device=psi.device).to(
        psi.dtype.to_real()
    )
    if n % 2 == 0:  # the shortest wave has no direction, so no slope at the grid points
        wave[n // 2] = 0
    factor = (1j * wave).reshape(-1, *(1,) * (-axis - 1))
    slope: Tensor = torch.fft.ifft(factor * torch.fft.fft(field, dim=axis), dim=axis)
    return slope if boundary == "periodic" else slope.narrow(axis, 1, psi.shape[axis])


def probability_current(
    psi: Tensor,
    *,
    spacing: Any,
    axis: int = -1,
    mass: Any = 1.0,
    hbar: Any = 1.0,
    boundary: str | tuple[str, ...] = "dirichlet",
) -> Tensor:
    r"""Current through the faces between grid points, J_{j+1/2} = (hbar / m h) Im(conj(psi_j) psi_{j+1}).

    It is the current of the differences of order 2: for i hbar psi_t = H psi with a real potential

        d|psi_j|^2 / dt = -(J_{j+1/2} - J_{j-1/2}) / h    (summed over axes),

    exactly; and exactly too for a Crank-Nicolson step in one dimension, (|psi'_j|^2 - |psi_j|^2) / dt, if J
    is that of the midpoint (psi + psi') / 2.

    Args:
        psi: (*batch, *space), real or complex.
        spacing: distance of grid points, a number or one for each space axis.
        axis: the direction of the current, a space axis counted from the end: -1 is x, -2 is y, -3 is z.
        mass: a number or 0-dim tensor, or one for each axis.
        hbar: a number or 0-dim tensor.
        boundary: "dirichlet" or "periodic", or one for each axis.

    Returns:
        (*batch, *space), real, with along `axis` n + 1 entries for walls, J_{-1/2} = 0 to J_{n-1/2} = 0; n
        entries for periodic, J_{1/2} to J_{n-1/2}, the last of which is J_{-1/2}. Probability per time
        through a face, per length (2-D) or area (3-D) of the face.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value.
    """
    grid = closed_grid(spacing, mass, hbar, boundary)
    require_psi(psi, grid)
    index = _axis_index(axis, grid)
    if grid.boundary[index] == "periodic":
        here, after = psi, psi.roll(-1, axis)
    else:
        wall = torch.zeros_like(psi.narrow(axis, 0, 1))
        here, after = torch.cat([wall, psi], axis), torch.cat([psi, wall], axis)
    flow = here.conj() * after
    flow = flow.imag if flow.is_complex() else torch.zeros_like(flow)
    return flow * (grid.hbar / (grid.mass[index] * grid.spacing[index]))


def transmission(psi: Tensor, region: int | Tensor, *, spacing: Any, axis: int = -1) -> Tensor:
    """Probability sum |psi|^2 prod(spacing) in a region: what is beyond a barrier, of a state that had norm
    1.

    Args:
        psi: (*batch, *space), real or complex. It is not normalised again, so that what an absorber took is
            missing.
        region: the index along `axis` from which on points count; or a tensor that broadcasts with psi, bool
            (True counts) or real (a weight, such as 0.5 on the edge).
        spacing: distance of grid points, a number or one for each space axis.
        axis: the space axis of an index, counted from the end: -1 is x, -2 is y, -3 is z.

    Returns:
        (*batch,), real.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; an index that is off the grid.
    """
    grid = make_grid(spacing)
    space = require_psi(psi, grid)
    index = _axis_index(axis, grid)
    if isinstance(region, Tensor):
        if region.is_complex():
            raise wrong_type("region", "an int, or a bool or real tensor", region.dtype)
        require_on_grid("region", region, psi, space)
        return (psi.abs().square() * region).sum(grid.axes) * grid.cell
    if isinstance(region, bool) or not isinstance(region, int):
        raise wrong_type("region", "an int, or a bool or real tensor", type(region).__name__)
    if not 0 <= region <= space[index]:
        raise wrong_value("region", f"an index from 0 to {space[index]}", region)
    beyond = psi.narrow(axis, region, space[index] - region)
    return beyond.abs().square().sum(grid.axes) * grid.cell


def autocorrelation(psi: Tensor, frames: Tensor, *, spacing: Any) -> Tensor:
    """C = <psi|psi_t> at the times 0, dt, 2 dt, ...: the start itself, then every frame.

    Args:
        psi: the state at time 0, (*batch, *space), real or complex.
        frames: (count, *batch, *space), the states at dt, 2 dt, ..., as `propagate` returns them with
            save_every.
        spacing: distance of grid points, a number or one for each space axis.

    Returns:
        (count + 1, *batch), the first entry <psi|psi>; for `spectrum`.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value.
    """
    grid = make_grid(spacing)
    require_psi(psi, grid)
    require_psi(frames, grid, "frames")
    if frames.ndim != psi.ndim + 1 or frames.shape[1:] != psi.shape:
        raise wrong_value("frames", f"(count, *psi.shape) for psi of {shape(psi)}", shape(frames))
    if frames.dtype != psi.dtype:
        raise wrong_type("frames", f"the dtype of psi, {psi.dtype}", frames.dtype)
    return torch.cat([inner(psi, psi, grid)[None], inner(psi, frames, grid)])


def spectrum(
    correlation: Tensor, *, dt: float, hbar: float = 1.0, window: str = "hann", padding: int = 4
) -> Spectrum:
    r"""Energy spectrum of a state from its autocorrelation C(t) = sum_n |c_n|^2 exp(-i E_n t / hbar).

    .. math::
        I(E) = \frac{1}{\pi\hbar} \mathrm{Re} \int_0^T w(t) C(t) e^{iEt/\hbar} dt

    by a Fourier transform, with C(-t) = conj(C(t)): peaks of weight |c_n|^2 at the energies E_n. They are
    about 2 pi hbar / T wide, T = count dt, and those of energies beyond pi hbar / dt come back folded.

    Args:
        correlation: (count, *batch) complex, C at the times 0, dt, 2 dt, ..., as `autocorrelation` returns
            it.
        dt: time between two entries: save_every times the step.
        hbar: a number.
        window: w(t), "hann", cos^2(pi t / 2T), peaks without side lobes to speak of; "gaussian", exp(-8 t^2 /
            T^2), none at all but wider; or "none", the narrowest, with negative side lobes.
        padding: how many times more energies than entries, at least 1: a finer energy axis, not a finer
            resolution.

    Returns:
        Spectrum(energies (m,), intensity (m, *batch)), m = 2 count padding, energies in [-pi hbar / dt, pi
        hbar / dt). The sum of intensity times the distance of energies is C(0), for every window.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value.
    """
    require_tensor("correlation", correlation)
    if not correlation.is_complex():
        raise wrong_type("correlation", "a complex tensor", correlation.dtype)
    if correlation.ndim == 0 or correlation.shape[0] == 0:
        raise wrong_value("correlation", "(count, *batch) with count > 0", shape(correlation))
    require_positive("dt", dt)
    require_positive("hbar", hbar)
    require_choice("window", window, WINDOWS)
    require_count("padding", padding)
    if padding == 0:
        raise wrong_value("padding", "an int > 0", padding)
    count = correlation.shape[0]
    record = torch.arange(count, dtype=torch.float64, device=correlation.device) / count
    weight = {
        "hann": (record * (math.pi / 2)).cos().square(),
        "gaussian": (-0.5 * (record * GAUSSIAN_WIDTHS).square()).exp(),
        "none": torch.ones_like(record),
    }[window]
    weight[0] = 0.5  # of the two halves of the time axis each has half of t = 0
    m = 2 * count * padding
    weighted = correlation * weight.to(correlation.dtype.to_real()).reshape(
        -1, *(1,) * (correlation.ndim - 1)
    )
    if correlation.numel():
        sums = torch.fft.ifft(weighted, n=m, dim=0, norm="forward").real  # the sign of exp(+iEt), without 1/m
    else:
        sums = weighted.real.new_zeros(m, *correlation.shape[1:])
    intensity = sums * (dt / (math.pi * hbar))
    energies = torch.fft.fftfreq(m, dt / (2 * math.pi * hbar), dtype=torch.float64, device=correlation.device)
    return Spectrum(torch.fft.fftshift(energies), torch.fft.fftshift(intensity, dim=0))


def _axis_index(axis: Any, grid: Grid) -> int:
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise wrong_type("axis", "an int", type(axis).__name__)
    if not -grid.ndim <= axis <= -1:
        raise wrong_value("axis", f"a space axis counted from the end, {-grid.ndim} to -1", axis)
    return axis + grid.ndim
