"""The benchmarks of the neural ODE run, write what they promise, and compare like with like."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:  # bench/ is no part of the installed package
    sys.path.insert(0, str(ROOT))

from bench.ode import flows, measure, memory, plot, report  # noqa: E402
from bench.resident import available  # noqa: E402

from bench import timing  # noqa: E402


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one thread; and malloc is told nothing, since that would be for the whole process."""
    torch.set_num_threads(1)
    monkeypatch.setattr(timing, "keep_freed_memory", lambda: False)


@pytest.mark.parametrize("way", flows.WAYS)
@pytest.mark.parametrize("name", ["ode/linear-euler/8", "ode/tanh-rk4/8"])
def test_conv2d_gives_the_same_gradients(name: str, way: str) -> None:
    flow = next(flow for flow in flows.FLOWS if flow.name == name).shrunk(4)
    measure.check(flow, way, tolerance=2e-5)


def test_a_wrong_peer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = flows.conv2d
    monkeypatch.setattr(measure, "conv2d", lambda flow, way: right(replace(flow, diffusion_time=2.1), way))
    with pytest.raises(measure.Disagreement, match="ode/linear-euler/8, discrete: gradients to the start"):
        measure.check(flows.FLOWS[0].shrunk(4), "discrete")


def test_report_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, tables, picture = (tmp_path / name for name in ("ode.json", "ode.md", "ode.png"))
    line = ["--quick", "--threads", "1", "--only", "rk4/8", "--json", str(numbers), "--markdown", str(tables)]
    assert report.main(line) == 0
    record = json.loads(numbers.read_text())
    names = [(row["name"], row["way"]) for row in record["rows"]]
    assert names == [("ode/tanh-rk4/8", way) for way in flows.WAYS]
    assert all(row["seconds"] > 0 and row["ratio"] > 0 for row in record["rows"])
    for text in (capsys.readouterr().out, tables.read_text()):
        assert all(name in text and way in text for name, way in names)
    assert plot.main([str(numbers), "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not available(), reason="this system does not tell the peak of a process")
def test_memory_of_another_process() -> None:
    flow = flows.FLOWS[0]
    found = memory.measure(flow, "discrete", "qcore", threads=1)
    assert flow.field_bytes <= found < 100 * flow.field_bytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "no-such-row"], "--only: expected part of one of ode/linear-euler/8"),
        (["--threads", "0"], "--threads: expected at least 1, got 0"),
        (["--json", "no/such/folder/report.json"], "no such folder"),
    ],
)
def test_report_refuses_before_it_starts(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        report.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{}", '{"rows": []}'])
def test_plot_refuses_what_is_no_report(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ode.json").write_text(content)
    with pytest.raises(SystemExit) as stopped:
        plot.main([str(tmp_path / "ode.json"), "--out", str(tmp_path / "ode.png")])
    assert stopped.value.code == 2
    assert "expected the JSON of a whole report" in capsys.readouterr().err
    assert not (tmp_path / "ode.png").exists()
