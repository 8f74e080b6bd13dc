"""Forward: T layers in one call against the same layers in torch."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from . import suite
from .cases import DESIGN, Case


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(("case", "name"), suite.rivals([case for case in DESIGN if not case.train]))
def test_forward(benchmark: BenchmarkFixture, case: Case, name: str) -> None:
    """One call, no gradients."""
    suite.run(benchmark, case, name)
