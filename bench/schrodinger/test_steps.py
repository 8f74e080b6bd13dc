"""Forward: many steps in one call against the same steps by LAPACK, scipy, torch."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from . import suite
from .cases import Case, design


@pytest.mark.parametrize(("case", "name"), suite.rivals(design()))
def test_steps(benchmark: BenchmarkFixture, case: Case, name: str) -> None:
    """One call, no gradients."""
    suite.run(benchmark, case, name)
