"""Training: forward and backward with gradients to the input and all taps, against the same in torch."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from . import suite
from .cases import DESIGN, Case

# Fewer points and steps than in the report, where some peers take half a minute for a training step.
CASES = [case.shrunk(2**18, steps=9) for case in DESIGN if case.train]


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(("case", "name"), suite.rivals(CASES))
def test_train(benchmark: BenchmarkFixture, case: Case, name: str) -> None:
    """One training step."""
    suite.run(benchmark, case, name)
