"""Stencil ODEs against loops of conv2d, closed forms and matrix exponentials, and their three gradients."""

from __future__ import annotations

import copy
import io
import math
import pickle
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchdiffeq
from torch import Tensor, nn

from qcore._optional import MissingPackage
from qcore.nn import ResidualChain, StencilODE
from qcore.nn.ode import ADAPTIVE, FIXED_STEP, METHODS
from qcore.residual import mass_kept

F64 = torch.float64
ACTIVATIONS = {
    "none": lambda z: z,
    "relu": torch.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.2),
    "tanh": torch.tanh,
    "silu": F.silu,
}
PADDING = {"zero": "constant", "periodic": "circular", "reflect": "reflect", "replicate": "replicate"}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """The fields are tiny: threads would wait for each other."""
    torch.set_num_threads(1)


def field(ode: StencilODE, u: Tensor, step: int, act: Callable[[Tensor], Tensor]) -> Tensor:
    """act(K u + b) of the stencil in force during a step, by conv2d."""
    piece, k = step // (ode.steps // ode.pieces), ode.kernel_size
    padded = F.pad(u, (k // 2,) * 4, mode=PADDING[ode.boundary])
    bias = None if ode.bias is None else ode.bias[piece]
    return act(F.conv2d(padded, ode.weight[piece].unsqueeze(1), bias, groups=ode.channels))


def plain_euler(ode: StencilODE, x: Tensor) -> list[Tensor]:
    """All states by Euler steps written out; the obstacle as max(f, -u/h) where that is right, theory E16."""
    h = ode.time / ode.steps
    states = [x]
    for step in range(ode.steps):
        u = states[-1]
        f = field(ode, u, step, ACTIVATIONS["none" if ode.obstacle else ode.activation])
        if ode.obstacle:
            # From u < 0 the projection lifts to 0 what does not get there by itself.
            f = torch.maximum(f, -u / h)
        states.append(u + h * f)
    return states


def make(steps: int = 6, channels: int = 3, dtype: torch.dtype = F64, **options: Any) -> StencilODE:
    torch.manual_seed(0)
    return StencilODE(steps, channels, dtype=dtype, **options)


def gradients(ode: StencilODE, x: Tensor, pull: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
    """The end state and the gradients of its product with ``pull`` (half its square): x, then parameters."""
    start = x.detach().clone().requires_grad_()
    end = ode(start)
    loss = end.square().sum() / 2 if pull is None else (end * pull).sum()
    return end.detach(), list(torch.autograd.grad(loss, [start, *ode.parameters()]))


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * other.abs().max().item())


def distance(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def ratios(errors: list[float]) -> list[float]:
    return [coarse / fine for coarse, fine in pairwise(errors)]


# --- what an Euler step is ---


@pytest.mark.parametrize("boundary", PADDING)
@pytest.mark.parametrize("gradient", ["discrete", "checkpointed"])
@pytest.mark.parametrize("kind", ["linear", "obstacle", "tanh"])
def test_euler_steps_are_those_of_conv2d(kind: str, gradient: str, boundary: str) -> None:
    options = {"linear": {}, "obstacle": {"obstacle": True}, "tanh": {"activation": "tanh"}}[kind]
    ode = make(
        6, bias=True, pieces=3, time=1.7, learn_time=True, boundary=boundary, gradient=gradient, **options
    )
    x = torch.rand(2, 3, 7, 6, dtype=F64)
    start = x.clone().requires_grad_()
    expected = plain_euler(ode, start)[-1]
    wanted = torch.autograd.grad(expected.square().sum() / 2, [start, *ode.parameters()])
    got, found = gradients(ode, x)
    torch.testing.assert_close(got, expected.detach(), rtol=1e-12, atol=1e-12)
    assert_close(found, list(wanted), 1e-11)


@pytest.mark.parametrize("kernel_size", [1, 5])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_stands_around_the_right_hand_side(activation: str, kernel_size: int) -> None:
    ode = make(4, kernel_size=kernel_size, activation=activation, slope=0.2, bias=True)
    x = torch.randn(2, 3, 7, 6, dtype=F64)
    torch.testing.assert_close(ode(x), plain_euler(ode, x)[-1], rtol=1e-12, atol=1e-12)
    if activation != "none":
        chain = ResidualChain(4, 3, kernel_size, True, activation=activation, slope=0.2, dtype=F64)
        with torch.no_grad():
            chain.weight.copy_(ode.weight / 4)
            chain.bias.copy_(ode.bias / 4)
        assert (chain(x) - ode(x)).abs().max() > 0.05


def test_obstacle_step_is_projected_and_no_euler_step() -> None:
    """E16: relu(u + h f) = u + h max(f, -u/h) for u >= 0, a step of 0 <= u, du/dt >= f, u (du/dt - f) = 0."""
    ode = make(1, time=0.5, obstacle=True)
    u = torch.rand(4, 3, 8, 8, dtype=F64) * (torch.rand(4, 3, 8, 8) > 0.5)
    f = field(ode, u, 0, ACTIVATIONS["none"])
    end = ode(u)
    torch.testing.assert_close(end, u + 0.5 * torch.maximum(f, -u / 0.5), rtol=1e-13, atol=1e-14)
    velocity = (end - u) / 0.5
    assert end.min() >= 0
    assert (velocity - f).min() > -1e-13
    assert (end * (velocity - f)).abs().max() < 1e-13
    touched = end == 0
    assert touched.any()
    assert not touched.all()
    for other in ("none", "relu"):
        assert (u + 0.5 * ACTIVATIONS[other](f) - end).abs().max() > 0.05


def test_obstacle_lifts_what_starts_below_it() -> None:
    ode = make(3, obstacle=True)
    with torch.no_grad():
        ode.weight.zero_()
    x = torch.randn(1, 3, 4, 4, dtype=F64)
    assert torch.equal(ode(x), x.relu())


@pytest.mark.parametrize("obstacle", [False, True])
def test_a_fused_flow_is_a_residual_chain(obstacle: bool) -> None:
    ode = make(6, bias=True, pieces=2, obstacle=obstacle, boundary="reflect")
    x = torch.rand(2, 3, 5, 6, dtype=F64)
    chain = ode.as_chain()
    assert chain.activation == ("relu" if obstacle else "none")
    assert (chain.depth, chain.boundary) == (6, "reflect")
    assert torch.equal(chain(x), ode(x))
    with torch.no_grad():
        chain.weight.zero_()
    assert not torch.equal(chain(x), ode(x))
    for other in (make(activation="tanh"), make(method="rk4"), make(gradient="adjoint")):
        assert not other.fused
        with pytest.raises(ValueError, match="as_chain: expected a flow that is fused, got StencilODE"):
            other.as_chain()


@pytest.mark.parametrize("kind", ["linear", "tanh"])
def test_euler_is_that_of_torchdiffeq(kind: str) -> None:
    act = {"linear": "none", "tanh": "tanh"}[kind]
    ode, other = (make(8, activation=act, time=2.0, gradient=g) for g in ("discrete", "adjoint"))
    x = torch.randn(2, 3, 6, 5, dtype=F64)
    grid = torch.linspace(0, 2, 9, dtype=F64)
    theirs = torchdiffeq.odeint(lambda t, u: field(ode, u, 0, ACTIVATIONS[act]), x, grid, method="euler")
    torch.testing.assert_close(ode(x), theirs[-1], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(other(x), theirs[-1], rtol=1e-13, atol=1e-13)
    _, states = ode(x, states_every=1)
    torch.testing.assert_close(states, theirs[1:], rtol=1e-13, atol=1e-13)


# --- convergence ---


def exact_flow(ode: StencilODE, x: Tensor) -> Tensor:
    """exp(time M) x of a linear flow, M read off from what conv2d makes of unit fields."""
    size = x[0, 0].numel()
    units = torch.eye(size, dtype=F64).reshape(size, 1, *x.shape[2:])
    matrix = field(ode, units, 0, ACTIVATIONS["none"]).reshape(size, size).T
    return (torch.linalg.matrix_exp(ode.time * matrix) @ x.flatten(2).mT).mT.reshape(x.shape)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("heun3", 3), ("rk4", 4)])
def test_order_of_convergence(method: str, order: int) -> None:
    x = torch.randn(2, 1, 4, 5, dtype=F64)
    errors = []
    for steps in (8, 16, 32):
        ode = make(steps, channels=1, method=method, time=1.5, boundary="periodic")
        errors.append(distance(ode(x), exact_flow(ode, x)))
    assert ratios(errors) == pytest.approx([2.0**order] * 2, rel=0.2)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_adaptive_methods_keep_their_tolerance(method: str) -> None:
    x = torch.randn(2, 1, 4, 5, dtype=F64)
    errors = []
    for tolerance in (1e-3, 1e-5):
        ode = make(2, channels=1, method=method, time=1.5, rtol=tolerance, atol=tolerance)
        errors.append(distance(ode(x), exact_flow(ode, x)))
        # The estimate of a pair of first and second order is loose.
        assert errors[-1] < (300 if method == "fehlberg2" else 10) * tolerance
    assert errors[1] < 0.1 * errors[0] or errors[1] < 1e-7


def test_projected_euler_converges() -> None:
    """To the flow that has a stencil's rate where u > 0 and stops at 0: order 1 against a much finer run."""
    x = torch.rand(2, 1, 6, 6, dtype=F64)
    with torch.no_grad():
        reference = make(4096, channels=1, obstacle=True, bias=True, time=3.0)(x)
        errors = [
            distance(make(n, channels=1, obstacle=True, bias=True, time=3.0)(x), reference)
            for n in (16, 64, 256)
        ]
    assert (reference == 0).any()
    assert (reference > 0).any()
    assert all(2.5 < ratio < 7 for ratio in ratios(errors))


def test_pieces_follow_each_other() -> None:
    """A stencil for each part of the time is one flow after the other, with step control too."""
    x = torch.randn(2, 3, 5, 6, dtype=F64)
    for method in ("euler", "rk4", "dopri5"):
        whole = make(6, pieces=3, time=1.5, method=method, activation="tanh")
        u = x
        for weight in whole.weight:
            part = make(2, time=0.5, method=method, activation="tanh")
            with torch.no_grad():
                part.weight.copy_(weight[None])
            u = part(u)
        torch.testing.assert_close(whole(x), u, rtol=1e-13, atol=1e-13)


# --- a torch module ---


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"obstacle": True, "gradient": "checkpointed"},
        {"activation": "tanh"},
        {"method": "rk4"},
        {"method": "dopri5", "gradient": "checkpointed", "rtol": 1e-9, "atol": 1e-9},
        {"method": "midpoint", "gradient": "adjoint"},
    ],
)
def test_states_are_those_after_every_mth_interval(options: dict[str, Any]) -> None:
    ode = make(8, pieces=2, **options)
    x = torch.rand(2, 3, 5, 5, dtype=F64)
    y, states = ode(x, states_every=3)
    assert states.shape == (2, 2, 3, 5, 5)
    torch.testing.assert_close(y, ode(x), rtol=1e-8, atol=1e-8)
    first = make(3, time=3 / 8, **options)
    with torch.no_grad():
        first.weight.copy_(ode.weight[:1])
    torch.testing.assert_close(states[0], first(x), rtol=1e-8, atol=1e-8)
    _, none = ode(x, states_every=9)
    assert none.shape == (0, 2, 3, 5, 5)


def test_mass_kept_takes_a_flow() -> None:
    kept = mass_kept(make(5, obstacle=True), torch.rand(2, 3, 5, 5, dtype=F64))
    assert kept.shape == (6, 2)


@pytest.mark.parametrize("options", [{}, {"method": "dopri5"}, {"gradient": "adjoint"}, {"obstacle": True}])
def test_no_steps_are_the_identity(options: dict[str, Any]) -> None:
    ode = make(0, bias=True, learn_time=True, **options)
    x = torch.randn(2, 3, 4, 5, dtype=F64, requires_grad=True)
    y = ode(x)
    assert torch.equal(y, x)
    assert y.data_ptr() != x.data_ptr()
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    _, states = ode(x, states_every=2)
    assert states.shape == (0, 2, 3, 4, 5)


@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_empty_batch(method: str) -> None:
    ode = make(3, method=method, gradient="checkpointed", activation="tanh")
    y = ode(torch.empty(0, 3, 4, 4, dtype=F64))
    assert y.shape == (0, 3, 4, 4)
    y.sum().backward()
    assert torch.count_nonzero(ode.weight.grad) == 0


@pytest.mark.parametrize("options", [{}, {"learn_time": True}, {"method": "rk4", "gradient": "adjoint"}])
def test_state_dict_copy_and_pickle_keep_the_function(options: dict[str, Any]) -> None:
    ode = make(4, bias=True, pieces=2, **options)
    x = torch.rand(2, 3, 6, 6, dtype=F64)
    expected = ode(x)
    torch.manual_seed(7)
    other = StencilODE(4, 3, bias=True, pieces=2, dtype=F64, **options)
    assert not torch.equal(other(x), expected)
    buffer = io.BytesIO()
    torch.save(ode.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for same in (other, copy.deepcopy(ode), pickle.loads(pickle.dumps(ode))):
        assert torch.equal(same(x), expected)
        assert repr(same) == repr(ode)
    assert set(ode.state_dict()) == {"weight", "bias"} | ({"time"} if "learn_time" in options else set())


def test_parameters_start_as_those_of_conv2d() -> None:
    ode = StencilODE(500, kernel_size=5, bias=True, pieces=500)
    assert ode.weight.abs().max().item() == pytest.approx(0.2, abs=0.001)
    assert ode.weight.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.05)
    assert ode.bias is not None
    assert ode.bias.abs().max().item() == pytest.approx(0.2, abs=0.01)
    before = ode.weight.detach().clone()
    ode.reset_parameters()
    assert not torch.equal(ode.weight, before)


def test_moves_between_dtypes_and_devices() -> None:
    for options in ({}, {"obstacle": True}, {"activation": "tanh"}, {"method": "rk4", "learn_time": True}):
        ode = make(4, dtype=torch.float32, **options)
        x = torch.rand(2, 3, 6, 6)
        expected = ode(x)
        assert expected.dtype == torch.float32
        double = copy.deepcopy(ode).to(F64)
        assert all(parameter.dtype == F64 for parameter in double.parameters())
        torch.testing.assert_close(double(x.double()).float(), expected, rtol=1e-5, atol=1e-6)
        if ode.fused:
            torch.testing.assert_close(ode(x.bfloat16()).float(), expected, rtol=0.05, atol=0.05)
        if not ode._by_torchdiffeq:
            meta = copy.deepcopy(ode).to("meta")
            assert meta(torch.empty(2, 3, 6, 6, device="meta")).shape == x.shape


def test_a_fused_flow_compiles_in_one_graph() -> None:
    torch._dynamo.reset()
    ode = make(4, obstacle=True, bias=True)
    x = torch.rand(2, 3, 6, 6, dtype=F64)
    expected = gradients(ode, x)[1]
    start = x.clone().requires_grad_()
    end = torch.compile(ode, fullgraph=True, backend="aot_eager")(start)
    found = torch.autograd.grad(end.square().sum() / 2, [start, *ode.parameters()])
    assert_close(list(found), expected, 1e-12)


def test_repr_says_what_is_solved_and_how() -> None:
    assert repr(StencilODE(4)) == (
        "StencilODE(4, channels=1, kernel_size=3, bias=False, time=1.0, activation='none', boundary='zero', "
        "method='euler', gradient='discrete')"
    )
    assert repr(StencilODE(6, 2, 5, True, time=2, pieces=3, obstacle=True, gradient="checkpointed")) == (
        "StencilODE(6, channels=2, kernel_size=5, bias=True, time=2.0, pieces=3, obstacle=True, "
        "boundary='zero', method='euler', gradient='checkpointed')"
    )
    assert repr(
        StencilODE(1, learn_time=True, activation="leaky_relu", boundary="periodic", method="dopri5")
    ) == (
        "StencilODE(1, channels=1, kernel_size=3, bias=False, time=learnt, activation='leaky_relu', "
        "slope=0.01, boundary='periodic', method='dopri5', gradient='discrete', rtol=1e-05, atol=1e-06)"
    )


def test_learns_a_stencil_and_a_time() -> None:
    target = make(8, channels=1, time=1.5, activation="tanh")
    x = torch.randn(8, 1, 6, 6, dtype=F64)
    wanted = target(x).detach()
    torch.manual_seed(1)
    ode = StencilODE(8, activation="tanh", learn_time=True, dtype=F64)
    optimizer = torch.optim.Adam(ode.parameters(), lr=0.03)
    losses = []
    for _ in range(60):
        loss = F.mse_loss(ode(x), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]
    assert isinstance(ode.time, nn.Parameter)
    assert ode.time.item() != 1.0


# --- what is refused ---


def test_names_are_all_of_torchdiffeq_that_give_gradients() -> None:
    from torchdiffeq._impl.odeint import SOLVERS
    from torchdiffeq._impl.solvers import FixedGridODESolver

    left_out = {"fixed_adams", "scipy_solver"}  # an older name of implicit_adams; no gradients
    assert set(METHODS) == set(SOLVERS) - left_out
    assert (
        set(FIXED_STEP)
        == {name for name, solver in SOLVERS.items() if issubclass(solver, FixedGridODESolver)} - left_out
    )


@pytest.mark.parametrize("options", [{"method": "rk4"}, {"gradient": "adjoint"}])
def test_without_torchdiffeq_the_message_names_the_extra(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ode = make(2, **options)
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    message = r"needs torchdiffeq, which is not installed: pip install \"qcore-kernels\[ode\]\""
    with pytest.raises(MissingPackage, match=message):
        StencilODE(2, **options)
    with pytest.raises(ImportError, match=message):
        ode(torch.rand(1, 3, 4, 4, dtype=F64))
    for works in ({"obstacle": True}, {"activation": "tanh", "gradient": "checkpointed"}):
        assert StencilODE(2, **works)(torch.rand(1, 1, 4, 4)).shape == (1, 1, 4, 4)


BAD = {
    "steps a float": ({"steps": 2.0}, TypeError, "steps: expected an int >= 0, got float"),
    "steps negative": ({"steps": -1}, ValueError, "steps: expected an int >= 0, got -1"),
    "channels zero": ({"channels": 0}, ValueError, "channels: expected at least 1, got 0"),
    "channels a string": ({"channels": "3"}, TypeError, "channels: expected an int >= 0, got str"),
    "kernel even": ({"kernel_size": 4}, ValueError, "kernel_size: expected an odd number from 1 to 7, got 4"),
    "kernel large": ({"kernel_size": 9}, ValueError, "kernel_size: expected an odd number .* got 9"),
    "kernel zero": ({"kernel_size": 0}, ValueError, "kernel_size: expected at least 1, got 0"),
    "time zero": ({"time": 0.0}, ValueError, "time: expected a finite number > 0, got 0.0"),
    "time infinite": ({"time": math.inf}, ValueError, "time: expected a finite number > 0, got inf"),
    "time a string": ({"time": "1"}, TypeError, "time: expected a real number, got str"),
    "pieces zero": ({"pieces": 0}, ValueError, "pieces: expected at least 1, got 0"),
    "pieces no divisor": ({"pieces": 3}, ValueError, "pieces: expected a divisor of steps, 4, got 3"),
    "pieces a bool": ({"pieces": True}, TypeError, "pieces: expected an int >= 0, got bool"),
    "activation": ({"activation": "gelu"}, ValueError, "activation: expected one of 'none', .* got 'gelu'"),
    "slope negative": ({"slope": -0.1}, ValueError, "slope: expected a number >= 0, got -0.1"),
    "slope nan": ({"slope": math.nan}, ValueError, "slope: expected a number >= 0, got nan"),
    "slope a string": ({"slope": "0"}, TypeError, "slope: expected a real number, got str"),
    "boundary": ({"boundary": "circular"}, ValueError, "boundary: expected one of 'zero', .* got 'circular'"),
    "method": ({"method": "rk5"}, ValueError, "method: expected one of 'euler', .* got 'rk5'"),
    "method without gradients": ({"method": "scipy_solver"}, ValueError, "method: .* got 'scipy_solver'"),
    "method a class": ({"method": int}, TypeError, "method: expected one of .* got type"),
    "gradient": ({"gradient": "exact"}, ValueError, "gradient: expected one of 'discrete', .* got 'exact'"),
    "rtol": ({"rtol": 0.0}, ValueError, "rtol: expected a finite number > 0, got 0.0"),
    "atol": ({"atol": -1e-3}, ValueError, "atol: expected a finite number > 0, got -0.001"),
    "obstacle and activation": (
        {"obstacle": True, "activation": "relu"},
        ValueError,
        "activation: expected one of 'none' with obstacle=True, got 'relu'",
    ),
    "obstacle and method": (
        {"obstacle": True, "method": "rk4"},
        ValueError,
        "method: expected one of 'euler' with obstacle=True, got 'rk4'",
    ),
    "obstacle and adjoint": (
        {"obstacle": True, "gradient": "adjoint"},
        ValueError,
        "gradient: expected one of 'discrete', 'checkpointed' with obstacle=True, got 'adjoint'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case: str) -> None:
    options, error, message = BAD[case]
    with pytest.raises(error, match=message):
        StencilODE(**({"steps": 4} | options))


@pytest.mark.parametrize("options", [{}, {"activation": "tanh"}, {"method": "rk4"}, {"gradient": "adjoint"}])
def test_forward_refuses_other_inputs(options: dict[str, Any]) -> None:
    ode = make(4, **options)
    with pytest.raises(TypeError, match=r"x: expected a torch\.Tensor, got list"):
        ode([1.0])
    with pytest.raises(ValueError, match=r"x: expected shape \(B, 3, H, W\), got shape \(3, 6, 6\)"):
        ode(torch.rand(3, 6, 6, dtype=F64))
    with pytest.raises(ValueError, match=r"x: expected shape \(B, 3, H, W\), got shape \(2, 1, 6, 6\)"):
        ode(torch.rand(2, 1, 6, 6, dtype=F64))
    with pytest.raises(TypeError, match=r"torch\.float64"):
        ode(torch.rand(2, 3, 6, 6))
    with pytest.raises(TypeError, match=r"torch\.int64"):
        ode(torch.ones(2, 3, 6, 6, dtype=torch.int64))
    with pytest.raises(TypeError, match="states_every: expected an int >= 0, got float"):
        ode(torch.rand(2, 3, 6, 6, dtype=F64), states_every=1.0)
    with pytest.raises(ValueError, match="states_every: expected an int >= 0, got -1"):
        ode(torch.rand(2, 3, 6, 6, dtype=F64), states_every=-1)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_learnt_time_that_has_left_its_range_is_refused(value: float) -> None:
    ode = make(4, learn_time=True)
    with torch.no_grad():
        ode.time.fill_(value)
    with pytest.raises(ValueError, match=f"time: expected a finite number > 0, got {value}"):
        ode(torch.rand(2, 3, 6, 6, dtype=F64))
