"""Progress of a training run: a bar on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from qcore._optional import MissingPackage, optional_import
from qcore.training import Epoch, Trainer


class Progress(Protocol):
    """What is told while a run goes on."""

    def batch(self, images: int, loss: float) -> None:
        """A batch is done."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is done."""


@contextmanager
def progress(trainer: Trainer) -> Iterator[Progress]:
    """The progress of ``trainer`` on stderr, closed at the end of the block."""
    lines = _Lines(trainer.config.epochs)
    if not sys.stderr.isatty():
        yield lines
        return
    try:
        tqdm = optional_import("tqdm", "a progress bar")
    except MissingPackage as error:
        print(f"qcore train: no progress bar: {error}", file=sys.stderr)
        yield lines
        return
    bar = _Bar(trainer, tqdm.tqdm)
    try:
        yield bar
    finally:
        bar.close()


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
