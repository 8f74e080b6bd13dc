"""What a call costs before any arithmetic: the same tiny chain through each floor of the house."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from qcore import _core, stencil

from .cases import Case, make
from .peers import PEERS, ours

TINY = Case("overhead", (1, 1, 8, 8), steps=1)
TITLE = "A call on 64 points, one step"


def calls() -> dict[str, Callable[[], Any]]:
    """What is called, by name; the raw call first. Only training steps have inputs that ask for gradients."""
    problem, training = make(TINY), make(replace(TINY, train=True))
    x, taps, y = problem.x, problem.taps, torch.empty_like(problem.x)
    weight = problem.merged[0].unsqueeze(1)
    # skip, ReLU, slope, zero boundary, no states, no checkpoints, the fastest backend
    settings = 1.0, 1, 0.01, 0, 0, 0, 0
    raw, op = _core.stencil_residual_chain, torch.ops.qcore.stencil_residual_chain.default

    def call_op() -> Any:
        return op(x, taps, None, 1.0, "relu", 0.01, "zero", "auto")

    def raw_allocating() -> None:
        raw(x, taps, None, torch.empty_like(x), None, None, *settings)

    return {
        "raw _core call": lambda: raw(x, taps, None, y, None, None, *settings),
        "raw _core call, output allocated": raw_allocating,
        "torch.ops.qcore.stencil_residual_chain": call_op,
        "qcore.stencil.residual_chain": lambda: stencil.residual_chain(x, taps),
        "torch: one relu(conv2d)": lambda: torch.relu_(F.conv2d(x, weight, padding=1)),
        "training step, qcore": ours(training).run,
        "training step, torch": PEERS[0].build(training).run,
    }
