"""``qcore reproduce``: what it writes, that it goes on where it was stopped, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cli.conftest import PNG, Command
from qcore import checkpoint
from qcore.data import load_mnist
from qcore.experiment import read_runs
from qcore.training import TrainConfig, Trainer

SMALL = ("--depths", "0,2", "--epochs", 2, "--batch-size", 16, "--jobs", 1)


@pytest.fixture
def one_thread() -> None:
    """As the runs in their own processes have it."""
    torch.set_num_threads(1)


@pytest.mark.usefixtures("real_pictures", "one_thread")
def test_runs_the_grid_and_goes_on(command: Command, mnist: Path) -> None:
    common = ("reproduce", "--data", mnist, "--models", "pde1,resnet,none", *SMALL, "--out", "here")
    result = command(*common, "--seeds", 1)
    assert result.status == 0, result.err
    assert result.out.startswith(
        "3 runs on mnist, 0 done; 1 at a time, threads of each: 1; results in here\n"
    )
    assert [line.split()[0] for line in result.err.splitlines()] == ["1/3", "2/3", "3/3"]
    out = Path("here")
    assert sorted(path.name for path in out.iterdir()) == [
        "accuracy.png",
        "checkpoints",
        "mass.png",
        "runs.jsonl",
        "table.md",
    ]
    assert all((out / name).read_bytes().startswith(PNG) for name in ("accuracy.png", "mass.png"))
    assert (out / "table.md").read_text().strip() in result.out
    runs = read_runs(out / "runs.jsonl")
    assert {(run.config.model, run.config.depth) for run in runs} == {("pde1", 2), ("resnet", 2), ("none", 0)}

    # Every run is what a trainer of its own does.
    data = load_mnist(mnist)
    for run in runs:
        trainer = Trainer(run.config, data)
        assert trainer.run()
        assert run.accuracies == [epoch.test_accuracy for epoch in trainer.history]
        assert run.losses == [epoch.loss for epoch in trainer.history]
        assert len(run.mass_untrained) == len(run.mass_trained) == run.config.depth + 1
        assert run.mass_untrained[0] == 1.0
        if run.config.depth:
            assert run.mass_untrained != run.mass_trained

    before = (out / "runs.jsonl").read_text()
    result = command(*common, "--seeds", 2)
    assert result.status == 0, result.err
    assert "6 runs on mnist, 3 done" in result.out
    assert len(result.err.splitlines()) == 3
    assert (out / "runs.jsonl").read_text().startswith(before)
    assert "± " in (out / "table.md").read_text()

    result = command(*common, "--seeds", 2)
    assert (result.status, result.err) == (0, "")
    assert "6 runs on mnist, 6 done" in result.out

    # The table holds what earlier commands with the same settings left, too.
    result = command(*common, "--seeds", 2, "--models", "none")
    assert "2 runs on mnist, 2 done" in result.out
    assert "PDE network 1" in (out / "table.md").read_text()


def test_interrupted_run_goes_on_from_its_last_state(mnist: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "qcore", "reproduce", "--data", mnist, "--models", "pde1", "--depths", "3"]
    line += ["--seeds", "1", "--epochs", "100000", "--jobs", "1", "--out", "here"]
    process = subprocess.Popen(
        [str(part) for part in line], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    state = tmp_path / "here" / "checkpoints" / "pde1-3-uniform-0.pt"
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.strip() == "qcore reproduce: interrupted after 0 of 1 runs; the same command goes on"
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["checkpoints"]
    saved = checkpoint.load_checkpoint(state)
    assert saved.epochs_done >= 1
    assert saved.config == TrainConfig("pde1", 3, 100000)


def test_a_killed_process_is_told_in_a_line(mnist: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "qcore", "reproduce", "--data", mnist, "--models", "pde1", "--depths", "3"]
    line += ["--seeds", "1", "--epochs", "100000", "--jobs", "1", "--out", "here"]
    process = subprocess.Popen(
        [str(part) for part in line], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    state = tmp_path / "here" / "checkpoints" / "pde1-3-uniform-0.pt"
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    worker = [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(int(worker[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("qcore reproduce: error: a training process died")
    assert checkpoint.load_checkpoint(state).epochs_done >= 1


@pytest.mark.usefixtures("one_thread")
def test_saved_state_is_taken_up(command: Command, mnist: Path) -> None:
    line = (
        "reproduce",
        "--data",
        mnist,
        "--models",
        "pde1",
        "--depths",
        2,
        "--epochs",
        3,
        "--batch-size",
        16,
    )
    line += ("--seeds", 1, "--jobs", 1)
    assert command(*line, "--out", "whole").status == 0

    config = TrainConfig("pde1", 2, 3, 16)
    data = load_mnist(mnist)
    trainer = Trainer(config, data)
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count == 4

    assert not trainer.run(should_stop=stop)
    states = Path("parts/checkpoints")
    states.mkdir(parents=True)
    source = checkpoint.DataSource.of(data, mnist)
    checkpoint.save_checkpoint(states / "pde1-2-uniform-0.pt", trainer, source)
    # Told apart from a run begun anew by its first epoch, which only the saved state knows.
    object.__setattr__(trainer.history[0], "loss", -1.0)
    checkpoint.save_checkpoint(states / "pde1-2-uniform-0.pt", trainer, source)
    assert command(*line, "--out", "parts").status == 0
    (whole,), (parts,) = (read_runs(Path(out) / "runs.jsonl") for out in ("whole", "parts"))
    assert parts.losses == [-1.0, *whole.losses[1:]]
    assert parts.accuracies == whole.accuracies


def test_refuses_results_of_other_data(command: Command, mnist: Path) -> None:
    line = ("reproduce", "--data", mnist, "--models", "none", "--depths", 0, "--seeds", 1, "--epochs", 1)
    assert command(*line, "--out", "here").status == 0
    assert command(*line, "--out", "here", "--threads", 2).refused("--out: here/runs.jsonl", "threads 1")
    path = Path("here/runs.jsonl")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"checksum": 1}) + "\n")
    assert command(*line, "--out", "here").refused("--out: here/runs.jsonl", "checksum 00000001")
    path.write_text("{}\n")
    assert command(*line, "--out", "here").refused("runs.jsonl, line 1: expected a finished run")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--models", "vgg"), ("--models", "expected some of pde1", "got 'vgg'")),
        (("--models", "pde1,pde1"), ("--models", "expected every value once")),
        (("--depths", "5,x"), ("--depths", "expected an integer of at least 0", "got 'x'")),
        (("--depths", ""), ("--depths", "expected an integer")),
        (("--depths", "0", "--models", "pde1"), ("--models, --depths: expected at least one run",)),
        (("--seeds", 0), ("--seeds", "at least 1")),
        (("--init", "zeros"), ("--init", "expected some of uniform, normal, symmetric", "got 'zeros'")),
        (("--epochs", 0), ("--epochs",)),
        (("--batch-size", 0), ("--batch-size",)),
        (("--lr", "-1"), ("--lr", "expected a positive number")),
        (("--jobs", 0), ("--jobs",)),
        (("--threads", 0), ("--threads",)),
        (("--data", "nowhere"), ("nowhere: no such folder",)),
        (("--out", "file/below"), ("--out: cannot write in file/below",)),
    ],
)
def test_refuses(command: Command, arguments: tuple[object, ...], parts: tuple[str, ...]) -> None:
    Path("file").touch()
    assert command("reproduce", *arguments).refused(*parts)
    assert sorted(path.name for path in Path().iterdir() if path.name != "file") in ([], ["runs"])
    assert not list(Path().rglob("*.jsonl"))
