"""The path kernels against walks written out in Python, and where numbers get extreme."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from processes import with_isa
from qcore import _core
from qcore.residual import path_sum
from qcore.stencil import residual_chain

BOUNDARIES = ("zero", "periodic", "reflect", "replicate")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def source(i: int, n: int, boundary: str) -> int | None:
    """Where an index of an axis of n points reads from, by torch's padding of the numbers 0 ... n - 1."""
    mode = {"zero": "constant", "periodic": "circular"}.get(boundary, boundary)
    numbers = torch.arange(n, dtype=torch.float64).reshape(1, 1, n)
    reach = 2
    fill = {"value": -1.0} if mode == "constant" else {}
    padded = torch.nn.functional.pad(numbers, (reach, reach), mode=mode, **fill)[0, 0]
    found = int(padded[i + reach])
    return None if found < 0 else found


class Lattice:
    """A line of sites with the gates that x opens, walked in plain Python."""

    def __init__(self, taps: Tensor, x: Tensor, bias: Tensor | None, boundary: str) -> None:
        self.boundary, self.sites, self.layers = boundary, x.shape[-1], len(taps)
        half = taps.shape[-1] // 2
        merged = taps[:, 0].clone()
        merged[:, half] += 1.0
        self.offsets = list(range(-half, half + 1))
        self.taps: list[list[float]] = merged.tolist()
        self.bias = [0.0] * self.layers if bias is None else bias.tolist()
        _, states = residual_chain(x, taps, bias=bias, boundary=boundary, states_every=1)
        self.open = (states[:, :, 0] > 0).tolist()

    def step(self, site: int, k: int) -> int | None:
        return source(site + self.offsets[k], self.sites, self.boundary)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("kernel", [3, 5])
def test_every_path_has_its_number_weight_and_start(boundary: str, kernel: int) -> None:
    taps, x = 0.5 * draw(3, 1, kernel), draw(2, 1, 5, seed=1)
    lattice = Lattice(taps, x, None, boundary)
    found = path_sum(taps, x, boundary=boundary, method="enumerate")
    assert found.starts.shape == (5, kernel**3)
    for end in range(5):
        for p in range(kernel**3):
            site: int | None = end
            weights = [1.0, 1.0]
            for t in (2, 1, 0):
                if site is None:
                    break
                k = p // kernel**t % kernel
                weights = [w * lattice.open[t][b][site] * lattice.taps[t][k] for b, w in enumerate(weights)]
                site = lattice.step(site, k)
            if site is None:
                site, weights = -1, [0.0, 0.0]
            assert found.starts[end, p].item() == site
            assert found.weights[:, end, p].tolist() == pytest.approx(weights, rel=1e-14)


def sampled_path(lattice: Lattice, x: list[float], b: int, end: int, number: int, seed: int) -> float:
    weight, value, site = 1.0, 0.0, end
    for draws, t in enumerate(range(lattice.layers - 1, -1, -1)):
        if not lattice.open[t][b][site]:
            return value
        value += weight * lattice.bias[t]
        words = _core.philox([1 << 24 | draws // 2, end, number, b], seed)
        high, low = words[2:] if draws % 2 else words[:2]
        u = (((high << 32 | low) >> 12) + 0.5) * 2.0**-52
        sizes = [abs(tap) for tap in lattice.taps[t]]
        total, left = sum(sizes), u * sum(sizes)
        k = next(i for i in range(len(sizes)) if left < sum(sizes[: i + 1]))
        weight *= math.copysign(total, lattice.taps[t][k])
        onward = lattice.step(site, k)
        if onward is None:
            return value
        site = onward
    return value + weight * x[site]


@pytest.mark.parametrize("boundary", ["zero", "reflect"])
def test_samples_are_these_walks(boundary: str) -> None:
    """More of them than one part of the sampler holds, so that the parts must be put together right."""
    taps, x, bias = 0.5 * draw(3, 1, 3, seed=3), 1 + draw(2, 1, 6, seed=4).abs(), 0.3 * draw(3, seed=5)
    lattice = Lattice(taps, x, bias, boundary)
    samples, seed, ends = 2500, 2**63 + 7, [2, 5]
    found = path_sum(
        taps, x, bias=bias, boundary=boundary, method="sample", samples=samples, seed=seed, outputs=ends
    )
    for b in range(2):
        for r, end in enumerate(ends):
            values = torch.tensor(
                [sampled_path(lattice, x[b, 0].tolist(), b, end, n, seed) for n in range(samples)],
                dtype=torch.float64,
            )
            assert found.estimate[b, r].item() == pytest.approx(values.mean().item(), rel=1e-12, abs=1e-14)
            error = values.std().item() / samples**0.5
            assert found.error[b, r].item() == pytest.approx(error, rel=1e-11, abs=1e-15)


def test_samples_of_one_output_do_not_depend_on_threads() -> None:
    taps, x = 0.5 * draw(4, 1, 3).abs(), draw(1, 1, 6, seed=1).abs()
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(path_sum(taps, x, method="sample", samples=70_000, outputs=[3])[:2])
    finally:
        torch.set_num_threads(before)
    assert all(
        torch.equal(one, other) for pair in found[1:] for one, other in zip(found[0], pair, strict=True)
    )
    assert found[0][1].item() > 0


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_outputs_do_not_depend_on_their_neighbours(boundary: str) -> None:
    """Rows of the transfer are worked off in blocks, each as far as its paths can have come."""
    taps, x, bias = 0.4 * draw(3, 1, 3, 5), draw(2, 1, 7, 9, seed=1), 0.2 * draw(3, seed=2)
    for domain in ("linear", "log"):
        whole = path_sum(taps, x, bias=bias, boundary=boundary, domain=domain)  # type: ignore[call-overload]
        ends = [62, 0, 31, 31, 8]
        part = path_sum(taps, x, bias=bias, boundary=boundary, domain=domain, outputs=ends)  # type: ignore[call-overload]
        for all_rows, rows in zip(whole, part, strict=True):
            assert torch.equal(all_rows[:, ends], rows)


def test_log_domain_of_a_deep_gated_chain() -> None:
    """Signed weights, gates of both kinds and biases through 2000 layers, against matrices scaled here."""
    layers, sites = 2000, 6
    taps, bias = 0.9 * draw(layers, 1, 3, seed=1), 2 * draw(layers, seed=2).abs()
    x = draw(1, 1, sites, seed=3).abs()
    _, states = residual_chain(x, taps, bias=bias, boundary="periodic", states_every=1)
    opened = states[:, 0, 0] > 0
    assert torch.isfinite(states).all()
    assert 0.1 < opened.double().mean() < 0.9
    found = path_sum(taps, x, bias=bias, boundary="periodic", domain="log")
    eye = torch.eye(sites, dtype=torch.float64)
    # Row x of a step holds the taps at the sites x + k - 1 that it reads.
    steps = eye + sum(taps[:, 0, k, None, None] * eye.roll(k - 1, 1) for k in range(3))
    rows, log_scale = eye.clone(), torch.zeros(sites, 1, dtype=torch.float64)
    reached = torch.zeros(sites, dtype=torch.float64)
    for t in range(layers - 1, -1, -1):
        rows = rows * opened[t]
        reached += bias[t] * rows.sum(1) * log_scale[:, 0].exp()
        rows = rows @ steps[t]
        largest = rows.abs().amax(1, keepdim=True)
        scale = torch.where(largest > 0, largest, torch.ones_like(largest))
        rows, log_scale = rows / scale, log_scale + scale.log()
    alive = rows.abs() > 1e-6
    logs = rows.abs().log() + log_scale
    torch.testing.assert_close(found.log_weights[0][alive], logs[alive], rtol=1e-9, atol=1e-9)
    assert torch.equal(found.signs[0][alive], rows.sign()[alive])
    scaled_bias = found.bias_signs[0] * found.log_from_bias[0].exp()
    torch.testing.assert_close(scaled_bias, reached, rtol=1e-9, atol=1e-9)
    # This deep, what is left of the input is nothing, and the output what the biases bring.
    torch.testing.assert_close(scaled_bias, states[-1, 0, 0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tap", [1e-310, 5e-324, 1e300])
def test_log_domain_of_extreme_taps(tap: float) -> None:
    """Biases keep the gates open, however little or much gets through."""
    layers = 3
    taps = torch.full((layers, 1, 3), 0.0, dtype=torch.float64)
    taps[:, 0, 1] = tap
    bias = torch.ones(layers, dtype=torch.float64)
    x = torch.full((1, 1, 4), 1e-308, dtype=torch.float64)
    x = x if tap > 1 else torch.ones_like(x)
    if tap > 1:
        bias *= 1e-308
    _, states = residual_chain(x, taps, skip=0.0, bias=bias, states_every=1)
    assert (states > 0).all()
    found = path_sum(taps, x, skip=0.0, bias=bias, domain="log")
    expected = torch.eye(4, dtype=torch.float64).log()
    expected.fill_diagonal_(layers * math.log(tap))
    torch.testing.assert_close(found.log_weights[0], expected, rtol=1e-12, atol=0)
    assert (found.bias_signs == 1).all()


def test_listed_paths_too_small_for_their_dtype_keep_sign_and_logarithm() -> None:
    taps = torch.full((4, 1, 3), -1e-15)
    taps[0] = 1e-15
    found = path_sum(
        taps, -torch.ones(1, 1, 9), skip=0.0, bias=torch.ones(4), method="enumerate", outputs=[4]
    )
    assert (found.weights == 0).all()
    assert (found.signs == -1).all()
    expected = 4 * math.log(float(torch.tensor(1e-15)))
    assert found.log_weights.flatten().tolist() == pytest.approx([expected] * 81, rel=1e-6)


@pytest.mark.parametrize("at", [0, 2])
def test_gates_at_nan_are_those_of_the_derivative(at: int) -> None:
    taps, x = draw(2, 1, 3).abs(), draw(1, 1, 6, seed=1).abs()
    x[0, 0, at] = math.nan
    jacobian = torch.autograd.functional.jacobian(lambda field: residual_chain(field, taps), x)
    torch.testing.assert_close(path_sum(taps, x).weights, jacobian.reshape(1, 6, 6), rtol=1e-13, atol=0)
    assert (jacobian.reshape(6, 6).diagonal() != 0).all()


def agrees_with_the_jacobian() -> None:
    g = torch.Generator().manual_seed(0)
    taps = 0.3 * torch.randn(6, 1, 3, 3, dtype=torch.float64, generator=g)
    x = torch.randn(1, 1, 5, 7, dtype=torch.float64, generator=g)
    found = path_sum(taps, x).weights
    jacobian = torch.autograd.functional.jacobian(lambda field: residual_chain(field, taps), x)
    torch.testing.assert_close(found, jacobian.reshape(1, 35, 35), rtol=1e-12, atol=1e-13)
    log = path_sum(taps, x, domain="log")
    torch.testing.assert_close(log.signs * log.log_weights.exp(), found, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("isa", [isa for isa in _core.isa_available() if isa != _core.isa()])
def test_other_instruction_sets(isa: str) -> None:
    with_isa(isa, agrees_with_the_jacobian)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"outputs": 3}, TypeError, "outputs: expected a tensor or a sequence of integers, got int"),
        ({"outputs": [True]}, TypeError, "outputs: expected integers, got bool"),
        ({"absolute": "no"}, TypeError, "absolute: expected a bool, got str"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        path_sum(torch.zeros(2, 1, 3), torch.ones(1, 1, 5), **arguments)  # type: ignore[call-overload]
