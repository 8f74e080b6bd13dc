"""Motion of wave functions on a grid by fused implicit steps: real and imaginary time, 1 to 3 space axes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Literal, overload

import torch
from torch import Tensor

from .._ops._check import (
    one_of,
    require_choice,
    require_tensor,
    shape,
    wrong_type,
    wrong_value,
)
from . import _line
from ._grid import SPACE_ORDERS, Grid, Number, make_grid, number_of, require_times, values_known
from ._motion import Potential, PotentialLike, Run, make_potential
from .pade import TIME_ORDERS

ARITHMETICS = ("auto", "fast")


@overload
def propagate(  # type: ignore[overload-overlap]
    psi: Tensor,
    potential: PotentialLike,
    *,
    dt: Number,
    steps: int,
    spacing: float | tuple[float, ...],
    mass: Number | tuple[Number, ...] = ...,
    hbar: Number = ...,
    boundary: str | tuple[str, ...] = ...,
    imaginary: bool = ...,
    time_order: int = ...,
    space_order: int = ...,
    absorber: tuple[float, float, float] | None = ...,
    save_every: Literal[0] = ...,
    arithmetic: str = ...,
) -> Tensor: ...
@overload
def propagate(
    psi: Tensor,
    potential: PotentialLike,
    *,
    dt: Number,
    steps: int,
    spacing: float | tuple[float, ...],
    mass: Number | tuple[Number, ...] = ...,
    hbar: Number = ...,
    boundary: str | tuple[str, ...] = ...,
    imaginary: bool = ...,
    time_order: int = ...,
    space_order: int = ...,
    absorber: tuple[float, float, float] | None = ...,
    save_every: int,
    arithmetic: str = ...,
) -> tuple[Tensor, Tensor]: ...
def propagate(
    psi: Tensor,
    potential: PotentialLike,
    *,
    dt: Number,
    steps: int,
    spacing: float | tuple[float, ...],
    mass: Number | tuple[Number, ...] = 1.0,
    hbar: Number = 1.0,
    boundary: str | tuple[str, ...] = "dirichlet",
    imaginary: bool = False,
    time_order: int = 2,
    space_order: int = 2,
    absorber: tuple[float, float, float] | None = None,
    save_every: int = 0,
    arithmetic: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Move wave functions by `steps` time steps of i hbar d psi / dt = (-(hbar^2 / 2m) d^2/dx^2 + V) psi.

    One axis: a step is the diagonal Pade approximant of exp(-i dt H / hbar) of order `time_order`, for order
    2 the Crank-Nicolson scheme (1 + i dt H / 2 hbar) psi' = (1 - i dt H / 2 hbar) psi. It is unitary and
    reversible, keeps <H> to rounding, and gives an eigenstate of energy E the phase -2 arctan(dt E / 2 hbar).
    Two and three axes: half a step of the potential, the kinetic Pade factors of the axes, which commute, and
    the other half (Strang); for time_order 4 five such steps (Suzuki).

    Args:
        psi: (*batch, n), (*batch, ny, nx) or (*batch, nz, ny, nx), complex64 or complex128; in imaginary time
            also real. As many space axes as entries in `spacing`. Walls: n counts the interior points, psi is
            0 one spacing beyond the first and the last. Periodic: n counts all points.
        potential: V, energy. A tensor that broadcasts against psi, the same in all steps; a tensor with one
            axis more than psi, (steps, *batch or ones, *space): one entry per step, taken at its middle; or a
            function of time that returns one of the former kind, called with t from 0. An imaginary part <= 0
            absorbs.
        dt: time step; negative runs backwards. May be a 0-dim tensor, as mass and hbar may.
        steps: number of steps >= 0.
        spacing: distance of grid points, a number (one axis) or one for each axis.
        mass: a number, or one for each axis.
        hbar: a number > 0.
        boundary: "dirichlet" (walls), "periodic", or "transparent" (one axis, both orders 2: what reaches the
            ends leaves, exactly as on an endless grid with the potential's end values), or one for each axis.
        imaginary: step exp(-dt H / hbar) and normalise, which leaves the ground state of psi's symmetry.
            Crank-Nicolson where dt (max E - min V) <= 2 hbar; beyond, where it would let the highest states
            win, and always under torch.func, the damped approximant [0/time_order], which reduces a higher
            energy more whatever dt.
        time_order: 2, 4, 6 or 8; 2 or 4 on several axes and for potentials that depend on time (4: a
            function, by the commutator-free Magnus integrator of two exponentials).
        space_order: 2 (three points), 4 or 6 (compact).
        absorber: (strength, width, power): subtracts i strength (depth / width)^power from V within `width`
            of walls.
        save_every: also return the states after every so many steps (on several axes that may change the last
            bits of the others).
        arithmetic: "auto": in float64, also for complex64 psi (1e5 steps leave about 1e-5 there); "fast": in
            the precision of psi (about 2e-8 a step).

    Returns:
        psi after the last step, or (psi, frames) with frames (steps // save_every, *psi.shape). In imaginary
        time all are normalised, sum |psi|^2 prod(spacing) = 1. Differentiable in psi, potential, dt, mass and
        hbar; the memory that takes doesn't depend on `steps` in real time without absorption, where states
        are found by running back.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value, such as dt = 0, a potential that
            isn't finite or amplifies, an absorber too strong for dt, a psi of zero norm in imaginary time. On
            a GPU values of potentials are not looked at, since that would wait for the device.

    Source: Crank, Nicolson, Proc. Camb. Phil. Soc. 43 (1947) 50; Goldberg, Schey, Schwartz, Am. J. Phys. 35
    (1967) 177; higher orders: van Dijk, Toyama, Phys. Rev. E 75 (2007) 036707; transparent: Arnold, Ehrhardt,
    Sofronov, Commun. Math. Sci. 1 (2003) 501; Magnus: Blanes, Casas, Phys. Rep. 470 (2009) 151, sec. 5;
    several axes: Strang, SIAM J. Numer. Anal. 5 (1968) 506, and Suzuki, Phys. Lett. A 146 (1990) 319.
    """
    grid = make_grid(spacing, mass, hbar, boundary)
    _check_settings(psi, grid, dt, steps, imaginary, time_order, space_order, save_every, arithmetic)
    space = grid.space_shape(psi)
    if min(space) < 1:
        raise wrong_value("psi", "at least one grid point per space axis", shape(psi))
    made = make_potential(potential, psi, grid, absorber, steps, imaginary, time_order)
    if imaginary:
        _check_imaginary(psi, grid)
    narrow = psi.dtype in (torch.float32, torch.complex64)
    precision = "float32" if arithmetic == "fast" and narrow else "float64"
    run = Run(grid, dt, steps, time_order, space_order, save_every, precision)
    if steps == 0 and not imaginary:
        return (psi.clone(), psi.new_empty((0, *psi.shape))) if save_every else psi.clone()
    scheme: Callable[[Run, Tensor, Potential], tuple[Tensor, list[Tensor]]]
    if grid.ndim > 1:
        from . import _fields

        scheme = _fields.imaginary_time if imaginary else _fields.real_time
    elif grid.boundary[0] == "transparent":
        scheme = _line.open_ends
    else:
        scheme = _line.imaginary_time if imaginary else _line.real_time
    final, frames = scheme(run, psi.reshape(prod(psi.shape[: -grid.ndim]), *space), made)
    final = final.reshape(psi.shape)
    if not save_every:
        return final
    if not frames:
        return final, psi.new_empty((0, *psi.shape))
    return final, torch.cat(frames).reshape(steps // save_every, *psi.shape)


def _check_settings(
    psi: Any,
    grid: Grid,
    dt: Any,
    steps: Any,
    imaginary: Any,
    time_order: Any,
    space_order: Any,
    save_every: Any,
    arithmetic: Any,
) -> None:
    require_tensor("psi", psi)
    require_times(dt, steps, imaginary, save_every)
    dtypes = (torch.complex128, torch.complex64) + ((torch.float64, torch.float32) if imaginary else ())
    if psi.dtype not in dtypes:
        raise wrong_type("psi", f"{one_of(dtypes)} in {'imaginary' if imaginary else 'real'} time", psi.dtype)
    require_choice("arithmetic", arithmetic, ARITHMETICS)
    if not isinstance(space_order, int) or space_order not in SPACE_ORDERS:
        raise wrong_value("space_order", one_of(SPACE_ORDERS), space_order)
    if not isinstance(time_order, int) or time_order not in TIME_ORDERS:
        raise wrong_value("time_order", one_of(TIME_ORDERS), time_order)
    if grid.ndim > 1 and time_order > (2 if imaginary else 4):
        highest = "2 on several axes in imaginary time" if imaginary else "2 or 4 on several axes"
        raise wrong_value("time_order", highest, time_order)
    if "transparent" in grid.boundary:
        if grid.ndim > 1:
            raise wrong_value("boundary", "'dirichlet' or 'periodic' on several axes", "'transparent'")
        if imaginary or time_order != 2 or space_order != 2:
            raise wrong_value(
                "boundary",
                "another than 'transparent' in imaginary time and for orders other than 2",
                "'transparent'",
            )


def _check_imaginary(psi: Tensor, grid: Grid) -> None:
    if not values_known() or psi.numel() == 0:
        return
    for mass in grid.mass:
        if number_of(mass) < 0.0:
            raise wrong_value("mass", "a number > 0 in imaginary time", number_of(mass))
    total = (psi.abs() ** 2).sum(grid.axes)
    if not bool(((total > 0) & total.isfinite()).all()):
        raise wrong_value("psi", "states of a finite norm > 0 in imaginary time", "one without")
