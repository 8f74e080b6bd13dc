"""Cayley steps on a GPU give what the plain kernel of the CPU gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from qcore._ops import schrodinger_cayley as ops
from qcore.schrodinger import cayley
from schrodinger.cayley_oracle import TYPES, draw, wide

CLOSE = {torch.complex128: 1e-12, torch.float64: 1e-12, torch.complex64: 2e-6, torch.float32: 2e-6}
# Systems, points, and which of bands, mass and z each system has of its own.
SHAPES = [
    (1, 1, ""),
    (33, 2, "bands"),
    (5, 37, ""),
    (65, 9, "z"),
    (31, 6, "mass"),
    (40, 33, "bands, mass, z"),
    (2, 70, "bands, z"),
]


def inputs(dtype: torch.dtype, batch: int, n: int, own: str, mass: bool) -> tuple[Any, ...]:
    kind = wide(dtype)
    sets = {name: batch if name in own else 1 for name in ("bands", "mass", "z")}
    bands = draw(2, 3, sets["bands"], n, dtype=kind)
    bands[0, :, 0] = bands[2, :, -1] = torch.nan  # not read
    m = 0.1 * draw(3, 3, sets["mass"], n, dtype=kind)
    m[1] += 1
    z = 0.1 * draw(4, sets["z"], dtype=kind)
    return draw(1, batch, n, dtype=dtype), bands, m if mass else None, z


def close(found: Any, expected: Any, dtype: torch.dtype) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(
        a.shape == b.shape and (not a.numel() or (a - b).abs().max() <= CLOSE[dtype] * b.abs().max())
        for a, b in pairs
    )


def compare(batch: int, n: int, own: str, mass: bool, dtype: torch.dtype, device: Any) -> None:
    """With frames, and states traced back (0), from checkpoints (2), or all at once (7)."""
    given = inputs(dtype, batch, n, own, mass)
    for every in (0, 2, 7):
        settings = 5, 2, every
        expected = ops.saved(*given, *settings, "reference")
        found = device.run(ops.saved, *given, *settings, "auto")
        assert close(found, expected, dtype)
        out, frames, kept = expected
        grads = torch.randn_like(out), torch.randn_like(frames) if every else None
        back = *grads, given[0], kept, *given[1:], *settings
        for wanted in (True, False):
            pulled = ops.adjoint(*back, "reference", wanted)
            assert close(device.run(ops.adjoint, *back, "auto", wanted), pulled, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("batch", "n", "own"), SHAPES)
def test_steps_and_gradients(batch: int, n: int, own: str, dtype: torch.dtype, device: Any) -> None:
    for mass in ("mass" in own, True):
        compare(batch, n, own, mass, dtype, device)


@pytest.mark.parametrize(("batch", "own"), [(2, ""), (3, "bands, mass, z")])
@pytest.mark.parametrize("n", [8, 9, 256, 257, 513, 2049])
def test_points_in_registers(n: int, batch: int, own: str, device: Any) -> None:
    """Systems that end with a lane, with a warp, and a point behind; more than few points a lane."""
    compare(batch, n, own, "mass" in own, torch.complex128, device)


@pytest.mark.parametrize("own", ["", "bands, mass"])
@pytest.mark.parametrize("n", [8192, 8193, 16385])
def test_several_blocks_share_a_system(n: int, own: str, device: Any) -> None:
    compare(2, n, own, "mass" in own, torch.complex64 if own else torch.float64, device)


def test_no_steps_and_no_systems(device: Any) -> None:
    given = inputs(torch.complex64, 4, 6, "", True)
    out, frames, kept = device.run(ops.saved, *given, 0, 3, 0, "auto")
    assert torch.equal(out, given[0])
    assert frames.shape == (0, 4, 6)
    assert torch.equal(kept[0], given[0].to(torch.complex128))
    grads = device.run(ops.adjoint, out, None, given[0], kept, *given[1:], 0, 0, 0, "auto", True)
    assert torch.equal(grads[0], out)
    assert not any(g.any() for g in grads[1:])
    empty = given[0][:0]
    assert device.run(ops.forward, empty, *given[1:], 4, 2, "auto")[1].shape == (2, 0, 6)


def test_a_pivot_that_is_lost_makes_its_system_nan(device: Any) -> None:
    psi, bands, mass, z = inputs(torch.float64, 3, 5, "bands", False)
    bands[:] = 0.0
    bands[1, 1, 2] = 1.0
    out, _ = device.run(ops.forward, psi, bands, mass, torch.ones_like(z), 2, 0, "auto")
    assert out[1].isnan().all()
    assert out[[0, 2]].isfinite().all()


@pytest.mark.parametrize("n", [600, 9000])
def test_multipliers_beyond_the_range_of_numbers(n: int, device: Any) -> None:
    """A source would grow twentyfold from point to point, but there is none on the way."""
    psi = torch.zeros(1, n, dtype=torch.float64)
    psi[0, -10:] = draw(1, 10)
    bands = torch.zeros(3, 1, n, dtype=torch.float64)
    bands[0] = 20.0
    given = psi, bands, None, torch.ones(1, dtype=torch.float64)
    expected = ops.forward(*given, 2, 0, "reference")[0]
    assert expected.isfinite().all()
    assert close(device.run(ops.forward, *given, 2, 0, "auto")[:1], (expected,), torch.float64)


@pytest.mark.parametrize("scale", [1e-158, 1e158])
def test_pivots_whose_squares_leave_the_range(scale: float, device: Any) -> None:
    psi, bands, mass, z = inputs(torch.complex128, 2, 50, "", True)
    expected = ops.forward(psi, bands, mass, z, 2, 0, "auto")[0]
    found = device.run(ops.forward, psi, scale * bands, scale * mass, z, 2, 0, "auto")[0]
    assert close((found,), (expected,), torch.complex128)


def test_the_reference_is_refused(device: Any) -> None:
    given = inputs(torch.float64, 2, 5, "", False)
    with pytest.raises(NotImplementedError, match="the plain kernel 'reference' runs on the CPU alone"):
        device.run(ops.forward, *given, 2, 0, "reference")


def test_nan_stays_in_its_system(device: Any) -> None:
    psi, *coefficients = inputs(torch.complex128, 3, 20, "", False)
    clean = device.run(ops.forward, psi, *coefficients, 3, 0, "auto")[0]
    psi[1, 4] = torch.nan
    out = device.run(ops.forward, psi, *coefficients, 3, 0, "auto")[0]
    assert out[1].isnan().all()
    assert torch.equal(out[[0, 2]], clean[[0, 2]])


def test_the_public_function_and_its_gradients(device: Any) -> None:
    psi = draw(1, 4, 9, dtype=torch.complex128).mT.contiguous().mT
    diagonal, off = draw(2, 4, 9), draw(3, 8, dtype=torch.complex128)

    def run(psi: Tensor, diagonal: Tensor, off: Tensor) -> Any:
        leaves = [t.clone().requires_grad_() for t in (psi, diagonal, off)]
        out, frames = cayley(*leaves, -0.2j, 6, save_every=3)
        loss = (out.abs() ** 2 * torch.arange(9, device=psi.device)).sum() + frames[0].real.sum()
        return out.detach(), *torch.autograd.grad(loss, leaves)

    assert close(device.run(run, psi, diagonal, off), run(psi, diagonal, off), torch.complex128)
