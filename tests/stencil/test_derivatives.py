"""Every derivative of the stencil chain in every way torch can ask for it: right, or refused; none silent.

The yardstick is the same transform of a loop over torch's own convolutions.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from qcore._ops import stencil as ops
from qcore.stencil import residual_chain

from . import transforms as ask
from .transforms import ACTIVATE, PAD, Function3, Transform, conv_chain, inputs, weighted

# torch's own: it scripts decompositions for forward mode, and Dynamo looks into kernels after a graph break.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Dynamo does not know how to trace:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.*treespec:FutureWarning"),
]


# --- the operations: (ours, theirs) ---


def _operation(**settings: Any) -> tuple[Function3, Function3]:
    def ours(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        return weighted(residual_chain(x, taps, bias=bias, **settings))

    def theirs(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        return weighted(conv_chain(x, taps, bias, **settings))

    return ours, theirs


def _without_bias(chain: Any) -> Function3:
    def f(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        return weighted(chain(x, taps[:, :1], skip=0.5 * bias, activation="silu"))

    return f


def _only_states(chain: Any) -> Function3:
    return lambda x, taps, bias: weighted(chain(x, taps, bias=bias, activation="tanh", states_every=2)[1])


OPERATIONS = {
    "y": _operation(activation="tanh"),
    "relu": _operation(activation="relu", boundary="periodic"),
    "y and states": _operation(activation="tanh", boundary="reflect", states_every=2),
    "states alone": (_only_states(residual_chain), _only_states(conv_chain)),
    "shared taps, tensor skip": (_without_bias(residual_chain), _without_bias(conv_chain)),
}

EAGER = [
    ask.vjp,
    ask.vjp_of_x_alone,
    ask.vjp_of_parameters_alone,
    ask.func_vjp,
    ask.jvp,
    ask.jvp_of_x_alone,
    ask.jvp_of_taps_alone,
    ask.dual_numbers,
    ask.dual_numbers_of_gradient,
    ask.vmap_of_x,
    ask.vmap_of_taps,
    ask.vmap_of_bias,
    ask.vmap_of_all,
    ask.vmap_of_vmap,
    ask.vmap_of_grad,
    ask.vmap_of_grad_of_x_alone,
    ask.vmap_of_grad_of_all,
    ask.grad_of_vmap,
    ask.vmap_of_jvp,
    ask.batched_gradients,
    ask.jacrev,
    ask.jacfwd,
    ask.hessian,
    ask.reverse_over_reverse,
    ask.forward_over_forward,
    ask.reverse_over_forward,
    ask.double_backward,
    ask.third_order,
]


def _of_inputs(f: Function3) -> Any:
    return f(*inputs())


def _of_inputs_and_gradients(f: Function3) -> Any:
    return f(*inputs()), *ask.vjp_of_parameters_alone(f)


# With the eager computation that gives the same.
COMPILED: dict[Transform, Transform] = {
    ask.compiled: _of_inputs,
    ask.compiled_vjp: ask.vjp,
    ask.compiled_vjp_of_dynamic_shapes: ask.vjp_of_two_shapes,
    ask.compiled_transform: ask.func_vjp,
    ask.compiled_jvp: ask.jvp,
    ask.exported: _of_inputs_and_gradients,
    ask.exported_strictly: _of_inputs_and_gradients,
}

REFUSED: dict[Transform, str] = {
    ask.double_backward_through_a_compiled_region: "donated buffers|double backward",
    ask.compiled_transform_fullgraph: "cannot trace its torch.func transforms|Observed exception",
    ask.compiled_jvp_fullgraph: "cannot trace its torch.func transforms|Observed exception",
    ask.compiled_dual_numbers_fullgraph: "cannot trace its torch.func transforms|Observed exception",
    ask.transform_of_compiled: "functorch",
    ask.nested_dual_levels: "Nested forward mode AD",
}


def named(transforms: Any) -> dict[str, Any]:
    return {"argvalues": list(transforms), "ids": [t.__name__ for t in transforms]}


def assert_same(found: Any, expected: Any) -> None:
    found, expected = torch.utils._pytree.tree_leaves(found), torch.utils._pytree.tree_leaves(expected)
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    assert any(b.abs().max() > 1e-3 for b in expected), "nothing to compare"


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("transform", **named(EAGER))
def test_passes(transform: Transform, operation: str) -> None:
    ours, theirs = OPERATIONS[operation]
    assert_same(transform(ours), transform(theirs))


@pytest.mark.parametrize("operation", ["y", "y and states"])
@pytest.mark.parametrize("transform", **named(t for t in EAGER if "jvp" not in t.__name__))
def test_passes_with_checkpoints(
    transform: Transform, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the fields were too large for any cache: a state is kept after every step."""
    monkeypatch.setattr(ops, "ON_CHIP_BYTES", 0)
    monkeypatch.setattr(ops, "WAVEFRONT_ROWS", 1)
    test_passes(transform, operation)


@pytest.mark.parametrize("operation", ["y", "y and states"])
@pytest.mark.parametrize("transform", **named(COMPILED))
def test_passes_compiled(transform: Transform, operation: str) -> None:
    torch._dynamo.reset()
    ours, theirs = OPERATIONS[operation]
    assert_same(transform(ours), COMPILED[transform](theirs))


@pytest.mark.slow
def test_passes_inductor() -> None:
    torch._dynamo.reset()
    ours, theirs = OPERATIONS["y and states"]
    assert_same(ask.compiled_vjp(ours, backend="inductor"), ask.vjp(theirs))


@pytest.mark.parametrize("operation", ["y", "y and states"])
@pytest.mark.parametrize("transform", **named(REFUSED))
def test_raises(transform: Transform, operation: str) -> None:
    torch._dynamo.reset()
    with pytest.raises(Exception, match=REFUSED[transform]):
        transform(OPERATIONS[operation][0])


# --- the bare operators, as compiled and exported graphs hold them ---

SETTINGS = (1.0, "tanh", 0.01, "zero")


def bare(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    return weighted(torch.ops.qcore.stencil_residual_chain(x, taps, bias, *SETTINGS, "auto"))


def bare_states(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    y, states, _ = torch.ops.qcore.stencil_residual_chain_saved(x, taps, bias, *SETTINGS, 2, 0, "auto")
    return weighted((y, states))


def bare_backward(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    gradients = torch.ops.qcore.stencil_residual_chain_backward(
        x.sin(), None, x, None, taps, bias, *SETTINGS, 0, 0, "auto", True
    )
    return weighted(gradients)


def conv_backward(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    _, pull = torch.func.vjp(lambda *a: conv_chain(*a, activation="tanh"), x, taps, bias)
    return weighted(pull(x.sin()))


BARE: dict[str, tuple[Function3, Function3]] = {
    "forward": (bare, OPERATIONS["y"][1]),
    "saved": (bare_states, lambda *a: weighted(conv_chain(*a, activation="tanh", states_every=2))),
    "backward": (bare_backward, conv_backward),
}


@pytest.mark.parametrize("operator", BARE)
@pytest.mark.parametrize(
    "transform", **named([ask.vjp, ask.double_backward, ask.dual_numbers, ask.vmap_of_all, ask.vmap_of_x])
)
def test_bare_operator_passes(transform: Transform, operator: str) -> None:
    ours, theirs = BARE[operator]
    assert_same(transform(ours), transform(theirs))


@pytest.mark.parametrize("operator", BARE)
@pytest.mark.parametrize("transform", **named([ask.compiled_vjp, ask.exported]))
def test_bare_operator_passes_compiled(transform: Transform, operator: str) -> None:
    torch._dynamo.reset()
    ours, theirs = BARE[operator]
    assert_same(transform(ours), COMPILED[transform](theirs))


@pytest.mark.parametrize("operator", BARE)
@pytest.mark.parametrize("transform", **named([ask.func_vjp, ask.jvp, ask.vmap_of_grad, ask.hessian]))
def test_bare_operator_raises(transform: Transform, operator: str) -> None:
    with pytest.raises(NotImplementedError, match=r"not for torch\.func, call the public function"):
        transform(BARE[operator][0])


def test_checkpoints_of_the_bare_operator_have_no_derivative() -> None:
    x, taps, bias = inputs()
    x.requires_grad_()
    with pytest.raises(NotImplementedError, match="checkpoints have no derivative"):
        torch.ops.qcore.stencil_residual_chain_saved(x, taps, bias, *SETTINGS, 0, 1, "auto")


# --- numerical derivatives ---

SHAPES = {
    1: ((2, 2, 5), (3, 2, 3)),
    2: ((1, 2, 3, 4), (2, 2, 5, 3)),
    3: ((1, 1, 3, 2, 3), (2, 1, 3, 1, 3)),
}


@pytest.mark.parametrize("activation", ACTIVATE)
@pytest.mark.parametrize("boundary", PAD)
@pytest.mark.parametrize("dims", SHAPES)
def test_gradcheck(dims: int, boundary: str, activation: str) -> None:
    g = torch.Generator().manual_seed(dims)
    x_shape, taps_shape = SHAPES[dims]
    leaves = [
        torch.randn(shape, generator=g, dtype=torch.float64).mul_(0.7).requires_grad_()
        for shape in (x_shape, taps_shape, taps_shape[:2], taps_shape[:1])
    ]

    def chain(x: Tensor, taps: Tensor, bias: Tensor, skip: Tensor) -> Any:
        return residual_chain(
            x, taps, skip=skip, bias=bias, activation=activation, boundary=boundary, slope=0.2, states_every=2
        )

    assert torch.autograd.gradcheck(
        chain, leaves, check_forward_ad=True, check_batched_grad=True, fast_mode=True
    )
    assert torch.autograd.gradgradcheck(chain, leaves, check_fwd_over_rev=True, fast_mode=True)


def test_gradcheck_entry_by_entry() -> None:
    x, taps, bias = (t.requires_grad_() for t in inputs(x=(1, 2, 3, 4), steps=2))

    def chain(x: Tensor, taps: Tensor, bias: Tensor) -> Any:
        return residual_chain(x, taps, bias=bias, activation="silu", boundary="reflect", states_every=1)

    batched = {"check_batched_grad": True, "check_batched_forward_grad": True}
    assert torch.autograd.gradcheck(chain, (x, taps, bias), check_forward_ad=True, **batched)
    assert torch.autograd.gradgradcheck(chain, (x, taps, bias), fast_mode=True, check_batched_grad=True)


@pytest.mark.parametrize("boundary", PAD)
@pytest.mark.parametrize("real_taps", [True, False])
def test_gradcheck_complex(real_taps: bool, boundary: str) -> None:
    g = torch.Generator().manual_seed(0)
    dtype = torch.float64 if real_taps else torch.complex128
    x = torch.randn(1, 2, 3, 4, generator=g, dtype=torch.complex128).requires_grad_()
    taps = torch.randn(2, 2, 3, 3, generator=g, dtype=dtype).requires_grad_()
    skip = torch.randn(2, generator=g, dtype=dtype).requires_grad_()

    def chain(x: Tensor, taps: Tensor, skip: Tensor) -> Tensor:
        return residual_chain(x, taps, skip=skip, activation="none", boundary=boundary)

    assert torch.autograd.gradcheck(chain, (x, taps, skip), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(chain, (x, taps, skip), fast_mode=True)


def test_gradcheck_complex_bias_promotes_real_taps() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 5, generator=g, dtype=torch.complex128).requires_grad_()
    taps = torch.randn(2, 1, 3, generator=g, dtype=torch.float64).requires_grad_()
    bias = torch.randn(2, 2, generator=g, dtype=torch.float64).requires_grad_()

    def chain(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        return residual_chain(x, taps, skip=0.5 - 1j, bias=bias, activation="none")

    assert torch.autograd.gradcheck(chain, (x, taps, bias), check_forward_ad=True)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_derivative_at_the_kink(activation: str) -> None:
    x = torch.zeros(1, 1, 4, requires_grad=True)
    taps = torch.ones(1, 1, 1, requires_grad=True)
    y = residual_chain(x, taps, skip=0.0, activation=activation, slope=0.25)
    expected = 0.0 if activation == "relu" else 0.25
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [[[expected] * 4]]

    def chain(x: Tensor) -> Any:
        return residual_chain(x, taps, skip=0.0, activation=activation, slope=0.25)

    _, tangent = torch.func.jvp(chain, (x,), (torch.ones(1, 1, 4),))
    assert tangent.tolist() == [[[expected] * 4]]
