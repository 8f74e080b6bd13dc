"""``qcore train`` and ``qcore evolve`` on the neural ODE, whose depth is its number of Euler steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cli.conftest import PNG, Command
from qcore import checkpoint
from qcore.nn import StencilODE
from qcore.training import CHAINS, TrainConfig

QUICK = ("train", "--model", "ode", "--epochs", 2, "--batch-size", 16)


@pytest.mark.parametrize("depth", [0, 5])
def test_trains_and_evolves(command: Command, mnist: Path, tmp_path: Path, depth: int) -> None:
    result = command(*QUICK, "--depth", depth, "--data", mnist)
    assert result.status == 0
    out = tmp_path / "runs" / f"ode-{depth}-0"
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["config"]["model"], metrics["config"]["depth"]) == ("ode", depth)
    head = 36 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
    assert metrics["parameters"] == 9 + head  # one stencil, however many steps
    chain = checkpoint.load_checkpoint(out / "checkpoint.pt").classifier().chain
    assert isinstance(chain, StencilODE)
    assert (chain.steps, chain.time, chain.obstacle, chain.fused) == (depth, 1.0, True, True)
    assert command("evolve", "--checkpoint", out / "checkpoint.pt").status == 0
    assert (out / "evolution.png").read_bytes() == PNG


def test_resumes(command: Command, mnist: Path) -> None:
    assert command(*QUICK, "--depth", 3, "--data", mnist, "--out", "whole").status == 0
    assert command(*QUICK, "--depth", 3, "--data", mnist, "--out", "two", "--epochs", 1).status == 0
    assert command("train", "--resume", "--out", "two", "--epochs", 2).status == 0
    whole, two = (checkpoint.load_checkpoint(Path(out) / "checkpoint.pt").state for out in ("whole", "two"))
    assert all(torch.equal(two["model"][name], value) for name, value in whole["model"].items())


def test_evolve_draws_an_untrained_flow(command: Command, mnist: Path) -> None:
    line = ("evolve", "--model", "ode", "--depth", 6, "--data", mnist, "--layers", "0,3,6", "--index", 0)
    assert command(*line).status == 0
    assert Path("evolution.png").read_bytes() == PNG


def test_more_steps_refine_the_same_flow() -> None:
    flows = []
    x = torch.rand(4, 1, 8, 8)
    for depth in (8, 64, 512):
        torch.manual_seed(0)
        flows.append(CHAINS["ode"](depth, "uniform")(x).detach())
    errors = [(flow - flows[-1]).norm() for flow in flows]
    assert 0 < errors[1] < 0.25 * errors[0]


def test_other_starts_are_refused(command: Command, mnist: Path) -> None:
    result = command(*QUICK, "--init", "normal", "--data", mnist)
    assert result.refused("--init: expected one of uniform for the model ode, got 'normal'")
    with pytest.raises(ValueError, match="init: expected one of uniform for the model ode"):
        TrainConfig(model="ode", init="symmetric")
