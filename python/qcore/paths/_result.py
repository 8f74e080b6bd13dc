"""What a sampling run gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from qcore._ops._check import wrong_type, wrong_value
from qcore.stats import Estimate, Jackknife, block_means, estimate, jackknife, to_arviz
from qcore.stats._estimate import ENOUGH_BLOCKS, ENOUGH_LENGTH, with_error

from ._tally import TUNED, Tally


@dataclass(frozen=True, eq=False, repr=False)
class SampleResult:
    """Averages with errors, and what they rest on; print it for a table.

    Attributes:
        name: of the sampler.
        estimates: by observable; each with mean, error, ESS, `unreliable` and tau_int = 1/2 + sum rho
            in units of measurements.
        acceptance: (chains,) fraction of proposals accepted in the measured sweeps (rounded to 2^-30).
        state: tensors of the last sweep, to look at; to go on pass the result to `run` as `previous`.
        config: what was run, of JSON's types.
        sweeps: measured ones.
        warmup: sweeps made before them.
        chains: independent chains.
        measurements: of each chain.
        seconds: that the measured sweeps took, over all parts of the run.
        stopped: "interrupt" or "time limit" where the run ended early, else empty.
        dt_order: order in dt of the discretisation error that the averages keep; None if there is none or it
            isn't known.
    """

    name: str
    estimates: dict[str, Estimate]
    acceptance: Tensor
    state: dict[str, Tensor]
    config: dict[str, Any]
    sweeps: int
    warmup: int
    chains: int
    measurements: int
    seconds: float
    stopped: str
    dt_order: int | None
    _tally: Tally = field(repr=False)

    @property
    def observables(self) -> tuple[str, ...]:
        """Names of the estimates, in the order of `series`."""
        return tuple(self.estimates)

    @property
    def tuned(self) -> dict[str, Tensor]:
        """What the warm-up chose and later sweeps kept, such as step sizes."""
        return {name[len(TUNED) :]: value for name, value in self.state.items() if name.startswith(TUNED)}

    @property
    def series(self) -> Tensor | None:
        """(measurements, observables, chains) float64: every measurement; None where only bins were kept.

        With keep_chains=True they are always kept, else up to 64 MiB.
        """
        if self._tally.binning is not None:
            return None
        return self._tally.whole_series()

    def __getitem__(self, observable: str) -> Estimate:
        """The estimate of one observable."""
        if observable not in self.estimates:
            raise KeyError(f"{observable!r} is not among the observables: {', '.join(self.estimates)}")
        return self.estimates[observable]

    def array(self, prefix: str) -> tuple[Tensor, Tensor]:
        """Means and errors of the observables prefix_0, prefix_1, ... , as two float64 tensors."""
        names = [f"{prefix}_{k}" for k in range(len(self.estimates))]
        found = [self.estimates[name] for name in names if name in self.estimates]
        if not found:
            raise wrong_value("prefix", "the beginning of observables prefix_0, prefix_1, ...", repr(prefix))
        return (
            torch.tensor([entry.mean for entry in found], dtype=torch.float64),
            torch.tensor([entry.error for entry in found], dtype=torch.float64),
        )

    def derived(self, function: Callable[[dict[str, Tensor]], Tensor], *, blocks: int = 100) -> Jackknife:
        """A function of averages, such as a ratio of correlators, with its error by the jackknife.

        Args:
            function: of a dictionary with the average of each observable (0-dimensional float64 tensors);
                gives a tensor of any shape.
            blocks: about how many blocks the run is cut into; each has to be long compared with tau_int.

        Returns:
            Jackknife; its `unreliable` says so where blocks are shorter than 10 tau_int or fewer than 30.

        Raises:
            ValueError: there are no measurements, or only bins of fewer chains than 30 (see keep_chains).
        """
        if not callable(function):
            raise wrong_type("function", "a function of a dictionary of averages", type(function).__name__)
        binning = self._tally.binning
        if binning is None:
            means, counts = block_means(self._tally.whole_series(), blocks)
        elif binning.groups >= ENOUGH_BLOCKS:
            means = binning.means().T
            counts = torch.full((binning.groups,), float(self.measurements), dtype=torch.float64)
        else:
            raise wrong_value(
                "keep_chains",
                f"True for errors of functions of a run this long with fewer than {ENOUGH_BLOCKS} chains",
                False,
            )
        names = self.observables
        result = jackknife(means, lambda m: function(dict(zip(names, m, strict=True))), weights=counts)
        slowest = max(entry.tau_int for entry in self.estimates.values())
        length = float(counts.min())
        if binning is None:  # blocks of whole chains are as long as one
            length /= max(1, self.chains // len(counts))
        if not result.unreliable and not length >= ENOUGH_LENGTH * slowest:
            why = f"blocks of {length:.0f} measurements are shorter than {ENOUGH_LENGTH:g} tau"
            result = replace(result, unreliable=why)
        return result

    def to_arviz(self) -> Any:
        """Every measurement as ArviZ keeps them: an xarray.DataTree, its "posterior" of (chain, draw) arrays.

        Raises:
            ValueError: only bins were kept (see keep_chains).
            MissingPackage: ArviZ is not installed (pip install "qcore-kernels[arviz]").
        """
        if self.series is None:
            raise wrong_value("keep_chains", "True for an export of a run this long", False)
        attributes = {"sampler": self.name, "sweeps": self.sweeps, "warmup": self.warmup}
        attributes["config"] = json.dumps(self.config)
        return to_arviz(self.series, self.observables, attributes)

    def __str__(self) -> str:
        """A table of the estimates, with acceptance, times, sample sizes and the order of the dt error."""
        title = f"{self.name}: {self.chains} chains, {self.sweeps} sweeps after {self.warmup} of warm-up"
        if self.stopped:
            title += f" (stopped: {self.stopped})"
        width = max([10, *map(len, self.estimates)])
        lines = [title, f"{'':{width}}  {'mean':>18}  {'tau_int':>12}  {'ESS':>10}  {'ESS/s':>10}"]
        for name, entry in self.estimates.items():
            rate = f"{entry.ess / self.seconds:.3g}" if self.seconds > 0 else ""
            lines.append(
                f"{name:{width}}  {with_error(entry.mean, entry.error):>18}  "
                f"{with_error(entry.tau_int, entry.tau_error):>12}  {entry.ess:>10.0f}  {rate:>10}"
                + ("  unreliable" if entry.unreliable else "")
            )
        lines.append(
            "tau_int = 1/2 + sum of autocorrelations, in measurements; ESS = measurements / (2 tau_int)"
        )
        if self.acceptance.numel():
            low, high = float(self.acceptance.min()), float(self.acceptance.max())
            lines.append(f"acceptance {float(self.acceptance.mean()):.3f} ({low:.3f} to {high:.3f} by chain)")
        if self.dt_order is not None:
            lines.append(f"dt error of order {self.dt_order}, not in the errors above")
        reasons = {entry.unreliable for entry in self.estimates.values() if entry.unreliable}
        lines += [f"unreliable: {reason}" for reason in sorted(reasons)]
        return "\n".join(lines)

    __repr__ = __str__


def summarise(tally: Tally, stopped: str, dt_order: int | None) -> SampleResult:
    """The result of a run as far as it has come."""
    chains = tally.accepted.shape[0]
    if tally.binning is not None:
        estimates, measurements = tally.binning.estimates(), tally.binning.measurements
    else:
        series = tally.whole_series()
        estimates = [estimate(series[:, k]) for k in range(series.shape[1])]
        measurements = series.shape[0]
    if tally.sweeps and chains and not bool(tally.accepted.any()):  # a series that is constant has no error
        why = "no proposal was accepted"
        estimates = [replace(entry, unreliable=entry.unreliable or why) for entry in estimates]
    # Sums of fractions round differently when a run is cut differently: the last bits are left out.
    acceptance = torch.round(tally.accepted / max(tally.sweeps, 1) * 2**30) / 2**30
    return SampleResult(
        tally.name,
        dict(zip(tally.observables, estimates, strict=True)),
        acceptance,
        dict(tally.state),
        tally.config,
        tally.sweeps,
        tally.warmed,
        chains,
        measurements,
        tally.seconds,
        stopped,
        dt_order,
        tally.copy(),
    )
