"""``qcore solve``: motions, states, transmissions against closed forms; what it writes, what it refuses."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from cli.conftest import PNG, Command
from qcore.cli import figures, motion, solve_pictures
from qcore.cli.potentials import POTENTIALS, Box, covered, packet_transmission


@pytest.fixture(autouse=True)
def _quick_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
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


# --- motion ---


@pytest.mark.parametrize(
    ("time_order", "space_order", "bound"),
    [(2, 2, 6e-2), (2, 6, 2e-2), (4, 4, 2e-4), (6, 6, 1e-5), (8, 6, 1e-5)],
)
def test_a_packet_in_a_harmonic_well_swings_as_a_classical_particle(
    command: Command, time_order: int, space_order: int, bound: float
) -> None:
    line = ("--potential", "harmonic", "--points", 255, "--box", 20, "--packet", -3, 1, 0.8, "--time", 2)
    found = solved(command, *line, "--time-order", time_order, "--space-order", space_order, "--dt", 0.01)
    times, mean = np.array(found["times"]), np.array(found["mean"])[:, 0]
    np.testing.assert_allclose(mean, -3 * np.cos(times) + np.sin(times), atol=bound)
    np.testing.assert_allclose(np.array(found["exact_mean"])[:, 0], -3 * np.cos(times) + np.sin(times))
    assert drift(found["norm"]) < 1e-11
    assert drift(found["energy"]) < 1e-9
    # <H> of a Gaussian: k0^2 / 2 + 1 / (8 s^2) + (x0^2 + s^2) / 2
    assert found["energy"][0] == pytest.approx(0.5 + 1 / (8 * 0.64) + (9 + 0.64) / 2, abs=2e-2)
    assert found["steps_done"] == 200
    assert times[-1] == pytest.approx(2)


def test_units_other_than_one(command: Command) -> None:
    """omega = 3, m = 2, hbar = 0.5: the mean is x0 cos(omega t) + hbar k0 sin(omega t) / (m omega)."""
    line = ("--potential", "harmonic", "--set", "omega=3", "--mass", 2, "--hbar", 0.5, "--box", 8)
    found = solved(command, *line, "--points", 255, "--packet", 1, 4, 0.3, "--time", 1)
    times, mean = np.array(found["times"]), np.array(found["mean"])[:, 0]
    np.testing.assert_allclose(mean, np.cos(3 * times) + np.sin(3 * times) / 3, atol=2e-3)
    assert times[-1] == pytest.approx(1, rel=1e-12)


def test_a_free_packet_flies_and_spreads(command: Command) -> None:
    line = ("--potential", "free", "--packet", -10, 2, 1, "--time", 6, "--points", 511)
    found = solved(command, *line)
    times = np.array(found["times"])
    np.testing.assert_allclose(np.array(found["mean"])[:, 0], -10 + 2 * times, atol=0.01)
    spread = np.sqrt(1 + (times / 2) ** 2)  # s^2 (1 + (hbar t / (2 m s^2))^2)
    np.testing.assert_allclose(np.array(found["standard_deviation"])[:, 0], spread, atol=0.01)


def transfer_transmission(k: float, height: float, width: float) -> float:
    """|t|^2 of a plane wave by matching psi and psi' at both edges: a 4 x 4 linear system."""
    q = np.sqrt(complex(k * k - 2 * height))
    e = np.exp
    matrix = np.array(
        [
            [1, -1, -1, 0],
            [-1j * k, -1j * q, 1j * q, 0],
            [0, e(1j * q * width), e(-1j * q * width), -e(1j * k * width)],
            [0, 1j * q * e(1j * q * width), -1j * q * e(-1j * q * width), -1j * k * e(1j * k * width)],
        ]
    )
    return float(abs(np.linalg.solve(matrix, np.array([-1, -1j * k, 0, 0]))[3]) ** 2)


@pytest.mark.parametrize(("height", "width", "k0"), [(2.0, 1.0, 1.8), (-1.0, 2.0, 1.5), (1.0, 2.0, 2.2)])
def test_the_analytic_transmission_of_a_packet(height: float, width: float, k0: float) -> None:
    spread = 1 / (2 * 3.0)
    k = np.linspace(k0 - 8 * spread, k0 + 8 * spread, 800)
    weight = np.exp(-((k - k0) ** 2) / (2 * spread**2))
    passed = [transfer_transmission(value, height, width) for value in k]
    expected = float((weight * passed).sum() / weight.sum())
    assert packet_transmission(k0, 3.0, height, width) == pytest.approx(expected, rel=1e-9)
    assert packet_transmission(-k0, 3.0, height, width) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("side", [1, -1])
def test_a_barrier_passes_what_the_textbook_says(command: Command, side: int) -> None:
    line = ("--potential", "barrier", "--points", 1535, "--packet", -16 * side, 1.8 * side, 3)
    found = solved(command, *line)
    assert found["transmission_exact"] == pytest.approx(0.391877, abs=1e-6)
    assert found["transmission"] == pytest.approx(found["transmission_exact"], abs=2e-3)
    assert abs(found["inside_barrier"]) < 1e-3
    assert drift(found["norm"]) < 1e-11
    result = command("solve", *line)
    assert (
        f"transmission  {found['transmission']:.6f}; exact, averaged over the packet: 0.391877" in result.out
    )


def test_transmission_is_told_only_of_a_packet_that_comes_to_the_barrier(command: Command) -> None:
    line = ("--potential", "barrier", "--points", 255, "--packet", 16, 1.8, 3, "--steps", 2)
    assert "transmission" not in solved(command, *line)
    early = command("solve", *line[:4], "--packet", -3, 1.8, 3, "--time", 1)
    assert "is still in the barrier: a longer --time lets it leave" in early.out


def test_a_double_well_brings_the_packet_back_after_its_splitting(command: Command) -> None:
    h = 12 / 192
    x = -6 + h * np.arange(1, 192)
    levels = dense_levels(3 * ((x / 2) ** 2 - 1) ** 2, h)
    splitting = levels[1] - levels[0]
    line = ("--potential", "double-well", "--points", 191, "--space-order", 2)
    found = solved(command, *line)
    assert found["splitting"] == pytest.approx(splitting, rel=1e-9)
    assert found["times"][-1] == pytest.approx(2 * math.pi / splitting, rel=1e-9)
    mean = np.array(found["mean"])[:, 0]
    assert mean[0] == pytest.approx(-2)
    assert mean[-1] < -1.3
    assert mean[len(mean) // 2] > 1.3


def test_transparent_ends_let_the_packet_out(command: Command) -> None:
    line = ("--potential", "free", "--packet", 0, 2.5, 1, "--box", 20, "--points", 399, "--time", 25)
    found = solved(command, *line, "--boundary", "transparent")
    assert found["norm"][-1] ** 2 < 1e-3
    walls = solved(command, *line)
    assert walls["norm"][-1] == pytest.approx(1, abs=1e-11)
    result = command("solve", *line, "--boundary", "transparent")
    assert "is left in the box" in result.out
    assert "drift" not in result.out


def test_a_packet_on_a_ring_comes_round(command: Command) -> None:
    """Free on a ring of length L: exp(-i k^2 t / 2), k = 2 pi j / L, is 1 for all j at t = L^2 / pi."""
    length = 10
    line = ("--potential", "free", "--boundary", "periodic", "--box", length, "--points", 128)
    found = solved(command, *line, "--packet", 1, 0, 0.7, "--time", length**2 / math.pi, "--space-order", 6)
    assert found["mean"][-1][0] == pytest.approx(1, abs=0.02)
    assert found["standard_deviation"][-1][0] == pytest.approx(0.7, abs=0.02)
    assert found["spacing"] == [length / 128]
    assert found["exact_mean"] is None


def test_a_file_is_a_potential_as_one_by_name(command: Command) -> None:
    x = np.linspace(-8, 8, 129)[1:-1]
    np.save("well.npy", (0.5 * x**2).astype(np.float32))
    line = ("--packet", -1, 0, 0.8, "--time", 1, "--dt", 0.02, "--box", -8, 8)
    by_file = solved(command, "--potential", "well.npy", *line)
    by_name = solved(command, "--potential", "harmonic", "--points", 127, *line)
    assert by_file["exact_mean"] is None
    for name in ("times", "norm", "energy", "mean", "standard_deviation"):
        np.testing.assert_allclose(by_file[name], by_name[name], atol=1e-6)


def test_the_same_motion_whatever_the_blocks(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    line = ("--potential", "morse", "--points", 127, "--steps", 61, "--dt", 0.05)
    found = solved(command, *line)
    monkeypatch.setattr(motion, "_BLOCKS", 1)
    whole = solved(command, *line)
    assert found["times"] == whole["times"]
    np.testing.assert_allclose(found["mean"], whole["mean"], atol=1e-9)


@pytest.mark.parametrize("steps", [1, 599, 600, 601, 1300, 1799])
def test_every_run_begins_at_zero_and_ends_at_its_end(command: Command, steps: int) -> None:
    found = solved(command, "--potential", "free", "--points", 63, "--dt", 0.01, "--steps", steps)
    times = np.array(found["times"])
    assert times[0] == 0
    assert times[-1] == pytest.approx(0.01 * steps)
    assert (np.diff(times) > 0).all()
    assert 2 <= len(times) <= 602
    assert found["finished"]


# --- two dimensions ---


def test_in_two_dimensions_the_mean_goes_round(command: Command) -> None:
    line = ("--potential", "harmonic-2d", "--points", 47, "--box", 12, "--packet", 2, 0, 0, 2, 0.707)
    found = solved(command, *line, "--time", 1.5, "--space-order", 4, "--dt", 0.02)
    times, mean = np.array(found["times"]), np.array(found["mean"])
    np.testing.assert_allclose(mean, 2 * np.stack([np.cos(times), np.sin(times)], 1), atol=0.02)
    assert drift(found["norm"]) < 1e-11


def test_a_double_slit_leaves_the_symmetry(command: Command) -> None:
    line = ("--potential", "double-slit", "--points", 63, "--packet", -5, 0, 3, 0, 1.6)
    found = solved(command, *line, "--time", 1.5, "--dt", 0.02)
    mean, spread = np.array(found["mean"]), np.array(found["standard_deviation"])
    assert abs(mean[:, 1]).max() < 1e-10
    assert mean[-1, 0] > mean[0, 0] + 1
    assert spread[-1, 1] > spread[0, 1]
    assert drift(found["norm"]) < 1e-11
    assert found["points"] == [63, 63]


def test_a_file_of_two_dimensions(command: Command) -> None:
    np.save("flat.npy", np.zeros((15, 31)))
    found = solved(command, "--potential", "flat.npy", "--box", 8, "--packet", 1, -1, 0, 0, 1.2, "--steps", 3)
    assert found["points"] == [15, 31]
    assert found["spacing"] == [8 / 16, 8 / 32]
    assert found["mean"][0] == pytest.approx([1, -1], abs=0.1)


# --- states ---


@pytest.mark.parametrize(
    ("arguments", "exact", "bound"),
    [
        (("harmonic",), [n + 0.5 for n in range(5)], 1e-5),
        (("harmonic", "--set", "omega=2", "--mass", 3, "--hbar", 0.5), [n + 0.5 for n in range(5)], 1e-3),
        # -(sqrt(2 D) w - n - 1/2)^2 / (2 w^2), w the range: 12 and 2 are the defaults
        (("morse",), [-((math.sqrt(24) * 2 - n - 0.5) ** 2) / 8 for n in range(5)], 1e-5),
        (("soft-core",), [-0.5, None], 1e-6),
        (("soft-core", "--set", "charge=2,softening=0.7071067811865476"), [-2.0, None], 1e-4),
        (("free",), [(math.pi * (n + 1) / 80) ** 2 / 2 for n in range(5)], 1e-6),
        (("free", "--boundary", "periodic"), [(math.pi * n / 40) ** 2 / 2 for n in (0, 1, 1, 2, 2)], 1e-6),
        (("harmonic-2d", "--points", 47, "--space-order", 6), [1, 2, 2, 3, 3, 3, 4], 1e-3),
        (("double-well",), [None, None], 0),
    ],
)
def test_lowest_states(
    command: Command, arguments: tuple[object, ...], exact: list[float | None], bound: float
) -> None:
    found = solved(command, "--potential", *arguments, "--states", len(exact))
    assert len(found["energies"]) == len(exact)
    for energy, known, value in zip(found["energies"], found["exact_energies"], exact, strict=True):
        assert known == (None if value is None else pytest.approx(value, rel=1e-12, abs=1e-14))
        assert value is None or energy == pytest.approx(value, abs=bound)
    assert max(found["residuals"]) < 1e-6


def test_the_table_of_energies(command: Command) -> None:
    result = command("solve", "--potential", "morse", "--points", 255, "--states", 12)
    lines = result.out.splitlines()
    header = lines.index("state            energy             exact     off by")
    rows = [line.split() for line in lines[header + 1 : header + 13]]
    assert [int(row[0]) for row in rows] == list(range(12))
    assert [len(row) for row in rows] == [4] * 10 + [2] * 2  # ten are bound
    for row in rows[:10]:
        assert float(row[1]) - float(row[2]) == pytest.approx(
            float(row[3]), abs=1e-9 + abs(float(row[3])) / 10
        )
    assert result.out.rstrip().endswith("written       states.png")
    plain = command("solve", "--potential", "double-well", "--points", 63, "--states", 2)
    assert "exact" not in plain.out


@pytest.mark.parametrize("order", [2, 4])
def test_states_of_a_file_are_those_of_its_matrix(command: Command, order: int) -> None:
    potential = np.random.default_rng(0).uniform(0, 5, 40)
    np.save("rough.npy", potential)
    line = ("--potential", "rough.npy", "--box", 4.1, "--states", 3, "--space-order", order)
    found = solved(command, *line)
    if order == 2:
        np.testing.assert_allclose(found["energies"], dense_levels(potential, 0.1)[:3], rtol=1e-10)
    assert found["exact_energies"] == [None] * 3


def test_imaginary_time_ends_in_the_ground_state(command: Command) -> None:
    h = 12 / 128
    x = -6 + h * np.arange(1, 128)
    lowest = dense_levels(3 * ((x / 2) ** 2 - 1) ** 2, h)[0]
    line = ("--potential", "double-well", "--imaginary", "--points", 127, "--space-order", 2)
    found = solved(command, *line)
    energies = np.array(found["energy"])
    assert found["eigenvalue"] == pytest.approx(lowest, rel=1e-12)
    assert energies[-1] == pytest.approx(lowest, rel=1e-10)
    assert found["energies"] == [energies[-1]]
    assert (np.diff(energies[:100]) < 1e-9).all()  # it only comes down
    assert len(energies) == found["steps"] + 1
    other = solved(command, *line, "--seed", 7, "--time-order", 4)
    assert other["energy"][0] != found["energy"][0]
    assert other["energy"][-1] == pytest.approx(lowest, rel=1e-10)


# --- what is written and told ---


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


# --- refusals ---


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ["the following arguments are required: --potential"]),
        (("--potential", "coulomb"), ["--potential: expected one of harmonic, barrier,", "got 'coulomb'"]),
        (("--potential", "no.npy"), ["--box: expected with a potential from a file"]),
        (("--potential", "no.npy", "--box", "4"), ["--potential: no.npy: no such file"]),
        (("--potential", "free", "--points", "2"), ["--points: expected an integer of at least 3"]),
        (("--potential", "free", "--box", "0"), ["--box: expected a length > 0, or two rising ends, got 0"]),
        (("--potential", "free", "--box", "3", "1"), ["--box: expected a length > 0", "got 3 1"]),
        (("--potential", "free", "--box", "1", "2", "3"), ["--box: expected a length > 0"]),
        (("--potential", "free", "--box", "wide"), ["--box: expected finite numbers, got 'wide'"]),
        (("--potential", "free", "--box", "inf"), ["--box: expected finite numbers, got 'inf'"]),
        (("--potential", "free", "--mass", "0"), ["--mass: expected a positive number, got '0'"]),
        (("--potential", "free", "--hbar", "-1"), ["--hbar: expected a positive number, got '-1'"]),
        (("--potential", "free", "--dt", "0"), ["--dt: expected a positive number, got '0'"]),
        (("--potential", "free", "--time", "nan"), ["--time: expected a positive number, got 'nan'"]),
        (("--potential", "free", "--steps", "0"), ["--steps: expected an integer of at least 1, got '0'"]),
        (
            ("--potential", "free", "--steps", "3", "--time", "1"),
            ["--time: not allowed with argument --steps"],
        ),
        (("--potential", "free", "--time-order", "3"), ["--time-order: invalid choice"]),
        (("--potential", "free", "--space-order", "8"), ["--space-order: invalid choice"]),
        (("--potential", "free", "--boundary", "open"), ["--boundary: invalid choice: 'open'"]),
        (("--potential", "free", "--packet", "1", "2"), ["--packet: expected 3 numbers, x0 k0 width, got 2"]),
        (("--potential", "free", "--packet", "0", "1", "0"), ["--packet: expected a width > 0, got 0"]),
        (("--potential", "free", "--packet", "0", "1", "-1"), ["--packet: expected a width > 0, got -1"]),
        (
            ("--potential", "free", "--packet", "0,1,1e-3"),
            ["--packet: expected a width of at least the grid's"],
        ),
        (
            ("--potential", "free", "--packet", "40", "1", "1"),
            ["--packet: expected a place between -40 and 40"],
        ),
        (
            ("--potential", "free", "--packet", "0", "99", "1"),
            ["--packet: expected wave numbers below pi / sp"],
        ),
        (("--potential", "free", "--box", "9"), ["--packet: expected one, as --box is not the default one"]),
        (
            ("--potential", "harmonic-2d", "--packet", "0,1,1"),
            ["--packet: expected 5 numbers, x0 y0 kx ky width"],
        ),
        (
            ("--potential", "harmonic-2d", "--time-order", "6"),
            ["--time-order: expected 2 or 4 in 2-D, got 6"],
        ),
        (("--potential", "harmonic-2d", "--imaginary"), ["--imaginary: expected a potential in 1-D"]),
        (
            ("--potential", "harmonic-2d", "--boundary", "transparent"),
            ["--boundary: expected dirichlet or periodic in 2-D, got transparent"],
        ),
        (
            ("--potential", "free", "--boundary", "transparent", "--time-order", "4"),
            ["--boundary: transparent ends need --time-order 2 and --space-order 2"],
        ),
        (
            ("--potential", "free", "--boundary", "transparent", "--states", "1"),
            ["--boundary: expected dirichlet or periodic with --states, got transparent"],
        ),
        (("--potential", "free", "--states", "0"), ["--states: expected an integer of at least 1, got '0'"]),
        (
            ("--potential", "free", "--points", "9", "--states", "8"),
            ["--states: expected at most 7, for 9 grid points, got 8"],
        ),
        (("--potential", "free", "--states", "1", "--imaginary"), ["--imaginary: not allowed with argument"]),
        (
            ("--potential", "free", "--states", "1", "--movie", "a.gif"),
            ["--movie: not allowed with --states"],
        ),
        (("--potential", "free", "--states", "1", "--dt", "1"), ["--dt: not allowed with --states"]),
        (
            ("--potential", "free", "--states", "1", "--time-order", "2"),
            ["--time-order: not allowed with --st"],
        ),
        (
            ("--potential", "free", "--imaginary", "--packet", "0,0,1"),
            ["--packet: not allowed with --imaginary"],
        ),
        (("--potential", "free", "--seed", "1"), ["--seed: only allowed with --imaginary"]),
        (
            ("--potential", "free", "--seed", "-1", "--imaginary"),
            ["--seed: expected an integer of at least 0"],
        ),
        (
            ("--potential", "free", "--set", "height=1"),
            ["--set: expected parameters of free (none), got 'height'"],
        ),
        (
            ("--potential", "harmonic", "--set", "w=1"),
            ["--set: expected parameters of harmonic (omega), got 'w'"],
        ),
        (("--potential", "harmonic", "--set", "omega=0"), ["--set: expected omega > 0, got 0"]),
        (
            ("--potential", "harmonic", "--set", "omega"),
            ["--set: expected NAME=NUMBER,... each once, got 'omega'"],
        ),
        (
            ("--potential", "harmonic", "--set", "omega=1,omega=2"),
            ["--set: expected NAME=NUMBER,... each once"],
        ),
        (("--potential", "harmonic", "--set", "omega=x"), ["--set: expected NAME=NUMBER"]),
        (("--potential", "free", "--movie", "a.mp4"), ["--movie: expected a file name that ends in .gif"]),
        (
            ("--potential", "free", "--picture", "a.gif"),
            ["--picture: expected a file name that ends in .png"],
        ),
        (("--potential", "free", "--json", "a.txt"), ["--json: expected a file name that ends in .json"]),
        (("--potential", "free", "--picture", "."), ["--picture: expected a file, got the folder ."]),
        (("--potential", "free", "--movie", "no/a.gif"), ["--movie: cannot write no/a.gif: No such file"]),
        (
            ("--potential", "free", "--json", "/proc/qcore/a.json"),
            ["--json: cannot write /proc/qcore/a.json: "],
        ),
        (
            ("--potential", "double-well", "--set", "height=60", "--points", "255"),
            ["--time: expected one, as the default, ", " steps"],
        ),
    ],
)
def test_refuses(command: Command, arguments: tuple[str, ...], parts: list[str]) -> None:
    assert command("solve", *arguments).refused(*parts)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (np.array([0.0, 1.0]), "expected shape (nx,) or (ny, nx), at least 3 an axis, got (2,)"),
        (np.zeros((4, 4, 4)), "expected shape (nx,) or (ny, nx), at least 3 an axis, got (4, 4, 4)"),
        (np.zeros((4, 2)), "expected shape (nx,) or (ny, nx), at least 3 an axis, got (4, 2)"),
        (np.array(1.0), "expected shape (nx,) or (ny, nx), at least 3 an axis, got ()"),
        (np.zeros(5, dtype=complex), "expected real numbers, got complex128"),
        (np.array(["a", "b", "c"]), "expected real numbers, got <U1"),
        (np.array([0, 1, math.nan, 1]), "expected finite values, got infinity or NaN"),
        (np.array([0, 1, math.inf, 1]), "expected finite values, got infinity or NaN"),
        (np.array([None, 1, 2]), "not a file of numpy.save"),
    ],
)
def test_refuses_files_that_are_no_potential(command: Command, array: np.ndarray, part: str) -> None:
    np.save("v.npy", array, allow_pickle=True)
    assert command("solve", "--potential", "v.npy", "--box", "4").refused("--potential: ", "v.npy", part)


def test_refuses_what_does_not_go_with_a_file(command: Command) -> None:
    np.save("v.npy", np.zeros(9))
    Path("text.npy").write_text("0 1 2 3")
    line = ("--potential", "v.npy", "--box", 4)
    assert command("solve", *line, "--points", 9).refused("--points: not allowed with a file")
    assert command("solve", *line, "--set", "a=1").refused("--set: not allowed with a file")
    assert command("solve", *line).refused("--packet: expected one for this file: x0 k0 width")
    assert command("solve", "--potential", "text.npy", "--box", 4).refused(
        "text.npy: not a file of numpy.save"
    )
    assert command("solve", "--potential", "folder.npy", "--box", 4).refused("folder.npy: no such file")


def test_what_the_library_refuses_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ValueError("dt: expected a smaller one, got 1")

    monkeypatch.setattr(motion.schrodinger, "propagate", refuse)
    assert command("solve", "--potential", "free").refused("dt: expected a smaller one, got 1")


# --- parts ---


@pytest.mark.parametrize("boundary", ["dirichlet", "periodic"])
@pytest.mark.parametrize("points", [10, 11, 64])
def test_cells_cover_an_interval_exactly(boundary: str, points: int) -> None:
    box = Box(-3.0, 5.0, (points,), boundary)
    share = covered(box, 0, -1.234, 2.345)
    assert float(share.sum()) * box.spacing[0] == pytest.approx(2.345 + 1.234)
    assert float(share.min()) == 0
    assert float(share.max()) == pytest.approx(1)


def test_points_lie_between_walls_and_around_a_ring() -> None:
    (walls,) = Box(-1.0, 1.0, (3,), "dirichlet").coordinates()
    (ring,) = Box(-1.0, 1.0, (4,), "periodic").coordinates()
    assert walls.tolist() == [-0.5, 0.0, 0.5]
    assert ring.tolist() == [-1.0, -0.5, 0.0, 0.5]
    y, x = Box(0.0, 1.0, (3, 4), "periodic").coordinates()
    assert (tuple(y.shape), tuple(x.shape)) == ((3, 1), (1, 4))


def test_many_points_are_averaged_for_a_picture() -> None:
    fine = torch.arange(5000.0, dtype=torch.float64)
    coarse = motion._coarse(fine[None], 1)
    assert coarse.shape == (1, 1000)
    torch.testing.assert_close(coarse[0, :2], torch.tensor([2.0, 7.0], dtype=torch.float64))
    plane = motion._coarse(torch.ones(2, 600, 3), 2)
    assert plane.shape == (2, 200, 3)


@pytest.mark.parametrize(
    ("value", "step"), [(0.0199, 0.01), (0.02, 0.02), (7.3, 5.0), (1.0, 1.0), (1e-9, 1e-9)]
)
def test_steps_are_round_numbers(value: float, step: float) -> None:
    assert motion._round_number(value) == step


@pytest.mark.usefixtures("real_pictures")
def test_pictures_of_nothing() -> None:
    """A density that is zero or NaN is drawn, not a crash."""
    box = Box(-1.0, 1.0, (15,), "dirichlet")
    system = motion.System(box, torch.zeros(15, dtype=torch.float64), 1.0, 1.0, 2)
    for value in (0.0, math.nan):
        density = torch.full((3, 15), value, dtype=torch.float64)
        numbers = torch.full((3,), value, dtype=torch.float64)
        still = motion.Motion(
            times=torch.arange(3.0, dtype=torch.float64),
            norm=numbers,
            energy=torch.zeros_like(numbers),
            potential=numbers,
            mean=numbers[:, None],
            spread=numbers[:, None],
            density=density,
            shown=box.coordinates(),
            psi=density[0] + 0j,
            steps=2,
            seconds=0.0,
            finished=True,
        )
        figure = solve_pictures.motion(system, still, "nothing", None)
        assert isinstance(figure, Figure)
        figure.savefig(Path("/dev/null"), format="png", dpi=20)
