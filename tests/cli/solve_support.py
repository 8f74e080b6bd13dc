"""What the tests of ``qcore solve`` share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.conftest import Command
from qcore.cli import figures, solve_pictures


@pytest.fixture(autouse=True)
def quick_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty pictures where they aren't looked at."""
    if "real_pictures" not in request.fixturenames:
        for name in ("motion", "motion_2d", "states"):
            monkeypatch.setattr(solve_pictures, name, lambda *given: figures._figure(1, 1))


def solved(command: Command, *arguments: object) -> dict[str, Any]:
    """The numbers of a run that has to succeed."""
    result = command("solve", *arguments, "--json", "numbers.json")
    assert result.status == 0, result.err
    assert result.err == ""
    numbers: dict[str, Any] = json.loads(Path("numbers.json").read_text())
    return numbers


def dense_levels(potential: np.ndarray, h: float, mass: float = 1.0, hbar: float = 1.0) -> np.ndarray:
    """Eigenvalues of the three-point Hamiltonian between walls."""
    n, kappa = len(potential), hbar**2 / (2 * mass * h * h)
    matrix = np.diag(potential + 2 * kappa) - kappa * (np.eye(n, k=1) + np.eye(n, k=-1))
    return np.linalg.eigvalsh(matrix)


def drift(values: list[float]) -> float:
    return max(abs(value - values[0]) for value in values)
