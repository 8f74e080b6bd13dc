"""The Schroedinger benchmarks run, write what they promise, and compare like with like."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:  # bench/ is no part of the installed package
    sys.path.insert(0, str(ROOT))

from bench.schrodinger import (  # noqa: E402
    accuracy,
    accuracy_plot,
    cases,
    gradient,
    lapack,
    measure,
    peers,
    problems,
    section,
    tridiagonal,
)

from bench import report, resident, timing  # noqa: E402

pytest.importorskip("scipy")  # most peers are its LAPACK

TINY = cases.Case("tiny", (128,), batch=16, steps=peers.CHECK_STEPS, thorough=True)
CASES = {
    "plain": TINY,
    "one system": replace(TINY, batch=1),
    "periodic": replace(TINY, boundary="periodic"),
    "driven": replace(TINY, driven=True),
    "order 8 in time": replace(TINY, time_order=8),
    "order 4 in space": replace(TINY, space_order=4),
    "order 6 in space": replace(TINY, space_order=6, time_order=4),
    "complex64": replace(TINY, dtype=torch.complex64),
    "fast": replace(TINY, dtype=torch.complex64, arithmetic="fast"),
    "operator": replace(TINY, raw=True),
    "plane": replace(TINY, batch=1, space=(128, 136)),
    "periodic plane": replace(TINY, batch=1, space=(128, 136), boundary="periodic"),
    "volume": replace(TINY, batch=1, space=(12, 10, 14)),
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one thread; and malloc is told nothing, since that would be for the whole process."""
    torch.set_num_threads(1)
    monkeypatch.setattr(timing, "keep_freed_memory", lambda: False)


def result(runner: cases.Runner) -> torch.Tensor:
    return runner.read(runner.run())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_peers_agree_with_qcore(case: cases.Case) -> None:
    problem = cases.make(case)
    expected = result(peers.ours(problem))
    fitting = [peer for peer in peers.peers_of(case) if not peer.name.startswith("jax")]
    assert any(peer.exact for peer in fitting)
    for peer in fitting:
        peers.check(peer, result(peer.build(problem)), expected, case)


@pytest.mark.parametrize("case", [TINY, replace(TINY, time_order=4)], ids=["order 2", "order 4"])
def test_jax_agrees_with_qcore(case: cases.Case) -> None:
    pytest.importorskip("jax")
    peer = next(peer for peer in peers.PEERS if peer.name.startswith("jax"))
    problem = cases.make(case)
    peers.check(peer, result(peer.build(problem)), result(peers.ours(problem)), case)


def test_lines_are_divided_among_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = cases.make(replace(TINY, batch=7))
    alone = result(lapack.gttrs(problem))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(result(lapack.gttrs(problem)), alone)


@pytest.mark.parametrize("order", [2, 4, 6])
def test_linear_systems_against_dense_algebra(order: int) -> None:
    n, kappa, c = 9, 50.0, tridiagonal.coefficients(4)[1]
    potential = torch.linspace(-1, 3, n, dtype=torch.float64) ** 2
    step = 2 * torch.eye(n) - torch.diag(torch.ones(n - 1), 1) - torch.diag(torch.ones(n - 1), -1)
    step = step.double()
    one = torch.eye(n, dtype=torch.float64)
    mass = {2: one, 4: one - step / 12, 6: one - 2 * step / 15}[order]
    stiffness = step - step @ step / 20 if order == 6 else step
    expected = 0.5 * (mass - c * (kappa * stiffness + mass @ torch.diag(potential)))
    if order == 6:
        bands = tridiagonal.pentadiagonal(potential.numpy(), kappa, c)
        offsets = {2: bands[0, 2:], 1: bands[1, 1:], 0: bands[2], -1: bands[3, :-1], -2: bands[4, :-2]}
    else:
        three = tridiagonal.halved(potential.numpy(), kappa, c, order)
        offsets = {1: three.upper, 0: three.diagonal, -1: three.lower}
    built = sum(torch.diag(torch.from_numpy(band.copy()), offset) for offset, band in offsets.items())
    torch.testing.assert_close(built, expected.cdouble(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("order", [2, 4, 6, 8])
def test_coefficients_make_the_exponential(order: int) -> None:
    energy, errors = 3.0, []
    for fraction in (8.0, 16.0):
        product = 1.0 + 0.0j
        for c in tridiagonal.coefficients(order, fraction):
            product *= (1 + c * energy) / (1 - c * energy)
        angle = fraction * cases.DT * energy
        errors.append(abs(product - complex(math.cos(angle), -math.sin(angle))))
    assert math.log2(errors[1] / errors[0]) == pytest.approx(order + 1, abs=0.15)


def test_check_refuses_a_wrong_peer() -> None:
    problem = cases.make(TINY)
    right, peer = result(peers.ours(problem)), peers.PEERS[0]
    with pytest.raises(peers.Disagreement, match="at most"):
        peers.check(peer, right * (1 + 1e-8), right, TINY)
    with pytest.raises(peers.Disagreement, match="shape"):
        peers.check(peer, right[:1], right, TINY)
    with pytest.raises(peers.Disagreement, match="nan"):
        peers.check(peer, right * math.nan, right, TINY)


def test_a_split_step_of_another_length_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = cases.make(TINY)
    right = result(peers.ours(problem))
    peer = next(peer for peer in peers.PEERS if peer.name == cases.FFT and peer.fits(TINY))
    monkeypatch.setattr(peers, "DT", 1.1 * cases.DT)
    with pytest.raises(peers.Disagreement, match=r"torch\.fft split step"):
        peers.check(peer, result(peer.build(problem)), right, TINY)


@pytest.mark.parametrize(
    "case",
    [
        replace(TINY, batch=3),
        replace(TINY, batch=3, driven=True),
        replace(TINY, batch=3, time_order=4),
        replace(TINY, batch=3, dtype=torch.complex64),
        CASES["plane"],
    ],
    ids=lambda case: case.label,
)
def test_gradients_agree_with_differences_of_a_peer(case: cases.Case) -> None:
    gradient.check_gradient(case)


def test_a_wrong_gradient_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gradient.runs
    monkeypatch.setattr(
        gradient, "runs", lambda problem: [*right(problem)[:2], lambda: 1.001 * right(problem)[2]()]
    )
    with pytest.raises(peers.Disagreement, match="derivative"):
        gradient.check_gradient(replace(TINY, batch=3))


def test_packets_fill_the_grid_without_subnormal_numbers() -> None:
    for n in (128, 4096):
        psi = cases.make(replace(TINY, space=(n,), batch=3)).psi.abs()
        assert 1e-13 < psi.min() < 1e-9
        assert psi.max() > 0.99


def test_rows_cover_the_design() -> None:
    names = section.names()
    assert len(set(names)) == len(names)
    targets = {case.name: case.targets for case in [*cases.rows(), *cases.gradients()]}
    systems = targets["schrodinger/design/systems"]
    assert systems.ns == 0.35
    assert dict(systems.ratios) == {"LAPACK gttrs": 40, "scipy solve_banded": 60}
    assert targets["schrodinger/design/systems/complex64"].ns == 0.30
    assert targets["schrodinger/design/systems/complex64-fast"].ns == 0.18
    assert targets["schrodinger/design/one/1024"].ratios == (("scipy solve_banded", 8),)
    assert targets["schrodinger/design/one/1000000"].ratios == (("scipy solve_banded", 15),)
    assert targets["schrodinger/design/plane"].ratios == (("torch.fft split step", 3),)
    assert targets["schrodinger/design/gradient"].backward == 2.5
    known = {peer.name for peer in peers.PEERS}
    assert all(name in known for found in targets.values() for name, _ in found.ratios)


def test_a_row_scales_the_steps_of_its_peers() -> None:
    alone = timing.Comparison([0.002, 0.002], [0.08, 0.08])  # seconds per step
    asked = cases.Targets((("LAPACK gttrs", 40), ("scipy solve_banded", 60)), ns=1.0)
    row = measure.Row(
        replace(TINY, space=(1000,), batch=1000, targets=asked),
        0.002,
        [measure.Match("LAPACK gttrs", 1, 9, alone)],
        {},
    )
    assert row.ns == pytest.approx(2.0)
    assert row.peer_ns(row.matches[0]) == pytest.approx(80.0)
    assert [str(verdict) for verdict in row.verdicts()] == [
        "40x LAPACK gttrs reached",
        "60x scipy solve_banded missed",
        "1 ns missed",
    ]


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, tables = tmp_path / "report.json", tmp_path / "report.md"
    line = ["--quick", "--threads", "1", "--only", "schrodinger/*", "--json", str(numbers)]
    assert report.main([*line, "--markdown", str(tables)]) == 0
    record = json.loads(numbers.read_text())
    found: dict[str, Any] = record["schrodinger"]
    assert record["rows"] == []
    assert record["wrong"] == []
    assert [row["name"] for row in found["rows"]] == [case.name for case in cases.rows()]
    assert [row["name"] for row in found["gradients"]] == [case.name for case in cases.gradients()]
    for row in found["rows"]:
        assert row["ns_per_point_step"] > 0
        assert row["failed"].keys() <= {"jax tridiagonal_solve"}
        for peer in row["peers"]:
            assert peer["ratio_quartiles"][0] <= peer["ratio"] <= peer["ratio_quartiles"][1]
    assert all(row["backward_to_forward"] > 0 for row in found["gradients"])
    assert len(found["overhead"]) == 5
    assert resident.available() == bool(found["memory"])
    for text in (capsys.readouterr().out, tables.read_text()):
        assert all(case.name in text for case in [*cases.rows(), *cases.gradients()])


# --- error against time ---


@pytest.mark.parametrize("problem", problems.PROBLEMS, ids=lambda problem: problem.name)
def test_every_method_reaches_the_known_answer(problem: problems.Problem) -> None:
    fineness = {"coherent": (384, 108), "barrier": (8, 8)}[problem.name]
    for method in accuracy.METHODS:
        grid = problem.grid(fineness[method.ring], method.ring)
        error = abs(problem.error(grid, method.run(problem, grid, problem.state(grid.x), 600)))
        allowed = {"coherent": 2.0 if method.space_order == 2 else 0.2, "barrier": 0.01}[problem.name]
        assert error < allowed, method.name


def test_transmission_of_plane_waves() -> None:
    # At the barrier's height T = 1 / (1 + V a^2 / 2).
    assert problems.transmitted() == pytest.approx(0.5, abs=0.01)


def test_cells_share_a_jump() -> None:
    for per_unit, edge in ((4, 0.5), (5, 1.0)):  # on a point: half; between points: whole
        grid = problems.barrier_grid(per_unit, False)
        values = problems.barrier(grid)
        inside = values[grid.x.abs() <= 0.5]
        assert float(values.sum() * grid.spacing) == pytest.approx(problems.BARRIER)
        assert inside[[0, -1]].tolist() == pytest.approx([edge * problems.BARRIER] * 2)


def test_front_keeps_what_nothing_beats() -> None:
    pairs = [(1.0, 0.5), (2.0, 0.6), (3.0, 0.1), (2.5, 0.2), (4.0, 0.1)]
    made = [accuracy.Attempt("p", "m", 1, 1, error, {1: seconds}) for seconds, error in pairs]
    assert [attempt.error for attempt in accuracy.front(made, 1)] == [0.5, 0.2, 0.1]
    best = accuracy.fastest(made, 0.15, 1)
    assert best is not None
    assert best.seconds[1] == 3.0
    assert accuracy.fastest(made, 0.01, 1) is None


def test_accuracy_and_its_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, picture = tmp_path / "accuracy.json", tmp_path / "accuracy.png"
    assert accuracy.main(["--quick", "--threads", "1", "--json", str(numbers)]) == 0
    record = json.loads(numbers.read_text())
    assert record["methods"].keys() == {method.name for method in accuracy.METHODS}
    for problem in problems.PROBLEMS:
        own = [attempt for attempt in record["attempts"] if attempt["problem"] == problem.name]
        assert {attempt["method"] for attempt in own} == record["methods"].keys()
        assert all(attempt["error"] > 0 and attempt["seconds"]["1"] > 0 for attempt in own)
        assert problem.title in capsys.readouterr().out or problem is not problems.PROBLEMS[0]
    assert accuracy_plot.main([str(numbers), "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", ["", "{}", '{"batches": [1], "problems": {"p": "P"}}'])
def test_plot_refuses_what_is_no_record(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(SystemExit) as stopped:
        accuracy_plot.main([str(tmp_path / "a.json"), "--out", str(tmp_path / "a.png")])
    assert stopped.value.code == 2
    assert "expected the JSON of a whole run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "0"], "--threads: expected at least 1, got 0"),
        (["--out", "no/such/folder/a.png"], "no such folder"),
    ],
)
def test_accuracy_refuses_before_it_starts(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        accuracy.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
