"""The same bits for every number of threads and batch; the same numbers from every instruction set."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from processes import with_isa
from qcore import _core

from .kernel_cases import (
    DIRICHLET,
    EULER,
    F32,
    PERIODIC,
    Case,
    Gradients,
    dense,
    distance,
    make_case,
    pull,
    run,
)


def suite() -> list[Case]:
    """Every kernel once or more, with remainders for any vector width."""
    cases = []
    orders = itertools.product((2, 4, 6), (DIRICHLET, PERIODIC), (False, True), (False, True))
    dtypes = itertools.cycle([np.complex128, np.float64, np.complex64, np.float32, np.complex128])
    for seed, (order, boundary, slices, per_system) in enumerate(orders):
        dtype = next(dtypes)
        cases.append(
            make_case(
                37,
                61,
                seed=seed,
                dtype=dtype,
                stages=1 + seed % 3,
                order=order,
                boundary=boundary,
                slices=slices,
                per_system=per_system,
                rule=EULER if seed % 5 == 4 else 0,
                absorbing=seed % 7 == 3 and np.issubdtype(dtype, np.complexfloating),
                save_every=seed % 3,
            )
        )
        if dtype in (np.complex64, np.float32):
            cases.append(cases[-1].but(arithmetic=F32))
    return cases


def everything(case: Case) -> list[np.ndarray]:
    """Results and gradients; tracing back where the rule can."""
    out, frames = run(case)
    grad_out = np.roll(case.psi, 3, axis=1)
    arrays = [out] if frames is None else [out, frames]
    if case.rule == EULER:
        stored = run(case.but(save_every=1)).frames
        assert stored is not None
        return [*arrays, *pull(case, np.concatenate([case.psi[None], stored]), grad_out, frames)]
    return [*arrays, *pull(case, out, grad_out, frames)]


@pytest.mark.parametrize("threads", [2, 3])
def test_bits_do_not_depend_on_the_threads(threads: int) -> None:
    cases = [*suite(), make_case(300, 200, steps=20), make_case(300, 200, steps=20, per_system=True)]
    for case in cases:
        torch.set_num_threads(1)
        one = everything(case)
        torch.set_num_threads(threads)
        for a, b in zip(one, everything(case), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_system_does_not_depend_on_its_batch() -> None:
    for case in suite():
        whole = everything(case)
        for which in (slice(0, 1), slice(3, 20), slice(36, 37), slice(1, 25)):
            part = everything(case.systems(which))
            for i, (w, p) in enumerate(zip(whole, part, strict=True)):
                # The last two are the gradients of the potential and of c, which may be sums over the batch.
                if i < len(whole) - 2:
                    np.testing.assert_array_equal(w[..., which, :], p)
                elif i == len(whole) - 2 and case.potential.shape[1] > 1:
                    np.testing.assert_array_equal(w[:, which], p)


def test_a_shared_potential_gives_the_bits_of_copies_of_it() -> None:
    for case in suite():
        if case.potential.shape[1] > 1:
            continue
        copies = case.but(potential=np.repeat(case.potential, len(case.psi), axis=1))
        np.testing.assert_array_equal(run(case).out, run(copies).out)


def isa_results() -> list[list[np.ndarray]]:
    """What comes out of the suite in this process."""
    return [everything(case) for case in suite()]


@pytest.mark.parametrize("isa", _core.isa_available())
def test_every_instruction_set_agrees(isa: str) -> None:
    found = with_isa(isa, isa_results)
    for case, arrays in zip(suite(), found, strict=True):
        narrow = case.arithmetic == F32
        single = case.psi.dtype in (np.complex64, np.float32)
        assert distance(arrays[0], dense(case).out) <= (5e-5 if narrow else 2e-7 if single else 1e-12)
        here = everything(case)
        for name, a, b in zip(("out", "frames")[: len(arrays) - 3], arrays[:-3], here[:-3], strict=True):
            assert distance(a, b) <= (5e-5 if narrow else 2e-7 if single else 1e-12), name
        if case.rule != EULER and case.psi.dtype in (np.float32, np.float64):
            continue  # tracing back imaginary time multiplies the differences of the results
        for name, a, b in zip(Gradients._fields, arrays[-3:], here[-3:], strict=True):
            assert distance(a, b) <= (1e-3 if narrow else 1e-5 if single else 1e-10), name
