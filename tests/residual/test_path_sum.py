"""The path sum: equal to the forward pass, to the Jacobian and to brute force, in every method and domain."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from qcore.nn import PDEChain, ResidualChain
from qcore.residual import path_sum
from qcore.stencil import pde_taps, residual_chain

BOUNDARIES = ["zero", "periodic", "reflect", "replicate"]
SHAPES = [((2, 1, 7), (3,)), ((2, 1, 8), (5,)), ((2, 1, 4, 5), (3, 3)), ((1, 1, 5, 3), (5, 3))]


def case(
    shape: tuple[int, ...], kernel: tuple[int, ...], steps: int = 4, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """taps, x, skip and bias."""
    generator = torch.Generator().manual_seed(sum(shape) + sum(kernel))

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, dtype=torch.float64, generator=generator).to(dtype)

    return 0.4 * draw(steps, 1, *kernel), draw(*shape), 1 + 0.2 * draw(steps), 0.3 * draw(steps)


def output(taps: Tensor, x: Tensor, **settings: object) -> Tensor:
    return residual_chain(x, taps, **settings).flatten(1)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "kernel"), SHAPES)
def test_transfer_is_jacobian_and_forward_pass(
    shape: tuple[int, ...], kernel: tuple[int, ...], boundary: str
) -> None:
    taps, x, skip, bias = case(shape, kernel)
    settings = {"skip": skip, "bias": bias, "boundary": boundary}
    weights, from_bias = path_sum(taps, x, **settings)
    y = output(taps, x, **settings)
    assert 0 < (y == 0).double().mean() < 1  # gates of both kinds
    whole = torch.einsum("brm,bm->br", weights, x.flatten(1)) + from_bias
    torch.testing.assert_close(whole, y, rtol=1e-12, atol=1e-13)
    for b in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(
            lambda one: output(taps, one, **settings)[0], x[b : b + 1]
        )
        torch.testing.assert_close(weights[b], jacobian.flatten(1), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "kernel"), [((2, 1, 5), (3,)), ((1, 1, 3, 4), (3, 3))])
def test_enumerated_paths_add_up_to_the_transfer(
    shape: tuple[int, ...], kernel: tuple[int, ...], boundary: str
) -> None:
    taps, x, skip, _ = case(shape, kernel, steps=3)
    settings = {"skip": skip, "boundary": boundary}
    summed = path_sum(taps, x, **settings)
    listed = path_sum(taps, x, method="enumerate", **settings)
    sites = x[0].numel()
    added = torch.zeros(len(x), sites, sites, dtype=torch.float64)
    inside = listed.starts >= 0
    for r in range(sites):
        added[:, r].index_add_(1, listed.starts[r, inside[r]], listed.weights[:, r, inside[r]])
    torch.testing.assert_close(added, summed.weights, rtol=1e-12, atol=1e-13)
    assert (listed.weights[:, ~inside] == 0).all()
    assert bool(inside.all()) is (boundary != "zero")
    torch.testing.assert_close(listed.signs * listed.log_weights.exp(), listed.weights, rtol=1e-13, atol=0)


def walks(sites: int, steps: int, start: int) -> Iterator[tuple[int, ...]]:
    """All in-range walks of one-pixel steps that end at ``start``, told backwards: x_N first."""
    for moves in itertools.product((-1, 0, 1), repeat=steps):
        walk = (start, *itertools.accumulate(moves, initial=start))[1:]
        if all(0 <= site < sites for site in walk):
            yield walk


def test_paths_are_numbered_by_their_steps() -> None:
    taps, x, _, _ = case((1, 1, 6), (3,), steps=3)
    listed = path_sum(taps, x, method="enumerate")
    assert listed.offsets.tolist() == [[0, -1], [0, 0], [0, 1]]
    _, states = residual_chain(x, taps, states_every=1)
    merged = taps[:, 0] + torch.tensor([0.0, 1.0, 0.0])
    for end in range(6):
        for p in range(27):
            site, weight = end, 1.0
            for t in (3, 2, 1):
                c = p // 3 ** (t - 1) % 3
                if not 0 <= site < 6:
                    break
                weight *= float(states[t - 1, 0, 0, site] > 0) * float(merged[t - 1, c])
                site += c - 1
            within = 0 <= site < 6
            assert listed.starts[end, p] == (site if within else -1)
            expected = weight if within else 0.0
            assert listed.weights[0, end, p].item() == pytest.approx(expected, rel=1e-13)


def test_number_of_paths_within_the_frame() -> None:
    taps = torch.full((5, 1, 3), 0.1, dtype=torch.float64)
    listed = path_sum(taps, torch.ones(1, 1, 8, dtype=torch.float64), method="enumerate")
    assert int((listed.starts >= 0).sum()) == sum(1 for end in range(8) for _ in walks(8, 5, end)) == 1436


def test_fixtures_of_the_theory() -> None:
    taps = torch.tensor([[[-0.75, -0.25, 0.5]]] * 2, dtype=torch.float64)
    x = torch.tensor([[[1.0, -2.0, 3.0]]], dtype=torch.float64)
    found = path_sum(taps, x).weights
    expected = torch.tensor([[[0, 0, 0], [0, -0.375, 0.375], [0, -0.5625, 0.5625]]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-15, atol=0)

    one = torch.ones(3, dtype=torch.float64)
    linear = pde_taps(0.8 * one, 0.3 * one, gamma=-0.05)
    x = torch.rand(1, 1, 9, dtype=torch.float64) + 1
    listed = path_sum(linear, x, method="enumerate", outputs=[4])
    # The walk 0, -1, -1, 0 is, from its end back: to -1 by the left tap, stay, to 0 by the right one.
    p = 2 + 3 * 1 + 9 * 0
    assert listed.weights[0, 0, p].item() == pytest.approx(0.024769, abs=5e-7)
    assert listed.weights.sum().item() == pytest.approx(0.95**3, rel=1e-13)
    loops = listed.weights[0, 0][listed.starts[0] == 4].sum()
    assert loops.item() == pytest.approx(0.178405, abs=5e-7)


@pytest.mark.parametrize("boundary", ["periodic", "replicate"])
def test_positive_stencils_make_stochastic_matrices(boundary: str) -> None:
    one = torch.ones(6, dtype=torch.float64)
    taps = pde_taps(0.6 * one, 0.2 * one, 0.5 * one, -0.1 * one)
    x = torch.rand(2, 1, 5, 6, dtype=torch.float64)
    weights = path_sum(taps, x, boundary=boundary).weights
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 30, dtype=torch.float64), rtol=1e-13, atol=0)


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_log_domain_is_the_linear_one(boundary: str) -> None:
    taps, x, skip, bias = case((2, 1, 9), (3,), steps=12)
    settings = {"skip": skip, "bias": bias, "boundary": boundary}
    linear = path_sum(taps, x, **settings)
    found = path_sum(taps, x, domain="log", **settings)
    torch.testing.assert_close(found.signs * found.log_weights.exp(), linear.weights, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        found.bias_signs * found.log_from_bias.exp(), linear.from_bias, rtol=1e-12, atol=0
    )
    assert (found.signs == linear.weights.sign()).all()


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_log_domain_survives_thousands_of_layers(factor: float) -> None:
    # All weights of a layer are factor / 3: rows of the sum add up to factor^2000.
    chain = ResidualChain(2000, activation="none", boundary="periodic", bias=True, dtype=torch.float64)
    with torch.no_grad():
        chain.weight.zero_()
        chain.weight[:, :, 1] = factor / 3
        chain.weight[:, :, 1, 1] -= 1.0
        chain.bias.zero_()  # type: ignore[union-attr, operator]
        chain.bias[0] = 2.0  # type: ignore[index]
    found = path_sum(chain, torch.rand(1, 1, 1, 12, dtype=torch.float64), domain="log")
    rows = torch.logsumexp(found.log_weights, 2)
    assert rows.flatten().tolist() == pytest.approx([2000 * math.log(factor)] * 12, rel=1e-12)
    assert (found.signs == 1).all()
    # The one bias stands in the first layer, 1999 before the end.
    expected = math.log(2.0) + 1999 * math.log(factor)
    assert found.log_from_bias.flatten().tolist() == pytest.approx([expected] * 12, rel=1e-12)
    assert (found.bias_signs == 1).all()


@pytest.mark.parametrize("boundary", ["zero", "reflect"])
def test_samples_are_unbiased_and_know_their_error(boundary: str) -> None:
    taps, x, skip, bias = case((2, 1, 6), (3,), steps=4)
    settings = {"skip": skip, "bias": bias, "boundary": boundary}
    exact = output(taps, x, **settings)
    found = [path_sum(taps, x, method="sample", samples=2000, seed=seed, **settings) for seed in range(60)]
    estimates = torch.stack([f.estimate for f in found])
    errors = torch.stack([f.error for f in found])
    spread = estimates.std(0)
    live = spread > 0
    off = (estimates.mean(0) - exact)[live] / (spread[live] / 60**0.5)
    assert off.abs().max() < 4.5
    assert (estimates.mean(0)[~live] == exact[~live]).all()
    # The spread of 60 estimates is known to 9 %.
    ratio = errors.mean(0)[live] / spread[live]
    assert ((ratio > 0.6) & (ratio < 1.5)).all()
    assert ratio.mean().item() == pytest.approx(1.0, abs=0.15)


def test_samples_depend_on_nothing_but_seed_output_and_input() -> None:
    taps, x, _, _ = case((3, 1, 4, 5), (3, 3))
    whole = path_sum(taps, x, method="sample", samples=500, seed=3)
    part = path_sum(taps, x, method="sample", samples=500, seed=3, outputs=[7, 2])
    assert torch.equal(part.estimate, whole.estimate[:, [7, 2]])
    fewer = path_sum(taps, x[:2], method="sample", samples=500, seed=3)
    assert torch.equal(fewer.estimate, whole.estimate[:2])
    other = path_sum(taps, x, method="sample", samples=500, seed=4)
    assert not torch.equal(other.estimate, whole.estimate)


def test_threads_change_nothing() -> None:
    taps, x, skip, bias = case((3, 1, 9, 10), (3, 3))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            sums = path_sum(taps, x, skip=skip, bias=bias)
            found.append((*sums, *path_sum(taps, x, method="sample", samples=50)[:2]))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_absolute_sums_bound_the_signed_ones() -> None:
    taps, x, skip, _ = case((1, 1, 6), (3,), steps=4)
    signed = path_sum(taps, x, skip=skip).weights
    absolute = path_sum(taps, x, skip=skip, absolute=True).weights
    listed = path_sum(taps, x, skip=skip, method="enumerate")
    added = torch.zeros(6, 6, dtype=torch.float64)
    for r in range(6):
        inside = listed.starts[r] >= 0
        added[r].index_add_(0, listed.starts[r, inside], listed.weights[0, r, inside].abs())
    torch.testing.assert_close(absolute[0], added, rtol=1e-12, atol=1e-15)
    assert (absolute >= signed.abs() - 1e-15).all()
    assert (absolute > signed.abs() + 1e-6).any()


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "none"])
@pytest.mark.parametrize("kind", ["pde", "resnet"])
def test_chains_stand_for_their_taps(kind: str, activation: str) -> None:
    torch.manual_seed(0)
    settings = {"activation": activation, "boundary": "reflect", "dtype": torch.float64, "slope": 0.2}
    chain: nn.Module = (
        PDEChain(5, init="normal", **settings)  # type: ignore[arg-type]
        if kind == "pde"
        else ResidualChain(5, bias=True, **settings)  # type: ignore[arg-type]
    )
    x = torch.randn(2, 1, 5, 6, dtype=torch.float64)
    weights, from_bias = path_sum(chain, x)
    assert not weights.requires_grad
    whole = torch.einsum("brm,bm->br", weights, x.flatten(1)) + from_bias
    torch.testing.assert_close(whole, chain(x).flatten(1).detach(), rtol=1e-11, atol=1e-12)
    assert (from_bias != 0).any().item() is (kind == "resnet")


def test_float32_is_computed_in_float64() -> None:
    taps, x, skip, bias = case((2, 1, 5, 6), (3, 3), dtype=torch.float32)
    found = path_sum(taps, x, skip=skip, bias=bias)
    assert found.weights.dtype == found.from_bias.dtype == torch.float32
    whole = torch.einsum("brm,bm->br", found.weights, x.flatten(1)) + found.from_bias
    torch.testing.assert_close(whole, output(taps, x, skip=skip, bias=bias), rtol=2e-5, atol=2e-5)


def test_edges() -> None:
    none = torch.zeros(0, 1, 3, dtype=torch.float64)
    x = torch.randn(2, 1, 4, dtype=torch.float64)
    assert torch.equal(path_sum(none, x).weights, torch.eye(4).double().expand(2, 4, 4))
    listed = path_sum(none, x, method="enumerate")
    assert listed.weights.shape == (2, 4, 1)
    assert listed.starts.flatten().tolist() == [0, 1, 2, 3]
    assert torch.equal(path_sum(none, x, method="sample", samples=2).estimate, x[:, 0])
    taps = torch.full((3, 1, 3), 0.5, dtype=torch.float64)
    assert path_sum(taps, x[:0]).weights.shape == (0, 4, 4)
    assert path_sum(taps, x, outputs=[]).weights.shape == (2, 0, 4)
    single = path_sum(taps, torch.ones(1, 1, 1).double())
    assert single.weights.item() == pytest.approx(1.5**3)
    assert path_sum(taps, x[..., :0]).weights.shape == (2, 0, 0)
    strided = torch.randn(2, 1, 5, 8, dtype=torch.float64)[..., ::2].transpose(2, 3)
    box = 0.3 * torch.randn(2, 1, 3, 3, dtype=torch.float64)
    assert torch.equal(path_sum(box, strided).weights, path_sum(box, strided.contiguous()).weights)


TAPS, X = torch.zeros(2, 1, 3), torch.ones(1, 1, 5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": 3}, TypeError, "x: expected"),
        ({"x": torch.ones(1, 2, 5)}, ValueError, r"x: expected shape \(B, 1, M\) or \(B, 1, H, W\)"),
        ({"x": torch.ones(1, 1, 5, 5, 5)}, ValueError, "x: expected shape"),
        ({"x": X.to(torch.complex64)}, ValueError, "x: expected .* of float32 or float64, got"),
        ({"x": X.half()}, ValueError, "x: expected"),
        ({"taps": None}, TypeError, "taps: expected"),
        ({"taps": torch.zeros(2, 1, 4)}, ValueError, "taps: expected odd kernel sizes"),
        ({"taps": torch.zeros(2, 1, 3, 3)}, ValueError, "taps: expected shape"),
        ({"taps": nn.Identity()}, TypeError, "taps: expected a tensor or a chain of qcore.nn, got Identity"),
        ({"taps": PDEChain(2, 3)}, ValueError, "taps: expected a chain of one channel, got 3"),
        ({"taps": PDEChain(2, activation="tanh")}, ValueError, "taps: expected a chain with the activation"),
        (
            {"taps": PDEChain(2), "skip": 2.0},
            ValueError,
            "taps: expected a tensor where skip, bias or boundary",
        ),
        ({"taps": PDEChain(2), "boundary": "periodic"}, ValueError, "taps: expected a tensor where"),
        ({"skip": "1"}, TypeError, "skip: expected"),
        ({"bias": torch.zeros(3)}, ValueError, "bias: expected shape"),
        ({"boundary": "open"}, ValueError, "boundary: expected one of"),
        ({"method": "exact"}, ValueError, "method: expected one of 'transfer', 'enumerate'.* got 'exact'"),
        ({"domain": "complex"}, ValueError, "domain: expected one of 'linear'"),
        (
            {"domain": "log", "method": "sample"},
            ValueError,
            "domain: expected 'linear' for the method 'sample'",
        ),
        ({"absolute": True, "method": "sample"}, ValueError, "absolute: expected False"),
        ({"outputs": [5]}, ValueError, "outputs: expected sites from 0 to 4, got 5"),
        ({"outputs": [-1]}, ValueError, "outputs: expected sites from 0 to 4, got -1"),
        ({"outputs": [1.0]}, TypeError, "outputs: expected integers, got float"),
        ({"outputs": torch.zeros(2, 2).long()}, ValueError, r"outputs: expected shape \(R,\) of int64"),
        ({"outputs": torch.zeros(2)}, ValueError, r"outputs: expected shape \(R,\) of int64"),
        ({"method": "sample", "samples": 1}, ValueError, "samples: expected an int from 2"),
        ({"method": "sample", "samples": 10.0}, TypeError, "samples: expected an int"),
        ({"method": "sample", "seed": -1}, ValueError, "seed: expected an int >= 0, got -1"),
        ({"method": "sample", "seed": 2**64}, ValueError, "seed: expected an int from 0"),
        (
            {"method": "enumerate", "taps": torch.ones(16, 1, 3)},
            ValueError,
            r"taps: expected at most 2\^24 paths .* got 3\^16 paths into 5 outputs for 1 inputs",
        ),
    ],
)
def test_bad_arguments(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    given = {"taps": TAPS, "x": X} | arguments
    with pytest.raises(error, match=message):
        path_sum(given.pop("taps"), given.pop("x"), **given)  # type: ignore[call-overload]
