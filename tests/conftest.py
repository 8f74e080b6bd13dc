"""Fixtures for every suite: seeded random numbers, the thread count put back, Hypothesis profiles."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from devices import Elsewhere, kernels, require, wanted

if find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    # On a shared runner a slow example says nothing, and a failure has to come back on the next run.
    settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True, print_blob=True)
    settings.load_profile("ci" if os.environ.get("CI") else "local")

# Packages of the extra `test` to do without, where nothing can be installed: see bench/gpu.sh.
WITHOUT = os.environ.get("QCORE_TEST_WITHOUT", "").split()


def pytest_report_header() -> list[str]:
    """Say what is left out."""
    return [f"without files that import {' or '.join(WITHOUT)}"] if WITHOUT else []


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out test files that import what there is to do without."""
    if not WITHOUT or not collection_path.match("test_*.py"):
        return None
    pattern = rf"^(from|import) ({'|'.join(map(re.escape, WITHOUT))})\b"
    return True if re.search(pattern, collection_path.read_text(), re.MULTILINE) else None


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seed torch and NumPy: a test gives the same numbers alone and in a full run."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (for libraries that still draw from the global generator)
    return 0


@pytest.fixture(autouse=True)
def _threads_restored() -> Iterator[None]:
    """Put torch's thread count back after every test."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["emulated", "shuffled", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> Elsewhere:
    """Runs functions on the GPU kernels: see `Elsewhere.run`."""
    require(request.param)
    return Elsewhere(request.param)


# Tests of what kernels compute: with a GPU all of them run on its kernels as well.
NUMERICAL = {"nn", "paths", "residual", "schrodinger", "stencil"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked `everywhere` run in the emulation of the GPU kernels too, and numerical ones on a GPU."""
    test = metafunc.definition
    numerical = test.path.parent.name in NUMERICAL and not test.get_closest_marker("host")
    places: list[Any] = ["cpu"]
    if test.get_closest_marker("everywhere") or (numerical and wanted("TEST_EMULATED")):
        places.append("shuffled")
    if numerical and (torch.cuda.is_available() or wanted("REQUIRE_CUDA")):
        places.append(pytest.param("cuda", marks=pytest.mark.cuda))
    if len(places) > 1:
        metafunc.fixturenames.append("_where")
        metafunc.parametrize("_where", places, indirect=True)


@pytest.fixture
def _where(request: pytest.FixtureRequest) -> Iterator[None]:
    require(request.param)
    with kernels(request.param, skip_plain=True):
        yield
