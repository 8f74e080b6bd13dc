"""What the operators of actions, path networks and fields refuse, for real and fake calls alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._check import require_choice, require_number, require_tensor, shape, wrong_type, wrong_value
from .paths_action_composite import SCHEMES

BACKENDS = {"auto": 0, "reference": 1}
PARAMETERS = {"path": 0, "velocity": 1, "acceleration": 2}
MAX_COEFFICIENTS = 16

_REAL = (torch.float32, torch.float64)


def require_real(name: str, value: Any) -> None:
    """Refuse what is not a tensor of float32 or float64."""
    require_tensor(name, value)
    if value.dtype not in _REAL:
        raise wrong_type(name, "float32 or float64", value.dtype)


def _require(name: str, value: Tensor, expected: tuple[int, ...], dtype: torch.dtype) -> None:
    if value.dtype != dtype:
        raise wrong_type(name, str(dtype), value.dtype)
    if tuple(value.shape) != expected:
        raise wrong_value(name, f"shape {expected}", shape(value))


def _factors(factors: Tensor, sums: int) -> None:
    if factors.dtype != torch.float64:
        raise wrong_type("factors", "float64", factors.dtype)
    if factors.ndim != 2 or not 1 <= factors.shape[0] <= sums or factors.shape[1] != sums:
        raise wrong_value("factors", f"shape (R, {sums}), R from 1 to {sums}", shape(factors))


def check_action(
    x: Tensor,
    x_ini: Tensor | None,
    x_fin: Tensor | None,
    coefficients: Tensor,
    factors: Tensor,
    is_table: bool,
    start: float,
    spacing: float,
    scheme: str,
    periodic: bool,
    lam: float,
    parameters: str,
    dt: float,
    hold_ends: bool,
    backend: str,
) -> None:
    """Of paths_action."""
    require_real("x", x)
    if x.ndim != 2:
        raise wrong_value("x", "shape (B, M)", shape(x))
    batch, given = x.shape
    require_choice("scheme", scheme, SCHEMES)
    require_choice("parameters", parameters, PARAMETERS)
    require_choice("backend", backend, BACKENDS)
    if parameters == "path":
        if x_ini is not None or x_fin is not None:
            raise wrong_value("x_ini", "None for a path given by its beads", "a tensor")
    elif x_ini is None:
        raise wrong_type("x_ini", f"a tensor of shape ({batch},)", "None")
    if hold_ends and parameters != "path":
        raise wrong_value("hold_ends", "False for a path given by parameters", True)
    for name, end in (("x_ini", x_ini), ("x_fin", x_fin)):
        if end is not None:
            _require(name, end, (batch,), x.dtype)
    beads = given if parameters == "path" else given + 1 + (x_fin is not None)
    if beads < 1:
        raise wrong_value("x", "at least one bead", shape(x))
    links = beads - (not periodic)
    if scheme == "chin4" and links % 2:
        raise wrong_value("x", "an even number of steps for 'chin4'", links)
    if coefficients.dtype != torch.float64:
        raise wrong_type("coefficients", "float64", coefficients.dtype)
    if is_table:
        if coefficients.ndim != 2 or coefficients.shape[0] < 1 or coefficients.shape[1] != 4:
            raise wrong_value("coefficients", "cells of shape (n, 4), n >= 1", shape(coefficients))
        require_number("start", start)
        if not spacing > 0:
            raise wrong_value("spacing", "a number > 0", spacing)
        if scheme == "midpoint-vanvleck":
            raise wrong_value("scheme", "another one for a table, whose curvature jumps", repr(scheme))
    else:
        lead = tuple(coefficients.shape[:-1])
        if lead not in ((), (batch,)) or not coefficients.ndim or not 1 <= coefficients.shape[-1] <= 16:
            expected = f"shape (K,) or ({batch}, K), K from 1 to {MAX_COEFFICIENTS}"
            raise wrong_value("coefficients", expected, shape(coefficients))
    _factors(factors, 3)


def check_action_gradient(grad: Tensor, x: Tensor, *rest: Any) -> None:
    """Of paths_action_gradient."""
    *arguments, _ = rest
    check_action(x, *arguments)
    _require("grad", grad, (arguments[3].shape[0], x.shape[0]), torch.float64)


def check_integrate(w: Tensor, x_ini: Tensor, x_fin: Tensor | None, parameters: str, dt: float) -> None:
    """Of paths_integrate."""
    require_real("w", w)
    if w.ndim != 2:
        raise wrong_value("w", "shape (B, N)", shape(w))
    require_choice("parameters", parameters, ("velocity", "acceleration"))
    _require("x_ini", x_ini, (w.shape[0],), w.dtype)
    if x_fin is not None:
        _require("x_fin", x_fin, (w.shape[0],), w.dtype)


def check_integrate_adjoint(grad_x: Tensor, parameters: str, dt: float, pinned: bool) -> None:
    """Of paths_integrate_adjoint."""
    require_real("grad_x", grad_x)
    require_choice("parameters", parameters, ("velocity", "acceleration"))
    if grad_x.ndim != 2 or grad_x.shape[1] < 1 + pinned:
        raise wrong_value("grad_x", f"shape (B, M), M >= {1 + pinned}", shape(grad_x))


def check_field(phi: Tensor, factors: Tensor, midpoint: bool, periodic: bool, backend: str) -> None:
    """Of paths_phi4."""
    require_real("phi", phi)
    if phi.ndim != 3 or phi.shape[1] < 1 or phi.shape[2] < 1:
        raise wrong_value("phi", "shape (B, T, L) with at least one slice and one site", shape(phi))
    require_choice("backend", backend, BACKENDS)
    _factors(factors, 4)


def check_field_gradient(grad: Tensor, phi: Tensor, factors: Tensor, *settings: Any) -> None:
    """Of paths_phi4_gradient."""
    check_field(phi, factors, *settings)
    _require("grad", grad, (factors.shape[0], phi.shape[0]), torch.float64)
