"""``qcore solve``: motions and states against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cli.conftest import Command
from cli.solve_support import dense_levels, drift, quick_pictures, solved
from qcore.cli import motion
from qcore.cli.potentials import packet_transmission

__all__ = ["quick_pictures"]  # a fixture


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
