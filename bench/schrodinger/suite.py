"""What the suites for pytest share: qcore and its peers on a case, each a benchmark of one group."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from .cases import Case, make
from .measure import peer_steps
from .peers import PEERS, check, ours, peers_of, with_steps

QCORE = "qcore"


def rivals(cases: list[Case]) -> list[Any]:
    """Parameters (case, name): qcore and all peers of each case."""
    return [
        pytest.param(case, name, id=f"{case.name}-{name}".replace(" ", "_"))
        for case in cases
        for name in (QCORE, *(peer.name for peer in peers_of(case)))
    ]


def run(benchmark: BenchmarkFixture, case: Case, name: str) -> None:
    """Time one of them after checking its result; each case is a group in pytest-benchmark's table.

    Peers make fewer steps, hence what to compare is the column ns, not the time.
    """
    problem = make(case)
    runner, steps = ours(problem), case.steps
    if name != QCORE:
        steps = peer_steps(case)
        short = with_steps(problem, steps)
        peer = next(peer for peer in PEERS if peer.name == name and peer.fits(case))
        expected = ours(short)
        answer = expected.read(expected.run())
        try:
            runner = peer.build(short)
        except ModuleNotFoundError as error:
            pytest.skip(f"{name}: {error}")
        check(peer, runner.read(runner.run()), answer, short.case)
    benchmark.group = f"{case.name} {case.label}"
    benchmark.pedantic(runner.run, rounds=5, iterations=1, warmup_rounds=1)
    if benchmark.stats is not None:  # none with --benchmark-disable
        benchmark.extra_info["steps"] = steps
        benchmark.extra_info["ns"] = 1e9 * benchmark.stats.stats.median / (case.points * steps)
