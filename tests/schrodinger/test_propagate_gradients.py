"""Gradients of propagate: against differences and dense solves, as adjoints, and their memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qcore.schrodinger import propagate

from . import oracle
from .support import C64, C128, F64, random_field, tensor

H = 0.4
WALLS = pytest.mark.parametrize("boundary", oracle.WALLS)
TIME = pytest.mark.parametrize("time_order", oracle.TIME_ORDERS)
SPACE = pytest.mark.parametrize("space_order", oracle.SPACE_ORDERS)


def leaf(shape: tuple[int, ...], seed: int, dtype: torch.dtype = F64) -> Tensor:
    field = random_field(shape, seed)
    return tensor(field if dtype.is_complex else field.real, dtype).requires_grad_()


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=F64, requires_grad=True)


# --- by autograd through dense solves -------------------------------------------------------------


def dense_propagate(
    psi: Tensor,
    potential: Tensor,
    *,
    dt: Any,
    steps: int,
    mass: Any = 1.0,
    hbar: Any = 1.0,
    boundary: str = "dirichlet",
    time_order: int = 2,
    space_order: int = 2,
    save_every: int = 0,
) -> Any:
    """propagate on one axis with spacing H, by dense solves; potential (n,), (B, n) or (steps, B or 1, n)."""
    n = psi.shape[-1]
    # kinetic() is hbar^2 / 2 m h^2 L_r: with hbar = 1 and m = 1 / 2 it is L_r / h^2
    difference = tensor(oracle.kinetic(n, H, mass=0.5, boundary=boundary, order=space_order))
    one = torch.eye(n, dtype=C128)
    frames = []
    for k in range(steps):
        v = potential[k] if potential.ndim > psi.ndim else potential
        h = hbar * hbar / (2 * mass) * difference + torch.diag_embed(v)
        for z in oracle.poles(time_order // 2):
            c = -1j * dt / (hbar * complex(z))
            chi = torch.linalg.solve(one - c * h, psi.unsqueeze(-1)).squeeze(-1)
            psi = 2 * chi - psi
        if save_every and (k + 1) % save_every == 0:
            frames.append(psi)
    return (psi, torch.stack(frames)) if save_every else psi


def pulled_back(
    call: Callable[..., Any], leaves: dict[str, Tensor], weights: list[Tensor], **settings: Any
) -> Any:
    """Gradients to all leaves of the real part of <weights, outcome>."""
    rest = {k: v for k, v in leaves.items() if k not in ("psi", "potential")}
    outcome = call(leaves["psi"], leaves["potential"], **rest, **settings)
    outcome = outcome if isinstance(outcome, tuple) else (outcome,)
    loss = sum(
        (w.conj() * o).real.sum() + 0.1 * (o.abs() ** 4).sum() for w, o in zip(weights, outcome, strict=True)
    )
    return torch.autograd.grad(loss, list(leaves.values()))


def compare(leaves: dict[str, Tensor], gate: float = 1e-10, **settings: Any) -> None:
    """Every gradient against that of the dense solves, relative to its size."""
    shape = leaves["psi"].shape
    weights = [tensor(random_field(shape, 90))]
    if every := settings.get("save_every", 0):
        weights.append(tensor(random_field((settings["steps"] // every, *shape), 91)))
    found = pulled_back(propagate, leaves, weights, spacing=H, **settings)
    expected = pulled_back(dense_propagate, leaves, weights, **settings)
    for name, a, b in zip(leaves, found, expected, strict=True):
        assert a.dtype == b.dtype, name
        assert a.shape == b.shape, name
        assert float((a - b).abs().max()) <= gate * max(1.0, float(b.abs().max())), name


def scalars() -> dict[str, Tensor]:
    return {"dt": number(0.13), "mass": number(1.2), "hbar": number(0.9)}


@WALLS
@SPACE
@TIME
def test_gradients_are_those_of_dense_solves(time_order: int, space_order: int, boundary: str) -> None:
    """psi, V, dt, m and hbar at once, a nonlinear function of the outcome."""
    leaves = {"psi": leaf((3, 9), 1, C128), "potential": leaf((9,), 2), **scalars()}
    compare(leaves, steps=12, boundary=boundary, time_order=time_order, space_order=space_order)


@WALLS
@pytest.mark.parametrize("shape", [(3, 9), (1, 9), (7, 1, 9), (7, 3, 9)])
def test_gradients_to_potentials_of_every_shape(shape: tuple[int, ...], boundary: str) -> None:
    """One per system, one per step, one per step and system; frames in between."""
    leaves = {"psi": leaf((3, 9), 1, C128), "potential": leaf(shape, 2), **scalars()}
    compare(leaves, steps=7, boundary=boundary)
    if len(shape) == 2:
        compare(leaves, steps=7, boundary=boundary, save_every=2, time_order=4)


@WALLS
@SPACE
def test_gradients_with_absorption(space_order: int, boundary: str) -> None:
    """Complex V: its gradient is complex, that of Re V and Im V together; the operator isn't unitary."""
    v = random_field((9,), 2)
    potential = tensor(v.real - 1j * abs(v.imag)).requires_grad_()
    leaves = {"psi": leaf((2, 9), 1, C128), "potential": potential, **scalars()}
    compare(leaves, steps=15, boundary=boundary, space_order=space_order)
    compare(leaves, steps=15, boundary=boundary, space_order=space_order, time_order=4, save_every=4)


def test_strong_absorption_takes_no_digits_from_the_gradient() -> None:
    """Tracing back would amplify the errors by more than 1e15 here."""
    v = np.where(np.arange(30) > 15, -6j, 0) + 0.3 * np.sin(np.arange(30))
    leaves = {"psi": leaf((2, 30), 1, C128), "potential": tensor(v).requires_grad_(), **scalars()}
    compare(leaves, steps=300)


@WALLS
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_gradients_on_short_grids(n: int, boundary: str) -> None:
    for space_order in oracle.SPACE_ORDERS:
        leaves = {"psi": leaf((2, n), 1, C128), "potential": leaf((n,), 2), **scalars()}
        compare(leaves, steps=5, boundary=boundary, space_order=space_order, time_order=4)


def test_gradients_of_batches_with_a_remainder() -> None:
    for batch in (1, 5, 8, 17):
        leaves = {"psi": leaf((batch, 9), 1, C128), "potential": leaf((batch, 9), 2), **scalars()}
        compare(leaves, steps=4, time_order=4)


def test_one_gradient_at_a_time() -> None:
    """Whatever else needs none."""
    everything = {"psi": leaf((3, 9), 1, C128), "potential": leaf((9,), 2), **scalars()}
    weight = tensor(random_field((3, 9), 90))

    def loss(values: dict[str, Tensor]) -> Tensor:
        rest = {k: v for k, v in values.items() if k not in ("psi", "potential")}
        return (
            weight.conj() * propagate(values["psi"], values["potential"], steps=5, spacing=H, **rest)
        ).real.sum()

    whole = dict(
        zip(everything, torch.autograd.grad(loss(everything), list(everything.values())), strict=True)
    )
    for name, value in everything.items():
        alone = {k: v if k == name else v.detach() for k, v in everything.items()}
        (gradient,) = torch.autograd.grad(loss(alone), [value])
        assert float((gradient - whole[name]).abs().max()) <= 1e-13 * max(
            1.0, float(whole[name].abs().max())
        ), name


def test_a_long_run_is_traced_back_to_rounding() -> None:
    """500 steps: the states are found again by running backwards, 1e-15 a step."""
    leaves = {"psi": leaf((2, 12), 1, C128), "potential": leaf((12,), 2), **scalars()}
    compare(leaves, steps=500, gate=1e-10)


def test_complex64_gradients() -> None:
    psi, v = leaf((2, 12), 1, C64), leaf((12,), 2)
    wide = psi.detach().to(C128).requires_grad_()
    weight = tensor(random_field((2, 12), 90))

    def gradients(state: Tensor, steps: int) -> tuple[Tensor, ...]:
        after = propagate(state, v, dt=0.1, steps=steps, spacing=H)
        return torch.autograd.grad((weight.to(state.dtype).conj() * after).real.sum(), [state, v])

    for steps in (10, 1000):
        narrow, exact = gradients(psi, steps), gradients(wide, steps)
        assert narrow[0].dtype == C64
        for a, b in zip(narrow, exact, strict=True):
            assert float((a.to(b.dtype) - b).abs().max()) <= 2e-6 * steps**0.5 * float(b.abs().max()) + 1e-5


# --- by differences -------------------------------------------------------------------------------


def check(call: Callable[..., Tensor], *leaves: Tensor) -> None:
    assert torch.autograd.gradcheck(call, leaves, eps=1e-6, atol=1e-7, rtol=1e-6)


@WALLS
def test_gradcheck_real_time(boundary: str) -> None:
    check(
        lambda psi, v, dt, mass: propagate(psi, v, dt=dt, steps=3, spacing=H, mass=mass, boundary=boundary),
        leaf((2, 4), 1, C128), leaf((4,), 2), number(0.2), number(1.3),
    )  # fmt: skip


def test_gradcheck_functions_of_time() -> None:
    """Gradients pass through the function, with the times it is called at."""

    def driven(amplitude: Tensor, psi: Tensor, dt: Tensor, time_order: int) -> Tensor:
        def v(t: Any) -> Tensor:
            return amplitude * torch.sin(torch.arange(4, dtype=F64) + 3 * t)

        return propagate(psi, v, dt=dt, steps=3, spacing=H, time_order=time_order)

    for time_order in (2, 4):
        check(lambda a, p, d, o=time_order: driven(a, p, d, o), number(0.7), leaf((4,), 1, C128), number(0.2))


def test_gradcheck_absorber() -> None:
    check(
        lambda psi, v, dt: propagate(psi, v, dt=dt, steps=3, spacing=H, absorber=(1.0, 1.0, 2.0)),
        leaf((2, 7), 1, C128), leaf((7,), 2), number(0.2),
    )  # fmt: skip


@pytest.mark.parametrize("time_order", [2, 4])
@pytest.mark.parametrize("dt", [0.01, 0.5])
def test_gradcheck_imaginary_time(dt: float, time_order: int) -> None:
    for dtype in (F64, C128):
        check(
            lambda psi, v, d, m: propagate(
                psi, v, dt=d, steps=3, spacing=H, mass=m, imaginary=True, time_order=time_order
            ),
            leaf((2, 4), 1, dtype), leaf((4,), 2), number(dt), number(1.3),
        )  # fmt: skip


@pytest.mark.parametrize("time_order", [2, 4])
def test_gradcheck_two_dimensions(time_order: int) -> None:
    walls = ("dirichlet", "periodic")
    check(
        lambda psi, v, dt, m: propagate(
            psi, v, dt=dt, steps=2, spacing=(H, 0.5), mass=(m, 1.0), boundary=walls, time_order=time_order
        ),
        leaf((2, 3, 4), 1, C128), leaf((3, 4), 2), number(0.2), number(1.3),
    )  # fmt: skip


def test_gradcheck_three_dimensions() -> None:
    check(
        lambda psi, v, dt: propagate(psi, v, dt=dt, steps=2, spacing=(H, 0.5, 0.6)),
        leaf((2, 3, 2), 1, C128), leaf((2, 3, 2), 2), number(0.2),
    )  # fmt: skip


def test_gradcheck_transparent() -> None:
    psi = torch.zeros(2, 8, dtype=C128)
    psi[:, 3:5] = tensor(random_field((2, 2), 1))
    inside = torch.zeros(8, dtype=F64)
    inside[2:6] = 1.0

    def call(middle: Tensor, v: Tensor) -> Tensor:
        return propagate(middle * (psi != 0), v * inside, dt=0.2, steps=4, spacing=H, boundary="transparent")

    check(call, psi.clone().requires_grad_(), leaf((8,), 2))


# --- as adjoints: the transpose is not the inverse ------------------------------------------------


@pytest.mark.parametrize(
    ("boundary", "absorbing"),
    [
        ("dirichlet", False),
        ("dirichlet", True),
        ("periodic", False),
        ("periodic", True),
        ("transparent", False),
    ],
)
def test_the_gradient_to_psi_is_the_adjoint(boundary: str, absorbing: bool) -> None:
    """<y, U x> = <U* y, x> for U that absorbs: once a library's solve pulled back by A^-1 instead of A^-T."""
    n = 12
    v = np.random.default_rng(3).normal(size=n) * (1 - 0.8j * absorbing * (np.arange(n) % 2))
    v = v.real - 1j * abs(v.imag)
    if boundary == "transparent":
        v = np.where((np.arange(n) > 2) & (np.arange(n) < 9), v, 0)
    x, y = tensor(random_field((3, n), 1)), tensor(random_field((3, n), 2))
    if boundary == "transparent":
        x[:, :3] = 0
        x[:, -3:] = 0
    x.requires_grad_()
    after = propagate(
        x, tensor(v) if absorbing else tensor(v.real), dt=0.2, steps=9, spacing=H, boundary=boundary
    )
    (pulled,) = torch.autograd.grad(after, x, grad_outputs=y)
    left, right = (y.conj() * after).sum().item(), (pulled.conj() * x).sum().item()
    assert abs(left - right) <= 1e-13 * abs(left) + 1e-12


def test_the_adjoint_of_a_unitary_run_is_the_run_backwards() -> None:
    x, y = leaf((3, 12), 1, C128), tensor(random_field((3, 12), 2))
    v = tensor(random_field((12,), 3).real)
    (pulled,) = torch.autograd.grad(propagate(x, v, dt=0.2, steps=20, spacing=H), x, grad_outputs=y)
    back = propagate(y, v, dt=-0.2, steps=20, spacing=H)
    assert float((pulled - back).abs().max()) <= 1e-12


def test_the_norm_has_no_gradient_to_the_potential() -> None:
    v, dt = leaf((12,), 3), number(0.2)
    after = propagate(tensor(random_field((12,), 1)), v, dt=dt, steps=20, spacing=H, time_order=4)
    for gradient in torch.autograd.grad((after.abs() ** 2).sum(), [v, dt]):
        assert float(gradient.abs().max()) <= 1e-11


# --- memory ---------------------------------------------------------------------------------------


def largest_and_saved(steps: int, potential: Tensor | None = None, **settings: Any) -> tuple[int, int]:
    """Bytes of the largest tensor that backward makes; numbers that forward keeps for it."""
    psi = leaf((4, 16), 1, C128)
    v = leaf((16,), 2) if potential is None else potential.clone().requires_grad_()
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        kept[t.data_ptr()] = t.numel()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        after = propagate(psi, v, dt=0.1, steps=steps, spacing=H, **settings)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        after.abs().sum().backward()
    largest = max((e.cpu_memory_usage for e in profile.events()), default=0)
    return largest, sum(kept.values())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("settings", [{}, {"boundary": "periodic"}, {"time_order": 8, "space_order": 6}])
def test_memory_does_not_grow_with_the_steps(settings: dict[str, Any]) -> None:
    """For Hermitian H neither what forward keeps nor what backward makes depends on the number of steps."""
    short, long = largest_and_saved(10, **settings), largest_and_saved(300, **settings)
    assert long == short
    assert long[1] <= 20 * 4 * 16


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_measure_of_memory_sees_a_trajectory() -> None:
    """Strong absorption needs one, here or there."""
    v = torch.full((16,), -2j, dtype=C128)
    short, long = (sum(largest_and_saved(steps, potential=v)) for steps in (10, 1000))
    assert long > 5 * short
