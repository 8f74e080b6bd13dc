"""The split-step kernels: exact modes, dense matrices, the plain kernel; any threads, batch, processor."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from processes import with_isa
from qcore import _core

from .split_problems import (
    AUTO,
    C128,
    F64,
    REFERENCE,
    Problem,
    dense,
    difference,
    free,
    make_problem,
    random_state,
    run,
)

WALLS = ("dirichlet", "periodic")
DTYPES = (torch.complex128, torch.complex64, torch.float64, torch.float32)
ROUNDING = {torch.complex128: 1e-12, torch.float64: 1e-12, torch.complex64: 1e-5, torch.float32: 1e-5}
SMALL = [(1,), (2,), (3,), (37,), (1, 1), (2, 1), (1, 2), (3, 4), (9, 33), (1, 2, 1), (2, 3, 4), (6, 7, 19)]
# Several blocks of rows, strips of columns and tiles of lines, with remainders of each.
LARGE = [(40, 1100), (130, 301), (700, 67), (9, 40, 130), (70, 3, 170), (1500,)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small problems gain nothing from more, and a busy machine makes them wait for each other."""
    torch.set_num_threads(1)


def wall_choices(axes: int) -> list[tuple[str, ...]]:
    return list(itertools.product(WALLS, repeat=axes))


@pytest.mark.parametrize("backend", [AUTO, REFERENCE])
@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("sizes", [(50,), (24, 31), (9, 12, 10)])
def test_free_motion_is_exact_mode_by_mode(sizes: tuple[int, ...], order: int, backend: int) -> None:
    """Whatever the time step: every mode has its phase, after 200 steps."""
    strengths = itertools.cycle((0.5, 30.0, 1e-4))
    for walls in wall_choices(len(sizes)):
        p = make_problem(sizes, walls=walls, order=order, strength=next(strengths), program=(-1, -2))
        p = p.but(steps=100 if backend == AUTO else 10)
        psi = random_state(2, sizes)
        assert difference(run(p, psi, backend=backend)[0], free(p, psi)) < 1e-12


@pytest.mark.everywhere
@pytest.mark.parametrize("rule", ["cayley", "euler"])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_free_diffusion_is_exact_mode_by_mode(order: int, rule: str) -> None:
    """Imaginary time with real states, steps small and large."""
    for sizes in ((33,), (12, 17), (5, 6, 8)):
        for walls in (WALLS, WALLS[::-1]):
            for strength in (1e-3, 0.2, 5.0):
                walls = (*walls, WALLS[0])[: len(sizes)]
                p = make_problem(sizes, real=True, walls=walls, order=order, strength=strength, rule=rule)
                p = p.but(program=(-1,), steps=6)
                psi = random_state(1, sizes, F64)
                assert difference(run(p, psi)[0], free(p, psi)) < 1e-12


@pytest.mark.parametrize("backend", [AUTO, REFERENCE])
@pytest.mark.parametrize("program", [(0, -1, 0), (-1,), (0, -1, 1, -2, 1, -1, 0), (-1, -2, 1), (0, 1), ()])
@pytest.mark.parametrize("sizes", SMALL)
def test_against_dense_matrices(sizes: tuple[int, ...], program: tuple[int, ...], backend: int) -> None:
    orders, rules = itertools.cycle((2, 4, 6)), itertools.cycle(("cayley", "euler"))
    for batch, own in ((1, 1), (3, 1), (3, 3)):
        for real in (False, True):
            walls = tuple(WALLS[torch.randint(2, ()).item()] for _ in sizes)
            order, rule = next(orders), next(rules) if real else "cayley"
            p = make_problem(
                sizes, real=real, batch=own, stages=2, walls=walls, order=order, rule=rule, program=program
            )
            psi = random_state(batch, sizes, F64 if real else C128)
            found, expected = run(p, psi, save_every=2, backend=backend), dense(p, psi, 2)
            assert difference(found[0], expected[0]) < 1e-12
            assert difference(found[1], expected[1]) < 1e-12


@pytest.mark.parametrize("sizes", LARGE)
def test_large_fields_against_the_plain_kernel(sizes: tuple[int, ...]) -> None:
    orders = itertools.cycle((4, 2, 6))
    for dtype, batch in zip(DTYPES, (1, 2, 1, 3), strict=True):
        p = make_problem(
            sizes, real=not dtype.is_complex, batch=batch, order=next(orders), program=(0, -1, 1, -2, 0)
        )
        psi = random_state(batch, sizes, dtype)
        found, expected = run(p, psi, save_every=2), run(p, psi, save_every=2, backend=REFERENCE)
        for a, b in zip(found, expected, strict=True):
            assert difference(a, b) < ROUNDING[dtype]
        if dtype in (torch.complex64, torch.float32):
            fast = run(p.but(fast=True), psi, save_every=2)
            assert 0 < difference(fast[0], found[0]) < 1e-4
            assert difference(fast[1], found[1]) < 1e-4


def test_every_order_of_large_fields_with_many_stages() -> None:
    for order, rule in itertools.product((2, 4, 6), ("cayley", "euler")):
        for sizes in ((60, 530), (12, 20, 40)):
            p = make_problem(
                sizes, stages=3, order=order, rule=rule, walls=("periodic",) * len(sizes), steps=2
            )
            psi = random_state(1, sizes)
            assert difference(run(p, psi)[0], run(p, psi, backend=REFERENCE)[0]) < 1e-12


# --- what a step has to keep ---


def test_unitary_steps_keep_the_norm_and_can_be_undone() -> None:
    for order, sizes in itertools.product((2, 4, 6), ((70,), (40, 35), (8, 9, 10))):
        p = make_problem(sizes, order=order, program=(0, -1, 1), steps=200)
        psi = random_state(1, sizes)
        there = run(p, psi)[0]
        assert abs(there.norm() / psi.norm() - 1) < 1e-12
        assert difference(there, psi) > 0.1
        back = p.but(phases=p.phases.conj().resolve_conj(), e=-p.e, program=(1, -1, 0))
        assert difference(run(back, there)[0], psi) < 1e-11


def test_complex64_in_float64_arithmetic_drifts_like_its_rounding() -> None:
    p = make_problem((33, 40), steps=2000)
    psi = random_state(1, (33, 40))
    exact = run(p, psi)[0]
    mixed, fast = (run(p.but(fast=f), psi.to(torch.complex64))[0] for f in (False, True))
    assert difference(mixed, exact) < 3e-5
    assert difference(fast, exact) < 3e-3
    assert abs(mixed.to(C128).norm() / psi.norm() - 1) < 2e-6


@pytest.mark.everywhere
def test_frames_are_the_states_on_the_way() -> None:
    p = make_problem((20, 33), steps=7)
    psi = random_state(2, (20, 33))
    out, frames = run(p, psi, save_every=3)
    assert frames.shape == (2, 2, 20, 33)
    for k, frame in zip((3, 6), frames, strict=True):
        assert difference(frame, run(p.but(steps=k), psi)[0]) < 1e-14
    assert difference(out, run(p, psi)[0]) < 1e-14
    assert run(p, psi, save_every=8)[1].shape == (0, 2, 20, 33)


# --- traps ---


@pytest.mark.everywhere
@pytest.mark.parametrize("off", [0.0, 1e-14, 1e-9, 1e-5, 1e-3, -1e-3, -1e-7])
def test_order_four_where_its_tridiagonal_system_is_the_identity(off: float) -> None:
    """1 - (1/12 + e) l at e = -1/12: a real step that users do reach."""
    p = make_problem((14, 9), real=True, order=4, walls=("dirichlet", "periodic"), program=(-1,))
    p = p.but(e=torch.full_like(p.e, -1 / 12 + off))
    psi = random_state(1, (14, 9), F64)
    assert difference(run(p, psi)[0], free(p, psi)) < 1e-11
    single = run(p.but(fast=True), psi.float())[0]
    assert difference(single, free(p, psi)) < 1e-5


@pytest.mark.everywhere
@pytest.mark.parametrize("order", [2, 4, 6])
def test_steps_of_no_and_of_extreme_length(order: int) -> None:
    for e in (0.0, -1e-200j, -1e-12j, -1e6j):
        p = make_problem((12, 11), order=order, program=(-1,))
        p = p.but(e=torch.full_like(p.e, e))
        psi = random_state(1, (12, 11))
        assert difference(run(p, psi)[0], free(p, psi)) < (1e-9 if e == -1e6j else 1e-13)


@pytest.mark.everywhere
def test_nothing_to_do() -> None:
    p = make_problem((5, 6), steps=0)
    psi = random_state(2, (5, 6))
    assert torch.equal(run(p, psi)[0], psi)
    assert torch.equal(run(p.but(program=(), steps=4), psi)[0], psi)
    assert run(p, psi[:0])[0].shape == (0, 5, 6)


@pytest.mark.everywhere
def test_nan_stays_in_its_field() -> None:
    p = make_problem((6, 20))
    psi = random_state(3, (6, 20))
    clean = run(p, psi)[0]
    psi[1, 2, 3] = torch.nan
    found = run(p, psi)[0]
    assert found[1].isnan().all()
    assert torch.equal(found[0], clean[0])
    assert torch.equal(found[2], clean[2])


# --- bitwise the same ---


def many() -> list[tuple[Problem, torch.Tensor]]:
    cases = []
    dtypes = itertools.cycle(DTYPES)
    for sizes in ((45,), (33, 290), (70, 19), (6, 21, 34)):
        for order in (2, 4, 6):
            dtype = next(dtypes)
            batch = 2 if len(cases) % 2 else 1
            p = make_problem(
                sizes, real=not dtype.is_complex, batch=batch, order=order, program=(0, -1, 1, -2, 0)
            )
            fast = dtype in (torch.complex64, torch.float32) and order == 4
            cases.append((p.but(fast=fast), random_state(batch, sizes, dtype)))
        next(dtypes)
    return cases


def test_threads_do_not_change_a_bit() -> None:
    for p, psi in many():
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(p, psi, save_every=2))
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_the_rest_of_the_batch_does_not_change_a_bit() -> None:
    for sizes in ((50,), (31, 40), (5, 9, 20)):
        shared, own = make_problem(sizes), make_problem(sizes, batch=21)
        psi = random_state(21, sizes)
        together, apart = run(shared, psi)[0], run(own, psi)[0]
        for rows in (slice(0, 1), slice(3, 5), slice(20, 21)):
            assert torch.equal(run(shared, psi[rows])[0], together[rows])
            alone = own.but(phases=own.phases[:, rows].contiguous())
            assert torch.equal(run(alone, psi[rows])[0], apart[rows])


def isa_results() -> list[Any]:
    """What comes out of the cases in this process."""
    torch.manual_seed(0)
    return [tuple(run(p, psi, save_every=2)) for p, psi in many()]


@pytest.mark.parametrize("isa", _core.isa_available())
def test_every_instruction_set_gives_what_the_plain_kernel_gives(isa: str) -> None:
    found = with_isa(isa, isa_results)
    torch.manual_seed(0)
    for (p, psi), results in zip(many(), found, strict=True):
        tolerance = 1e-4 if p.fast else ROUNDING[psi.dtype]
        for a, b in zip(results, run(p, psi, save_every=2, backend=REFERENCE), strict=True):
            assert difference(a, b) < tolerance
