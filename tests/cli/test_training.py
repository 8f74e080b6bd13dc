"""The training loop: what it computes, and that stopping and going on leaves no trace."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from qcore.data import Digits, load_mnist
from qcore.training import CHAINS, Epoch, TrainConfig, Trainer, accuracy

TINY = TrainConfig(depth=3, epochs=3, batch_size=16, lr=0.01, seed=5)


@pytest.fixture(scope="module")
def data(mnist: Path) -> Digits:
    return load_mnist(mnist)


def outcome(trainer: Trainer) -> dict[str, Any]:
    """All that two equal runs share: everything but the clock."""
    state = trainer.state_dict()
    history = [(e["epoch"], e["loss"], e["test_accuracy"]) for e in state["history"]]
    return {"model": state["model"], "optimizer": state["optimizer"]["state"], "history": history}


def assert_bitwise_equal(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_bitwise_equal(value, other[key])
    else:
        assert one == other


@pytest.mark.parametrize("model", CHAINS)
def test_is_adam_on_the_cross_entropy_over_shuffled_batches(data: Digits, model: str) -> None:
    config = replace(TINY, model=model)
    trainer = Trainer(config, data)
    plain = copy.deepcopy(trainer.model)
    generator = torch.Generator()
    generator.set_state(trainer.state_dict()["epoch_start"])
    optimizer = torch.optim.Adam(plain.parameters(), lr=config.lr)
    losses = []
    for _ in range(config.epochs):
        total = 0.0
        order = torch.randperm(40, generator=generator)
        for batch in (order[:16], order[16:32], order[32:]):
            optimizer.zero_grad()
            loss = F.cross_entropy(plain(data.train_images[batch]), data.train_labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / 40)
    assert trainer.run()
    assert [epoch.loss for epoch in trainer.history] == pytest.approx(losses, rel=1e-4)
    for ours, theirs in zip(trainer.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", CHAINS)
def test_learns(data: Digits, model: str) -> None:
    trainer = Trainer(replace(TINY, model=model, depth=2, epochs=40), data)
    assert trainer.run()
    assert trainer.history[-1].loss < 0.2 * trainer.history[0].loss
    assert trainer.history[-1].test_accuracy > 0.8


def test_history_and_calls(data: Digits) -> None:
    trainer = Trainer(TINY, data)
    batches: list[tuple[int, float]] = []
    epochs: list[Epoch] = []
    assert trainer.run(on_batch=lambda images, loss: batches.append((images, loss)), on_epoch=epochs.append)
    assert [images for images, _ in batches] == [16, 16, 8] * 3
    assert epochs == trainer.history
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    for number, epoch in enumerate(epochs):
        part = batches[3 * number : 3 * number + 3]
        assert epoch.loss == pytest.approx(sum(images * loss for images, loss in part) / 40, rel=1e-12)
        assert epoch.seconds > 0
        assert epoch.images_per_second == pytest.approx(40 / epoch.seconds)
    assert epochs[-1].test_accuracy == accuracy(trainer.model, data.test_images, data.test_labels)


def test_accuracy_counts_hits_over_all_parts(monkeypatch: pytest.MonkeyPatch, data: Digits) -> None:
    model = Trainer(TINY, data).model
    wanted = (model(data.test_images).argmax(1) == data.test_labels).double().mean().item()
    monkeypatch.setattr("qcore.training._EVALUATION_BATCH", 7)
    assert accuracy(model, data.test_images, data.test_labels) == pytest.approx(wanted)


def test_two_runs_are_one(data: Digits) -> None:
    runs = [Trainer(TINY, data), Trainer(TINY, data)]
    for trainer in runs:
        torch.rand(7)  # the global generator plays no part
        trainer.run()
    assert_bitwise_equal(outcome(runs[0]), outcome(runs[1]))
    other = Trainer(replace(TINY, seed=6), data)
    other.run()
    assert other.history[-1].loss != runs[0].history[-1].loss


def test_leaves_the_global_generator_alone(data: Digits) -> None:
    before = torch.get_rng_state()
    Trainer(TINY, data).run()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("stop_after", range(1, 10))
def test_resumes_bitwise_after_any_batch(data: Digits, stop_after: int) -> None:
    whole = Trainer(TINY, data)
    whole.run()

    first = Trainer(TINY, data)
    count = 0

    def should_stop() -> bool:
        nonlocal count
        count += 1
        return count == stop_after

    assert not first.run(should_stop=should_stop)
    assert first.epochs_done * 3 + first.batches_done == stop_after
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = Trainer(TINY, data)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    assert second.run()
    assert_bitwise_equal(outcome(second), outcome(whole))


def test_more_epochs_go_on_where_fewer_ended(data: Digits) -> None:
    short, whole = Trainer(replace(TINY, epochs=1), data), Trainer(TINY, data)
    short.run()
    whole.run()
    longer = Trainer(TINY, data)
    longer.load_state_dict(short.state_dict())
    assert longer.run()
    assert_bitwise_equal(outcome(longer), outcome(whole))
    assert longer.run()  # nothing left to do
    assert longer.epochs_done == 3


def test_nan_in_the_data_reaches_the_loss(data: Digits) -> None:
    images = data.train_images.clone()
    images[3, 0, 2, 2] = float("nan")
    trainer = Trainer(TINY, replace(data, train_images=images))
    assert trainer.run()
    assert math.isnan(trainer.history[-1].loss)


BAD_CONFIGS = {
    "model": ({"model": "vgg"}, ValueError, "model: expected one of pde1, pde2, resnet, ode, none, got 'v"),
    "depth": ({"depth": -1}, ValueError, "depth: expected at least 0 .* got -1"),
    "depth a float": ({"depth": 1.5}, TypeError, "depth: expected an int, got float"),
    "epochs": ({"epochs": 0}, ValueError, "epochs: expected at least 1 .* got 0"),
    "batch_size": ({"batch_size": 0}, ValueError, "batch_size: expected at least 1 .* got 0"),
    "batch_size a bool": ({"batch_size": True}, TypeError, "batch_size: expected an int, got bool"),
    "seed": ({"seed": 2**63}, ValueError, r"seed: expected at least 0 and less than 2\*\*63"),
    "lr": ({"lr": 0.0}, ValueError, "lr: expected a positive number, got 0.0"),
    "lr nan": ({"lr": float("nan")}, ValueError, "lr: expected a positive number, got nan"),
    "lr infinite": ({"lr": float("inf")}, ValueError, "lr: expected a positive number, got inf"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_config_refuses(case: str) -> None:
    options, error, message = BAD_CONFIGS[case]
    with pytest.raises(error, match=message):
        TrainConfig(**options)
