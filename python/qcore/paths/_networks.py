"""Paths as networks of one input, the time: from weights to beads and back, and the Jacobians."""

from __future__ import annotations

from math import log, prod

import torch
from torch import Tensor

from qcore._ops import paths_action as ops
from qcore._ops._check import (
    require_bool,
    require_choice,
    require_count,
    require_number,
    require_positive,
    shape,
    wrong_type,
    wrong_value,
)
from qcore._ops.paths_action_check import require_real
from qcore.paths._numbers import require_positive_number

Number = float | Tensor

KINDS = ("acceleration", "velocity", "cosine")


def from_velocity(
    velocity: Tensor, x_ini: Number, *, dt: Number, pinned_to: Number | None = None, components: bool = False
) -> Tensor:
    r"""Beads of a step network: x_n = x_ini + dt sum_{k<=n} W_k.

    The network is x(t) = x_ini + dt sum_n W_n theta(t - t_{n-1} - dt/2); W_n is the velocity between t_{n-1}
    and t_n. Sums are taken in float64, also of float32.

    Args:
        velocity: W_1 ... W_N, (..., N), float32 or float64; with ``components=True`` (..., N, D). With
            ``pinned_to``, W_1 ... W_{N-1}: the last one follows.
        x_ini: x_0: a number, or a tensor that broadcasts to (...), with components to (..., D).
        dt: the step of time.
        pinned_to: x_N, as x_ini.
        components: whether the last axis counts coordinates.

    Returns:
        (..., N+1) or (..., N+1, D), of the type of velocity.

    Raises:
        ValueError: a shape that isn't one of those, a dt that isn't above 0.
        TypeError: velocity is not float32 or float64, or an argument has the wrong type.

    Source: arXiv:2403.11420, 4.1-4.4, with the step at dt/2.
    """
    return _from_weights("velocity", velocity, x_ini, dt, pinned_to, components)


def from_acceleration(
    w: Tensor, x_ini: Number, *, dt: Number, pinned_to: Number | None = None, components: bool = False
) -> Tensor:
    r"""Beads of a ReLU network: x_n = x_ini + dt sum_{j<=n} (n - j + 1) w_j.

    The network is x(t) = x_ini + sum_n w_n ReLU(t - t_{n-1}); w_n is the jump of the velocity at t_{n-1}, the
    acceleration there times dt, and w_1 the initial velocity. Double sums are taken in float64, also of
    float32: in single precision their rounding would grow with N^2.

    Args:
        w: w_1 ... w_N, (..., N), float32 or float64; with ``components=True`` (..., N, D). With
            ``pinned_to``, w_1 ... w_{N-1}: the last one follows.
        x_ini, dt, pinned_to, components: as in :func:`from_velocity`.

    Returns:
        (..., N+1) or (..., N+1, D), of the type of w.

    Raises:
        ValueError, TypeError: as :func:`from_velocity`.

    Source: arXiv:2403.11420, 3.4-3.9.
    """
    return _from_weights("acceleration", w, x_ini, dt, pinned_to, components)


def to_velocity(x: Tensor, *, dt: Number, components: bool = False) -> Tensor:
    """The inverse of :func:`from_velocity`: W_n = (x_n - x_{n-1}) / dt.

    Args:
        x: (..., N+1), with components (..., N+1, D).
        dt: the step of time.
        components: whether the last axis counts coordinates.

    Returns:
        (..., N), or (..., N, D).

    Raises:
        ValueError, TypeError: x has no bead, or isn't float32 or float64; dt isn't above 0.
    """
    axis = _require_beads(x, components)
    require_positive_number("dt", dt)
    return x.diff(dim=axis) / dt


def to_acceleration(x: Tensor, *, dt: Number, components: bool = False) -> Tensor:
    """The inverse of :func:`from_acceleration`: w_1 = W_1, w_n = (x_n - 2 x_{n-1} + x_{n-2}) / dt.

    Args:
        x: (..., N+1), with components (..., N+1, D).
        dt: the step of time.
        components: whether the last axis counts coordinates.

    Returns:
        (..., N), or (..., N, D).

    Raises:
        ValueError, TypeError: as :func:`to_velocity`.
    """
    axis = _require_beads(x, components)
    velocity = to_velocity(x, dt=dt, components=components)
    return torch.cat((velocity.narrow(axis, 0, min(1, velocity.shape[axis])), velocity.diff(dim=axis)), axis)


def from_cosine(a: Tensor, *, points: int | None = None) -> Tensor:
    r"""Beads of a cosine network: x_j = sum_n a_n cos(pi n j / N), j = 0 ... N.

    The network is x(t) = sum_n a_n cos(n pi t / T) on [0, T], the basis of paths with free ends; at the beads
    t_j = j T / N it is a DCT-I, taken by FFT, and knows no T.

    Args:
        a: (..., M+1), float32 or float64, M <= N.
        points: N + 1, at least 2; as many as coefficients unless given.

    Returns:
        (..., N+1), of the type of a.

    Raises:
        ValueError: fewer points than coefficients, or fewer than 2.
        TypeError: a is not float32 or float64.

    Source: arXiv:2403.11420, 4.6.
    """
    require_real("a", a)
    if a.ndim < 1 or a.shape[-1] < 1:
        raise wrong_value("a", "shape (..., M+1)", shape(a))
    count = a.shape[-1] if points is None else points
    require_count("points", count)
    if count < max(2, a.shape[-1]):
        raise wrong_value("points", f"at least {max(2, a.shape[-1])}, and as many as coefficients", count)
    padded = torch.nn.functional.pad(a, (0, count - a.shape[-1]))
    return _cosines(padded, inside=0.5)


def to_cosine(x: Tensor) -> Tensor:
    """The inverse of :func:`from_cosine` for as many coefficients as beads.

    Args:
        x: (..., N+1), N >= 1, float32 or float64.

    Returns:
        a, (..., N+1), of the type of x.

    Raises:
        ValueError, TypeError: x has fewer than 2 beads, or isn't float32 or float64.
    """
    require_real("x", x)
    if x.ndim < 1 or x.shape[-1] < 2:
        raise wrong_value("x", "shape (..., N+1), N >= 1", shape(x))
    n = x.shape[-1] - 1
    half = x.new_full((n + 1,), 2.0 / n)
    half[0] = half[-1] = 1.0 / n
    # sum'' x_j cos(pi n j / N), the ends with half their weight.
    ends = x.new_ones(n + 1)
    ends[0] = ends[-1] = 0.5
    return half * _cosines(ends * x, inside=0.5)


def log_jacobian(
    kind: str, steps: int, *, dt: float | None = None, pinned: bool = False, components: int = 1
) -> float:
    """log |det dx / dw| of the map from a network's weights to beads, a constant.

    Densities follow by it: log p(w) = log p(x(w)) + log_jacobian. Velocities and their jumps: prod dx_n =
    dt^N prod dw_n over the N beads after the first, dt^(N-1) over the inner ones of a pinned path. Cosines:
    |det| = 4 (N/2)^((N+1)/2) for the N + 1 coefficients and beads of :func:`from_cosine`.

    Args:
        kind: "acceleration", "velocity" or "cosine".
        steps: N, at least 1.
        dt: the step of time; none for "cosine".
        pinned: whether the last weight is eliminated; not for "cosine".
        components: D, coordinates with weights of their own.

    Returns:
        The logarithm.

    Raises:
        ValueError: a number out of range, an unknown kind.
        TypeError: an argument has the wrong type.

    Source: arXiv:2403.11420, 3.9, 3.16; theory section 8 for the DCT-I.
    """
    require_choice("kind", kind, KINDS)
    require_bool("pinned", pinned)
    for name, count in (("steps", steps), ("components", components)):
        require_count(name, count)
        if count == 0:
            raise wrong_value(name, "at least 1", count)
    if kind == "cosine":
        if pinned:
            raise wrong_value("pinned", "False for 'cosine', whose ends are free", pinned)
        return components * (log(4.0) + 0.5 * (steps + 1) * log(0.5 * steps))
    if dt is None:
        raise wrong_type("dt", "a real number", "None")
    require_positive("dt", dt)
    return components * (steps - pinned) * log(dt)


def _cosines(a: Tensor, inside: float) -> Tensor:
    """a_0 + 2 inside sum a_n cos(pi n j / N) + a_N (-1)^j, the real part of an FFT of 2 N numbers."""
    n = a.shape[-1] - 1
    if not a.numel():
        return a  # FFT libraries refuse empty batches
    weights = a.new_full((n + 1,), inside)
    weights[0] = weights[-1] = 1.0
    spectrum = torch.complex(a * weights, torch.zeros_like(a))
    x: Tensor = torch.fft.irfft(spectrum, n=2 * n, norm="forward")
    return x[..., : n + 1]


def _from_weights(
    parameters: str, w: Tensor, x_ini: Number, dt: Number, pinned_to: Number | None, components: bool
) -> Tensor:
    name = "velocity" if parameters == "velocity" else "w"
    require_real(name, w)
    require_positive_number("dt", dt)
    if w.ndim < (2 if components else 1):
        raise wrong_value(name, f"shape {'(..., N, D)' if components else '(..., N)'}", shape(w))
    rows = w.transpose(-1, -2) if components else w
    lead = rows.shape[:-1]
    ini, fin = ends_of(w, lead, x_ini, pinned_to)
    flat = rows.reshape(prod(lead), rows.shape[-1])
    if isinstance(dt, Tensor):
        # The ends don't count in a sum from zero; what dt multiplies is linear in the weights.
        way = ops.integrate.call(flat, torch.zeros_like(ini), None, parameters, 1.0)
        x = ini.unsqueeze(1) + dt.to(way.dtype) * way
        if fin is not None:
            x = torch.cat((x, fin.unsqueeze(1)), 1)
    else:
        x = ops.integrate.call(flat, ini, fin, parameters, float(dt))
    beads: Tensor = x.reshape(*lead, x.shape[1])
    return beads.transpose(-1, -2) if components else beads


def ends_of(
    w: Tensor, lead: torch.Size, x_ini: Number, pinned_to: Number | None
) -> tuple[Tensor, Tensor | None]:
    """Both ends as (B,) tensors of the type of w; lead is the shape of the batch."""

    def end(name: str, value: Number) -> Tensor:
        if not isinstance(value, Tensor):
            require_number(name, value)
            return torch.full((prod(lead),), float(value), dtype=w.dtype, device=w.device)
        if value.is_complex():
            raise wrong_type(name, "a real number or tensor", value.dtype)
        try:
            return value.to(w.dtype).expand(lead).reshape(-1)
        except RuntimeError:
            raise wrong_value(name, f"what broadcasts to {tuple(lead)}", shape(value)) from None

    return end("x_ini", x_ini), None if pinned_to is None else end("pinned_to", pinned_to)


def _require_beads(x: Tensor, components: bool) -> int:
    require_real("x", x)
    least = 2 if components else 1
    if x.ndim < least or x.shape[-least] < 1:
        raise wrong_value("x", f"shape {'(..., N+1, D)' if components else '(..., N+1)'}", shape(x))
    return x.ndim - least
