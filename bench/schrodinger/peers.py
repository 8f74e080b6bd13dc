"""The same runs as a Python user would write them, each checked against qcore's result before it is timed.

The implicit ones solve the same linear systems, in the form psi' = 2 A^{-1} M psi - psi that needs no product
with H, with A / 2 factored so that nothing is doubled, into memory kept between steps. The split step is
another approximation of the same equation and agrees as far as both are right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import pi
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcore import schrodinger
from qcore._ops import schrodinger as ops

from ..timing import Disagreement
from .cases import BANDED, DT, FFT, GTTRS, RESOLVED, SPACING, Case, Problem, Runner
from .lapack import gbtrs, gttrs, gttrs_along_axes, numpy_type, solve_banded
from .tridiagonal import MASS, coefficients, halved, potential_of

# Largest distance ||a - b|| / ||b|| between results that count as the same, after CHECK_STEPS steps.
CHECK_STEPS = 20
SAME = {torch.complex128: 1e-11, torch.complex64: 1e-4}
NEARLY = 3e-3  # between two approximations of the equation


@dataclass(frozen=True)
class Peer:
    """A way of making the steps.

    Args:
        name: as it stands in the report.
        build: the runner for a problem.
        fits: the cases it can run.
        usual: timed in every case, not just in the thorough ones.
        alone: on one thread whatever the others have.
        exact: solves qcore's linear systems, hence agrees to rounding.
    """

    name: str
    build: Callable[[Problem], Runner]
    fits: Callable[[Case], bool]
    usual: bool = True
    alone: bool = False
    exact: bool = True

    @property
    def tolerance(self) -> dict[torch.dtype, float]:
        """By the type of psi."""
        return SAME if self.exact else dict.fromkeys(SAME, NEARLY)


def ours(problem: Problem) -> Runner:
    """qcore through its public function, or through the operator below it."""
    case = problem.case
    if case.raw:
        c = torch.tensor(coefficients(case.time_order), dtype=torch.complex128)
        potential, kappa = problem.potential.reshape(-1, 1, *case.space), torch.tensor(problem.kappa).double()
        precision = "float64" if case.compute == torch.float64 else "float32"
        settings = "cayley", case.space_order, case.boundary, precision, "auto", True
        return Runner(lambda: ops.evolve.call(problem.psi, potential, kappa, c, case.steps, *settings))
    return Runner(lambda: propagated(problem, problem.potential))


def propagated(problem: Problem, potential: Tensor) -> Tensor:
    """psi after the steps, differentiable."""
    case = problem.case
    out = schrodinger.propagate(
        problem.psi,
        potential,
        dt=DT,
        steps=case.steps,
        spacing=SPACING if len(case.space) == 1 else (SPACING,) * len(case.space),
        boundary=case.boundary,
        time_order=case.time_order,
        space_order=case.space_order,
        arithmetic=case.arithmetic,
    )
    assert isinstance(out, Tensor)
    return out


def check(peer: Peer, got: Tensor, expected: Tensor, case: Case) -> None:
    """Refuse a peer whose result is not qcore's.

    Raises:
        Disagreement: with the distance, relative in the 2-norm, and what was allowed.
    """
    where, tolerance = f"{case.name} {case.label}: '{peer.name}'", peer.tolerance[case.dtype]
    if got.shape != expected.shape:
        raise Disagreement(f"{where} has shape {tuple(got.shape)}, qcore's {tuple(expected.shape)}")
    distance = ((got.cdouble() - expected.cdouble()).norm() / expected.cdouble().norm()).item()
    if not distance <= tolerance:  # nor if it is nan
        raise Disagreement(f"{where} is {distance:.1e} from qcore's, at most {tolerance:.1e} is allowed")


# --- torch ---


def rows(problem: Problem) -> Runner:
    """Elimination row by row, systems innermost in memory: one vector operation per row and sweep."""
    case = problem.case
    n = case.space[0]
    stages = []
    for c in coefficients(case.time_order):
        bands = halved(potential_of(problem), problem.kappa, c, case.space_order)
        factors, pivots = np.zeros(n, complex), bands.diagonal.copy()
        for j in range(1, n):
            factors[j] = bands.lower[j - 1] / pivots[j - 1]
            pivots[j] -= factors[j] * bands.upper[j - 1]
        back = np.append(-bands.upper / pivots[:-1], 0)
        inverse = torch.from_numpy(1 / pivots).to(case.dtype)[:, None]
        stages.append(((-factors).tolist(), back.tolist(), inverse))
    start = problem.psi.T.contiguous()
    state, work = torch.empty_like(start), torch.empty_like(start)
    lines = work.unbind(0)
    m0, m1 = MASS[case.space_order]

    @torch.no_grad()
    def run() -> Tensor:
        state.copy_(start)
        for _ in range(case.steps):
            for forward, back, inverse in stages:
                torch.mul(state, m0, out=work)
                if m1:
                    work[1:].add_(state[:-1], alpha=m1)
                    work[:-1].add_(state[1:], alpha=m1)
                for j in range(1, n):
                    lines[j].add_(lines[j - 1], alpha=forward[j])
                work.mul_(inverse)
                for j in range(n - 2, -1, -1):
                    lines[j].add_(lines[j + 1], alpha=back[j])
                torch.sub(work, state, out=state)
        return state

    return Runner(run, lambda psi: psi.T.contiguous())


def split_step(problem: Problem) -> Runner:
    """Strang steps with Fourier transforms, neighbouring half kicks joined, factors in place.

    Transforms into kept memory (out=) are slower than those that allocate where malloc keeps what is freed.
    """
    case, drift = problem.case, drift_of(problem.case).to(problem.psi.device)
    axes = tuple(range(1, 1 + len(case.space)))
    kicks = [turned(problem.at(0), fraction, case) for fraction in (0.5, 1.0)]

    def kick(step: int) -> Tensor:
        """Between step - 1 and step."""
        if not case.driven:
            return kicks[0 < step < case.steps]
        before = problem.at(step - 1) if step > 0 else 0.0
        return turned(before + (problem.at(step) if step < case.steps else 0.0), 0.5, case)

    @torch.no_grad()
    def run() -> Tensor:
        psi = problem.psi * kick(0)
        for step in range(case.steps):
            waves = torch.fft.fftn(psi, dim=axes)
            psi = torch.fft.ifftn(waves.mul_(drift), dim=axes)
            psi.mul_(kick(step + 1))
        return psi

    return Runner(run)


def drift_of(case: Case) -> Tensor:
    """What a step of kinetic energy does to waves, (*S)."""
    energy = torch.zeros(case.space, dtype=torch.float64)
    for axis, n in enumerate(case.space):
        wave = 2 * pi * torch.fft.fftfreq(n, SPACING, dtype=torch.float64)
        energy = energy + (0.5 * wave**2).reshape(-1, *(1,) * (len(case.space) - axis - 1))
    return turned(energy, 1.0, case)


def turned(energy: Any, fraction: float, case: Case) -> Tensor:
    """exp(-i fraction dt energy)."""
    angle = -fraction * DT * torch.as_tensor(energy)
    return torch.complex(angle.cos(), angle.sin()).to(case.dtype)


# --- JAX ---


def jax_tridiagonal(problem: Problem) -> Runner:
    """jax.lax.linalg.tridiagonal_solve in a compiled loop, on as many threads as XLA takes."""
    import jax

    jax.config.update("jax_enable_x64", True)
    case = problem.case
    kind = numpy_type(case)
    stages = []
    for c in coefficients(case.time_order):
        bands = halved(potential_of(problem), problem.kappa, c, 2)
        own = np.append(0, bands.lower), bands.diagonal, np.append(bands.upper, 0)
        stages.append(tuple(jax.numpy.asarray(band.astype(kind)) for band in own))
    start = jax.numpy.asarray(problem.psi.numpy().T)  # (n, B): one system with many right-hand sides

    @jax.jit  # type: ignore[untyped-decorator]
    def run(psi: Any) -> Any:
        def step(_: Any, psi: Any) -> Any:
            for bands in stages:
                psi = jax.lax.linalg.tridiagonal_solve(*bands, psi) - psi
            return psi

        return jax.lax.fori_loop(0, case.steps, step, psi)

    return Runner(
        lambda: run(start).block_until_ready(), lambda psi: torch.from_numpy(np.array(psi).T.copy())
    )


# --- all of them ---


def _line(case: Case) -> bool:
    return len(case.space) == 1


def _walls(case: Case) -> bool:
    return _line(case) and case.boundary == "dirichlet"


def _tridiagonal(case: Case) -> bool:
    return _walls(case) and case.space_order < 6


def _gttrs(case: Case) -> bool:
    return _tridiagonal(case) or (_line(case) and case.space_order == 2 and case.boundary == "periodic")


def _gttrs_along_axes(case: Case) -> bool:
    return not _line(case) and (case.time_order, case.space_order) == (2, 2) and not case.driven


def _many(case: Case) -> bool:
    return _tridiagonal(case) and not case.driven and case.batch >= 16


def _order_six(case: Case) -> bool:
    return _walls(case) and case.space_order == 6 and not case.driven


def _resolved(case: Case) -> bool:
    return (case.time_order, case.space_order) == (2, 2) and min(case.space) >= RESOLVED


def _jax(case: Case) -> bool:
    return _walls(case) and case.space_order == 2 and not case.driven


PEERS = [
    Peer(GTTRS, gttrs, _gttrs),
    Peer("LAPACK gttrs along axes", gttrs_along_axes, _gttrs_along_axes),
    Peer("LAPACK gbtrs", gbtrs, _order_six, alone=True),
    Peer(BANDED, solve_banded, _walls, usual=False, alone=True),
    Peer("torch, row by row", rows, _many, alone=True),
    Peer(FFT, split_step, lambda case: _resolved(case) and not _line(case), exact=False),
    Peer(FFT, split_step, lambda case: _resolved(case) and _line(case), usual=False, exact=False),
    Peer("jax tridiagonal_solve", jax_tridiagonal, _jax, usual=False),
]


def peers_of(case: Case) -> list[Peer]:
    """The peers a case is timed against: the usual ones, or all that fit a thorough case."""
    return [peer for peer in PEERS if peer.fits(case) and (peer.usual or case.thorough)]


def with_steps(problem: Problem, steps: int) -> Problem:
    """The first so many steps of a problem."""
    case = replace(problem.case, steps=steps)
    return Problem(case, problem.psi, problem.potential[:steps] if case.driven else problem.potential)
