"""Langevin motion that is stationary in the square of a ground state: Nelson's stochastic quantisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qcore._ops._check import (
    require_choice,
    require_count,
    require_positive,
    wrong_type,
    wrong_value,
)
from qcore._ops.paths_dynamics import LANGEVIN, SCHEMES, WALK_OBSERVABLES
from qcore._ops.paths_dynamics import langevin as langevin_kernel
from qcore._ops.paths_random import WORDS, draws, require_seed

from ._potential import Polynomial, Potential, PotentialLike, as_potential, evaluate
from ._run import SampleResult, run
from ._sampling import (
    checked_lags,
    digest,
    fingerprint,
    finite_at,
    kernel_potential,
    require_cpu,
    starting_point,
)

DT_ORDER = {"euler-maruyama": 1, "heun": 2, "leimkuhler-matthews": 2, "implicit-midpoint": 1}
Drift = Callable[[Tensor], Tensor]


class Diverged(ArithmeticError):
    """Chains of a Langevin run have left for infinity, or an implicit step had no solution that was found."""


class Langevin:
    """The engine of `langevin`, whose arguments it takes; a sweep is `measure_every` steps."""

    name = "langevin"

    def __init__(
        self,
        potential: PotentialLike | None = None,
        *,
        drift: Drift | None = None,
        dt: float,
        scheme: str = "heun",
        chains: int,
        measure_every: int = 64,
        mass: float = 1.0,
        hbar: float = 1.0,
        lags: Sequence[int] = (),
        x0: float | Tensor = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        require_choice("scheme", scheme, SCHEMES)
        for name, value in (("dt", dt), ("mass", mass), ("hbar", hbar)):
            require_positive(name, value)
        require_count("measure_every", measure_every)
        if not 1 <= measure_every <= 2**20:
            raise wrong_value("measure_every", "1 to 2^20", measure_every)
        require_seed(seed)
        if (potential is None) == (drift is None):
            given = "neither" if drift is None else "both"
            raise wrong_value("potential", "a potential G or a drift", given)
        self.scheme, self.dt, self.diffusion = scheme, float(dt), float(hbar) / (2 * float(mass))
        self.chains, self.steps, self.seed = chains, measure_every, seed
        self.lags = checked_lags(lags, measure_every)
        self._start = starting_point(x0, (chains,), dtype, "x0")
        self._drift, self._kernel = drift, None
        self._identity: dict[str, Any]
        if potential is not None:
            g = as_potential(potential)
            finite_at(g, self._start, "potential")
            self._kernel, self._identity = kernel_potential(g), {"potential": fingerprint(g)}
            _check_exact(scheme, g)
            if self._kernel is None:
                self._drift = _minus_slope(g)
        else:
            if not callable(drift):
                raise wrong_type("drift", "a function of torch", type(drift).__name__)
            _check_exact(scheme, drift)
            self._force(self._start)
            self._identity = {"drift": fingerprint(drift)}
        if scheme in DT_ORDER:
            self.dt_order = DT_ORDER[scheme]
        self.observables = (*WALK_OBSERVABLES, *(f"correlator_{lag}" for lag in self.lags))

    def config(self) -> dict[str, Any]:
        """All that decides what a run gives."""
        names = ("scheme", "dt", "diffusion", "chains", "steps", "lags", "seed")
        return {
            **self._identity,
            **{name: getattr(self, name) for name in names},
            "dtype": str(self._start.dtype).removeprefix("torch."),
            "x0": digest(self._start),
        }

    def start(self) -> dict[str, Tensor]:
        """x (chains,)."""
        return {"x": self._start.clone()}

    def advance(
        self, state: dict[str, Tensor], first: int, sweeps: int, *, warmup: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """`sweeps` times `measure_every` steps.

        Raises:
            Diverged: a chain that is at no finite place.
        """
        if (first + sweeps) * self.steps >= WORDS:
            raise wrong_value("steps", "fewer than 2^32, warm-up included", (first + sweeps) * self.steps)
        x = state["x"].clone()
        if self._kernel is None:
            require_cpu(x)
            measured, failed = self._in_torch(x, first, sweeps)
        else:
            measured, failed = langevin_kernel(
                self._kernel,
                scheme=self.scheme,
                dt=self.dt,
                diffusion=self.diffusion,
                lags=self.lags,
                x=x,
                first=first,
                count=sweeps,
                steps=self.steps,
                seed=self.seed,
            )
        lost = failed[failed >= 0]
        if lost.numel():
            advice = (
                "an explicit step with a drift that grows faster than x leaves for infinity sooner or later"
                if self.scheme != "implicit-midpoint"
                else "or its equation for the midpoint was not solved"
            )
            raise Diverged(
                f"{self.scheme}: {lost.numel()} of {self.chains} chains were at no finite place by step "
                f"{int(lost.min())}: {advice}; a smaller dt or scheme='implicit-midpoint' may help"
            )
        return {"x": x}, measured, torch.ones(self.chains, dtype=torch.float64)

    # --- functions of torch: the same steps with the same random numbers ------------------------------

    def _force(self, x: Tensor) -> Tensor:
        assert self._drift is not None
        return evaluate(self._drift, x, "drift")

    def _in_torch(self, x: Tensor, first: int, count: int) -> tuple[Tensor, Tensor]:
        measured = torch.empty(count, len(self.observables), self.chains, dtype=torch.float64)
        failed = torch.full((self.chains,), -1.0, dtype=torch.float64)
        noise = _Noise(self.chains, self.seed, x.dtype)
        for k in range(count):
            begin = (first + k) * self.steps
            way = torch.empty(self.steps + 1, self.chains, dtype=torch.float64)
            way[0] = x
            for t in range(self.steps):
                x.copy_(self._step(x, noise, begin + t))
                way[t + 1] = x
            for row, power in enumerate((1, 2, 4)):
                measured[k, row] = (way[1:] ** power).mean(0)
            for row, lag in enumerate(self.lags, len(WALK_OBSERVABLES)):
                measured[k, row] = (way[lag:] * way[: self.steps + 1 - lag]).mean(0)
            failed = torch.where((failed < 0) & ~torch.isfinite(x), float(begin + self.steps), failed)
        return measured, failed

    def _step(self, x: Tensor, noise: _Noise, n: int) -> Tensor:
        kick, dt = math.sqrt(2 * self.diffusion * self.dt), self.dt
        push = kick * noise(n)
        if self.scheme == "implicit-midpoint":
            return self._midpoint(x, push)
        force = self._force(x).detach()
        if self.scheme == "heun":
            return x + (force + self._force(x + force * dt + push).detach()) * (dt / 2) + push
        if self.scheme == "leimkuhler-matthews":
            push = 0.5 * kick * (noise(n) + noise(n + 1))
        return x + force * dt + push

    def _midpoint(self, x: Tensor, push: Tensor) -> Tensor:
        goal = x + 0.5 * push
        y, change = goal, torch.zeros_like(x)
        for _ in range(6):
            with torch.enable_grad():
                at = y.detach().requires_grad_()
                force = self._force(at)
                (slope,) = torch.autograd.grad(force.sum(), at)
            change = (y - 0.5 * self.dt * force.detach() - goal) / (1 - 0.5 * self.dt * slope)
            y = y - change
        solved = change.abs() <= (1e-3 if x.dtype == torch.float32 else 1e-7) * (y.abs() + 1)
        return torch.where(solved, 2 * y - x, math.nan)


class _Noise:
    """The normal of every step; a block of random words serves several."""

    def __init__(self, chains: int, seed: int, dtype: torch.dtype) -> None:
        self.chains, self.seed, self.dtype = chains, seed, dtype
        self.each = 4 if dtype == torch.float32 else 2
        self.blocks: dict[int, Tensor] = {}

    def __call__(self, step: int) -> Tensor:
        block = step // self.each
        if block not in self.blocks:
            self.blocks = {key: value for key, value in self.blocks.items() if key == block - 1}
            self.blocks[block] = draws(
                "normal", purpose=LANGEVIN, sweep=block, chains=self.chains, seed=self.seed, dtype=self.dtype
            )[0]
        return self.blocks[block][step % self.each]


def _minus_slope(g: Potential) -> Drift:
    def drift(x: Tensor) -> Tensor:
        with torch.enable_grad():
            at = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(evaluate(g, at).sum(), at, create_graph=True)
        return -slope

    return drift


def _check_exact(scheme: str, potential: Potential | Drift) -> None:
    if scheme != "exact":
        return
    c = potential.coefficients.reshape(-1).tolist() if isinstance(potential, Polynomial) else []
    if len(c) < 3 or not c[2] > 0 or any(c[3:]):
        raise wrong_value(
            "scheme", "'exact' only for a polynomial of second degree with a minimum", "'exact'"
        )


def langevin(
    potential: PotentialLike | None = None,
    *,
    drift: Drift | None = None,
    dt: float,
    steps: int,
    scheme: str = "heun",
    chains: int = 1024,
    warmup: int = 0,
    measure_every: int = 64,
    mass: float = 1.0,
    hbar: float = 1.0,
    lags: Sequence[int] = (),
    x0: float | Tensor = 0.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> SampleResult:
    """Follow dx = -G'(x) dt + sqrt(hbar/m) dB; it is stationary where psi^2 = exp(-2 m G / hbar).

    psi is the ground state, of energy 0, of p^2 / 2m + (m/2) G'^2 - (hbar/2) G''. With F = -G',
    standard normals xi_n, 2 D = hbar / m and s = sqrt(2 D dt), a step is, by `scheme`,

        "euler-maruyama"        x + F(x) dt + s xi_n                                         order 1
        "heun"                  x + (F(x) + F(x + F(x) dt + s xi_n)) dt / 2 + s xi_n         order 2
        "leimkuhler-matthews"   x + F(x) dt + s (xi_n + xi_{n+1}) / 2                        order 2
        "implicit-midpoint"     x' = x + F((x + x') / 2) dt + s xi_n                         order 1
        "exact"                 the Ornstein-Uhlenbeck step, for G of second degree alone

    the order being that of the stationary averages in dt; the last three leave no error for G of second
    degree. For G = w x^2 / 2 and e = w dt, the stationary variance over hbar / (2 m w) and the correlation of
    neighbours are

        "euler-maruyama"        1 / (1 - e/2)                        1 - e
        "heun"                  (1 - e/2) / (1 - e/2 + e^2/4)        1 - e + e^2/2
        "leimkuhler-matthews"   1
        "implicit-midpoint"     1                                    (1 - e/2) / (1 + e/2)
        "exact"                 1                                    exp(-e)

    Explicit steps have no stationary law where F grows faster than x.

    Args:
        potential: G: coefficients of a polynomial, c_0 first, a Table, or a function of torch (slow; through
            autograd).
        drift: F, a function of torch, instead of G.
        dt: time step.
        steps: measured steps, a multiple of `measure_every`.
        scheme: see above.
        chains: independent ones; each is the same whatever their number.
        warmup: steps before them, a multiple of `measure_every`.
        measure_every: steps that each measurement is a mean over.
        mass, hbar: only hbar / mass counts.
        lags: in steps, of the correlators <x_t x_{t + lag}>; at most `measure_every`.
        x0: a number, or (chains,).
        seed: of the random numbers, 64 bits.
        dtype: torch.float32 or torch.float64.
        options: block, progress, checkpoint, resume, keep_chains, time_limit, previous, device, as
            qcore.paths.run takes them; blocks are counted in measurements.

    Returns:
        SampleResult with x, x2, x4 and correlators, whose sweeps are measurements.

    Raises:
        Diverged: a chain that has run away.
        ValueError, TypeError: an argument that can't be; the message names it.

    Sources: Nelson, Phys. Rev. 150, 1079 (1966); Leimkuhler, Matthews, Appl. Math. Res. Express 2013, 34.
    """
    engine = Langevin(
        potential,
        drift=drift,
        dt=dt,
        scheme=scheme,
        chains=chains,
        measure_every=measure_every,
        mass=mass,
        hbar=hbar,
        lags=lags,
        x0=x0,
        seed=seed,
        dtype=dtype,
    )
    for name, value in (("steps", steps), ("warmup", warmup)):
        require_count(name, value)
        if value % measure_every:
            raise wrong_value(name, f"a multiple of measure_every = {measure_every}", value)
    return run(engine, sweeps=steps // measure_every, warmup=warmup // measure_every, **options)
