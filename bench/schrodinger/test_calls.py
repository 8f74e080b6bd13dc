"""What a call costs on 64 points, floor by floor, from the raw `_core` call up."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from . import overhead


@pytest.mark.parametrize("name", list(overhead.calls()))
@pytest.mark.benchmark(group="overhead: one Schroedinger step of 64 points")
def test_call(benchmark: BenchmarkFixture, name: str) -> None:
    """One call."""
    benchmark(overhead.calls()[name])
