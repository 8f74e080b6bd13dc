"""Chains against a plain build from conv2d, and what users expect of torch modules."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qcore.nn import PDEChain, ResidualChain
from qcore.stencil import pde_taps

ACTIVATIONS = {
    "none": lambda z: z,
    "relu": torch.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.2),
    "tanh": torch.tanh,
    "silu": F.silu,
}
PADDING = {"zero": "constant", "periodic": "circular", "reflect": "reflect", "replicate": "replicate"}


def plain_pde_taps(chain: PDEChain) -> Tensor:
    """Taps (depth, C or 1, 3, 3) written down from theory section 1, entry by entry."""
    a, b, s, r, g = (
        p if p.ndim == 2 else p.unsqueeze(1)
        for p in (chain.alpha, chain.beta, chain.sigma, chain.rho, chain.gamma)
    )
    bx, by = chain.advection * b, chain.advection * r
    taps = a.new_zeros(*a.shape, 3, 3)
    taps[..., 1, 1] = g - a**2 - s**2
    taps[..., 1, 2] = (a**2 + bx) / 2
    taps[..., 1, 0] = (a**2 - bx) / 2
    taps[..., 2, 1] = (s**2 + by) / 2
    taps[..., 0, 1] = (s**2 - by) / 2
    return taps


def plain_forward(chain: PDEChain | ResidualChain, x: Tensor) -> list[Tensor]:
    """All states of the same network built from conv2d, one layer at a time; the input first."""
    taps = plain_pde_taps(chain) if isinstance(chain, PDEChain) else chain.weight
    channels, k = x.shape[1], taps.shape[-1]
    states = [x]
    for t in range(chain.depth):
        u = states[-1]
        padded = F.pad(u, (k // 2,) * 4, mode=PADDING[chain.boundary])
        weight = taps[t].expand(channels, k, k).unsqueeze(1)
        bias = None if chain.bias is None else chain.bias[t]
        z = u + F.conv2d(padded, weight, bias, groups=channels)
        states.append(ACTIVATIONS[chain.activation](z))
    return states


def make(kind: str, depth: int = 6, channels: int = 3, **options: Any) -> PDEChain | ResidualChain:
    if kind == "resnet":
        return ResidualChain(depth, channels, **options)
    if kind == "resnet5":
        return ResidualChain(depth, channels, 5, bias=True, **options)
    advection = 1.0 if kind == "pde1" else -0.125
    chain = PDEChain(depth, channels, advection, per_channel=kind == "pde2 per channel", **options)
    with torch.no_grad():
        chain.gamma.uniform_(-0.2, 0.2)
    return chain


KINDS = ["pde1", "pde2", "pde2 per channel", "resnet", "resnet5"]


@pytest.mark.parametrize("boundary", PADDING)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_agrees_with_conv2d(kind: str, boundary: str, dtype: torch.dtype, tolerance: float) -> None:
    chain = make(kind, boundary=boundary, dtype=dtype)
    x = torch.randn(2, 3, 9, 7, dtype=dtype, requires_grad=True)
    pull = torch.randn(2, 3, 9, 7, dtype=dtype)
    expected = plain_forward(chain, x)[-1]
    sources = [x, *chain.parameters()]
    expected_grads = torch.autograd.grad(expected, sources, pull)
    got = chain(x)
    grads = torch.autograd.grad(got, sources, pull)
    assert got.dtype == dtype
    torch.testing.assert_close(
        got, expected, rtol=tolerance, atol=tolerance * expected.detach().abs().max().item()
    )
    for grad, wanted in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, wanted, rtol=tolerance, atol=tolerance * wanted.abs().max().item())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["pde2", "resnet5"])
def test_activations_agree_with_conv2d(kind: str, activation: str) -> None:
    chain = make(kind, activation=activation, slope=0.2, dtype=torch.float64)
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64, requires_grad=True)
    expected, got = plain_forward(chain, x)[-1], chain(x)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)
    sources = [x, *chain.parameters()]
    for grad, wanted in zip(
        torch.autograd.grad(got.square().sum(), sources),
        torch.autograd.grad(expected.square().sum(), sources),
        strict=True,
    ):
        torch.testing.assert_close(grad, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_after_every_mth_layer(kind: str) -> None:
    chain = make(kind, depth=7, dtype=torch.float64)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    y, states = chain(x, states_every=3)
    expected = plain_forward(chain, x)
    assert states.shape == (2, 2, 3, 6, 6)
    torch.testing.assert_close(states[0], expected[3])
    torch.testing.assert_close(states[1], expected[6])
    torch.testing.assert_close(y, expected[7])


@pytest.mark.parametrize("kind", KINDS)
def test_depth_zero_is_the_identity(kind: str) -> None:
    chain = make(kind, depth=0)
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    y = chain(x)
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert all(parameter.numel() == 0 for parameter in chain.parameters())
    y, states = chain(x, states_every=2)
    assert states.shape == (0, 2, 3, 4, 5)


@pytest.mark.parametrize("per_channel", [False, True])
def test_taps_of_a_pde_chain_follow_the_theory(per_channel: bool) -> None:
    chain = PDEChain(4, 3, -0.125, per_channel=per_channel, dtype=torch.float64)
    taps = chain.taps()
    assert taps.shape == (4, 3 if per_channel else 1, 3, 3)
    torch.testing.assert_close(taps, plain_pde_taps(chain), rtol=1e-15, atol=1e-16)
    # PDE2(beta, rho) is PDE1(-beta/8, -rho/8).
    first = pde_taps(chain.alpha, -chain.beta / 8, chain.sigma, -chain.rho / 8, chain.gamma)
    torch.testing.assert_close(taps, first, rtol=1e-15, atol=1e-16)


def test_fixture_of_the_theory_note() -> None:
    image = torch.tensor([[1.0, 0, 2, 0], [0, 3, 0, -1], [2, 0, 1, 0], [0, -2, 0, 4]], dtype=torch.float64)
    for advection, total, clipped in ((1.0, 9.395, 11.385), (-0.125, 9.2825, 10.8375)):
        chain = PDEChain(1, advection=advection, activation="none", dtype=torch.float64)
        with torch.no_grad():
            for name, value in zip(
                ("alpha", "beta", "sigma", "rho", "gamma"), (0.6, 0.4, 0.5, -0.2, 0.1), strict=True
            ):
                getattr(chain, name).fill_(value)
        y = chain(image[None, None])
        assert y.sum().item() == pytest.approx(total, rel=1e-13)
        assert y.relu().sum().item() == pytest.approx(clipped, rel=1e-13)


def test_initial_values() -> None:
    chain = PDEChain(2000)
    for parameter in (chain.alpha, chain.beta, chain.sigma, chain.rho):
        assert parameter.min() > 0
        assert parameter.max() <= 1
        assert parameter.mean().item() == pytest.approx(0.5, abs=0.03)
    assert torch.count_nonzero(chain.gamma) == 0
    for drift in (PDEChain(2000, init="symmetric").beta, PDEChain(2000, init="symmetric").rho):
        assert drift.abs().max() <= 1
        assert drift.mean().item() == pytest.approx(0.0, abs=0.06)
        assert drift.square().mean().item() == pytest.approx(1 / 3, abs=0.03)
    symmetric = PDEChain(2000, init="symmetric")
    assert min(symmetric.alpha.min(), symmetric.sigma.min()) > 0
    normal = PDEChain(2000, init="normal")
    for parameter in (normal.alpha, normal.beta, normal.sigma, normal.rho):
        assert parameter.mean().item() == pytest.approx(0.0, abs=0.1)
        assert parameter.std().item() == pytest.approx(1.0, abs=0.07)
    assert torch.count_nonzero(normal.gamma) == 0
    control = ResidualChain(500, kernel_size=5, bias=True)
    assert control.weight.abs().max().item() == pytest.approx(0.2, abs=0.001)
    assert control.bias is not None
    assert control.bias.abs().max().item() == pytest.approx(0.2, abs=0.01)


def test_control_starts_as_conv2d_does() -> None:
    ours = ResidualChain(3000).weight
    theirs = torch.stack([nn.Conv2d(1, 1, 3).weight for _ in range(300)])
    assert ours.max().item() == pytest.approx(theirs.max().item(), rel=0.01)
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.05)


def test_initialisation_follows_the_seed() -> None:
    def draw() -> Tensor:
        torch.manual_seed(3)
        return PDEChain(5).alpha.detach()

    assert torch.equal(draw(), draw())
    chain = PDEChain(5)
    before = chain.alpha.detach().clone()
    chain.reset_parameters()
    assert not torch.equal(chain.alpha, before)


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_copy_and_pickle_keep_the_function(kind: str) -> None:
    chain = make(kind)
    x = torch.rand(2, 3, 6, 6)
    expected = chain(x)
    other = make(kind)
    assert not torch.equal(other(x), expected)
    other.load_state_dict(chain.state_dict())
    buffer = io.BytesIO()
    torch.save(chain.state_dict(), buffer)
    buffer.seek(0)
    reread = make(kind)
    reread.load_state_dict(torch.load(buffer, weights_only=True))
    for same in (other, reread, copy.deepcopy(chain), pickle.loads(pickle.dumps(chain))):
        assert torch.equal(same(x), expected)
        assert repr(same) == repr(chain)
    names = {"alpha", "beta", "sigma", "rho", "gamma"} if "pde" in kind else {"weight"}
    assert set(chain.state_dict()) == names | ({"bias"} if kind == "resnet5" else set())


def test_state_dict_of_another_depth_is_refused() -> None:
    with pytest.raises(RuntimeError, match="size mismatch for alpha"):
        PDEChain(3).load_state_dict(PDEChain(4).state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_moves_between_dtypes_and_devices(kind: str) -> None:
    chain = make(kind)
    x = torch.rand(2, 3, 6, 6)
    expected = chain(x)
    double = copy.deepcopy(chain).to(torch.float64)
    assert all(parameter.dtype == torch.float64 for parameter in double.parameters())
    torch.testing.assert_close(double(x.double()).float(), expected, rtol=1e-4, atol=1e-5)
    low = chain(x.bfloat16())
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), expected, rtol=0.05, atol=0.05)
    meta = copy.deepcopy(chain).to("meta")
    assert meta(torch.empty(2, 3, 6, 6, device="meta")).shape == x.shape


def test_float_moves_a_double_chain_back() -> None:
    chain = PDEChain(2, dtype=torch.float64).float()
    assert chain(torch.rand(1, 1, 4, 4)).dtype == torch.float32


def test_repr_says_what_is_not_default() -> None:
    assert repr(PDEChain(27, advection=-0.125)) == (
        "PDEChain(27, channels=1, advection=-0.125, per_channel=False, activation='relu', boundary='zero')"
    )
    assert repr(ResidualChain(3, 2, 5, True, activation="leaky_relu", slope=0.3, boundary="periodic")) == (
        "ResidualChain(3, channels=2, kernel_size=5, bias=True, activation='leaky_relu', slope=0.3, "
        "boundary='periodic')"
    )


def test_nan_passes_through_and_reaches_the_gradient() -> None:
    chain = PDEChain(2)
    x = torch.rand(2, 1, 5, 5)
    x[0, 0, 2, 2] = float("nan")
    y = chain(x)
    assert y[0].isnan().any()
    assert not y[1].isnan().any()
    y.sum().backward()
    assert chain.alpha.grad is not None
    assert chain.alpha.grad.isnan().any()


def test_trains_under_a_torch_optimizer() -> None:
    torch.manual_seed(0)
    target = PDEChain(3, dtype=torch.float64)
    x = torch.rand(8, 1, 8, 8, dtype=torch.float64)
    wanted = target(x).detach()
    chain = PDEChain(3, dtype=torch.float64)
    optimizer = torch.optim.Adam(chain.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = F.mse_loss(chain(x), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


BAD_PDE = {
    "depth a float": ({"depth": 2.0}, TypeError, "depth: expected an int >= 0, got float"),
    "depth a bool": ({"depth": True}, TypeError, "depth: expected an int >= 0, got bool"),
    "depth negative": ({"depth": -1}, ValueError, "depth: expected an int >= 0, got -1"),
    "channels zero": ({"channels": 0}, ValueError, "channels: expected at least 1, got 0"),
    "channels a string": ({"channels": "3"}, TypeError, "channels: expected an int >= 0, got str"),
    "advection nan": (
        {"advection": float("nan")},
        ValueError,
        "advection: expected a finite number, got nan",
    ),
    "advection a string": ({"advection": "1"}, TypeError, "advection: expected a real number, got str"),
    "init unknown": ({"init": "zero"}, ValueError, "init: expected one of 'uniform', .* got 'zero'"),
    "init a pair": ({"init": (0.0, 1.0)}, TypeError, "init: expected one of 'uniform', .* got tuple"),
}
BAD_BOTH = {
    "activation": ({"activation": "gelu"}, ValueError, "activation: expected one of 'none', .* got 'gelu'"),
    "activation none": ({"activation": None}, TypeError, "activation: expected one of .* got NoneType"),
    "boundary": ({"boundary": "circular"}, ValueError, "boundary: expected one of 'zero', .* got 'circular'"),
    "slope negative": ({"slope": -0.1}, ValueError, "slope: expected a number >= 0, got -0.1"),
    "slope nan": ({"slope": float("nan")}, ValueError, "slope: expected a number >= 0, got nan"),
    "slope a string": ({"slope": "0.1"}, TypeError, "slope: expected a real number, got str"),
}
BAD_CONTROL = {
    "kernel even": ({"kernel_size": 4}, ValueError, "kernel_size: expected an odd number from 1 to 7, got 4"),
    "kernel large": (
        {"kernel_size": 9},
        ValueError,
        "kernel_size: expected an odd number from 1 to 7, got 9",
    ),
    "kernel zero": ({"kernel_size": 0}, ValueError, "kernel_size: expected an odd number from 1 to 7, got 0"),
    "kernel a pair": ({"kernel_size": (3, 3)}, TypeError, "kernel_size: expected an int >= 0, got tuple"),
}


@pytest.mark.parametrize("case", [*BAD_PDE, *BAD_BOTH])
def test_pde_chain_refuses(case: str) -> None:
    options, error, message = (BAD_PDE | BAD_BOTH)[case]
    with pytest.raises(error, match=message):
        PDEChain(**({"depth": 2} | options))


@pytest.mark.parametrize("case", [*BAD_CONTROL, *BAD_BOTH])
def test_residual_chain_refuses(case: str) -> None:
    options, error, message = (BAD_CONTROL | BAD_BOTH)[case]
    with pytest.raises(error, match=message):
        ResidualChain(**({"depth": 2} | options))


@pytest.mark.parametrize("kind", KINDS)
def test_forward_refuses_other_inputs(kind: str) -> None:
    chain = make(kind)
    with pytest.raises(TypeError, match=r"x: expected a torch\.Tensor, got list"):
        chain([1.0])
    with pytest.raises(ValueError, match=r"x: expected shape \(B, 3, H, W\), got shape \(3, 6, 6\)"):
        chain(torch.rand(3, 6, 6))
    with pytest.raises(ValueError, match=r"x: expected shape \(B, 3, H, W\), got shape \(2, 1, 6, 6\)"):
        chain(torch.rand(2, 1, 6, 6))
    with pytest.raises(TypeError, match=r"torch\.float64"):
        chain(torch.rand(2, 3, 6, 6, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"torch\.int64"):
        chain(torch.ones(2, 3, 6, 6, dtype=torch.int64))
    with pytest.raises(ValueError, match="states_every"):
        chain(torch.rand(2, 3, 6, 6), states_every=-1)
