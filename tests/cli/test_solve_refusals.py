"""What ``qcore solve`` refuses, and its parts alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from cli.conftest import Command
from cli.solve_support import quick_pictures
from qcore.cli import motion, solve_pictures
from qcore.cli.potentials import Box, covered

__all__ = ["quick_pictures"]  # a fixture


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
