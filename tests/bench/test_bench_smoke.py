"""The benchmarks run, write what they promise, and compare like with like. Nothing here is timed."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:  # bench/ is no part of the installed package
    sys.path.insert(0, str(ROOT))

from bench import report as cli  # noqa: E402
from bench import stencil, table, timing  # noqa: E402

cases, peers = stencil.cases, stencil.peers  # the report has imported them

TINY = cases.Case("tiny", (2, 3, 9, 11), steps=3, dtype=torch.float64, thorough=True)
CASES = {
    "star": TINY,
    "box": replace(TINY, size=5, star=False),
    "periodic": replace(TINY, boundary="periodic"),
    "reflect": replace(TINY, boundary="reflect"),
    "replicate": replace(TINY, boundary="replicate", size=5, star=False),
    "1-D": replace(TINY, shape=(2, 3, 17)),
    "3-D": replace(TINY, shape=(2, 2, 5, 6, 7)),
    "one channel": replace(TINY, shape=(4, 1, 9, 11)),
    "float32": replace(TINY, dtype=torch.float32),
    "bfloat16": replace(TINY, dtype=torch.bfloat16),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tiny tensors, and perhaps a busy machine: more threads only wait for each other."""
    torch.set_num_threads(1)


def results(case: cases.Case, peer: peers.Peer) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    problem = cases.make(case)
    theirs, ours = peer.build(problem), peers.ours(problem)
    return theirs.read(theirs.run()), ours.read(ours.run())


@pytest.mark.parametrize("train", [False, True], ids=["forward", "train"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_peers_agree_with_qcore(case: cases.Case, train: bool) -> None:
    case = replace(case, train=train)
    found = peers.peers_of(case, compiled=False)
    assert len(found) >= 2
    for peer in found:
        peers.check(peer.name, *results(case, peer), case)


@pytest.mark.parametrize("train", [False, True], ids=["forward", "train"])
def test_every_compiled_form_agrees_when_run_eagerly(train: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "compile_", lambda function, **options: function)
    for case in CASES.values():
        case = replace(case, train=train)
        for peer in peers.peers_of(case):
            peers.check(peer.name, *results(case, peer), case)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile needs a C++ compiler"
)
def test_a_compiled_peer_agrees() -> None:
    peer = next(peer for peer in peers.PEERS if peer.name == "slices in place compiled")
    with peers.compilations():
        peers.check(peer.name, *results(TINY, peer), TINY)


@pytest.mark.parametrize("train", [False, True], ids=["forward", "train"])
def test_check_refuses_a_wrong_peer(train: bool) -> None:
    case = replace(TINY, train=train)
    theirs, ours = results(case, peers.PEERS[0])
    wrong = (*theirs[:-1], theirs[-1] * (1 + 1e-6))
    with pytest.raises(peers.Disagreement, match="at most"):
        peers.check("wrong", wrong, ours, case)
    with pytest.raises(peers.Disagreement, match="shape"):
        peers.check("wrong", tuple(tensor[:1] for tensor in theirs), ours, case)
    with pytest.raises(peers.Disagreement, match="nan"):
        peers.check("wrong", tuple(tensor * math.nan for tensor in theirs), ours, case)


def test_operation_counts() -> None:
    forward, train = cases.DESIGN[0], cases.DESIGN[3]
    assert forward.point_steps == 2048 * 28 * 28 * 27
    assert (forward.fma_per_point_step, train.fma_per_point_step) == (5, 20)
    assert (forward.bytes_per_point, train.bytes_per_point) == (8, 20)
    assert replace(forward, size=7, star=False).fma_per_point_step == 49


def test_rows_cover_the_design_and_have_names_of_their_own() -> None:
    rows = cases.rows()
    assert len({case.name for case in rows}) == len(rows)
    assert [case.targets.ratio for case in rows[:6]] == [25, 2.5, 20, 30, 6, 30]


def test_comparison_takes_the_median_of_ratios_of_pairs() -> None:
    # The machine slows down threefold after two pairs: ratios within a pair do not notice.
    comparison = timing.Comparison([1.0, 1.0, 3.0, 3.0, 3.0], [2.0, 2.0, 6.0, 6.0, 6.3])
    assert comparison.ratio == 2.0
    assert comparison.spread == (2.0, 2.0)


def test_rivals_take_turns_in_alternating_order() -> None:
    calls: list[str] = []
    samples = timing.interleave([lambda: calls.append("a"), lambda: calls.append("b")], [1, 2], 3)
    assert "".join(calls) == "abb" + "bba" + "abb"
    assert [len(times) for times in samples] == [3, 3]


def test_tables_as_text_and_markdown() -> None:
    made = table.Table("Title", ["a", "longer"], [["1", "x|y"]], note="Note.")
    assert made.text().splitlines()[-2:] == ["1  x|y", "Note."]
    assert "| 1 | x\\|y |" in made.markdown()


def report(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Run in the root, where bench/ is: what is relative in PYTHONPATH would otherwise change its meaning.
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return subprocess.run(
        [sys.executable, "-m", "bench.report", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def test_report_writes_all_it_measured(tmp_path: Path) -> None:
    numbers, tables = tmp_path / "report.json", tmp_path / "report.md"
    done = report("--quick", "--threads", "1", "--json", str(numbers), "--markdown", str(tables))
    assert done.returncode == 0, done.stderr
    record = json.loads(numbers.read_text())
    assert [row["name"] for row in record["rows"]] == [case.name for case in cases.rows()]
    for row in record["rows"]:
        assert row["rate"] > 0
        assert row["ratio"] > 0
        assert row["ratio_quartiles"][0] <= row["ratio"] <= row["ratio_quartiles"][1]
        assert row["best_peer"] in row["screened"]
        assert row["failed"] == {}
        assert 0 < row["fma_share"] < 1
    assert record["threads"] == 1
    assert record["wrong"] == []
    assert record["machine"].keys() >= {"instruction set", "CPU flags", "torch", "date"}
    assert all(rate > 0 for rate in record["ceilings"].values())
    assert len(record["overhead"]) == 7
    for text in (done.stdout, tables.read_text()):
        assert all(case.name in text for case in cases.rows())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "no-such-row"], "no row matches 'no-such-row'"),
        (["--threads", "0"], "--threads: expected at least 1, got 0"),
        (["--json", "no/such/folder/report.json"], "no such folder"),
    ],
)
def test_report_refuses_before_it_starts(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_report_chooses_rows_by_part_or_pattern() -> None:
    assert cli.parse(["--only", "train/plane"]).rows == {"design/train/plane"}
    assert cli.parse(["--only", "design/*/plane"]).rows == {"design/train/plane", "design/forward/plane"}
    assert cli.parse(["--only", "memory"]).rows == {"memory"}


def test_report_fails_on_a_wrong_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def disagree(case: cases.Case, **settings: object) -> None:
        raise peers.Disagreement(f"{case.name}: far off")

    monkeypatch.setattr(cli.measured, "measure", disagree)
    monkeypatch.setattr(timing, "keep_freed_memory", lambda: False)  # for the whole process, hence not here
    assert cli.main(["--quick", "--threads", "1", "--only", "design/train/plane"]) == 1
    assert "WRONG: design/train/plane: far off" in capsys.readouterr().err
