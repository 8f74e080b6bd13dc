"""The linear systems of a step by LAPACK through scipy, with factors kept or anew; lines among threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from .cases import DT, Case, Problem, Runner
from .tridiagonal import Array, Bands, coefficients, halved, mass_times, pentadiagonal, potential_of


class Factored:
    """A stage on lines (B, n): psi <- 2 A^{-1} M psi - psi by gttrs; the wrap-around is of rank 1."""

    def __init__(self, potential: Array, kappa: float, c: complex, case: Case) -> None:
        from scipy.linalg import get_lapack_funcs

        factor, self.solve = get_lapack_funcs(("gttrf", "gttrs"), dtype=numpy_type(case))
        self.order, self.periodic = case.space_order, case.boundary == "periodic"
        bands = halved(potential, kappa, c, self.order)
        if self.periodic:
            # A = A' - e w w^T with w = (1, 0, ..., 0, -1): A' keeps positive real parts on its diagonal.
            e = bands.upper[0]
            bands.diagonal[[0, -1]] += e
        self.factors = factor(*(band.astype(numpy_type(case)) for band in bands))[:5]
        if self.periodic:
            w = np.zeros((1, len(potential)), numpy_type(case))
            w[0, 0], w[0, -1] = 1, -1
            z = self._solved(w)
            self.correction = (z * (e / (1 - e * (z[0, 0] - z[0, -1])))).astype(numpy_type(case))

    def _solved(self, b: Array) -> Array:
        x, _ = self.solve(*self.factors, b.T, overwrite_b=True)
        solved: Array = x.T
        return solved

    def step(self, psi: Array, work: Array) -> None:
        """In place, with as much memory to work in."""
        mass_times(psi, self.order, self.periodic, work)
        solved = self._solved(work)
        if self.periodic:
            solved += (solved[:, :1] - solved[:, -1:]) * self.correction
        np.subtract(solved, psi, out=psi)


def gttrs(problem: Problem) -> Runner:
    """Factors of the tridiagonal systems once (driven: every step), lines divided among the threads."""
    case = problem.case
    potentials = [potential_of(problem, step) for step in range(case.steps if case.driven else 1)]
    cs = coefficients(case.time_order)

    def stages(step: int) -> list[Factored]:
        return [Factored(potentials[step], problem.kappa, c, case) for c in cs]

    constant = None if case.driven else stages(0)

    def lines(psi: Array, work: Array) -> None:
        for step in range(case.steps):
            for stage in constant or stages(step):
                stage.step(psi, work)

    return divided(problem, lines)


def gttrs_along_axes(problem: Problem) -> Runner:
    """Strang steps: half the potential's phase, each axis by gttrs on lines copied together, half again."""
    case, threads = problem.case, Threads()
    phase = np.exp(-1j * DT * problem.potential.numpy())
    whole, half = phase.astype(numpy_type(case)), np.sqrt(phase).astype(numpy_type(case))
    stages = [
        [Factored(np.zeros(n), problem.kappa, c, case) for c in coefficients(case.time_order)]
        for n in case.space
    ]
    state = problem.psi.numpy().copy()
    work = np.empty_like(state)
    axes = [
        np.empty_like(state).reshape(*np.moveaxis(state, 1 + axis, -1).shape)
        for axis in range(len(case.space))
    ]

    def sweep(axis: int) -> None:
        n = case.space[axis]
        seen, copied = np.moveaxis(state, 1 + axis, -1), axes[axis]
        np.copyto(copied, seen)

        def part(lines: Array, room: Array) -> None:
            for stage in stages[axis]:
                stage.step(lines, room)

        threads.run(part, copied.reshape(-1, n), work.reshape(-1, n))
        np.copyto(seen, copied)

    def run() -> Array:
        np.copyto(state, problem.psi.numpy())
        np.multiply(state, half, out=state)
        for step in range(case.steps):
            for axis in range(len(case.space)):
                sweep(axis)
            np.multiply(state, whole if step + 1 < case.steps else half, out=state)
        return state

    return Runner(run, lambda psi: torch.from_numpy(psi.copy()))


def solve_banded(problem: Problem) -> Runner:
    """scipy's public function, which eliminates anew every step; it keeps Python's lock, hence one thread."""
    from scipy import linalg

    case = problem.case
    reach = 2 if case.space_order == 6 else 1
    cs = coefficients(case.time_order)

    def stages(step: int) -> list[Array]:
        potential = potential_of(problem, step)
        made = [
            pentadiagonal(potential, problem.kappa, c)
            if reach == 2
            else stored(halved(potential, problem.kappa, c, case.space_order))
            for c in cs
        ]
        return [bands.astype(numpy_type(case)) for bands in made]

    constant = None if case.driven else stages(0)

    def lines(psi: Array, work: Array) -> None:
        for step in range(case.steps):
            for bands in constant or stages(step):
                mass_times(psi, case.space_order, False, work)
                x = linalg.solve_banded((reach, reach), bands, work.T, overwrite_b=True, check_finite=False)
                np.subtract(x.T, psi, out=psi)

    return divided(problem, lines, threads=1)


def gbtrs(problem: Problem) -> Runner:
    """Factors of the pentadiagonal systems of order 6 once; gbtrs keeps Python's lock, hence one thread."""
    from scipy.linalg import get_lapack_funcs

    case = problem.case
    factor, solve = get_lapack_funcs(("gbtrf", "gbtrs"), dtype=numpy_type(case))
    stages = []
    for c in coefficients(case.time_order):
        bands = pentadiagonal(potential_of(problem), problem.kappa, c)
        room = np.concatenate([np.zeros((2, bands.shape[1])), bands]).astype(numpy_type(case))
        stages.append(factor(room, 2, 2)[:2])

    def lines(psi: Array, work: Array) -> None:
        for _ in range(case.steps):
            for factors, pivots in stages:
                mass_times(psi, 6, False, work)
                x, _ = solve(factors, 2, 2, work.T, pivots, overwrite_b=True)
                np.subtract(x.T, psi, out=psi)

    return divided(problem, lines, threads=1)


def stored(bands: Bands) -> Array:
    """As solve_banded wants it, (3, n)."""
    made = np.zeros((3, len(bands.diagonal)), complex)
    made[0, 1:], made[1], made[2, :-1] = bands.upper, bands.diagonal, bands.lower
    return made


class Threads:
    """Runs a function on parts of two arrays of lines, each part on a thread of its own."""

    def __init__(self, count: int | None = None) -> None:
        self.count = torch.get_num_threads() if count is None else count
        self.pool = ThreadPoolExecutor(self.count) if self.count > 1 else None

    def run(self, part: Callable[[Array, Array], None], *arrays: Array) -> None:
        """part(lines, room) on every share of both."""
        if self.pool is None or len(arrays[0]) < self.count:
            part(*arrays)
            return
        shares = zip(*(np.array_split(array, self.count) for array in arrays), strict=True)
        for done in [self.pool.submit(part, *share) for share in shares]:
            done.result()


def divided(problem: Problem, lines: Callable[[Array, Array], None], *, threads: int | None = None) -> Runner:
    """A run of `lines(psi, work)`, all steps in place, on the threads' shares of the systems."""
    team = Threads(threads)
    start = problem.psi.numpy()
    state, work = np.empty_like(start), np.empty_like(start)

    def run() -> Array:
        np.copyto(state, start)
        team.run(lines, state, work)
        return state

    return Runner(run, lambda psi: torch.from_numpy(psi.copy()))


def numpy_type(case: Case) -> type:
    """Of psi."""
    return np.complex64 if case.dtype == torch.complex64 else np.complex128
