"""Metropolis sampling of discrete paths: beads one by one, segments regrown as free bridges, whole paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from qcore._ops._check import (
    require_choice,
    require_count,
    require_number,
    require_positive,
    wrong_value,
)
from qcore._ops.paths_random import WORDS, require_seed
from qcore._ops.paths_samplers import MOVES, KernelPotential, MetropolisSettings, metropolis_sweeps

from ._metropolis_torch import torch_sweeps
from ._potential import PotentialLike, as_potential
from ._run import SampleResult, run
from ._sampling import (
    Real,
    checked_lags,
    digest,
    duration,
    fingerprint,
    finite_at,
    kernel_potential,
    require_confining,
    require_cpu,
    require_sequence,
    starting_point,
)

SCHEMES = ("trapezoid", "endpoint", "midpoint", "takahashi-imada")
DT_ORDER = {"trapezoid": 2, "endpoint": 2, "midpoint": 1}
WHOLE_PATH = ("displacement", "reflection")
MOST_MOVES = 8


class Metropolis:
    """The engine of `metropolis`, whose arguments it takes; `run` of qcore.paths runs it.

    Potentials that are polynomials or tables are evaluated in the kernel, all sweeps of a call in one go.
    Other functions go through torch, a move of all chains at a time: the same moves with the same random
    numbers, but tens of times slower.
    """

    name = "metropolis"

    def __init__(
        self,
        potential: PotentialLike,
        *,
        slices: int,
        chains: int,
        beta: float | None = None,
        dt: float | None = None,
        mass: float = 1.0,
        hbar: float = 1.0,
        scheme: str = "trapezoid",
        boundary: str = "periodic",
        ends: tuple[float, float] | None = None,
        moves: Sequence[str] = ("single", "staging"),
        segment: int | None = None,
        hits: int = 1,
        lags: Sequence[int] = (),
        every: int = 1,
        histogram: tuple[float, float, int] | None = None,
        start: float | Tensor = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.potential = as_potential(potential)
        require_positive("mass", mass)
        require_positive("hbar", hbar)
        self.beta, self.dt = duration(beta, dt, slices, hbar)
        self.slices, self.chains, self.mass, self.hbar = slices, chains, float(mass), float(hbar)
        require_choice("scheme", scheme, SCHEMES)
        require_choice("boundary", boundary, ("periodic", "pinned"))
        require_count("every", every)
        require_count("hits", hits)
        if every == 0:
            raise wrong_value("every", "at least 1", every)
        if not 1 <= hits <= 2**15:
            raise wrong_value("hits", "1 to 32768", hits)
        require_seed(seed)
        self.scheme, self.pinned, self.every, self.hits = scheme, boundary == "pinned", every, hits
        self.seed, self.dtype = seed, dtype
        self.ends = _checked_ends(ends, self.pinned)
        self.moves = _checked_moves(moves, self.pinned, scheme)
        self.segment = _checked_segment(segment, slices, self.moves)
        self.lags = checked_lags(lags, slices - slices // 2 if self.pinned else slices - 1)
        self.histogram = _checked_histogram(histogram)
        self.beads = slices + 1 if self.pinned else slices
        self._start = self._checked_start(start)
        finite_at(self.potential, self._start, "potential")
        if not self.pinned:
            require_confining(self.potential)
        if scheme in DT_ORDER:
            self.dt_order = DT_ORDER[scheme]
        own = ("action", "x2_middle") if self.pinned else ("energy_virial", "energy_thermodynamic")
        self.observables = (*own, "x2", "x4", *(f"correlator_{lag}" for lag in self.lags))
        kernel = kernel_potential(self.potential)
        self._settings = self._make_settings(kernel or KernelPotential(torch.zeros(1, dtype=torch.float64)))
        self._in_torch = kernel is None

    def config(self) -> dict[str, Any]:
        """All that decides what a run gives."""
        return {
            "potential": fingerprint(self.potential),
            **{name: getattr(self, name) for name in ("slices", "chains", "beta", "dt", "mass", "hbar")},
            **{name: getattr(self, name) for name in ("scheme", "pinned", "ends", "moves", "segment")},
            **{name: getattr(self, name) for name in ("hits", "lags", "every", "histogram", "seed")},
            "dtype": str(self.dtype).removeprefix("torch."),
            "start": digest(self._start),
        }

    def start(self) -> dict[str, Tensor]:
        """x (beads, chains), step widths of single-bead moves and displacements, counts, histogram."""
        width = 2 * math.sqrt(self.hbar * self.dt / self.mass)
        state = {
            "x": self._start.clone(),
            "tuned_step": torch.full((2, self.chains), width, dtype=self.dtype).double(),
            "counts": torch.zeros(2, len(self.moves), self.chains, dtype=torch.float64),
        }
        if self.histogram is not None:
            state["histogram"] = torch.zeros(self.histogram[2], dtype=torch.float64)
        return state

    def advance(
        self, state: dict[str, Tensor], first: int, sweeps: int, *, warmup: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """`sweeps` sweeps from number `first` on."""
        if first + sweeps > WORDS:
            raise wrong_value("sweeps", "numbers below 2^32, warm-up included", first + sweeps)
        moved = {name: value.clone() for name, value in state.items()}
        arguments: dict[str, Any] = {
            "x": moved["x"],
            "step": moved["tuned_step"],
            "counts": moved["counts"],
            "histogram": None if warmup else moved.get("histogram"),
            "first": first,
            "sweeps": sweeps,
            "warmup": warmup,
        }
        if self._in_torch:
            require_cpu(moved["x"])
            measured, accepted = torch_sweeps(self._settings, self.potential, **arguments)
        else:
            measured, accepted = metropolis_sweeps(self._settings, **arguments)
        if not self.pinned:
            measured[:, :2] /= self.beta
        return moved, measured, accepted

    def _make_settings(self, potential: KernelPotential) -> MetropolisSettings:
        correction = self.hbar * self.dt / (24 * self.mass) if self.scheme == "takahashi-imada" else 0.0
        low, per_length = 0.0, 1.0
        if self.histogram is not None:
            low, high, bins = self.histogram
            per_length = bins / (high - low)
        return MetropolisSettings(
            potential=potential,
            link=self.mass / (self.hbar * self.dt),
            potential_scale=self.dt / self.hbar,
            correction=correction,
            midpoint=self.scheme == "midpoint",
            pinned=self.pinned,
            moves=self.moves,
            segment=self.segment,
            hits=self.hits,
            every=self.every,
            lags=self.lags,
            histogram=(low, per_length),
            seed=self.seed,
        )

    def _checked_start(self, start: float | Tensor) -> Tensor:
        """(beads, chains)."""
        x = starting_point(start, (self.chains, self.beads), self.dtype).T.contiguous()
        if self.ends is not None:
            share = torch.linspace(0, 1, self.beads, dtype=torch.float64)[:, None]
            line = (self.ends[0] * (1 - share) + self.ends[1] * share).to(self.dtype)
            x = line.expand(x.shape).clone() if not isinstance(start, Tensor) else x
            x[0], x[-1] = line[0], line[-1]
        return x


def metropolis(
    potential: PotentialLike,
    *,
    slices: int,
    sweeps: int,
    beta: float | None = None,
    dt: float | None = None,
    chains: int = 256,
    warmup: int = 500,
    seed: int = 0,
    mass: float = 1.0,
    hbar: float = 1.0,
    scheme: str = "trapezoid",
    boundary: str = "periodic",
    ends: tuple[float, float] | None = None,
    moves: Sequence[str] = ("single", "staging"),
    segment: int | None = None,
    hits: int = 1,
    lags: Sequence[int] = (),
    every: int = 1,
    histogram: tuple[float, float, int] | None = None,
    start: float | Tensor = 0.0,
    dtype: torch.dtype = torch.float32,
    block: int | None = None,
    progress: Callable[[int], object] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    resume: bool = True,
    keep_chains: bool = False,
    time_limit: float | None = None,
    previous: SampleResult | None = None,
    device: torch.device | str = "cpu",
) -> SampleResult:
    r"""Sample paths with weight exp(-S_E / hbar) by the Metropolis algorithm, many chains at once.

    Closed paths x_0 ... x_{N-1} (boundary "periodic") are those of the partition function at inverse
    temperature beta, in N steps dt = hbar beta / N,

    .. math::
        S_E = \sum_{n=1}^{N} \frac{m}{2 dt} (x_n - x_{n-1})^2 + dt \sum_{n=1}^{N} V_n,

    with :math:`V_n` = V(x_n) for "trapezoid" (and "endpoint", the same on a closed path; the error of
    averages is of order dt^2), V((x_n + x_{n-1}) / 2) for "midpoint" (order dt), and V + (dt^2 / 24 m) V'^2
    at x_n for "takahashi-imada" (order dt^4 of the energies; averages of x^2 and the like keep order dt^2).
    Pinned paths x_0 ... x_N keep x_0 and x_N, whose V counts by half.

    A sweep makes each of `moves` once:
        "single": every bead, even ones first, `hits` times each: x + step (u - 1/2).
        "staging": segments of `segment` links, beginning at a random bead, regrown as free bridges by Levy's
            construction, accepted on the change of the potential's part alone.
        "bisection": the same from coarse to fine with a decision at each level (Ceperley 1995, section V.F).
        "displacement": the whole closed path by step (u - 1/2).
        "reflection": x -> -x of the whole closed path.
    Step widths are tuned per chain in the warm-up towards an acceptance of 1/2, then stay.

    Measured every `every` sweeps, averages over beads; kinetic sum K = sum m (x_n - x_{n-1})^2 / (2 hbar dt):
        energy_virial: <V + x V'/2>, and with W = V + c V'^2, c = dt^2 / 24 m, <W + 2 c V'^2 + x W'/2> for
            "takahashi-imada"; of V at midpoints for "midpoint". For potentials that confine.
        energy_thermodynamic: N / (2 beta) - <K> / beta + <V>, or <W + 2 c V'^2>. Its variance grows with N.
        x2, x4: <x^2>, <x^4>. correlator_k: <x_n x_{n+k}> for k of `lags`.
    Of pinned paths: action, the potential's part of S_E / hbar; x2_middle; x2, x4 of the beads between the
    ends; correlator_k, <x_m x_{m+k}> with m = slices // 2.

    Random numbers are functions of (seed, chain, sweep, bead), so results don't depend on threads, block or
    on how many chains there are besides, and runs that are continued or resumed are bitwise those made in one
    go.

    Args:
        potential: polynomial coefficients (c_0 first), a Table, or an elementwise function of torch. The
            first two run in the kernel; functions run in torch with the same random numbers, much slower.
        slices: N >= 2 steps.
        sweeps: measured sweeps.
        beta, dt: one of them, or both if they agree. Units: hbar beta and dt are times.
        chains: independent paths.
        warmup: sweeps before measuring, with step widths tuned.
        seed: 64 bits.
        mass, hbar: > 0.
        scheme, boundary, moves: see above; the first move's acceptance is the result's.
        ends: x_0 and x_N of pinned paths.
        segment: links of a segment, 2 to slices, a power of two for "bisection"; None takes the largest
            power of two up to slices / 2 and 16.
        hits: proposals to a bead in a row.
        lags: of the correlator.
        every: sweeps from one measurement to the next.
        histogram: (low, high, bins): the beads of measured paths counted in state["histogram"] (bins,).
        start: where all beads begin, or paths (chains, beads); pinned paths begin straight.
        dtype: of the paths, float32 or float64; sums are float64.
        block, progress, checkpoint, resume, keep_chains, time_limit, previous, device: of `run`.

    Returns:
        SampleResult. state["x"] (beads, chains) are the last paths; state["counts"] (2, moves, chains) the
        proposals made and accepted since the warm-up, of every move; tuned["step"] (2, chains) the widths of
        single and displacement.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value, such as beta <= 0, a dt that isn't
            hbar beta / slices, a function whose values have another shape or aren't finite at the start, a
            polynomial of closed paths that isn't bounded below.
        CheckpointError: a checkpoint that is damaged or of another run.

    Source: Metropolis et al., J. Chem. Phys. 21, 1087 (1953); Creutz and Freedman, Ann. Phys. 132, 427
    (1981); Ceperley, Rev. Mod. Phys. 67, 279 (1995); Takahashi and Imada, J. Phys. Soc. Jpn. 53, 3765 (1984).
    """
    engine = Metropolis(
        potential,
        slices=slices,
        chains=chains,
        beta=beta,
        dt=dt,
        mass=mass,
        hbar=hbar,
        scheme=scheme,
        boundary=boundary,
        ends=ends,
        moves=moves,
        segment=segment,
        hits=hits,
        lags=lags,
        every=every,
        histogram=histogram,
        start=start,
        seed=seed,
        dtype=dtype,
    )
    return run(
        engine,
        sweeps=sweeps,
        warmup=warmup,
        block=block,
        progress=progress,
        checkpoint=checkpoint,
        resume=resume,
        keep_chains=keep_chains,
        time_limit=time_limit,
        previous=previous,
        device=device,
    )


def _checked_ends(ends: tuple[float, float] | None, pinned: bool) -> tuple[float, float] | None:
    if pinned != (ends is not None):
        expected = "(x_0, x_N) with boundary='pinned'" if pinned else "None unless boundary='pinned'"
        raise wrong_value("ends", expected, ends)
    if ends is None:
        return None
    require_sequence("ends", ends, "two numbers")
    if len(ends) != 2:
        raise wrong_value("ends", "two numbers", ends)
    for end in ends:
        require_number("ends", end)
        if not math.isfinite(end):
            raise wrong_value("ends", "finite numbers", ends)
    return float(ends[0]), float(ends[1])


def _checked_moves(moves: Sequence[str], pinned: bool, scheme: str) -> tuple[str, ...]:
    require_sequence("moves", moves, "names")
    if not 1 <= len(moves) <= MOST_MOVES:
        raise wrong_value("moves", f"1 to {MOST_MOVES} of them", len(moves))
    for move in moves:
        require_choice("moves", move, MOVES)
        if pinned and move in WHOLE_PATH:
            raise wrong_value("moves", "no move of the whole path where its ends are pinned", repr(move))
        if scheme == "midpoint" and move == "bisection":
            raise wrong_value("moves", "staging instead with scheme='midpoint'", repr(move))
    return tuple(moves)


def _checked_segment(segment: int | None, slices: int, moves: tuple[str, ...]) -> int:
    if segment is None:
        return min(16, 1 << max(1, slices.bit_length() - 2))
    require_count("segment", segment)
    if not 2 <= segment <= slices:
        raise wrong_value("segment", f"2 to {slices} links", segment)
    if "bisection" in moves and segment & (segment - 1):
        raise wrong_value("segment", "a power of two for bisection", segment)
    return segment


def _checked_histogram(histogram: tuple[Real, Real, int] | None) -> tuple[float, float, int] | None:
    if histogram is None:
        return None
    require_sequence("histogram", histogram, "low, high and bins")
    if len(histogram) != 3:
        raise wrong_value("histogram", "(low, high, bins)", histogram)
    low, high, bins = histogram
    require_number("histogram", low)
    require_number("histogram", high)
    require_count("histogram", bins)
    if not (math.isfinite(low) and math.isfinite(high) and low < high and bins >= 1):
        raise wrong_value("histogram", "low < high and bins >= 1", histogram)
    return float(low), float(high), bins
