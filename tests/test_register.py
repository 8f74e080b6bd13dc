"""The registration of operators, on a toy family: z = a x^2 + s (s may be missing), w = x^3, keeping x^2."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from qcore._ops import _check
from qcore._ops._register import Differentiable, Rule, define, derivative, differentiable

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Dynamo does not know how to trace:UserWarning"),
]

calls: list[str] = []
seen: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _forget() -> None:
    calls.clear()
    seen.clear()


def _check_toy(x: Tensor, s: Tensor | None, a: float) -> None:
    if s is not None and s.shape != x.shape:
        raise _check.wrong_value("s", f"the shape of x, {tuple(x.shape)}", _check.shape(s))


def _outputs(x: Tensor, s: Tensor | None, a: float) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape), x.new_empty(x.shape)


def _kernel(x: Tensor, s: Tensor | None, a: float) -> tuple[Tensor, Tensor, Tensor]:
    calls.append("kernel")
    if a < 0:
        raise RuntimeError("the kernel broke")
    if s is not None and s.shape != x.shape:
        raise RuntimeError("shapes in the kernel's own words")
    x = x.detach()
    return a * x**2 + (0 if s is None else s.detach()), x**3, x**2


def _vmap(info: Any, dims: Any, x: Tensor, s: Tensor | None, a: float) -> Any:
    x, s = (t if t is None or d is None else t.movedim(d, 0) for t, d in zip((x, s), dims, strict=False))
    if dims[0] is None:
        x = x.expand(info.batch_size, *x.shape)
    if s is not None and dims[1] is None:
        s = s.expand(info.batch_size, *s.shape)
    return OPERATOR(x, s, a), (0, 0, 0)


OPERATOR = define(
    "toy(Tensor x, Tensor? s, float a) -> (Tensor, Tensor, Tensor)",
    check=_check_toy,
    outputs=_outputs,
    kernel=_kernel,
    vmap=_vmap,
)


def _plain(x: Tensor, s: Tensor | None, a: float) -> Any:
    calls.append("plain")
    return OPERATOR(x, s, a)[:2]


def _recorded(x: Tensor, s: Tensor | None, a: float) -> Any:
    calls.append("recorded")
    z, w, square = OPERATOR(x, s, a)
    return (z, w), (square,)


def _backward(needed: Any, grads: Any, tensors: Any, kept: Any, settings: Any) -> Any:
    calls.append("backward")
    seen.update(needed=needed, grads=grads, kept=kept)
    (x, s), (a,) = tensors, settings
    gz, gw = grads
    gx = torch.zeros_like(x)
    if gz is not None:
        gx = gx + 2 * a * x * gz
    if gw is not None:
        gx = gx + 3 * x * x * gw  # of x, not of what was kept: it must be differentiable again
    gs = None if s is None or not needed[1] else torch.zeros_like(s) if gz is None else gz
    return gx, gs


def _jvp(tangents: Any, tensors: Any, settings: Any) -> Any:
    (dx, ds), (x, _), (a,) = tangents, tensors, settings
    dz, dw = (torch.zeros_like(x),) * 2 if dx is None else (2 * a * x * dx, 3 * x * x * dx)
    return (dz if ds is None else dz + ds), dw


def _derived(*args: Any) -> Any:
    return *TOY.derive(*args), args[0].detach() ** 2


TOY: Differentiable = differentiable(Rule("Toy", 2, 2, _plain, _recorded, _backward, _jvp))
derivative(OPERATOR, _derived)


def toy(x: Tensor, s: Tensor | None = None, a: float = 0.5) -> tuple[Tensor, Tensor]:
    z, w = TOY.call(x, s, a)
    return z, w


def plain_torch(x: Tensor, s: Tensor | None = None, a: float = 0.5) -> tuple[Tensor, Tensor]:
    return a * x**2 + (0 if s is None else s), x**3


X, S = (torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(2))


def assert_same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# --- which way a call goes ---


def test_without_gradients_only_the_operator_runs() -> None:
    assert_same(toy(X, S), plain_torch(X, S))
    assert calls == ["plain", "kernel"]
    calls.clear()
    with torch.no_grad():
        z, _ = toy(X.clone().requires_grad_(), S)
    assert calls == ["plain", "kernel"]
    assert not z.requires_grad


def test_with_gradients_one_node_is_recorded() -> None:
    z, w = toy(X.clone().requires_grad_(), S)
    assert calls == ["recorded", "kernel"]
    assert type(z.grad_fn).__name__ == "ToyBackward"
    assert z.grad_fn is w.grad_fn


def test_the_backward_gets_what_it_needs_and_no_more() -> None:
    x, s = X.clone().requires_grad_(), S.clone()
    _, w = toy(x, s)
    w.sum().backward()
    assert calls == ["recorded", "kernel", "backward"]
    assert seen["needed"] == (True, False)
    assert seen["grads"][0] is None  # z was not used, and no zeros were made up for it
    assert torch.equal(seen["kept"][0], X**2)
    assert_same(x.grad, 3 * X**2)


def test_only_arguments_and_kept_tensors_are_saved() -> None:
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        toy(X.clone().requires_grad_(), None)
    assert len(saved) == 2  # x and x^2


# --- derivatives ---


@pytest.mark.parametrize("with_s", [True, False])
def test_gradcheck(with_s: bool) -> None:
    leaves = [X.clone().requires_grad_(), S.clone().requires_grad_()][: 2 if with_s else 1]
    batched = {"check_batched_grad": True}
    assert torch.autograd.gradcheck(
        toy, leaves, check_forward_ad=True, check_batched_forward_grad=True, **batched
    )
    assert torch.autograd.gradgradcheck(toy, leaves, check_fwd_over_rev=True, **batched)


def _scalar(f: Any) -> Any:
    return lambda x, s: sum(t.pow(2).sum() for t in f(x, s))


TRANSFORMS = {
    "grad": lambda f: torch.func.grad(_scalar(f), (0, 1))(X, S),
    "jvp": lambda f: torch.func.jvp(f, (X, S), (S, X)),
    "jvp of s alone": lambda f: torch.func.jvp(lambda s: f(X, s), (S,), (X,)),
    "vmap": lambda f: torch.vmap(f, (0, None))(torch.stack([X, S, X]), S),
    "vmap of grad": lambda f: torch.vmap(torch.func.grad(_scalar(f), (0, 1)), (0, None))(
        torch.stack([X, S]), S
    ),
    "grad of vmap": lambda f: torch.func.grad(lambda x: torch.vmap(_scalar(f), (1, None))(x, S).sum())(
        torch.stack([X, S], 1)
    ),
    "vmap of jvp": lambda f: torch.vmap(lambda v: torch.func.jvp(f, (X, S), (v, v))[1])(torch.stack([X, S])),
    "hessian": lambda f: torch.func.hessian(_scalar(f), (0, 1))(X, S),
    "forward over forward": lambda f: torch.func.jacfwd(torch.func.jacfwd(_scalar(f)))(X, S),
    "forward, reverse, forward": lambda f: torch.func.jacfwd(
        torch.func.jacrev(torch.func.jacfwd(_scalar(f)))
    )(X, S),
    "compiled grad": lambda f: torch.compile(torch.func.grad(_scalar(f)), backend="aot_eager")(X, S),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms(transform: str) -> None:
    torch._dynamo.reset()
    assert_same(TRANSFORMS[transform](toy), TRANSFORMS[transform](plain_torch))


def test_forward_over_forward_is_what_torch_alone_drops() -> None:
    """A Function's jvp runs with forward mode off: without care the outer tangent is lost, silently."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x**3

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_forward(*inputs)

        @staticmethod
        def jvp(ctx: Any, dx: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return 3 * x * x * dx

    def second(f: Any) -> Tensor:
        return torch.func.jvp(lambda x: torch.func.jvp(f, (x,), (S,))[1], (X,), (S,))[1]

    assert torch.equal(second(Cube.apply), torch.zeros_like(X))  # when this fails, torch has mended it
    assert_same(second(lambda x: toy(x)[1]), 6 * X * S * S)


def test_dual_numbers() -> None:
    with forward_ad.dual_level():
        _, w = toy(forward_ad.make_dual(X, S))
        assert_same(forward_ad.unpack_dual(w).tangent, 3 * X * X * S)


def test_compiled_graph_holds_the_operator_and_trains() -> None:
    torch._dynamo.reset()
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, _)

    x = X.clone().requires_grad_()
    z, w = torch.compile(lambda x: toy(x, S), fullgraph=True, backend=backend)(x)
    assert_same((z, w), plain_torch(x, S))
    assert_same(torch.autograd.grad(z.sum() + w.sum(), x)[0], X + 3 * X**2)
    assert OPERATOR in {node.target for node in graphs[0].graph.nodes}


def test_transforms_inside_a_full_graph_are_refused() -> None:
    torch._dynamo.reset()
    f = torch.compile(torch.func.grad(_scalar(toy)), fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match=r"cannot trace its torch\.func transforms|Observed exception"):
        f(X, S)


def test_the_bare_operator() -> None:
    x = X.clone().requires_grad_()
    z, w, square = OPERATOR(x, S, 0.5)
    assert_same(torch.autograd.grad(z.sum() + w.sum(), x)[0], X + 3 * X**2)
    assert not square.requires_grad
    with forward_ad.dual_level():
        assert_same(
            forward_ad.unpack_dual(OPERATOR(forward_ad.make_dual(X, S), None, 0.5)[1]).tangent, 3 * X * X * S
        )
    for f in (
        torch.func.grad(lambda x: OPERATOR(x, S, 0.5)[0].sum()),
        lambda x: torch.func.jvp(toy_bare, (x,), (x,)),
    ):
        with pytest.raises(NotImplementedError, match=r"qcore::toy: not for torch\.func"):
            f(X)


def toy_bare(x: Tensor) -> Tensor:
    return OPERATOR(x, S, 0.5)[0]


# --- dispatch ---


def test_opcheck() -> None:
    for x in (X, X[::2], X[:1].expand(4), X[:0]):
        torch.library.opcheck(OPERATOR, (x, None, 0.5))
        torch.library.opcheck(OPERATOR, (x, x.flip(0), 0.5))
        torch.library.opcheck(OPERATOR, (x.clone().requires_grad_(), x, 0.5))


def test_fake_calls_check_and_run_no_kernel() -> None:
    assert OPERATOR(X.to("meta"), None, 0.5)[0].shape == X.shape
    with pytest.raises(ValueError, match=r"s: expected the shape of x, \(4,\), got shape \(2,\)"):
        OPERATOR(X.to("meta"), S[:2].to("meta"), 0.5)
    assert calls == []


def test_a_refusal_of_the_kernel_comes_in_the_words_of_the_check() -> None:
    with pytest.raises(ValueError, match=r"s: expected the shape of x, \(4,\), got shape \(2,\)"):
        toy(X, S[:2])


def test_an_error_that_the_check_does_not_know_comes_through() -> None:
    with pytest.raises(RuntimeError, match="the kernel broke"):
        toy(X, S, -1.0)


def test_other_layouts_and_lazy_views() -> None:
    with pytest.raises(
        NotImplementedError, match=r"qcore::toy: expected dense tensors on CPU or CUDA, got torch\.sparse_coo"
    ):
        toy(X.to_sparse(), None)
    imaginary = torch.view_as_complex(torch.stack([S, X], -1)).conj().imag
    assert imaginary.is_neg()
    assert_same(toy(imaginary, None), plain_torch(-X, None))


def test_inference_mode() -> None:
    with torch.inference_mode():
        z, _ = toy(X, S)
    assert z.is_inference()
    assert_same(z, plain_torch(X, S)[0])


def test_operators_may_be_given_any_layout_by_a_compiler() -> None:
    assert torch.Tag.flexible_layout in OPERATOR.tags
    assert torch.Tag.pt2_compliant_tag in OPERATOR.tags
