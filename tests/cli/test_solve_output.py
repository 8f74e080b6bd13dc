"""What ``qcore solve`` writes, draws and tells, and how it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.conftest import PNG, Command
from cli.solve_support import quick_pictures
from qcore.cli import motion, solve_pictures
from qcore.cli.potentials import POTENTIALS

__all__ = ["quick_pictures"]  # a fixture


def test_the_picture_by_default_and_by_name(command: Command) -> None:
    line = ("--potential", "harmonic", "--points", 63, "--steps", 5)
    assert command("solve", *line).out.rstrip().endswith("written       motion.png")
    assert command("solve", *line, "--picture", "swing.png").out.rstrip().endswith("written       swing.png")
    assert sorted(path.name for path in Path().iterdir()) == ["motion.png", "swing.png"]


def test_what_is_told(command: Command) -> None:
    line = ("--potential", "barrier", "--set", "height=1.5", "--points", 255, "--steps", 7, "--dt", 0.1)
    result = command("solve", *line)
    told = {line[:14].strip(): line[14:] for line in result.out.splitlines()}
    assert told["potential"] == "barrier: V = height where |x| < width / 2, height 1.5, width 1"
    assert told["grid"] == "255 points from -60 to 60, spacing 0.4688, dirichlet; mass 1, hbar 1"
    assert told["packet"] == "at -16, wave number 1.8, width 3"
    assert told["steps"] == "7 of 0.1, to time 0.7; order 4 in time, 2 in space"
    assert told["norm"].startswith("1.000000000000, drift ")
    assert list(told) == [
        "potential",
        "grid",
        "packet",
        "steps",
        "norm",
        "energy",
        "mean x",
        "took",
        "transmission",
        "written",
    ]


@pytest.mark.usefixtures("real_pictures")
@pytest.mark.parametrize("name", ["harmonic", "barrier", "soft-core", "double-slit"])
def test_pictures_can_be_drawn(command: Command, name: str) -> None:
    axes = POTENTIALS[name].axes
    line = ("--potential", name, "--points", 127 if axes == 1 else 47)
    steps = ("--steps", 30) if axes == 1 else ("--steps", 6, "--dt", 0.01)
    assert command("solve", *line, *steps, "--picture", "a.png").status == 0
    assert Path("a.png").read_bytes().startswith(PNG)
    assert command("solve", *line, "--states", 2, "--picture", "b.png").status == 0
    assert Path("b.png").read_bytes().startswith(PNG)


@pytest.mark.usefixtures("real_pictures")
def test_a_relaxation_can_be_drawn(command: Command) -> None:
    assert command("solve", "--potential", "harmonic", "--points", 63, "--imaginary").status == 0
    assert Path("states.png").read_bytes().startswith(PNG)


def test_a_movie(command: Command) -> None:
    from PIL import Image

    line = ("--potential", "barrier", "--points", 127, "--steps", 5, "--dt", 2)
    result = command("solve", *line, "--movie", "out.gif")
    assert result.status == 0
    assert [path.name for path in Path().iterdir()] == ["out.gif"]  # a picture only if it is asked for
    with Image.open("out.gif") as movie:
        assert movie.n_frames == 6
        assert movie.size == (576, 320)
        first = np.asarray(movie.convert("RGB")).astype(int)
        movie.seek(movie.n_frames - 1)
        assert np.abs(first - np.asarray(movie.convert("RGB"))).max() > 100
    both = command("solve", *line, "--movie", "out.gif", "--picture", "out.png")
    assert both.out.rstrip().endswith("written       out.png\n              out.gif")


def test_a_movie_of_two_dimensions(command: Command) -> None:
    from PIL import Image

    line = ("--potential", "double-slit", "--points", 47, "--steps", 4, "--dt", 0.02, "--movie", "out.gif")
    assert command("solve", *line).status == 0
    with Image.open("out.gif") as movie:
        assert movie.n_frames == 5


def test_long_runs_have_short_movies(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    shown: list[range] = []

    def record(system: object, motion: object, title: str, frames: range) -> list[Any]:
        from PIL import Image

        shown.append(frames)
        return [Image.new("RGB", (4, 4)) for _ in frames]

    monkeypatch.setattr(solve_pictures, "movie", record)
    line = ("--potential", "free", "--points", 63, "--dt", 0.01, "--movie", "out.gif")
    for steps in (1, 119, 120, 600, 1000):
        assert command("solve", *line, "--steps", steps).status == 0
    assert [len(frames) for frames in shown] == [2, 120, 61, 101, 101]


def test_without_matplotlib(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    line = ("--potential", "harmonic", "--points", 63, "--steps", 3)
    result = command("solve", *line)
    assert result.status == 0
    assert "norm          1.000000000000" in result.out
    assert result.err.startswith("qcore solve: no motion.png: drawing a picture needs matplotlib")
    assert command("solve", *line, "--picture", "a.png").refused("drawing a picture needs matplotlib")
    assert list(Path().iterdir()) == []


def test_no_global_state_of_matplotlib(command: Command) -> None:
    import matplotlib

    before = matplotlib.get_backend(auto_select=False)
    command("solve", "--potential", "free", "--points", 63, "--steps", 2, "--movie", "a.gif")
    assert matplotlib.get_backend(auto_select=False) == before
    assert "matplotlib.pyplot" not in sys.modules


def test_help(command: Command) -> None:
    result = command("solve", "--help")
    assert result.status == 0
    assert result.out.startswith("usage: qcore solve")
    assert all(name in " ".join(result.out.split()) for name in POTENTIALS)


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "qcore", "solve", "--potential", "soft-core", "--states", "2"]
    run = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert "-0.5000000000" in run.stdout
    assert (tmp_path / "states.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("mode", [(), ("--imaginary",)])
def test_ctrl_c_ends_between_blocks(
    command: Command, monkeypatch: pytest.MonkeyPatch, mode: tuple[str, ...]
) -> None:
    calls = []
    propagate = motion.System.propagate

    def interrupted(self: motion.System, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return propagate(self, *arguments, **options)

    monkeypatch.setattr(motion.System, "propagate", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    line = (
        "--potential",
        "harmonic",
        "--points",
        63,
        "--dt",
        0.01,
        "--steps",
        500,
        "--json",
        "a.json",
        *mode,
    )
    result = command("solve", *line)
    assert signal.getsignal(signal.SIGINT) is handler
    assert result.status == 130
    assert result.err == "qcore solve: interrupted after 30 of 500 steps; what is written ends there\n"
    assert len(calls) == 3
    found = json.loads(Path("a.json").read_text())
    assert found["finished"] is False
    assert found["times"][-1] == pytest.approx(0.3)


def test_a_bar_on_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    result = command("solve", "--potential", "harmonic", "--points", 63, "--steps", 100, "--dt", 0.01)
    assert result.status == 0
    assert "100%" in result.err
