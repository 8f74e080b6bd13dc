"""Long systems, which the fused kernel cuts into windows that overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from .kernel_cases import EULER, F32, PERIODIC, REFERENCE, Case, distance, make_case, pull, run

LONG = 16384
"""Points from which on a system may be cut."""


def long_case(batch: int, n: int = LONG, **rest: Any) -> Case:
    return make_case(batch, n, steps=rest.pop("steps", 12), **rest)


@pytest.mark.parametrize("kappa", [0.1, 1.7, 30.0, 300.0, 1e4])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_matches_the_reference(order: int, kappa: float) -> None:
    """From weakly coupled points to ones that no window could hold, for which there is another way."""
    case = long_case(1, order=order, kappa=kappa, save_every=5)
    tolerance = 1e-13 * max(
        1, kappa**0.5 / 10
    )  # elimination loses some digits where points are coupled strongly
    for expected, found in zip(run(case, REFERENCE), run(case), strict=True):
        assert expected is not None
        assert found is not None
        assert distance(found, expected) <= tolerance


@pytest.mark.parametrize("dtype", [np.complex64, np.float64, np.float32])
def test_other_types_and_rules(dtype: type) -> None:
    for rule, stages in ((0, 2), (EULER, 3)):
        case = long_case(3, LONG + 77, dtype=dtype, stages=stages, rule=rule, per_system=True, save_every=7)
        expected, found = run(case, REFERENCE), run(case)
        tolerance = 1e-13 if dtype is np.float64 else 1.2e-7
        for e, f in zip(expected, found, strict=True):
            assert e is not None
            assert f is not None
            assert distance(f, e) <= tolerance
        if dtype is not np.float64:
            assert distance(run(case.but(arithmetic=F32)).out, expected.out) <= 1e-5


def test_a_jump_of_the_potential_and_both_walls() -> None:
    case = long_case(1, kappa=2.0, absorbing=True)
    case.potential[:, :, 5000:] += 40
    case.psi[:, 300:16000] = 0
    assert distance(run(case).out, run(case, REFERENCE).out) <= 1e-13


def test_deep_wells_and_rings_are_not_cut() -> None:
    well = long_case(1)
    well.potential[:] = -2 * well.kappa
    for case in (well, long_case(1, boundary=PERIODIC), long_case(1, slices=True)):
        assert distance(run(case).out, run(case, REFERENCE).out) <= 1e-12


def test_bits_do_not_depend_on_threads_or_batch() -> None:
    for case in (long_case(3), long_case(3, per_system=True, save_every=5)):
        if case.potential.shape[1] > 1:
            case.potential[0, 1] = -2 * case.kappa  # this one is not cut, the others are
        torch.set_num_threads(1)
        one = run(case)
        torch.set_num_threads(2)
        two = run(case)
        np.testing.assert_array_equal(one.out, two.out)
        for b in range(3):
            alone = run(case.systems(slice(b, b + 1)))
            np.testing.assert_array_equal(alone.out[0], one.out[b])
            if one.frames is not None and alone.frames is not None:
                np.testing.assert_array_equal(alone.frames[:, 0], one.frames[:, b])


def test_adjoint() -> None:
    case = long_case(1, steps=5)
    out = run(case).out
    mu = np.roll(case.psi, 5, axis=1)
    back = pull(case, out, mu)
    assert abs(np.vdot(mu, out) - np.vdot(back.psi, case.psi)) <= 1e-12 * np.vdot(out, out).real
    for found, expected in zip(back, pull(case, out, mu, backend=REFERENCE), strict=True):
        assert distance(found, expected) <= 1e-11
