"""Sums over lattice paths on the GPU kernels, against the CPU's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from devices import Elsewhere
from qcore._ops import paths_transfer as ops

DTYPES = {"linear": (torch.float32, torch.float64, torch.complex64, torch.complex128)}
REAL = (torch.float32, torch.float64)
# Of lines from 8192 sites on many blocks share one: tiles of 320 sites (float32) or 192.
LONG = 8192
CASES = [(s, d) for s in ("linear", "log", "max") for d in DTYPES.get(s, REAL)]


def _tolerance(dtype: torch.dtype) -> dict[str, float]:
    single = dtype in (torch.float32, torch.complex64)
    return {"rtol": 2e-5, "atol": 2e-5} if single else {"rtol": 1e-12, "atol": 1e-12}


def _problem(
    semiring: str,
    dtype: torch.dtype,
    batch: int = 3,
    sites: int = 37,
    kernel: int = 5,
    steps: int = 6,
    *,
    tap_steps: bool = False,
    tap_batch: bool = False,
    factor: tuple[bool, bool] | None = (False, False),
) -> tuple[Any, ...]:
    """psi, taps, factor and three signs that are None."""

    def numbers(*shape: int) -> Tensor:
        x = torch.randn(*shape, dtype=dtype)
        return 3 * x if semiring != "linear" else x

    taps = numbers(steps if tap_steps else 1, batch if tap_batch else 1, kernel) / (
        kernel**0.5 if semiring == "linear" else 1
    )
    own = None if factor is None else numbers(steps if factor[0] else 1, batch if factor[1] else 1, sites)
    return numbers(batch, sites), taps, own, None, None, None


def _run(tensors: tuple[Any, ...], steps: int, boundary: str, semiring: str, scaled: bool = False) -> Any:
    return ops.transfer.call(*tensors, steps, boundary, semiring, scaled, "auto")


def _check(device: Elsewhere, tensors: tuple[Any, ...], steps: int, *settings: Any) -> None:
    expected, got = _run(tensors, steps, *settings), device.run(_run, tensors, steps, *settings)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, **_tolerance(tensors[0].dtype))


def _gradients(tensors: tuple[Any, ...], steps: int, *settings: Any) -> list[Tensor]:
    wanted = [t.detach().clone().requires_grad_() for t in tensors[:3] if t is not None]
    given = wanted if len(wanted) == 3 else [*wanted, None]
    out = _run((*given, *tensors[3:]), steps, *settings)[0]
    # Not all alike: a sum of logarithms has the same gradient everywhere.
    weight = torch.linspace(0.5, 1.5, out.numel(), dtype=torch.float64, device=out.device).reshape(out.shape)
    return list(torch.autograd.grad(out, wanted, weight.to(out.dtype)))


def _check_gradients(device: Elsewhere, tensors: tuple[Any, ...], steps: int, *settings: Any) -> None:
    expected = _gradients(tensors, steps, *settings)
    got = device.run(_gradients, tensors, steps, *settings)
    for a, b in zip(got, expected, strict=True):
        scale = float(b.abs().max()) if b.numel() else 1.0
        tolerance = _tolerance(b.dtype)
        torch.testing.assert_close(
            a, b, rtol=5 * tolerance["rtol"], atol=5 * tolerance["atol"] * max(scale, 1.0)
        )


@pytest.mark.parametrize(("semiring", "dtype"), CASES)
@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_forward(device: Elsewhere, semiring: str, dtype: torch.dtype, boundary: str) -> None:
    """One launch runs all steps of every problem."""
    _check(device, _problem(semiring, dtype), 6, boundary, semiring)


@pytest.mark.parametrize("semiring", ["linear", "log", "max"])
@pytest.mark.parametrize("sites", [1, 2, 31, 32, 33, 159, 161, 170])
def test_sites_about_warps(device: Elsewhere, semiring: str, sites: int) -> None:
    """The last thread has fewer sites; lines shorter than the kernel go round it several times."""
    for boundary in ("zero", "periodic"):
        _check(device, _problem(semiring, torch.float32, 2, sites, 7, 3), 3, boundary, semiring)


@pytest.mark.parametrize("semiring", ["linear", "log", "max"])
@pytest.mark.parametrize("kernel", [1, 3, 9, 11, 33])
def test_kernels_about_windows(device: Elsewhere, semiring: str, kernel: int) -> None:
    """The window of a thread goes round in fives or threes."""
    for dtype in REAL:
        _check(device, _problem(semiring, dtype, 2, 20, kernel, 3), 3, "periodic", semiring)


@pytest.mark.parametrize("semiring", ["linear", "log", "max"])
@pytest.mark.parametrize("tap_steps", [False, True])
@pytest.mark.parametrize("tap_batch", [False, True])
@pytest.mark.parametrize("factor", [None, (True, False), (False, True), (True, True)])
def test_what_steps_and_problems_share(
    device: Elsewhere, semiring: str, tap_steps: bool, tap_batch: bool, factor: tuple[bool, bool] | None
) -> None:
    """Taps and factors of every kind, forward and back."""
    settings = {"tap_steps": tap_steps, "tap_batch": tap_batch, "factor": factor}
    tensors = _problem(semiring, torch.float64, 3, 12, 3, 5, **settings)
    _check(device, tensors, 5, "zero", semiring)
    _check_gradients(device, tensors, 5, "zero", semiring)


@pytest.mark.parametrize(("semiring", "dtype"), CASES)
@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_gradients(device: Elsewhere, semiring: str, dtype: torch.dtype, boundary: str) -> None:
    """To the state, the taps and the factors."""
    _check_gradients(device, _problem(semiring, dtype, 3, 37, 5, 4), 4, boundary, semiring)


@pytest.mark.parametrize("semiring", ["linear", "log", "max"])
@pytest.mark.parametrize(("every", "steps"), [(0, 5), (2, 5), (3, 9), (5, 5), (7, 4)])
def test_kept_states(device: Elsewhere, semiring: str, every: int, steps: int) -> None:
    """The adjoint starts from whatever states were kept."""
    tensors = _problem(semiring, torch.float64, 2, 13, 3, steps)

    def both(tensors: tuple[Any, ...]) -> tuple[Tensor, ...]:
        settings = steps, "periodic", semiring, False, every
        out, _, kept = torch.ops.qcore.paths_transfer_recorded(*tensors, *settings, "auto")
        grad = torch.ones_like(out)
        grads = torch.ops.qcore.paths_transfer_adjoint(grad, kept, *tensors, *settings, True, True, "auto")
        return (kept[:, 0], *grads) if semiring != "log" else grads

    for a, b in zip(device.run(both, tensors), both(tensors), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES["linear"])
def test_scaled(device: Elsewhere, dtype: torch.dtype) -> None:
    """Exponents count what neither overflows nor vanishes."""
    psi, taps, factor, *signs = _problem("linear", dtype, 3, 40, 3, 12)
    for size in (1e-30, 1e25):
        tensors = psi, taps * size, factor, *signs
        _check(device, tensors, 12, "zero", "linear", True)
        expected = _gradients(tensors, 12, "zero", "linear", True)
        got = device.run(_gradients, tensors, 12, "zero", "linear", True)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a / b.abs().max(), b / b.abs().max(), **_tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES["linear"])
@pytest.mark.parametrize(("boundary", "size"), [("zero", 1e-30), ("periodic", 1e25)])
def test_scaled_long_lines(device: Elsewhere, dtype: torch.dtype, boundary: str, size: float) -> None:
    """All tiles of a problem are multiplied alike, and every problem by itself."""
    psi, taps, *rest = _problem("linear", dtype, 2, LONG + 5, 3, 3, tap_steps=True)
    psi[1] *= 1e-20
    tensors = psi, taps * size, *rest
    _check(device, tensors, 3, boundary, "linear", True)
    expected = _gradients(tensors, 3, boundary, "linear", True)
    got = device.run(_gradients, tensors, 3, boundary, "linear", True)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a / b.abs().max(), b / b.abs().max(), **_tolerance(dtype))


@pytest.mark.parametrize(("every", "steps"), [(1, 3), (2, 5), (3, 9)])
def test_kept_states_of_scaled_long_lines(device: Elsewhere, every: int, steps: int) -> None:
    """They are kept as they were rescaled."""
    psi, taps, *rest = _problem("linear", torch.float64, 2, LONG, 3, steps)
    tensors = psi, taps * 1e20, *rest

    def both(tensors: tuple[Any, ...]) -> tuple[Tensor, ...]:
        settings = steps, "periodic", "linear", True, every
        out, exponent, kept = torch.ops.qcore.paths_transfer_recorded(*tensors, *settings, "auto")
        grads = torch.ops.qcore.paths_transfer_adjoint(
            torch.ones_like(out), kept, *tensors, *settings, True, True, "auto"
        )
        return (out, exponent, kept, *grads)

    for a, b in zip(device.run(both, tensors), both(tensors), strict=True):
        scale = b.abs().max()
        torch.testing.assert_close(a / scale, b / scale, rtol=1e-10, atol=1e-10)


def test_scaled_denormals_and_zeros(device: Elsewhere) -> None:
    """A state that begins below all normal numbers, and one that is zero."""
    for sites in (9, LONG):
        psi = torch.zeros(2, sites)
        psi[0, 4] = 1e-42
        tensors = psi, torch.full((1, 1, 3), 0.5), None, None, None, None
        _check(device, tensors, 3, "zero", "linear", True)


@pytest.mark.parametrize("dtype", REAL)
def test_log_of_any_size(device: Elsewhere, dtype: torch.dtype) -> None:
    """Neighbours that no common exponent can hold, zeros, and whole numbers lost."""
    psi, taps, factor, *signs = _problem("log", dtype, 4, 50, 5, 8)
    psi[0] *= 1000
    psi[1] = -torch.inf
    psi[1, 20] = 0.0
    psi[2, ::2] = -torch.inf
    taps[..., 2] = -torch.inf
    factor[..., 7] = -torch.inf
    tensors = psi, taps, factor, *signs
    _check(device, tensors, 8, "zero", "log")
    psi[3, 5] = torch.inf
    psi[3, 9] = torch.nan
    _check(device, tensors, 8, "periodic", "log")


@pytest.mark.parametrize("dtype", REAL)
def test_log_with_signs(device: Elsewhere, dtype: torch.dtype) -> None:
    """Terms that cancel, forward and back."""
    tensors = _problem("log", dtype, 3, 21, 3, 4)
    signs = [torch.randint(-1, 2, t.shape).to(dtype) for t in tensors[:3]]
    tensors = *tensors[:3], *signs
    expected, got = _run(tensors, 4, "zero", "log"), device.run(_run, tensors, 4, "zero", "log")
    assert torch.equal(got[1], expected[1])
    torch.testing.assert_close(got[0].exp(), expected[0].exp(), **{**_tolerance(dtype), "rtol": 1e-3})
    double = tuple(t.double() for t in tensors)
    _check_gradients(device, double, 4, "zero", "log")


def test_log_gradient_without_weight(device: Elsewhere) -> None:
    """Nothing comes back to a weight of zero, and no NaN."""
    psi, taps, factor, *signs = _problem("log", torch.float64, 2, 15, 3, 4)
    psi[:, ::3] = -torch.inf
    factor[..., 4] = -torch.inf
    for semiring in ("log", "max"):
        _check_gradients(device, (psi, taps, factor, *signs), 4, "zero", semiring)
        _check_gradients(device, (psi, taps, factor, *signs), 0, "zero", semiring)


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
@pytest.mark.parametrize("steps", [0, 1, 10])
def test_best_path(device: Elsewhere, boundary: str, steps: int) -> None:
    """The sites along it, and -1 where none leads to the end."""
    psi, taps, factor, *_ = _problem("max", torch.float64, 4, 19, 5, steps)
    psi[1] = -torch.inf
    ends = torch.tensor([3, 5, 0, 18])
    arguments = psi, taps, factor, ends, steps, boundary
    assert torch.equal(device.run(ops.best_path, *arguments), ops.best_path(*arguments))


@pytest.mark.parametrize("sites", [19, LONG])
def test_path_of_a_nan(device: Elsewhere, sites: int) -> None:
    """A tap that is NaN leads from beyond the line, where there is no site."""
    psi, taps, factor, *_ = _problem("max", torch.float64, 2, sites, 5, 4)
    taps[..., 4] = torch.nan
    ends = torch.tensor([sites - 1, 3])
    arguments = psi, taps, factor, ends, 4, "zero"
    found = device.run(ops.best_path, *arguments)
    assert found.tolist() == [[-1, -1, -1, -1, sites - 1], [11, 9, 7, 5, 3]]
    assert torch.equal(ops.best_path(*arguments), found)


@pytest.mark.parametrize("semiring", ["linear", "log", "max"])
def test_nan_stays(device: Elsewhere, semiring: str) -> None:
    """It spreads as far as on the CPU."""
    tensors = _problem(semiring, torch.float32, 2, 17, 3, 3)
    tensors[0][0, 8] = torch.nan
    tensors[0][1, 3] = torch.inf
    _check(device, tensors, 3, "zero", semiring)


@pytest.mark.parametrize("semiring", ["linear", "log", "max"])
def test_lines_beyond_shared_memory(device: Elsewhere, semiring: str) -> None:
    """Problems of more sites than a block's shared memory holds run in global memory."""
    tensors = _problem(semiring, torch.float64, 2, 16001, 3, 2)
    _check(device, tensors, 2, "periodic", semiring)
    _check_gradients(device, tensors, 2, "periodic", semiring)
    if semiring == "max":
        arguments = *tensors[:3], torch.tensor([7, 16000]), 2, "zero"
        assert torch.equal(device.run(ops.best_path, *arguments), ops.best_path(*arguments))


@pytest.mark.parametrize(("semiring", "dtype"), CASES)
@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_long_lines(device: Elsewhere, semiring: str, dtype: torch.dtype, boundary: str) -> None:
    """More steps than a launch runs, and a last tile that is not full."""
    tensors = _problem(semiring, dtype, 1, LONG + 7, 5, 35)
    _check(device, (tensors[0], tensors[1] / 4, *tensors[2:]), 35, boundary, semiring)


@pytest.mark.parametrize("semiring", ["linear", "log", "max"])
@pytest.mark.parametrize("sites", [LONG - 1, LONG, 8320, 8321, 8639])
def test_lines_about_tiles(device: Elsewhere, semiring: str, sites: int) -> None:
    """One site less or more than fills the last tile."""
    for boundary in ("zero", "periodic"):
        _check(device, _problem(semiring, torch.float32, 2, sites, 3, 3), 3, boundary, semiring)


@pytest.mark.parametrize("semiring", ["linear", "log", "max"])
@pytest.mark.parametrize("kernel", [1, 31, 257, 1201])
def test_long_lines_and_wide_kernels(device: Elsewhere, semiring: str, kernel: int) -> None:
    """Taps that reach into the next tile, beyond it, and too far for tiles."""
    for boundary in ("zero", "periodic"):
        _check(device, _problem(semiring, torch.float64, 1, LONG, kernel, 2), 2, boundary, semiring)


@pytest.mark.parametrize("semiring", ["linear", "log", "max"])
@pytest.mark.parametrize("tap_steps", [False, True])
@pytest.mark.parametrize("tap_batch", [False, True])
@pytest.mark.parametrize("factor", [None, (True, False), (False, True)])
def test_what_steps_of_long_lines_share(
    device: Elsewhere, semiring: str, tap_steps: bool, tap_batch: bool, factor: tuple[bool, bool] | None
) -> None:
    """Taps and factors of every kind, forward and back."""
    settings = {"tap_steps": tap_steps, "tap_batch": tap_batch, "factor": factor}
    tensors = _problem(semiring, torch.float64, 2, LONG, 3, 3, **settings)
    _check(device, tensors, 3, "zero", semiring)
    _check_gradients(device, tensors, 3, "zero", semiring)


@pytest.mark.parametrize(("semiring", "dtype"), CASES)
@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_gradients_of_long_lines(device: Elsewhere, semiring: str, dtype: torch.dtype, boundary: str) -> None:
    """To the state, the taps and the factors."""
    _check_gradients(device, _problem(semiring, dtype, 2, LONG + 3, 5, 4), 4, boundary, semiring)


@pytest.mark.parametrize("semiring", ["linear", "log", "max"])
@pytest.mark.parametrize(("every", "steps"), [(0, 5), (1, 3), (2, 5), (40, 34)])
def test_kept_states_of_long_lines(device: Elsewhere, semiring: str, every: int, steps: int) -> None:
    """Launches end where states are kept, and the adjoint starts from these."""
    psi, taps, *rest = _problem(semiring, torch.float64, 1, LONG, 3, steps)
    tensors = psi, taps / 2, *rest

    def both(tensors: tuple[Any, ...]) -> tuple[Tensor, ...]:
        settings = steps, "periodic", semiring, False, every
        out, _, kept = torch.ops.qcore.paths_transfer_recorded(*tensors, *settings, "auto")
        grads = torch.ops.qcore.paths_transfer_adjoint(
            torch.ones_like(out), kept, *tensors, *settings, True, True, "auto"
        )
        return (out, kept[:, 0], *grads) if semiring != "log" else (out, *grads)

    for a, b in zip(device.run(both, tensors), both(tensors), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("semiring", ["linear", "log", "max"])
def test_tiles_sum_as_blocks_do(device: Elsewhere, semiring: str) -> None:
    """What a line holds doesn't depend, to the last bit, on how many blocks run it."""
    psi, taps, _, *signs = _problem(semiring, torch.float32, 1, LONG, 5, 9, factor=None)
    # Zeros, or no weight, beyond the part that a shorter line has, whose one block runs it.
    part, margin = 3000, 18
    psi[:, : margin + 2] = psi[:, part - margin - 2 :] = 0.0 if semiring == "linear" else -torch.inf
    whole = device.run(_run, (psi, taps, None, *signs), 9, "zero", semiring)[0]
    alone = device.run(_run, (psi[:, :part].clone(), taps, None, *signs), 9, "zero", semiring)[0]
    assert torch.equal(whole[:, :part], alone)


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
@pytest.mark.parametrize("steps", [1, 10])
def test_best_path_along_a_long_line(device: Elsewhere, boundary: str, steps: int) -> None:
    """The sites along it, and -1 where none leads to the end."""
    psi, taps, factor, *_ = _problem("max", torch.float64, 3, LONG + 1, 5, steps)
    psi[1] = -torch.inf
    ends = torch.tensor([0, 5, LONG])
    arguments = psi, taps, factor, ends, steps, boundary
    assert torch.equal(device.run(ops.best_path, *arguments), ops.best_path(*arguments))


def test_nothing_to_do(device: Elsewhere) -> None:
    """No step, no problem."""
    for semiring in ("linear", "log", "max"):
        _check(device, _problem(semiring, torch.float32, 2, 5, 3, 0), 0, "zero", semiring)
        _check(device, _problem(semiring, torch.float32, 0, 5, 3, 2), 2, "zero", semiring)
        _check_gradients(device, _problem(semiring, torch.float32, 0, 5, 3, 2), 2, "zero", semiring)
    _check_gradients(device, _problem("linear", torch.float32, 2, 5, 3, 0), 0, "zero", "linear")


def test_strides(device: Elsewhere) -> None:
    """Any strides in."""
    _, taps, factor, *signs = _problem("linear", torch.float32)
    wide = torch.randn(37, 6)
    _check(device, (wide.T[::2], taps.flip(2), factor.expand(6, 3, 37)[::2][:1], *signs), 6, "zero", "linear")


def test_reference_is_on_the_cpu(device: Elsewhere) -> None:
    """The plain kernels have no counterpart."""
    tensors = _problem("linear", torch.float32)

    def reference(*tensors: Any) -> Any:
        return ops.transfer.call(*tensors, 6, "zero", "linear", False, "reference")

    with pytest.raises(NotImplementedError, match="backend: the plain kernel 'reference' runs on the CPU"):
        device.run(reference, *tensors)
