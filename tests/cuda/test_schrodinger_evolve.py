"""The one-dimensional Crank-Nicolson kernels of a GPU against those of the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qcore._ops import _device
from schrodinger.kernel_cases import CAYLEY, DIRICHLET, EULER, F32, F64, PERIODIC, REFERENCE, Case, make_case

Tensors = tuple[Tensor, ...]


def evolve(psi: Tensor, potential: Tensor, case: Case, backend: int = 0) -> Tensors:
    out = torch.full_like(psi, torch.nan)
    frames = None
    if case.save_every:
        frames = psi.new_full((case.stages // case.save_every, *psi.shape), torch.nan)
    _device.kernels(psi).schrodinger_evolve(
        psi, potential, case.kappa, case.c, out, frames, case.steps, case.save_every, case.rule,
        case.order, case.boundary, case.arithmetic, backend,
    )  # fmt: skip
    return (out,) if frames is None else (out, frames)


def pull(
    states: Tensor, grad_out: Tensor, grad_frames: Tensor | None, potential: Tensor, case: Case
) -> Tensors:
    to_psi, to_potential = torch.full_like(grad_out, torch.nan), torch.full_like(potential, torch.nan)
    to_c = grad_out.new_full((len(case.c),), torch.nan, dtype=torch.complex128)
    _device.kernels(grad_out).schrodinger_adjoint(
        states, grad_out, grad_frames, potential, case.kappa, case.c, to_psi, to_potential, to_c, case.steps,
        case.save_every, case.rule, case.order, case.boundary, case.arithmetic, 0,
    )  # fmt: skip
    return to_psi, to_potential, to_c


def tensors(case: Case) -> Tensors:
    return torch.from_numpy(case.psi), torch.from_numpy(case.potential)


def tolerance(case: Case) -> float:
    if case.arithmetic == F32:
        return 1e-5
    return 1e-6 if case.psi.dtype in (np.float32, np.complex64) else 1e-12


def agree(got: Tensors, expected: Tensors, limit: float) -> None:
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert bool(torch.isfinite(torch.view_as_real(a) if a.is_complex() else a).all())
        if b.numel():
            assert float((a - b).abs().max()) <= limit * max(1.0, float(b.abs().max()))


def compare(device: Any, case: Case) -> None:
    expected = evolve(*tensors(case), case)
    agree(device.run(evolve, *tensors(case), case), expected, tolerance(case))


SETTINGS = [
    {"dtype": np.complex128},
    {"dtype": np.complex64, "rule": EULER},
    {"dtype": np.float64, "stages": 2},
    {"dtype": np.float32},
    {"stages": 3, "absorbing": True, "per_system": True},
    {"slices": True, "stages": 2, "steps": 5},
    {"slices": True, "per_system": True, "absorbing": True},
]


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("settings", SETTINGS)
def test_every_kind_of_run(order: int, boundary: int, settings: Any, device: Any) -> None:
    compare(device, make_case(5, 23, order=order, boundary=boundary, **settings))


@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_points(n: int, order: int, boundary: int, device: Any) -> None:
    compare(device, make_case(2, n, order=order, boundary=boundary, per_system=True))


@pytest.mark.parametrize("batch", [0, 1, 31, 32, 33, 129])
def test_batches(batch: int, device: Any) -> None:
    compare(device, make_case(batch, 7, steps=2))
    compare(device, make_case(batch, 7, steps=2, per_system=True))


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
@pytest.mark.parametrize("save_every", [0, 1, 2, 3])
def test_steps_and_frames(steps: int, save_every: int, device: Any) -> None:
    for changing in (False, True):
        case = make_case(3, 9, stages=2, steps=steps, slices=changing, save_every=save_every)
        if steps or not changing:
            compare(device, case)


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("n", [1, 2, 8, 9, 16, 17, 33, 64, 65, 128, 129])
@pytest.mark.parametrize("batch", [1, 3, 150])
def test_teams_that_share_a_warp(batch: int, n: int, boundary: int, order: int, device: Any) -> None:
    if batch == 150 and n > 17:
        batch = 19
    case = make_case(batch, n, steps=2, order=order, boundary=boundary, per_system=n % 2 == 0)
    compare(device, case)
    compare_pull(device, case, traced=True)
    compare_pull(device, case, traced=False)


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("n", [7, 8, 9, 10, 255, 256, 257, 258, 511, 512, 513, 514, 1100])
def test_points_in_registers(n: int, boundary: int, order: int, device: Any) -> None:
    """Systems that end with a lane, with a warp, and one or two points behind."""
    case = make_case(2, n, steps=2, order=order, boundary=boundary, per_system=n % 2 == 0)
    compare(device, case)
    compare(device, case.but(rule=EULER, potential=case.potential.repeat(2, axis=0) * [[[1.0]], [[0.5]]]))


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("per_system", [False, True])
@pytest.mark.parametrize("dtype", [np.complex128, np.complex64, np.float32])
def test_changing_potentials_in_several_launches(
    dtype: Any, per_system: bool, order: int, device: Any
) -> None:
    case = make_case(
        9, 300, dtype=dtype, stages=2, steps=7, slices=True, per_system=per_system, order=order, save_every=3
    )
    compare(device, case)
    if dtype == np.complex64:
        compare(device, case.but(arithmetic=F32))


@pytest.mark.parametrize("arithmetic", [F64, F32])
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_arithmetic(dtype: Any, arithmetic: int, device: Any) -> None:
    for n in (40, 530):
        compare(device, make_case(5, n, dtype=dtype, arithmetic=arithmetic, stages=2, save_every=3))


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("n", [8192, 8193, 8194, 16384, 16385, 17000])
def test_several_blocks_share_a_system(n: int, boundary: int, order: int, device: Any) -> None:
    """Systems that a block holds, that end with a block, and one or two points behind."""
    case = make_case(1, n, steps=2, order=order, boundary=boundary)
    compare(device, case)


@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("settings", SETTINGS)
def test_kinds_of_runs_by_several_blocks(boundary: int, settings: Any, device: Any) -> None:
    compare(device, make_case(2, 8200, boundary=boundary, **{**settings, "steps": 3}, save_every=2))


def test_arithmetic_by_several_blocks(device: Any) -> None:
    for dtype in (np.float32, np.complex64):
        compare(device, make_case(1, 8200, dtype=dtype, order=4, steps=2, arithmetic=F32))


def test_a_packet_across_blocks(device: Any) -> None:
    """Large steps of a smooth state: what a block hands on matters far into the next."""
    case = make_case(1, 17000, steps=3, kappa=5e3, boundary=PERIODIC)
    x = (np.arange(17000) - 8192) / 400
    case = case.but(psi=np.exp(-(x**2) + 2j * x)[None], potential=case.potential * 1e-3)
    compare(device, case)


def test_coefficients_that_do_not_fit_are_computed_in_parts(device: Any) -> None:
    compare(device, make_case(9, 300, stages=2, per_system=True, save_every=2, boundary=PERIODIC))


def test_deep_wells(device: Any) -> None:
    """Where a row of the factors is larger than 1: V = -2 kappa."""
    case = make_case(3, 700, steps=3, kappa=50.0).but(c=np.array([-0.5j]))
    case.potential[..., 100:400] = -100.0
    compare(device, case)


def test_factors_that_do_not_fit_are_computed_again(device: Any) -> None:
    compare(device, make_case(40, 33, order=6, stages=3, boundary=PERIODIC, per_system=True, steps=6))


def test_without_kinetic_energy(device: Any) -> None:
    for order in (2, 4):
        compare(device, make_case(3, 8, order=order, kappa=0.0))


def test_nan_stays_in_its_system(device: Any) -> None:
    case = make_case(3, 12)
    case.psi[1, 5] = np.nan
    (got,) = device.run(evolve, *tensors(case), case)
    assert bool(torch.isnan(got[1].real).all())
    assert bool(torch.isfinite(got[[0, 2]].real).all())


def test_the_reference_is_refused(device: Any) -> None:
    case = make_case(2, 5)
    with pytest.raises(NotImplementedError, match="the plain kernel 'reference' runs on the CPU alone"):
        device.run(evolve, *tensors(case), case, REFERENCE)


# --- the adjoint ---


def states_of(case: Case, traced: bool) -> Tensor:
    psi, potential = tensors(case)
    if traced:
        return evolve(psi, potential, case.but(save_every=0))[0]
    (_, frames) = evolve(psi, potential, case.but(save_every=1))
    return torch.cat((psi.unsqueeze(0), frames))


def compare_pull(device: Any, case: Case, traced: bool) -> None:
    psi, potential = tensors(case)
    grad_out = torch.randn_like(psi)
    grad_frames = (
        torch.randn((case.stages // case.save_every, *psi.shape), dtype=psi.dtype)
        if case.save_every
        else None
    )
    given = states_of(case, traced), grad_out, grad_frames, potential, case
    agree(device.run(pull, *given), pull(*given), 20 * tolerance(case))


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("settings", SETTINGS)
def test_gradients(order: int, boundary: int, settings: Any, device: Any) -> None:
    case = make_case(5, 14, order=order, boundary=boundary, **settings)
    compare_pull(device, case, traced=False)
    if case.rule == CAYLEY and np.iscomplexobj(case.psi):  # imaginary time can't be traced back far
        compare_pull(device, case, traced=True)


@pytest.mark.parametrize("save_every", [1, 2, 3])
@pytest.mark.parametrize("changing", [False, True])
def test_gradients_of_frames(save_every: int, changing: bool, device: Any) -> None:
    case = make_case(3, 9, stages=2, steps=4, slices=changing, save_every=save_every)
    compare_pull(device, case, traced=True)


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("n", [255, 256, 257, 258, 600])
def test_gradients_in_registers(n: int, boundary: int, order: int, device: Any) -> None:
    case = make_case(
        3, n, steps=2, stages=2, order=order, boundary=boundary, per_system=n % 2 == 0, save_every=2
    )
    compare_pull(device, case, traced=True)
    compare_pull(device, case, traced=False)


@pytest.mark.parametrize("per_system", [False, True])
@pytest.mark.parametrize("absorbing", [False, True])
def test_gradients_in_parts(absorbing: bool, per_system: bool, device: Any) -> None:
    for slices in (False, True):
        case = make_case(
            9, 300, steps=3, stages=2, slices=slices, per_system=per_system, absorbing=absorbing, save_every=1
        )
        compare_pull(device, case, traced=False)
        if not absorbing:
            compare_pull(device, case, traced=True)


@pytest.mark.parametrize("traced", [False, True])
def test_gradients_of_many_points(traced: bool, device: Any) -> None:
    """More than a team with 8 points a lane takes."""
    compare_pull(device, make_case(1, 2050, steps=1, order=4, boundary=PERIODIC), traced)


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("boundary", [DIRICHLET, PERIODIC])
@pytest.mark.parametrize("traced", [False, True])
def test_gradients_by_several_blocks(traced: bool, boundary: int, order: int, device: Any) -> None:
    compare_pull(device, make_case(2, 8194, steps=2, order=order, boundary=boundary, save_every=1), traced)


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradients_of_kinds_by_several_blocks(settings: Any, device: Any) -> None:
    case = make_case(2, 8200, boundary=PERIODIC, **{**settings, "steps": 3}, save_every=2)
    compare_pull(device, case, traced=False)
    if case.rule == CAYLEY and not np.iscomplexobj(case.potential) and np.iscomplexobj(case.psi):
        compare_pull(device, case, traced=True)


@pytest.mark.parametrize("batch", [0, 1, 33, 300])
def test_gradients_are_summed_over_systems(batch: int, device: Any) -> None:
    compare_pull(device, make_case(batch, 3, steps=2), traced=True)


@pytest.mark.parametrize("traced", [False, True])
def test_gradients_of_no_steps(traced: bool, device: Any) -> None:
    case = make_case(3, 4, steps=0)
    psi, potential = tensors(case)
    states = psi if traced else psi.unsqueeze(0)
    to_psi, to_potential, to_c = device.run(pull, states, psi, None, potential, case)
    assert torch.equal(to_psi, psi)
    assert not to_potential.any()
    assert not to_c.any()
