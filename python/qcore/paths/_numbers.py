"""Real numbers or tensors as arguments of closed forms: checked, in float64, with the type to give back."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensor

from qcore._ops._check import require_number, require_positive, shape, wrong_type, wrong_value

Real = float | Tensor

SIGNATURES = ("euclid", "lorentz")


def real(name: str, value: Any) -> Tensor:
    """A real number or tensor as a tensor of float64, on its own device and with its gradient.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(value, Tensor):
        require_number(name, value)
        return torch.tensor(float(value), dtype=torch.float64)
    if not value.is_floating_point():
        raise wrong_type(name, "a real number or a real floating-point tensor", value.dtype)
    return value.double()


def positive(name: str, value: Any) -> Tensor:
    """As `real`, of finite numbers above 0 only.

    Raises:
        TypeError, ValueError: it is not.
    """
    number = real(name, value)
    if values_known():
        good = (number > 0) & number.isfinite()
        if not bool(good.all()):
            bad = number[~good].detach().flatten()
            raise wrong_value(name, "finite numbers > 0", float(bad[0]))
    return number


def type_of(*values: Any) -> torch.dtype:
    """The type of results: float32 where the tensors among the coordinates are, else float64."""
    types = {value.dtype for value in values if isinstance(value, Tensor)}
    return torch.float32 if types and torch.float64 not in types else torch.float64


def require_positive_number(name: str, value: Any, *, per_step: bool = False) -> None:
    """Refuse what is not a finite number > 0, Python's or a 0-dim tensor, or with `per_step` a row of them.

    Raises:
        TypeError, ValueError: it is not.
    """
    if not isinstance(value, Tensor):
        require_positive(name, value)
        return
    if value.is_complex() or value.ndim > per_step:
        raise wrong_value(name, "a real number" + (" or shape (N,)" if per_step else ""), shape(value))
    if values_known(value):
        good = (value > 0) & (value < math.inf)
        if not bool(good.all()):
            raise wrong_value(name, "finite numbers > 0", float(value[~good].flatten()[0]))


def values_known(*tensors: Tensor | None) -> bool:
    """Whether tensors hold numbers to look at: not while a graph is traced or a function transformed.

    Nor on a GPU, where looking would make the host wait for all that the device has still to do.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    given = [tensor for tensor in tensors if tensor is not None]
    return all(t.is_cpu and not isinstance(t, FakeTensor) for t in given)


def from_polar(size: Tensor, phase: Tensor) -> Tensor:
    """size exp(i phase), shapes broadcast."""
    return torch.complex(size * phase.cos(), size * phase.sin())
