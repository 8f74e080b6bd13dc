"""Run the residual-networks paper's experiment as a grid of trainings; goes on where it was stopped."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from qcore import experiment
from qcore._atomic import replacing
from qcore._interrupt import stopping_on_interrupt
from qcore._optional import MissingPackage
from qcore.checkpoint import load_checkpoint
from qcore.cli import figures
from qcore.cli.arguments import (
    MODELS,
    CommandError,
    add_data_argument,
    available_cpus,
    integer,
    listed,
    load_data,
    positive,
    prepare_folder,
)
from qcore.cli.evolve import evolution
from qcore.cli.progress import GridProgress, grid_progress
from qcore.cli.workers import Workers, checkpoint_name
from qcore.data import Digits
from qcore.experiment import Run
from qcore.nn.chains import INITS
from qcore.training import TrainConfig

_PICTURED_LAYERS = [0, 10, 15, 27]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--models",
        type=listed(lambda text: text, MODELS),
        default=["pde1", "pde2", "resnet", "none"],
        metavar="M,M,...",
        help=f"of {', '.join(MODELS)} (default pde1,pde2,resnet,none)",
    )
    parser.add_argument(
        "--depths",
        type=listed(integer(0)),
        default=[0, 5, 15, 27, 50],
        metavar="N,N,...",
        help="numbers of layers; 0 is the head alone (default 0,5,15,27,50)",
    )
    parser.add_argument("--seeds", type=integer(1), default=5, metavar="N", help="seeds 0 to N-1 (default 5)")
    parser.add_argument(
        "--init",
        type=listed(lambda text: text, INITS),
        default=["uniform"],
        metavar="I,I,...",
        help=f"how the PDE networks start, of {', '.join(INITS)} (default uniform)",
    )
    defaults = TrainConfig()
    parser.add_argument(
        "--epochs", type=integer(1), default=defaults.epochs, metavar="N", help="(default 50)"
    )
    parser.add_argument("--batch-size", type=integer(1), default=defaults.batch_size, metavar="N")
    parser.add_argument("--lr", type=positive, default=defaults.lr, metavar="X", help="(default 1e-3)")
    add_data_argument(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/reproduce"), metavar="DIR", help="(default runs/reproduce)"
    )
    parser.add_argument(
        "--jobs", type=integer(1, 1025), metavar="N", help="runs at a time (default: one for each CPU)"
    )
    parser.add_argument(
        "--threads", type=integer(1, 4097), default=1, metavar="N", help="CPU threads of each run (default 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train what is not done yet, then write the table and the pictures. Returns 0, or 130 after Ctrl-C."""
    wanted = experiment.grid(
        arguments.models,
        arguments.depths,
        arguments.seeds,
        arguments.init,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        lr=arguments.lr,
    )
    if not wanted:
        raise CommandError(
            "--models, --depths: expected at least one run, got none (depth 0 is the model none)"
        )
    out: Path = arguments.out
    prepare_folder(out)
    data = load_data(arguments.data)
    known = _Known(out / "runs.jsonl", data.checksum, arguments.threads)
    left = [config for config in wanted if config not in known.runs]
    jobs = min(arguments.jobs or max(available_cpus() // arguments.threads, 1), max(len(left), 1))
    print(
        f"{len(wanted)} runs on {data.name}, {len(wanted) - len(left)} done; "
        f"{jobs} at a time, threads of each: {arguments.threads}; results in {out}"
    )
    finished = not left or _train(left, arguments, known, jobs)
    # With those of earlier commands: a grid may be put together from several.
    runs = [run for run in known.runs.values() if _settings(run.config) == _settings(wanted[0])]
    if runs:
        _report(out, runs, data)
    if finished:
        return 0
    done = sum(config in known.runs for config in wanted)
    print(
        f"qcore reproduce: interrupted after {done} of {len(wanted)} runs; the same command goes on",
        file=sys.stderr,
    )
    return 130


def _settings(config: TrainConfig) -> tuple[int, int, float]:
    """What runs share that are compared in one table."""
    return config.epochs, config.batch_size, config.lr


class _Known:
    """The finished runs, in memory and on disk."""

    def __init__(self, path: Path, checksum: int, threads: int) -> None:
        self.path = path
        self.runs: dict[TrainConfig, Run] = {}
        for found in experiment.read_runs(path):
            if (found.checksum, found.threads) != (checksum, threads):
                raise CommandError(
                    f"--out: {path} holds runs on other data or another number of threads (checksum "
                    f"{found.checksum:08x}, threads {found.threads}), expected {checksum:08x} and {threads}; "
                    f"name another folder"
                )
            self.runs[found.config] = found

    def add(self, run: Run) -> None:
        """Keep a run."""
        self.runs[run.config] = run
        experiment.write_runs(self.path, self.runs.values())


def _train(left: list[TrainConfig], arguments: argparse.Namespace, known: _Known, jobs: int) -> bool:
    """Run what is left; False when interrupted."""
    checkpoints: Path = arguments.out / "checkpoints"
    prepare_folder(checkpoints)
    with (
        stopping_on_interrupt() as interrupt,
        Workers(arguments.data, checkpoints, jobs=jobs, threads=arguments.threads) as workers,
        grid_progress(left) as bar,
    ):
        pending: set[Future[Run | None]] = {workers.submit(config) for config in left}
        while pending:
            done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            _tell(workers, bar)
            for future in done:
                try:
                    run = None if future.cancelled() else future.result()
                except BrokenProcessPool:
                    raise CommandError(
                        "a training process died (killed, or out of memory?); what is done is kept, the same "
                        "command goes on, with fewer --jobs if memory is short"
                    ) from None
                if run is not None:
                    known.add(run)
                    bar.run(run)
            if interrupt.is_set():
                workers.stop()
                for future in pending:
                    future.cancel()
    return not interrupt.is_set()


def _tell(workers: Workers, bar: GridProgress) -> None:
    for config, epochs in workers.news():
        bar.epochs(config, epochs)


def _report(out: Path, runs: list[Run], data: Digits) -> None:
    """Write table.md and the pictures; print the table."""
    text = _table(runs, data)
    with replacing(out / "table.md") as temporary:
        temporary.write_text(text + "\n")
    print(f"\n{text}\n")
    written = [out / "runs.jsonl", out / "table.md"]
    try:
        for name, figure in (
            ("accuracy.png", figures.accuracy_curves(runs)),
            ("mass.png", figures.mass_curves(runs)),
        ):
            figures.write_png(figure, out / name)
            written.append(out / name)
        written += _evolutions(out, runs, data)
    except MissingPackage as error:
        print(f"qcore reproduce: no pictures: {error}", file=sys.stderr)
    for path in written:
        print(path)


def _table(runs: list[Run], data: Digits) -> str:
    config = runs[0].config
    parts = [
        f"Test accuracy (%) on {data.name} after epoch {config.epochs}: mean ± standard error [seeds] "
        f"(published). Adam, lr {config.lr:g}, batches of {config.batch_size}.",
        experiment.markdown(runs),
    ]
    for init in dict.fromkeys(run.config.init for run in runs):
        verdicts = {True: "holds", False: "does not hold", None: "runs are missing"}
        lines = [
            f"- {criterion.text}: **{verdicts[criterion.holds]}**"
            + (f" ({criterion.figures})" if criterion.holds is not None else "")
            for criterion in experiment.criteria(runs, init)
        ]
        parts += [f"Criteria of a reproduction, PDE networks started {init}:", "\n".join(lines)]
    return "\n\n".join(parts)


def _evolutions(out: Path, runs: list[Run], data: Digits) -> list[Path]:
    """One test digit on its way through the deepest trained PDE networks that have the pictured layers."""
    written = []
    for model in ("pde1", "pde2"):
        for run in runs:
            config = run.config
            path = out / "checkpoints" / checkpoint_name(config)
            if (config.model, config.depth, config.seed) != (model, 27, 0) or not path.exists():
                continue
            target = out / f"evolution-{model}-{config.init}.png"
            chain = load_checkpoint(path).classifier().chain
            title = f"{experiment.TITLES[model]}, depth 27, started {config.init}, trained"
            figures.write_png(evolution(chain, data, _PICTURED_LAYERS, title=title), target)
            written.append(target)
    return written
