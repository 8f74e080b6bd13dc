"""The harmonic oscillator on a lattice of times: everything about its sum over paths in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qcore._ops._check import require_choice, require_count, wrong_type, wrong_value
from qcore.paths._closed_forms import mehler_form
from qcore.paths._numbers import SIGNATURES, Real, from_polar, positive, real, type_of, values_known

_SCHEMES = ("trapezoid", "midpoint", "midpoint-vanvleck", "endpoint", "takahashi-imada", "exact")
_BOUNDARIES = ("periodic", "pinned", "open", "infinite")


class HalfLine(NamedTuple):
    """psi_N(y) = factor exp(-stiffness y^2 / (2 hbar)), the Gaussian left after N steps from a flat end."""

    stiffness: Tensor
    """A_N, mass / time; m omega in the limit of the ground state in the continuum."""
    log_factor: Tensor
    """log C_N, C_N without dimension; of long paths C_N itself is too small for float64."""

    @property
    def factor(self) -> Tensor:
        """C_N."""
        return self.log_factor.exp()


@dataclass(frozen=True)
class LatticeOscillator:
    r"""The oscillator V = m w^2 x^2 / 2 in time steps; made by :func:`lattice_oscillator`.

    One step of any scheme is a Mehler kernel with changed constants,

    .. math::
        K_1 = \nu\,\mathrm{Mehler}(M, \theta), \qquad K_N = \nu^N\,\mathrm{Mehler}(M, N\theta),

    so that all results hold for every N exactly. The attributes are 0-dim, or have the shape that omega, dt,
    mass and hbar broadcast to; every method broadcasts them with its arguments.

    Attributes:
        strength: M, in place of m omega.
        angle: theta, in place of omega dt: of cosh and sinh ("euclid"), of cos and sin ("lorentz").
        step_factor: nu, 1 for all schemes but "midpoint".
        end_force: k dt / 2 for "endpoint", the share of a step's potential that the end has more and the
            start less than in "trapezoid"; else 0.
        dt, hbar: as given.
        signature: "euclid" or "lorentz".
        scheme: as given.
    """

    strength: Tensor
    angle: Tensor
    step_factor: Tensor
    end_force: Tensor
    dt: Tensor
    hbar: Tensor
    signature: str
    scheme: str

    def propagator(self, x: Real, y: Real, steps: int) -> Tensor:
        """The sum over all lattice paths of `steps` steps from y to x, normalised; also beyond caustics.

        Args:
            x, y: end and start, numbers or real tensors that broadcast.
            steps: N >= 1.

        Returns:
            The density, 1 / length; complex for "lorentz"; differentiable. In single precision where the
            tensors among x and y are.

        Raises:
            TypeError, ValueError: an argument of the wrong type or value.
        """
        _require_steps("steps", steps)
        end, start = real("x", x), real("y", y)
        kernel = mehler_form(end, start, self.strength, steps * self.angle, self.hbar, self.signature)
        kernel = kernel * self.step_factor**steps
        more = self.end_force * (end**2 - start**2) / (2 * self.hbar)
        dtype = type_of(x, y)
        if self.signature == "euclid":
            return (kernel * torch.exp(-more)).to(dtype)
        return (kernel * from_polar(torch.ones_like(more), -more)).to(dtype.to_complex())

    def correlator(
        self, i: int | Tensor, j: int | Tensor, slices: int | None = None, *, boundary: str = "periodic"
    ) -> Tensor:
        """<x_i x_j> over the paths, in "lorentz" with the weights exp(i S / hbar).

        Args:
            i, j: numbers of sites, ints or integer tensors that broadcast: 0 to slices - 1 on a ring, 0 to
                slices else; any in "infinite".
            slices: N, the number of steps; None for "infinite".
            boundary: "periodic" (ring of N sites), "pinned" (x_0 = x_N = 0), "open" (both ends free, and each
                scheme's own weight of V there), "infinite" (the ground state; for "lorentz" time ordered).

        Returns:
            length^2, float64 or complex128; differentiable in the oscillator's parameters.

        Raises:
            TypeError, ValueError: an argument of the wrong type or value; "open" of "endpoint".
        """
        require_choice("boundary", boundary, _BOUNDARIES)
        if boundary == "open" and self.scheme == "endpoint":
            raise wrong_value("boundary", 'not "open" with the scheme "endpoint"', repr(boundary))
        first, second = _sites("i", i), _sites("j", j)
        low, high = torch.minimum(first, second), torch.maximum(first, second)
        distance, unit = high - low, self.hbar / self.strength
        if boundary == "infinite":
            if slices is not None:
                raise wrong_value("slices", 'None with boundary "infinite"', slices)
            if self.signature == "euclid":
                return unit / 2 * torch.exp(-distance * self.angle)
            return from_polar(unit / 2, -distance * self.angle)
        n = _require_steps("slices", slices)
        last = n - 1 if boundary == "periodic" else n
        for name, sites in (("i", first), ("j", second)):
            if values_known() and not bool(((sites >= 0) & (sites <= last)).all()):
                raise wrong_value(name, f"sites 0 to {last}", "one outside")
        if self.signature == "lorentz":
            return self._real_time(low, high, n, boundary)
        # Decaying exponentials only, so that long lattices don't overflow.
        angle = self.angle
        if boundary == "periodic":
            around = torch.exp(-distance * angle) + torch.exp(-(n - distance) * angle)
            return unit / 2 * around / -torch.expm1(-n * angle)
        sign = 1 if boundary == "open" else -1
        left = 1 + sign * torch.exp(-2 * low * angle)
        right = 1 + sign * torch.exp(-2 * (n - high) * angle)
        return unit / 2 * torch.exp(-distance * angle) * left * right / -torch.expm1(-2 * n * angle)

    def _real_time(self, low: Tensor, high: Tensor, n: int, boundary: str) -> Tensor:
        angle, unit = self.angle, self.hbar / self.strength
        if boundary == "periodic":
            value = -unit / 2 * torch.cos((n / 2 - (high - low)) * angle) / torch.sin(n / 2 * angle)
        elif boundary == "pinned":
            value = unit * torch.sin(low * angle) * torch.sin((n - high) * angle) / torch.sin(n * angle)
        else:
            value = -unit * torch.cos(low * angle) * torch.cos((n - high) * angle) / torch.sin(n * angle)
        return torch.complex(torch.zeros_like(value), value)

    def log_partition_function(self, slices: int) -> Tensor:
        """ln Z of a ring of `slices` steps, Z = nu^N / (2 sinh(N theta / 2)); "euclid" only.

        Raises:
            TypeError, ValueError: `slices` is not an int >= 1; the signature is "lorentz".
        """
        self._require_euclid("log_partition_function")
        n = _require_steps("slices", slices)
        return n * self.step_factor.log() - n / 2 * self.angle - torch.log(-torch.expm1(-n * self.angle))

    def partition_function(self, slices: int) -> Tensor:
        """The trace of `slices` steps: Z in "euclid"; in "lorentz" nu^N / (2 i sin(N phi / 2)).

        Raises:
            TypeError, ValueError: `slices` is not an int >= 1.
        """
        if self.signature == "euclid":
            return self.log_partition_function(slices).exp()
        n = _require_steps("slices", slices)
        value = -(self.step_factor**n) / (2 * torch.sin(n / 2 * self.angle))
        return torch.complex(torch.zeros_like(value), value)

    def levels(self, n: int | Tensor) -> Tensor:
        """Energies E_n with the eigenvalues exp(-E_n dt / hbar), or exp(-i E_n dt / hbar), of one step.

        Args:
            n: quantum numbers >= 0, an int or an integer tensor that broadcasts.

        Returns:
            float64 for "euclid"; complex128 for "lorentz", up to 2 pi hbar / dt; its imaginary part is below
            0 for "midpoint", which loses norm.

        Raises:
            TypeError, ValueError: n is not integer, or below 0.
        """
        number = _sites("n", n)
        if values_known() and bool((number < 0).any()):
            raise wrong_value("n", "quantum numbers >= 0", "one below")
        rate = self.hbar / self.dt
        energy, loss = rate * (number + 0.5) * self.angle, rate * self.step_factor.log()
        if self.signature == "euclid":
            return energy - loss
        return torch.complex(energy, loss.expand(energy.shape))

    def half_line(self, steps: int) -> HalfLine:
        """The sum over paths from y whose far end, `steps` steps away, is free: a Gaussian in y.

        psi_N(y) = E exp(-(potential part of S) / hbar) over free random walks from y, which tends to the
        ground state, c_0 psi_0(y) exp(-E_0 N dt / hbar). "endpoint" has no potential at y itself.

        Raises:
            TypeError, ValueError: `steps` is not an int >= 1; the signature is "lorentz".
        """
        self._require_euclid("half_line")
        n = _require_steps("steps", steps)
        shrink = torch.exp(-2 * n * self.angle)
        if self.scheme != "endpoint":
            log_cosh = n * self.angle + torch.log1p(shrink) - math.log(2)
            log_factor = n * self.step_factor.log() - log_cosh / 2
            return HalfLine(self.strength * torch.tanh(n * self.angle), log_factor)
        coth = self.strength * (1 + shrink) / (1 - shrink)
        log_cosech = torch.log(2 * self.strength / (1 - shrink)) - n * self.angle
        far = coth + self.end_force
        stiffness = coth - self.end_force - torch.exp(2 * log_cosech) / far
        return HalfLine(stiffness, (log_cosech - far.log()) / 2)

    def _require_euclid(self, what: str) -> None:
        if self.signature != "euclid":
            raise wrong_value("signature", f'"euclid" for {what}', repr(self.signature))


def lattice_oscillator(
    *,
    dt: Real,
    omega: Real = 1.0,
    mass: Real = 1.0,
    hbar: Real = 1.0,
    scheme: str = "trapezoid",
    signature: str = "euclid",
) -> LatticeOscillator:
    r"""The sum over lattice paths of the harmonic oscillator V = m w^2 x^2 / 2, for any number of steps.

    With eps = w dt: "trapezoid" has M = m w sqrt(1 + eps^2/4) and theta = 2 arsinh(eps/2), nu = 1;
    "midpoint" has M = m w, theta = 2 artanh(eps/2) and nu = (1 - eps^2/4)^(-1/2), which "midpoint-vanvleck"
    takes away; in real time sqrt(1 - eps^2/4) and 2 arcsin(eps/2); 2 arctan(eps/2) and (1 + eps^2/4)^(-1/2).
    "endpoint" is "trapezoid" but for its ends, "takahashi-imada" the same with w^2 (1 + eps^2/12) for w^2.
    "exact" is the continuum's oscillator seen at the times n dt: M = m w, theta = eps.

    Args:
        dt: time step > 0, Euclidean or real. Broadcasts, as omega, mass and hbar do.
        omega, mass, hbar: > 0.
        scheme: "trapezoid", "midpoint", "midpoint-vanvleck", "endpoint" (V at the later point of each step),
            "takahashi-imada" ("euclid" only) or "exact".
        signature: "euclid" (weights exp(-S/hbar)) or "lorentz" (weights exp(i S/hbar)).

    Returns:
        LatticeOscillator, with propagator, correlator, partition_function, levels and half_line;
        differentiable in all of dt, omega, mass and hbar.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value; w dt >= 2 where the lattice has no
            oscillation: midpoint rules in "euclid", "trapezoid" and "endpoint" in "lorentz".

    Source: Creutz & Freedman, Ann. Phys. 132, 427 (1981), for the trapezoid's ring; a step as a Mehler kernel
    gives the rest.
    """
    require_choice("scheme", scheme, _SCHEMES)
    require_choice("signature", signature, SIGNATURES)
    step, frequency, m = positive("dt", dt), positive("omega", omega), positive("mass", mass)
    unit = positive("hbar", hbar)
    like = torch.zeros_like(step * frequency * m * unit)
    step, frequency, m, unit = step + like, frequency + like, m + like, unit + like
    middle, euclid = scheme.startswith("midpoint"), signature == "euclid"
    if scheme == "takahashi-imada":
        if not euclid:
            raise wrong_value(
                "scheme", 'not "takahashi-imada" with "lorentz": it serves traces', repr(scheme)
            )
        frequency = frequency * (1 + (frequency * step) ** 2 / 12).sqrt()
    half = frequency * step / 2
    if middle == euclid and scheme != "exact" and values_known() and not bool((half < 1).all()):
        expected = f'omega dt < 2, for "{scheme}" in "{signature}"'
        raise wrong_value("dt", expected, f"omega dt = {float(2 * half.detach().max()):.6g}")
    one = torch.ones_like(half)
    strength, factor, force = m * frequency, one, torch.zeros_like(half)
    if scheme == "exact":
        angle = 2 * half
    elif middle:
        angle = 2 * (torch.atanh(half) if euclid else torch.atan(half))
        if scheme == "midpoint":
            factor = (1 - half**2 if euclid else 1 + half**2).rsqrt()
    else:
        angle = 2 * (torch.asinh(half) if euclid else torch.asin(half))
        strength = strength * (1 + half**2 if euclid else 1 - half**2).sqrt()
    if scheme == "endpoint":
        force = m * frequency**2 * step / 2
    return LatticeOscillator(strength, angle, factor, force, step, unit, signature, scheme)


def _require_steps(name: str, value: Any) -> int:
    require_count(name, value)
    if value < 1:
        raise wrong_value(name, "an int >= 1", value)
    return int(value)


def _sites(name: str, value: Any) -> Tensor:
    """Whole numbers as float64."""
    if isinstance(value, bool) or not isinstance(value, int | Tensor):
        raise wrong_type(name, "an int or an integer tensor", type(value).__name__)
    if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
        raise wrong_type(name, "an int or an integer tensor", value.dtype)
    return torch.as_tensor(value).double()
