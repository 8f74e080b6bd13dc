"""Train a digit classifier around a chain; write metrics.json, checkpoint.pt and curve.png."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from qcore._interrupt import stopping_on_interrupt
from qcore.checkpoint import Checkpoint, CheckpointError, DataSource, load_checkpoint, save_checkpoint
from qcore.cli.arguments import (
    BUNDLED_BATCH_SIZE,
    BUNDLED_THREADS,
    DEFAULTS,
    MODELS,
    CommandError,
    add_data_argument,
    add_model_arguments,
    configured,
    integer,
    load_data,
    positive,
    prepare_folder,
)
from qcore.cli.progress import progress
from qcore.cli.results import headline, table, write_results
from qcore.training import Epoch, TrainConfig, Trainer

_FIXED = (
    "model",
    "depth",
    "batch_size",
    "lr",
    "seed",
    "init",
)  # what a resumed run cannot change; epochs it can


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser, MODELS)
    parser.add_argument("--epochs", type=integer(1), metavar="N", help=f"(default {DEFAULTS.epochs})")
    parser.add_argument(
        "--batch-size",
        type=integer(1),
        metavar="N",
        help=f"images per step (default {DEFAULTS.batch_size}; {BUNDLED_BATCH_SIZE} for the bundled digits)",
    )
    parser.add_argument("--lr", type=positive, metavar="X", help=f"rate of Adam (default {DEFAULTS.lr:g})")
    add_data_argument(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for what is written (default runs/MODEL-DEPTH-SEED)"
    )
    parser.add_argument(
        "--threads",
        type=integer(1, 4097),
        metavar="N",
        help=f"CPU threads (default: torch's choice; {BUNDLED_THREADS} for the bundled digits)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out; what is not given is taken from it, and --epochs may be changed",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, and write what came of it. Returns 0, or 130 after Ctrl-C."""
    given = {name: value for name in (*_FIXED, "epochs") if (value := getattr(arguments, name)) is not None}
    named = configured(DEFAULTS, **given)
    out: Path = arguments.out or Path("runs") / f"{named.model}-{named.depth}-{named.seed}"
    path = out / "checkpoint.pt"
    begin = _resume if arguments.resume else _start
    trainer, source = begin(path, given, arguments.data, arguments.threads)

    print(headline(trainer))
    with stopping_on_interrupt() as interrupt, progress(trainer) as bar:

        def on_epoch(epoch: Epoch) -> None:
            save_checkpoint(path, trainer, source)
            bar.epoch(epoch)

        finished = trainer.run(on_batch=bar.batch, on_epoch=on_epoch, should_stop=interrupt.is_set)
    if not finished:
        save_checkpoint(path, trainer, source)
    written = [path, *write_results(out, trainer, source, finished)]
    print(table(trainer, written))
    if finished:
        return 0
    print(
        f"qcore train: interrupted in epoch {trainer.epochs_done + 1} of {trainer.config.epochs}, "
        f"after {trainer.batches_done} of {trainer.batches_per_epoch} batches; "
        f"go on with: qcore train --resume --out {shlex.quote(str(out))}",
        file=sys.stderr,
    )
    return 130


def _start(
    path: Path, given: dict[str, Any], folder: Path | None, threads: int | None
) -> tuple[Trainer, DataSource]:
    """A new run, whose files can be written."""
    if folder is None:
        given = {"batch_size": BUNDLED_BATCH_SIZE} | given
        threads = threads or BUNDLED_THREADS
    if threads is not None:
        torch.set_num_threads(threads)
    config = configured(DEFAULTS, **given)
    data = load_data(folder)
    source = DataSource.of(data, folder)
    prepare_folder(path.parent)
    _check_free(path, config, source)
    return Trainer(config, data), source


def _resume(
    path: Path, given: dict[str, Any], folder: Path | None, threads: int | None
) -> tuple[Trainer, DataSource]:
    """The run saved in ``path``, with what is not given taken from there."""
    saved = load_checkpoint(path)
    config = _resumed_config(saved, given)
    torch.set_num_threads(threads or saved.threads)
    folder = folder or (None if saved.source.folder is None else Path(saved.source.folder))
    data = load_data(folder)
    source = DataSource.of(data, folder)
    theirs = saved.source
    if (theirs.checksum, theirs.image_size) != (source.checksum, source.image_size):
        raise CommandError(
            f"--data: expected the data of the run to resume ({saved.path}): {theirs.name}, checksum "
            f"{theirs.checksum:08x}; got {source.name}, checksum {source.checksum:08x}"
        )
    prepare_folder(path.parent)
    trainer = Trainer(config, data)
    saved.restore(trainer)
    return trainer, source


def _resumed_config(saved: Checkpoint, given: dict[str, Any]) -> TrainConfig:
    for name in _FIXED:
        theirs = getattr(saved.config, name)
        if given.get(name, theirs) != theirs:
            option = f"--{name.replace('_', '-')}"
            raise CommandError(
                f"{option}: expected {theirs}, as in the run to resume ({saved.path}), got {given[name]}; "
                f"leave it out, or name another run with --out"
            )
    config = configured(saved.config, epochs=given.get("epochs", saved.config.epochs))
    if config.epochs < saved.epochs_done:
        raise CommandError(
            f"--epochs: expected at least the {saved.epochs_done} done in {saved.path}, got {config.epochs}"
        )
    return config


def _check_free(path: Path, config: TrainConfig, source: DataSource) -> None:
    """Refuse to overwrite another run; the same one may be run anew."""
    if not path.exists():
        return
    try:
        saved = load_checkpoint(path)
    except CheckpointError as error:
        raise CommandError(f"--out: {error}; delete it, or name another folder") from None
    differing = [name for name in _FIXED if getattr(saved.config, name) != getattr(config, name)]
    if not differing and saved.source.checksum == source.checksum:
        return
    theirs = ", ".join(f"{name} {getattr(saved.config, name)}" for name in differing)
    raise CommandError(
        f"--out: {path.parent} holds another run ({theirs or f'on other data, {saved.source.name}'}); "
        f"name another folder, or delete it"
    )
