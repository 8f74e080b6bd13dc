"""Random cosine networks whose two-point function is the oscillator's: a field theory made of neurons."""

from __future__ import annotations

from math import atan, exp, pi, sqrt

import torch
from torch import Tensor

from qcore._ops._check import require_count, require_number, require_positive, shape, wrong_type, wrong_value
from qcore._optional import optional_import


def random_cosine_paths(
    t: Tensor,
    *,
    features: int,
    samples: int,
    omega: float = 1.0,
    mass: float = 1.0,
    hbar: float = 1.0,
    cutoff: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Random networks x(t) = sum_n a_n cos(b_n t + c_n) with the oscillator's correlator at every width.

    Without a cutoff b is Cauchy distributed with width omega, c uniform over a turn and a normal of variance
    hbar / (m omega N), so that

    .. math:: \langle x(t_1) x(t_2) \rangle = \frac{\hbar}{2 m \omega} e^{-\omega |t_1 - t_2|}

    exactly for every number N of features; the excess kurtosis is 3 / (2 N). With a cutoff L, b is uniform
    on (-L, L) and a carries (b^2 + omega^2)^(-1/2): the correlator is that of :func:`cosine_two_point`, and
    the kurtosis that of :func:`cosine_kurtosis`, which grows with L: N has to be large beside L / omega
    before x is Gaussian.

    Args:
        t: times, (Q,), float32 or float64.
        features: N.
        samples: S.
        omega, mass, hbar: of the oscillator.
        cutoff: L, above 0, or None.
        generator: of the random numbers.

    Returns:
        (S, Q), of the type of t. Memory is a few of these, whatever N.

    Raises:
        ValueError: a shape or number out of range.
        TypeError: an argument of the wrong type.

    Source: arXiv:2112.04527 and 2307.03223; theory section 9, with the normalisation for the oscillator.
    """
    if not isinstance(t, Tensor) or t.dtype not in (torch.float32, torch.float64):
        raise wrong_type("t", "a tensor of float32 or float64", getattr(t, "dtype", type(t).__name__))
    if t.ndim != 1:
        raise wrong_value("t", "shape (Q,)", shape(t))
    _require_oscillator(omega, mass, hbar, cutoff)
    for name, count in (("features", features), ("samples", samples)):
        require_count(name, count)
    if features == 0:
        raise wrong_value("features", "at least 1", features)

    def uniform() -> Tensor:
        return torch.rand(samples, 1, generator=generator, dtype=torch.float64, device=t.device) - 0.5

    x = t.new_zeros(samples, t.shape[0])
    for _ in range(features):
        amplitude = torch.randn(samples, 1, generator=generator, dtype=torch.float64, device=t.device)
        if cutoff is None:
            b = omega * torch.tan(pi * uniform())
            amplitude = amplitude * sqrt(hbar / (mass * omega * features))
        else:
            b = 2 * cutoff * uniform()
            # s^2 = 2 L hbar / (pi m) gives <x x> -> hbar / (2 m omega) as L grows
            amplitude = (
                amplitude * (2 * cutoff * hbar / (pi * mass * features) / (b.square() + omega**2)).sqrt()
            )
        x += (amplitude * torch.cos(b * t.double() + 2 * pi * uniform())).to(x.dtype)
    return x


def cosine_two_point(
    t: float, *, omega: float = 1.0, mass: float = 1.0, hbar: float = 1.0, cutoff: float | None = None
) -> float:
    r"""<x(0) x(t)> of :func:`random_cosine_paths`, for any number of features.

    Without a cutoff (hbar / (2 m omega)) exp(-omega |t|), with one

    .. math:: \frac{\hbar}{2\pi m} \int_{-L}^{L} \frac{\cos b t}{b^2 + \omega^2}\,db.

    Args:
        t: the time between the points.
        omega, mass, hbar, cutoff: as in :func:`random_cosine_paths`.

    Returns:
        The correlation.

    Raises:
        ValueError, TypeError: a number out of range, or none.
        qcore._optional.MissingPackage: with a cutoff, t other than 0 and no SciPy.

    Source: theory section 9, the integral by exponential integrals E_1.
    """
    require_number("t", t)
    _require_oscillator(omega, mass, hbar, cutoff)
    if cutoff is None:
        return hbar / (2 * mass * omega) * exp(-omega * abs(t))
    if t == 0:
        integral = 2 / omega * atan(cutoff / omega)
    else:
        exp1 = optional_import("scipy.special", "a correlator with a cutoff", "eigen").exp1
        s = abs(t)
        below, above = exp1(complex(-omega * s, -cutoff * s)), exp1(complex(omega * s, -cutoff * s))
        j = (exp(-omega * s) * below - exp(omega * s) * above) / complex(0, 2 * omega)
        integral = pi / omega * exp(-omega * s) - 2 * float(j.real)
    return hbar / (2 * pi * mass) * integral


def cosine_kurtosis(features: int, *, omega: float = 1.0, cutoff: float | None = None) -> float:
    """Excess kurtosis of x(0) of :func:`random_cosine_paths`: how far N features are from Gaussian.

    Args:
        features: N.
        omega, cutoff: as in :func:`random_cosine_paths`.

    Returns:
        3 / (2 N) without a cutoff L; with one (9/2 M_2 / M_1^2 - 3) / N with the means M_k of
        (b^2 + omega^2)^(-k) over |b| < L.

    Raises:
        ValueError, TypeError: a number out of range, or none.

    Source: theory section 9.
    """
    require_count("features", features)
    if features == 0:
        raise wrong_value("features", "at least 1", features)
    _require_oscillator(omega, 1.0, 1.0, cutoff)
    if cutoff is None:
        return 1.5 / features
    angle = atan(cutoff / omega)
    first = angle / (cutoff * omega)
    second = (cutoff / (omega**2 * (cutoff**2 + omega**2)) + angle / omega**3) / (2 * cutoff)
    return (4.5 * second / first**2 - 3) / features


def _require_oscillator(omega: float, mass: float, hbar: float, cutoff: float | None) -> None:
    for name, value in (("omega", omega), ("mass", mass), ("hbar", hbar)):
        require_positive(name, value)
    if cutoff is not None:
        require_positive("cutoff", cutoff)
