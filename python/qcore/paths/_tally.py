"""Where a run stands: its state, and what has been measured so far."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from qcore import _core
from qcore._ops._check import wrong_type
from qcore.stats import Binning

TUNED = "tuned_"  # names of tensors of a state that only the warm-up may change begin so
SERIES_BYTES = 2**26  # of measurements that are kept one by one


@dataclass
class Tally:
    """Everything that a run needs to go on, and nothing that depends on how it was cut into blocks.

    Measurements are kept one by one while they are few, then given over to a `Binning`, which takes them by
    their number and so ends up the same whenever that happens.
    """

    name: str
    observables: tuple[str, ...]
    config: dict[str, Any]
    warmup: int  # sweeps planned
    keep: bool  # all measurements, however many
    warmed: int = 0
    sweeps: int = 0  # measured ones
    seconds: float = 0.0  # that they took
    state: dict[str, Tensor] = field(default_factory=dict)
    accepted: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    series: list[Tensor] = field(default_factory=list)
    binning: Binning | None = None
    kept: int = 0  # bytes of the series
    version: str = field(default_factory=lambda: str(_core.build_info()["version"]))

    @classmethod
    def empty(
        cls, name: str, observables: tuple[str, ...], config: dict[str, Any], warmup: int, keep: bool
    ) -> Tally:
        """A run that has not begun."""
        try:
            config = json.loads(json.dumps(config))  # tuples become lists, as in a file
        except (TypeError, ValueError) as error:
            raise wrong_type(f"{name}: config", "what JSON has", str(error)) from None
        return cls(name, tuple(observables), config, warmup, keep)

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides what the run gives."""
        identity = [self.version, self.name, list(self.observables), self.warmup, self.config]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def difference(self, other: Tally) -> str:
        """What makes the other a different run, in words; empty if it is the same."""
        if self.hash == other.hash:
            return ""
        parts = [
            f"{name}: {ours!r} here, {theirs!r} there"
            for name, ours, theirs in (
                ("qcore", self.version, other.version),
                ("sampler", self.name, other.name),
                ("observables", self.observables, other.observables),
                ("warmup", self.warmup, other.warmup),
                *(
                    (key, self.config.get(key), other.config.get(key))
                    for key in {**self.config, **other.config}
                ),
            )
            if ours != theirs
        ]
        return "; ".join(parts) or "its configuration differs"

    def copy(self) -> Tally:
        """One that goes its own way; tensors are shared, since none is ever written to."""
        twin = Tally(**{name: getattr(self, name) for name in self.__dataclass_fields__})
        twin.series = list(self.series)
        twin.binning = None if self.binning is None else self.binning.copy()
        return twin

    def whole_series(self) -> Tensor:
        """(measurements, observables, chains): all that were kept one by one."""
        if not self.series:
            return torch.zeros(0, len(self.observables), self.accepted.shape[0], dtype=torch.float64)
        if len(self.series) > 1:
            self.series = [torch.cat(self.series)]
        return self.series[0]

    def warm(self, state: dict[str, Tensor], accepted: Tensor, sweeps: int) -> None:
        """Take in a piece of warm-up."""
        self.state = state
        self.warmed += sweeps
        if self.accepted.shape != accepted.shape:
            self.accepted = torch.zeros_like(accepted)

    def measure(
        self, state: dict[str, Tensor], measured: Tensor, accepted: Tensor, sweeps: int, seconds: float
    ) -> None:
        """Take in a block of measured sweeps."""
        self.state = state
        self.sweeps += sweeps
        self.seconds += seconds
        weighted = accepted * sweeps
        self.accepted = weighted if self.accepted.shape != weighted.shape else self.accepted + weighted
        if self.binning is None:
            self.series.append(measured.contiguous())
            self.kept += 8 * measured.numel()
            if not self.keep and self.kept > SERIES_BYTES:
                self.binning = Binning(tuple(measured.shape[1:]))
                for part in self.series:
                    self.binning.add(part)
                self.series, self.kept = [], 0
        else:
            self.binning.add(measured)
