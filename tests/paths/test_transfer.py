"""Sums over all lattice paths of numbers: against listed paths, closed forms, and themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special

from processes import with_isa
from qcore import _core
from qcore.paths import transfer

from .transfer_oracle import step_by_step, sums

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
BOUNDARIES = ["zero", "periodic"]


def semiring(dtype: torch.dtype) -> str:
    return "complex" if dtype.is_complex else "real"


def tolerance(dtype: torch.dtype) -> float:
    return 1e-13 if dtype in (torch.float64, torch.complex128) else 2e-5


def close(found: torch.Tensor, expected: torch.Tensor, rtol: float) -> None:
    """Relative to the largest entry."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= rtol * expected.abs().max()


# --- every path ---


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sites", "kernel", "steps"), [(5, 3, 6), (4, 5, 4), (3, 7, 3), (1, 3, 4), (5, 3, 0)]
)
@pytest.mark.parametrize("per_step", [False, True])
def test_every_path_is_counted(boundary, dtype, sites, kernel, steps, per_step):
    lead = steps if per_step else 1
    psi = torch.randn(2, sites, dtype=torch.promote_types(dtype, torch.float64))
    taps = torch.randn(lead, 2 if per_step else 1, kernel, dtype=psi.dtype)
    potential = torch.randn(1, 2, sites, dtype=torch.float64)
    gates = torch.randn(lead, sites, dtype=psi.dtype)
    gates[..., 0] = 0  # a closed gate
    factor = torch.exp(-potential) * gates.reshape(lead, 1, sites)
    psi, taps, gates, potential = psi.to(dtype), taps.to(dtype), gates.to(dtype), potential.to(dtype)
    found = transfer(
        psi, taps, potential=potential, gates=gates, steps=steps, boundary=boundary, semiring=semiring(dtype)
    )
    assert found.dtype == dtype
    exact = sums(psi.to(factor.dtype), taps.to(factor.dtype), factor, steps, boundary).to(dtype)
    close(found, exact, tolerance(dtype))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("batch", "sites", "kernel", "steps"),
    [(3, 28, 5, 6), (70, 28, 33, 3), (2, 3, 9, 4), (1, 1500, 65, 3), (9, 301, 7, 20), (2, 150, 129, 2)],
)
def test_sizes_against_a_loop_over_shifts(backend, boundary, dtype, batch, sites, kernel, steps):
    own = batch in (2, 9)  # taps and factors of every problem
    psi = torch.randn(batch, sites, dtype=dtype)
    taps = torch.randn(steps if own else 1, batch if own else 1, kernel, dtype=dtype) / kernel**0.5
    gates = torch.randn(1 if own else steps, 1 if own else batch, sites, dtype=dtype)
    found = transfer(
        psi,
        taps,
        gates=gates,
        steps=steps,
        boundary=boundary,
        semiring=semiring(dtype),
        backend=backend,
        method="direct",
    )
    close(found, step_by_step(psi, taps, gates, steps, boundary), tolerance(dtype) * 4)


def test_shapes():
    psi, taps = torch.randn(2, 3, 7, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    expected = transfer(psi, taps, steps=4)
    assert torch.equal(transfer(psi, taps.expand(4, 3)), expected)
    assert torch.equal(transfer(psi, taps.expand(4, 1, 1, 3)), expected)
    assert torch.equal(transfer(psi, taps.expand(4, 2, 3, 3)), expected)
    assert torch.equal(transfer(psi[1, 2], taps, steps=4), expected[1, 2])
    assert torch.equal(transfer(psi.mT.contiguous().mT, taps, steps=4), expected)
    zeros = torch.zeros(1, 2, 1, 7, dtype=torch.float64)
    assert torch.equal(transfer(psi, taps, potential=zeros, steps=4), expected)
    assert transfer(torch.zeros(0, 7), torch.ones(3), steps=2).shape == (0, 7)
    assert torch.equal(transfer(psi, taps, steps=0), psi)
    assert transfer(psi, taps, potential=torch.zeros(0, 7)).shape == psi.shape  # no steps


# --- closed forms ---


def test_binomial_walk():
    steps, half = 40, 45
    psi = torch.zeros(2 * half + 1, dtype=torch.float64)
    psi[half] = 1
    found = transfer(psi, torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64), steps=steps)
    x = np.arange(-half, half + 1)
    even = (x + steps) % 2 == 0
    expected = np.where(even & (abs(x) <= steps), special.comb(steps, (steps + x) // 2), 0.0) / 2.0**steps
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=0)


def test_ballot_paths_that_never_reach_a_wall():
    """Paths from 0 to x above a wall at -1: binomial minus its image (reflection principle)."""
    steps = 30
    psi = torch.zeros(40, dtype=torch.float64)
    psi[0] = 1
    found = transfer(psi, torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64), steps=steps)
    for x in range(0, 31, 2):
        images = math.comb(steps, (steps + x) // 2) - math.comb(steps, (steps + x + 2) // 2)
        assert found[x].item() == images  # integers below 2^53


def test_continuous_time_walk():
    """Kernel e^{-2t} I_n(2t) as the rate limit, second order in the step after extrapolation."""
    time, half = 1.5, 30
    psi = torch.zeros(2 * half + 1, dtype=torch.float64)
    psi[half] = 1
    exact = special.ive(np.arange(-half, half + 1), 2 * time)
    errors = []
    for steps in (200, 400, 800):
        h = time / steps
        found = transfer(psi, torch.tensor([h, 1 - 2 * h, h], dtype=torch.float64), steps=steps)
        errors.append(np.abs(found.numpy() - exact).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 1.0, atol=0.05)


def test_continuous_time_walk_in_one_step_per_time():
    """The same kernel as taps: composed steps add their times."""
    reach = 40
    n = np.arange(-reach, reach + 1)
    taps = torch.from_numpy(special.ive(n, 2 * 0.25))
    psi = torch.zeros(201, dtype=torch.float64)
    psi[100] = 1
    found = transfer(psi, taps, steps=8)
    exact = special.ive(np.arange(-100, 101), 2 * 2.0)
    np.testing.assert_allclose(found.numpy()[60:141], exact[60:141], rtol=1e-12, atol=1e-60)


def test_tight_binding_chain_is_unitary():
    """Real time: i^n J_n(2t), whose norm is 1."""
    reach, step, steps = 30, 0.5, 10
    n = np.arange(-reach, reach + 1)
    taps = torch.from_numpy((1j**n) * special.jv(n, 2 * step))
    psi = torch.zeros(301, dtype=torch.complex128)
    psi[150] = 1
    found = transfer(psi, taps, steps=steps, semiring="complex")
    m = np.arange(-150, 151)
    exact = (1j ** (m % 4)) * special.jv(m, 2 * step * steps)
    np.testing.assert_allclose(found.numpy(), exact, atol=1e-13)
    assert abs(found.abs().square().sum().item() - 1) < 1e-13


def test_feynmans_checkerboard():
    """Corners weigh i eps: two chains, coupled at every step, summed by corners in closed form."""
    eps, steps = 0.3, 12
    # Sites 2 x + s hold the amplitude at x moving right (s = 0) or left (s = 1); one step moves and may turn.
    psi = torch.zeros(2 * (2 * steps + 3), dtype=torch.complex128)
    start = 2 * (steps + 1)
    psi[start] = 1
    matrix = torch.zeros(len(psi), len(psi), dtype=torch.complex128)
    for x in range(len(psi) // 2):
        for s, move in ((0, 1), (1, -1)):
            y = x + move
            if 0 <= y < len(psi) // 2:
                matrix[2 * y + s, 2 * x + s] = 1
                matrix[2 * y + 1 - s, 2 * x + s] = 1j * eps
    found = transfer(psi, matrix, steps=steps, semiring="complex", dense=True)
    corner = (1j * eps) ** 2
    for right in range(1, steps):
        left = steps - right
        # Right movers at the end went right last, after 2 c corners, or left, and turned. Runs: compositions.
        exact = sum(
            math.comb(right - 1, c)
            * (
                (math.comb(left - 1, c - 1) if c else 0) * corner**c
                + math.comb(left - 1, c) * corner ** (c + 1)
            )
            for c in range(left + 1)
        )
        assert abs(found[start + 2 * (right - left)].item() - exact) < 1e-13


# --- long chains ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_exponents_are_exact_however_long(dtype, size):
    """10^4 steps against logarithms: eigenvalue of a constant state on a ring."""
    steps = 10_000
    taps = torch.tensor([0.25, 0.5, 0.25], dtype=dtype) * size
    psi = torch.full((2, 9), 3.0, dtype=dtype)
    gates = torch.full((9,), 1.0, dtype=dtype)
    out, exponent = transfer(
        psi, taps, gates=gates, steps=steps, boundary="periodic", semiring=semiring(dtype), out_exponent=True
    )
    assert exponent.dtype == torch.int64
    assert exponent.shape == (2,)
    largest = out.abs().amax(-1)
    assert ((largest >= 1) & (largest < 2)).all()
    found = out.abs().double().log() + exponent.double().unsqueeze(-1) * math.log(2)
    expected = math.log(3) + steps * math.log(float(taps.abs().double().sum()))
    eps = torch.finfo(dtype).eps
    assert (found - expected).abs().max() < 3 * steps * eps + 1e-10


def test_exponents_of_zero_and_of_each_problem():
    psi = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1e-30, 0.0], [1.0, 1e30, 5.0]])
    out, exponent = transfer(psi, torch.tensor([0.5, 1.0, 0.5]), steps=3, out_exponent=True)
    assert exponent[0] == 0
    assert not out[0].any()
    plain = transfer(psi.double(), torch.tensor([0.5, 1.0, 0.5]), steps=3)
    torch.testing.assert_close(torch.ldexp(out.double(), exponent.unsqueeze(-1)), plain, rtol=1e-6, atol=0)


# --- what must not change a result ---


@pytest.mark.parametrize("name", ["real", "log", "max"])
@pytest.mark.parametrize("sites", [28, 700])
def test_threads_and_batch_do_not_change_the_bits(name, sites):
    psi = torch.randn(70, sites)
    taps = torch.randn(9)
    if name == "real":
        taps = taps / 3
    gates = torch.randn(4, 70, sites)
    grads = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        leaves = [t.clone().requires_grad_() for t in (psi, taps, gates)]
        out = transfer(leaves[0], leaves[1], gates=leaves[2], semiring=name)
        grads.append((out, *torch.autograd.grad(out.nan_to_num(neginf=0).sum(), leaves)))
    for one, two in zip(*grads, strict=True):
        assert torch.equal(one, two)
    part = transfer(psi[13:20], taps, gates=gates[:, 13:20], semiring=name)
    assert torch.equal(part, grads[0][0][13:20])


def test_nan_and_infinity_stay_where_paths_take_them():
    psi = torch.ones(3, 64)
    psi[1, 20], psi[2, 40] = float("nan"), float("inf")
    out = transfer(psi, torch.tensor([0.25, 0.5, 0.25]), steps=3)
    assert out[0].isfinite().all()
    assert torch.equal(out[1].isnan().nonzero().flatten(), torch.arange(17, 24))
    assert torch.equal(out[2].isinf().nonzero().flatten(), torch.arange(37, 44))
    logs = torch.zeros(3, 64)
    logs[1, 20], logs[2, 40] = float("nan"), float("inf")
    for name in ("log", "max"):
        out = transfer(logs, torch.zeros(3), steps=3, semiring=name)
        assert out[0].isfinite().all()
        assert torch.equal(out[1].isnan().nonzero().flatten(), torch.arange(17, 24))
        assert torch.equal(out[2].isinf().nonzero().flatten(), torch.arange(37, 44))


def agrees_with_plain_steps() -> None:
    torch.manual_seed(1)
    for dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128):
        for sites, kernel in ((28, 3), (301, 33)):
            psi = torch.randn(3, sites, dtype=dtype, requires_grad=True)
            taps = (torch.randn(2, 1, kernel, dtype=dtype) / kernel**0.5).requires_grad_()
            gates = torch.randn(1, 3, sites, dtype=dtype, requires_grad=True)
            name = "complex" if dtype.is_complex else "real"
            tolerance = 1e-4 if torch.finfo(dtype).eps > 1e-10 else 1e-12
            for boundary in ("zero", "periodic"):
                out = transfer(psi, taps, gates=gates, boundary=boundary, semiring=name)
                plain = step_by_step(psi, taps, gates, 2, boundary)
                w = torch.randn_like(out)
                mine = torch.autograd.grad(out, (psi, taps, gates), w)
                theirs = torch.autograd.grad(plain, (psi, taps, gates), w)
                for a, b in zip((out, *mine), (plain, *theirs), strict=True):
                    assert (a - b).abs().max() < tolerance * b.abs().max()
                if dtype.is_complex:
                    continue
                logs = [t.detach().abs().log().requires_grad_() for t in (psi, taps, gates)]
                out = transfer(logs[0], logs[1], gates=logs[2], boundary=boundary, semiring="log")
                plain = step_by_step(*(t.exp() for t in logs), 2, boundary).log()
                mine, theirs = (torch.autograd.grad(o, logs, w) for o in (out, plain))
                for a, b in zip((out, *mine), (plain, *theirs), strict=True):
                    assert (a - b).abs().max() < tolerance * b.abs().max()
                best = transfer(logs[0], logs[1], gates=logs[2], boundary=boundary, semiring="max")
                assert (best <= out + 1e-5).all()
                assert (best > out - 2 * 4.0).all()


@pytest.mark.parametrize("isa", _core.isa_available())
def test_every_instruction_set(isa):
    with_isa(isa, agrees_with_plain_steps)
