"""Actions of paths and fields, and paths of networks, on the GPU kernels, against the CPU's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from devices import Elsewhere
from qcore._ops import paths_action as ops
from qcore._ops import paths_phi4 as fields
from qcore._ops.paths_action_composite import SCHEMES

REAL = (torch.float32, torch.float64)
QUARTIC = (0.3, -0.2, 0.5, 0.1, 0.25)


def _near(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 2e-5, "atol": 2e-5} if dtype == torch.float32 else {"rtol": 1e-11, "atol": 1e-11}


def _settings(
    scheme: str, periodic: bool, *, parameters: str = "path", table: bool = False, hold_ends: bool = False
) -> tuple[Any, ...]:
    lam = 0.01 if scheme == "midpoint-vanvleck" else 0.0
    return table, -2.0, 0.25, scheme, periodic, lam, parameters, 0.3, hold_ends, "auto"


def _factors(rows: int = 1) -> Tensor:
    return torch.tensor([[1.5, 0.3, -0.2], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)[:rows]


def _cells() -> Tensor:
    return torch.randn(16, 4, dtype=torch.float64)


def _check(device: Elsewhere, near: Any, function: Any, *args: Any) -> None:
    expected, got = function(*args), device.run(function, *args)
    pairs = [(got, expected)] if isinstance(got, Tensor) else zip(got, expected, strict=True)
    for a, b in pairs:
        scale = max(float(b.abs().nan_to_num(0, 0, 0).max()), 1.0) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=near["rtol"], atol=near["atol"] * scale, equal_nan=True)


def _derivatives(tensors: tuple[Any, ...], factors: Tensor, settings: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Of the action, with the action itself first."""
    wanted = [None if t is None else t.detach().clone().requires_grad_() for t in tensors]
    out = ops.action.call(*wanted, factors, *settings)
    grad = torch.linspace(0.5, 1.5, out.numel(), dtype=out.dtype, device=out.device).reshape(out.shape)
    present = [t for t in wanted if t is not None]
    return (out.detach(), *torch.autograd.grad(out, present, grad, allow_unused=True))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes(device: Elsewhere, scheme: str, periodic: bool, dtype: torch.dtype) -> None:
    """Every scheme with its derivatives by beads and potential, one for all paths or one each."""
    x = torch.randn(5, 42 if periodic else 43, dtype=dtype)
    c = torch.tensor(QUARTIC, dtype=torch.float64)
    for potential in (c, c * torch.rand(5, 5, dtype=torch.float64)):
        arguments = (x, None, None, potential), _factors(2), _settings(scheme, periodic)
        _check(device, _near(dtype), _derivatives, *arguments)


@pytest.mark.parametrize("scheme", ["trapezoid", "midpoint", "takahashi-imada", "chin4"])
def test_tables(device: Elsewhere, scheme: str) -> None:
    """Cells, and the straight lines beyond them."""
    for dtype in REAL:
        x = 2 * torch.randn(3, 33, dtype=dtype)
        arguments = (x, None, None, _cells()), _factors(), _settings(scheme, False, table=True)
        _check(device, _near(dtype), _derivatives, *arguments)


@pytest.mark.parametrize("beads", [1, 2, 3, 4, 5, 31, 32, 33, 128, 129, 133])
def test_lengths(device: Elsewhere, beads: int) -> None:
    """Paths about a lane, a few lanes and a warp."""
    for scheme in ("trapezoid", "endpoint", "midpoint"):
        for periodic in (False, True):
            x = torch.randn(3, beads)
            arguments = (
                (x, None, None, torch.tensor(QUARTIC).double()),
                _factors(),
                _settings(scheme, periodic),
            )
            _check(device, _near(torch.float32), _derivatives, *arguments)


@pytest.mark.parametrize("batch", [0, 1, 7, 8, 9, 65, 300])
def test_batches(device: Elsewhere, batch: int) -> None:
    """Paths about a block; potentials of their own."""
    x, c = torch.randn(batch, 6), torch.randn(batch, 3, dtype=torch.float64)
    _check(
        device, _near(torch.float32), _derivatives, (x, None, None, c), _factors(3), _settings("chin4", True)
    )


@pytest.mark.parametrize("terms", [1, 2, 16])
def test_polynomials(device: Elsewhere, terms: int) -> None:
    """Of every degree that there is."""
    x, c = 0.5 * torch.randn(4, 21, dtype=torch.float64), torch.randn(terms, dtype=torch.float64)
    for scheme in ("takahashi-imada", "midpoint-vanvleck"):
        arguments = (x, None, None, c), _factors(3), _settings(scheme, False)
        _check(device, _near(torch.float64), _derivatives, *arguments)


@pytest.mark.parametrize("dtype", REAL)
def test_long_paths(device: Elsewhere, dtype: torch.dtype) -> None:
    """Paths that several items share."""
    x, c = torch.randn(2, 40000, dtype=dtype), torch.tensor(QUARTIC, dtype=torch.float64)
    near = {**_near(dtype), "atol": 1e-10 if dtype == torch.float64 else 1e-5}
    for periodic in (False, True):
        _check(device, near, _derivatives, (x, None, None, c), _factors(2), _settings("trapezoid", periodic))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("parameters", ["velocity", "acceleration"])
@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("given", [0, 1, 30, 31, 32, 33, 70])
def test_networks(device: Elsewhere, dtype: torch.dtype, parameters: str, pinned: bool, given: int) -> None:
    """Beads made in registers, and their gradients by parameters and ends."""
    w, ini = torch.randn(3, given, dtype=dtype) / (1 + given), torch.randn(3, dtype=dtype)
    fin = torch.randn(3, dtype=dtype) if pinned else None
    c = torch.tensor(QUARTIC, dtype=torch.float64)
    for scheme, periodic in (("trapezoid", False), ("midpoint", True), ("takahashi-imada", True)):
        settings = _settings(scheme, periodic, parameters=parameters)
        _check(device, _near(dtype), _derivatives, (w, ini, fin, c), _factors(), settings)
    settings = _settings("endpoint", False, parameters=parameters, table=True)
    _check(device, _near(dtype), _derivatives, (w, ini, fin, _cells()), _factors(), settings)
    _check(device, _near(dtype), ops.integrate.call, w, ini, fin, parameters, 0.3)
    grad = torch.randn(3, given + 1 + pinned, dtype=dtype)
    _check(device, _near(dtype), ops.integrate_adjoint.call, grad, parameters, 0.3, pinned)


def test_held_ends(device: Elsewhere) -> None:
    """Their derivatives are zero."""
    for beads in (1, 2, 9):
        x, c = torch.randn(2, beads), torch.tensor(QUARTIC).double()
        arguments = (x, None, None, c), _factors(), _settings("trapezoid", False, hold_ends=True)
        _check(device, _near(torch.float32), _derivatives, *arguments)


def test_a_sum_left_out(device: Elsewhere) -> None:
    """A factor of zero leaves out what isn't finite."""
    x, c = torch.full((2, 5), 1e30), torch.tensor([0.0, 0.0, 1e300], dtype=torch.float64)
    _check(
        device,
        _near(torch.float32),
        _derivatives,
        (x, None, None, c),
        _factors(2)[1:],
        _settings("trapezoid", False),
    )


def test_nan_stays(device: Elsewhere) -> None:
    """In the path it came in."""
    x, c = torch.randn(3, 40), torch.tensor(QUARTIC).double()
    x[1, 7], x[2, 39] = torch.nan, torch.inf
    arguments = (x, None, None, c), _factors(), _settings("trapezoid", False)
    _check(device, _near(torch.float32), _derivatives, *arguments)


def test_learned_factors(device: Elsewhere) -> None:
    """Their derivatives are the sums."""

    def run(x: Tensor) -> Tensor:
        factors = _factors().requires_grad_()
        c = torch.tensor(QUARTIC, dtype=torch.float64, device=x.device)
        ops.action.call(x, None, None, c, factors, *_settings("trapezoid", False)).sum().backward()
        assert factors.grad is not None
        return factors.grad

    _check(device, _near(torch.float64), run, torch.randn(4, 20, dtype=torch.float64))


def _field_factors() -> Tensor:
    return torch.tensor([[1.0, 0.7, -0.3, 0.2], [0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)


def _field(phi: Tensor, midpoint: bool, periodic: bool) -> tuple[Tensor, Tensor]:
    own = phi.detach().clone().requires_grad_()
    out = fields.phi4.call(own, _field_factors(), midpoint, periodic, "auto")
    grad = torch.linspace(0.5, 1.5, out.numel(), dtype=out.dtype, device=out.device).reshape(out.shape)
    return out.detach(), torch.autograd.grad(out, own, grad)[0]


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("midpoint", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 1), (3, 2), (16, 16), (5, 33), (2, 300), (300, 2)])
def test_fields(
    device: Elsewhere, dtype: torch.dtype, midpoint: bool, periodic: bool, size: tuple[int, int]
) -> None:
    """Narrow ones, and such as have more sites than a block has threads."""
    _check(device, _near(dtype), _field, torch.randn(3, *size, dtype=dtype), midpoint, periodic)


def test_large_fields(device: Elsewhere) -> None:
    """Fields that several blocks share; none at all."""
    for phi in (torch.randn(2, 130, 129, dtype=torch.float64), torch.randn(0, 4, 4)):
        _check(device, _near(torch.float64), _field, phi, False, True)


def test_strides(device: Elsewhere) -> None:
    """Any strides in."""
    wide, c = torch.randn(40, 6), torch.tensor(QUARTIC).double()
    _check(
        device,
        _near(torch.float32),
        _derivatives,
        (wide.T[::2], None, None, c),
        _factors(),
        _settings("midpoint", True),
    )
    _check(device, _near(torch.float32), _field, torch.randn(4, 5, 6).permute(2, 0, 1), True, True)


def test_reference_is_on_the_cpu(device: Elsewhere) -> None:
    """The plain kernels have no counterpart."""
    x, c = torch.randn(2, 5), torch.tensor(QUARTIC).double()
    *settings, _ = _settings("trapezoid", False)

    def reference(x: Tensor, c: Tensor) -> Any:
        return ops.action.call(x, None, None, c, _factors(), *settings, "reference")

    with pytest.raises(NotImplementedError, match="backend: the plain kernel 'reference' runs on the CPU"):
        device.run(reference, x, c)
