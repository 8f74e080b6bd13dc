"""What a training run tells and writes at its end: a table, metrics.json, curve.png."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import qcore
from qcore import _json
from qcore._atomic import replacing
from qcore._optional import MissingPackage
from qcore.checkpoint import DataSource
from qcore.cli import figures
from qcore.training import Trainer


def headline(trainer: Trainer) -> str:
    """What is about to run, in a line."""
    config, data = trainer.config, trainer.data
    height, width = data.image_size
    line = (
        f"{config.model}, depth {config.depth}, on {data.name}: {len(data.train_labels)} images to train, "
        f"{len(data.test_labels)} to test, {height} x {width} pixels; threads: {torch.get_num_threads()}"
    )
    if trainer.epochs_done or trainer.batches_done:
        line += f"; going on after epoch {trainer.epochs_done}, batch {trainer.batches_done}"
    return line


def write_results(out: Path, trainer: Trainer, source: DataSource, finished: bool) -> list[Path]:
    """Write metrics.json and curve.png into the folder ``out``; returns the paths of what was written.

    Raises:
        OSError: a file cannot be written.
    """
    written = [out / "metrics.json"]
    with replacing(written[0]) as temporary:
        temporary.write_text(_json.dumps(_metrics(trainer, source, finished), indent=2) + "\n")
    if trainer.history:
        config = trainer.config
        try:
            figure = figures.training_curve(
                trainer.history, f"{config.model}, depth {config.depth}, {source.name}"
            )
        except MissingPackage as error:
            print(f"qcore train: no curve.png: {error}", file=sys.stderr)
        else:
            figures.write_png(figure, out / "curve.png")
            written.append(out / "curve.png")
    return written


def _metrics(trainer: Trainer, source: DataSource, finished: bool) -> dict[str, Any]:
    last = trainer.history[-1] if trainer.history else None
    return {
        "config": asdict(trainer.config),
        "data": {
            **asdict(source),
            "train_images": len(trainer.data.train_labels),
            "test_images": len(trainer.data.test_labels),
        },
        "parameters": _parameters(trainer),
        "finished": finished,
        "epochs_done": trainer.epochs_done,
        "train_loss": last.loss if last else None,
        "test_accuracy": last.test_accuracy if last else None,
        "seconds": sum(epoch.seconds for epoch in trainer.history),
        "history": [asdict(epoch) for epoch in trainer.history],
        "threads": torch.get_num_threads(),
        "versions": {"qcore": qcore.__version__, "torch": torch.__version__},
    }


def _parameters(trainer: Trainer) -> int:
    return sum(parameter.numel() for parameter in trainer.model.parameters())


def table(trainer: Trainer, written: list[Path]) -> str:
    """What a run gave, one fact on a line."""
    config, history = trainer.config, trainer.history
    rows = [
        ("model", f"{config.model}, depth {config.depth}, {_parameters(trainer):,} parameters"),
        ("epochs", f"{trainer.epochs_done} of {config.epochs}"),
    ]
    if history:
        seconds = sum(epoch.seconds for epoch in history)
        rate = len(trainer.data.train_labels) * len(history) / seconds
        loss = history[-1].loss
        diverged = "" if math.isfinite(loss) else "  (diverged: try a smaller --lr or --depth)"
        rows += [
            ("training loss", f"{loss:.4f}{diverged}"),
            ("test accuracy", f"{100 * history[-1].test_accuracy:.2f} %"),
            ("training time", f"{seconds:.1f} s, {rate:,.0f} images/s"),
        ]
    rows += [("" if index else "written", str(path)) for index, path in enumerate(written)]
    return "\n".join(f"{name:<15}{value}" for name, value in rows)
