"""How every sampler runs: warm-up, blocks of sweeps, progress, Ctrl-C, time limit, checkpoints, results.

A sampler is an `Engine`: where its chains start and how they move. `run` does the rest, the same for all.
The number of a sweep keys its random numbers, so a run can be cut anywhere: stopped and gone on with, in this
process or from a checkpoint, it gives bitwise what it would have given in one piece.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from qcore._atomic import CheckpointError
from qcore._interrupt import stopping_on_interrupt
from qcore._ops._check import require_bool, require_count, require_number, wrong_type, wrong_value

from ._checkpoint import load_tally, save_tally
from ._result import SampleResult, summarise
from ._tally import TUNED, Tally

__all__ = ["CheckpointError", "Engine", "SampleResult", "run"]

PIECE = 32  # sweeps of warm-up in a call, whatever the block, so that blocks don't show in what is tuned
_PARTS = ("name", "observables", "config", "start", "advance")
_BLOCK_SECONDS = 0.25  # that a block is made to last, where its size is left open
_BLOCK_BYTES = 2**25  # of measurements in a block, at most


class Engine(Protocol):
    """A Markov chain Monte Carlo method with everything that it needs; many chains side by side.

    May also have `dt_order: int`, the order in dt of the error that its discretisation leaves, which results
    then state.
    """

    name: str
    observables: tuple[str, ...]

    def config(self) -> dict[str, Any]:
        """Everything that decides what the run gives, seed included, as JSON has it."""

    def start(self) -> dict[str, Tensor]:
        """The state before the first sweep."""

    def advance(
        self, state: dict[str, Tensor], first: int, sweeps: int, *, warmup: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Make the sweeps numbered first, first + 1, ... (>= 1 of them) and leave `state` as it was.

        What comes out must not depend on how sweeps are cut into calls: a sweep's random numbers are a
        function of its number, and so is whether it is measured. In the warm-up calls are always made for
        32 sweeps at a time (fewer in the last), and step sizes may change, once per call or per sweep; they
        are part of the state under names that begin with "tuned_". Later they may not: `run` checks it.

        Returns:
            the new state; measured (measurements, observables, chains) float64, of the warm-up ignored;
            accepted (chains,), the fraction of proposals in these sweeps.
        """


def run(
    engine: Engine,
    *,
    sweeps: int,
    warmup: int = 0,
    block: int | None = None,
    progress: Callable[[int], object] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    resume: bool = True,
    keep_chains: bool = False,
    time_limit: float | None = None,
    previous: SampleResult | None = None,
    checkpoint_seconds: float = 60.0,
    device: torch.device | str = "cpu",
) -> SampleResult:
    """Run a sampler.

    After Ctrl-C or at the time limit the run ends between two blocks, with a result of what is there, whose
    `stopped` says so; a second Ctrl-C interrupts at once. A KeyboardInterrupt raised by `progress` counts as
    the first. Block size, interruptions and resuming never change a result, only how often one can look.

    Args:
        engine: the method.
        sweeps: measured sweeps to make, beyond those of `previous`.
        warmup: sweeps before them, during which step sizes are tuned and nothing is measured; then they stay.
        block: sweeps between two looks at the clock and the keyboard; None makes blocks of a quarter second.
        progress: called after every block with the number of sweeps done so far, warm-up and those of
            `previous` and of the checkpoint included.
        checkpoint: a file that keeps the run, written between blocks every `checkpoint_seconds` and at the
            end, whole or not at all. If it exists the run goes on from it, to the same `sweeps`; without
            `resume` it is overwritten.
        keep_chains: keep every measurement of every chain however many there are. Otherwise they are kept up
            to 64 MiB; beyond, only averages over bins are, and errors come from these.
        time_limit: seconds after which no further block is begun; one is always made.
        previous: a result of the same engine to go on from: run(n1) and then run(n2, previous=...) is
            run(n1 + n2). Its warm-up counts: none is made, whatever `warmup` says.
        device: where chains move: "cpu", or a GPU for potentials that run in the kernels, with the same
            chains bit for bit, the only mode there is. Measurements and results come to the CPU. A GPU is for
            many chains at once, tens of thousands (of dmc, hundreds of populations): a CPU moves few sooner.

    Returns:
        SampleResult.

    Raises:
        CheckpointError: the file is damaged, no checkpoint, or of another run; the message says what differs.
        OSError: the checkpoint cannot be written.
        TypeError, ValueError: an argument of the wrong type or value.
    """
    if missing := [part for part in _PARTS if not hasattr(engine, part)]:
        raise wrong_type("engine", f"one with {', '.join(_PARTS)}", f"one without {', '.join(missing)}")
    if checkpoint is not None and not isinstance(checkpoint, (str, PathLike)):
        raise wrong_type("checkpoint", "the path of a file or None", type(checkpoint).__name__)
    require_bool("resume", resume)
    require_bool("keep_chains", keep_chains)
    require_count("sweeps", sweeps)
    require_count("warmup", warmup)
    require_count("block", 1 if block is None else block)
    if block == 0:
        raise wrong_value("block", "an int >= 1 or None", block)
    if progress is not None and not callable(progress):
        raise wrong_type("progress", "a function of the number of sweeps done", type(progress).__name__)
    for name, seconds in (("time_limit", time_limit), ("checkpoint_seconds", checkpoint_seconds)):
        if seconds is not None:
            require_number(name, seconds)
            if not seconds >= 0:
                raise wrong_value(name, "a number of seconds >= 0", seconds)
    if len(set(engine.observables)) < len(engine.observables):
        raise wrong_value("engine.observables", "names that differ", engine.observables)

    place = torch.device(device)
    file = None if checkpoint is None else Path(checkpoint)
    if file is not None and (file.is_dir() or not file.parent.is_dir()):  # refused now, not after the run
        raise FileNotFoundError(f"checkpoint: expected a file in a folder that exists, got {file}")
    tally, target = _begin(engine, sweeps, warmup, keep_chains, previous, file if resume else None)
    tally.state = _moved(tally.state, place)
    began = saved = time.monotonic()
    unsaved, stopped, size = False, "", block or 1
    with stopping_on_interrupt() as interrupted:
        while not stopped and (tally.warmed < tally.warmup or tally.sweeps < target):
            before = time.monotonic()
            done = _block(engine, tally, min(size, _most(tally)), target)
            now, unsaved = time.monotonic(), True
            if block is None:
                size = max(1, min(4 * size, int(done * _BLOCK_SECONDS / max(now - before, 1e-9))))
            if progress is not None:
                try:
                    progress(tally.warmed + tally.sweeps)
                except KeyboardInterrupt:
                    interrupted.set()
            if interrupted.is_set():
                stopped = "interrupt"
            elif time_limit is not None and now - began >= time_limit:
                stopped = "time limit"
            if file is not None and now - saved >= checkpoint_seconds:
                save_tally(file, _on_host(tally))
                saved, unsaved = time.monotonic(), False
        if file is not None and (unsaved or not file.exists()):
            save_tally(file, _on_host(tally))
    if tally.warmed == tally.warmup and tally.sweeps == target:
        stopped = ""
    return summarise(_on_host(tally), stopped, getattr(engine, "dt_order", None))


def _begin(
    engine: Engine, sweeps: int, warmup: int, keep: bool, previous: SampleResult | None, file: Path | None
) -> tuple[Tally, int]:
    """Where the run stands, and the number of measured sweeps at which it ends."""
    config = engine.config()
    fresh = Tally.empty(engine.name, engine.observables, config, warmup, keep)
    before = 0
    if previous is not None:
        if not isinstance(previous, SampleResult):
            raise wrong_type("previous", "a SampleResult", type(previous).__name__)
        fresh.warmup, before = previous._tally.warmup, previous._tally.sweeps
        if difference := fresh.difference(previous._tally):
            raise wrong_value("previous", "a result of the same run", difference)
        fresh = previous._tally.copy()
    target = before + sweeps
    if file is not None and file.exists():
        stored = load_tally(file)
        if difference := fresh.difference(stored):
            raise CheckpointError(f"{file}: expected a checkpoint of this run, but {difference}")
        if not before <= stored.sweeps <= target:
            raise CheckpointError(
                f"{file}: expected a run that ends at {target} sweeps, but it has {stored.sweeps} already"
                if stored.sweeps > target
                else f"{file}: expected at least the {before} sweeps of previous, got {stored.sweeps}"
            )
        fresh = stored
    if keep and fresh.binning is not None:
        raise wrong_value("keep_chains", "False where only bins were kept so far", keep)
    fresh.keep = fresh.keep or keep
    if not fresh.state:
        fresh.state = dict(engine.start())
    return fresh, target


def _moved(state: dict[str, Tensor], place: torch.device) -> dict[str, Tensor]:
    return {name: value.to(place) for name, value in state.items()}


def _on_host(tally: Tally) -> Tally:
    """The same run with its state on the CPU."""
    twin = tally.copy()
    twin.state = _moved(tally.state, torch.device("cpu"))
    return twin


def _most(tally: Tally) -> int:
    """Sweeps whose measurements fit into a block."""
    row = 8 * max(1, len(tally.observables)) * max(1, tally.accepted.shape[0])
    return max(1, _BLOCK_BYTES // row)


def _block(engine: Engine, tally: Tally, size: int, target: int) -> int:
    """Make a block of at most `size` sweeps, in the warm-up of whole pieces; how many they were."""
    if tally.warmed < tally.warmup:
        first = tally.warmed
        for _ in range(max(1, size // PIECE)):
            count = min(PIECE, tally.warmup - tally.warmed)
            state, _, accepted = _advance(engine, tally, tally.warmed, count, warmup=True)
            tally.warm(state, accepted, count)
            if tally.warmed == tally.warmup:
                break
        return tally.warmed - first
    count = min(size, target - tally.sweeps)
    before = time.perf_counter()
    state, measured, accepted = _advance(engine, tally, tally.warmup + tally.sweeps, count, warmup=False)
    seconds = time.perf_counter() - before
    for name, value in tally.state.items():
        if name.startswith(TUNED) and not torch.equal(state[name], value):
            raise RuntimeError(f"{engine.name}: {name} changed after the warm-up")
    tally.measure(state, measured, accepted, count, seconds)
    return count


def _advance(
    engine: Engine, tally: Tally, first: int, count: int, *, warmup: bool
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    state, measured, accepted = engine.advance(dict(tally.state), first, count, warmup=warmup)
    chains = accepted.shape[0] if accepted.ndim == 1 else -1
    if chains < 0 or (tally.accepted.shape[0] not in (0, chains)):
        raise wrong_value(f"{engine.name}: accepted", "shape (chains,)", tuple(accepted.shape))
    if not warmup:
        expected = (len(engine.observables), chains)
        if measured.ndim != 3 or tuple(measured.shape[1:]) != expected:
            raise wrong_value(
                f"{engine.name}: measured",
                f"shape (measurements, {expected[0]}, {chains})",
                tuple(measured.shape),
            )
        if measured.dtype != torch.float64:
            raise wrong_type(f"{engine.name}: measured", "float64", measured.dtype)
    return dict(state), measured.cpu(), accepted.double().cpu()
