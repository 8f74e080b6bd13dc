"""Diffusion Monte Carlo with populations of fixed size."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from qcore._ops._check import require_count, require_positive, shape, wrong_type, wrong_value
from qcore._ops.paths_dynamics import DIFFUSION, DMC_OBSERVABLES
from qcore._ops.paths_dynamics import dmc as dmc_kernel
from qcore._ops.paths_random import WORDS, draws, require_seed

from ._potential import Polynomial, PotentialLike, as_potential, evaluate
from ._run import SampleResult, run
from ._sampling import digest, fingerprint, finite_at, kernel_potential, require_cpu, starting_point


class Dmc:
    """The engine of `dmc`, whose arguments it takes: chains are populations, sweeps a few steps."""

    name = "dmc"
    observables: tuple[str, ...] = DMC_OBSERVABLES

    def __init__(
        self,
        potential: PotentialLike,
        *,
        dt: float,
        walkers: int = 1000,
        populations: int = 4,
        measure_every: int = 20,
        mass: float = 1.0,
        hbar: float = 1.0,
        guide: PotentialLike | None = None,
        start: float | Tensor = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.potential = as_potential(potential)
        for name, value in (("dt", dt), ("mass", mass), ("hbar", hbar)):
            require_positive(name, value)
        for name, value in (
            ("walkers", walkers),
            ("populations", populations),
            ("measure_every", measure_every),
        ):
            require_count(name, value)
            if not 1 <= value < 2**31:
                raise wrong_value(name, "1 to 2^31 - 1", value)
        require_seed(seed)
        self.dt, self.mass, self.hbar, self.seed = float(dt), float(mass), float(hbar), seed
        self.steps = measure_every
        self._start = starting_point(start, (populations, walkers), dtype, many="populations")
        finite_at(self.potential, self._start, "potential")
        self._kernel, self._guide = kernel_potential(self.potential), None
        if guide is not None:
            checked = as_potential(guide, "guide")
            if not isinstance(checked, Polynomial) or checked.coefficients.ndim != 1:
                raise wrong_type("guide", "a polynomial's coefficients", type(guide).__name__)
            self._guide = checked.coefficients.detach().cpu().contiguous()
            if self._kernel is None:
                raise wrong_value("guide", "None where the potential is a function", shape(self._guide))
        self.dt_order = 2 if guide is None else 1

    def config(self) -> dict[str, Any]:
        """All that decides what a run gives."""
        return {
            "potential": fingerprint(self.potential),
            "guide": None if self._guide is None else self._guide.tolist(),
            **{name: getattr(self, name) for name in ("dt", "mass", "hbar", "steps", "seed")},
            "walkers": list(self._start.shape),
            "dtype": str(self._start.dtype).removeprefix("torch."),
            "start": digest(self._start),
        }

    def start(self) -> dict[str, Tensor]:
        """Walkers (populations, walkers), and the energy that weights are relative to (populations,)."""
        with torch.no_grad():
            reference = evaluate(self.potential, self._start).double().mean(1)
        return {"walkers": self._start.clone(), "reference": reference}

    def advance(
        self, state: dict[str, Tensor], first: int, sweeps: int, *, warmup: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """`sweeps` times `measure_every` steps.

        Raises:
            ArithmeticError: weights that are all zero, or not numbers.
        """
        if (first + sweeps) * self.steps >= WORDS:
            raise wrong_value("steps", "fewer than 2^32, warm-up included", (first + sweeps) * self.steps)
        walkers, reference = state["walkers"].clone(), state["reference"].clone()
        if self._kernel is None:
            require_cpu(walkers)
            measured = self._in_torch(walkers, reference, first, sweeps)
        else:
            measured = dmc_kernel(
                self._kernel,
                self._guide,
                mass=self.mass,
                hbar=self.hbar,
                dt=self.dt,
                walkers=walkers,
                reference=reference,
                first=first,
                count=sweeps,
                steps=self.steps,
                seed=self.seed,
            )
        if not bool(torch.isfinite(measured).all()):
            raise ArithmeticError(
                "dmc: a population whose weights are all zero or not numbers: is the potential bounded "
                "below, and dt small against hbar over its variation?"
            )
        return {"walkers": walkers, "reference": reference}, measured, torch.ones(walkers.shape[0])

    def _in_torch(self, x: Tensor, reference: Tensor, first: int, count: int) -> Tensor:
        """The kernel's steps, for a function of torch."""
        populations, size = x.shape
        each = 4 if x.dtype == torch.float32 else 2
        rate, spread = self.dt / self.hbar, math.sqrt(self.hbar * self.dt / self.mass)
        measured = torch.zeros(count, len(self.observables), populations, dtype=torch.float64)
        teeth = torch.arange(size, dtype=torch.float64)
        with torch.no_grad():
            local = evaluate(self.potential, x)
            for k in range(count):
                for n in range((first + k) * self.steps, (first + k + 1) * self.steps):
                    noise = draws(
                        "normal",
                        purpose=DIFFUSION,
                        sweep=n // each,
                        sites=populations,
                        chains=size,
                        seed=self.seed,
                        dtype=x.dtype,
                    )[:, n % each]
                    y = x + spread * noise
                    f = evaluate(self.potential, y)
                    w = torch.exp(-rate * (0.5 * (local + f) - reference[:, None].to(x.dtype))).double()
                    total = w.sum(1)
                    for row, value in enumerate((f, y, y**2, y**4), 1):
                        measured[k, row] += (w * value).sum(1) / total
                    measured[k, 0] += reference - torch.log(total / size) / rate
                    measured[k, 5] += total**2 / (size * w.square().sum(1))
                    u = draws(
                        "uniform", purpose=DIFFUSION | 1, sweep=n, sites=populations, chains=1, seed=self.seed
                    )[:, 0]
                    chosen = torch.searchsorted(w.cumsum(1), (teeth + u) * (total / size)[:, None])
                    chosen = chosen.clamp(max=size - 1)
                    x.copy_(y.gather(1, chosen))
                    local = f.gather(1, chosen)
                measured[k] /= self.steps
                reference.copy_(measured[k, 0])
        return measured


def dmc(
    potential: PotentialLike,
    *,
    dt: float,
    steps: int,
    walkers: int = 1000,
    populations: int = 4,
    warmup: int = 0,
    measure_every: int = 20,
    mass: float = 1.0,
    hbar: float = 1.0,
    guide: PotentialLike | None = None,
    start: float | Tensor = 0.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> SampleResult:
    """The ground-state energy of p^2/2m + V by walkers that diffuse and are copied by weight.

    A step moves a walker from x to y = x + sqrt(hbar dt / m) xi and weighs it with
    w = exp(-dt ((V(x) + V(y)) / 2 - E) / hbar); then as many walkers as before are drawn by a comb
    (systematic resampling), floor or ceil of w / mean w copies of each. This iterates the trapezoid transfer
    matrix, so without a guide, and with many walkers, energy_growth is exactly -(hbar/dt) ln of its largest
    eigenvalue and walkers have the density phi_0 of its eigenvector (not phi_0^2), by which energy_mixed =
    <V>, x, x2 and x4 are averages. For V = m w^2 x^2 / 2: energy_growth = (hbar/dt) asinh(w dt / 2).

    Populations of finite size err besides: the weights of a step aren't independent of the walkers they fall
    on. That error falls with 1/walkers; repeat with twice as many to see it.

    Args:
        potential: V: coefficients of a polynomial, c_0 first, a Table, or a function of torch (slow).
        dt: step of Euclidean time.
        steps: measured steps, a multiple of `measure_every`.
        walkers: in each population.
        populations: independent ones, one thread each; each is the same whatever their number.
        warmup: steps before them, a multiple of `measure_every`.
        measure_every: steps that each measurement is a mean over.
        mass, hbar: in the potential's units.
        guide: coefficients of the polynomial u of a guiding function exp(u). Walkers then also drift by
            (hbar/m) u' dt, are weighed by the local energy V - (hbar^2/2m)(u'' + u'^2) in the place of V, and
            have the density phi_0 exp(u): energy_mixed is the mixed estimate, of no variance if exp(u) is the
            ground state. The error in dt is then of first order.
        start: a number, or (populations, walkers).
        seed: of the random numbers, 64 bits.
        dtype: of the walkers, torch.float32 or torch.float64; weights add up in float64 either way.
        options: block, progress, checkpoint, resume, keep_chains, time_limit, previous, device, as
            qcore.paths.run takes them; blocks are counted in measurements.

    Returns:
        SampleResult, whose sweeps are measurements and whose chains are populations, with energy_growth,
        energy_mixed, x, x2, x4, and effective_fraction (sum w)^2 / (walkers sum w^2).

    Raises:
        ArithmeticError: weights that are all zero, or not numbers.
        ValueError, TypeError: an argument that can't be; the message names it.

    Sources: Anderson, J. Chem. Phys. 63, 1499 (1975); fixed populations: Assaraf, Caffarel, Khelif, Phys.
    Rev. E 61, 4566 (2000).
    """
    engine = Dmc(
        potential,
        dt=dt,
        walkers=walkers,
        populations=populations,
        measure_every=measure_every,
        mass=mass,
        hbar=hbar,
        guide=guide,
        start=start,
        seed=seed,
        dtype=dtype,
    )
    for name, value in (("steps", steps), ("warmup", warmup)):
        require_count(name, value)
        if value % measure_every:
            raise wrong_value(name, f"a multiple of measure_every = {measure_every}", value)
    return run(engine, sweeps=steps // measure_every, warmup=warmup // measure_every, **options)
