"""What a propagator has to give: dense float64 linear algebra, exact modes of the grid, and closed forms.

Nothing here is shared with the library. The Hamiltonian of an axis is kappa L_r + V with
kappa = hbar^2 / (2 m h^2) and L_r the central difference of order r for -h^2 d^2/dx^2, written with
l = 2 - (shift right) - (shift left):

    L_2 = l      L_4 = (1 - l/12)^{-1} l      L_6 = (1 - 2 l/15)^{-1} (l - l^2/20)

(Lele 1992, eq. 2.2 with alpha = 1/10 and 2/11); more axes are Kronecker sums. A step is the diagonal Pade
approximant R_MM(-i dt H / hbar) = N(z)/N(-z), N(z) = sum_j (2M-j)! M! / ((2M)! j! (M-j)!) z^j.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import factorial, pi

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
Field = Array | Complex

TIME_ORDERS = (2, 4, 6, 8)
SPACE_ORDERS = (2, 4, 6)
WALLS = ("dirichlet", "periodic")


# --- the Hamiltonian on the grid ------------------------------------------------------------------


def second_difference(n: int, boundary: str) -> Array:
    """l = 2 - (shift right) - (shift left): zero beyond the ends, or round the ring."""
    right = np.roll(np.eye(n), 1, axis=1) if boundary == "periodic" else np.eye(n, k=1)
    return 2.0 * np.eye(n) - right - right.T


def kinetic(
    n: int, h: float, *, mass: float = 1.0, hbar: float = 1.0, boundary: str = "dirichlet", order: int = 2
) -> Array:
    """kappa L_r of one axis."""
    l = second_difference(n, boundary)  # noqa: E741  (the field's name)
    one = np.eye(n)
    difference = {
        2: lambda: l,
        4: lambda: np.linalg.solve(one - l / 12, l),
        6: lambda: np.linalg.solve(one - 2 * l / 15, l - l @ l / 20),
    }[order]()
    return hbar**2 / (2 * mass * h**2) * difference


def _each(value: object, axes: int) -> list:
    return list(value) if isinstance(value, (tuple, list)) else [value] * axes


def hamiltonian(
    potential: Field,
    spacing: float | Sequence[float],
    *,
    mass: float | Sequence[float] = 1.0,
    hbar: float = 1.0,
    boundary: str | Sequence[str] = "dirichlet",
    order: int = 2,
) -> Field:
    """Dense H on the grid of `potential` (1 to 3 axes), acting on fields flattened in C order."""
    axes = potential.ndim
    total = np.diag(potential.ravel())
    settings = zip(_each(spacing, axes), _each(mass, axes), _each(boundary, axes), strict=True)
    for axis, (h, m, wall) in enumerate(settings):
        factors = [np.eye(n) for n in potential.shape]
        factors[axis] = kinetic(potential.shape[axis], h, mass=m, hbar=hbar, boundary=wall, order=order)
        product = np.ones((1, 1))
        for factor in factors:
            product = np.kron(product, factor)
        total = total + product
    return total


# --- steps ----------------------------------------------------------------------------------------


def pade_numerator(m: int) -> list[float]:
    """N(z) of the [M/M] approximant of exp, coefficients of z^0 ... z^M."""
    return [
        factorial(2 * m - j) * factorial(m) / (factorial(2 * m) * factorial(j) * factorial(m - j))
        for j in range(m + 1)
    ]


def poles(m: int) -> Complex:
    """Roots of N(-z), where R_MM has its poles."""
    return np.roots([c * (-1) ** j for j, c in enumerate(pade_numerator(m))][::-1]).astype(complex)


def pade_step(h: Field, exponent: complex, m: int) -> Complex:
    """R_MM(exponent * h) as M Cayley factors, `exponent` being -i dt / hbar."""
    one = np.eye(len(h))
    step = one.astype(complex)
    for z in poles(m):
        step = np.linalg.solve(one - exponent / z * h, one + exponent / z * h) @ step
    return step


def exact_step(h: Array, exponent: complex) -> Complex:
    """exp(exponent * h) of a symmetric h."""
    energies, states = np.linalg.eigh(h)
    return (states * np.exp(exponent * energies)) @ states.T


def march(psi: Complex, steps: Sequence[Complex] | Complex, count: int = 1) -> Complex:
    """Apply one matrix `count` times, or a list of matrices in turn, to fields (*batch, *space)."""
    matrices = [steps] * count if isinstance(steps, np.ndarray) else steps
    flat = psi.reshape(-1, len(matrices[0])) if matrices else psi
    for matrix in matrices:
        flat = flat @ matrix.T
    return flat.reshape(psi.shape)


def strang_step(
    potential: Field,
    dt: float,
    spacing: Sequence[float],
    *,
    mass: float | Sequence[float] = 1.0,
    hbar: float = 1.0,
    boundary: str | Sequence[str] = "dirichlet",
    order: int = 2,
) -> Complex:
    """exp(-i V dt/2 hbar) times a Cayley factor of each axis' kinetic energy times exp(-i V dt/2 hbar)."""
    axes = potential.ndim
    product = np.ones((1, 1), complex)
    settings = zip(
        potential.shape, _each(spacing, axes), _each(mass, axes), _each(boundary, axes), strict=True
    )
    for n, h, m, wall in settings:
        k = kinetic(n, h, mass=m, hbar=hbar, boundary=wall, order=order)
        product = np.kron(product, pade_step(k, -1j * dt / hbar, 1))
    phase = np.exp(-0.5j * dt / hbar * potential.ravel())
    return phase[:, None] * product * phase


# --- the exact discrete oracle: modes of the free grid --------------------------------------------

LONG = np.longdouble
LONG_PI = LONG("3.14159265358979323846264338327950288")


def mode_energies(
    n: int, h: float, *, mass: float = 1.0, hbar: float = 1.0, boundary: str = "dirichlet", order: int = 2
) -> NDArray[np.longdouble]:
    """Kinetic energies of the sine modes k = 1..n or the Fourier modes k = 0..n-1, in extended precision."""
    if boundary == "dirichlet":
        half_angle = LONG_PI * np.arange(1, n + 1) / (2 * LONG(n + 1))
    else:
        half_angle = LONG_PI * np.arange(n) / LONG(n)
    l = 4 * np.sin(half_angle) ** 2  # noqa: E741
    twelve, twenty, fifteenth = LONG(12), LONG(20), LONG(2) / LONG(15)
    difference = {2: l, 4: l / (1 - l / twelve), 6: l * (1 - l / twenty) / (1 - fifteenth * l)}[order]
    return LONG(hbar) ** 2 / (2 * LONG(mass) * LONG(h) ** 2) * difference


def pade_angle(x: NDArray[np.longdouble], m: int) -> NDArray[np.longdouble]:
    """The angle of R_MM(-i x); R has modulus one. For M = 1 it is -2 atan(x / 2)."""
    real, imaginary = np.zeros_like(x), np.zeros_like(x)
    for j, c in enumerate(pade_numerator(m)):
        # i^j = 1, i, -1, -i
        if j % 2 == 0:
            real = real + (-1) ** (j // 2) * LONG(c) * x**j
        else:
            imaginary = imaginary + (-1) ** (j // 2) * LONG(c) * x**j
    return -2 * np.arctan2(imaginary, real)


def _modes(n: int, boundary: str) -> tuple[Complex, Complex]:
    """The unitary to modes and back. Angles are reduced as integers first."""
    j = np.arange(n)
    if boundary == "dirichlet":
        sines = np.sin(pi * (np.outer(j + 1, j + 1) % (2 * n + 2)) / (n + 1)) * np.sqrt(2 / (n + 1))
        return sines.astype(complex), sines.astype(complex)
    waves = np.exp(-2j * pi * (np.outer(j, j) % n) / n) / np.sqrt(n)
    return waves, waves.conj().T


def discrete_oracle(
    psi: Complex,
    dt: float,
    steps: int,
    spacing: float | Sequence[float],
    *,
    mass: float | Sequence[float] = 1.0,
    hbar: float = 1.0,
    boundary: str | Sequence[str] = "dirichlet",
    time_order: int = 2,
    space_order: int = 2,
    constant: float = 0.0,
    stages: Sequence[float] = (1.0,),
) -> Complex:
    """Free motion on the grid, exact to rounding: each mode turns by steps times its angle.

    In one dimension a constant potential adds to the energy of a mode; in more it is a phase of its own, and
    the axes turn one by one. `stages` are the fractions of dt of a composed step.
    """
    spacings = _each(spacing, 1)
    axes = len(spacings)
    settings = zip(range(-axes, 0), spacings, _each(mass, axes), _each(boundary, axes), strict=True)
    for axis, h, m, wall in settings:
        n = psi.shape[axis]
        energies = mode_energies(n, h, mass=m, hbar=hbar, boundary=wall, order=space_order)
        if axes == 1:
            energies = energies + LONG(constant)
        angle = sum(
            (pade_angle(LONG(s) * LONG(dt) / LONG(hbar) * energies, time_order // 2) for s in stages),
            start=np.zeros(n, LONG),
        )
        phase = np.remainder(LONG(steps) * angle, 2 * LONG_PI).astype(np.float64)
        there, back = _modes(n, wall)
        matrix = (back * np.exp(1j * phase)) @ there
        psi = np.moveaxis(np.moveaxis(psi, axis, -1) @ matrix.T, -1, axis)
    if axes > 1:
        psi = psi * np.exp(-1j * constant * dt * steps / hbar)
    return psi


# --- other things that tests share ----------------------------------------------------------------


def observed_orders(errors: Sequence[float], ratio: float = 2.0) -> list[float]:
    """Orders between neighbours of a list of errors whose step shrinks by `ratio` each time."""
    return [float(np.log(a / b) / np.log(ratio)) for a, b in itertools.pairwise(errors)]


def gauss(f: Callable[[Array], Field], a: float, b: float, nodes: int = 400) -> complex:
    """Integral of f over [a, b] by Gauss and Legendre."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    return complex((w * f(0.5 * (b - a) * x + 0.5 * (a + b))).sum() * 0.5 * (b - a))


def l2(field: Field, cell: float = 1.0) -> float:
    """Root of the integral of |field|^2."""
    return float(np.sqrt((np.abs(field) ** 2).sum() * cell))
