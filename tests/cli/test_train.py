"""``qcore train``: what it writes, how it stops and goes on, and what it refuses."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from cli.conftest import PNG, Command
from cli.test_training import assert_bitwise_equal
from idx_files import write_mnist
from qcore import checkpoint
from qcore.cli import train
from qcore.cli.train import stopping_on_interrupt
from qcore.training import Trainer

QUICK = ("--depth", 2, "--epochs", 3, "--batch-size", 16)


def saved_outcome(out: Path) -> dict[str, object]:
    """What a finished run left, without the clock."""
    state = checkpoint.load_checkpoint(out / "checkpoint.pt").state
    history = [(e["epoch"], e["loss"], e["test_accuracy"]) for e in state["history"]]
    return {"model": state["model"], "optimizer": state["optimizer"]["state"], "history": history}


def stop_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """Press Ctrl-C after so many batches of the next run."""
    count = 0
    step = Trainer.run

    def run(self: Trainer, **calls: object) -> bool:
        def on_batch(images: int, loss: float) -> None:
            nonlocal count
            count += 1
            if count == batches:
                signal.raise_signal(signal.SIGINT)

        return step(self, **(calls | {"on_batch": on_batch}))

    monkeypatch.setattr(Trainer, "run", run)


@pytest.mark.parametrize("model", ["pde1", "pde2", "resnet", "none"])
@pytest.mark.usefixtures("real_pictures")
def test_writes_metrics_checkpoint_and_curve(
    command: Command, mnist: Path, tmp_path: Path, model: str
) -> None:
    result = command("train", "--model", model, *QUICK, "--seed", 4, "--data", mnist)
    assert result.status == 0
    out = tmp_path / "runs" / f"{model}-2-4"
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint.pt", "curve.png", "metrics.json"]
    assert (out / "curve.png").read_bytes().startswith(PNG)

    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["config"] == {
        "model": model,
        "depth": 2,
        "epochs": 3,
        "batch_size": 16,
        "lr": 1e-3,
        "seed": 4,
        "init": "uniform",
    }
    assert metrics["finished"] is True
    assert metrics["epochs_done"] == 3
    assert [epoch["epoch"] for epoch in metrics["history"]] == [1, 2, 3]
    assert metrics["test_accuracy"] == metrics["history"][-1]["test_accuracy"]
    assert metrics["data"]["train_images"] == 40
    assert metrics["data"]["test_images"] == 20
    assert metrics["data"]["folder"] == str(mnist)
    assert metrics["versions"]["torch"] == torch.__version__
    chain = {"pde1": 10, "pde2": 10, "resnet": 18, "none": 0}[model]
    assert metrics["parameters"] == chain + 36 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10

    saved = checkpoint.load_checkpoint(out / "checkpoint.pt")
    assert saved.epochs_done == 3
    assert (saved.source.name, saved.source.image_size) == ("mnist", (6, 6))


def test_ends_with_a_table(command: Command, mnist: Path) -> None:
    result = command("train", *QUICK, "--data", mnist, "--out", "here")
    accuracy = json.loads(Path("here/metrics.json").read_text())["test_accuracy"]
    lines = result.out.splitlines()
    assert lines[0].startswith("pde2, depth 2, on mnist: 40 images to train, 20 to test, 6 x 6 pixels")
    table = {line[:15].strip(): line[15:] for line in lines[1:]}
    assert table["model"] == "pde2, depth 2, 13,652 parameters"
    assert table["epochs"] == "3 of 3"
    assert table["test accuracy"] == f"{100 * accuracy:.2f} %"
    assert "images/s" in table["training time"]
    assert lines[-1].split() == ["here/curve.png"]
    assert [line.split()[:2] for line in result.err.splitlines()] == [["epoch", f"{n}/3"] for n in (1, 2, 3)]


def test_bundled_digits_are_the_default(command: Command) -> None:
    result = command("train", "--model", "none", "--epochs", 4)
    assert result.status == 0
    metrics = json.loads(Path("runs/none-27-0/metrics.json").read_text())
    assert metrics["data"]["name"] == "digits"
    assert metrics["data"]["folder"] is None
    assert metrics["config"]["batch_size"] == 16
    assert metrics["threads"] == 1
    assert metrics["test_accuracy"] > 0.85


def test_mnist_has_the_batch_size_of_the_protocol(command: Command, mnist: Path) -> None:
    command("train", "--depth", 1, "--epochs", 1, "--data", mnist, "--out", "here")
    assert json.loads(Path("here/metrics.json").read_text())["config"]["batch_size"] == 128


def test_threads(command: Command, mnist: Path) -> None:
    command("train", *QUICK, "--data", mnist, "--out", "here", "--threads", 1)
    assert torch.get_num_threads() == 1
    assert json.loads(Path("here/metrics.json").read_text())["threads"] == 1


@pytest.mark.parametrize("batches", [1, 3, 4, 8])
def test_interrupt_saves_and_resume_ends_as_if_uninterrupted(
    command: Command, mnist: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    common = ("train", "--model", "pde1", *QUICK, "--seed", 1, "--data", mnist)
    command(*common, "--out", "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, batches)
        result = command(*common, "--out", "parts")
    assert result.status == 130
    epoch, batch = divmod(batches, 3) if batches % 3 else (batches // 3 - 1, 3)
    assert result.err.splitlines()[-1] == (
        f"qcore train: interrupted in epoch {epoch + 1} of 3, after {batch} of 3 batches; "
        f"go on with: qcore train --resume --out parts"
    )
    saved = checkpoint.load_checkpoint(Path("parts/checkpoint.pt"))
    assert (saved.epochs_done, saved.state["batches_done"]) == (epoch, batch)
    metrics = json.loads(Path("parts/metrics.json").read_text())
    assert metrics["finished"] is False
    assert Path("parts/curve.png").exists() is (epoch > 0)

    result = command("train", "--resume", "--out", "parts")
    assert result.status == 0
    assert f"going on after epoch {epoch}, batch {batch}" in result.out
    assert_bitwise_equal(saved_outcome(Path("parts")), saved_outcome(Path("whole")))
    assert json.loads(Path("parts/metrics.json").read_text())["finished"] is True


def test_ctrl_c_in_another_process(command: Command, mnist: Path) -> None:
    common = ["train", "--depth", "2", "--batch-size", "1", "--threads", "1", "--data", str(mnist)]
    process = subprocess.Popen(
        [sys.executable, "-m", "qcore", *common, "--out", "parts", "--epochs", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert "1/1000000" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "go on with: qcore train --resume --out parts" in err.splitlines()[-1]
    assert "test accuracy" in out

    epochs = checkpoint.load_checkpoint("parts/checkpoint.pt").epochs_done + 1
    assert command(*common, "--out", "parts", "--resume", "--epochs", epochs).status == 0
    assert command(*common, "--out", "whole", "--epochs", epochs).status == 0
    assert_bitwise_equal(saved_outcome(Path("parts")), saved_outcome(Path("whole")))


def test_a_second_ctrl_c_interrupts_at_once(
    command: Command, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: Trainer, **calls: object) -> bool:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one should have come through")

    monkeypatch.setattr(Trainer, "run", run)
    handler = signal.getsignal(signal.SIGINT)
    result = command("train", *QUICK, "--data", mnist, "--out", "here")
    assert result.status == 130
    assert result.err.strip() == "qcore train: interrupted"
    assert list(Path("here").iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is handler


def test_interrupts_are_left_alone_outside_the_main_thread() -> None:
    seen: list[bool] = []

    def work() -> None:
        with stopping_on_interrupt() as event:
            seen.append(event.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_resume_of_a_finished_run_can_add_epochs(command: Command, mnist: Path) -> None:
    common = ("train", "--depth", 2, "--batch-size", 16, "--data", mnist)
    command(*common, "--epochs", 4, "--out", "whole")
    command(*common, "--epochs", 2, "--out", "parts")
    assert command("train", "--resume", "--out", "parts").status == 0  # nothing left to do
    assert command("train", "--resume", "--out", "parts", "--epochs", 4).status == 0
    assert_bitwise_equal(saved_outcome(Path("parts")), saved_outcome(Path("whole")))


def test_resume_takes_the_threads_of_the_run(command: Command, mnist: Path) -> None:
    command("train", *QUICK, "--data", mnist, "--out", "here", "--threads", 1)
    torch.set_num_threads(2)
    command("train", "--resume", "--out", "here")
    assert torch.get_num_threads() == 1
    command("train", "--resume", "--out", "here", "--threads", 2)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("option", "theirs", "ours"),
    [
        ("--model", "pde2", "resnet"),
        ("--depth", "2", "3"),
        ("--batch-size", "16", "8"),
        ("--lr", "0.001", "0.01"),
        ("--seed", "0", "1"),
    ],
)
def test_resume_refuses_another_configuration(
    command: Command, mnist: Path, option: str, theirs: str, ours: str
) -> None:
    command("train", *QUICK, "--data", mnist, "--out", "here")
    before = Path("here/checkpoint.pt").read_bytes()
    assert command("train", "--resume", "--out", "here", option, theirs).status == 0
    result = command("train", "--resume", "--out", "here", option, ours)
    assert result.refused(f"{option}: expected {theirs}, as in the run to resume", f"got {ours}")
    # Nor does another run in the same folder take its place.
    arguments = ["train", *QUICK, "--data", mnist, "--out", "here", option, ours]
    name = option.lstrip("-").replace("-", "_")
    assert command(*arguments).refused("--out: here holds another run", f"{name} {theirs}")
    assert Path("here/checkpoint.pt").read_bytes() == before


def test_resume_refuses_fewer_epochs_than_done(command: Command, mnist: Path) -> None:
    command("train", *QUICK, "--data", mnist, "--out", "here")
    result = command("train", "--resume", "--out", "here", "--epochs", 2)
    assert result.refused("--epochs: expected at least the 3 done in here/checkpoint.pt, got 2")


def test_other_data_is_refused(command: Command, mnist: Path, tmp_path: Path) -> None:
    command("train", *QUICK, "--data", mnist, "--out", "here")
    other = write_mnist(tmp_path / "other", train=41)
    result = command("train", "--resume", "--out", "here", "--data", other)
    assert result.refused(
        "--data: expected the data of the run to resume (here/checkpoint.pt): mnist, checksum"
    )
    result = command("train", *QUICK, "--out", "here", "--data", other)
    assert result.refused("--out: here holds another run (on other data, mnist)")


def test_the_same_run_may_be_run_anew(command: Command, mnist: Path) -> None:
    command("train", *QUICK, "--data", mnist, "--out", "here")
    before = saved_outcome(Path("here"))
    assert command("train", *QUICK, "--data", mnist, "--out", "here").status == 0
    assert_bitwise_equal(saved_outcome(Path("here")), before)


def test_resume_without_a_checkpoint(command: Command, tmp_path: Path) -> None:
    result = command("train", "--resume", "--out", "nowhere")
    assert result.refused("nowhere/checkpoint.pt: no such checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_not_overwritten(command: Command, mnist: Path) -> None:
    Path("here").mkdir()
    Path("here/checkpoint.pt").write_bytes(b"not a checkpoint")
    for extra in ((), ("--resume",)):
        result = command("train", *QUICK, "--data", mnist, "--out", "here", *extra)
        assert result.refused("here/checkpoint.pt: expected a checkpoint, got a damaged or foreign file")
    assert Path("here/checkpoint.pt").read_bytes() == b"not a checkpoint"


def test_bad_data_makes_no_folder(command: Command, tmp_path: Path) -> None:
    assert command("train", "--data", "nowhere").refused("nowhere: no such folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/qcore"])
def test_out_that_cannot_be_written(command: Command, mnist: Path, out: str) -> None:
    Path("file").write_text("mine")
    result = command("train", *QUICK, "--data", mnist, "--out", out)
    assert result.refused(f"--out: cannot write in {out}: ")
    assert result.out == ""
    assert Path("file").read_text() == "mine"


def test_a_full_disk_leaves_the_last_checkpoint(command: Command, mnist: Path) -> None:
    command("train", *QUICK, "--data", mnist, "--out", "here")
    before = {path.name: path.read_bytes() for path in Path("here").iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        result = command("train", "--resume", "--epochs", 5, "--out", "here")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert result.refused("File too large")
    assert {path.name: path.read_bytes() for path in Path("here").iterdir()} == before


def test_diverging_is_told_and_the_metrics_stay_json(
    command: Command, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = train.load_data

    def load_with_nan(folder: Path) -> object:
        data = load(folder)
        data.train_images[0, 0, 0, 0] = float("nan")
        return data

    monkeypatch.setattr(train, "load_data", load_with_nan)
    result = command("train", *QUICK, "--data", mnist, "--out", "here")
    assert result.status == 0
    assert "nan  (diverged" in result.out
    metrics = json.loads(Path("here/metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["train_loss"] is None
    assert metrics["history"][0]["loss"] is None


def test_without_matplotlib_there_is_no_curve(
    command: Command, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = command("train", *QUICK, "--data", mnist, "--out", "here")
    assert result.status == 0
    assert result.err.splitlines()[-1] == (
        "qcore train: no curve.png: drawing a picture needs matplotlib, which is not installed: "
        'pip install "qcore-kernels[demo]"'
    )
    assert sorted(path.name for path in Path("here").iterdir()) == ["checkpoint.pt", "metrics.json"]


def test_without_scikit_learn_there_are_no_digits(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert command("train").refused(
        "the bundled digits needs scikit-learn", 'pip install "qcore-kernels[demo]"'
    )
    assert list(tmp_path.iterdir()) == []


def test_progress_bar_on_a_terminal(command: Command, mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    result = command("train", *QUICK, "--data", mnist, "--out", "here")
    assert result.status == 0
    last = result.err.strip().split("\r")[-1]
    assert last.startswith("epoch 3/3 100%|")
    assert " images/s, loss " in last
    assert "%" in last.rpartition("test ")[2]


def test_without_tqdm_there_are_lines(command: Command, mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    result = command("train", *QUICK, "--data", mnist, "--out", "here")
    assert result.status == 0
    assert result.err.splitlines()[0].startswith("qcore train: no progress bar: a progress bar needs tqdm")
    assert result.err.splitlines()[-1].startswith("epoch 3/3")
