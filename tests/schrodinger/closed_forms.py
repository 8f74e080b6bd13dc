"""Textbook solutions of the Schroedinger equation, without any grid."""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import numpy as np

from .oracle import Array, Complex, Field, gauss

# --- packets --------------------------------------------------------------------------------------


def gaussian_packet(x: Array, x0: float, k0: float, s: float) -> Complex:
    """Unit packet of |psi|^2 with mean x0 and standard deviation s, mean wave number k0."""
    return (2 * pi * s * s) ** -0.25 * np.exp(-((x - x0) ** 2) / (4 * s * s) + 1j * k0 * (x - x0))


def free_packet(
    x: Array, t: float, x0: float, k0: float, s: float, *, mass: float = 1.0, hbar: float = 1.0
) -> Complex:
    """The packet above after free motion: its centre at x0 + hbar k0 t / m, its width s |q|^(1/2)."""
    v = hbar * k0 / mass
    q = 1 + 0.5j * hbar * t / (mass * s * s)
    wave = np.exp(1j * k0 * (x - x0) - 0.5j * k0 * v * t)
    return (2 * pi * s * s) ** -0.25 / np.sqrt(q) * np.exp(-((x - x0 - v * t) ** 2) / (4 * s * s * q)) * wave


class ForcedOscillator:
    """V(x, t) = m w^2 x^2 / 2 - F cos(Omega t) x, from a displaced ground state at (x0, p0).

    The state stays the displaced ground state, moves on the classical path q(t), p(t) and gathers the phase
    S / hbar - w t / 2 with the classical action S = integral of p^2 / 2m - V(q, t) (Husimi 1953).
    F = 0: the coherent state.
    """

    def __init__(
        self,
        w: float,
        x0: float,
        p0: float = 0.0,
        *,
        force: float = 0.0,
        drive: float = 0.0,
        mass: float = 1.0,
        hbar: float = 1.0,
    ) -> None:
        self.w, self.force, self.drive, self.mass, self.hbar = w, force, drive, mass, hbar
        # away from resonance the driven part of the path is this times cos(Omega t)
        self.driven = force / (mass * (w * w - drive * drive))
        self.a, self.b = x0 - self.driven, p0 / (mass * w)

    def potential(self, x: Field, t: float) -> Field:
        return 0.5 * self.mass * self.w**2 * x**2 - self.force * np.cos(self.drive * t) * x

    def path(self, t: Field) -> tuple[Field, Field]:
        """Position and momentum at time t."""
        w, c, s = self.w, np.cos(self.w * t), np.sin(self.w * t)
        q = self.a * c + self.b * s + self.driven * np.cos(self.drive * t)
        p = self.mass * (w * (self.b * c - self.a * s) - self.drive * self.driven * np.sin(self.drive * t))
        return q, p

    def action(self, t: float) -> float:
        """Integral of the Lagrangian along the path."""

        def lagrangian(u: Array) -> Field:
            q, p = self.path(u)
            kinetic = p**2 / (2 * self.mass)
            return kinetic - 0.5 * self.mass * self.w**2 * q**2 + self.force * np.cos(self.drive * u) * q

        return gauss(lagrangian, 0.0, t).real

    def psi(self, x: Array, t: float) -> Complex:
        q, p = self.path(t)
        width = self.mass * self.w / self.hbar
        phase = (p * (x - q) + self.action(t)) / self.hbar - 0.5 * self.w * t
        return (width / pi) ** 0.25 * np.exp(-0.5 * width * (x - q) ** 2 + 1j * phase)


# --- bound states: (potential, energy, unnormalised state) at x -----------------------------------


def oscillator_state(x: Array, n: int, w: float = 1.0) -> tuple[Array, float, Array]:
    """m = hbar = 1, V = w^2 x^2 / 2, E = (n + 1/2) w."""
    hermite = np.polynomial.hermite.Hermite.basis(n)(np.sqrt(w) * x)
    return 0.5 * w * w * x * x, (n + 0.5) * w, hermite * np.exp(-0.5 * w * x * x)


def morse_state(x: Array, n: int, depth: float, a: float) -> tuple[Array, float, Array]:
    """m = hbar = 1, V = depth (1 - e^{-a x})^2, n = 0 or 1.

    E = w (n + 1/2) - w^2 (n + 1/2)^2 / (4 depth), w = a sqrt(2 depth).
    """
    w = a * np.sqrt(2 * depth)
    lam = np.sqrt(2 * depth) / a
    z = 2 * lam * np.exp(-a * x)
    s = lam - n - 0.5
    laguerre = 1.0 if n == 0 else 2 * s + 1 - z
    energy = w * (n + 0.5) - (w * (n + 0.5)) ** 2 / (4 * depth)
    return depth * (1 - np.exp(-a * x)) ** 2, float(energy), z**s * np.exp(-0.5 * z) * laguerre


def poeschl_teller_state(x: Array, l: int, mu: int) -> tuple[Array, float, Array]:  # noqa: E741
    """m = hbar = 1, V = -l (l + 1) / 2 sech^2 x, E = -mu^2 / 2; mu = l and l - 1."""
    state = np.cosh(x) ** -float(mu) * (1.0 if mu == l else np.tanh(x))
    return -0.5 * l * (l + 1) / np.cosh(x) ** 2, -0.5 * mu * mu, state


def soft_core_state(x: Array) -> tuple[Array, float, Array]:
    """m = hbar = 1, V = -1 / sqrt(x^2 + 2), ground state (1 + s) e^{-s} with s = sqrt(x^2 + 2), E = -1/2."""
    s = np.sqrt(x * x + 2)
    return -1 / s, -0.5, (1 + s) * np.exp(-s)


# --- scattering, m = hbar = 1 ---------------------------------------------------------------------


def rectangle_transmission(k: Array, height: float, width: float) -> Array:
    """|t|^2 of a rectangular barrier at wave number k."""
    energy = 0.5 * k * k
    inside = np.sqrt((2 * (energy - height)).astype(complex))
    # sin(q a) / q stays finite where the energy meets the top
    ratio = np.where(abs(inside) > 1e-8, np.sin(inside * width) / np.where(inside == 0, 1, inside), width)
    return 1 / (1 + (height * ratio.real / k) ** 2 + (height * ratio.imag / k) ** 2)


def sech2_transmission(k: Array, height: float, a: float = 1.0) -> Array:
    """|t|^2 of V = height sech^2(a x) at wave number k (Landau and Lifshitz, section 25, problem 4)."""
    discriminant = np.sqrt(complex(8 * height / a**2 - 1))
    top = np.cosh(0.5 * pi * discriminant).real ** 2
    rise = np.sinh(pi * k / a) ** 2
    return rise / (rise + top)


def packet_transmission(transmission: Callable[[Array], Array], k0: float, s: float) -> float:
    """Mean of |t(k)|^2 over a Gaussian packet's |phi(k)|^2 = s sqrt(2/pi) exp(-2 s^2 (k - k0)^2)."""
    reach = 5 / s

    def weighted(k: Array) -> Array:
        return transmission(k) * s * np.sqrt(2 / pi) * np.exp(-2 * (s * (k - k0)) ** 2)

    return gauss(weighted, max(k0 - reach, 1e-9), k0 + reach).real
