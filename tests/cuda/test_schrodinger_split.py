"""Split steps in two and three dimensions on a GPU give what the plain kernel of the CPU gives."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from qcore._ops import schrodinger_split as ops
from qcore.schrodinger import propagate
from schrodinger.split_problems import (
    AUTO,
    C128,
    F64,
    REFERENCE,
    Problem,
    difference,
    make_problem,
    pull,
    random_state,
    run,
)

WALLS = ("dirichlet", "periodic")
PROGRAMS = [(0, -1, 1, -2, 0), (0, -1, 0), (-1,), (-1, -2, 1), (0, 1), ()]
# Around a warp and a tile of lines.
SIZES = [(1,), (2,), (31,), (33,), (65,), (1, 5), (3, 1), (32, 9), (2, 67), (2, 3, 4), (5, 4, 9), (3, 33, 2)]
KINDS = [
    (torch.complex128, False, 1e-12),
    (torch.complex64, False, 1e-5),
    (torch.complex64, True, 1e-4),
    (torch.float64, False, 1e-12),
    (torch.float32, False, 1e-5),
    (torch.float32, True, 1e-4),
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def problems(sizes: tuple[int, ...], seed: int) -> Any:
    """Every dtype once, with orders, boundaries, programs and batches taken in turn."""
    orders, programs = itertools.cycle((2, 4, 6)), itertools.cycle(PROGRAMS)
    batches = itertools.cycle(((1, 1), (3, 1), (2, 2)))
    for _ in range(seed):
        next(orders), next(programs), next(batches)
    for dtype, fast, tolerance in KINDS:
        batch, own = next(batches)
        walls = tuple(WALLS[(seed + i) % 2] for i in range(len(sizes)))
        p = make_problem(
            sizes,
            real=not dtype.is_complex,
            batch=own,
            stages=1 + seed % 2,
            walls=walls,
            order=next(orders),
            program=next(programs),
            rule="cayley" if dtype.is_complex else "euler",
        )
        yield p.but(fast=fast), random_state(batch, sizes, dtype), tolerance


def close(found: Any, expected: Any, tolerance: float) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(a.shape == b.shape and (not a.numel() or difference(a, b) < tolerance) for a, b in pairs)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("sizes", SIZES)
def test_evolve(sizes: tuple[int, ...], seed: int, device: Any) -> None:
    for p, psi, tolerance in problems(sizes, seed):
        expected = run(p, psi, save_every=2, backend=REFERENCE)
        for backend in (AUTO, REFERENCE):

            def evolve(psi: Tensor, phases: Tensor, p: Problem = p, backend: int = backend) -> Any:
                return run(p.but(phases=phases), psi, save_every=2, backend=backend)

            assert close(device.run(evolve, psi, p.phases), expected, tolerance)


def gradients(p: Problem, backend: int = AUTO, every: int = 2) -> Any:
    def adjoint(states: Tensor, grad: Tensor, frames: Tensor | None, phases: Tensor) -> Any:
        return pull(p.but(phases=phases), states, grad, frames, save_every=every, backend=backend)

    return adjoint


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("sizes", [(33,), (1, 5), (5, 34), (4, 3, 6)])
def test_adjoint(sizes: tuple[int, ...], seed: int, device: Any) -> None:
    for p, psi, tolerance in problems(sizes, seed):
        grad, frames = torch.randn_like(psi), torch.randn(1, *psi.shape, dtype=psi.dtype)
        trajectory = run(p.but(fast=False), psi, save_every=1)[1]
        before = torch.cat((psi.unsqueeze(0), trajectory))[: p.steps]
        starts = [before, trajectory[-1].contiguous()] if p.rule == "cayley" else [before]
        for states in starts:
            expected = pull(p.but(fast=False), states, grad, frames, save_every=2, backend=REFERENCE)
            backend = AUTO if states is starts[0] or seed else REFERENCE
            found = device.run(gradients(p, backend), states, grad, frames, p.phases)
            assert close(found, expected, max(1e-11, 10 * tolerance))


@pytest.mark.parametrize("n", [1999, 8000, 15000])
def test_lines_of_every_length_find_room(n: int, device: Any) -> None:
    """Two lines of a tile, one, and one too long for shared memory, which a single thread walks along."""
    for wall, order in zip(WALLS, (4, 2), strict=True):
        p = make_problem((n,), walls=(wall,), order=order, steps=1)
        psi, grad = random_state(3, (n,)), random_state(3, (n,))
        found = device.run(lambda psi, phases, p=p: run(p.but(phases=phases), psi), psi, p.phases)
        expected = run(p, psi)
        assert close(found, expected, 1e-12)
        back = device.run(gradients(p), expected[0], grad, None, p.phases)
        assert close(back, pull(p, expected[0], grad), 1e-10)


def test_gradients_of_phases_shared_by_more_fields_than_are_summed_at_once(device: Any) -> None:
    p = make_problem((90000,), program=(0, 1), steps=1)
    psi, grad = random_state(7, (90000,)), random_state(7, (90000,))
    found = device.run(gradients(p), psi, grad, None, p.phases)
    assert close(found[:2], pull(p, psi, grad)[:2], 1e-13)


def test_the_same_every_time(device: Any) -> None:
    p = make_problem((9, 34), order=4)
    psi, grad = random_state(2, (9, 34)), random_state(2, (9, 34))
    first, second = (device.run(gradients(p), psi, grad, None, p.phases) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_run_of_no_fields_and_one_of_no_steps(device: Any) -> None:
    p = make_problem((4, 5), steps=0)
    psi = random_state(2, (4, 5))
    grad_psi, grad_phases, grad_e = device.run(gradients(p), psi, psi, None, p.phases)
    assert torch.equal(grad_psi, psi)
    assert not grad_phases.any()
    assert not grad_e.any()
    none = device.run(gradients(p.but(steps=3)), psi[:0], psi[:0], None, p.phases)
    assert none[0].shape == (0, 4, 5)
    assert not none[1].any()
    assert not none[2].any()


def test_gradients_of_coefficients_near_zero_have_no_kernel(device: Any) -> None:
    p = make_problem((4, 5))
    psi = random_state(1, (4, 5))
    with pytest.raises(NotImplementedError, match=r"grad_e: .* no CUDA kernel; move the tensors to the CPU"):
        device.run(gradients(p.but(e=p.e * 1e-10)), psi, psi, None, p.phases)


def test_strided_states_through_the_operator(device: Any) -> None:
    p = make_problem((5, 12))
    psi = random_state(2, (12, 5)).mT
    settings = list(p.program), ",".join(p.walls), p.order, p.rule, p.steps, "float64", True, "auto"
    found = device.run(lambda psi, phases: ops.split_evolve.call(psi, phases, p.e, *settings), psi, p.phases)
    assert difference(found, run(p, psi.contiguous())[0]) < 1e-13


@pytest.mark.parametrize(("imaginary", "time_order"), [(False, 2), (False, 4), (True, 2)])
def test_propagate_and_its_gradients(imaginary: bool, time_order: int, device: Any) -> None:
    psi = random_state(2, (7, 10), F64 if imaginary else C128)
    potential = torch.rand(7, 10, dtype=F64)
    dt = torch.tensor(0.05, dtype=F64, requires_grad=True)

    def gradients(psi: Tensor, potential: Tensor) -> Any:
        leaves = psi.clone().requires_grad_(), potential.clone().requires_grad_()
        out, frames = propagate(
            *leaves,
            dt=dt,
            steps=6,
            spacing=(0.5, 0.4),
            boundary=("dirichlet", "periodic"),
            imaginary=imaginary,
            time_order=time_order,
            space_order=4,
            save_every=3,
        )
        loss = (out.abs() ** 2 * potential).sum() + (frames[0] * out.conj()).sum().real
        return out.detach(), *torch.autograd.grad(loss, (*leaves, dt))

    assert close(device.run(gradients, psi, potential), gradients(psi, potential), 1e-10)
