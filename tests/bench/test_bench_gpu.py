"""The GPU benchmarks run (here on the CPU's kernels), write what they promise, and compare like with like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from devices import require

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:  # bench/ is no part of the installed package
    sys.path.insert(0, str(ROOT))

from bench.gpu import __main__ as cli  # noqa: E402
from bench.gpu import clock, cusparse, measure, rows, stencil  # noqa: E402
from bench.schrodinger import cases, peers  # noqa: E402
from bench.timing import Comparison, Disagreement, Run  # noqa: E402

QUICK = ["--quick", "--device", "cpu", "--seconds", "0.001"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tiny tensors, and perhaps a busy machine: more threads only wait for each other."""
    torch.set_num_threads(1)


def test_report_writes_all_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, tables = tmp_path / "gpu.json", tmp_path / "gpu.md"
    assert cli.main([*QUICK, "--json", str(numbers), "--markdown", str(tables)]) == 0
    record = json.loads(numbers.read_text())
    names = [row.name for row in cli.every_row(quick=True)]
    assert [row["name"] for row in record["rows"]] == names
    assert len(set(names)) == len(names)
    for row in record["rows"]:
        assert row["rate"] > 0
        assert row["failed"] == {}
        pairs = row["peers"][row["best_peer"]]
        assert pairs["cold"]["ratio"] > 0 < pairs["warm"]["ratio"]
    assert record["wrong"] == record["not_reached_in_time"] == []
    assert record["machine"].keys() >= {"instruction set", "torch", "date"}
    assert record["ceilings"]["triad_bytes_per_second"] > 0
    for text in (capsys.readouterr().out, tables.read_text()):
        assert all(name in text for name in names)


def test_design_rows_ask_for_the_numbers_of_the_design() -> None:
    asked = {row.name: (row.ratio, row.rate, row.against) for row in cli.every_row(quick=False)}
    assert asked["gpu/stencil/forward/images"] == (10, 1.5e12, "")
    assert asked["gpu/stencil/train/images"] == (10, 4e11, "")
    assert asked["gpu/schrodinger/batch/complex64"] == (5, pytest.approx(1 / 5e-12), cusparse.NAME)
    assert asked["gpu/schrodinger/batch/complex128"] == (5, pytest.approx(1 / 10e-12), cusparse.NAME)
    assert asked["gpu/paths/transfer/f32"] == (20, 2e12, "")
    assert asked["gpu/paths/metropolis/single-f32"] == (20, 1e11, "")


# --- what a row may meet ---


def test_a_missing_kernel_is_reported_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: Any) -> rows.Contest:
        raise NotImplementedError("x: float32 has no CUDA kernel")

    monkeypatch.setattr(stencil, "prepare", missing)
    assert cli.main([*QUICK, "--only", "stencil/forward/images-bf16"]) == 0
    assert "missing: x: float32 has no CUDA kernel" in capsys.readouterr().out


@pytest.mark.parametrize("error", [Disagreement("far off"), RuntimeError("illegal address")], ids=repr)
def test_a_wrong_or_failing_row_stops_no_other(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> rows.Contest:
        raise error

    monkeypatch.setattr(stencil, "prepare", fail)
    assert cli.main([*QUICK, "--only", "*/*16"]) == 1  # images in bfloat16, and fields of 16 x 16
    told = capsys.readouterr()
    assert "WRONG: gpu/stencil/forward/images-bf16: " in told.err
    assert str(error) in told.err
    assert "gpu/paths/hmc/phi4-16" in told.out


def test_a_peer_that_differs_is_not_timed() -> None:
    def differ(_: Any) -> None:
        raise Disagreement("far off")

    result = _measured(_row(rows.Peer("wrong", lambda: rows.Plain(lambda: None), differ, 1.0)))
    assert result.wrong == {"wrong": "far off"}
    assert result.best == ""
    assert result.rate > 0


def test_what_qcore_does_alone_is_on_file_before_any_peer_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "gpu.json"

    def die(*_: Any, **__: Any) -> None:
        record = json.loads(file.read_text())
        assert [row["best_peer"] for row in record["rows"]] == [""] * 9
        assert all(row["rate"] > 0 for row in record["rows"])
        raise KeyboardInterrupt  # as a limit of time would end it

    monkeypatch.setattr(cli, "beside", die)
    with pytest.raises(KeyboardInterrupt):
        cli.main([*QUICK, "--only", "gpu/stencil", "--json", str(file)])


def test_a_peer_that_differs_fails_the_run_and_not_its_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def differ(*_: Any) -> None:
        raise Disagreement("far off")

    monkeypatch.setattr(stencil, "check", differ)
    assert cli.main([*QUICK, "--only", "stencil/forward/images-bf16"]) == 1
    told = capsys.readouterr()
    assert "WRONG: gpu/stencil/forward/images-bf16: far off" in told.err
    assert "none" in told.out


def test_a_peer_that_cannot_run_is_named_with_its_reason() -> None:
    def fail() -> rows.Plain:
        raise OSError("libcusparse.so.12: not found\nand more")

    result = _measured(_row(rows.Peer("absent", fail, lambda _: None, 1.0)))
    assert result.failed == {"absent": "OSError: libcusparse.so.12: not found"}
    assert result.best == ""
    assert result.rate > 0


def test_rates_are_of_units_whatever_a_call_does() -> None:
    # The peer does a quarter of the work of a call of ours, in the same time.
    peer = rows.Peer("slow", lambda: rows.Plain(_pause), lambda _: None, 2.5)
    result = _measured(_row(peer), Ticking(), seconds=1.0)
    assert result.rate == pytest.approx(10)
    assert result.timed["slow"].cold.ratio == pytest.approx(4)
    assert [(v.asked, v.reached) for v in result.verdicts()] == [("4x best torch", True), ("1e-08 G/s", True)]


def test_rivals_take_turns_cold_and_then_warm() -> None:
    told: list[str] = []

    class Telling(Ticking):
        def cold(self, run: Run, repeats: int) -> float:
            told.append(f"cold {run()}")
            return 1.0

        def warm(self, run: Run, repeats: int) -> float:
            told.append(f"warm {run()}")
            return 1.0

    timed = clock.compare(Telling(), lambda: "a", lambda: "b", seconds=0.0, min_pairs=2)
    assert told[2:6] == ["cold a", "cold b", "cold b", "cold a"]
    assert told[6:] == ["warm a", "warm b", "warm b", "warm a"]
    assert timed == (Comparison([1.0] * 2, [1.0] * 2),) * 2


def test_no_row_starts_after_the_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICK, "--only", "images-bf16", "--budget", "0"]) == 0
    assert "no time left for gpu/stencil/forward/images-bf16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*QUICK, "--only", "no-such-row"], "no row matches 'no-such-row'"),
        ([*QUICK, "--json", "no/such/folder/report.json"], "no such folder"),
        pytest.param(
            [],
            "no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_refusals(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


# --- the script ---


def script(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [str(ROOT / "bench" / "gpu.sh"), str(folder / "results"), *arguments]
    settings = {**os.environ, "QCORE_GPU_BUILD": str(folder / "build"), **environment}
    return subprocess.run(words, capture_output=True, text=True, env=settings)


def test_the_script_refuses_parts_it_does_not_know(tmp_path: Path) -> None:
    done = script(tmp_path, "build", "tset")
    assert done.returncode == 64
    assert "no such part: tset" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_script_runs_every_part_whatever_becomes_of_the_one_before(tmp_path: Path) -> None:
    told = tmp_path / "told"
    python = tmp_path / "python"
    # Instead of Python: it writes down its words, and fails where it is told to measure.
    python.write_text(f'#!/bin/sh\necho "$*" >>{told}\ncase "$*" in *bench.gpu*) exit 3;; esac\n')
    python.chmod(0o755)
    done = script(tmp_path, "bench", "test", PYTHON=str(python))
    assert done.returncode == 1
    assert "--- bench: status 3" in done.stdout
    assert "--- test: status 0" in done.stdout
    lines = told.read_text().splitlines()
    measured = [line.split()[3] for line in lines if line.startswith("-m bench.gpu --only ")]
    assert measured == ["gpu/stencil", "gpu/schrodinger", "gpu/paths"]
    tested = [line for line in lines if line.startswith("-m pytest -p no:cacheprovider -W default -q tests/")]
    assert any("-q tests/cuda/test_stencil.py -m cuda" in line for line in tested)
    assert "=== tests/cuda/test_stencil.py: status 0" in (tmp_path / "results" / "gpu-tests.txt").read_text()


# --- cuSPARSE's peer with a solver of the test's own ---


@pytest.mark.parametrize("spoils", [False, True], ids=["bands kept", "bands spoiled"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_the_steps_around_the_tridiagonal_solver(dtype: torch.dtype, spoils: bool) -> None:
    problem = cases.make(cases.Case("tiny", (33,), batch=5, steps=4, dtype=dtype))

    def eliminate(lower: Tensor, diagonal: Tensor, upper: Tensor, x: Tensor) -> None:
        pivots = diagonal.clone()
        for j in range(1, len(x)):
            factor = lower[j] / pivots[j - 1]
            pivots[j] -= factor * upper[j - 1]
            x[j] -= factor * x[j - 1]
        x[-1] /= pivots[-1]
        for j in range(len(x) - 2, -1, -1):
            x[j] = (x[j] - upper[j] * x[j + 1]) / pivots[j]
        if spoils:
            diagonal.copy_(pivots)

    runner = cusparse.steps(problem, lambda like: eliminate, compiled=False)
    ours = peers.ours(problem)
    peer = peers.Peer(cusparse.NAME, cusparse.steps, lambda case: True)
    for _ in range(2):  # a second call starts anew
        peers.check(peer, runner.read(runner.run()), ours.read(ours.run()), problem.case)


# --- on a device ---


@pytest.mark.cuda
def test_events_graphs_and_launches() -> None:
    require("cuda")
    x, y = torch.ones(2**24, device="cuda"), torch.empty(2**24, device="cuda")

    def run() -> Tensor:
        return torch.mul(x, 2, out=y)

    assert clock.launches(run) == 1
    replay = clock.captured(run)
    x.fill_(3)
    assert replay()[0].item() == 6
    timer = clock.DeviceClock()
    least = 2 * x.nbytes / 20e12  # no device moves 20 TB/s
    assert timer.cold(run, 3) > least
    assert timer.warm(replay, 3) > least


# --- helpers ---


class Ticking:
    """A clock by which every call lasts a second."""

    def cold(self, run: Run, repeats: int) -> float:
        run()
        return 1.0

    warm = cold


def _pause() -> None:
    pass


def _row(peer: rows.Peer) -> rows.Row:
    contest = rows.Contest(_pause, [peer])
    return rows.Row("row", "label", "units", 10.0, lambda place: contest, ratio=4.0, rate=10.0)


def _measured(row: rows.Row, timer: clock.Clock | None = None, seconds: float = 0.0) -> measure.Result:
    place, timer = rows.Place("cpu", False), timer or clock.HostClock()
    result, contest = measure.own(row, place, timer)
    assert contest is not None
    measure.beside(result, contest, place, timer, seconds=seconds, say=lambda _: None)
    return result
