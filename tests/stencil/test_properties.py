"""What the theory demands of a chain of PDE steps: fixtures, symmetries, conservation, stability, path sums.

The step of  psi_t = (a^2 / 2) psi_xx + b psi_x + g psi  (and s, rho for y) by forward Euler and central
differences: k(+1) = (a^2 + b) / 2, k(0) = g - a^2 - s^2, k(-1) = (a^2 - b) / 2, each tap multiplying the
source at that offset.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from .kernels import AUTO, REFERENCE, assert_bitwise, assert_within, cotangents, make_chain, run, run_backward
from .oracle import ACTIVATIONS, BOUNDARIES, Chain, Gradients, forward_bounds, trajectory

BACKENDS = pytest.mark.parametrize("backend", [AUTO, REFERENCE], ids=["auto", "reference"])
PAD = {"zero": "constant", "periodic": "circular", "reflect": "reflect", "replicate": "replicate"}


def taps_1d(a: float, b: float, g: float = 0.0, steps: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    tap = torch.tensor([(a * a - b) / 2, g - a * a, (a * a + b) / 2], dtype=dtype)
    return tap.expand(steps, 1, 3).contiguous()


def taps_2d(
    a: float,
    b: float,
    s: float,
    rho: float,
    g: float = 0.0,
    advection: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    bx, by = advection * b, advection * rho
    rows = [
        [0.0, (s * s - by) / 2, 0.0],
        [(a * a - bx) / 2, g - a * a - s * s, (a * a + bx) / 2],
        [0.0, (s * s + by) / 2, 0.0],
    ]
    return torch.tensor(rows, dtype=dtype).view(1, 1, 3, 3)


def linear(x: Tensor, taps: Tensor, boundary: str = "zero", **more: object) -> Tensor:
    return run(Chain(x, taps, activation="none", boundary=boundary), **more).y


# --- fixtures -------------------------------------------------------------------------------------


@BACKENDS
@pytest.mark.parametrize(
    ("boundary", "expected"),
    [("zero", [1.25, 2.67, 5.34, 10.68, 6.32]), ("periodic", [3.97, 2.67, 5.34, 10.68, 6.79])],
)
def test_fixture_1d(boundary: str, expected: list[float], backend: int) -> None:
    psi = torch.tensor([1.0, 2, 4, 8, 16], dtype=torch.float64).view(1, 1, 5)
    y = linear(psi, taps_1d(0.8, 0.3, -0.05), boundary, backend=backend)
    torch.testing.assert_close(y.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-14)


PDE1 = [
    [0.49, 0.815, 0.98, -0.065],
    [1.415, 1.47, 0.035, -0.49],
    [0.98, 0.965, 0.49, -0.145],
    [-0.31, -0.98, 1.785, 1.96],
]
PDE2 = [
    [0.49, 0.9275, 0.98, 0.2725],
    [0.8525, 1.47, 0.8225, -0.49],
    [0.98, 0.6275, 0.49, 0.6425],
    [-0.085, -0.98, 0.3225, 1.96],
]


@BACKENDS
@pytest.mark.parametrize(
    ("advection", "expected", "total", "open_total"),
    [(1.0, PDE1, 9.395, 11.385), (-1 / 8, PDE2, 9.2825, 10.8375)],
)
def test_fixture_2d(
    advection: float, expected: list[list[float]], total: float, open_total: float, backend: int
) -> None:
    psi = torch.tensor(
        [[1.0, 0, 2, 0], [0, 3, 0, -1], [2, 0, 1, 0], [0, -2, 0, 4]], dtype=torch.float64
    ).view(1, 1, 4, 4)
    taps = taps_2d(0.6, 0.4, 0.5, -0.2, 0.1, advection)
    y = linear(psi, taps, backend=backend)
    torch.testing.assert_close(y[0, 0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-14)
    assert y.sum().item() == pytest.approx(total, abs=1e-13)
    assert run(Chain(psi, taps), backend).y.sum().item() == pytest.approx(open_total, abs=1e-13)


@BACKENDS
def test_fixture_of_the_path_sum(backend: int) -> None:
    """Two layers on three points: the Jacobian is the sum over paths through open gates."""
    psi = torch.tensor([1.0, -2, 3], dtype=torch.float64).view(1, 1, 3)
    chain = Chain(psi, torch.tensor([-0.75, -0.25, 0.5], dtype=torch.float64).expand(2, 1, 3).contiguous())
    assert run(chain, backend).y.flatten().tolist() == [0, 1.875, 2.8125]
    rows = [
        run_backward(chain, row.view(1, 1, 3), backend=backend).x.flatten()
        for row in torch.eye(3, dtype=torch.float64)
    ]
    assert torch.stack(rows).tolist() == [[0, 0, 0], [0, -0.375, 0.375], [0, -0.5625, 0.5625]]
    assert (torch.stack(rows) @ psi.flatten()).tolist() == [0, 1.875, 2.8125]


def test_fixture_of_path_weights() -> None:
    """A point source through three linear layers: the 0 -> 0 weight and the sum over all 27 paths."""
    psi = torch.zeros(1, 1, 9, dtype=torch.float64)
    psi[0, 0, 4] = 1.0
    y = linear(psi, taps_1d(0.8, 0.3, -0.05, steps=3)).flatten()
    assert y[4].item() == pytest.approx(0.178405, abs=5e-7)
    assert y.sum().item() == pytest.approx(0.857375, abs=1e-14)


# --- section 24 A ---------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (5, 6), (28, 28), (31, 33)])
def test_agrees_with_conv2d(size: tuple[int, int], boundary: str) -> None:
    """The conv2d weight of the PDE step, for odd sizes and transposed memory; reflect needs two points."""
    if boundary == "reflect" and 1 in size:
        with pytest.raises(ValueError, match=r"x: .*longer than the kernel's radius"):
            linear(torch.zeros(1, 1, *size, dtype=torch.float64), taps_2d(0.6, 0.4, 0.5, -0.2), boundary)
        return
    for advection, transposed in itertools.product((1.0, -1 / 8), (False, True)):
        taps = taps_2d(0.6, 0.4, 0.5, -0.2, 0.1, advection)
        psi = torch.randn(2, 1, *(size[::-1] if transposed else size), dtype=torch.float64)
        psi = psi.transpose(2, 3) if transposed else psi
        weight = taps.clone()
        weight[..., 1, 1] += 1.0
        expected = functional.conv2d(functional.pad(psi, (1, 1, 1, 1), mode=PAD[boundary]), weight)
        chain = Chain(psi, taps, activation="none", boundary=boundary)
        assert_within(run(chain).y, expected, 2 * forward_bounds(chain, trajectory(chain))[-1])


@BACKENDS
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_relu_gate_is_output_above_zero(boundary: str, backend: int) -> None:
    """With a 1x1 kernel the gradient shows the gate of each point: its bits are the tap's, or zero."""
    for shape in ((2, 3, 37), (2, 2, 9, 18), (1, 1, 300, 310)):
        chain = make_chain(shape, 1, 1, dtype=torch.float32, skip=0.0, boundary=boundary)
        x = torch.where(
            torch.rand(shape) < 0.2,
            -chain.bias.view(1, -1, *[1] * (len(shape) - 2)) / chain.taps.amax(),
            chain.x,
        )
        chain = chain.but(x=x, taps=torch.full_like(chain.taps, 1.5))
        y = run(chain, backend).y
        gradient = run_backward(chain, torch.ones_like(y), backend=backend).x
        assert_bitwise(gradient, torch.where(y > 0, 1.5, 0.0))
        assert 0.1 < (y > 0).double().mean() < 0.9


class ResidualChain(torch.autograd.Function):
    """The two kernels as a function for gradcheck."""

    @staticmethod
    def forward(ctx, x, taps, bias, options):
        ctx.options = options
        ctx.save_for_backward(x, taps, bias)
        return run(Chain(x, taps, bias, **options)).y

    @staticmethod
    def backward(ctx, grad_y):
        return (*run_backward(Chain(*ctx.saved_tensors, **ctx.options), grad_y), None)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradcheck(activation: str, boundary: str) -> None:
    """By finite differences in float64, with no part of the oracle."""
    for shape in ((1, 2, 5), (1, 1, 3, 4), (1, 1, 2, 2, 3)):
        chain = make_chain(shape, 3, 2, activation=activation, boundary=boundary)
        leaves = [t.clone().requires_grad_() for t in (chain.x, chain.taps, chain.bias)]
        options = {"activation": activation, "boundary": boundary}
        assert torch.autograd.gradcheck(ResidualChain.apply, (*leaves, options), eps=1e-7, atol=1e-6)


@BACKENDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
def test_mass_is_kept_exactly(dtype: torch.dtype, backend: int) -> None:
    """g = 0, periodic: dyadic taps on small integers are exact, so the sums agree to the last bit."""
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    taps = taps_2d(math.sqrt(0.5), 0.25, 0.5, -0.125, dtype=compute)
    taps = (taps * 16).round() / 16
    assert taps.sum() == 0
    x = torch.randint(-8, 8, (2, 2, 9, 17)).to(dtype)
    states = run(
        Chain(
            x,
            taps.expand(3, 1, 3, 3).contiguous(),
            activation="none",
            boundary="periodic",
            checkpoint_every=1,
        ),
        backend,
    )
    for u in states.checkpoints:
        assert (u.sum((2, 3)) == x.to(u.dtype).sum((2, 3))).all()


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_maximum_principle(boundary: str) -> None:
    """All merged taps >= 0 and their sum <= 1: no value ever leaves the range of the input."""
    a2, s2 = 0.5, 0.4
    taps = taps_2d(math.sqrt(a2), 0.3, math.sqrt(s2), -0.35).expand(60, 1, 3, 3).contiguous()
    for dtype, activation in itertools.product((torch.float32, torch.float64), ("none", "relu")):
        x = torch.randn(2, 2, 20, 33, dtype=dtype)
        chain = Chain(x, taps.to(dtype), activation=activation, boundary=boundary, states_every=1)
        slack = 1 + 60 * 8 * torch.finfo(dtype).eps
        top, bottom = x.max() * slack, (x.min() if activation == "none" else torch.zeros(())) * slack
        for u in run(chain).states:
            assert bottom <= u.min()
            assert u.max() <= top


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_periodic_chain_commutes_with_shifts(kernel: int, dims: int) -> None:
    space = (37, 11, 8)[-dims:] if dims > 1 else (37,)
    chain = make_chain((2, 2, *space), kernel, 4, boundary="periodic")
    bound = forward_bounds(chain, trajectory(chain))[-1]
    for shift in itertools.product(*((1, n - 3) for n in space)):
        axes = tuple(range(2, 2 + dims))
        moved = run(chain.but(x=chain.x.roll(shift, axes))).y
        assert_within(moved.roll(tuple(-s for s in shift), axes), run(chain).y, 2 * bound, f"shift {shift}")


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_exchanging_the_axes_transposes_the_image(boundary: str) -> None:
    x = torch.randn(2, 2, 9, 21, dtype=torch.float64)
    one = Chain(x, taps_2d(0.6, 0.4, 0.5, -0.2, 0.1), boundary=boundary)
    two = Chain(x.transpose(2, 3), taps_2d(0.5, -0.2, 0.6, 0.4, 0.1), boundary=boundary)
    bound = forward_bounds(one, trajectory(one))[-1]
    assert_within(run(two).y.transpose(2, 3), run(one).y, 2 * bound)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_opposite_advection_mirrors_the_image(boundary: str) -> None:
    x = torch.randn(2, 2, 9, 21, dtype=torch.float64)
    one = Chain(x, taps_2d(0.6, 0.4, 0.5, -0.2, 0.1), boundary=boundary)
    bound = forward_bounds(one, trajectory(one))[-1]
    for b, rho, axis in ((-0.4, -0.2, 3), (0.4, 0.2, 2)):
        mirrored = run(Chain(x.flip(axis), taps_2d(0.6, b, 0.5, rho, 0.1), boundary=boundary)).y
        assert_within(mirrored.flip(axis), run(one).y, 2 * bound)


def test_second_pde_is_the_first_with_an_eighth_of_the_advection_reversed() -> None:
    assert torch.equal(
        taps_2d(0.6, 0.4, 0.5, -0.2, 0.1, advection=-1 / 8), taps_2d(0.6, -0.4 / 8, 0.5, 0.2 / 8, 0.1)
    )


def test_parameter_gradients_of_the_pde() -> None:
    """dL/da = a sum m (psi(x+1) - 2 psi + psi(x-1)), dL/db = sum m (psi(x+1) - psi(x-1)) / 2."""
    psi = torch.randn(2, 1, 12, dtype=torch.float64)
    chain = Chain(psi, taps_1d(0.8, 0.3, -0.05))
    upstream, _ = cotangents(chain)
    found = run_backward(chain, upstream)
    left, centre, right = found.taps.flatten()
    m = upstream * (run(chain).y > 0)
    after, before = functional.pad(psi, (0, 1))[..., 1:], functional.pad(psi, (1, 0))[..., :-1]
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(
        0.8 * (right - 2 * centre + left), 0.8 * (m * (after - 2 * psi + before)).sum(), **close
    )
    torch.testing.assert_close((right - left) / 2, (m * (after - before)).sum() / 2, **close)
    torch.testing.assert_close(centre, (m * psi).sum(), **close)
    flipped = (
        0.31 * m + 0.47 * functional.pad(m, (1, 0))[..., :-1] + 0.17 * functional.pad(m, (0, 1))[..., 1:]
    )
    torch.testing.assert_close(found.x, flipped, **close)


# --- stability, moments, open gates ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "g"), [(0.8, 0.3, -0.05), (0.8, 0.9, 0.0), (1.2, 0.0, 0.0), (1.0, 1.0, 0.0)]
)
def test_plane_waves_are_multiplied_by_the_symbol(a: float, b: float, g: float) -> None:
    """1 + g - a^2 (1 - cos p) + i b sin p per step: an exact eigenfunction of the periodic chain."""
    points, steps = 48, 9
    for k in range(0, points, 3):
        p = 2 * math.pi * k / points
        wave = torch.exp(1j * p * torch.arange(points, dtype=torch.float64)).view(1, 1, -1)
        gain = complex(1 + g - a * a * (1 - math.cos(p)), b * math.sin(p))
        chain = Chain(wave, taps_1d(a, b, g, steps), activation="none", boundary="periodic")
        assert_within(
            run(chain).y, wave * gain**steps, 2 * forward_bounds(chain, trajectory(chain))[-1], f"k = {k}"
        )


def test_largest_gain_bounds_the_norm() -> None:
    """max |symbol| of a stable step is 1: neither periodic nor zero boundary may ever raise the 2-norm."""
    for boundary in ("periodic", "zero"):
        x = torch.randn(4, 1, 28, 28, dtype=torch.float64)
        taps = taps_2d(0.7, 0.3, 0.6, 0.2).expand(40, 1, 3, 3).contiguous()
        states = run(Chain(x, taps, activation="none", boundary=boundary, states_every=1)).states
        norms = torch.stack([x, *states]).flatten(2).norm(dim=2)
        assert (norms[1:] <= norms[:-1] * (1 + 1e-13)).all()


def test_moments_of_the_linear_chain() -> None:
    """Mass (1 + g)^N, mean -N b / (1 + g), variance N (a^2 / (1 + g) - b^2 / (1 + g)^2)."""
    a, b, g, steps = 0.8, 0.3, -0.05, 27
    psi = torch.zeros(1, 1, 101, dtype=torch.float64)
    psi[0, 0, 50] = 1.0
    y = linear(psi, taps_1d(a, b, g, steps)).flatten()
    place = torch.arange(101, dtype=torch.float64) - 50
    mass = y.sum().item()
    mean = (y * place).sum().item() / mass
    assert mass == pytest.approx((1 + g) ** steps, rel=1e-13)
    assert mean == pytest.approx(-steps * b / (1 + g), rel=1e-12)
    variance = (y * (place - mean) ** 2).sum().item() / mass
    assert variance == pytest.approx(steps * (a * a / (1 + g) - b * b / (1 + g) ** 2), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chain_with_open_gates_is_the_linear_chain(dtype: torch.dtype) -> None:
    """Taps >= 0 on a field >= 0 close no gate: relu gives the bits of none over 30 layers."""
    for shape in ((2, 1, 28, 28), (1, 1, 270, 280)):
        taps = taps_2d(0.6, 0.3, 0.5, -0.2, dtype=dtype).expand(30, 1, 3, 3).contiguous()
        chain = Chain(torch.rand(shape, dtype=dtype) + 0.1, taps)
        assert_bitwise(run(chain).y, run(chain.but(activation="none")).y)
        grad_y, _ = cotangents(chain)
        with_gates: Gradients = run_backward(chain, grad_y)
        without = run_backward(chain.but(activation="none"), grad_y)
        assert_bitwise(with_gates.x, without.x)
        assert_bitwise(with_gates.taps, without.taps)


def test_chains_compose() -> None:
    """T1 + T2 steps are T2 steps after T1 steps, to the last bit."""
    for shape, boundary in itertools.product(((2, 2, 9, 18), (1, 1, 270, 280), (1, 2, 70_000)), BOUNDARIES):
        chain = make_chain(shape, 3, 7, dtype=torch.float32, boundary=boundary)
        first = run(chain.but(taps=chain.taps[:3], bias=chain.bias[:3])).y
        second = run(chain.but(x=first, taps=chain.taps[3:].contiguous(), bias=chain.bias[3:].contiguous())).y
        assert_bitwise(second, run(chain).y, f"{shape} {boundary}")
