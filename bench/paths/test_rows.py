"""The rows with a number to reach under pytest-benchmark: ours and every peer, grouped by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from . import action, hmc, metropolis, transfer

Build = Callable[[], Callable[[], Any]]


def _sums() -> Iterator[tuple[str, str, Build]]:
    for case in transfer.rows():
        if not case.asked:
            continue
        yield case.name, "qcore", lambda case=case: transfer.ours(case, transfer.make(case))
        for peer, build in transfer.peers_of(case).items():
            yield case.name, peer, lambda case=case, build=build: build(case, transfer.make(case))


def _actions() -> Iterator[tuple[str, str, Build]]:
    for case in action.rows():
        if case.best is None:
            continue

        def x(case: action.Case = case) -> torch.Tensor:
            return torch.rand(case.shape, generator=torch.Generator().manual_seed(0))

        yield case.name, "qcore", lambda case=case, x=x: action.ours(case, x())
        for peer in ("torch eager", "torch compiled"):
            build = partial(action.theirs, compiled=peer == "torch compiled")
            yield case.name, peer, lambda case=case, x=x, build=build: build(case, x())


def _samplers() -> Iterator[tuple[str, str, Build]]:
    for suite, first in ((metropolis, metropolis.CASES[0]), (hmc, hmc.CASES[1])):
        yield first.name, "qcore", lambda suite=suite, first=first: suite.ours(first)
        for peer, build in suite.PEERS.items():
            yield first.name, peer, lambda build=build, first=first: build(first)


@pytest.mark.parametrize(
    ("row", "name", "build"),
    [pytest.param(*rival, id=f"{rival[0]}-{rival[1]}") for rival in (*_sums(), *_actions(), *_samplers())],
)
def test_row(benchmark: BenchmarkFixture, row: str, name: str, build: Build) -> None:
    """One call."""
    benchmark.group = row
    torch.set_num_threads(1)
    run = build()
    run()
    benchmark(run)
