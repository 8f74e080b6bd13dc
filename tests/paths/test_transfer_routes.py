"""Dense matrices, spectra, and what the transfer refuses."""

from __future__ import annotations

import math

import pytest
import torch

from qcore import _core
from qcore.paths import SignedLog, least_action_path, transfer

NOTHING = float("-inf")


def banded_matrix(taps: torch.Tensor, sites: int, boundary: str, outside: float = 0.0) -> torch.Tensor:
    matrix = torch.full((sites, sites), outside, dtype=taps.dtype)
    half = len(taps) // 2
    for x in range(sites):
        for k in range(len(taps)):
            y = x + k - half
            if boundary == "periodic":
                y %= sites
            if 0 <= y < sites:
                matrix[x, y] = taps[k]
    return matrix


# --- dense ---


@pytest.mark.parametrize("name", ["real", "complex", "log", "max", "signed"])
@pytest.mark.parametrize("own", [False, True])
def test_dense_is_banded_where_the_matrix_is(name, own):
    dtype = torch.complex128 if name == "complex" else torch.float64
    psi = torch.randn(2, 9, dtype=dtype, requires_grad=True)
    taps = torch.randn(3, dtype=dtype, requires_grad=True)
    gates = torch.randn(4, 2, 9, dtype=dtype, requires_grad=True)
    outside = NOTHING if name in ("log", "max", "signed") else 0.0

    def call(matrix):
        t = banded_matrix(taps, 9, "zero", outside) if matrix else taps
        t = t.expand(4, 2, *t.shape) if own else t
        if name == "signed":
            sign = torch.tensor([-1.0, 1.0, 1.0], dtype=dtype)
            sign = banded_matrix(sign, 9, "zero") if matrix else sign
            out = transfer(psi, SignedLog(sign.expand(t.shape), t), gates=gates, semiring="log", dense=matrix)
            return out.log
        return transfer(psi, t, gates=gates, semiring=name, dense=matrix)

    dense, banded = call(True), call(False)
    torch.testing.assert_close(dense, banded, rtol=1e-10, atol=1e-12)
    w = torch.randn_like(dense)
    for a, b in zip(*(torch.autograd.grad(o, (psi, taps, gates), w) for o in (dense, banded)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_dense_logs_beyond_the_range_of_numbers():
    psi = torch.tensor([[0.0, -3000.0, NOTHING]], dtype=torch.float64, requires_grad=True)
    matrix = torch.tensor(
        [[-5000.0, 0.0, 0.0], [0.0, 0.0, 1.0], [NOTHING, NOTHING, 0.0]], dtype=torch.float64
    )
    out = transfer(psi, matrix, steps=1, semiring="log", dense=True)
    assert out.tolist() == [[-3000.0, 0.0, NOTHING]]
    (grad,) = torch.autograd.grad(out.exp().sum(), psi)
    assert grad.isfinite().all()


def test_dense_exponents():
    psi, matrix = torch.rand(2, 5), torch.rand(5, 5)
    out, exponent = transfer(psi, matrix, steps=3000, out_exponent=True, dense=True)
    assert ((out.amax(-1) >= 1) & (out.amax(-1) < 2)).all()
    log = out.double().log() + exponent.unsqueeze(-1) * math.log(2)
    expected = transfer(psi.double().log(), matrix.double().log(), steps=3000, semiring="log", dense=True)
    torch.testing.assert_close(log, expected, rtol=1e-5, atol=0)


# --- spectra ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("sites", [64, 75])
def test_spectra_agree_with_sums(dtype, sites):
    name = "complex" if dtype.is_complex else "real"
    psi = torch.randn(3, sites, dtype=dtype, requires_grad=True)
    taps = (torch.randn(5, dtype=dtype) / 5**0.5).requires_grad_()
    for boundary, steps in (("periodic", 0), ("periodic", 7), ("zero", 1)):
        found, expected = (
            transfer(psi, taps, steps=steps, boundary=boundary, semiring=name, method=m)
            for m in ("fft", "direct")
        )
        tolerance = 20 * torch.finfo(dtype).eps * expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
        w = torch.randn_like(found)
        for a, b in zip(
            *(torch.autograd.grad(o, (psi, taps), w, allow_unused=True) for o in (found, expected)),
            strict=True,
        ):
            if a is not None and b is not None:
                atol = 100 * torch.finfo(dtype).eps * b.abs().max().item() + 1e-30
                torch.testing.assert_close(a, b, rtol=0, atol=atol)


def test_taps_wider_than_the_ring_wrap():
    psi, taps = torch.rand(5, dtype=torch.float64), torch.rand(13, dtype=torch.float64)
    found, expected = (transfer(psi, taps, steps=2, boundary="periodic", method=m) for m in ("fft", "direct"))
    torch.testing.assert_close(found, expected)


def test_auto_takes_spectra_only_where_nothing_is_lost():
    sites = 4096
    taps = torch.softmax(-torch.linspace(-2, 2, 65).square(), 0)
    flat, narrow = 1 + 0.1 * torch.rand(sites), torch.zeros(sites)
    narrow[7] = 1.0
    for psi, spectra in ((flat, True), (narrow, False)):
        auto, direct, fft = (
            transfer(psi, taps, steps=400, boundary="periodic", method=m, semiring="real")
            if m != "fft" or spectra
            else None
            for m in ("auto", "direct", "fft")
        )
        assert torch.equal(auto, fft if spectra else direct)
        torch.testing.assert_close(auto, direct, rtol=1e-4, atol=0)
    with pytest.raises(ValueError, match="method: expected 'direct' for positive weights"):
        transfer(narrow, taps, steps=400, boundary="periodic", method="fft")


# --- refusals ---

PSI, TAPS = torch.rand(2, 5), torch.rand(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"psi0": [1.0]}, "psi0: expected a torch.Tensor"),
        ({"psi0": torch.ones(2, 5, dtype=torch.int64)}, "psi0: expected dtype one of"),
        ({"psi0": torch.ones(2, 5, dtype=torch.float16)}, "psi0: expected dtype one of"),
        ({"psi0": torch.ones(2, 5, dtype=torch.complex64)}, "semiring='complex' takes complex"),
        ({"semiring": "complex"}, "psi0: expected dtype one of"),
        ({"psi0": torch.tensor(1.0)}, r"psi0: expected shape \(..., M\)"),
        ({"psi0": torch.ones(2, 0)}, r"psi0: expected shape \(..., M\)"),
        ({"backend": None}, "backend: expected one of"),
        ({"taps": torch.rand(4)}, "taps: expected an odd number of taps"),
        ({"taps": torch.rand(0)}, "taps: expected an odd number of taps"),
        (
            {"taps": torch.rand(2, 3)},
            r"taps: expected shape \(3,\) or \(1 or 4, 3\) or \(1 or 4, 1 or 2, 3\)",
        ),
        ({"taps": torch.rand(4, 3, 3)}, "taps: expected shape"),
        ({"taps": torch.rand(3, dtype=torch.complex64)}, "taps: expected real numbers"),
        ({"taps": torch.ones(3, dtype=torch.int64)}, "taps: expected one of"),
        ({"taps": SignedLog(torch.ones(3), torch.ones(3))}, "taps: expected a tensor in the semiring 'real'"),
        ({"potential": torch.rand(6)}, "potential: expected shape"),
        ({"potential": torch.rand(2, 5)}, r"potential: expected shape \(5,\) or \(1 or 4, 5\)"),
        ({"potential": 1.0}, "potential: expected a torch.Tensor"),
        ({"gates": torch.rand(4, 3, 5)}, "gates: expected shape"),
        ({"gates": 1.0}, "gates: expected a torch.Tensor"),
        ({"steps": None}, "steps: expected an int >= 0"),
        ({"steps": -1}, "steps: expected an int >= 0"),
        ({"steps": 1.5}, "steps: expected an int >= 0"),
        ({"boundary": "reflect"}, "boundary: expected one of"),
        ({"semiring": "min"}, "semiring: expected one of"),
        ({"backend": "fast"}, "backend: expected one of"),
        ({"method": "slow"}, "method: expected one of"),
        ({"out_exponent": 1}, "out_exponent: expected a bool"),
        ({"out_exponent": True, "semiring": "log"}, "out_exponent: expected False"),
        ({"dense": 1}, "dense: expected a bool"),
        ({"dense": True}, "taps: expected matrices"),
        ({"dense": True, "taps": torch.rand(5, 5), "method": "fft"}, "dense: expected False"),
        ({"dense": True, "taps": torch.rand(5, 5), "boundary": "periodic"}, "boundary: expected 'zero'"),
        ({"dense": True, "taps": torch.rand(3, 5, 5)}, "taps: expected shape"),
        ({"method": "fft", "semiring": "log"}, "method: expected 'direct' in the semiring"),
        ({"method": "fft", "semiring": "max"}, "method: expected 'direct' in the semiring"),
        ({"method": "fft", "out_exponent": True}, "method: expected 'direct' with out_exponent"),
        ({"method": "fft"}, "method: expected 'direct' with the boundary 'zero'"),
        ({"method": "fft", "boundary": "periodic", "gates": torch.rand(5)}, "with a potential or gates"),
        ({"method": "fft", "boundary": "periodic", "taps": torch.rand(4, 3)}, "that differ by step"),
        ({"semiring": "log", "taps": torch.zeros(2**14 + 1)}, "taps: expected at most 16384 taps"),
    ],
)
def test_arguments_broken_once(change, message):
    given = {"psi0": PSI, "taps": TAPS, "steps": 4} | change
    with pytest.raises((TypeError, ValueError), match=message):
        transfer(given.pop("psi0"), given.pop("taps"), **given)


def test_signs_of_another_shape():
    with pytest.raises(ValueError, match=r"psi0.sign: expected the shape"):
        transfer(SignedLog(torch.ones(5), PSI), TAPS, steps=1, semiring="log")


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (5, "end: expected sites from 0 to 4"),
        (-1, "end: expected sites from 0 to 4"),
        (1.0, "end: expected an int"),
        (torch.tensor([1]), "end: expected int64 of shape"),
        (torch.tensor([1.0, 2.0]), "end: expected int64 of shape"),
    ],
)
def test_ends_that_are_none(end, message):
    with pytest.raises((TypeError, ValueError), match=message):
        least_action_path(PSI, TAPS, steps=2, end=end)


def test_the_kernels_refuse_on_their_own():
    """Direct calls, without the checks above them."""
    psi, taps, out = torch.rand(2, 5), torch.rand(1, 1, 3), torch.empty(2, 5)

    def call(**change):
        given = {
            "psi": psi,
            "taps": taps,
            "factor": None,
            "psi_sign": None,
            "taps_sign": None,
            "factor_sign": None,
            "out": out,
            "second": None,
            "kept": None,
            "steps": 2,
            "boundary": 0,
            "semiring": 0,
            "scaled": False,
            "keep_every": 0,
            "backend": 0,
        } | change
        _core.paths_transfer_forward(**given)

    call()
    for change, message in (
        ({"psi": torch.rand(5, 2).mT}, "psi: expected a contiguous tensor"),
        ({"out": psi}, "out: expected memory of its own"),
        ({"out": torch.empty(2, 4)}, "out: expected shape"),
        ({"out": out.double()}, "out: expected dtype"),
        ({"taps": torch.rand(1, 1, 2)}, "taps: expected an odd number"),
        ({"taps": torch.rand(3, 1, 3)}, "taps: expected shape"),
        ({"factor": torch.rand(1, 3, 5)}, "factor: expected shape"),
        ({"psi_sign": psi}, "psi_sign: expected nothing but in the semiring log"),
        ({"semiring": 3}, "semiring: expected a code"),
        ({"boundary": 2}, "boundary: expected code"),
        ({"backend": 2}, "backend: expected a code"),
        ({"steps": -1}, "steps: expected a number >= 0"),
        ({"scaled": True}, "second: expected a tensor for exponents"),
        ({"scaled": True, "semiring": 1}, "scaled: expected false"),
        ({"second": torch.empty(2, 5)}, "second: expected none"),
        ({"keep_every": 1}, "kept: expected a tensor"),
        ({"keep_every": -1}, "keep_every: expected a number"),
        ({"keep_every": 1, "kept": torch.empty(2, 1, 2, 5)}, "kept: expected shape"),
        ({"psi": psi.to(torch.complex64), "semiring": 1}, "psi: expected float32 or float64"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call(**change)
    ends = torch.tensor([0.0, 5.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="ends: expected sites from 0 to 4"):
        _core.paths_transfer_best_path(psi, taps, None, ends, torch.empty(2, 3, dtype=torch.float64), 2, 0)
