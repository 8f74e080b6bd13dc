"""Progress of trainings: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from qcore._optional import MissingPackage, optional_import
from qcore.experiment import Run, cost
from qcore.training import Epoch, TrainConfig, Trainer


class Progress(Protocol):
    """What is told while a run goes on."""

    def batch(self, images: int, loss: float) -> None:
        """A batch is done."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is done."""


@contextmanager
def progress(trainer: Trainer) -> Iterator[Progress]:
    """The progress of ``trainer`` on stderr, closed at the end of the block."""
    tqdm = _tqdm("train")
    if tqdm is None:
        yield _Lines(trainer.config.epochs)
        return
    bar = _Bar(trainer, tqdm)
    try:
        yield bar
    finally:
        bar.close()


def _tqdm(command: str) -> Any:
    """The class of bars, or None where there is no terminal or no tqdm."""
    if not sys.stderr.isatty():
        return None
    try:
        return optional_import("tqdm", "a progress bar").tqdm
    except MissingPackage as error:
        print(f"qcore {command}: no progress bar: {error}", file=sys.stderr)
        return None


class _Lines:
    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def batch(self, images: int, loss: float) -> None:
        """Nothing to tell."""

    def epoch(self, epoch: Epoch) -> None:
        """Tell loss, accuracy and speed."""
        print(
            f"epoch {epoch.epoch:>{len(str(self._epochs))}}/{self._epochs}  loss {epoch.loss:.4f}  "
            f"test {100 * epoch.test_accuracy:.2f} %  {epoch.images_per_second:,.0f} images/s",
            file=sys.stderr,
            flush=True,
        )


class _Bar:
    """One bar over the images of all epochs, so that its rate is in images per second."""

    def __init__(self, trainer: Trainer, tqdm: Any) -> None:
        config, images = trainer.config, len(trainer.data.train_labels)
        done = trainer.epochs_done * images + trainer.batches_done * config.batch_size
        self._epochs = config.epochs
        self._loss: float | None = None
        self._test = ""
        self._bar = tqdm(
            total=config.epochs * images,
            initial=min(done, config.epochs * images),
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            desc=self._label(trainer.epochs_done + 1),
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}, {rate_fmt}{postfix}",
        )
        if trainer.history:
            self._test = f", test {100 * trainer.history[-1].test_accuracy:.2f} %"

    def batch(self, images: int, loss: float) -> None:
        """Move on; show the loss averaged over the last batches."""
        self._loss = loss if self._loss is None else 0.95 * self._loss + 0.05 * loss
        self._bar.set_postfix_str(f"loss {self._loss:.4f}{self._test}", refresh=False)
        self._bar.update(images)

    def epoch(self, epoch: Epoch) -> None:
        """Show the test accuracy."""
        self._test = f", test {100 * epoch.test_accuracy:.2f} %"
        self._bar.set_description_str(self._label(epoch.epoch + 1), refresh=False)
        self._bar.set_postfix_str(f"loss {self._loss:.4f}{self._test}", refresh=False)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.refresh()
        self._bar.close()

    def _label(self, epoch: int) -> str:
        return f"epoch {min(epoch, self._epochs)}/{self._epochs}"


@contextmanager
def grid_progress(runs: Sequence[TrainConfig]) -> Iterator[GridProgress]:
    """The progress of a grid of runs on stderr, closed at the end of the block."""
    progress = GridProgress(runs, _tqdm("reproduce"))
    try:
        yield progress
    finally:
        progress.close()


class GridProgress:
    """Share of the work done, and the time left by the work per second so far."""

    def __init__(self, runs: Sequence[TrainConfig], tqdm: Any) -> None:
        self._total = sum(cost(config) * config.epochs for config in runs)
        self._count, self._finished = len(runs), 0
        self._epochs: dict[TrainConfig, int] = {}
        self._done = self._begun_with = 0.0
        self._started = time.monotonic()
        self._bar = tqdm and tqdm(
            total=self._total,
            dynamic_ncols=True,
            desc=f"run 0/{self._count}",
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {postfix}",
        )

    def epochs(self, config: TrainConfig, done: int) -> None:
        """A run has done so many epochs; the first time, those were done before this process began."""
        work = cost(config) * (done - self._epochs.get(config, 0))
        if config not in self._epochs:
            self._begun_with += work
        self._epochs[config] = done
        self._done += work
        if self._bar is not None:
            self._bar.set_postfix_str(self._time_left(), refresh=False)
            self._bar.update(work)

    def run(self, run: Run) -> None:
        """A run is finished."""
        self._finished += 1
        config = run.config
        text = (
            f"{config.model}, depth {config.depth}, {config.init}, seed {config.seed}: "
            f"{100 * run.test_accuracy:.2f} %, {run.seconds:.0f} s"
        )
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
            self._bar.set_description_str(f"run {self._finished}/{self._count}")
        else:
            print(f"{self._finished}/{self._count}  {text}; {self._time_left()}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def _time_left(self) -> str:
        now_done = self._done - self._begun_with
        if now_done <= 0:
            return "time left unknown"
        minutes = (time.monotonic() - self._started) * (self._total - self._done) / now_done / 60
        return f"{minutes:.0f} min left" if minutes < 100 else f"{minutes / 60:.1f} h left"


@contextmanager
def step_progress(command: str, total: int, unit: str = "steps") -> Iterator[Callable[[int], None]]:
    """A bar over time steps (or whatever ``unit`` says) on stderr, to be told how many more are done."""
    tqdm = _tqdm(command)
    if tqdm is None:
        yield lambda done: None  # without a terminal there is nobody to be kept informed for some seconds
        return
    form = "{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}, {rate_fmt}"
    with tqdm(total=total, unit=f" {unit}", unit_scale=True, dynamic_ncols=True, bar_format=form) as bar:
        yield bar.update
