"""Pade approximants of exp as products of implicit stages, and the composition of split steps."""

from __future__ import annotations

from functools import cache
from math import factorial

import numpy as np
import torch
from torch import Tensor

TIME_ORDERS = (2, 4, 6, 8)


@cache
def _roots(coefficients: tuple[float, ...]) -> tuple[complex, ...]:
    # Conjugates one after the other: their product is what has modulus 1 (or is real).
    roots = sorted(np.roots(coefficients).tolist(), key=lambda z: (round(z.real, 9), abs(z.imag), z.imag))
    return tuple(complex(z) for z in roots)


def diagonal_poles(order: int) -> Tensor:
    """Poles z_s of the diagonal Pade approximant [M/M] of exp, complex128 (M,), M = order / 2.

    exp(w) = prod_s (z_s + w) / (z_s - w) + O(w^(2M + 1)): 2 for M = 1 (Crank-Nicolson), 3 +- i sqrt(3) for M
    = 2. All have positive real parts, so that every factor is regular for imaginary w.
    """
    m = order // 2
    # Denominator sum_k (2M - k)! / (k! (M - k)!) (-w)^k
    terms = [factorial(2 * m - k) / (factorial(k) * factorial(m - k)) * (-1.0) ** k for k in range(m + 1)]
    return torch.tensor(_roots(tuple(terms[::-1])), dtype=torch.complex128, device="cpu")


def damped_poles(order: int) -> Tensor:
    """Poles of the Pade approximant [0/p] of exp, complex128 (p,), p = order.

    exp(w) = 1 / sum_k (-w)^k / k! + O(w^(p + 1)). For real w < 0 it falls with |w| to zero: imaginary-time
    steps of any size leave the order of the energies alone.
    """
    terms = [(-1.0) ** k / factorial(k) for k in range(order + 1)]
    return torch.tensor(_roots(tuple(terms[::-1])), dtype=torch.complex128, device="cpu")


def suzuki(order: int) -> tuple[float, ...]:
    """Fractions of a step whose Strang steps, one after the other, are of this order (2 or 4).

    M. Suzuki, Phys. Lett. A 146 (1990) 319: p, p, 1 - 4p, p, p with p = 1 / (4 - 4^(1/3)). One is negative,
    which real time allows and imaginary time does not.
    """
    if order == 2:
        return (1.0,)
    p = 1.0 / (4.0 - 4.0 ** (1.0 / 3.0))
    return (p, p, 1.0 - 4.0 * p, p, p)


# Nodes and weights of the fourth-order commutator-free Magnus integrator CF4:2; a step is two exponentials of
# half its length, of the potentials 2 (w_1 V(t_1) + w_2 V(t_2)) and 2 (w_2 V(t_1) + w_1 V(t_2)), in this
# order of time.
MAGNUS_NODES = (0.5 - 3.0**0.5 / 6.0, 0.5 + 3.0**0.5 / 6.0)
MAGNUS_WEIGHTS = (0.25 + 3.0**0.5 / 6.0, 0.25 - 3.0**0.5 / 6.0)
