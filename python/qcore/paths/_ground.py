"""Integrals over paths by exact Gaussian paths weighted by the rest: wave functions, partition functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qcore._ops._check import (
    require_choice,
    require_number,
    require_positive,
    require_tensor,
    shape,
    wrong_value,
)
from qcore._ops.paths_samplers import GROUP, GaussianChain, KernelPotential, gaussian_paths, gaussian_weights

from ._gaussian_chain import bridge_coefficients, chain_step, open_coefficients
from ._lattice_oscillator import lattice_oscillator
from ._potential import Polynomial, Potential, PotentialLike, as_potential, evaluate
from ._sampling import checked_samples, checked_steps, duration, finite_at, kernel_potential

WEIGHTS_SLOT = 2
SCHEMES = ("trapezoid", "midpoint")
CHUNK = 16 * GROUP  # paths held at a time for a function of torch


class FewSamplesError(RuntimeError):
    """The weights are so uneven that the average, and its error too, rest on a few paths."""


@dataclass(frozen=True)
class PathIntegral:
    """Logarithms of averages over paths.

    Attributes:
        log: log of the integral; (Q,) float64 or, of a partition function, ().
        error: of `log`, the integral's relative error; same shape.
        ess: effective sample size (sum w)^2 / sum w^2; same shape.
        samples: paths.
        omega: frequency of the oscillator whose paths were drawn; 0 for free ones.
    """

    log: Tensor
    error: Tensor
    ess: Tensor
    samples: int
    omega: float

    @property
    def value(self) -> Tensor:
        """The integral."""
        return self.log.exp()

    @property
    def value_error(self) -> Tensor:
        """Its standard error."""
        return self.error * self.value


def ground_state_wavefunction(
    y: Tensor,
    potential: PotentialLike,
    *,
    steps: int,
    samples: int,
    dt: float,
    mass: float = 1.0,
    hbar: float = 1.0,
    scheme: str = "trapezoid",
    omega: float = 0.0,
    seed: int = 0,
    min_ess: float = 100.0,
) -> PathIntegral:
    r"""Paths of imaginary time from y with a free far end: the ground state's wave function.

    .. math::
        \psi_N(y) = E\Big[\exp\Big(-\frac{dt}{\hbar} \sum_n V_n\Big)\Big]
        \to c_0 \psi_0(y) e^{-E_0 N dt / \hbar}, \qquad c_0 = \int \psi_0,

    over free paths x_0 = y, x_n - x_{n-1} ~ N(0, hbar dt / m), with V_n at beads, both ends by half, or at
    midpoints. The error in dt is of second order for "trapezoid", first for "midpoint". Excited states die
    out as exp(-(E_n - E_0) N dt / hbar). All y share their random numbers: psi comes out smooth, its errors
    correlated.

    Args:
        y: (Q,) real, where.
        potential: polynomial coefficients (c_0 first), a Table, or an elementwise function of torch.
        steps, dt: N >= 1 steps of dt.
        samples: paths.
        mass, hbar: > 0.
        scheme: "trapezoid" or "midpoint".
        omega: >= 0. Paths are drawn from an oscillator of this frequency, exactly, and weighted by the rest
            of the potential: the same expectation, of smaller error where V is near m omega^2 x^2 / 2.
        seed: 64 bits.
        min_ess: effective sample size below which the result is refused.

    Returns:
        PathIntegral of psi_N(y), (Q,): `value` with `value_error`.

    Raises:
        FewSamplesError: the effective sample size is below `min_ess` somewhere.
        TypeError, ValueError: an argument of the wrong type or value.
    """
    require_tensor("y", y)
    if y.ndim != 1 or y.is_complex() or not y.is_floating_point():
        raise wrong_value("y", "real, shape (Q,)", f"{y.dtype}, {shape(y)}")
    start = y.detach().cpu().double().contiguous()
    if not bool(torch.isfinite(start).all()):
        raise wrong_value("y", "finite numbers", "some that aren't")
    for name, value in (("dt", dt), ("mass", mass), ("hbar", hbar)):
        require_positive(name, value)
    checked_steps(steps)
    _require_min_ess(min_ess)
    require_number("omega", omega)
    if not 0 <= omega < math.inf:
        raise wrong_value("omega", "a finite number >= 0", omega)
    require_choice("scheme", scheme, SCHEMES)
    v = as_potential(potential)
    finite_at(v, start, "potential")
    coefficients = open_coefficients(steps, chain_step(float(omega), dt, mass, hbar, scheme))
    chain = GaussianChain(coefficients, start, torch.zeros_like(start), 0.0, False)
    sums = _weights(v, chain, dt / hbar, mass * omega**2 / 2, scheme, samples, seed)
    log_reference = torch.zeros_like(start)
    if omega > 0:
        line = lattice_oscillator(dt=dt, omega=omega, mass=mass, hbar=hbar, scheme=scheme).half_line(steps)
        log_reference = line.log_factor - line.stiffness * start**2 / (2 * hbar)
    return _summed(sums, log_reference, samples, omega, min_ess, "steps * dt")


def partition_function(
    potential: PotentialLike,
    *,
    slices: int,
    samples: int,
    beta: float | None = None,
    dt: float | None = None,
    mass: float = 1.0,
    hbar: float = 1.0,
    scheme: str = "trapezoid",
    omega: float | None = None,
    seed: int = 0,
    min_ess: float = 100.0,
) -> PathIntegral:
    r"""The lattice partition function, log Z with its error, from exact closed paths of an oscillator.

    .. math::
        Z = \Big(\frac{m}{2\pi\hbar dt}\Big)^{N/2} \int \prod_n dx_n e^{-S_E/\hbar}
          = Z_\omega E_\omega\Big[\exp\Big(-\frac{dt}{\hbar} \sum_{n=1}^{N}
            \big(V_n - \tfrac12 m \omega^2 x_n^2\big)\Big)\Big],

    dt = hbar beta / N, with the closed form of :math:`Z_\omega` on the same lattice. What remains of finite
    dt is of second order for "trapezoid", first for "midpoint".

    Args:
        potential: polynomial coefficients (c_0 first), a Table, or an elementwise function of torch.
        slices: N >= 2.
        samples: paths.
        beta, dt: one of them, or both if they agree.
        mass, hbar: > 0.
        scheme: "trapezoid" or "midpoint".
        omega: of the oscillator, > 0; None takes the one of the least free energy by the bound of Gibbs,
            Bogoliubov and Feynman.
        seed: 64 bits.
        min_ess: effective sample size below which the result is refused.

    Returns:
        PathIntegral with log = log Z, ().

    Raises:
        FewSamplesError: the effective sample size is below `min_ess`: the potential is too far from an
            oscillator's for this many samples.
        TypeError, ValueError: an argument of the wrong type or value.

    Source: Feynman and Hibbs, Quantum Mechanics and Path Integrals, sections 10-11.
    """
    require_positive("mass", mass)
    require_positive("hbar", hbar)
    require_choice("scheme", scheme, SCHEMES)
    _, step = duration(beta, dt, slices, hbar)
    _require_min_ess(min_ess)
    v = as_potential(potential)
    finite_at(v, torch.zeros(1, dtype=torch.float64), "potential")
    if omega is None:
        omega = variational_omega(v, slices, step, mass, hbar, scheme)
    require_positive("omega", omega)
    lattice = lattice_oscillator(dt=step, omega=omega, mass=mass, hbar=hbar, scheme=scheme)
    zero = torch.zeros(1, dtype=torch.float64)
    sigma = math.sqrt(float(lattice.correlator(0, 0, slices)))
    coefficients = bridge_coefficients(slices, chain_step(float(omega), step, mass, hbar, scheme))
    chain = GaussianChain(coefficients, zero, zero, sigma, True)
    sums = _weights(v, chain, step / hbar, mass * omega**2 / 2, scheme, samples, seed)
    return _summed(sums[0], lattice.log_partition_function(slices), samples, omega, min_ess, "beta")


def variational_omega(
    potential: Potential, slices: int, dt: float, mass: float, hbar: float, scheme: str
) -> float:
    """The omega that minimises -log Z_omega + (N dt / hbar) <V - m omega^2 x^2 / 2>_omega, by search.

    Averages over the bead's Gaussian are by Gauss-Hermite quadrature with 64 points.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    z, w = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())

    def bound(omega: Tensor) -> Tensor:
        lattice = lattice_oscillator(dt=dt, omega=omega, mass=mass, hbar=hbar, scheme=scheme)
        x = lattice.correlator(0, 0, slices).sqrt()[:, None] * z
        rest = evaluate(potential, x).double() - 0.5 * mass * (omega[:, None] * x) ** 2
        value = slices * dt / hbar * (rest @ w) - lattice.log_partition_function(slices)
        return torch.where(value.isfinite(), value, math.inf)

    low, high = 0.05 / (slices * dt), (1.9 if scheme == "midpoint" else 20) / dt
    with torch.no_grad():
        for _ in range(4):  # each time around the best of the last
            grid = torch.from_numpy(np.geomspace(low, high, 61))
            best = int(bound(grid).argmin())
            low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, 60)])
    return float(grid[best])


def _require_min_ess(min_ess: float) -> None:
    require_number("min_ess", min_ess)
    if not 0 <= min_ess < math.inf:
        raise wrong_value("min_ess", "a finite number >= 0", min_ess)


def _weights(
    v: Potential, chain: GaussianChain, scale: float, half_spring: float, scheme: str, samples: int, seed: int
) -> Tensor:
    """(Q, groups, 3) of the weights exp(-scale sum (V - half_spring x^2)); see `gaussian_weights`."""
    checked_samples(samples)
    if samples < 2:
        raise wrong_value("samples", "at least 2", samples)
    midpoint, kernel = scheme == "midpoint", kernel_potential(v)
    if kernel is None:
        return _weights_in_torch(v, chain, scale, half_spring, midpoint, samples, seed)
    if isinstance(v, Polynomial) and half_spring > 0:  # taken from the coefficients, where they nearly cancel
        c = torch.zeros(max(3, v.coefficients.shape[0]), dtype=torch.float64)
        c[: v.coefficients.shape[0]] = v.coefficients
        c[2] -= half_spring
        kernel, half_spring = KernelPotential(c), 0.0
    return gaussian_weights(
        chain,
        kernel,
        scale=scale,
        quadratic=scale * half_spring,
        midpoint=midpoint,
        samples=samples,
        first=0,
        seed=seed,
        slot=WEIGHTS_SLOT,
    )


def _weights_in_torch(
    v: Potential,
    chain: GaussianChain,
    scale: float,
    half_spring: float,
    midpoint: bool,
    samples: int,
    seed: int,
) -> Tensor:
    rows = []
    for start, end in zip(chain.start, chain.end, strict=True):
        one = chain._replace(start=start.reshape(1), end=end.reshape(1))
        groups = []
        for first in range(0, samples, CHUNK):
            count = min(CHUNK, samples - first)
            x = gaussian_paths(
                one, samples=count, first=first, seed=seed, dtype=torch.float64, slot=WEIGHTS_SLOT
            )[0]
            place = (x[:, 1:] + x[:, :-1]) * 0.5 if midpoint else x
            with torch.no_grad():
                rest = evaluate(v, place).double() - half_spring * place**2
            log_w = -scale * (rest.sum(1) if midpoint else rest.sum(1) - 0.5 * (rest[:, 0] + rest[:, -1]))
            for group in torch.split(log_w, GROUP):
                largest = group.max()
                w = (group - largest).exp()
                groups.append(torch.stack([largest, w.sum(), (w * w).sum()]))
        rows.append(torch.stack(groups))
    return torch.stack(rows)


def _summed(
    sums: Tensor, log_reference: Tensor, samples: int, omega: float, min_ess: float, shorter: str
) -> PathIntegral:
    """From sums over groups (..., groups, 3) to log averages, refused where they rest on a few samples."""
    largest, total, squares = sums.unbind(-1)
    top = largest.amax(-1, keepdim=True)
    if not bool(torch.isfinite(top).all()):
        raise wrong_value("potential", "finite values on the paths", "weights that aren't")
    share = (largest - top).exp()
    total, squares = (total * share).sum(-1), (squares * share**2).sum(-1)
    ess = total**2 / squares
    if not bool((ess >= min_ess).all()):
        raise FewSamplesError(
            f"ess: expected at least {min_ess:g} effective samples, got {float(ess.min()):.3g} of {samples}: "
            f"the weights are too uneven; take more samples, a smaller {shorter}, or an omega nearer to the "
            "potential"
        )
    error = ((samples / ess - 1).clamp(min=0) / (samples - 1)).sqrt()
    log = log_reference + top[..., 0] + (total / samples).log()
    return PathIntegral(log, error, ess, samples, float(omega))
