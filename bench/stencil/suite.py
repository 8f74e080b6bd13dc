"""What the suites for pytest share: qcore and its peers on a case, each a benchmark of one group."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from .cases import Case, make
from .peers import PEERS, check, ours, peers_of

QCORE = "qcore"


def rivals(cases: list[Case]) -> list[Any]:
    """Parameters (case, name): qcore and all peers of each case; those long to compile are marked slow."""
    return [
        pytest.param(case, name, id=f"{case.name}-{name}".replace(" ", "_"), marks=[pytest.mark.slow] * slow)
        for case in cases
        for name, slow in [(QCORE, False), *((peer.name, peer.whole) for peer in peers_of(case))]
    ]


def run(benchmark: BenchmarkFixture, case: Case, name: str) -> None:
    """Time one of them after checking its result; each case is a group in pytest-benchmark's table."""
    problem = make(case)
    runner = ours(problem)
    if name != QCORE:
        expected = runner.read(runner.run())
        runner = next(peer for peer in PEERS if peer.name == name).build(problem)
        check(name, runner.read(runner.run()), expected, case)
    benchmark.group = f"{case.name} {case.label}"
    benchmark.pedantic(runner.run, rounds=5, iterations=1, warmup_rounds=1)
    if benchmark.stats is not None:  # none with --benchmark-disable
        benchmark.extra_info["GP/s"] = case.point_steps / benchmark.stats.stats.median / 1e9
