"""Training of digit classifiers: a loop that can stop after any batch and go on as if it had not.

What the residual-networks paper does not state (batch size, initialisation, seeds, widths) are our defaults:
batches of 128, the initialisation of each module, a head 784-128-64-10, the test accuracy after the last
epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qcore.data import Digits
from qcore.nn import DigitClassifier, PDEChain, ResidualChain, StencilODE
from qcore.nn.chains import INITS

CHAINS: dict[str, Callable[[int, str], nn.Module]] = {
    "pde1": lambda depth, init: PDEChain(depth, advection=1.0, init=init),
    "pde2": lambda depth, init: PDEChain(depth, advection=-1.0 / 8.0, init=init),
    "resnet": lambda depth, init: ResidualChain(depth),
    "ode": lambda depth, init: StencilODE(depth, obstacle=True),  # one stencil; depth only refines the steps
    "none": lambda depth, init: nn.Identity(),
}
WITH_INITS = ("pde1", "pde2")  # the others start as torch's own layers do
_EVALUATION_BATCH = 2000


@dataclass(frozen=True)
class TrainConfig:
    """What fixes a run together with its data: two runs of one configuration end with the same weights."""

    model: str = "pde2"
    depth: int = 27
    epochs: int = 50
    batch_size: int = 128
    lr: float = 1e-3
    seed: int = 0
    init: str = "uniform"

    def __post_init__(self) -> None:
        if self.model not in CHAINS:
            raise ValueError(f"model: expected one of {', '.join(CHAINS)}, got {self.model!r}")
        inits = INITS if self.model in WITH_INITS else INITS[:1]
        if self.init not in inits:
            raise ValueError(
                f"init: expected one of {', '.join(inits)} for the model {self.model}, got {self.init!r}"
            )
        for name, least in (("depth", 0), ("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
            if not least <= value < 2**63:
                raise ValueError(f"{name}: expected at least {least} and less than 2**63, got {value}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr: expected a positive number, got {self.lr}")


@dataclass(frozen=True)
class Epoch:
    """What an epoch gave: mean training loss (nats), test accuracy (0..1), training time (s) and images/s."""

    epoch: int
    loss: float
    test_accuracy: float
    seconds: float
    images_per_second: float


def build_classifier(config: TrainConfig, image_size: tuple[int, int]) -> DigitClassifier:
    """The network of a configuration, initialised from torch's global generator."""
    chain = CHAINS[config.model](config.depth, config.init)
    return DigitClassifier(chain, image_size=image_size)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of the images (N, 1, H, W) whose largest score is that of their label (N,)."""
    hits = 0
    with torch.inference_mode():
        for start in range(0, len(labels), _EVALUATION_BATCH):
            batch = slice(start, start + _EVALUATION_BATCH)
            hits += int((model(images[batch]).argmax(1) == labels[batch]).sum())
    return hits / len(labels)


class Trainer:
    """Adam on the cross-entropy, over shuffled batches without augmentation.

    The run is a function of the configuration, the data and the number of threads. ``state_dict`` taken after
    any batch holds all of its state; a trainer that loads it ends bitwise where the first would have.

    Args:
        config: the run.
        data: images and labels; kept whole in memory, batches are gathered by ``index_select``.
    """

    def __init__(self, config: TrainConfig, data: Digits) -> None:
        self.config = config
        self.data = data
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = build_classifier(config, data.image_size)
            # The shuffles go on in the stream of random numbers that the initialisation began.
            self._generator = torch.Generator()
            self._generator.set_state(torch.get_rng_state())
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.lr, fused=True)
        self.history: list[Epoch] = []
        self._epoch_start = self._generator.get_state()
        self._batches_done = 0
        self._loss_sum = 0.0
        self._seconds = 0.0

    @property
    def epochs_done(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def batches_done(self) -> int:
        """Number of finished batches of the epoch in progress."""
        return self._batches_done

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches of an epoch; the last may be smaller."""
        return -(-len(self.data.train_labels) // self.config.batch_size)

    def run(
        self,
        *,
        on_batch: Callable[[int, float], None] | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train up to the configured number of epochs.

        Args:
            on_batch: called after each batch with its number of images and its loss.
            on_epoch: called after each epoch.
            should_stop: asked after each batch; True ends the run there.

        Returns:
            True when all epochs are done, False when ``should_stop`` ended the run.
        """
        while self.epochs_done < self.config.epochs:
            if not self._run_epoch(on_batch, should_stop):
                return False
            if on_epoch is not None:
                on_epoch(self.history[-1])
        return True

    def _run_epoch(
        self, on_batch: Callable[[int, float], None] | None, should_stop: Callable[[], bool]
    ) -> bool:
        images, labels = self.data.train_images, self.data.train_labels
        model, optimizer = self.model, self.optimizer
        started = time.perf_counter() - self._seconds
        self._generator.set_state(self._epoch_start)
        order = torch.randperm(len(labels), generator=self._generator)
        size = self.config.batch_size
        for start in range(self._batches_done * size, len(labels), size):
            batch = order[start : start + size]
            loss = F.cross_entropy(model(images.index_select(0, batch)), labels.index_select(0, batch))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            value = loss.item()
            self._loss_sum += value * len(batch)
            self._batches_done += 1
            if on_batch is not None:
                on_batch(len(batch), value)
            if should_stop():
                self._seconds = time.perf_counter() - started
                return False
        seconds = time.perf_counter() - started
        score = accuracy(model, self.data.test_images, self.data.test_labels)
        loss_mean, rate = self._loss_sum / len(labels), len(labels) / seconds
        self.history.append(Epoch(self.epochs_done + 1, loss_mean, score, seconds, rate))
        self._epoch_start = self._generator.get_state()
        self._batches_done = 0
        self._loss_sum = self._seconds = 0.0
        return True

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on, as tensors and plain Python types."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [vars(epoch) for epoch in self.history],
            "epoch_start": self._epoch_start,
            "batches_done": self._batches_done,
            "loss_sum": self._loss_sum,
            "seconds": self._seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`state_dict`, taken from a run of the same configuration and data.

        Raises:
            RuntimeError, ValueError, KeyError, TypeError: it is the state of something else.
        """
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self._epoch_start = state["epoch_start"]
        self._generator.set_state(self._epoch_start)
        self._batches_done = int(state["batches_done"])
        self._loss_sum = float(state["loss_sum"])
        self._seconds = float(state["seconds"])
