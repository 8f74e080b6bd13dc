r"""Largest gain of an explicit advection-diffusion-reaction step over all wave numbers.

The symbol G - A(1 - cos px) - S(1 - cos py) + i(bx sin px + by sin py) runs over a point plus two ellipses,
so its largest modulus is the largest value of the support function of that set. In the direction with c =
\|cos\| this is

    h(c) = |G - A - S| c + sqrt(bx^2 (1 - c^2) + A^2 c^2) + sqrt(by^2 (1 - c^2) + S^2 c^2),    0 <= c <= 1,

a sum of square roots of affine functions of c^2, hence concave in c^2. Its slope at c = 1 tells where the
maximum is: at c = 1, where h = max(|G|, |G - 2(A + S)|), exactly when bx^2/A + by^2/S <= h(1). Else it is
inside, where in one dimension it is sqrt(G^2 + (b^2 - GA)^2 / (b^2 - A^2)).
"""

from __future__ import annotations

import torch
from torch import Tensor

# Halvings of [0, 1]: c to the last bit of float64. The value there is stationary, so exact to rounding.
BISECTIONS = 60


def largest_gain(gain: Tensor, diffusion: list[Tensor], drift: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Largest modulus of the symbol, and whether it is at most 1.

    Args:
        gain: G, of the constant wave.
        diffusion: [A] or [A, S], >= 0, shaped like gain.
        drift: [bx] or [bx, by].
    """
    total = sum(diffusion[1:], diffusion[0])
    edge = torch.maximum(gain.abs(), (gain - 2 * total).abs())
    steepness = [_ratio(b * b, a) for a, b in zip(diffusion, drift, strict=True)]
    inside = ~(sum(steepness[1:], steepness[0]) <= edge)  # a NaN goes on, to come out as NaN
    if len(diffusion) == 1:
        inner = _inner_1d(gain, diffusion[0], drift[0], inside)
    else:
        inner = _inner(gain - total, diffusion, drift, inside)
    # Where the maximum is inside it exceeds the value at c = 1 strictly: no rounded comparison at the edge
    # itself.
    stable = torch.where(inside, (edge < 1) & (inner <= 1), edge <= 1)
    return torch.where(inside, inner, edge), stable


def _inner_1d(gain: Tensor, a: Tensor, b: Tensor, inside: Tensor) -> Tensor:
    # Inside, b^2 > A h(1) >= A^2. Elsewhere any harmless value, so that no NaN gets into a gradient.
    b2 = torch.where(inside, b * b, a * a + 1)
    return torch.sqrt(gain * gain + (b2 - gain * a) ** 2 / (b2 - a * a))


def _inner(centre: Tensor, diffusion: list[Tensor], drift: list[Tensor], inside: Tensor) -> Tensor:
    axes = list(zip(diffusion, drift, strict=True))

    def radii(c: Tensor) -> list[Tensor]:
        return [_sqrt(b * b * (1 - c * c) + a * a * c * c) for a, b in axes]

    with torch.no_grad():
        low, high = torch.zeros_like(centre), torch.ones_like(centre)
        for _ in range(BISECTIONS):
            c = (low + high) / 2
            slope = centre.abs()
            for (a, b), radius in zip(axes, radii(c), strict=True):
                slope = slope + _ratio(c * (a * a - b * b), radius)
            rising = slope > 0
            low, high = torch.where(rising, c, low), torch.where(rising, high, c)
        c = (low + high) / 2
    # By the envelope theorem the gradient at fixed c is the gradient of the maximum.
    value = centre.abs() * c + sum(radii(c))
    return torch.where(inside, value, torch.ones_like(value))


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b with 0 / 0 = 0."""
    return torch.where(a == 0, torch.zeros_like(a), a / b)


def _sqrt(a: Tensor) -> Tensor:
    """Square root with derivative 0 at 0."""
    zero = a == 0
    return torch.where(zero, torch.zeros_like(a), torch.where(zero, torch.ones_like(a), a).sqrt())
