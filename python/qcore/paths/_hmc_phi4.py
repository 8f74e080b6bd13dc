"""Hybrid Monte Carlo of the phi^4 field on a periodic lattice in 1+1 dimensions."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from qcore._ops._check import require_choice, require_count, require_number, require_positive, wrong_value
from qcore._ops.paths_dynamics import FIELD_OBSERVABLES, FieldModel
from qcore._ops.paths_dynamics import hmc_phi4 as hmc_phi4_kernel

from ._hmc import check_count, checked_trajectories, first_tuning, settings
from ._phi4 import CONVENTIONS
from ._run import SampleResult, run
from ._sampling import starting_point


def field_model(
    mass2: float,
    coupling: float,
    convention: str = "continuum",
    spacing: float = 1.0,
    dt: float | None = None,
) -> FieldModel:
    """The action's four coefficients.

    Raises:
        ValueError, TypeError: coefficients that leave the integral without a bound, or that aren't numbers.
    """
    require_number("mass2", mass2)
    require_number("coupling", coupling)
    require_choice("convention", convention, CONVENTIONS)
    if not math.isfinite(mass2):
        raise wrong_value("mass2", "a finite number", mass2)
    if not 0 <= coupling < math.inf:
        raise wrong_value("coupling", "a finite number >= 0", coupling)
    if coupling == 0 and mass2 <= 0:
        raise wrong_value("mass2", "a number > 0 where the coupling is 0", mass2)
    require_positive("spacing", spacing)
    step = spacing if dt is None else dt
    require_positive("dt", step)
    if convention == "lattice":
        if (spacing, step) != (1, 1):
            raise wrong_value("spacing and dt", "1 in the convention 'lattice'", (spacing, step))
        return FieldModel(2.0, 2.0, float(mass2), float(coupling))
    a, step = float(spacing), float(step)
    return FieldModel(a / step, step / a, 0.5 * a * step * float(mass2), a * step * float(coupling))


class HmcPhi4:
    """The engine of `hmc_phi4`, whose arguments it takes."""

    name = "hmc_phi4"

    def __init__(
        self,
        *,
        shape: tuple[int, int],
        mass2: float,
        coupling: float,
        convention: str = "continuum",
        spacing: float = 1.0,
        dt: float | None = None,
        chains: int,
        step_size: float | None = None,
        leapfrog_steps: int = 10,
        jitter: float = 0.2,
        target: float = 0.8,
        start: float | Tensor = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not isinstance(shape, tuple | list) or len(shape) != 2:
            raise wrong_value("shape", "(T, L), two sizes", shape)
        for size in shape:
            require_count("shape", size)
            if size == 0:
                raise wrong_value("shape", "sizes of at least 1", tuple(shape))
        self.model = field_model(mass2, coupling, convention, spacing, dt)
        self.convention, self.chains = convention, chains
        self._start = starting_point(start, (chains, *shape), dtype)
        rows, columns, quadratic, quartic = self.model
        guess = 1 / math.sqrt(4 * (rows + columns) + 2 * abs(quadratic) + 12 * quartic)
        self.trajectories = checked_trajectories(
            step_size, guess, math.inf, leapfrog_steps, jitter, target, seed
        )
        self.observables = (*FIELD_OBSERVABLES, *(f"correlator_{t}" for t in range(shape[0] // 2 + 1)))

    def config(self) -> dict[str, Any]:
        """All that decides what a run gives."""
        return {
            "shape": list(self._start.shape[1:]),
            "convention": self.convention,
            "chains": self.chains,
            **self.model._asdict(),
            **settings(self.trajectories, self._start),
        }

    def start(self) -> dict[str, Tensor]:
        """phi (chains, T, L), and each chain's step."""
        return {"phi": self._start.clone(), "tuned_step": first_tuning(self.trajectories, self.chains)}

    def advance(
        self, state: dict[str, Tensor], first: int, sweeps: int, *, warmup: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """`sweeps` trajectories from number `first` on."""
        check_count(first, sweeps)
        phi, tuning = state["phi"].clone(), state["tuned_step"].clone()
        measured, accepted = hmc_phi4_kernel(
            self.model, self.trajectories, phi=phi, tuning=tuning, first=first, count=sweeps, tune=warmup
        )
        return {"phi": phi, "tuned_step": tuning}, measured, accepted


def hmc_phi4(
    *,
    shape: tuple[int, int],
    mass2: float,
    coupling: float,
    convention: str = "continuum",
    spacing: float = 1.0,
    dt: float | None = None,
    chains: int = 64,
    trajectories: int = 1000,
    warmup: int = 200,
    seed: int = 0,
    step_size: float | None = None,
    leapfrog_steps: int = 10,
    jitter: float = 0.2,
    target: float = 0.8,
    start: float | Tensor = 0.0,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> SampleResult:
    r"""Sample fields on a periodic (T, L) lattice with weight exp(-S).

    convention "continuum", with the measure a dt explicit (a the spacing of columns, dt that of rows):

    .. math::
        S = a\,dt \sum_{t,i} \Big[\frac{(\phi_{t+1,i}-\phi_{t,i})^2}{2\,dt^2} +
            \frac{(\phi_{t,i+1}-\phi_{t,i})^2}{2a^2} + \frac{m^2}{2}\phi_{t,i}^2 + g\,\phi_{t,i}^4\Big]

    convention "lattice", for spacing = dt = 1, with box the negative lattice Laplacian (Albergo, Kanwar and
    Shanahan, arXiv:1904.12072):

    .. math:: S = \sum [\phi\,\Box\,\phi + m^2 \phi^2 + \lambda \phi^4]

    The two agree for phi_lattice = phi_continuum / sqrt(2), the same m^2 and lambda = 4 g. The hopping form
    -2 k sum phi phi' + (1 - 2 l) phi^2 + l phi^4 is the second with phi_lattice = sqrt(k) phi_hopping,
    k (4 + m^2) = 1 - 2 l and lambda k^2 = l. Rows and columns of two sites have two bonds. hbar is 1.

    Args:
        shape: (T, L), rows and columns; correlators are along T.
        mass2: m^2, negative only where coupling > 0.
        coupling: g ("continuum") or lambda ("lattice").
        convention: as above.
        spacing: a.
        dt: of the rows; a unless given.
        chains: independent ones; each is the same whatever their number.
        trajectories: measured ones.
        warmup: trajectories before them, in which each chain tunes its step towards acceptance `target`.
        seed: of the random numbers, 64 bits.
        step_size: leapfrog step at the start (momenta have variance 1); None for a guess.
        leapfrog_steps, jitter, target: as for `hmc`.
        start: a number, or (chains, T, L).
        dtype: of the field, torch.float32 or torch.float64; dH adds up in float64 either way.
        options: block, progress, checkpoint, resume, keep_chains, time_limit, previous, device, as
            qcore.paths.run takes them.

    Returns:
        SampleResult with action_density S/(T L) (per site); abs_phi, |M| of the mean field M; phi2 and phi4,
        means over the sites; susceptibility T L M^2; exp_minus_dh (1 if all is well); correlator_t =
        sum_s Phi_s Phi_{s+t} / (T L), Phi_s the sum over row s.

    Raises:
        ValueError, TypeError: an argument that can't be; the message names it.

    Source: Duane, Kennedy, Pendleton, Roweth, Phys. Lett. B 195, 216 (1987).
    """
    require_count("trajectories", trajectories)
    engine = HmcPhi4(
        shape=shape,
        mass2=mass2,
        coupling=coupling,
        convention=convention,
        spacing=spacing,
        dt=dt,
        chains=chains,
        step_size=step_size,
        leapfrog_steps=leapfrog_steps,
        jitter=jitter,
        target=target,
        start=start,
        seed=seed,
        dtype=dtype,
    )
    return run(engine, sweeps=trajectories, warmup=warmup, **options)
