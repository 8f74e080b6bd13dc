"""The benchmarks of the path family run, write what they promise, and compare like with like."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:  # bench/ is no part of the installed package
    sys.path.insert(0, str(ROOT))

from bench.paths import hmc, metropolis, report, transfer  # noqa: E402

from bench import timing  # noqa: E402


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one thread; and malloc is told nothing, since that would be for the whole process."""
    torch.set_num_threads(1)
    monkeypatch.setattr(timing, "keep_freed_memory", lambda: False)


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, tables = tmp_path / "paths.json", tmp_path / "paths.md"
    line = ["--quick", "--threads", "1", "--only", "metropolis", "hmc"]
    assert report.main([*line, "--json", str(numbers), "--markdown", str(tables)]) == 0
    record = json.loads(numbers.read_text())
    assert [row["name"] for row in record["metropolis"]] == [metropolis.CASES[0].name] * len(report.EAGER)
    assert all(row["rate"] > 0 and row["ratio"] > 0 for row in record["metropolis"] + record["hmc"])
    for text in (capsys.readouterr().out, tables.read_text()):
        assert metropolis.CASES[0].name in text
        assert hmc.CASES[0].name in text


def test_a_wrong_peer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in transfer.rows() if case.semiring == "real").shrunk()
    right = transfer.peers_of(case)
    name, build = next((n, b) for n, b in right.items() if n != "linear" and "compiled" not in n)

    def wrong(case: transfer.Case, problem: transfer.Problem) -> timing.Run:
        run = build(case, problem)
        return lambda: 1.5 * run()

    monkeypatch.setattr(transfer, "peers_of", lambda case: {name: wrong})
    with pytest.raises(transfer.Disagreement, match=name):
        transfer.measure(case, seconds=0.01)
    monkeypatch.setattr(transfer, "peers_of", lambda case: {name: build})
    assert transfer.measure(case, seconds=0.01).matches[name].ratio > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "no-such-suite"], "invalid choice: 'no-such-suite'"),
        (["--threads", "0"], "--threads: expected at least 1, got 0"),
        (["--json", "no/such/folder/report.json"], "no such folder"),
    ],
)
def test_refusals(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        report.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
