"""Cayley steps against dense linear algebra: dtypes, sizes, batches, mass matrices, backends, threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qcore import _core
from qcore._ops import schrodinger_cayley as ops
from qcore.schrodinger.cayley import cayley

from .cayley_oracle import CLOSE, TYPES, dense_cayley, draw, relative, tridiagonal, wide


def _problem(dtype: torch.dtype, batch: tuple[int, ...], own: tuple[int, ...], n: int) -> tuple[Any, ...]:
    """psi, (lower, diagonal, upper) with batch axes `own`, z: any numbers, kept stable by the size of z."""
    kind = wide(dtype)
    psi = draw(1, *batch, n, dtype=dtype)
    bands = tuple(draw(2 + i, *own, n - (i != 1), dtype=kind) for i in range(3))
    return psi, bands, (0.2 - 0.1j if dtype.is_complex else 0.15)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 17, 40])
@pytest.mark.parametrize(("batch", "own"), [((), ()), ((5,), ()), ((19,), (19,)), ((33,), ())])
def test_any_operator(dtype: torch.dtype, n: int, batch: tuple[int, ...], own: tuple[int, ...]) -> None:
    psi, (lower, diagonal, upper), z = _problem(dtype, batch, own, n)
    expected = dense_cayley(psi, tridiagonal(lower, diagonal, upper), z, 5)
    out, frames = cayley(psi, diagonal, (lower, upper), z, 5, save_every=2)
    assert out.dtype == frames.dtype == dtype
    assert relative(out, expected[5]) < CLOSE[dtype]
    assert relative(frames, expected[[2, 4]]) < CLOSE[dtype]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("own", [(), (7,)])
@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_mass_matrix(dtype: torch.dtype, own: tuple[int, ...], n: int) -> None:
    psi, (lower, diagonal, upper), z = _problem(dtype, (7,), (), n)
    kind = wide(dtype)
    m_lower, m_upper = (0.2 * draw(i, *own, n - 1, dtype=kind) for i in (7, 8))
    m_diagonal = 1.0 + 0.1 * draw(9, *own, n, dtype=kind)
    m = tridiagonal(m_lower, m_diagonal, m_upper)
    expected = dense_cayley(psi, tridiagonal(lower, diagonal, upper), z, 4, m)
    out, frames = cayley(psi, diagonal, (lower, upper), z, 4, (m_diagonal, m_lower, m_upper), 1)
    assert relative(out, expected[4]) < CLOSE[dtype]
    assert relative(frames, expected[1:]) < CLOSE[dtype]


def test_one_off_diagonal_is_hermitian_and_a_pair_is_what_it_says() -> None:
    psi, diagonal, u = draw(1, 9, dtype=torch.complex128), draw(2, 9), draw(3, 8, dtype=torch.complex128)
    for off, a in (
        (u, tridiagonal(u.conj().resolve_conj(), diagonal, u)),
        ((u, u), tridiagonal(u, diagonal, u)),
        ((u, 2 * u), tridiagonal(u, diagonal, 2 * u)),
    ):
        assert relative(cayley(psi, diagonal, off, -0.3j, 3), dense_cayley(psi, a, -0.3j, 3)[3]) < 1e-13
    m = 2.0 + 0.1 * draw(5, 9)
    for mass, matrix in (
        ((m, 0.2 * u), tridiagonal(0.2 * u.conj().resolve_conj(), m, 0.2 * u)),
        ((m, (0.2 * u, 0.1 * u)), tridiagonal(0.2 * u, m, 0.1 * u)),
        ((m, 0.2 * u, 0.1 * u), tridiagonal(0.2 * u, m, 0.1 * u)),
    ):
        expected = dense_cayley(psi, tridiagonal(u.conj().resolve_conj(), diagonal, u), -0.3j, 3, matrix)
        assert relative(cayley(psi, diagonal, u, -0.3j, 3, mass), expected[3]) < 1e-13


def test_broadcasting_of_every_argument() -> None:
    n = 6
    u, mu = draw(4, 3, 1, n - 1), 0.1 * draw(5, 2, n - 1)
    for psi, diagonal in (
        (draw(1, n, dtype=torch.complex128), draw(2, 3, 2, n)),
        (draw(1, 4, 3, 2, n, dtype=torch.complex128), draw(2, 1, n)),
    ):
        m = tridiagonal(mu, 1.0 + 0.0 * diagonal[..., :1, :], mu)
        expected = dense_cayley(psi, tridiagonal(u, diagonal, u), -0.2j, 3, m)
        got, frames = cayley(psi, diagonal, u, -0.2j, 3, (torch.ones(n), mu), 3)
        assert relative(got, expected[3]) < 1e-13
        assert torch.equal(frames[0], got)


def test_any_strides() -> None:
    psi = draw(1, 8, 5, dtype=torch.complex128).T
    diagonal, u = draw(2, 16)[::2], draw(3, 8, dtype=torch.complex128).conj()[:7]
    expected = cayley(psi.contiguous(), diagonal.contiguous(), u.resolve_conj().contiguous(), -0.1j, 4)
    assert torch.equal(cayley(psi, diagonal, u, -0.1j, 4), expected)


def test_no_steps_and_no_systems() -> None:
    psi, diagonal, u = draw(1, 4, 6, dtype=torch.complex64), draw(2, 6), draw(3, 5)
    out, frames = cayley(psi, diagonal, u, -0.1j, 0, save_every=3)
    assert torch.equal(out, psi)
    assert out.data_ptr() != psi.data_ptr()
    assert frames.shape == (0, 4, 6)
    out, frames = cayley(psi[:0], draw(2, 0, 6), u, -0.1j, 4, save_every=2)
    assert (out.shape, frames.shape) == ((0, 6), (2, 0, 6))


def _operator_inputs(dtype: torch.dtype, batch: int, n: int, own: bool, mass: bool) -> tuple[Any, ...]:
    kind, sets = wide(dtype), batch if own else 1
    psi, bands = draw(1, batch, n, dtype=dtype), draw(2, 3, sets, n, dtype=kind)
    m = 0.1 * draw(3, 3, sets, n, dtype=kind) + torch.tensor([0.0, 1.0, 0.0], dtype=kind)[:, None, None]
    z = torch.tensor([0.1 - 0.2j if dtype.is_complex else 0.1], dtype=kind)
    return psi, bands, (m if mass else None), z


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("mass", [False, True])
def test_the_reference_agrees(dtype: torch.dtype, own: bool, mass: bool) -> None:
    inputs = _operator_inputs(dtype, 21, 30, own, mass)
    for every in (0, 2):
        fast = ops.saved(*inputs, 7, 3, every, "auto")
        slow = ops.saved(*inputs, 7, 3, every, "reference")
        for a, b in zip(fast, slow, strict=True):
            assert relative(a, b.numpy()) < CLOSE[dtype]


@pytest.mark.parametrize("mass", [False, True])
@pytest.mark.parametrize("z", [-0.2j, 0.1 - 0.2j])
def test_a_system_does_not_know_its_batch_or_the_threads(mass: bool, z: complex) -> None:
    psi, bands, m, _ = _operator_inputs(torch.complex128, 70, 150, False, mass)
    scale = torch.tensor([z], dtype=torch.complex128)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        all_of_them = ops.forward(psi, bands, m, scale, 20, 0, "auto")[0]
        torch.set_num_threads(1)
        assert torch.equal(all_of_them, ops.forward(psi, bands, m, scale, 20, 0, "auto")[0])
    finally:
        torch.set_num_threads(threads)
    for part in (slice(0, 1), slice(3, 20), slice(40, 70)):
        assert torch.equal(ops.forward(psi[part], bands, m, scale, 20, 0, "auto")[0], all_of_them[part])
    own = bands.expand(3, 70, 150).contiguous()
    lanewise = ops.forward(psi, own, m, scale, 20, 0, "auto")[0]
    assert torch.equal(ops.forward(psi[5:23], own[:, 5:23], m, scale, 20, 0, "auto")[0], lanewise[5:23])


def test_a_nan_stays_in_its_system() -> None:
    psi, bands, _, z = _operator_inputs(torch.complex128, 20, 12, False, False)
    clean = ops.forward(psi, bands, None, z, 3, 0, "auto")[0]
    psi[4, 3] = complex("nan")
    got = ops.forward(psi, bands, None, z, 3, 0, "auto")[0]
    assert got[4].isnan().all()
    others = [i for i in range(20) if i != 4]
    assert torch.equal(got[others], clean[others])


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("mass", [False, True])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e300])
def test_entries_beyond_the_ends_do_not_matter(own: bool, mass: bool, backend: str, garbage: float) -> None:
    """jax's tridiagonal_solve was wrong unless they were zero (jax PR 25787)."""
    psi, bands, m, z = _operator_inputs(torch.complex128, 9, 8, own, mass)
    grad = draw(6, 9, 8, dtype=torch.complex128)

    def run() -> list[Tensor]:
        results = [*ops.forward(psi, bands, m, z, 4, 2, backend)]
        for every in (0, 2):
            kept = ops.saved(psi, bands, m, z, 4, 2, every, backend)[2]
            results += ops.adjoint(grad, None, psi, kept, bands, m, z, 4, 2, every, backend, True)
        return results

    clean = run()
    for t in (bands, m):
        if t is not None:
            t[0, :, 0] = garbage
            t[2, :, -1] = garbage
    for a, b in zip(run(), clean, strict=True):
        assert torch.equal(a, b)
    to_bands = run()[3]
    assert not to_bands[0, :, 0].any()
    assert not to_bands[2, :, -1].any()


# --- breakdown: a GPU, which does not wait for its results, gives NaN ---


@pytest.mark.host
@pytest.mark.parametrize(("batch", "backend"), [(1, "auto"), (1, "reference"), (9, "auto")])
def test_a_pivot_of_zero_is_an_error(batch: int, backend: str) -> None:
    """M - z A with a zero in the first pivot, then one that cancels in row 2."""
    z = torch.ones(1, dtype=torch.float64)
    for row, diagonal in ((0, [0.0, 2.0, 3.0]), (2, [1.0, 2.0, 1.0])):
        t = torch.tensor([[0.0, 1.0, 1.0], diagonal, [1.0, 1.0, 0.0]], dtype=torch.float64)
        bands = (torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)[:, None] - t)[:, None].repeat(1, batch, 1)
        if batch > 1:
            bands[1, :8] -= 10.0
        words = rf"M - z A that elimination without pivoting .* in row {row} of system {batch - 1}"
        with pytest.raises(ValueError, match=words):
            ops.forward(torch.ones(batch, 3, dtype=torch.float64), bands, None, z, 1, 0, backend)


@pytest.mark.host
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_coefficients_that_are_not_finite_are_an_error(bad: float, batch: tuple[int, ...]) -> None:
    diagonal = torch.ones(*batch, 5, dtype=torch.float64)
    diagonal[..., 2] = bad
    with pytest.raises(ValueError, match="a pivot that is zero, not finite or lost to rounding, in row 2"):
        cayley(torch.ones(3, 5, dtype=torch.complex128), diagonal, torch.ones(4), -0.1j, 2)


@pytest.mark.host
def test_a_singular_matrix_that_rounding_hides_is_an_error() -> None:
    """Growth at rate 1 and dt / 2 = 1, the pole of the step: the last pivot is nothing but rounding."""
    n, h = 30, 0.1
    energy = 2.0 / h**2 * (1.0 - np.cos(np.pi / (n + 1)))
    diagonal = torch.full((n,), 2.0 / h**2 / energy, dtype=torch.float64)
    u = torch.full((n - 1,), -1.0 / h**2 / energy, dtype=torch.float64)
    for psi in (torch.ones(n, dtype=torch.float64), torch.ones(3, n, dtype=torch.complex64)):
        with pytest.raises(ValueError, match=f"lost to rounding, in row {n - 1}"):
            cayley(psi, diagonal, u, 1.0, 1)
        with pytest.raises(ValueError, match=f"lost to rounding, in row {n - 1}"):
            cayley(psi, diagonal.expand(3, n), u, 1.0, 1)


@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e3, 1e5])
@pytest.mark.parametrize("level", [0.0, -2.0])
def test_no_step_is_too_large_for_hermitian_operators(strength: float, level: float) -> None:
    """tau kappa up to 1e5 and wells at the grid scale, V = -2 kappa, where pivots grow most."""
    n, steps = 60, 50
    d, u = np.full(n, 2.0 + level), np.full(n - 1, -1.0)
    energies, modes = np.linalg.eigh(tridiagonal(u, d, u))
    psi = draw(1, 3, n, dtype=torch.complex128)
    phase = ((1 - 1j * strength * energies) / (1 + 1j * strength * energies)) ** steps
    expected = (psi.numpy() @ modes * phase) @ modes.T
    got = cayley(psi, torch.tensor(d), torch.tensor(u), -1j * strength, steps)
    # A phase angle is off by rounding of tau E over 1 + (tau E)^2, which is largest at tau E = 1.
    assert relative(got, expected) < 1e-11 * max(1.0, strength if level else 1.0) ** 0.5


def test_alternating_sweeps_hold_over_many_steps() -> None:
    """The norm over 20000 steps: the bias of rounded reciprocals alone, about 1e-16 a step."""
    psi = draw(1, 16, 24, dtype=torch.complex128)
    got = cayley(psi, draw(2, 24), draw(3, 23, dtype=torch.complex128), -0.7j, 20000)
    drift = (got.norm(dim=-1) / psi.norm(dim=-1) - 1.0).abs().max()
    assert drift < 20000 * 1e-15


# --- arguments ---

PSI, DIAGONAL, U = torch.ones(2, 5, dtype=torch.complex128), torch.ones(5), torch.ones(4)
REAL = torch.ones(2, 5)
Call = Callable[[], Any]
BAD: list[tuple[str, type[Exception], str, Call]] = [
    (
        "psi list",
        TypeError,
        "psi: expected a torch.Tensor, got list",
        lambda: cayley([1.0], DIAGONAL, U, 1j, 1),
    ),
    ("psi int", TypeError, "psi: expected one of", lambda: cayley(PSI.real.int(), DIAGONAL, U, 1j, 1)),
    (
        "psi 0-dim",
        ValueError,
        r"psi: expected shape \(..., n\)",
        lambda: cayley(PSI[0, 0], DIAGONAL, U, 1j, 1),
    ),
    (
        "psi empty",
        ValueError,
        r"psi: expected shape \(..., n\) with n >= 1",
        lambda: cayley(PSI[:, :0], U, U, 1j, 1),
    ),
    ("diagonal size", ValueError, r"diagonal: expected shape \(..., 5\)", lambda: cayley(PSI, U, U, 1j, 1)),
    ("diagonal type", TypeError, "diagonal: expected a torch.Tensor", lambda: cayley(PSI, 1.0, U, 1j, 1)),
    ("diagonal dtype", TypeError, "diagonal: expected one of", lambda: cayley(PSI, DIAGONAL.int(), U, 1j, 1)),
    (
        "diagonal complex",
        TypeError,
        "diagonal: expected a real dtype for real psi",
        lambda: cayley(REAL, PSI, U, 1, 1),
    ),
    (
        "diagonal batch",
        ValueError,
        "diagonal: expected batch axes",
        lambda: cayley(PSI, torch.ones(3, 5), U, 1j, 1),
    ),
    (
        "off size",
        ValueError,
        r"off_diagonal: expected shape \(..., 4\)",
        lambda: cayley(PSI, DIAGONAL, U[1:], 1j, 1),
    ),
    (
        "off type",
        TypeError,
        "off_diagonal: expected a torch.Tensor",
        lambda: cayley(PSI, DIAGONAL, 1.0, 1j, 1),
    ),
    (
        "off triple",
        ValueError,
        "off_diagonal: expected a tensor or a pair",
        lambda: cayley(PSI, DIAGONAL, (U,) * 3, 1j, 1),
    ),
    (
        "lower",
        ValueError,
        r"off_diagonal\[0\]: expected shape",
        lambda: cayley(PSI, DIAGONAL, (U[1:], U), 1j, 1),
    ),
    (
        "upper",
        ValueError,
        r"off_diagonal\[1\]: expected shape",
        lambda: cayley(PSI, DIAGONAL, (U, U[1:]), 1j, 1),
    ),
    (
        "off complex",
        TypeError,
        "off_diagonal: expected a real dtype",
        lambda: cayley(REAL, DIAGONAL, U + 0j, 1.0, 1),
    ),
    (
        "z text",
        TypeError,
        "z: expected a number or a 0-dim tensor, got str",
        lambda: cayley(PSI, DIAGONAL, U, "1", 1),
    ),
    ("z bool", TypeError, "z: expected a number", lambda: cayley(PSI, DIAGONAL, U, True, 1)),
    (
        "z nan",
        ValueError,
        "z: expected a finite number, got nan",
        lambda: cayley(PSI, DIAGONAL, U, float("nan"), 1),
    ),
    (
        "z inf",
        ValueError,
        "z: expected a finite number",
        lambda: cayley(PSI, DIAGONAL, U, complex(0, float("inf")), 1),
    ),
    (
        "z shape",
        ValueError,
        "z: expected a number or a 0-dim tensor",
        lambda: cayley(PSI, DIAGONAL, U, torch.ones(1), 1),
    ),
    ("z dtype", TypeError, "z: expected one of", lambda: cayley(PSI, DIAGONAL, U, torch.tensor(1), 1)),
    (
        "z complex",
        TypeError,
        "z: expected a real number for real psi",
        lambda: cayley(REAL, DIAGONAL, U, 1j, 1),
    ),
    (
        "steps negative",
        ValueError,
        "steps: expected an int >= 0, got -1",
        lambda: cayley(PSI, DIAGONAL, U, 1j, -1),
    ),
    (
        "steps float",
        TypeError,
        "steps: expected an int >= 0, got float",
        lambda: cayley(PSI, DIAGONAL, U, 1j, 1.0),
    ),
    (
        "save",
        ValueError,
        "save_every: expected an int >= 0, got -2",
        lambda: cayley(PSI, DIAGONAL, U, 1j, 1, None, -2),
    ),
    (
        "save type",
        TypeError,
        "save_every: expected an int",
        lambda: cayley(PSI, DIAGONAL, U, 1j, 1, None, True),
    ),
    ("mass type", TypeError, "mass_matrix: expected None", lambda: cayley(PSI, DIAGONAL, U, 1j, 1, DIAGONAL)),
    (
        "mass count",
        ValueError,
        "mass_matrix: expected 2 or 3",
        lambda: cayley(PSI, DIAGONAL, U, 1j, 1, (DIAGONAL,)),
    ),
    (
        "mass size",
        ValueError,
        "mass_matrix diagonal: expected shape",
        lambda: cayley(PSI, DIAGONAL, U, 1j, 1, (U, U)),
    ),
    (
        "mass off",
        ValueError,
        r"mass_matrix off_diagonal\[1\]: expected shape",
        lambda: cayley(PSI, DIAGONAL, U, 1j, 1, (DIAGONAL, U, DIAGONAL)),
    ),
]


@pytest.mark.parametrize(("error", "words", "call"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_arguments_are_refused(error: type[Exception], words: str, call: Call) -> None:
    with pytest.raises(error, match=words):
        call()


def test_the_compiled_function_checks_for_itself() -> None:
    psi, bands, m, z = _operator_inputs(torch.complex128, 4, 6, False, True)
    good: dict[str, Any] = {
        "psi": psi,
        "bands": bands,
        "mass": m,
        "z": z,
        "steps": 3,
        "out": torch.empty_like(psi),
        "frames": torch.empty(1, 4, 6, dtype=psi.dtype),
        "save_every": 2,
        "kept": torch.empty(2, 4, 6, dtype=psi.dtype),
        "checkpoint_every": 1,
        "backend": 0,
    }
    _core.schrodinger_cayley(**good)
    for name, value, words in (
        ("psi", psi[0], "psi: expected 2 axes"),
        ("psi", psi.T, "psi: expected a contiguous tensor"),
        ("psi", psi.real.half(), "psi: expected dtype float32"),
        ("bands", bands[:2], "bands: expected shape"),
        ("bands", bands.expand(3, 3, 6).contiguous(), "bands: expected axis 1 of size 1 or 4"),
        ("bands", bands.real.contiguous(), "bands: expected dtype complex128"),
        ("mass", m[:, :, :5].contiguous(), "mass: expected shape"),
        ("z", torch.ones(2, dtype=psi.dtype), "z: expected axis 0 of size 1 or 4"),
        ("steps", -1, "steps: expected"),
        ("out", psi, "out: expected memory of its own"),
        ("out", torch.empty(4, 5, dtype=psi.dtype), "out: expected shape"),
        ("frames", torch.empty(2, 4, 6, dtype=psi.dtype), "frames: expected shape"),
        ("save_every", -1, "save_every: expected"),
        ("kept", torch.empty(1, 4, 6, dtype=psi.dtype), "kept: expected shape"),
        ("checkpoint_every", -1, "checkpoint_every: expected"),
        ("backend", 7, "backend: expected a code"),
    ):
        with pytest.raises(ValueError, match=words):
            _core.schrodinger_cayley(**{**good, name: value})
