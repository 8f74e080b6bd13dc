"""Gradients of the split-step kernels against autograd through dense matrices; what the kernels refuse."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from qcore import _core
from qcore._ops import _device

from .split_problems import (
    AUTO,
    C128,
    F64,
    REFERENCE,
    Problem,
    dense,
    difference,
    make_problem,
    pull,
    random_state,
    run,
)

SMALL = [(5,), (2,), (1, 4), (3, 4), (17, 9), (2, 3, 4), (5, 1, 3), (4, 7, 18)]
LARGE = [(110, 170), (5, 36, 90), (400,)]
WALLS = ("dirichlet", "periodic")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def before_every_step(p: Problem, psi: Tensor) -> Tensor:
    return torch.cat((psi.unsqueeze(0), run(p, psi, save_every=1)[1]))[: p.steps].contiguous()


def expected_gradients(p: Problem, psi: Tensor, grad: Tensor, frames: Tensor, every: int) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in (psi, p.phases, p.e)]
    outputs = dense(p.but(phases=leaves[1], e=leaves[2]), leaves[0], every)
    found = torch.autograd.grad(outputs, leaves, (grad, frames), allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(found, leaves, strict=True)]


@pytest.mark.parametrize("backend", [AUTO, REFERENCE])
@pytest.mark.parametrize("program", [(0, -1, 0), (-1,), (0, -1, 1, -2, 1, -1, 0), (-1, -2, 1), (0, 1)])
@pytest.mark.parametrize("sizes", SMALL)
def test_gradients_of_dense_matrices(sizes: tuple[int, ...], program: tuple[int, ...], backend: int) -> None:
    orders, rules = itertools.cycle((2, 4, 6)), itertools.cycle(("cayley", "euler"))
    for batch, own in ((1, 1), (3, 1), (2, 2)):
        for real in (False, True):
            order, rule = next(orders), next(rules)
            walls = tuple(WALLS[torch.randint(2, ()).item()] for _ in sizes)
            p = make_problem(
                sizes, real=real, batch=own, stages=2, walls=walls, order=order, rule=rule, program=program
            )
            psi = random_state(batch, sizes, F64 if real else C128)
            grad, frames = torch.randn_like(psi), torch.randn(1, *psi.shape, dtype=psi.dtype)
            expected = expected_gradients(p, psi, grad, frames, 2)
            starts = [before_every_step(p, psi)]
            if rule == "cayley" and not real:
                starts.append(run(p, psi)[0])
            for states in starts:
                found = pull(p, states, grad, frames, save_every=2, backend=backend)
                for a, b in zip(found, expected, strict=True):
                    assert difference(a, b) < 1e-11 or float((a - b).abs().max()) < 1e-12


@pytest.mark.parametrize("sizes", LARGE)
@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64, torch.float64])
def test_large_fields_against_the_plain_kernel(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    for batch, own, order in ((1, 1, 4), (3, 1, 2), (2, 2, 6)):
        p = make_problem(sizes, real=not dtype.is_complex, batch=own, order=order, program=(0, -1, 1, -2, 0))
        p = p.but(rule="cayley" if dtype.is_complex else "euler", steps=2)
        psi, grad = random_state(batch, sizes, dtype), random_state(batch, sizes, dtype)
        starts = [before_every_step(p, psi), run(p, psi)[0]][: 2 if dtype.is_complex else 1]
        for states in starts:
            found = pull(p, states, grad)
            expected = pull(p, states, grad, backend=REFERENCE)
            for a, b in zip(found, expected, strict=True):
                assert difference(a, b) < (1e-11 if dtype != torch.complex64 else 2e-5)


def test_adjoint_of_the_linear_map() -> None:
    """<A x, y> = <x, A* y> to rounding, for either way to find the states."""
    for sizes, order in itertools.product(((60,), (33, 40), (7, 8, 20)), (2, 4, 6)):
        p = make_problem(sizes, order=order, steps=20)
        x, y = random_state(2, sizes), random_state(2, sizes)
        out = run(p, x)[0]
        for states in (out, before_every_step(p, x)):
            back = pull(p, states, y)[0]
            left, right = torch.vdot(y.flatten(), out.flatten()), torch.vdot(back.flatten(), x.flatten())
            assert abs(left - right) < 1e-13 * x.norm() * y.norm()


@pytest.mark.everywhere
def test_a_run_may_be_pulled_back_in_parts() -> None:
    p = make_problem((9, 21), steps=7)
    psi = random_state(2, (9, 21))
    states = before_every_step(p, psi)
    grad, frames = torch.randn_like(psi), torch.randn(3, *psi.shape, dtype=C128)
    whole = pull(p, states, grad, frames, save_every=2)
    sums: list[Any] = [0, 0]
    for first, last in ((5, 7), (2, 5), (0, 2)):
        part = frames[first // 2 : last // 2].contiguous()
        grad, *more = pull(
            p.but(steps=last - first), states[first:last], grad, part, save_every=2, first=first
        )
        sums = [a + b for a, b in zip(sums, more, strict=True)]
    for a, b in zip((grad, *sums), whole, strict=True):
        assert difference(a, b) < 1e-13


@pytest.mark.parametrize("e", [0.0, -1e-10j, -1 / 12, -1e-5 / 12 - 1 / 12])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_gradients_where_a_factor_is_the_identity(order: int, e: complex) -> None:
    for sizes in ((7,), (5, 6)):
        p = make_problem(sizes, order=order, rule="cayley")
        p = p.but(e=torch.full_like(p.e, e))
        psi = random_state(1, sizes)
        grad, frames = torch.randn_like(psi), torch.zeros(1, *psi.shape, dtype=C128)
        expected = expected_gradients(p, psi, grad, frames, 3)
        for a, b in zip(pull(p, before_every_step(p, psi), grad), expected, strict=True):
            assert difference(a, b) < 1e-9


def test_threads_do_not_change_a_bit() -> None:
    for sizes, batch, own in (((40,), 20, 1), ((150, 700), 1, 1), ((31, 33), 3, 1), ((8, 20, 33), 2, 2)):
        p = make_problem(sizes, batch=own, order=4)
        psi, grad = random_state(batch, sizes), random_state(batch, sizes)
        for states in (run(p, psi)[0], before_every_step(p, psi)):
            results = []
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                results.append(pull(p, states, grad))
            for other in results[1:]:
                assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.everywhere
def test_only_what_is_wanted() -> None:
    p = make_problem((6, 20))
    psi = random_state(2, (6, 20))
    out = run(p, psi)[0]
    whole = pull(p, out, psi)
    for phases, e in ((True, False), (False, True), (False, False)):
        outputs = [torch.empty_like(t) for t in whole]
        wanted = [outputs[0], outputs[1] if phases else None, outputs[2] if e else None]
        _device.kernels(psi).schrodinger_split_adjoint(
            out, psi, None, p.phases, p.e, *wanted, *p.settings, 1, 0, *p.codes, AUTO
        )
        for found, expected, asked in zip(outputs, whole, wanted, strict=True):
            assert asked is None or torch.equal(found, expected)


# --- refusals of the kernels themselves ---

P = make_problem((4, 6), batch=2)
PSI = torch.randn(2, 4, 6, dtype=C128)
EVOLVE = {
    "psi": PSI,
    "phases": P.phases,
    "e": P.e,
    "out": torch.empty_like(PSI),
    "frames": torch.empty(1, *PSI.shape, dtype=C128),
    "program": [0, -1],
    "boundary": [0, 1],
    "steps": 3,
    "save_every": 2,
    "rule": 0,
    "order": 2,
    "arithmetic": 0,
    "backend": 0,
}
ADJOINT = {
    "states": PSI,
    "grad_out": PSI.clone(),
    "grad_frames": torch.empty(1, *PSI.shape, dtype=C128),
    "phases": P.phases,
    "e": P.e,
    "grad_psi": torch.empty_like(PSI),
    "grad_phases": torch.empty_like(P.phases),
    "grad_e": torch.empty_like(P.e),
    **{k: EVOLVE[k] for k in ("program", "boundary", "steps", "save_every")},
    "first": 0,
    **{k: EVOLVE[k] for k in ("rule", "order", "arithmetic", "backend")},
}
SHARED: list[tuple[dict[str, Any], str]] = [
    ({"phases": P.phases.real.contiguous()}, "phases: expected dtype complex128, got float64"),
    ({"phases": P.phases[:, :, :3]}, "phases: expected"),
    ({"phases": P.phases[0]}, r"phases: expected shape \(Q, 1 or B, \*S\)"),
    ({"phases": P.phases[:, :1].expand(2, 3, 4, 6).contiguous()}, "phases: expected shape"),
    ({"phases": P.phases.mT}, "phases: expected"),
    ({"e": P.e.real.contiguous()}, "e: expected dtype complex128, got float64"),
    ({"e": P.e[:, :1].contiguous()}, r"e: expected shape \(A, 2, M\), got \(2, 1, 1\)"),
    ({"program": [2]}, "program: expected numbers from -2 to 1, got 2"),
    ({"program": [-3]}, "program: expected numbers from -2 to 1, got -3"),
    ({"boundary": [0]}, "boundary: expected 2 codes, one per space axis, got 1"),
    ({"boundary": [0, 2]}, "boundary: expected a code from 0 to 1, got 2"),
    ({"steps": -1}, "steps: expected an integer >= 0, got -1"),
    ({"save_every": 0}, "save_every: expected an integer >= 1"),
    ({"rule": 2}, "rule: expected a code from 0 to 1, got 2"),
    ({"order": 3}, "order: expected 2, 4 or 6, got 3"),
    ({"arithmetic": 2}, "arithmetic: expected a code from 0 to 1"),
    ({"arithmetic": 1}, "arithmetic: expected float64 for this dtype, got float32 for complex128"),
    ({"backend": 5}, "backend: expected a code from 0 to 1, got 5"),
]
FORWARD: list[tuple[dict[str, Any], str]] = [
    ({"psi": PSI[0]}, "phases: expected|e: expected"),
    ({"psi": PSI.real.bfloat16()}, "psi: expected float32, float64, complex64 or complex128"),
    ({"psi": PSI[0, 0]}, r"psi: expected shape \(B, \*S\) with 1 to 3 space axes"),
    ({"psi": PSI.mT}, "psi: expected a contiguous tensor"),
    ({"psi": PSI.real.contiguous()}, "phases: expected dtype float64"),
    ({"out": torch.empty_like(PSI)[:1]}, "out: expected shape"),
    ({"out": torch.empty(2, 4, 6, dtype=torch.complex64)}, "out: expected dtype complex128"),
    ({"out": PSI}, "out: expected memory of its own, got memory that overlaps psi"),
    ({"frames": torch.empty(2, *PSI.shape, dtype=C128)}, r"frames: expected shape \(1, 2, 4, 6\)"),
]
BACKWARD: list[tuple[dict[str, Any], str]] = [
    ({"states": PSI[:1]}, "states: expected shape|phases: expected shape"),
    ({"states": torch.zeros(2, 2, 4, 6, dtype=C128)}, r"states: expected shape \(3, 2, 4, 6\)"),
    ({"grad_out": PSI.to(torch.complex64)}, "grad_out: expected dtype complex128"),
    ({"grad_frames": torch.empty(2, *PSI.shape, dtype=C128)}, r"grad_frames: expected shape \(1, 2, 4, 6\)"),
    ({"grad_psi": torch.empty_like(PSI)[:1]}, "grad_psi: expected shape"),
    ({"grad_phases": torch.empty_like(P.phases)[:1]}, "grad_phases: expected shape"),
    ({"grad_e": torch.empty_like(P.e)[:1]}, "grad_e: expected shape"),
    ({"grad_e": P.e}, "grad_e: expected memory of its own"),
    ({"first": -1}, "first: expected an integer >= 0, got -1"),
    ({"rule": 1}, "states: expected the state before every step for rule euler"),
]


@pytest.mark.parametrize(("change", "words"), SHARED + FORWARD)
def test_evolve_refuses(change: dict[str, Any], words: str) -> None:
    _core.schrodinger_split_evolve(**EVOLVE)
    with pytest.raises(ValueError, match=words):
        _core.schrodinger_split_evolve(**{**EVOLVE, **change})


@pytest.mark.parametrize(("change", "words"), SHARED + BACKWARD)
def test_adjoint_refuses(change: dict[str, Any], words: str) -> None:
    _core.schrodinger_split_adjoint(**ADJOINT)
    with pytest.raises(ValueError, match=words):
        _core.schrodinger_split_adjoint(**{**ADJOINT, **change})


def test_a_real_state_wants_real_coefficients() -> None:
    p = make_problem((4, 5), real=True)
    with pytest.raises(ValueError, match="e: expected real numbers for a real state, got imaginary parts"):
        run(p.but(e=p.e * 1j), random_state(1, (4, 5), F64))
