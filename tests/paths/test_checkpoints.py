"""Sampling runs in files: resumed bitwise, whole or not there, refused when damaged or of another run."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from qcore import _core, checkpoint
from qcore.paths import CheckpointError, _checkpoint, _tally, run

from .test_run import same
from .toy_engine import Ar1


class Killed(Exception):
    """What ends a run from outside."""


def killed_at(sweeps: int) -> Any:
    def progress(done: int) -> None:
        if done >= sweeps:
            raise Killed

    return progress


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.ckpt"


@pytest.mark.parametrize("limit", [2**26, 10000])
@pytest.mark.parametrize("when", [40, 100, 400])
def test_a_killed_run_resumes_bitwise(
    file: Path, when: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tally, "SERIES_BYTES", limit)
    whole = run(Ar1(), sweeps=500, warmup=80)
    arguments: dict[str, Any] = {"sweeps": 500, "warmup": 80, "checkpoint": file, "checkpoint_seconds": 0}
    with pytest.raises(Killed):
        run(Ar1(), block=9, progress=killed_at(when), **arguments)
    engine = Ar1()
    same(run(engine, block=50, **arguments), whole)
    assert engine.calls[0][0] > 0  # it did go on
    engine = Ar1()
    same(run(engine, **arguments), whole)  # and now there is nothing left to do
    assert engine.calls == []


def test_without_resume_it_begins_anew(file: Path) -> None:
    run(Ar1(seed=2), sweeps=50, checkpoint=file)
    engine = Ar1()
    same(run(engine, sweeps=30, checkpoint=file, resume=False), run(Ar1(), sweeps=30))
    assert engine.calls[0][0] == 0
    same(run(Ar1(), sweeps=60, checkpoint=file), run(Ar1(), sweeps=60))


def test_more_sweeps_go_on_from_the_file(file: Path) -> None:
    run(Ar1(), sweeps=50, warmup=10, checkpoint=file)
    same(run(Ar1(), sweeps=90, warmup=10, checkpoint=file), run(Ar1(), sweeps=90, warmup=10))
    with pytest.raises(CheckpointError, match="expected a run that ends at 70 sweeps, but it has 90 already"):
        run(Ar1(), sweeps=70, warmup=10, checkpoint=file)


def test_previous_results_have_checkpoints_too(file: Path) -> None:
    part = run(Ar1(), sweeps=50, warmup=10)
    arguments: dict[str, Any] = {"sweeps": 60, "previous": part, "checkpoint": file, "checkpoint_seconds": 0}
    with pytest.raises(Killed):
        run(Ar1(), block=7, progress=killed_at(90), **arguments)
    whole = run(Ar1(), sweeps=110, warmup=10)
    same(run(Ar1(), **arguments), whole)
    run(Ar1(), sweeps=20, warmup=10, checkpoint=file, resume=False)
    with pytest.raises(CheckpointError, match="expected at least the 50 sweeps of previous, got 20"):
        run(Ar1(), **arguments)


def test_stopped_runs_are_kept(file: Path) -> None:
    part = run(Ar1(), sweeps=100, block=10, time_limit=0, checkpoint=file)
    assert part.stopped
    assert part.sweeps == 10
    engine = Ar1()
    same(run(engine, sweeps=100, checkpoint=file), run(Ar1(), sweeps=100))
    assert engine.calls[0][0] == 10


def test_the_file_is_written_now_and_then_and_at_the_end(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    save = _checkpoint.save_tally
    now = [0.0]

    def count(path: Path, tally: _tally.Tally) -> None:
        written.append(tally.sweeps)
        save(path, tally)

    def progress(done: int) -> None:
        now[0] += 1.0

    monkeypatch.setattr("qcore.paths._run.save_tally", count)
    monkeypatch.setattr("qcore.paths._run.time.monotonic", lambda: now[0])
    run(Ar1(), sweeps=120, block=10, checkpoint=file, checkpoint_seconds=4, progress=progress)
    assert written == [50, 100, 120]


@pytest.mark.parametrize(
    ("other", "arguments", "message"),
    [
        (Ar1(seed=2), {}, "seed: 2 here, 1 there"),
        (Ar1(rho=0.25, chains=3), {}, "chains: 3 here, 4 there; rho: 0.25 here, 0.5 there"),
        (Ar1(), {"warmup": 20}, "warmup: 20 here, 10 there"),
    ],
)
def test_other_runs_are_refused(file: Path, other: Ar1, arguments: dict[str, Any], message: str) -> None:
    run(Ar1(), sweeps=20, warmup=10, checkpoint=file)
    before = file.read_bytes()
    with pytest.raises(CheckpointError, match=f"{file}: expected a checkpoint of this run, but {message}"):
        run(other, **{"sweeps": 20, "warmup": 10, "checkpoint": file, **arguments})
    assert file.read_bytes() == before


def test_other_samplers_and_versions_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Ar1(), sweeps=20, checkpoint=file)

    class Other(Ar1):
        name = "other"
        observables = ("x", "x3")

    with pytest.raises(CheckpointError, match="sampler: 'other' here, 'ar1' there; observables"):
        run(Other(), sweeps=20, checkpoint=file)
    this = re.escape(_core.build_info()["version"])
    monkeypatch.setattr("qcore._core.build_info", lambda: {"version": "99.0"})
    with pytest.raises(CheckpointError, match=f"qcore: '99.0' here, '{this}' there"):
        run(Ar1(), sweeps=20, checkpoint=file)


def test_damage_is_noticed(file: Path) -> None:
    run(Ar1(), sweeps=20, checkpoint=file)
    whole = file.read_bytes()
    for at in range(len(whole) - 1, 0, -len(whole) // 40):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CheckpointError, match=f"{file}: expected"):
            run(Ar1(), sweeps=20, checkpoint=file)
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=f"{file}: expected"):
            run(Ar1(), sweeps=20, checkpoint=file)
    file.write_bytes(whole)
    run(Ar1(), sweeps=20, checkpoint=file)


def with_checksum(payload: bytes) -> bytes:
    return _checkpoint._MARK + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def test_nothing_in_a_file_is_executed(file: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(trace),)

    buffer = io.BytesIO()
    torch.save({"state": Evil()}, buffer)
    for payload in (buffer.getvalue(), pickle.dumps(Evil())):
        file.write_bytes(with_checksum(payload))
        with pytest.raises(CheckpointError, match="expected a whole checkpoint, got a wrong part"):
            run(Ar1(), sweeps=20, checkpoint=file)
        assert not trace.exists()


def test_parts_that_do_not_fit_are_noticed(file: Path) -> None:
    run(Ar1(), sweeps=20, checkpoint=file)
    payload = file.read_bytes()[len(_checkpoint._MARK) + 65 :]
    parts = torch.load(io.BytesIO(payload), weights_only=True)
    for change in ({"warmup": 5}, {"sweeps": None}, {"config": "{"}, {"state": 3}):
        buffer = io.BytesIO()
        torch.save({**parts, **change}, buffer)
        file.write_bytes(with_checksum(buffer.getvalue()))
        with pytest.raises(CheckpointError, match=f"{file}: expected"):
            run(Ar1(), sweeps=20, checkpoint=file)


def test_a_write_that_fails_leaves_the_last_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Ar1(), sweeps=20, checkpoint=file)
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        run(Ar1(), sweeps=40, checkpoint=file)
    assert file.read_bytes() == before
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_one_error_for_checkpoints_of_all_runs() -> None:
    assert CheckpointError is checkpoint.CheckpointError


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    """Refused before a sweep is made, not when the first hour is to be saved."""
    for file in (tmp_path / "nowhere" / "run.ckpt", tmp_path):
        done: list[int] = []
        with pytest.raises(OSError, match="checkpoint: expected a file in a folder that exists"):
            run(Ar1(), sweeps=10, checkpoint=file, resume=False, progress=done.append)
        assert done == []
