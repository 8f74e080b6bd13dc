"""Propagators that are known in closed form: of the free particle and of the harmonic oscillator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qcore._ops._check import require_choice
from qcore.paths._numbers import SIGNATURES, Real, from_polar, positive, real, type_of


def free_kernel(
    x: Real, y: Real, t: Real, *, mass: Real = 1.0, hbar: Real = 1.0, signature: str = "euclid"
) -> Tensor:
    r"""Propagator of a free particle from y to x, a density in both.

    .. math::
        K_E = \sqrt{\frac{m}{2\pi\hbar t}}\, e^{-m (x-y)^2 / 2\hbar t}, \qquad
        K_L = \sqrt{\frac{m}{2\pi i\hbar t}}\, e^{+i m (x-y)^2 / 2\hbar t}, \quad
        \sqrt{1/i} = e^{-i\pi/4}.

    It is also the sum over lattice paths for any number of steps, even or uneven.

    Args:
        x, y: end and start, numbers or real tensors of any shapes that broadcast.
        t: duration > 0: the Euclidean time hbar beta, or the real time. Broadcasts, as mass and hbar do.
        mass, hbar: > 0.
        signature: "euclid" (imaginary time) or "lorentz" (real time).

    Returns:
        The density, 1 / length, in the broadcast shape; real for "euclid", complex for "lorentz"; of single
        precision where the tensors among x and y are, computed in double. Differentiable in all arguments.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value.

    Source: Feynman & Hibbs, Quantum Mechanics and Path Integrals, eq. 3-3.
    """
    require_choice("signature", signature, SIGNATURES)
    dtype = type_of(x, y)
    distance = real("x", x) - real("y", y)
    duration, m, unit = positive("t", t), positive("mass", mass), positive("hbar", hbar)
    size = (m / (2 * math.pi * unit * duration)).sqrt()
    exponent = m * distance**2 / (2 * unit * duration)
    if signature == "euclid":
        return (size * torch.exp(-exponent)).to(dtype)
    return from_polar(size, exponent - math.pi / 4).to(dtype.to_complex())


def mehler(
    x: Real,
    y: Real,
    t: Real,
    *,
    omega: Real = 1.0,
    mass: Real = 1.0,
    hbar: Real = 1.0,
    signature: str = "euclid",
) -> Tensor:
    r"""Propagator of the harmonic oscillator, V = m w^2 x^2 / 2, from y to x: Mehler's kernel.

    .. math::
        K_E = \sqrt{\frac{m\omega}{2\pi\hbar\sinh\omega t}}
              \exp\Big(-\frac{m\omega}{2\hbar\sinh\omega t}\,[(x^2+y^2)\cosh\omega t - 2xy]\Big),

    .. math::
        K_L = \sqrt{\frac{m\omega}{2\pi\hbar\,|\sin\omega t|}}\, e^{-i\pi/4 - i\nu\pi/2}
              \exp\Big(\frac{i m\omega}{2\hbar\sin\omega t}\,[(x^2+y^2)\cos\omega t - 2xy]\Big),
              \qquad \nu = \lfloor\omega t/\pi\rfloor,

    where nu counts the caustics passed (Maslov). At a caustic itself, w t a multiple of pi, K_L is a delta
    function; near it the relative error grows as eps w t / \|sin w t\|.

    Args:
        x, y: end and start, numbers or real tensors of any shapes that broadcast.
        t: duration > 0: the Euclidean time hbar beta, or the real time. Broadcasts, as omega, mass, hbar do.
        omega: angular frequency > 0; for 0 it is `free_kernel`.
        mass, hbar: > 0.
        signature: "euclid" (imaginary time) or "lorentz" (real time).

    Returns:
        The density, 1 / length, in the broadcast shape; real for "euclid", complex for "lorentz"; of single
        precision where the tensors among x and y are, computed in double. Differentiable in all arguments.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value.

    Source: Mehler, J. reine angew. Math. 66, 161 (1866); Souriau, in Group Theoretical Methods in Physics
    (1976), for the phase beyond caustics.
    """
    require_choice("signature", signature, SIGNATURES)
    frequency = positive("omega", omega)
    strength = positive("mass", mass) * frequency
    angle = frequency * positive("t", t)
    kernel = mehler_form(real("x", x), real("y", y), strength, angle, positive("hbar", hbar), signature)
    dtype = type_of(x, y)
    return kernel.to(dtype.to_complex() if kernel.is_complex() else dtype)


def mehler_form(
    x: Tensor, y: Tensor, strength: Tensor, angle: Tensor, hbar: Tensor, signature: str
) -> Tensor:
    """Mehler's kernel of m w = strength and w t = angle, in float64 or complex128.

    In half angles, since [(x^2 + y^2) cosh a - 2 x y] / sinh a = [(x - y)^2 coth(a/2) + (x + y)^2 tanh(a/2)]
    / 2, which neither cancels for small angles nor overflows for large ones.
    """
    near, far = (x - y) ** 2, (x + y) ** 2
    if signature == "euclid":
        slow = torch.tanh(angle / 2)
        size = (strength / (-math.pi * hbar * torch.expm1(-2 * angle))).sqrt()
        return size * torch.exp(-angle / 2 - strength / (4 * hbar) * (near / slow + far * slow))
    slow = torch.tan(angle / 2)
    size = (strength / (2 * math.pi * hbar * torch.sin(angle).abs())).sqrt()
    caustics = torch.floor(angle / math.pi)
    phase = strength / (4 * hbar) * (near / slow - far * slow) - math.pi / 4 - math.pi / 2 * caustics
    return from_polar(size, phase)
