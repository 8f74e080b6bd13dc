"""Gradients of Cayley steps against autograd through dense solves, in every way torch asks for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from qcore import _core
from qcore._ops import schrodinger_cayley as ops
from qcore.schrodinger.cayley import cayley

from .cayley_oracle import TYPES, draw, wide

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Dynamo does not know how to trace:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.*treespec:FutureWarning"),
]

STEPS, SAVE = 5, 2


def _matrix(bands: Tensor) -> Tensor:
    lower, diagonal, upper = bands
    return (
        torch.diag_embed(diagonal) + torch.diag_embed(lower[:, 1:], -1) + torch.diag_embed(upper[:, :-1], 1)
    )


def _dense(
    psi: Tensor, bands: Tensor, mass: Tensor | None, z: Tensor, steps: int, save: int
) -> tuple[Tensor, Tensor]:
    """The same in torch, by dense solves step by step."""
    a = z[:, None, None] * _matrix(bands)
    m = torch.eye(psi.shape[1], dtype=bands.dtype) if mass is None else _matrix(mass)
    u, frames = psi, []
    for t in range(1, steps + 1):
        u = torch.linalg.solve(m - a, ((m + a) @ u[..., None]))[..., 0]
        if save and t % save == 0:
            frames.append(u)
    return u, torch.stack(frames) if frames else psi.new_zeros((0, *psi.shape))


def _inputs(
    dtype: torch.dtype, batch: int, n: int, own: bool, mass: bool, z: complex
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    kind, sets = wide(dtype), batch if own else 1
    m = 0.1 * draw(3, 3, sets, n, dtype=kind) + torch.tensor([0.0, 1.0, 0.0], dtype=kind)[:, None, None]
    scale = torch.tensor([z if kind.is_complex else z.real], dtype=kind)
    return draw(1, batch, n, dtype=dtype), draw(2, 3, sets, n, dtype=kind), m if mass else None, scale


def _weights(outputs: Any) -> list[Tensor]:
    return [draw(40 + i, *o.shape, dtype=o.dtype) for i, o in enumerate(outputs)]


def _gradients(f: Callable[..., Any], inputs: Any) -> list[Tensor]:
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in inputs]
    outputs = f(*leaves)
    wanted = [t for t in leaves if t is not None]
    return list(torch.autograd.grad(outputs, wanted, _weights(outputs)))


def _largest_difference(got: list[Tensor], expected: list[Tensor]) -> float:
    return max(
        float((a.to(b.dtype) - b).abs().max() / b.abs().max().clamp(min=1e-300))
        for a, b in zip(got, expected, strict=True)
    )


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 12])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("mass", [False, True])
def test_against_dense_autograd(dtype: torch.dtype, n: int, own: bool, mass: bool) -> None:
    """Traced back (every = 0) or from checkpoints; jax once had the inverse for the transpose here."""
    inputs = _inputs(dtype, 11, n, own, mass, 0.11 - 0.07j)
    outputs = ops.forward(*inputs, STEPS, SAVE, "auto")
    leaves = [None if t is None else t.to(wide(dtype)).clone().requires_grad_() for t in inputs]
    expected = torch.autograd.grad(
        _dense(*leaves, STEPS, SAVE),
        [t for t in leaves if t is not None],
        [w.to(wide(dtype)) for w in _weights(outputs)],
    )
    close = 2e-6 if dtype in (torch.complex64, torch.float32) else 1e-11
    for backend, every in (("auto", 0), ("auto", 2), ("auto", 9), ("reference", 0), ("reference", 1)):
        got = _gradients(lambda *p, b=backend, k=every: ops.call.call(*p, STEPS, SAVE, k, b), inputs)
        assert all(g.dtype == t.dtype for g, t in zip(got, [t for t in inputs if t is not None], strict=True))
        assert _largest_difference(got, list(expected)) < close, (backend, every)


@pytest.mark.parametrize("sets", ["z", "mass"])
def test_some_coefficients_of_its_own_and_others_shared(sets: str) -> None:
    psi, bands, mass, z = _inputs(torch.complex128, 10, 7, False, True, 0.1 - 0.1j)
    assert mass is not None
    if sets == "z":
        z = z * torch.linspace(0.5, 1.5, 10)
    else:
        mass = mass * torch.linspace(0.9, 1.1, 10)[:, None]
    inputs = psi, bands, mass, z
    for every in (0, 2):
        got = _gradients(lambda *p, k=every: ops.call.call(*p, STEPS, SAVE, k, "auto"), inputs)
        assert _largest_difference(got, _gradients(lambda *p: _dense(*p, STEPS, SAVE), inputs)) < 1e-11


def test_the_public_function_and_all_its_arguments() -> None:
    """Gradients through conj(u), broadcasting, real parts of complex coefficients, and a tensor z."""
    n = 8
    given = [
        draw(1, 3, 1, n, dtype=torch.complex128),
        draw(2, n),
        draw(3, 4, n - 1, dtype=torch.complex128),
        torch.tensor(0.3, dtype=torch.float64),
        2.0 + 0.1 * draw(4, n),
        0.2 * draw(5, n - 1),
    ]

    def ours(psi: Tensor, d: Tensor, u: Tensor, dt: Tensor, m: Tensor, v: Tensor) -> Any:
        return cayley(psi, d, u, -0.5j * dt, 6, (m, v), 3)

    def theirs(psi: Tensor, d: Tensor, u: Tensor, dt: Tensor, m: Tensor, v: Tensor) -> Any:
        a = torch.diag_embed(d + 0j) + torch.diag_embed(u, 1) + torch.diag_embed(u.conj(), -1)
        mass = torch.diag_embed(m + 0j) + torch.diag_embed(v + 0j, 1) + torch.diag_embed(v + 0j, -1)
        za = -0.5j * dt * a
        step, frames = torch.linalg.inv(mass - za) @ (mass + za), []
        for _ in range(6):
            psi = (step @ psi[..., None])[..., 0]
            frames.append(psi)
        return psi, torch.stack(frames[2::3])

    assert torch.allclose(ours(*given)[1], theirs(*given)[1], rtol=0, atol=1e-12)
    assert _largest_difference(_gradients(ours, given), _gradients(theirs, given)) < 1e-11


def _kept(f: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """checkpoint_every of the only recorded run in f."""
    seen: list[int] = []
    original = _core.schrodinger_cayley

    def spy(*args: Any) -> None:
        seen.append(args[9] if args[8] is not None else -1)
        original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(_core, "schrodinger_cayley", spy)
        f()
    (every,) = seen
    return every


@pytest.mark.host
def test_states_are_traced_back_only_where_that_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    psi = draw(1, 2, 6, dtype=torch.complex128).requires_grad_()
    d, u = draw(2, 6), draw(3, 5, dtype=torch.complex128)
    absorber = torch.zeros(6, dtype=torch.complex128)
    absorber[0] = -0.1j
    tensor_z = torch.tensor(-0.1j, dtype=torch.complex128)

    def every(*args: Any, **kwargs: Any) -> int:
        return _kept(lambda: cayley(psi, *args, **kwargs), monkeypatch)

    assert every(d, u, -0.1j, 100) == 0
    assert every(d, u, tensor_z, 100) == 0
    assert every(d + 0j, (u.conj(), u), -0.1j, 100) == 0  # Hermitian by its numbers alone
    assert every(d + absorber, u, -0.1j, 100) == 0  # amplifies by (1.01 / 0.99)^100 = 7.4
    assert every(d + absorber, u, -0.1j, 200) == 15  # and by 55
    assert every(d, (u, u), -0.1j, 100) == 10
    assert every(d, u, -0.1j + 1e-3, 4000) == 64
    assert every(d, u, -0.1j, 100, (torch.ones(6), 0.1 * u)) == 10
    with torch.no_grad():
        assert every(d, u, -0.1j, 100) == -1
    real = torch.ones(2, 6, requires_grad=True)
    assert _kept(lambda: cayley(real, -2 * torch.ones(6), torch.ones(5), 0.5, 50), monkeypatch) == 8


def test_tracing_back_over_many_steps_is_exact_enough() -> None:
    """2000 steps: gradients from traced states and from checkpoints agree to the rounding of that many."""
    psi, d = draw(1, 3, 20, dtype=torch.complex128), draw(2, 20)
    lower, upper = torch.full((19,), -1.0), torch.full((19,), -1.0)
    bands = ops_bands(lower, d, upper)
    z = torch.tensor([-0.4j], dtype=torch.complex128)
    traced, kept = (
        _gradients(
            lambda *p, k=every: ops.call.call(*p[:2], None, p[2], 2000, 0, k, "auto")[:1], (psi, bands, z)
        )
        for every in (0, 45)
    )
    assert _largest_difference(traced, kept) < 1e-10


def ops_bands(lower: Tensor, diagonal: Tensor, upper: Tensor) -> Tensor:
    """(3, 1, n) complex128 of one operator."""
    zero = torch.zeros(1, dtype=torch.complex128)
    rows = torch.cat([zero, lower + 0j]), diagonal + 0j, torch.cat([upper + 0j, zero])
    return torch.stack([r.to(torch.complex128) for r in rows])[:, None]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mass", [False, True])
def test_adjoint_dot_product(dtype: torch.dtype, mass: bool) -> None:
    """Re<w, C v> = Re<C* w, v>."""
    _, bands, m, z = _inputs(dtype, 1, 50, False, mass, 0.02 - 0.3j)
    v, w = draw(20, 6, 50, dtype=dtype), draw(21, 6, 50, dtype=dtype)
    kept = ops.saved(v, bands, m, z, 9, 0, 4, "auto")[2]
    forward = ops.forward(v, bands, m, z, 9, 0, "auto")[0]
    back = ops.adjoint(w, None, v, kept, bands, m, z, 9, 0, 4, "auto", False)[0]
    kind = wide(dtype)
    left, right = ((a.to(kind).conj() * b.to(kind)).sum().real for a, b in ((w, forward), (back, v)))
    assert abs(left - right) < (1e-12 if dtype == kind else 1e-5) * forward.norm() * w.norm()


def test_gradcheck() -> None:
    n = 4
    psi, d = draw(1, 2, n, dtype=torch.complex128), draw(2, n)
    u, m, v = draw(3, n - 1, dtype=torch.complex128), 1.5 + 0.1 * draw(4, n), 0.1 * draw(5, n - 1)
    z = torch.tensor(0.1 - 0.2j, dtype=torch.complex128)
    leaves = [t.requires_grad_() for t in (psi, d, u, z, m, v)]
    for function, given in (
        (lambda p, a, b, s, q, w: cayley(p, a, b, s, 3, (q, w), 2), leaves),
        (lambda p, a, b, s: cayley(p, a, b, s, 3, None, 2), leaves[:4]),
        (lambda p, a, b: cayley(p, a, b, -0.2j, 3), leaves[:3]),
    ):
        assert torch.autograd.gradcheck(function, given, check_forward_ad=True)


def test_gradgradcheck() -> None:
    n = 3
    psi, d, u = draw(1, 1, n, dtype=torch.complex128), draw(2, n), draw(3, n - 1, dtype=torch.complex128)
    z = torch.tensor(0.1 - 0.2j, dtype=torch.complex128)
    leaves = [t.requires_grad_() for t in (psi, d, u, z)]
    assert torch.autograd.gradgradcheck(lambda p, a, b, s: cayley(p, a, b, s, 2, None, 1), leaves)
    mass = [t.requires_grad_() for t in (1.5 + 0.1 * draw(4, n), 0.1 * draw(5, n - 1))]
    assert torch.autograd.gradgradcheck(lambda p, a, b, s, q, w: cayley(p, a, b, s, 2, (q, w)), leaves + mass)


# --- the transforms ---

Function3 = Callable[[Tensor, Tensor, Tensor], Tensor]


def _ours(psi: Tensor, d: Tensor, u: Tensor) -> Tensor:
    out, frames = cayley(psi, d, u, 0.05 - 0.2j, 4, None, 2)
    return torch.cat([out[None], frames])


def _theirs(psi: Tensor, d: Tensor, u: Tensor) -> Tensor:
    a = (0.05 - 0.2j) * (torch.diag_embed(d + 0j) + torch.diag_embed(u, 1) + torch.diag_embed(u.conj(), -1))
    one = torch.eye(d.shape[-1], dtype=torch.complex128)
    step, states = torch.linalg.inv(one - a) @ (one + a), []
    for _ in range(4):
        psi = (step @ psi[..., None])[..., 0]
        states.append(psi)
    return torch.stack([states[3], states[1], states[3]])


def _three(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    c128 = torch.complex128
    return draw(seed + 1, 2, 5, dtype=c128), draw(seed + 2, 5), draw(seed + 3, 4, dtype=c128)


def _total(f: Function3) -> Callable[..., Tensor]:
    return lambda *a: (torch.view_as_real(f(*a)) ** 2).sum(-1).mul(torch.linspace(0.5, 1.5, 5)).sum()


def _stacked() -> tuple[Tensor, ...]:
    return tuple(torch.stack(t) for t in zip(*(_three(10 * s) for s in range(3)), strict=True))


def jvp(f: Function3) -> Any:
    return torch.func.jvp(f, _three(), _three(7))


def jvp_of_psi(f: Function3) -> Any:
    psi, d, u = _three()
    return torch.func.jvp(lambda p: f(p, d, u), (psi,), (_three(7)[0],))


def dual_numbers(f: Function3) -> Any:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(*map(forward_ad.make_dual, _three(), _three(7)))).tangent


def grad(f: Function3) -> Any:
    return torch.func.grad(_total(f), (0, 1, 2))(*_three())


def vmap_of_all(f: Function3) -> Any:
    return torch.vmap(f)(*_stacked())


def vmap_of_psi(f: Function3) -> Any:
    psi, d, u = _three()
    return torch.vmap(f, (2, None, None))(torch.stack([psi, 2 * psi, -psi], 2), d, u)


def vmap_of_diagonal(f: Function3) -> Any:
    psi, d, u = _three()
    return torch.vmap(f, (None, 1, None))(psi, torch.stack([d, 2 * d], 1), u)


def vmap_of_vmap(f: Function3) -> Any:
    psi, d, u = _stacked()
    return torch.vmap(torch.vmap(f, (None, 0, None)), (0, None, 0))(psi, d, u)


def vmap_of_grad(f: Function3) -> Any:
    return torch.vmap(torch.func.grad(_total(f), (0, 1, 2)))(*_stacked())


def vmap_of_grad_of_shared(f: Function3) -> Any:
    psi, d, u = _stacked()
    return torch.vmap(torch.func.grad(_total(f), (0, 1, 2)), (0, None, None))(psi, d[0], u[0])


def vmap_of_jvp(f: Function3) -> Any:
    primals = _three()
    return torch.vmap(lambda *v: torch.func.jvp(f, primals, v)[1])(*_stacked())


def jacrev(f: Function3) -> Any:
    psi, d, u = _three()
    return torch.func.jacrev(lambda x: torch.view_as_real(f(psi, x, u)))(d)


def jacfwd(f: Function3) -> Any:
    psi, d, u = _three()
    return torch.func.jacfwd(lambda x: torch.view_as_real(f(psi, x, u)))(d)


def double_backward(f: Function3) -> Any:
    leaves = tuple(t.requires_grad_() for t in _three())
    gradients = torch.autograd.grad(_total(f)(*leaves), leaves, create_graph=True)
    return torch.autograd.grad(sum(g.abs().pow(3).sum() for g in gradients), leaves)


def hessian(f: Function3) -> Any:
    psi, d, u = _three()
    return torch.func.hessian(lambda x: _total(f)(psi, x, u))(d)


def reverse_over_forward(f: Function3) -> Any:
    psi, d, u = _three()
    return torch.func.jacrev(torch.func.jacfwd(lambda d: _total(f)(psi, d, u)))(d)


def forward_over_forward(f: Function3) -> Any:
    psi, d, u = _three()
    return torch.func.jacfwd(torch.func.jacfwd(lambda d: _total(f)(psi, d, u)))(d)


def third_order(f: Function3) -> Any:
    leaves = tuple(t.requires_grad_() for t in _three())
    first = torch.autograd.grad(_total(f)(*leaves), leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.abs().pow(2).sum() for g in first), leaves, create_graph=True)
    return torch.autograd.grad(sum(g.abs().pow(2).sum() for g in second), leaves)


def compiled(f: Function3) -> Any:
    return torch.compile(f, fullgraph=True, backend="aot_eager")(*_three())


def compiled_grad(f: Function3) -> Any:
    leaves = tuple(t.requires_grad_() for t in _three())
    return torch.autograd.grad(torch.compile(_total(f), fullgraph=True, backend="aot_eager")(*leaves), leaves)


TRANSFORMS = (
    jvp,
    jvp_of_psi,
    dual_numbers,
    grad,
    vmap_of_all,
    vmap_of_psi,
    vmap_of_diagonal,
    vmap_of_vmap,
    vmap_of_grad,
    vmap_of_grad_of_shared,
    vmap_of_jvp,
    jacrev,
    jacfwd,
    double_backward,
    hessian,
    reverse_over_forward,
    forward_over_forward,
    third_order,
    compiled,
    compiled_grad,
)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.__name__)
def test_transform(transform: Callable[[Function3], Any]) -> None:
    got, expected = (torch.utils._pytree.tree_leaves(transform(f)) for f in (_ours, _theirs))
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        scale = max(1.0, float(b.detach().abs().max()))
        assert torch.allclose(a, b, rtol=0, atol=1e-11 * scale), transform.__name__


def test_compile_keeps_the_refusal_of_transforms_inside() -> None:
    with pytest.raises(Exception, match=r"cannot trace its torch\.func transforms"):
        torch.compile(torch.func.grad(_total(_ours)), fullgraph=True, backend="aot_eager")(*_three())


FAST = ("test_schema", "test_autograd_registration", "test_faketensor")


@pytest.mark.parametrize(("own", "mass"), [(False, False), (True, True)])
def test_opcheck(own: bool, mass: bool) -> None:
    plain = _inputs(torch.complex128, 3, 4, own, mass, 0.1 - 0.2j)
    inputs = [None if t is None else t.clone().requires_grad_() for t in plain]
    every: dict[str, Any] = {} if mass else {"test_utils": FAST}  # with compiled graphs once
    torch.library.opcheck(ops.forward, (*inputs, 3, 2, "auto"), **every)
    torch.library.opcheck(ops.saved, (*plain, 3, 2, 2, "auto"), test_utils=FAST)
    kept = ops.saved(*plain, 3, 2, 2, "auto")[2]
    grad_out, grad_frames = draw(8, 3, 4, dtype=torch.complex128), draw(9, 1, 3, 4, dtype=torch.complex128)
    psi, *coefficients = plain
    for wanted in (False, True):
        args = (
            grad_out.clone().requires_grad_(),
            grad_frames,
            psi,
            kept,
            *coefficients,
            3,
            2,
            2,
            "auto",
            wanted,
        )
        torch.library.opcheck(ops.adjoint, args, test_utils=FAST)


def test_kept_states_have_no_derivative() -> None:
    psi, bands, _, z = _inputs(torch.complex128, 2, 4, False, False, -0.1j)
    with pytest.raises(NotImplementedError, match="kept states have no derivative"):
        ops.saved(psi.requires_grad_(), bands, None, z, 3, 0, 2, "auto")


def test_memory_of_a_backward_does_not_grow_with_the_steps() -> None:
    psi = draw(1, 4, 32, dtype=torch.complex128).requires_grad_()
    d, u = draw(2, 32), draw(3, 31)
    sizes = []
    for steps in (10, 1000):
        saved: list[int] = []

        def pack(t: Tensor, seen: list[int] = saved) -> Tensor:
            seen.append(t.numel())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            cayley(psi, d, u, -0.1j, steps)
        sizes.append(sum(saved))
    assert sizes[0] == sizes[1]


def test_a_gradient_finds_a_known_minimum() -> None:
    """Where the detuning makes a two-level pulse a pi pulse, d|amplitude|^2 / d(detuning) changes sign."""
    psi = torch.tensor([1.0, 0.0], dtype=torch.complex128)
    u = torch.tensor([0.5], dtype=torch.float64)
    slopes = []
    for detuning in (-0.2, 0.0, 0.2):
        delta = torch.tensor(detuning, dtype=torch.float64, requires_grad=True)
        out = cayley(psi, torch.stack([delta, -delta]), u, -0.5j * np.pi / 400, 400)
        (slope,) = torch.autograd.grad(out[1].abs() ** 2, delta)
        slopes.append(float(slope))
    assert slopes[0] > 0.1
    assert abs(slopes[1]) < 1e-12
    assert slopes[2] < -0.1
