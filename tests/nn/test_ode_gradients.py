"""The three ways to the gradients of a stencil ODE, and why one of them comes with a warning."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from nn.test_ode import F64, assert_close, distance, gradients, make, ratios
from qcore.nn import StencilODE
from qcore.nn.ode import FIXED_STEP, GRADIENTS, METHODS


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """The fields are tiny: threads would wait for each other."""
    torch.set_num_threads(1)


def test_scalar_fixture_of_the_theory_note() -> None:
    """f = theta psi, theta = -.7, psi(0) = 1.5, T = 2, L = psi(T)^2/2, theory section 6."""
    x = torch.full((1, 1, 1, 1), 1.5, dtype=F64)
    for method, steps in (("rk4", 100), ("dopri5", 2)):
        for gradient in GRADIENTS:
            ode = make(
                steps,
                channels=1,
                kernel_size=1,
                time=2.0,
                learn_time=True,
                method=method,
                gradient=gradient,
                rtol=1e-10,
                atol=1e-12,
            )
            with torch.no_grad():
                ode.weight.fill_(-0.7)
            end, (start, theta, time) = gradients(ode, x)
            assert [name for name, _ in ode.named_parameters()] == ["weight", "time"]
            assert end.item() == pytest.approx(0.369895445912, rel=1e-9)
            assert end.item() ** 2 / 2 == pytest.approx(0.068411320453, rel=1e-9)
            assert theta.item() == pytest.approx(0.273645281813, rel=1e-8)
            assert start.item() == pytest.approx(0.091215093938, rel=1e-8)
            assert time.item() == pytest.approx(-0.095775848635, rel=1e-8)


def rk4_gradients(gradient: str, steps: int) -> Tensor:
    x = torch.linspace(-1, 1, 12, dtype=F64).reshape(1, 1, 3, 4)
    ode = make(steps, channels=1, time=2.0, method="rk4", gradient=gradient, activation="tanh", bias=True)
    return torch.cat([g.flatten() for g in gradients(ode, x)[1]])


def test_both_adjoints_of_rk4_converge_with_order_four() -> None:
    reference = rk4_gradients("discrete", 256)
    errors = {
        gradient: [distance(rk4_gradients(gradient, n), reference) for n in (4, 8, 16, 32)]
        for gradient in ("discrete", "adjoint")
    }
    for found in errors.values():
        assert found[-1] < 1e-7
        assert all(11 < ratio < 24 for ratio in ratios(found))
    differences = [
        distance(rk4_gradients("adjoint", n), rk4_gradients("discrete", n)) for n in (4, 8, 16, 32)
    ]
    assert all(11 < ratio < 24 for ratio in ratios(differences))


def test_both_adjoints_of_euler_differ_to_first_order() -> None:
    """In closed form for f = theta psi: each gradient is that of its own scheme, and they are O(h) apart."""
    theta, start, time = -0.7, 1.5, 2.0
    differences = []
    for n in (4, 8, 16, 32):
        h = time / n
        end = start * (1 + theta * h) ** n
        discrete = end * start * time * (1 + theta * h) ** (n - 1)
        psi, a, continuous = end, end, 0.0
        for _ in range(n):
            continuous += h * a * psi
            psi, a = psi * (1 - theta * h), a * (1 + theta * h)
        found = {}
        for gradient in ("discrete", "adjoint"):
            ode = make(n, channels=1, kernel_size=1, time=time, gradient=gradient)
            with torch.no_grad():
                ode.weight.fill_(theta)
            found[gradient] = gradients(ode, torch.full((1, 1, 1, 1), start, dtype=F64))[1][1].item()
        assert found["discrete"] == pytest.approx(discrete, rel=1e-12)
        assert found["adjoint"] == pytest.approx(continuous, rel=1e-12)
        differences.append(abs(discrete - continuous))
    assert differences[0] > 0.05
    assert ratios(differences)[1:] == pytest.approx([2.0, 2.0], rel=0.2)


@pytest.mark.parametrize("method", METHODS)
def test_ways_to_the_gradient_agree(method: str) -> None:
    x = torch.randn(2, 2, 4, 5, dtype=F64)

    def run(gradient: str) -> tuple[Tensor, list[Tensor]]:
        options = {"bias": True, "pieces": 2, "learn_time": True, "activation": "tanh", "rtol": 1e-4}
        return gradients(make(8, 2, method=method, gradient=gradient, **options), x)

    end, discrete = run("discrete")
    # A method with memory or step control starts anew at each kept state, and makes other steps.
    same = 1e-12 if method in FIXED_STEP and not method.endswith("adams") else 0.02
    recomputed_end, recomputed = run("checkpointed")
    torch.testing.assert_close(recomputed_end, end, rtol=same, atol=same)
    assert_close(recomputed, discrete, same)
    if method != "implicit_adams":  # whose iteration does not converge in the backward pass at this step
        adjoint_end, adjoint = run("adjoint")
        torch.testing.assert_close(adjoint_end, end, rtol=1e-13, atol=1e-13)
        assert_close(adjoint, discrete, 0.2 if method == "euler" else 0.02)


@pytest.mark.parametrize("options", [{}, {"obstacle": True}, {"activation": "silu"}, {"method": "midpoint"}])
def test_gradcheck(options: dict[str, Any]) -> None:
    ode = make(3, channels=2, bias=True, learn_time=True, **options)
    names = [name for name, _ in ode.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Any:
        return torch.func.functional_call(ode, dict(zip(names, values, strict=True)), (x,))

    x = (torch.rand(2, 2, 4, 3, dtype=F64) + 0.1).requires_grad_()
    parameters = [p.detach().clone().requires_grad_() for p in ode.parameters()]
    assert torch.autograd.gradcheck(run, (x, *parameters))


def test_checkpointed_keeps_the_root_of_the_states(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[StorageWeakRef] = []
    plain = StencilODE._field

    def watched(self: StencilODE, u: Tensor, *parameters: Any) -> Tensor:
        seen.append(StorageWeakRef(u.untyped_storage()))
        return plain(self, u, *parameters)

    monkeypatch.setattr(StencilODE, "_field", watched)
    alive = {}
    for method in ("euler", "rk4"):
        for gradient in ("discrete", "checkpointed", "adjoint"):
            for steps in (16, 64):
                ode = make(steps, channels=1, method=method, gradient=gradient, activation="tanh")
                seen.clear()
                end = ode(torch.randn(1, 1, 4, 4, dtype=F64, requires_grad=True))
                alive[method, gradient, steps] = sum(not ref.expired() for ref in seen)
                end.sum().backward()
        stages = {"euler": 1, "rk4": 4}[method]
        assert alive[method, "discrete", 64] >= 64 * stages
        for steps in (16, 64):
            assert alive[method, "checkpointed", steps] <= math.isqrt(steps) + 1
            assert alive[method, "adjoint", steps] <= 2


def test_fused_checkpoints_once_where_its_own_are_many() -> None:
    """A trajectory that stays in cache is one call; else the chain is cut, which leaves no trace in bits."""
    options = {"channels": 1, "kernel_size": 7, "obstacle": True, "dtype": torch.float32, "bias": True}
    ode, plain = make(12, gradient="checkpointed", **options), make(12, **options)
    assert ode._one_call(torch.empty(1, 1, 28, 28))
    wide = torch.rand(1, 1, 4, 40_000)
    assert not ode._one_call(wide)
    assert ode._runs(0) == [(0, 4), (4, 8), (8, 12)]
    end, found = gradients(ode, wide)
    expected_end, expected = gradients(plain, wide)
    assert torch.equal(end, expected_end)
    assert_close(found, expected, 2e-5)


# --- why the adjoint comes with a warning: theory E15 ---


def heat(rate: float, time: float, steps: int, dtype: torch.dtype = F64, **options: Any) -> StencilODE:
    """du/dt = act(rate/2 u_xx) on a ring."""
    ode = make(steps, channels=1, time=time, boundary="periodic", method="rk4", dtype=dtype, **options)
    with torch.no_grad():
        ode.weight.zero_()
        ode.weight[0, 0, 1] = rate / 2 * torch.tensor([1.0, -2.0, 1.0], dtype=dtype)
    return ode


def bump() -> Tensor:
    x = torch.arange(32.0, dtype=F64)
    return torch.exp(-((x - 16) ** 2) / 4)[None, None, None]


@pytest.mark.parametrize(
    ("rate", "time", "error"), [(0.1, 5, 1.76e-8), (0.5, 10, 6.6e-5), (0.5, 20, 1.33), (1.0, 20, 1.57e9)]
)
def test_rebuilding_a_diffusive_state_is_ill_posed(rate: float, time: float, error: float) -> None:
    end = heat(rate, time, 200)(bump()).detach().float()
    start = heat(-rate, time, 200)(end.double())
    assert distance(start, bump()) == pytest.approx(error, rel=0.02)


def heat_error(rate: float, activation: str, gradient: str) -> tuple[float, float]:
    """Relative error of dL/dx and dL/dK in float32 over a time of 20."""
    pull = torch.cos(torch.arange(32.0, dtype=F64) ** 2)[None, None, None]
    _, expected = gradients(heat(rate, 20.0, 50, activation=activation), bump(), pull)
    ode = heat(rate, 20.0, 50, torch.float32, activation=activation, gradient=gradient)
    _, found = gradients(ode, bump().float(), pull.float())
    return distance(found[0].double(), expected[0]), distance(found[1].double(), expected[1])


@pytest.mark.parametrize("activation", ["none", "tanh"])
def test_the_adjoint_of_a_diffusive_flow_goes_wrong(activation: str) -> None:
    for rate in (0.1, 1.0):
        for gradient in ("discrete", "checkpointed"):
            assert max(heat_error(rate, activation, gradient)) < 2e-5
    mild, strong = heat_error(0.1, activation, "adjoint"), heat_error(1.0, activation, "adjoint")
    assert max(mild) < 2e-5
    assert strong[1] > 0.1
    if activation == "none":
        assert strong[0] < 2e-5  # a linear flow's a does not look at u
    else:
        assert strong[0] > 0.1
        assert 1e-3 < heat_error(0.5, activation, "adjoint")[1] < strong[1]
