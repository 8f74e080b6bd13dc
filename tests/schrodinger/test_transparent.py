"""Transparent ends: against an endless grid, closed forms of the weights, and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qcore._ops import schrodinger_transparent as ops
from qcore._ops.schrodinger_transparent_composite import end_weights
from qcore.schrodinger.cayley import cayley

from .cayley_oracle import draw

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Dynamo does not know how to trace:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.*treespec:FutureWarning"),
]

H, DT, N = 0.05, 0.004, 201
KAPPA, TAU = 0.5 / H**2, 0.5 * DT
X = H * torch.arange(N, dtype=torch.float64)


def packet(x: Tensor, x0: float = 5.0, k0: float = 6.0, width: float = 0.5) -> Tensor:
    return torch.exp(-((x - x0) ** 2) / (4 * width**2) + 1j * k0 * x)


def endless(
    psi: Tensor, potential: Tensor, steps: int, left: int, right: int, save: int = 0
) -> tuple[Tensor, Tensor]:
    """The same on a grid with that many more points at each end, seen on the points in between."""
    v = torch.cat([potential[:1].expand(left), potential, potential[-1:].expand(right)])
    start = torch.cat([psi.new_zeros(left), psi, psi.new_zeros(right)])
    off = torch.full((v.shape[0] - 1,), -KAPPA, dtype=torch.float64)
    out, frames = cayley(start, v + 2 * KAPPA, off, -1j * TAU, steps, save_every=save or steps)
    inside = slice(left, left + psi.shape[0])
    return out[inside], frames[:, inside]


def test_a_packet_leaves_as_on_an_endless_grid() -> None:
    """800 steps; the packet, its ends cut at 1e-11, is gone by then."""
    psi = packet(X, k0=9.0)
    psi = torch.where(psi.abs() > 1e-11, psi, 0.0)
    potential = torch.zeros(N, dtype=torch.float64)
    out, frames = ops.call(psi[None], potential[None], KAPPA, TAU, 1000, 20)
    expected, big_frames = endless(psi, potential, 1000, 1500, 2500, 20)
    assert (frames[:, 0] - big_frames).abs().max() < 1e-11
    assert (out[0] - expected).abs().max() < 1e-11
    norms = frames[:, 0].norm(dim=1) / psi.norm()
    assert abs(norms[0] - 1.0) < 1e-12
    assert (norms[1:] < norms[:-1] + 1e-13).all()
    assert norms[-1] < 1e-5


@pytest.mark.parametrize("k0", [8.0, -5.0])
def test_a_step_between_two_constants(k0: float) -> None:
    """From 0 on the left to 12 on the right: part of the packet leaves at each end, at different speeds."""
    potential = 6.0 * (1.0 + torch.tanh((X - 5.5) / 0.2))
    potential = torch.where(X < 3.0, 0.0, torch.where(X > 8.0, 12.0, potential))
    psi = packet(X, 4.5, k0, 0.35)
    psi = torch.where(psi.abs() > 1e-11, psi, 0.0)
    out, frames = ops.call(psi[None], potential[None], KAPPA, TAU, 800, 100)
    expected, big_frames = endless(psi, potential, 800, 2500, 2500, 100)
    assert (frames[:, 0] - big_frames).abs().max() < 1e-11
    assert (out[0] - expected).abs().max() < 1e-11
    assert out.norm() < 0.2 * psi.norm()


def test_one_open_end_and_one_wall() -> None:
    psi, potential = packet(X, 5.0, 4.0), torch.sin(X)
    psi = torch.where(psi.abs() > 1e-9, psi, 0.0)
    for sides, left, right in (("left", 2000, 0), ("right", 0, 2000)):
        out, _ = ops.call(psi[None], potential[None], KAPPA, TAU, 500, 0, sides)
        assert (out[0] - endless(psi, potential, 500, left, right)[0]).abs().max() < 1e-11


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("sides", ops.SIDES)
def test_few_points(n: int, sides: str) -> None:
    """Any start is right if it has nothing outside, with potentials of both signs and dt or mass of both."""
    psi, potential = draw(1, 3, n, dtype=torch.complex128), 300.0 * draw(2, 3, n)
    left, right = ops.SIDES[sides]
    for kappa, tau in ((KAPPA, TAU), (KAPPA, -TAU), (-KAPPA, TAU)):
        out, frames = ops.call(psi, potential, kappa, tau, 30, 10, sides)
        for b in range(3):
            sizes = (400 if left else 0, 400 if right else 0)
            v = torch.cat(
                [potential[b, :1].expand(sizes[0]), potential[b], potential[b, -1:].expand(sizes[1])]
            )
            start = torch.cat([psi.new_zeros(sizes[0]), psi[b], psi.new_zeros(sizes[1])])
            off = torch.full((v.shape[0] - 1,), -kappa, dtype=torch.float64)
            if v.shape[0] == 1:
                continue
            expected = cayley(start, v + 2 * kappa, off, -1j * tau, 30)[sizes[0] : sizes[0] + n]
            assert (out[b] - expected).abs().max() < 1e-12
        assert torch.equal(frames[2], out)


def test_weights_are_those_of_arnold_and_ehrhardt() -> None:
    """Their closed form by Legendre polynomials, of (1 + x) times the other root, for V >= 0 and V < 0."""
    count, r = 60, 4 * H * H / DT
    for s in (0.0, 0.3, 5.0, -0.4):
        phi = np.arctan2(2 * r * (s + 2), r * r - 4 * s - s * s)
        mu = (r * r + 4 * s + s * s) / np.sqrt((r * r + s * s) * (r * r + (s + 4) ** 2))
        alpha = 0.5j * ((r * r + s * s) * (r * r + (s + 4) ** 2)) ** 0.25 * np.exp(0.5j * phi)
        p = [1.0, mu]
        for n in range(1, count):
            p.append(((2 * n + 1) * mu * p[n] - n * p[n - 1]) / (n + 1))
        theirs = [
            alpha * np.exp(-1j * n * phi) * (p[n] - (p[n - 2] if n > 1 else 0)) / (2 * n - 1)
            for n in range(count)
        ]
        theirs[0] += 1 - 0.5j * r + 0.5 * s
        theirs[1] += 1 + 0.5j * r + 0.5 * s
        nu = np.array(
            [
                complex(w)
                for w in end_weights(
                    torch.tensor([s], dtype=torch.float64), torch.tensor([r], dtype=torch.float64), count
                )
            ]
        )
        ours = nu + np.concatenate([[0], nu[:-1]])  # (1 + x) nu
        total = np.zeros(count, complex)
        total[0], total[1] = 2 + s - 1j * r, 2 + s + 1j * r
        assert np.abs(ours + theirs - total).max() < 1e-11


def test_the_reference_agrees_and_a_system_does_not_know_its_batch() -> None:
    psi, potential = draw(1, 19, 30, dtype=torch.complex128), 50.0 * draw(2, 19, 30)
    for v in (potential, potential[:1]):
        fast, slow = (ops.call(psi, v, 40.0, 0.02, 25, 5, "both", b) for b in ("auto", "reference"))
        for a, b in zip(fast, slow, strict=True):
            assert (a - b).abs().max() < 1e-12
        part = ops.call(psi[3:12], v[3:12] if v.shape[0] > 1 else v, 40.0, 0.02, 25, 5)
        assert torch.equal(part[0], fast[0][3:12])
        torch.set_num_threads(1)
        assert torch.equal(ops.call(psi, v, 40.0, 0.02, 25, 5)[0], fast[0])
        torch.set_num_threads(2)
        assert torch.equal(ops.call(psi, v, 40.0, 0.02, 25, 5)[0], fast[0])
    single = ops.call(psi.to(torch.complex64), potential, 40.0, 0.02, 25, 0)[0]
    assert single.dtype == torch.complex64
    assert (single - ops.call(psi, potential, 40.0, 0.02, 25, 0)[0]).abs().max() < 1e-5


def test_no_steps_and_no_systems() -> None:
    psi, v = draw(1, 2, 5, dtype=torch.complex128), draw(2, 1, 5)
    out, frames = ops.call(psi, v, 1.0, 0.1, 0, 1)
    assert torch.equal(out, psi)
    assert frames.shape == (0, 2, 5)
    assert ops.call(psi[:0], v, 1.0, 0.1, 3, 1)[1].shape == (3, 0, 5)


# --- derivatives ---


def _given(n: int = 7, batch: int = 3, own: bool = True) -> tuple[Tensor, ...]:
    constants = torch.tensor(1.3, dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64)
    return draw(1, batch, n, dtype=torch.complex128), draw(2, batch if own else 1, n), *constants


def _on_a_long_grid(
    psi: Tensor, v: Tensor, kappa: Tensor, tau: Tensor, steps: int, save: int, extra: int
) -> Any:
    """Dense, with walls far away: independent of all that knows of transparent ends."""
    n = psi.shape[1]
    padded = torch.nn.functional.pad(psi, (extra, extra))
    long = torch.cat([v[:, :1].expand(-1, extra), v, v[:, -1:].expand(-1, extra)], 1)
    ones = torch.ones(n + 2 * extra - 1, dtype=torch.float64)
    neighbours = torch.diag_embed(ones, 1) + torch.diag_embed(ones, -1)
    h = torch.diag_embed(2 * kappa + long) - kappa * neighbours + 0j
    one = torch.eye(n + 2 * extra, dtype=torch.complex128)
    solved = [torch.linalg.solve(one + 1j * tau * a, one - 1j * tau * a) for a in h]  # torch hangs on batches
    step, frames = torch.stack(solved), []
    for t in range(1, steps + 1):
        padded = (step @ padded[..., None])[..., 0]
        if save and t % save == 0:
            frames.append(padded[:, extra : extra + n])
    return padded[:, extra : extra + n], torch.stack(frames)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_gradients_are_those_of_a_long_grid(own: bool, backend: str) -> None:
    """To the state, every potential (its ends stand for all outside), kappa and tau; with checkpoints."""
    given = [t.requires_grad_() for t in _given(own=own)]

    def gradients(outputs: Any) -> Any:
        weights = [draw(30 + i, *o.shape, dtype=o.dtype) for i, o in enumerate(outputs)]
        return torch.autograd.grad(outputs, given, weights)

    got = gradients(ops.call(*given, 11, 3, "both", backend))
    expected = gradients(_on_a_long_grid(*given, 11, 3, 80))
    for a, b in zip(got, expected, strict=True):
        assert (a - b).abs().max() < 1e-11 * max(1.0, float(b.abs().max()))


@pytest.mark.parametrize("sides", ops.SIDES)
def test_adjoint_dot_product(sides: str) -> None:
    _, potential, kappa, tau = _given(40, 20)
    v, w = draw(5, 20, 40, dtype=torch.complex128).requires_grad_(), draw(6, 20, 40, dtype=torch.complex128)
    out, _ = ops.call(v, potential, kappa, tau, 60, 0, sides)
    (back,) = torch.autograd.grad(out, v, w)
    difference = (w.conj() * out).sum().real - (back.conj() * v).sum().real
    assert abs(difference) < 1e-12 * float(out.detach().norm() * w.norm())


@pytest.mark.parametrize("sides", ops.SIDES)
def test_gradcheck(sides: str) -> None:
    given = [t.requires_grad_() for t in _given(4, 2)]
    assert torch.autograd.gradcheck(lambda *p: ops.call(*p, 5, 2, sides), given, check_forward_ad=True)


def test_gradgradcheck() -> None:
    given = [t.requires_grad_() for t in _given(3, 2)]
    assert torch.autograd.gradgradcheck(lambda *p: ops.call(*p, 3, 2), given)


def _total(psi: Tensor, v: Tensor, kappa: Tensor, tau: Tensor) -> Tensor:
    out, frames = ops.call(psi, v, kappa, tau, 4, 2)
    return (torch.cat([out[None], frames]).abs() ** 2 * torch.linspace(0.5, 1.5, psi.shape[-1])).sum()


def test_transforms() -> None:
    psi, v, kappa, tau = _given(5, 2)
    stacked = torch.stack([psi, 2 * psi, -psi])
    potentials = torch.stack([v, 2 * v, -v])
    got = torch.vmap(torch.func.grad(_total, (0, 1, 2, 3)), (0, 0, None, None))(
        stacked, potentials, kappa, tau
    )
    for i in range(3):
        one = torch.func.grad(_total, (0, 1, 2, 3))(stacked[i], potentials[i], kappa, tau)
        for a, b in zip(got, one, strict=True):
            assert torch.allclose(a[i], b, rtol=0, atol=1e-12)
    shared = torch.vmap(torch.func.grad(_total, (0, 1)), (0, None, None, None))(stacked, v[:1], kappa, tau)
    one = torch.func.grad(_total, (0, 1))(stacked[2], v[:1], kappa, tau)
    for a, b in zip(shared, one, strict=True):
        assert torch.allclose(a[2], b, rtol=0, atol=1e-12)
    hessian = torch.func.hessian(lambda u: _total(psi, u, kappa, tau))(v)
    forward = torch.func.jacfwd(torch.func.grad(lambda u: _total(psi, u, kappa, tau)))(v)
    assert torch.allclose(hessian, forward, rtol=0, atol=1e-11)
    compiled = torch.compile(_total, fullgraph=True, backend="aot_eager")
    leaves = [t.requires_grad_() for t in (psi, v, kappa, tau)]
    for a, b in zip(
        torch.autograd.grad(compiled(*leaves), leaves),
        torch.autograd.grad(_total(*leaves), leaves),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


def test_constants_of_their_own_under_vmap_are_refused() -> None:
    psi, v, kappa, tau = _given(5, 2)
    with pytest.raises(NotImplementedError, match="kappa, tau: expected the same in every call"):
        torch.vmap(lambda k: ops.call(psi, v, k, tau, 3, 0)[0])(torch.stack([kappa, 2 * kappa]))


FAST = ("test_schema", "test_autograd_registration", "test_faketensor")


def test_opcheck() -> None:
    given = _given(4, 2)
    torch.library.opcheck(ops.forward, (*(t.clone().requires_grad_() for t in given), 5, 2, "both", "auto"))
    torch.library.opcheck(ops.saved, (*given, 5, 2, "both", "auto"), test_utils=FAST)
    _, _, kept, trace = ops.saved(*given, 5, 2, "both", "auto")
    grads = draw(8, 2, 4, dtype=torch.complex128).requires_grad_(), draw(9, 2, 2, 4, dtype=torch.complex128)
    for wanted in (False, True):
        args = (*grads, given[0], kept, trace, *given[1:], 5, 2, "both", "auto", wanted)
        torch.library.opcheck(ops.adjoint, args, test_utils=FAST)


# --- arguments ---

GOOD: list[Any] = [
    torch.ones(2, 5, dtype=torch.complex128),
    torch.zeros(1, 5).double(),
    1.0,
    0.1,
    3,
    1,
    "both",
]
BAD: list[tuple[int, Any, type[Exception], str]] = [
    (0, torch.ones(2, 5), TypeError, "psi: expected one of torch.complex128"),
    (0, torch.ones(5, dtype=torch.complex128), ValueError, r"psi: expected shape \(B, n\)"),
    (1, torch.zeros(5).double(), ValueError, r"potential: expected shape \(1 or 2, 5\)"),
    (1, torch.zeros(3, 5).double(), ValueError, "potential: expected shape"),
    (1, torch.zeros(1, 5), TypeError, "potential: expected dtype torch.float64"),
    (2, 0.0, ValueError, "kappa: expected a finite number other than 0"),
    (2, torch.ones(1), ValueError, "kappa: expected a 0-dim tensor"),
    (3, 0.0, ValueError, "tau: expected a finite number other than 0"),
    (3, float("inf"), ValueError, "tau: expected a finite number"),
    (4, -1, ValueError, "steps: expected an int >= 0"),
    (5, -1, ValueError, "save_every: expected an int >= 0"),
    (6, "top", ValueError, "sides: expected one of"),
]


@pytest.mark.parametrize(("position", "value", "error", "words"), BAD)
def test_arguments_are_refused(position: int, value: Any, error: type[Exception], words: str) -> None:
    ops.call(*GOOD)
    args = [*GOOD]
    args[position] = value
    call: Callable[[], Any] = lambda: ops.call(*args)  # noqa: E731
    with pytest.raises(error, match=words):
        call()


def test_a_state_that_is_cut_off_is_refused() -> None:
    psi = packet(X).expand(2, -1).clone()
    ops.require_vanishing_ends(psi)
    psi[1, -1] = 1e-3
    words = "psi: expected a state that vanishes at a transparent end .* got 0.001 of it at the last point"
    with pytest.raises(ValueError, match=words):
        ops.require_vanishing_ends(psi)
    ops.require_vanishing_ends(psi, "left")
    ops.require_vanishing_ends(psi, tolerance=0.01)
    ops.require_vanishing_ends(torch.zeros(2, 5, dtype=torch.complex128))
