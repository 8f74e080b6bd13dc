"""Checkpoints: whole or refused, and never a way to run code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qcore.checkpoint import CheckpointError, DataSource, load_checkpoint, save_checkpoint
from qcore.data import load_mnist
from qcore.training import TrainConfig, Trainer

CONFIG = TrainConfig(depth=2, epochs=2, batch_size=16)


@pytest.fixture
def trained(mnist: Path) -> tuple[Trainer, DataSource]:
    data = load_mnist(mnist)
    trainer = Trainer(CONFIG, data)
    trainer.run()
    return trainer, DataSource.of(data, mnist)


@pytest.fixture
def path(trained: tuple[Trainer, DataSource], tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint.pt", *trained)
    return tmp_path / "checkpoint.pt"


def test_holds_configuration_source_and_network(trained: tuple[Trainer, DataSource], path: Path) -> None:
    trainer, source = trained
    saved = load_checkpoint(path)
    assert saved.config == CONFIG
    assert saved.source == source
    assert saved.threads == torch.get_num_threads()
    assert saved.epochs_done == 2
    x = torch.rand(3, 1, 6, 6)
    assert torch.equal(saved.classifier()(x), trainer.model(x))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_building_the_network_leaves_the_global_generator_alone(path: Path) -> None:
    before = torch.get_rng_state()
    load_checkpoint(path).classifier()
    assert torch.equal(torch.get_rng_state(), before)


def test_writing_fails_whole(
    trained: tuple[Trainer, DataSource], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def save(content: object, file: Any) -> None:
        file.write(b"half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, *trained)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


Change = Callable[[dict[str, Any]], Any]


def _drop(*keys: str) -> Change:
    def change(content: dict[str, Any]) -> dict[str, Any]:
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        return content

    return change


def _set(value: Any, *keys: str) -> Change:
    def change(content: dict[str, Any]) -> dict[str, Any]:
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        return content

    return change


BROKEN: dict[str, tuple[Change, str]] = {
    "a list": (lambda content: [1, 2], "expected a checkpoint of format .* got 'list'"),
    "weights alone": (lambda content: content["state"]["model"], "got 'no format mark'"),
    "a later format": (
        _set("qcore training run, version 2", "format"),
        "got 'qcore training run, version 2'",
    ),
    "no configuration": (_drop("config"), "expected a whole checkpoint, got a wrong part: 'config'"),
    "no state": (_drop("state"), "got a wrong part: 'state'"),
    "no history": (_drop("state", "history"), "got a wrong part: 'history'"),
    "an unknown setting": (_set(3, "config", "width"), "got a wrong part: .*width"),
    "an unknown model": (_set("vgg", "config", "model"), "model: expected one of pde1, .* got 'vgg'"),
    "a negative depth": (_set(-3, "config", "depth"), "depth: expected at least 0"),
    "an epoch without loss": (_set([{"epoch": 1}], "state", "history"), "got a wrong part: .*loss"),
    "no image size": (_drop("source", "image_size"), "got a wrong part: 'image_size'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_refuses_other_content(path: Path, what: str) -> None:
    change, message = BROKEN[what]
    torch.save(change(torch.load(path, weights_only=True)), path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


MISFITS: dict[str, Change] = {
    "weights of another depth": _set(3, "config", "depth"),
    "weights of another model": _set("resnet", "config", "model"),
    "weights of other images": _set((8, 8), "source", "image_size"),
    "no weights": _drop("state", "model"),
    "weights that are none": _set(3, "state", "model"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_refuses_a_network_that_does_not_fit(path: Path, what: str) -> None:
    torch.save(MISFITS[what](torch.load(path, weights_only=True)), path)
    with pytest.raises(CheckpointError, match=r"expected the state of .* got another: ") as caught:
        load_checkpoint(path).classifier()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        _drop("state", "optimizer"),
        _drop("state", "loss_sum"),
        _set(torch.zeros(3, dtype=torch.uint8), "state", "epoch_start"),
        _set({"state": {}, "param_groups": []}, "state", "optimizer"),
        MISFITS["weights of another depth"],
        MISFITS["weights of another model"],
        MISFITS["no weights"],
    ],
)
def test_refuses_to_restore_what_does_not_fit(path: Path, mnist: Path, change: Change) -> None:
    torch.save(change(torch.load(path, weights_only=True)), path)
    saved = load_checkpoint(path)
    trainer = Trainer(saved.config, load_mnist(mnist))
    with pytest.raises(CheckpointError, match="expected the state of"):
        saved.restore(trainer)


class _Trap:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("sprung"),)  # type: ignore[return-value]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"plain text\n" * 100, pickle.dumps([1])])
def test_refuses_foreign_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "foreign.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"foreign.pt: expected a checkpoint, got"):
        load_checkpoint(tmp_path / "foreign.pt")


def test_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="got a damaged or foreign file"):
        load_checkpoint(path)


def test_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(_Trap(), tmp_path / "trap.pt")
    with pytest.raises(CheckpointError, match="got a damaged or foreign file"):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["nothing.pt", "."])
def test_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        load_checkpoint(tmp_path / name)
