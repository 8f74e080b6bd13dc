"""What Cayley steps are for: first derivatives, varying mass, diffusion with drift; closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from qcore.schrodinger.cayley import cayley

from .cayley_oracle import draw, tridiagonal

# --- five points by hand, to the digits printed in the theory ---

LINE = (
    torch.tensor([0.0, 0.5, 1.0, 0.5, 0.0], dtype=torch.float64) + 1.0
)  # 2 D / dx^2 + V with D = 1/2, dx = 1
HOPPING = torch.full((4,), -0.5, dtype=torch.float64)
START = torch.tensor([0, 1, 1j, 0, 0.5], dtype=torch.complex128)


def test_five_points_in_real_time() -> None:
    expected = [
        0.021908481598 + 0.090639186857j,
        0.856600700331 - 0.256891258252j,
        0.410068454360 + 1.006673031774j,
        -0.082866247418 + 0.082214298140j,
        0.485618766194 - 0.102705188990j,
    ]
    got = cayley(START, LINE, HOPPING, -0.1j, 1)
    assert np.abs(got.numpy() - expected).max() < 1e-12
    h = tridiagonal(HOPPING, LINE, HOPPING)
    for state in (START.numpy(), got.numpy()):
        assert abs(np.vdot(state, state).real - 2.25) < 1e-14
        assert abs(np.vdot(state, h @ state).real - 3.75) < 1e-14


def test_five_points_in_imaginary_time() -> None:
    expected = [
        0.0793555 + 0.00331236j,
        0.74582102 + 0.07287181j,
        0.07452799 + 0.67273932j,
        0.04285072 + 0.07287181j,
        0.41103867 + 0.00331236j,
    ]
    assert np.abs(cayley(START, LINE, HOPPING, -0.1, 1).numpy() - expected).max() < 1e-8


# --- the wave function of a two-neuron network: complex Hermitian, its first derivative in the off-diagonals
# ---


def _constants(
    tau1: float, tau2: float, w11: float, w12: float, w21: float, w22: float, *rest: float
) -> tuple[float, float, float, float, float]:
    theta1, theta2, i1, i2 = rest
    c1, d1 = (w12 * theta1 + w22 * theta2 + i2) / tau2, (w21 * theta2 + w11 * theta1 + i1) / tau1
    return c1, w12 / (2 * tau2), d1, w21 / (2 * tau1), (w11 - 1) / tau1


NETWORKS = {
    "A": _constants(1.0, 1.0, 1.5, -2.0, 1.0, 0.5, 0.1, -0.2, 0.3, -0.4),
    "B": _constants(0.8, 1.6, 0.6, 2.4, -1.2, 1.8, 0.2, 0.1, -0.3, 0.5),
    "C": _constants(1.0, 2.0, 1.25, 1.2, 0.9, 0.5, 0.3, 0.2, 0.1, -0.1),
}
# psi(0), psi(0.7), <y2>, <y1> at t = 1.
AT_ONE = {
    "A": (0.2980721627 - 0.3679007885j, 0.2132699845 - 0.2085192477j, -1.077851764585, 0.485207535275),
    "B": (0.4636188727 + 0.143181167j, 0.4122585475 + 0.5348784272j, 0.988866014916, -1.223573627187),
    "C": (0.4174432388 + 0.1790824479j, 0.6310071417 - 0.1158685858j, 1.100573849078, 1.868336256345),
}
LENGTH = 12.0
# Points and steps; at twice of both the error is a quarter. B oscillates fastest.
RUNS = {"A": (400, 50), "B": (400, 50), "C": (400, 50)}


def _operator(name: str, q: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonal and A[j, j+1] of C2 d^2/dq^2 + (a p + p a) / 2 + D1 q + D2 q^2, a = C1 - E2 q (hbar = 1)."""
    c1, c2, d1, d2, e2 = NETWORKS[name]
    h, a = float(q[1] - q[0]), c1 - e2 * q
    return -2 * c2 / h**2 + d1 * q + d2 * q * q, c2 / h**2 - 1j * (a[:-1] + a[1:]) / (4 * h)


def _gaussian(q: Tensor) -> Tensor:
    return np.pi**-0.25 * torch.exp(1j * (0.5j * (q - 0.5) ** 2 - 0.3 * (q - 0.5)))


def _exact(name: str, q: Tensor, branches: int = 400) -> Tensor:
    """The metaplectic solution at t = 1: a Gaussian whose centre follows the network (theory, section 21)."""
    c1, c2, d1, d2, e2 = NETWORKS[name]
    flow = torch.tensor([[-e2, -2 * c2], [-2 * d2, e2]], dtype=torch.float64)
    fixed = -torch.linalg.solve(flow, torch.tensor([c1, -d1], dtype=torch.float64))
    qc, pc = fixed.tolist()
    energy = -c2 * pc**2 + (c1 - e2 * qc) * pc + d1 * qc + d2 * qc**2
    start = torch.tensor([0.5, -0.3], dtype=torch.float64) - fixed
    moved = torch.linalg.matrix_exp(flow) @ start
    qt, pt = (moved + fixed).tolist()
    amplitude, before = 1.0 + 0j, 1.0 + 0j
    for k in range(1, branches + 1):  # the square root that is continuous in time
        (a, b), (c, d) = torch.linalg.matrix_exp(flow * k / branches).tolist()
        amplitude *= (before / (a + 1j * b)) ** 0.5
        before = a + 1j * b
    width = (c + 1j * d) / before
    action = pc * (qt - 0.5) + 0.5 * float(moved[1] * moved[0] - start[1] * start[0]) - energy
    return np.pi**-0.25 * amplitude * torch.exp(1j * (0.5 * width * (q - qt) ** 2 + pt * (q - qt) + action))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_wave_function_of_a_network(name: str) -> None:
    psi0, psi7, y2, y1 = AT_ONE[name]
    assert (
        abs(_exact(name, torch.tensor([0.0, 0.7], dtype=torch.float64)).numpy() - [psi0, psi7]).max() < 2e-10
    )
    points, steps = RUNS[name]
    errors = []
    for factor in (1, 2, 4):
        q = torch.linspace(-LENGTH, LENGTH, factor * points + 1, dtype=torch.float64)
        h = float(q[1] - q[0])
        diagonal, u = _operator(name, q)
        psi = _gaussian(q)
        out = cayley(psi, diagonal, u, -0.5j / (factor * steps), factor * steps)
        errors.append(float((out - _exact(name, q)).norm() * h**0.5))
        assert abs(out.norm() / psi.norm() - 1.0) < 1e-13
        matrix = tridiagonal(u.conj().resolve_conj(), diagonal, u)
        before, after = (float(np.vdot(s, matrix @ s).real) for s in (psi.numpy(), out.numpy()))
        assert abs(after - before) < 1e-11 * np.abs(matrix).max()
        momentum = (out.conj()[1:-1] * (out[2:] - out[:-2]) / 2j).sum().real
        centre = (float(h * (q * out.abs() ** 2).sum()), -float(momentum))
    assert np.allclose(np.divide(errors[:-1], errors[1:]), 4.0, rtol=0.07)
    assert np.abs(np.subtract(centre, (y2, y1))).max() < 10 * errors[-1]
    if name == "A":
        assert np.allclose(errors, [3.93e-3, 9.84e-4, 2.46e-4], rtol=2e-3)


def test_an_eigenvector_gets_exactly_the_phase_of_the_scheme() -> None:
    q = torch.linspace(-8, 8, 161, dtype=torch.float64)
    diagonal, u = _operator("A", q)
    energies, modes = np.linalg.eigh(tridiagonal(u.conj().resolve_conj(), diagonal, u))
    for k in (0, 3, 80, 160):
        out = cayley(torch.tensor(modes[:, k]), diagonal, u, -0.05j, 3)
        phase = np.exp(-6j * np.arctan(0.05 * energies[k]))
        assert np.abs(out.numpy() - phase * modes[:, k]).max() < 1e-12


def test_going_back_in_time_returns() -> None:
    q = torch.linspace(-12, 12, 201, dtype=torch.float64)
    diagonal, u = _operator("A", q)
    psi = _gaussian(q).expand(3, -1)
    there = cayley(psi, diagonal, u, -0.05j, 1000)
    assert (cayley(there, diagonal, u, 0.05j, 1000) - psi).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_norm_and_energy_over_a_hundred_thousand_steps(dtype: torch.dtype) -> None:
    n = 48
    psi = draw(1, n, dtype=torch.complex128)
    psi = (psi / psi.norm()).to(dtype)
    diagonal, u = draw(2, n), draw(3, n - 1, dtype=torch.complex128)
    matrix = tridiagonal(u.conj().resolve_conj(), diagonal, u)
    out = cayley(psi, diagonal, u, -0.3j, 100_000).to(torch.complex128).numpy()
    start = psi.to(torch.complex128).numpy()
    rounding = 1e-16 * 1e5 * 10 if dtype == torch.complex128 else 1e-6
    assert abs(np.vdot(out, out).real - np.vdot(start, start).real) < rounding
    energy = (np.vdot(s, matrix @ s).real for s in (start, out))
    assert abs(np.subtract(*energy)) < rounding * np.abs(matrix).sum(1).max()


# --- mass that varies in space: -d/dx (1 / 2m(x)) d/dx, Hermitian with fluxes between points ---


def test_varying_mass_against_eigenvectors() -> None:
    n, length, steps, dt = 160, 10.0, 200, 0.02
    h = length / (n + 1)
    x = h * torch.arange(1, n + 1, dtype=torch.float64)
    edges = h * (torch.arange(0, n + 1, dtype=torch.float64) + 0.5)
    flux = 0.5 / (1.0 + 0.5 * torch.tanh(edges - length / 2)) / h**2
    diagonal, off = flux[:-1] + flux[1:], -flux[1:-1]
    psi = torch.exp(-2.0 * (x - 3.0) ** 2 + 2j * x)
    out, frames = cayley(psi, diagonal, off, -0.5j * dt, steps, save_every=50)
    energies, modes = np.linalg.eigh(tridiagonal(off, diagonal, off))
    amplitudes = modes.T @ psi.numpy()
    for k, frame in zip((50, 100, 150, 200), frames, strict=True):
        expected = modes @ (amplitudes * np.exp(-2j * k * np.arctan(0.5 * dt * energies)))
        assert np.abs(frame.numpy() - expected).max() < 1e-12
    assert torch.equal(frames[-1], out)


def test_numerov_mass_matrix_is_of_fourth_order() -> None:
    """Standing waves in a box, psi'' by (1 + d^2/12)^{-1} d^2: energies off by h^4; a step is a phase."""
    errors = []
    for n in (15, 31, 63):
        h = np.pi / (n + 1)
        x = torch.tensor(h * np.arange(1, n + 1))
        psi = torch.sin(2 * x) + 0j
        ones = torch.ones(n, dtype=torch.float64)
        mass = (ones * 10 / 12, ones[1:] / 12)
        out = cayley(psi, ones / h**2, -0.5 * ones[1:] / h**2, -0.05j, 1, mass)
        phase = complex((out / psi)[n // 4])
        assert (out - phase * psi).abs().max() < 1e-13
        energy = np.tan(-np.angle(phase) / 2) / 0.05
        errors.append(abs(energy - 2.0))
    assert np.allclose(np.log2(np.divide(errors[:-1], errors[1:])), 4.0, atol=0.05)


# --- diffusion: real numbers ---


def _fokker_planck(n: int, h: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x and the generator of dx = -x dt + sqrt(2) dW: fluxes between cells that keep detailed balance."""
    x = h * (torch.arange(n, dtype=torch.float64) - 0.5 * (n - 1))
    right = torch.exp(-0.5 * (x[1:] ** 2 - x[:-1] ** 2) / 2) / h**2  # rate j -> j + 1
    left = torch.exp(0.5 * (x[1:] ** 2 - x[:-1] ** 2) / 2) / h**2
    diagonal = torch.zeros(n, dtype=torch.float64)
    diagonal[:-1] -= right
    diagonal[1:] -= left
    return x, right, diagonal, left


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fokker_planck(dtype: torch.dtype) -> None:
    n, h, dt = 120, 0.1, 0.004
    x, lower, diagonal, upper = _fokker_planck(n, h)
    assert 0.5 * dt * float(diagonal.abs().max()) < 1.0  # then a step has no negative entry
    p = torch.zeros(n, dtype=dtype)
    p[90] = 1.0
    out, frames = cayley(p, diagonal, (lower, upper), 0.5 * dt, 2500, None, 1)
    close = 1e-12 if dtype == torch.float64 else 1e-5
    assert (frames.sum(1) - 1.0).abs().max() < close
    assert frames.min() > -close * 1e-3
    stationary = torch.exp(-0.5 * x**2)
    assert (out - stationary / stationary.sum()).abs().max() < 3e-5  # e^{-10} of the slowest mode is left
    mean = (frames.double() * x).sum(1)
    times = dt * torch.arange(1, 2501, dtype=torch.float64)
    assert (mean - x[90] * torch.exp(-times)).abs().max() < 0.02  # the drift is exact up to h^2


def test_diffusion_modes_decay_by_the_factor_of_the_scheme() -> None:
    n, z = 50, 0.3
    j, k = np.arange(1, n + 1), 7
    mode = np.sin(k * np.pi * j / (n + 1))
    rate = 2.0 - 2.0 * np.cos(k * np.pi / (n + 1))
    out = cayley(torch.tensor(mode), torch.full((n,), -2.0), torch.ones(n - 1), z, 40)
    assert np.abs(out.numpy() - mode * ((1 - z * rate) / (1 + z * rate)) ** 40).max() < 1e-14


def test_complex_scaling_finds_a_resonance() -> None:
    """-d^2/2dx^2 - x^2/2 along x e^{i pi/4} is -i times an oscillator, complex symmetric: decay rate 1/2."""
    n, dt, steps = 199, 0.01, 100
    errors = []
    for factor in (1, 2):
        points = factor * (n + 1) - 1
        h = 16.0 / (points + 1)
        x = h * torch.arange(1, points + 1, dtype=torch.float64) - 8.0
        turn = np.exp(0.25j * np.pi)
        kinetic = 0.5 / (turn * h) ** 2
        diagonal = 2 * kinetic - 0.5 * (turn * x) ** 2
        off = torch.full((points - 1,), -kinetic)
        start = torch.exp(-0.5 * x**2)
        out = cayley(start + 0j, diagonal, (off, off), -0.5j * dt / factor, steps * factor)
        errors.append(float((out - np.exp(-0.5) * start).abs().max()))
    assert errors[0] < 1e-3
    assert abs(errors[0] / errors[1] - 4.0) < 0.1
