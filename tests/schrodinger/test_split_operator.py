"""The operators of split steps under everything torch asks of an operator."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad

from qcore._ops import schrodinger_split as ops

from .split_problems import C128, F64, Problem, dense, make_problem, random_state

# torch's own: it scripts decompositions for forward mode, and Dynamo looks into kernels after a graph break.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Dynamo does not know how to trace:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.*treespec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Torchinductor does not support:UserWarning"),
]

STEPS, EVERY = 3, 2
KINDS = [("cayley", True), ("cayley", False), ("euler", False)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def settings(p: Problem, reversible: bool, every: int | None = None) -> tuple[Any, ...]:
    own = () if every is None else (every,)
    walls = ",".join(p.walls)
    return list(p.program), walls, p.order, p.rule, p.steps, *own, "float64", reversible, "auto"


def inputs(sizes: tuple[int, ...] = (3, 4), *, real: bool = False, own: bool = True, **rest: Any) -> Any:
    """A problem, its function with frames in the result or not, and the tensors it takes."""
    p = make_problem(sizes, real=real, batch=2 if own else 1, steps=STEPS, **rest)
    psi = random_state(2, sizes, F64 if real else C128)
    return p, tuple(t.clone().requires_grad_() for t in (psi, p.phases, p.e))


def state(p: Problem, reversible: bool) -> Callable[..., Tensor]:
    return lambda *t: ops.split_evolve.call(*t, *settings(p, reversible))


def frames(p: Problem, reversible: bool) -> Callable[..., Any]:
    return lambda *t: ops.split_frames.call(*t, *settings(p, reversible, EVERY))


def dense_state(p: Problem) -> Callable[..., Tensor]:
    return lambda psi, phases, e: dense(p.but(phases=phases, e=e), psi)[0]


def total(f: Callable[..., Any]) -> Callable[..., Tensor]:
    return lambda *t: (f(*t).abs() ** 2).cumsum(0).sum()


@pytest.mark.parametrize(("rule", "reversible"), KINDS)
@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("sizes", [(5,), (3, 4), (2, 3, 2)])
def test_gradients(sizes: tuple[int, ...], order: int, rule: str, reversible: bool) -> None:
    p, tensors = inputs(sizes, own=order != 4, order=order, rule=rule, program=(0, -1, 1, -2, 0))
    torch.testing.assert_close(
        state(p, reversible)(*tensors), dense_state(p)(*tensors), rtol=1e-12, atol=1e-12
    )
    assert torch.autograd.gradcheck(state(p, reversible), tensors, fast_mode=True)
    assert torch.autograd.gradcheck(frames(p, reversible), tensors, fast_mode=True)


def test_gradients_of_real_states() -> None:
    p, (psi, phases, e) = inputs(real=True, rule="euler", program=(0, -1, 1))
    assert torch.autograd.gradcheck(lambda x, t: state(p, False)(x, t, e.detach()), (psi, phases))


@pytest.mark.parametrize("function", [state, frames])
@pytest.mark.parametrize("reversible", [True, False])
def test_second_derivatives_forward_mode_and_batched_gradients(function: Any, reversible: bool) -> None:
    p, tensors = inputs((2, 3), tables=1, substeps=1)
    f = function(p, reversible)
    assert torch.autograd.gradgradcheck(f, tensors, fast_mode=True)
    torch.autograd.gradcheck(
        f, tensors, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )


def test_gradients_of_a_part_of_the_arguments() -> None:
    p, tensors = inputs()
    whole = torch.autograd.grad(total(state(p, True))(*tensors), tensors)
    for i in range(3):
        alone = [t.detach() for t in tensors]
        alone[i].requires_grad_()
        (found,) = torch.autograd.grad(total(state(p, True))(*alone), alone[i])
        torch.testing.assert_close(found, whole[i])


@pytest.mark.parametrize("steps", [1, 2, 10, 13])
def test_checkpoints_give_the_gradients_of_the_way_back(steps: int) -> None:
    p, tensors = inputs((4, 5))
    p = p.but(steps=steps)
    found, expected = (torch.autograd.grad(total(state(p, r))(*tensors), tensors) for r in (False, True))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)
    for every in (1, 3, 4, 11):

        def weighted(reversible: bool, every: int = every) -> Tensor:
            out, saved = ops.split_frames.call(*tensors, *settings(p, reversible, every))
            return (out.abs() ** 2).sum() + (saved.abs() ** 4).cumsum(0).sum()

        found, expected = (torch.autograd.grad(weighted(r), tensors) for r in (False, True))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("own", [False, True])
def test_vmap_is_a_loop(own: bool) -> None:
    p, tensors = inputs((3, 4), own=own)
    psi, phases, e = (t.detach() for t in tensors)
    many = [torch.stack([t, 2 * t, t.flip(-1)]) for t in (psi, phases, e)]
    for function in (state, frames):
        f = function(p, True)
        for dims in ((0, None, None), (None, 0, None), (None, None, 0), (0, 0, None), (0, 0, 0)):
            chosen = [m if d == 0 else t for m, t, d in zip(many, (psi, phases, e), dims, strict=True)]
            found = torch.vmap(f, dims)(*chosen)
            rows = [f(*(c[i] if d == 0 else c for c, d in zip(chosen, dims, strict=True))) for i in range(3)]
            for part, wanted in zip(*map(_listed, (found, _stack(rows))), strict=True):
                torch.testing.assert_close(part, wanted, rtol=1e-13, atol=1e-13)


def _listed(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _stack(rows: list[Any]) -> Any:
    return [torch.stack(parts) for parts in zip(*map(_listed, rows), strict=True)]


def test_transforms_in_one_another() -> None:
    """torch.func over our function and over dense matrices."""
    p, tensors = inputs((2, 3), tables=1, substeps=1)
    plain = tuple(t.detach() for t in tensors)
    directions = tuple(torch.randn_like(t) for t in plain)
    many = tuple(torch.stack([t, 0.5 * t]) for t in plain)
    ours, theirs = state(p, True), dense_state(p)
    transforms: list[Callable[[Any], Any]] = [
        lambda f: torch.func.grad(total(f), (0, 1, 2))(*plain),
        lambda f: torch.func.jvp(f, plain, directions),
        lambda f: torch.vmap(torch.func.grad(total(f), (0, 1, 2)))(*many),
        lambda f: torch.vmap(lambda *v: torch.func.jvp(f, plain, v)[1])(*many),
        lambda f: torch.func.grad(lambda *t: torch.vmap(total(f), (0, None, None))(*t).sum(), (0, 1, 2))(
            many[0], *plain[1:]
        ),
        lambda f: torch.func.jvp(torch.func.grad(total(f), (0, 1, 2)), plain, directions),
    ]
    for transform in transforms:
        found, expected = (torch.utils._pytree.tree_leaves(transform(f)) for f in (ours, theirs))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)
    with forward_ad.dual_level():
        duals = map(forward_ad.make_dual, plain, directions)
        pushed = forward_ad.unpack_dual(ours(*duals)).tangent
    torch.testing.assert_close(pushed, torch.func.jvp(theirs, plain, directions)[1])


@pytest.mark.parametrize("own", [False, True])
def test_opcheck(own: bool) -> None:
    p, tensors = inputs((3, 4), own=own)
    torch.library.opcheck(torch.ops.qcore.schrodinger_split_evolve.default, (*tensors, *settings(p, True)))
    torch.library.opcheck(
        torch.ops.qcore.schrodinger_split_frames.default, (*tensors, *settings(p, True, EVERY))
    )


@pytest.mark.parametrize("reversible", [True, False])
def test_compiled(reversible: bool) -> None:
    p, tensors = inputs((3, 4))
    f = total(state(p, reversible))
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*tensors), f(*tensors))
    found, expected = (torch.autograd.grad(g(*tensors), tensors) for g in (compiled, f))
    torch.testing.assert_close(found, expected)


def test_any_strides_and_conjugate_views() -> None:
    p, (psi, phases, e) = inputs((4, 4))
    f = state(p, True)
    for a, b, c in ((psi.mT, phases.mT, e), (psi.conj(), phases.conj(), e.conj())):
        expected = f(
            a.resolve_conj().contiguous(), b.resolve_conj().contiguous(), c.resolve_conj().contiguous()
        )
        torch.testing.assert_close(f(a, b, c), expected, rtol=0, atol=0)


# --- refusals ---

GOOD_P, GOOD_T = make_problem((4, 5), batch=2), random_state(2, (4, 5))
GOOD = [
    GOOD_T,
    GOOD_P.phases,
    GOOD_P.e,
    [0, -1],
    "dirichlet,periodic",
    4,
    "cayley",
    3,
    "float64",
    True,
    "auto",
]
BROKEN: list[tuple[int, Any, type[Exception], str]] = [
    (0, GOOD_T.real.int(), TypeError, "psi: expected one of"),
    (0, GOOD_T[0], ValueError, "psi: expected shape"),
    (0, GOOD_T.real.contiguous(), TypeError, "phases: expected dtype torch.float64 for psi of torch.float64"),
    (1, GOOD_P.phases.to(torch.complex64), TypeError, "phases: expected dtype torch.complex128"),
    (1, GOOD_P.phases[:, :, :3], ValueError, r"phases: expected shape \(Q, 1 or 2, 4, 5\), got shape"),
    (2, GOOD_P.e.real, ValueError, "e: expected a complex128 tensor"),
    (2, GOOD_P.e[:, :1], ValueError, r"e: expected a complex128 tensor of shape \(A, 2, M\)"),
    (3, [2], ValueError, "program: expected entries from -2 to 1, got 2"),
    (3, [-3], ValueError, "program: expected entries from -2 to 1, got -3"),
    (4, "dirichlet", ValueError, "psi: expected shape|boundary: expected"),
    (4, "dirichlet,open", ValueError, "boundary: expected one of"),
    (5, 3, ValueError, "order: expected one of"),
    (6, "heun", ValueError, "rule: expected one of"),
    (6, "euler", ValueError, "reversible: expected False for the rule 'euler'"),
    (7, -1, ValueError, "steps: expected an int >= 0, got -1"),
    (8, "half", ValueError, "arithmetic: expected one of"),
    (8, "float32", ValueError, "arithmetic: expected 'float64' for psi of torch.complex128"),
    (10, "gpu", ValueError, "backend: expected one of"),
]


@pytest.mark.parametrize(("position", "value", "error", "words"), BROKEN)
def test_real_and_fake_operators_refuse_alike(position: int, value: Any, error: Any, words: str) -> None:
    operator = torch.ops.qcore.schrodinger_split_evolve.default
    operator(*GOOD)
    args = [*GOOD]
    args[position] = value
    mode = FakeTensorMode()
    fake = [mode.from_tensor(a) if isinstance(a, Tensor) else a for a in args]
    raised = []
    for call in (args, fake):
        with pytest.raises(error) as caught:
            operator(*call)
        raised.append(caught.value)
    assert str(raised[0]) == str(raised[1])
    assert re.match(words, str(raised[0]))


def test_other_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="phases: expected the device of psi, cpu, got meta"):
        ops.split_evolve.call(GOOD[0], GOOD[1].to("meta"), *GOOD[2:])
    with FakeTensorMode():
        tensors = [torch.empty(t.shape, dtype=t.dtype, device="cuda") for t in GOOD[:3]]
        with pytest.raises(ValueError, match="e: expected a CPU tensor, got cuda:0"):
            ops.split_evolve.call(*tensors, *GOOD[3:])
    out, saved = ops.split_frames.call(*(t.to("meta") for t in GOOD[:3]), *GOOD[3:8], 2, *GOOD[8:])
    assert (out.shape, saved.shape, out.device.type) == ((2, 4, 5), (1, 2, 4, 5), "meta")
