"""The fused adjoint against autograd through dense solves, dot products and the reference kernel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from .kernel_cases import (
    CAYLEY,
    DIRICHLET,
    EULER,
    PERIODIC,
    REFERENCE,
    Case,
    Gradients,
    dense_trajectory,
    distance,
    make_case,
    pull,
    run,
)


def trajectory(case: Case) -> np.ndarray:
    """psi and the state after every stage."""
    frames = run(case.but(save_every=1), REFERENCE).frames
    assert frames is not None
    return np.concatenate([case.psi[None], frames])


def cotangents(case: Case) -> tuple[np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(7)

    def draw(*shape: int) -> np.ndarray:
        imaginary = 1j * rng.normal(size=shape) if np.iscomplexobj(case.psi) else 0
        return (rng.normal(size=shape) + imaginary).astype(case.psi.dtype)

    every = case.save_every
    return draw(*case.psi.shape), draw(case.stages // every, *case.psi.shape) if every else None


def dense_gradients(case: Case, grad_out: np.ndarray, grad_frames: np.ndarray | None) -> Gradients:
    wide = torch.complex128
    psi = torch.from_numpy(case.psi).to(wide).requires_grad_()
    potential = torch.from_numpy(case.potential).requires_grad_()
    c = torch.from_numpy(case.c).requires_grad_()
    states = dense_trajectory(case, psi, potential, c)
    loss = (torch.from_numpy(grad_out).to(wide).conj() * states[-1]).sum().real
    for i in range(0 if grad_frames is None else len(grad_frames)):
        frame = torch.from_numpy(grad_frames[i]).to(wide)
        loss = loss + (frame.conj() * states[(i + 1) * case.save_every]).sum().real
    loss.backward()
    grads = [t.grad.numpy() for t in (psi, potential, c)]
    if not np.iscomplexobj(case.psi):  # of a real function
        grads[0] = grads[0].real
    return Gradients(*grads)


def check(case: Case, tolerance: float = 1e-11) -> None:
    grad_out, grad_frames = cotangents(case)
    states = trajectory(case)
    expected = dense_gradients(case, grad_out, grad_frames)
    # Tracing back imaginary time multiplies errors by what the run damped: only over small steps.
    traceable = case.rule == CAYLEY and (np.iscomplexobj(case.psi) or np.abs(case.c).max() < 0.05)
    ways = [states, states[-1].copy()] if traceable else [states]
    for states_given in ways:
        found = pull(case, states_given, grad_out, grad_frames)
        reference = pull(case, states_given, grad_out, grad_frames, REFERENCE)
        for name, e, r, f in zip(Gradients._fields, expected, reference, found, strict=True):
            if name == "c" and not np.iscomplexobj(case.psi):
                e, r, f = e.real, r.real, f.real
            single = case.psi.dtype in (np.complex64, np.float32)
            # States come rounded to their type, and what is lost grows on the way back through an absorber.
            assert distance(f, e) <= (3e-5 if single else tolerance), f"{name}, {states_given.ndim} axes"
            assert distance(f, r) <= (2e-7 if single else tolerance), f"{name} and the reference"


@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("dtype", [np.complex128, np.complex64, np.float64, np.float32])
def test_matches_autograd_through_dense_solves(dtype: type, order: int, boundary: int) -> None:
    sizes = itertools.cycle([1, 2, 3, 4, 5, 17, 40])
    batches = itertools.cycle([1, 3, 9, 33])
    kinds = itertools.product((1, 2, 3), (CAYLEY, EULER), (False, True), (False, True))
    for seed, (stages, rule, slices, per_system) in enumerate(kinds):
        check(
            make_case(
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
                steps=3,
                kappa=0.9,
            )
        )


@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_tracing_back_imaginary_time_over_small_steps(order: int, boundary: int) -> None:
    for stages, slices, per_system in itertools.product((1, 2), (False, True), (False, True)):
        case = make_case(
            9,
            17,
            dtype=np.float64,
            stages=stages,
            order=order,
            boundary=boundary,
            slices=slices,
            per_system=per_system,
            save_every=3,
        )
        check(case.but(c=0.1 * case.c))


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
def test_dot_products(boundary: int, order: int) -> None:
    """<mu, U psi> = <U^+ mu, psi> for the linear map from psi to the result."""
    for strength, per_system in itertools.product((0.5, 300.0), (False, True)):
        case = make_case(
            19, 100, steps=50, order=order, boundary=boundary, kappa=strength, per_system=per_system
        )
        out = run(case).out
        mu, _ = cotangents(case)
        back = pull(case, out, mu).psi
        ahead, behind = np.vdot(mu, out), np.vdot(back, case.psi)
        assert abs(ahead - behind) <= 1e-12 * np.linalg.norm(mu) * np.linalg.norm(out)


def test_tracing_back_is_as_good_as_stored_states() -> None:
    case = make_case(9, 128, steps=400, save_every=7)
    grad_out, grad_frames = cotangents(case)
    states = trajectory(case)
    stored = pull(case, states, grad_out, grad_frames)
    traced = pull(case, states[-1].copy(), grad_out, grad_frames)
    for s, t in zip(stored, traced, strict=True):
        assert distance(t, s) <= 1e-11


def test_empty_batch_and_no_steps() -> None:
    for case in (make_case(0, 5), make_case(3, 5, steps=0)):
        grad_out, _ = cotangents(case)
        found = pull(case, case.psi, grad_out)
        np.testing.assert_array_equal(found.psi, grad_out)
        assert not found.potential.any()
        assert not found.c.any()


def test_other_systems_of_a_shared_potential_count_once() -> None:
    """Lanes that no system fills must not add to what is summed over the batch."""
    case = make_case(3, 30)
    grad_out, _ = cotangents(case)
    states = trajectory(case)
    found = pull(case, states, grad_out)
    alone = [
        pull(case.systems(slice(b, b + 1)), states[:, b : b + 1].copy(), grad_out[b : b + 1].copy())
        for b in range(3)
    ]
    assert distance(found.potential, sum(a.potential for a in alone)) <= 1e-13
    assert distance(found.c, sum(a.c for a in alone)) <= 1e-13
