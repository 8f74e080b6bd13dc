"""The semirings of logarithms: sums in any range of magnitudes, marginals as gradients, best paths."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from qcore.paths import SignedLog, least_action_path, transfer

from .transfer_oracle import enumerate_paths, listed_paths, sums

BOUNDARIES = ["zero", "periodic"]
NOTHING = float("-inf")


def random_logs(*shape: int, holes: float = 0.2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    logs = torch.randn(*shape, dtype=dtype)
    logs[torch.rand(*shape) < holes] = NOTHING
    return logs


def weights(logs: torch.Tensor, t: int, b: int) -> torch.Tensor:
    return logs[t % logs.shape[0], b % logs.shape[1]]


def log_by_loops(psi, taps, factor, steps, boundary):
    """Step by step with numpy's logaddexp, in float64: no scaling to get wrong."""
    state = psi.double().numpy().copy()
    batch, sites = state.shape
    half = taps.shape[-1] // 2
    for t in range(steps):
        out = np.full_like(state, -np.inf)
        for b, x, k in itertools.product(range(batch), range(sites), range(taps.shape[-1])):
            y = x + k - half
            if boundary == "periodic":
                y %= sites
            if 0 <= y < sites:
                out[b, x] = np.logaddexp(out[b, x], weights(taps, t, b)[k].item() + state[b, y])
        if factor is not None:
            out += np.stack([weights(factor, t, b).double().numpy() for b in range(batch)])
        state = out
    return torch.from_numpy(state)


def same(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """-inf where -inf, and equal to so many units of the logarithm's own rounding."""
    assert torch.equal(found == NOTHING, expected == NOTHING)
    there = expected != NOTHING
    error = (found[there].double() - expected[there]).abs()
    assert (error <= tolerance * (1 + expected[there].abs())).all(), error.max()


# --- every path ---


@pytest.mark.everywhere
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("sites", "kernel", "steps"), [(5, 3, 6), (4, 5, 4), (3, 7, 3), (2, 3, 0)])
def test_every_path_is_counted(boundary, dtype, sites, kernel, steps):
    psi, taps, gates = random_logs(2, sites), random_logs(1, 1, kernel), random_logs(steps, 2, sites)
    potential = torch.randn(sites, dtype=torch.float64)
    factor = None if steps == 0 else (gates - potential)
    exact = sums(psi.exp(), taps.exp(), None if factor is None else factor.exp(), steps, boundary).log()
    found = transfer(
        psi.to(dtype),
        taps.to(dtype),
        potential=potential.to(dtype),
        gates=gates.to(dtype),
        steps=steps,
        boundary=boundary,
        semiring="log",
    )
    same(found, exact, 1e-13 if dtype == torch.float64 else 3e-6)


@pytest.mark.everywhere
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_signs_are_summed(boundary):
    sites, kernel, steps = 4, 3, 5
    plain = [torch.randn(*s, dtype=torch.float64) for s in ((2, sites), (steps, 1, kernel), (1, 1, sites))]
    plain[0][0, 1] = plain[1][2, 0, 1] = 0
    signed = [SignedLog(p.sign(), p.abs().log()) for p in plain]
    found = transfer(signed[0], signed[1], gates=signed[2], steps=steps, boundary=boundary, semiring="log")
    exact = sums(*plain, steps, boundary)
    assert torch.equal(found.sign, exact.sign())
    torch.testing.assert_close(found.log, exact.abs().log(), rtol=0, atol=1e-12)
    only_taps = transfer(signed[0].log, signed[1], steps=steps, boundary=boundary, semiring="log")
    exact = sums(plain[0].abs(), plain[1], None, steps, boundary)
    torch.testing.assert_close(only_taps.sign * only_taps.log.exp(), exact, rtol=1e-12, atol=1e-13)


# --- any range ---


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [1.0, 40.0, 1000.0, 1e5])
def test_any_range_of_magnitudes(backend, boundary, dtype, spread):
    """Neighbours differ by factors up to e^(10^5): no term that counts is lost."""
    psi = random_logs(2, 37, dtype=dtype) * spread
    taps = random_logs(1, 2, 9, dtype=dtype) * min(spread, 1000.0)
    factor = random_logs(3, 1, 37, dtype=dtype, holes=0.1) * spread
    found = transfer(psi, taps, gates=factor, boundary=boundary, semiring="log", backend=backend)
    same(found, log_by_loops(psi, taps, factor, 3, boundary), 1e-14 * 8 if dtype == torch.float64 else 2e-6)


@pytest.mark.everywhere
def test_weights_of_e_to_the_minus_100000():
    """A walk of 10^4 steps of log-weight -10 - log 2 each: its binomial, shifted, to the last digits."""
    steps, half = 10_000, 12
    psi = torch.full((2 * half + 1,), NOTHING, dtype=torch.float64)
    psi[half] = 0.0
    taps = torch.full((1,), -10.0, dtype=torch.float64)
    found = transfer(psi, taps, steps=steps, semiring="log")
    assert found[half] == -1e5
    walk = torch.tensor([-10.0 - math.log(4), -10.0 - math.log(2), -10.0 - math.log(4)], dtype=torch.float64)
    ring = transfer(
        torch.zeros(17, dtype=torch.float64), walk, steps=steps, boundary="periodic", semiring="log"
    )
    torch.testing.assert_close(ring, torch.full_like(ring, -1e5), rtol=3e-14, atol=0)


@pytest.mark.everywhere
def test_tails_of_a_gaussian_walk():
    """Composed Gaussian steps far out, at log-weights near -10^4, where numbers would be 0."""
    steps, reach = 6, 12
    x = torch.arange(-reach, reach + 1, dtype=torch.float64)
    taps = -10 * x.square()
    psi = torch.full((2 * steps * reach + 1,), NOTHING, dtype=torch.float64)
    psi[steps * reach] = 0
    found = transfer(psi, taps, steps=steps, semiring="log")
    # The outermost sites have one path, or a choice of one step.
    assert found[0] == steps * taps[0]
    choice = taps[0] * (steps - 1) + taps[1] + math.log(steps)
    assert abs(found[1] - choice) < 1e-11
    same(
        found.unsqueeze(0), log_by_loops(psi.unsqueeze(0), taps.reshape(1, 1, -1), None, steps, "zero"), 1e-13
    )


# --- gradients are marginals ---


def test_gradients_are_marginals_of_listed_paths():
    sites, kernel, steps = 4, 3, 5
    logs = [
        random_logs(1, sites),
        random_logs(1, 1, kernel, holes=0),
        random_logs(steps, 1, sites, holes=0.1),
    ]
    leaves = [t.clone().requires_grad_() for t in logs]
    out = transfer(leaves[0], leaves[1], gates=leaves[2], semiring="log")
    total = torch.logsumexp(out, -1).sum()
    of_psi, of_taps, of_gates = torch.autograd.grad(total, leaves)
    shares = [torch.zeros_like(t) for t in logs]
    listed = enumerate_paths(logs[0].exp(), logs[1].exp(), logs[2].exp(), steps, "zero")[0]
    z = sum(w for into in listed for w, *_ in into)
    for weight, path, taps in itertools.chain.from_iterable(listed):
        shares[0][0, path[0]] += weight / z
        for t, k in enumerate(taps):
            shares[1][0, 0, k] += weight / z
            shares[2][t, 0, path[t + 1]] += weight / z
    for found, exact in zip((of_psi, of_taps, of_gates), shares, strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-14)


@pytest.mark.everywhere
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steps", [7, 500])
def test_marginals_add_up(dtype, steps):
    """Every step is somewhere, every step takes a tap, every path starts: however small its weight."""
    psi = (torch.randn(2, 300, dtype=dtype) * 300).requires_grad_()
    taps = (-torch.arange(-4.0, 5.0).to(dtype).square() * 20).requires_grad_()
    potential = (torch.rand(steps, 2, 300, dtype=dtype) * 50).requires_grad_()
    out = transfer(psi, taps, potential=potential, semiring="log")
    total = torch.logsumexp(out, -1).sum()
    of_psi, of_taps, of_potential = torch.autograd.grad(total, (psi, taps, potential))
    atol = 2e-3 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(of_psi.sum(-1), torch.ones(2, dtype=dtype), rtol=0, atol=atol)
    torch.testing.assert_close(-of_potential.sum(-1), torch.ones(steps, 2, dtype=dtype), rtol=0, atol=atol)
    assert abs(of_taps.sum().item() - 2 * steps) < atol * 2 * steps


@pytest.mark.everywhere
def test_rows_of_nothing_have_no_gradient():
    psi = torch.full((1, 9), NOTHING, dtype=torch.float64)
    psi[0, 4] = 1.0
    taps = torch.tensor([NOTHING, 0.0, -1.0], dtype=torch.float64)
    gates = torch.zeros(3, 9, dtype=torch.float64)
    gates[1, 3] = NOTHING
    for name in ("log", "max"):
        leaves = [t.clone().requires_grad_() for t in (psi, taps, gates)]
        out = transfer(leaves[0], leaves[1], gates=leaves[2], semiring=name)
        assert (out[0, 5:] == NOTHING).all()
        grads = torch.autograd.grad(out, leaves, torch.ones_like(out))
        assert all(g.isfinite().all() for g in grads)
        assert not grads[0][psi == NOTHING].any()
        assert not grads[1][taps == NOTHING].any()
        assert not grads[2][1, 3].any()
        none = transfer(torch.full((1, 9), NOTHING), taps.float(), steps=3, semiring=name)
        assert (none == NOTHING).all()


# --- the best path ---


@pytest.mark.everywhere
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("sites", "kernel", "steps"), [(5, 3, 6), (4, 5, 4), (3, 7, 3), (4, 3, 0)])
def test_the_best_of_every_path(boundary, sites, kernel, steps):
    psi, taps, gates = random_logs(2, sites), random_logs(1, 1, kernel), random_logs(max(steps, 1), 2, sites)
    gates = gates if steps else None
    found = transfer(psi, taps, gates=gates, steps=steps, boundary=boundary, semiring="max")
    best = torch.full((2, sites), NOTHING, dtype=torch.float64)
    for b in range(2):
        for numbers, path in listed_paths(sites, kernel, steps, boundary):
            log = psi[b, path[0]].item()
            for t, k in enumerate(numbers):
                log = (log + weights(taps, t, b)[k].item()) + weights(gates, t, b)[path[t + 1]].item()
            best[b, path[-1]] = max(best[b, path[-1]].item(), log)
    torch.testing.assert_close(found, best, rtol=1e-14, atol=0)
    for end in (None, 0, torch.tensor([sites - 1, 1])):
        value, path = least_action_path(psi, taps, gates=gates, steps=steps, boundary=boundary, end=end)
        for b in range(2):
            to = int(best[b].argmax()) if end is None else int(torch.as_tensor(end).expand(2)[b])
            torch.testing.assert_close(value[b], best[b, to], rtol=1e-14, atol=0)
            if value[b] == NOTHING:
                assert (path[b] == -1).all()
                continue
            assert path[b, -1] == to
            log = psi[b, path[b, 0]].item()
            for t in range(steps):
                step = int(path[b, t] - path[b, t + 1])
                ways = [k for k in range(kernel) if k - kernel // 2 == step]
                if boundary == "periodic":
                    ways = [k for k in range(kernel) if (k - kernel // 2 - step) % sites == 0]
                log += max(weights(taps, t, b)[k].item() for k in ways)
                log += weights(gates, t, b)[path[b, t + 1]].item()
            assert abs(log - best[b, to].item()) < 1e-12


@pytest.mark.everywhere
def test_of_equal_paths_the_first_taps_win():
    value, path = least_action_path(torch.zeros(9), torch.zeros(3), steps=4)
    assert value == 0
    assert path.tolist() == [0, 0, 0, 0, 0]  # the first end; d = -1 would leave the line
    _, path = least_action_path(torch.zeros(9), torch.zeros(3), steps=4, end=6)
    assert path.tolist() == [2, 3, 4, 5, 6]


@pytest.mark.everywhere
@pytest.mark.parametrize("steps", [1, 10, 57])
def test_a_long_path_is_one_of_its_own_weight(steps):
    """Segments between kept states are joined where they should be."""
    psi, taps = torch.randn(3, 200, dtype=torch.float64), torch.randn(steps, 1, 5, dtype=torch.float64)
    gates = torch.randn(steps, 3, 200, dtype=torch.float64)
    value, path = least_action_path(psi, taps, gates=gates)
    assert path.shape == (3, steps + 1)
    batch = torch.arange(3)
    log = psi[batch, path[:, 0]]
    for t in range(steps):
        log = log + taps[t, 0][path[:, t] - path[:, t + 1] + 2] + gates[t, batch, path[:, t + 1]]
    torch.testing.assert_close(log, value)
    torch.testing.assert_close(value, transfer(psi, taps, gates=gates, semiring="max").amax(-1))


@pytest.mark.everywhere
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradients_follow_the_best_path(boundary):
    steps = 12
    leaves = [
        t.requires_grad_()
        for t in (
            torch.randn(2, 50, dtype=torch.float64),
            torch.randn(steps, 1, 5, dtype=torch.float64),
            torch.randn(steps, 2, 50, dtype=torch.float64),
        )
    ]
    value, path = least_action_path(leaves[0], leaves[1], gates=leaves[2], boundary=boundary)
    of_psi, of_taps, of_gates = torch.autograd.grad(value.sum(), leaves)
    expected = [torch.zeros_like(t) for t in leaves]
    for b in range(2):
        expected[0][b, path[b, 0]] += 1
        for t in range(steps):
            d = int(path[b, t] - path[b, t + 1])
            d = (d + 25) % 50 - 25 if boundary == "periodic" else d
            expected[1][t, 0, d + 2] += 1
            expected[2][t, b, path[b, t + 1]] += 1
    for found, exact in zip((of_psi, of_taps, of_gates), expected, strict=True):
        assert torch.equal(found, exact)
