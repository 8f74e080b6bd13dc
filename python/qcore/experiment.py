"""The experiment of the residual-networks paper as a grid of runs: its plan, its results, what they say.

PDE networks 1 and 2, the residual control and a control without any layer (the head alone), at several
depths, over several seeds. The paper states neither seeds nor error bars; here every figure is the mean over
seeds of the test accuracy after the last epoch, with its standard error.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from qcore import _json
from qcore._atomic import replacing
from qcore.training import WITH_INITS, TrainConfig

PUBLISHED: dict[tuple[str, int], tuple[float, ...]] = {
    ("pde1", 5): (97.4,),
    ("pde1", 15): (96.5,),
    ("pde1", 27): (95.8,),
    ("pde1", 50): (89.2,),
    ("pde2", 27): (97.0,),
    ("pde2", 50): (96.9,),
    ("resnet", 5): (97.5,),
    ("resnet", 15): (97.3,),
    ("resnet", 27): (97.0, 96.7),
    ("resnet", 50): (96.2, 97.3),
}
"""Test accuracies (%), tables 4.1 and 4.2 of the paper, which disagree about the control."""

TITLES = {
    "pde1": "PDE network 1",
    "pde2": "PDE network 2",
    "resnet": "residual control",
    "ode": "neural ODE",
    "none": "head only",
}


class ResultsError(ValueError):
    """A file of results holds something else; the message says where, what was expected and what came."""


@dataclass(frozen=True)
class Run:
    """What one finished run gave.

    ``mass_untrained`` and ``mass_trained``: share of an image's mass that is left after 0, 1, ... depth
    layers, the mean over test images (:func:`qcore.residual.mass_kept`), before and after training.
    """

    config: TrainConfig
    checksum: int
    threads: int
    test_accuracy: float
    train_loss: float
    seconds: float
    accuracies: list[float]
    losses: list[float]
    mass_untrained: list[float]
    mass_trained: list[float]
    versions: dict[str, str] = field(default_factory=dict)


def grid(
    models: Sequence[str], depths: Sequence[int], seeds: int, inits: Sequence[str], **settings: Any
) -> list[TrainConfig]:
    """The runs of the experiment, seed by seed, so that a grid stopped halfway has all cells.

    A model whose start leaves no choice runs once for all ``inits``. Depth 0 is the head alone, whatever the
    model; it runs if ``depths`` holds 0 and ``models`` "none".

    Args:
        models, inits: names, as in :class:`TrainConfig`.
        depths: numbers of layers.
        seeds: number of seeds, 0, 1, ...
        settings: the other fields of :class:`TrainConfig`.
    """
    runs: dict[TrainConfig, None] = {}
    for seed in range(seeds):
        for init in inits:
            for depth in depths:
                for model in models:
                    if (model == "none") is (depth == 0):
                        start = init if model in WITH_INITS else "uniform"
                        runs[TrainConfig(model, depth, seed=seed, init=start, **settings)] = None
    return list(runs)


def cost(config: TrainConfig) -> float:
    """Work of one epoch in arbitrary units, to tell how much is left; the head costs as ten layers do."""
    return 10.0 + config.depth


def read_runs(path: Path) -> list[Run]:
    """The runs in a file of one JSON object per line; none if there is no file.

    Raises:
        ResultsError: a line is no run.
    """
    if not path.exists():
        return []
    return [_parse(line, f"{path}, line {n}") for n, line in enumerate(path.read_text().splitlines(), 1)]


def write_runs(path: Path, runs: Iterable[Run]) -> None:
    """Write the runs, one JSON object per line, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text("".join(_json.dumps(asdict(run)) + "\n" for run in runs))


def _parse(line: str, where: str) -> Run:
    try:
        content = _numbers(json.loads(line))
        names = {f.name for f in fields(Run)}
        if not isinstance(content, dict) or content.keys() != names:
            raise ValueError(f"expected the fields {', '.join(sorted(names))}")
        content["config"] = TrainConfig(**content["config"])
        return Run(**content)
    except (ValueError, TypeError) as error:
        raise ResultsError(f"{where}: expected a finished run, got something else: {error}") from None


def _numbers(value: Any) -> Any:
    """null, which stands for what was no number, as nan."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return math.nan if value is None else value


@dataclass(frozen=True)
class Cell:
    """Test accuracy (%) of one kind of network over its seeds: mean, standard error (nan of one), count."""

    mean: float
    error: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.error:.2f}" if self.count > 1 else f"{self.mean:.2f}"


def cells(runs: Iterable[Run]) -> dict[tuple[str, str, int], Cell]:
    """The cells of the table by (init, model, depth)."""
    groups: dict[tuple[str, str, int], list[float]] = {}
    for run in runs:
        key = run.config.init, run.config.model, run.config.depth
        groups.setdefault(key, []).append(100.0 * run.test_accuracy)
    return {
        key: Cell(
            statistics.fmean(scores),
            statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan,
            len(scores),
        )
        for key, scores in groups.items()
    }


def markdown(runs: Sequence[Run]) -> str:
    """The table: test accuracy (%) by network and start, by depth in columns, the published in brackets."""
    found = cells(runs)
    depths = sorted({depth for _, _, depth in found})
    lines = [
        "| network | start | " + " | ".join(f"{depth} layers" for depth in depths) + " |",
        "|---|---|" + "---|" * len(depths),
    ]
    for model in TITLES:
        for init in dict.fromkeys(init for init, name, _ in found if name == model):
            row = [TITLES[model], init if model in WITH_INITS else "as torch's layers"]
            for depth in depths:
                cell = found.get((init, model, depth))
                published = PUBLISHED.get((model, depth), ()) if init == "uniform" else ()
                brackets = f" ({' / '.join(f'{value:.1f}' for value in published)})" if published else ""
                row.append("" if cell is None else f"{cell} [{cell.count}]{brackets}")
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Criterion:
    """One of the conditions under which the paper's result counts as reproduced; None: runs are missing."""

    text: str
    holds: bool | None
    figures: str


def criteria(runs: Sequence[Run], init: str = "uniform") -> list[Criterion]:
    """Which conditions of a reproduction hold for networks that started as ``init``."""
    found = cells(runs)

    def mean(model: str, depth: int) -> float:
        start = init if model in WITH_INITS else "uniform"
        cell = found.get((start, model, depth))
        return math.nan if cell is None else cell.mean

    distances = {
        (model, depth): min(abs(mean(model, depth) - value) for value in values)
        for (model, depth), values in PUBLISHED.items()
        if depth < 50
    }
    (worst, deep), distance = max(distances.items(), key=lambda item: item[1])
    pde1, pde2, control, head = (
        mean(*key) for key in (("pde1", 50), ("pde2", 50), ("resnet", 50), ("none", 0))
    )
    falling = [mean("pde1", depth) for depth in (5, 15, 27, 50)]

    def verdict(values: Iterable[float], holds: bool) -> bool | None:
        return None if any(math.isnan(value) for value in values) else holds

    return [
        Criterion(
            "depths 5, 15, 27: every mean within 1.5 points of a published figure",
            verdict(distances.values(), distance <= 1.5),
            f"largest distance {distance:.2f}, {TITLES[worst]} at depth {deep}",
        ),
        Criterion(
            "depth 50: PDE network 1 at least 2 points below the control",
            verdict((pde1, control), control - pde1 >= 2),
            f"{pde1:.2f} and {control:.2f}",
        ),
        Criterion(
            "depth 50: PDE network 2 within 1 point of the control",
            verdict((pde2, control), abs(pde2 - control) <= 1),
            f"{pde2:.2f} and {control:.2f}",
        ),
        Criterion(
            "PDE network 1 falls with every depth",
            verdict(falling, all(deeper < shallower for shallower, deeper in pairwise(falling))),
            ", ".join(f"{value:.2f}" for value in falling),
        ),
        Criterion(
            "at depth 5 the layers help: PDE network 1 is above the head alone",
            verdict((falling[0], head), falling[0] > head),
            f"{falling[0]:.2f} and {head:.2f}",
        ),
    ]
