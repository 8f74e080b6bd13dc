"""The command line as such: usage, information, exit statuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import qcore
from cli.conftest import Command
from qcore import _core
from qcore.cli import info


def test_info_tells_what_a_bug_report_needs(command: Command) -> None:
    result = command("info")
    assert result.status == 0
    width = max(map(len, info.collect())) + 2
    facts = {line[:width].strip(): line[width:] for line in result.out.splitlines()}
    assert facts["qcore"] == qcore.__version__
    assert facts["torch"] == torch.__version__
    assert facts["instruction set"].startswith(f"{_core.isa()} (available: ")
    assert all(name in facts["instruction set"] for name in _core.isa_available())
    assert _core.build_info()["compiler"] in facts["core"]
    assert facts["flags"] == _core.build_info()["flags"]
    assert f"{torch.get_num_threads()} (torch)" in facts["threads"]
    assert set(facts) >= {
        "OpenMP",
        "CUDA kernels",
        "GPU",
        "numpy",
        "Python",
        "platform",
        "pybind11",
        "QCORE_ISA",
    }
    assert result.err == ""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")
def test_info_names_the_openmp_runtime_of_torch() -> None:
    assert any(name.startswith("libgomp") for name in info.openmp_runtimes())


def test_an_error_in_a_process_of_its_own(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "qcore", "train", "--data", "nowhere"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.splitlines() == [
        "qcore train: error: nowhere: no such folder; expected one with the four MNIST IDX files"
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        [sys.executable, "-m", "qcore", "info"], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(write)
    assert run.stderr == ""
    assert run.returncode == 141


def test_version(command: Command) -> None:
    result = command("--version")
    assert result.status == 0
    assert result.out.split() == ["qcore", qcore.__version__]


@pytest.mark.parametrize(
    "arguments", [("--help",), ("train", "--help"), ("evolve", "--help"), ("info", "--help")]
)
def test_help(command: Command, arguments: tuple[str, ...]) -> None:
    result = command(*arguments)
    assert result.status == 0
    assert result.out.startswith("usage: qcore")


def test_interrupt_outside_the_loop(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> dict[str, str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "collect", interrupt)
    result = command("info")
    assert result.status == 130
    assert result.err.strip() == "qcore info: interrupted"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ["the following arguments are required: command"]),
        (("fly",), ["invalid choice: 'fly'"]),
        (("info", "--all"), ["unrecognized arguments: --all"]),
        (("train", "--mod", "pde1"), ["unrecognized arguments: --mod pde1"]),
        (("train", "extra"), ["unrecognized arguments: extra"]),
        (("train", "--model", "vgg"), ["--model: invalid choice: 'vgg'", "pde1"]),
        (("train", "--depth"), ["--depth: expected one argument"]),
        (("train", "--depth", "-1"), ["--depth: expected an integer of at least 0, got '-1'"]),
        (("train", "--depth", "2.5"), ["--depth: expected an integer of at least 0, got '2.5'"]),
        (("train", "--epochs", "0"), ["--epochs: expected an integer of at least 1, got '0'"]),
        (("train", "--epochs", "many"), ["--epochs: expected an integer of at least 1, got 'many'"]),
        (("train", "--batch-size", "0"), ["--batch-size: expected an integer of at least 1, got '0'"]),
        (("train", "--lr", "0"), ["--lr: expected a positive number, got '0'"]),
        (("train", "--lr", "nan"), ["--lr: expected a positive number, got 'nan'"]),
        (("train", "--lr", "inf"), ["--lr: expected a positive number, got 'inf'"]),
        (("train", "--lr", "fast"), ["--lr: expected a positive number, got 'fast'"]),
        (("train", "--seed", "-5"), ["--seed: expected an integer of at least 0, got '-5'"]),
        (("train", "--seed", str(2**63)), ["--seed: expected an integer of at least 0"]),
        (
            ("train", "--threads", "0"),
            ["--threads: expected an integer of at least 1 and less than 4097, got '0'"],
        ),
        (("train", "--data", "nowhere"), ["nowhere: no such folder"]),
        (("evolve", "--data", "nowhere"), ["nowhere: no such folder"]),
    ],
)
def test_wrong_usage(command: Command, tmp_path: Path, arguments: tuple[str, ...], parts: list[str]) -> None:
    assert command(*arguments).refused(*parts)
    assert list(tmp_path.iterdir()) == []
