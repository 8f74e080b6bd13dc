"""The linear systems of a step on one axis, for the peers: psi' = 2 A^{-1} M psi - psi.

H = kappa M^{-1} K + V and A = M - c (kappa K + M V) with l = 2 - (shift right) - (shift left):
order 2: M = 1, K = l; order 4: M = 1 - l / 12, K = l; order 6: M = 1 - 2 l / 15, K = l - l^2 / 20.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .cases import DT, Problem

Array = np.ndarray[Any, Any]

# Diagonal and off-diagonal of M.
MASS = {2: (1.0, 0.0), 4: (10 / 12, 1 / 12), 6: (11 / 15, 2 / 15)}


class Bands(NamedTuple):
    """Of A / 2, whose solution 2 A^{-1} b needs no doubling."""

    lower: Array
    diagonal: Array
    upper: Array


def poles(order: int) -> list[complex]:
    """Roots of the denominator of the Pade approximant [M/M] of exp, M = order / 2."""
    coefficients = {2: [-1, 2], 4: [1, -6, 12], 6: [-1, 12, -60, 120], 8: [1, -20, 180, -840, 1680]}
    return [complex(root) for root in np.roots(coefficients[order])]


def coefficients(order: int, fraction: float = 1.0) -> list[complex]:
    """c of every stage of `fraction` of a step."""
    return [-1j * DT * fraction / z for z in poles(order)]


def halved(potential: Array, kappa: float, c: complex, order: int) -> Bands:
    """A / 2 of order 2 or 4, between walls."""
    m0, m1 = MASS[order]
    diagonal = 0.5 * (m0 - c * (2 * kappa + m0 * potential))
    off = 0.5 * (m1 - c * (m1 * potential - kappa))
    return Bands(off[:-1], diagonal, off[1:])


def pentadiagonal(potential: Array, kappa: float, c: complex) -> Array:
    """A / 2 of order 6, between walls, as LAPACK stores bands: (5, n), entry (i, j) in row 2 + i - j.

    l^2 has 5, not 6, in its corners, being the square of l between walls.
    """
    n = len(potential)
    m0, m1 = MASS[6]
    made = np.zeros((5, n), complex)
    k0 = np.full(n, 2 - 6 / 20)
    k0[0] += 1 / 20
    k0[-1] += 1 / 20
    made[2] = m0 - c * (kappa * k0 + m0 * potential)
    off = m1 - c * (kappa * (-1 + 4 / 20) + m1 * potential)  # of the column
    made[1, 1:], made[3, :-1] = off[1:], off[:-1]
    made[0, 2:] = made[4, :-2] = c * kappa / 20
    return 0.5 * made


def mass_times(psi: Array, order: int, periodic: bool, out: Array) -> None:
    """out = M psi along the last axis."""
    m0, m1 = MASS[order]
    if order == 2:
        np.copyto(out, psi)
        return
    np.multiply(psi, m0, out=out)
    out[..., 1:] += m1 * psi[..., :-1]
    out[..., :-1] += m1 * psi[..., 1:]
    if periodic:
        out[..., 0] += m1 * psi[..., -1]
        out[..., -1] += m1 * psi[..., 0]


def potential_of(problem: Problem, step: int = 0) -> Array:
    """V of a step, as numpy has it."""
    found: Array = problem.at(step).numpy(force=True)
    return found
