"""A uniform grid of 1 to 3 space axes with the constants of the Hamiltonian on it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from .._ops._check import (
    require_choice,
    require_count,
    require_number,
    require_positive,
    shape,
    wrong_type,
    wrong_value,
)

BOUNDARIES = ("dirichlet", "periodic", "transparent")
SPACE_ORDERS = (2, 4, 6)

Number = float | Tensor


@dataclass(frozen=True)
class Grid:
    """One entry per space axis, in the order of the axes of psi."""

    spacing: tuple[float, ...]
    mass: tuple[Number, ...]
    hbar: Number
    boundary: tuple[str, ...]

    @property
    def ndim(self) -> int:
        """Number of space axes."""
        return len(self.spacing)

    @property
    def cell(self) -> float:
        """Length, area or volume that a grid point stands for."""
        return prod(self.spacing)

    @property
    def axes(self) -> tuple[int, ...]:
        """The space axes of a field, counted from its end."""
        return tuple(range(-self.ndim, 0))

    def kappa(self, axis: int) -> Any:
        """hbar^2 / (2 m h^2) of an axis, the energy scale of the difference operator; number or tensor."""
        return self.hbar * self.hbar / (2.0 * self.mass[axis] * self.spacing[axis] ** 2)

    def space_shape(self, field: Tensor, name: str = "psi") -> tuple[int, ...]:
        """Sizes of the space axes of a field; refuses one with too few axes."""
        if field.ndim < self.ndim:
            raise wrong_value(name, f"at least {self.ndim} axes, one per entry of spacing", shape(field))
        return tuple(field.shape[-self.ndim :])


def make_grid(
    spacing: Any, mass: Any = 1.0, hbar: Any = 1.0, boundary: str | tuple[str, ...] = "dirichlet"
) -> Grid:
    """The grid that the arguments of a public function describe.

    Args:
        spacing: distance h of grid points, a number (one axis) or one for each of 1 to 3 axes.
        mass: a number or 0-dim tensor, or one for each axis.
        hbar: a number or 0-dim tensor.
        boundary: a name of BOUNDARIES, or one for each axis.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
    """
    steps = tuple(spacing) if isinstance(spacing, (tuple, list)) else (spacing,)
    if not 1 <= len(steps) <= 3:
        raise wrong_value("spacing", "1 to 3 numbers, one per space axis", f"{len(steps)}")
    for h in steps:
        require_positive("spacing", h)
    names = boundary if isinstance(boundary, (tuple, list)) else (boundary,) * len(steps)
    if len(names) != len(steps):
        raise wrong_value("boundary", f"a name, or {len(steps)} of them, one per space axis", f"{len(names)}")
    for name in names:
        require_choice("boundary", name, BOUNDARIES)
    masses = tuple(mass) if isinstance(mass, (tuple, list)) else (mass,) * len(steps)
    if len(masses) != len(steps):
        raise wrong_value("mass", f"a number, or {len(steps)} of them, one per space axis", f"{len(masses)}")
    for value in masses:
        require_nonzero("mass", value)
    require_nonzero("hbar", hbar)
    if values_known() and not number_of(hbar) > 0.0:
        raise wrong_value("hbar", "a number > 0", number_of(hbar))
    return Grid(tuple(float(h) for h in steps), masses, hbar, tuple(names))


def require_nonzero(name: str, value: Any) -> None:
    if isinstance(value, Tensor):
        if value.ndim != 0 or value.is_complex():
            raise wrong_value(
                name, "a real number or a real 0-dim tensor", f"{value.dtype} of {shape(value)}"
            )
    else:
        require_number(name, value)
    if values_known() and not 0.0 < abs(number_of(value)) < float("inf"):
        raise wrong_value(name, "a finite number other than 0", number_of(value))


def require_times(dt: Any, steps: Any, imaginary: Any, save_every: Any) -> None:
    """Refuse a dt that is 0 (in imaginary time < 0), and counts that are none."""
    if not isinstance(imaginary, bool):
        raise wrong_type("imaginary", "a bool", type(imaginary).__name__)
    require_nonzero("dt", dt)
    if imaginary and values_known() and not number_of(dt) > 0:
        raise wrong_value("dt", "a number > 0 in imaginary time", number_of(dt))
    require_count("steps", steps)
    require_count("save_every", save_every)


def number_of(value: Number) -> float:
    """The number itself, also of a tensor that asks for gradients."""
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def values_known() -> bool:
    """Whether tensors hold numbers to look at: not under tracing, graph capture or a functorch transform."""
    traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    fake = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None
    cuda: Any = torch.cuda
    captured = cuda.is_initialized() and cuda.is_current_stream_capturing()
    return not (traced or fake or captured)


def readable(tensor: Tensor) -> bool:
    """Whether its values may be looked at: not on a GPU, where the host would wait for the device."""
    return tensor.is_cpu and values_known()


def require_potential(potential: Any, name: str = "potential") -> None:
    """Refuse what is not a tensor of finite numbers, and gain (a positive imaginary part)."""
    if not isinstance(potential, Tensor):
        raise wrong_type(name, "a torch.Tensor", type(potential).__name__)
    if not readable(potential):
        return
    if not potential.isfinite().all():
        raise wrong_value(name, "finite numbers", "infinite or NaN entries")
    if potential.is_complex() and (potential.imag > 0).any():
        raise wrong_value(name, "an imaginary part <= 0 (absorption)", "entries that amplify (gain)")
