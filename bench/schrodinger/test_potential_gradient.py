"""Gradients with respect to the potential, beside the forward run."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from .cases import Case, gradients, make
from .gradient import check_gradient, runs

PARTS = ("forward", "backward", "whole")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("case", gradients(), ids=lambda case: case.name)
def test_gradient(benchmark: BenchmarkFixture, case: Case, part: str) -> None:
    """One of the three that the report times in turn."""
    check_gradient(case)
    benchmark.group = f"{case.name} {case.label}"
    benchmark.pedantic(runs(make(case))[PARTS.index(part)], rounds=5, iterations=1, warmup_rounds=1)
