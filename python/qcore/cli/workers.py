"""Training runs in processes of their own, several at a time, each of which can stop and go on."""

from __future__ import annotations

import multiprocessing
import platform
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

import qcore
from qcore import _core
from qcore.checkpoint import DataSource, load_checkpoint, save_checkpoint
from qcore.cli.arguments import load_data
from qcore.data import Digits
from qcore.experiment import Run
from qcore.residual import mass_kept
from qcore.training import Epoch, TrainConfig, Trainer

_SPAWN = multiprocessing.get_context("spawn")  # OpenMP does not survive a fork
_MASS_IMAGES = 500


class Workers:
    """Processes that train; leaving the block ends them.

    Args:
        folder: of the data, None for the bundled digits; every process reads it once.
        checkpoints: folder in which every run keeps its state, epoch by epoch.
        jobs: number of processes.
        threads: of each.
    """

    def __init__(self, folder: Path | None, checkpoints: Path, *, jobs: int, threads: int) -> None:
        self._news: Any = _SPAWN.Queue()
        self._stop = _SPAWN.Event()
        arguments = (folder, checkpoints, threads, self._news, self._stop)
        self._pool = ProcessPoolExecutor(jobs, _SPAWN, _begin, arguments)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, config: TrainConfig) -> Future[Run | None]:
        """Queue a run; None comes back if it was stopped."""
        return self._pool.submit(_train, config)

    def stop(self) -> None:
        """Have the runs in progress save their state and end."""
        self._stop.set()

    def news(self) -> Iterator[tuple[TrainConfig, int]]:
        """What was told since the last call: a run and the number of epochs it has done."""
        while True:
            try:
                yield self._news.get_nowait()
            except Empty:
                return


def checkpoint_name(config: TrainConfig) -> str:
    """Name of the file with the state of a run."""
    return f"{config.model}-{config.depth}-{config.init}-{config.seed}.pt"


_data: Digits
_source: DataSource
_checkpoints: Path
_queue: Any
_stopped: Any


def _begin(folder: Path | None, checkpoints: Path, threads: int, queue: Any, stopped: Any) -> None:
    """Set a process up."""
    global _data, _source, _checkpoints, _queue, _stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides
    torch.set_num_threads(threads)
    _data = load_data(folder)
    _source = DataSource.of(_data, folder)
    _checkpoints, _queue, _stopped = checkpoints, queue, stopped


def _train(config: TrainConfig) -> Run | None:
    """Train, from the saved state of the same run if there is one."""
    if _stopped.is_set():
        return None
    trainer = Trainer(config, _data)
    untrained = _mass(trainer.model.chain)
    path = _checkpoints / checkpoint_name(config)
    if path.exists():
        saved = load_checkpoint(path)
        if saved.config == config and saved.source.checksum == _source.checksum:
            saved.restore(trainer)
    _queue.put((config, trainer.epochs_done))

    def on_epoch(epoch: Epoch) -> None:
        save_checkpoint(path, trainer, _source)
        _queue.put((config, epoch.epoch))

    if not trainer.run(on_epoch=on_epoch, should_stop=_stopped.is_set):
        save_checkpoint(path, trainer, _source)
        return None
    history = trainer.history
    return Run(
        config=config,
        checksum=_source.checksum,
        threads=torch.get_num_threads(),
        test_accuracy=history[-1].test_accuracy,
        train_loss=history[-1].loss,
        seconds=round(sum(epoch.seconds for epoch in history), 3),
        accuracies=[epoch.test_accuracy for epoch in history],
        losses=[epoch.loss for epoch in history],
        mass_untrained=untrained,
        mass_trained=_mass(trainer.model.chain),
        versions=_versions(),
    )


def _mass(chain: nn.Module) -> list[float]:
    """Mean share of mass left by depth, over the first test images; images without mass are left out."""
    if isinstance(chain, nn.Identity):
        return [1.0]
    images: Tensor = _data.test_images[:_MASS_IMAGES]
    return [float(f"{share:.6g}") for share in mass_kept(chain, images).nanmean(1).tolist()]


def _versions() -> dict[str, str]:
    """What the rounding, and so the exact outcome, depends on."""
    return {
        "qcore": qcore.__version__,
        "torch": torch.__version__,
        "isa": _core.isa(),
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
