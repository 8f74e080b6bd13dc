"""The fused one-dimensional kernels against dense linear algebra, closed forms and the reference kernel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from .kernel_cases import (
    CAYLEY,
    DIRICHLET,
    EULER,
    F32,
    F64,
    PERIODIC,
    REFERENCE,
    Case,
    dense,
    distance,
    make_case,
    run,
)

DTYPES = [np.complex128, np.complex64, np.float64, np.float32]
ROUNDING = {np.complex128: 1e-12, np.float64: 1e-12, np.complex64: 2e-7, np.float32: 2e-7}
"""Twelve stages in float64 of matrices with a condition below about 100, and one rounding to the type."""


def check(case: Case, tolerance: float) -> None:
    expected, reference, found = dense(case), run(case, REFERENCE), run(case)
    for name, e, r, f in zip(("out", "frames"), expected, reference, found, strict=True):
        if e is None:
            continue
        assert f.dtype == case.psi.dtype
        assert distance(f, e) <= tolerance, f"{name} and dense solves"
        assert distance(f, r) <= tolerance, f"{name} and the reference"


@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("dtype", DTYPES)
def test_matches_dense_solves(dtype: type, order: int, boundary: int) -> None:
    sizes = itertools.cycle([1, 2, 3, 4, 5, 17, 64])
    batches = itertools.cycle([1, 3, 8, 33])
    kinds = itertools.product((1, 2, 3), (CAYLEY, EULER), (False, True), (False, True))
    for seed, (stages, rule, slices, per_system) in enumerate(kinds):
        case = make_case(
            next(batches),
            next(sizes),
            seed=seed,
            dtype=dtype,
            stages=stages,
            rule=rule,
            slices=slices,
            per_system=per_system,
            order=order,
            boundary=boundary,
            absorbing=seed % 3 == 0 and np.issubdtype(dtype, np.complexfloating),
            save_every=seed % 4,
        )
        check(case, ROUNDING[dtype])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 17, 64, 100])
@pytest.mark.parametrize("batch", [1, 3, 8, 33])
def test_matches_dense_solves_for_every_size(n: int, batch: int) -> None:
    for order, boundary in itertools.product((2, 4, 6), (DIRICHLET, PERIODIC)):
        check(make_case(batch, n, order=order, boundary=boundary, save_every=3), 1e-12)


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("dtype", [np.complex64, np.float32])
def test_float32_arithmetic(dtype: type, order: int) -> None:
    """Each of a few stages adds a few roundings, times the condition of its matrix."""
    for boundary, per_system in itertools.product((DIRICHLET, PERIODIC), (False, True)):
        case = make_case(
            33, 64, dtype=dtype, order=order, boundary=boundary, per_system=per_system, arithmetic=F32
        )
        expected = dense(case).out
        assert distance(run(case).out, expected) <= 2e-5
        assert distance(run(case.but(arithmetic=F64)).out, expected) <= 2e-7


def test_empty_batch_and_no_steps() -> None:
    for per_system in (False, True):
        empty = make_case(0, 5, per_system=per_system, save_every=2)
        assert run(empty).out.shape == (0, 5)
    still = make_case(3, 5, steps=0, save_every=1)
    found = run(still)
    np.testing.assert_array_equal(found.out, still.psi)
    assert found.frames is not None
    assert found.frames.shape == (0, 3, 5)


# --- closed forms ---------------------------------------------------------------------------------


def eigenvalue(x: np.ndarray, order: int) -> np.ndarray:
    return {2: x, 4: x / (1 - x / 12), 6: x * (1 - x / 20) / (1 - 2 * x / 15)}[order]


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("strength", [1e-3, 0.5, 30.0, 1e5])
def test_free_sine_modes_turn_by_the_cayley_phase(strength: float, order: int) -> None:
    """Modes sin(k pi j / (n + 1)) of V = const, over a thousand steps and tau kappa from 1e-3 to 1e5."""
    n, steps, v = 100, 1000, 0.3
    k = np.arange(1, n + 1)
    modes = np.sin(np.outer(k, k) * np.pi / (n + 1)) * np.sqrt(2 / (n + 1))
    energy = strength * eigenvalue(2 - 2 * np.cos(k * np.pi / (n + 1)), order) + v
    psi = np.random.default_rng(1).normal(size=(3, n)) + 0j
    case = Case(psi, np.full((1, 1, n), v), np.array([-1j]), steps, strength, order=order)
    expected = psi @ modes * np.exp(-2j * steps * np.arctan(energy)) @ modes
    # The phase itself has a rounding error of `steps` times that of the energy's arc tangent.
    assert distance(run(case).out, expected) <= 1e-11 * max(1, strength / 1e3)


@pytest.mark.parametrize("order", [2, 4, 6])
def test_free_plane_waves_turn_by_the_cayley_phase(order: int) -> None:
    n, steps, strength = 64, 500, 0.7
    k = 2 * np.pi * np.arange(n) / n
    energy = strength * eigenvalue(2 - 2 * np.cos(k), order)
    psi = np.random.default_rng(1).normal(size=(9, n)) + 0j
    case = Case(psi, np.zeros((1, 1, n)), np.array([-0.8j]), steps, strength, order=order, boundary=PERIODIC)
    expected = np.fft.ifft(np.fft.fft(psi) * np.exp(-2j * steps * np.arctan(0.8 * energy)))
    assert distance(run(case).out, expected) <= 1e-11


# --- hard cases -----------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("strength", [1.0, 1e3, 1e5])
def test_norm_is_kept_however_large_the_step(strength: float, order: int, boundary: int) -> None:
    """Also for wells as deep as the grid can hold, V = -2 kappa, where pivots grow the most."""
    rng = np.random.default_rng(2)
    psi = rng.normal(size=(5, 101)) + 1j * rng.normal(size=(5, 101))
    for v in (-2.0, 0.0, rng.normal(size=101)):
        potential = np.broadcast_to(strength * v, (1, 1, 101)).copy()
        case = Case(psi, potential, np.array([-1j]), 200, strength, order=order, boundary=boundary)
        drift = np.linalg.norm(run(case).out, axis=1) / np.linalg.norm(psi, axis=1) - 1
        assert np.abs(drift).max() <= 1e-15 * 200 * max(1, strength**0.5)


def test_back_and_forth() -> None:
    case = make_case(9, 200, stages=1, steps=500, order=4)
    there = run(case).out
    assert distance(run(case.but(psi=there, c=-case.c)).out, case.psi) <= 1e-11


def test_row_whose_scaled_off_diagonal_vanishes() -> None:
    """Compact order 4 in imaginary time: m (1 - cV) + c kappa = 0 somewhere, which only looks singular."""
    case = make_case(5, 30, dtype=np.float64, order=4)
    case.potential[0, 0, 7] = 12 * case.kappa + 1 / case.c[0].real
    case.potential[0, 0, 8] = case.potential[0, 0, 7] * (1 + 1e-15)
    check(case, 1e-12)


def test_nan_stays_in_its_system() -> None:
    case = make_case(9, 40, per_system=True)
    psi = case.psi.copy()
    psi[3, 5] = np.nan
    found, clean = run(case.but(psi=psi)).out, run(case).out
    assert np.isnan(found[3]).all()
    np.testing.assert_array_equal(np.delete(found, 3, 0), np.delete(clean, 3, 0))
