"""A neural ordinary differential equation whose right-hand side is a depthwise stencil."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from qcore import stencil
from qcore._ops import _check
from qcore._ops.stencil import checkpoint_interval
from qcore._ops.stencil_check import ACTIVATIONS, BOUNDARIES, MAX_KERNEL
from qcore._optional import optional_import
from qcore.nn.chains import ResidualChain

FIXED_STEP = ("euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams")
ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
METHODS = (*FIXED_STEP, *ADAPTIVE)
GRADIENTS = ("discrete", "checkpointed", "adjoint")


class StencilODE(nn.Module):
    r"""The flow of du/dt = act(K u + b) from u(0) = x to u(time), with a learnt depthwise stencil K.

    The activation stands **around the right-hand side**, not around the step as in the residual chains; the
    two are different dynamics, and which one a setting gives is:

    =====================  ==================================  ============================================
    setting                problem                             an Euler step, h = time / steps
    =====================  ==================================  ============================================
    activation="none"      du/dt = K u + b, linear             u + h (K u + b)
    another activation     du/dt = act(K u + b)                u + h act(K u + b)
    obstacle=True          0 <= u, du/dt >= K u + b, and       relu(u + h (K u + b)), projected Euler
                           one of the two with equality
    =====================  ==================================  ============================================

    With method="euler", the default, the first and the third run **fused**: all steps are one call of
    :func:`qcore.stencil.residual_chain`, with taps h K, bias h b and a skip of 1 (activation "none", "relu").
    u + h act(K u) is no residual step of that kind, since the identity stands outside the activation: there
    each step is one call (skip 0) and an addition. Every other method is torchdiffeq's, and calls the same
    operator for its right-hand side.

    The obstacle problem is what a chain of layers relu(u + f) solves. relu(u + h f) = u + h max(f, -u/h) for
    u >= 0 is no Euler step of du/dt = f, nor of du/dt = relu(f): where u > 0 it follows f, and where u = 0 it
    follows max(f, 0). Values of x below 0 are lifted to 0 by the first step.

    K is constant in time, or with ``pieces`` > 1 constant on each of so many equal parts of [0, time]. No
    step crosses from one part to the next; a method with memory or step control starts anew in each.

    **Gradients.** Three ways lead to the gradients in x, K, b and a learnt time:

    - "discrete", the default: differentiate the steps that were made; exact for them at any step. Memory
      grows with steps, except where the fused call recomputes (see :func:`qcore.stencil.residual_chain`).
    - "checkpointed": the same gradients, but only the states after every ceil(sqrt(steps))-th interval are
      kept and the steps between them are made again: O(sqrt(steps)) memory for one more forward pass. A
      method with memory or step control starts anew at each of these states. A fused call whose own
      checkpoints are as few already is left as it is.
    - "adjoint": torchdiffeq's ``odeint_adjoint`` solves da/dt = -(df/du)^T a from time to 0 with a(time) =
      dL/du(time), beside u itself backwards, and sums dL/dK = int_0^time (df/dK)^T a dt. Memory does not
      depend on steps. Only for h -> 0 do these gradients tend to those of the solver: at a method of
      order p they differ by O(h^p).

    **Warning: the adjoint rebuilds u backwards in time, and for a smoothing stencil that is ill-posed.** The
    state at ``time`` no longer holds what diffusion has taken out: for a^2/2 u_xx on the grid, rounding
    errors grow backwards by up to e^(2 a^2 time). From the float32 end of a smooth bump, the rebuilt start is
    off by 7e-5 of its norm at a^2 time = 5, by 1.3 at 10 and by 1.6e9 at 20, and nothing tells. Gradients
    follow: those of du/dt = tanh(K u) are off by 5 % at 10 and by half at 20. A linear flow holds out longer,
    since a shrinks backwards as the error grows: there dL/dK is good to 2e-6 at 10 and off by a factor of
    five at 20, and dL/dx, which needs no u, stays right. Use "discrete" or "checkpointed" unless the flow is
    benign in both directions.

    Args:
        steps: number of equal intervals of [0, time]. A fixed-step method makes one step in each, an adaptive
            one as many as its tolerances want. 0 is the identity.
        channels: channels C of the input.
        kernel_size: k, odd, 1 to 7.
        bias: learn b, (pieces, channels).
        time: the end of the integration, > 0; K is a rate, per unit of it.
        learn_time: make ``time`` a parameter. In a linear flow or with a homogeneous activation it only
            rescales K.
        pieces: number of stencils in time; divides steps.
        activation: around the right-hand side: "none", "relu", "leaky_relu" (with ``slope``), "tanh", "silu".
        slope: slope of leaky_relu below zero.
        obstacle: solve the obstacle problem u >= 0 instead. For "none" and "euler" only, and not with
            "adjoint": its right-hand side jumps where u meets 0.
        boundary: "zero", "periodic", "reflect" or "replicate".
        method: "euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams" with fixed
            steps, or "dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun" with step control. All but
            "euler" need the extra ``ode``.
        gradient: "discrete", "checkpointed" or "adjoint", which needs the extra ``ode``.
        rtol, atol: tolerances of the adaptive methods and of implicit_adams; others do not look at them.
        device, dtype: of the parameters.

    ``weight`` is (pieces, C, k, k) and starts uniform in (-1/k, 1/k) as ``torch.nn.Conv2d`` does, and so does
    ``bias``: our default.

    Shapes: (B, C, H, W) to (B, C, H, W).

    Raises:
        TypeError, ValueError: an argument of the wrong type or value; the message says what was expected and
            what came.
        MissingPackage: torchdiffeq is needed and not installed; an ImportError that names the extra.

    Source: eq. 41-44 of the residual-network paper. Its eq. 44 lacks dt and holds for K constant in time
    only; what the adjoint spares are the states between, not the parameters; and its relu after the sum (eq.
    25, 26) is the obstacle problem, not eq. 41.
    """

    bias: Tensor | None
    time: float | Tensor

    def __init__(
        self,
        steps: int,
        channels: int = 1,
        kernel_size: int = 3,
        bias: bool = False,
        *,
        time: float = 1.0,
        learn_time: bool = False,
        pieces: int = 1,
        activation: str = "none",
        slope: float = 0.01,
        obstacle: bool = False,
        boundary: str = "zero",
        method: str = "euler",
        gradient: str = "discrete",
        rtol: float = 1e-5,
        atol: float = 1e-6,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check.require_count("steps", steps)
        for name, count in (("channels", channels), ("kernel_size", kernel_size), ("pieces", pieces)):
            _check.require_count(name, count)
            if count == 0:
                raise _check.wrong_value(name, "at least 1", count)
        if kernel_size % 2 == 0 or kernel_size > MAX_KERNEL:
            raise _check.wrong_value("kernel_size", f"an odd number from 1 to {MAX_KERNEL}", kernel_size)
        if steps % pieces:
            raise _check.wrong_value("pieces", f"a divisor of steps, {steps}", pieces)
        for name, number in (("time", time), ("rtol", rtol), ("atol", atol)):
            _check.require_positive(name, number)
        _check.require_number("slope", slope)
        if not slope >= 0:
            raise _check.wrong_value("slope", "a number >= 0", slope)
        for name, choice, choices, with_obstacle in (
            ("activation", activation, ACTIVATIONS, ("none",)),
            ("boundary", boundary, BOUNDARIES, BOUNDARIES),
            ("method", method, METHODS, ("euler",)),
            ("gradient", gradient, GRADIENTS, ("discrete", "checkpointed")),
        ):
            _check.require_choice(name, choice, choices)
            if obstacle and choice not in with_obstacle:
                raise _check.wrong_value(
                    name, f"{_check.one_of(with_obstacle)} with obstacle=True", repr(choice)
                )
        self.steps = steps
        self.channels = channels
        self.kernel_size = kernel_size
        self.pieces = pieces
        self.activation = activation
        self.slope = float(slope)
        self.obstacle = bool(obstacle)
        self.boundary = boundary
        self.method = method
        self.gradient = gradient
        self.rtol = float(rtol)
        self.atol = float(atol)
        if self._by_torchdiffeq:
            self._torchdiffeq()  # better missed here than in the first batch
        shape = (pieces, channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.register_parameter(
            "bias", nn.Parameter(torch.empty(shape[:2], device=device, dtype=dtype)) if bias else None
        )
        if learn_time:
            self.time = nn.Parameter(torch.tensor(float(time), device=device, dtype=dtype))
        else:
            self.time = float(time)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew from torch's global generator, as ``torch.nn.Conv2d`` does."""
        bound = 1.0 / self.kernel_size
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
            if self.bias is not None:
                self.bias.uniform_(-bound, bound)

    @property
    def depth(self) -> int:
        """Number of Euler steps, each a layer of the residual network that a fused flow is: ``steps``."""
        return self.steps

    @property
    def fused(self) -> bool:
        """Whether all steps are one call of the operator."""
        return not self._by_torchdiffeq and self.activation == "none"

    @property
    def _by_torchdiffeq(self) -> bool:
        return self.method != "euler" or self.gradient == "adjoint"

    def as_chain(self) -> ResidualChain:
        """The residual chain whose layers are the steps of a fused flow, with a copy of the parameters.

        It has activation "relu" for the obstacle problem, else "none", and gives what :meth:`forward` gives.

        Raises:
            ValueError: the flow is not fused, and no residual chain.
        """
        if not self.fused:
            raise ValueError(f"as_chain: expected a flow that is fused, got {self}")
        taps, bias = self._euler_layers()
        chain = ResidualChain(
            self.steps,
            self.channels,
            self.kernel_size,
            bias is not None,
            activation=self._layer_activation,
            boundary=self.boundary,
            device=taps.device,
            dtype=taps.dtype,
        )
        with torch.no_grad():
            chain.weight.copy_(taps)
            if chain.bias is not None and bias is not None:
                chain.bias.copy_(bias)
        return chain

    @overload
    def forward(self, x: Tensor) -> Tensor: ...

    @overload
    def forward(self, x: Tensor, *, states_every: int) -> Tensor | tuple[Tensor, Tensor]: ...

    def forward(self, x: Tensor, *, states_every: int = 0) -> Tensor | tuple[Tensor, Tensor]:
        """Integrate from 0 to ``time``.

        Args:
            x: (B, channels, H, W), the state at 0.
            states_every: m > 0 also returns the states after intervals m, 2m, ... A method with memory or
                step control starts anew at each of them, and the adjoint takes u from them.

        Returns:
            The state at ``time``, (B, channels, H, W); with states_every = m the pair of it and the states,
            (steps // m, B, channels, H, W). 0 steps return a copy of x.

        Raises:
            ValueError: x is not 4-D, or has another number of channels; a learnt time is no longer above 0.
            TypeError: x is no tensor, or of another dtype than the parameters (fused, float32 parameters also
                take bfloat16 and float16).
            MissingPackage: torchdiffeq is needed and no longer installed.
        """
        _check.require_tensor("x", x)
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise _check.wrong_value("x", f"shape (B, {self.channels}, H, W)", _check.shape(x))
        _check.require_count("states_every", states_every)
        if isinstance(self.time, Tensor) and not self.time.is_meta:
            _check.require_positive("time", float(self.time.detach()))
        if self._one_call(x):
            found: Tensor | tuple[Tensor, Tensor] = self._layers(x, *self._euler_layers(), states_every)
            return found
        run: Callable[[Tensor, int, int], Tensor] = self._run
        if self.gradient == "checkpointed":
            run = partial(checkpoint, self._run, use_reentrant=False, preserve_rng_state=False)
        u, states = x, []
        for start, stop in self._runs(states_every):
            u = run(u, start, stop)
            if states_every and stop % states_every == 0:
                states.append(u)
        if not states_every:
            return u
        return u, torch.stack(states) if states else x.new_empty(0, *x.shape)

    def _one_call(self, x: Tensor) -> bool:
        """Whether all steps go into one call, which also checks and copies where there is nothing to do."""
        if self.steps == 0 or (self.fused and self.gradient == "discrete"):
            return True
        if not self.fused:
            return False
        kernel, size = (self.kernel_size, self.kernel_size), max(x.element_size(), 4)
        interval = checkpoint_interval(tuple(x.shape[2:]), kernel, self.steps, size) or self.steps
        return interval >= _interval(self.steps)

    def _runs(self, states_every: int) -> list[tuple[int, int]]:
        """[0, steps] cut where a state is wanted, and where one is kept."""
        periods = [states_every] if states_every else []
        if self.gradient == "checkpointed":
            periods.append(_interval(self.steps))
        cuts = {0, self.steps, *(cut for period in periods for cut in range(0, self.steps, period))}
        return list(pairwise(sorted(cuts)))

    def _run(self, u: Tensor, start: int, stop: int) -> Tensor:
        """From the state at grid point ``start`` to that at ``stop``."""
        if self.fused:
            taps, shift = self._euler_layers()
            part = slice(start, stop)
            u = self._layers(u, taps[part], None if shift is None else shift[part])
            return u
        each = self.steps // self.pieces
        for piece in range(start // each, -(-stop // each)):
            n = min(stop, (piece + 1) * each) - max(start, piece * each)
            kernel = self.weight[piece : piece + 1]
            bias = None if self.bias is None else self.bias[piece : piece + 1]
            if self._by_torchdiffeq:
                u = self._solve(u, kernel, bias, n)
            else:
                for _ in range(n):
                    u = u + (self.time / self.steps) * self._field(u, kernel, bias)
        return u

    def _field(self, u: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """The right-hand side act(K u + b)."""
        return stencil.residual_chain(
            u,
            kernel,
            skip=0.0,
            bias=bias,
            activation=self.activation,
            slope=self.slope,
            boundary=self.boundary,
        )

    def _euler_layers(self) -> tuple[Tensor, Tensor | None]:
        """Taps h K (steps, C, k, k) and bias h b (steps, C) of the fused steps."""
        if self.steps == 0:
            return self.weight[:0], None if self.bias is None else self.bias[:0]
        step, each = self.time / self.steps, self.steps // self.pieces
        taps = (step * self.weight).repeat_interleave(each, 0)
        return taps, None if self.bias is None else (step * self.bias).repeat_interleave(each, 0)

    @property
    def _layer_activation(self) -> str:
        return "relu" if self.obstacle else "none"

    def _layers(self, u: Tensor, taps: Tensor, bias: Tensor | None, states_every: int = 0) -> Any:
        """Fused steps: residual layers with these taps and biases."""
        return stencil.residual_chain(
            u,
            taps,
            bias=bias,
            activation=self._layer_activation,
            boundary=self.boundary,
            states_every=states_every,
        )

    def _solve(self, u: Tensor, kernel: Tensor, bias: Tensor | None, intervals: int) -> Tensor:
        """So many intervals under one stencil by torchdiffeq, which sees the first and the last point."""
        solvers = self._torchdiffeq()
        duration = self.time * (intervals / self.steps)
        ends = duration * torch.tensor([0.0, 1.0], dtype=torch.float64, device=u.device)
        options: dict[str, Any]
        if self.method in FIXED_STEP:
            # Not step_size: its rounding may add a step. Backwards in time the grid is the same.
            fractions = torch.arange(intervals + 1, dtype=torch.float64, device=u.device) / intervals
            options = {"grid_constructor": lambda f, y0, t: t[0] + (t[-1] - t[0]) * fractions}
        else:
            # Without it the last step passes the end, and u there is interpolated, to a lower order.
            options = {"step_t": ends.detach()}
        settings = {"rtol": self.rtol, "atol": self.atol, "method": self.method, "options": options}

        def field(t: Tensor, y: Tensor) -> Tensor:
            return self._field(y, kernel, bias)

        if self.gradient == "adjoint":
            parameters = (kernel,) if bias is None else (kernel, bias)
            found = solvers.odeint_adjoint(field, u, ends, adjoint_params=parameters, **settings)
        else:
            found = solvers.odeint(field, u, ends, **settings)
        end: Tensor = found[-1]
        return end

    def _torchdiffeq(self) -> Any:
        return optional_import(
            "torchdiffeq", f"method={self.method!r} with gradient={self.gradient!r}", "ode"
        )

    def extra_repr(self) -> str:
        """The settings that decide what is solved and how."""
        time = "learnt" if isinstance(self.time, Tensor) else self.time
        parts = [str(self.steps), f"channels={self.channels}", f"kernel_size={self.kernel_size}"]
        parts += [f"bias={self.bias is not None}", f"time={time}"]
        if self.pieces > 1:
            parts.append(f"pieces={self.pieces}")
        parts.append("obstacle=True" if self.obstacle else f"activation={self.activation!r}")
        if self.activation == "leaky_relu":
            parts.append(f"slope={self.slope}")
        parts += [f"boundary={self.boundary!r}", f"method={self.method!r}", f"gradient={self.gradient!r}"]
        if self.method in ADAPTIVE:
            parts.append(f"rtol={self.rtol:g}, atol={self.atol:g}")
        return ", ".join(parts)


def _interval(steps: int) -> int:
    """Steps between kept states, ceil(sqrt(steps)): no more are kept than are made again at a time."""
    return math.isqrt(max(steps - 1, 0)) + 1
