"""Checkpoints of training runs: one file with the configuration, the data's identity and the whole state."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from qcore._atomic import CheckpointError, replacing
from qcore.data import Digits
from qcore.nn import DigitClassifier
from qcore.training import Epoch, TrainConfig, Trainer, build_classifier

__all__ = ["Checkpoint", "CheckpointError", "DataSource", "load_checkpoint", "save_checkpoint"]

_FORMAT = "qcore training run, version 1"


@dataclass(frozen=True)
class DataSource:
    """Which data a run trains on: enough to find it again and to tell it from other data."""

    name: str
    folder: str | None
    checksum: int
    image_size: tuple[int, int]

    @classmethod
    def of(cls, data: Digits, folder: str | Path | None) -> DataSource:
        """The source of ``data``, read from ``folder`` (None: bundled)."""
        where = None if folder is None else str(Path(folder).absolute())
        return cls(data.name, where, data.checksum, data.image_size)


@dataclass(frozen=True)
class Checkpoint:
    """A run as it was saved. ``threads`` is part of it: sums in linear layers depend on their number."""

    path: Path
    config: TrainConfig
    source: DataSource
    threads: int
    state: dict[str, Any]

    @property
    def epochs_done(self) -> int:
        """Number of finished epochs."""
        return len(self.state["history"])

    def classifier(self) -> DigitClassifier:
        """The network with the saved weights."""
        with torch.random.fork_rng(devices=[]):
            model = build_classifier(self.config, self.source.image_size)
        try:
            model.load_state_dict(self.state["model"])
        except (RuntimeError, KeyError, TypeError) as error:
            raise self._mismatch(error) from None
        return model

    def restore(self, trainer: Trainer) -> None:
        """Put the saved state into a trainer of the same configuration and data.

        Raises:
            CheckpointError: the state does not fit the configuration in the file.
        """
        try:
            trainer.load_state_dict(self.state)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise self._mismatch(error) from None

    def _mismatch(self, error: Exception) -> CheckpointError:
        wanted = f"{self.config.model} of depth {self.config.depth}"
        return CheckpointError(
            f"{self.path}: expected the state of {wanted}, got another: {_first_line(error)}"
        )


def save_checkpoint(path: str | Path, trainer: Trainer, source: DataSource) -> None:
    """Write a run's state to ``path``, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    content = {
        "format": _FORMAT,
        "config": asdict(trainer.config),
        "source": asdict(source),
        "threads": torch.get_num_threads(),
        "state": trainer.state_dict(),
    }
    # By way of memory: on a full disk torch.save may raise a RuntimeError of its own in place of the OSError.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint; nothing in the file is executed (``weights_only``).

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is no checkpoint of this library, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler and zip reader run into
        raise CheckpointError(f"{path}: expected a checkpoint, got a damaged or foreign file") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        got = content.get("format", "no format mark") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path}: expected a checkpoint of format {_FORMAT!r}, got {got!r}")
    try:
        source = dict(content["source"], image_size=tuple(content["source"]["image_size"]))
        for epoch in content["state"]["history"]:
            Epoch(**epoch)
        config = TrainConfig(**content["config"])
        return Checkpoint(path, config, DataSource(**source), int(content["threads"]), content["state"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a whole checkpoint, got a wrong part: {error}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].strip() if str(error).strip() else type(error).__name__
