"""Gradients of a neural ODE in three ways, beside torchdiffeq with conv2d."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from .flows import FLOWS, WAYS, WHO, Flow
from .measure import check


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("flow", [flow for flow in FLOWS if flow.steps == 32], ids=lambda flow: flow.name)
def test_gradients(benchmark: BenchmarkFixture, flow: Flow, way: str, who: str) -> None:
    """One forward pass and the gradients to the start and the stencil."""
    check(flow, way)
    benchmark.group = f"{flow.name} {way}"
    benchmark.pedantic(WHO[who](flow, way), rounds=5, iterations=1, warmup_rounds=1)
