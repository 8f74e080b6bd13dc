"""Settings of the benchmark suites: `pytest bench`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import timing
from .stencil.peers import compilations


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are no errors here: torch.compile has some of its own."""
    config.addinivalue_line("filterwarnings", "default")
    timing.keep_freed_memory()


@pytest.fixture
def compiler() -> Iterator[None]:
    """For a benchmark that may compile: what it compiled is forgotten afterwards."""
    with compilations():
        yield
