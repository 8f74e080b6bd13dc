"""The examples run, and what they print is what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name: str, folder: Path, *arguments: str) -> str:
    """What an example prints; it has to end well and to leave the picture x.png in ``folder``."""
    line = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments, "--out", "x.png"]
    found = subprocess.run(
        line,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    assert found.stdout.endswith("x.png\n")
    assert (folder / "x.png").read_bytes().startswith(b"\x89PNG")
    return found.stdout


def number(label: str, text: str) -> float:
    """The first number after a label."""
    match = re.search(rf"{re.escape(label)}\D*?([-+]?\d[\d.]*(?:e[-+]\d+)?)", text)
    assert match, text
    return float(match[1])


def test_network_is_a_path_integral(tmp_path: Path) -> None:
    text = run("network_is_a_path_integral", tmp_path, "--epochs", "1")
    for label in ("|sum over paths - output|", "|path weights - Jacobian|", "one by one", "of an impulse|"):
        assert number(label, text) < 1e-12
    assert abs(number("random paths into it", text)) < 4.5
    off = [float(value) for value in re.findall(r"off by ([\d.]+) %", text)]
    assert off[0] == 0
    assert min(off[1:]) > 1


def test_tunnelling(tmp_path: Path) -> None:
    text = run("tunnelling", tmp_path, "--points", "2719", "--steps", "400", "--packets", "5")
    assert number("largest drift of the norm", text) < 1e-11
    assert number("largest drift of the energy", text) < 1e-10
    rows = [line.split() for line in text.splitlines() if re.match(r" +\d\.\d\d ", line)]
    assert [float(row[0]) for row in rows] == [1.0, 1.55, 2.1, 2.65, 3.2]
    for _, _, found, exact, off in rows:
        assert abs(float(found) - float(exact)) < 0.02
        assert abs(float(found) - float(exact) - float(off)) < 1e-4
    assert float(rows[0][2]) < 0.01
    assert float(rows[-1][2]) > 0.97


def test_double_slit(tmp_path: Path) -> None:
    text = run("double_slit", tmp_path, "--points", "127", "--steps", "240")
    assert number("drift of the norm", text) < 1e-11
    assert number("|psi(y) - psi(-y)|", text) < 1e-11
    assert number("mirrored difference", text) < 1e-11
    assert 20 < number("behind the wall", text) < 45
    found, sources = map(
        float, re.findall(r"dark fringe +y = ([\d.]+), by two point sources ([\d.]+)", text)[0]
    )
    assert abs(found - sources) < 0.3
    assert abs(number("both / sum of each", text) - 2) < 0.05


def test_double_well(tmp_path: Path) -> None:
    text = run("double_well", tmp_path, "--points", "95", "--steps", "20000")
    assert number("they differ by", text) < 1e-4
    exact, found = number("h / (E1 - E0)", text), number("period of the propagated", text)
    assert abs(found / exact - 1) < 1e-4
    assert number("drift of the norm", text) < 1e-10
    assert number("drift of the energy", text) < 1e-10


def test_soft_core_hydrogen(tmp_path: Path) -> None:
    text = run("soft_core_hydrogen", tmp_path)
    slopes = [float(value) for value in re.findall(r"order found +([\d.]+) +([\d.]+) +([\d.]+)", text)[0]]
    for slope, order in zip(slopes, (2, 4, 6), strict=True):
        assert abs(slope - order) < 0.1
    assert number("1 - |<ground state, exact>|", text) < 1e-9
    assert number("iterated - LAPACK's", text) < 1e-9
    assert "    0      -0.50000" in text


def test_steer_a_packet(tmp_path: Path) -> None:
    text = run("steer_a_packet", tmp_path, "--points", "119", "--steps", "140", "--iterations", "60")
    assert number("straight", text) < 0.4
    assert number("learned", text) > 0.98
    assert abs(float(re.findall(r"learned +\S+ +(\S+)", text)[0]) - 5) < 0.1


def test_three_families(tmp_path: Path) -> None:
    text = run("three_families", tmp_path, "--halvings", "1")
    exact = number("Mehler, exact", text)
    for name in ("paths.transfer", "schrodinger.propagate", "stencil.residual_chain"):
        assert abs(number(name, text) - exact) < 1e-9
    assert number("largest difference between two of them", text) < 1e-9
    rows = [[float(value) for value in line.split()] for line in text.splitlines() if line.startswith("0.")]
    assert [row[0] for row in rows] == [0.1, 0.05]
    for coarse, fine in zip(rows[0][1:], rows[1][1:], strict=True):
        assert fine < coarse / 10


def test_tunnelling_by_paths(tmp_path: Path) -> None:
    text = run("tunnelling_by_paths", tmp_path, "--chains", "64", "--sweeps", "2000")
    found, error = map(float, re.findall(r"from the paths +([\d.]+) \+- ([\d.]+)", text)[0])
    kernel, wave = number("of the steps' kernel, diagonalised", text), number("Crank-Nicolson's wave", text)
    exact = number("of the Hamiltonian, diagonalised", text)
    assert error < 0.03 * found
    assert abs(found - kernel) < 4.5 * error
    assert abs(wave / exact - 1) < 2e-3
    assert abs(kernel / exact - 1) < 0.01


def test_random_relu_networks(tmp_path: Path) -> None:
    text = run("random_relu_networks", tmp_path, "--networks", "4000")
    assert number("|as torch.nn layers - as a path|", text) < 1e-12
    assert abs(number("variance of the weights", text) - 2) < 0.05
    assert abs(number("covariance of neighbours", text) + 1) < 0.05
    assert number("largest deviation", text) < 4.5
    energy, error = map(float, re.findall(r"energy from the networks +([\d.]+) \+- ([\d.]+)", text)[0])
    assert abs(energy - number("ground state, this step", text)) < 4.5 * error
    assert number("ground state  ", text) == 0.8038
