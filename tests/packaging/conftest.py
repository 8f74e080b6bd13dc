"""What the packaging tests look at: the installation, its compiled module, and fresh interpreters."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qcore import _core


@pytest.fixture(scope="session")
def core_file() -> Path:
    """The shared object that `import qcore` loads."""
    return Path(_core.__file__)


@pytest.fixture(params=["_core", "_cuda"])
def module_file(request: pytest.FixtureRequest) -> Path:
    """Every shared object that a wheel may have."""
    found = importlib.util.find_spec(f"qcore.{request.param}")
    if found is None or found.origin is None:
        pytest.skip(f"built without {request.param}")
    return Path(found.origin)


@pytest.fixture(scope="session")
def distribution() -> importlib.metadata.Distribution:
    """The installed distribution; sources merely on the path have none, which CI does not let pass."""
    try:
        return importlib.metadata.distribution("qcore-kernels")
    except importlib.metadata.PackageNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip("qcore-kernels is on the path but not installed")


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Run Python in a process of its own and return what it printed; a failure shows its errors."""

    def run(*arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
