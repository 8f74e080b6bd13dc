"""Networks of one input, the time, whose outputs are paths: with ReLU, step and cosine units.

Their weights are the path's velocity jumps, velocities and Fourier coefficients, so that training them by an
action's gradient is mechanics, and random weights are quantum paths.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from qcore import paths
from qcore._ops import _check
from qcore.paths._potential import PotentialLike


class _Path(nn.Module):
    """What the three share: `paths` paths of a particle of this mass on N steps of length dt from t_ini."""

    weight: Tensor

    def __init__(self, steps: int, dt: float, t_ini: float, count: int, mass: float, hbar: float) -> None:
        super().__init__()
        for name, number in (("steps", steps), ("paths", count)):
            _check.require_count(name, number)
            if number == 0:
                raise _check.wrong_value(name, "at least 1", number)
        _require_finite("t_ini", t_ini)
        for name, value in (("dt", dt), ("mass", mass), ("hbar", hbar)):
            _check.require_positive(name, value)
        self.steps, self.dt, self.t_ini = steps, float(dt), float(t_ini)
        self.paths, self.mass, self.hbar = count, float(mass), float(hbar)

    def beads(self) -> Tensor:
        """x at t_ini + n dt, n = 0 ... steps: (paths, steps + 1)."""
        raise NotImplementedError

    def as_network(self) -> nn.Sequential:
        """An ordinary network with these weights: (Q, 1) times to (Q, paths). Its parameters are copies."""
        raise NotImplementedError

    def _times(self, t: Any) -> Tensor:
        _check.require_tensor("t", t)
        if t.ndim != 1 or not t.is_floating_point():
            raise _check.wrong_value("t", "times of shape (Q,)", _check.shape(t))
        times: Tensor = t
        return times

    def extra_repr(self) -> str:
        return f"steps={self.steps}, dt={self.dt}, paths={self.paths}, mass={self.mass}, hbar={self.hbar}"


class _FromStart(_Path):
    """Paths by weights (paths, steps) from first beads x_ini (paths,)."""

    x_ini: Tensor

    def __init__(
        self,
        steps: int,
        *,
        dt: float,
        x_ini: float | Tensor = 0.0,
        t_ini: float = 0.0,
        paths: int = 1,
        mass: float = 1.0,
        hbar: float = 1.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(steps, dt, t_ini, paths, mass, hbar)
        _require_type(dtype)
        self.weight = nn.Parameter(torch.empty(paths, steps, device=device, dtype=dtype))
        if not isinstance(x_ini, Tensor):
            _require_finite("x_ini", x_ini)
        start = torch.as_tensor(x_ini, device=device, dtype=self.weight.dtype)
        if start.ndim > 1 or start.numel() not in (1, paths):
            raise _check.wrong_value("x_ini", f"a number or shape ({paths},)", _check.shape(start))
        self.register_buffer("x_ini", start.expand(paths).clone())
        self.reset_parameters()

    def velocities(self, generator: torch.Generator | None) -> Tensor:
        """Independent normal velocities of variance hbar / (m dt): a free particle's quantum path."""
        drawn = torch.randn(
            self.weight.shape, generator=generator, dtype=self.weight.dtype, device=self.weight.device
        )
        return drawn * math.sqrt(self.hbar / (self.mass * self.dt))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew."""
        raise NotImplementedError


class ReluPath(_FromStart):
    r"""Paths as one-hidden-layer ReLU networks, x(t) = x_ini + sum_n w_n ReLU(t - t_{n-1}).

    Piecewise straight, constant before t_ini, going on with its last velocity; w_n is the jump of the
    velocity at t_{n-1}. Random weights are quantum paths of the free particle from x_ini in imaginary time:
    the velocities between jumps are independent, of variance hbar / (m dt).

    Args:
        steps: N.
        dt: the step of time.
        x_ini: the first bead, a number or (paths,); no parameter.
        t_ini: the first time.
        paths: how many.
        mass, hbar: of the random weights, and of :meth:`action`.
        device, dtype: of the parameter.

    Attributes:
        weight: the parameter, (paths, steps).

    Shapes: times (Q,) to positions (paths, Q).

    Raises:
        TypeError, ValueError: an argument of the wrong type or value; the message says what was expected.

    Source: arXiv:2403.11420, section 3.
    """

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        with torch.no_grad():
            velocity = self.velocities(generator)
            self.weight.copy_(torch.cat((velocity[:, :1], velocity.diff(dim=1)), 1))

    def beads(self) -> Tensor:
        return paths.from_acceleration(self.weight, self.x_ini, dt=self.dt)

    def forward(self, t: Tensor) -> Tensor:
        """Positions at times t (Q,): (paths, Q), at a cost of steps + Q, not their product."""
        beads = self.beads()
        since = ((self._times(t).to(beads.dtype) - self.t_ini) / self.dt).clamp(min=0.0)
        knot = since.detach().nan_to_num(0.0).floor().clamp(max=self.steps - 1).long()  # NaN stays in since
        left, right = beads[:, knot], beads[:, knot + 1]
        return left + (right - left) * (since - knot)

    def action(self, potential: PotentialLike, **settings: Any) -> Any:
        """:func:`qcore.paths.action_from_acceleration` of the weights; dt, mass and hbar are the module's."""
        own: dict[str, Any] = {"dt": self.dt, "mass": self.mass, "hbar": self.hbar}
        return paths.action_from_acceleration(self.weight, self.x_ini, potential, **(own | settings))

    def as_network(self) -> nn.Sequential:
        knots = self.t_ini + self.dt * torch.arange(self.steps, dtype=torch.float64)
        return _network(nn.ReLU(), torch.ones(self.steps), -knots, self.weight, self.x_ini)


class StepPath(_FromStart):
    r"""Paths as step networks, x(t) = x_ini + dt sum_n W_n theta(t - t_{n-1} - dt / 2).

    Piecewise constant with jumps half-way between grid times; W_n is the velocity between t_{n-1} and t_n.
    Random weights are quantum paths of the free particle from x_ini in imaginary time: independent, of
    variance hbar / (m dt).

    Args:
        steps, dt, x_ini, t_ini, paths, mass, hbar, device, dtype: as for :class:`ReluPath`.

    Attributes:
        weight: the parameter, (paths, steps).

    Shapes: times (Q,) to positions (paths, Q).

    Raises:
        TypeError, ValueError: an argument of the wrong type or value; the message says what was expected.

    Source: arXiv:2403.11420, 4.1-4.4, with the step at dt / 2.
    """

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        with torch.no_grad():
            self.weight.copy_(self.velocities(generator))

    def beads(self) -> Tensor:
        return paths.from_velocity(self.weight, self.x_ini, dt=self.dt)

    def forward(self, t: Tensor) -> Tensor:
        """Positions at times t (Q,): (paths, Q)."""
        jumps = self.t_ini + self.dt * (torch.arange(self.steps, dtype=torch.float64) + 0.5)
        times = self._times(t).double()
        passed = torch.searchsorted(jumps.to(self.weight.device), times, right=True)
        return self.beads()[:, passed].masked_fill(times.isnan(), math.nan)

    def action(self, potential: PotentialLike, **settings: Any) -> Any:
        """:func:`qcore.paths.action_from_velocity` of the weights; dt, mass and hbar are the module's."""
        own: dict[str, Any] = {"dt": self.dt, "mass": self.mass, "hbar": self.hbar}
        return paths.action_from_velocity(self.weight, self.x_ini, potential, **(own | settings))

    def as_network(self) -> nn.Sequential:
        jumps = self.t_ini + self.dt * (torch.arange(self.steps, dtype=torch.float64) + 0.5)
        return _network(_Step(), torch.ones(self.steps), -jumps, self.dt * self.weight, self.x_ini)


class CosinePath(_Path):
    r"""Paths as cosine networks on [t_ini, t_ini + T], x(t) = sum_n a_n cos(n pi (t - t_ini) / T), T = N dt.

    The basis of paths with free ends, n = 0 ... N. Random coefficients are quantum paths in imaginary time:
    with a ``stiffness`` k those of the oscillator, a_n normal of variance 2 hbar / (T (m (n pi / T)^2 + k)),
    half of that for n = 0; without one those of the free particle from x_ini, a_n of variance
    2 hbar T / (m n^2 pi^2) and a_0 = x_ini - sum a_n. Modes beyond N are left out.

    Args:
        steps: N, at least 1; there are N + 1 coefficients.
        dt: the step of time between beads.
        x_ini: where random free paths begin.
        t_ini, paths, mass, hbar, device, dtype: as for :class:`ReluPath`.
        stiffness: k of the oscillator whose paths random ones are, or 0.

    Attributes:
        weight: the parameter, (paths, steps + 1).

    Shapes: times (Q,) to positions (paths, Q).

    Raises:
        TypeError, ValueError: an argument of the wrong type or value; the message says what was expected.

    Source: arXiv:2403.11420, 4.6-4.9; theory section 8 for the variances.
    """

    def __init__(
        self,
        steps: int,
        *,
        dt: float,
        x_ini: float = 0.0,
        t_ini: float = 0.0,
        paths: int = 1,
        mass: float = 1.0,
        hbar: float = 1.0,
        stiffness: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(steps, dt, t_ini, paths, mass, hbar)
        _require_type(dtype)
        _require_finite("x_ini", x_ini)
        _check.require_number("stiffness", stiffness)
        if not stiffness >= 0:
            raise _check.wrong_value("stiffness", "a number >= 0", stiffness)
        self.x_ini, self.stiffness = float(x_ini), float(stiffness)
        self.weight = nn.Parameter(torch.empty(paths, steps + 1, device=device, dtype=dtype))
        self.reset_parameters()

    def _frequencies(self) -> Tensor:
        n = torch.arange(self.steps + 1, dtype=torch.float64)
        return n * (math.pi / (self.steps * self.dt))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the coefficients anew."""
        with torch.no_grad():
            weight = self.weight
            drawn = torch.randn(weight.shape, generator=generator, dtype=weight.dtype, device=weight.device)
            curvature = self.mass * self._frequencies().square() + self.stiffness
            curvature[0] *= 2  # the constant mode counts double
            variance = 2 * self.hbar / (self.steps * self.dt * curvature)
            if not self.stiffness:
                variance[0] = 0.0
            weight.copy_(drawn * variance.sqrt().to(weight))
            if not self.stiffness:
                weight[:, 0] = self.x_ini - weight[:, 1:].sum(1)

    def beads(self) -> Tensor:
        return paths.from_cosine(self.weight)

    def forward(self, t: Tensor) -> Tensor:
        """Positions at times t (Q,): (paths, Q)."""
        since = self._times(t).double() - self.t_ini
        features = torch.cos(self._frequencies().to(since.device)[:, None] * since)
        return self.weight @ features.to(self.weight.dtype)

    def action(self, potential: PotentialLike, **settings: Any) -> Any:
        """:func:`qcore.paths.action` of the beads, with this module's dt, mass and hbar."""
        own: dict[str, Any] = {"dt": self.dt, "mass": self.mass, "hbar": self.hbar}
        return paths.action(self.beads(), potential, **(own | settings))

    def as_network(self) -> nn.Sequential:
        frequencies = self._frequencies()
        return _network(
            _Cosine(), frequencies, -self.t_ini * frequencies, self.weight, torch.zeros(self.paths)
        )


def _require_finite(name: str, value: Any) -> None:
    _check.require_number(name, value)
    if not math.isfinite(value):
        raise _check.wrong_value(name, "a finite number", value)


def _require_type(dtype: Any) -> None:
    if dtype not in (None, torch.float32, torch.float64):
        raise _check.wrong_type("dtype", "torch.float32, torch.float64 or None", dtype)


class _Step(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x >= 0).to(x.dtype)


class _Cosine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cos()


def _network(unit: nn.Module, inner: Tensor, shift: Tensor, outer: Tensor, bias: Tensor) -> nn.Sequential:
    """Linear(1, N), the unit, Linear(N, paths), with copies of the weights."""
    count, width = outer.shape
    like: dict[str, Any] = {"device": outer.device, "dtype": outer.dtype}
    first, last = nn.Linear(1, width, **like), nn.Linear(width, count, **like)
    with torch.no_grad():
        first.weight.copy_(inner[:, None])
        first.bias.copy_(shift)
        last.weight.copy_(outer)
        last.bias.copy_(bias)
    return nn.Sequential(first, unit, last)
