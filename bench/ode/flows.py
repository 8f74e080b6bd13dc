"""The flows that are measured, and the same in torchdiffeq with conv2d for the right-hand side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, prod, sqrt

import torch
import torchdiffeq
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from qcore.nn import StencilODE

WAYS = ("discrete", "checkpointed", "adjoint")
Gradients = tuple[Tensor, ...]  # to the start x and to the stencil
Run = Callable[[], Gradients]


@dataclass(frozen=True)
class Flow:
    """du/dt = act(D Laplacian of u) on a torus, from noise; the loss is a product with noise."""

    name: str
    method: str
    activation: str
    steps: int
    diffusion_time: float = 2.0
    """a^2 T, of a^2/2 u_xx along each axis over the time T: in 2-D errors grow backwards by e^(4 a^2 T)."""
    shape: tuple[int, int, int, int] = (4, 4, 64, 64)

    @property
    def label(self) -> str:
        """What was measured, in short."""
        return f"[{','.join(map(str, self.shape))}] {self.method}, {self.steps} steps, float32"

    @property
    def field_bytes(self) -> int:
        """Of one state in float32."""
        return 4 * prod(self.shape)

    def shrunk(self, steps: int) -> Flow:
        """The same on a few points, with at most so many steps."""
        return replace(self, shape=(1, 2, 8, 8), steps=min(self.steps, steps))


STEPS = (8, 32, 128)
FLOWS = [
    Flow(f"ode/{name}/{steps}", method, activation, steps)
    for name, method, activation in (("linear-euler", "euler", "none"), ("tanh-rk4", "rk4", "tanh"))
    for steps in STEPS
]
DIFFUSION_TIMES = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 14.0, 20.0)


def ours(flow: Flow, way: str, dtype: torch.dtype = torch.float32) -> Run:
    """A call of qcore that gives the gradients of a flow in one of the ways."""
    x, pull, kernel = _inputs(flow, dtype)
    ode = StencilODE(
        flow.steps,
        flow.shape[1],
        activation=flow.activation,
        boundary="periodic",
        method=flow.method,
        gradient=way,
        dtype=dtype,
    )
    with torch.no_grad():
        ode.weight.copy_(kernel.reshape(1, 1, 3, 3))
    return lambda: torch.autograd.grad(ode(x), [x, ode.weight], pull)


def conv2d(flow: Flow, way: str, dtype: torch.dtype = torch.float32) -> Run:
    """The same by torchdiffeq alone, the right-hand side being a depthwise conv2d."""
    x, pull, kernel = _inputs(flow, dtype)
    channels = flow.shape[1]
    weight = kernel.expand(channels, 1, 3, 3).clone().requires_grad_()
    act = {"none": lambda z: z, "tanh": torch.tanh}[flow.activation]

    def field(t: Tensor, u: Tensor) -> Tensor:
        return act(F.conv2d(F.pad(u, (1, 1, 1, 1), mode="circular"), weight, groups=channels))

    grid = torch.linspace(0.0, 1.0, flow.steps + 1, dtype=torch.float64)

    def solve(u: Tensor, start: int, stop: int) -> Tensor:
        return torchdiffeq.odeint(field, u, grid[start : stop + 1], method=flow.method)[-1]

    def end() -> Tensor:
        if way == "discrete":
            return solve(x, 0, flow.steps)
        if way == "checkpointed":
            u, each = x, ceil(sqrt(flow.steps))
            for start in range(0, flow.steps, each):
                stop = min(start + each, flow.steps)
                u = checkpoint(solve, u, start, stop, use_reentrant=False, preserve_rng_state=False)
            return u
        steps = {"grid_constructor": lambda f, u, t: t[0] + (t[-1] - t[0]) * grid}
        return torchdiffeq.odeint_adjoint(
            field, x, grid[[0, -1]], method=flow.method, options=steps, adjoint_params=(weight,)
        )[-1]

    return lambda: torch.autograd.grad(end(), [x, weight], pull)


WHO = {"qcore": ours, "conv2d": conv2d}


def errors(flow: Flow, way: str, dtype: torch.dtype = torch.float32) -> tuple[float, float]:
    """Relative errors of the gradients to x and the stencil, against the steps differentiated in float64."""
    exact = ours(flow, "discrete", torch.float64)()
    found = ours(flow, way, dtype)()
    to_x, to_stencil = (
        float((one.double() - other).norm() / other.norm()) for one, other in zip(found, exact, strict=True)
    )
    return to_x, to_stencil


def _inputs(flow: Flow, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Start, gradient at the end, and the stencil for a time of 1, (3, 3)."""
    generator = torch.Generator().manual_seed(0)
    x, pull = (torch.randn(flow.shape, generator=generator) for _ in range(2))
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], dtype=dtype)
    return x.to(dtype).requires_grad_(), pull.to(dtype), kernel * (flow.diffusion_time / 2)
