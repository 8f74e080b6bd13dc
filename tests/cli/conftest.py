"""A small data set on disk, and the command line as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from matplotlib.figure import Figure

from idx_files import write_mnist
from qcore.cli import main

PNG = b"\x89PNG\r\n\x1a\n"


class Result(NamedTuple):
    """What a command gave back."""

    status: int
    out: str
    err: str

    def refused(self, *parts: str) -> bool:
        """Whether it ended with one line of error on stderr, holding all ``parts``, and nothing else."""
        lines = self.err.strip().splitlines()
        assert self.status == 2, self
        assert len(lines) == 1 or lines[0].startswith("usage: "), self.err
        assert ": error: " in lines[-1], self.err
        for part in parts:
            assert part in lines[-1], f"{part!r} is not in {lines[-1]!r}"
        return True


Command = Callable[..., Result]


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of IDX files: 40 images to train, 20 to test, 6 x 6 pixels."""
    return write_mnist(tmp_path_factory.mktemp("data") / "mnist")


@pytest.fixture
def real_pictures() -> None:
    """Asked for where pictures are to be drawn in earnest, which takes most of a small run's time."""


@pytest.fixture
def command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Command:
    """Runs a command line in an empty working folder, in this process."""
    monkeypatch.chdir(tmp_path)
    if "real_pictures" not in request.fixturenames:
        monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: Path(path).write_bytes(PNG))

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Result(status, *capsys.readouterr())

    return run
