"""What a call costs on tensors too small to matter, floor by floor, from the raw `_core` call up."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from . import overhead


@pytest.mark.parametrize("name", list(overhead.calls()))
@pytest.mark.benchmark(group="overhead: 64 points, one step")
def test_overhead(benchmark: BenchmarkFixture, name: str) -> None:
    """One call."""
    benchmark(overhead.calls()[name])
