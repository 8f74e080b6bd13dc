"""``qcore paths``: averages against exact ones, seeds, Ctrl-C, what is written, what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from cli.conftest import PNG, Command
from qcore.cli import figures, paths, paths_pictures
from qcore.cli.paths_systems import SYSTEMS, exact, reach
from qcore.paths import Polynomial, lattice_oscillator

SMALL = ("--beta", 4, "--slices", 32, "--chains", 64, "--sweeps", 300, "--warmup", 100)


@pytest.fixture(autouse=True)
def _quick_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty pictures where they aren't looked at."""
    if "real_pictures" not in request.fixturenames:
        for name in ("particle", "field"):
            monkeypatch.setattr(paths_pictures, name, lambda *given: figures._figure(1, 1))


def sampled(command: Command, *arguments: object) -> dict[str, Any]:
    """The numbers of a run that has to succeed."""
    result = command("paths", *arguments, "--json", "numbers.json")
    assert result.status == 0, result.err
    assert result.err == ""
    numbers: dict[str, Any] = json.loads(Path("numbers.json").read_text())
    return numbers


def agrees(found: dict[str, Any], expected: float) -> None:
    assert found["error"] > 0
    assert abs(found["mean"] - expected) < 4.5 * found["error"], (found, expected)


# --- averages ---


@pytest.mark.parametrize("sampler", ["metropolis", "hmc"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_paths_average_to_what_is_exact_at_their_step(command: Command, system: str, sampler: str) -> None:
    found = sampled(command, "--system", system, "--sampler", sampler, *SMALL, "--seed", 3)
    exactly = found["exact_this_step"]
    for name, key in (
        ("energy_virial", "energy"),
        ("energy_thermodynamic", "energy"),
        ("x2", "x2"),
        ("x4", "x4"),
    ):
        agrees(found["estimates"][name], exactly[key])
        assert found["estimates"][name]["error"] < 0.05 * exactly[key]
        assert found["estimates"][name]["ess_per_second"] > 0
    assert 0.2 < found["acceptance"] <= 1
    assert (found["sweeps_done"], found["warmup_done"], found["chains"]) == (300, 100, 64)


@pytest.mark.parametrize("scheme", ["midpoint", "takahashi-imada"])
def test_other_schemes(command: Command, scheme: str) -> None:
    found = sampled(command, "--system", "quartic", *SMALL, "--scheme", scheme)
    agrees(found["estimates"]["energy_thermodynamic"], found["exact_this_step"]["energy"])
    agrees(found["estimates"]["x2"], found["exact_this_step"]["x2"])


@pytest.mark.parametrize("scheme", ["trapezoid", "midpoint", "takahashi-imada"])
def test_what_is_called_exact_is(scheme: str) -> None:
    """The oscillator in other units, by its closed forms; E = -d ln Z / d beta by differences."""
    omega, mass, hbar, beta, slices = 3.0, 2.0, 0.5, 1.7, 12
    coefficients = SYSTEMS["harmonic"].coefficients({"omega": omega}, mass)
    found = exact(coefficients, mass=mass, hbar=hbar, beta=beta, slices=slices, scheme=scheme)

    def lattice(beta: float) -> Any:
        return lattice_oscillator(dt=hbar * beta / slices, omega=omega, mass=mass, hbar=hbar, scheme=scheme)

    x2 = float(lattice(beta).correlator(0, 0, slices))
    h = 1e-5
    rise = lattice(beta - h).log_partition_function(slices) - lattice(beta + h).log_partition_function(slices)
    assert found.lattice is not None
    assert found.lattice.x2 == pytest.approx(x2, rel=1e-9)
    assert found.lattice.x4 == pytest.approx(3 * x2**2, rel=1e-9)
    assert found.lattice.energy == pytest.approx(float(rise) / (2 * h), rel=1e-7)
    warm = 1 / math.tanh(hbar * omega * beta / 2)
    assert found.means is not None
    assert found.means.energy == pytest.approx(hbar * omega / 2 * warm, rel=1e-6)
    assert found.means.x2 == pytest.approx(hbar / (2 * mass * omega) * warm, rel=1e-6)
    assert found.levels == pytest.approx((0.75, 2.25), rel=1e-6)
    assert float(found.ground.sum() * (found.x[1] - found.x[0])) == pytest.approx(1, rel=1e-9)


def test_known_levels() -> None:
    found = exact([0, 0, 0.5, 0, 1], mass=1, hbar=1, beta=20, slices=16, scheme="trapezoid")
    assert found.levels == pytest.approx((0.80377065123427, 2.73789226800843), rel=1e-9)
    assert found.means is not None
    assert found.means.x2 == pytest.approx(0.25714982144281, rel=1e-7)


def test_no_average_over_levels_is_called_exact_where_they_do_not_suffice(command: Command) -> None:
    """When it is hot more levels count than are computed, and paths are points that wander as a whole."""
    found = sampled(command, "--system", "harmonic", "--beta", 0.01, "--slices", 2, *SMALL[2:])
    assert found["exact_no_step"] is None
    agrees(found["estimates"]["x2"], 100.0)
    agrees(found["estimates"]["energy_virial"], 100.0)


@pytest.mark.parametrize("beta", [0.1, 3.0, 40.0])
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_line_reaches_as_far_as_the_particle(system: str, beta: float) -> None:
    known = SYSTEMS[system]
    coefficients = known.coefficients(known.parameters, 1.0)
    found = exact(coefficients, mass=1.0, hbar=1.0, beta=beta, slices=24, scheme="trapezoid")
    end = reach(Polynomial(torch.tensor(coefficients, dtype=torch.float64)), 1.0, 1.0, beta)
    assert float(found.x[-1]) == end
    assert found.states is not None
    density = found.states.density(24)
    assert float(density[0]) < 1e-9 * float(density.max())


def test_a_free_field(command: Command) -> None:
    line = ("--system", "phi4", "--sites", 8, "--set", "coupling=0,mass2=0.7", "--sweeps", 400)
    found = sampled(command, *line, "--chains", 32, "--warmup", 100)
    estimates, known = found["estimates"], found["exact"]
    names = {
        "action / site": "action_density",
        "<phi^2>": "phi2",
        "<phi^4>": "phi4",
        "<exp(-dH)>": "exp_minus_dh",
    }
    names["susceptibility"] = "susceptibility"
    assert set(known) == {*names, "balance"}
    for label, name in names.items():
        agrees(estimates[name], known[label])
    assert known["susceptibility"] == pytest.approx(1 / 0.7)
    k = [4 * math.sin(math.pi * n / 8) ** 2 for n in range(8)]
    assert known["<phi^2>"] == pytest.approx(sum(1 / (0.7 + a + b) for a in k for b in k) / 64)


def test_an_interacting_field(command: Command) -> None:
    line = ("--system", "phi4", "--sites", 8, "--set", "mass2=-1,coupling=0.8", "--sweeps", 400)
    found = sampled(command, *line, "--chains", 32, "--warmup", 100)
    assert found["parameters"] == {"mass2": -1.0, "coupling": 0.8}
    agrees(found["estimates"]["exp_minus_dh"], 1)
    balance = found["exact"]["balance"]
    assert abs(balance["value"] - 0.5) < 4.5 * balance["error"]
    assert balance["error"] < 0.01


def test_seeds(command: Command) -> None:
    def means(seed: int) -> list[float]:
        found = sampled(command, "--system", "quartic", *SMALL, "--seed", seed)["estimates"]
        return [entry["mean"] for entry in found.values()]

    assert means(1) == means(1)
    assert means(1) != means(2)


# --- what is printed and written ---


def test_what_is_printed(command: Command) -> None:
    result = command("paths", "--system", "harmonic", *SMALL, "--set", "omega=2", "--mass", 0.5)
    lines = result.out.splitlines()
    assert lines[0] == "potential     m omega^2 x^2 / 2; omega = 2"
    assert lines[1].startswith("paths         64 closed ones of 32 steps of 0.125, beta 4, trapezoid rule")
    assert lines[2].startswith("sampler       metropolis: 300 sweeps after 100 of warm-up, ")
    assert lines[3].startswith("acceptance    0.")
    assert [line.split()[0] for line in lines[6:10]] == ["energy,", "thermodynamic", "<x^2>", "<x^4>"]
    energy = float(lattice_oscillator(dt=0.125, omega=2, mass=0.5).correlator(0, 0, 32)) * 0.5 * 4
    assert f"{energy:.6f}" in lines[6]  # <V + x V' / 2> = m omega^2 <x^2>
    assert f"{1 / math.tanh(4):.6f}" in lines[6]
    assert "levels        E0 = 1, E1 - E0 = 2, without time steps" in result.out
    assert lines[-1] == "written       paths.png"
    assert Path("paths.png").read_bytes() == PNG


def test_where_pictures_go(command: Command) -> None:
    result = command("paths", "--system", "quartic", *SMALL, "--out", "mine.png", "--json", "mine.json")
    assert result.out.splitlines()[-2:] == ["written       mine.json", "              mine.png"]
    assert Path("mine.png").read_bytes() == PNG
    assert not Path("paths.png").exists()


@pytest.mark.parametrize(
    "line",
    [
        ("double-well", *SMALL),
        ("quartic", "--sampler", "hmc", *SMALL),
        ("quartic", *SMALL, "--slices", 2),
        ("phi4", "--sites", 4, "--set", "coupling=0", "--sweeps", 50, "--chains", 8),
        ("phi4", "--sites", 5, "--sweeps", 50, "--chains", 8),
    ],
)
def test_real_pictures(
    command: Command, real_pictures: None, monkeypatch: pytest.MonkeyPatch, line: tuple[Any, ...]
) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *given: Any, **options: Any) -> None:
        drawn.append(figure)
        save(figure, *given, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    result = command("paths", "--system", *line)
    assert result.status == 0, result.err
    assert Path("paths.png").read_bytes().startswith(PNG)
    assert len(drawn[0].axes) >= 3
    for axes in drawn[0].axes[:3]:
        assert axes.get_title(loc="left")
        assert axes.has_data()


# --- progress and Ctrl-C ---


def watched(monkeypatch: pytest.MonkeyPatch, tell: Callable[[int], None]) -> list[int]:
    totals: list[int] = []

    @contextmanager
    def progress(command: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        assert (command, unit) == ("paths", "sweeps")
        totals.append(total)
        yield tell

    monkeypatch.setattr(paths, "step_progress", progress)
    return totals


@pytest.mark.parametrize("system", ["quartic", "phi4"])
def test_progress_counts_every_sweep(command: Command, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    told: list[int] = []
    totals = watched(monkeypatch, told.append)
    line = ("--sweeps", 200, "--warmup", 70, "--chains", 8)
    assert command("paths", "--system", system, *line).status == 0
    assert totals == [270]
    assert sum(told) == 270
    assert min(told) > 0


def test_ctrl_c_keeps_what_is_there(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    done = 0

    def tell(sweeps: int) -> None:
        nonlocal done
        done += sweeps
        if done > 200:
            raise KeyboardInterrupt

    watched(monkeypatch, tell)
    line = ("--system", "quartic", *SMALL, "--sweeps", 10_000_000, "--warmup", 64, "--json", "numbers.json")
    result = command("paths", *line)
    assert result.status == 130
    assert "qcore paths: interrupted after" in result.err
    found = json.loads(Path("numbers.json").read_text())
    assert found["finished"] is False
    assert 0 < found["sweeps_done"] < 10_000_000
    agrees(found["estimates"]["x2"], found["exact_this_step"]["x2"])


@pytest.mark.parametrize("system", ["quartic", "phi4"])
def test_ctrl_c_in_the_warm_up(command: Command, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    def tell(sweeps: int) -> None:
        raise KeyboardInterrupt

    watched(monkeypatch, tell)
    result = command("paths", "--system", system, "--warmup", 10_000_000, "--chains", 4)
    assert result.status == 130
    assert "of warm-up; nothing was measured" in result.err
    assert not Path("paths.png").exists()


# --- refusals ---


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ((), ("--system",)),
        (("--system", "morse"), ("--system", "invalid choice", "morse")),
        (("--system", "quartic", "--beta", 0), ("--beta", "expected a positive number, got '0'")),
        (("--system", "quartic", "--slices", 1), ("--slices", "expected an integer of at least 2")),
        (("--system", "quartic", "--chains", 0), ("--chains", "expected an integer of at least 1")),
        (("--system", "quartic", "--sweeps", 0), ("--sweeps", "expected an integer of at least 1")),
        (("--system", "quartic", "--warmup", -1), ("--warmup", "expected an integer of at least 0")),
        (("--system", "quartic", "--seed", 2**64), ("--seed", "expected an integer of at least 0, got")),
        (("--system", "quartic", "--set", "omega"), ("--set", "expected NAME=NUMBER")),
        (
            ("--system", "quartic", "--set", "k=1"),
            ("--set: expected parameters of quartic (omega, g), got 'k'",),
        ),
        (("--system", "quartic", "--set", "g=-1"), ("--set: expected g > 0, got -1",)),
        (("--system", "double-well", "--set", "distance=0"), ("--set: expected distance > 0, got 0",)),
        (("--system", "quartic", "--scheme", "simpson"), ("--scheme", "invalid choice")),
        (("--system", "quartic", "--sampler", "gibbs"), ("--sampler", "invalid choice")),
        (
            ("--system", "quartic", "--sampler", "hmc", "--scheme", "midpoint"),
            ("--scheme: expected trapezoid with hmc, got midpoint",),
        ),
        (("--system", "quartic", "--sites", 8), ("--sites: only allowed with phi4",)),
        (("--system", "phi4", "--beta", 3), ("--beta: not allowed with phi4",)),
        (("--system", "phi4", "--mass", 3), ("--mass: not allowed with phi4",)),
        (("--system", "phi4", "--sampler", "metropolis"), ("--sampler: expected hmc with phi4",)),
        (("--system", "phi4", "--set", "coupling=-1"), ("--set: expected coupling >= 0, got -1",)),
        (
            ("--system", "phi4", "--set", "coupling=0,mass2=-1"),
            ("--set: expected mass2 > 0 where coupling is 0",),
        ),
        (("--system", "quartic", "--out", "paths.jpg"), ("--out: expected a file name that ends in .png",)),
        (("--system", "quartic", "--json", "none/x.json"), ("--json: cannot write",)),
    ],
)
def test_refusals(command: Command, line: tuple[Any, ...], parts: tuple[str, ...]) -> None:
    result = command("paths", *line)
    if not line:
        assert result.status == 2
        assert "--system" in result.err
        return
    assert result.refused(*parts)
    assert not Path("paths.png").exists()
