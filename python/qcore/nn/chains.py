"""Chains of residual stencil layers as torch modules, run by one fused call instead of a loop over layers."""

from __future__ import annotations

import math
from typing import overload

import torch
from torch import Tensor, nn

from qcore import stencil
from qcore._ops import _check
from qcore._ops.stencil_check import ACTIVATIONS, BOUNDARIES, MAX_KERNEL

INITS = ("uniform", "normal", "symmetric")
_PDE_SYMBOLS = ("alpha", "beta", "sigma", "rho", "gamma")


class _Chain(nn.Module):
    """What both chains share: u <- act(u + corr(u, taps_t) + bias_t) for t = 1..depth, in one call."""

    bias: Tensor | None

    def __init__(self, depth: int, channels: int, activation: str, slope: float, boundary: str) -> None:
        super().__init__()
        _check.require_count("depth", depth)
        _check.require_count("channels", channels)
        if channels == 0:
            raise _check.wrong_value("channels", "at least 1", channels)
        _check.require_choice("activation", activation, ACTIVATIONS)
        _check.require_choice("boundary", boundary, BOUNDARIES)
        _check.require_number("slope", slope)
        if not slope >= 0:
            raise _check.wrong_value("slope", "a number >= 0", slope)
        self.depth = depth
        self.channels = channels
        self.activation = activation
        self.slope = float(slope)
        self.boundary = boundary
        self.register_parameter("bias", None)

    def taps(self) -> Tensor:
        """The stencils of all layers, (depth, channels or 1, k, k), without the skip."""
        raise NotImplementedError

    @overload
    def forward(self, x: Tensor) -> Tensor: ...

    @overload
    def forward(self, x: Tensor, *, states_every: int) -> Tensor | tuple[Tensor, Tensor]: ...

    def forward(self, x: Tensor, *, states_every: int = 0) -> Tensor | tuple[Tensor, Tensor]:
        """Run all layers.

        Args:
            x: (B, channels, H, W).
            states_every: m > 0 also returns the states after layers m, 2m, ...

        Returns:
            The last state, (B, channels, H, W); with states_every = m the pair of it and the states,
            (depth // m, B, channels, H, W). A chain of depth 0 returns a copy of x.

        Raises:
            ValueError: x is not 4-D, or has another number of channels than the chain.
            TypeError: x is no tensor, or of another dtype than the parameters (float32 parameters also take
                bfloat16 and float16, and compute in float32).
        """
        _check.require_tensor("x", x)
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise _check.wrong_value("x", f"shape (B, {self.channels}, H, W)", _check.shape(x))
        return stencil.residual_chain(
            x,
            self.taps(),
            bias=self.bias,
            activation=self.activation,
            slope=self.slope,
            boundary=self.boundary,
            states_every=states_every,
        )

    def extra_repr(self) -> str:
        slope = f", slope={self.slope}" if self.activation == "leaky_relu" else ""
        return f"activation={self.activation!r}{slope}, boundary={self.boundary!r}"


class PDEChain(_Chain):
    r"""A PDE network: every layer is an Euler step of an advection-diffusion-reaction equation, then ReLU.

    .. math::
        \psi_t = \tfrac{\alpha^2}{2}\psi_{xx} + a\beta\,\psi_x + \tfrac{\sigma^2}{2}\psi_{yy} + a\rho\,\psi_y
                 + \gamma\,\psi, \qquad dt = dx = 1,

    with central differences, x the last axis and y the second-last, so that a layer is psi <- relu(psi + K *
    psi) with the five-point stencil K of :func:`qcore.stencil.pde_taps`. Each layer learns its own five
    numbers (alpha, beta, sigma, rho, gamma). ``advection`` is a: 1 gives "PDE network 1", -1/8 "PDE network
    2" of the residual-networks paper (eq. 39, 40). Both span the same functions; a only scales how fast
    features drift at the start and how far one optimiser step moves the drift.

    Positive a*beta moves the image to smaller x. Only alpha**2 enters, so a layer can smooth but never
    sharpen, and alpha = 0 is a stationary point of any loss.

    Args:
        depth: number of layers; 0 is the identity.
        channels: channels C of the input; the stencils act on each channel alone (depthwise).
        advection: the factor a.
        per_channel: give every channel its own parameters, (depth, channels), instead of sharing (depth,).
        activation: "none", "relu", "leaky_relu" (with ``slope``), "tanh" or "silu".
        slope: slope of leaky_relu below zero.
        boundary: "zero" (features leave through the border, as in the paper), "periodic", "reflect",
            "replicate".
        init: how alpha, beta, sigma, rho start (gamma starts at 0); the paper does not state its own.
            "uniform", our default: all in (0, 1], so that every layer drifts the same way, by 1/2 a pixel on
            average at an advection of 1. "normal": standard normal; half of the layers amplify. "symmetric":
            as "uniform", but beta and rho in (-1, 1], so that the drifts cancel on average.
        device, dtype: of the parameters.

    Shapes: (B, C, H, W) to (B, C, H, W).

    Raises:
        TypeError, ValueError: an argument of the wrong type or value; the message says what was expected and
            what came.
    """

    def __init__(
        self,
        depth: int,
        channels: int = 1,
        advection: float = 1.0,
        *,
        per_channel: bool = False,
        activation: str = "relu",
        slope: float = 0.01,
        boundary: str = "zero",
        init: str = "uniform",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(depth, channels, activation, slope, boundary)
        _check.require_number("advection", advection)
        if not math.isfinite(advection):
            raise _check.wrong_value("advection", "a finite number", advection)
        _check.require_choice("init", init, INITS)
        self.advection = float(advection)
        self.per_channel = bool(per_channel)
        self.init = init
        shape = (self.depth, self.channels) if self.per_channel else (self.depth,)
        for name in _PDE_SYMBOLS:
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    alpha: Tensor
    beta: Tensor
    sigma: Tensor
    rho: Tensor
    gamma: Tensor

    def reset_parameters(self) -> None:
        """Draw alpha, beta, sigma, rho anew from torch's global generator; set gamma to 0."""
        with torch.no_grad():
            for parameter in (self.alpha, self.beta, self.sigma, self.rho):
                if self.init == "normal":
                    parameter.normal_()
                else:
                    # uniform_ is [0, 1); mirrored it is (0, 1]: alpha = 0 would never move.
                    parameter.uniform_(0.0, 1.0).neg_().add_(1.0)
            if self.init == "symmetric":
                for drift in (self.beta, self.rho):
                    drift.mul_(2.0).sub_(1.0)
            self.gamma.zero_()

    def taps(self) -> Tensor:
        """Stencils of all layers, (depth, channels or 1, 3, 3), without the skip; differentiable."""
        return stencil.pde_taps(
            self.alpha, self.beta, self.sigma, self.rho, self.gamma, advection=self.advection
        )

    def extra_repr(self) -> str:
        own = f"{self.depth}, channels={self.channels}, advection={self.advection}"
        return f"{own}, per_channel={self.per_channel}, {super().extra_repr()}"


class ResidualChain(_Chain):
    """The control of the PDE network: psi <- relu(psi + conv(psi)), one skip over one free convolution.

    ``weight`` is (depth, channels, k, k): for each layer the weight of a ``Conv2d(C, C, k, groups=C)``.
    Weight and bias start as in ``torch.nn.Conv2d``, uniform in (-1/k, 1/k): our default, the paper does not
    state its own.

    Args:
        depth: number of layers; 0 is the identity.
        channels: channels C of the input; the convolutions are depthwise.
        kernel_size: k, odd, 1 to 7.
        bias: learn a bias per layer and channel, (depth, channels).
        activation, slope, boundary: as in :class:`PDEChain`.
        device, dtype: of the parameters.

    Shapes: (B, C, H, W) to (B, C, H, W).

    Raises:
        TypeError, ValueError: an argument of the wrong type or value; the message says what was expected and
            what came.
    """

    def __init__(
        self,
        depth: int,
        channels: int = 1,
        kernel_size: int = 3,
        bias: bool = False,
        *,
        activation: str = "relu",
        slope: float = 0.01,
        boundary: str = "zero",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(depth, channels, activation, slope, boundary)
        _check.require_count("kernel_size", kernel_size)
        if kernel_size % 2 == 0 or kernel_size > MAX_KERNEL:
            raise _check.wrong_value("kernel_size", f"an odd number from 1 to {MAX_KERNEL}", kernel_size)
        self.kernel_size = kernel_size
        shape = (depth, channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = nn.Parameter(torch.empty(shape[:2], device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew from torch's global generator, as ``torch.nn.Conv2d`` does."""
        bound = 1.0 / self.kernel_size  # 1 / sqrt(fan_in), with a fan_in of k * k in each channel
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
            if self.bias is not None:
                self.bias.uniform_(-bound, bound)

    def taps(self) -> Tensor:
        """The stencils of all layers, (depth, channels, k, k), without the skip: the weight itself."""
        return self.weight

    def extra_repr(self) -> str:
        own = f"{self.depth}, channels={self.channels}, kernel_size={self.kernel_size}"
        return f"{own}, bias={self.bias is not None}, {super().extra_repr()}"
