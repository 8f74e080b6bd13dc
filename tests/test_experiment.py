"""The grid of the experiment: its plan, its file of results, its table and what it concludes."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from qcore.experiment import (
    PUBLISHED,
    TITLES,
    ResultsError,
    Run,
    cells,
    criteria,
    grid,
    markdown,
    read_runs,
    write_runs,
)
from qcore.training import CHAINS, TrainConfig


def run(
    model: str = "pde1",
    depth: int = 5,
    seed: int = 0,
    accuracy: float = 0.9,
    init: str = "uniform",
    loss: float = 0.1,
) -> Run:
    return Run(
        config=TrainConfig(model, depth, epochs=2, seed=seed, init=init),
        checksum=7,
        threads=1,
        test_accuracy=accuracy,
        train_loss=loss,
        seconds=1.5,
        accuracies=[0.5, accuracy],
        losses=[1.0, loss],
        mass_untrained=[1.0] * (depth + 1),
        mass_trained=[1.0] * (depth + 1),
    )


def published() -> list[Run]:
    """Runs that gave the paper's figures, and a head a little below."""
    runs = [run(model, depth, accuracy=values[0] / 100) for (model, depth), values in PUBLISHED.items()]
    runs += [run("resnet", 50, seed=1, accuracy=0.973), run("none", 0, accuracy=0.97)]
    return runs


def test_grid_is_every_cell_seed_by_seed() -> None:
    plan = grid(["pde1", "pde2", "resnet", "none"], [0, 5, 50], 2, ["uniform", "normal"], epochs=3, lr=0.01)
    assert len(plan) == len(set(plan)) == 2 * (2 * 2 * 2 + 2 + 1)
    assert all((config.epochs, config.lr, config.batch_size) == (3, 0.01, 128) for config in plan)
    seeds = [config.seed for config in plan]
    assert seeds == sorted(seeds)
    assert {(c.model, c.depth, c.init) for c in plan if c.seed == 1} == {
        ("none", 0, "uniform"),
        ("resnet", 5, "uniform"),
        ("resnet", 50, "uniform"),
        *(
            (model, depth, init)
            for model in ("pde1", "pde2")
            for depth in (5, 50)
            for init in ("uniform", "normal")
        ),
    }


def test_every_model_has_a_title() -> None:
    assert set(TITLES) == set(CHAINS)


def test_grid_without_what_would_fill_it_is_empty() -> None:
    assert grid(["none"], [5], 3, ["uniform"]) == []
    assert grid(["pde1"], [0], 3, ["uniform"]) == []


def test_runs_come_back_as_written(tmp_path: Path) -> None:
    runs = [run(), run("resnet", 3, seed=2, loss=math.nan), run("none", 0)]
    path = tmp_path / "runs.jsonl"
    assert read_runs(path) == []
    write_runs(path, runs)
    text = path.read_text()
    assert len(text.splitlines()) == 3
    assert "NaN" not in text
    first, second, third = read_runs(path)
    assert (first, third) == (runs[0], runs[2])
    assert math.isnan(second.train_loss)
    assert math.isnan(second.losses[1])
    assert dataclasses.replace(second, train_loss=0.0, losses=[]) == dataclasses.replace(
        runs[1], train_loss=0.0, losses=[]
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: expected a finished run"),
        ("[1]", "expected the fields accuracies"),
        ('{"config": {}}', "expected the fields accuracies"),
        ("", "line 2: expected a finished run"),
    ],
)
def test_refuses_what_is_no_run(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "runs.jsonl"
    write_runs(path, [run()])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ResultsError, match=message):
        read_runs(path)


def test_refuses_a_run_of_an_unknown_model(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    write_runs(path, [run()])
    content = json.loads(path.read_text())
    content["config"]["model"] = "vgg"
    path.write_text(json.dumps(content) + "\n")
    with pytest.raises(ResultsError, match=r"runs.jsonl, line 1: .*model: expected one of pde1"):
        read_runs(path)


def test_cells_hold_mean_and_standard_error() -> None:
    found = cells([run(accuracy=a, seed=i) for i, a in enumerate((0.90, 0.92, 0.97))] + [run("none", 0)])
    cell = found["uniform", "pde1", 5]
    assert cell.mean == pytest.approx(93.0)
    # Deviations of -3, -1 and 4 points: variance 26 / 2, over three runs.
    assert cell.error == pytest.approx(math.sqrt(13 / 3))
    assert (cell.count, str(cell)) == (3, "93.00 ± 2.08")
    single = found["uniform", "none", 0]
    assert math.isnan(single.error)
    assert str(single) == "90.00"


def test_table_has_a_row_for_each_start_and_the_published_figures() -> None:
    lines = markdown([*published(), run("pde1", 50, accuracy=0.5, init="normal")]).splitlines()
    assert lines[0] == "| network | start | 0 layers | 5 layers | 15 layers | 27 layers | 50 layers |"
    assert lines[2] == (
        "| PDE network 1 | uniform |  | 97.40 [1] (97.4) | 96.50 [1] (96.5) | 95.80 [1] (95.8) "
        "| 89.20 [1] (89.2) |"
    )
    assert lines[3] == "| PDE network 1 | normal |  |  |  |  | 50.00 [1] |"
    assert lines[5].endswith("| 97.00 [1] (97.0 / 96.7) | 96.75 ± 0.55 [2] (96.2 / 97.3) |")
    assert lines[6].startswith("| head only | as torch's layers | 97.00 [1] |")
    assert len({line.count("|") for line in lines}) == 1


def test_criteria_hold_for_the_published_figures() -> None:
    assert [c.holds for c in criteria(published())] == [True] * 5


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        (run("resnet", 15, accuracy=0.95), 0),
        (run("pde1", 50, accuracy=0.955), 1),
        (run("pde2", 50, accuracy=0.95), 2),
        (run("pde1", 15, accuracy=0.975), 3),
        (run("none", 0, accuracy=0.98), 4),
    ],
)
def test_each_criterion_can_fail_alone(changed: Run, broken: int) -> None:
    runs = [
        r
        for r in published()
        if (r.config.model, r.config.depth) != (changed.config.model, changed.config.depth)
    ]
    holds = [criterion.holds for criterion in criteria([*runs, changed])]
    assert holds == [index != broken for index in range(5)]


def test_criteria_wait_for_missing_runs() -> None:
    runs = [r for r in published() if r.config.model != "none"]
    assert [c.holds for c in criteria(runs)] == [True, True, True, True, None]
    assert [c.holds for c in criteria([])] == [None] * 5
    assert [c.holds for c in criteria(published(), init="normal")] == [None] * 5
