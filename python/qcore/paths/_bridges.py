"""Paths drawn exactly: free bridges, and those of the harmonic oscillator on a lattice of times."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qcore._ops._check import require_choice, require_number, require_positive, shape, wrong_type, wrong_value
from qcore._ops.paths_samplers import GaussianChain
from qcore._ops.paths_samplers import gaussian_paths as draw

from ._gaussian_chain import bridge_coefficients, chain_step, open_coefficients
from ._lattice_oscillator import lattice_oscillator
from ._sampling import Real, checked_samples, checked_steps, require_sequence

LEVY_SLOT, GAUSSIAN_SLOT = 0, 1


def levy_bridge(
    x0: Real | Tensor,
    xT: Real | Tensor,
    *,
    samples: int,
    seed: int = 0,
    steps: int | None = None,
    dt: float | None = None,
    times: Tensor | None = None,
    mass: float = 1.0,
    hbar: float = 1.0,
    first: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    r"""Free particles' Euclidean paths from x0 to xT: independent, exact for any division of time.

    Given x_n and the end, with T the last time,

    .. math::
        x_{n+1} \sim N\Big(x_n + \frac{t_{n+1} - t_n}{T - t_n} (x_T - x_n),\ \frac{\hbar}{m}
        \frac{(t_{n+1} - t_n)(T - t_{n+1})}{T - t_n}\Big),

    so that Cov(x_i, x_j) = (hbar / m) t_i (T - t_j) / T for i <= j.

    Args:
        x0, xT: numbers, or either (B,) for bridges between B pairs of points.
        samples: paths for each pair.
        seed: 64 bits; path i of pair b is the same whatever `samples` and B are.
        steps, dt: N equal steps, or
        times: (N+1,) increasing times instead.
        mass, hbar: > 0.
        first: number of the first path; others follow, below 2^32.
        dtype: float32 or float64.

    Returns:
        (samples, N+1), or (B, samples, N+1): x_0 ... x_N, the ends included.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value.

    Source: Levy, Compositio Math. 7, 283 (1939); Ceperley, Rev. Mod. Phys. 67, 279 (1995), section V.
    """
    require_positive("mass", mass)
    require_positive("hbar", hbar)
    if times is not None:
        if steps is not None or dt is not None:
            raise wrong_value("times", "times alone, or steps and dt", "both")
        gaps = _gaps(times)
    else:
        if steps is None or dt is None:
            given = "neither" if steps is dt else "steps alone" if dt is None else "dt alone"
            raise wrong_value("steps", "steps and dt, or times", given)
        checked_steps(steps)
        require_positive("dt", dt)
        gaps = torch.full((steps,), float(dt), dtype=torch.float64)
    left = gaps.flip(0).cumsum(0).flip(0)  # T - t_n
    after = torch.cat([left[1:], left.new_zeros(1)])
    a, b = after / left, gaps / left
    coefficients = torch.stack([a, b, (hbar / mass * gaps * a).sqrt()], 1)
    start, end, single = _pair(x0, xT)
    chain = GaussianChain(coefficients, start, end, 0.0, False)
    paths = _drawn(chain, samples, first, seed, dtype, LEVY_SLOT)
    return paths[0] if single else paths


def gaussian_paths(
    omega: float,
    *,
    steps: int,
    samples: int,
    seed: int = 0,
    dt: float | None = None,
    beta: float | None = None,
    mass: float = 1.0,
    hbar: float = 1.0,
    scheme: str = "trapezoid",
    boundary: str = "periodic",
    ends: tuple[Real | Tensor, Real | Tensor] | None = None,
    first: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    r"""Euclidean paths of the harmonic oscillator in N steps, independent and exact.

    Each bead is drawn given the one before and the last, from the product of two kernels of Mehler with the
    lattice's own M and Theta (all steps n of a path are one Gaussian Markov chain):

        trapezoid: M = m w sqrt(1 + (w dt)^2 / 4), Theta = 2 arsinh(w dt / 2)
        midpoint:  M = m w, Theta = 2 artanh(w dt / 2), for w dt < 2
        exact:     M = m w, Theta = w dt, the continuum's paths seen at the times n dt.

    For i <= j: periodic <x_i x_j> = (hbar / 2M) cosh((N/2 - j + i) Theta) / sinh(N Theta / 2); pinned at 0
    (hbar / M) sinh(i Theta) sinh((N - j) Theta) / sinh(N Theta).

    Args:
        omega: w; > 0, and for pinned or open paths 0 as well, the free particle.
        steps: N >= 1.
        samples: paths, for each pair of ends.
        seed: 64 bits.
        dt, beta: a step, or the whole hbar beta = N dt.
        mass, hbar: > 0.
        scheme: whose lattice, see above.
        boundary: "periodic", x_N = x_0; "pinned" between `ends`; "open" from ends[0], summed over x_N.
        ends: x_0 and x_N, numbers or (B,); of open paths the second is not used.
        first, dtype: as of `levy_bridge`.

    Returns:
        (samples, N) for "periodic", else (samples, N+1); (B, samples, N+1) if an end is (B,).

    Raises:
        TypeError, ValueError: an argument of the wrong type or value.
    """
    require_positive("mass", mass)
    require_positive("hbar", hbar)
    require_number("omega", omega)
    require_choice("boundary", boundary, ("periodic", "pinned", "open"))
    checked_steps(steps)
    if (dt is None) == (beta is None):
        raise wrong_value("dt", "either dt or beta", "both" if beta is not None else "neither")
    require_positive("beta" if dt is None else "dt", beta if dt is None else dt)
    spacing = float(dt) if dt is not None else float(hbar) * float(beta or 0.0) / steps
    if not 0 <= omega < math.inf or (omega == 0 and boundary == "periodic"):
        expected = (
            "a finite number > 0 for closed paths" if boundary == "periodic" else "a finite number >= 0"
        )
        raise wrong_value("omega", expected, omega)
    if (ends is None) != (boundary == "periodic"):
        raise wrong_value("ends", "None for closed paths, else (x_0, x_N)", ends)
    if ends is not None:
        require_sequence("ends", ends, "two ends")
        if len(ends) != 2:
            raise wrong_value("ends", "(x_0, x_N)", ends)
    make = open_coefficients if boundary == "open" else bridge_coefficients
    coefficients = make(steps, chain_step(float(omega), spacing, float(mass), float(hbar), scheme))
    start, end, single = _pair(*ends) if ends is not None else _pair(0.0, 0.0)
    sigma = 0.0
    if ends is None:
        lattice = lattice_oscillator(dt=spacing, omega=omega, mass=mass, hbar=hbar, scheme=scheme)
        sigma = math.sqrt(float(lattice.correlator(0, 0, steps)))
    chain = GaussianChain(coefficients, start, end, sigma, ends is None)
    paths = _drawn(chain, samples, first, seed, dtype, GAUSSIAN_SLOT)
    if ends is None:
        return paths[0, :, :-1].contiguous()
    return paths[0] if single else paths


def _drawn(
    chain: GaussianChain, samples: int, first: int, seed: int, dtype: torch.dtype, slot: int
) -> Tensor:
    checked_samples(samples)
    if dtype not in (torch.float32, torch.float64):
        raise wrong_type("dtype", "torch.float32 or torch.float64", dtype)
    return draw(chain, samples=samples, first=first, seed=seed, dtype=dtype, slot=slot)


def _gaps(times: Tensor) -> Tensor:
    if not isinstance(times, Tensor):
        raise wrong_type("times", "a torch.Tensor", type(times).__name__)
    if times.ndim != 1 or times.shape[0] < 2 or times.is_complex():
        raise wrong_value("times", "real, shape (N+1,) with N >= 1", shape(times))
    gaps = times.detach().cpu().double().diff()
    if not bool((gaps > 0).all()) or not bool(torch.isfinite(gaps).all()):
        raise wrong_value("times", "finite increasing times", times.tolist())
    return gaps


def _pair(x0: Real | Tensor, xT: Real | Tensor) -> tuple[Tensor, Tensor, bool]:
    """Ends as (B,) float64, and whether they were numbers."""
    ends = []
    for name, value in (("x0", x0), ("xT", xT)):
        if not isinstance(value, Tensor):
            require_number(name, value)
            value = torch.tensor(float(value), dtype=torch.float64)
        if value.ndim > 1 or value.is_complex():
            raise wrong_value(name, "a number or real (B,)", shape(value))
        if not bool(torch.isfinite(value).all()):
            raise wrong_value(name, "finite numbers", "some that aren't")
        ends.append(value.detach().cpu().double())
    single = not ends[0].ndim and not ends[1].ndim
    ends = [end.reshape(-1) for end in ends]
    if ends[0].shape != ends[1].shape and 1 not in (len(ends[0]), len(ends[1])):
        raise wrong_value("xT", f"shape {tuple(ends[0].shape)}, like x0", shape(ends[1]))
    count = max(len(end) for end in ends) if all(len(end) for end in ends) else 0
    start, end = (value.expand(count).contiguous() for value in ends)
    return start, end, single
