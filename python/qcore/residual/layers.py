"""What each layer of a chain does to a signal: how far it moves, spreads and amplifies it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from qcore._ops import _check
from qcore.nn import PDEChain, ResidualChain
from qcore.residual._kernels import cumulants, merge, split
from qcore.stencil import stability, symbol

_WAVES = 64  # wave numbers along an axis, where there is no closed form of the largest gain


class Layers(NamedTuple):
    """What :func:`layers` finds, per layer; gates, biases and borders are left aside."""

    mass: Tensor
    """(T,) factor of a smooth field's sum: the sum of the weights."""
    drift: Tensor
    """(T, 2) mean displacement of mass in pixels, x then y; positive is right and down."""
    variance: Tensor
    """(T, 2) variance of the displacement along x and y in pixels squared; negative for signed weights."""
    gain: Tensor
    """(T,) largest gain of a plane wave."""
    stable: Tensor
    """(T,) bool: no wave grows."""
    positive: Tensor
    """(T,) bool: no weight is negative; the layer is a step of a random walk, times its mass."""


def layers(chain: nn.Module) -> Layers:
    """Displacement, spreading and gain of each layer of a planar chain with one channel.

    A layer moves mass along the displacements v = -d of its taps: with the weights T(d) of skip and taps
    together, its mass is m = sum T, its drift sum v T / m, its variance sum v^2 T / m - drift^2. Over layers
    drifts and variances add up and masses multiply.

    Args:
        chain: :class:`qcore.nn.PDEChain` or :class:`qcore.nn.ResidualChain` of one channel.

    Returns:
        Layers(mass, drift, variance, gain, stable, positive) in float64, without gradients. A PDE chain's
        gain is exact; of another kernel it is the largest on a grid of 64 x 64 wave numbers.

    Raises:
        TypeError: ``chain`` is no chain of :mod:`qcore.nn`.
        ValueError: it has several channels.

    Source: moments of section 3 and von Neumann analysis of section 1 of the theory of residual networks.
    """
    if not isinstance(chain, PDEChain | ResidualChain):
        raise _check.wrong_type("chain", "a chain of qcore.nn", type(chain).__name__)
    with torch.no_grad():
        taps = chain.taps().double()
        if taps.shape[1] != 1:
            raise _check.wrong_value("chain", "one channel", taps.shape[1])
        kernel = merge(*split(taps, 1.0))
        mass, drift, covariance, _ = cumulants(kernel)
        variance = covariance[:, 0].diagonal(dim1=1, dim2=2)
        if isinstance(chain, PDEChain):
            names = ("alpha", "beta", "sigma", "rho", "gamma")
            parameters = [getattr(chain, name).double().reshape(-1) for name in names]
            gain, stable, _ = stability(*parameters, advection=chain.advection)
        else:
            wave = torch.arange(_WAVES, dtype=torch.float64) * (2 * torch.pi / _WAVES)
            p = torch.cartesian_prod(wave, wave)
            gain = symbol(taps, p, 1.0)[:, 0].abs().amax(1) if len(taps) else mass[:, 0]
            stable = gain <= 1
        positive = (kernel >= 0).flatten(1).all(1)
        return Layers(mass[:, 0], drift[:, 0], variance, gain, stable, positive)
