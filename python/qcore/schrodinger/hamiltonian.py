r"""The Hamiltonian H = sum over axes of kappa_d L_r + V on a grid, and the modes that make its first part
diagonal.

L_r is the central difference of order r for -h^2 d^2/dx^2. With l = 2 - (shift right) - (shift left), whose
eigenvalues are 2 - 2 cos(theta),

    L_2 = l,    L_4 = l / (1 - l/12),    L_6 = l (1 - l/20) / (1 - 2 l/15).

Walls (dirichlet): n interior points, psi = 0 at the indices -1 and n, modes sin((j + 1) theta_k), theta_k = k
pi / (n + 1), k = 1..n. Periodic: n points, modes exp(i j theta_k), theta_k = 2 pi k / n.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .._ops._check import require_choice, require_tensor, shape, wrong_type, wrong_value
from ._grid import SPACE_ORDERS, Grid, make_grid, require_potential

FIELD_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
CLOSED = ("dirichlet", "periodic")


def hamiltonian(
    psi: Tensor,
    potential: Tensor,
    *,
    spacing: Any,
    mass: Any = 1.0,
    hbar: Any = 1.0,
    boundary: str | tuple[str, ...] = "dirichlet",
    space_order: int = 2,
) -> Tensor:
    r"""H psi = -(hbar^2 / 2m) psi'' + V psi with the differences of order 2, 4 or 6 that `propagate` uses.

    Args:
        psi: (*batch, n), (*batch, ny, nx) or (*batch, nz, ny, nx), real or complex, float32 or float64 parts.
        potential: V, energy; a real or complex tensor that broadcasts against the space axes, with or without
            batch.
        spacing: distance of grid points, a number (one space axis) or one for each axis.
        mass: a number or 0-dim tensor, or one for each axis.
        hbar: a number or 0-dim tensor.
        boundary: "dirichlet" (walls one spacing beyond the first and the last point) or "periodic", or one
            for each axis.
        space_order: 2 (three points), 4 or 6 (compact; applied exactly in the sine or Fourier modes).

    Returns:
        H psi, shaped like psi broadcast with potential, in the precision of psi; differentiable in all
        arguments.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value. A transparent boundary is
            refused: the Hamiltonian of an open system isn't local in time.

    Source: L_4, L_6 are the Numerov operator and the tridiagonal sixth-order one of Lele, J. Comput. Phys.
        103, 16 (1992).
    """
    grid = closed_grid(spacing, mass, hbar, boundary)
    psi, potential = require_fields(psi, potential, grid)
    return kinetic(psi, grid, space_order) + potential * psi


def kinetic_symbol(
    n: int,
    kappa: float | Tensor,
    boundary: str = "dirichlet",
    space_order: int = 2,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Eigenvalues kappa L_r(theta_k) of the kinetic energy of one axis.

    Args:
        n: number of points.
        kappa: hbar^2 / (2 m h^2), a number or a 0-dim tensor.
        boundary: "dirichlet" (k = 1..n) or "periodic" (k in the order of torch.fft.fftfreq).
        space_order: 2, 4 or 6.
        device: of the result.

    Returns:
        (n,) float64, energy.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value.
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise wrong_type("n", "an int > 0", type(n).__name__)
    if n <= 0:
        raise wrong_value("n", "an int > 0", n)
    require_choice("boundary", boundary, CLOSED)
    require_order(space_order)
    if boundary == "dirichlet":
        half_angle = torch.arange(1, n + 1, dtype=torch.float64, device=device) * (math.pi / (2 * (n + 1)))
    else:
        half_angle = torch.fft.fftfreq(n, dtype=torch.float64, device=device) * math.pi
    second = (2 * half_angle.sin()) ** 2
    if space_order == 4:
        second = second / (1 - second / 12)
    elif space_order == 6:
        second = second * (1 - second / 20) / (1 - second * (2 / 15))
    return kappa * second


# --- shared by the functions of this package ---


def closed_grid(spacing: Any, mass: Any, hbar: Any, boundary: str | tuple[str, ...]) -> Grid:
    """make_grid, without open boundaries."""
    grid = make_grid(spacing, mass, hbar, boundary)
    for name in grid.boundary:
        require_choice("boundary", name, CLOSED)
    return grid


def require_order(space_order: Any) -> None:
    """Refuse what is not an order of the differences."""
    if isinstance(space_order, bool) or space_order not in SPACE_ORDERS:
        raise wrong_value("space_order", "one of 2, 4, 6", repr(space_order))


def require_psi(psi: Any, grid: Grid, name: str = "psi") -> tuple[int, ...]:
    """Sizes of the space axes; refuses what is no field on the grid."""
    require_tensor(name, psi)
    if psi.dtype not in FIELD_DTYPES:
        raise wrong_type(name, "one of " + ", ".join(map(str, FIELD_DTYPES)), psi.dtype)
    space = grid.space_shape(psi, name)
    if 0 in space:
        raise wrong_value(name, "at least one grid point on every space axis", shape(psi))
    return space


def require_fields(psi: Tensor, potential: Any, grid: Grid) -> tuple[Tensor, Tensor]:
    """psi, and the potential in its precision; refuses what doesn't fit the grid or each other."""
    space = require_psi(psi, grid)
    require_on_grid("potential", potential, psi, space)
    require_potential(potential)
    real = psi.dtype.to_real()
    return psi, potential.to(real.to_complex() if potential.is_complex() else real)


def require_on_grid(
    name: str, value: Any, psi: Tensor, space: tuple[int, ...], more_batch: bool = True
) -> None:
    """Refuse what is not a tensor that broadcasts with psi and leaves its space axes, or its whole shape."""
    require_tensor(name, value)
    # in plain Python, as it runs for every call of V(t)
    pairs = list(zip(reversed(value.shape), reversed(psi.shape), strict=False))
    kept = len(space) if more_batch else psi.ndim
    fits = all(theirs in (1, ours) for theirs, ours in pairs[:kept])
    fits = fits and all(theirs == ours or 1 in (theirs, ours) for theirs, ours in pairs[kept:])
    if not fits or (not more_batch and value.ndim > psi.ndim):
        expected = f"a shape that broadcasts against the grid {space} of psi, {shape(psi)}"
        raise wrong_value(name, expected, shape(value))


def kinetic(psi: Tensor, grid: Grid, space_order: int) -> Tensor:
    """Kinetic energy operator on psi: differences for order 2, in the modes for order 4 and 6."""
    require_order(space_order)
    if space_order != 2 and psi.numel():  # empty arrays have no transform
        energies = kinetic_energies(grid, grid.space_shape(psi), space_order, psi.device)
        modes = to_modes(psi, grid)
        return from_modes(energies.to(modes.dtype.to_real()) * modes, grid, psi.is_complex())
    total = torch.zeros_like(psi)
    for index, axis in enumerate(grid.axes):
        left, right = neighbours(psi, axis, grid.boundary[index])
        total = total + grid.kappa(index) * (2 * psi - left - right)
    return total


def kinetic_energies(grid: Grid, space: tuple[int, ...], space_order: int, device: torch.device) -> Tensor:
    """Kinetic energy (*space) of every mode, float64."""
    total = torch.zeros((), dtype=torch.float64, device=device)
    for index, n in enumerate(space):
        symbol = kinetic_symbol(n, grid.kappa(index), grid.boundary[index], space_order, device=device)
        total = total + symbol.reshape(-1, *(1,) * (len(space) - 1 - index))
    return total


def neighbours(psi: Tensor, axis: int, boundary: str) -> tuple[Tensor, Tensor]:
    """psi at the point before and at the point after along an axis."""
    if boundary == "periodic":
        return psi.roll(1, axis), psi.roll(-1, axis)
    n = psi.shape[axis]
    wall = torch.zeros_like(psi.narrow(axis, 0, 1))
    before = torch.cat([wall, psi.narrow(axis, 0, n - 1)], axis)
    return before, torch.cat([psi.narrow(axis, 1, n - 1), wall], axis)


def to_modes(psi: Tensor, grid: Grid) -> Tensor:
    """Amplitudes of psi in the orthonormal sine modes (walls) or Fourier modes (periodic) of every axis."""
    for axis, name in zip(grid.axes, grid.boundary, strict=True):
        psi = torch.fft.fft(psi, dim=axis, norm="ortho") if name == "periodic" else _sine(psi, axis)
    return psi


def from_modes(amplitudes: Tensor, grid: Grid, is_complex: bool) -> Tensor:
    """Inverse of to_modes; real where psi was real."""
    for axis, name in zip(grid.axes, grid.boundary, strict=True):
        periodic = name == "periodic"
        amplitudes = (
            torch.fft.ifft(amplitudes, dim=axis, norm="ortho") if periodic else _sine(amplitudes, axis)
        )
    return amplitudes.real if amplitudes.is_complex() and not is_complex else amplitudes


def odd_extension(psi: Tensor, axis: int) -> Tensor:
    """One period 2(n + 1) of psi reflected with its sign changed at the walls."""
    wall = torch.zeros_like(psi.narrow(axis, 0, 1))
    return torch.cat([wall, psi, wall, -psi.flip(axis)], axis)


def _sine(psi: Tensor, axis: int) -> Tensor:
    # sqrt(2 / (n + 1)) sum_j psi_j sin(pi (j + 1) k / (n + 1)), its own inverse: the spectrum of the odd
    # extension is -2i times the sum.
    n = psi.shape[axis]
    scale = 1 / math.sqrt(2 * (n + 1))
    extended = odd_extension(psi, axis)
    if psi.is_complex():
        amplitudes: Tensor = torch.fft.fft(extended, dim=axis).narrow(axis, 1, n) * (1j * scale)
    else:
        amplitudes = torch.fft.rfft(extended, dim=axis).narrow(axis, 1, n).imag * -scale
    return amplitudes
