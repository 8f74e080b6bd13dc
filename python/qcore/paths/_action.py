"""Actions of given paths: how a path's weight is computed, scheme by scheme, in one pass over its beads."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from qcore._ops import paths_action as ops
from qcore._ops import paths_action_composite as composite
from qcore._ops._check import require_bool, require_choice, require_tensor, shape, wrong_value
from qcore._ops.paths_action_check import BACKENDS, require_real
from qcore.paths._numbers import require_positive_number
from qcore.paths._potential import Polynomial, PotentialLike, Table, as_potential, evaluate

Number = float | Tensor

SCHEMES = tuple(composite.SCHEMES)
SIGNATURES = ("euclid", "lorentz")
BOUNDARIES = ("open", "pinned", "periodic")
_UNEVEN = ("trapezoid", "endpoint", "startpoint", "midpoint")


class ActionParts(NamedTuple):
    """The two parts of actions: S_E = kinetic + potential (euclid), S = kinetic - potential (lorentz).

    Attributes:
        kinetic: (...), float64, sum m (x_{n+1} - x_n)^2 / (2 dt).
        potential: (...), float64, what the scheme makes of dt sum V; complex128 for "midpoint-vanvleck" in
            real time.
    """

    kinetic: Tensor
    potential: Tensor


def action(
    x: Tensor,
    potential: PotentialLike,
    *,
    dt: Number,
    mass: Number = 1.0,
    hbar: Number = 1.0,
    scheme: str = "trapezoid",
    signature: str = "euclid",
    boundary: str = "open",
    components: bool = False,
    parts: bool = False,
    backend: str = "auto",
) -> Any:
    r"""The action of every path of a batch, in the short-time approximation of a scheme.

    .. math::
        S_E = \sum_n \frac{m}{2\,dt}(x_{n+1}-x_n)^2 + dt \sum V, \qquad
        S = \sum_n \frac{m}{2\,dt}(x_{n+1}-x_n)^2 - dt \sum V

    with the weights exp(-S_E / hbar) in imaginary time ("euclid") and exp(i S / hbar) in real time
    ("lorentz"). What the schemes make of dt sum V, and by which power of dt energies and partition functions
    computed from the weights err:

    ==================== ===== =========================================================================
    scheme               order dt sum V over N steps
    ==================== ===== =========================================================================
    "trapezoid"          2     dt sum (V(x_n) + V(x_{n+1})) / 2
    "endpoint"           1 (2) dt sum V(x_{n+1}); order 2 for energies and periodic paths, where it is the
                               trapezoid but for a similarity transformation
    "startpoint"         1 (2) dt sum V(x_n); as "endpoint"
    "midpoint"           1     dt sum V((x_n + x_{n+1}) / 2). The effective potential is
                               V - hbar dt V'' / (8 m): only for potentials with constant V'' is that a
                               mere shift of the energy
    "midpoint-vanvleck"  2     "midpoint" with the weight of each step times sqrt(1 - dt^2 V'' / (4 m)),
                               which adds -(hbar / 2) sum log(1 - dt^2 V''(mid) / (4 m)) to S_E. In real
                               time the factor sqrt(1 + dt^2 V'' / (4 m)) is no phase: the action is
                               complex, exp(i S / hbar) has it. NaN where the factor's square is negative
    "takahashi-imada"    4     the trapezoid of V + dt^2 V'^2 / (24 m) (real time: minus); order 4 for what
                               follows from the trace: energies and partition functions of periodic paths
    "chin4"              4     Chin's 4A, forward and of order 4 in every matrix element: steps of 2 dt with
                               V / 3 at their ends and 2/3 (V + dt^2 V'^2 / (12 m)) in the middle, so that
                               even beads carry 2/3 dt V, the ends 1/3 dt V, odd ones 4/3 dt (...); an even
                               number of steps
    ==================== ===== =========================================================================

    One pass reads x once, without temporaries; sums are accumulated in float64 whatever the type of x.
    Derivatives of every kind with respect to x, the potential's numbers, mass, hbar and dt; the gradient by x
    and by the potential's numbers is one more pass.

    Args:
        x: paths, float32 or float64. Every leading axis is batch: (..., N+1) beads of one coordinate, or with
            ``components=True`` (..., N+1, D) of D coordinates. Periodic paths are given by N beads, whose
            last step leads back to the first. For lattice fields see :func:`qcore.paths.phi4_action`.
        potential: V: coefficients c_0 ... c_K of a polynomial, (K+1,), or (B, K+1) one for each path of a
            batch of B; a :class:`Table`; or a function of torch that acts point by point. With components,
            coefficients and tables count for each coordinate, V(x) = sum_d V(x_d); a function gets
            (..., D) and returns (...).
        dt: the step of time, above 0; or (N,) steps of their own ("trapezoid", "endpoint", "startpoint" and
            "midpoint").
        mass: above 0.
        hbar: enters "midpoint-vanvleck" alone.
        scheme: see above.
        signature: "euclid" for S_E, "lorentz" for S.
        boundary: "open"; "pinned", the same numbers, but both ends are constants, by which derivatives are 0;
            "periodic".
        components: whether the last axis of x counts coordinates.
        parts: return the kinetic and the potential part.
        backend: "auto", or "reference" for the plain kernel.

    Returns:
        (...), float64: one action a path, complex128 for "midpoint-vanvleck" in real time. With
        ``parts=True`` an :class:`ActionParts`.

    Raises:
        ValueError: a shape, number or choice that isn't one of those above; "chin4" with an odd number of
            steps; "midpoint-vanvleck" with a table, whose V'' jumps, or with components.
        TypeError: x is not float32 or float64, or an argument has the wrong type.

    Sources: arXiv:2403.11420 (schemes of source 3.3, 5); Takahashi and Imada, J. Phys. Soc. Jpn. 53, 3765
    (1984); Chin, Phys. Lett. A 226, 344 (1997); Bogojevic, Balaz and Belic, Phys. Rev. Lett. 94, 180403
    (2005) for the order of the midpoint rule.
    """
    require_bool("components", components)
    require_bool("parts", parts)
    _require_paths(x, components, boundary)
    kind = _Kind(scheme, signature, boundary == "periodic", dt, mass, hbar, backend)
    beads = x.shape[-2 if components else -1]
    _require_steps(dt, beads - (boundary != "periodic"))
    v = as_potential(potential)
    lead = x.shape[: -2 if components else -1]
    if isinstance(v, Polynomial | Table) and not kind.composite:
        flat, width = x, 1
        if components:
            flat, width = x.transpose(-1, -2), x.shape[-1]
        if flat.ndim != 2:
            flat = flat.reshape(prod(lead) * width, beads)
        out = kind.fused(flat, v, width, parts, hold_ends=boundary == "pinned")
        if components:
            out = out.reshape(out.shape[0], prod(lead), width).sum(2)
    else:
        flat = x.reshape(prod(lead), *x.shape[len(lead) :])
        out = kind.of_function(composite.held(flat) if boundary == "pinned" else flat, v, parts)
    return kind.finish(out if len(lead) == 1 else out.reshape(out.shape[0], *lead), parts)


def action_from_velocity(
    velocity: Tensor,
    x_ini: Number,
    potential: PotentialLike,
    *,
    dt: Number,
    pinned_to: Number | None = None,
    mass: Number = 1.0,
    hbar: Number = 1.0,
    scheme: str = "trapezoid",
    signature: str = "euclid",
    boundary: str = "open",
    parts: bool = False,
    backend: str = "auto",
) -> Any:
    """The action of the paths of :func:`from_velocity`, which are made and used in the cache.

    The same as ``action(from_velocity(velocity, x_ini, dt=dt, pinned_to=pinned_to), potential, ...)``
    without memory for paths, in float64 from the velocities on, and with gradients to velocities and ends.

    Args:
        velocity: (..., N), or (..., N-1) with ``pinned_to``; float32 or float64.
        x_ini: the first bead: a number, or a tensor that broadcasts to (...).
        potential, mass, hbar, scheme, signature, parts, backend: as in :func:`action`.
        dt: the step of time.
        pinned_to: the last bead, which the last velocity is chosen for.
        boundary: "open", or "periodic": a last step leads from the last bead back to the first, so that N - 1
            velocities stand for N.

    Returns:
        (...), float64, or an :class:`ActionParts`.

    Raises:
        ValueError, TypeError: as :func:`action`; ``pinned_to`` with a periodic boundary.
    """
    return _of_parameters(
        "velocity",
        velocity,
        x_ini,
        potential,
        (scheme, signature, boundary, dt, mass, hbar, backend),
        pinned_to,
        parts,
    )


def action_from_acceleration(
    w: Tensor,
    x_ini: Number,
    potential: PotentialLike,
    *,
    dt: Number,
    pinned_to: Number | None = None,
    mass: Number = 1.0,
    hbar: Number = 1.0,
    scheme: str = "trapezoid",
    signature: str = "euclid",
    boundary: str = "open",
    parts: bool = False,
    backend: str = "auto",
) -> Any:
    """The action of the paths of :func:`from_acceleration`, which are made and used in the cache.

    Args:
        w: (..., N), or (..., N-1) with ``pinned_to``; float32 or float64.
        x_ini, potential, dt, pinned_to, mass, hbar, scheme, signature, boundary, parts, backend: as in
            :func:`action_from_velocity`.

    Returns:
        (...), float64, or an :class:`ActionParts`.

    Raises:
        ValueError, TypeError: as :func:`action_from_velocity`.
    """
    return _of_parameters(
        "acceleration",
        w,
        x_ini,
        potential,
        (scheme, signature, boundary, dt, mass, hbar, backend),
        pinned_to,
        parts,
    )


def _of_parameters(
    parameters: str,
    w: Tensor,
    x_ini: Number,
    potential: PotentialLike,
    settings: tuple[Any, ...],
    pinned_to: Number | None,
    parts: bool,
) -> Any:
    from qcore.paths._networks import ends_of, from_acceleration, from_velocity

    scheme, signature, boundary, dt, mass, hbar, backend = settings
    name = "velocity" if parameters == "velocity" else "w"
    require_real(name, w)
    if not w.ndim:
        raise wrong_value(name, "shape (..., N)", shape(w))
    require_bool("parts", parts)
    require_choice("boundary", boundary, ("open", "periodic"))
    if boundary == "periodic" and pinned_to is not None:
        raise wrong_value("pinned_to", "None for a periodic path", pinned_to)
    kind = _Kind(scheme, signature, boundary == "periodic", dt, mass, hbar, backend)
    v = as_potential(potential)
    if kind.composite or isinstance(dt, Tensor) or not isinstance(v, Polynomial | Table):
        make = from_velocity if parameters == "velocity" else from_acceleration
        x = make(w, x_ini, dt=dt, pinned_to=pinned_to)
        return action(
            x,
            cast("PotentialLike", v),
            dt=dt,
            mass=mass,
            hbar=hbar,
            scheme=scheme,
            signature=signature,
            boundary=boundary,
            parts=parts,
            backend=backend,
        )
    lead = w.shape[:-1]
    ini, fin = ends_of(w, lead, x_ini, pinned_to)
    flat = w.reshape(prod(lead), w.shape[-1])
    out = kind.fused(flat, v, 1, parts, parameters=parameters, x_ini=ini, x_fin=fin)
    return kind.finish(out.reshape(out.shape[0], *lead), parts)


class _Kind:
    """A scheme with its constants, checked: from sums over paths to actions."""

    def __init__(
        self,
        scheme: str,
        signature: str,
        periodic: bool,
        dt: Number,
        mass: Number,
        hbar: Number,
        backend: str,
    ) -> None:
        require_choice("scheme", scheme, SCHEMES)
        require_choice("signature", signature, SIGNATURES)
        require_choice("backend", backend, BACKENDS)
        require_positive_number("mass", mass)
        require_positive_number("hbar", hbar)
        require_positive_number("dt", dt, per_step=True)
        self.scheme, self.periodic, self.backend = scheme, periodic, backend
        self.dt, self.mass, self.hbar = dt, mass, hbar
        self.sign = 1.0 if signature == "euclid" else -1.0
        self.numbers = not any(isinstance(value, Tensor) for value in (dt, mass, hbar))
        self.van_vleck = scheme == "midpoint-vanvleck"
        self.complex = self.van_vleck and signature == "lorentz"
        self.uneven = isinstance(dt, Tensor) and dt.ndim == 1
        if self.uneven and scheme not in _UNEVEN:
            raise wrong_value("dt", f"one step for scheme {scheme!r}", "steps of their own")

    @property
    def composite(self) -> bool:
        """Whether the kernel cannot take these constants."""
        varies = isinstance(self.dt, Tensor) or isinstance(self.mass, Tensor)
        return self.uneven or (self.van_vleck and varies)

    @property
    def lam(self) -> Number:
        """dt^2 / (4 m), the sign of time's square included."""
        return self.sign * self.dt * self.dt / (4 * self.mass)

    def factors(self, parts: bool) -> Tensor:
        """What the kinetic sum, the potential sum and the correction count: rows of S, or of its parts.

        A complex action has its imaginary part in a row of its own.
        """
        dt, mass, sign = self.dt, self.mass, self.sign
        correction: Number = sign * dt * dt * dt / mass if self.scheme in composite.CORRECTED else 0.0
        imaginary: Number = 0.0
        if self.van_vleck:
            log: Number = -0.5 * self.hbar
            correction, imaginary = (0.0, log) if self.complex else (log, 0.0)
        kinetic = mass / dt
        rows: list[list[Number]]
        if parts:
            rows = [[kinetic, 0.0, 0.0], [0.0, dt, correction]]
            if self.complex:
                rows.append([0.0, 0.0, -imaginary])
        else:
            rows = [[kinetic, sign * dt, sign * correction]]
            if self.complex:
                rows.append([0.0, 0.0, imaginary])
        if self.numbers:
            return torch.tensor(rows, dtype=torch.float64)
        return torch.stack([torch.stack([_float64(value) for value in row]) for row in rows])

    def finish(self, out: Tensor, parts: bool) -> Any:
        """Rows of results (R, ...) as what the user gets."""
        first, *rest = out.unbind(0)
        if parts:
            return ActionParts(first, torch.complex(*rest) if self.complex else rest[0])
        return torch.complex(first, *rest) if self.complex else first

    def fused(
        self,
        flat: Tensor,
        potential: Polynomial | Table,
        width: int,
        parts: bool,
        *,
        parameters: str = "path",
        x_ini: Tensor | None = None,
        x_fin: Tensor | None = None,
        hold_ends: bool = False,
    ) -> Tensor:
        """By the kernel: (R, B) for paths or parameters (B, M), `width` rows for each path."""
        if isinstance(potential, Table):
            if self.van_vleck:
                raise wrong_value("scheme", "another one for a table, whose V'' jumps", repr(self.scheme))
            c, place = potential.cells(), (True, float(potential.start), float(potential.spacing))
        else:
            c, place = potential.coefficients, (False, 0.0, 1.0)
            if c.ndim == 2:
                if c.shape[0] * width != flat.shape[0]:
                    expected = f"({flat.shape[0] // width}, K+1) coefficients, a row for each path"
                    raise wrong_value("potential", expected, shape(c))
                c = c.repeat_interleave(width, 0) if width > 1 else c
        if width > 1 and self.van_vleck:
            raise wrong_value("scheme", "another one for paths of several components", repr(self.scheme))
        lam = cast("float", self.lam) if self.van_vleck else 0.0
        step = 0.0 if parameters == "path" else float(self.dt)
        settings = *place, self.scheme, self.periodic, lam, parameters, step, hold_ends, self.backend
        out: Tensor = ops.action.call(flat, x_ini, x_fin, c.to(flat.device), self.factors(parts), *settings)
        return out

    def of_function(self, x: Tensor, potential: Any, parts: bool) -> Tensor:
        """By torch where the potential is a function: (R, B) for paths (B, M) or (B, M, D)."""
        if self.van_vleck and x.ndim == 3:
            raise wrong_value("scheme", "another one for paths of several components", repr(self.scheme))
        if isinstance(potential, Polynomial | Table):
            x = x.double()
            if x.ndim == 3:
                potential = _Separable(potential)
        if self.uneven:
            return self._of_uneven(x, potential, parts)
        links = x.shape[1] - (not self.periodic)
        if self.scheme == "chin4" and links % 2:
            raise wrong_value("x", "an even number of steps for 'chin4'", links)
        checked = _values_of(potential)
        plain, correction = composite.potential_sums(x, checked, self.scheme, self.periodic, self.lam)
        sums = torch.stack((_kinetic_sum(x, self.periodic), plain.double(), correction.double()))
        return (self.factors(parts).to(sums.device).unsqueeze(-1) * sums).sum(1)

    def _of_uneven(self, x: Tensor, potential: Any, parts: bool) -> Tensor:
        dt = cast("Tensor", self.dt).to(x.device, torch.float64)
        here, there = composite.next_bead(x.double(), self.periodic)
        squares = (there - here).square()
        kinetic = self.mass * ((squares.sum(2) if x.ndim == 3 else squares) / (2 * dt)).sum(1)
        v = _values_of(potential)
        if self.scheme == "midpoint":
            on_steps = v((here + there) / 2)
        else:
            before, after = composite.next_bead(v(x.double()), self.periodic)
            ends = {"endpoint": after, "startpoint": before}
            on_steps = ends.get(self.scheme, (before + after) / 2)
        total = (dt * on_steps).sum(1)
        return torch.stack((kinetic, total)) if parts else (kinetic + self.sign * total).unsqueeze(0)


class _Separable(NamedTuple):
    """sum_d V(x_d) of points (..., D)."""

    potential: Polynomial | Table

    def __call__(self, y: Tensor) -> Tensor:
        return self.potential(y).sum(-1)


def _kinetic_sum(x: Tensor, periodic: bool) -> Tensor:
    """sum (x_{n+1} - x_n)^2 / 2, (B,), by the kernel."""
    rows = x.transpose(1, 2).reshape(-1, x.shape[1]) if x.ndim == 3 else x
    nothing = torch.zeros(1, dtype=torch.float64, device=x.device)
    factor = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    settings = False, 0.0, 1.0, "trapezoid", periodic, 0.0, "path", 0.0, False, "auto"
    out: Tensor = ops.action.call(rows, None, None, nothing, factor, *settings).squeeze(0)
    return out.reshape(x.shape[0], x.shape[2]).sum(1) if x.ndim == 3 else out


def _values_of(potential: Any) -> Any:
    """A user's function, its result checked."""
    return lambda y: evaluate(potential, y, expected=tuple(y.shape[:2]))


def _float64(value: Number) -> Tensor:
    if isinstance(value, Tensor):
        return value.double().cpu()  # the kernels read them on the host
    return torch.tensor(value, dtype=torch.float64)


def _require_paths(x: Any, components: bool, boundary: str) -> None:
    require_tensor("x", x)
    require_real("x", x)
    require_choice("boundary", boundary, BOUNDARIES)
    least = 2 if components else 1
    if x.ndim < least or x.shape[-least] < 1:
        expected = "(..., N+1, D)" if components else "(..., N+1)"
        raise wrong_value("x", f"shape {expected} with at least one bead", shape(x))


def _require_steps(dt: Number, links: int) -> None:
    if isinstance(dt, Tensor) and dt.ndim == 1 and dt.shape[0] != links:
        raise wrong_value("dt", f"a number or shape ({links},)", shape(dt))
