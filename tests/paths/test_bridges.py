"""Exact samplers of bridges and of the lattice oscillator: covariances, counters, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from qcore import _core
from qcore.paths import gaussian_paths, lattice_oscillator, levy_bridge
from qcore.paths._gaussian_chain import bridge_coefficients, chain_step, open_coefficients

SAMPLES = 20_000


def close_to_moments(x: Tensor, mean: Tensor, covariance: Tensor) -> None:
    """Samples (S, n) of a Gaussian, within 4.5 sigma of its mean and covariance at every entry."""
    n = x.shape[0]
    variance = covariance.diagonal()
    moving = variance > 0
    assert torch.equal(x[:, ~moving], mean[~moving].expand(n, -1))
    off = (x.mean(0) - mean)[moving].abs() / (variance[moving] / n).sqrt()
    assert off.max() < 4.5
    centred = (x - mean)[:, moving]
    sample = centred.T @ centred / n
    c = covariance[moving][:, moving]
    spread = ((c**2 + c.diagonal()[:, None] * c.diagonal()) / n).sqrt()
    assert ((sample - c).abs() / spread).max() < 4.5


def lattice_covariance(
    steps: int, dt: float, omega: float, mass: float, hbar: float, scheme: str, boundary: str
) -> Tensor:
    """The inverse of the Hessian of S_E / hbar, for the beads that move."""
    points = steps if boundary == "periodic" else steps + 1
    hessian = torch.zeros(points, points, dtype=torch.float64)
    spring = mass * omega**2 * dt
    for n in range(steps):
        i, j = n, (n + 1) % points
        link = torch.zeros(points, dtype=torch.float64)
        link[i] -= 1
        link[j] += 1
        hessian += mass / dt * torch.outer(link, link)
        if scheme == "midpoint":
            hessian += spring / 4 * torch.outer(link.abs(), link.abs())
        else:
            hessian[i, i] += spring / 2
            hessian[j, j] += spring / 2
    first = {"periodic": 0, "open": 1, "pinned": 1}[boundary]
    last = points - 1 if boundary == "pinned" else points
    covariance = torch.zeros(points, points, dtype=torch.float64)
    covariance[first:last, first:last] = torch.linalg.inv(hessian[first:last, first:last] / hbar)
    return covariance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bridges_have_brownian_covariance(dtype: torch.dtype) -> None:
    mass, hbar, dt, steps = 1.3, 0.7, 0.25, 9
    x = levy_bridge(0.5, -1.0, steps=steps, dt=dt, samples=SAMPLES, mass=mass, hbar=hbar, seed=1, dtype=dtype)
    assert x.dtype == dtype
    assert x.is_contiguous()
    t = dt * torch.arange(steps + 1, dtype=torch.float64)
    mean = (0.5 - 1.5 * t / t[-1]).to(dtype).double()
    covariance = hbar / mass * torch.minimum(t[:, None], t) * (t[-1] - torch.maximum(t[:, None], t)) / t[-1]
    close_to_moments(x.double(), mean, covariance)


def test_bridges_of_uneven_times() -> None:
    t = torch.tensor([0.0, 0.1, 0.15, 0.9, 1.0, 2.5], dtype=torch.float64) + 3
    x = levy_bridge(0.0, 2.0, times=t, samples=SAMPLES, seed=2)
    s = t - t[0]
    covariance = torch.minimum(s[:, None], s) * (s[-1] - torch.maximum(s[:, None], s)) / s[-1]
    close_to_moments(x, 2 * s / s[-1], covariance)


@pytest.mark.parametrize("scheme", ["trapezoid", "midpoint"])
@pytest.mark.parametrize("boundary", ["periodic", "pinned", "open"])
def test_lattice_oscillator_has_the_covariance_of_its_action(boundary: str, scheme: str) -> None:
    steps, dt, omega, mass, hbar = 7, 0.6, 1.4, 1.3, 0.7
    ends = None if boundary == "periodic" else (0.0, 0.0)
    x = gaussian_paths(
        omega,
        steps=steps,
        dt=dt,
        samples=SAMPLES,
        mass=mass,
        hbar=hbar,
        scheme=scheme,
        boundary=boundary,
        ends=ends,
        seed=3,
    )
    covariance = lattice_covariance(steps, dt, omega, mass, hbar, scheme, boundary)
    close_to_moments(x, torch.zeros(x.shape[1], dtype=torch.float64), covariance)


@pytest.mark.parametrize("scheme", ["trapezoid", "midpoint"])
@pytest.mark.parametrize("boundary", ["periodic", "pinned", "open"])
def test_coefficients_give_that_covariance_to_rounding(boundary: str, scheme: str) -> None:
    steps, dt, omega, mass, hbar = 11, 0.4, 1.7, 1.3, 0.7
    step = chain_step(omega, dt, mass, hbar, scheme)
    make = open_coefficients if boundary == "open" else bridge_coefficients
    a, b, s = make(steps, step).unbind(1)
    # x = L xi: the recursion on the coefficients of each normal.
    rows = [torch.zeros(steps + 1, dtype=torch.float64)]
    if boundary == "periodic":
        closed = lattice_oscillator(dt=dt, omega=omega, mass=mass, hbar=hbar, scheme=scheme)
        rows[0][0] = closed.correlator(0, 0, steps).sqrt()
    for n in range(steps):
        row = a[n] * rows[-1] + (b[n] * rows[0] if boundary == "periodic" else 0)
        row[n + 1] = row[n + 1] + s[n]
        rows.append(row)
    x = torch.stack(rows)
    if boundary == "periodic":
        torch.testing.assert_close(x[-1], x[0], rtol=0, atol=1e-14)
        x = x[:-1]
    expected = lattice_covariance(steps, dt, omega, mass, hbar, scheme, boundary)
    torch.testing.assert_close(x @ x.T, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("scheme", "z", "x2"),
    [
        ("trapezoid", 0.4269072194757819, 0.6523800866955108),
        ("midpoint", 0.450009441573825, 0.6546272563215634),
    ],
)
def test_closed_forms_of_the_oscillator(scheme: str, z: float, x2: float) -> None:
    lattice = lattice_oscillator(dt=0.25, scheme=scheme)
    assert float(lattice.partition_function(8)) == pytest.approx(z, rel=1e-14)
    assert float(lattice.correlator(0, 0, 8)) == pytest.approx(x2, rel=1e-14)


def test_exact_scheme_is_the_continuum_at_any_step() -> None:
    omega, beta = 1.3, 2.0
    x = gaussian_paths(omega, steps=4, beta=beta, samples=SAMPLES, scheme="exact", seed=4)
    j = torch.arange(4, dtype=torch.float64)
    lag = (j[:, None] - j).abs() * beta / 4
    covariance = ((beta / 2 - lag) * omega).cosh() / (2 * omega * math.sinh(beta * omega / 2))
    close_to_moments(x, torch.zeros(4, dtype=torch.float64), covariance)


def test_long_stiff_paths_stay_finite() -> None:
    x = gaussian_paths(50.0, steps=4000, beta=1000.0, samples=3, seed=1)
    assert bool(torch.isfinite(x).all())
    variance = float(lattice_oscillator(dt=0.25, omega=50.0).correlator(0, 0, 4000))
    assert float(x.square().mean()) == pytest.approx(variance, rel=0.1)


def test_no_frequency_is_the_free_bridge() -> None:
    free = gaussian_paths(0.0, steps=6, dt=0.2, samples=5, boundary="pinned", ends=(1.0, -1.0), seed=5)
    slow = gaussian_paths(1e-5, steps=6, dt=0.2, samples=5, boundary="pinned", ends=(1.0, -1.0), seed=5)
    torch.testing.assert_close(free, slow, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_path_is_the_same_whatever_is_drawn_beside_it(dtype: torch.dtype) -> None:
    x0 = torch.tensor([0.0, 1.0, -2.0])
    xT = torch.tensor([1.0, 1.0, 3.0])
    whole = levy_bridge(x0, xT, steps=5, dt=0.3, samples=601, seed=9, dtype=dtype)
    assert whole.shape == (3, 601, 6)
    few = levy_bridge(x0[:2], xT[:2], steps=5, dt=0.3, samples=37, seed=9, dtype=dtype)
    assert torch.equal(whole[:2, :37], few)
    later = levy_bridge(x0, xT, steps=5, dt=0.3, samples=101, seed=9, first=500, dtype=dtype)
    assert torch.equal(whole[:, 500:], later)
    single = levy_bridge(0.0, 1.0, steps=5, dt=0.3, samples=7, seed=9, dtype=dtype)
    assert torch.equal(whole[0, :7], single)
    other = levy_bridge(0.0, 1.0, steps=5, dt=0.3, samples=7, seed=10, dtype=dtype)
    assert not torch.equal(other, single)


def test_bits_do_not_depend_on_the_threads() -> None:
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runs.append(gaussian_paths(1.0, steps=8, dt=0.2, samples=2000, seed=1))
    assert torch.equal(*runs)


def test_a_tensor_without_axes_is_a_number() -> None:
    kind = {"steps": 3, "dt": 0.1, "samples": 2, "seed": 4}
    assert torch.equal(levy_bridge(torch.tensor(0.5), 1.0, **kind), levy_bridge(0.5, 1.0, **kind))
    assert levy_bridge(torch.tensor([0.5]), 1.0, **kind).shape == (1, 2, 4)


def test_no_samples() -> None:
    assert levy_bridge(0.0, 1.0, steps=3, dt=0.1, samples=0).shape == (0, 4)
    assert levy_bridge(torch.zeros(0), torch.zeros(0), steps=3, dt=0.1, samples=2).shape == (0, 2, 4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps: expected at least 1"),
        ({"dt": None}, ValueError, "steps: expected steps and dt, or times, got steps alone"),
        ({"steps": None, "dt": None}, ValueError, "steps: expected steps and dt, or times, got neither"),
        ({"dt": 0.0}, ValueError, "dt: expected a finite number > 0"),
        ({"mass": -1.0}, ValueError, "mass"),
        ({"hbar": 0.0}, ValueError, "hbar"),
        ({"samples": -1}, ValueError, "samples"),
        ({"samples": 2**32, "first": 1}, ValueError, "samples: expected sample numbers below 2\\^32"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 2**64}, ValueError, "seed"),
        ({"times": torch.rand(3)}, ValueError, "times: expected times alone"),
        ({"steps": None, "dt": None, "times": torch.tensor([0.0, 1.0, 1.0])}, ValueError, "increasing"),
        ({"steps": None, "dt": None, "times": [0.0, 1.0]}, TypeError, "times: expected a torch.Tensor"),
        ({"dtype": torch.float16}, TypeError, "dtype"),
        ({"x0": float("nan")}, ValueError, "x0: expected finite"),
        ({"x0": torch.zeros(2), "xT": torch.zeros(3)}, ValueError, "xT: expected shape"),
        ({"x0": "0"}, TypeError, "x0: expected a real number"),
    ],
)
def test_bridge_refusals(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    good: dict[str, object] = {"x0": 0.0, "xT": 1.0, "steps": 4, "dt": 0.1, "samples": 2}
    with pytest.raises(error, match=message):
        levy_bridge(**{**good, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"omega": 0.0}, "omega: expected a finite number > 0 for closed paths"),
        ({"omega": -1.0}, "omega"),
        ({"omega": math.inf}, "omega"),
        ({"dt": None}, "dt: expected either dt or beta"),
        ({"beta": 1.0}, "dt: expected either dt or beta"),
        ({"dt": None, "beta": 0.0}, "beta: expected a finite number > 0"),
        ({"dt": 3.0, "scheme": "midpoint"}, "dt: expected omega dt < 2"),
        ({"scheme": "endpoint"}, "scheme: expected one of"),
        ({"boundary": "free"}, "boundary: expected one of"),
        ({"boundary": "pinned"}, "ends: expected"),
        ({"ends": (0.0, 0.0)}, "ends: expected"),
        ({"boundary": "open", "ends": 0.0}, "ends: expected a sequence of two ends"),
        ({"boundary": "pinned", "ends": (0.0, 0.0, 0.0)}, r"ends: expected \(x_0, x_N\)"),
    ],
)
def test_oscillator_refusals(arguments: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"omega": 1.0, "steps": 4, "dt": 0.1, "samples": 2}
    with pytest.raises((ValueError, TypeError), match=message):
        gaussian_paths(**{**good, **arguments})  # type: ignore[arg-type]


def raw(**arguments: object) -> None:
    """A direct call of the kernel, right but for what is given."""
    good: dict[str, object] = {
        "coefficients": torch.zeros(4, 3, dtype=torch.float64),
        "start": torch.zeros(2, dtype=torch.float64),
        "end": torch.zeros(2, dtype=torch.float64),
        "start_sigma": 0.0,
        "closed": False,
        "purpose": 0,
        "first": 0,
        "seed": 0,
        "out": torch.zeros(2, 3, 5),
    }
    _core.paths_gaussian(*{**good, **arguments}.values())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("coefficients", torch.zeros(4, 3), "coefficients: expected dtype float64"),
        ("coefficients", torch.zeros(4, 2, dtype=torch.float64), "coefficients: expected shape"),
        ("coefficients", torch.zeros(3, 4, dtype=torch.float64).T, "coefficients: expected a contiguous"),
        ("start", torch.zeros(2, 1, dtype=torch.float64), "start: expected shape"),
        ("end", torch.zeros(3, dtype=torch.float64), "end: expected shape"),
        ("out", torch.zeros(2, 3, 4), "out: expected shape"),
        ("out", torch.zeros(2, 3, 5, dtype=torch.complex64), "out: expected dtype"),
        ("out", torch.zeros(2, 5, 3).transpose(1, 2), "out: expected a contiguous"),
        ("first", 2**32 - 2, "first: expected numbers"),
    ],
)
def test_the_kernel_refuses(name: str, value: object, message: str) -> None:
    raw()
    with pytest.raises(ValueError, match=message):
        raw(**{name: value})
